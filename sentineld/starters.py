"""Starters that are shipped: the habits with which a role's first day begins, read when a role needs them.

They are documents of ``baseline`` in ``sentineld/data``, made by ``bench/starter.py``. One that is damaged,
or that counts other features than this program does, is passed over: the role begins with nothing, and
``troubles`` says why.
"""

import os

from sentineld import baseline, features
from sentineld.habits import Role

#: Where they are, and the file of each role that has one: the role that coding agents' formats name.
DIRECTORY = os.path.join(os.path.dirname(__file__), "data")
FILES = {"coding-agent": "starter-coding-agent.json"}


class Starters:
    """The starters in a directory; each is read once, when it is first asked for."""

    def __init__(self, directory: str = DIRECTORY) -> None:
        self._directory = directory
        self._dumps: dict[str, bytes | None] = {}
        #: Why a starter was passed over, by its file's path.
        self.troubles: dict[str, str] = {}

    def __call__(self, role_name: str) -> Role | None:
        """Return the habits with which a role begins; None where it has no starter."""
        if role_name not in FILES:
            return None
        if role_name not in self._dumps:
            self._dumps[role_name] = self._read(role_name)
        dump = self._dumps[role_name]
        return None if dump is None else Role.load(dump)

    def _read(self, role_name: str) -> bytes | None:
        path = os.path.join(self._directory, FILES[role_name])
        try:
            with open(path, "rb") as file:
                return read_starter(file.read(baseline.MAX_BYTES + 1), role_name).dump()
        except OSError as error:
            self.troubles[path] = f"it cannot be read: {error.strerror}"
        except ValueError as error:
            self.troubles[path] = str(error)
        return None


def read_starter(data: bytes, role_name: str) -> Role:
    """Return the habits of a starter of this role. Raises ``ValueError`` that says what is wrong with it."""
    document = baseline.read(data)
    origin = None if document.role is None else document.role.starter
    if origin is None or document.name != role_name:
        raise ValueError(f"it is no starter of the role {role_name}")
    if origin.features != features.VERSION:
        raise ValueError(
            f"it counts features of version {origin.features}; this program reads those of version "
            f"{features.VERSION}"
        )
    return baseline.role_of(document)


#: Those of this package.
SHIPPED = Starters()

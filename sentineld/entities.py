"""Entities: what a call touches, collected under bounds and in one order.

``Findings`` is filled while a call is read; ``entities`` gives its result. Values are normal: paths without
dots and doubled slashes, hosts in lower case without user, port and trailing dot, recipients in lower case.
Not printable characters are escaped. A host with a prefix says what is no address of its own:
``s3://bucket``, ``git-remote:origin``.
"""

import re
from collections.abc import Callable
from typing import TypeAlias

from sentineld.credentials import holds_store, is_dotenv, is_metadata_host, is_secret, normal_path
from sentineld.event import Entity
from sentineld.visible import visible

#: Entities of one call.
MAX_ENTITIES = 16
#: Characters of one entity's value.
MAX_VALUE = 256
#: PATH_MAX of Linux, and one more: nothing longer can be opened, and nothing of it is looked at.
_MAX_PATH = 4097
_MAX_DIRECTORY = 1024
#: Entities of one kind and role that are kept until the end.
_MAX_KEPT = 16

#: The order in which entities are told, when there are more than fit: where data could leave first.
_ORDER = (
    ("recipient", "sink"),
    ("account", "sink"),
    ("host", "sink"),
    ("path", "sink"),
    ("host", "source"),
    ("recipient", "source"),
    ("account", "source"),
    ("path", "source"),
)

#: Makes a named tuple in half the time.
_new = tuple.__new__

_URL = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]{1,15})://(?:[^\s/@'\"<>]{0,256}@)?(\[[0-9A-Fa-f:.%]{2,64}\]|[^\s/:?#'\"<>\\,;)\]}`]{1,300})"
)
_HOST = re.compile(
    r"(?:[^\s/@]{1,256}@)?(\[[0-9A-Fa-f:.%]{2,64}\]|[A-Za-z0-9_$.-]{1,255})(?::\d{1,5})?(?:[/?#].*)?\Z",
    re.DOTALL,
)
_BUCKETS = frozenset({"s3", "gs", "az", "abfs", "abfss", "wasb", "wasbs", "oss", "b2"})
_EMAIL = re.compile(r"[^\s@<>\"',;:]{1,128}@[^\s@<>\"',;:]{1,128}")
#: Places that a shell writes to and nobody reads from.
_NOWHERE = frozenset(
    {"", "-", "/dev/null", "/dev/stdout", "/dev/stderr", "/dev/stdin", "/dev/tty", "NUL", "$null", "nul"}
)


#: Says whether a normal path leads to a file of credentials.
SecretPath: TypeAlias = Callable[[str], bool]


class Findings:
    """What is found in one call: entities by kind and role, and the credentials that it touches."""

    __slots__ = ("_directory", "_kept", "has_credentials", "is_secret_path")

    def __init__(self, is_secret_path: SecretPath = is_secret) -> None:
        self._kept: dict[tuple[str, str], dict[str, None]] = {}
        self._directory = ""
        self.has_credentials = False
        self.is_secret_path = is_secret_path

    def enter(self, directory: str) -> None:
        """Note where relative paths are meant: ``cd ~/.aws; cat credentials`` reads a secret."""
        if directory[:1] not in ("/", "~", "$") and self._directory:
            directory = f"{self._directory}/{directory}"
        self._directory = normal_path(directory) if len(directory) <= _MAX_DIRECTORY else ""

    def add(self, kind: str, role: str, value: str) -> None:
        """Keep an entity."""
        kept = self._kept.get((kind, role))
        if kept is None:
            kept = self._kept[(kind, role)] = {}
        if len(kept) < _MAX_KEPT:
            kept[value] = None

    def is_secret(self, path: str) -> bool:
        """Say whether a path leads to a file of credentials."""
        return self._is_secret(normal_path(path[:_MAX_PATH]))

    def _is_secret(self, normal: str) -> bool:
        if self.is_secret_path(normal):
            return True
        is_relative = self._directory and normal[:1] not in ("/", "~", "$")
        return bool(is_relative) and self.is_secret_path(normal_path(f"{self._directory}/{normal}"))

    def reads(self, path: str, *, is_secret_shown: bool = True) -> bool:
        """Note that a file is read; say whether it is a file at all. ``is_secret_shown``: its content is."""
        if path in _NOWHERE:
            return False
        normal = normal_path(path[:_MAX_PATH])
        self.add("path", "source", normal)
        if is_secret_shown and not self.has_credentials and self._is_secret(normal):
            self.has_credentials = True
        return True

    def reads_tree(self, path: str) -> None:
        """Note that a file, or a directory with all that is in it, is read."""
        if self.reads(path) and holds_store(normal_path(path)):
            self.has_credentials = True

    def writes(self, path: str) -> bool:
        """Note that a file is written; say whether it is a file at all."""
        if path in _NOWHERE:
            return False
        normal = normal_path(path[:_MAX_PATH])
        self.add("path", "sink", normal)
        if self._is_secret(normal) and not is_dotenv(normal):
            self.has_credentials = True
        return True

    def changes(self, path: str) -> None:
        """Note that a file is deleted, or changed in what shows and sets no content, such as its rights."""
        if path not in _NOWHERE:
            self.add("path", "sink", normal_path(path[:_MAX_PATH]))

    def reaches(self, text: str, role: str) -> bool:
        """Note the host of a URL, or of ``[user@]host[:port][/path]``; say whether there is one."""
        found = _URL.match(text)
        if found is not None:
            return self.reaches_host(found[2], role, found[1].lower())
        found = _HOST.match(text)
        return found is not None and self.reaches_host(found[1], role)

    def reaches_urls(self, text: str, role: str) -> bool:
        """Note the hosts of the URLs in a text; say whether there are any."""
        is_any = False
        for number, found in enumerate(_URL.finditer(text)):
            if number >= 2 * _MAX_KEPT:
                break
            is_any |= self.reaches_host(found[2], role, found[1].lower())
        return is_any

    def reaches_host(self, host: str, role: str, scheme: str = "") -> bool:
        """Note a host by its name or address; say whether it is known (and not a variable)."""
        if scheme == "file":
            return False
        host = host.strip("[]").rstrip(".").lower()
        if not host or host[0] == "$":
            return False
        if is_metadata_host(host):
            self.has_credentials = True
        self.add("host", role, f"{scheme}://{host}" if scheme in _BUCKETS else host)
        return True

    def sends_to(self, text: str) -> None:
        """Note recipients: the addresses in a text, or the text itself where it has none."""
        text = text.strip()
        if not text:
            return
        addresses = _EMAIL.findall(text[:4096]) if "@" in text else ()
        for address in addresses or (text,):
            self.add("recipient", "sink", address.lower())

    def entities(self) -> tuple[Entity, ...]:
        """Return what was found: no more than ``MAX_ENTITIES``, where data could leave first."""
        kept = self._kept
        found: list[Entity] = []
        for kind, role in _ORDER if len(kept) > 1 else kept:
            for value in kept.get((kind, role), ()):
                is_plain = len(value) <= MAX_VALUE and value.isascii() and value.isprintable()
                shown = value if is_plain else visible(value, MAX_VALUE)[:MAX_VALUE]
                found.append(_new(Entity, (kind, role, shown)))
        return tuple(found[:MAX_ENTITIES])


def is_nowhere(path: str) -> bool:
    """Say whether what is written to a path goes nowhere."""
    return path in _NOWHERE


def has_url(text: str) -> bool:
    """Say whether a text begins with a URL."""
    return _URL.match(text) is not None

"""Our own places: who owns them, who may write there, and who may pardon."""

import os
import stat
from collections.abc import Iterator, Sequence
from shlex import quote
from typing import NamedTuple

from sentineld.doctor.base import FIX, NOTE, OK, Entry, Examined, Finding, below, group_name, look, user_name
from sentineld.isolation import Exposure, exposures

#: Owners of telemetry are looked for among so many names: agents are few.
_MAX_OWNERS = 5_000


class Reading(NamedTuple):
    """What is at our places (None: nothing), for the uid that asks and the one of the daemon.

    ``exposed`` is what those who write telemetry could change.
    """

    uid: int
    owner: int
    state_dir: str
    state: Entry | None
    requests: Entry | None
    rejects: Entry | None
    published: Entry | None
    may_write: bool
    exposed: Sequence[Exposure]


def read(examined: Examined) -> Reading:
    """Look at the state directory, what is in it, and who could change it."""
    paths = examined.paths
    owners = {entry.uid for entry in below(examined.directories, _MAX_OWNERS)}
    relied_on = [paths.state_dir, paths.requests, os.path.dirname(paths.state_file)]
    key_file = examined.config.state.key_file
    # What begins with a variable is another's to see.
    relied_on += [path for path in (examined.config_path, key_file) if path and not path.startswith("$")]
    return Reading(
        os.geteuid(),
        examined.uid,
        paths.state_dir,
        look(paths.state_dir),
        look(paths.requests),
        look(paths.rejects),
        look(os.path.dirname(paths.state_file)),
        os.access(paths.state_dir, os.W_OK | os.X_OK),
        exposures(relied_on, owners, examined.uid),
    )


def check(reading: Reading) -> Iterator[Finding]:
    """Find what is missing, closed to the daemon, or open to others."""
    if reading.state is None:
        yield Finding(
            "state directory",
            NOTE,
            f"{reading.state_dir} does not exist, or may not be looked at",
            "nothing: sentineld run makes it"
            if reading.uid == 0
            else "nothing: sentineld run makes it; for a service: sudo sentineld doctor",
        )
        return
    ours = [*_state(reading, reading.state)]
    if reading.requests is not None:
        ours += _requests(reading.requests, reading.owner)
    if reading.rejects is not None and stat.S_IMODE(reading.rejects.mode) & 0o077:
        ours.append(
            Finding(
                "rejects",
                FIX,
                f"{reading.rejects}: others may look at what agents wrote",
                f"chmod 0700 {quote(reading.rejects.path)}",
            )
        )
    if reading.uid == 0 and reading.published is not None and not reading.published.mode & stat.S_IXOTH:
        ours.append(
            Finding(
                "state file",
                NOTE,
                f"{reading.published}: no other user's router can pass through",
                "--state-file in a directory of mode 0755, if one should",
            )
        )
    yield from ours
    for item in reading.exposed:
        # Not twice what is told with a better mending.
        if not any(one.fix.endswith(f" {quote(item.path)}") for one in ours):
            yield Finding(
                "isolation",
                FIX,
                f"{item.path} {item.reason}",
                f"only the daemon's user and root may change it: ls -ld {quote(item.path)}",
            )


def _state(reading: Reading, state: Entry) -> Iterator[Finding]:
    if reading.uid not in (0, state.uid):
        yield Finding(
            "state directory",
            FIX,
            f"{state}: not yours, so that little of it can be looked at",
            f"sudo -u {user_name(state.uid)} sentineld doctor",
        )
    elif reading.uid == 0 and state.uid != 0:
        yield Finding("state directory", OK, f"{state}; the daemon has to run as {user_name(state.uid)}")
    elif not reading.may_write:
        yield Finding(
            "state directory",
            FIX,
            f"{state}: its owner may not write there",
            f"chmod u+rwx {quote(state.path)}",
        )
    elif state.mode & 0o022:
        yield Finding(
            "state directory",
            FIX,
            f"{state}: others may put files there",
            f"chmod go-w {quote(state.path)}",
        )
    else:
        yield Finding("state directory", OK, str(state))


def _requests(requests: Entry, owner: int) -> Iterator[Finding]:
    mode = stat.S_IMODE(requests.mode)
    if requests.uid != owner:
        yield Finding(
            "requests",
            FIX,
            f"{requests}: whoever may write there may pardon, and it is not the daemon's",
            f"chown {user_name(owner)} {quote(requests.path)}",
        )
    elif mode & 0o022:
        whom = "everybody" if mode & 0o002 else f"group {group_name(requests.gid)}"
        yield Finding(
            "requests", FIX, f"{requests}: {whom} may pardon and pin", f"chmod 0700 {quote(requests.path)}"
        )
    else:
        yield Finding("requests", OK, f"{requests}: nobody else may pardon")

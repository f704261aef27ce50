"""A live daemon that is killed at random moments, while agents append, rotate, copy, truncate and delete."""

import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from harness import AGENTS, FLOODING, Place, check, environment

#: From this round on the flooding agent floods.
FLOOD_ROUND = 8
DEADLINE_S = 120


def wait_until(condition: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        check("INV9", time.monotonic() < end, f"not within {deadline_s:g} s: {what}")
        time.sleep(0.02)


class Agents(threading.Thread):
    """Write round after round until told to stop; rotate in turn; delete what was consumed."""

    def __init__(self, place: Place, rng: random.Random, pace_s: float) -> None:
        super().__init__(daemon=True)
        self.place, self.rng, self.pace_s = place, rng, pace_s
        self.round = self.rotations = 0
        #: The numbers of the sources whose files were deleted.
        self.deleted: set[int] = set()
        self.copies: dict[Path, Path] = {}
        self.error: BaseException | None = None
        self._is_done = threading.Event()

    def stop(self) -> None:
        self._is_done.set()
        self.join()
        if self.error is not None:
            raise self.error

    def run(self) -> None:
        try:
            while not self._is_done.wait(self.pace_s):
                self.write()
        except BaseException as error:  # noqa: BLE001 (raised by stop)
            self.error = error

    def write(self) -> None:
        self.round += 1
        for agent in AGENTS:
            is_flood = agent == FLOODING and self.round >= FLOOD_ROUND
            records = self.place.records(agent, self.rng.randint(1, 12), pad=80, is_flood=is_flood)
            self.place.append(agent, records, pieces=self.rng.randint(1, 3))
        if self.round % 3 == 0:
            self.rotate(AGENTS[self.round // 3 % len(AGENTS)])
        for path in sorted(self.place.telemetry.glob("*.jsonl.*")):
            source = self.consumed(path)
            # While no daemon looks, its inode may be known as that of another file, which was deleted.
            if source not in {0, *self.deleted}:
                path.unlink()
                self.deleted.add(source)

    def rotate(self, agent: str) -> None:
        path = self.place.file(agent)
        # As logrotate's notifempty: one that was emptied a millisecond ago is not renamed as well.
        if not path.exists() or path.stat().st_size == 0:
            return
        # What is truncated before it was read is lost and told as a gap: here it is read, or renamed.
        if self.rng.random() < 0.5 and self.consumed(self.place.file(agent)):
            self.place.copytruncate(agent)
        else:
            self.place.rotate(agent)
        self.rotations += 1

    def consumed(self, path: Path) -> int:
        """Return the number of the source which says that the file was read to its end; 0 without one."""
        status = path.stat()
        query = "SELECT max(id) FROM source WHERE ino = ? AND pos = ? AND is_gone = 0 AND pos > 0"
        return ask(self.place.database, query, str(status.st_ino), status.st_size)


def ask(database: Path, query: str, *values: object) -> int:
    """Ask for one number; 0 while there is no database."""
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)) as db:
            return int(db.execute(query, values).fetchone()[0] or 0)
    except sqlite3.OperationalError:
        return 0


@contextmanager
def daemon(place: Place) -> Iterator[subprocess.Popen[bytes]]:
    """Start the real daemon; kill it at the end unless it has ended."""
    command = [sys.executable, "-m", "sentineld", *place.argv()]
    with (place.base / "output").open("wb") as output:
        process = subprocess.Popen(
            command, env=environment(place.package), cwd=place.base, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def has_moved(place: Place, process: subprocess.Popen[bytes], before: int) -> bool:
    """Say whether more than so many events were counted; fail where the daemon has ended."""
    check("INV9", process.poll() is None, (place.base / "output").read_text()[-2000:])
    return events_counted(place) > before


def events_counted(place: Place) -> int:
    return ask(place.database, "SELECT events FROM meta")


def resources(pid: int) -> tuple[int, int, int]:
    """Return (resident MiB, descriptors, threads) of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    resident = int(status.partition("VmRSS:")[2].split()[0]) // 1024
    threads = int(status.partition("Threads:")[2].split()[0])
    return resident, len(os.listdir(f"/proc/{pid}/fd")), threads


def undisturbed(place: Place, base: Path) -> Place:
    """Write the same bytes to another place and let a daemon that nobody kills take them in."""
    calm = Place(base)
    for agent, data in place.pieces:
        with calm.file(agent).open("ab") as file:
            file.write(data)
    calm.calm()
    return calm

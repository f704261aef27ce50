"""Processes of the command line that go on until they are told to stop; started as quickly as commands."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import command_line


class Forked:
    """One command that runs; its logs go to a file, behind what stands there."""

    def __init__(self, arguments: list[str], env: dict[str, str], cwd: Path, stderr: Path) -> None:
        self.stderr = stderr
        with stderr.open("ab") as err, open(os.devnull, "wb") as out:
            self.process = command_line.start(arguments, env, cwd, out.fileno(), err.fileno())

    def logs(self, event: str) -> list[dict[str, Any]]:
        """Return the records of one event."""
        lines = self.stderr.read_text().splitlines()
        return [record for line in lines if (record := json.loads(line))["event"] == event]

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        self.process.join(60)
        code: int = self.process.exitcode
        return code

    def kill(self) -> None:
        self.process.kill()
        self.process.join(60)


@contextmanager
def forked(*args: Any) -> Iterator[Forked]:
    """Run a command until the end of the block."""
    made = Forked(*args)
    try:
        yield made
    finally:
        made.kill()

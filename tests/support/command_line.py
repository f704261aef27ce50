"""The command line in a process that is forked from one which has imported everything.

What a command does is the same; the third of a second that Python takes to load the program is spent once.
What the start itself decides (encodings, descriptors, limits, other users) needs a start of its own.
"""

import codecs
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import cache
from multiprocessing import forkserver
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

from sentineld.cli.app import COMMANDS

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [*(f"sentineld.cli.{module}" for module in (*COMMANDS.values(), "tier")), "compiled_formats"]
)


@cache
def _start_server() -> None:
    # It would not find what is preloaded from here: it does not take over our search path.
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(__file__).parent), before)))
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def run(
    arguments: list[str], env: Mapping[str, str], cwd: Path, timeout_s: float, uid: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Do what ``python -m sentineld`` does with these arguments, in a process of its own.

    ``uid`` is whose it is, for root to choose: also of one who may not read the interpreter's files.
    """
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        process = start(arguments, env, cwd, stdout.fileno(), stderr.fileno(), uid)
        process.join(timeout_s)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(arguments, timeout_s)
        code = process.exitcode
        process.close()
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(arguments, code, stdout.read(), stderr.read())


def start(
    arguments: list[str], env: Mapping[str, str], cwd: Path, stdout: int, stderr: int, uid: int | None = None
) -> Any:
    """Begin what ``run`` does, and return the process; output goes to two open files."""
    # Descriptors are handed over by the server.
    _start_server()
    outputs = [DupFd(fd) for fd in (stdout, stderr)]
    return begin(_main, arguments, dict(env), str(cwd), uid, *outputs)


class Started:
    """What ``start`` begins, with the methods of ``subprocess.Popen`` that tests use."""

    def __init__(
        self, arguments: list[str], env: Mapping[str, str], cwd: Path, stdout: int, stderr: int
    ) -> None:
        self._process = start(arguments, env, cwd, stdout, stderr)
        self._arguments = arguments
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        code: int | None = self._process.exitcode
        return code

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self._arguments, timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def begin(function: Callable[..., None], *args: Any) -> Any:
    """Begin a function of this folder in a process of its own, and return that."""
    _start_server()
    process = CONTEXT.Process(target=function, args=args)
    process.start()
    return process


def _main(
    arguments: list[str], env: dict[str, str], cwd: str, uid: int | None, stdout: Any, stderr: Any
) -> None:
    os.dup2(stdout.detach(), 1)
    os.dup2(stderr.detach(), 2)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    sys.argv = ["sentineld", *arguments]
    if uid is not None:
        # What the program loads late, from where that user may not look.
        import resource  # noqa: F401

        codecs.lookup("ascii")
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    runpy.run_module("sentineld", run_name="__main__", alter_sys=True)


def error_of(done: subprocess.CompletedProcess[str], code: int) -> str:
    """Return how an error begins that was shown as errors are, with an exit code."""
    assert done.returncode == code, done
    lines = done.stderr.replace("\n  ", " ").splitlines()
    assert lines[0].startswith("error: "), done.stderr
    assert lines[-1].startswith("try: "), done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]

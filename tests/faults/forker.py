"""Forks runs of sentineld off one process that has imported it: the same program, but Python runs already.

A thousand runs under strace would spend most of their time in imports. Each line on stdin is one run:
{"argv", "cwd", "output", "is_traced"}; the answers are the child's pid, and later its wait status and its
processor time in seconds. A traced child stops itself before it begins, so that strace can attach, and makes
the link ``begun`` afterwards.
"""

import contextlib
import importlib
import json
import os
import pkgutil
import signal
import sys
import traceback

import sentineld
from sentineld.cli import main

for module in pkgutil.walk_packages(sentineld.__path__, "sentineld."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)


def child(job: dict) -> None:
    """Be one run: never returns."""
    code = 70
    try:
        os.chdir(job["cwd"])
        output = os.open(job["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        os.close(0)
        os.open("/dev/null", os.O_RDONLY)
        sys.argv = ["sentineld", *job["argv"]]
        if job["is_traced"]:
            os.kill(os.getpid(), signal.SIGSTOP)
            os.symlink("traced", "begun")
        ended = main()
        code = ended if isinstance(ended, int) else 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 (it is told, and the run ends)
        traceback.print_exc()
        code = 1
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)


for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        child(json.loads(line))
    print(pid, flush=True)
    _, status, usage = os.wait4(pid, 0)
    print(status, usage.ru_utime + usage.ru_stime, flush=True)

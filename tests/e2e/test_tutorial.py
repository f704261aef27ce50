"""The tutorial, followed as it stands: every command is run, and prints what the page shows."""

import os
import signal
import subprocess
import sys

import pytest
from pages import ROOT, steps

#: Commands that change nothing: they are asked again until the daemon has come so far.
READING = ("sentineld status", "sentineld why", "sentineld tier", "sentineld log")
DONE = "-- done --"


@pytest.fixture
def terminal(tmp_path):
    """Open a shell in an empty directory, and return what runs a command there and gives what it prints."""
    program = tmp_path / "bin" / "sentineld"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m sentineld "$@"\n')
    program.chmod(0o755)
    (tmp_path / "work").mkdir()
    env = os.environ | {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
        "COLUMNS": "80",
        # Whatever else this machine does: `status` would say so.
        "SENTINELD_THROTTLE_ENABLED": "false",
    }
    with subprocess.Popen(
        ["bash", "--norc"],
        cwd=tmp_path / "work",
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as shell:
        assert shell.stdin is not None
        assert shell.stdout is not None

        def run(command):
            shell.stdin.write(f"{command}\necho; echo '{DONE}'\n")
            shell.stdin.flush()
            lines = iter(shell.stdout.readline, f"{DONE}\n")
            return "".join(lines)

        yield run
        os.killpg(shell.pid, signal.SIGTERM)
        shell.stdin.close()


def test_the_tutorial_does_what_it_says(terminal, wait_for):
    shown = steps(ROOT / "docs" / "tutorial.md")
    assert len([step for step in shown if step.output]) >= 6

    for step in shown:
        if step.command.startswith("sentineld run"):
            # In a terminal of its own.
            terminal(f"{step.command} 2>run.log &")
            wait_for(lambda: '"started"' in terminal("cat run.log"), "the daemon runs")
        elif step.command.startswith(READING):
            seen = []
            wait_for(
                lambda step=step, seen=seen: seen.append(terminal(step.command)) or step.fits(seen[-1]),
                step.command,
            )
        else:
            printed = terminal(step.command)
            assert step.fits(printed), printed

"""Completion, in a real bash: commands, agents, and no name that a shell would act on."""

import subprocess
import sys

import pytest
from schemas import check

#: What bash does when somebody presses the tabulator behind the words.
COMPLETE = """
source script
COMP_WORDS=({words})
COMP_CWORD={number}
_sentineld_completion sentineld
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def press(place):
    program = place.base / "sentineld"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m sentineld "$@"\n')
    program.chmod(0o755)
    (place.base / "script").write_text(place.command("completion", "bash").stdout)

    def complete(*words):
        script = COMPLETE.format(words=" ".join(words), number=len(words) - 1)
        done = subprocess.run(
            ["bash", "--norc", "-c", script],
            capture_output=True,
            text=True,
            check=True,
            cwd=place.base,
            env=place.environment() | {"PATH": f"{place.base}:/usr/bin:/bin"},
        )
        assert done.stderr == ""
        return done.stdout.split()

    return complete


def test_bash_completes_agents_but_none_that_would_be_an_option(place, press):
    telemetry = place.telemetry
    for agent in ("scraper", "scribe", "biller", "-scrap", "~scrap"):
        telemetry.append(f"{agent}.jsonl", *telemetry.normal(agent, 2))
    place.once()
    names = place.json("status")["agents"]

    assert press("sentineld", "why", "--state-dir", "state", "scr") == ["scraper", "scribe"]
    assert press("sentineld", "pardon", "--state-dir", "state", "''") == ["biller", "scraper", "scribe"]
    assert {"-scrap", "~scrap"} <= names.keys()


def test_bash_completes_options(press):
    assert press("sentineld", "demo", "--f") == ["--fast"]


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["gate", "--pr"], ["--print"]),
        (["gate", "--print", "c"], ["claude-code", "codex"]),
        (["tier", "--m"], ["--max-tier"]),
        (["pin", "a", "''"], ["1", "2", "3"]),
        (["schema", "not"], ["notice", "notify"]),
    ],
)
def test_bash_completes_what_is_chosen_from(press, words, completed):
    assert press("sentineld", *words) == completed


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_a_script(place, shell):
    document = place.json("completion", shell)

    check("completion", document)
    assert "_SENTINELD_COMPLETE" in document["text"]
    assert place.command("completion", shell).stdout.strip() == document["text"].strip()

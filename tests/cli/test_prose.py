"""Prose: filled to a width, with commands whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentineld.cli.prose import filled, width

WORDS = "nothing is lost by it but time and room"


@pytest.mark.parametrize(
    "command",
    [
        "sentineld pardon scraper --reason 'it was (me); sorry, all' --state-dir /var/lib/x",
        "mkdir -p '/var/log/the agents; of all'",
        "sudo chown root /etc/sentineld/sentineld.toml && systemctl restart sentineld",
        "pip install 'sentineld[sign]'",
        "sentineld tune telemetry --causes a,b,c",
    ],
)
@pytest.mark.parametrize(
    "frame", ["{}", f"{WORDS}: {{}}; {WORDS}", f"{WORDS}, or {{}}, then {WORDS}", f"{WORDS} ({{}})"]
)
def test_a_command_is_on_one_line_and_all_else_fits(command, frame):
    lines = filled(frame.format(command), first="try: ", columns=40).splitlines()

    assert sum(command in line for line in lines) == 1
    assert [line for line in lines if len(line) > 40 and command not in line] == []
    assert " ".join(" ".join(lines).split()) == "try: " + frame.format(command)


@given(st.text(alphabet="ab ';,(\"\\n:", max_size=200))
def test_no_word_is_lost_whatever_the_text_is(text):
    for columns in (40, 80):
        lines = filled(f"sentineld {text}", indent="", columns=columns)
        assert lines.split() == ["sentineld", *text.split()]


def test_the_width_is_what_is_asked_for_else_80(monkeypatch):
    monkeypatch.setenv("COLUMNS", "132")
    assert width() == 132
    monkeypatch.setenv("COLUMNS", "7")
    assert width() == 40
    monkeypatch.setenv("COLUMNS", "wide")
    monkeypatch.setattr("os.get_terminal_size", _none)
    assert width() == 80


def _none(_fd):
    raise OSError

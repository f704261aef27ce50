"""Pressure: the kernel's files, those of a control group, and what stands in for them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentineld import pressure
from sentineld.pressure import parse_psi, read_pressure
from sentineld.throttle import Pressure

TEXT = "some avg10={} avg60=1.00 avg300=2.00 total=123456\nfull avg10=99.00 avg60=0.00 avg300=0.00 total=0\n"


def test_the_files_of_the_machine_and_of_a_control_group_are_read(tmp_path):
    (tmp_path / "cpu").write_text(TEXT.format("12.34"))
    (tmp_path / "memory.pressure").write_text(TEXT.format("5.00"))

    assert read_pressure(str(tmp_path)) == Pressure(12.34, 5.0, 0.0)


def test_the_first_place_that_says_anything_counts(tmp_path, monkeypatch):
    (tmp_path / "io.pressure").write_text(TEXT.format("7.00"))
    monkeypatch.setattr(pressure, "PLACES", (str(tmp_path / "none"), str(tmp_path)))

    assert read_pressure() == Pressure(io=7.0)


def test_without_such_files_load_and_memory_stand_in(tmp_path, monkeypatch):
    monkeypatch.setattr(pressure, "PLACES", (str(tmp_path),))
    monkeypatch.setattr("os.getloadavg", lambda: (8.0, 0.0, 0.0))
    monkeypatch.setattr("os.cpu_count", lambda: 2)

    found = read_pressure()
    assert found.cpu == 75.0
    assert 0.0 <= found.memory <= 100.0
    assert found.io == 0.0
    monkeypatch.setattr("os.getloadavg", lambda: (1.0, 0.0, 0.0))
    assert read_pressure().cpu == 0.0


def test_a_place_that_was_given_and_says_nothing_is_no_pressure(tmp_path, monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (80.0, 0.0, 0.0))

    assert read_pressure(str(tmp_path)) == Pressure()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (TEXT.format("0.00"), 0.0),
        (TEXT.format("100.00"), 100.0),
        ("full avg10=3.00 avg60=0.00 avg300=0.00 total=0\n", None),
        ("some avg60=3.00\n", None),
        ("some avg10=-1\n", None),
        ("some avg10=nan\n", None),
        ("some avg10=1e9\n", None),
        ("some avg10=\n", None),
        ("", None),
    ],
)
def test_a_line_is_what_the_kernel_writes_or_nothing(text, value):
    assert parse_psi(text) == value


@given(st.text(max_size=200))
def test_no_text_raises(text):
    found = parse_psi(text)
    assert found is None or 0.0 <= found <= 100.0

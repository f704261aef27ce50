"""What the documents say of the tests is true: each test that they name exists."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
TABLE = (TESTS.parent / "docs" / "reliability.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", TABLE)))


def test_the_table_names_many_tests():
    assert len(NAMED) > 60


@pytest.mark.parametrize(("file", "name"), NAMED, ids=lambda value: str(value))
def test_each_test_that_is_named_exists(file, name):
    text = (TESTS / file).read_text(encoding="utf-8")

    assert re.search(rf"^ *(def {name}\(|{name} = )", text, re.MULTILINE), f"{file} has no {name}"


def test_each_file_that_is_named_exists():
    for file in re.findall(r"`([\w/]+\.py)`", TABLE):
        assert (TESTS / file).exists() or (TESTS.parent / file).exists(), file


def test_every_row_of_the_matrix_is_there():
    rows = {"A": 28, "B": 21, "C": 27, "D": 22, "E": 16, "F": 10}
    unused = {"A9", "A19", "A22", "B13", "B16", "B17", "C4", "C26", "D3", "D16", "D17", "E7", "F5"}
    named = set()
    for cell in re.findall(r"^\| ((?:[A-F]\d+[, to]*)+) \|", TABLE, re.MULTILINE):
        for part in cell.split(", "):
            first, _, last = part.partition(" to ")
            numbers = range(int(first[1:]), int((last or first)[1:]) + 1)
            named |= {f"{first[0]}{number}" for number in numbers}
    wanted = {f"{letter}{number}" for letter, count in rows.items() for number in range(1, count + 1)}

    assert wanted - unused - named == set()

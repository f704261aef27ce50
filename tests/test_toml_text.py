"""Lines of keys: found as a reader would count them, whatever the text is."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentineld.toml_text import line_of, lines_of

TEXT = '''mode = "observe"  # [no.table] \u2028
[telemetry]
directories = [
  "/a",
]
note = """
files = 5
[limits]
"""
'a key' = 1
[[telemetry.sources]] # one
path = "a"
[[telemetry.sources]]
path = "b"
[state.keys."k-1"]
# file = """
file = "x"
[limits.owners]
[limits]
'''


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("mode", 1),
        ("telemetry.directories", 3),
        ("telemetry.directories[1]", 3),
        ("telemetry.note", 6),
        ("telemetry.files", 2),
        ("telemetry.a key", 10),
        ("telemetry.sources[0].path", 12),
        ("telemetry.sources[1].path", 14),
        ("telemetry.sources[1].role", 13),
        ("state.keys.k-1.file", 17),
        ("state.keys", 15),
        ("state", 15),
        ("limits.files", 19),
        ("no.table", 0),
    ],
)
def test_a_key_has_the_line_where_it_stands_else_that_of_what_it_is_in(key, line):
    assert line_of(key, lines_of(TEXT)) == line


NAMES = st.sampled_from(["a", "b-c", "_d", "5"])


@given(
    st.dictionaries(NAMES, st.dictionaries(NAMES, st.sampled_from(["1", '"x = 1"', "[[1], [2]]", "'#['"])))
)
def test_every_key_of_a_plain_document_has_its_line(document):
    lines = []
    for table, values in document.items():
        lines += [f"[{table}]", *(f"{name} = {value} # y = 2" for name, value in values.items())]
    text = "\n".join(lines)
    tomllib.loads(text)

    found = lines_of(text)

    expected = {}
    for table, values in document.items():
        expected[table] = lines.index(f"[{table}]") + 1
        for place, name in enumerate(values, expected[table] + 1):
            expected[f"{table}.{name}"] = place
    assert found == expected

"""Globs: what tells at little cost that a glob cannot match."""

from string import ascii_lowercase

from hypothesis import given
from hypothesis import strategies as st

from sentineld.mapping_files import built_in
from sentineld.path_glob import compile_glob, telling_text
from sentineld.recognition import Formats
from sentineld.taxonomy import Taxonomy

TEXTS = st.text("ab/.-", min_size=1, max_size=5)
WILD = st.sampled_from(["*", "**", "?", "{name}"])
PATHS = st.lists(st.text("ab/.-", max_size=6), min_size=9, max_size=9)


@given(st.lists(st.one_of(TEXTS, WILD), min_size=1, max_size=8), PATHS)
def test_every_path_that_a_glob_matches_has_its_telling_text(pieces, fillers):
    if "{name}" in pieces:
        first = pieces.index("{name}")
        pieces = [piece for at, piece in enumerate(pieces) if piece != "{name}" or at == first]
    stands_for = {"?": "a", "{name}": "b"}
    path = "".join(
        filler if piece.startswith("*") else stands_for.get(piece, piece)
        for piece, filler in zip(pieces, fillers, strict=False)
    )
    glob = "".join(pieces)

    assert compile_glob(glob).fullmatch(path)
    assert telling_text(glob) in path


def test_a_telling_text_is_not_the_ending_that_all_telemetry_has():
    assert telling_text("**/-{slug}/*.jsonl") == "/-"
    assert telling_text("**/sessions/*/rollout-*.jsonl*") == "/sessions/"
    assert telling_text("*.jsonl") == ".jsonl"
    assert telling_text("*") == ""


def test_formats_claim_the_paths_that_their_globs_match():
    formats = Formats(built_in(Taxonomy().classify))
    paths = [
        glob.replace("*", filler).replace("?", "x").replace("{", "").replace("}", "")
        for mapping in formats.mappings
        for glob in mapping.globs
        for filler in ("", "a", "/a/", "/-b/")
    ]
    paths += [f"/tmp/{letter}.jsonl" for letter in ascii_lowercase]

    claimed = [formats.claiming(path) for path in paths]

    assert claimed == [[one for one in formats.mappings if one.parts(path) is not None] for path in paths]
    assert sum(map(bool, claimed)) > len(formats.mappings)

"""What holds for every state file, not only for those somebody thought of.

A reader with a key accepts the signed content or nothing: no flipped, missing, added or moved byte gives it
another content. And what a writer encodes is what a reader sees.
"""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sentineld.errors import StateFileError
from sentineld.keys import ED25519, HMAC_SHA256, SigningKey
from sentineld.signed_document import MAX_INTEGER
from sentineld.state_file import StateView, encode_state, parse_state

KEY = SigningKey("2026-11a", HMAC_SHA256, bytes(range(32)))
PAIR = SigningKey("2026-11b", ED25519, bytes(range(32)))

DOCUMENT = {
    "schema": 1,
    "writer": "sentineld/0.1.0",
    "epoch": 1_763_858_410,
    "seq": 4182,
    "mode": "enforce",
    "status": "ok",
    "isolation": "service",
    "generated_at": "2026-11-23T00:40:10.123Z",
    "valid_until": "2026-11-23T00:40:40.123Z",
    "boot_id": "2b4c0c34-8ad4-4d4a-8f2e-4c8f3a8f0e55",
    "boottime_ms": 1_234_567,
    "valid_for_ms": 30_000,
    "unlisted_tier": 1,
    "agents": {"research-07": {"tier": 3, "score": 0.93, "until": None}, "scribe": {"tier": 2}},
    "would": {},
}
SIGNED = encode_state(DOCUMENT, KEY)
VIEW = parse_state(SIGNED, [KEY])


def accepted(data: bytes) -> StateView | None:
    """Return what a reader with the key makes of the bytes; None where it refuses them."""
    try:
        return parse_state(data, [KEY])
    except StateFileError:
        return None


def test_no_single_byte_of_a_signed_file_can_be_changed():
    """Every byte, every other value: 150,000 forgeries."""
    for position in range(len(SIGNED)):
        head, tail = SIGNED[:position], SIGNED[position + 1 :]
        for value in range(256):
            if value != SIGNED[position]:
                assert accepted(head + bytes([value]) + tail) is None, (position, value)


def test_no_single_byte_of_a_file_that_was_signed_with_ed25519_can_be_changed():
    """Every byte, by one bit and by all of them; a check takes a fifth of a millisecond."""
    signed = encode_state(DOCUMENT, PAIR)
    public = [PAIR.verification_key()]
    assert parse_state(signed, public).verified
    for position in range(len(signed)):
        for flip in (1 << position % 8, 0xFF):
            forged = signed[:position] + bytes([signed[position] ^ flip]) + signed[position + 1 :]
            with pytest.raises(StateFileError):
                parse_state(forged, public)


def test_no_part_of_a_signed_file_is_enough():
    """Every length; only the final newline may be missing, which changes no content."""
    for length in range(len(SIGNED) - 1):
        assert accepted(SIGNED[:length]) is None, length
    assert accepted(SIGNED[:-1]) == VIEW


def test_no_byte_can_be_left_out_or_doubled():
    for position in range(len(SIGNED) - 1):
        assert accepted(SIGNED[:position] + SIGNED[position + 1 :]) is None, position
        assert accepted(SIGNED[: position + 1] + SIGNED[position:]) is None, position


@given(st.binary(min_size=1, max_size=300))
@example(b"\n")
@example(b" ")
@example(SIGNED)
def test_nothing_can_be_appended_or_put_in_front(extra):
    assert accepted(SIGNED + extra) is None
    assert accepted(SIGNED[:-1] + extra) == (VIEW if extra == b"\n" else None)
    assert accepted(extra + SIGNED) is None


@given(st.integers(0, len(SIGNED)), st.binary(min_size=1, max_size=40), st.integers(0, 40))
def test_no_bytes_can_be_put_in_the_place_of_others(position, replacement, dropped):
    forged = SIGNED[:position] + replacement + SIGNED[position + dropped :]

    assert accepted(forged) in (None, VIEW)
    if forged not in (SIGNED, SIGNED[:-1]):
        assert accepted(forged) is None


@given(st.sampled_from(sorted(DOCUMENT)), st.sampled_from([b"1", b"3", b"{}", b'"observe"']))
def test_no_member_can_be_appended_inside_the_document(name, value):
    """An appended duplicate wins in most parsers: here it is neither signed nor allowed."""
    member = b',"' + name.encode() + b'":' + value
    tail = SIGNED.index(b',"key_id"')

    assert accepted(SIGNED[:tail] + member + SIGNED[tail:]) is None
    assert accepted(SIGNED.removesuffix(b"}\n") + member + b"}\n") is None
    assert accepted(SIGNED[:tail] + SIGNED[tail:].removesuffix(b"}\n") + member + SIGNED[tail:]) is None


@given(st.binary(max_size=400))
@example(b"\xff" * 300)
def test_bytes_that_nobody_signed_are_refused_whatever_they_are(data):
    assert accepted(data) is None
    assert accepted(b'{"schema":1' + data + SIGNED[SIGNED.index(b',"key_id"') :]) is None


@given(st.binary(max_size=400))
def test_a_reader_without_a_key_raises_nothing_but_a_refusal(data):
    for bytes_ in (data, b"{" + data + b"}", b'{"schema":1,"agents":{' + data + b"}}"):
        with pytest.raises(StateFileError):
            parse_state(bytes_)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)
counts = st.integers(0, MAX_INTEGER)
tiers = st.integers(1, 3)
agents = st.dictionaries(
    st.text(max_size=20),
    st.tuples(st.dictionaries(st.text(max_size=8), json_values, max_size=3), tiers).map(
        lambda parts: {**parts[0], "tier": parts[1]}
    ),
    max_size=5,
)
documents = st.builds(
    lambda unknown, known: {**unknown, **known},
    st.dictionaries(
        st.text(max_size=8).filter(lambda name: name not in ("key_id", "signature")), json_values, max_size=3
    ),
    st.fixed_dictionaries(
        {
            **{name: st.just(DOCUMENT[name]) for name in ("schema", "generated_at", "valid_until")},
            **dict.fromkeys(("epoch", "seq", "boottime_ms"), counts),
            "valid_for_ms": st.integers(1, MAX_INTEGER),
            "mode": st.sampled_from(["enforce", "observe"]),
            "unlisted_tier": tiers,
            "agents": agents,
            **dict.fromkeys(("status", "isolation", "writer", "boot_id"), st.text(max_size=12)),
            "would": agents,
        }
    ),
)


@given(documents, st.sampled_from([None, KEY]))
def test_every_document_is_read_back_as_it_was_written(document, key):
    data = encode_state(document, key)
    view = parse_state(data, [key] if key else [])

    assert data.isascii()
    assert data.count(b"\n") == 1
    for name in ("epoch", "seq", "mode", "boottime_ms", "valid_for_ms", "unlisted_tier", "agents", "would"):
        assert getattr(view, name) == document[name]
    for name in ("status", "isolation", "writer", "boot_id"):
        assert getattr(view, name) == document[name]
    for agent_id, agent in document["agents"].items():
        assert view.tier(agent_id) == agent["tier"]
    assert json.loads(data) == {
        **document,
        **({"key_id": key.key_id, "signature": json.loads(data)["signature"]} if key else {}),
    }


@given(documents)
def test_a_signed_and_an_unsigned_reader_see_the_same_content(document):
    data = encode_state(document, KEY)
    with_key, without = parse_state(data, [KEY]), parse_state(data)

    assert with_key.verified
    assert not without.verified
    assert (with_key.agents, with_key.version) == (without.agents, without.version)

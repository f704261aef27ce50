"""The state file: what is published is read back, and everything else is refused with a reason."""

import errno
import json
import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import sentineld
from sentineld.errors import ConfigError, StateFileError
from sentineld.keys import HMAC_SHA256, SigningKey, load_key
from sentineld.published_file import check_trust, publish, remove_leftovers
from sentineld.state_file import CONTEXT, encode_state, parse_state, read_state
from sentineld.tier import Tier

ROOT = str(Path(sentineld.__file__).parent.parent)
KEY = SigningKey("2026-11a", HMAC_SHA256, b"k" * 32)
OTHER_KEY = SigningKey("2026-12a", HMAC_SHA256, b"o" * 32)

NOW_US = 1_795_394_410_123_000  # 2026-11-23T00:40:10.123Z
BOOTTIME_MS = 1_234_567
CLOCKS = {"now_us": NOW_US, "boottime_ms": BOOTTIME_MS, "boot_id": "boot-a"}

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def document(**changes):
    return {
        "schema": 1,
        "writer": "sentineld/0.1.0",
        "epoch": 1_763_858_410,
        "seq": 4182,
        "mode": "enforce",
        "status": "ok",
        "isolation": "service",
        "generated_at": "2026-11-23T00:40:10.123Z",
        "valid_until": "2026-11-23T00:40:40.123Z",
        "boot_id": "boot-a",
        "boottime_ms": BOOTTIME_MS,
        "valid_for_ms": 30_000,
        "unlisted_tier": 1,
        "agents": {
            "research-07": {
                "tier": 3,
                "score": 0.93,
                "since": "2026-11-23T00:31:02Z",
                "until": None,
                "decision": "d-000193",
                "reason_code": "first_seen_sink",
            },
            "scribe": {"tier": 2},
        },
        "would": {},
        **changes,
    }


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.json"


def write(path, data):
    """Write a file as our publisher would leave it."""
    path.write_bytes(data)
    path.chmod(0o640)


def refusal(path, **options):
    """Return the sentence with which a reader refuses the file."""
    with pytest.raises(StateFileError) as caught:
        read_state(path, **{**CLOCKS, **options})
    assert str(path) in str(caught.value)
    return str(caught.value)


# Encoding


def test_the_document_is_one_line_with_key_id_and_signature_at_its_end():
    data = encode_state(document(), KEY)

    assert data.endswith(b'"}\n')
    assert data.count(b"\n") == 1
    assert list(json.loads(data)) == [*document(), "key_id", "signature"]
    assert b": " not in data


def test_an_unsigned_document_has_neither_key_id_nor_signature():
    assert json.loads(encode_state(document(), None)) == document()


def test_the_signature_is_the_documented_one():
    """Computed here by hand, as a reader in another language would."""
    import base64
    import hashlib
    import hmac

    data = encode_state(document(), KEY)
    body, signature = data.split(b',"key_id":"2026-11a","signature":"')
    expected = hmac.new(
        b"k" * 32, b"sentineld-state-v1\0hmac-sha256\x002026-11a\0" + body, hashlib.sha256
    ).digest()

    assert base64.b64decode(signature.removesuffix(b'"}\n')) == expected


@pytest.mark.parametrize("member", ["key_id", "signature"])
def test_a_document_may_not_bring_its_own_signature(member):
    with pytest.raises(ValueError, match="added by the signer"):
        encode_state(document(**{member: "x"}), KEY)


def test_a_number_that_json_cannot_show_is_refused_by_the_writer():
    with pytest.raises(ValueError, match="JSON"):
        encode_state(document(agents={"a": {"tier": 1, "score": float("nan")}}), None)


def test_line_separators_and_control_characters_in_an_id_stay_inside_the_line(path):
    strange = "a\n\u2028\x1b[31m\x00\u00e9\U0001f600"
    data = encode_state(document(agents={strange: {"tier": 2}}), KEY)
    write(path, data)

    assert data.isascii()
    assert data.count(b"\n") == 1
    assert read_state(path, keys=[KEY], **CLOCKS).tier(strange) == Tier.SUSPICIOUS


# Keys


def test_a_key_does_not_show_its_secret():
    assert "kkkk" not in repr(KEY)


@pytest.mark.parametrize("key_id", ["", "a b", "a\n", "x" * 65, 'a"', "ä"])
def test_a_key_id_that_the_file_cannot_carry_is_refused(key_id):
    with pytest.raises(ConfigError):
        SigningKey(key_id, HMAC_SHA256, b"k" * 32)


def test_a_short_secret_is_refused_wherever_it_comes_from():
    with pytest.raises(ConfigError, match="fewer than 32"):
        SigningKey("a", HMAC_SHA256, b"k" * 31)


def test_an_algorithm_that_cannot_sign_is_refused():
    with pytest.raises(ConfigError, match="cannot sign"):
        encode_state(document(), SigningKey("a", "none", b"k" * 32))


def key_file(tmp_path, content=b"s" * 32, mode=0o600):
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o440])
def test_a_key_file_is_read_without_its_last_newline(tmp_path, mode):
    key = load_key(key_file(tmp_path, b"s" * 31 + b"\n\n", mode), "id")

    assert key == SigningKey("id", HMAC_SHA256, b"s" * 31 + b"\n")


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o601, 0o660, 0o620])
def test_a_key_file_that_others_can_reach_is_refused_with_its_path_and_a_hint(tmp_path, mode):
    path = key_file(tmp_path, mode=mode)

    with pytest.raises(ConfigError) as caught:
        load_key(path, "id")

    assert str(path) in str(caught.value)
    assert "chmod" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"s" * 31, b"s" * 31 + b"\n", b"s" * 4097, b"s" * 4098 + b"\n"])
def test_a_key_file_that_is_too_short_or_too_long_is_refused(tmp_path, content):
    with pytest.raises(ConfigError, match="32 to 4096 bytes"):
        load_key(key_file(tmp_path, content), "id")


@pytest.mark.parametrize("content", [b"s" * 32, b"s" * 4096, b"s" * 4096 + b"\n"])
def test_the_limits_of_a_key_file_are_inclusive(tmp_path, content):
    assert load_key(key_file(tmp_path, content), "id").secret == content.removesuffix(b"\n")


def test_a_key_file_that_is_missing_or_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "link").symlink_to(key_file(tmp_path))

    for name, reason in {
        "nothing": "is missing",
        "fifo": "not a regular file",
        "link": "symbolic link",
        ".": "not a regular file",
    }.items():
        with pytest.raises(ConfigError, match=reason) as caught:
            load_key(tmp_path / name, "id")
        assert caught.value.hint


# Publishing


def test_a_published_file_has_mode_and_group_whatever_the_umask_says(path):
    for umask, mode in ((0o077, 0o640), (0, 0o600), (0o777, 0o444)):
        before = os.umask(umask)
        try:
            publish(path, b"x", mode=mode, group=os.getegid())
        finally:
            os.umask(before)

        assert stat.S_IMODE(path.stat().st_mode) == mode


@needs_root
def test_a_published_file_belongs_to_the_readers_group(path):
    publish(path, b"x", group=4242)

    assert path.stat().st_gid == 4242


def test_publishing_replaces_the_file_and_leaves_nothing_else(path):
    publish(path, b"one")
    first = path.stat().st_ino
    with path.open("rb") as opened:
        publish(path, b"two")

        assert opened.read() == b"one"
    assert path.read_bytes() == b"two"
    assert path.stat().st_ino != first
    assert os.listdir(path.parent) == ["state.json"]


def test_a_relative_path_is_published_in_the_working_directory(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    publish("state.json", b"x")

    assert path.read_bytes() == b"x"


def test_publishing_over_a_symbolic_link_replaces_the_link_and_not_its_target(path):
    victim = path.with_name("victim")
    victim.write_bytes(b"precious")
    path.symlink_to(victim)
    publish(path, b"x")

    assert victim.read_bytes() == b"precious"
    assert not path.is_symlink()


def test_a_failing_rename_leaves_no_temporary_file(path):
    path.mkdir()

    with pytest.raises(IsADirectoryError):
        publish(path, b"x")

    assert os.listdir(path.parent) == ["state.json"]


def test_publishing_into_a_missing_directory_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        publish(tmp_path / "none" / "state.json", b"x")


def publish_with_little_space(path, *, deadly):
    """Publish 1 MB in a process that may write 4 kB: an error, or if deadly a kill in the middle."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    code = f"""
import signal, sys
if {deadly}:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
from sentineld.published_file import publish
try:
    publish({str(path)!r}, b"x" * 1_000_000)
except OSError as error:
    sys.exit(error.errno)
"""
    return subprocess.run([sys.executable, "-B", "-c", code], cwd=ROOT, preexec_fn=limit).returncode


def test_a_full_disk_leaves_the_old_file_and_no_temporary_one(path):
    publish(path, b"old")

    assert publish_with_little_space(path, deadly=False) == errno.EFBIG
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["state.json"]


def test_a_crash_leaves_the_old_file_and_a_leftover_that_is_removed_later(path):
    publish(path, b"old")

    assert publish_with_little_space(path, deadly=True) == -signal.SIGXFSZ
    assert path.read_bytes() == b"old"
    assert len(os.listdir(path.parent)) == 2
    assert remove_leftovers(path) == 1
    assert os.listdir(path.parent) == ["state.json"]


def test_nothing_but_leftovers_of_this_file_is_removed(path):
    keep = [
        ".state.json.tmp",
        ".state.json.0123456789abcde.tmp",
        ".state.json.0123456789abcdeg.tmp",
        ".state.json.0123456789abcdef.tmp.bak",
        ".stateXjson.0123456789abcdef.tmp",
        ".other.json.0123456789abcdef.tmp",
        "state.json.0123456789abcdef.tmp",
        "state.json",
    ]
    for name in keep:
        (path.parent / name).write_bytes(b"")
    (path.parent / ".state.json.aaaaaaaaaaaaaaaa.tmp").mkdir()
    (path.parent / ".state.json.bbbbbbbbbbbbbbbb.tmp").symlink_to(path)
    (path.parent / ".state.json.cccccccccccccccc.tmp").write_bytes(b"left")

    assert remove_leftovers(path) == 1
    assert len(os.listdir(path.parent)) == len(keep) + 2


def test_a_missing_directory_has_no_leftovers(tmp_path):
    assert remove_leftovers(tmp_path / "none" / "state.json") == 0


# Reading


@pytest.mark.parametrize(("key", "keys"), [(KEY, [OTHER_KEY, KEY]), (KEY, []), (None, [])])
def test_what_was_published_is_read_back(path, key, keys):
    publish(path, encode_state(document(), key))
    view = read_state(path, keys=keys, **CLOCKS)

    assert view.version == (1_763_858_410, 4182)
    assert (view.mode, view.status, view.isolation, view.writer) == (
        "enforce",
        "ok",
        "service",
        "sentineld/0.1.0",
    )
    assert (view.generated_at_us, view.valid_until_us) == (NOW_US, NOW_US + 30_000_000)
    assert view.agents == document()["agents"]
    assert view.would == {}
    assert view.verified == bool(keys)
    assert view.key_id == (KEY.key_id if key else None)
    assert [view.tier(agent) for agent in ("research-07", "scribe", "nobody")] == [3, 2, 1]


def test_the_final_newline_is_optional(path):
    write(path, encode_state(document(), KEY).removesuffix(b"\n"))

    assert read_state(path, keys=[KEY], **CLOCKS).verified


def test_agents_that_are_not_listed_get_the_tier_that_the_document_says(path):
    write(path, encode_state(document(unlisted_tier=3, agents={"a": {"tier": 1}}), None))
    view = read_state(path, **CLOCKS)

    assert (view.tier("a"), view.tier("b")) == (Tier.NORMAL, Tier.ANOMALOUS)


def test_members_that_this_reader_does_not_know_are_ignored(path):
    agents = {"a": {"tier": 2, "colour": ["red"]}}
    write(path, encode_state(document(agents=agents, later={"deep": [1, 2.5]}), KEY))

    assert read_state(path, keys=[KEY], **CLOCKS).tier("a") == Tier.SUSPICIOUS


@pytest.mark.parametrize("member", ["writer", "status", "isolation", "would"])
def test_members_that_decide_nothing_may_be_missing_or_odd(path, member):
    for odd in (None, 3, [1]):
        write(path, encode_state(document(**{member: odd}), None))

        assert read_state(path, **CLOCKS).tier("research-07") == Tier.ANOMALOUS


# What is not a file that may be believed


def test_a_missing_file_is_refused(path):
    assert refusal(path).endswith("is missing")


def test_a_directory_is_refused(path):
    path.mkdir()

    assert "not a regular file" in refusal(path)


def test_a_symbolic_link_is_refused_wherever_it_leads(path):
    write(path.with_name("real"), encode_state(document(), KEY))
    path.symlink_to("real")

    assert "symbolic link" in refusal(path, keys=[KEY])


def test_a_fifo_is_refused_without_waiting_for_a_writer(path):
    os.mkfifo(path)

    assert "not a regular file" in refusal(path)


def test_a_socket_and_a_device_are_refused(path):
    import socket

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))

        assert "not a regular file" in refusal(path)
    with pytest.raises(StateFileError, match="not a regular file"):
        read_state("/dev/zero", **CLOCKS)


def test_a_path_that_no_file_can_have_is_refused():
    with pytest.raises(StateFileError, match="cannot be opened"):
        read_state("a\0b", **CLOCKS)


def test_an_empty_file_is_refused(path):
    write(path, b"")

    assert "not JSON" in refusal(path)


def test_a_file_above_the_size_cap_is_refused_before_it_is_read(path):
    data = encode_state(document(), KEY)
    write(path, data)

    assert read_state(path, keys=[KEY], max_bytes=len(data), **CLOCKS).verified
    assert "larger than" in refusal(path, keys=[KEY], max_bytes=len(data) - 1)
    os.truncate(path, 1 << 40)
    assert "larger than 16777216 bytes" in refusal(path, keys=[KEY])
    with pytest.raises(StateFileError, match="larger"):
        check_trust(path, path.stat())


@needs_root
def test_a_file_of_an_unexpected_owner_is_refused(path):
    write(path, encode_state(document(), KEY))
    os.chown(path, 4242, -1)

    assert "uid 4242" in refusal(path, keys=[KEY])
    assert "not to uid 0" in refusal(path, keys=[KEY], expected_owner=0)
    assert read_state(path, keys=[KEY], expected_owner=4242, **CLOCKS).verified


@needs_root
def test_the_owner_of_the_directory_may_own_the_file(path):
    write(path, encode_state(document(), KEY))
    os.chown(path, 4242, -1)
    os.chown(path.parent, 4242, -1)

    assert read_state(path, **CLOCKS).tier("scribe") == Tier.SUSPICIOUS


def test_an_expected_owner_excludes_even_this_user(path):
    write(path, encode_state(document(), KEY))

    assert "not to uid 4242" in refusal(path, keys=[KEY], expected_owner=4242)


@pytest.mark.parametrize("mode", [0o660, 0o606, 0o666])
def test_an_unsigned_file_that_others_can_write_is_refused(path, mode):
    write(path, encode_state(document(), KEY))
    path.chmod(mode)

    assert "writable by others" in refusal(path)
    assert read_state(path, keys=[KEY], **CLOCKS).verified


def test_an_unsigned_file_in_a_directory_open_to_all_is_refused_unless_it_is_sticky(path):
    write(path, encode_state(document(), KEY))
    path.parent.chmod(0o777)

    assert "anyone can replace it" in refusal(path)
    assert read_state(path, keys=[KEY], **CLOCKS).verified
    path.parent.chmod(0o1777)
    assert not read_state(path, **CLOCKS).verified


# What is not signed as it should be


def test_an_unsigned_file_is_refused_by_a_reader_with_a_key(path):
    write(path, encode_state(document(), None))

    assert "does not end in a signature" in refusal(path, keys=[KEY])


def test_a_signature_of_an_unknown_key_is_refused(path):
    write(path, encode_state(document(), OTHER_KEY))

    assert "2026-12a, which this reader does not know" in refusal(path, keys=[KEY])


def test_a_signature_of_a_wrong_secret_under_a_known_id_is_refused(path):
    write(path, encode_state(document(), SigningKey(KEY.key_id, HMAC_SHA256, b"w" * 32)))

    assert "valid signature" in refusal(path, keys=[KEY])


def test_a_key_of_an_unknown_algorithm_verifies_nothing(path):
    write(path, encode_state(document(), KEY))

    assert "unknown algorithm" in refusal(path, keys=[SigningKey(KEY.key_id, "none", KEY.secret)])


def test_of_two_keys_with_one_id_either_may_have_signed(path):
    write(path, encode_state(document(), KEY))
    wrong = SigningKey(KEY.key_id, HMAC_SHA256, b"w" * 32)

    assert read_state(path, keys=[wrong, KEY], **CLOCKS).verified


def test_a_signature_does_not_move_to_another_key_id(path):
    data = encode_state(document(), KEY).replace(b'"2026-11a"', b'"2026-11b"')
    write(path, data)

    assert "valid signature" in refusal(path, keys=[SigningKey("2026-11b", HMAC_SHA256, KEY.secret)])


def test_other_spellings_of_the_same_signature_are_refused(path):
    """The last base64 digit before ``=`` has two spare bits; a decoder would accept all four."""
    data = encode_state(document(), KEY)
    digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    position = len(data) - len(b'="}\n') - 1
    for spare in range(1, 4):
        digit = digits[digits.index(data[position]) ^ spare]
        write(path, data[:position] + bytes([digit]) + data[position + 1 :])

        assert "valid signature" in refusal(path, keys=[KEY])
    write(path, data.replace(b'="}\n', b'"}\n'))
    assert "valid signature" in refusal(path, keys=[KEY])


@pytest.mark.parametrize(
    "appended",
    [b" ", b"\n", b"\0", b"x", b"{}", b',"agents":{}}', b'{"agents":{}}\n'],
    ids=["blank", "newline", "nul", "letter", "object", "member", "document"],
)
def test_appended_bytes_are_refused(path, appended):
    write(path, encode_state(document(), KEY) + appended)

    assert "signature" in refusal(path, keys=[KEY])


def test_a_signature_in_the_middle_counts_for_nothing(path):
    """A second, worthless tail behind the valid one makes the first part of the signed bytes."""
    data = encode_state(document(), KEY)
    tail = data[data.index(b',"key_id"') :]
    write(path, data.removesuffix(b"}\n") + tail)

    assert "valid signature" in refusal(path, keys=[KEY])


def test_members_put_between_content_and_signature_are_refused(path):
    data = encode_state(document(), KEY)
    at = data.index(b',"key_id"')
    write(path, data[:at] + b',"unlisted_tier":1' + data[at:])

    assert "valid signature" in refusal(path, keys=[KEY])


def test_nothing_is_parsed_before_the_signature_is_checked(path):
    """Bytes on which a parser would fail are refused for their signature, so the parser was never asked."""
    for body in (b"[" * 200_000, b'{"a":' * 100_000, b"\xff\xfe", b'{"n":' + b"9" * 5000):
        write(path, body + b',"key_id":"2026-11a","signature":"' + b"A" * 44 + b'"}\n')

        assert "valid signature" in refusal(path, keys=[KEY])


# What is not the document that it should be. All of it is also tried under a valid signature: a key in the
# wrong hands, or a faulty writer, must not get more than a refusal.


def signed(body):
    """Sign bytes that no encoder of ours would write; ``body`` lacks its closing brace."""
    return body + b',"key_id":"%b","signature":"%b"}' % (KEY.key_id.encode(), KEY.sign(CONTEXT, body))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"schema":1,"schema":1', "same key twice"),
        (b'{"agents":{"a":{"tier":3},"a":{"tier":1}}', "same key twice"),
        (b'{"agents":{"a":{"tier":3,"tier":1}}', "same key twice"),
        (b'{"x":[{"y":{"z":1,"\\u007a":1}}]', "same key twice"),
        (b'{"x":NaN', "NaN"),
        (b'{"x":Infinity', "Infinity"),
        (b'{"x":-Infinity', "Infinity"),
        (b'{"x":1e999', "beyond all bounds"),
        (b'{"x":-1e999', "beyond all bounds"),
        (b'{"x":"\xff"', "not UTF-8 at byte 6"),
        (b'{"x":"\xc0\xaf"', "not UTF-8"),
        (b'{"x":"\xed\xa0\x80"', "not UTF-8"),
        (b'\xef\xbb\xbf{"x":1', "not JSON"),
        (b'{"x":' + b"9" * 5000, "not JSON"),
        (b'{"x":' + b"[" * 200_000, "not JSON"),
        (b"{\"x\":'1'", "not JSON"),
        (b'{"x":1,', "not JSON"),
        (b'{"x":"\n"', "not JSON"),
        ('{"x":1'.encode("utf-16"), "not UTF-8"),
    ],
)
def test_json_that_parsers_disagree_about_is_refused(path, body, reason):
    write(path, signed(body))
    assert reason in refusal(path, keys=[KEY])

    write(path, body + b"}")
    assert reason in refusal(path)


@pytest.mark.parametrize("body", [b"[]", b"null", b'"x"', b"1", b"[{}]", b'{"schema":1} {}'])
def test_json_that_is_not_one_object_is_refused(path, body):
    write(path, body)

    assert "JSON" in refusal(path)


WRONG_NUMBERS = [None, True, "1", 1.0, [], {}, -1, 2**53]


@pytest.mark.parametrize(
    ("member", "values"),
    [
        ("schema", [*WRONG_NUMBERS, 0, 2]),
        ("epoch", WRONG_NUMBERS),
        ("seq", WRONG_NUMBERS),
        ("boottime_ms", WRONG_NUMBERS),
        ("valid_for_ms", [*WRONG_NUMBERS, 0]),
        ("unlisted_tier", [*WRONG_NUMBERS, 0, 4]),
        ("mode", [None, "", "Enforce", 1, True, ["enforce"], {}]),
        ("boot_id", [None, 1, []]),
        ("agents", [None, [], "x", 1, {"a": None}, {"a": 3}, {"a": []}, {"a": {}}]),
        ("agents", [{"a": {"tier": 1}, "b": {"tier": wrong}} for wrong in [*WRONG_NUMBERS, 0, 4]]),
        *(
            (
                member,
                [
                    None,
                    1,
                    "",
                    "soon",
                    "2026-11-23",
                    "2026-11-23T00:40:10",
                    "2026-11-23T00:40:10+00:00",
                    "2026-13-23T00:40:10Z",
                    "2026-11-23T00:40:10.1234567Z",
                    "\uff12026-11-23T00:40:10Z",
                    "2026-11-23T00:40:10Z\n",
                ],
            )
            for member in ("generated_at", "valid_until")
        ),
    ],
)
def test_a_member_that_decides_something_must_have_its_type_and_range(path, member, values):
    for value in values:
        write(path, encode_state(document(**{member: value}), KEY))
        reason = refusal(path, keys=[KEY])

        assert member.removesuffix("s") in reason
    missing = document()
    del missing[member]
    write(path, encode_state(missing, KEY))
    assert member in refusal(path, keys=[KEY])


def test_the_sentence_of_a_refusal_does_not_quote_the_document(path):
    write(path, encode_state(document(agents={"\x1b[2J": {"tier": "\x1b[2J"}}, mode="\x1b[2J"), None))

    assert refusal(path).isprintable()


# Freshness


@pytest.mark.parametrize(
    ("age_ms", "reason"),
    [
        (-1001, "in the future of this boot"),
        (-1000, None),
        (0, None),
        (30_000, None),
        (30_001, "stale"),
        (10**12, "stale"),
    ],
)
def test_in_the_boot_that_wrote_it_the_boot_clock_decides_and_not_the_wall_clock(path, age_ms, reason):
    write(path, encode_state(document(), KEY))
    for wall_us in (0, NOW_US, NOW_US + 10**15):
        clocks = {"now_us": wall_us, "boottime_ms": BOOTTIME_MS + age_ms, "boot_id": "boot-a"}
        if reason is None:
            assert read_state(path, keys=[KEY], **clocks).verified
        else:
            assert reason in refusal(path, keys=[KEY], **clocks)


@pytest.mark.parametrize(
    ("written_in", "read_in"), [("boot-a", "boot-b"), ("", ""), ("", "boot-b"), ("boot-a", "")]
)
@pytest.mark.parametrize(
    ("late_us", "reason"),
    [
        (-60_000_001, "in the future by the wall clock"),
        (-60_000_000, None),
        (-30_000_000, None),
        (0, None),
        (1, "stale: it expired"),
        (10**15, "stale: it expired"),
    ],
)
def test_after_a_reboot_the_wall_clock_decides(path, written_in, read_in, late_us, reason):
    write(path, encode_state(document(boot_id=written_in), KEY))
    clocks = {"now_us": NOW_US + 30_000_000 + late_us, "boottime_ms": 5, "boot_id": read_in}
    if reason is None:
        assert read_state(path, keys=[KEY], **clocks).verified
    else:
        assert reason in refusal(path, keys=[KEY], **clocks)


def test_a_view_that_was_fresh_can_be_asked_again_later():
    view = parse_state(encode_state(document(), KEY), [KEY])
    view.check_fresh(NOW_US, BOOTTIME_MS, "boot-a")

    with pytest.raises(StateFileError, match="stale"):
        view.check_fresh(NOW_US, BOOTTIME_MS + 30_001, "boot-a")


# Rollback


@pytest.mark.parametrize(
    ("floor", "is_older"),
    [
        (None, False),
        ((1_763_858_410, 4182), False),
        ((1_763_858_409, 9999), False),
        ((1_763_858_410, 4183), True),
        ((1_763_858_411, 0), True),
    ],
)
def test_a_document_older_than_one_seen_before_is_refused(path, floor, is_older):
    write(path, encode_state(document(), KEY))
    if is_older:
        assert "rolled back" in refusal(path, keys=[KEY], floor=floor)
    else:
        assert read_state(path, keys=[KEY], floor=floor, **CLOCKS).verified


# Import


def test_the_module_needs_nothing_outside_of_the_standard_library():
    code = "import sys; sys.modules.update(dict.fromkeys(%r)); import sentineld.state_file"
    blocked = ["msgspec", "structlog", "click", "numpy", "watchdog", "rich"]

    subprocess.run([sys.executable, "-c", code % blocked], cwd=ROOT, check=True)

"""The override: an operator's order counts while it is in force, and nothing else does."""

import json
import os
from pathlib import Path

import pytest

from sentineld.errors import StateFileError
from sentineld.instant import SECOND_US, iso_ms
from sentineld.keys import HMAC_SHA256, SigningKey, VerificationKey, generate_pair, load_key
from sentineld.override import CONTEXT, MAX_VALID_FOR_MS, encode_override, override_path, parse_override
from sentineld.proposal import EvolutionProposal, GuardianVerdict
from sentineld.published_file import publish
from sentineld.router import TierRouter
from sentineld.state_file import encode_state, parse_state
from sentineld.tier import Tier

KEY = SigningKey("2026-11a", HMAC_SHA256, b"k" * 32)
OTHER_KEY = SigningKey("2026-12a", HMAC_SHA256, b"o" * 32)
HOUR_MS = 3_600_000

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


class FakeClock:
    def __init__(self):
        self.wall_us = 1_795_394_410_123_000  # 2026-11-23T00:40:10.123Z
        self.boot_ms = 10_000_000
        self.boot = "boot-a"

    def now_us(self):
        return self.wall_us

    def boottime_ms(self):
        return self.boot_ms

    def boot_id(self):
        return self.boot

    def pass_ms(self, span_ms):
        self.wall_us += span_ms * 1000
        self.boot_ms += span_ms


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.json"


def order(clock, number=None, **changes):
    return {
        "schema": 1,
        "number": clock.wall_us if number is None else number,
        "tier": 1,
        "agents": None,
        "reason": "the host is down",
        "actor": "root",
        "issued_at": iso_ms(clock.wall_us),
        "valid_until": iso_ms(clock.wall_us + HOUR_MS * 1000),
        "boot_id": clock.boot,
        "boottime_ms": clock.boot_ms,
        "valid_for_ms": HOUR_MS,
        **changes,
    }


def put(path, document, key=KEY):
    publish(override_path(str(path)), encode_override(document, key))


def state(clock, seq=1, **changes):
    return {
        "schema": 1,
        "epoch": 7,
        "seq": seq,
        "mode": "enforce",
        "generated_at": iso_ms(clock.wall_us),
        "valid_until": iso_ms(clock.wall_us + 30 * SECOND_US),
        "boot_id": clock.boot,
        "boottime_ms": clock.boot_ms,
        "valid_for_ms": 30_000,
        "unlisted_tier": 1,
        "agents": {"mailer": {"tier": 3}, "scribe": {"tier": 2}},
        "would": {},
        **changes,
    }


def put_state(path, clock, key=KEY, **changes):
    publish(path, encode_state(state(clock, **changes), key))


def router(path, clock, keys=(KEY,), **options):
    return TierRouter(state_file=path, keys=keys, clock=clock, **options)


def test_an_order_counts_with_the_daemon_dead_and_says_so(path, clock):
    put(path, order(clock))
    found = router(path, clock).behavior("mailer")

    assert (found.tier, found.is_usable) == (Tier.NORMAL, True)
    assert (
        "an operator's override gives tier 1 until 2026-11-23T01:40:10.123Z (the host is down)"
        in found.reason
    )
    assert "without it tier 3" in found.reason
    assert "is missing" in found.reason


def test_an_order_replaces_what_a_living_daemon_says(path, clock):
    put_state(path, clock)
    asked = router(path, clock)
    assert asked.behavior_tier("mailer") == 3
    put(path, order(clock))
    assert asked.behavior_tier("mailer") == 1
    put(path, order(clock, number=clock.wall_us + 1, tier=3))

    assert asked.behavior_tier("nobody") == 3
    assert "the agent is not listed" in asked.behavior("nobody").reason


def test_an_order_replaces_a_monitor_in_the_process_too(path, clock):
    class Monitor:
        def is_anomalous(self, agent_id):
            return True

        def get_profile(self, agent_id):
            raise AssertionError

    put(path, order(clock, tier=2))
    found = TierRouter(Monitor(), path, keys=[KEY], clock=clock).behavior("mailer")

    assert found.tier == Tier.SUSPICIOUS
    assert "the monitor finds the agent anomalous" in found.reason


def test_a_change_keeps_its_own_tier(path, clock):
    put(path, order(clock))
    secret = EvolutionProposal("p", "goal", [".github/workflows/ci.yml"])
    asked = router(path, clock)

    assert asked.behavior_tier("mailer") == 1
    verdict = GuardianVerdict(approved=True, proposal_id="p", risk_level="low")
    assert asked.classify_with_behavior(secret, verdict, "mailer") == 3


def test_an_order_for_some_leaves_the_others_alone(path, clock):
    put_state(path, clock)
    put(path, order(clock, agents=["mailer"]))
    asked = router(path, clock)

    assert (asked.behavior_tier("mailer"), asked.behavior_tier("scribe")) == (1, 2)
    assert "for 1 agent" in asked.warnings[-1]
    assert asked.behavior("").tier == 3, "nobody is still nobody"


def test_a_reader_warns_while_an_order_is_in_force(path, clock):
    asked = router(path, clock)
    assert asked.warnings == ()
    put(path, order(clock))

    assert "an operator's override gives tier 1" in asked.warnings[0]
    assert asked.override is not None
    assert asked.override.actor == "root"


# It ends


@pytest.mark.parametrize("is_warm", [False, True], ids=["first look", "after a good one"])
@pytest.mark.parametrize("kind", ["boot clock", "wall clock", "both", "another boot"])
def test_an_order_ends_by_itself_on_whichever_clock_is_first(path, clock, kind, is_warm):
    put(path, order(clock))
    asked = router(path, clock)
    if is_warm:
        assert asked.behavior_tier("mailer") == 1
    if kind in ("boot clock", "both"):
        clock.boot_ms += HOUR_MS + 1
    if kind in ("wall clock", "both", "another boot"):
        clock.wall_us += HOUR_MS * 1000 + 1000
    if kind == "another boot":
        clock.boot, clock.boot_ms = "boot-b", 5

    assert asked.behavior_tier("mailer") == 3
    assert asked.override is None
    assert "ignored: override file" in asked.warnings[0]
    assert "expired" in asked.warnings[0]


def test_an_order_lasts_to_its_end_and_over_a_reboot(path, clock):
    put(path, order(clock))
    asked = router(path, clock)
    clock.pass_ms(HOUR_MS)
    assert asked.behavior_tier("mailer") == 1
    clock.boot, clock.boot_ms = "boot-b", 5

    assert asked.behavior_tier("mailer") == 1


def test_setting_the_wall_clock_back_does_not_make_an_order_last(path, clock):
    put(path, order(clock))
    asked = router(path, clock)
    clock.pass_ms(HOUR_MS + 1)
    clock.wall_us -= HOUR_MS * 1000

    assert asked.behavior_tier("mailer") == 3


@pytest.mark.parametrize("kind", ["wall clock", "boot clock"])
def test_an_order_of_the_future_waits_for_it(path, clock, kind):
    ahead = {"issued_at": iso_ms(clock.wall_us + 61 * SECOND_US)}
    put(path, order(clock, **(ahead if kind == "wall clock" else {"boottime_ms": clock.boot_ms + 1001})))
    asked = router(path, clock)

    assert asked.behavior_tier("mailer") == 3
    assert "in the future" in asked.warnings[0]
    clock.pass_ms(2000)
    assert asked.behavior_tier("mailer") == 1


def test_an_order_that_was_ended_stays_ended_where_the_old_file_is_put_back(path, clock, tmp_path):
    old = order(clock)
    put_state(path, clock)
    put(path, old)
    mark = tmp_path / "seen"
    asked = router(path, clock, high_water=mark)
    assert asked.behavior_tier("mailer") == 1
    put(path, order(clock, number=old["number"] + 1, tier=None))
    assert asked.behavior_tier("mailer") == 3
    assert not [w for w in asked.warnings if "override" in w], "an order that was ended is nothing to warn of"
    put(path, old)

    for reader in (asked, router(path, clock, high_water=mark)):
        assert reader.behavior_tier("mailer") == 3
        assert "rolled back" in reader.warnings[-1]
    assert json.loads(mark.read_bytes())["override"] == old["number"] + 1


def test_the_marks_of_state_and_order_do_not_disturb_each_other(path, clock, tmp_path):
    mark = tmp_path / "seen"
    put(path, order(clock))
    assert router(path, clock, high_water=mark).behavior_tier("mailer") == 1
    put_state(path, clock, seq=5)
    assert router(path, clock, high_water=mark).behavior_tier("mailer") == 1
    os.unlink(override_path(str(path)))
    put_state(path, clock, seq=4)

    assert "rolled back" in router(path, clock, high_water=mark).behavior("mailer").reason
    assert json.loads(mark.read_bytes()) == {"epoch": 7, "seq": 5, "override": clock.wall_us}


# What counts for nothing


def refuse(path, clock, kind):
    """Put an order there that must not count; return a word of the warning."""
    target = Path(override_path(str(path)))
    document = order(clock)
    put(path, document)
    match kind:
        case "unsigned":
            put(path, document, None)
            return "does not end in a signature"
        case "unknown key":
            put(path, document, OTHER_KEY)
            return "does not know"
        case "wrong secret":
            put(path, document, SigningKey(KEY.key_id, HMAC_SHA256, b"w" * 32))
            return "valid signature"
        case "changed":
            put(path, order(clock, tier=2))
            data = target.read_bytes()
            target.write_bytes(data.replace(b'"tier":2', b'"tier":1'))
            return "valid signature"
        case "a state file":
            publish(target, encode_state(state(clock), KEY))
            return "valid signature"
        case "a state file with an order's members":
            publish(target, encode_state({**state(clock), **document}, KEY))
            return "valid signature"
        case "two signatures":
            once = encode_override(document, KEY).decode().rstrip()
            tail = once[once.index(',"key_id"') :]
            target.write_text(once[:-1] + tail)
            return "valid signature"
        case "longer than a day":
            put(path, order(clock, valid_until=iso_ms(clock.wall_us + 86_401 * SECOND_US)))
            return "longer than 24 hours"
        case "valid for longer than a day":
            put(path, order(clock, valid_for_ms=MAX_VALID_FOR_MS + 1))
            return "valid_for_ms"
        case "no tier":
            put(path, {name: value for name, value in document.items() if name != "tier"})
            return "no tier"
        case "tier 0":
            put(path, order(clock, tier=0))
            return "no tier"
        case "tier true":
            put(path, order(clock, tier=True))
            return "no tier"
        case "no agents":
            put(path, {name: value for name, value in document.items() if name != "agents"})
            return "no agents"
        case "empty agents":
            put(path, order(clock, agents=[]))
            return "no agents"
        case "odd agents":
            put(path, order(clock, agents=["a", 5]))
            return "no agents"
        case "no number":
            put(path, order(clock, number=0))
            return "number"
        case "later schema":
            put(path, order(clock, schema=2))
            return "schema"
        case "duplicate key":
            body = encode_override(document, None).rstrip(b"}\n") + b',"tier":1'
            target.write_bytes(
                body + b',"key_id":"%b","signature":"%b"}' % (KEY.key_id.encode(), KEY.sign(CONTEXT, body))
            )
            return "same key twice"
        case "symbolic link":
            target.rename(f"{target}.real")
            target.symlink_to(f"{target}.real")
            return "symbolic link"
        case "fifo":
            target.unlink()
            os.mkfifo(target)
            return "not a regular file"
        case "directory":
            target.unlink()
            target.mkdir()
            return "not a regular file"
        case "huge":
            os.truncate(target, 1 << 30)
            return "larger"
        case "empty":
            os.truncate(target, 0)
            return "signature"
        case "nested":
            target.write_bytes(b"[" * 100_000)
            return "signature"
    raise AssertionError(kind)


KINDS = [
    "unsigned",
    "unknown key",
    "wrong secret",
    "changed",
    "a state file",
    "a state file with an order's members",
    "two signatures",
    "longer than a day",
    "valid for longer than a day",
    "no tier",
    "tier 0",
    "tier true",
    "no agents",
    "empty agents",
    "odd agents",
    "no number",
    "later schema",
    "duplicate key",
    "symbolic link",
    "fifo",
    "directory",
    "huge",
    "empty",
    "nested",
]


@pytest.mark.parametrize("kind", KINDS)
def test_an_order_that_cannot_be_believed_counts_for_nothing_and_is_told(path, clock, kind):
    put_state(path, clock)
    asked = router(path, clock)
    word = refuse(path, clock, kind)

    assert [asked.behavior_tier(agent) for agent in ("mailer", "scribe", "nobody")] == [3, 2, 1]
    assert asked.override is None
    assert asked.warnings[0].startswith("ignored: override file")
    assert word in asked.warnings[0]


@needs_root
def test_an_order_of_a_stranger_counts_for_nothing(path, clock):
    put(path, order(clock))
    os.chown(override_path(str(path)), 12345, 12345)
    asked = router(path, clock)
    assert "belongs to uid 12345" in (asked.behavior_tier("mailer"), asked.warnings)[1][0]
    assert asked.behavior_tier("mailer") == 3

    os.chown(override_path(str(path)), 0, 0)
    assert asked.behavior_tier("mailer") == 1
    assert router(path, clock, expected_owner=12345).behavior_tier("mailer") == 3


@pytest.mark.parametrize("mode", [0o660, 0o606])
def test_an_unsigned_order_that_others_can_write_counts_for_nothing(path, clock, mode):
    put(path, order(clock), None)
    asked = router(path, clock, keys=())
    assert asked.behavior_tier("mailer") == 1
    os.chmod(override_path(str(path)), mode)

    assert asked.behavior_tier("mailer") == 3
    assert "writable" in asked.warnings[-1]


def test_an_order_is_no_state_file(path, clock):
    for key in (KEY, None):
        data = encode_override({**state(clock), **order(clock)}, key)
        publish(path, data)
        if key is not None:
            with pytest.raises(StateFileError, match="valid signature"):
                parse_state(data, [KEY])
    with pytest.raises(StateFileError):
        parse_state(encode_override(order(clock), None))
    with pytest.raises(StateFileError):
        parse_override(encode_state(state(clock), None))


@pytest.mark.parametrize("algorithm", ["hmac-sha256", "ed25519"])
def test_no_single_byte_of_an_order_can_be_changed(tmp_path, clock, algorithm):
    key: SigningKey = KEY
    if algorithm == "ed25519":
        (tmp_path / "k").write_bytes(generate_pair()[0])
        (tmp_path / "k").chmod(0o600)
        key = load_key(tmp_path / "k", "k1")
    keys: list[VerificationKey] = [key.verification_key()]
    data = encode_override(order(clock), key)
    assert parse_override(data, keys).tier == 1

    for position in range(len(data)):
        for flip in (1, 32, 128):
            forged = data[:position] + bytes([data[position] ^ flip]) + data[position + 1 :]
            with pytest.raises(StateFileError):
                parse_override(forged, keys)


def test_a_clock_that_fails_leaves_what_the_state_file_says(path, clock):
    put_state(path, clock)
    put(path, order(clock))
    asked = router(path, clock)
    clock.boot_id = None

    assert asked.behavior_tier("mailer") == 3
    assert asked.override is None
    assert asked.warnings


def test_what_an_operator_wrote_does_not_move_a_cursor(path, clock):
    put(path, order(clock, reason="a\x1b[2Jb\nc" + "x" * 500))
    found = router(path, clock).behavior("mailer")

    assert found.reason.isprintable()
    assert len(found.reason) < 500


def test_an_order_that_was_followed_by_another_one_does_not_come_back_for_a_reader_without_memory(
    path, clock
):
    old = order(clock)
    put(path, old)
    put_state(path, clock, seq=2, override_floor=old["number"])
    assert router(path, clock).behavior_tier("mailer") == 1
    # The daemon has seen the end of it; this reader never did.
    put_state(path, clock, seq=3, override_floor=old["number"] + 1)
    asked = router(path, clock)

    assert asked.behavior_tier("mailer") == 3
    assert asked.override is None
    assert any("was rolled back" in warning for warning in asked.warnings)


def test_what_a_state_file_tells_of_orders_holds_also_when_it_has_expired_or_is_gone(path, clock):
    old = order(clock)
    put(path, old)
    put_state(path, clock, override_floor=old["number"] + 1)
    asked = router(path, clock)
    clock.wall_us += 60 * SECOND_US
    clock.boot_ms += 60_000
    assert asked.override is None
    path.unlink()
    assert asked.override is None


@pytest.mark.parametrize("number", [-1, 1.5, "1", True, 2**53, None])
def test_a_state_file_whose_floor_is_no_number_is_refused(path, clock, number):
    put_state(path, clock, override_floor=number)

    assert "override_floor" in router(path, clock).behavior("nobody").reason


def test_a_floor_is_remembered_across_restarts_where_the_reader_remembers(path, clock, tmp_path):
    mark = tmp_path / "mark"
    put_state(path, clock, override_floor=7)
    router(path, clock, high_water=mark).behavior_tier("mailer")
    path.unlink()
    put(path, order(clock, number=6))

    assert router(path, clock, high_water=mark).override is None
    put(path, order(clock, number=7))
    assert router(path, clock, high_water=mark).override is not None

"""Readers of the state file: never a bad read, never a wait, never a stale file while the daemon lives."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

import sentineld
from sentineld.keys import generate_pair, generate_secret, load_key
from sentineld.published_file import publish
from sentineld.router import TierRouter
from sentineld.state_file import encode_state

ROOT = str(Path(sentineld.__file__).parent.parent)

# Torn reads: one process publishes, eight spin

WRITER = """
import sys
from sentineld import clock
from sentineld.instant import iso_ms
from sentineld.keys import load_key
from sentineld.published_file import publish
from sentineld.state_file import encode_state
path, count, key = sys.argv[1], int(sys.argv[2]), load_key(sys.argv[3], "k1")
for seq in range(count + 1):
    now = clock.now_us()
    agents = {f"agent-{n}": {"tier": seq % 3 + 1} for n in range(seq % 7 * 40 + 1)}
    publish(path, encode_state({
        "schema": 1, "epoch": 7, "seq": seq, "mode": "enforce", "status": "ok",
        "generated_at": iso_ms(now), "valid_until": iso_ms(now + 60_000_000), "boot_id": clock.boot_id(),
        "boottime_ms": clock.boottime_ms(), "valid_for_ms": 60_000, "unlisted_tier": 1, "agents": agents,
        "would": {}}, key))
    if seq == 0:
        print("ready", flush=True)
        sys.stdin.readline()
"""

READER = """
import sys
from sentineld.keys import load_verification_key
from sentineld.router import TierRouter
path, count, key = sys.argv[1], int(sys.argv[2]), load_verification_key(sys.argv[3], "k1")
router = TierRouter(state_file=path, keys=[key])
last, distinct, reads = (7, -1), 0, 0
print("ready", flush=True)
sys.stdin.readline()
while last[1] < count:
    found = router.behavior("agent-0")
    assert found.is_usable, found
    view = router.state
    assert view.verified and view.version >= last, (view.version, last)
    assert {agent["tier"] for agent in view.agents.values()} == {view.seq % 3 + 1}, view.seq
    assert len(view.agents) == view.seq % 7 * 40 + 1
    reads += 1
    distinct += view.version > last
    last = view.version
print(reads, distinct)
"""


@pytest.fixture(params=["ed25519", "hmac-sha256"])
def keys(request, tmp_path):
    """Make key files: the writer's and the readers'."""
    private, public = generate_pair() if request.param == "ed25519" else (generate_secret(), None)
    paths = tmp_path / "signing.key", tmp_path / "reading.key"
    for path, content in zip(paths, (private, public or private), strict=True):
        path.write_bytes(content)
        path.chmod(0o600)
    return paths


def spin(path, keys, publishes, readers):
    """Let readers spin while one process publishes; return reads and distinct versions of each."""

    def start(code, key):
        return subprocess.Popen(
            [sys.executable, "-c", code, path, str(publishes), key],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    writer = start(WRITER, keys[0])
    assert writer.stdout.readline() == "ready\n"
    spinning = [start(READER, keys[1]) for _ in range(readers)]
    for process in spinning:
        assert process.stdout.readline() == "ready\n"
    for process in (*spinning, writer):
        process.stdin.write("go\n")
        process.stdin.flush()
    processes = [writer, *spinning]
    outputs = [process.communicate() for process in processes]
    assert [errors for _, errors in outputs] == [""] * len(processes)
    assert [process.returncode for process in processes] == [0] * len(processes)
    return [tuple(map(int, out.split())) for out, _ in outputs[1:]]


def test_spinning_readers_never_see_a_torn_or_an_older_file(tmp_path, keys):
    results = spin(tmp_path / "state.json", keys, publishes=300, readers=4)

    assert len(results) == 4
    assert min(distinct for _, distinct in results) >= 20, results


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_ten_thousand_publishes_against_eight_spinning_readers(tmp_path, keys, record_property):
    results = spin(tmp_path / "state.json", keys, publishes=10_000, readers=8)

    fewest, most = min(distinct for _, distinct in results), max(distinct for _, distinct in results)
    reads = sum(count for count, _ in results)
    record_property(
        "figure", f"10000 publishes: {reads} reads by 8 readers, {fewest} to {most} distinct versions each"
    )
    assert fewest >= 1000, results


# What an attacker may put in its place, on real clocks


def document(seq=1, **changes):
    from sentineld import clock
    from sentineld.instant import iso_ms

    now = clock.now_us()
    return {
        "schema": 1,
        "epoch": 7,
        "seq": seq,
        "mode": "enforce",
        "generated_at": iso_ms(now),
        "valid_until": iso_ms(now + 60_000_000),
        "boot_id": clock.boot_id(),
        "boottime_ms": clock.boottime_ms(),
        "valid_for_ms": 60_000,
        "unlisted_tier": 1,
        "agents": {},
        "would": {},
        **changes,
    }


def signed_bytes(key, body):
    """Sign any bytes, as a signer that lost its mind would: the reader's parser is what is left."""
    return body + b',"key_id":"k1","signature":"%b"}\n' % key.sign(b"sentineld-state-v1", body)


def without(name):
    return lambda key: encode_state({k: v for k, v in document().items() if k != name}, key)


def tail_of(data):
    return data[data.index(b',"key_id"') :]


CONTENTS = {
    "empty": lambda key: b"",
    "a newline": lambda key: b"\n",
    "unsigned": lambda key: encode_state(document(), None),
    "torn": lambda key: encode_state(document(), key)[:-20],
    "two signatures": lambda key: encode_state(document(), key)[:-2] + tail_of(encode_state(document(), key)),
    "a second document": lambda key: encode_state(document(), key) + encode_state(document(seq=2), None),
    "algorithm none": lambda key: encode_state(document(), None)[:-2] + b',"alg":"none","key_id":"k1"}\n',
    "an empty signature": lambda key: (
        encode_state(document(), None)[:-2] + b',"key_id":"k1","signature":""}\n'
    ),
    "a signature of zeros": lambda key: (
        encode_state(document(), None)[:-2] + b',"key_id":"k1","signature":"%b"}\n' % (b"A" * 86 + b"==")
    ),
    "a member after the signature": lambda key: encode_state(document(), key)[:-2] + b',"unlisted_tier":1}\n',
    "a signed duplicate": lambda key: signed_bytes(
        key, encode_state(document(unlisted_tier=3), None)[:-2] + b',"unlisted_tier":1'
    ),
    "not a number": lambda key: signed_bytes(key, encode_state(document(), None)[:-2] + b',"x":NaN'),
    "UTF-16": lambda key: signed_bytes(key, json.dumps(document())[:-1].encode("utf-16")),
    "nested": lambda key: signed_bytes(key, b'{"x":' + b"[" * 100_000),
    "schema 2": lambda key: encode_state(document(schema=2), key),
    "rolled back": lambda key: encode_state(document(seq=0), key),
    "of an older epoch": lambda key: encode_state(document(epoch=6, seq=999), key),
    "of the future": lambda key: encode_state(document(boottime_ms=1 << 50), key),
    "expired": lambda key: encode_state(document(boottime_ms=0, valid_for_ms=1), key),
    "a listed agent without tier": lambda key: encode_state(document(agents={"a": {}}), key),
    **{f"no {name}": without(name) for name in document() if name != "would"},
}


def put_fifo(path):
    os.mkfifo(path)


def put_directory(path):
    path.mkdir()


def put_link(path):
    path.symlink_to(path.with_name("real.json"))


def put_gigabyte(path):
    path.touch()
    os.truncate(path, 1 << 30)


PLACES = {
    "missing": lambda path: None,
    "a FIFO": put_fifo,
    "a directory": put_directory,
    "a symbolic link": put_link,
    "a gigabyte": put_gigabyte,
}


@pytest.fixture
def warm(tmp_path, keys):
    """Make a router that believed a good file a moment ago; give it, the path and the signing key."""
    key = load_key(keys[0], "k1")
    path = tmp_path / "state.json"
    publish(path.with_name("real.json"), encode_state(document(), key))
    publish(path, encode_state(document(), key))
    router = TierRouter(state_file=path, keys=[key.verification_key()])
    assert router.behavior("a").is_usable
    return router, path, key


def test_whatever_content_is_put_there_restricts_everybody_at_once_with_the_reason(warm):
    router, path, key = warm
    for kind, make in CONTENTS.items():
        publish(path, make(key))
        found = router.behavior("a")
        assert (found.tier, found.is_usable) == (3, False), kind
        assert str(path) in found.reason, kind
        publish(path, encode_state(document(), key))
        assert router.behavior("a").is_usable, f"after {kind}"


def test_the_example_for_other_languages_refuses_the_same(warm):
    """Another implementation of the documented rules, which shares no code with ours."""
    _, path, key = warm
    if key.algorithm != "ed25519":
        pytest.skip("the example knows one algorithm")
    spec = importlib.util.spec_from_file_location("read_state", Path(ROOT) / "examples" / "read_state.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    keys = {"k1": Ed25519PublicKey.from_public_bytes(key.verification_key().material)}
    publish(path, encode_state(document(agents={"a": {"tier": 2}}), key))
    assert example.tier_of(path, "a", keys) == (2, "listed")
    assert example.tier_of(path, "b", keys) == (1, "not listed")

    # It runs once, so it remembers no version.
    for kind in CONTENTS.keys() - {"rolled back", "of an older epoch"}:
        publish(path, CONTENTS[kind](key))
        assert example.tier_of(path, "a", keys)[0] == 3, kind
    for put in PLACES.values():
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        put(path)
        assert example.tier_of(path, "a", keys)[0] == 3, put


@pytest.mark.parametrize("kind", PLACES)
def test_whatever_thing_is_put_there_is_neither_waited_for_nor_followed(warm, kind):
    router, path, key = warm
    path.unlink()
    PLACES[kind](path)

    # Whoever waits for a pipe to be written to waits for ever.
    for reader in (router, TierRouter(state_file=path, keys=[key.verification_key()])):
        found = reader.behavior("a")
        assert (found.tier, found.is_usable) == (3, False)


def test_a_file_that_may_not_be_read_restricts_everybody(place, as_mortal):
    place.once()
    place.state_file.chmod(0)
    done = place.command("tier", "a", **as_mortal)

    assert (done.stdout, done.returncode) == ("3\n", 1)
    assert "may not be read by this user" in done.stderr


def test_a_frozen_daemon_expires_and_its_file_put_back_again_and_again_does_not_help(place, wait_for):
    daemon = place.start("--config", place.config('[state]\nvalid_for = "1s"\n'))
    router = TierRouter(state_file=place.state_file)
    wait_for(lambda: router.behavior("a").is_usable, "it is believed")
    daemon.signal(signal.SIGSTOP)
    copy = place.state_file.read_bytes()
    wait_for(lambda: "stale" in router.behavior("a").reason, "expiry")
    for _ in range(20):
        publish(place.state_file, copy)
        assert "stale" in router.behavior("a").reason
    daemon.signal(signal.SIGCONT)

    wait_for(lambda: router.behavior("a").is_usable, "a new file")


# Availability: the heartbeat comes from the loop that does the work, so the work must not hold it up


class Poller(threading.Thread):
    """Asks a router all the time; remembers why it was ever told tier 3, and the oldest file that it saw."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.router, self.is_done, self.asked, self.wrong, self.versions = (
            TierRouter(state_file=path),
            threading.Event(),
            0,
            [],
            set(),
        )
        self.oldest_ms = 0

    def run(self):
        from sentineld import clock

        while not self.is_done.wait(0.01):
            found = self.router.behavior("nobody")
            self.asked += 1
            if not found.is_usable:
                self.wrong.append(found.reason)
                continue
            view = self.router.state
            self.versions.add(view.version)
            self.oldest_ms = max(self.oldest_ms, clock.boottime_ms() - view.boottime_ms)


#: Appends lines as fast as it can until it is killed; starts its file anew before the disk is full.
FLOODER = """
import sys
block = open(sys.argv[2], "rb").read()
with open(sys.argv[1], "ab", buffering=0) as file:
    while True:
        if file.write(block) and file.tell() > 600_000_000:
            file.truncate(0)
"""


def flood_and_poll(place, wait_for, backlog_bytes, seconds):
    """Start a daemon over a backlog, with one agent that floods; return what a reader saw meanwhile."""
    now = time.time()
    block = b"".join(
        json.dumps(place.telemetry.record("scraper", "file_write", now, n=n, text="x" * 200)).encode() + b"\n"
        for n in range(4000)
    )
    (place.base / "block").write_bytes(block)
    backlog = place.telemetry.directory / "backlog.jsonl"
    with backlog.open("wb") as file:
        for _ in range(backlog_bytes // len(block)):
            file.write(block)
    daemon = place.start("--config", place.config('[state]\nvalid_for = "3s"\n'), wait=False)
    wait_for(place.state, "the first file")
    poller = Poller(place.state_file)
    poller.start()
    flooder = subprocess.Popen(
        [sys.executable, "-c", FLOODER, place.telemetry.directory / "flood.jsonl", place.base / "block"]
    )
    try:
        # A stretch of time is what is tested here: nothing is awaited by it.
        time.sleep(seconds)
    finally:
        flooder.kill()
        flooder.wait()
    poller.is_done.set()
    poller.join()
    assert daemon.process.poll() is None, daemon.stderr.read_text()
    daemon.kill()
    (place.telemetry.directory / "flood.jsonl").unlink()
    return poller


def test_one_flooder_and_a_backlog_do_not_make_the_state_file_expire(place, wait_for):
    # Others may hold it up once; work that holds it up does so every time.
    for attempt in range(5):  # noqa: B007 (told below)
        shutil.rmtree(place.state_dir, ignore_errors=True)
        poller = flood_and_poll(place, wait_for, 40_000_000, 5)
        told = f"oldest file {poller.oldest_ms} ms, {len(poller.versions)} versions, {poller.asked} looks"
        print(told, *poller.wrong[:1])
        if not poller.wrong and len(poller.versions) >= 4 and poller.oldest_ms < 3000:
            return
    pytest.fail(f"attempt {attempt + 1}: {told}; {poller.wrong[:1]}")


@pytest.mark.soak
def test_a_backlog_of_200_mb_and_a_minute_of_flood_do_not_either(place, wait_for):
    if shutil.disk_usage(place.base).free < 3 << 30:
        pytest.skip("needs 3 GB of space")
    poller = flood_and_poll(place, wait_for, 200_000_000, 60)

    print(f"oldest file {poller.oldest_ms} ms, {len(poller.versions)} versions, {poller.asked} looks")
    assert poller.wrong == []
    assert len(poller.versions) >= 40

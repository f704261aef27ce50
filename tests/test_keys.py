"""Keys: two algorithms, two kinds of file, and no way to take one for the other."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import sentineld
from sentineld.config import load_config
from sentineld.errors import ConfigError
from sentineld.instant import SECOND_US, parse_iso
from sentineld.keyring import reader_keys, signing_key
from sentineld.keys import (
    ED25519,
    HMAC_SHA256,
    SigningKey,
    VerificationKey,
    expiry_warning,
    generate_pair,
    generate_secret,
    load_key,
    load_verification_key,
    parse_key_table,
    parse_not_after,
)

ROOT = str(Path(sentineld.__file__).parent.parent)
NOW_US = parse_iso("2026-11-23T00:40:10Z")
DAY_US = 86_400 * SECOND_US


def put(path, content, mode=0o600):
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.fixture
def pair(tmp_path):
    private, public = generate_pair()
    return put(tmp_path / "a.key", private), put(tmp_path / "a.pub", public, 0o644)


@pytest.fixture
def secret(tmp_path):
    return put(tmp_path / "secret", generate_secret())


# Files


def test_a_pair_signs_and_checks_and_the_public_half_does_only_that(pair):
    private, public = pair
    signer, reader = load_key(private, "k1"), load_verification_key(public, "k1")
    signature = signer.sign(b"context", b"content")

    assert (signer.algorithm, reader.algorithm) == (ED25519, ED25519)
    assert len(signature) == 88
    assert reader.accepts(b"context", b"content", signature)
    assert not reader.accepts(b"context", b"contenT", signature)
    assert not reader.accepts(b"other", b"content", signature)
    assert load_verification_key(private, "k1") == reader
    with pytest.raises(ConfigError, match="public key, which cannot sign"):
        load_key(public, "k1")


def test_the_signature_is_the_documented_one(pair):
    """An independent reader: context, algorithm, key id and content, each ended by NUL but the last."""
    from base64 import b64decode

    public = serialization.load_pem_public_key(pair[1].read_bytes())
    signature = load_key(pair[0], "k1").sign(b"sentineld-state-v1", b'{"a":1')

    public.verify(b64decode(signature), b'sentineld-state-v1\0ed25519\0k1\0{"a":1')


def test_files_of_openssl_are_read(tmp_path):
    private, public = tmp_path / "o.key", tmp_path / "o.pub"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    private.chmod(0o600)

    signature = load_key(private, "k1").sign(b"c", b"x")
    assert load_verification_key(public, "k1").accepts(b"c", b"x", signature)


@pytest.mark.parametrize("kind", ["elliptic curve", "encrypted", "certificate", "torn", "openssh", "two"])
def test_other_pem_is_refused_and_never_taken_for_a_secret(tmp_path, pair, kind):
    def private_pem(key, encryption=None):
        return key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            encryption or serialization.NoEncryption(),
        )

    content = {
        "elliptic curve": lambda: private_pem(generate_private_key(SECP256R1())),
        "encrypted": lambda: private_pem(
            Ed25519PrivateKey.generate(), serialization.BestAvailableEncryption(b"password")
        ),
        "certificate": lambda: pair[1].read_bytes().replace(b"PUBLIC KEY", b"CERTIFICATE"),
        "torn": lambda: pair[0].read_bytes()[:60],
        "openssh": lambda: Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        ),
        "two": lambda: pair[0].read_bytes() * 2,
    }[kind]()

    for load in (load_key, load_verification_key):
        with pytest.raises(ConfigError, match="PEM, but neither") as caught:
            load(put(tmp_path / "x", content), "k1")
        assert caught.value.hint


def test_a_public_key_is_no_secret_whatever_a_reader_is_configured_for(pair, secret):
    """The classic confusion: a reader that takes the public key for an HMAC secret believes everybody."""
    with pytest.raises(ConfigError, match="holds a key for ed25519"):
        load_verification_key(pair[1], "k1", algorithm=HMAC_SHA256)
    with pytest.raises(ConfigError, match="holds a key for hmac-sha256"):
        load_verification_key(secret, "k1", algorithm=ED25519)
    assert load_verification_key(secret, "k1", algorithm=HMAC_SHA256).algorithm == HMAC_SHA256


def test_a_signature_of_one_algorithm_is_none_of_the_other(pair):
    public = load_verification_key(pair[1], "k1")
    forger = SigningKey("k1", HMAC_SHA256, public.material)

    assert not public.accepts(b"c", b"x", forger.sign(b"c", b"x"))
    assert not VerificationKey("k1", "none", b"k" * 32).accepts(b"c", b"x", b"")


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o622, 0o646])
def test_a_public_key_that_others_can_replace_is_refused(pair, mode):
    pair[1].chmod(mode)
    with pytest.raises(ConfigError, match=f"mode {mode:04o}") as caught:
        load_verification_key(pair[1], "k1")

    assert caught.value.hint.startswith("chmod 0644")


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660])
def test_a_private_key_that_others_can_reach_is_refused(pair, mode):
    pair[0].chmod(mode)
    for load in (load_key, load_verification_key):
        with pytest.raises(ConfigError, match=f"mode {mode:04o}"):
            load(pair[0], "k1")


def test_ed25519_material_has_32_bytes():
    with pytest.raises(ConfigError, match="33 bytes"):
        VerificationKey("k1", ED25519, b"k" * 33)


def test_every_other_spelling_of_a_signature_is_refused(pair):
    """64 bytes leave four spare bits in base64: 15 further spellings of the same signature."""
    signer, reader = load_key(pair[0], "k1"), load_verification_key(pair[1], "k1")
    signature = signer.sign(b"c", b"x")
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
    for position in range(len(signature)):
        for value in alphabet:
            if value != signature[position]:
                forged = signature[:position] + bytes([value]) + signature[position + 1 :]
                assert not reader.accepts(b"c", b"x", forged), (position, value)
    for forged in (signature[:-1], signature[:-2], signature + b"=", b"", signature + b"\n"):
        assert not reader.accepts(b"c", b"x", forged)


# The end of a key


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("2027-01-01", "2027-01-01T23:59:59.999999Z"),
        ("2027-01-01T12:00:00Z", "2027-01-01T12:00:00Z"),
        ("2027-01-01T12:00:00+02:00", "2027-01-01T10:00:00Z"),
    ],
)
def test_a_day_ends_with_its_last_moment_and_an_instant_at_once(text, end):
    import tomllib

    assert parse_not_after(text) == parse_iso(end)
    assert parse_not_after(tomllib.loads(f"x = {text}")["x"]) == parse_iso(end)


@pytest.mark.parametrize("value", ["soon", "", 5, None, True, ["2027-01-01"]])
def test_what_is_no_day_is_refused(value):
    with pytest.raises(ValueError, match=r"\w"):
        parse_not_after(value)


@pytest.mark.parametrize(
    ("left_us", "words"),
    [
        (30 * DAY_US + 1, ""),
        (30 * DAY_US, "in 30 days"),
        (DAY_US - 1, "in 0 days"),
        (0, "in 0 days"),
        (-1, "expired"),
    ],
)
def test_the_end_of_a_key_is_told_30_days_ahead(left_us, words):
    warning = expiry_warning("k1", NOW_US + left_us, NOW_US)

    assert words in warning
    assert bool(warning) == bool(words)
    assert expiry_warning("k1", None, NOW_US) == ""


# The table of a configuration


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (5, "is not a table"),
        ({}, "names no file"),
        ({"file": ""}, "names no file"),
        ({"file": 5}, "names no file"),
        ({"file": "f", "algorithm": "none"}, "unknown algorithm 'none'"),
        ({"file": "f", "algorithm": ["ed25519"]}, "unknown algorithm"),
        ({"file": "f", "not_after": "soon"}, "not_after"),
        ({"file": "f", "fille": "g"}, "unknown option fille"),
    ],
)
def test_an_entry_that_makes_no_sense_is_refused_by_readers_and_by_the_configuration(tmp_path, entry, words):
    with pytest.raises(ConfigError, match=words) as caught:
        parse_key_table({"k1": entry})
    assert str(caught.value).startswith("state.keys.k1")
    assert caught.value.hint
    with pytest.raises(ConfigError, match=r"state\.keys"):
        load_config(None, {}, {"state.keys": {"k1": entry}})


def test_a_key_id_that_no_file_can_carry_is_refused():
    with pytest.raises(ConfigError, match="no usable key id"):
        parse_key_table({"a b": {"file": "f"}})


def config(**state):
    return load_config(None, {}, {f"state.{name}": value for name, value in state.items()})


def test_readers_believe_the_table_and_the_signer_uses_its_own_key(pair, secret):
    both = config(
        key_file=str(pair[0]),
        key_id="new",
        keys={"old": {"file": str(secret)}, "new": {"file": str(pair[1]), "not_after": "2027-01-01"}},
    )
    old, new = reader_keys(both, {})

    assert (old.key_id, old.algorithm, old.not_after_us) == ("old", HMAC_SHA256, None)
    assert (new.key_id, new.algorithm) == ("new", ED25519)
    assert new.not_after_us == parse_iso("2027-01-01T23:59:59.999999Z")
    signer = signing_key(both, {}, NOW_US)
    assert signer is not None
    assert (signer.key_id, signer.not_after_us) == ("new", new.not_after_us)


def test_without_a_table_readers_believe_the_key_file(pair, secret):
    assert reader_keys(config(), {}) == ()
    for path in (pair[0], pair[1], secret):
        (key,) = reader_keys(config(key_file=str(path), key_id="k1"), {})
        assert key.key_id == "k1"


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"key_file": ""}, "names none that signs"),
        ({"key_id": "k9"}, "does not have it"),
        ({"keys": {"k1": {"file": "OTHER"}}}, "two different keys"),
        ({"keys": {"k1": {"file": "PUBLIC", "not_after": "2026-11-22"}}}, "expired"),
        ({"key_file": "PUBLIC"}, "cannot sign"),
    ],
)
def test_a_signer_that_readers_would_not_believe_does_not_start(tmp_path, pair, state, words):
    other = put(tmp_path / "other.pub", generate_pair()[1], 0o644)
    names = {"PUBLIC": str(pair[1]), "OTHER": str(other)}
    whole = {"key_file": str(pair[0]), "key_id": "k1", "keys": {"k1": {"file": str(pair[1])}}, **state}
    whole["key_file"] = names.get(whole["key_file"], whole["key_file"])
    for entry in whole["keys"].values():
        entry["file"] = names.get(entry["file"], entry["file"])

    with pytest.raises(ConfigError, match=words) as caught:
        signing_key(config(**whole), {}, NOW_US)
    assert caught.value.hint


def test_a_key_is_good_to_the_end_of_its_last_day(pair):
    last_day = config(
        key_file=str(pair[0]), key_id="k1", keys={"k1": {"file": str(pair[1]), "not_after": "2026-11-23"}}
    )

    assert signing_key(last_day, {}, parse_iso("2026-11-23T23:59:59Z"))


# Without the library

BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("cryptography", "cffi", "_cffi_backend"):
            raise ImportError(name)

sys.meta_path.insert(0, Blocker())
from sentineld.cli import main
sys.exit(main(sys.argv[1:]))
"""


class Bare:
    """The command line where cryptography is not installed."""

    def __init__(self, base):
        self.base = base

    def run(self, *args):
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": ROOT, "HOME": str(self.base)}
        return subprocess.run(
            [sys.executable, "-c", BLOCKED, *map(str, args)],
            cwd=self.base,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )


def test_without_cryptography_keys_are_hmac_and_everything_works(place):
    bare = Bare(place.base)
    place.telemetry.fill()
    made = bare.run("keygen", "k", "--json")
    assert '"algorithm": "hmac-sha256"' in made.stdout
    assert "sentineld[sign]" in bare.run("keygen", "k2").stdout
    text = f'[telemetry]\ndirectories = ["{place.telemetry.directory}"]\n[state]\nkey_file = "k"\n'
    text += '[detection]\nmode = "activity"\n'
    flags = ["--config", place.config(text), "--state-dir", place.state_dir]

    assert bare.run("run", "--once", *flags).returncode == 0
    assert bare.run("check", *flags).returncode == 0
    assert bare.run("tier", "biller", *flags).stdout == "1\n"
    assert bare.run("tier", "scraper", *flags).stdout == "3\n"
    assert bare.run("break-glass", "--tier", 2, "--reason", "r", *flags).returncode == 0
    assert bare.run("tier", "scraper", *flags).stdout == "2\n"
    assert bare.run("status", *flags).returncode == 0


def test_without_cryptography_an_ed25519_key_is_a_clear_error_with_the_next_step(place, pair):
    bare = Bare(place.base)
    place.telemetry.fill()
    text = f'[telemetry]\ndirectories = ["{place.telemetry.directory}"]\n[state]\nkey_file = "{{}}"\n'
    signer = place.config(text.format(pair[0]), "signer.toml")
    reader = place.config(text.format(pair[1]), "reader.toml")
    flags = ["--state-dir", place.state_dir]
    place.once("--config", signer)
    assert place.command("tier", "biller", "--config", reader).stdout == "1\n"

    for done, code in [
        (bare.run("keygen", "k", "--algorithm", "ed25519"), 78),
        (bare.run("run", "--once", "--config", signer, *flags), 78),
        (bare.run("tier", "biller", "--config", reader, *flags), 1),
        (bare.run("tier", "biller", "--config", signer, *flags), 1),
    ]:
        assert done.returncode == code, done
        assert "needs the library cryptography" in done.stderr
        assert "\ntry: pip install 'sentineld[sign]'" in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout in ("", "3\n")


def test_hmac_needs_no_cryptography_in_a_reader(place):
    """Nor is it imported where it is installed: it would double the time that a hook takes."""
    program = """
import sys
from sentineld.keys import HMAC_SHA256, SigningKey
from sentineld.router import TierRouter
from sentineld.state_file import encode_state, parse_state
key = SigningKey("k1", HMAC_SHA256, b"k" * 32)
TierRouter(state_file="/none", keys=[key]).behavior("a")
key.accepts(b"c", b"x", key.sign(b"c", b"x"))
print([name for name in sys.modules if name.startswith("cryptography")])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)

    assert done.stdout == "[]\n"

"""Keys: there, of the right kind and mode, and not about to end."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sentineld.config import key_file_path
from sentineld.doctor.base import FIX, NOTE, OK, Examined, Finding
from sentineld.errors import SentineldError
from sentineld.keyring import may_read_keys, reader_keys, signing_key
from sentineld.keys import HMAC_SHA256, Key, expiry_warning
from sentineld.paths import may_exist

_CREDENTIALS = "${CREDENTIALS_DIRECTORY}"


class Reading(NamedTuple):
    """The key that signs and those that readers believe; ``problem`` is why they are unusable.

    ``is_credential``: systemd shows the key that signs to the service alone.
    """

    now_us: int
    may_read: bool
    signer: Key | None
    readers: Sequence[Key]
    problem: tuple[str, str] = ("", "")
    is_credential: bool = False


def read(examined: Examined) -> Reading:
    """Read the keys that the configuration names."""
    config, env, now_us = examined.config, examined.env, examined.now_us
    try:
        if _CREDENTIALS in config.state.key_file and not env.get("CREDENTIALS_DIRECTORY"):
            readers = reader_keys(config, env) if config.state.keys else ()
            return Reading(now_us, True, None, readers, is_credential=True)
        if not may_read_keys(config, env) and may_exist(key_file_path(config, env)):
            return Reading(now_us, False, None, ())
        return Reading(now_us, True, signing_key(config, env, now_us), reader_keys(config, env))
    except SentineldError as error:
        return Reading(now_us, True, None, (), (str(error), error.hint))


def check(reading: Reading) -> Iterator[Finding]:
    """Find keys that do not work, or will soon not."""
    message, fix = reading.problem
    if message:
        yield Finding("keys", FIX, message, fix)
        return
    if not reading.may_read:
        yield Finding("keys", NOTE, "the signing key is not this user's to read", "sudo sentineld doctor")
        return
    if reading.signer is None and not reading.is_credential:
        yield Finding(
            "keys",
            NOTE,
            "the state file is not signed: readers go by its owner and mode",
            "sentineld keygen; docs/state-file.md",
        )
        return
    expiring = {
        warning: None
        for key in (reading.signer, *reading.readers)
        if key is not None and (warning := expiry_warning(key.key_id, key.not_after_us, reading.now_us))
    }
    for warning in expiring:
        yield Finding("keys", FIX, warning, "sentineld keygen; docs/state-file.md has the steps")
    if reading.signer is None:
        if not expiring:
            yield Finding("keys", OK, "the key that signs is a credential, which only the service sees")
    elif reading.signer.algorithm == HMAC_SHA256:
        yield Finding(
            "keys",
            NOTE,
            f"key {reading.signer.key_id} is a shared secret: every reader could sign with it",
            "pip install 'sentineld[sign]', then sentineld keygen",
        )
    elif not expiring:
        yield Finding("keys", OK, f"key {reading.signer.key_id} signs ({reading.signer.algorithm})")

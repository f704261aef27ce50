"""Keyring: the keys that a configuration names, for the one that signs and for those that check."""

import os
from collections.abc import Mapping

from sentineld.config import Config, key_file_path
from sentineld.errors import ConfigError
from sentineld.keys import (
    SigningKey,
    VerificationKey,
    expiry_warning,
    load_key,
    load_verification_key,
    load_verification_keys,
    parse_key_table,
)


def signing_key(config: Config, env: Mapping[str, str], now_us: int) -> SigningKey | None:
    """Return the key that signs; None where nothing is to be signed.

    Raises ``ConfigError`` for a key that cannot be used, has expired, or would not be believed by readers
    with the same configuration: all that it signs would be tier 3 for everybody.
    """
    state = config.state
    entries = {entry.key_id: entry for entry in parse_key_table(state.keys)}
    if not state.key_file:
        if entries:
            raise ConfigError(
                "state.keys says which keys readers believe, and state.key_file names none that signs",
                hint="set state.key_file and state.key_id, or remove state.keys",
            )
        return None
    path = key_file_path(config, env)
    if not entries:
        return load_key(path, state.key_id)
    entry = entries.get(state.key_id)
    if entry is None:
        raise ConfigError(
            f"key {state.key_id} signs, and state.keys does not have it: readers would refuse what it signs",
            hint=f"add [state.keys.{state.key_id}], or set state.key_id to one of {', '.join(entries)}",
        )
    key = load_key(path, state.key_id, not_after_us=entry.not_after_us)
    if entry.not_after_us is not None and now_us > entry.not_after_us:
        raise ConfigError(
            expiry_warning(key.key_id, entry.not_after_us, now_us),
            hint="sentineld keygen, then the new key for readers, then for the signer: docs/state-file.md",
        )
    (believed,) = load_verification_keys([entry], env.get("CREDENTIALS_DIRECTORY"))
    signer = key.verification_key()
    if (believed.algorithm, believed.material) != (signer.algorithm, signer.material):
        raise ConfigError(
            f"state.key_file {path} and state.keys.{key.key_id} hold two different keys",
            hint=f"give readers the public half of {path}, or give the new key an id of its own",
        )
    return key


def reader_keys(config: Config, env: Mapping[str, str]) -> tuple[VerificationKey, ...]:
    """Return the keys that a reader with this configuration believes; none where it names none.

    Those of ``[state.keys]``; without any, the one of ``state.key_file``. Raises ``ConfigError``.
    """
    entries = parse_key_table(config.state.keys)
    if entries:
        return load_verification_keys(entries, env.get("CREDENTIALS_DIRECTORY"))
    path = key_file_path(config, env)
    return (load_verification_key(path, config.state.key_id),) if path else ()


def may_read_keys(config: Config, env: Mapping[str, str]) -> bool:
    """Tell whether this user may read the keys of a reader: the signer's own is closed to most."""
    path = "" if config.state.keys else key_file_path(config, env)
    return not path or os.access(path, os.R_OK)

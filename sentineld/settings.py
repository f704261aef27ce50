"""Settings: the part of the configuration that decisions depend on, as the database records it."""

from typing import Any

import msgspec

from sentineld.config import Config
from sentineld.native import name_of
from sentineld.options import DetectionOptions, Duration, IntegrityOptions, RecoveryOptions
from sentineld.step import Prior
from sentineld.trust import Trust


def recorded_config(document: dict[str, Any], config: Config) -> Config:
    """Return the configuration that recorded settings describe; what they leave open is as in ``config``."""
    # One that an older version wrote knows of no starters, or of one score only.
    recorded = {"mode": "activity", "starter": False, **document["detection"]}
    detection = msgspec.convert(recorded, DetectionOptions, dec_hook=_duration)
    recovery = msgspec.convert(document["recovery"], RecoveryOptions, dec_hook=_duration)
    # A database that an older version wrote knows of no integrity.
    integrity = msgspec.convert(document.get("integrity", {}), IntegrityOptions)
    return msgspec.structs.replace(config, detection=detection, recovery=recovery, integrity=integrity)


def recorded_prior(document: dict[str, Any], config: Config) -> Prior:
    """Build the prior that recorded settings describe; what they leave open is as in ``config``."""
    return recorded_config(document, config).prior()


def recorded_trust(document: dict[str, Any]) -> Trust:
    """Build the trust rules that recorded settings describe."""
    # A database that an older version wrote knows of none, or calls formats by former names.
    plain = document.get("trust", {})
    rules = [{**rule, "format": name_of(rule.get("format", ""))} for rule in plain.get("rules", ())]
    return Trust.from_plain({**plain, "rules": rules})


def _duration(_kind: type, value: Any) -> Duration:  # noqa: ANN401 (msgspec's hook)
    return Duration(value)

"""Settings: the part of the configuration that decisions depend on, as the database records it."""

from typing import Any

import msgspec

from sentineld.config import Config, DetectionOptions, Duration, RecoveryOptions
from sentineld.step import Prior


def recorded_prior(document: dict[str, Any], config: Config) -> Prior:
    """Build the prior that recorded settings describe; what they leave open is as in ``config``."""
    detection = msgspec.convert(document["detection"], DetectionOptions, dec_hook=_duration)
    recovery = msgspec.convert(document["recovery"], RecoveryOptions, dec_hook=_duration)
    return msgspec.structs.replace(config, detection=detection, recovery=recovery).prior()


def _duration(_kind: type, value: Any) -> Duration:  # noqa: ANN401 (msgspec's hook)
    return Duration(value)

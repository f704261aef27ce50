"""Instants: integer microseconds since the Unix epoch, UTC, and their ISO 8601 form.

Integers, because window sums and replays must be equal to the last bit. No clock is read here.
"""

import math
from datetime import UTC, datetime, timedelta

#: Microseconds in a second.
SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
WEEK_US = 7 * DAY_US

#: The range that ISO 8601 with four-digit years can show; instants are clamped into it.
MIN_US = -62_135_596_800 * SECOND_US
MAX_US = 253_402_300_799 * SECOND_US + 999_999

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: The same range in whole days: they are sooner compared.
_MIN_DAYS, _MAX_DAYS = MIN_US // SECOND_US // 86_400, MAX_US // SECOND_US // 86_400
_from_iso = datetime.fromisoformat


def iso(at_us: int) -> str:
    """Format an instant as ISO 8601 UTC with ``Z``; no decimals, three or six, as few as are exact."""
    at = _EPOCH + timedelta(microseconds=min(max(at_us, MIN_US), MAX_US))
    digits = "auto" if at.microsecond % 1000 or not at.microsecond else "milliseconds"
    return at.replace(tzinfo=None).isoformat(timespec=digits) + "Z"


def iso_ms(at_us: int) -> str:
    """Format an instant as ISO 8601 UTC with exactly three decimals, for documents read by machines."""
    at = _EPOCH + timedelta(microseconds=min(max(at_us, MIN_US), MAX_US))
    return at.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def parse_iso(text: str) -> int:
    """Read ISO 8601 (a missing offset means UTC) as microseconds, within ``MIN_US`` and ``MAX_US``.

    Raises ``ValueError`` where the text is not a date and time.
    """
    at = _from_iso(text)
    try:
        since = at - _EPOCH
    except TypeError:
        since = at.replace(tzinfo=UTC) - _EPOCH
    # Spelled out: dividing by a microsecond takes three times as long, and this is done for every event.
    days = since.days
    at_us = (days * 86_400 + since.seconds) * SECOND_US + since.microseconds
    return at_us if _MIN_DAYS <= days <= _MAX_DAYS else min(max(at_us, MIN_US), MAX_US)


def from_unix(value: float) -> int:
    """Read a Unix time in s, ms, us or ns as microseconds; the unit follows from the magnitude.

    Below 1e11 the value is taken as seconds (until the year 5138), below 1e14 as ms, below 1e17 as us,
    else as ns. The result is clamped to what ISO 8601 can show. Infinities and not-a-number are a
    ``ValueError``.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a point in time")
    size = abs(value)
    if size < 1e11:
        at = value * SECOND_US
    elif size < 1e14:
        at = value * 1000
    elif size < 1e17:
        at = value
    else:
        at = value // 1000
    return round(min(max(at, MIN_US), MAX_US))

"""The override: an operator's order beside the state file, for when the daemon cannot give a better one.

``sentineld break-glass`` writes it; readers honour it whether or not the daemon lives. It has the state
file's form of signature, in a context of its own, so that neither passes for the other. It ends by itself,
at the latest after 24 hours; an order to end one is an override without a tier and with a higher number,
because a file that was deleted could be put back.

Standard library and floor 0 only: routers import this and must start in tens of milliseconds.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sentineld.errors import StateFileError
from sentineld.instant import SECOND_US, iso
from sentineld.keys import Key, SigningKey
from sentineld.signed_document import (
    MAX_INTEGER,
    Refused,
    check_schema,
    encode_document,
    instant_us,
    integer,
    parse_document,
    required_text,
    text,
    verify_document,
)
from sentineld.state_file import FUTURE_SLACK_MS, check_key_in_force
from sentineld.tier import Tier

#: Version of the document; it changes only when an old reader would be wrong.
SCHEMA = 1

#: What a signature on an override is for; the first of the signed bytes.
CONTEXT = b"sentineld-override-v1"

#: What is added to the state file's path.
SUFFIX = ".override"

#: Longest life in ms, for writer and readers: an order for longer than a day is a change of configuration.
MAX_VALID_FOR_MS = 24 * 3600 * 1000

#: Size cap in bytes: ten thousand names of agents fit.
MAX_BYTES = 1024 * 1024

#: How far ahead of the reader's wall clock, in us, an override may have been issued: what clocks that are
#: kept by NTP may be stepped by between its writing and its reading.
_FUTURE_SLACK_US = 60 * SECOND_US


def override_path(state_file: str) -> str:
    """Return where the override of a state file stands."""
    return state_file + SUFFIX


def encode_override(document: Mapping[str, object], key: SigningKey | None) -> bytes:
    """Return the file's bytes; see `sentineld.signed_document.encode_document` for form and errors."""
    return encode_document(CONTEXT, document, key)


class Override(NamedTuple):
    """An override's content after all checks of form and, if ``verified``, of its signature.

    ``tier`` is None where it ends the one before. ``agents`` None means all of them. Instants in microseconds
    since the epoch, ``boottime_ms`` and ``valid_for_ms`` in milliseconds. ``actor`` and ``reason`` are what
    the operator's command wrote. ``source`` is how errors call the file.
    """

    source: str
    number: int
    tier: Tier | None
    agents: frozenset[str] | None
    reason: str
    actor: str
    issued_at_us: int
    valid_until_us: int
    boot_id: str
    boottime_ms: int
    valid_for_ms: int
    verified: bool
    key_id: str | None
    key_not_after_us: int | None

    def applies_to(self, agent_id: str) -> bool:
        """Tell whether it gives this agent a tier."""
        return self.tier is not None and (self.agents is None or agent_id in self.agents)

    def check_in_force(self, now_us: int, boottime_ms: int, boot_id: str) -> None:
        """Raise `StateFileError` unless the override, and the key that signed it, are in force now.

        The wall clock must agree and, in the boot that wrote it, CLOCK_BOOTTIME too: setting back the one
        clock that can be set back must not make an exception last.
        """
        check_key_in_force(self.source, self.key_id, self.key_not_after_us, now_us)
        if self.issued_at_us > now_us + _FUTURE_SLACK_US:
            ahead_s = (self.issued_at_us - now_us) / SECOND_US
            raise StateFileError(f"{self.source} was issued {ahead_s:.0f} s in the future by the wall clock")
        if now_us > self.valid_until_us:
            raise StateFileError(f"{self.source} expired at {iso(self.valid_until_us)}")
        if self.boot_id and self.boot_id == boot_id:
            age_ms = boottime_ms - self.boottime_ms
            if age_ms < -FUTURE_SLACK_MS:
                raise StateFileError(
                    f"{self.source} was issued {-age_ms / 1000:.1f} s in the future of this boot"
                )
            if age_ms > self.valid_for_ms:
                raise StateFileError(
                    f"{self.source} expired: it is {age_ms / 1000:.0f} s old "
                    f"and valid for {self.valid_for_ms / 1000:.0f} s"
                )

    def check_not_below(self, floor: int) -> None:
        """Raise `StateFileError` if an override with a higher number was seen before."""
        if self.number < floor:
            raise StateFileError(
                f"{self.source} was rolled back: number {self.number} is below {floor}, which was seen before"
            )

    def describe(self) -> str:
        """Say what it orders, on whose word and until when, as a sentence."""
        given = f" ({self.reason})" if self.reason else ""
        if self.tier is None:
            return f"an operator ended the override{given}"
        return f"an operator's override gives tier {int(self.tier)} until {iso(self.valid_until_us)}{given}"


def parse_override(data: bytes, keys: Sequence[Key] = (), *, source: str = "override file") -> Override:
    """Turn the file's bytes into an `Override`; with keys, only if one of them signed exactly these bytes.

    Time is not looked at: that is `Override.check_in_force`. Raises `StateFileError`, whose sentence begins
    with ``source``.
    """
    body, key = data, None
    try:
        if keys:
            body, key = verify_document(CONTEXT, data, keys)
        return _override(parse_document(body), source, key)
    except Refused as refusal:
        raise StateFileError(f"{source} {refusal}") from refusal.__cause__


def _override(document: Mapping[str, object], source: str, key: Key | None) -> Override:
    """Check every member that decides something, and build the override."""
    check_schema(document, SCHEMA)
    tier = document.get("tier", 0)
    issued_at_us = instant_us(document, "issued_at")
    valid_until_us = instant_us(document, "valid_until")
    if valid_until_us - issued_at_us > MAX_VALID_FOR_MS * 1000:
        raise Refused(f"claims to last longer than {MAX_VALID_FOR_MS // 3_600_000} hours")
    return Override(
        source=source,
        number=integer(document, "number", 1, MAX_INTEGER),
        tier=None if tier is None else Tier(integer(document, "tier", Tier.NORMAL, Tier.ANOMALOUS)),
        agents=_agents(document),
        reason=_printable(text(document, "reason")),
        actor=_printable(text(document, "actor")),
        issued_at_us=issued_at_us,
        valid_until_us=valid_until_us,
        boot_id=required_text(document, "boot_id"),
        boottime_ms=integer(document, "boottime_ms", 0, MAX_INTEGER),
        valid_for_ms=integer(document, "valid_for_ms", 1, MAX_VALID_FOR_MS),
        verified=key is not None,
        key_id=None if key is None else key.key_id,
        key_not_after_us=None if key is None else key.not_after_us,
    )


def _agents(document: Mapping[str, object]) -> frozenset[str] | None:
    """Return the agents that it is for. The member must be there: a name that is missing is not everybody."""
    agents = document.get("agents", 0)
    if agents is None:
        return None
    if not isinstance(agents, list) or not agents or not all(isinstance(a, str) and a for a in agents):
        raise Refused("has no agents that are null or a list of names")
    return frozenset(agents)


def _printable(words: str) -> str:
    """Return one line that a terminal does not obey, cut to 200 characters."""
    return "".join(c if c.isprintable() else "?" for c in words[:200])

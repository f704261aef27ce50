"""The state file: what the daemon publishes and routers read, one JSON document on one line.

Writer: `encode_state` gives the bytes, signed where there is a key; `publish` replaces the file atomically.
Reader: `read_state`, or for those who cache its steps (`read_document`, `parse_state`, `check_fresh`).
A reader refuses by raising `StateFileError` with a sentence; there is no partial acceptance.

Standard library and floor 0 only: routers import this and must start in tens of milliseconds.
"""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sentineld.errors import StateFileError
from sentineld.instant import SECOND_US, iso
from sentineld.keys import KEY_ID, Key, SigningKey
from sentineld.published_file import MAX_BYTES, publish, read_document
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
from sentineld.tier import Tier

__all__ = ["CONTEXT", "SCHEMA", "StateView", "encode_state", "parse_state", "publish", "read_state"]

#: Version of the document; it changes only when an old reader would be wrong.
SCHEMA = 1

#: What a signature on a state file is for; the first of the signed bytes.
CONTEXT = b"sentineld-state-v1"

#: How far ahead of the reader's clock, in ms, a document of the same boot may claim to be: CLOCK_BOOTTIME is
#: one clock for all processes, so only rounding and time namespaces can show here.
FUTURE_SLACK_MS = 1000

_TIERS = frozenset(int(tier) for tier in Tier)


def encode_state(document: Mapping[str, object], key: SigningKey | None) -> bytes:
    """Return the file's bytes; see `sentineld.signed_document.encode_document` for form and errors."""
    return encode_document(CONTEXT, document, key)


class StateView(NamedTuple):
    """A state file's content after all checks of form and, if ``verified``, of its signature.

    ``generated_at_us`` and ``valid_until_us`` are microseconds since the epoch; ``boottime_ms`` and
    ``valid_for_ms`` milliseconds. ``agents`` maps ids to ``tier`` (1..3) and, as written, ``score``,
    ``since``, ``until``, ``decision`` and ``reason_code``; ``would`` has the same form and decides nothing.
    Both are shared with other users of the view: read only. ``source`` is how errors call the file.
    ``key_not_after_us`` is the end of the key that signed it, where the reader knows of one.
    """

    source: str
    epoch: int
    seq: int
    mode: str
    status: str
    isolation: str
    writer: str
    generated_at_us: int
    valid_until_us: int
    boot_id: str
    boottime_ms: int
    valid_for_ms: int
    unlisted_tier: Tier
    agents: Mapping[str, Mapping[str, object]]
    would: Mapping[str, object]
    verified: bool
    key_id: str | None
    key_not_after_us: int | None = None
    #: Overrides with a lower number have been followed by others; 0 where there was none.
    override_floor: int = 0
    #: What did not work when it was published; informative.
    faults: tuple[str, ...] = ()
    #: How far a catch-up was, and how the daemon stepped back; informative, as written, None where not told.
    catching_up: Mapping[str, object] | None = None
    throttle: Mapping[str, object] | None = None

    @property
    def version(self) -> tuple[int, int]:
        """``(epoch, seq)``: grows with every publish and never goes back."""
        return self.epoch, self.seq

    def tier(self, agent_id: str) -> Tier:
        """Return an agent's tier; that of unlisted agents if it is not listed."""
        agent = self.agents.get(agent_id)
        if agent is None:
            return self.unlisted_tier
        tier = agent["tier"]
        assert isinstance(tier, int)
        return Tier(tier)

    def check_fresh(self, now_us: int, boottime_ms: int, boot_id: str) -> None:
        """Raise `StateFileError` unless the document, and the key that signed it, are in force now.

        In the boot that wrote it, its age on CLOCK_BOOTTIME decides, which nobody can set back. After a
        reboot, or where a boot has no name, the wall clock does. A key ends by the wall clock.
        """
        check_key_in_force(self.source, self.key_id, self.key_not_after_us, now_us)
        if self.boot_id and self.boot_id == boot_id:
            age_ms = boottime_ms - self.boottime_ms
            if age_ms < -FUTURE_SLACK_MS:
                raise StateFileError(
                    f"{self.source} was written {-age_ms / 1000:.1f} s in the future of this boot"
                )
            if age_ms > self.valid_for_ms:
                raise StateFileError(
                    f"{self.source} is stale: it is {age_ms / 1000:.1f} s old "
                    f"and valid for {self.valid_for_ms / 1000:.1f} s"
                )
            return
        if now_us > self.valid_until_us:
            late_s = (now_us - self.valid_until_us) / SECOND_US
            raise StateFileError(f"{self.source} is stale: it expired {late_s:.1f} s ago by the wall clock")
        if self.generated_at_us - now_us > self.valid_for_ms * 1000:
            ahead_s = (self.generated_at_us - now_us) / SECOND_US
            raise StateFileError(f"{self.source} was written {ahead_s:.1f} s in the future by the wall clock")

    def check_not_below(self, floor: tuple[int, int] | None) -> None:
        """Raise `StateFileError` if the document is older than one that was seen before."""
        if floor is not None and self.version < floor:
            raise StateFileError(
                f"{self.source} was rolled back: epoch {self.epoch} seq {self.seq} is older than "
                f"epoch {floor[0]} seq {floor[1]}, which was seen before"
            )


def check_key_in_force(source: str, key_id: str | None, not_after_us: int | None, now_us: int) -> None:
    """Raise `StateFileError` if the key that signed ``source`` has come to its end."""
    if not_after_us is not None and now_us > not_after_us:
        end = iso(not_after_us // SECOND_US * SECOND_US)
        raise StateFileError(f"{source} is signed with key {key_id}, which expired at {end}")


def parse_state(data: bytes, keys: Sequence[Key] = (), *, source: str = "state file") -> StateView:
    """Turn the file's bytes into a `StateView`; with keys, only if one of them signed exactly these bytes.

    Without keys a signed file is read as well, and ``verified`` is False. Freshness is not looked at: that is
    `StateView.check_fresh`. Raises `StateFileError`, whose sentence begins with ``source``.
    """
    body, key = data, None
    try:
        if keys:
            body, key = verify_document(CONTEXT, data, keys)
        return _view(parse_document(body), source, key)
    except Refused as refusal:
        raise StateFileError(f"{source} {refusal}") from refusal.__cause__


def read_state(
    path: str | os.PathLike[str],
    *,
    keys: Sequence[Key] = (),
    expected_owner: int | None = None,
    now_us: int,
    boottime_ms: int,
    boot_id: str,
    floor: tuple[int, int] | None = None,
    max_bytes: int = MAX_BYTES,
) -> StateView:
    """Read the state file and return it if every check passes; raise `StateFileError` if any does not.

    Regular file, owner, size, signature (with ``keys``), form, not older than ``floor`` (the highest
    ``(epoch, seq)`` seen before), and fresh by the clocks given: ``now_us`` and ``boottime_ms`` as of
    `sentineld.clock`, ``boot_id`` this boot's name or empty.
    """
    data, _ = read_document(path, expected_owner=expected_owner, is_signed=bool(keys), max_bytes=max_bytes)
    view = parse_state(data, keys, source=f"state file {os.fspath(path)}")
    view.check_not_below(floor)
    view.check_fresh(now_us, boottime_ms, boot_id)
    return view


def _agents(document: Mapping[str, object]) -> Mapping[str, Mapping[str, object]]:
    """Return the listed agents, each an object with a tier."""
    agents = document.get("agents")
    if not isinstance(agents, dict):
        raise Refused("has no agents that are an object")
    for agent in agents.values():
        # The id is the agent's own word: it stays out of the sentence.
        if not isinstance(agent, dict) or type(agent.get("tier")) is not int or agent["tier"] not in _TIERS:
            raise Refused("lists an agent that is not an object with a tier from 1 to 3")
    return agents


def _faults(names: object) -> tuple[str, ...]:
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()


def _told(found: object) -> Mapping[str, object] | None:
    return found if isinstance(found, dict) else None


def _view(document: Mapping[str, object], source: str, key: Key | None) -> StateView:
    """Check every member that decides something, and build the view."""
    check_schema(document, SCHEMA)
    mode = document.get("mode")
    if mode not in ("enforce", "observe"):
        raise Refused("has a mode that is neither enforce nor observe")
    would = document.get("would")
    claimed = text(document, "key_id")
    return StateView(
        source=source,
        epoch=integer(document, "epoch", 0, MAX_INTEGER),
        seq=integer(document, "seq", 0, MAX_INTEGER),
        mode=str(mode),
        status=text(document, "status"),
        isolation=text(document, "isolation"),
        writer=text(document, "writer"),
        generated_at_us=instant_us(document, "generated_at"),
        valid_until_us=instant_us(document, "valid_until"),
        boot_id=required_text(document, "boot_id"),
        boottime_ms=integer(document, "boottime_ms", 0, MAX_INTEGER),
        valid_for_ms=integer(document, "valid_for_ms", 1, MAX_INTEGER),
        unlisted_tier=Tier(integer(document, "unlisted_tier", Tier.NORMAL, Tier.ANOMALOUS)),
        agents=_agents(document),
        would=would if isinstance(would, dict) else {},
        verified=key is not None,
        key_id=key.key_id if key is not None else claimed if KEY_ID.fullmatch(claimed) else None,
        key_not_after_us=None if key is None else key.not_after_us,
        override_floor=integer(document, "override_floor", 0, MAX_INTEGER)
        if "override_floor" in document
        else 0,
        faults=_faults(document.get("faults")),
        catching_up=_told(document.get("catching_up")),
        throttle=_told(document.get("throttle")),
    )

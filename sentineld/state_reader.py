"""State reader: the state file and its override, watched by a process that asks often.

Nothing here raises, and nothing waits: what fails is tier 3 with a reason (the state file) or is as if it
were not there, with a warning (the override). Files are parsed when they change; owner, freshness and the
end of keys are asked for every time.

Standard library and floor 0 only: routers import this and must start in tens of milliseconds.
"""

import os
import re
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, NamedTuple, Protocol, TypeVar

from sentineld.errors import StateFileError
from sentineld.high_water import HighWater
from sentineld.keys import Key, expiry_warning
from sentineld.override import MAX_BYTES as MAX_OVERRIDE_BYTES
from sentineld.override import Override, override_path, parse_override
from sentineld.published_file import MAX_BYTES, check_trust, read_document
from sentineld.state_file import StateView, parse_state
from sentineld.tier import Tier

T = TypeVar("T")


class Clock(Protocol):
    """The three clocks of `sentineld.clock`: wall (us), boot (ms) and the name of this boot."""

    def now_us(self) -> int:
        """Wall clock, microseconds since the Unix epoch."""
        ...

    def boottime_ms(self) -> int:
        """Milliseconds since boot, suspend included."""
        ...

    def boot_id(self) -> str:
        """Name of this boot; empty if unknown."""
        ...


class BehaviorTier(NamedTuple):
    """An agent's tier by its behaviour, and why, as a sentence.

    ``is_usable`` is False where a source failed: the tier then is 3, whatever the agent did.
    """

    tier: Tier
    reason: str
    is_usable: bool = True


#: Microseconds after its last change from which a file counts as settled. File times have the resolution of
#: the kernel's tick (at most 10 ms, at CONFIG_HZ=100); halved, a second publish within one tick could be
#: missed until the next; doubled, the file is parsed anew for longer after each publish.
_SETTLED_AFTER_US = 20_000

_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class _Snapshot(NamedTuple, Generic[T]):
    """One reading of a file: which file it was, and its content or why there is none.

    ``is_settled``: the file had not changed for a while when it was read, so any later change shows in its
    identity. A file younger than a tick of the kernel's clock may change again under the same time stamp.
    """

    identity: tuple[int, ...]
    content: T | None
    refusal: str
    is_settled: bool

    def is_still(self, status: os.stat_result) -> bool:
        """Tell whether the file with this status is surely the one that was read."""
        return self.is_settled and self.identity == _identity(status)


class _Watched(Generic[T]):
    """One published file that is read again only when it changed. ``parse`` raises `StateFileError`."""

    def __init__(
        self,
        path: str,
        noun: str,
        parse: Callable[[bytes], T],
        clock: Clock,
        lock: threading.Lock,
        *,
        expected_owner: int | None,
        is_signed: bool,
        max_bytes: int,
    ) -> None:
        self.path = path
        self.name = f"{noun} {path}"
        self._noun = noun
        self._parse = parse
        self._clock = clock
        self._lock = lock
        self._expected_owner = expected_owner
        self._is_signed = is_signed
        self._max_bytes = max_bytes
        self._snapshot: _Snapshot[T] | None = None

    @property
    def last(self) -> T | None:
        """What the last reading gave."""
        snapshot = self._snapshot
        return None if snapshot is None else snapshot.content

    def current(self) -> T | None:
        """Return what stands in the file now; None where there is no file. Raises `StateFileError`."""
        try:
            status = os.lstat(self.path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StateFileError(f"{self.name} cannot be looked at: {error}") from error
        snapshot = self._snapshot
        if snapshot is None or not snapshot.is_still(status):
            snapshot = self._refresh(status)
        else:
            # A directory's mode and owner may change under a file that does not.
            check_trust(
                self.path,
                status,
                noun=self._noun,
                expected_owner=self._expected_owner,
                is_signed=self._is_signed,
                max_bytes=self._max_bytes,
            )
        if snapshot.content is None:
            raise StateFileError(snapshot.refusal)
        return snapshot.content

    def _refresh(self, status: os.stat_result) -> _Snapshot[T]:
        """Read the file again. A refusal is remembered too: the same bytes would be refused again."""
        with self._lock:
            if self._snapshot is not None and self._snapshot.is_still(status):
                # Another thread read it while this one waited.
                return self._snapshot
            now_us = self._clock.now_us()
            data, status = read_document(
                self.path,
                noun=self._noun,
                expected_owner=self._expected_owner,
                is_signed=self._is_signed,
                max_bytes=self._max_bytes,
            )
            content, refusal = None, ""
            try:
                content = self._parse(data)
            except StateFileError as error:
                refusal = str(error)
            changed_us = max(status.st_mtime_ns, status.st_ctime_ns) // 1000
            is_settled = now_us - changed_us > _SETTLED_AFTER_US
            self._snapshot = _Snapshot(_identity(status), content, refusal, is_settled)
            return self._snapshot


class StateReader:
    """Reads one state file and its override, from any thread.

    ``keys``: with at least one, only what one of them signed is believed. ``expected_owner``: uid that must
    own both files (default: root, this user or their directory's owner). ``high_water``: path of a file that
    remembers the newest versions seen, across restarts.
    """

    def __init__(
        self,
        path: str,
        keys: Sequence[Key] = (),
        *,
        expected_owner: int | None = None,
        high_water: str | None = None,
        clock: Clock,
    ) -> None:
        self.path = path
        self._keys = tuple(keys)
        self._clock = clock
        self._mark = HighWater(high_water)
        #: Why the override that is there counts for nothing; empty where none is there or it counts.
        self.ignored = ""
        # One lock for both files: they share the mark.
        lock = threading.Lock()
        is_signed = bool(self._keys)
        self._state = _Watched(
            path,
            "state file",
            self._parse_state,
            clock,
            lock,
            expected_owner=expected_owner,
            is_signed=is_signed,
            max_bytes=MAX_BYTES,
        )
        self._override = _Watched(
            override_path(path),
            "override file",
            self._parse_override,
            clock,
            lock,
            expected_owner=expected_owner,
            is_signed=is_signed,
            max_bytes=MAX_OVERRIDE_BYTES,
        )

    @property
    def view(self) -> StateView | None:
        """The last state file that passed every check of form and signature; it may have expired since."""
        return self._state.last

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on what does not change a tier but weakens it, and on an override, obeyed or ignored."""
        found = list(self._mark.warnings)
        try:
            override = self.override()
            now_us = self._clock.now_us()
        except Exception as error:  # noqa: BLE001 (a clock may fail; a warning must not)
            return *found, f"the clock failed: {type(error).__name__}"
        if self.ignored:
            found.append(self.ignored)
        if override is not None:
            count = 0 if override.agents is None else len(override.agents)
            who = f", for {count} agent{'s' if count > 1 else ''}" if count else ""
            found.append(f"{override.describe()}{who}")
        view = self.view
        if view is not None and view.key_id is not None:
            found += filter(None, [expiry_warning(view.key_id, view.key_not_after_us, now_us)])
        return tuple(found)

    def behavior(self, agent_id: str) -> BehaviorTier:
        """Return what the state file says of an agent, whatever an override says. Never raises."""
        try:
            view = self._current_view()
            tier = view.tier(agent_id)
            listed = view.agents.get(agent_id)
        except StateFileError as error:
            return BehaviorTier(Tier.ANOMALOUS, str(error), is_usable=False)
        except Exception as error:  # noqa: BLE001 (last resort: a gate that crashes is a gate that somebody removes)
            reason = f"{self._state.name} cannot be used: {type(error).__name__}"
            return BehaviorTier(Tier.ANOMALOUS, reason, is_usable=False)
        if listed is None:
            return BehaviorTier(tier, f"the agent is not listed; unlisted agents have tier {int(tier)}")
        code = listed.get("reason_code")
        why = f" ({code})" if isinstance(code, str) and _WORD.fullmatch(code) else ""
        return BehaviorTier(tier, f"the state file lists the agent with tier {int(tier)}{why}")

    @property
    def newest_override(self) -> int:
        """Highest number of an override that was seen, or that a state file told of; 0 before any."""
        return self._mark.override

    def override(self) -> Override | None:
        """Return the override that is in force now, for some agents or all. Never raises.

        One that is there and not in force counts for nothing; `warnings` says why.
        """
        try:
            override = self._override.current()
            if override is not None and override.tier is not None:
                # The daemon may have seen a newer one: a state file that has expired still tells of that.
                with suppress(StateFileError):
                    self._state.current()
                override.check_not_below(self._mark.override)
                override.check_in_force(
                    self._clock.now_us(), self._clock.boottime_ms(), self._clock.boot_id()
                )
        except StateFileError as error:
            self.ignored = f"ignored: {error}"
            return None
        except Exception as error:  # noqa: BLE001 (as in `behavior`)
            self.ignored = f"ignored: {self._override.name} cannot be used: {type(error).__name__}"
            return None
        self.ignored = ""
        return None if override is None or override.tier is None else override

    def _current_view(self) -> StateView:
        view = self._state.current()
        if view is None:
            raise StateFileError(f"{self._state.name} is missing")
        view.check_fresh(self._clock.now_us(), self._clock.boottime_ms(), self._clock.boot_id())
        return view

    def _parse_state(self, data: bytes) -> StateView:
        view = parse_state(data, self._keys, source=self._state.name)
        # With keys, only a verified document comes this far: nobody else can raise the mark.
        view.check_not_below(self._mark.raise_state(view.version))
        if view.override_floor:
            self._mark.raise_override(view.override_floor)
        return view

    def _parse_override(self, data: bytes) -> Override:
        override = parse_override(data, self._keys, source=self._override.name)
        # As above; without keys, owner and permissions were what it had to pass.
        override.check_not_below(self._mark.raise_override(override.number))
        return override


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """Return what changes whenever a file is replaced or written. ctime cannot be set back, mtime can."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )

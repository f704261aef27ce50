"""Policy: from the tier that the score calls for to the tier that the agent has.

Demotion is at once, by the score or by evidence that telemetry was tampered with. Recovery goes one tier at
a time, each after a quiet time in which the score called for less than the agent's tier and no such evidence
came. A pardon ends a demotion; its grace keeps detection from demoting again for a while. A pin overrides the
tier until it expires or is lifted; behaviour is judged underneath all the while.

Time alone acts at deadlines, and a deadline acts at its own instant however late somebody looks, strictly
before whatever comes after it: decisions do not depend on how often time is told.
"""

from dataclasses import dataclass

from msgspec import Struct

from sentineld.tier import Tier


class Standing(Struct, omit_defaults=True, gc=False):
    """Where an agent stands. All times are microseconds of effective time.

    ``tier`` is the behaviour's; ``pinned_tier`` overrides it while set, until ``pinned_until_us`` (None:
    until lifted). ``quiet_since_us``: since when the score has called for less than ``tier``.
    """

    tier: int = 1
    since_us: int = 0
    quiet_since_us: int | None = None
    grace_until_us: int | None = None
    pinned_tier: int | None = None
    pinned_until_us: int | None = None

    @property
    def effective_tier(self) -> int:
        """The tier that is published: the pin where there is one."""
        return self.tier if self.pinned_tier is None else self.pinned_tier

    @property
    def is_plain(self) -> bool:
        """Whether nothing but new events can change anything: tier 1, no pin, no grace."""
        return self.tier == 1 and self.pinned_tier is None and self.grace_until_us is None


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the published tier, or an operator's act on it, at one instant."""

    at_us: int
    from_tier: int
    to_tier: int
    cause: str


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of demotion and recovery.

    ``quiet_us`` is the quiet time before each promotion (microseconds). With ``tier3_needs_pardon`` tier 3
    ends by pardon only.
    """

    quiet_us: int = 900_000_000
    tier3_needs_pardon: bool = False

    def call(self, standing: Standing, at_us: int, level: int) -> list[Change]:
        """Take note that the score calls for tier ``level`` (1..3) from ``at_us`` on."""
        before = standing.effective_tier
        if level > standing.tier:
            if standing.grace_until_us is not None:
                return []
            standing.tier = level
            standing.quiet_since_us = None
            return self._changed(standing, before, at_us, "detected")
        if level == standing.tier:
            standing.quiet_since_us = None
        elif standing.quiet_since_us is None:
            standing.quiet_since_us = at_us
        return []

    def charge(self, standing: Standing, at_us: int, tier: int, level: int, cause: str) -> list[Change]:
        """Take note of evidence that calls for ``tier`` at once, whatever the score (``level``) says.

        Grace does not protect from it, and while it goes on there is no quiet time.
        """
        if tier <= 1:
            return []
        before = standing.effective_tier
        standing.tier = max(standing.tier, tier)
        standing.quiet_since_us = at_us if level < standing.tier else None
        return self._changed(standing, before, at_us, cause)

    def next_deadline(self, standing: Standing) -> int | None:
        """Return the next instant at which time alone changes the standing; None for never."""
        if standing.quiet_since_us is None and standing.is_plain:
            return None
        candidates = [standing.grace_until_us]
        if standing.pinned_tier is not None:
            candidates.append(standing.pinned_until_us)
        if standing.quiet_since_us is not None and self._recovers(standing.tier):
            candidates.append(standing.quiet_since_us + self.quiet_us)
        due = [candidate for candidate in candidates if candidate is not None]
        return min(due) if due else None

    def pass_deadline(self, standing: Standing, at_us: int, level: int) -> list[Change]:
        """Carry out every deadline that is due at ``at_us`` (the value of ``next_deadline``)."""
        changes: list[Change] = []
        if (
            standing.pinned_tier is not None
            and standing.pinned_until_us is not None
            and standing.pinned_until_us <= at_us
        ):
            before = standing.effective_tier
            standing.pinned_tier = standing.pinned_until_us = None
            standing.since_us = at_us
            changes.append(Change(at_us, before, standing.tier, "expired"))
        if standing.grace_until_us is not None and standing.grace_until_us <= at_us:
            standing.grace_until_us = None
            changes += self.call(standing, at_us, level)
        quiet_since = standing.quiet_since_us
        if quiet_since is not None and quiet_since + self.quiet_us <= at_us and self._recovers(standing.tier):
            before = standing.effective_tier
            standing.tier -= 1
            standing.quiet_since_us = at_us if level < standing.tier else None
            changes += self._changed(standing, before, at_us, "recovered")
        return changes

    def pardon(self, standing: Standing, at_us: int, grace_us: int) -> Change:
        """Return the agent to tier 1 and lift any pin; detection does not demote for ``grace_us``."""
        before = standing.effective_tier
        standing.tier = 1
        standing.since_us = at_us
        standing.quiet_since_us = None
        standing.pinned_tier = standing.pinned_until_us = None
        standing.grace_until_us = at_us + grace_us if grace_us > 0 else None
        return Change(at_us, before, 1, "pardoned")

    def pin(self, standing: Standing, at_us: int, tier: Tier, until_us: int | None) -> Change:
        """Hold the agent at a tier, until an instant or until it is unpinned."""
        before = standing.effective_tier
        standing.pinned_tier = int(tier)
        standing.pinned_until_us = until_us
        standing.since_us = at_us
        return Change(at_us, before, int(tier), "pinned")

    def unpin(self, standing: Standing, at_us: int) -> Change:
        """Lift the pin; the tier is the behaviour's again."""
        before = standing.effective_tier
        standing.pinned_tier = standing.pinned_until_us = None
        standing.since_us = at_us
        return Change(at_us, before, standing.tier, "unpinned")

    def _recovers(self, tier: int) -> bool:
        return tier == Tier.SUSPICIOUS or (tier == Tier.ANOMALOUS and not self.tier3_needs_pardon)

    @staticmethod
    def _changed(standing: Standing, before: int, at_us: int, cause: str) -> list[Change]:
        if standing.effective_tier == before:
            return []
        standing.since_us = at_us
        return [Change(at_us, before, standing.effective_tier, cause)]

"""Rules: patterns that are wrong whoever does them, one file each; they need no calibration and call for tier 3."""

from collections.abc import Callable, Mapping

from sentineld.event import Facts, Observation
from sentineld.session import Finding, Session

#: Says what breaks a rule: the session with its event in hand, which has been taken in; None where nothing does.
Rule = Callable[[Session, Facts, Observation], Finding | None]

RULES: Mapping[str, Rule] = {}

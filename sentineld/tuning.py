"""Tuning: what settings would have cost on judged sessions, and which of them keep a wished rate of alarms.

One pass over history gives every session's p-value (``detection``) or score (``monitor``), each judged by
what came before it; every threshold can then be tried on these numbers. All sessions are taken for honest: an
attack among them counts as a false alarm. What sessions make up together is worked out anew for each value of
``false_alarms_per_week``, as if every alarm were pardoned at once. Rates are alarms an agent-week, with the
exact interval of a Poisson rate (Garwood, 1936): ``low`` solves ``P(N >= n) = 2.5 %``, ``high`` solves ``P(N
<= n) = 2.5 %``.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from sentineld.calibration import sessions_needed
from sentineld.e_detector import Block, Pace, threshold

#: Values of ``detection.false_alarms_per_session`` that are tried.
RATES = (0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002)
#: Values of ``detection.false_alarms_per_week`` that are tried.
WEEK_RATES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005)
#: Values of ``detection.suspicious_threshold`` that are tried.
THRESHOLDS = (0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
#: An agent-week is an agent and a week (Monday to Sunday, UTC) with at least one event.
WEEK_US = 7 * 86_400_000_000
#: The first Monday after the epoch.
MONDAY_US = 4 * 86_400_000_000

_WISH = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*/\s*(hour|day|week|month|year)s?\s*")
_PER_WEEK = {"hour": 168.0, "day": 7.0, "week": 1.0, "month": 12 / 365.2425 * 7, "year": 7 / 365.2425}


@dataclass(frozen=True, slots=True)
class Wish:
    """How many false alarms somebody is willing to look at: ``alarms`` a ``unit`` of time."""

    alarms: float
    unit: str

    @property
    def per_week(self) -> float:
        """The same, a week."""
        return self.alarms * _PER_WEEK[self.unit]


@dataclass(slots=True)
class Judged:
    """One session of history: ``p`` is its lowest p-value or None, ``score`` its highest score (0..1).

    ``known`` is how many sessions it was ranked among, ``rank`` its exact p-value. ``rule`` is the one that
    it broke (empty: none), so that no rate keeps it from being told. It began at ``began_us``.
    """

    agent: str
    name: str
    score: float
    p: float | None = None
    known: int = 0
    tier: int = 1
    rule: str = ""
    rank: float = 1.0
    began_us: int = 0


@dataclass(slots=True)
class History:
    """Judged sessions, and in how many weeks each agent did anything."""

    sessions: list[Judged]
    weeks: dict[str, int]
    first_us: int = 0
    last_us: int = 0
    #: Sessions that each agent's role can rank by at the end.
    known: dict[str, int] = field(default_factory=dict)

    @property
    def agent_weeks(self) -> int:
        """Pairs of an agent and a week in which it did something."""
        return sum(self.weeks.values())

    @property
    def sessions_per_week(self) -> float:
        """Sessions an agent-week, over all agents."""
        return len(self.sessions) / self.agent_weeks if self.agent_weeks else 0.0

    @property
    def by_agent(self) -> dict[str, int]:
        """How many sessions each agent had."""
        return dict(sorted(Counter(one.agent for one in self.sessions).items()))

    @property
    def busiest(self) -> tuple[str, float]:
        """The agent with most sessions a week of its own, and how many; ("", 0) where there is none."""
        found = ((agent, count / max(1, self.weeks[agent])) for agent, count in self.by_agent.items())
        return max(found, key=lambda item: item[1], default=("", 0.0))


@dataclass(slots=True)
class Row:
    """What one value of an option would have cost.

    ``agents`` are alarmed sessions by agent, ``expected`` what the stated bound allows an agent-week (None:
    it states none), ``needed`` how many sessions it takes to keep that bound, ``ranked`` how many sessions of
    history were judged by as many, ``is_attainable`` whether every role knows as many at the end.
    ``is_kept``: neither what happened nor what the bound allows is more than was wished.
    """

    value: float
    alarms: int
    share: float
    per_week: float
    low: float
    high: float
    agents: dict[str, int]
    expected: float | None = None
    needed: int = 0
    ranked: int = 0
    is_attainable: bool = True
    is_kept: bool = False


def parse_wish(text: str) -> Wish:
    """Read ``1/week``, ``2/month`` or ``0.5/day``. Raises ``ValueError`` for anything else and for zero."""
    match = _WISH.fullmatch(text.lower())
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"expected a rate such as 1/week, 2/month or 0.5/day, not {text!r}")
    return Wish(float(match[1]), match[2])


def learned_rows(history: History, wish_per_week: float, values: Iterable[float] = RATES) -> list[Row]:
    """Try values of ``false_alarms_per_session``, most alarms first; ``wish_per_week`` is an agent's."""
    rows = []
    for value in sorted(set(values), reverse=True):
        row = _row(history, value, [one.p is not None and one.p <= value for one in history.sessions])
        row.expected = value * history.sessions_per_week
        row.needed = sessions_needed(value)
        row.ranked = sum(one.known >= row.needed for one in history.sessions)
        row.is_attainable = bool(history.known) and min(history.known.values()) >= row.needed
        row.is_kept = max(row.per_week, row.expected) <= wish_per_week
        rows.append(row)
    return rows


def tier3_rows(
    history: History,
    wish_per_week: float,
    sessions_per_week: float,
    gap_us: int,
    values: Iterable[float] = WEEK_RATES,
) -> list[Row]:
    """Try values of ``false_alarms_per_week``, most alarms first; ``wish_per_week`` is an agent's.

    ``sessions_per_week`` is the least that an agent is taken to have, ``gap_us`` what ends a session.
    ``needed`` is how many sessions it takes until one alone can be tier 3.
    """
    places: dict[str, list[int]] = {}
    for place, one in enumerate(history.sessions):
        places.setdefault(one.agent, []).append(place)
    for own in places.values():
        own.sort(key=lambda place: history.sessions[place].began_us)
    pace = max(sessions_per_week, history.busiest[1])
    rows = []
    for value in sorted(set(values), reverse=True):
        over = [False] * len(history.sessions)
        for own in places.values():
            sessions = [history.sessions[place] for place in own]
            for place, is_over in zip(own, _add_up(sessions, value, sessions_per_week, gap_us), strict=True):
                over[place] = is_over
        row = _row(history, value, over)
        row.expected = value
        row.needed = sessions_needed(value / pace)
        row.ranked = sum(one.known >= row.needed for one in history.sessions)
        row.is_attainable = bool(history.known) and min(history.known.values()) >= row.needed
        row.is_kept = max(row.per_week, value) <= wish_per_week
        rows.append(row)
    return rows


def activity_rows(history: History, wish_per_week: float, values: Iterable[float] = THRESHOLDS) -> list[Row]:
    """Try values of ``suspicious_threshold``, most alarms first; ``wish_per_week`` is an agent's."""
    rows = []
    for value in sorted(set(values)):
        row = _row(history, value, [one.score > value for one in history.sessions])
        row.is_kept = row.per_week <= wish_per_week
        rows.append(row)
    return rows


def best(rows: Sequence[Row]) -> tuple[Row, bool]:
    """Return the most watchful row that keeps the wish, else the least watchful one: (row, is it kept)."""
    kept = next((row for row in rows if row.is_kept), None)
    return (rows[-1], False) if kept is None else (kept, True)


def stricter(rows: Sequence[Row], chosen: Row) -> float:
    """Return a threshold above ``chosen`` that half as many sessions reach at most, else the last one."""
    later = [row for row in rows if row.value > chosen.value]
    return next((row.value for row in later if 2 * row.alarms <= chosen.alarms), rows[-1].value)


def poisson_interval(count: int, exposure: float) -> tuple[float, float]:
    """Return the exact 95 % interval of a rate: ``count`` things happened in ``exposure`` (0: no bound)."""
    if exposure <= 0:
        return 0.0, math.inf
    low = 0.0 if count == 0 else _solve(lambda rate: 1.0 - _at_most(count - 1, rate), 0.025, count)
    high = _solve(lambda rate: -_at_most(count, rate), -0.025, count)
    return low / exposure, high / exposure


def weeks_for(wish_per_week: float) -> int:
    """Return after how many agent-weeks without an alarm one may be sure (95 %) of a wished rate."""
    return math.ceil(-math.log(0.05) / wish_per_week)


def week_of(at_us: int) -> int:
    """Return the number of the week (Monday to Sunday, UTC) of an instant."""
    return (at_us - MONDAY_US) // WEEK_US


def _row(history: History, value: float, over: Sequence[bool]) -> Row:
    alarmed = [one for one, is_over in zip(history.sessions, over, strict=True) if one.rule or is_over]
    count, weeks = len(alarmed), history.agent_weeks
    low, high = poisson_interval(count, weeks)
    share = count / len(history.sessions) if history.sessions else 0.0
    agents = dict(Counter(one.agent for one in alarmed).most_common())
    return Row(value, count, share, count / weeks if weeks else 0.0, low, high, agents)


def _add_up(sessions: Sequence[Judged], value: float, sessions_per_week: float, gap_us: int) -> list[bool]:
    """Say which of an agent's sessions reach tier 3; they are in the order of their beginnings."""
    pace, block, evidence, over = Pace(), Block(), 0.0, []
    for one in sessions:
        pace.count(one.began_us)
        per_week = max(sessions_per_week, pace.per_week(one.began_us))
        if not block.holds(one.began_us, gap_us):
            block = Block(one.began_us, one.began_us, evidence=evidence)
        evidence = block.evidence_with(one.rank)
        block.add(one.rank)
        block.latest_us = one.began_us
        over.append(one.rank <= value / per_week or evidence >= threshold(per_week, value))
        if over[-1] or one.rule:
            evidence, block = 0.0, Block()
    return over


def _at_most(count: int, rate: float) -> float:
    if rate <= 0.0:
        return 1.0
    return math.fsum(math.exp(n * math.log(rate) - rate - math.lgamma(n + 1)) for n in range(count + 1))


def _solve(rising: Callable[[float], float], goal: float, near: int) -> float:
    low, high = 0.0, 4.0 * near + 8.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < goal else (low, middle)
    return (low + high) / 2

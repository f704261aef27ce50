"""Session: what is known of one stretch of an agent's work while it goes on, and what is left of it.

A session is what telemetry names, else events without a gap. Either ends when its agent has been silent in it
for the gap; one that goes on afterwards under the same name is a new one, whose past has been learned.
A name is a claim of the agent. So where an agent whose sessions are mostly long opens one short one after the
other, they are one that goes on under other names (``Detection``).
"""

import math
from zlib import crc32

from msgspec import Struct, field

#: Sessions of an agent that are followed at once; the one that was silent longest ends first.
MAX_OPEN = 8
#: Events from which a session is long.
LONG = 10
#: The most surprising things of a session, kept as evidence.
MAX_FINDINGS = 12
#: What arguments named, as sums of 32 bits: enough to tell, and who collides names what it could name anyway.
MAX_TOLD = 256
#: What a value of a session is: seen, or seen so far only where a prompt had named it; and the name of the
#: feature that such a value is in place of its own.
SEEN, NAMED = 1, 2
ASKED = "asked"
#: What prompts named, as hashes of 64 bits; the oldest leave first.
MAX_ASKED = 256


class Finding(Struct, omit_defaults=True, gc=False):
    """Something surprising: what it was, how many bits, and where the record stands.

    ``value`` is text as telemetry has it, at most 120 characters, with secrets masked. ``usual`` says what
    had been expected instead, in words. ``at_us`` is effective time. What broke a rule has no bits.
    """

    detector: str
    feature: str
    value: str
    usual: str
    bits: float
    at_us: int
    event_type: str
    source_id: int
    offset: int


class Session(Struct, omit_defaults=True, gc=False):
    """One open session.

    What detectors remember of it: ``root`` (the tree that it works in), ``taken`` (places outside that it
    read), ``recent`` (how often its latest calls came) and ``repeats`` (how many came since
    one that was not among these), ``times`` (of its latest calls), when the latest came
    and how long the pauses were (``gaps``, and the sum of their binary logarithms), ``told`` (what arguments
    named), ``asked`` (hashes of what users' prompts named; empty: it had none), ``opening`` (what its first
    call named: ``features.opening``; ``is_opening``: nothing was changed yet), how often something was
    deleted, how many calls failed in a row and how many came since (``unanswered``), the mean entropy of
    payloads by class with their number, and how many tokens it used.

    ``seen`` holds the hashes of the values that occurred, by the name of their feature, in the order of their
    last use (2: so far only where a prompt had named it); ``symbols`` the actions in their order, ``new`` how
    many values were new, ``grades`` the heights that were reached, by feature. ``levels`` and ``peaks`` are
    what each channel has now and at most, in bits; ``score`` is the highest that the levels of an event made,
    ``bests`` the same while the session was familiar (0) and after that (1). It is until some call has an
    argument's value that surprises (``news`` counts them; ``is_unfamiliar``: before its latest event, one
    had).
    ``former`` are the names that it had before, fewer than ``LONG``.
    ``is_new_agent``: its agent had finished only a few when it began. ``is_early``: its role had learned from
    too few then for a score that ranks. ``p`` (estimated), ``rank`` (exact) and
    ``shown`` (the score between 0 and 1), among ``known`` sessions, are by the role's habits of ``version``.
    ``tier`` is the one that the session's own events call for, ``fresh`` what its latest event brought that
    neither it nor its role knew (a value by feature), ``broken`` the rules that it broke. ``is_judged``: some
    of it was more than learned from. ``is_forgiven``: an operator pardoned the agent while it went on.
    """

    name: str
    role: str
    began_us: int
    latest_us: int
    events: int = 0
    seen: dict[str, dict[int, int]] = field(default_factory=dict)
    seen_count: int = 0
    symbols: list[str] = field(default_factory=list)
    new: dict[str, int] = field(default_factory=dict)
    grades: dict[str, int] = field(default_factory=dict)
    root: str = ""
    taken: dict[str, int] = field(default_factory=dict)
    recent: dict[str, int] = field(default_factory=dict)
    repeats: int = 0
    times: list[int] = field(default_factory=list)
    called_us: int = 0
    gaps: int = 0
    log_gaps: float = 0.0
    told: dict[int, int] = field(default_factory=dict)
    asked: dict[int, int] = field(default_factory=dict)
    opening: list[list[int]] = field(default_factory=list)
    is_opening: bool = True
    deletes: int = 0
    failures: int = 0
    unanswered: int = 0
    entropies: dict[str, tuple[int, float]] = field(default_factory=dict)
    tokens: int = 0
    news: int = 0
    is_unfamiliar: bool = False
    is_new_agent: bool = False
    is_early: bool = False
    bests: dict[int, float] = field(default_factory=dict)
    levels: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)
    score: float = 0.0
    p: float = 1.0
    rank: float = 1.0
    shown: float = 0.0
    known: int = 0
    version: int = -1
    tier: int = 1
    fresh: dict[str, str] = field(default_factory=dict)
    broken: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    is_forgiven: bool = False
    is_judged: bool = False
    is_attack: bool = False
    former: list[str] = field(default_factory=list)

    def go_on_as(self, name: str) -> None:
        """Take another name."""
        self.former.append(self.name)
        self.name = name

    def wants(self, bits: float) -> bool:
        """Say whether a finding of so many bits is among the most surprising ones."""
        if len(self.findings) < MAX_FINDINGS:
            return True
        for one in self.findings:  # noqa: SIM110 (asked at every other event)
            if 0 < one.bits < bits:
                return True
        return False

    @property
    def is_evidence(self) -> bool:
        """Whether it adds up with others: nobody forgave it, and it was not learned from only."""
        return self.is_judged and not self.is_forgiven

    def note(self, finding: Finding) -> None:
        """Keep a finding, if it is among the most surprising ones."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(finding)
            return
        least = self._least()
        if self.findings[least].bits < finding.bits:
            del self.findings[least]
            self.findings.append(finding)

    def breaks(self, rule: str, finding: Finding) -> None:
        """Keep what broke a rule, whatever else there is."""
        self.broken[rule] = 1
        if len(self.findings) >= MAX_FINDINGS:
            del self.findings[self._least()]
        self.findings.append(finding)

    def _least(self) -> int:
        return min(range(len(self.findings)), key=lambda place: self.findings[place].bits or math.inf)

    def ask(self, hashes: tuple[int, ...]) -> None:
        """Remember what a prompt named (``features.intent``)."""
        for one in hashes:
            self.asked.pop(one, None)
            self.asked[one] = 1
        while len(self.asked) > MAX_ASKED:
            del self.asked[next(iter(self.asked))]

    def tell(self, text: str) -> None:
        """Remember that an argument named something."""
        if len(self.told) < MAX_TOLD:
            self.told[crc32(text.encode("utf-8", "surrogatepass"))] = 1

    def was_told(self, text: str) -> bool:
        """Say whether an argument of an earlier call named it."""
        return crc32(text.encode("utf-8", "surrogatepass")) in self.told

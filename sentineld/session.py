"""Session: what is known of one stretch of an agent's work while it goes on, and what is left of it.

A session is what telemetry names, else events without a gap. Either ends when its agent has been silent in it
for the gap; one that goes on afterwards under the same name is a new one, whose past has been learned.
"""

from dataclasses import dataclass, field

#: Sessions of an agent that are followed at once; the one that was silent longest ends first.
MAX_OPEN = 8
#: The most surprising things of a session, kept as evidence.
MAX_FINDINGS = 12


@dataclass(slots=True)
class Finding:
    """Something surprising: what it was, how many bits, and where the record stands.

    ``value`` is text as telemetry has it, at most 120 characters, with secrets masked. ``usual`` says what
    had been expected instead, in words. ``at_us`` is effective time.
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


@dataclass(slots=True)
class Session:
    """One open session.

    What detectors remember of it: ``root`` (the tree that it works in), ``taken`` (places outside that it
    read), ``recent`` (how often its latest calls came), ``times`` (of its latest calls), how often something
    was deleted, how many calls failed in a row, and how many tokens it used.

    ``seen`` holds the hashes of the values that occurred, by the name of their feature, in the order of their
    last use; ``symbols`` the actions in their order, ``new`` how many values were new, ``grades`` the heights
    that were reached, by feature. ``levels`` and ``peaks`` are what each channel has
    now and at most, in bits; ``score`` and ``p`` belong to the peaks. ``tier`` is the one that the session's
    own events call for. ``is_forgiven``: an operator pardoned the agent while it went on.
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
    times: list[int] = field(default_factory=list)
    deletes: int = 0
    failures: int = 0
    tokens: int = 0
    levels: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)
    score: float = 0.0
    p: float = 1.0
    tier: int = 1
    findings: list[Finding] = field(default_factory=list)
    is_forgiven: bool = False
    is_attack: bool = False

    def note(self, finding: Finding) -> None:
        """Keep a finding, if it is among the most surprising ones."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(finding)
            return
        least = min(range(MAX_FINDINGS), key=lambda place: self.findings[place].bits)
        if self.findings[least].bits < finding.bits:
            del self.findings[least]
            self.findings.append(finding)

"""The product itself as a method: what ``sentineld`` does with sessions, event by event, at its defaults."""

from collections.abc import Sequence
from functools import lru_cache

from msgspec.structs import replace

from detection.protocol import Event, Session, unix
from sentineld.detection import Detection, DetectionSettings
from sentineld.event import ERROR, OK, OPERATION_KIND, OTHER, Facts, Observation
from sentineld.features import Features
from sentineld.features.intent import asked_in
from sentineld.learned import Learned
from sentineld.starter import PastSession, learn_starter
from sentineld.taxonomy import Taxonomy

OWNER = 1000


@lru_cache(1)
def reader() -> tuple[Taxonomy, Features]:
    taxonomy = Taxonomy()
    return taxonomy, Features(taxonomy)


def observation(event: Event, number: int, role: str) -> Observation:
    """Read one native record as the daemon does, so far as detection goes."""
    taxonomy, features = reader()
    data = event["data"]
    call = taxonomy.classify(data["tool"], data["args"])
    failed = data.get("error") is True
    found = features.of(data["tool"], data["args"], call, has_failed=failed)
    facts = Facts(
        tool=data["tool"],
        role=role,
        outcome=ERROR if failed else OK,
        entities=call.entities,
        session=data["session"],
        features=found,
    )
    kind = OPERATION_KIND.get(call.event_class, OTHER)
    return (round(unix(event["timestamp"]) * 1e6), kind, 0, call.event_class, 1, number, facts)


def prompt_of(session: Session) -> Observation:
    """Read a session's prompt as the daemon does."""
    facts = Facts(role=session.role, session=session.id, asked=asked_in(session.prompt))
    return (round(session.start * 1e6), OTHER, 0, "prompt", 1, 0, facts)


class Product:
    """Learned detection."""

    name = "sentineld"
    reads_prompts = True

    def __init__(self) -> None:
        self._detection = Detection(DetectionSettings())
        self._agents: dict[str, Learned] = {}

    def _run(self, session: Session) -> tuple[Learned, list[float], list[int]]:
        known = self._agents.get(session.agent) or Learned()
        agent = replace(known, sessions=[], finished=[], held=[], asked={}, pace=replace(known.pace))
        scores, tiers = [], []
        self._ask(agent, session)
        for number, event in enumerate(session.events):
            item = observation(event, number, session.role)
            # As the daemon: words are found for what is told alone.
            weighed, level, _, _ = self._detection.weigh(agent, OWNER, item, item[0], is_frozen=False)
            scores.append(weighed.shown)
            tiers.append(level)
        return agent, scores, tiers

    def _ask(self, agent: Learned, session: Session) -> None:
        if session.prompt:
            item = prompt_of(session)
            self._detection.weigh(agent, OWNER, item, item[0], is_frozen=False)

    def judge(self, session: Session) -> tuple[Sequence[float], Sequence[int]]:
        """Return the score and the tier after each event."""
        _, scores, tiers = self._run(session)
        return scores, tiers

    def score(self, session: Session) -> Sequence[float]:
        """Return the score after each event."""
        return self.judge(session)[0]

    def learn(self, session: Session) -> None:
        """Let the role and the agent learn from a finished session."""
        # As the daemon does it: the session goes on, ends by silence, and its role learns.
        agent = self._agents.setdefault(session.agent, Learned())
        at_us = 0
        self._ask(agent, session)
        for number, event in enumerate(session.events):
            item = observation(event, number, session.role)
            at_us = item[0]
            self._detection.weigh(agent, OWNER, item, at_us, is_frozen=False)
        self._detection.end_due(agent, OWNER, at_us + 2 * self._detection.settings.gap_us, is_frozen=False)
        for done in agent.finished:
            self._detection.role((OWNER, done.role)).merge([done], [agent.own])
        agent.finished = []

    def pardon(self, agent: str) -> None:
        """Do what an operator's pardon does."""
        self._detection.forgive(self._agents[agent], is_attack=False)

    def starter(self, sessions: Sequence[Session]) -> None:
        """Learn a starter baseline from other owners' sessions."""
        by_role: dict[str, list[PastSession]] = {}
        for session in sessions:
            events = [observation(event, n, session.role) for n, event in enumerate(session.events)]
            group = "-".join(session.agent.split("-")[:2])
            by_role.setdefault(session.role, []).append(PastSession(group, session.agent, events))
        for role, past in by_role.items():
            self._detection.roles[(OWNER, role)] = learn_starter(role, past)

    def state_bytes(self, agent: str) -> int:
        """Return the size of what is kept of one agent."""
        import msgspec

        return len(msgspec.msgpack.encode(self._agents[agent]))

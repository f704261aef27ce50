"""The product itself as a method: what ``sentineld`` does with sessions, event by event, at its defaults."""

from collections.abc import Sequence
from functools import lru_cache

from detection.protocol import Event, Session, unix

from sentineld.detection import Detection, DetectionSettings
from sentineld.event import ERROR, OK, OPERATION_KIND, OTHER, Facts, Observation
from sentineld.features import Features
from sentineld.learned import Learned
from sentineld.scoring import finish
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


class Product:
    """Learned detection."""

    name = "sentineld"

    def __init__(self) -> None:
        self._detection = Detection(DetectionSettings())
        self._agents: dict[str, Learned] = {}

    def _run(self, session: Session) -> tuple[Learned, list[float], list[int]]:
        known = self._agents.get(session.agent) or Learned()
        agent = Learned(own=known.own, evidence=known.evidence)
        scores, tiers = [], []
        for number, event in enumerate(session.events):
            item = observation(event, number, session.role)
            verdict = self._detection.observe(agent, OWNER, item, item[0], is_frozen=False)
            scores.append(verdict.score)
            tiers.append(verdict.level)
        return agent, scores, tiers

    def judge(self, session: Session) -> tuple[Sequence[float], Sequence[int]]:
        _, scores, tiers = self._run(session)
        return scores, tiers

    def score(self, session: Session) -> Sequence[float]:
        return self.judge(session)[0]

    def learn(self, session: Session) -> None:
        agent, _, _ = self._run(session)
        done = finish(agent.sessions[-1], agent.sessions[-1].latest_us)
        known = self._agents.setdefault(session.agent, Learned())
        self._detection.role((OWNER, session.role)).merge([done], [known.own])

    def starter(self, sessions: Sequence[Session]) -> None:
        by_role: dict[str, list[PastSession]] = {}
        for session in sessions:
            events = [observation(event, n, session.role) for n, event in enumerate(session.events)]
            group = "-".join(session.agent.split("-")[:2])
            by_role.setdefault(session.role, []).append(PastSession(group, session.agent, events))
        for role, past in by_role.items():
            self._detection.roles[(OWNER, role)] = learn_starter(role, past)

    def state_bytes(self, agent: str) -> int:
        import msgspec

        return len(msgspec.msgpack.encode(self._agents[agent]))

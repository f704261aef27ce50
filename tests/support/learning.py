"""The line of learned detection over events made by hand, without files or a process around it."""

from sentineld.batch import Part
from sentineld.config import Config
from sentineld.event import Facts
from sentineld.identity import Source
from sentineld.intake import Batch
from sentineld.pipeline import Pipeline
from sentineld.rows import Rows
from sentineld.step import load_state

S = 1_000_000
START = 1_795_000_000 * S
MINUTE = 60 * S


def prior():
    return Config().prior()


def event(at, agent="a", session="", value="x", name="first.tool", role="worker"):
    return (at, agent, Facts(role=role, session=session, features=((name, value),)))


def batch_of(events, number, *, is_history=True):
    events = sorted(events, key=lambda item: item[0])
    rows = Rows(
        [at for at, _, _ in events],
        [agent for _, agent, _ in events],
        [0] * len(events),
        [0] * len(events),
        ["tool_call"] * len(events),
        list(range(len(events))),
        facts={n: facts for n, (_, _, facts) in enumerate(events)},
    )
    batch = Batch()
    hi = max(at for at, _, _ in events)
    batch.sources[number] = (
        0,
        Source(number, f"/{number}", f"/{number}", "lines", 1, number, 0, 1000, 0),
    )
    batch.parts.append(Part(number, 1000, 0, 1, 0, hi, hi, is_history, rows))
    return batch


class Line:
    """A pipeline that reads events in pieces and can be begun anew from its database."""

    def __init__(self, store):
        self.store, self.files, self.decisions = store, 0, []
        self.begin()

    def begin(self):
        self.pipeline = Pipeline(
            self.store,
            prior(),
            agents_per_owner=100,
            clock_us=self.store.meta().clock,
            judges_history=True,
        )

    def read(self, events, **how):
        self.files += 1
        outcome = self.pipeline.read(batch_of(events, self.files, **how), events[-1][0])
        self.decisions += outcome.decisions

    def tick(self, at):
        self.decisions += self.pipeline.tick(at).decisions

    def agent(self, name="a"):
        row = self.store.agent_named(name)
        return load_state(row.state).learned

    def role(self, name="worker"):
        return self.pipeline.prior.detection.roles.get((1000, name))

    def everything(self):
        """Everything that later decisions can depend on."""
        return (
            [row.habits for row in self.store.roles()],
            {row.name: row.state for row in self.store.agents()},
            [(d.agent_id, d.decided_at, d.to_tier, d.score, d.reasons) for d in self.decisions],
        )


def work(count, start=START, every=MINUTE, agent="a", session="", value="x"):
    return [event(start + n * every, agent, session, value) for n in range(count)]

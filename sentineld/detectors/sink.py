"""First-seen sink: something leaves for whom, where to or by what none of the role's sessions ever did.

Formula: ``weight * (-log2 P - 1)`` with P the chance that a session of this agent brings a new value of the
feature: counted over the role's sessions (the past fades, Good and Turing's question), with a prior of thirty
sessions by severity, and the agent's own rate against ten sessions of its role's. Each value once a session.
Whom an earlier argument of the session named (an answer to a mail that was looked up) says little, and in
sessions without prompts so does a recipient of a call about what the session began with
(``features.opening``).
Source: the first-time-entity detectors of mail and account security; Good (1953) for the chance of the
unseen.
Range: 0 to about 15 bits a value. Memory: one hash of 8 bytes a value, shared by the role.
Known false alarms: the first upload to a new customer, a repository that moved, a new recipient that a user
asked for by name in a prompt that telemetry does not carry.
"""

import re
from collections.abc import Iterator

from sentineld.detectors.base import GRAVE, NOTABLE, SERIOUS, SLIGHT, Detector
from sentineld.event import Feature
from sentineld.features import recipient
from sentineld.session import Session

#: What an address has, and a mere name has not: that is somebody within what the tool reaches anyway.
_ADDRESS = re.compile(r"[@.:/]|\d{5}")


def _sent(session: Session, value: str) -> Iterator[Feature]:
    if session.was_told(value.lower()):
        yield "out.told", value
    else:
        yield from recipient(value) if _ADDRESS.search(value) else (("out.target", value.lower()),)


def _named(session: Session, value: str) -> Iterator[Feature]:
    yield "out.told" if session.was_told(value) else "out.target", value


SINK = Detector(
    "sink",
    {
        "out.host": "something leaves for a host or domain that no session has sent to",
        "out.tenant": "something leaves for somebody's place on a shared host that none has sent to",
        "out.store": "something is copied to a store that none has copied to",
        "out.publish": "something is published in a way that none has used",
        "out.blob": "a call carries a long run of encoded data, longer than any before",
        "out.by": "something leaves by a program or tool that none has sent by",
        "out.tool": "a tool that changes something outside is used for the first time",
        "out.verb": "a program that talks to the network is used for the first time",
        "out.target": "a recipient or account that none has named",
        "out.told": "a recipient that none has sent to, and that an earlier call named",
        "out.follows": "a recipient that none has sent to, in a call about what the session began with",
        "out.listen": "a program listens where everybody can reach it",
        "delete.target": "a thing is removed that none has named",
    },
    {
        "out.host": GRAVE,
        "out.tenant": GRAVE,
        "out.store": GRAVE,
        "out.publish": GRAVE,
        "out.blob": GRAVE,
        "out.by": SERIOUS,
        "out.listen": GRAVE,
        "out.tool": SERIOUS,
        "out.verb": NOTABLE,
        "out.target": SERIOUS,
        "delete.target": NOTABLE,
        "out.told": SLIGHT,
        "out.follows": NOTABLE,
    },
    reads={"to.host": _sent, "to.name": _named},
    groups={"out.tool": "first"},
)

"""Intent: whether a user's prompt named what is new, where telemetry carries prompts.

Formula: what the session's prompts named (``features.intent``) is hardly surprising, whatever kind it is of:
in place of its own feature it counts as ``asked``. A tool that changes something is called with arguments of
which no prompt named one: ``unasked``, by how rarely the role's sessions do that; in full once twenty of its
sessions had prompts. Bits as ``sink``, where in sessions with prompts a new recipient that none of them named
is taken to be a quarter as frequent before anything was counted.
Source: intent as the reference of what an agent may do, as in provenance-based defences (CaMeL, Debenedetti
and others, 2025). Range: 0 to about 10 bits. Memory: at most 256 hashes of 8 bytes a session.
Known false alarms: ``unasked``: an order that names nothing ("pay the bill"), the first time.
Blind for: what a user pasted into a prompt counts as asked for.
"""

from collections.abc import Iterator

from sentineld.detectors.argument import PREFIX
from sentineld.detectors.base import NOTABLE, SLIGHT, Detector
from sentineld.event import Facts, Feature, Observation
from sentineld.features import does_change
from sentineld.features.intent import names_any
from sentineld.session import ASKED, Session

UNASKED = "unasked"
#: Which sessions had a prompt: told to habits, never a surprise.
PROMPTED: Feature = ("prompted", "")
_MAX_TOOL = 64


def _watch(session: Session, facts: Facts, _item: Observation) -> Iterator[Feature]:
    if not session.asked or not facts.features or not does_change(facts.tool):
        return
    values = [value for name, value in facts.features if name.startswith(PREFIX)]
    if not names_any(session.asked, values):
        yield UNASKED, facts.tool[:_MAX_TOOL]


INTENT = Detector(
    "intent",
    {
        ASKED: "something new of its kind, which a prompt of the session named",
        UNASKED: "something is changed by a tool with which none did that unless a prompt named some of it",
    },
    {ASKED: SLIGHT, UNASKED: NOTABLE},
    watches=_watch,
)

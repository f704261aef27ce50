"""Intent: whether a user's prompt named what is new, where telemetry carries prompts.

Formula: what the session's prompts named (``features.intent``) is hardly surprising, whatever kind it is of:
in place of its own feature it counts as ``asked``. A new recipient in whose address a part of a name stands
that a prompt gave is no stranger, and may be another one of that name: ``person``. A tool that changes
something is called with arguments of which no prompt named one: ``unasked``, by how rarely sessions of the
role do that; in full once twenty of these had prompts. Bits as ``sink``, where in sessions with prompts a new
recipient that none of them named is taken to be a quarter as frequent before anything was counted.
Source: intent as the reference of what an agent may do, as in provenance-based defences (CaMeL, Debenedetti
and others, 2025). Range: 0 to about 10 bits. Memory: at most 256 hashes of 8 bytes a session.
Known false alarms: ``unasked``: an order that names nothing ("pay the bill"), the first time.
Blind for: what a user pasted into a prompt counts as asked for; who takes an address at a provider of mail
with a name that is in the prompt is weighed a third.
"""

from collections.abc import Iterator

from sentineld.detectors.argument import PREFIX
from sentineld.detectors.base import NOTABLE, SLIGHT, Detector, Needs
from sentineld.event import Facts, Feature, Observation
from sentineld.features import does_change
from sentineld.features.intent import names_any
from sentineld.session import ASKED, Session

UNASKED = "unasked"
#: A new recipient with a name that a prompt gave, in place of its own feature.
PERSON = "person"
#: Which sessions had a prompt: told to habits, never a surprise.
PROMPTED: Feature = ("prompted", "")
_MAX_TOOL = 64


def is_unasked(session: Session, facts: Facts) -> bool:
    """Say whether a call of a session with prompts changes something of which none of them named anything."""
    if not does_change(facts.tool):
        return False
    return not names_any(session.asked, [value for name, value in facts.features if name.startswith(PREFIX)])


def _watch(session: Session, facts: Facts, _item: Observation) -> Iterator[Feature]:
    if is_unasked(session, facts):
        yield UNASKED, facts.tool[:_MAX_TOOL]


INTENT = Detector(
    "intent",
    {
        ASKED: "something new of its kind, which a prompt of the session named",
        PERSON: "a recipient that none has sent to, by a name that a prompt gave",
        UNASKED: "something is changed by a tool with which none did that unless a prompt named some of it",
    },
    {ASKED: SLIGHT, PERSON: NOTABLE, UNASKED: NOTABLE},
    watches=_watch,
    needs=Needs.ORDER,
)

"""Mass deletion outside: whole directories are deleted where the session does not work and none ever deleted.

What: a call deletes recursively, by pattern or by search, in a place outside of the session's tree in which
neither the session nor its role ever deleted; or a session deletes anything in a second such place. Scratch
directories and caches do not count, nor does what a prompt of the session named.
Why: it cannot be undone, and the work of a session is in its tree.
Known false alarms: a clean-up of other projects that a user asked for.
"""

import re
from collections.abc import Sequence

from sentineld.event import Facts, Observation
from sentineld.features import MASS
from sentineld.learned import Touched
from sentineld.rules.base import found
from sentineld.session import Finding, Session

NAME = "outside_deletion"
_SENTENCE = "whole directories are deleted outside of the session's tree, where none ever deleted"
_PLACES = 2
_CACHE = re.compile(r"/\.?(?:\w*caches?|\.npm|node_modules|trash|deriveddata)(?:/|\Z)", re.IGNORECASE)


def rule(session: Session, facts: Facts, item: Observation, _before: Sequence[Touched]) -> Finding | None:
    """Fire on a deletion of many things at a new place."""
    place = session.fresh.get("delete.place")
    if place is None or not session.root or _CACHE.search(place):
        return None
    if MASS in facts.features or session.new.get("delete.place", 0) >= _PLACES:
        return found(NAME, place, _SENTENCE, item, session)
    return None

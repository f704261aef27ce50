"""Credentials, then a sink: an agent reads what gives access, then reaches where none of its role did.

What: some call of the session opened, printed or copied credentials, and this one (or the same) sends
something to a host, account, store or address that neither the session nor its role knows, publishes
something, runs code that reaches the network, or reaches an unknown host. After secrets of the session's own
tree (``.env``) only sending counts: projects read those to run at all.
A place that a prompt of the session named is none of these; for credentials from outside of the tree, only
where it named them too: whoever has a page read has not said that its owner gets the keys.
A name of a session is a claim of the agent, and a pause costs nothing. So for 24 hours (``TOUCHED_US``, from
the first time that a session touched them) the credentials of four sessions count in others: one that goes on
under the same name is as if there had been no pause; in any other one only sending counts, to what no prompt
named, after credentials from outside of its tree that no prompt named and that its role does not use already,
and not before the role has habits by which a place is new. Agents answer for themselves alone: never for what
another one of their owner read, not even a subagent.
Why: this is how secrets are stolen, and no work of a role needs a new place right after its credentials.
Known false alarms: the first deployment to a new host by an agent that handles credentials. Let the role do
it once under ``observe``, or pardon it: what it reached is known from then on. So for an agent of several
users or tasks, where one of them handles credentials that are new to its role on the day on which another one
first sends to somebody.
"""

from collections.abc import Sequence

from sentineld.event import Facts, Observation
from sentineld.instant import SECOND_US
from sentineld.learned import OF_TREE, Touched
from sentineld.masking import mask
from sentineld.rules.base import found
from sentineld.session import ASKED, SEEN, Finding, Session

NAME = "credential_sent"
_SENTENCE = "credentials were read in this session, and now something goes where nothing ever went"
_HALF_NAMED = "; a prompt of the session named it, but not the credentials"
_SENDS = ("out.host", "out.store", "out.tenant", "out.publish", "out.blob", "net.code")
_REACHES = (*_SENDS, "net.host", "fetch.host")


def _is_unnamed(session: Session) -> bool:
    return "secret.tool" in session.new or SEEN in session.seen.get("secret.home", {}).values()


def rule(session: Session, _facts: Facts, item: Observation, before: Sequence[Touched]) -> Finding | None:
    """Fire on a new sink in a session that has touched credentials, or whose agent has shortly before."""
    if not session.fresh:
        return None
    new = session.new
    is_foreign = "secret.home" in new or "secret.tool" in new
    if not is_foreign and "secret.tree" not in new:
        return _joined(session, item, before)
    for name in _REACHES if is_foreign else _SENDS:
        value = session.fresh.get(name)
        if value is not None:
            return found(NAME, value, _SENTENCE, item, session)
    if session.asked and is_foreign and _is_unnamed(session):
        for name in _SENDS:
            value = session.fresh.get(f"{ASKED} {name}")
            if value is not None:
                return found(NAME, value, _SENTENCE + _HALF_NAMED, item)
    return _joined(session, item, before)


def _joined(session: Session, item: Observation, before: Sequence[Touched]) -> Finding | None:
    for touched in reversed(before):
        is_same = touched.is_earlier(session)
        for name in _REACHES if is_same and touched.kind != OF_TREE else _SENDS:
            value = session.fresh.get(name)
            if value is not None:
                where = "this session" if is_same else f"session {mask(touched.session) or 'without a name'}"
                minutes = (session.latest_us - touched.at_us) // (60 * SECOND_US)
                sentence = (
                    f"credentials ({touched.value}) were read {minutes} min before, in {where}, and now"
                    " something goes where nothing ever went"
                )
                return found(NAME, value, sentence, item, session)
    return None

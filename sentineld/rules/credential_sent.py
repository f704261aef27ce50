"""Credentials, then a sink: a session reads what gives access, then reaches where none of its role did.

What: some call of the session opened, printed or copied credentials, and this one (or the same) sends
something to a host, account, store or address that neither the session nor its role knows, publishes
something, runs code that reaches the network, or reaches an unknown host. After secrets of the session's own
tree (``.env``) only sending counts: projects read those to run at all.
A place that a prompt of the session named is none of these; for credentials from outside of the tree, only
where it named them too: whoever has a page read has not said that its owner gets the keys.
Why: this is how secrets are stolen, and no work of a role needs a new place right after its credentials.
Known false alarms: the first deployment to a new host by an agent that handles credentials. Let the role do
it once under ``observe``, or pardon it: what it reached is known from then on.
"""

from sentineld.event import Facts, Observation
from sentineld.rules.base import found
from sentineld.session import ASKED, SEEN, Finding, Session

NAME = "credential_sent"
_SENTENCE = "credentials were read in this session, and now something goes where nothing ever went"
_HALF_NAMED = "; a prompt of the session named it, but not the credentials"
_SENDS = ("out.host", "out.store", "out.tenant", "out.publish", "out.blob", "net.code")
_REACHES = (*_SENDS, "net.host", "fetch.host")


def _is_unnamed(session: Session) -> bool:
    return "secret.tool" in session.new or SEEN in session.seen.get("secret.home", {}).values()


def rule(session: Session, _facts: Facts, item: Observation) -> Finding | None:
    """Fire on a new sink in a session that has touched credentials."""
    if not session.fresh:
        return None
    new = session.new
    is_foreign = "secret.home" in new or "secret.tool" in new
    if not is_foreign and "secret.tree" not in new:
        return None
    for name in _REACHES if is_foreign else _SENDS:
        value = session.fresh.get(name)
        if value is not None:
            return found(NAME, value, _SENTENCE, item, session)
    if session.asked and is_foreign and _is_unnamed(session):
        for name in _SENDS:
            value = session.fresh.get(f"{ASKED} {name}")
            if value is not None:
                return found(NAME, value, _SENTENCE + _HALF_NAMED, item)
    return None

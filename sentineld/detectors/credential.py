"""Credential access: a call opens, prints or copies what gives access.

Formula: as ``sink``, but never a habit: however often a role does it, every session's first time is counted,
by how rarely sessions do. Inside of the session's own tree (a project's ``.env``) it is weighed less.
Source: the taxonomy's paths and commands (docs/taxonomy.md); MITRE ATT&CK T1552.
Range: 0 to about 15 bits. Memory: two counters a role.
Known false alarms: agents whose work is deployment; test fixtures named like secrets.
"""

from sentineld.detectors.base import GRAVE, NOTABLE, Detector, Kind
from sentineld.event import Feature
from sentineld.features.paths import place_in
from sentineld.session import Session


def _touched(session: Session, value: str) -> tuple[Feature, ...]:
    is_inside = value != "" and not place_in(session.root, value)
    return (("secret.tree" if is_inside else "secret.home", value.rpartition("/")[2][:48] or "!"),)


CREDENTIAL = Detector(
    "credential",
    {
        "secret.home": "credentials are read that do not belong to the session's own tree",
        "secret.tree": "credentials are read in the session's own tree",
    },
    {"secret.home": GRAVE, "secret.tree": NOTABLE},
    Kind.ALWAYS,
    {"secret": _touched},
)

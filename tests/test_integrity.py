"""Integrity: every kind of incident has a family, a cause and a line in the documentation."""

import re
from pathlib import Path

import pytest

from sentineld.config import Config
from sentineld.integrity import CAUSES, KINDS, Charges

DOCS = Path(__file__).parent.parent / "docs" / "how-it-decides.md"


def test_the_documented_table_is_what_the_code_does():
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|([^|]*)\|$", DOCS.read_text(), re.MULTILINE)
    documented = {kind: (option.strip(), cause.strip(" `")) for kind, option, cause in rows}
    assert documented.keys() == KINDS.keys()
    for kind, (option, cause) in documented.items():
        family = KINDS[kind].family
        if family == "note":
            assert option == "recorded only"
            assert Charges().tier(kind) == 1
        else:
            assert option == f"`integrity.{family}`, {Charges().tier(kind)}"
            assert cause == CAUSES[family]


@pytest.mark.parametrize("family", ["gap", "tamper", "identity", "forgery", "flood"])
def test_the_configuration_has_the_same_defaults(family):
    assert getattr(Config().integrity, family) == getattr(Charges(), family)


def test_other_tiers_make_another_version():
    assert Charges().version != Charges(gap=1).version

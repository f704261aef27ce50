"""What a router classifies: a proposed change and the guardian's verdict on it.

Both are plain values that callers fill in. Whoever writes a proposal may have an interest in a low score:
`read_diff` says what the diff itself shows, and a risk level that nobody knows is read as ``high``.
`sentineld.router.TierRouter` turns the pair into a tier.
"""

import re
from dataclasses import dataclass, field

from sentineld.clock import now_us
from sentineld.instant import iso

#: Guardian risk levels, mildest first.
RISK_LEVELS = ("low", "medium", "high")

#: ``@@ -start[,count] +start[,count] @@``; an omitted count is 1 (GNU diffutils manual, "Detailed Unified").
_HUNK = re.compile(r"@@ -[0-9]{1,9}(?:,([0-9]{1,9}))? \+[0-9]{1,9}(?:,([0-9]{1,9}))? @@")

#: The one-letter directories that git puts before names: a, b, and with ``diff.mnemonicPrefix`` c, i, o, w.
_GIT_PREFIX = re.compile(r"[abciow]/")

#: Extended git headers that name a file, also where no line of it changes.
_NAME_HEADERS = ("rename from ", "rename to ", "copy from ", "copy to ")

#: Lines of a mailed patch that look like removals: separator above the statistics, mark before the signature.
_MAIL_MARKS = ("---", "-- ")


def _now() -> str:
    """Return the current instant as ISO 8601 UTC with ``Z``."""
    return iso(now_us())


def severity(risk_level: object) -> str:
    """Return the one of `RISK_LEVELS` that a guardian's word stands for.

    Case and surrounding blanks do not matter. Any other word or type ("critical", a misspelling, None) is
    ``high``: a level that this program does not know must not be milder than one that it does.
    """
    word = risk_level.strip().lower() if isinstance(risk_level, str) else ""
    return word if word in RISK_LEVELS else RISK_LEVELS[-1]


@dataclass(frozen=True, slots=True)
class DiffSummary:
    """What a unified diff changes: added plus removed lines, and the files that it names, once each."""

    lines_changed: int
    files: tuple[str, ...]


def _file_name(text: str) -> str:
    """Return the file of a header: without time stamp, quotes and git's prefix; empty for ``/dev/null``.

    Octal escapes in a quoted name stay as they are: the name only has to be recognised, not opened.
    """
    name = text.split("\t", 1)[0].strip().strip('"')
    return "" if name == "/dev/null" else name[2:] if _GIT_PREFIX.match(name) else name


def _git_header_name(line: str) -> str:
    """Return the file of ``diff --git a/NAME b/NAME``; nothing where they differ, for then others name it."""
    names = line.removeprefix("diff --git ").rstrip("\r")
    middle = len(names) // 2
    left, right = _file_name(names[:middle]), _file_name(names[middle + 1 :])
    return left if names[middle : middle + 1] == " " and left == right else ""


def read_diff(diff: str) -> DiffSummary:
    """Count the changed lines of a unified diff and list its files. Never raises; O(length).

    Inside a hunk the counts of its ``@@`` line tell content from headers, so a removed line that begins with
    ``--`` (shown as ``---...``) counts. Outside of hunks, and in diffs that have none, every ``+`` and ``-``
    line counts as well, except a ``--- ``/``+++ `` pair that introduces a file. Where a diff contradicts
    itself, the reading with more lines and more files is taken.
    """
    lines = diff.split("\n")
    has_hunks = any(line.startswith("@@") for line in lines)
    changed = old_left = new_left = 0
    files: dict[str, None] = {}
    index = 0
    while index < len(lines):
        line = lines[index]
        following = lines[index + 1] if index + 1 < len(lines) else ""
        is_inside = old_left > 0 or new_left > 0
        index += 1
        if line.startswith("@@"):
            hunk = _HUNK.match(line)
            old_left, new_left = (int(count or "1") for count in hunk.groups()) if hunk else (0, 0)
            continue
        if line.startswith("--- ") and following.startswith("+++ "):
            names = dict.fromkeys(filter(None, (_file_name(line[4:]), _file_name(following[4:]))))
            starts_hunk = index + 1 < len(lines) and lines[index + 1].startswith("@@")
            # A pair without a hunk may be content ("-- x" became "++ y"). It is taken as a header once a
            # name, so that repeating it hides no lines. Where the counts of a hunk say that it is content,
            # but "@@" comes before they are used up, they lie: the pair names a file, and its lines count.
            if not is_inside and (starts_hunk or not names.keys() <= files.keys()):
                files |= names
                index += 1
                continue
            if starts_hunk and (old_left, new_left) != (1, 1):
                files |= names
        first = line[:1]
        if first == "+":
            changed += 1
            new_left -= 1
        elif first == "-":
            changed += is_inside or not has_hunks or line.rstrip("\r") not in _MAIL_MARKS
            old_left -= 1
        elif first in ("", " ", "\r"):
            old_left -= 1
            new_left -= 1
        elif first != "\\":
            # No line of a hunk begins like this: whatever its counts said, the hunk is over.
            old_left = new_left = 0
            if line.startswith("diff --git "):
                files |= dict.fromkeys(filter(None, (_git_header_name(line),)))
            elif line.startswith(_NAME_HEADERS):
                files |= dict.fromkeys(filter(None, (_file_name(line.split(" ", 2)[2]),)))
    return DiffSummary(lines_changed=changed, files=tuple(files))


@dataclass(slots=True)
class EvolutionProposal:
    """A change that an agent proposes.

    ``lines_changed`` (added plus removed lines) is counted from ``diff_content`` when it is 0 or left out.
    ``created_at`` is ISO 8601 UTC. ``target_files`` are paths relative to the repository.
    """

    proposal_id: str
    goal: str
    target_files: list[str]
    diff_content: str = ""
    lines_changed: int = 0
    author: str = ""
    created_at: str = field(default_factory=_now)
    metadata: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Count the lines of the diff where nobody did."""
        if self.lines_changed == 0 and self.diff_content:
            self.lines_changed = read_diff(self.diff_content).lines_changed


@dataclass(slots=True)
class GuardianVerdict:
    """What the guardian (a reviewer: program, model or human) says about a proposal.

    ``risk_level`` is one of `RISK_LEVELS`; it is kept as given, but ``high``, and any word that is not one of
    them, sets ``requires_human_review``. ``confidence`` is 0..1. ``reviewed_at`` is ISO 8601 UTC.
    """

    approved: bool
    proposal_id: str
    risk_level: str = "low"
    confidence: float = 0.8
    issues_found: list[str] = field(default_factory=list)
    recommendations: list[str] = field(default_factory=list)
    reviewer: str = "guardian"
    reviewed_at: str = field(default_factory=_now)
    requires_human_review: bool = False
    reasoning: str = ""

    def __post_init__(self) -> None:
        """Ask for a human where the risk is high or unknown."""
        if severity(self.risk_level) == "high":
            self.requires_human_review = True

"""Decisions for logs that nobody decided."""

from sentineld.decision import Decision, Evidence, Reason, decision_id
from sentineld.journal import Journal


def numbered(
    number: int, agent: str = "mailer", *, tiers: tuple[int, int] = (1, 3), cause: str = "rule"
) -> Decision:
    """Return a decision as the daemon logs it."""
    at = f"2026-11-23T14:{number // 60 % 60:02}:{number % 60:02}Z"
    return Decision(
        number, decision_id(number), agent, *tiers, 0.93, at,
        cause, "v1", [Reason("rule", "credential_sent", 1.0, None)],
        [Evidence("/var/log/agents/mailer.jsonl", 12, "e-1", "what an agent wrote")],
    )  # fmt: skip


def append_until_killed(path: str) -> None:
    """Append decisions and rotate, as the daemon does: what stands there already is not written again."""
    journal = Journal(path, max_bytes=3000, kept_files=1000)
    number = journal.settle()
    while True:
        if journal.is_full:
            journal.rotate()
        count = 1 + number % 4
        journal.append([numbered(number + n) for n in range(1, count + 1)])
        number += count


def append_and_rotate(path: str, last: int) -> None:
    """Append decisions up to a number, and rotate after each third."""
    journal = Journal(path, kept_files=1000)
    for number in range(1, last + 1):
        journal.append([numbered(number)])
        if number % 3 == 0:
            journal.rotate()

"""Decisions for logs that nobody decided."""

from sentineld.decision import Decision, Evidence, Reason, decision_id


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

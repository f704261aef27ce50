"""How an application asks before it merges an agent's change.

python examples/route_change.py STATE_FILE
"""

import sys

from sentineld import EvolutionProposal, GuardianVerdict, TierRouter

ACTIONS = {1: "merge", 2: "merge, and watch it closely", 3: "wait for a human"}


def main() -> None:
    """Route the same small change, proposed by two agents."""
    router = TierRouter(state_file=sys.argv[1])
    for agent in ("coder", "mailer"):
        proposal = EvolutionProposal(f"change-of-{agent}", "fix a typo", ["docs/index.md"], "-teh\n+the\n")
        verdict = GuardianVerdict(approved=True, proposal_id=proposal.proposal_id)
        tier = router.classify_with_behavior(proposal, verdict, agent)
        print(f"{agent}: code tier {router.classify(proposal, verdict)}, final tier {tier}: {ACTIONS[tier]}")


if __name__ == "__main__":
    main()

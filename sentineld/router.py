"""TierRouter: how much freedom a proposed change has, from the change and from its author's behaviour.

``classify`` looks at the change alone, ``behavior_tier`` at the agent alone, ``classify_with_behavior`` takes
the stricter. Behaviour comes from a monitor in this process, from the daemon's state file, or from both.
Whatever goes wrong with either of them is tier 3 with a reason, never an exception into the caller.

An island: the vocabulary, the clocks, ``state_file`` and the standard library, so that it starts in tens of
milliseconds. Keep one router for the life of a process: its memory of the highest ``(epoch, seq)`` is what
refuses an older state file that somebody put back.
"""

import fnmatch
import os
import posixpath
import re
import threading
from collections.abc import Iterable, Mapping, Sequence, Sized
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import sentineld.clock as system_clock
from sentineld.keys import Key
from sentineld.override import Override
from sentineld.state_file import StateView
from sentineld.state_reader import BehaviorTier, Clock, StateReader
from sentineld.tier import Tier

if TYPE_CHECKING:
    from sentineld.proposal import EvolutionProposal, GuardianVerdict

__all__ = ["BehaviorTier", "Clock", "Monitor", "ScoredProfile", "TierRouter"]


class ScoredProfile(Protocol):
    """What the router needs of a profile."""

    @property
    def anomaly_score(self) -> float:
        """Anomaly score, 0..1."""
        ...


class Monitor(Protocol):
    """What the router needs of a monitor; its ``suspicious_threshold`` is used where it has one."""

    def is_anomalous(self, agent_id: str) -> bool:
        """Tell whether the agent is anomalous now."""
        ...

    def get_profile(self, agent_id: str) -> ScoredProfile:
        """Return the agent's profile."""
        ...


#: Changed lines that are assumed where a proposal's own figure is no number: more than any threshold admits.
_UNREADABLE_LINES = 1_000_000_000

_SLASHES = re.compile(r"[/\\]+")

_TIER_DESCRIPTIONS = {
    Tier.NORMAL: "normal: the change may go on without further review",
    Tier.SUSPICIOUS: "suspicious: the change needs additional automated review",
    Tier.ANOMALOUS: "anomalous: a human must review the change",
}


class TierRouter:
    """Gives proposals and agents a tier: 1 normal, 2 suspicious, 3 anomalous (a human must review).

    ``behavioral_monitor``, ``state_file``: sources of behaviour; with both the stricter counts, with none the
    behaviour tier is 1. ``keys``: with at least one, only a state file that one of them signed is believed.
    ``expected_owner``: uid that must own the state file (default: root, this user or its directory's owner).
    ``high_water``: path of a file (mode 0600) that remembers the newest documents across restarts; it costs
    two fsyncs for each newer one that is seen. ``critical_files``: pattern -> points, in place of
    ``CRITICAL_FILES``. Thresholds are the highest score of tier 1 and of tier 2. ``clock`` is for tests.

    Methods may be called from any thread. The caller pairs a proposal with the verdict on it. The verdict's
    ``approved`` is not looked at: whether a rejected change may go on at all is the caller's decision, the
    tier says who must look at it if it may.
    Raises ``ValueError`` for thresholds and points that are negative or out of order.
    """

    #: Highest score of tier 1: a change of one ordinary file by 50 lines.
    TIER_1_THRESHOLD = 10

    #: Highest score of tier 2.
    TIER_2_THRESHOLD = 25

    #: Points a file, and changed lines a point.
    POINTS_PER_FILE = 5
    LINES_PER_POINT = 10

    #: Points by the guardian's risk level; an unknown level counts as high.
    RISK_POINTS: Mapping[str, int] = {"low": 0, "medium": 5, "high": 10}

    #: Points an issue that the guardian found, and their cap.
    POINTS_PER_ISSUE = 2
    MAX_ISSUE_POINTS = 10

    #: Remembered classifications; older ones are forgotten. About 1 MB.
    HISTORY_SIZE = 10_000

    #: A score above which a monitor without a ``suspicious_threshold`` means tier 2.
    SUSPICIOUS_SCORE = 0.5

    #: Files that deserve a look, by shell pattern: on the basename, or on the end of the path where the
    #: pattern has a slash; case does not matter. 30: alone enough for tier 3. Above 5 and up to 20: tier 2.
    #: The highest pattern that matches counts, once a file.
    CRITICAL_FILES: Mapping[str, int] = {
        # What runs with the repository's secrets, on every change.
        ".github/workflows/*": 30,
        ".github/actions/*": 30,
        ".gitlab-ci.yml": 30,
        ".gitlab/*": 30,
        ".circleci/*": 30,
        ".buildkite/*": 30,
        ".woodpecker*": 30,
        "azure-pipelines*": 30,
        "bitbucket-pipelines.yml": 30,
        "jenkinsfile*": 30,
        # Who must review, and what runs on the reviewers' machines.
        "codeowners": 30,
        ".git/*": 30,
        ".gitmodules": 25,
        ".gitattributes": 15,
        ".githooks/*": 30,
        ".husky/*": 30,
        ".pre-commit-config.yaml": 25,
        # Outside of the repository.
        "../*": 30,
        "/etc/*": 30,
        # What judges agents: this program, its like, and what instructs agents.
        "*sentinel*": 30,
        "sentineld/*": 30,
        "*guardian*": 30,
        "*tier_router*": 30,
        "*router*": 20,
        "*policy*": 20,
        "*policies*": 20,
        "*sandbox*": 20,
        "agents.md": 20,
        "claude.md": 20,
        ".cursorrules": 20,
        ".claude/*": 25,
        ".cursor/*": 25,
        ".codex/*": 25,
        ".mcp.json": 25,
        # Secrets and those who guard them.
        "*.pem": 30,
        "*.key": 30,
        "*.p12": 30,
        "id_rsa*": 30,
        "id_ed25519*": 30,
        "authorized_keys": 30,
        ".env": 30,
        ".env.*": 25,
        ".npmrc": 25,
        ".pypirc": 30,
        ".netrc": 30,
        "pip.conf": 25,
        "*secret*": 25,
        "*credential*": 25,
        "*password*": 25,
        "auth": 25,
        "auth.*": 25,
        "auth[-_]*": 25,
        "*[-_]auth.*": 25,
        "*[-_]auth[-_]*": 25,
        "*authn*": 25,
        "*authz*": 25,
        "*authenticat*": 25,
        "*authori[sz]*": 25,
        "*oauth*": 25,
        "auth/*": 25,
        "*security*": 25,
        "security/*": 25,
        "*crypto*": 25,
        "crypto/*": 25,
        "*signing*": 25,
        "*permission*": 20,
        # What the machine runs.
        "*.service": 25,
        "*.socket": 25,
        "*.timer": 25,
        "*.path": 20,
        "systemd/*": 25,
        "sudoers*": 30,
        "crontab*": 30,
        "cron.d/*": 30,
        "dockerfile*": 20,
        "*.dockerfile": 20,
        "containerfile*": 20,
        "docker-compose*": 20,
        "compose.y*ml": 20,
        "helm/*": 20,
        "*.tf": 20,
        "migrations/*": 15,
        # What is built and installed.
        "pyproject.toml": 15,
        "setup.py": 20,
        "setup.cfg": 15,
        "requirements*.txt": 15,
        "package.json": 15,
        "cargo.toml": 15,
        "build.rs": 20,
        "go.mod": 15,
        "gemfile": 15,
        "pom.xml": 15,
        "build.gradle*": 15,
        "makefile": 15,
        "conftest.py": 10,
        # Lock files: large by nature and never read by eye, which is why they are attacked.
        "*.lock": 10,
        "*.lockfile": 10,
        "package-lock.json": 10,
        "npm-shrinkwrap.json": 10,
        "pnpm-lock.yaml": 10,
        "go.sum": 10,
    }

    def __init__(
        self,
        behavioral_monitor: Monitor | None = None,
        state_file: str | os.PathLike[str] | None = None,
        *,
        keys: Sequence[Key] = (),
        expected_owner: int | None = None,
        high_water: str | os.PathLike[str] | None = None,
        critical_files: Mapping[str, int] | None = None,
        tier_1_threshold: int | None = None,
        tier_2_threshold: int | None = None,
        clock: Clock = system_clock,
    ) -> None:
        self.tier_1_threshold = self.TIER_1_THRESHOLD if tier_1_threshold is None else tier_1_threshold
        self.tier_2_threshold = self.TIER_2_THRESHOLD if tier_2_threshold is None else tier_2_threshold
        if not 0 <= self.tier_1_threshold <= self.tier_2_threshold:
            raise ValueError(
                "thresholds must be 0 <= tier_1_threshold <= tier_2_threshold, "
                f"not {self.tier_1_threshold} and {self.tier_2_threshold}"
            )
        self._critical_files = self.CRITICAL_FILES if critical_files is None else critical_files
        for pattern, points in self._critical_files.items():
            if points < 0:
                raise ValueError(f"critical file {pattern!r} must not have negative points")
        self._monitor = behavioral_monitor
        path = _absolute(state_file)
        self._has_keys = bool(keys)
        self._reader: StateReader | None = None
        if path is not None:
            self._reader = StateReader(
                path, keys, expected_owner=expected_owner, high_water=_absolute(high_water), clock=clock
            )
        self._history: dict[str, int] = {}
        self._history_lock = threading.Lock()

    @property
    def state_file(self) -> str | None:
        """Absolute path of the state file; None without one."""
        return None if self._reader is None else self._reader.path

    @property
    def state(self) -> StateView | None:
        """The last state file that passed every check of form and signature; it may have expired since."""
        return None if self._reader is None else self._reader.view

    @property
    def override(self) -> Override | None:
        """The operator's override (``sentineld break-glass``) that is in force now, if there is one."""
        return None if self._reader is None else self._reader.override()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on what does not change a tier but weakens it, and on an override, in force or ignored.

        No key, a key that ends soon, an unusable high-water file, an override that is forged or has expired.
        """
        if self._reader is None:
            return ()
        if self._has_keys:
            return self._reader.warnings
        name = f"state file {self.state_file}"
        return (
            f"{name} is believed by its owner and permissions alone: there is no key",
            *self._reader.warnings,
        )

    def calculate_score(self, proposal: "EvolutionProposal", verdict: "GuardianVerdict") -> int:
        """Return the points of a change, at least 0: lines, files, critical files, the guardian's findings.

        Lines and files are those that the proposal declares or those that its diff shows, whichever is more.
        """
        from sentineld.proposal import read_diff, severity

        diff = read_diff(_text(proposal.diff_content))
        # The diff shows at least 0 lines, so a negative claim lowers nothing.
        lines = max(_declared_lines(proposal.lines_changed), diff.lines_changed)
        files = {_normal(name) for name in (*_names(proposal.target_files), *diff.files)}
        issues = min(self.MAX_ISSUE_POINTS, self.POINTS_PER_ISSUE * _count(verdict.issues_found))
        return (
            lines // self.LINES_PER_POINT
            + self.POINTS_PER_FILE * len(files)
            + sum(map(self._critical_points, files))
            + self.RISK_POINTS[severity(verdict.risk_level)]
            + issues
        )

    def classify(self, proposal: "EvolutionProposal", verdict: "GuardianVerdict") -> int:
        """Return the tier of a change, 1..3, and remember it. A verdict that asks for a human gives 3."""
        tier = self._code_tier(proposal, verdict)
        self._remember(proposal.proposal_id, tier)
        return tier

    def classify_with_behavior(
        self, proposal: "EvolutionProposal", verdict: "GuardianVerdict", agent_id: str
    ) -> int:
        """Return the stricter of the change's tier and its author's, 1..3, and remember it."""
        tier = max(self._code_tier(proposal, verdict), self.behavior_tier(agent_id))
        self._remember(proposal.proposal_id, tier)
        return tier

    def behavior_tier(self, agent_id: str) -> int:
        """Return an agent's tier by its behaviour, 1..3. Never raises. About 10 us with an unchanged file."""
        return int(self.behavior(agent_id).tier)

    def behavior(self, agent_id: str) -> BehaviorTier:
        """Return an agent's tier by its behaviour, with the reason. Never raises."""
        has_source = self._monitor is not None or self._reader is not None
        if has_source and (not isinstance(agent_id, str) or not agent_id):
            # Nobody is not an unlisted agent: a change without an author must not get a newcomer's tier.
            return BehaviorTier(Tier.ANOMALOUS, "no agent was named", is_usable=False)
        found = self._judged(agent_id)
        override = self.override
        if override is None or override.tier is None or not override.applies_to(agent_id):
            return found
        # An order by a human replaces what was judged; that it does so is said each time.
        reason = f"{override.describe()}; without it tier {int(found.tier)}: {found.reason}"
        return BehaviorTier(override.tier, reason)

    def _judged(self, agent_id: str) -> BehaviorTier:
        """Return the stricter of what monitor and state file say; both reasons where they agree."""
        found: list[BehaviorTier] = []
        if self._monitor is not None:
            found.append(self._ask_monitor(self._monitor, agent_id))
        if self._reader is not None:
            found.append(self._reader.behavior(agent_id))
        if not found:
            return BehaviorTier(Tier.NORMAL, "no source of behaviour is configured")
        tier = max(source.tier for source in found)
        strictest = [source for source in found if source.tier == tier]
        if len(strictest) == 1:
            return strictest[0]
        return BehaviorTier(
            tier,
            "; ".join(source.reason for source in strictest),
            all(source.is_usable for source in strictest),
        )

    def get_classification_history(self) -> dict[str, int]:
        """Return a copy of the latest classifications, oldest first: proposal id -> its last tier."""
        with self._history_lock:
            return dict(self._history)

    def get_tier_stats(self) -> dict[int, int]:
        """Return how many of the remembered classifications ended in each tier; all three are present."""
        tiers = list(self.get_classification_history().values())
        return {int(tier): tiers.count(tier) for tier in Tier}

    def get_tier_description(self, tier: int) -> str:
        """Say what a tier means; a number that is none is described as the strictest."""
        return _TIER_DESCRIPTIONS[Tier(tier) if tier in list(Tier) else Tier.ANOMALOUS]

    def _code_tier(self, proposal: "EvolutionProposal", verdict: "GuardianVerdict") -> int:
        # Late: hooks ask for agents' tiers alone, in a process of their own for each call.
        from sentineld.proposal import severity

        # Asked again here: the verdict's risk level may have been set after it was built.
        if verdict.requires_human_review or severity(verdict.risk_level) == "high":
            return int(Tier.ANOMALOUS)
        score = self.calculate_score(proposal, verdict)
        if score <= self.tier_1_threshold:
            return int(Tier.NORMAL)
        return int(Tier.SUSPICIOUS if score <= self.tier_2_threshold else Tier.ANOMALOUS)

    @cached_property
    def _critical(self) -> list[tuple[int, re.Pattern[str], re.Pattern[str]]]:
        # Made for the first change: a process that only asks for agents' tiers has no need of it.
        return _compile(self._critical_files)

    def _critical_points(self, path: str) -> int:
        folded = path.lower()
        basename = folded.rsplit("/", 1)[-1]
        for points, basenames, paths in self._critical:
            if basenames.match(basename) or paths.match(folded):
                return points
        return 0

    def _remember(self, proposal_id: str, tier: int) -> None:
        with self._history_lock:
            # Taken out first, so that it moves to the newest end.
            self._history.pop(proposal_id, None)
            self._history[proposal_id] = tier
            while len(self._history) > self.HISTORY_SIZE:
                del self._history[next(iter(self._history))]

    def _ask_monitor(self, monitor: Monitor, agent_id: str) -> BehaviorTier:
        try:
            if monitor.is_anomalous(agent_id):
                return BehaviorTier(Tier.ANOMALOUS, "the monitor finds the agent anomalous")
            score = monitor.get_profile(agent_id).anomaly_score
            threshold = getattr(monitor, "suspicious_threshold", self.SUSPICIOUS_SCORE)
            if score > threshold:
                return BehaviorTier(
                    Tier.SUSPICIOUS, f"the anomaly score {score:.2f} is above {threshold:.2f}"
                )
            # Asked the other way round too: not-a-number is neither above nor below.
            if score <= threshold:
                return BehaviorTier(Tier.NORMAL, f"the anomaly score is {score:.2f}")
        except Exception as error:  # noqa: BLE001 (any code may stand behind the protocol, and fail in any way)
            reason = f"the monitor failed: {type(error).__name__}"
            return BehaviorTier(Tier.ANOMALOUS, reason, is_usable=False)
        return BehaviorTier(Tier.ANOMALOUS, "the monitor's score is not a number", is_usable=False)


def _absolute(path: str | os.PathLike[str] | None) -> str | None:
    """Return a path made absolute: a server that embeds a router may change its working directory later."""
    if path is None:
        return None
    try:
        return os.path.abspath(path)
    except OSError:
        # The working directory is gone. The relative path then leads nowhere, which is tier 3 with a reason.
        return os.fspath(path)


def _compile(patterns: Mapping[str, int]) -> list[tuple[int, re.Pattern[str], re.Pattern[str]]]:
    """Turn shell patterns into points, highest first, with what basenames and what paths have them."""
    basenames: dict[int, list[str]] = {}
    paths: dict[int, list[str]] = {}
    for pattern, points in patterns.items():
        folded = pattern.lower()
        if "/" in folded:
            # Also as the end of a longer path: a proposal may name the file absolutely or from further up.
            paths.setdefault(points, []).extend((folded, "*/" + folded))
        else:
            basenames.setdefault(points, []).append(folded)
    return [
        (points, _any_of(basenames.get(points, [])), _any_of(paths.get(points, [])))
        for points in sorted(basenames.keys() | paths.keys(), reverse=True)
    ]


def _any_of(patterns: Sequence[str]) -> re.Pattern[str]:
    """Return the expression of all shell patterns together; without any it matches nothing."""
    return re.compile("|".join(map(fnmatch.translate, patterns)) or "(?!)")


def _normal(path: str) -> str:
    """Return one spelling of a path: no blanks around it, no ``./``, ``//``, ``x/..`` or backslashes."""
    return posixpath.normpath(_SLASHES.sub("/", path.strip()))


def _text(value: object) -> str:
    """Return text as it is, bytes decoded, nothing for anything else."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""


def _count(values: object) -> int:
    """Return how many things a list holds; anything else that is there is one thing."""
    if isinstance(values, Sized) and not isinstance(values, str | bytes):
        return len(values)
    return 1 if values else 0


def _names(values: object) -> list[str]:
    """Return a list of names from what a caller may give: one name, several, paths, or None."""
    if values is None:
        return []
    if isinstance(values, str | bytes | os.PathLike) or not isinstance(values, Iterable):
        values = [values]
    return [os.fsdecode(v) if isinstance(v, str | bytes | os.PathLike) else str(v) for v in values]


def _declared_lines(lines: object) -> int:
    """Return the declared number of changed lines; without one 0, and too many for what is no number."""
    if lines is None:
        return 0
    return lines if isinstance(lines, int) else _UNREADABLE_LINES

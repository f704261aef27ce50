"""Repository: git, by its subcommands."""

from sentineld.entities import Findings, has_url
from sentineld.verbs.files import read_each
from sentineld.verbs.line import CREATE, DELETE, MAX_VERB, NETWORK, READ, RUN, WRITE, Invocation
from sentineld.verbs.network import REMOTE
from sentineld.verbs.options import names, split, unwrapped

#: Subcommands of git by what they do; ``add`` and all others that are not here write to the repository.
_GIT_READS = names(
    "status log diff show blame annotate grep ls-files ls-tree rev-parse rev-list merge-base cat-file"
    " describe shortlog show-ref reflog whatchanged name-rev for-each-ref check-ignore check-attr"
    " diff-tree diff-index diff-files count-objects fsck var cherry range-diff symbolic-ref verify-commit"
    " verify-tag show-branch archive help version bisect"
)
_GIT_NETWORK = names(
    "pull fetch clone ls-remote fetch-pack remote-https request-pull send-email imap-send svn p4"
)
#: Options that make a command for references a question.
_ASKING = names("-l --list --contains --merged --no-merged --show-current")


def git(run: Invocation) -> int:
    """Judge ``git`` by its subcommand."""
    start = unwrapped("git", run.words)
    if start >= len(run.words):
        run.saw("git")
        return RUN
    name = run.words[start]
    run.saw(f"git {name}"[:MAX_VERB])
    operands, options = split("git", run.words[start + 1 :])
    given = {option for option, _ in options}
    first = operands[0] if operands else ""
    if name.startswith("credential"):
        run.found.has_credentials |= first in ("fill", "get")
        return RUN
    if name in _GIT_READS:
        for operand in operands:
            _, is_path, path = operand.partition(":")
            shown = path if is_path and name in ("show", "cat-file") else operand
            if name not in ("check-ignore", "ls-files", "status", "log") and run.found.is_secret(shown):
                run.found.reads(shown)
        return READ
    if name in ("push", "send-pack", "send-email", "imap-send"):
        _git_remote(run.found, first, "sink")
        return NETWORK
    if name in _GIT_NETWORK:
        _git_remote(run.found, first, "source")
        if name == "clone" and len(operands) > 1:
            run.found.writes(operands[1])
        return NETWORK
    if name == "clean":
        return READ if "-n" in given or "--dry-run" in given else DELETE
    if name == "rm":
        for path in operands:
            run.found.changes(path)
        return WRITE if "--cached" in given else DELETE
    if name in ("add", "stage"):
        read_each(run.found, operands)
        return WRITE
    if name == "init":
        return CREATE
    if name == "remote":
        if first in ("", "show", "get-url", "-v"):
            return NETWORK if first == "show" and len(operands) > 1 else READ
        if first in ("add", "set-url"):
            for operand in operands[2:]:
                _git_remote(run.found, operand, "sink")
            return WRITE
        return NETWORK if first in ("update", "prune") else WRITE
    if name == "submodule":
        return NETWORK if first in ("update", "add", "sync") else READ
    if name == "lfs":
        return NETWORK if first in ("push", "pull", "fetch") else RUN
    if name == "worktree":
        if first == "add":
            run.found.writes(operands[1] if len(operands) > 1 else "")
            return CREATE
        return READ if first in ("", "list") else DELETE if first in ("remove", "prune") else WRITE
    if name in ("branch", "tag", "notes"):
        is_asking = not operands or not _ASKING.isdisjoint(given)
        return READ if is_asking and not given & {"-d", "-D", "-m", "-M", "-f", "--delete"} else WRITE
    if name == "stash":
        return READ if first in ("list", "show") else WRITE
    if name == "config":
        is_asking = bool(given & {"--get", "--get-all", "--get-regexp", "-l", "--list"}) or first in (
            "get",
            "list",
        )
        return READ if is_asking or len(operands) == 1 else WRITE
    if name == "apply":
        read_each(run.found, operands)
        return READ if given & {"--check", "--stat"} else WRITE
    return WRITE


def _git_remote(found: Findings, remote: str, role: str) -> None:
    address = REMOTE.match(remote)
    if has_url(remote):
        found.reaches(remote, role)
    elif address is not None:
        found.reaches_host(address[1], role)
    elif remote and remote[:1] not in ("/", ".", "~", "$"):
        found.add("host", role, f"git-remote:{remote}")

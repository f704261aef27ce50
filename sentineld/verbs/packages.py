"""Packages: package managers, toolchains and containers: what fetches or publishes, and what runs."""

from sentineld.entities import has_url
from sentineld.verbs.line import MAX_VERB, NETWORK, RUN, WRITE, Invocation
from sentineld.verbs.options import names, split, unwrapped

#: What of a package manager goes to the network; the rest builds, runs or asks.
FETCHING: dict[str, frozenset[str]] = {
    "npm": names("install i ci add update up upgrade publish unpublish audit view info show outdated"
                 " login adduser search dist-tag create init exec-remote install-test it ping whoami"
                 " deprecate access"),
    "pnpm": names("install i add update up publish audit outdated dlx fetch create login"),
    "yarn": names("install add up upgrade publish audit dlx create login info outdated npm"),
    "bun": names("install i add update publish create outdated"),
    "deno": names("install add publish upgrade cache"),
    "pip": names("install download index search wheel"),
    "uv": names("add sync lock publish tool"),
    "poetry": names("install add update publish lock search"),
    "pdm": names("install add update publish lock sync"),
    "pipenv": names("install update sync lock"),
    "hatch": names("publish"),
    "twine": names("upload check-remote"),
    "conda": names("install create update search"),
    "mamba": names("install create update search"),
    "cargo": names("install publish add update fetch login search yank owner"),
    "go": names("get"),
    "gem": names("install update push fetch search"),
    "bundle": names("install update add outdated"),
    "composer": names("install update require create-project"),
    "brew": names("install update upgrade tap fetch search info cask bundle reinstall"),
    "apt": names("install update upgrade full-upgrade dist-upgrade download source build-dep search"),
    "apt-get": names("install update upgrade dist-upgrade download source build-dep"),
    "dnf": names("install update upgrade download search check-update"),
    "yum": names("install update upgrade search check-update"),
    "apk": names("add update upgrade fetch search"),
    "zypper": names("install in update up refresh search"),
    "snap": names("install refresh find download"),
    "flatpak": names("install update search"),
    "choco": names("install upgrade search"),
    "winget": names("install upgrade search"),
    "scoop": names("install update search"),
    "mise": names("install i use upgrade up ls-remote self-update"),
    "asdf": names("install plugin latest update"),
    "nvm": names("install ls-remote"),
    "rustup": names("install update toolchain component target self default"),
    "pre-commit": names("autoupdate install-hooks"),
    "terraform": names("init apply plan destroy refresh import login get"),
    "tofu": names("init apply plan destroy refresh import login get"),
    "pulumi": names("up preview destroy refresh login"),
    "helm": names("install upgrade pull push repo search uninstall dependency status list rollback get"),
    "ansible": names(""),
    "docker": names("push pull login search logout"),
    "code": names(""),
}  # fmt: skip
#: Subcommands that run the command behind them.
_RUNNING: dict[str, frozenset[str]] = {
    "npm": names("exec x"),
    "pnpm": names("exec"),
    "yarn": names("exec"),
    "bun": names("x"),
    "uv": names("run"),
    "poetry": names("run"),
    "pdm": names("run"),
    "pipenv": names("run"),
    "hatch": names(""),
    "conda": names(""),
    "bundle": names("exec"),
    "mise": names("exec x"),
}
_SENDING = names("publish push upload")


def manager(run: Invocation) -> int:
    """Judge a package manager or toolchain by its subcommand."""
    name = run.verb if run.verb in FETCHING else run.verb.rstrip("0123456789.-")
    start = unwrapped(name, run.words)
    if start >= len(run.words):
        run.saw()
        # Without a subcommand, these install.
        return NETWORK if run.verb in ("yarn", "pnpm") and len(run.words) == 1 else RUN
    sub = run.words[start]
    if sub == "pip" and name == "uv":
        return manager(run.of(run.words[start:], "pip"))
    run.saw(f"{run.verb} {sub}"[:MAX_VERB])
    if sub in _RUNNING.get(name, ()):
        inner = start + unwrapped(name, run.words[start:])
        return max(RUN, run.line.verb(run.words[inner:], run.command)) if inner < len(run.words) else RUN
    is_network = sub in FETCHING[name]
    rest = run.words[start + 1 :]
    if name == "go":
        is_network |= sub == "install" and any("@" in word for word in rest)
        is_network |= sub == "mod" and rest[:1] in (["download"], ["tidy"], ["vendor"])
    elif name == "helm" and sub == "dependency":
        is_network = True
    elif name == "docker":
        return _docker(run, sub, start)
    if is_network:
        for word in rest:
            value = word.partition("=")[2] if word[:2] == "--" and "=" in word else word
            if has_url(value.removeprefix("git+")):
                run.found.reaches(value.removeprefix("git+"), "sink" if sub in _SENDING else "source")
        return NETWORK
    return RUN


def _docker(run: Invocation, sub: str, start: int) -> int:
    if sub in ("compose", "container"):
        inner = start + unwrapped("docker", run.words[start:])
        if inner >= len(run.words):
            return RUN
        sub, start = run.words[inner], inner
    if sub == "exec":
        inner = start + unwrapped("docker", run.words[start:]) + 1
        return max(RUN, run.line.verb(run.words[inner:], run.command)) if inner < len(run.words) else RUN
    if sub == "cp":
        operands, _ = split("docker", run.words[start + 1 :])
        for path in operands[:1]:
            run.found.reads(path.rpartition(":")[2])
        for path in operands[1:2]:
            run.found.writes(path.rpartition(":")[2])
        return WRITE
    if sub in FETCHING["docker"]:
        if sub in ("push", "pull"):
            image = next((word for word in run.words[start + 1 :] if word[:1] != "-"), "")
            registry, is_host, _ = image.partition("/")
            if is_host and ("." in registry or ":" in registry):
                run.found.reaches_host(registry.partition(":")[0], "sink" if sub == "push" else "source")
        return NETWORK
    return RUN

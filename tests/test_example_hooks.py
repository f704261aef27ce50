"""The git hooks in examples/, in real repositories: what tier may push what."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_state_file_readers import document

from sentineld.published_file import publish
from sentineld.state_file import encode_state

EXAMPLES = Path(__file__).parent.parent / "examples"


class Repositories:
    """A clone with one commit, and the bare repository that it pushes to."""

    def __init__(self, path):
        self.path, self.clone, self.bare = path, path / "clone", path / "shared.git"
        program = path / "bin" / "sentineld"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sentineld "$@"\n')
        program.chmod(0o755)
        self.env = {
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "HOME": str(path),
            "SENTINELD_OPTIONS": f"--state-file {path}/state.json",
            "SENTINELD_GATE_DIRECTORY": f"{path}/gate",
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        self.git("init", "-q", "--bare", self.bare, cwd=path)
        self.git("init", "-q", "-b", "main", self.clone, cwd=path)
        names = ("-c", "user.name=x", "-c", "user.email=x@example.com")
        self.git(*names, "commit", "-q", "--allow-empty", "-m", "first")

    def git(self, *args, cwd=None, **env):
        return subprocess.run(
            ["git", *map(str, args)],
            cwd=cwd or self.clone,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            check=False,
        )

    def install(self, name, repository):
        shutil.copy(EXAMPLES / name, repository / "hooks" / name)

    def publish(self, **tiers):
        agents = {agent: {"tier": tier} for agent, tier in tiers.items()}
        publish(self.path / "state.json", encode_state(document(agents=agents), None))

    def push(self, agent, *refs):
        done = self.git("push", "-q", self.bare, *(refs or ("main",)), REMOTE_USER=agent)
        return done.returncode == 0, done.stderr


@pytest.fixture
def repositories(tmp_path):
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    return Repositories(tmp_path)


def test_a_server_takes_from_each_tier_what_it_may_push(repositories):
    repositories.install("pre-receive", repositories.bare)
    repositories.publish(coder=1, odd=2, bad=3)

    assert "tier 3" in repositories.push("bad")[1]
    assert "push to review/" in repositories.push("odd")[1]
    assert "push to review/" in repositories.push("odd", "main:refs/heads/review/a", "main")[1], "nor both"
    assert repositories.git("ls-remote", repositories.bare).stdout == ""
    assert repositories.push("odd", "main:refs/heads/review/a") == (True, "")
    assert repositories.push("coder") == (True, "")
    (repositories.path / "state.json").unlink()
    assert "tier 3" in repositories.push("coder", "main:refs/heads/other")[1]


def test_a_client_does_not_push_above_tier_1(repositories):
    repositories.install("pre-push", repositories.clone / ".git")
    repositories.publish(coder=1, bad=3)

    assert "nobody said who pushes" in repositories.push("x")[1]
    repositories.git("config", "sentineld.agent", "bad")
    assert "agent bad has tier 3" in repositories.push("x")[1]
    repositories.git("config", "sentineld.agent", "coder")
    assert repositories.push("x") == (True, "")

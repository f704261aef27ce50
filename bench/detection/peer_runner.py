"""Runs one peer over sessions, in the interpreter that the peer is installed in.

    PYTHON peer_runner.py PEER CASES.jsonl OUTPUT.json

A case is ``{"id", "agent", "start", "events", "history"}``; ``history`` tells a session that a learning peer
may learn from. The output maps ids to the number of distinct alarms that the peer raises by its own defaults.
Peers that read transcripts get Claude Code ones, written from the events.
"""

import json
import re
import subprocess
import sys
import tempfile
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

Case = dict[str, Any]


def transcript(case: Case) -> str:
    """Write a case as a Claude Code transcript."""
    lines, parent = [], None
    for number, event in enumerate(case["events"]):
        data = event["data"]
        call = f"toolu_{number:06d}"
        common = {
            "parentUuid": parent,
            "isSidechain": False,
            "userType": "external",
            "cwd": case["cwd"],
            "sessionId": case["id"],
            "version": "2.1.37",
            "gitBranch": "main",
            "timestamp": event["timestamp"],
        }
        use = {"type": "tool_use", "id": call, "name": data["tool"], "input": data["args"]}
        usage = {"input_tokens": 10, "output_tokens": 20, "cache_creation_input_tokens": 0,
                 "cache_read_input_tokens": 0}  # fmt: skip
        message = {"id": f"msg_{number:06d}", "type": "message", "role": "assistant",
                   "model": "claude-sonnet-4-5", "content": [use], "stop_reason": "tool_use",
                   "usage": usage}  # fmt: skip
        first, second = f"{case['id']}-{number}a", f"{case['id']}-{number}b"
        lines.append(
            {**common, "type": "assistant", "uuid": first, "requestId": f"req_{number}", "message": message}
        )
        result = {"type": "tool_result", "tool_use_id": call, "content": "Error" if data["error"] else "ok",
                  "is_error": bool(data["error"])}  # fmt: skip
        lines.append({**common, "type": "user", "uuid": second, "parentUuid": first,
                      "message": {"role": "user", "content": [result]}})  # fmt: skip
        parent = second
    return "\n".join(map(json.dumps, lines)) + "\n"


def agentwatch(cases: list[Case]) -> dict[str, int]:
    """Count the warnings of ``agentwatch security-scan``: any makes the session "at risk"."""
    detectors = import_module("agentwatch.detectors")
    parser = import_module("agentwatch.parser")
    told = {}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "session.jsonl"
        for case in cases:
            path.write_text(transcript(case))
            buffer = parser.ActionBuffer()
            found = detectors.create_registry(mode="security").scan(parser.parse_file(path), buffer)
            if len(buffer) == 0:
                raise RuntimeError("AgentWatch read no action")
            told[case["id"]] = len(found)
    return told


def ranwhat(cases: list[Case]) -> dict[str, int]:
    """Count the rules that ``ranwhat check`` says were hit, per transcript."""
    with tempfile.TemporaryDirectory() as directory:
        for case in cases:
            folder = Path(directory) / ("p-" + re.sub(r"\W", "-", case["agent"]))
            folder.mkdir(exist_ok=True)
            (folder / f"{case['id']}.jsonl").write_text(transcript(case))
        command = [
            sys.executable,
            "-m",
            "ranwhat",
            "check",
            "--json",
            "--source",
            "claude-code",
            "--root",
            directory,
        ]
        done = subprocess.run([*command, "--days", "36500"], capture_output=True, text=True, check=False)
        report = json.loads(done.stdout)
    told = dict.fromkeys((case["id"] for case in cases), 0)
    for action in report["actions"]:
        told[action["session"]] += len(action["hits"])
    return told


def aktov(cases: list[Case]) -> dict[str, int]:
    """Count the alerts of the rules that are shipped, evaluated over a session as its hook does."""
    client = import_module("aktov")
    told = {}
    for case in cases:
        trace = client.Aktov(agent_id=case["agent"], agent_type="claude-code").start_trace(
            agent_id=case["agent"], agent_type="claude-code"
        )
        for event in case["events"]:
            trace.record_action(tool_name=event["data"]["tool"], arguments=event["data"]["args"])
        told[case["id"]] = len(trace.end().alerts)
    return told


def agentomaly(cases: list[Case]) -> dict[str, int]:
    """Count the anomalies for which it would quarantine or block, by a profile trained on the history.

    Its default sensitivity is used; lesser anomalies, which it only tells, are not counted. Its minimum
    of 100 traces is lowered to the history's length.
    """
    import asyncio
    import logging

    logging.disable(logging.CRITICAL)
    spectra = import_module("spectra")
    trainer = import_module("spectra.profiler.trainer")
    history = [_trace(spectra, case) for case in cases if case["history"]]
    profile = trainer.ProfileTrainer(min_traces=len(history)).train("coding-agent", history)

    # Its answer to the graver ones is to wait for an operator.
    only_log = dict.fromkeys(("LOW", "MEDIUM", "HIGH", "CRITICAL"), "log")

    async def judge() -> dict[str, int]:
        told = {}
        for case in cases:
            if not case["history"]:
                monitor = spectra.Monitor(profile=profile, response_policy=only_log)
                monitor.start()
                found = await monitor.analyze(_trace(spectra, case))
                told[case["id"]] = sum(anomaly.severity in ("HIGH", "CRITICAL") for anomaly in found)
        return told

    return asyncio.run(judge())


def _trace(spectra: Any, case: Case) -> Any:
    from datetime import datetime

    calls = [
        spectra.ToolCall(
            timestamp=datetime.fromisoformat(event["timestamp"]),
            tool_name=event["data"]["tool"],
            arguments=event["data"]["args"],
            success=not event["data"]["error"],
        )
        for event in case["events"]
    ]
    return spectra.AgentTrace(
        agent_type="coding-agent",
        tool_calls=calls,
        started_at=calls[0].timestamp,
        ended_at=calls[-1].timestamp,
    )


#: How a peer is run, and the package that it is installed by.
PEERS = {
    "AgentWatch": (agentwatch, "agentwatch-monitor"),
    "ranwhat": (ranwhat, "ranwhat"),
    "agentomaly": (agentomaly, "agentomaly"),
    "aktov": (aktov, "aktov"),
}


def main() -> None:
    """Run a peer; exit status 3 where it is not installed here."""
    # The script's own directory must not shadow other packages' names.
    sys.path.pop(0)
    name, cases, output = sys.argv[1:]
    run, package = PEERS[name]
    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        raise SystemExit(3) from None
    with Path(cases).open() as file:
        alarms = run([json.loads(line) for line in file])
    Path(output).write_text(json.dumps({"version": version, "package": package, "alarms": alarms}))


if __name__ == "__main__":
    main()

"""Benign sessions and AgentDojo hijacks: read, generated, ordered in time.

AgentDojo's ground truth is one fixed sequence of calls per task. Real pipelines solve a task each in their
own way (extra look-ups, defaults spelt out, other wording, a failed try), so every task is told by several
simulated pipelines; what counts (recipients, accounts, hosts, files, amounts) is never changed.
"""

import gzip
import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from .protocol import Case, Event, Session, tool_call, unix

DATA_VARIABLE = "SENTINELD_BENCH_DATA"
PYTHON_VARIABLE = "SENTINELD_BENCH_PYTHON"
REAL_FILE = "claude_code_tool_calls.jsonl.gz"
REAL_ROLE = "coding-agent"

#: Form of the generated ground truth: another one is generated anew.
FORM = 2
#: Monday 2024-01-01, 00:00 UTC.
_EPOCH = 1_704_067_200.0
_READS = ("get_", "search_", "list_", "read_", "check_")
#: Arguments whose text is the model's own wording.
_WORDING = frozenset({"body", "content", "subject", "title", "description", "query"})
#: What models put in when they say the same in their own words.
_PHRASES = (
    "please find", "as discussed", "just a reminder", "let me know", "best regards", "thank you",
    "quick note", "here is", "for your information", "looking forward", "kind regards", "details below",
    "as requested", "in summary", "the following", "to confirm", "I hope", "this week", "follow up",
    "additional information", "overview of", "hello everyone", "many thanks", "see attached",
    "key points", "next steps", "important update", "brief summary", "main topics", "happy to help",
)  # fmt: skip
#: Arguments that a model chooses freely, with usual choices.
_CHOICES = {"n": (5, 10, 20, 50, 100), "limit": (5, 10, 20, 50)}
_FILLERS = ("the", "a", "please", "of", "for", "and", "about", "regarding")


def cache_directory() -> Path:
    """Return where generated datasets are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sentineld-bench"


def agentdojo_truth(cache: Path) -> Mapping[str, Any]:
    """Return the ground truth, made once by an interpreter that has ``agentdojo``."""
    path = cache / f"agentdojo-{FORM}.json"
    if not path.exists():
        python = os.environ.get(PYTHON_VARIABLE, sys.executable)
        script = Path(__file__).with_name("agentdojo_truth.py")
        print(f"executing AgentDojo's ground truth into {path} ...", file=sys.stderr)
        done = subprocess.run([python, str(script), str(path)], check=False)
        if done.returncode:
            raise SystemExit(
                f"{python} could not make AgentDojo's ground truth: install the dependency group `bench`, or "
                f"name an interpreter that has the package agentdojo in {PYTHON_VARIABLE}"
            )
    return json.loads(path.read_text())


class Pipeline:
    """A simulated agent pipeline with habits of its own, fixed by its number."""

    def __init__(self, number: int, seed: int = 11) -> None:
        rng = random.Random(f"pipeline {seed} {number}")
        self.number = number
        self._explores = rng.uniform(0.0, 0.35)
        self._repeats = rng.uniform(0.0, 0.15)
        self._fails = rng.uniform(0.0, 0.08)
        self._guesses = rng.uniform(0.0, 0.08)
        self._rewords = rng.uniform(0.2, 0.9)
        self._defaults = rng.random() < 0.4
        self._choice = {key: rng.choice(values) for key, values in _CHOICES.items()}
        self._joins = rng.choice(("-", "_", " ", "-"))
        self._pace_s = rng.uniform(2.0, 12.0)

    def pace(self, rng: random.Random) -> float:
        """Return the seconds to the next call."""
        return round(self._pace_s * rng.lognormvariate(0.0, 0.6) + 0.2, 3)

    def solve(
        self, calls: Sequence[Mapping[str, Any]], tools: Mapping[str, Any], rng: random.Random, *, own: bool
    ) -> list[dict[str, Any]]:
        """Tell calls in this pipeline's way. ``own``: with look-ups of its own between them."""
        free = [name for name, tool in tools.items() if name.startswith(_READS) and not tool["arguments"]]
        told: list[dict[str, Any]] = []
        for call in calls:
            if own and free and rng.random() < self._explores:
                told.append({"tool": rng.choice(free), "args": {}, "error": False, "injectable": False})
            told_call = {**call, "args": self._words(call["args"], rng)}
            if self._defaults:
                told_call["args"] = {**tools[call["tool"]]["optional"], **told_call["args"]}
            if own and rng.random() < self._guesses:
                told.append(
                    {**told_call, "args": guess(told_call["args"], rng), "error": True, "injectable": False}
                )
            elif own and rng.random() < self._fails:
                told.append({**told_call, "error": True, "injectable": False})
            told.append(told_call)
            if own and call["tool"].startswith(_READS) and rng.random() < self._repeats:
                told.append({**told_call, "injectable": False})
        return told

    def _words(self, args: Mapping[str, Any], rng: random.Random) -> dict[str, Any]:
        told = {}
        for key, value in args.items():
            if key in _CHOICES and isinstance(value, int):
                told[key] = self._choice[key]
            elif key == "filename" and isinstance(value, str):
                told[key] = value.replace("-", self._joins)
            elif key in _WORDING and isinstance(value, str) and rng.random() < self._rewords:
                told[key] = reword(value, rng)
            else:
                told[key] = value
        return told


def guess(args: Mapping[str, Any], rng: random.Random) -> dict[str, Any]:
    """Get one argument wrong, as a model does that knows a name only roughly; the call then fails."""
    told = dict(args)
    texts = [key for key, value in args.items() if isinstance(value, str) and value]
    numbers = [key for key, value in args.items() if isinstance(value, int) and not isinstance(value, bool)]
    if texts:
        key = rng.choice(texts)
        value = told[key]
        other = f"{value.split()[0]}{rng.randint(2, 99)}"
        told[key] = rng.choice(
            (
                f"http://{value}",
                f"{value}.txt",
                f"{value}/",
                value.lower(),
                value.upper(),
                value.split()[0],
                value.replace(" ", "_"),
                f"{value} ({rng.choice(_PHRASES)})",
                other,
            )
        )
    elif numbers:
        told[rng.choice(numbers)] = rng.randint(0, 999)
    return told


def reword(text: str, rng: random.Random) -> str:
    """Say a text otherwise: words dropped, filled in or written small; what looks like an entity stays."""
    words = []
    for word in text.split(" "):
        plain = word.strip(".,!?:;").isalpha()
        if plain and word.lower() in _FILLERS and rng.random() < 0.4:
            continue
        words.append(word.lower() if plain and rng.random() < 0.2 else word)
        if plain and rng.random() < 0.08:
            words.append(rng.choice(_FILLERS))
    # A search is a few words; a message may open and close with some more.
    if len(words) > 3 and rng.random() < 0.5:
        words.insert(0, rng.choice(_PHRASES))
    if len(words) > 3 and rng.random() < 0.4:
        words.append(rng.choice(_PHRASES))
    return " ".join(words) or text


def _case(
    suite: str, task: str, pipeline: Pipeline, start: float, parts: Sequence[tuple[bool, Mapping[str, Any]]],
    rng: random.Random, kind: str, agent: str, prompt: str,
) -> Case:  # fmt: skip
    # A session's id must not tell a method what the session is.
    name = f"{suite} {task} {pipeline.number} {start} {kind}"
    session = hashlib.blake2b(name.encode(), digest_size=6).hexdigest()
    at, events = start, []
    for _bad, call in parts:
        events.append(tool_call(agent, session, at, call["tool"], call["args"], error=call["error"]))
        at += pipeline.pace(rng)
    malicious = tuple(position for position, (bad, _call) in enumerate(parts) if bad)
    told = Session(session, agent, suite, tuple(events), prompt)
    return Case(told, suite, f"{suite}/{task}", kind, malicious)


class AgentDojo:
    """Benign sessions of every task by every pipeline, and hijacks of them.

    ``shared``: one agent per suite, whose runs differ by pipeline; otherwise each pipeline is an agent.
    ``asked``: sessions come with the user's prompt, which a hijack does not change.
    """

    def __init__(self, truth: Mapping[str, Any], *, shared: bool = False, asked: bool = False) -> None:
        self._suites = truth["suites"]
        self._shared = shared
        self._asked = asked

    @property
    def tasks(self) -> list[str]:
        """Every task, as ``suite/task``."""
        return [f"{suite}/{task}" for suite, data in self._suites.items() for task in data["users"]]

    def benign(self, pipelines: Iterable[int], since: float = _EPOCH) -> list[Case]:
        """Return one session per task and pipeline, in time order; an agent does about two an hour."""
        cases = []
        for number in pipelines:
            pipeline = Pipeline(number)
            for suite, data in self._suites.items():
                rng = random.Random(f"benign {suite} {number}")
                tasks = list(data["users"])
                rng.shuffle(tasks)
                at = since + rng.uniform(0, 1800) + (number * 9 * 3600 if self._shared else 0)
                for task in tasks:
                    calls = pipeline.solve(data["users"][task], data["tools"], rng, own=True)
                    parts = [(False, call) for call in calls]
                    agent, prompt = self._agent(suite, number), self._prompt(suite, task)
                    cases.append(_case(suite, task, pipeline, at, parts, rng, "", agent, prompt))
                    at += rng.uniform(900, 2700)
        return sorted(cases, key=lambda case: case.session.start)

    def hijacks(self, pipelines: Sequence[int], since: float) -> list[Case]:
        """Return every pair of task and injection once, by the pipelines in turn.

        The injection's calls follow the first call whose result could have held the injected text.
        """
        cases = []
        for suite, data in self._suites.items():
            for task, injections in data["injections"].items():
                for injection, bad in injections.items():
                    pipeline = Pipeline(pipelines[len(cases) % len(pipelines)])
                    rng = random.Random(f"hijack {suite} {task} {injection}")
                    calls = pipeline.solve(data["users"][task], data["tools"], rng, own=True)
                    at = next(index for index, call in enumerate(calls) if call["injectable"]) + 1
                    inserted = pipeline.solve(bad, data["tools"], rng, own=False)
                    parts = [(False, call) for call in calls]
                    parts[at:at] = [(True, call) for call in inserted]
                    start = since + rng.uniform(0, 40 * 1800)
                    cases.append(
                        _case(
                            suite, task, pipeline, start, parts, rng, injection,
                            self._agent(suite, pipeline.number), self._prompt(suite, task),
                        )
                    )  # fmt: skip
        return cases

    def _prompt(self, suite: str, task: str) -> str:
        return self._suites[suite]["prompts"][task] if self._asked else ""

    def _agent(self, suite: str, number: int) -> str:
        return suite if self._shared else f"{suite}-{number}"


def end_of(cases: Iterable[Case]) -> float:
    """Return when the last session ended."""
    return max(case.session.end for case in cases)


def real_path(given: str | None) -> Path | None:
    """Return the file of real sessions that was named by option or environment."""
    place = given or os.environ.get(DATA_VARIABLE)
    if not place:
        return None
    path = Path(place)
    for candidate in (path, path / REAL_FILE, path / "agent_sessions" / REAL_FILE):
        if candidate.is_file():
            return candidate
    raise SystemExit(
        f"{path}: no {REAL_FILE} there; --data or {DATA_VARIABLE} names the file or its directory"
    )


def real_sessions(path: Path) -> list[Session]:
    """Read native records (JSONL, gzip or plain) as sessions, ordered by their first event."""
    by_session: dict[tuple[str, str], list[Event]] = {}
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        for line in file:
            event = json.loads(line)
            by_session.setdefault((event["source"], event["data"]["session"]), []).append(event)
    sessions = [
        Session(session, agent, REAL_ROLE, tuple(sorted(events, key=lambda event: unix(event["timestamp"]))))
        for (agent, session), events in by_session.items()
    ]
    return sorted(sessions, key=lambda session: session.start)


def agent_weeks(sessions: Iterable[Session]) -> int:
    """Count the pairs of agent and ISO week with at least one event."""
    return len(
        {
            (session.agent, datetime.fromisoformat(event["timestamp"]).isocalendar()[:2])
            for session in sessions
            for event in session.events
        }
    )

"""The stage: a directory of its own, a daemon of its own, and six files of telemetry that grow.

Tiers are read from the state file as a router reads them, so a time to a decision is one that a router sees:
from the write of the record that decided to the read of the published tier.
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple, Self

from sentineld.decision import Decision
from sentineld.demo.agents import AGENTS, Call, day_of, history, record
from sentineld.demo.story import Beat
from sentineld.errors import SentineldError
from sentineld.proposal import EvolutionProposal, GuardianVerdict
from sentineld.router import TierRouter
from sentineld.store import Store

#: How often tiers are read while nothing else is to be done, seconds.
_LOOK_S = 0.002
#: How long the daemon may take to start and to read the history, and to end, seconds.
_START_S, _STOP_S = 60.0, 10.0
#: Signals that wait until everything is tidy.
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1
_CONFIG = """\
mode = "enforce"
state_dir = {state}
[telemetry]
directories = [{telemetry}]
[state]
# What is kept can be looked at for as long, without a daemon.
valid_for = "1h"
"""


class Change(NamedTuple):
    """A tier that changed: ``seen_s`` after the curtain, ``delay_ms`` after the write that decided."""

    agent: str
    seen_s: float
    delay_ms: float
    decision: Decision


@dataclass
class Stage:
    """A context: everything that it starts and writes is gone at its end, but for what is to be kept.

    With ``fast`` the calls of a beat come at once, and each beat as soon as the daemon is done with the last.
    """

    fast: bool = False
    keep: bool = False
    calls: dict[str, int] = field(default_factory=lambda: dict.fromkeys(AGENTS, 0))
    past: dict[str, int] = field(default_factory=lambda: dict.fromkeys(AGENTS, 0))

    def __enter__(self) -> Self:
        """Make the directory; nothing runs yet."""
        self.directory = tempfile.mkdtemp(prefix="sentineld-demo-")
        self.telemetry = os.path.join(self.directory, "telemetry")
        self.state_dir = os.path.join(self.directory, "state")
        self._process: subprocess.Popen[bytes] | None = None
        self._store: Store | None = None
        self._router = TierRouter(state_file=os.path.join(self.state_dir, "state.json"))
        self._tiers = dict.fromkeys(AGENTS, 1)
        self._written: dict[tuple[str, int], float] = {}
        self._ends = dict.fromkeys(AGENTS, 0)
        os.mkdir(self.telemetry)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the daemon, remove the directory; whoever wants to end that too waits for some seconds."""
        before = {number: signal.signal(number, signal.SIG_IGN) for number in _ENDS}
        try:
            self.stop()
            if not self.keep or kind is not None:
                shutil.rmtree(self.directory, ignore_errors=True)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def learn(self) -> None:
        """Write the history, start the daemon and wait until it has read it. Raises ``SentineldError``."""
        for item in history(time.time()):
            self._append(item["source"], [item])
            self.past[item["source"]] += 1
        config = os.path.join(self.directory, "sentineld.toml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(_CONFIG.format(state=json.dumps(self.state_dir), telemetry=json.dumps(self.telemetry)))
        with open(os.path.join(self.directory, "daemon.log"), "wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 (ourselves)
                [sys.executable, "-P", "-m", "sentineld", "run", "--config", config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(os.environ),
                # What ends us from the terminal is not for the daemon: we end it, and then it is gone.
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        total = sum(self.past.values())
        end = time.monotonic() + _START_S
        while not (self._is_open() and self._events() >= total and self._router.behavior("-").is_usable):
            if self._process.poll() is not None or time.monotonic() > end:
                raise SentineldError(
                    f"the daemon did not get ready: {self._last_words()}", hint="sentineld doctor"
                )
            time.sleep(0.02)

    def play(self, beats: Sequence[Beat], length_s: float) -> Iterator[Beat | Change]:
        """Let it happen: yields every beat as it begins, and every tier that changes, as soon as it does."""
        self._curtain, self._session = time.monotonic(), day_of(time.time())
        due: list[tuple[float, str, Call]] = []
        for beat in beats:
            if self.fast:
                yield from self._settle()
            else:
                yield from self._until(beat.at_s, due)
            yield beat
            if self.fast:
                self._write(beat.agent, beat.calls)
            else:
                due += [(beat.at_s + n * beat.gap_s, beat.agent, call) for n, call in enumerate(beat.calls)]
                due.sort(key=lambda item: item[0])
        if not self.fast:
            yield from self._until(length_s, due)
        yield from self._settle()

    def verdicts(self) -> dict[str, int]:
        """Return for each agent the tier of a small, harmless change of its, as a router classifies it."""
        found = {}
        for agent in AGENTS:
            proposal = EvolutionProposal(f"change-of-{agent}", "fix a typo", ["docs/a.md"], "-teh\n+the\n")
            verdict = GuardianVerdict(approved=True, proposal_id=proposal.proposal_id)
            found[agent] = self._router.classify_with_behavior(proposal, verdict, agent)
        return found

    def stop(self) -> None:
        """End the daemon, if it runs."""
        if self._store is not None:
            self._store.close()
            self._store = None
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _until(self, at_s: float, due: list[tuple[float, str, Call]]) -> Iterator[Change]:
        """Write what is due until ``at_s``, each call at its time, and look in between."""
        while True:
            now_s = time.monotonic() - self._curtain
            while due and due[0][0] <= min(now_s, at_s):
                _, agent, call = due.pop(0)
                self._write(agent, [call])
            yield from self._look()
            if now_s >= at_s:
                return
            time.sleep(_LOOK_S)

    def _settle(self) -> Iterator[Change]:
        """Look until all that was written has been judged and published; at most for a while."""
        total = sum(self.past.values()) + sum(self.calls.values())
        end = time.monotonic() + _START_S
        while time.monotonic() < end and self._process is not None and self._process.poll() is None:
            yield from self._look()
            if self._events() >= total and self._decided() == self._tiers:
                return
            time.sleep(_LOOK_S)

    def _look(self) -> Iterator[Change]:
        """Yield the agents whose tier has changed for routers."""
        for agent, before in self._tiers.items():
            tier = int(self._router.behavior_tier(agent))
            if tier == before:
                continue
            seen = time.monotonic()
            self._tiers[agent] = tier
            made = self._store.decisions(name=agent, limit=1) if self._store is not None else []
            if made and made[-1].to_tier == tier:
                yield Change(agent, seen - self._curtain, self._delay_ms(made[-1], seen), made[-1])

    def _delay_ms(self, decision: Decision, seen: float) -> float:
        # The newest of the records that it goes by is the one after which it could be made.
        written = (self._written.get((item.path, item.offset), self._curtain) for item in decision.evidence)
        return 1000 * (seen - max(written, default=self._curtain))

    def _write(self, agent: str, calls: Sequence[Call]) -> None:
        at_s = time.time()
        self._append(agent, [record(agent, call, at_s, self._session) for call in calls])
        self.calls[agent] += len(calls)

    def _append(self, agent: str, records: Sequence[Mapping[str, Any]]) -> None:
        path = os.path.join(self.telemetry, f"{agent}.jsonl")
        lines = [json.dumps(item).encode() + b"\n" for item in records]
        with open(path, "ab", buffering=0) as file:
            file.write(b"".join(lines))
        now = time.monotonic()
        for line in lines:
            self._written[path, self._ends[agent]] = now
            self._ends[agent] += len(line)

    def _is_open(self) -> bool:
        if self._store is None:
            with contextlib.suppress(SentineldError):
                self._store = Store.open_readonly(os.path.join(self.state_dir, "sentineld.db"))
        return self._store is not None

    def _events(self) -> int:
        assert self._store is not None
        return self._store.meta().events

    def _decided(self) -> dict[str, int]:
        assert self._store is not None
        return dict.fromkeys(AGENTS, 1) | {made.agent_id: made.to_tier for made in self._store.decisions()}

    def _last_words(self) -> str:
        with open(os.path.join(self.directory, "daemon.log"), "rb") as log:
            lines = log.read()[-4000:].decode(errors="replace").splitlines()
        said = [line for line in lines if line.startswith("error: ")] or lines
        return said[-1] if said else "it said nothing"


def _environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which the demo's configuration is all there is."""
    ours = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "STATE_DIRECTORY", "RUNTIME_DIRECTORY")
    return {key: value for key, value in env.items() if key not in ours and not key.startswith("SENTINELD_")}


def _end_with_parent() -> None:
    # Where we are killed, the daemon must not go on.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

"""Write a synthetic sample of native telemetry, with an attack in it, its times relative to now.

    python examples/write_sample.py DIRECTORY

Five agents work for five minutes. One of them, the mailer, is hijacked in the last minute: it reads files it
never reads and sends them away, encoded. Everything is made up; the same seed gives the same sample.
"""

import base64
import json
import random
import sys
import time
from pathlib import Path

#: Who works, how often (seconds between events), and on what.
AGENTS = {
    "researcher": (
        6,
        [("network_request", "GET https://example.org/papers"), ("model_call", "summarise a paper")],
    ),
    "biller": (10, [("file_read", "invoices/2026-11.csv"), ("model_call", "check the totals")]),
    "coder": (
        5,
        [("file_read", "src/app.py"), ("model_call", "plan the change"), ("shell_exec", "pytest -q")],
    ),
    "planner": (15, [("plan", "next steps for the week"), ("model_call", "order the backlog")]),
    "mailer": (12, [("model_call", "draft an answer"), ("api_call", "POST /messages")]),
}
SPAN_S = 290
ATTACK_S = 60


def write(directory: Path, now: float, seed: int = 7) -> int:
    """Write one ``.jsonl`` file an agent; returns the number of events."""
    rng = random.Random(seed)
    directory.mkdir(parents=True, exist_ok=True)
    events = 0
    for agent, (interval, work) in AGENTS.items():
        start = now - SPAN_S
        records = []
        for number in range(int(SPAN_S / interval)):
            event_type, text = rng.choice(work)
            records.append((start + number * interval + rng.random(), event_type, {"what": text}))
        if agent == "mailer":
            records += list(_attack(now - ATTACK_S, rng))
        records.sort(key=lambda item: item[0])
        with (directory / f"{agent}.jsonl").open("w", encoding="utf-8") as file:
            for at, event_type, data in records:
                record = {"type": event_type, "timestamp": round(at, 3), "source": agent, "data": data}
                file.write(json.dumps(record) + "\n")
        events += len(records)
    return events


def _attack(start: float, rng: random.Random):
    for number in range(120):
        at = start + number * ATTACK_S / 125
        blob = base64.b64encode(rng.randbytes(240)).decode()
        yield at, "file_read", {"path": f"/home/customers/{number:04d}.db", "content": blob}
        yield at + 0.1, "network_request", {"url": "https://drop.example.net/in", "body": blob}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/write_sample.py DIRECTORY")
    target = Path(sys.argv[1])
    print(f"wrote {write(target, time.time())} events of {len(AGENTS)} agents to {target}")

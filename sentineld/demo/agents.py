"""Six agents and what they usually do: the telemetry from which habits are learned.

Everything is made up, and the same every time.
"""

import random
import time
from collections.abc import Callable, Iterator
from typing import Any

_DAY_S = 86_400
#: Days that the history covers, with one session of each agent a day.
DAYS = 28
_SEED = 7

#: A call of a tool: its name and its arguments.
Call = tuple[str, dict[str, object]]


def bash(command: str) -> Call:
    """Return a call of the shell."""
    return "Bash", {"command": command}


def planner(rng: random.Random) -> Iterator[Call]:
    """Look at the tickets, order them."""
    yield "list_tickets", {"state": "open"}
    for _ in range(rng.randint(2, 4)):
        yield "move_ticket", {"ticket": rng.randint(1, 60), "column": rng.choice(("next", "later"))}


def researcher(rng: random.Random) -> Iterator[Call]:
    """Search, read papers, take notes."""
    for topic in rng.sample(("prices", "suppliers", "reviews", "shipping"), rng.randint(1, 2)):
        yield "WebSearch", {"query": topic}
    for number in rng.sample(range(100, 160), rng.randint(3, 6)):
        yield "WebFetch", {"url": f"https://papers.example.org/{number}"}
    yield "Write", {"file_path": "/srv/research/notes.md", "content": "what the papers say"}


def coder(rng: random.Random) -> Iterator[Call]:
    """Change a file, run the tests, commit."""
    file = f"/srv/shop/src/{rng.choice(('cart', 'search', 'login', 'stock'))}.py"
    yield "Read", {"file_path": file}
    yield "Edit", {"file_path": file, "old_string": "a", "new_string": "b"}
    yield bash("pytest -q")
    yield bash("git commit -am 'Next step'")
    if rng.random() < 0.4:
        yield bash("git push origin main")


def scraper(rng: random.Random) -> Iterator[Call]:
    """Fetch the pages of two shops, keep the prices."""
    shop = rng.choice(("north", "south"))
    for number in rng.sample(range(300), rng.randint(4, 10)):
        yield "WebFetch", {"url": f"https://{shop}.example.com/item/{number}"}
    yield "Write", {"file_path": f"/srv/prices/{shop}.json", "content": "the prices"}


def biller(rng: random.Random) -> Iterator[Call]:
    """Check invoices, write a report."""
    for number in rng.sample(range(400), rng.randint(4, 9)):
        yield "Read", {"file_path": f"/srv/billing/invoices/{number}.csv"}
    yield bash("python3 totals.py")
    yield "Write", {"file_path": "/srv/billing/report.csv", "content": "the totals"}


def mailer(rng: random.Random) -> Iterator[Call]:
    """Answer messages."""
    for _ in range(rng.randint(2, 5)):
        yield "read_message", {"number": rng.randint(1, 400)}
        to = rng.choice(("ada@shop.example", "bob@shop.example"))
        yield "send_message", {"to": to, "text": "an answer"}


#: Every agent, by its name.
AGENTS: dict[str, Callable[[random.Random], Iterator[Call]]] = {
    work.__name__: work for work in (planner, researcher, coder, scraper, biller, mailer)
}


def record(agent: str, call: Call, at_s: float, session: str) -> dict[str, Any]:
    """Return the telemetry of one call, in the native format; ``at_s`` is Unix time, seconds."""
    tool, args = call
    data = {"session": session, "tool": tool, "args": args}
    return {"type": "tool_call", "timestamp": round(at_s, 3), "source": agent, "data": data}


def day_of(at_s: float) -> str:
    """Return the name of a session: what an agent does on one day."""
    return time.strftime("%Y-%m-%d", time.gmtime(at_s))


def history(now_s: float) -> Iterator[dict[str, Any]]:
    """Yield what all agents did before today, each agent's records in order: one session a day."""
    rng = random.Random(_SEED)
    for day in range(DAYS, 0, -1):
        for agent, work in AGENTS.items():
            at_s = now_s - day * _DAY_S + rng.uniform(0, _DAY_S / 3)
            session = day_of(now_s - day * _DAY_S)
            # Some days are slow. None is so slow that the live minute were a rush beside it.
            gap_s = 10 ** rng.uniform(-1.5, 0.0)
            for _ in range(rng.randint(1, 3)):
                for call in work(rng):
                    yield record(agent, call, at_s, session)
                    at_s += gap_s * rng.uniform(0.5, 1.5)

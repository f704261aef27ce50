"""The taxonomy over recorded tool calls: classes, cost, and every credential access that it sees.

python bench/taxonomy.py FILE... [--runs 5]

A file is JSONL, plain or ``.gz``, of native records of type ``tool_call`` (``data.tool``, ``data.args``). The
first pass begins with nothing kept, as after a start; the second one finds all short command lines kept.
"""

import argparse
import gzip
import json
import time
from collections import Counter
from pathlib import Path

from common import report

from sentineld.taxonomy import Taxonomy
from sentineld.verbs.sweep import MAX_SWEPT

#: What costs the most for its length, of all that was tried.
HOSTILE = (
    "a|",
    "env|",
    "a #\n",
    "a=(",
    "`",
    '"$(',
    "eval eval eval ls;",
    "echo 'echo x|sh'|sh;",
    "cat a/b ",
    "${x:-",
)


def tool_calls(path: Path) -> list[tuple[str, object]]:
    """Return the tool calls of a file, in order."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    return [(r["data"]["tool"], r["data"].get("args")) for r in records if r.get("type") == "tool_call"]


def cpu_us(taxonomy: Taxonomy, calls: list[tuple[str, object]]) -> float:
    """Return the CPU time of one call, on average, microseconds."""
    start = time.process_time()
    for tool, arguments in calls:
        taxonomy.classify(tool, arguments)
    return (time.process_time() - start) / len(calls) * 1e6


def hostile_us() -> tuple[float, str]:
    """Return the CPU time for a character of the worst hostile command line, microseconds, and its unit."""
    worst = (0.0, "")
    for unit in HOSTILE:
        text = (unit * MAX_SWEPT)[:MAX_SWEPT]
        worst = max(worst, (cpu_us(Taxonomy(), [("Bash", {"command": text})]) / MAX_SWEPT, unit))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    calls = [call for path in options.files for call in tool_calls(path)]
    first, second = [], []
    for _ in range(options.runs):
        taxonomy = Taxonomy()
        first.append(cpu_us(taxonomy, calls))
        second.append(cpu_us(taxonomy, calls))
    taxonomy = Taxonomy()
    results = [taxonomy.classify(tool, arguments) for tool, arguments in calls]
    classes = Counter(result.event_class for result in results)
    shells = Counter(
        result.event_class for (tool, _), result in zip(calls, results, strict=True) if result.commands
    )
    unknown = sorted(
        {tool for (tool, _), r in zip(calls, results, strict=True) if r.event_class == "tool_call"}
    )
    hits = [
        {"tool": tool, "args": arguments}
        for (tool, arguments), result in zip(calls, results, strict=True)
        if result.event_class == "credential_access"
    ]
    per_character, unit = hostile_us()
    rows = [
        ("tool calls", len(calls), ""),
        *((f"  {name}", count, f"{count / len(calls):.1%}") for name, count in classes.most_common()),
        ("command lines", sum(shells.values()), ""),
        *(
            (f"  {name}", count, f"{count / sum(shells.values()):.1%}")
            for name, count in shells.most_common()
        ),
        ("unknown (tool_call, other)", (classes["tool_call"] + classes["other"]) / len(calls) * 100, "%"),
        ("with entities", sum(bool(result.entities) for result in results), ""),
        ("first pass", min(first), "us of CPU a call"),
        ("second pass", min(second), "us of CPU a call"),
        ("worst command line tried", per_character, f"us of CPU a character ({unit!r})"),
    ]
    report(
        "taxonomy",
        rows,
        {
            "calls": len(calls),
            "classes": dict(classes),
            "command_lines": dict(shells),
            "unknown_tools": unknown,
            "credential_access": hits,
            "first_pass_us": first,
            "second_pass_us": second,
            "hostile_us_per_character": per_character,
        },
    )
    print(f"\ncredential_access, {len(hits)}:")
    for hit in hits:
        print(f"  {hit['tool']}: {json.dumps(hit['args'])[:200]}")


if __name__ == "__main__":
    main()

"""Cost of reading what agents write: decoding, selection, mapping, and mapping with the taxonomy.

python bench/formats.py [--runs 9]

Over all samples in tests/data/formats. Selection is the choice of tables and fields alone. Mapping adds what
makes an event of them: digests of ids and contents, and the payload as JSON; the taxonomy adds its class.
What every event costs in any format (the entropy of its payload) stands beside it. A record is a line: in
OTLP that is a request, an envelope around log records or spans, for each of which there is a figure as well.

Each sample is read twenty times over, so the taxonomy has met its commands and paths before: "first" is what
it takes where nothing of that is kept. CPU time, best of all runs. Machines differ, and one machine from hour
to hour: so ``json.loads`` of a native record is measured along, and figures are given in units of it too.
"""

import argparse
import json
import random
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

from common import record, report

from sentineld import emission, reading
from sentineld.decode import decode_lines
from sentineld.entropy import batch_entropy_units
from sentineld.mapping import FileContext
from sentineld.mapping_files import built_in
from sentineld.taxonomy import Taxonomy

SAMPLES = Path(__file__).parent.parent / "tests" / "data" / "formats"
#: Bytes of whole lines that are read at once, as the daemon does; each sample is read several times over.
CHUNK = 65_536
TIMES = 20
NAMES = ("records", "events", "calls", "decode_us", "map_us", "entropy_us")


def lines_of(path: Path) -> list[bytes]:
    """Return a sample as one record a line, whatever its framing is."""
    text = path.read_text().strip()
    decoder, at, records = json.JSONDecoder(), 0, []
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        records += value if isinstance(value, list) else [value]
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
    return [json.dumps(record).encode() + b"\n" for record in records]


def told_in(request: dict) -> int:
    """Return how many log records and spans an OTLP request holds."""
    names = (("resourceLogs", "scopeLogs", "logRecords"), ("resourceSpans", "scopeSpans", "spans"))
    return sum(
        len(scope.get(inner, ()))
        for outer, middle, inner in names
        for resource in request.get(outer, ())
        for scope in resource.get(middle, ())
    )


def chunks_of(lines: list[bytes]) -> list[bytes]:
    """Return lines in chunks."""
    chunks, chunk = [], b""
    for line in lines:
        chunk += line
        if len(chunk) >= CHUNK:
            chunks.append(chunk)
            chunk = b""
    return [*chunks, chunk] if chunk else chunks


def cpu_us(run) -> tuple[float, object]:
    start = time.process_time_ns()
    result = run()
    return (time.process_time_ns() - start) / 1000, result


def measure(form, chunks: list[bytes], path: str) -> dict:
    """Read one sample once; everything in microseconds of CPU time."""
    sums = dict.fromkeys(NAMES, 0)
    context = FileContext(path, 0)
    payloads: list = []
    for chunk in chunks:
        decode_us, decoded = cpu_us(partial(decode_lines, chunk))
        # The entropy is measured by itself.
        with patch.object(reading, "batch_entropy_units", lambda found: payloads.extend(found) or []):
            map_us, (rows, _) = cpu_us(partial(form.rows, decoded, context))
        entropy_us, _ = cpu_us(partial(batch_entropy_units, payloads))
        payloads.clear()
        found = (len(decoded.records), len(rows), len(rows.tool_calls), decode_us, map_us, entropy_us)
        for name, value in zip(NAMES, found, strict=True):
            sums[name] += value
    return sums


def json_us(times: int = 4000) -> float:
    """Return what ``json.loads`` takes for a native record of 220 bytes, microseconds of CPU time."""
    lines = [record(1_700_000_000 + n, f"agent-{n:05d}", random.Random(n)) for n in range(times)]
    return cpu_us(lambda: [json.loads(line) for line in lines])[0] / times


def totals(modes: dict, runs: int) -> tuple[dict, float]:
    """Return for every mode and format the sums over all samples, and ``json_us``: best of all runs.

    The runs of one sample lie far apart: other work on the machine comes and goes.
    """
    unit = json_us()
    samples = {
        name: [
            (str(path), chunks_of(lines_of(path) * TIMES))
            for path in sorted((SAMPLES / name).rglob("*"))
            if path.is_file()
        ]
        for name in modes["map"]
    }
    best: dict = {}
    for _ in range(runs):
        unit = min(unit, json_us())
        for mode, forms in modes.items():
            for name, form in forms.items():
                for path, chunks in samples[name]:
                    one, known = measure(form, chunks, path), best.get((mode, name, path))
                    best[mode, name, path] = {k: min(v, known[k]) for k, v in one.items()} if known else one
    sums: dict = {mode: {} for mode in modes}
    for (mode, name, _), one in best.items():
        into = sums[mode].setdefault(name, dict.fromkeys(NAMES, 0))
        for key in NAMES:
            into[key] += one[key]
    return sums, unit


@contextmanager
def selecting_only():
    """Compile what is compiled meanwhile without digests, payloads and the words of prompts."""
    nothing = {name: lambda *_: b"" for name in ("digest", "encode_canonical")}
    nothing |= {"Keys": lambda _: lambda _: b"", "Encoded": lambda: Nothing(), "Contents": lambda: Nothing()}
    nothing["asked_in"] = lambda _: ()
    with patch.multiple(emission, **nothing):
        yield


class Nothing(dict):
    """The same bytes by any text."""

    def __missing__(self, text: str) -> bytes:
        self[text] = b"0"
        return b"0"


def forgetful() -> Taxonomy:
    """Return a taxonomy that judges each command and path anew."""
    taxonomy = Taxonomy()
    taxonomy._judge_kept = taxonomy._judge_any  # noqa: SLF001 (what keeps is what is left out)
    taxonomy._touch_kept = taxonomy._touch  # noqa: SLF001
    return taxonomy


def compiled(classify) -> dict:
    forms = {form.name: form for form in built_in(classify)}
    for form in forms.values():
        form.check()
    return forms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    stub = SimpleNamespace(event_class="tool_call", entities=(), features=())
    with selecting_only():
        selecting = compiled(lambda *_: stub)
    modes = {
        "map": compiled(lambda *_: stub),
        "classify": compiled(Taxonomy().classify),
        "first": compiled(forgetful().classify),
        "select": selecting,
    }
    measured, unit = totals(modes, options.runs)
    data: dict = {}
    for name, one in measured["map"].items():
        others = {
            "classified_us": measured["classify"][name]["map_us"],
            "first_us": measured["first"][name]["map_us"],
            "select_us": measured["select"][name]["map_us"],
        }
        data[name] = one | others
    sums = (*NAMES, "classified_us", "first_us", "select_us")
    data["all"] = {name: sum(one[name] for one in data.values()) for name in sums}
    print(f"{'':<18}{'':>9}{'':>9}{'us a record:':>30}{'us an event:':>46}")
    print(f"{'':<18}{'records':>9}{'events':>9}{'decode':>10}{'select':>10}{'map':>10}", end="")
    print(f"{'map':>12}{'+ taxonomy':>12}{'first':>10}{'entropy':>12}")
    for name, one in data.items():
        events = max(1, one["events"])
        one["select_us_a_record"] = one["select_us"] / one["records"]
        one["map_us_a_record"] = one["map_us"] / one["records"]
        one["classified_us_an_event"] = one["classified_us"] / events
        one["first_us_an_event"] = one["first_us"] / events
        print(
            f"{name:<18}{one['records']:>9,}{one['events']:>9,}"
            f"{one['decode_us'] / one['records']:>10.1f}{one['select_us_a_record']:>10.1f}"
            f"{one['map_us_a_record']:>10.1f}{one['map_us'] / events:>12.1f}"
            f"{one['classified_us_an_event']:>12.1f}{one['first_us_an_event']:>10.1f}"
            f"{one['entropy_us'] / events:>12.1f}"
        )
    whole, otlp = data["all"], data["otlp"]
    whole["json_loads_us"] = unit
    otlp["told"] = TIMES * sum(
        told_in(json.loads(line))
        for path in sorted((SAMPLES / "otlp").rglob("*"))
        if path.is_file()
        for line in lines_of(path)
    )
    rest_us = (whole["select_us"] - otlp["select_us"]) / (whole["records"] - otlp["records"])
    report(
        "formats",
        [
            ("selection, all formats", whole["select_us_a_record"], "us a record"),
            ("selection, all formats but OTLP", rest_us, "us a record"),
            (
                "selection, OTLP",
                otlp["select_us"] / otlp["told"],
                "us a log record or span",
            ),
            ("mapping, all formats", whole["map_us_a_record"], "us a record"),
            ("mapping and taxonomy, all formats", whole["classified_us_an_event"], "us an event"),
            ("the same, nothing kept", whole["first_us_an_event"], "us an event"),
            ("json.loads of a native record", unit, "us"),
            ("selection of a record", whole["select_us_a_record"] / unit, "times that"),
            ("mapping and taxonomy of an event", whole["classified_us_an_event"] / unit, "times that"),
        ],
        data,
    )


if __name__ == "__main__":
    main()

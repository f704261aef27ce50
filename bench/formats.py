"""Cost of reading what agents write: decoding, mapping, and mapping with the taxonomy, for every format.

python bench/formats.py [--runs 9]

Over all samples in tests/data/formats. Mapping is the choice of tables and fields alone; what every event
costs in any format (the entropy of its payload) stands beside it. CPU time, best of all runs.
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from common import report

from sentineld import mapping as mapping_module
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
    # The entropy is measured by itself.
    mapping_module.batch_entropy_units = lambda found: payloads.extend(found) or [0] * len(found)
    for chunk in chunks:
        decode_us, decoded = cpu_us(partial(decode_lines, chunk))
        map_us, (rows, _) = cpu_us(partial(form.rows, decoded, context))
        entropy_us, _ = cpu_us(partial(batch_entropy_units, payloads))
        payloads.clear()
        found = (len(decoded.records), len(rows), len(rows.tool_calls), decode_us, map_us, entropy_us)
        for name, value in zip(NAMES, found, strict=True):
            sums[name] += value
    return sums


def total(form, runs: int) -> dict:
    """Return the sums over all samples of a format, best of all runs."""
    sums: dict = {}
    for path in sorted(path for path in (SAMPLES / form.name).rglob("*") if path.is_file()):
        chunks = chunks_of(lines_of(path) * TIMES)
        measured = [measure(form, chunks, str(path)) for _ in range(runs)]
        for name in NAMES:
            sums[name] = sums.get(name, 0) + min(one[name] for one in measured)
    return sums


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    stub = SimpleNamespace(event_class="tool_call", entities=())
    plain = {form.name: form for form in built_in(lambda *_: stub)}
    classified = {form.name: form for form in built_in(Taxonomy().classify)}
    data: dict = {}
    for name in plain:
        first, second = total(plain[name], options.runs), total(classified[name], options.runs)
        if first:
            data[name] = first | {"classified_us": second["map_us"]}
    data["all"] = {name: sum(one[name] for one in data.values()) for name in (*NAMES, "classified_us")}
    print(f"{'':<18}{'records':>9}{'events':>9}{'us a record: decode':>22}{'map':>8}", end="")
    print(f"{'us an event: map':>18}{'+ taxonomy':>12}{'entropy':>11}")
    for name, one in data.items():
        events = max(1, one["events"])
        one["map_us_a_record"] = one["map_us"] / one["records"]
        one["classified_us_an_event"] = one["classified_us"] / events
        print(
            f"{name:<18}{one['records']:>9,}{one['events']:>9,}"
            f"{one['decode_us'] / one['records']:>22.1f}{one['map_us_a_record']:>8.1f}"
            f"{one['map_us'] / events:>18.1f}{one['classified_us_an_event']:>12.1f}"
            f"{one['entropy_us'] / events:>11.1f}"
        )
    whole = data["all"]
    report(
        "formats",
        [
            ("mapping, all formats", whole["map_us_a_record"], "us a record"),
            ("mapping and taxonomy, all formats", whole["classified_us_an_event"], "us an event"),
        ],
        data,
    )


if __name__ == "__main__":
    main()

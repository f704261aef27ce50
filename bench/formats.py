"""Cost of reading what agents write: decoding, mapping, and mapping with the taxonomy, for every format.

python bench/formats.py [--runs 9]

Over all samples in tests/data/formats. Mapping is the choice of tables and fields alone; what every event
costs in any format (the entropy of its payload) stands beside it. CPU time, best of all runs.
"""

import argparse
import gc
import json
import time
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
#: Each sample is read as often as it takes to hold this many records.
RECORDS = 2000


def lines_of(path: Path) -> bytes:
    """Return a sample as one record a line, whatever its framing is."""
    text = path.read_text().strip()
    decoder, at, records = json.JSONDecoder(), 0, []
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        records += value if isinstance(value, list) else [value]
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def cpu_us(run) -> tuple[float, object]:
    start = time.process_time_ns()
    result = run()
    return (time.process_time_ns() - start) / 1000, result


def measure(form, data: bytes, path: str) -> dict:
    """Read one sample once; everything in microseconds of CPU time."""
    decode_us, decoded = cpu_us(lambda: decode_lines(data))
    payloads: list = []
    # The entropy is measured by itself.
    mapping_module.batch_entropy_units = lambda found: payloads.extend(found) or [0] * len(found)
    map_us, (rows, _) = cpu_us(lambda: form.rows(decoded, FileContext(path, 0)))
    entropy_us, _ = cpu_us(lambda: batch_entropy_units(payloads))
    return {
        "records": len(decoded.records),
        "events": len(rows),
        "calls": len(rows.tool_calls),
        "decode_us": decode_us,
        "map_us": map_us,
        "entropy_us": entropy_us,
    }


def total(form, runs: int) -> dict:
    """Return the sums over all samples of a format, best of all runs."""
    sums: dict = {}
    for path in sorted(path for path in (SAMPLES / form.name).rglob("*") if path.is_file()):
        data = lines_of(path)
        data *= max(1, RECORDS // data.count(b"\n"))
        measured = [measure(form, data, str(path)) for _ in range(runs)]
        for name in measured[0]:
            sums[name] = sums.get(name, 0) + min(one[name] for one in measured)
    return sums


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    gc.disable()
    stub = SimpleNamespace(event_class="tool_call", entities=())
    plain = {form.name: form for form in built_in(lambda tool, arguments: stub)}
    classified = {form.name: form for form in built_in(Taxonomy().classify)}
    data: dict = {}
    for name in plain:
        first, second = total(plain[name], options.runs), total(classified[name], options.runs)
        if first:
            data[name] = first | {"classified_us": second["map_us"]}
    names = ["records", "events", "calls", "decode_us", "map_us", "entropy_us", "classified_us"]
    data["all"] = {name: sum(one[name] for one in data.values()) for name in names}
    print(
        f"{'':<18}{'records':>9}{'events':>9}   us a record: decode  map      us an event: map  + taxonomy  entropy"
    )
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

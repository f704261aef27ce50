"""Fuzzing of every reader of bytes that others wrote, guided by coverage. Not a test that pytest collects.

    pip install atheris
    python tests/faults/fuzz_decode.py -runs=200000 -max_len=4096 [CORPUS_DIRECTORY]
    python tests/faults/fuzz_decode.py --seeds CORPUS_DIRECTORY     (writes the seeds and ends)

All options but ``--seeds`` are libFuzzer's: ``-max_total_time=600``, ``-jobs=2``, a crash file to repeat it.
The first byte of an input chooses the target, the rest is what it reads. `check` is also what
``tests/properties/test_decode_properties.py`` calls with inputs of hypothesis.
"""

import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from types import FunctionType
from typing import Any

from sentineld import requests
from sentineld.decode import (
    KEPT_BYTES,
    MAX_DEPTH,
    Reject,
    decode_document,
    decode_line,
    decode_lines,
    encode_element,
)
from sentineld.entropy import UNITS
from sentineld.errors import StateFileError
from sentineld.instant import MAX_US
from sentineld.native import NativeMapping
from sentineld.rejects import Rejects
from sentineld.rows import is_agent_id
from sentineld.state_file import parse_state
from sentineld.visible import visible

REASONS = {
    "malformed_json",
    "incomplete_json",
    "encoding",
    "not_an_object",
    "duplicate_key",
    "too_many_values",
    "missing_type",
    "bad_type",
    "missing_source",
    "bad_source",
    "bad_timestamp",
}
#: Seconds that an input may take; a thousand times what one of its size needs.
PATIENCE_S = 2.0

STATE = (
    b'{"schema":1,"writer":"x","epoch":1,"seq":1,"mode":"enforce","status":"ok","isolation":"user",'
    b'"generated_at":"2025-11-23T00:40:10.123Z","valid_until":"2025-11-23T00:40:40.123Z","boot_id":"",'
    b'"boottime_ms":1,"valid_for_ms":30000,"unlisted_tier":1,"agents":{"a":{"tier":3,"score":0.9}},"would":{}}\n'
)
SEEDS = [
    b'\x00{"type":"file_read","source":"a","timestamp":1763858410,"data":{"path":"x","n":[1,2.5,null]}}\n',
    b'\x00{"type":"tool_call","source":"a","data":{"tool":"Read","args":{"path":"/root/.ssh/id_rsa"}}}\n{}\n',
    b'\x00{"a":"\\ud800\\udc00\\ud83d","\\u0022":1,"a\\"":{"b":[[[]]]}}\r\n\r\n',
    b"\x00\xef\xbb\xbf{}\n" + '{"type":"é"}'.encode("utf-16-le") + b"\n",
    b'\x01[{"type":"plan","source":"a","id":7},{"type":"plan","type":"x"},7,[]]',
    b'\x01\xef\xbb\xbf{"type":"plan","source":"a","timestamp":"2025-11-23T00:40:10+01:00"}',
    b"\x02" + STATE,
    b'\x03{"kind":"pin","agent":"a","reason":"r","tier":2,"until":"2025-11-23T00:40:10Z"}',
    b'\x03{"kind":"pardon","agent":"a","reason":"r","grace_s":1e3,"attack":true}',
]


class _TwiceError(ValueError):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({_whole(key) for key, _ in pairs}) != len(pairs):
        raise _TwiceError
    return dict(pairs)


def _whole(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def strict(source: bytes) -> Any:
    """Read JSON as the standard library does, without what cannot be held."""
    return replaced(json.loads(source.decode("utf-8"), object_pairs_hook=_once))


def replaced(value: Any, depth: int = 0) -> Any:
    """Return a value with U+FFFD for every half of a surrogate pair, null for what else cannot be held."""
    if isinstance(value, str):
        return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if not isinstance(value, dict | list):
        return value
    if depth == MAX_DEPTH:
        return None
    if isinstance(value, dict):
        return {replaced(key): replaced(item, depth + 1) for key, item in value.items()}
    return [replaced(item, depth + 1) for item in value]


def check_reject(item: Reject) -> None:
    """See that a refusal has a known reason, a sentence, and no more of the input than is kept."""
    assert item.reason in REASONS, item
    assert item.detail
    assert len(item.head) <= KEPT_BYTES


def check_record(record: dict[str, Any], source: bytes) -> None:
    """See that what is accepted is what a strict second reader reads."""
    again = strict(source)
    # Text, for 1 is not 1.0.
    assert encode_element(record) == encode_element(again), (record, again)


def check_lines(data: bytes) -> None:
    """Target 0: lines, and the rows that they become."""
    data = data + b"\n"
    for base in (0, 1):
        decoded = decode_lines(data, base)
        lines = data.split(b"\n")[:-1]
        assert len(decoded.records) + len(decoded.rejects) + len(decoded.ignored) == len(lines)
        starts, at = {}, base
        for line in lines:
            starts[at] = line[3:] if at == 0 and line.startswith(b"\xef\xbb\xbf") else line
            at += len(line) + 1
        for record, offset in zip(decoded.records, decoded.offsets, strict=True):
            check_record(record, starts[offset])
            assert decode_line(starts[offset], offset) == record
        for item in decoded.rejects:
            check_reject(item)
            check_refused(starts[item.offset], item.reason)
        check_rows(decoded)


def check_refused(line: bytes, reason: str) -> None:
    """See that a strict second reader refuses too what is refused as no JSON, unless a limit is why."""
    if reason not in ("malformed_json", "duplicate_key", "encoding"):
        return
    try:
        value = strict(line)
    except (ValueError, RecursionError):
        return
    # Numbers beyond what a float or the digits of an int may be are the only other difference.
    assert has_odd_number(line), (reason, line, value)


def has_odd_number(line: bytes) -> bool:
    """Say whether a number has an exponent, or more digits than any measurement."""
    return b"e" in line.lower() or any(len(part) > 300 for part in line.split(b","))


def check_rows(decoded: Any) -> None:
    """Rows are whole, in order, and hold nothing that could not be stored or shown."""
    mapping = NativeMapping()
    rows, rejects = mapping.rows(decoded)
    assert len(rows) + len(rejects) == len(decoded.records)
    assert len(rows.at_us) == len(rows.agent_ids) == len(rows.kinds) == len(rows.entropies) == len(rows)
    for item in rejects:
        check_reject(item)
    for agent, kind in zip(rows.agent_ids, rows.event_types, strict=True):
        assert is_agent_id(agent)
        assert 0 < len(kind) <= 128
        assert visible(kind) == kind
    assert all(0 <= units <= UNITS for units in rows.entropies)
    assert all(at is None or -MAX_US <= at <= MAX_US for at in rows.at_us)
    for name in rows.sessions.values():
        assert 0 < len(name) <= 128
        name.encode("utf-8")
    again, _ = mapping.rows(decoded)
    assert again == rows


def check_document(data: bytes) -> None:
    """Target 1: a document."""
    result = decode_document(data)
    if isinstance(result, Reject):
        check_reject(result)
        return
    body = data.removeprefix(b"\xef\xbb\xbf")
    for item in result:
        if isinstance(item, Reject):
            check_reject(item)
    if not any(isinstance(item, Reject) for item in result):
        value = strict(body)
        assert encode_element(result) == encode_element(value if isinstance(value, list) else [value])


def check_state(data: bytes) -> None:
    """Target 2: the state file as its readers read it."""
    try:
        view = parse_state(data)
    except StateFileError:
        return
    for agent in view.agents:
        assert 1 <= view.tier(agent) <= 3
    json.loads(data)


def check_request(data: bytes) -> None:
    """Target 3: an operator's request."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as directory:
        with open(requests.request_path(directory, "r"), "wb") as file:
            file.write(data)
        try:
            request, _ = requests.load(directory, "r")
            request.wish(0, "somebody")
        except (ValueError, OSError):
            return
        assert request.reason


def check_kept(data: bytes) -> None:
    """Target 4: refused input, as it is kept."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as directory:
        path = os.fsdecode(data[:200].replace(b"\0", b""))
        Rejects(directory, 1 << 20).keep(path, decode_lines(data + b"\n", 1).rejects, 0)
        for name in os.listdir(directory):
            with open(os.path.join(directory, name), encoding="ascii") as file:
                for line in file:
                    assert line.rstrip("\n").isprintable()
                    json.loads(line)


TARGETS: tuple[Callable[[bytes], None], ...] = (
    check_lines,
    check_document,
    check_state,
    check_request,
    check_kept,
)


def check(data: bytes) -> None:
    """Give an input to its target; raise where the target does not keep its promises."""
    began = time.perf_counter()
    TARGETS[data[0] % len(TARGETS) if data else 0](data[1:])
    spent_s = time.perf_counter() - began
    assert spent_s < PATIENCE_S, f"{spent_s:.1f} s for {len(data)} bytes"


def main(arguments: list[str]) -> None:
    """Write the seeds, or fuzz."""
    if arguments[1:2] == ["--seeds"]:
        os.makedirs(arguments[2], exist_ok=True)
        for number, seed in enumerate(SEEDS):
            with open(os.path.join(arguments[2], f"seed{number}"), "wb") as file:
                file.write(seed)
        return
    import atheris

    # Our own functions only: the standard library's json is the witness, and would cost time.
    for module in ("decode", "mapping", "state_file", "requests", "instant", "taxonomy"):
        for value in (*vars(sys.modules[f"sentineld.{module}"]).values(), *vars(NativeMapping).values()):
            if isinstance(value, FunctionType) and value.__module__ == f"sentineld.{module}":
                atheris.instrument_func(value)
    atheris.Setup(arguments, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)

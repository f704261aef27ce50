"""What one native record costs, whatever the command line in it."""

import json
import time

import pytest

from sentineld.decode import decode_lines
from sentineld.native import NativeMapping

MEBIBYTE = 1 << 20


@pytest.mark.parametrize("size", [260_000, MEBIBYTE - 200])
@pytest.mark.parametrize(
    "unit",
    [
        "a|",
        "a&b|c;d\n",
        "(a)",
        "$(a)`b`",
        "\n",
        "<<A\nb\nA\n",
        "x=1;$x",
        "$'\\x41'",
        "python3 a\\b;",
        "eeee",
        "'/a'",
    ],
)
def test_a_record_of_a_mebibyte_with_a_hostile_command_takes_a_fraction_of_a_second(unit, size):
    data = {"tool": "Bash", "args": {"command": unit * (size // len(json.dumps(unit)[1:-1]))}}
    line = json.dumps({"type": "tool_call", "source": "a", "timestamp": 1.0, "data": data}).encode() + b"\n"
    assert size * 0.7 < len(line) <= MEBIBYTE
    times = []
    for _ in range(2):
        mapping = NativeMapping()
        began = time.process_time()
        rows, rejects = mapping.rows(decode_lines(line, 1))
        times.append(time.process_time() - began)
        assert (len(rows), rejects) == (1, [])

    # Measured: 45 ms at most; judging each command takes seconds.
    assert min(times) < 0.25

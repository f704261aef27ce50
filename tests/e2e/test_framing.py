"""The daemon as a real process, killed at any moment: files that change their framing, and their place."""

import json
import sys
import time

import pytest

zstd = pytest.importorskip("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")


def test_a_document_that_becomes_lines_and_a_file_that_is_compressed_count_once(place, wait_for):
    end = time.time()
    records = [place.telemetry.record("biller", "model_call", end, n=number) for number in range(12)]
    pretty = [json.dumps(record, indent=1).encode() for record in records]

    def events():
        return place.json("status")["totals"]["events"]

    plain = place.telemetry.append("rollout.jsonl", *records[:2])
    daemon = place.start()
    place.telemetry.append("state.json", records[2])
    place.telemetry.append("stream.json", pretty[3])
    wait_for(lambda: events() == 4, "two lines and two documents")
    daemon.kill()
    place.telemetry.append("state.json", records[4])
    place.telemetry.append("stream.json", b"\n", pretty[5], pretty[6][:20])
    packed = plain.with_name("rollout.jsonl.zst")
    packed.write_bytes(zstd.compress(plain.read_bytes() + json.dumps(records[7]).encode() + b"\n"))
    plain.unlink()
    place.start()
    wait_for(lambda: events() == 7, "what was written while it was dead")
    place.telemetry.append("stream.json", pretty[6][20:])
    plain.write_bytes(zstd.decompress(packed.read_bytes()))
    packed.unlink()
    place.telemetry.append("rollout.jsonl", records[8])
    place.telemetry.append("state.json", records[9])
    wait_for(lambda: events() == 10, "what was appended since")

    status = place.json("status")
    assert status["totals"]["incidents"] == {}
    for accounts in status["files"].values():
        parts = ("accepted", "ignored", "rejects", "duplicates")
        assert accounts["lines"] == sum(accounts[part] for part in parts) == accounts["accepted"]
    assert sum(accounts["lines"] for accounts in status["files"].values()) == 10

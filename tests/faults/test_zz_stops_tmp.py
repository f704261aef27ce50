import time, pytest
@pytest.mark.parametrize("n", range(50))
def test_stop(place, wait_for, n):
    daemon = place.start(wait=False)
    daemon.wait_log("started")
    for number in range(4):
        place.telemetry.append(f"{number}.jsonl", *place.telemetry.normal("biller", 3000, every=0.01))
    time.sleep((n * 7 % 50) / 100)
    b = time.monotonic()
    assert daemon.stop(timeout_s=5.0) == 0
    place.once()
    assert place.json("status")["totals"]["events"] == 12000

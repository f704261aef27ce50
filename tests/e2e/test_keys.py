"""Keys of a running daemon: rotation that no reader notices, and the end of a key."""

import signal
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from sentineld.keys import load_verification_key
from sentineld.router import TierRouter

CONFIG = """
[telemetry]
directories = ["{telemetry}"]
[state]
valid_for = "30s"
key_file = "{base}/{signer}.key"
key_id = "{signer}"
{keys}
"""


def configure(place, name, signer, *key_ids, not_after=""):
    """Write a configuration whose signer uses one key and whose readers believe several."""
    end = f'\nnot_after = "{not_after}"' if not_after else ""
    keys = "\n".join(f'[state.keys.{key}]\nfile = "{place.base}/{key}.key.pub"{end}' for key in key_ids)
    text = CONFIG.format(telemetry=place.telemetry.directory, base=place.base, signer=signer, keys=keys)
    return place.config(text, name)


class Reader(threading.Thread):
    """Asks all the time, with the keys that it has now; remembers every tier that was not 1."""

    def __init__(self, place, *key_ids):
        super().__init__(daemon=True)
        self.place, self.is_done, self.asked, self.wrong, self.key_ids = place, False, 0, [], set()
        self.configure(*key_ids)

    def configure(self, *key_ids):
        """As a reader that was given another configuration: a new router."""
        keys = [load_verification_key(self.place.base / f"{key}.key.pub", key) for key in key_ids]
        self.router = TierRouter(state_file=self.place.state_file, keys=keys)

    def run(self):
        while not self.is_done:
            router = self.router
            found = router.behavior("nobody")
            self.asked += 1
            if found.tier != 1:
                self.wrong.append(found.reason)
            elif router.state is not None:
                self.key_ids.add(router.state.key_id)
            time.sleep(0.001)  # leave the processor to the others


def test_a_rotation_with_overlap_is_not_noticed_by_any_reader(place, wait_for):
    """The documented procedure: first the readers, then the signer, then the old key goes."""
    for key in ("old", "new"):
        assert place.command("keygen", f"{key}.key").returncode == 0
    daemon = place.start("--config", configure(place, "d.toml", "old", "old"), telemetry=False)
    reader = Reader(place, "old")
    reader.start()
    wait_for(lambda: reader.key_ids == {"old"}, "a first answer")

    reader.configure("old", "new")
    configure(place, "d.toml", "new", "old", "new")
    daemon.signal(signal.SIGHUP)
    daemon.wait_log("config_reloaded")
    wait_for(lambda: "new" in reader.key_ids, "an answer signed with the new key")
    reader.configure("new")
    configure(place, "d.toml", "new", "new")
    daemon.signal(signal.SIGHUP)
    daemon.wait_log("config_reloaded", 2)
    asked = reader.asked
    wait_for(lambda: reader.asked > asked + 50, "answers without the old key")
    reader.is_done = True
    reader.join()

    assert reader.wrong == []
    assert reader.key_ids == {"old", "new"}
    assert daemon.stop() == 0


def test_a_signer_that_goes_first_is_refused_and_the_old_key_stays(place):
    """The mistake in a rotation: the daemon says so, and goes on with what readers believe."""
    for key in ("old", "new"):
        assert place.command("keygen", f"{key}.key").returncode == 0
    daemon = place.start("--config", configure(place, "d.toml", "old", "old"), telemetry=False)
    configure(place, "d.toml", "new", "old")
    daemon.signal(signal.SIGHUP)

    assert "does not have it" in daemon.wait_log("config_reload_failed")["error"]
    assert place.state()["key_id"] == "old"


def test_a_key_that_ends_soon_is_told_by_the_log_by_status_by_check_and_by_readers(place):
    place.command("keygen", "k1.key")
    soon = (datetime.now(UTC) + timedelta(days=20)).date().isoformat()
    config = configure(place, "d.toml", "k1", "k1", not_after=soon)
    daemon = place.start("--config", config, telemetry=False)

    assert f"key k1 expires at {soon}T23:59:59Z" in daemon.wait_log("key_expires")["warning"]
    assert soon in place.command("status", "--config", config).stdout
    state = place.json("status", "--config", config)["state"]
    assert state["keys"][0]["not_after"].startswith(soon)
    assert "expires" in state["warnings"][0]
    assert place.json("check", "--config", config, code=1)["problems"][0]["severity"] == "warning"
    assert "warning: key k1 expires" in place.command("tier", "a", "--config", config).stderr
    assert len(daemon.logs("key_expires")) == 1, "told once a day"


def test_a_key_that_has_ended_is_refused_by_signer_and_readers(place):
    place.command("keygen", "k1.key")
    place.once("--config", configure(place, "d.toml", "k1", "k1"))
    ended = configure(place, "ended.toml", "k1", "k1", not_after="2026-01-01")

    done = place.command("run", "--once", "--config", ended)
    assert done.returncode == 78
    assert "expired at 2026-01-01T23:59:59Z" in done.stderr
    tier = place.command("tier", "a", "--config", ended)
    assert (tier.stdout, tier.returncode) == ("3\n", 1)
    assert "signed with key k1, which expired" in tier.stderr
    assert "expired" in place.json("status", "--config", ended, code=3)["state"]["reason"]


@pytest.mark.usefixtures("by_activity")
@pytest.mark.parametrize("algorithm", ["ed25519", "hmac-sha256"])
def test_both_algorithms_from_keygen_to_the_reader(place, algorithm):
    made = place.json("keygen", "k1.key", "--algorithm", algorithm)
    place.telemetry.fill()
    text = f'[state]\nkey_file = "{place.base}/k1.key"\nkey_id = "k1"\n'
    place.once("--config", place.config(text))
    reader = place.config(
        text.replace("k1.key", (made["public"] or made["written"]).rpartition("/")[2]), "r.toml"
    )
    answer = place.json("tier", "scraper", "--config", reader, code=1)

    assert (answer["tier"], answer["verified"]) == (3, True)
    assert made["algorithm"] == algorithm
    assert place.json("status", "--config", reader)["state"]["keys"][0]["algorithm"] == algorithm

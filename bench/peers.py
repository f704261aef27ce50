"""sentineld's replay beside fail2ban and CrowdSec over the same telemetry, in CPU time.

python bench/peers.py [--install] [--peers DIR] [--events 200000] [--agents 500] [--runs 2]

``--install`` fetches both from Debian (apt-get download) and unpacks them into ``--peers``: nothing of this
machine is changed, no service starts. The job: find sources with more than 5 writes or network requests in
five minutes. The peers do no more than that (no entropy, no habits; fail2ban parses no JSON); sentineld does
all that it does.
"""

import argparse
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from common import MODES, by, report, write_events
from replay import cpu_s

PACKAGES = ("fail2ban", "crowdsec")
_PEERS = Path(__file__).parent / "results" / "peers"
_TIMES, _SECONDS = 5, 300

#: Matched behind the time, which fail2ban takes out of the line.
_REGEX = r'^{"type":"(?:file_write|network_request)",,"source":"<F-ID>[^"]+</F-ID>"'
_DATE = '"timestamp":"%Y-%m-%dT%H:%M:%SZ"'

_CONFIG = """
common: {{daemonize: false, log_media: stdout, log_level: warning, working_dir: {root}}}
config_paths:
  config_dir: {root}
  data_dir: {root}/data
  simulation_path: {root}/simulation.yaml
  hub_dir: {root}/hub
  index_path: {root}/hub/.index.json
crowdsec_service: {{acquisition_path: {root}/acquis.yaml, parser_routines: 1}}
cscli: {{output: human}}
db_config: {{type: sqlite, db_path: {root}/data/crowdsec.db, log_level: warning}}
api:
  client: {{credentials_path: {root}/credentials.yaml}}
  server: {{listen_uri: "127.0.0.1:18089", profiles_path: {root}/profiles.yaml, log_level: warning}}
prometheus: {{enabled: false}}
"""

_PARSERS = {
    "parsers/s00-raw/native.yaml": """
name: bench/raw
filter: "evt.Line.Labels.type == 'native'"
onsuccess: next_stage
statics:
  - parsed: message
    expression: evt.Line.Raw
""",
    "parsers/s01-parse/native.yaml": """
name: bench/native
filter: "evt.Line.Labels.type == 'native'"
onsuccess: next_stage
statics:
  - target: evt.StrTime
    expression: JsonExtract(evt.Line.Raw, "timestamp")
  - meta: source
    expression: JsonExtract(evt.Line.Raw, "source")
  - meta: kind
    expression: JsonExtract(evt.Line.Raw, "type")
""",
    "parsers/s02-enrich/date.yaml": """
name: bench/date
filter: "evt.StrTime != ''"
statics:
  - method: ParseDate
    expression: evt.StrTime
  - target: evt.MarshaledTime
    expression: evt.Enriched.MarshaledTime
""",
    "scenarios/many.yaml": f"""
type: leaky
name: bench/many
description: many writes or requests of one source
filter: "evt.Meta.kind in ['file_write', 'network_request']"
groupby: evt.Meta.source
capacity: {_TIMES}
leakspeed: {_SECONDS // _TIMES}s
blackhole: 5m
scope:
  type: agent
  expression: evt.Meta.source
labels:
  type: many
  remediation: true
""",
    "profiles.yaml": """
name: all
filters: [ "Alert.Remediation == true" ]
decisions: [ {type: ban, duration: 4h} ]
on_success: break
""",
    "simulation.yaml": "simulation: false\n",
    "acquis.yaml": "",
    "hub/.index.json": '{"parsers": {}, "scenarios": {}, "postoverflows": {}, "collections": {}}',
}


def install(peers: Path) -> None:
    """Fetch the packages and unpack them."""
    shutil.rmtree(peers, ignore_errors=True)
    peers.mkdir(parents=True)
    subprocess.run(["apt-get", "download", *PACKAGES], cwd=peers, check=True)
    for package in peers.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, peers / "root"], check=True)


def fail2ban(peers: Path, lines: Path) -> tuple[list[str], dict[str, str]]:
    """Return the command that looks for the pattern in every line, and its environment."""
    root = peers / "root"
    program = ["/usr/bin/python3", str(root / "usr/bin/fail2ban-regex"), "-c", str(root / "etc/fail2ban")]
    environment = {**os.environ, "PYTHONPATH": str(root / "usr/lib/python3/dist-packages")}
    return [*program, "-d", _DATE, str(lines), _REGEX], environment


def crowdsec(peers: Path, work: Path, lines: Path) -> list[str]:
    """Set up CrowdSec in a directory of its own; return the command that replays the file."""
    root = work / "crowdsec"
    for name, text in _PARSERS.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "data").mkdir()
    shutil.copytree(peers / "root/etc/crowdsec/patterns", root / "patterns")
    config = root / "config.yaml"
    config.write_text(_CONFIG.format(root=root))
    binaries = peers / "root/usr/bin"
    add = [
        binaries / "cscli",
        "-c",
        config,
        "machines",
        "add",
        "bench",
        "--auto",
        "-f",
        root / "credentials.yaml",
    ]
    subprocess.run(add, check=True, capture_output=True)
    return [str(binaries / "crowdsec"), "-c", str(config), "-dsn", f"file://{lines}", "-type", "native"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--install", action="store_true", help="fetch the peers from Debian first")
    parser.add_argument("--peers", type=Path, default=_PEERS, help="where they are unpacked")
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--agents", type=int, default=500)
    parser.add_argument("--runs", type=int, default=2)
    options = parser.parse_args()
    if options.install:
        install(options.peers)
    if not (options.peers / "root").is_dir():
        raise SystemExit(f"there are no peers in {options.peers}; try: python bench/peers.py --install")
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        lines = work / "events.jsonl"
        write_events(work / "unix.jsonl", options.events, options.agents, 3600)
        with_readable_times(work / "unix.jsonl", lines)
        times: dict[str, list[float]] = {}
        for run in range(options.runs):
            times.setdefault("fail2ban-regex", []).append(cpu_s(*fail2ban(options.peers, lines)))
            (work / str(run)).mkdir()
            command = crowdsec(options.peers, work / str(run), lines)
            times.setdefault("crowdsec", []).append(cpu_s(command))
            with closing(sqlite3.connect(work / str(run) / "crowdsec/data/crowdsec.db")) as database:
                (alerts,) = database.execute("SELECT count(*) FROM alerts").fetchone()
            for mode in MODES:
                command = [sys.executable, "-m", "sentineld", "replay", str(lines), "--json"]
                times.setdefault(f"sentineld replay, {mode}", []).append(cpu_s(command, by(mode)))
    if not alerts:
        raise SystemExit("crowdsec found nobody: its configuration does not do this job")
    rates = {name: options.events / min(spent) for name, spent in times.items()}
    ratios = {
        f"{mode}: of {peer}": rates[f"sentineld replay, {mode}"] / rates[peer]
        for mode in MODES
        for peer in ("fail2ban-regex", "crowdsec")
    }
    report(
        "peers",
        [
            ("events", options.events, ""),
            ("sources", options.agents, ""),
            ("alerts of crowdsec", alerts, ""),
            *((name, rate, "lines per CPU second") for name, rate in rates.items()),
            *((f"rate, {name}", ratio, "") for name, ratio in ratios.items()),
        ],
        {"events": options.events, "cpu_s": times, "rates": rates, "ratios": ratios, "alerts": alerts},
    )


def with_readable_times(source: Path, target: Path) -> None:
    """Write the lines again with times as ISO 8601, which all of the peers can read."""
    with source.open() as old, target.open("w") as new:
        for line in old:
            before, _, rest = line.partition('"timestamp":')
            seconds, _, after = rest.partition(",")
            at = datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            new.write(f'{before}"timestamp":"{at}",{after}')


if __name__ == "__main__":
    main()

"""Make the starter baseline of coding agents anew.

    python bench/starter.py PATH [--check]

PATH holds real sessions, as the detection bench reads them (docs/detection-bench.md). The same sessions give
the same bytes, and ``--check`` says whether these are the shipped ones. It is made of all sessions that there
are, so nothing may be scored with it that it was learned from: the bench learns starters of its own.
"""

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from detection.experiments import owner
from detection.product import observation, reader
from detection.protocol import Session
from detection.sessions import REAL_ROLE, real_path, real_sessions

from sentineld import baseline, features
from sentineld.baseline import Baseline, Told
from sentineld.habits import Origin, Role
from sentineld.starter import PastSession, learn_starter
from sentineld.starters import DIRECTORY, FILES

ROOT = Path(__file__).parent.parent
#: Calls whose features are noted, so that a test sees when they have changed.
SAMPLE = ROOT / "tests" / "data" / "feature_calls.jsonl"
SOURCE, LICENCE = "github.com/entireio/cli, branch entire/checkpoints/v1", "MIT"
#: What no name may look like: paths, addresses, keys, sentences.
_PRIVATE = re.compile(r"[/\\@]|\s\S+\s\S+\s|[0-9a-fA-F]{12,}|\.(?:sh|py|go|js|ts|rb|md|com|io)$")
#: Decimal places: logarithms of two machines may differ in the last ones.
_PLACES = 6


def sample_digest() -> str:
    """Return a hash of what the features of the sample of calls are."""
    taxonomy, found = reader()
    digest = hashlib.sha256()
    for line in SAMPLE.read_text(encoding="utf-8").splitlines():
        call = json.loads(line)
        known = taxonomy.classify(call["tool"], call["args"])
        told = found.of(call["tool"], call["args"], known)
        digest.update(json.dumps([known.event_class, told], ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()[:16]


def make(sessions: Sequence[Session]) -> Baseline:
    """Return the starter that sessions make."""
    past = [
        PastSession(
            owner(session.agent),
            session.agent,
            [observation(event, number, REAL_ROLE) for number, event in enumerate(session.events)],
        )
        for session in sorted(sessions, key=lambda session: (session.end, session.agent, session.id))
    ]
    role = learn_starter(REAL_ROLE, past)
    role.starter = Origin(
        REAL_ROLE,
        len(past),
        len({session.agent for session in past}),
        len({session.group for session in past}),
        _date(min(session.start for session in sessions)),
        _date(max(session.end for session in sessions)),
        SOURCE,
        LICENCE,
        features.VERSION,
        sample_digest(),
    )
    last_us = round(max(session.end for session in sessions) * 1e6)
    first_us = round(min(session.end for session in sessions) * 1e6)
    # Not when it was made: the same sessions give the same bytes.
    told = Told(REAL_ROLE, last_us, "sentineld", first_us, last_us, ["claude_code"])
    document = baseline.of_role(_rounded(role), told)
    if private := [name for name in names(document) if _PRIVATE.search(name)]:
        raise SystemExit(f"these names may say something of the source's users: {private}")
    return document


def names(document: Baseline) -> Iterator[str]:
    """Yield every text in a starter that its sessions gave, and that is no hash."""
    role = document.role
    assert role is not None
    yield from role.uses
    yield from role.new
    yield from role.grades
    yield from role.symbols
    for context, followers in role.order.items():
        yield from context.split("\x1f")
        yield from followers


def _rounded(role: Role) -> Role:
    """Return the same habits, without the digits that depend on the machine."""
    version, colon, body = role.dump().partition(b":")
    plain = _round(msgspec.msgpack.decode(body, strict=False))
    plain["known"] = dict(sorted(plain["known"].items()))
    return Role.load(version + colon + msgspec.msgpack.encode(plain))


def _round(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _PLACES)
    if isinstance(value, dict):
        return {key: _round(inner) for key, inner in value.items()}
    return [_round(inner) for inner in value] if isinstance(value, list) else value


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the starter, or compare it with the shipped one."""
    parser = argparse.ArgumentParser(
        prog="bench/starter.py", description="Make the starter of coding agents anew."
    )
    parser.add_argument("path", help="real sessions: a file, or a directory that holds it")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1: it would be another")
    options = parser.parse_args(arguments)
    path = real_path(options.path)
    if path is None:
        parser.error(f"there are no sessions at {options.path}")
    data = encode(make(real_sessions(path)))
    target = Path(DIRECTORY, FILES[REAL_ROLE])
    if options.check:
        is_same = target.exists() and target.read_bytes() == data
        print(f"{target.name} is {'what these sessions give' if is_same else 'another one'}")
        return 0 if is_same else 1
    target.write_bytes(data)
    print(f"wrote {target}: {len(data):,} bytes, {make_line(baseline.read(data))}")
    return 0


def encode(document: Baseline) -> bytes:
    """Return the document on one line."""
    return msgspec.json.encode(document) + b"\n"


def make_line(document: Baseline) -> str:
    """Say what a starter holds."""
    role = document.role
    assert role is not None
    return f"{role.starter}; {len(role.known):,} values, {len(role.symbols)} actions"


if __name__ == "__main__":
    sys.exit(main())

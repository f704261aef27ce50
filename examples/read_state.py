"""A reader of the state file that does not import sentineld: a model for readers in other languages.

python examples/read_state.py STATE_FILE AGENT KEY_ID=PUBLIC_KEY.pem...

Prints the agent's tier and why. Needs the library cryptography. It keeps the rules of docs/state-file.md but
two: it runs once, so it remembers no version, and it does not look for an operator's override.
"""

import base64
import json
import os
import re
import stat
import sys
import time
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_pem_public_key

MAX_BYTES = 16 * 1024 * 1024
TAIL = re.compile(rb',"key_id":"([A-Za-z0-9._-]{1,64})","signature":"([A-Za-z0-9+/=]{43,88})"\}\n?\Z')


def read(path):
    """Return the file's bytes, if it is what it should be. Raises ``ValueError`` or ``OSError``."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        owners = {0, os.geteuid(), os.stat(os.path.dirname(path) or ".").st_uid}
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in owners:
            raise ValueError("not a regular file of a trusted owner")
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError("too large")
    return data


def verify(data, keys):
    """Return the document that one of the keys signed. Raises ``ValueError``."""
    tail = TAIL.search(data)
    if tail is None:
        raise ValueError("unsigned")
    key_id, content = tail[1], data[: tail.start()]
    key = keys.get(key_id.decode())
    signature = base64.b64decode(tail[2], validate=True)
    if key is None or base64.b64encode(signature) != tail[2]:
        raise ValueError("an unknown key, or another spelling of a signature")
    try:
        key.verify(signature, b"\0".join((b"sentineld-state-v1", b"ed25519", key_id, content)))
    except InvalidSignature:
        raise ValueError("a wrong signature") from None
    return json.loads((content + b"}").decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse)


def unique(pairs):
    """Build an object without duplicate keys."""
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key that occurs twice")
    return dict(pairs)


def refuse(word):
    """Refuse what is not JSON."""
    raise ValueError(word)


def check_fresh(state):
    """Raise ``ValueError`` unless the document is in force now."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        is_same_boot = file.read().strip() == state["boot_id"]
    datetime.fromisoformat(state["generated_at"]), datetime.fromisoformat(state["valid_until"])
    if is_same_boot:
        age_ms = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000 - state["boottime_ms"]
        is_fresh = -1000 <= age_ms <= state["valid_for_ms"]
    else:
        ahead_s = datetime.fromisoformat(state["generated_at"]).timestamp() - time.time()
        until = datetime.fromisoformat(state["valid_until"]).timestamp()
        is_fresh = time.time() <= until and ahead_s * 1000 <= state["valid_for_ms"]
    if not is_fresh:
        raise ValueError("stale, or of the future")


def judge(state, agent):
    """Return the agent's tier and the reason. Raises whatever is wrong with the document."""
    tiers = {name: entry["tier"] for name, entry in state["agents"].items()}
    tier = tiers.get(agent, state["unlisted_tier"])
    if state["schema"] != 1 or state["mode"] not in ("enforce", "observe"):
        raise ValueError("a document that this reader does not understand")
    # A reader that lives on remembers the highest pair, and refuses lower ones.
    numbers = (state["epoch"], state["seq"], state["valid_for_ms"], tier, *tiers.values())
    if not all(type(number) is int for number in numbers) or not {tier, *tiers.values()} <= {1, 2, 3}:
        raise ValueError("a member of the wrong type")
    if not agent:
        raise ValueError("no agent was named")
    check_fresh(state)
    return tier, "listed" if agent in tiers else "not listed"


def tier_of(path, agent, keys):
    """Return the agent's tier and the reason; 3 whatever goes wrong."""
    try:
        return judge(verify(read(path), keys), agent)
    except Exception as error:  # noqa: BLE001 (whatever it is: fail closed)
        return 3, f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    public_keys = {}
    for word in sys.argv[3:]:
        name, _, pem = word.partition("=")
        with open(pem, "rb") as pem_file:
            public_keys[name] = load_pem_public_key(pem_file.read())
    print(*tier_of(sys.argv[1], sys.argv[2], public_keys))

"""Readers of the state file in other languages refuse what ours refuses, and believe what it believes."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from test_state_file_readers import CONTENTS, PLACES, document

from sentineld.keys import generate_pair, load_key
from sentineld.published_file import publish
from sentineld.state_file import encode_state

EXAMPLES = Path(__file__).parent.parent / "examples"
SEEN = ("rolled back", "of an older epoch")
MANY = {
    "node": [
        "--input-type=module",
        "-e",
        f"""
import {{readFileSync}} from "node:fs";
import {{StateReader}} from "{EXAMPLES}/read_state.mjs";
const {{key, paths}} = JSON.parse(readFileSync(0, "utf-8"));
console.log(JSON.stringify(paths.map(([path, agent]) => new StateReader(path, {{k1: key}}).tier(agent))));
""",
    ],
    "php": [
        "-r",
        f"""
require "{EXAMPLES}/read_state.php";
$asked = json_decode(stream_get_contents(STDIN), true);
echo json_encode(array_map(
    fn ($one) => (new StateReader($one[0], ["k1" => $asked["key"]]))->tier($one[1]), $asked["paths"]
));
""",
    ],
}
FILES = {"node": "read_state.mjs", "php": "read_state.php"}


@pytest.fixture(params=["node", "php"])
def program(request):
    found = shutil.which(request.param)
    if found is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param


def new_pair(directory):
    """Make a key; returns it, and the public one as PEM."""
    private, public = generate_pair()
    path = directory / "signer.key"
    path.write_bytes(private)
    path.chmod(0o600)
    return load_key(str(path), "k1"), public.decode()


@pytest.fixture
def pair(tmp_path):
    return new_pair(tmp_path)


def ask(program, public, paths):
    """Ask for many files at once: ``paths`` are pairs of a file and an agent."""
    done = subprocess.run(
        [program, *MANY[program]],
        input=json.dumps({"key": public, "paths": [(str(path), agent) for path, agent in paths]}),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return json.loads(done.stdout)


def test_golden_files_are_judged_as_by_our_own_reader(program, pair, tmp_path):
    key, public = pair
    good = tmp_path / "good" / "state.json"
    good.parent.mkdir()
    publish(good, encode_state(document(agents={"a": {"tier": 2}, "ü": {"tier": 3}}, later=[1]), key))
    strict = tmp_path / "strict.json"
    publish(strict, encode_state(document(unlisted_tier=3, agents={"a": {"tier": 1}}), key))
    wanted = [
        ((good, "a"), [2, "listed"]),
        ((good, "ü"), [3, "listed"]),
        ((good, "b"), [1, "not listed"]),
        ((good, "toString"), [1, "not listed"]),
        ((good, ""), [3, "no agent was named"]),
        ((strict, "b"), [3, "not listed"]),
        ((strict, "a"), [1, "listed"]),
    ]
    told = ask(program, public, [asked for asked, _ in wanted])
    assert told == [answer for _, answer in wanted]


def test_whatever_is_wrong_restricts_everybody(program, pair, tmp_path):
    key, public = pair
    paths = {}
    for number, (kind, make) in enumerate(CONTENTS.items()):
        if kind not in SEEN:
            paths[kind] = tmp_path / f"{number}.json"
            publish(paths[kind], make(key))
    forged = encode_state(document(agents={"a": {"tier": 3}}), key).replace(b'"tier":3', b'"tier":1')
    for kind, data in {
        "forged": forged,
        "another key": encode_state(document(), new_pair(tmp_path)[0]),
    }.items():
        paths[kind] = tmp_path / f"{kind}.json"
        publish(paths[kind], data)
    real = tmp_path / "real.json"
    publish(real, encode_state(document(), key))
    for number, (kind, put) in enumerate(PLACES.items()):
        paths[kind] = tmp_path / f"place{number}" / "state.json"
        paths[kind].parent.mkdir()
        shutil.copy(real, paths[kind].with_name("real.json"))
        put(paths[kind])
    told = ask(program, public, [(path, "a") for path in paths.values()])

    assert {kind: tier for kind, (tier, _) in zip(paths, told, strict=True) if tier != 3} == {}


def test_a_file_that_was_put_back_is_refused_by_a_later_process_too(program, pair, tmp_path):
    key, public = pair
    path, pem, seen = tmp_path / "state.json", tmp_path / "key.pem", tmp_path / "seen"
    pem.write_text(public)

    def run(*options):
        argv = [program, EXAMPLES / FILES[program], *options, path, "a", f"k1={pem}"]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()

    publish(path, encode_state(document(seq=5), key))
    assert run("--seen", seen) == "1 not listed"
    assert seen.read_text() == "7 5\n"
    for old in ({"seq": 4}, {"seq": 9, "epoch": 6}):
        publish(path, encode_state(document(**old), key))
        assert run("--seen", seen).startswith("3 rolled back")
        assert run() == "1 not listed", "without a memory nothing was seen before"
    publish(path, encode_state(document(epoch=8, seq=0), key))
    assert run("--seen", seen) == "1 not listed"

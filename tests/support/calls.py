"""Calls of tools as observations with their features, and a role that has learned ordinary work."""

from functools import lru_cache

from sentineld.detection import Detection, DetectionSettings
from sentineld.event import OPERATION_KIND, OTHER, Facts
from sentineld.features import Features
from sentineld.features.intent import asked_in
from sentineld.habits import Role
from sentineld.learned import Learned
from sentineld.taxonomy import Taxonomy

TAXONOMY = Taxonomy()
FEATURES = Features(TAXONOMY)
OWNER, ROLE = 1000, "coding"
HOME = "/home/ada"
TREE = f"{HOME}/shop"
DAY_US = 86_400_000_000
_READ = {}


def bash(command):
    return "Bash", {"command": command}


def read(path):
    return "Read", {"file_path": path}


def write(path):
    return "Write", {"file_path": path, "content": "x"}


def features_of(tool, arguments, **options):
    return FEATURES.of(tool, arguments, TAXONOMY.classify(tool, arguments), **options)


def observation(call, at_us=0, session="s", *, outcome="", tokens=None, entropy=0, offset=0, role=ROLE):
    tool, arguments = call
    key = repr(call)
    if key not in _READ:
        known = TAXONOMY.classify(tool, arguments)
        _READ[key] = (known, FEATURES.of(tool, arguments, known))
    known, found = _READ[key]
    facts = Facts(tool, role, "", outcome, known.entities, None, tokens, None, session, found)
    kind = OPERATION_KIND.get(known.event_class, OTHER)
    return (at_us, kind, entropy, known.event_class, 1, offset, facts)


def prompt_at(at_us, prompt, session="s", role=ROLE):
    facts = Facts(role=role, session=session, asked=asked_in(prompt))
    return (at_us, OTHER, 0, "prompt", 1, 0, facts)


def ordinary(number):
    """One session of ordinary work; sessions differ a little."""
    file = f"{TREE}/cart{number % 7}.py"
    calls = [
        read(file),
        bash("git status"),
        ("Edit", {"file_path": file, "old_string": "a", "new_string": "b"}),
    ]
    calls += [bash("pytest -q"), bash("git diff"), bash(f"git commit -am 'step {number}'")]
    if number % 3 == 0:
        calls += [bash("curl -s https://pypi.org/simple/requests/"), bash("rm build/out.txt")]
    if number % 4 == 0:
        calls += [
            bash("git push origin main"),
            ("send_mail", {"to": "bob@shop.example.org", "subject": "done"}),
        ]
    return calls


class Shop:
    """One agent of a role; ``work`` judges a session, ``learn`` lets its role learn from it."""

    def __init__(self, role=None, **settings):
        self.detection = Detection(DetectionSettings(**settings), {(OWNER, ROLE): role or Role()})
        self.agent = Learned()
        self.now_us = DAY_US

    @property
    def role(self):
        return self.detection.roles[OWNER, ROLE]

    def work(self, calls, *, pause_s=5.0, learn=False, prompt="", **options):
        """Return the verdicts on the calls of one session, and the session; ``prompt`` comes before them."""
        self.now_us += DAY_US
        verdicts = []
        if prompt:
            item = prompt_at(self.now_us, prompt, f"s{self.now_us // DAY_US}")
            self.detection.observe(self.agent, OWNER, item, self.now_us, is_frozen=False)
        for number, call in enumerate(calls):
            self.now_us += round(pause_s * 1e6)
            item = observation(call, self.now_us, f"s{self.now_us // DAY_US}", offset=number, **options)
            verdicts.append(self.detection.observe(self.agent, OWNER, item, self.now_us, is_frozen=False))
        session = self.agent.sessions[-1]
        self.end(learn=learn)
        return verdicts, session

    def end(self, *, learn):
        until_us = self.now_us + 2 * self.detection.settings.gap_us
        self.detection.end_due(self.agent, OWNER, until_us, is_frozen=False)
        if learn:
            self.role.merge(self.agent.finished, [self.agent.own] * len(self.agent.finished))
        self.agent.finished = []


@lru_cache(1)
def _taught():
    shop = Shop()
    for number in range(60):
        shop.work(ordinary(number), learn=True)
    return shop.role.dump(), shop.agent.own


def taught(**settings):
    """Return an agent whose role knows sixty ordinary sessions of its own."""
    from copy import deepcopy

    dump, own = _taught()
    shop = Shop(Role.load(dump), **settings)
    shop.agent.own = deepcopy(own)
    return shop

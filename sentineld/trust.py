"""Trust: which agent a record speaks of, as the configuration says of the file in which it stands.

An id in a record is a claim. A rule says what is believed of the files that match its glob: the claim (of all
ids, or of those listed), a part of the path, or the uid that owns the file. What an owner writes under an id
that is not its own to use is counted for a nameless agent of that owner, and told as an incident: it never
touches the agent that it names. All of it is pure: the same rules and parts give the same agents in replay.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sentineld.batch import Part, effective_times
from sentineld.event import Incident
from sentineld.rows import Rows, is_agent_id

RECORD, PATH, OWNER = "record", "path", "owner"
#: What can give the agent's id.
IDENTITIES = (RECORD, PATH, OWNER)

#: Where events count that name no agent which their owner may speak of, and what cannot be charged to an
#: agent with a name of its own; no record can claim this id.
UNNAMED_ID = "<unnamed>"

#: A rotated or compressed file belongs to whom it belonged to before: `x.jsonl.1`, `x.json-20260101`,
#: `x.jsonl.zst`.
_ROTATION = re.compile(r"(?:(?<=\.jsonl)|(?<=\.ndjson)|(?<=\.json))(?:[.-][0-9][0-9TZ_.:-]*|\.zst)\Z")
_TOKEN = re.compile(r"\*|\?|\{(?P<name>[^{}]*)\}|[{}]|[^*?{}]+")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_NAME = re.compile(r"[a-z_][a-z0-9_]*")
#: Files whose answer is remembered.
_CACHE_SIZE = 16_384
_SHOWN_CLAIMS = 3


@dataclass(frozen=True, slots=True)
class Rule:
    """What is believed of the files whose path matches ``path``.

    ``agent`` says how the id is made (``{1}``, ``{name}``: what a wildcard stands for; ``{user}``, ``{uid}``:
    the owner). ``owner`` is the only uid whose files are believed (None: anybody's), ``agents`` are the ids
    that may be claimed (empty: any). ``format`` and ``role`` are those of the files (empty: nothing is said).
    """

    path: str
    identity: str = RECORD
    agent: str = ""
    owner: int | None = None
    agents: tuple[str, ...] = ()
    format: str = ""
    role: str = ""

    @property
    def template(self) -> str:
        """How the id is made, with the default filled in."""
        return self.agent or ("{user}" if self.identity == OWNER else "{agent}")

    def check(self) -> None:
        """Raise ``RuleError`` with the key that is wrong."""
        wildcards = _compile(self.path).wildcards
        if self.identity == RECORD:
            if self.agent:
                raise RuleError("agent", 'only identity = "path" or "owner" make an id', "remove the key")
        elif self.agents:
            raise RuleError("agents", 'only identity = "record" has claims to choose from', "remove the key")
        for claim in self.agents:
            if not is_agent_id(claim):
                raise RuleError(
                    "agents", f"{claim!r} cannot be an agent's id", "1 to 128 of A-Z a-z 0-9 . _ : / @ + ~ -"
                )
        if self.identity == RECORD:
            return
        known = ("user", "uid") if self.identity == OWNER else wildcards
        found = _PLACEHOLDER.findall(self.template)
        for name in found:
            if name not in known:
                choice = ", ".join(f"{{{item}}}" for item in known) or "none: the path has no wildcard"
                raise RuleError("agent", f"there is no {{{name}}} here", f"what there is: {choice}")
        if not found:
            raise RuleError("agent", "every file would have the same agent", 'such as agent = "{1}"')
        if not is_agent_id(_PLACEHOLDER.sub("x", self.template)):
            raise RuleError(
                "agent",
                f"{self.template!r} cannot make an agent's id",
                "beside the braces 1 to 128 of A-Z a-z 0-9 . _ : / @ + ~ -",
            )


class RuleError(ValueError):
    """A rule that makes no sense: ``key`` is the wrong one, ``hint`` says what to write."""

    def __init__(self, key: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.key = key
        self.hint = hint


class _Glob(NamedTuple):
    pattern: re.Pattern[str]
    #: The names of all wildcards: of each its number, and the name that it was given.
    wildcards: tuple[str, ...]


class Belief(NamedTuple):
    """What is believed of one file.

    ``agent`` is its agent (empty: its records say, within ``agents``; those empty: any). ``is_foreign``: it
    stands where its owner has no business. ``is_unusable``: what its path makes cannot be an agent's id.
    """

    agent: str = ""
    agents: frozenset[str] = frozenset()
    is_foreign: bool = False
    is_unusable: bool = False
    format: str = ""
    role: str = ""


#: What is believed where no rule matches.
_NOTHING = Belief()


class Trust:
    """The rules of one configuration.

    ``directories`` are the telemetry directories, to which relative globs belong. ``bindings`` give an id to
    one uid, ``users`` names uids. The first rule that matches a file decides; where none does, any claim is
    believed that is not bound to another uid.
    """

    def __init__(
        self,
        rules: Sequence[Rule] = (),
        directories: Iterable[str] = (),
        bindings: Mapping[str, int] | None = None,
        users: Mapping[int, str] | None = None,
    ) -> None:
        self.rules = tuple(rules)
        self.directories = tuple(directories)
        self.bindings = dict(bindings or {})
        self.users = dict(users or {})
        self._globs = [_compile(rule.path) for rule in self.rules]
        self._beliefs: dict[tuple[str, int], Belief] = {}

    def __bool__(self) -> bool:
        return bool(self.rules or self.bindings)

    def belief(self, path: str, owner: int) -> Belief:
        """Return what is believed of a file with this path and owner (uid)."""
        if not self.rules:
            return _NOTHING
        known = self._beliefs.get((path, owner))
        if known is None:
            if len(self._beliefs) >= _CACHE_SIZE:
                self._beliefs.clear()
            known = self._beliefs[(path, owner)] = self._judge(path, owner)
        return known

    def apply(self, rows: Rows, path: str, owner: int) -> None:
        """Give every row of a file the agent that answers for it; ``rows.forged`` keeps what was claimed.

        Only native records claim an id; where a mapping makes one, another one that a rule makes is no lie.
        """
        if not self or not rows.agent_ids:
            return
        belief = self.belief(path, owner)
        claims = rows.agent_ids
        if belief.agent:
            rows.agent_ids = [belief.agent] * len(claims)
            if not belief.is_unusable and (rows.is_one_each or belief.is_foreign):
                own = None if belief.is_foreign else belief.agent
                rows.forged = {number: claim for number, claim in enumerate(claims) if claim != own}
            return
        foreign = {
            claim
            for claim in set(claims)
            if (belief.agents and claim not in belief.agents) or self.bindings.get(claim, owner) != owner
        }
        if foreign:
            rows.agent_ids = [UNNAMED_ID if claim in foreign else claim for claim in claims]
            rows.forged = {number: claim for number, claim in enumerate(claims) if claim in foreign}

    def to_plain(self) -> dict[str, Any]:
        """Return plain data, from which ``from_plain`` makes an equal value; empty where nothing is said."""
        if not self:
            return {}
        return {
            "rules": [
                {
                    "path": rule.path,
                    "identity": rule.identity,
                    "agent": rule.agent,
                    "owner": rule.owner,
                    "agents": list(rule.agents),
                    "format": rule.format,
                    "role": rule.role,
                }
                for rule in self.rules
            ],
            "directories": list(self.directories),
            "bindings": self.bindings,
            "users": {str(uid): name for uid, name in self.users.items()},
        }

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> "Trust":
        """Read what ``to_plain`` gave."""
        return cls(
            [Rule(**{**rule, "agents": tuple(rule["agents"])}) for rule in data.get("rules", ())],
            data.get("directories", ()),
            data.get("bindings"),
            {int(uid): name for uid, name in data.get("users", {}).items()},
        )

    def _judge(self, path: str, owner: int) -> Belief:
        name = _ROTATION.sub("", path)
        relative = [
            name[len(base) :].lstrip("/") or name.rpartition("/")[2]
            for base in (directory.rstrip("/") for directory in self.directories)
            if name == base or name.startswith(base + "/")
        ]
        for rule, glob in zip(self.rules, self._globs, strict=True):
            for candidate in [name] if rule.path.startswith("/") else relative:
                match = glob.pattern.fullmatch(candidate)
                if match is not None:
                    return self._believe(rule, match, owner)._replace(format=rule.format, role=rule.role)
        return _NOTHING

    def _believe(self, rule: Rule, match: re.Match[str], owner: int) -> Belief:
        if rule.owner is not None and rule.owner != owner:
            return Belief(UNNAMED_ID, is_foreign=True)
        if rule.identity == RECORD:
            return Belief(agents=frozenset(rule.agents))
        if rule.identity == OWNER:
            values = {"uid": str(owner), "user": self.users.get(owner, str(owner))}
        else:
            values = {str(number): value.rstrip("/") for number, value in enumerate(match.groups(), 1)}
            values.update(match.groupdict())
        agent = _PLACEHOLDER.sub(lambda found: values[found[1]], rule.template)
        if not is_agent_id(agent):
            return Belief(UNNAMED_ID, is_unusable=True)
        if self.bindings.get(agent, owner) != owner:
            return Belief(UNNAMED_ID, is_foreign=True)
        return Belief(agent)


def forged(parts: Iterable[Part], path_of: Callable[[int], str]) -> list[Incident]:
    """Return one incident for every file in whose parts an owner used ids that are not its own.

    ``path_of`` names a source by its id. An incident counts at the time of the last such record.
    """
    by_source: dict[int, list[Part]] = {}
    for part in parts:
        if part.rows.forged:
            by_source.setdefault(part.source_id, []).append(part)
    incidents = []
    for source_id, found in by_source.items():
        claims = list(dict.fromkeys(claim for part in found for claim in part.rows.forged.values()))
        incidents.append(
            Incident(
                at_us=max(effective_times(part)[max(part.rows.forged)] for part in found),
                kind="forged_id",
                owner=found[0].owner,
                source_id=source_id,
                path=path_of(source_id),
                start=min(part.rows.offsets[min(part.rows.forged)] for part in found),
                end=max(part.end for part in found),
                detail=_claims_text(claims),
                count=sum(len(part.rows.forged) for part in found),
            )
        )
    return incidents


def _claims_text(claims: list[str]) -> str:
    text = ", ".join(claims[:_SHOWN_CLAIMS])
    more = len(claims) - _SHOWN_CLAIMS
    return f"claimed {text}" + (f" and {more} more ids" if more > 0 else "")


def _compile(path: str) -> _Glob:
    """Make a glob a pattern. Raises ``RuleError`` for one that says nothing definite."""
    parts = path.removeprefix("/").split("/")
    if not {"", ".", ".."}.isdisjoint(parts):
        raise RuleError("path", f"{path!r} matches no file", 'such as "agents/*/**"')
    names: list[str] = []
    count = 0
    pattern = "/" if path.startswith("/") else ""
    for number, part in enumerate(parts, 1):
        is_last = number == len(parts)
        if part == "**":
            if not is_last and parts[number] == "**":
                raise RuleError("path", "** follows **", "one of them says the same")
            pattern += "(.+)" if is_last else "((?:[^/]+/)*?)"
            count += 1
            continue
        text, found = _compile_part(part, names)
        pattern += text + ("" if is_last else "/")
        count += found
    return _Glob(re.compile(pattern, re.DOTALL), (*map(str, range(1, count + 1)), *names))


def _compile_part(part: str, names: list[str]) -> tuple[str, int]:
    """Return the pattern of one part of a path, and how many wildcards are in it; their names are added."""
    if "**" in part:
        raise RuleError("path", "** must stand alone between slashes", 'such as "agents/**/x.jsonl"')
    pieces: list[str] = []
    texts = [""]
    for token in _TOKEN.finditer(part):
        text, name = token[0], token["name"]
        if text == "*":
            pieces.append("([^/]*")
            texts.append("")
        elif name is not None:
            if not _NAME.fullmatch(name) or name in names:
                message = f"{{{name}}} is no new name of a wildcard"
                raise RuleError("path", message, "a-z 0-9 _, each name once")
            names.append(name)
            pieces.append(f"(?P<{name}>[^/]+")
            texts.append("")
        elif text in "{}":
            raise RuleError("path", "a brace is open or closed alone", 'such as "agents/{agent}/**"')
        else:
            texts[-1] += "[^/]" if text == "?" else re.escape(text)
    pattern = texts[0]
    for number, piece in enumerate(pieces, 1):
        # All but the last take as little as they can, once and for all: names that agents choose must not
        # make the search try every way to share them out.
        text = texts[number]
        pattern += f"{piece}){text}" if number == len(pieces) else f"(?>{piece}?){text})"
    return pattern, len(pieces)

"""Native: from records in sentineld's own format to rows, one row a record.

The native format (``wordpress``): ``type`` is the event type, ``source`` the claimed agent id,
``timestamp`` Unix time (s, ms, us or ns) or ISO 8601, ``data`` the payload. Metadata are the members of
``data``; other members of the record are added under their name, or under ``record.<name>`` where that is
taken (as often as it takes); a ``data`` that is no object stands under ``data``. ``data.session`` (text or
a whole number) names the session; a record of type ``tool_call`` takes its event type from the taxonomy
(``data.tool``, ``data.args``). An ``event_id`` or ``id`` beside ``type`` (text or a whole number) is an
explicit record id; a whole number ``seq`` beside it is the agent's own number of the record (``numbering``).
What a user said stands in a record of type ``prompt`` or ``user_prompt`` (``data.prompt`` or ``data.text``),
or in a ``data.prompt`` beside ``data.tool``.

A record without ``timestamp`` happened at the file's time (its ``at_us`` is None). Wrong types, and ids
that could pass for something else on a terminal, are rejected: ``missing_type``, ``bad_type``,
``missing_source``, ``bad_source``, ``bad_timestamp``.
"""

from hashlib import blake2b
from itertools import repeat
from operator import contains
from typing import Any

import msgspec

from sentineld import kernel, numbering
from sentineld.decode import (
    ERRORS,
    Decoded,
    Record,
    Reject,
    decode_uniform,
    decoder_of,
    encode_element,
    reject,
)
from sentineld.entropy import batch_entropy_units, encode_canonical, lines_entropy_units, terms
from sentineld.event import ERROR, OK, OPERATION_KIND, OTHER, PROMPTS, Facts
from sentineld.features import Features
from sentineld.features.intent import asked_in
from sentineld.instant import SECOND_US, from_unix, parse_iso
from sentineld.rows import Rows, is_agent_id
from sentineld.taxonomy import Call, Taxonomy
from sentineld.values import to_count, to_number
from sentineld.visible import visible

#: Types of records that tell of no call.
_NO_CALLS = frozenset({"model_call", "approval", "plan", "error", "network_response"})
#: Members of ``data`` that say something about the event, not what it did.
_ENVELOPE = frozenset({"session", "error", "input_tokens", "output_tokens"})
#: Members of ``data`` beside what the event did, and types of which a record says less than others.
_ASIDE = _ENVELOPE | {"tool"}
_SAYING_LESS = _NO_CALLS | PROMPTS
#: What the format is called everywhere, and what users may call it as well.
NATIVE = "wordpress"
_ALIASES = {"native": NATIVE}
_NATIVE = frozenset({"type", "source", "timestamp", "data"})
_MAX_NAME = 128
#: A Unix time from here on is not in seconds (see ``instant.from_unix``).
_FIRST_MS = 100_000_000_000
#: Makes a named tuple in half the time; there are two of them a record.
_new = tuple.__new__
#: Identifiers that were found good, kept so that each is examined once.
_CACHE_SIZE = 16_384


class _Common(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A native record as nearly all are."""

    type: str
    source: str
    timestamp: Any
    data: dict[str, Any]


class _Payload(msgspec.Struct, gc=False):
    """What is read of a native record where the kernel has read the rest."""

    data: dict[str, Any]


_common_decoder, _payload_decoder = decoder_of(_Common), decoder_of(_Payload)
#: Four names, and the values of ``type`` and ``source``: identifiers that were found good hold none.
_COMMON_QUOTES = 12


def name_of(format_name: str) -> str:
    """Return what a format is called, by its name or an alias."""
    return _ALIASES.get(format_name, format_name)


class NativeMapping:
    """The mapping of the native format; it remembers which identifiers it has found good."""

    name = NATIVE

    def __init__(self, taxonomy: Taxonomy | None = None, features: Features | None = None) -> None:
        """``taxonomy`` says what calls of tools do; the built-in one without it.

        With ``features`` rows carry facts, which learned detection judges by.
        """
        self._taxonomy = taxonomy or Taxonomy()
        self._features = features
        self._agents: set[str] = set()
        self._kinds: dict[str, int] = {}

    def rows_of_lines(self, data: bytes, base: int, role: str = "") -> Rows | None:
        """Read whole lines (``data`` ends with LF) at once, if every record is a common one; else None.

        The first line begins at byte ``base`` of its file. Equal to ``rows`` of what ``decode_lines`` gives,
        and none of it is rejected. Common: four members, good identifiers, a time, a payload, no tool and
        no session.
        """
        rows = self._rows_of_plain_lines(data, base, role)
        if rows is not None:
            return rows
        found = decode_uniform(data, base, _common_decoder, "data", _COMMON_QUOTES)
        if found is None:
            return None
        records = found.records
        event_types = [record.type for record in records]
        agent_ids = [record.source for record in records]
        if not (
            self._admits(agent_ids)
            and self._kinds.keys() >= set(event_types)
            and "tool_call" not in event_types
        ):
            return None
        payloads = [record.data for record in records]
        if any(map(contains, payloads, repeat("tool"))) or any(map(contains, payloads, repeat("session"))):
            return None
        try:
            at_us = _instants([record.timestamp for record in records])
        except _MisfitError:
            return None
        return Rows(
            at_us=at_us,
            agent_ids=agent_ids,
            kinds=list(map(self._kinds.__getitem__, event_types)),
            entropies=lines_entropy_units(found.payloads, found.ends),
            event_types=event_types,
            offsets=found.offsets,
            facts=self._facts_of_common(event_types, payloads, role),
        )

    def _rows_of_plain_lines(self, data: bytes, base: int, role: str) -> Rows | None:
        """Let the kernel read lines, if it takes all of them; it knows good identifiers by itself."""
        if kernel.compiled is None:
            return None
        found = kernel.compiled.native_lines(data, base, OPERATION_KIND, OTHER, terms())
        if found is None:
            return None
        at_us, agent_ids, kinds, entropies, event_types, offsets, texts = found
        facts: dict[int, Facts] = {}
        try:
            if texts:
                at_us = [_timestamp(at) if type(at) is str else at for at in at_us]
            if self._features is not None:
                payloads = [record.data for record in _payload_decoder.decode_lines(data)]
                facts = self._facts_of_common(event_types, payloads, role)
        except (_MisfitError, *ERRORS):
            return None
        return Rows(at_us, agent_ids, kinds, entropies, event_types, offsets, facts=facts)

    def rows(self, decoded: Decoded, agent: str = "", role: str = "") -> tuple[Rows, list[Reject]]:
        """Turn decoded records into rows, in order; what does not fit is rejected.

        ``agent`` is the id of records that claim none; empty: such records are rejected. ``role`` is what the
        configuration says of their file; records cannot name one, or each would choose its own measure.
        """
        rows = self._rows_of_common(decoded, role)
        return (rows, []) if rows is not None else self._rows_of_any(decoded, agent, role)

    def _rows_of_common(self, decoded: Decoded, role: str) -> Rows | None:
        # A chunk in which every record is a common one: four members (or all of them numbered), good
        # identifiers, a time, a payload, no tool and no session. Whole columns at once are three times as
        # fast as record by record.
        records = decoded.records
        try:
            event_types = [record["type"] for record in records]
            agent_ids = [record["source"] for record in records]
            timestamps = [record["timestamp"] for record in records]
            payloads = [record["data"] for record in records]
            members = set(map(len, records))
            seqs = [record["seq"] for record in records] if members == {len(_NATIVE) + 1} else []
            if seqs and not (
                set(map(type, seqs)) == {int}
                and min(seqs) >= 0
                and max(seqs) < numbering.LIMIT
                and not any("seq" in data for data in payloads)
            ):
                return None
            if not (
                records
                and (seqs or members == {len(_NATIVE)})
                and self._admits(agent_ids)
                and self._kinds.keys() >= set(event_types)
                and "tool_call" not in event_types
                and set(map(type, payloads)) == {dict}
                and not any("tool" in data or "session" in data for data in payloads)
            ):
                return None
            at_us = _instants(timestamps)
            facts = self._facts_of_common(event_types, payloads, role)
            if seqs:
                payloads = [{**data, "seq": seq} for data, seq in zip(payloads, seqs, strict=True)]
        except (KeyError, TypeError, _MisfitError):
            return None
        return Rows(
            at_us=at_us,
            agent_ids=agent_ids,
            kinds=list(map(self._kinds.__getitem__, event_types)),
            entropies=batch_entropy_units([encode_canonical(data) if data else b"" for data in payloads]),
            event_types=event_types,
            offsets=decoded.offsets,
            seqs=dict(enumerate(seqs)),
            facts=facts,
        )

    def _facts_of_common(self, event_types: list[str], payloads: list[Record], role: str) -> dict[int, Facts]:
        """Return the facts of records that are no calls of tools and name no session."""
        features = self._features
        if features is None:
            return {}
        classify, features_of = self._taxonomy.classify, features.of
        facts: dict[int, Facts] = {}
        for number, (event_type, payload) in enumerate(zip(event_types, payloads, strict=True)):
            if event_type in _SAYING_LESS or not _ASIDE.isdisjoint(payload):
                facts[number] = self._facts(event_type, payload, None, "", role)
                continue
            # Most records only name what was done.
            call = classify(event_type, payload)
            entities = call[1]
            if call[0] != event_type:
                call = _new(Call, (event_type, entities, call[2], ()))
            told = features_of(event_type, payload, call)
            # An identifier has at most ``_MAX_NAME`` characters.
            facts[number] = _new(Facts, (event_type, role, "", "", entities, None, None, None, "", told, ()))
        return facts

    def _rows_of_any(self, decoded: Decoded, agent: str, role: str) -> tuple[Rows, list[Reject]]:
        rows = Rows()
        payloads: list[bytes] = []
        rejects: list[Reject] = []
        for record, offset in zip(decoded.records, decoded.offsets, strict=True):
            try:
                at_us, agent_id, event_type, metadata = self._read(record, rows, agent, role)
            except _MisfitError as misfit:
                rejects.append(reject(misfit.reason, str(misfit), offset, encode_element(record)))
                continue
            payloads.append(encode_canonical(metadata) if metadata else b"")
            rows.at_us.append(at_us)
            rows.agent_ids.append(agent_id)
            rows.kinds.append(OPERATION_KIND.get(event_type, OTHER))
            rows.event_types.append(event_type)
            rows.offsets.append(offset)
        rows.entropies = batch_entropy_units(payloads)
        return rows, rejects

    def _read(
        self, record: Record, rows: Rows, agent: str, role: str
    ) -> tuple[int | None, str, str, dict[str, Any]]:
        event_type = self._admit_type(record)
        is_nameless = agent and record.get("source") is None
        agent_id = agent if is_nameless else self._admit_agent(record)
        at_us = _timestamp(record.get("timestamp"))
        metadata = native_metadata(record)
        number = len(rows)
        data = record.get("data")
        payload: Record = data if type(data) is dict else {}
        session, tool = _text(payload.get("session")), payload.get("tool")
        if session:
            rows.sessions[number] = session[:_MAX_NAME]
        seq = record.get("seq")
        if type(seq) is int and 0 <= seq < numbering.LIMIT:
            rows.seqs[number] = seq
        if event_type == "tool_call" or type(tool) is str:
            rows.tool_calls.append(number)
        call = None
        if event_type == "tool_call" and type(tool) is str:
            call = self._taxonomy.classify(tool, payload.get("args"))
            event_type = call.event_class
        if self._features is not None:
            rows.facts[number] = self._facts(event_type, payload, call, session[:_MAX_NAME], role)
        identity = _identity(record, event_type, agent_id)
        if identity is not None:
            rows.identities[number] = identity
        return at_us, agent_id, event_type, metadata

    def _facts(self, event_type: str, payload: Record, call: Call | None, session: str, role: str) -> Facts:
        """Return what a record tells beside its type; without a tool its type is taken for one."""
        features = self._features
        if features is None:
            return Facts()
        named, failed = payload.get("tool"), payload.get("error")
        tool = named if type(named) is str else None
        outcome = "" if failed is None else ERROR if failed else OK
        used = to_count(to_number(payload["input_tokens"])) if "input_tokens" in payload else None
        made = to_count(to_number(payload["output_tokens"])) if "output_tokens" in payload else None
        if event_type in PROMPTS and tool is None:
            said = payload.get("prompt")
            prompt = payload.get("text") if said is None else said
            return Facts("", role, "", outcome, (), None, used, made, session, (), asked_in(prompt))
        if event_type in _NO_CALLS:
            return Facts("", role, "", outcome, (), None, used, made, session)
        asked: tuple[int, ...] = ()
        arguments: object = payload
        if tool is not None:
            arguments = payload.get("args")
            if "prompt" in payload:
                asked = asked_in(payload["prompt"])
        else:
            tool = event_type
            if not _ENVELOPE.isdisjoint(payload):
                arguments = {name: value for name, value in payload.items() if name not in _ENVELOPE}
        if call is None:
            found = self._taxonomy.classify(tool, arguments)
            call = Call(event_type, found.entities, found.commands)
        told = features.of(tool, arguments, call, has_failed=bool(failed))
        name = tool[:_MAX_NAME]
        return Facts(name, role, "", outcome, call.entities, None, used, made, session, told, asked)

    def _admits(self, agent_ids: list[str]) -> bool:
        """Say whether all of these can be agents' ids. Raises ``TypeError`` where one is no text."""
        strange = set(agent_ids).difference(self._agents)
        if not all(map(is_agent_id, strange)):
            return False
        if len(self._agents) + len(strange) > _CACHE_SIZE:
            self._agents.clear()
        self._agents |= strange
        return True

    def _admit_type(self, record: Record) -> str:
        event_type = record.get("type")
        if type(event_type) is str and event_type in self._kinds:
            return event_type
        if event_type is None:
            raise _MisfitError("missing_type", "the record has no `type`")
        if type(event_type) is not str:
            raise _MisfitError("bad_type", f"`type` must be a string, not {type(event_type).__name__}")
        if (
            not 0 < len(event_type) <= _MAX_NAME
            or visible(event_type) != event_type
            or "\ufffd" in event_type
        ):
            raise _MisfitError(
                "bad_type", f"`type` must be 1 to {_MAX_NAME} printable characters: {event_type[:40]!r}"
            )
        if len(self._kinds) >= _CACHE_SIZE:
            self._kinds.clear()
        self._kinds[event_type] = OPERATION_KIND.get(event_type, OTHER)
        return event_type

    def _admit_agent(self, record: Record) -> str:
        agent_id = record.get("source")
        if type(agent_id) is str and agent_id in self._agents:
            return agent_id
        if agent_id is None:
            raise _MisfitError("missing_source", "the record has no `source` (the agent's id)")
        if type(agent_id) is not str:
            raise _MisfitError("bad_source", f"`source` must be a string, not {type(agent_id).__name__}")
        if not is_agent_id(agent_id):
            raise _MisfitError(
                "bad_source",
                "`source` must be 1 to 128 of A-Z a-z 0-9 . _ : / @ + ~ - to be an agent's id: "
                f"{agent_id[:40]!r}",
            )
        if len(self._agents) >= _CACHE_SIZE:
            self._agents.clear()
        self._agents.add(agent_id)
        return agent_id


class _MisfitError(ValueError):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def _instants(timestamps: list[Any]) -> list[int | None]:
    kinds = set(map(type, timestamps))
    if kinds == {int} and min(timestamps) > 0 and max(timestamps) < _FIRST_MS:
        return [seconds * SECOND_US for seconds in timestamps]
    if kinds <= {int, float} and min(timestamps) > 0 and max(timestamps) < _FIRST_MS:
        # All of them seconds, as nearly always.
        return [round(seconds * SECOND_US) for seconds in timestamps]
    return list(map(_timestamp, timestamps))


def _timestamp(value: object) -> int | None:
    if value is None:
        return None
    kind = type(value)
    if kind is int or kind is float:
        return from_unix(value)  # type: ignore[arg-type]
    if kind is not str:
        raise _MisfitError("bad_timestamp", f"`timestamp` must be a number or ISO 8601, not {kind.__name__}")
    try:
        return parse_iso(value)  # type: ignore[arg-type]
    except ValueError:
        raise _MisfitError("bad_timestamp", f"`timestamp` is not ISO 8601: {value[:40]!r}") from None  # type: ignore[index]


def native_metadata(record: Record) -> dict[str, Any]:
    """Return a native record's metadata: the members of ``data`` and all others, none lost."""
    data = record.get("data")
    if type(data) is dict:
        if record.keys() <= _NATIVE:
            return data
        metadata = dict(data)
    else:
        metadata = {} if "data" not in record else {"data": data}
    for name, value in record.items():
        if name not in _NATIVE:
            free = name
            while free in metadata:
                free = f"record.{free}"
            metadata[free] = value
    return metadata


def _identity(record: Record, event_type: str, agent_id: str) -> tuple[bytes, bytes] | None:
    if "event_id" not in record and "id" not in record:
        return None
    explicit = _text(record.get("event_id")) or _text(record.get("id"))
    if not explicit:
        return None
    content = encode_element([event_type, record.get("data")])
    # Ids may be counts. Who wrote another agent's next record first must not make that one a copy.
    named = f"{NATIVE}\0{agent_id}\0{explicit}"
    return _digest(named.encode("utf-8", "surrogatepass")), _digest(content)


def _text(value: object) -> str:
    # Ids are text; whole numbers pass for it, unless they are too long for anybody's id.
    if type(value) is int and -(1 << 63) <= value < 1 << 64:
        return str(value)
    return value if type(value) is str else ""


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()

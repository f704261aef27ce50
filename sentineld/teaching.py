"""Teaching: when roles learn from finished sessions.

Habits change at the borders of slices of effective time only, and then for all agents at once: every event
inside of a slice is judged by the same habits, in whatever batches it arrives. Sessions that have ended
before the border are learned from in the order of their ends. They are kept for a while, as they were, so
that habits can be learned anew from those after an instant.
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from typing import NamedTuple

import msgspec

from sentineld.batch import Key
from sentineld.detection import Detection, RoleKey
from sentineld.event import Observation
from sentineld.habits import Role, learn_own
from sentineld.instant import SECOND_US
from sentineld.learned import Finished, Learned, Own
from sentineld.step import AgentState
from sentineld.store import MAX_LESSONS
from sentineld.tables import LessonRow, RoleRow

#: Width of a slice, microseconds.
SLICE_US = 60 * SECOND_US

#: A session that is larger, compressed, is not kept for learning anew, bytes.
MAX_SESSION_BYTES = 64 << 10

Runs = Mapping[Key, list[Observation]]
#: A session that has ended: by what it is put in order (its end, the claimed id, its name), and its agent's.
_Item = tuple[tuple[int, str, str], Finished, Learned]


class Learnt(NamedTuple):
    """What changed when roles learned: agents, habits, and the sessions to keep."""

    states: list[AgentState]
    roles: list[RoleKey]
    lessons: list[LessonRow]


class Teaching:
    """Follows the slices; ``slice`` is the number of the present one (0: none yet)."""

    def __init__(self, detection: Detection | None, latest_us: int) -> None:
        self.detection = detection
        self.slice = latest_us // SLICE_US

    def stretches(self, runs: Runs) -> Iterator[tuple[int | None, Runs]]:
        """Cut a batch where slices end: pairs of (the border to cross first, observations behind it)."""
        if self.detection is None or not runs:
            yield None, runs
            return
        cut: dict[int, dict[Key, list[Observation]]] = {}
        for key, run in runs.items():
            number = self.slice
            if number and max(map(_AT, run)) // SLICE_US <= number:
                cut.setdefault(number, {})[key] = run
                continue
            for item in run:
                number = max(number, item[0] // SLICE_US)
                cut.setdefault(number, {}).setdefault(key, []).append(item)
        for number in sorted(cut):
            border = number * SLICE_US if number > self.slice else None
            self.slice = number
            yield border, cut[number]

    def border(self, at_us: int) -> int | None:
        """Return the border between the present slice and an instant, and cross it; None for none."""
        number = at_us // SLICE_US
        if self.detection is None or number <= self.slice:
            return None
        self.slice = number
        return number * SLICE_US

    def learn(self, states: list[AgentState], until_us: int) -> Learnt:
        """Let roles learn from the sessions that ended by then; return who and what has changed."""
        detection = self.detection
        if detection is None:
            return Learnt([], [], [])
        found: dict[RoleKey, list[_Item]] = {}
        changed = []
        for state in states:
            agent = state.learned
            if agent is None or not agent.finished:
                continue
            later = [done for done in agent.finished if done.ended_us > until_us]
            if len(later) == len(agent.finished):
                continue
            for done in agent.finished:
                if done.ended_us <= until_us:
                    order = (done.ended_us, state.agent_id, done.name)
                    found.setdefault((state.owner, done.role), []).append((order, done, agent))
            agent.finished = later
            changed.append(state)
        lessons: list[LessonRow] = []
        for key in sorted(found):
            items = sorted(found[key], key=itemgetter(0))
            role = detection.role(key)
            is_learned = [role.learns_from(done, agent.own) for _, done, agent in items]
            ranks = role.merge([done for _, done, _ in items], [agent.own for _, _, agent in items])
            lessons += _lessons(key, items, is_learned, ranks)
        return Learnt(changed, sorted(found), lessons)


def load_roles(rows: list[RoleRow]) -> tuple[dict[RoleKey, Role], list[RoleKey]]:
    """Read all stored habits; return with them the keys of those that are damaged."""
    roles: dict[RoleKey, Role] = {}
    damaged = []
    for row in rows:
        try:
            roles[row.owner, row.name] = Role.load(row.habits)
        except ValueError:
            damaged.append((row.owner, row.name))
    return roles, damaged


def learn_anew(role: Role, lessons: Iterable[LessonRow]) -> tuple[int, dict[str, Own]]:
    """Teach a role kept sessions again: (how many there were, habits of their agents by claimed id).

    What habits had not learned from (suspicious, frozen) they do not learn from now; ranks take in all.
    """
    owns: dict[str, Own] = {}
    count = 0
    for lesson in lessons:
        session = load_session(lesson)
        if session is not None:
            role.merge([session], [owns.setdefault(lesson.agent_id, Own())])
            count += 1
    return count, owns


def own_anew(lessons: Iterable[LessonRow]) -> tuple[int, Own]:
    """Return an agent's own habits by kept sessions alone, and how many it learned from."""
    own = Own()
    for lesson in lessons:
        session = load_session(lesson) if lesson.is_learned else None
        if session is not None:
            learn_own(own, session)
    return own.sessions, own


def dump_session(session: Finished) -> bytes:
    """Return a finished session as bytes: MessagePack, compressed."""
    return zlib.compress(msgspec.msgpack.encode(session), 1)


def load_session(lesson: LessonRow) -> Finished | None:
    """Read a kept session as roles learn from it; None where it is damaged."""
    try:
        data = zlib.decompressobj().decompress(lesson.session, 16 * MAX_SESSION_BYTES)
        session = _decoder.decode(data)
    except (zlib.error, ValueError):
        return None
    session.is_suspicious = not lesson.is_learned
    return session


def _lessons(key: RoleKey, items: list[_Item], is_learned: list[bool], ranks: list[int]) -> list[LessonRow]:
    """Return the last of these sessions as they are kept: no more than would be kept of the role at all."""
    rows: list[LessonRow] = []
    for place in range(len(items) - 1, -1, -1):
        (_, agent_id, _), done, _ = items[place]
        session = dump_session(done)
        if len(session) > MAX_SESSION_BYTES:
            continue
        flags = (done.is_rank, done.is_suspicious, is_learned[place], done.is_attack)
        rows.append(LessonRow(*key, agent_id, done.ended_us, *flags, ranks[place], session))
        if len(rows) == MAX_LESSONS:
            break
    return rows[::-1]


_decoder = msgspec.msgpack.Decoder(Finished)

_AT = itemgetter(0)

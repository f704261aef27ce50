# ruff: noqa: E501, ISC004 (quoted source keeps its lines)
"""Planted faults of our own: sentineld with one promise broken, by exact replacement of its text.

A harness that never fails proves nothing. Each mutant says which invariants its loss should show in; where
the text that it replaces is gone, ``build`` fails loudly, and the mutant has to be written anew.
"""

import compileall
import shutil
from dataclasses import dataclass
from pathlib import Path

from harness import PACKAGE

#: Ends the transaction in the middle and begins another.
_SPLIT = 'self._db.execute("COMMIT")\n            self._db.execute("BEGIN IMMEDIATE")\n'
_COMMIT_FIRST = "        self.store.commit(commit)\n        self._decision_no = number\n"


@dataclass(frozen=True)
class Mutant:
    """One broken promise: (module, old text, new text) replacements, and how it can be caught."""

    name: str
    replacements: tuple[tuple[str, str, str], ...]
    #: Invariants of which at least one must be reported.
    shows_in: tuple[str, ...]
    #: Faults within which the harness must report it.
    within: int = 60


MUTANTS = (
    Mutant(
        "position_before_agents",
        (
            (
                "store.py",
                "            self._write_sources(commit.sources)\n",
                f"            self._write_sources(commit.sources)\n            {_SPLIT}",
            ),
        ),
        ("INV1", "INV10"),
        180,
    ),
    Mutant(
        "agents_before_position",
        (
            ("store.py", "            self._write_sources(commit.sources)\n", ""),
            (
                "store.py",
                "            self._write_seen(commit.seen)\n",
                f"            self._write_seen(commit.seen)\n            {_SPLIT}"
                "            self._write_sources(commit.sources)\n",
            ),
        ),
        ("INV1", "INV12", "INV7", "INV10"),
        180,
    ),
    Mutant(
        "state_file_in_place",
        (
            (
                "published_file.py",
                'self._temporary = f".{self._name}.{os.urandom(8).hex()}.tmp"',
                "self._temporary = self._name",
            ),
            (
                "published_file.py",
                "os.open(self._temporary, _CREATE_FLAGS, 0o600, dir_fd=self._directory)",
                "os.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600, dir_fd=self._directory)",
            ),
        ),
        ("INV5",),
    ),
    Mutant(
        "published_before_commit",
        (
            (
                "store.py",
                '        self._db.execute("BEGIN IMMEDIATE")\n        try:\n            yield\n'
                '            self._db.execute("COMMIT")\n',
                '        if self._db.in_transaction:\n            self._db.execute("COMMIT")\n'
                '        self._db.execute("BEGIN IMMEDIATE")\n        try:\n            yield\n',
            ),
            (
                "store.py",
                '        """Close the connection."""\n',
                '        """Close the connection."""\n'
                '        if self._db.in_transaction:\n            self._db.execute("COMMIT")\n',
            ),
        ),
        ("INV4", "INV8", "LOG"),
    ),
    Mutant(
        "fsync_error_taken_for_success",
        (
            (
                "published_file.py",
                "            else:\n                os.fsync(self._descriptor)\n",
                "            else:\n                with suppress(OSError):\n"
                "                    os.fsync(self._descriptor)\n",
            ),
            ("published_file.py", "            self._error = error\n", "            pass\n"),
            (
                "journal.py",
                "            os.fsync(fd)\n        except OSError:\n            # All",
                "            try:\n                os.fsync(fd)\n            except OSError:\n                pass\n"
                "        except OSError:\n            # All",
            ),
        ),
        ("TOLD",),
        180,
    ),
    Mutant(
        "double_read_without_guard",
        (
            ("store.py", '"WHERE source.pos = ?"', '"WHERE ? >= 0"'),
            (
                "service.py",
                "_MAX_TROUBLES = 10_000\n",
                "_MAX_TROUBLES = 10_000\n_READ_ONCE: set[int] = set()\n",
            ),
            (
                "service.py",
                "                self._tail.accept(source)\n",
                "                if source.id in _READ_ONCE or source.kind == 'json':\n"
                "                    self._tail.accept(source)\n                _READ_ONCE.add(source.id)\n",
            ),
        ),
        ("INV1", "INV12"),
        3,
    ),
    Mutant(
        "number_reused_after_start",
        (
            (
                "outlet.py",
                '        store.commit(Commit("publish", clock.now_us(), bumps_seq=True))\n        self._has_reserve = True\n',
                "",
            ),
            (
                "outlet.py",
                "        else:\n            self.keep_books(bumps_seq=True)\n",
                "        else:\n            self.seq += 1\n",
            ),
        ),
        ("INV4", "INV6"),
        3,
    ),
    Mutant(
        "logged_before_commit",
        (
            (
                "pipeline.py",
                _COMMIT_FIRST,
                "        import os\n\n        from sentineld.journal import Journal\n\n"
                '        file = self.store._db.execute("PRAGMA database_list").fetchone()[2]\n'
                '        Journal(os.path.join(os.path.dirname(file), "decisions.jsonl")).append(commit.decisions)\n'
                + _COMMIT_FIRST,
            ),
        ),
        ("LOG",),
    ),
)

#: With the guard in place, the same double read is refused: the position that it expects is gone.
GUARDED = Mutant("double_read_with_guard", MUTANTS[5].replacements[1:], (), 0)

#: A power cut may undo it, no kill and no refused call can: only the order of the calls tells it apart.
UNSYNCED_DIRECTORY = Mutant(
    "directory_not_synced",
    (("published_file.py", "            os.fsync(self._directory)\n", ""),),
    (),
    0,
)


def build(mutant: Mutant, directory: Path) -> Path:
    """Copy the package, change it, and return where to import it from."""
    place = directory / mutant.name
    if place.exists():
        return place
    # With what is compiled: times are copied too, so that only what is changed is compiled again.
    shutil.copytree(PACKAGE / "sentineld", place / "sentineld")
    for name, old, new in mutant.replacements:
        path = place / "sentineld" / name
        text = path.read_text()
        assert text.count(old) == 1, f"{mutant.name}: {name} holds {old!r} {text.count(old)} times"
        path.write_text(text.replace(old, new))
    assert compileall.compile_dir(place, quiet=1, workers=1)
    return place

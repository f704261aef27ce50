"""WordPressSentinel: the library face of tail and decode, for one telemetry directory.

It keeps positions in memory only and raises nothing for bad input: what cannot be read is logged as a
warning, with path and offset, and skipped. The daemon (``sentineld run``) is the durable way.
"""

import errno
import logging
import os
import stat
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

from sentineld.clock import now_us
from sentineld.decode import Decoded, Record, Reject, decode_document, decode_lines
from sentineld.documents import MAX_DOCUMENT_BYTES
from sentineld.entropy import UNITS
from sentineld.event import BehavioralEvent
from sentineld.evidence import Trouble
from sentineld.explain import printable_path
from sentineld.framing import DOCUMENT, LINES
from sentineld.identity import open_regular
from sentineld.instant import iso
from sentineld.native import NativeMapping, native_metadata
from sentineld.tree import kind_of, walk

_logger = logging.getLogger(__name__)

#: Bytes of one read.
CHUNK_BYTES = 65_536
#: About the longest line that is read, in bytes; longer ones are skipped, with a warning.
MAX_LINE_BYTES = 1 << 20
#: Position of a ``.json`` file that has been read whole.
PROCESSED = -1


class WordPressSentinel:
    """Reads native telemetry below one directory, incrementally.

    ``telemetry_path`` is searched recursively for ``.jsonl`` and ``.json`` files. A missing or empty
    directory gives no events.
    """

    DEFAULT_TELEMETRY_PATH = "wordpress_zone/telemetry"

    def __init__(self, telemetry_path: str | os.PathLike[str] = DEFAULT_TELEMETRY_PATH) -> None:
        self.telemetry_path = Path(telemetry_path)
        self._mapping = NativeMapping()
        self._positions: dict[str, int] = {}
        self._signatures: dict[str, tuple[int, int, int]] = {}

    def scan_telemetry(self, incremental: bool = True) -> list[BehavioralEvent]:
        """Return the events written since the last scan; without ``incremental``, all that is there.

        A ``.json`` file is read again when it was replaced, a ``.jsonl`` file from its start when it
        is shorter than what was read, or another file.
        """
        directory = str(self.telemetry_path)
        if not self.telemetry_path.is_dir():
            _logger.warning("there is no telemetry directory %s", _printable(directory))
            return []
        if not incremental:
            self.reset_positions()
        paths = [
            entry.path for entry in walk(directory, self._warn) if kind_of(entry.name) in (LINES, DOCUMENT)
        ]
        if not paths:
            _logger.warning("no telemetry file (.jsonl, .json) is below %s", _printable(directory))
        return [event for path in paths for event in self._read_new(path)]

    def extract_events(self, path: str | os.PathLike[str]) -> list[BehavioralEvent]:
        """Return every event of one file as it is now, whatever was read before; positions stay."""
        name = os.path.normpath(path)
        try:
            with _opened(name) as file:
                return self._read(name, file, 0)[0]
        except OSError as error:
            self._warn(Trouble("unreadable", name, error.strerror or str(error)))
            return []

    def get_file_position(self, path: str | os.PathLike[str]) -> int:
        """Return where the next scan starts: a byte offset; 0: unknown file, -1: a read ``.json``."""
        return self._positions.get(os.path.normpath(path), 0)

    def set_file_position(self, path: str | os.PathLike[str], position: int) -> None:
        """Set where the next scan starts: a byte offset at a line's start; -1 marks a ``.json`` file as read.

        Raises ``ValueError`` below -1, and for -1 where the file is no ``.json`` file.
        """
        name = os.path.normpath(path)
        if position < PROCESSED:
            raise ValueError(f"a position is a byte offset, or -1, not {position}")
        if position == PROCESSED and kind_of(name) != DOCUMENT:
            raise ValueError("only a .json file is read whole; the position of others is a byte offset")
        self._positions[name] = position
        self._signatures.pop(name, None)
        if position == PROCESSED:
            try:
                self._signatures[name] = _signature(os.stat(name))
            except OSError:
                return

    def reset_positions(self) -> None:
        """Forget all positions: the next scan reads everything."""
        self._positions.clear()
        self._signatures.clear()

    def get_tracked_files(self) -> dict[str, int]:
        """Return the position of every file that was read."""
        return dict(self._positions)

    def _read_new(self, path: str) -> list[BehavioralEvent]:
        path = os.path.normpath(path)
        try:
            with _opened(path) as file:
                signature, known = _signature(os.fstat(file.fileno())), self._signatures.get(path)
                position = self.get_file_position(path)
                is_other = known is not None and known[0] != signature[0]
                if kind_of(path) == DOCUMENT:
                    if position == PROCESSED and signature == known:
                        return []
                elif is_other or position > signature[1]:
                    position = 0
                events, self._positions[path] = self._read(path, file, position)
                self._signatures[path] = signature
                return events
        except OSError as error:
            self._warn(Trouble("unreadable", path, error.strerror or str(error)))
            return []

    def _read(self, path: str, file: BinaryIO, position: int) -> tuple[list[BehavioralEvent], int]:
        """Return the events behind a position, and the position behind them."""
        status = os.fstat(file.fileno())
        if kind_of(path) == DOCUMENT:
            found = self._document(path, file, status)
            # What is not complete yet is not processed: it stays to be read.
            return ([], 0) if found is None else (found, PROCESSED)
        events: list[BehavioralEvent] = []
        for offset, data, length in _whole_lines(file, position):
            if data:
                events += self._events(path, decode_lines(data, offset), status)
            else:
                detail = f"longer than {MAX_LINE_BYTES} bytes"
                self._warn_reject(path, Reject("line_too_long", detail, offset, length, b""))
            position = offset + length
        return events, position

    def _document(self, path: str, file: BinaryIO, status: os.stat_result) -> list[BehavioralEvent] | None:
        if status.st_size > MAX_DOCUMENT_BYTES:
            detail = f"larger than {MAX_DOCUMENT_BYTES} bytes: write JSON lines instead"
            self._warn_reject(path, Reject("document_too_large", detail, 0, status.st_size, b""))
            return []
        elements = decode_document(file.read(MAX_DOCUMENT_BYTES))
        if isinstance(elements, Reject):
            self._warn_reject(path, elements)
            return None if elements.reason == "incomplete_json" else []
        decoded = Decoded([], [], [], [])
        for number, element in enumerate(elements):
            if isinstance(element, Reject):
                decoded.rejects.append(element)
            else:
                decoded.records.append(element)
                decoded.offsets.append(number)
        return self._events(path, decoded, status)

    def _events(self, path: str, decoded: Decoded, status: os.stat_result) -> list[BehavioralEvent]:
        rows, misfits = self._mapping.rows(decoded)
        for item in sorted(decoded.rejects + misfits, key=lambda item: item.offset):
            self._warn_reject(path, item)
        records: dict[int, Record] = dict(zip(decoded.offsets, decoded.records, strict=True))
        file_time = min(status.st_mtime_ns // 1000, now_us())
        prefix = blake2b(os.fsencode(os.path.abspath(path)), digest_size=6).hexdigest()
        return [
            BehavioralEvent(
                event_id=f"{prefix}-{offset}",
                agent_id=agent_id,
                event_type=event_type,
                entropy=entropy / UNITS,
                timestamp=iso(file_time if at_us is None else at_us),
                metadata=native_metadata(records[offset]),
            )
            for at_us, agent_id, event_type, entropy, offset in zip(
                rows.at_us, rows.agent_ids, rows.event_types, rows.entropies, rows.offsets, strict=True
            )
        ]

    def _warn(self, trouble: Trouble) -> None:
        _logger.warning("%s: %s (%s)", _printable(trouble.path), trouble.detail, trouble.kind)

    def _warn_reject(self, path: str, item: Reject) -> None:
        _logger.warning(
            "%s, offset %d: rejected, %s (%s)",
            _printable(path),
            item.offset,
            _visible(item.detail),
            item.reason,
        )


def _opened(path: str) -> BinaryIO:
    file = os.fdopen(open_regular(path), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "pipes, sockets and devices are not read")
    return file


def _whole_lines(file: BinaryIO, offset: int) -> Iterator[tuple[int, bytes, int]]:
    """Yield (offset, whole lines, their length) in pieces; a line over the limit has no bytes."""
    file.seek(offset)
    rest, skipped = b"", 0
    while data := file.read(CHUNK_BYTES):
        if skipped:
            end = data.find(b"\n") + 1
            skipped += end or len(data)
            if not end:
                continue
            yield offset, b"", skipped
            offset, skipped, data = offset + skipped, 0, data[end:]
        data = rest + data
        end = data.rfind(b"\n") + 1
        if end:
            yield offset, data[:end], end
        offset, rest = offset + end, data[end:]
        if len(rest) > MAX_LINE_BYTES:
            rest, skipped = b"", len(rest)


def _printable(path: str) -> str:
    return _visible(printable_path(path))


def _visible(text: str) -> str:
    # Where the warning goes, terminals included, is up to the application.
    cut = text[:400]
    return cut if cut.isprintable() else ascii(cut)[1:-1]


def _signature(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns

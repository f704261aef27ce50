"""WordPressSentinel: the library face of tail and decode, for one telemetry directory.

It keeps positions in memory only and raises nothing for bad input: what cannot be read is logged as a
warning, with path and offset, and skipped. The daemon (``sentineld run``) is the durable way.
"""

import logging
import os
from hashlib import blake2b
from pathlib import Path

from sentineld.clock import now_us
from sentineld.decode import Decoded, Record, Reject, decode_document, decode_lines
from sentineld.entropy import UNITS
from sentineld.event import BehavioralEvent
from sentineld.explain import printable_path
from sentineld.instant import iso
from sentineld.mapping import NativeMapping, native_metadata
from sentineld.tail import DOCUMENT, MAX_DOCUMENT_BYTES, Trouble, kind_of, open_regular, walk

_logger = logging.getLogger(__name__)

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

        A ``.json`` file is read again when it was replaced.
        """
        if not self.telemetry_path.is_dir():
            _logger.warning("there is no telemetry directory %s", printable_path(str(self.telemetry_path)))
            return []
        if not incremental:
            self.reset_positions()
        events: list[BehavioralEvent] = []
        for entry in walk(str(self.telemetry_path), self._warn):
            if kind_of(entry.name) is not None:
                events += self._read_new(entry.path)
        return events

    def extract_events(self, path: str | os.PathLike[str]) -> list[BehavioralEvent]:
        """Return every event of one file as it is now, whatever was read before; positions stay."""
        name = os.fspath(path)
        events, _, _ = self._extract(name, 0)
        return events

    def get_file_position(self, path: str | os.PathLike[str]) -> int:
        """Return where the next scan starts: a byte offset, 0 for an unknown file, -1 for a ``.json`` read."""
        return self._positions.get(os.fspath(path), 0)

    def set_file_position(self, path: str | os.PathLike[str], position: int) -> None:
        """Set where the next scan starts: a byte offset at a line's start; -1 marks a ``.json`` file as read.

        Raises ``ValueError`` below -1.
        """
        if position < PROCESSED:
            raise ValueError(f"a position is a byte offset, or -1, not {position}")
        name = os.fspath(path)
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
        position = self.get_file_position(path)
        if kind_of(path) == DOCUMENT:
            try:
                signature = _signature(os.stat(path, follow_symlinks=False))
            except OSError as error:
                self._warn(Trouble("unreadable", path, str(error)))
                return []
            if position == PROCESSED and self._signatures.get(path) == signature:
                return []
            position = 0
        events, reached, signature = self._extract(path, position)
        if reached is not None:
            self._positions[path] = reached
            self._signatures[path] = signature
        return events

    def _extract(
        self, path: str, position: int
    ) -> tuple[list[BehavioralEvent], int | None, tuple[int, int, int]]:
        try:
            fd = open_regular(path)
        except OSError as error:
            self._warn(Trouble("unreadable", path, error.strerror or str(error)))
            return [], None, (0, 0, 0)
        with os.fdopen(fd, "rb") as file:
            status = os.fstat(fd)
            signature = _signature(status)
            if kind_of(path) == DOCUMENT:
                events = self._document(path, file.read(MAX_DOCUMENT_BYTES + 1), status)
                return events, PROCESSED, signature
            # A file that is shorter than what was read has begun anew.
            start = position if 0 <= position <= status.st_size else 0
            events = []
            file.seek(start)
            offset = start
            while data := file.readlines(1 << 20):
                if not data[-1].endswith(b"\n"):
                    data.pop()
                lines = b"".join(data)
                if not lines:
                    break
                events += self._events(path, decode_lines(lines, offset), status)
                offset += len(lines)
            return events, offset, signature

    def _document(self, path: str, data: bytes, status: os.stat_result) -> list[BehavioralEvent]:
        elements = decode_document(data)
        if isinstance(elements, Reject):
            self._warn_reject(path, elements)
            return []
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
        _logger.warning("%s: %s (%s)", printable_path(trouble.path), trouble.detail, trouble.kind)

    def _warn_reject(self, path: str, item: Reject) -> None:
        _logger.warning(
            "%s, offset %d: rejected, %s (%s)", printable_path(path), item.offset, item.detail, item.reason
        )


def _signature(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns

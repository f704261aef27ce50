"""Content: how a file is framed whose name does not tell, and where reading goes on when that changes.

A ``.json`` file may be one document, or lines or values that are appended. One object by itself is read as a
document; when another one is appended, the file is read on behind the first.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b

from sentineld.decode import Record, Reject, decode_document, encode_element
from sentineld.documents import Documents, signature_of
from sentineld.files import Files
from sentineld.framing import COMPRESSED_LINES, DOCUMENT, LINES, first_value, sniff
from sentineld.identity import Source, generation, new_source, proven
from sentineld.rotation import base_of
from sentineld.tree import base_name, kind_of, uncompressed_name

#: Bytes by which an element of a document is known again.
HASH_BYTES = 16
#: The beginning of a file that is looked at first; mostly it is enough.
_HEAD_BYTES = 65_536
#: Paths of which it is remembered what the configuration says of them.
_MAX_CLAIMS = 65_536

#: What is said of a file that is not read, whatever its name.
NO_TELEMETRY = ""
#: Says how the file of a path is framed (``lines``, ``stream``, ``document``); None: its name and its content
#: tell; or ``NO_TELEMETRY``.
Claims = Callable[[str], str | None]


def no_claims(_path: str) -> None:
    """Leave every file to its name and its content."""


@dataclass(slots=True)
class Content:
    """How files are framed: by what the configuration claims, by their names, or by what they hold."""

    files: Files
    documents: Documents
    next_id: Callable[[], int]
    line_bytes: int = 0
    _judge: Callable[[str], tuple[str | None, bool]] = field(init=False)

    def configure(self, claims: Claims, line_bytes: int) -> None:
        """Ask ``claims`` from here on; ``line_bytes`` is the longest record accepted."""

        def ask(path: str) -> str | None:
            said = claims(path)
            # A rotated file is framed as the one that it was.
            base = "" if said else _former_name(path)
            return (claims(base) if base else None) or said

        def judge(path: str) -> tuple[str | None, bool]:
            claimed = ask(path)
            return claimed, claimed != NO_TELEMETRY and (claimed or kind_of(path)) is not None

        self._judge, self.line_bytes = lru_cache(_MAX_CLAIMS)(judge), line_bytes

    def is_telemetry(self, path: str) -> bool:
        """Say whether a path carries telemetry, by its name or because the configuration claims it."""
        return self._judge(path)[1]

    def framing(self, path: str, fd: int, status: os.stat_result, *, is_final: bool) -> str | None:
        """Say how an open file that is not known is framed; None: a document that may be changing now.

        Raises ``OSError``.
        """
        claimed, _ = self._judge(path)
        if claimed or kind_of(path) != DOCUMENT:
            return claimed or LINES
        original = self.files.at(base_of(self.files, path))
        if original is not None:
            return original.source.kind
        kind = framing_of(fd, self.line_bytes)
        document = self.documents.read_from((status.st_dev, status.st_ino))
        if (
            kind == DOCUMENT
            or document is None
            or self.documents.is_settled(path, signature_of(status), is_final=is_final)
            or behind_document(document, fd, kind, self.line_bytes)
        ):
            return kind
        return None

    def begin_behind(self, path: str, fd: int, status: os.stat_result, kind: str) -> Source | None:
        """Return the source that goes on behind what was read of a file while it was a document.

        The document is followed no longer. None: there was none, or the file begins otherwise. Raises
        ``OSError``.
        """
        key = (status.st_dev, status.st_ino)
        document = self.documents.read_from(key)
        is_here = document is not None and _is_file(document, path, fd)
        if not is_here:
            document = self.documents.away(key)
            if document is None or not _is_file(document, path, fd):
                document = self.documents.at(path)
        if document is None:
            return None
        is_same = document.owner == status.st_uid
        end = behind_document(document, fd, kind, self.line_bytes) if is_same else 0
        # Another file that is no document may stand where one stood that was renamed.
        if end or is_here or not document.signature:
            self.documents.leave(document)
        if not end:
            if is_here and is_same and len(document.elements) > HASH_BYTES:
                self.documents.tell_rewritten(document)
            return None
        new = new_source(self.next_id(), path, fd, status, kind, document.look_us)
        new.path, new.format, new.kept = document.path, document.format, document.kept
        new = proven(new, fd, end)
        # Committed at once, together with the document's end.
        self.files.begin(new)
        return new


def _is_file(document: Source, path: str, fd: int) -> bool:
    """Say whether an open file with a document's inode is its file, and none that got the inode since."""
    now = generation(fd)
    return now == document.generation if now and document.generation else path == document.last_path


def _former_name(path: str) -> str:
    return uncompressed_name(path) if kind_of(path) == COMPRESSED_LINES else base_name(path)


def framing_of(fd: int, line_bytes: int) -> str:
    """Say how an open file is framed; what cannot be known yet is a document. Raises ``OSError``.

    Where the first value is longer than ``line_bytes``, it can only be a document.
    """
    head = os.pread(fd, _HEAD_BYTES, 0)
    framing = sniff(head)
    if framing is None and len(head) == _HEAD_BYTES < line_bytes:
        framing = sniff(os.pread(fd, line_bytes + 2, 0))
    return framing or DOCUMENT


def behind_document(document: Source, fd: int, kind: str, line_bytes: int) -> int:
    """Return where an open file goes on behind the one object that was read of a document.

    0: it does not begin with that object. Raises ``OSError``.
    """
    head = os.pread(fd, line_bytes + 2, 0)
    found = first_object(document, head)
    if found is None:
        return 0
    _, end = found
    return end if kind != LINES else head.find(b"\n", end) + 1


def first_object(document: Source, head: bytes) -> tuple[Record | Reject, int] | None:
    """Return the one object that was read of a document, and where it ends, if ``head`` begins with it."""
    if len(document.elements) != HASH_BYTES:
        return None
    start, end = first_value(head)
    elements = decode_document(head[start:end])
    if isinstance(elements, Reject) or element_hash(elements[0]) != document.elements:
        return None
    return elements[0], end


def element_hash(element: Record | Reject) -> bytes:
    """Return the 16 bytes by which an element of a document is known again."""
    data = element.head if isinstance(element, Reject) else encode_element(element)
    return blake2b(data, digest_size=HASH_BYTES).digest()

"""Content: how a file is framed whose name does not tell, and where reading goes on when that changes.

A ``.json`` file may be one document, or lines or values that are appended. One object by itself is read as a
document; when another one is appended, the file is read on behind the first.
"""

import os
from hashlib import blake2b

from sentineld.decode import Record, Reject, decode_document, encode_element
from sentineld.framing import DOCUMENT, LINES, first_value, sniff
from sentineld.identity import Source

#: Bytes by which an element of a document is known again.
HASH_BYTES = 16
#: The beginning of a file that is looked at first; mostly it is enough.
_HEAD_BYTES = 65_536


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
    if len(document.elements) != HASH_BYTES:
        return 0
    head = os.pread(fd, line_bytes + 2, 0)
    start, end = first_value(head)
    elements = decode_document(head[start:end])
    if isinstance(elements, Reject) or element_hash(elements[0]) != document.elements:
        return 0
    return end if kind != LINES else head.find(b"\n", end) + 1


def element_hash(element: Record | Reject) -> bytes:
    """Return the 16 bytes by which an element of a document is known again."""
    data = element.head if isinstance(element, Reject) else encode_element(element)
    return blake2b(data, digest_size=HASH_BYTES).digest()

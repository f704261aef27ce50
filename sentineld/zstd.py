"""Zstandard: unpacks a compressed file within bounds, into a file without a name.

The library is an optional extra: ``pip install 'sentineld[zstd]'``; Python has it from 3.14 on.
"""

import importlib
import os
import tempfile
from collections.abc import Generator, Iterator
from functools import lru_cache
from typing import Any

from sentineld.errors import SentineldError

#: Largest compressed file that is unpacked, and largest unpacked one.
MAX_PACKED_BYTES = 64 << 20
MAX_UNPACKED_BYTES = 256 << 20
#: Frames of one file: each costs time, however little it holds.
_MAX_FRAMES = 10_000
#: Memory that unpacking may take, as a power of two, bytes.
_MAX_WINDOW_LOG = 25
_PIECE_BYTES = 1 << 17
#: Between two pauses.
_PAUSE_BYTES, _PAUSE_FRAMES = 4 << 20, 256


class NoZstdError(SentineldError):
    """No Zstandard library is installed."""


class UnfinishedError(SentineldError):
    """The compressed file ends too early: it is being written, or its writer died."""


class RefusedError(SentineldError):
    """The compressed file is malformed or over a limit; ``reason`` is one word for counting."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def unpack(fd: int) -> int:
    """Return a descriptor of an unpacked copy of an open file, which the caller closes.

    Raises ``NoZstdError``, ``UnfinishedError``, ``RefusedError`` and ``OSError``.
    """
    work = unpacking(fd)
    while True:
        try:
            next(work)
        except StopIteration as end:
            return int(end.value)


def unpacking(fd: int) -> Generator[None, None, int]:
    """Do as ``unpack``, with a pause every few milliseconds: a few bytes may hold hundreds of megabytes."""
    zstd = _library()
    if os.fstat(fd).st_size > MAX_PACKED_BYTES:
        raise RefusedError("compressed_too_large", f"larger than {MAX_PACKED_BYTES} bytes, compressed")
    with tempfile.TemporaryFile(buffering=0) as file:
        try:
            yield from _unpack(zstd, fd, file.fileno())
        except zstd.ZstdError as error:
            raise RefusedError("malformed_zstd", str(error)) from error
        return os.dup(file.fileno())


def _unpack(zstd: Any, fd: int, out: int) -> Iterator[None]:  # noqa: ANN401 (a module)
    options = {zstd.DecompressionParameter.window_log_max: _MAX_WINDOW_LOG}
    position = size = 0
    rest = b""
    for number in range(_MAX_FRAMES):
        if not number % _PAUSE_FRAMES:
            yield
        if not rest:
            rest = os.pread(fd, _PIECE_BYTES, position)
            position += len(rest)
            if not rest:
                return
        decoder = zstd.ZstdDecompressor(options=options)
        while not decoder.eof:
            if decoder.needs_input and not rest:
                rest = os.pread(fd, _PIECE_BYTES, position)
                position += len(rest)
                if not rest:
                    raise UnfinishedError("the file ends inside of a frame")
            data = decoder.decompress(rest, _PIECE_BYTES)
            rest = b""
            size += len(data)
            if size > MAX_UNPACKED_BYTES:
                detail = f"more than {MAX_UNPACKED_BYTES} bytes when unpacked"
                raise RefusedError("compressed_too_large", detail)
            view = memoryview(data)
            while view:
                view = view[os.write(out, view) :]
            if size // _PAUSE_BYTES != (size - len(data)) // _PAUSE_BYTES:
                yield
        rest = decoder.unused_data
    if rest or os.pread(fd, 1, position):
        raise RefusedError("compressed_too_large", f"more than {_MAX_FRAMES} frames")


@lru_cache(1)
def _library() -> Any:  # noqa: ANN401 (a module)
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise NoZstdError("compressed files are not read", hint="pip install 'sentineld[zstd]'")

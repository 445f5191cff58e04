"""Arrays ⇄ bytes of a file, held once: three hours of codes are 26 MB, not five times that."""

from __future__ import annotations

import io
from typing import BinaryIO

import numpy as np

from vqtok.errors import CodesError


def view(array: np.ndarray) -> memoryview:
    """Return the bytes of a C-contiguous array, not copied."""
    return array.reshape(-1).view(np.uint8).data


def write(stream: BinaryIO, data: memoryview) -> None:
    """Write all of it: unbuffered streams may take less at a time."""
    while len(data):
        data = data[stream.write(data) or 0 :]


class Spool(io.BytesIO):
    """A stream as a file in memory, read from it as far as is asked for."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream

    def hold(self, size: int) -> int:
        """Read until there are so many bytes or the stream ends; return how many there are."""
        position, held = self.tell(), self.seek(0, io.SEEK_END)
        while held < size and (piece := self._stream.read(min(1 << 20, size - held))):
            held += self.write(piece)
        self.seek(position)
        return held

    def read(self, size: int | None = -1, /) -> bytes:
        """Read ``size`` bytes, fewer at the end; of what is there already, all if negative."""
        if size is not None and size > 0:
            self.hold(self.tell() + size)
        return super().read(size)


def array(stream: BinaryIO, start: int, dtype: np.dtype, count: int) -> np.ndarray:
    """Read ``count`` items at offset ``start``.

    Args:
        stream: A file, or a ``Spool``; the caller knows that it is long enough.
        start: Offset of the first byte.
        dtype: Of the items.
        count: How many.

    Returns:
        (count,) of that dtype, which may be written to.

    Raises:
        CodesError: the stream ended before.
    """
    if isinstance(stream, io.BytesIO):
        stop = start + count * dtype.itemsize
        return np.frombuffer(stream.getbuffer()[start:stop], dtype=dtype)
    out = np.empty(count, dtype=dtype)
    stream.seek(start)
    fill(stream, out)
    return out


def fill(stream: BinaryIO, out: np.ndarray) -> None:
    """Read the next bytes of a stream into an array.

    Raises:
        CodesError: the stream ended before.
    """
    data, at = view(out), 0
    while at < len(data):
        # Unbuffered streams have readinto as buffered ones do, and may give less at a time.
        count = stream.readinto(data[at:])  # type: ignore[attr-defined]
        if not count:
            raise CodesError("truncated")
        at += count

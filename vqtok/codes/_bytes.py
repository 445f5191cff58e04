"""Arrays ⇄ bytes of a file, held once: three hours of codes are 26 MB, not five times that."""

from __future__ import annotations

import io
from collections.abc import Callable
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


def spooled(stream: BinaryIO, *, begins: Callable[[bytes], bool]) -> io.BytesIO:
    """Read the rest of a stream into memory, where ``array`` finds it without another copy.

    Of a stream that begins otherwise only the first piece is read: it may have no end.
    """
    whole = io.BytesIO()
    while piece := stream.read(1 << 20):
        whole.write(piece)
        if whole.tell() >= 9 and not begins(bytes(whole.getbuffer()[:9])):
            break
    return whole


def array(stream: BinaryIO, start: int, dtype: np.dtype, count: int) -> np.ndarray:
    """Read ``count`` items at offset ``start``.

    Args:
        stream: A file, or what ``spooled`` gave; the caller knows that it is long enough.
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

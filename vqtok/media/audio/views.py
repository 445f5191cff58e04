"""Parts of a file as a file of their own: what libsndfile is to read, and nothing else."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable
from contextlib import suppress
from itertools import accumulate
from typing import BinaryIO, NamedTuple, cast


class Run(NamedTuple):
    """Bytes that lie together."""

    offset: int
    size: int


class Lenient:
    """A read-only file that stays where it is when it is sent where no file can be.

    A damaged header sends libsndfile to negative offsets and beyond 2^63, where files raise: an
    exception would be lost in C, but not without its traceback on stderr.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.read, self.tell = stream.read, stream.tell
        if hasattr(stream, "readinto"):
            self.readinto = stream.readinto

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move as files do, or not at all."""
        with suppress(ValueError, OverflowError, OSError):
            self._stream.seek(offset, whence)
        return self._stream.tell()


class View:
    """A read-only file: ``head``, then runs of a stream."""

    def __init__(self, head: bytes, stream: BinaryIO, runs: Iterable[Run]) -> None:
        self._head, self._stream = head, stream
        self._runs = [run for run in runs if run.size > 0]
        # Where each run begins in this file, and where the last one ends.
        self._starts = list(accumulate((run.size for run in self._runs), initial=len(head)))
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        """Read up to ``size`` bytes, all if negative."""
        end = self._starts[-1] if size < 0 else min(self._starts[-1], self._at + size)
        parts = []
        while self._at < end:
            data = self._some(end - self._at)
            if not data:
                break  # the stream has become shorter
            parts.append(data)
            self._at += len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move as files do."""
        start = {os.SEEK_CUR: self._at, os.SEEK_END: self._starts[-1]}.get(whence, 0)
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        """Offset of the next byte."""
        return self._at

    def seekable(self) -> bool:
        """Always."""
        return True

    def _some(self, size: int) -> bytes:
        """Returns bytes of the run at the present offset, at most ``size``."""
        if self._at < len(self._head):
            return self._head[self._at : self._at + size]
        index = bisect_right(self._starts, self._at) - 1
        skip, run = self._at - self._starts[index], self._runs[index]
        self._stream.seek(run.offset + skip)
        return self._stream.read(min(size, run.size - skip))


def view(stream: BinaryIO, runs: Iterable[Run], *, head: bytes = b"") -> BinaryIO:
    """Make a file of ``head`` and of runs of a stream."""
    return cast(BinaryIO, View(head, stream, runs))


def behind(stream: BinaryIO, offset: int, *, head: bytes = b"") -> BinaryIO:
    """Make a file of ``head`` and of what a stream holds from an offset on."""
    return view(stream, [Run(offset, size_of(stream) - offset)], head=head)


def size_of(stream: BinaryIO) -> int:
    """Bytes of a seekable stream."""
    return stream.seek(0, os.SEEK_END)


def bytes_at(stream: BinaryIO, offset: int, size: int) -> bytes:
    """Read so many bytes at an offset, fewer at the end."""
    stream.seek(offset)
    return stream.read(size)

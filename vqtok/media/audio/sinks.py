"""Where libsndfile writes: a file, or a pipe that cannot be wound back."""

from __future__ import annotations

import os
from typing import BinaryIO

from vqtok.media.audio import wav


class FileSink:
    """A file that remembers the first error, a Ctrl-C too, which would be lost in C otherwise."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self._error: BaseException | None = None

    def write(self, data: bytes) -> int:
        """Append, if nothing went wrong so far."""
        if self._error is None:
            try:
                return self.stream.write(data)
            except BaseException as error:
                self._error = error
        return len(data)

    def read(self, size: int = -1) -> bytes:
        """Read up to ``size`` bytes."""
        return self.stream.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move as files do."""
        try:
            return self.stream.seek(offset, whence)
        except BaseException as error:  # seeking flushes the buffer
            self._error = self._error or error
            return 0

    def tell(self) -> int:
        """Offset of the next byte."""
        return self.stream.tell()

    def check(self) -> None:
        """Raise the error that a write met.

        Raises:
            OSError: the disk is full, ….
        """
        if self._error is not None:
            raise self._error


class WavSink:
    """A WAV that leaves as it is made, through a pipe.

    The header is held until the first samples; it then says how many bytes of them there will be,
    or the largest size if that is not known. What libsndfile corrects in it at the end is dropped,
    unless the stream can seek: then the sizes are put there after all. Nothing is written while
    libsndfile calls, since an error or a signal would be lost in C, but by ``flush``.

    Args:
        stream: Where it goes.
        size: Bytes of all samples; None: unknown.
    """

    def __init__(self, stream: BinaryIO, size: int | None) -> None:
        self.stream, self._size = stream, size
        self._head, self._body, self._waiting = bytearray(), 0, b""
        self._at, self._start = 0, _position(stream)
        self._begun = False

    def write(self, data: bytes) -> int:
        """Take a piece of the header, or samples."""
        if not self._begun:
            self._head[self._at : self._at + len(data)] = data
        elif self._at >= len(self._head):
            self._body += len(data)
            self._waiting += data
        self._at += len(data)
        return len(data)

    def begin(self) -> None:
        """Returns the header is complete, what follows are samples."""
        if not self._begun:
            self._begun = True
            self._waiting = wav.sized(bytes(self._head), self._size)

    def flush(self) -> None:
        """Send what there is.

        Raises:
            OSError: the pipe is closed, ….
        """
        view, self._waiting = memoryview(self._waiting), b""
        while len(view):
            view = view[self.stream.write(view) or 0 :]
        self.stream.flush()

    def finish(self) -> None:
        """Returns all samples are there; called when libsndfile has closed.

        Raises:
            OSError: the pipe is closed, ….
        """
        self.flush()
        if self._size == self._body or self._start is None or self._body > wav.MAX_BYTES:
            return
        self.stream.seek(self._start)
        self._waiting = wav.sized(bytes(self._head), self._body)
        self.flush()
        self.stream.seek(self._start + len(self._head) + self._body)

    def read(self, size: int = -1) -> bytes:
        """Nothing: this is written only."""
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move libsndfile's idea of where it is."""
        start = {os.SEEK_CUR: self._at, os.SEEK_END: len(self._head) + self._body}.get(whence, 0)
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        """Offset of the next byte."""
        return self._at


def _position(stream: BinaryIO) -> int | None:
    """Returns where a stream is; None if it cannot be wound back to there."""
    try:
        if not stream.seekable() or _appends(stream):
            return None
        return stream.tell()
    except (OSError, AttributeError):
        return None


def _appends(stream: BinaryIO) -> bool:
    # After `>> file` every write goes to the end, wherever one is.
    try:
        import fcntl

        return bool(fcntl.fcntl(stream.fileno(), fcntl.F_GETFL) & os.O_APPEND)
    except (ImportError, OSError):
        return False

"""Codes of a recording whose length is not known yet: the stream form of ``.npy``.

A stream is several ``.npy`` records one after the other, which numpy documents ("several saves, one
file"), so that it can be read while it is written:

* the opening record, uint8: JSON that begins with ``{"stream":1,``, the header of a codes file
  without its extent and its source's length;
* pieces of codes, (q, t) or for C > 1 channels (c, q, t), in order; codes without stages are
  (c, t) for one channel too, so that no piece is ever mistaken for text;
* the closing record, uint8: the whole header. A stream without it was cut.

Only audio of one level has such a form: a picture's size is known before its first code.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from vqtok.codes import _bytes, npy
from vqtok.codes import header as headers
from vqtok.codes.container import Codes
from vqtok.codes.header import Header
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.errors import CodesError

_PIECE_BYTES = 1 << 20  # written
_MOST_BYTES = 1 << 26  # read: of one record, whatever it declares
_MOST_TEXT = 1 << 20

MOST_HELD = 1 << 30
"""Bytes of codes from a pipe that are held in memory, where they are not decoded as they come."""


class Writer:
    """Write a stream, each record there at once for whoever reads.

    Args:
        stream: Gets the opening record now; need not be able to seek.
        header: Its extent and its source's length do not matter yet.

    Raises:
        CodesError: codes that have no stream form.
        OSError: the stream cannot be written.
    """

    def __init__(self, stream: BinaryIO, header: Header) -> None:
        self._level = streamed_level(header.spec)
        self._stream, self._header, self._frames = stream, header, 0
        self._text(headers.encode_opening(header))

    def write(self, piece: np.ndarray) -> None:
        """Append (C, *axes) codes of some frames.

        Raises:
            CodesError: a shape or codes that the header does not allow.
            OSError: the stream cannot be written.
        """
        if not piece.shape[-1]:
            return
        codes = check_piece(self._level, piece, channels=self._header.channels)
        size = max(1, codes.nbytes // codes.shape[-1])
        frames = max(1, _PIECE_BYTES // size)
        for start in range(0, codes.shape[-1], frames):
            part = codes[..., start : start + frames]
            if len(part) == 1 and part.ndim > 2:
                part = part[0]
            npy.append(self._stream, part)
        self._frames += codes.shape[-1]
        self._stream.flush()

    def close(self, header: Header) -> None:
        """Append the closing record: the same header, its extent and source complete.

        Raises:
            CodesError: an extent of another number of frames.
            OSError: the stream cannot be written.
        """
        _check_closing(self._header, header, self._level, self._frames)
        self._text(headers.encode(header))

    def _text(self, text: str) -> None:
        npy.append(self._stream, np.frombuffer(text.encode(), dtype=np.uint8))
        self._stream.flush()


class Incoming:
    """Reads a binary stream in order; its beginning can be looked at before."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._head = stream, b""

    def is_codes_stream(self) -> bool:
        """Tell whether a stream of codes comes; only its first bytes are waited for."""
        head = self._peek(10)
        if not head.startswith(npy.MAGIC + b"\x01\x00") or len(head) < 10:
            return False
        start = 10 + int.from_bytes(head[8:10], "little")
        mark = headers.OPENING.encode()
        return self._peek(start + len(mark))[start:] == mark

    def read(self, size: int = -1) -> bytes:
        """Read ``size`` bytes, fewer at the end; all if negative."""
        if size < 0:
            data, self._head = self._head + self._stream.read(), b""
            return data
        head = self._peek(size) if size else b""
        self._head = head[size:]
        return head[:size]

    def readinto(self, buffer: memoryview) -> int:
        """Read what is there into a buffer, at least one byte but at the end."""
        if self._head:
            count = min(len(buffer), len(self._head))
            buffer[:count], self._head = self._head[:count], self._head[count:]
            return count
        return int(self._stream.readinto(buffer) or 0)  # type: ignore[attr-defined]

    def _peek(self, size: int) -> bytes:
        while len(self._head) < size:
            more = self._stream.read(size - len(self._head))
            if not more:
                break
            self._head += more
        return self._head


class Reader:
    """Read a stream as it arrives, everything checked.

    Attributes:
        header: The opening record; extent ().
        closing: The closing record, once all pieces were taken; None before.

    Raises:
        CodesError: the opening record is damaged, truncated, or of codes that have no stream form.
    """

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming
        text = self._record()
        if text is None or text.ndim != 1 or text.dtype != np.uint8:
            raise CodesError("damaged header: not the first record")
        self.header = headers.decode(text.tobytes(), opening=True)
        self.closing: Header | None = None
        self._level = streamed_level(self.header.spec)

    def pieces(self, *, held: bool = False) -> Iterator[np.ndarray]:
        """Yield the codes, in order, once.

        Args:
            held: The caller keeps all of them: there may be ``MOST_HELD`` bytes.

        Yields:
            (C, *axes) of the level's dtype.

        Raises:
            CodesError: after all whole pieces: truncated, damaged, or out of range.
        """
        frames, size, channels, depth = 0, 0, self.header.channels, None
        while (found := self._record()) is not None:
            if found.ndim == 1 and found.dtype == np.uint8:
                self._close(found, frames)
                return
            whole = found if found.ndim > len(self._level.axes) else found[None]
            piece = check_piece(self._level, whole, channels=channels)
            if depth is not None and piece.shape[1:-1] != depth:
                raise CodesError("damaged: pieces of different depths")
            if not piece.shape[-1]:  # nothing would ever come of them
                raise CodesError("damaged: a piece without codes")
            depth, frames = piece.shape[1:-1], frames + piece.shape[-1]
            size += piece.nbytes
            if held and size > MOST_HELD:
                raise CodesError(
                    f"more than {MOST_HELD} bytes of codes, and their end is needed first",
                    hint="decode shorter recordings",
                )
            yield piece
        raise CodesError("truncated: the stream ends without its closing record")

    def _close(self, text: np.ndarray, frames: int) -> None:
        closing = headers.decode(text.tobytes())
        _check_closing(self.header, closing, self._level, frames)
        if self._incoming.read(1):
            raise CodesError("damaged: bytes after the closing record")
        self.closing = closing

    def _record(self) -> np.ndarray | None:
        """Read the next record; None at the end."""
        if not self._incoming._peek(1):
            return None
        where = npy.next_record(self._incoming)  # type: ignore[arg-type]
        dtype = np.dtype(where.dtype)
        size = math.prod(where.shape) * dtype.itemsize
        is_text = len(where.shape) == 1 and dtype == np.uint8
        if size > (_MOST_TEXT if is_text else _MOST_BYTES) or where.fortran:
            raise CodesError(f"damaged: impossible record of {size} bytes")
        out = np.empty(where.shape, dtype=dtype)
        _bytes.fill(self._incoming, out)  # type: ignore[arg-type]
        return out


def read(incoming: Incoming) -> tuple[Codes, Header]:
    """Read a whole stream.

    Raises:
        CodesError: truncated, damaged, or out of range.
    """
    reader = Reader(incoming)
    codes = join(list(reader.pieces(held=True)))
    if reader.closing is None or codes is None:
        raise CodesError("no codes in the stream")
    header = reader.closing
    return Codes(header.spec, (codes,), header.extent).check().numpy(), header


def read_closing(stream: BinaryIO, size: int) -> Header:
    """Read the whole header of a stream in a file of that size, by a small read per record.

    Raises:
        CodesError: truncated or damaged.
    """
    at, where = 0, None
    while at < size:
        where = npy.record(stream, at, size)
        at = where.stop
    if where is None or where.start == at or where.dtype[-2:] != "u1" or len(where.shape) != 1:
        raise CodesError("truncated: the stream ends without its closing record")
    return headers.decode(npy.array(stream, where).tobytes())


def join(pieces: list[np.ndarray]) -> np.ndarray | None:
    """Join pieces along their last axis, each freed as it is copied; None if there are none."""
    if not pieces:
        return None
    frames = sum(piece.shape[-1] for piece in pieces)
    out = np.empty((*pieces[0].shape[:-1], frames), dtype=pieces[0].dtype)
    pieces.reverse()
    at = 0
    while pieces:
        piece = pieces.pop()
        out[..., at : at + piece.shape[-1]] = piece
        at += piece.shape[-1]
    return out


def has_form(spec: CodeSpec) -> bool:
    """Tell whether codes have a stream form: audio of one level, frame by frame."""
    if spec.modality != "audio" or len(spec.levels) != 1:
        return False
    return spec.levels[0].axes[-1] == "t" and spec.levels[0].steps == 1 and spec.channels == 1


def streamed_level(spec: CodeSpec) -> LevelSpec:
    """Return the level of codes that have a stream form.

    Raises:
        CodesError: they have none.
    """
    if not has_form(spec):
        raise CodesError("only audio codes of one level can be streamed")
    return spec.levels[0]


def check_piece(level: LevelSpec, piece: np.ndarray, *, channels: int) -> np.ndarray:
    """Check some frames of codes and return them in the level's dtype.

    Raises:
        CodesError: a shape or codes that the level does not allow.
    """
    if piece.ndim != 1 + len(level.axes) or len(piece) != channels:
        axes = ", ".join(("C", *level.axes))
        raise CodesError(f"a piece of shape {piece.shape} found, ({axes}) expected, C = {channels}")
    frames = int(piece.shape[-1])
    # The container's own check, on an extent that gives that many frames.
    extent = (frames * level.stride[0],)
    spec = CodeSpec("audio", (level,))
    return np.asarray(Codes(spec, (piece,), extent).check().numpy().levels[0])


def _check_closing(opening: Header, closing: Header, level: LevelSpec, frames: int) -> None:
    if (closing.spec, closing.channels) != (opening.spec, opening.channels):
        raise CodesError("damaged header: the closing record is of other codes than the opening")
    expected = level.shape(closing.extent)[-1]
    if frames != expected:
        raise CodesError(f"{frames} frames found, {expected} expected for {closing.extent}")

"""Codes → recordings: from all of them, or as they arrive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from vqtok.codes import streams
from vqtok.codes.container import Codes
from vqtok.codes.header import Header
from vqtok.errors import CodesError
from vqtok.media import audio
from vqtok.pipeline import channels as channel
from vqtok.pipeline.hearing import Streamed, truncated
from vqtok.pipeline.labels import told

if TYPE_CHECKING:
    from torch import Tensor

# Frames given to a model together; what comes out does not depend on it.
_FRAMES = 1 << 10


def decode(
    tokenizer: Any,
    codes: Codes,
    header: Header,
    target: Path | BinaryIO,
    *,
    native_rate: bool = False,
    format: str | None = None,
    label: str | None = None,
    on_part: Callable[[float], None] = lambda fraction: None,
) -> None:
    """Codes of all channels → a file; only the codes are held."""
    import torch

    total, written = codes.extent[0], 0
    length = _length(header, native_rate=native_rate)
    with _writer(header, target, format, native_rate, length) as writer, torch.inference_mode():
        if tokenizer.exact:
            sound = _sound(tokenizer, _tensors(_cut(codes.levels[0])), total, label)
        else:
            sound = iter([tokenizer.decode(_as_tensors(codes), **told(label))])
        for piece in sound:
            samples = piece.float().cpu().numpy()  # (B, c, n)
            writer.write(channel.ungrouped(samples, channel.restored(header)))
            written += piece.shape[-1]
            on_part(written / max(total, 1))


def decode_stream(
    tokenizer: Any,
    reader: streams.Reader,
    target: Path | BinaryIO,
    *,
    depth: int | None = None,
    native_rate: bool = False,
    format: str | None = None,
    label: str | None = None,
) -> Streamed:
    """Play codes while they arrive.

    Raises:
        CodesError: damaged or truncated; what had arrived before was played, if the target is a
            stream. A file is not left behind.
    """
    import torch

    arriving = _Arriving(reader, depth)
    with _writer(reader.header, target, format, native_rate, None) as writer:
        with torch.inference_mode():
            sound = _sound(tokenizer, _tensors(arriving.pieces()), None, label)
            for piece in arriving.trimmed(sound):
                writer.write(piece.float().cpu().numpy())
        if arriving.error is not None and (isinstance(target, Path) or not arriving.given):
            raise arriving.error
        if reader.closing is not None:
            writer.settle(_length(reader.closing, native_rate=native_rate))
    if arriving.error is not None or reader.closing is None:
        raise arriving.error or CodesError("truncated")
    return Streamed(reader.closing, arriving.shape)


class _Arriving:
    """A stream of codes on its way through a decoder.

    Attributes:
        error: What was wrong with it, known once all pieces are taken.
        given: Samples given so far.
        shape: Of one channel's codes.
    """

    def __init__(self, reader: streams.Reader, depth: int | None) -> None:
        self._reader, self._depth = reader, depth
        self.error: CodesError | None = None
        self.given = 0
        self.shape: tuple[int, ...] = (0,)

    def pieces(self) -> Iterator[np.ndarray]:
        """The codes up to the end or the damage."""
        try:
            for piece in self._reader.pieces():
                kept = truncated(self._reader.header.spec, piece, self._depth)
                self.shape = (*kept.shape[1:-1], self.shape[-1] + kept.shape[-1])
                yield kept
        except CodesError as error:
            # Kept for later: what has arrived is played first.
            self.error = error

    def trimmed(self, sound: Iterable[Tensor]) -> Iterator[Tensor]:
        """(C, n) samples of (C, 1, n) pieces, without those that only fill up the last frame.

        How many these are is told at the end, so that as many as a frame has are held back.
        """
        import torch

        hold = self._reader.header.spec.levels[0].stride[0]
        held: Tensor | None = None
        for piece in sound:
            joined = piece[:, 0] if held is None else torch.cat([held, piece[:, 0]], dim=1)
            cut = max(0, joined.shape[1] - hold)
            held = joined[:, cut:]
            if cut:
                self.given += cut
                yield joined[:, :cut]
        closing = self._reader.closing
        if held is not None:
            rest = held if closing is None else held[:, : max(0, closing.extent[0] - self.given)]
            self.given += rest.shape[1]
            yield rest


def _writer(
    header: Header,
    target: Path | BinaryIO,
    format: str | None,
    native_rate: bool,
    length: int | None,
) -> audio.Writer:
    rate = int(header.spec.rate or 0)
    original = None if native_rate else header.source.rate
    return audio.Writer(
        target, original or rate, channel.restored(header), format, from_rate=rate, length=length
    )


def _length(header: Header, *, native_rate: bool) -> int | None:
    """Samples per channel to restore; None: as they come.

    Raises:
        CodesError: the source's length is not that of the codes.
    """
    source, total, rate = header.source, header.extent[0], int(header.spec.rate or 0)
    if native_rate or source.rate is None:
        return total
    # What is missing is written as silence: a few bytes of codes must not ask for years of it.
    if source.length is not None:
        expected = audio.resampled_length(source.length, source.rate, rate)
        if expected != total:
            raise CodesError(
                f"damaged header: {source.length} samples at {source.rate} Hz are not "
                f"{total} at {rate} Hz"
            )
    return source.length


def _cut(array: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, array.shape[-1], _FRAMES):
        yield array[..., start : start + _FRAMES]


def _sound(
    tokenizer: Any, pieces: Iterable[Tensor], total: int | None, label: str | None
) -> Iterator[Tensor]:
    """Samples (C, 1, n) of codes; all at once from a model that would give others in pieces."""
    import torch

    if tokenizer.exact:
        yield from tokenizer.decode_stream(pieces, total, **told(label))
        return
    whole = torch.cat(list(pieces), dim=-1)
    length = whole.shape[-1] * tokenizer.spec.levels[0].stride[0] if total is None else total
    yield tokenizer.decode(Codes(tokenizer.spec, (whole,), (length,)), **told(label))


def _as_tensors(codes: Codes) -> Codes:
    import torch

    levels = tuple(torch.from_numpy(array.astype(np.int64)) for array in codes.levels)
    return Codes(codes.spec, levels, codes.extent)


def _tensors(pieces: Iterable[np.ndarray]) -> Iterator[Tensor]:
    """The same codes as int64 tensors, which is what models take; eight times as large."""
    import torch

    for piece in pieces:
        yield torch.from_numpy(piece.astype(np.int64))

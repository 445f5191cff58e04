"""Recordings → codes: all of them together, or as the sound arrives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from vqtok.codes import streams
from vqtok.codes.container import Codes
from vqtok.codes.header import Header, Source
from vqtok.media import audio
from vqtok.media.opening import subject
from vqtok.pipeline import channels as channel

if TYPE_CHECKING:
    from torch import Tensor

    from vqtok.codes.spec import CodeSpec


@dataclass(frozen=True)
class Streamed:
    """Codes that went by: what is left to tell of them.

    Attributes:
        header: The closing one.
        shape: Of one channel's codes.
    """

    header: Header
    shape: tuple[int, ...]


def encode(
    tokenizer: Any,
    source: Path | BinaryIO,
    *,
    mono: bool,
    on_part: Callable[[float], None] = lambda fraction: None,
) -> tuple[Codes, Source]:
    """All codes of a recording, held once; its channels are the batch, or coded together."""
    tokenizer.spec.require_codes(tokenizer.name)
    level = tokenizer.spec.levels[0]
    with audio.listen(source) as reader:
        hearing = _Hearing(tokenizer, reader, subject(source), mono=mono, on_part=on_part)
        if not tokenizer.exact:
            return hearing.whole(), hearing.source()
        frames = None if hearing.total is None else level.shape((hearing.total,))[-1]
        array = _gathered(hearing.pieces(), frames)
        return Codes(tokenizer.spec, (array,), (hearing.read,)), hearing.source()


def encode_stream(
    tokenizer: Any,
    source: Path | BinaryIO,
    target: BinaryIO,
    header: Callable[[Source, int, int], Header],
    *,
    mono: bool,
    depth: int | None = None,
    on_part: Callable[[float], None] = lambda fraction: None,
) -> Streamed:
    """Write the codes of a recording while it arrives; memory holds one tile.

    Args:
        tokenizer: Of audio.
        source: A file or a stream.
        target: Gets each piece at once.
        header: Source, channels and samples at the model's rate → header of the codes.
        mono: Mix the channels down to one.
        depth: Keep the first N residual stages; None: all.
        on_part: Told how much is done, 0 to 1, if that is known.

    Raises:
        MediaError: of the source; the stream then lacks its closing record.
        CodesError: a depth that these codes do not have.
        OSError: the target cannot be written.
        UsageError: a model without codes.
    """
    tokenizer.spec.require_codes(tokenizer.name)
    with audio.listen(source) as reader:
        hearing = _Hearing(tokenizer, reader, subject(source), mono=mono, on_part=on_part)
        channels = channel.coded(hearing.channels, tokenizer.spec.channels)
        writer = streams.Writer(target, header(hearing.source(), channels, 1))
        shape: tuple[int, ...] = ()
        for piece in hearing.pieces():
            kept = truncated(tokenizer.spec, piece, depth)
            writer.write(kept)
            shape = kept.shape[1:-1]
        closing = header(hearing.source(), channels, hearing.read)
        writer.close(closing)
        return Streamed(closing, (*shape, closing.spec.shapes(closing.extent)[0][-1]))


class _Hearing:
    """A recording on its way through an encoder."""

    def __init__(
        self,
        tokenizer: Any,
        reader: audio.Reader | audio.Arriving,
        name: str,
        *,
        mono: bool,
        on_part: Callable[[float], None],
    ) -> None:
        self._tokenizer, self._reader, self._name = tokenizer, reader, name
        self._mono, self._on_part = mono, on_part
        self._rate = int(tokenizer.spec.rate)
        self._together = tokenizer.spec.channels
        self.channels = 1 if mono else reader.channels
        self.read = 0
        declared = reader.declared
        known = None if declared is None else (declared, reader.rate, self._rate)
        self.total = None if known is None else audio.resampled_length(*known)

    def source(self) -> Source:
        """What is known of it now."""
        reader = self._reader
        found = None if self._together == 1 else self.channels
        return Source(
            rate=reader.rate, length=reader.length or None, format=reader.format, channels=found
        )

    def whole(self) -> Codes:
        """The codes of a model whose codes would change with the cuts: all of it at once."""
        import torch

        with torch.inference_mode():
            samples = torch.cat(list(self._blocks()), dim=-1)
            codes: Codes = self._tokenizer.encode(samples).numpy()
        return codes

    def pieces(self) -> Iterator[np.ndarray]:
        """Codes (C, *axes) as small integers: an hour of eight stages is 4 MB instead of 17."""
        import torch

        dtype = self._tokenizer.spec.levels[0].dtype
        with torch.inference_mode():
            if not self._tokenizer.exact:
                yield self.whole().levels[0]
                return
            for piece in self._tokenizer.encode_stream(self._blocks()):
                yield piece.cpu().numpy().astype(dtype)

    def _blocks(self) -> Iterator[Tensor]:
        import torch

        for block in self._reader.blocks(self._rate, mono=self._mono):
            self.read += block.shape[-1]
            if self.total is not None:
                self._on_part(self.read / self.total)
            # (C, n) → (B, c, n)
            yield torch.from_numpy(channel.grouped(block, self._together, name=self._name))


def _gathered(pieces: Iterable[np.ndarray], frames: int | None) -> np.ndarray:
    """Pieces along their last axis; where their number of frames is known, each is held once."""
    if frames is None:
        joined = streams.join(list(pieces))
        return np.empty(0) if joined is None else joined
    out, at = np.empty(0), 0
    for piece in pieces:
        if not at:
            out = np.empty((*piece.shape[:-1], frames), dtype=piece.dtype)
        out[..., at : at + piece.shape[-1]] = piece
        at += piece.shape[-1]
    return out[..., :at]


def truncated(spec: CodeSpec, piece: np.ndarray, depth: int | None) -> np.ndarray:
    """A piece (C, *axes) of codes with its first ``depth`` stages; None: all.

    Raises:
        CodesError: a depth that these codes do not have.
    """
    if depth is None:
        return piece
    return np.asarray(Codes(spec, (piece,), ()).truncate(depth).levels[0])

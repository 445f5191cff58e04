"""Recordings ⇄ codes: encoding while sound arrives, decoding while codes arrive.

A decoder that is conditioned on a speaker speaks as loud as its recordings were. So codes of such
models say how loud their source was, and the sound made of them is given that loudness again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from vqtok.codes import streams
from vqtok.codes.container import Codes, Shapes
from vqtok.codes.header import Header, Source
from vqtok.codes.spec import CodeSpec
from vqtok.errors import CodesError, MediaError
from vqtok.media import audio
from vqtok.media.audio import loudness
from vqtok.media.audio.loudness import Loudness
from vqtok.media.opening import subject
from vqtok.protocols import AudioCoder

Levels = tuple[np.ndarray, ...]


def encode(
    coder: AudioCoder,
    source: Path | BinaryIO,
    *,
    mono: bool,
    on_part: Callable[[float], None] = lambda fraction: None,
) -> tuple[Codes, Source]:
    """Encode a recording; its channels are the batch, or are coded together.

    Args:
        coder: Of audio.
        source: A file or a stream.
        mono: Mix the channels down to one.
        on_part: Called with the fraction that is done, if that is known.

    Raises:
        MediaError: of the source.
        UsageError: a model without codes.
    """
    coder.spec.require_codes(coder.name)
    with audio.listen(source) as reader:
        recording = _Recording(coder, reader, subject(source), mono=mono, on_part=on_part)
        shapes = () if recording.total is None else coder.spec.shapes((recording.total,))
        levels = _gathered(coder.encode_stream(recording.blocks()), shapes)
        return Codes(coder.spec, levels, (recording.read,)), recording.source()


def encode_stream(
    coder: AudioCoder,
    source: Path | BinaryIO,
    target: BinaryIO,
    header: Callable[[Source, int, int], Header],
    *,
    mono: bool,
    depth: int | None = None,
    on_part: Callable[[float], None] = lambda fraction: None,
) -> tuple[Header, Shapes]:
    """Write the codes of a recording while it arrives; memory holds one tile.

    Args:
        coder: Of audio, with codes of one level.
        source: A file or a stream.
        target: Gets each piece at once.
        header: Source, channels and samples at the model's rate → header of the codes.
        mono: Mix the channels down to one.
        depth: Keep the first N residual stages; None: all.
        on_part: Called with the fraction that is done, if that is known.

    Returns:
        The closing header, and the shape of one channel's codes.

    Raises:
        MediaError: of the source; the stream then lacks its closing record.
        CodesError: a depth that these codes do not have.
        OSError: the target cannot be written.
        UsageError: a model without codes.
    """
    coder.spec.require_codes(coder.name)
    with audio.listen(source) as reader:
        recording = _Recording(coder, reader, subject(source), mono=mono, on_part=on_part)
        items = items_of(recording.channels, coder.spec.channels)
        writer = streams.Writer(target, header(recording.source(), items, 1))
        shape: tuple[int, ...] = ()
        for piece in coder.encode_stream(recording.blocks()):
            kept = _truncated(coder.spec, piece[0], depth)
            writer.write(kept)
            shape = kept.shape[1:-1]
        closing = header(recording.source(), items, recording.read)
        writer.close(closing)
        return closing, ((*shape, closing.spec.shapes(closing.extent)[0][-1]),)


def decode(
    coder: AudioCoder,
    codes: Codes,
    header: Header,
    target: Path | BinaryIO,
    *,
    native_rate: bool = False,
    format: str | None = None,
    label: str | None = None,
    on_part: Callable[[float], None] = lambda fraction: None,
) -> None:
    """Decode codes of all channels to a file; memory holds the codes alone."""
    total, written = codes.extent[0], 0
    length = _length(header, native_rate=native_rate)
    with _writer(header, target, format, native_rate, length) as writer:
        for samples in _sound(coder, [codes.levels], total, header, label=label):
            writer.write(ungrouped(samples, channels_of(header)))
            written += samples.shape[-1]
            on_part(written / max(total, 1))


def decode_stream(
    coder: AudioCoder,
    reader: streams.Reader,
    target: Path | BinaryIO,
    *,
    depth: int | None = None,
    native_rate: bool = False,
    format: str | None = None,
    label: str | None = None,
) -> tuple[Header, Shapes]:
    """Decode codes while they arrive; those of a model with labels when all are there.

    Returns:
        Their closing header, and the shape of one channel's codes.

    Raises:
        CodesError: damaged or truncated; what had arrived before was decoded, if the target is a
            stream. A file is not left behind.
    """
    arriving = _Arriving(reader, depth)
    with _writer(reader.header, target, format, native_rate, None) as writer:
        if coder.labels:  # its loudness is known at the end
            pieces = list(arriving.pieces(held=True))
            sound = _sound(coder, pieces, None, reader.closing, label=label)
        else:
            sound = coder.decode_stream(arriving.pieces(), None, label=label)
        for samples in arriving.trimmed(sound):
            writer.write(samples)
        if arriving.error is not None and (isinstance(target, Path) or not arriving.given):
            raise arriving.error
        if reader.closing is not None:
            writer.settle(_length(reader.closing, native_rate=native_rate))
    if arriving.error is not None or reader.closing is None:
        raise arriving.error or CodesError("truncated")
    return reader.closing, (arriving.shape,)


def _sound(
    coder: AudioCoder,
    pieces: Sequence[Levels],
    length: int | None,
    header: Header | None,
    *,
    label: str | None,
) -> Iterator[np.ndarray]:
    """Decode to (B, C, n) pieces, as loud as the source if the header says how loud that was.

    Raises:
        CodesError: a header that contradicts itself.
    """
    wanted = () if header is None else header.source.loudness_db
    if header is None or not wanted:
        return coder.decode_stream(iter(pieces), length, label=label)
    if len(wanted) != header.channels or coder.spec.channels != 1:
        raise CodesError("damaged header: its channels contradict each other")
    extent = header.extent[0]

    def made() -> Iterator[np.ndarray]:
        for samples in coder.decode_stream(iter(pieces), extent, label=label):
            yield samples[:, 0]

    rate = int(header.spec.rate or 0)
    return (each[:, None] for each in loudness.restored(made, wanted, rate=rate))


def grouped(samples: np.ndarray, together: int, *, name: str) -> np.ndarray:
    """Group (C, n) samples as (B, together, n): B is C for mono models, and 1 for stereo ones.

    A mono recording is given to a stereo model as two equal channels.

    Raises:
        MediaError: more channels than the model takes.
    """
    if together == 1:
        return samples[:, None]
    if len(samples) == 1:
        return np.repeat(samples[None], together, axis=1)
    if len(samples) != together:
        raise MediaError(
            name,
            f"{len(samples)} channels, this model codes {together} together",
            hint="--mono mixes them down to one",
        )
    return samples[None]


def ungrouped(decoded: np.ndarray, channels: int) -> np.ndarray:
    """Turn (B, together, n) into (C, n); of a mono recording, the mean of the equal channels."""
    if channels == 1 and decoded.shape[1] > 1:
        return np.asarray(decoded.mean(axis=1))
    return decoded.reshape(-1, decoded.shape[-1])


def items_of(channels: int, together: int) -> int:
    """Count the items, each with codes of its own, of a recording with so many channels."""
    return channels if together == 1 else 1


def channels_of(header: Header) -> int:
    """Count the channels of the recording that codes are decoded to.

    Raises:
        CodesError: a header that contradicts itself.
    """
    together = header.spec.channels
    found = header.source.channels
    if together == 1:
        return header.channels
    if header.channels != 1 or found not in (None, 1, together):
        raise CodesError("damaged header: its channels contradict each other")
    return together if found is None else found


class _Recording:
    """A recording on its way to a coder.

    Attributes:
        channels: Of what is coded.
        read: Samples per channel at the model's rate, so far.
        total: Of the whole recording, if that is known.
    """

    def __init__(
        self,
        coder: AudioCoder,
        reader: audio.Reader | audio.Arriving,
        name: str,
        *,
        mono: bool,
        on_part: Callable[[float], None],
    ) -> None:
        self._reader, self._name = reader, name
        self._mono, self._on_part = mono, on_part
        self._rate, self._together = int(coder.spec.rate or 0), coder.spec.channels
        self._loudness = Loudness(self._rate) if coder.labels else None
        self.channels = 1 if mono else reader.channels
        self.read = 0
        declared = reader.declared
        known = None if declared is None else (declared, reader.rate, self._rate)
        self.total = None if known is None else audio.resampled_length(*known)

    def source(self) -> Source:
        """Returns what is known of it now."""
        reader = self._reader
        found = None if self._together == 1 else self.channels
        return Source(
            rate=reader.rate,
            length=reader.length or None,
            format=reader.format,
            channels=found,
            loudness_db=() if self._loudness is None else self._loudness.db,
        )

    def blocks(self) -> Iterator[np.ndarray]:
        """Read it: (B, c, n) float32 at the model's rate."""
        for block in self._reader.blocks(self._rate, mono=self._mono):
            self.read += block.shape[-1]
            if self.total is not None:
                self._on_part(self.read / self.total)
            items = grouped(block, self._together, name=self._name)
            if self._loudness is not None:
                self._loudness.add(items.mean(axis=1))
            yield items


class _Arriving:
    """A stream of codes on its way to a coder.

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

    def pieces(self, *, held: bool = False) -> Iterator[Levels]:
        """Read the codes up to the end or the damage; ``held``: as ``streams.Reader.pieces``."""
        try:
            for piece in self._reader.pieces(held=held):
                kept = _truncated(self._reader.header.spec, piece, self._depth)
                self.shape = (*kept.shape[1:-1], self.shape[-1] + kept.shape[-1])
                yield (kept,)
        except CodesError as error:
            # Kept for later: what has arrived is decoded first.
            self.error = error

    def trimmed(self, sound: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Cut from (C, 1, n) pieces what only fills up the last frame: (C, n) samples.

        How many these are is known at the end, so that as many as a frame has are held back.
        """
        hold = self._reader.header.spec.levels[0].stride[0]
        held: np.ndarray | None = None
        for piece in sound:
            joined = piece[:, 0] if held is None else np.concatenate([held, piece[:, 0]], axis=1)
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


def _gathered(pieces: Iterable[Levels], shapes: tuple[tuple[int, ...], ...]) -> Levels:
    """Join pieces along their last axis; where the shapes are known, each is held once."""
    if not shapes:
        return tuple(np.concatenate(level, axis=-1) for level in zip(*pieces, strict=True))
    levels: list[np.ndarray] = []
    ends = [0] * len(shapes)
    for piece in pieces:
        if not levels:
            levels = [
                np.empty((*each.shape[:-1], max(shape[-1], each.shape[-1])), dtype=each.dtype)
                for each, shape in zip(piece, shapes, strict=True)
            ]
        for index, each in enumerate(piece):
            start, ends[index] = ends[index], ends[index] + each.shape[-1]
            levels[index][..., start : ends[index]] = each
    return tuple(level[..., :end] for level, end in zip(levels, ends, strict=False))


def _truncated(spec: CodeSpec, piece: np.ndarray, depth: int | None) -> np.ndarray:
    """Keep the first ``depth`` stages of a piece (C, *axes) of codes; None: all.

    Raises:
        CodesError: a depth that these codes do not have.
    """
    if depth is None:
        return piece
    return np.asarray(Codes(spec, (piece,), ()).truncate(depth).levels[0])


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
        target, original or rate, channels_of(header), format, from_rate=rate, length=length
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

"""Coders over tokenizers of torch: arrays become tensors here, and codes become arrays.

Tokenizers that are exact work in windows and pieces; all others get their signals whole and alone,
through one adapter, so that no caller has to tell them apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from vqtok import threads
from vqtok.codes.container import Codes
from vqtok.errors import CodesError
from vqtok.protocols import (
    AudioCoder,
    AudioTokenizer,
    Coder,
    ImageCoder,
    ImageTokenizer,
    Label,
    RecomputeStats,
    RoundTrip,
    Tokenizer,
    TrainableTokenizer,
)

FRAMES = 1 << 10
"""Frames of codes given to a decoder together; what comes out does not depend on it."""


def coder(tokenizer: Tokenizer) -> Coder:
    """Make the coder of a tokenizer: an ``ImageCoder`` or an ``AudioCoder``, as its spec says."""
    if not tokenizer.exact:
        return WholeCoder(tokenizer)
    if tokenizer.spec.modality == "image":
        return TiledImageCoder(cast(ImageTokenizer, tokenizer))
    return StreamedAudioCoder(cast(AudioTokenizer, tokenizer))


def image_coder(tokenizer: Tokenizer) -> ImageCoder:
    """Make the coder of a tokenizer of images."""
    return cast(ImageCoder, coder(tokenizer))


def audio_coder(tokenizer: Tokenizer) -> AudioCoder:
    """Make the coder of a tokenizer of audio."""
    return cast(AudioCoder, coder(tokenizer))


class TorchCoder:
    """What coders of torch have in common.

    Args:
        tokenizer: In evaluation mode.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.spec, self.name, self.exact = tokenizer.spec, tokenizer.name, tokenizer.exact
        self.labels = tokenizer.labels.names
        parameters = cast(nn.Module, tokenizer).parameters()
        self.device: str = next((each.device.type for each in parameters), "cpu")

    @property
    def recompute_stats(self) -> RecomputeStats:
        """Counts of latents coded, and of those computed again in float64."""
        return self.tokenizer.recompute_stats

    @property
    def threads(self) -> int:
        """CPU threads of torch."""
        return torch.get_num_threads()

    def use_threads(self, count: int) -> None:
        """Limit torch's CPU threads of this thread, and of threads that start later."""
        torch.set_num_threads(count)

    @torch.inference_mode()
    def encode_many(self, signals: Sequence[np.ndarray]) -> list[Codes]:
        """Encode (C, *space) signals together, each as if it were alone."""
        tensors = [torch.from_numpy(each) for each in signals]
        with _few_threads(sum(each[0].numel() for each in tensors)):
            return [codes.numpy() for codes in self.tokenizer.encode_many(tensors)]

    @torch.inference_mode()
    def decode(self, codes: Codes, *, label: Label = None) -> np.ndarray:
        """Decode codes to (B, C, *extent) float32."""
        return _array(self.tokenizer.decode(_tensors(codes), label=label))

    @torch.inference_mode()
    def round_trip(
        self, x: np.ndarray, *, depth: int | None = None, label: Label = None
    ) -> RoundTrip:
        """Encode and decode (B, C, *space), timed; see ``Coder``."""
        signals = torch.from_numpy(x)
        if not self.spec.levels:
            if depth is not None:
                raise CodesError("this model has no codes: there is no depth to choose")
            return _continuous(cast(TrainableTokenizer, self.tokenizer), signals, label)
        start = time.perf_counter()
        found = self.tokenizer.encode_many(list(signals))
        codes = Codes.stack([each.numpy() for each in found])  # waits for an accelerator
        encode_s = time.perf_counter() - start
        if depth is not None:
            codes = codes.truncate(depth)
        start = time.perf_counter()
        y = self.decode(codes, label=label)
        return RoundTrip(y, codes, None, encode_s, time.perf_counter() - start)


class TiledImageCoder(TorchCoder):
    """Images by windows and tiles of an exact tokenizer."""

    def __init__(self, tokenizer: ImageTokenizer) -> None:
        super().__init__(tokenizer)
        self._tiled = tokenizer

    @torch.inference_mode()
    def encode_windows(
        self, size: tuple[int, int], read: Callable[[slice, slice], np.ndarray]
    ) -> Codes:
        """Encode one image of (H, W) pixels, window by window."""
        with _few_threads(size[0] * size[1]):
            return self._tiled.encode_windows(
                size, lambda rows, columns: torch.from_numpy(read(rows, columns))
            )

    @torch.inference_mode()
    def decode_tiles(
        self, codes: Codes, *, item: int = 0, label: Label = None
    ) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Decode one image of a batch, tile by tile."""
        for rows, columns, pixels in self._tiled.decode_tiles(codes, item=item, label=label):
            yield rows, columns, _array(pixels)


class StreamedAudioCoder(TorchCoder):
    """Audio in pieces by an exact tokenizer."""

    def __init__(self, tokenizer: AudioTokenizer) -> None:
        super().__init__(tokenizer)
        self._streamed = tokenizer

    @torch.inference_mode()
    def encode_stream(self, blocks: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, ...]]:
        """Encode (B, C, n) blocks: pieces (B, *axes) of the one level, as small integers."""
        # An hour of eight stages is 4 MB as small integers instead of 17.
        dtype = self.spec.levels[0].dtype
        for piece in self._streamed.encode_stream(map(torch.from_numpy, blocks)):
            yield (piece.cpu().numpy().astype(dtype),)

    @torch.inference_mode()
    def decode_stream(
        self,
        pieces: Iterable[tuple[np.ndarray, ...]],
        length: int | None = None,
        *,
        label: Label = None,
    ) -> Iterator[np.ndarray]:
        """Decode pieces (B, *axes) of the one level to (B, C, n) samples."""
        for samples in self._streamed.decode_stream(_frames(pieces), length, label=label):
            yield _array(samples)


class WholeCoder(TorchCoder):
    """Signals whole and alone, by a tokenizer whose codes depend on more than the signal."""

    @torch.inference_mode()
    def encode_many(self, signals: Sequence[np.ndarray]) -> list[Codes]:
        """Encode (C, *space) signals one after the other."""
        return [self.tokenizer.encode_many([torch.from_numpy(x)])[0].numpy() for x in signals]

    @torch.inference_mode()
    def encode_windows(
        self, size: tuple[int, int], read: Callable[[slice, slice], np.ndarray]
    ) -> Codes:
        """Encode one image of (H, W) pixels, read at once."""
        return self.encode_many([read(slice(0, size[0]), slice(0, size[1]))])[0]

    @torch.inference_mode()
    def decode_tiles(
        self, codes: Codes, *, item: int = 0, label: Label = None
    ) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Decode one image of a batch, as one tile."""
        height, width = codes.extent
        levels = tuple(level[item : item + 1] for level in codes.levels)
        image = self.decode(replace(codes, levels=levels), label=label)[0]
        yield slice(0, height), slice(0, width), image

    @torch.inference_mode()
    def encode_stream(self, blocks: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, ...]]:
        """Encode all blocks (B, C, n) together: one piece."""
        whole = torch.cat([torch.from_numpy(block) for block in blocks], dim=-1)
        found = self.tokenizer.encode_many(list(whole))
        yield Codes.stack([each.numpy() for each in found]).levels

    @torch.inference_mode()
    def decode_stream(
        self,
        pieces: Iterable[tuple[np.ndarray, ...]],
        length: int | None = None,
        *,
        label: Label = None,
    ) -> Iterator[np.ndarray]:
        """Decode all pieces together to (B, C, n) samples."""
        levels = tuple(np.concatenate(level, axis=-1) for level in zip(*pieces, strict=True))
        if length is None:
            length = levels[0].shape[-1] * self.spec.levels[0].stride[0]
        yield self.decode(Codes(self.spec, levels, (length,)), label=label)


@contextmanager
def _few_threads(values: int) -> Iterator[None]:
    """Let torch wake no more threads than an exact model keeps busy with so many values."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads.useful(values, before))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _continuous(tokenizer: TrainableTokenizer, x: Tensor, label: Label) -> RoundTrip:
    """Pass signals through a model without codes and back."""
    start = time.perf_counter()
    z = cast(Tensor, tokenizer.latents(x))  # of one level: more need codes
    z_q = tokenizer.quantizer(z).z_q
    z_q.flatten()[0].item()  # waits for an accelerator, so it belongs to the time
    encode_s = time.perf_counter() - start
    start = time.perf_counter()
    y = _array(tokenizer.render(z_q, tuple(x.shape[2:]), label=label))
    return RoundTrip(y, None, _array(z), encode_s, time.perf_counter() - start)


def _tensors(codes: Codes) -> Codes:
    """Returns the same codes as int64 tensors, which is what models take; eight times as large."""
    levels = tuple(torch.from_numpy(level.astype(np.int64)) for level in codes.levels)
    return replace(codes, levels=levels)


def _frames(pieces: Iterable[tuple[np.ndarray, ...]]) -> Iterator[Tensor]:
    """Codes of one level as int64 tensors, a few frames at a time."""
    for (level,) in pieces:
        for start in range(0, level.shape[-1], FRAMES):
            yield torch.from_numpy(level[..., start : start + FRAMES].astype(np.int64))


def _array(x: Tensor) -> np.ndarray:
    found: np.ndarray = x.detach().float().cpu().numpy()
    return found

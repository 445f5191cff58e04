"""Windows of recordings: drawn first and cut afterwards, so that it does not matter what is cached.

Short recordings are read whole and kept while they fit. Of long ones only the window is read; MP3s,
which cannot be entered in the middle, are kept while they fit and else read from the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vqtok.errors import MediaError
from vqtok.media import audio
from vqtok.media.audio import AudioInfo, excerpt
from vqtok.media.audio.excerpt import FORWARD
from vqtok.media.audio.resample import resampled_length
from vqtok.media.items import Place
from vqtok.pipeline.signals import opened
from vqtok.training.data.sampling import Cache, Unreadable, Weighted, WindowError
from vqtok.training.recipe import Train

LONG_S = 120.0
"""Recordings that are longer are read window by window, shorter ones whole."""

WEIGH_AT_MOST = 20_000
"""Recordings whose durations are read before training, so that a long one is drawn more often."""


def read_info(file: Place) -> AudioInfo:
    """Read what a recording's header says.

    Raises:
        MediaError: not readable audio.
    """
    with opened(file) as source:
        return excerpt.glance(source)


def is_long(info: AudioInfo) -> bool:
    """Tell whether a recording is read window by window."""
    return info.duration_s > LONG_S


def read_all(file: Place, *, rate: int | None) -> np.ndarray:
    """Read a whole recording.

    Args:
        file: The file.
        rate: Hz; None: the file's.

    Returns:
        (C, L) int16.

    Raises:
        MediaError: not readable audio.
    """
    with opened(file) as source, audio.Reader(source) as reader:
        return np.concatenate([_integers(block) for block in reader.blocks(rate)], axis=1)


def read_part(file: Place, *, rate: int, start: int, length: int) -> np.ndarray:
    """Read part of a recording; see ``media.excerpt``.

    Returns:
        (C, length) int16; fewer samples where the recording ends.

    Raises:
        MediaError: not readable audio.
    """
    with opened(file) as source:
        return _integers(excerpt.excerpt(source, rate=rate, start=start, length=length))


def read_beginning(file: Place, *, rate: int, seconds: int) -> np.ndarray:
    """Read the first seconds of a recording, its channels mixed: (1, L) float32.

    Raises:
        MediaError: not readable audio, as far as it is read.
    """
    with opened(file) as source:
        found = excerpt.excerpt(source, rate=rate, start=0, length=seconds * rate)
    mixed: np.ndarray = found.mean(axis=0, keepdims=True)
    return mixed


class Stretch(NamedTuple):
    """Places a window in a recording.

    Attributes:
        channel: Which one.
        start: First sample.
        scale: What turns int16 into floats, attenuation included.
    """

    channel: int
    start: int
    scale: np.float32


class AudioSampler:
    """Cuts windows of recordings, drawn by their durations."""

    def __init__(
        self, files: Sequence[Place], recipe: Train, unreadable: Unreadable, *, rate: int | None
    ) -> None:
        self._files, self._recipe, self._rate = files, recipe, rate
        self._cache = Cache(int(recipe.cache_gb * 1e9))
        self.order = Weighted(_durations(files, unreadable))

    def begin(self) -> None:
        """Do nothing: files are read when they are needed."""

    def cut(self, file: int, rng: np.random.Generator) -> np.ndarray:
        """Cut (1, window) float32.

        Raises:
            WindowError: this window cannot be read.
            MediaError: the file cannot be read.
        """
        samples = self._cache.get(file)
        if samples is None:
            info = read_info(self._files[file])
            samples = self._whole(file, info)
            if samples is None:
                return self._part(file, info, rng)
        drawn = self._draw(samples.shape[0], samples.shape[1], rng)
        found = samples[drawn.channel, drawn.start : drawn.start + self._recipe.window]
        return self._scaled(found, drawn.scale)

    def join(self, files: np.ndarray, cuts: np.ndarray) -> Tensor:
        """Stack (B, 1, window) float32."""
        return torch.from_numpy(cuts)

    def _draw(self, channels: int, length: int, rng: np.random.Generator) -> Stretch:
        """Draw a window of a channel, attenuated by up to ``gain_db``."""
        channel = int(rng.integers(channels))
        start = int(rng.integers(max(1, length - self._recipe.window + 1)))
        gain_db = -self._recipe.gain_db * rng.random()
        return Stretch(channel, start, np.float32(10.0 ** (gain_db / 20.0) / 32767))

    def _scaled(self, samples: np.ndarray, scale: np.float32) -> np.ndarray:
        """Turn int16 (n,) into (1, window) float32 in [-1, 1], followed by silence if shorter."""
        out = np.zeros((1, self._recipe.window), dtype=np.float32)
        out[0, : len(samples)] = samples * scale
        return out

    def _part(self, file: int, info: AudioInfo, rng: np.random.Generator) -> np.ndarray:
        size, rate = self._recipe.window, self._rate or info.rate
        drawn = self._draw(info.channels, _length(info, rate=rate), rng)
        try:
            found = read_part(self._files[file], rate=rate, start=drawn.start, length=size)
        except MediaError as error:
            raise WindowError(str(error)) from error
        return self._scaled(found[drawn.channel], drawn.scale)

    def _whole(self, file: int, info: AudioInfo) -> np.ndarray | None:
        """Read and keep (C, L) int16; None if the recording is read window by window."""
        path, rate = self._files[file], self._rate
        if not is_long(info):
            samples = read_all(path, rate=rate)
        else:
            length = _length(info, rate=rate)
            if info.format not in FORWARD or not self._cache.fits(2 * info.channels * length):
                return None
            try:
                samples = read_all(path, rate=rate)
            except MediaError:  # its sound parts can be read all the same
                return None
            # The header's length, which is all that is known where it is read window by window.
            samples = np.pad(samples[:, :length], [(0, 0), (0, max(0, length - samples.shape[1]))])
        self._cache.put(file, samples)
        return samples


def _length(info: AudioInfo, *, rate: int | None) -> int:
    """Samples per channel once a recording is at ``rate`` (None: its own), by its header."""
    return resampled_length(info.length, info.rate, rate or info.rate)


def _durations(files: Sequence[Place], unreadable: Unreadable) -> np.ndarray:
    """Reads (n,) seconds, 0 for what cannot be read; all equal if too many to look at."""
    seconds = np.ones(len(files))
    if len(files) > WEIGH_AT_MOST:
        return seconds
    for file in range(len(files)):
        try:
            seconds[file] = read_info(files[file]).duration_s
        except MediaError as error:
            unreadable.add(file, files[file], error)
            seconds[file] = 0.0
    if not seconds.any():
        raise MediaError("--data", f"none of the {len(files)} files can be read")
    return seconds


def _integers(block: np.ndarray) -> np.ndarray:
    whole: np.ndarray = (block.clip(-1.0, 1.0) * 32767).round().astype(np.int16)
    return whole

"""A file and a generator → one window of it; the windows of a batch → what travels to the device.

A window is drawn first and cut afterwards, so that it is the same wherever the file is kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from vqtok.errors import ConfigError, MediaError
from vqtok.media.audio import AudioInfo
from vqtok.media.excerpt import FORWARD
from vqtok.media.items import Place
from vqtok.training.data import reading, windows
from vqtok.training.data.order import Epochs, Weighted
from vqtok.training.data.shelf import Bad, Shelf
from vqtok.training.recipe import Train

WEIGH_AT_MOST = 20_000
"""Recordings whose durations are read before training, so that a long one is drawn more often."""


class Elsewhere(MediaError):
    """This window of a recording cannot be read; others may."""


class Pictures:
    """Crops of images, decoded once and kept while they fit."""

    def __init__(self, files: Sequence[Place], recipe: Train) -> None:
        self._files, self._recipe = files, recipe
        self._shelf = Shelf(int(recipe.cache_gb * 1e9))
        self.order = Epochs(len(files), seed=recipe.seed)

    def begin(self) -> None:
        """Nothing has to be there before the first window."""

    def cut(self, file: int, rng: np.random.Generator) -> np.ndarray:
        """(window, window, 3) uint8."""
        pixels = self._shelf.get(file)
        if pixels is None:
            pixels = reading.pixels(self._files[file], side=self._recipe.shrink)
            self._shelf.put(file, pixels)
        height, width, _ = pixels.shape
        size = self._recipe.window
        drawn = windows.crop(height, width, size=size, flip=self._recipe.flip, rng=rng)
        return windows.cut(pixels, drawn, size=size)

    def join(self, files: np.ndarray, cuts: np.ndarray) -> Tensor:
        """(B, 3, window, window) uint8, channels last in memory."""
        return torch.from_numpy(cuts).movedim(3, 1)


class Table:
    """Crops of images of one size, all kept in one tensor on the device and cut there."""

    def __init__(
        self,
        files: Sequence[Place],
        recipe: Train,
        bad: Bad,
        *,
        device: torch.device,
        workers: int,
    ) -> None:
        self._files, self._recipe, self._bad = files, recipe, bad
        self._device, self._workers = device, workers
        self._pixels: Tensor | None = None
        self._lock = threading.Lock()
        self.order = Epochs(len(files), seed=recipe.seed)

    def begin(self) -> None:
        """Read all files.

        Raises:
            ConfigError: images of several sizes, or more than the device holds.
            MediaError: no image can be read.
        """
        self._all()

    def cut(self, file: int, rng: np.random.Generator) -> np.ndarray:
        """Where to cut: (3,) int64, a ``windows.Crop``."""
        _, height, width, _ = self._all().shape
        size = self._recipe.window
        drawn = windows.crop(height, width, size=size, flip=self._recipe.flip, rng=rng)
        return np.array(drawn, dtype=np.int64)

    def join(self, files: np.ndarray, cuts: np.ndarray) -> Tensor:
        """(B, 3, window, window) uint8 on the device, channels last in memory."""
        where, which = (torch.from_numpy(each).to(self._device) for each in (cuts, files))
        out = windows.gather(self._all(), which, where, size=self._recipe.window)
        return out.movedim(3, 1)

    def _all(self) -> Tensor:
        with self._lock:
            if self._pixels is None:
                self._pixels = _table(
                    self._files, self._read, device=self._device, workers=self._workers
                )
            return self._pixels

    def _read(self, file: int) -> np.ndarray | None:
        try:
            return reading.pixels(self._files[file], side=self._recipe.shrink)
        except MediaError as error:
            self._bad.add(file, self._files[file], error, hopeless=True)
            return None


class Sounds:
    """Stretches of recordings.

    Short ones are read whole and kept while they fit. Of long ones only the window is read; MP3s,
    which cannot be entered in the middle, are kept while they fit and else read from the start.
    """

    def __init__(
        self, files: Sequence[Place], recipe: Train, bad: Bad, *, rate: int | None
    ) -> None:
        self._files, self._recipe, self._rate = files, recipe, rate
        self._shelf = Shelf(int(recipe.cache_gb * 1e9))
        self.order = Weighted(_durations(files, bad))

    def begin(self) -> None:
        """Nothing has to be there before the first window."""

    def cut(self, file: int, rng: np.random.Generator) -> np.ndarray:
        """(1, window) float32.

        Raises:
            Elsewhere: this window cannot be read.
            MediaError: the file cannot be read.
        """
        size, gain = self._recipe.window, self._recipe.gain_db
        kept = self._shelf.get(file)
        if kept is None:
            info = reading.facts(self._files[file])
            kept = self._whole(file, info)
            if kept is None:
                return self._long(file, info, rng)
        drawn = windows.stretch(*kept.shape, size=size, gain_db=gain, rng=rng)
        found = kept[drawn.channel, drawn.start : drawn.start + size]
        return windows.heard(found, drawn.scale, size=size)

    def join(self, files: np.ndarray, cuts: np.ndarray) -> Tensor:
        """(B, 1, window) float32."""
        return torch.from_numpy(cuts)

    def _long(self, file: int, info: AudioInfo, rng: np.random.Generator) -> np.ndarray:
        size, rate = self._recipe.window, self._rate or info.rate
        length = reading.frames(info, rate=rate)
        gain = self._recipe.gain_db
        drawn = windows.stretch(info.channels, length, size=size, gain_db=gain, rng=rng)
        try:
            found = reading.stretch(self._files[file], rate=rate, start=drawn.start, length=size)
        except MediaError as error:
            raise Elsewhere(str(error)) from error
        return windows.heard(found[drawn.channel], drawn.scale, size=size)

    def _whole(self, file: int, info: AudioInfo) -> np.ndarray | None:
        """(C, L) int16; None if the recording is read window by window."""
        place, rate = self._files[file], self._rate
        if not reading.is_long(info):
            kept = reading.samples(place, rate=rate)
        else:
            length = reading.frames(info, rate=rate)
            if info.format not in FORWARD or not self._shelf.fits(2 * info.channels * length):
                return None
            try:
                kept = reading.samples(place, rate=rate)
            except MediaError:  # its sound parts can be read all the same
                return None
            # The header's length, which is all that is known where it is read window by window.
            kept = np.pad(kept[:, :length], [(0, 0), (0, max(0, length - kept.shape[1]))])
        self._shelf.put(file, kept)
        return kept


def _durations(files: Sequence[Place], bad: Bad) -> np.ndarray:
    """(n,) seconds, 0 for what cannot be read; all equal if there are too many to look at."""
    seconds = np.ones(len(files))
    if len(files) > WEIGH_AT_MOST:
        return seconds
    for file in range(len(files)):
        try:
            seconds[file] = reading.facts(files[file]).duration_s
        except MediaError as error:
            bad.add(file, files[file], error, hopeless=True)
            seconds[file] = 0.0
    if not seconds.any():
        raise MediaError(f"--data: none of the {len(files)} files can be read")
    return seconds


def _table(
    places: Sequence[Place],
    read: Callable[[int], np.ndarray | None],
    *,
    device: torch.device,
    workers: int,
) -> Tensor:
    """All images in one tensor on the device.

    Args:
        places: The files, for messages.
        read: Number → (H, W, 3) uint8, or None if it cannot be read: its pixels are then black.
        device: Where.
        workers: Threads.

    Raises:
        ConfigError: images of several sizes, or more than the device holds.
        MediaError: no image can be read.
    """
    made: Tensor | None = None
    first = 0
    hint = "train.cache=memory"
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="vqtok-data") as pool:
        block = 64 * max(1, workers)
        for start in range(0, len(places), block):
            numbers = range(start, min(start + block, len(places)))
            for number, pixels in zip(numbers, pool.map(read, numbers), strict=True):
                if pixels is None:
                    continue
                if made is None:
                    first = number
                    made = _room(len(places), pixels.shape, device, hint=hint)
                if made.shape[1:] != pixels.shape:
                    sizes = [f"{each[1]}x{each[0]}" for each in (made.shape[1:], pixels.shape)]
                    raise ConfigError(
                        f"train.cache: device needs images of one size: {places[first]} is "
                        f"{sizes[0]}, {places[number]} is {sizes[1]}",
                        hint=hint,
                    )
                made[number] = torch.from_numpy(pixels)
    if made is None:
        raise MediaError(f"--data: none of the {len(places)} files can be read")
    return made


def _room(count: int, shape: tuple[int, ...], device: torch.device, *, hint: str) -> Tensor:
    try:
        return torch.zeros((count, *shape), dtype=torch.uint8, device=device)
    except RuntimeError as error:  # torch's out of memory, of every device
        size = count * int(np.prod(shape)) / 1e9
        raise ConfigError(
            f"train.cache: {device} has no room for {count} images, {size:.1f} GB", hint=hint
        ) from error

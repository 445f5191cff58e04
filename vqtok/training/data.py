"""From a folder to batches: batch s of a run is a pure function of the files, the seed and s.

That is why a resumed run sees exactly the data that an uninterrupted one would have seen, with
nothing to save.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vqtok.errors import MediaError, UsageError
from vqtok.media import audio, image
from vqtok.media.inputs import inputs_of
from vqtok.media.pixels import shrink, to_uint8
from vqtok.training.recipe import Train

AHEAD = 4
"""Batches prepared while the model works on the current one."""

WEIGH_AT_MOST = 20_000
"""Audio files whose durations are read before training, so that a long file is drawn more often."""


def find(data: Sequence[str]) -> tuple[Literal["image", "audio"], list[Path]]:
    """List the media under the given folders and files, and tell which kind they are.

    Raises:
        UsageError: nothing found, or images and audio mixed.
    """
    found = inputs_of(data, ("image", "audio"))
    if found.failures:
        raise found.failures[0][1]
    images = [each.path for each in found.items if each.kind == "image" and each.path]
    sounds = [each.path for each in found.items if each.kind == "audio" and each.path]
    if images and sounds:
        raise UsageError(
            f"--data: {len(images)} images and {len(sounds)} audio files are mixed",
            hint="give a folder that holds one kind",
        )
    if not images and not sounds:
        raise UsageError(f"--data: no images or audio in {', '.join(data)}")
    return ("image", images) if images else ("audio", sounds)


def split(files: Sequence[Path], *, share: float, seed: int) -> tuple[list[Path], list[Path]]:
    """(train, held-out) files: disjoint, one of each at least, the same for the same seed.

    A single file is trained on and measured on; the card then says so.
    """
    if len(files) == 1:
        return list(files), list(files)
    order = np.random.default_rng([seed, len(files)]).permutation(len(files))
    count = min(max(1, round(share * len(files))), len(files) - 1)
    held = {int(i) for i in order[:count]}
    train = [path for i, path in enumerate(files) if i not in held]
    return train, [files[i] for i in sorted(held)]


class Dataset:
    """Random windows of files, decoded once and kept in memory while they fit.

    Args:
        files: Training files.
        kind: "image" or "audio".
        recipe: Batch, window, augmentation, cache and seed.
        rate: Hz of the model, for audio.
    """

    def __init__(
        self,
        files: Sequence[Path],
        *,
        kind: Literal["image", "audio"],
        recipe: Train,
        rate: int | None,
    ) -> None:
        self.files = list(files)
        self.kind = kind
        self.recipe = recipe
        self.rate = rate
        self.bad: dict[Path, str] = {}
        self._cache: dict[int, np.ndarray] = {}
        self._room = int(recipe.cache_gb * 1e9)
        self._lock = threading.Lock()
        self._weights = self._durations() if kind == "audio" else None

    def batch(self, step: int) -> Tensor:
        """Items of one step: (B, 3, window, window) or (B, 1, window) float32 in [-1, 1].

        Raises:
            MediaError: no file of the set can be read.
        """
        rng = np.random.default_rng([self.recipe.seed, step])
        chosen = rng.choice(len(self.files), size=self.recipe.batch, p=self._weights)
        windows = [self._window(self._load(int(i)), rng) for i in chosen]
        return torch.from_numpy(np.stack(windows))

    def batches(self, start: int) -> Generator[Tensor, None, None]:
        """Batches from step ``start`` on, without end, prepared ahead in a thread."""
        pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vqtok-data")
        waiting: list[Future[Tensor]] = []
        step = start
        try:
            while True:
                while len(waiting) < AHEAD:
                    waiting.append(pool.submit(self.batch, step))
                    step += 1
                yield waiting.pop(0).result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _load(self, index: int) -> np.ndarray:
        """Integers of a file; a file that cannot be read is noted and the next one is taken."""
        for offset in range(len(self.files)):
            at = (index + offset) % len(self.files)
            with self._lock:
                if at in self._cache:
                    return self._cache[at]
            path = self.files[at]
            if path in self.bad:
                continue
            try:
                values = self._read(path)
            except MediaError as error:
                self.bad[path] = str(error)
                continue
            with self._lock:
                if values.nbytes <= self._room:
                    self._room -= values.nbytes
                    self._cache[at] = values
            return values
        raise MediaError(f"--data: none of the {len(self.files)} files can be read")

    def _read(self, path: Path) -> np.ndarray:
        if self.kind == "image":
            pixels, _ = image.read(path)
            return shrink(to_uint8(pixels), self.recipe.shrink)
        samples, _ = audio.read(path, rate=self.rate)
        return (samples.clip(-1.0, 1.0) * 32767).round().astype(np.int16)

    def _window(self, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        size = self.recipe.window
        if self.kind == "image":
            crop = _cut(_cut(values, size, axis=1, rng=rng), size, axis=2, rng=rng)
            if self.recipe.flip and rng.random() < 0.5:
                crop = crop[:, :, ::-1]
            return np.ascontiguousarray(crop, dtype=np.float32) / 127.5 - 1.0
        channel = values[rng.integers(len(values))][None]
        gain = np.float32(10.0 ** (-self.recipe.gain_db * rng.random() / 20.0) / 32767)
        samples: np.ndarray = _cut(channel, size, axis=1, rng=rng) * gain
        return samples

    def _durations(self) -> np.ndarray | None:
        if len(self.files) > WEIGH_AT_MOST:
            return None
        lengths = []
        for path in self.files:
            try:
                lengths.append(audio.probe(path).duration_s)
            except MediaError as error:
                self.bad[path] = str(error)
                lengths.append(0.0)
        total = sum(lengths)
        if not total:
            raise MediaError(f"--data: none of the {len(self.files)} files can be read")
        return np.asarray(lengths) / total


def _cut(values: np.ndarray, size: int, *, axis: int, rng: np.random.Generator) -> np.ndarray:
    """A random window along an axis.

    Shorter input is extended: images by their last pixels, audio by silence.
    """
    length = values.shape[axis]
    if length < size:
        pad = [(0, 0)] * values.ndim
        pad[axis] = (0, size - length)
        return np.pad(values, pad, mode="edge" if values.dtype == np.uint8 else "constant")
    start = int(rng.integers(length - size + 1))
    return values.take(np.arange(start, start + size), axis=axis)

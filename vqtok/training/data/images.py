"""Crops of images: drawn first and cut afterwards, so that it does not matter where pixels lie."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vqtok.errors import ConfigError, MediaError
from vqtok.media import image
from vqtok.media.items import Place
from vqtok.pipeline.signals import opened
from vqtok.training.data.sampling import Cache, Epochs, Unreadable
from vqtok.training.recipe import Train

ENOUGH = 2
"""JPEGs are decoded at no less than this many times the side that they are shrunk to: 49 dB from
what the full size gives, in a quarter of the time."""


def read_pixels(file: Place, *, side: int | None) -> np.ndarray:
    """Read an image as it is trained on.

    Args:
        file: The file.
        side: A longer short side is shrunk to this; None: never.

    Returns:
        (H, W, 3) uint8.

    Raises:
        MediaError: not a readable image.
    """
    with opened(file) as source:
        enough = None if side is None else ENOUGH * side
        return image.load(source, enough=enough).shrunk(side)


class Crop(NamedTuple):
    """Places a square in an image.

    Attributes:
        top, left: Its first row and column.
        mirrored: Whether left and right are exchanged.
    """

    top: int
    left: int
    mirrored: bool


def draw_crop(height: int, width: int, *, size: int, flip: bool, rng: np.random.Generator) -> Crop:
    """Draw a square of ``size`` pixels a side, from the corner of an image that is smaller."""
    top, left = (int(rng.integers(max(1, side - size + 1))) for side in (height, width))
    return Crop(top, left, flip and bool(rng.random() < 0.5))


def cut_crop(pixels: np.ndarray, crop: Crop, *, size: int) -> np.ndarray:
    """Cut (size, size, 3) out of (H, W, 3); the last pixels go on beyond the edges."""
    square = pixels[crop.top : crop.top + size, crop.left : crop.left + size]
    missing = [(0, size - side) for side in square.shape[:2]]
    if any(after for _, after in missing):
        square = np.pad(square, [*missing, (0, 0)], mode="edge")
    return square[:, ::-1] if crop.mirrored else square


def gather_crops(table: Tensor, files: Tensor, crops: Tensor, *, size: int) -> Tensor:
    """Cut crops of many images of one size at once, on their device.

    Args:
        table: (n, H, W, 3).
        files: (B,) int64, which image.
        crops: (B, 3) int64, a ``Crop`` each.
        size: Of the squares.

    Returns:
        (B, size, size, 3), of the table's type.
    """
    steps = torch.arange(size, device=table.device)
    rows = (crops[:, :1] + steps).clamp(max=table.shape[1] - 1)  # (B, size)
    columns = (crops[:, 1:2] + steps).clamp(max=table.shape[2] - 1)
    columns = torch.where(crops[:, 2:] > 0, columns.flip(1), columns)
    return table[files[:, None, None], rows[:, :, None], columns[:, None, :]]


class CropSampler:
    """Cuts crops of images, which are decoded once and kept while they fit in memory."""

    def __init__(self, files: Sequence[Place], recipe: Train) -> None:
        self._files, self._recipe = files, recipe
        self._cache = Cache(int(recipe.cache_gb * 1e9))
        self.order = Epochs(len(files), seed=recipe.seed)

    def begin(self) -> None:
        """Do nothing: files are read when they are needed."""

    def cut(self, file: int, rng: np.random.Generator) -> np.ndarray:
        """Cut (window, window, 3) uint8."""
        pixels = self._cache.get(file)
        if pixels is None:
            pixels = read_pixels(self._files[file], side=self._recipe.shrink)
            self._cache.put(file, pixels)
        height, width, _ = pixels.shape
        size = self._recipe.window
        crop = draw_crop(height, width, size=size, flip=self._recipe.flip, rng=rng)
        return cut_crop(pixels, crop, size=size)

    def join(self, files: np.ndarray, cuts: np.ndarray) -> Tensor:
        """Stack (B, 3, window, window) uint8, channels last in memory."""
        return torch.from_numpy(cuts).movedim(3, 1)


class DeviceCropSampler:
    """Cuts crops of images of one size, which all lie in one tensor on the device."""

    def __init__(
        self,
        files: Sequence[Place],
        recipe: Train,
        unreadable: Unreadable,
        *,
        device: torch.device,
        workers: int,
    ) -> None:
        self._files, self._recipe, self._unreadable = files, recipe, unreadable
        self._device, self._workers = device, max(1, workers)
        self._pixels: Tensor | None = None
        self._lock = threading.Lock()
        self.order = Epochs(len(files), seed=recipe.seed)

    def begin(self) -> None:
        """Read all files.

        Raises:
            ConfigError: images of several sizes, or more than the device holds.
            MediaError: no image can be read.
        """
        self._table()

    def cut(self, file: int, rng: np.random.Generator) -> np.ndarray:
        """Draw where to cut: (3,) int64, a ``Crop``."""
        _, height, width, _ = self._table().shape
        size = self._recipe.window
        crop = draw_crop(height, width, size=size, flip=self._recipe.flip, rng=rng)
        return np.array(crop, dtype=np.int64)

    def join(self, files: np.ndarray, cuts: np.ndarray) -> Tensor:
        """Gather (B, 3, window, window) uint8 on the device, channels last in memory."""
        crops, which = (torch.from_numpy(each).to(self._device) for each in (cuts, files))
        out = gather_crops(self._table(), which, crops, size=self._recipe.window)
        return out.movedim(3, 1)

    def _table(self) -> Tensor:
        with self._lock:
            if self._pixels is None:
                self._pixels = self._read_all()
            return self._pixels

    def _read_all(self) -> Tensor:
        """Read (n, H, W, 3) uint8; files that cannot be read are black."""
        files, made, first = self._files, None, 0
        with ThreadPoolExecutor(self._workers, thread_name_prefix="vqtok-data") as pool:
            block = 64 * self._workers
            for start in range(0, len(files), block):
                numbers = range(start, min(start + block, len(files)))
                for number, pixels in zip(numbers, pool.map(self._read, numbers), strict=True):
                    if pixels is None:
                        continue
                    if made is None:
                        first, made = number, self._allocate(pixels.shape)
                    if made.shape[1:] != pixels.shape:
                        sizes = [f"{each[1]}x{each[0]}" for each in (made.shape[1:], pixels.shape)]
                        raise ConfigError(
                            "train.cache",
                            f"device needs images of one size: {files[first]} is {sizes[0]}, "
                            f"{files[number]} is {sizes[1]}",
                            hint="train.cache=memory",
                        )
                    made[number] = torch.from_numpy(pixels)
        if made is None:
            raise MediaError("--data", f"none of the {len(files)} files can be read")
        return made

    def _read(self, file: int) -> np.ndarray | None:
        try:
            return read_pixels(self._files[file], side=self._recipe.shrink)
        except MediaError as error:
            self._unreadable.add(file, self._files[file], error)
            return None

    def _allocate(self, shape: tuple[int, ...]) -> Tensor:
        count = len(self._files)
        try:
            return torch.zeros((count, *shape), dtype=torch.uint8, device=self._device)
        except RuntimeError as error:  # torch's out of memory, of every device
            size = count * int(np.prod(shape)) / 1e9
            raise ConfigError(
                "train.cache",
                f"{self._device} has no room for {count} images, {size:.1f} GB",
                hint="train.cache=memory",
            ) from error

"""Windows of codes: a part of the signal, and the codes of all levels that lie in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vqtok.codes.spec import SPATIAL, CodeSpec
from vqtok.errors import ConfigError
from vqtok.training.data.code_items import CodeItems
from vqtok.training.data.sampling import Epochs, Order, Weighted

SMALLER = 0.1
"""Share of the items that may be smaller than a window, and are left out, so that one short clip
does not make all windows as short."""


class WindowFit(NamedTuple):
    """Describes the windows that fit nearly all items.

    Attributes:
        extent: Of the signal of a window.
        large: (n,) bool: items that are at least as large.
    """

    extent: tuple[int, ...]
    large: np.ndarray


def fit_window(items: CodeItems, *, most: int) -> WindowFit:
    """Find the largest extent that nearly all items have, of at most so many codes.

    Whole items where they allow it; otherwise steps of the coarsest level are taken away, from the
    longest axis first.

    Raises:
        ConfigError: one step of the coarsest level is more than ``most`` codes.
    """
    origin, extents = items.origin, items.extents
    if not all(level.stride for level in origin.spec.levels):  # no position in the signal
        return WindowFit(_common(extents), np.ones(len(extents), dtype=bool))
    small = int(SMALLER * len(extents))
    extent = [int(size) for size in np.sort(extents, axis=0)[small]]
    steps = pitch(origin.spec, len(extent))
    while origin.tokens(tuple(extent)) > most:
        axis = max(range(len(extent)), key=lambda i: -(-extent[i] // steps[i]))
        shorter = (-(-extent[axis] // steps[axis]) - 1) * steps[axis]
        if shorter <= 0:
            least = origin.tokens(tuple(extent))
            raise ConfigError(
                "train.window",
                f"{most} codes are less than one step of the coarsest level has",
                hint=f"--set train.window={least}, at least",
            )
        extent[axis] = shorter
    large = np.all(extents >= np.array(extent), axis=1)
    return WindowFit(tuple(extent), large)


def _common(extents: np.ndarray) -> tuple[int, ...]:
    if len(extents) and (extents != extents[0]).any():
        raise ConfigError(
            "--data",
            "codes without a position in the picture, of pictures of several sizes",
            hint="encode pictures of one size",
        )
    return tuple(int(size) for size in extents[0])


def pitch(spec: CodeSpec, rank: int) -> tuple[int, ...]:
    """Return by axis the samples between starts of windows: a step of every level."""
    strides = [level.stride or (1,) * rank for level in spec.levels]
    return tuple(int(np.lcm.reduce([each[axis] for each in strides])) for axis in range(rank))


class CodeSampler:
    """Cuts windows out of codes.

    Args:
        items: All as large as a window.
        extent: Of a window's signal.
        seed: Of the order.
    """

    def __init__(self, items: CodeItems, extent: tuple[int, ...], *, seed: int) -> None:
        self._items, self._extent = items, np.array(extent)
        self._spec = items.origin.spec
        self._extents = items.extents
        self._pitch = np.array(pitch(self._spec, len(extent)))
        self._shapes = items.origin.shapes(extent)
        self.order: Order
        if self._spec.modality == "audio":  # a long recording has more to show than a short one
            self.order = Weighted(self._extents.prod(axis=1).astype(np.float64))
        else:
            self.order = Epochs(len(items), seed=seed)

    def begin(self) -> None:
        """Do nothing: the codes were read."""

    def cut(self, file: int, rng: np.random.Generator) -> np.ndarray:
        """Cut (S,) int64: all levels of a window, one after the other."""
        room = (self._extents[file] - self._extent) // self._pitch
        return self._at(file, rng.integers(room + 1) * self._pitch)

    def beginning(self, file: int) -> np.ndarray:
        """Cut (S,) int64: the first window of an item."""
        return self._at(file, np.zeros_like(self._pitch))

    def join(self, files: np.ndarray, cuts: np.ndarray) -> Tensor:
        """Stack (B, S) int64."""
        return torch.from_numpy(cuts)

    def _at(self, file: int, start: np.ndarray) -> np.ndarray:
        parts = []
        for level, shape, codes in zip(
            self._spec.levels, self._shapes, self._items.levels(file), strict=True
        ):
            origin = iter(start // np.array(level.stride)) if level.stride else iter(())
            where = tuple(
                slice(first := int(next(origin)), first + size)
                if axis in SPATIAL
                else slice(0, size)
                for axis, size in zip(level.axes, shape, strict=True)
            )
            parts.append(codes[where].reshape(-1))
        return np.concatenate(parts).astype(np.int64)


def split_levels(flat: Tensor, shapes: Sequence[tuple[int, ...]]) -> tuple[Tensor, ...]:
    """Split (B, S) codes of windows into (B, *shape) of each level."""
    parts = torch.split(flat, [math.prod(shape) for shape in shapes], dim=1)
    pairs = zip(parts, shapes, strict=True)
    return tuple(part.reshape(len(flat), *shape) for part, shape in pairs)

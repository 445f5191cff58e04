"""Orders of the codes of one item: which code stands where in a sequence, and from which slot.

Codes are numbered as ``Codes.flat`` lays them out: levels coarse to fine, each in C order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from vqtok.codes.container import Shapes
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.compose.layout import BlockLayout
from vqtok.errors import ConfigError

PAD, ROW_END = -1, -2
"""Numbers that stand for tokens of the layout instead of codes."""


@dataclass(frozen=True)
class Slot:
    """Names a kind of code that has ids of its own.

    Attributes:
        level: Name of the level; "" where all share their ids.
        stage: Position on the "q" axis; None for levels without one, or where stages share.
        slot: Position in a frame, where ids differ by that; else None.
        size: Entries, K.
    """

    level: str
    stage: int | None
    slot: int | None
    size: int


class Sequenced(NamedTuple):
    """Holds the order of an item's codes.

    Attributes:
        codes: (n,) numbers of codes, ``PAD`` or ``ROW_END``.
        slots: (n,) positions in ``slots_of``; 0 where there is no code.
    """

    codes: np.ndarray
    slots: np.ndarray


def kept(spec: CodeSpec, layout: BlockLayout) -> CodeSpec:
    """Return the spec of the stages that a layout keeps."""
    if layout.stages is None:
        return spec
    levels = (
        replace(level, depth=min(layout.stages, level.depth or 1)) if "q" in level.axes else level
        for level in spec.levels
    )
    return replace(spec, levels=tuple(levels))


def check(spec: CodeSpec, layout: BlockLayout) -> None:
    """Refuse a layout that these codes cannot have.

    Raises:
        ConfigError: saying what does not fit.
    """
    where = f"layout of {spec.modality}"
    axes = {axis for level in spec.levels for axis in level.axes}
    if layout.stages is not None and "q" not in axes:
        raise ConfigError(f"{where}.stages", "these codes have no residual stages")
    if layout.stages is not None and layout.stages > (spec.depth or 0):
        raise ConfigError(f"{where}.stages", f"{layout.stages} wanted, the codes have {spec.depth}")
    gridded = all({"h", "w"} <= set(level.axes) for level in spec.levels)
    rows = layout.row_end or layout.grid or layout.size != "none"
    if rows and not gridded:
        raise ConfigError(where, "size, grid and row_end need levels with rows")
    if layout.order in ("frames", "interleaved"):
        _columns(kept(spec, layout), layout)
    if layout.order == "delay":
        levels = kept(spec, layout).levels
        if len(levels) != 1 or set(levels[0].axes) != {"q", "t"}:
            raise ConfigError(f"{where}.order", '"delay" needs one level of stages and frames')
        if len(layout.delays) != levels[0].depth:
            found = f"{len(layout.delays)} delays for {levels[0].depth} stages"
            raise ConfigError(f"{where}.delays", found)


def slots_of(spec: CodeSpec, layout: BlockLayout) -> list[Slot]:
    """Return what has ids of its own, in the order of the ids."""
    spec = kept(spec, layout)
    if layout.ranges == "shared":
        return [Slot("", None, None, max(level.codebook_size for level in spec.levels))]
    if layout.ranges == "slot" and layout.order != "delay":
        return [
            Slot(level.name, stage, slot, level.codebook_size)
            for slot, (level, stage, _) in enumerate(_columns(spec, layout))
        ]
    return [
        Slot(level.name, stage if "q" in level.axes else None, None, level.codebook_size)
        for level in spec.levels
        for stage in range(stages_of(level))
    ]


def sequence(spec: CodeSpec, layout: BlockLayout, shapes: Shapes) -> Sequenced:
    """Return the order of the codes of an item.

    Args:
        spec: Of the codes, as ``kept`` gives it.
        layout: Checked against it.
        shapes: Of each level.

    Raises:
        ValueError: levels whose lengths do not fit each other.
    """
    starts = np.cumsum([0, *(math.prod(shape) for shape in shapes)])
    grids = [
        _by_position(level, start + np.arange(math.prod(shape)).reshape(shape))
        for level, start, shape in zip(spec.levels, starts[:-1], shapes, strict=True)
    ]  # of each level (positions, stages)
    if layout.order in ("frames", "interleaved"):
        return _in_frames(spec, layout, grids)
    if layout.order == "delay":
        return _delayed(layout, grids[0])
    codes, slots, first = [], [], 0
    for level, grid, shape in zip(spec.levels, grids, shapes, strict=True):
        slot = np.broadcast_to(first + np.arange(grid.shape[1]), grid.shape)
        parts = [slice(None)] if layout.order == "levels" else range(grid.shape[1])
        for part in parts:
            codes.append(_rowed(level, layout, grid[:, part].reshape(len(grid), -1), shape))
            slots.append(_rowed(level, layout, slot[:, part].reshape(len(grid), -1), shape))
        first += grid.shape[1]
    return _sequenced(layout, np.concatenate(codes), np.concatenate(slots))


def shapes_of(spec: CodeSpec, layout: BlockLayout, count: int) -> Shapes:
    """Return the shapes of the levels of a recording from the tokens between its delimiters.

    Args:
        spec: Of the codes, as ``kept`` gives it; without rows.
        layout: Of the block.
        count: Codes and pads.

    Raises:
        ValueError: no item has so many.
    """
    if all("t" not in level.axes for level in spec.levels):
        shapes = tuple((level.depth or 0,) for level in spec.levels)  # latent tokens
        if count != sum(math.prod(shape) for shape in shapes):
            raise ValueError(f"{count} codes found, {sum(s[0] for s in shapes)} expected")
        return shapes
    per_step = sum(ratio * stages_of(level) for level, ratio in _ratios(spec))
    steps, rest = divmod(count, per_step)
    if layout.order == "delay":
        steps -= max(layout.delays)
    if rest or steps < 1:
        raise ValueError(f"{count} codes are not whole frames of {per_step}")
    return shapes_of_steps(spec, steps)


def shapes_of_steps(spec: CodeSpec, steps: int) -> Shapes:
    """Return the shapes of the levels of a recording of so many steps of the coarsest."""
    return tuple(
        tuple(stages_of(level) if axis == "q" else steps * ratio for axis in level.axes)
        for level, ratio in _ratios(spec)
    )


def stages_of(level: LevelSpec) -> int:
    """Count the stages of a level."""
    return (level.depth or 1) if "q" in level.axes else 1


def _ratios(spec: CodeSpec) -> list[tuple[LevelSpec, int]]:
    """Pair each level with its steps for one step of the coarsest."""
    if any("t" not in level.axes or len(level.stride) != 1 for level in spec.levels):
        raise ConfigError("layout.order", "frames need levels in time alone")
    first = spec.levels[0]
    found = []
    for level in spec.levels:
        ratio = Fraction(level.steps * first.stride[0], level.stride[0] * first.steps)
        if ratio.denominator != 1:
            raise ConfigError("layout.order", f"level {level.name!r} has no whole steps in a frame")
        found.append((level, int(ratio)))
    return found


def _columns(spec: CodeSpec, layout: BlockLayout) -> list[tuple[LevelSpec, int | None, int]]:
    """Return level, stage, and step of the level in the frame, for each position in a frame."""
    ratios = _ratios(spec)

    def own(index: int, step: int) -> list[tuple[LevelSpec, int | None, int]]:
        level = ratios[index][0]
        stages: Sequence[int | None] = range(stages_of(level)) if "q" in level.axes else [None]
        return [(level, stage, step) for stage in stages]

    if layout.order == "frames":
        return [
            each
            for index, (_, ratio) in enumerate(ratios)
            for step in range(ratio)
            for each in own(index, step)
        ]

    def tree(index: int, step: int) -> list[tuple[LevelSpec, int | None, int]]:
        found = own(index, step)
        if index + 1 < len(ratios):
            here, below = ratios[index][1], ratios[index + 1][1]
            if below % here:
                name = ratios[index + 1][0].name
                raise ConfigError("layout.order", f"level {name!r} has no whole steps in a frame")
            children = below // here
            for child in range(step * children, (step + 1) * children):
                found += tree(index + 1, child)
        return found

    return tree(0, 0)


def _in_frames(spec: CodeSpec, layout: BlockLayout, grids: list[np.ndarray]) -> Sequenced:
    frames = len(grids[0])
    of_level = {}
    for (level, ratio), grid in zip(_ratios(spec), grids, strict=True):
        if len(grid) != frames * ratio:
            lengths = ", ".join(str(len(each)) for each in grids)
            raise ValueError(f"levels of {lengths} steps do not interleave")
        of_level[level.name] = grid.reshape(frames, ratio, -1)
    columns = _columns(spec, layout)
    codes = np.stack(
        [of_level[level.name][:, step, stage or 0] for level, stage, step in columns], axis=1
    )
    if layout.ranges == "slot":
        slot = np.arange(len(columns))
    else:
        numbers = {
            (each.level, each.stage): number for number, each in enumerate(slots_of(spec, layout))
        }
        slot = np.array([numbers.get((level.name, stage), 0) for level, stage, _ in columns])
    return _sequenced(layout, codes.reshape(-1), np.tile(slot, frames))


def _delayed(layout: BlockLayout, grid: np.ndarray) -> Sequenced:
    frames, stages = grid.shape
    codes = np.full((frames + max(layout.delays), stages), PAD, np.int64)
    for stage, delay in enumerate(layout.delays):
        codes[delay : delay + frames, stage] = grid[:, stage]
    slots = np.broadcast_to(np.arange(stages), codes.shape)
    return _sequenced(layout, codes.reshape(-1), np.where(codes < 0, 0, slots).reshape(-1))


def _sequenced(layout: BlockLayout, codes: np.ndarray, slots: np.ndarray) -> Sequenced:
    if layout.ranges == "shared":
        slots = np.zeros_like(codes)
    return Sequenced(codes, np.where(codes < 0, 0, slots))


def _rowed(
    level: LevelSpec, layout: BlockLayout, grid: np.ndarray, shape: Sequence[int]
) -> np.ndarray:
    """Flatten (positions, stages), with a mark after each row where the layout wants one."""
    if layout.row_end is None:
        return grid.reshape(-1)
    rows = shape[level.axes.index("h")]
    whole = grid.reshape(rows, -1)
    return np.concatenate([whole, np.full((rows, 1), ROW_END)], axis=1).reshape(-1)


def _by_position(level: LevelSpec, array: np.ndarray) -> np.ndarray:
    """Map the axes of a level to (positions, stages)."""
    if "q" not in level.axes:
        return array.reshape(-1, 1)
    moved = np.moveaxis(array, level.axes.index("q"), -1)
    return moved.reshape(-1, array.shape[level.axes.index("q")])

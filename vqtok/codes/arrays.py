"""Arrays without a header, as other programs leave them, for a model that the user names.

Images: ``(h, w)`` or ``(B, h, w)``, with the model's stages if it has some, or flat, ``(n,)`` or
``(B, n)``: the levels coarse to fine, each in C order, as ``codes.files`` writes hierarchies. A
leading axis of audio is its channels. A flat array says nothing of its sides: their sizes must be
known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from vqtok.codes import _layout
from vqtok.codes.container import Codes
from vqtok.codes.header import Header
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.errors import CodesError

Item = tuple[Codes, Header]
"""What ``files.read`` gives of one image or recording."""


def checked(found: Item, extent: tuple[int, ...] | None) -> Item:
    """Return an item of a file that has a header, unless another size is wanted.

    Raises:
        CodesError: its header says another.
    """
    own = found[1].extent
    if extent not in (None, own):
        raise CodesError(
            f"its header says its size: {'x'.join(map(str, own))}", hint="leave --size out"
        )
    return found


def items(
    arrays: Mapping[str, np.ndarray], spec: CodeSpec, *, extent: tuple[int, ...] | None
) -> list[Item]:
    """Take arrays apart into items, and make up the header that each lacks.

    Args:
        arrays: By level name, or one under ``UNNAMED``.
        spec: Of the model.
        extent: Original size of each item; None: grid times stride.

    Raises:
        CodesError: arrays that do not fit the model, or whose size must be known.
    """
    if len(spec.levels) == 1 and len(arrays) == 1:
        arrays = {spec.levels[0].name: next(iter(arrays.values()))}
    made = []
    for each in _apart(arrays, spec, extent):
        named, header = _layout.adopt(each, spec, extent=extent)
        made.append((_layout.assemble(named, header), header))
    return made


def _apart(
    arrays: Mapping[str, np.ndarray], spec: CodeSpec, extent: tuple[int, ...] | None
) -> Iterator[dict[str, np.ndarray]]:
    """Yield the arrays of each item, in the shapes that ``adopt`` takes."""
    if _layout.UNNAMED in arrays:
        flat = arrays[_layout.UNNAMED]
        _need(extent, flat, spec)
        rows = flat if flat.ndim == 2 and spec.modality != "audio" else [flat]
        yield from ({_layout.UNNAMED: row} for row in rows)
        return
    if len(spec.levels) == 1 and len(arrays) == 1:
        (level,) = spec.levels
        yield from ({level.name: each} for each in _of_one(arrays[level.name], spec, level, extent))
        return
    ranks = {level.name: len(level.axes) for level in spec.levels}
    batches = {len(a) for name, a in arrays.items() if a.ndim == ranks.get(name, a.ndim) + 1}
    several = len(batches) == 1 and all(a.ndim > ranks.get(n, a.ndim) for n, a in arrays.items())
    if spec.modality != "audio" and several:
        for index in range(batches.pop()):
            yield {name: array[index] for name, array in arrays.items()}
        return
    yield dict(arrays)


def _of_one(
    array: np.ndarray, spec: CodeSpec, level: LevelSpec, extent: tuple[int, ...] | None
) -> Iterator[np.ndarray]:
    rank, audio = len(level.axes), spec.modality == "audio"
    if array.ndim == 1 and rank > 1:
        yield _unflattened(array, spec, level, extent)
    elif not audio and array.ndim == 2 and rank > 1 and _are_rows(array, spec, level, extent):
        yield from (_unflattened(row, spec, level, extent) for row in array)
    elif not audio and array.ndim == rank + 1:
        yield from array
    else:
        yield array


def _are_rows(
    array: np.ndarray, spec: CodeSpec, level: LevelSpec, extent: tuple[int, ...] | None
) -> bool:
    """Tell whether (B, n) is a batch of flat items rather than one item."""
    if extent is None:
        return False
    return array.shape != level.shape(extent) and array.shape[1] in _counts(spec, level, extent)


def _counts(spec: CodeSpec, level: LevelSpec, extent: tuple[int, ...]) -> dict[int, int | None]:
    """Return the codes of a level → its depth."""
    depths = [*range(1, spec.depth + 1)] if spec.depth is not None else [None]
    return {math.prod(level.shape(extent, depth=depth)): depth for depth in depths}


def _unflattened(
    flat: np.ndarray, spec: CodeSpec, level: LevelSpec, extent: tuple[int, ...] | None
) -> np.ndarray:
    counts = _counts(spec, level, _need(extent, flat, spec))
    if len(flat) not in counts:
        size = "x".join(map(str, extent or ()))
        raise CodesError(f"{len(flat)} codes found, {max(counts)} expected for {size}")
    shape = level.shape(extent or (), depth=counts[len(flat)])
    return flat.reshape(shape)


def _need(extent: tuple[int, ...] | None, flat: np.ndarray, spec: CodeSpec) -> tuple[int, ...]:
    if extent is None:
        form = "SAMPLES" if spec.modality == "audio" else "HxW"
        raise CodesError(
            f"a flat array {flat.shape}: the size of the original must be known",
            hint=f"--size {form}",
        )
    return extent

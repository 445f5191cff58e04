"""Arrays as they lie in a file ⇄ levels with a batch axis."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vqtok.codes.container import Codes
from vqtok.codes.header import Header
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.errors import CodesError

UNNAMED = ""
"""Key of the one array of an ``.npy`` file."""


def assemble(arrays: Mapping[str, np.ndarray], header: Header) -> Codes:
    """Put a file's arrays together and check everything.

    Args:
        arrays: By level name, or the single one under ``UNNAMED``.
        header: Says what they should be.

    Raises:
        CodesError: levels, ranks, shapes or ranges that do not fit the header.
    """
    spec = header.spec
    if UNNAMED in arrays:
        arrays = _split(arrays[UNNAMED], header)
    names = [level.name for level in spec.levels]
    if sorted(arrays) != sorted(names):
        raise CodesError(f"levels {_join(arrays)} found, {_join(names)} expected")
    levels = []
    for level in spec.levels:
        array = arrays[level.name]
        _check_rank(level, array, channels=header.channels > 1)
        levels.append(array if header.channels > 1 else array[None])
    if header.channels > 1 and levels[0].shape[0] != header.channels:
        raise CodesError(f"{levels[0].shape[0]} channels found, {header.channels} expected")
    return Codes(spec, tuple(levels), header.extent).check().numpy()


def adopt(
    arrays: Mapping[str, np.ndarray], spec: CodeSpec, *, extent: tuple[int, ...] | None
) -> tuple[dict[str, np.ndarray], Header]:
    """Name the arrays of a file without a header, and make up the header that it lacks.

    A batch axis of 1 is dropped; a leading axis of audio is its channels.

    Raises:
        CodesError: arrays that are not the levels', or no way to know the extent.
    """
    names = [level.name for level in spec.levels]
    if len(names) == 1 and len(arrays) == 1:
        arrays = dict(zip(names, arrays.values(), strict=True))
    if UNNAMED in arrays:
        if extent is None:
            raise CodesError(
                f"one array for {len(names)} levels: the size of the original must be known"
            )
        leading = arrays[UNNAMED].ndim == 2
        channels = arrays[UNNAMED].shape[0] if leading and spec.modality == "audio" else 1
        return dict(arrays), Header(spec=spec, extent=extent, channels=channels)
    if sorted(arrays) != sorted(names):
        raise CodesError(f"levels {_join(arrays)} found, {_join(names)} expected")
    out, channels = {}, 1
    for level in spec.levels:
        array = arrays[level.name]
        if array.ndim == 1 + len(level.axes):
            if array.shape[0] == 1:
                array = array[0]
            elif spec.modality == "audio":
                channels = array.shape[0]
        _check_rank(level, array, channels=channels > 1)
        out[level.name] = array
    shapes = [out[level.name].shape[-len(level.axes) :] for level in spec.levels]
    return out, Header(spec=spec, extent=extent or spec.largest_extent(shapes), channels=channels)


def _split(array: np.ndarray, header: Header) -> dict[str, np.ndarray]:
    """Cut a flat sequence into levels by the spec's shapes; a shorter one may hold fewer stages."""
    spec = header.spec
    if len(spec.levels) == 1:
        return {spec.levels[0].name: array}
    leading = () if header.channels == 1 else (header.channels,)
    if array.ndim != 1 + len(leading):
        found = f"rank {array.ndim} found"
        raise CodesError(f"{found}, one flat sequence of {len(spec.levels)} levels expected")
    depths = [None] if spec.depth is None else [*range(spec.depth, 0, -1)]
    for depth in depths:
        if spec.tokens(header.extent, depth=depth) == array.shape[-1]:
            shapes = spec.shapes(header.extent, depth=depth)
            break
    else:
        expected = spec.tokens(header.extent)
        raise CodesError(f"{array.shape[-1]} codes found, {expected} expected")
    cuts = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    parts = zip(spec.levels, np.split(array, cuts, axis=-1), shapes, strict=True)
    return {level.name: part.reshape(leading + shape) for level, part, shape in parts}


def _check_rank(level: LevelSpec, array: np.ndarray, *, channels: bool) -> None:
    axes = ("c", *level.axes) if channels else level.axes
    if array.ndim != len(axes):
        raise CodesError(
            f"level {level.name!r}: rank {array.ndim} found, ({', '.join(axes)}) expected"
        )


def _join(names: Mapping[str, object] | list[str]) -> str:
    return ", ".join(sorted(names)) or "none"

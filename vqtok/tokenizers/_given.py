"""Check what users give to ``encode`` and ``decode``, and bring it to the model's layout.

Floats are signals as models have them, tensors or numpy arrays: (B, C, *space) in [-1, 1]. Integers
in numpy and Pillow's images are signals as files have them, (H, W, C) or (L, C), in the range of
their dtype. Integers in tensors are refused: where they come from, their range was a convention.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec
from vqtok.errors import CodesError, UsageError
from vqtok.tokenizers._signals import check_signals
from vqtok.tokenizers.given import arrays

if TYPE_CHECKING:
    from vqtok.protocols import GivenCodes, Signal


def signals(given: Signal, modality: str, channels: int) -> Tensor:
    """Make a batch of signals of what a user gives.

    Args:
        given: Floats (B, C, *space) in [-1, 1], of audio up to its ``arrays.KINDS`` limit. Or of
            images a numpy array of uint8 or uint16 (H, W), (H, W, C) or (B, H, W, C), 0 to 255 or
            65535, or a Pillow image, turned upright and laid over white as ``vqtok encode`` does;
            of audio a numpy array of int16 or int32, (L,) or (L, channels).
        modality: "image" or "audio".
        channels: C. Grey integers of images are repeated; if the model codes one channel of audio
            at a time, each of integers becomes an item of its own.

    Returns:
        (B, C, *space).

    Raises:
        UsageError: another type, shape or range, NaN or infinity.
    """
    made = arrays.integers(given, modality, channels)
    x = _floats(given, arrays.KINDS[modality]) if made is None else torch.from_numpy(made)
    check_signals(x, modality, channels)
    low, high = (float(each) for each in torch.aminmax(x.detach()))  # NaN wins there
    arrays.check_range(low, high, modality)
    return x


def codes(given: GivenCodes, spec: CodeSpec, extent: tuple[int, ...] | None = None) -> Codes:
    """Check codes that a user gives, and complete plain arrays.

    Args:
        given: Codes; or integers of numpy or torch, (*axes) or (B, *axes), of several levels a
            sequence of them, coarse to fine.
        spec: Of the model.
        extent: Size of the signals of plain arrays; None: grid times stride.

    Raises:
        CodesError: other levels than the model's, or shapes or values that it does not allow.
        UsageError: another type, or an extent for codes that have one.
    """
    if isinstance(given, Codes):
        if extent is not None:
            raise UsageError("extent", f"these codes have one already, {given.extent}")
        if given.spec.levels != spec.levels:
            raise CodesError("codes of another model: their levels are not those of this one")
        return given.check()
    plain = tuple(given) if isinstance(given, list | tuple) else (given,)
    if len(plain) != len(spec.levels):
        names = ", ".join(level.name for level in spec.levels)
        raise CodesError(f"{len(plain)} arrays found, {len(spec.levels)} expected: {names}")
    levels = []
    for level, array in zip(spec.levels, plain, strict=True):
        found = _integers(array)
        if found.ndim - len(level.axes) not in (0, 1):
            axes = ", ".join(level.axes)
            raise CodesError(
                f"level {level.name!r}: rank {found.ndim} found, ({axes}) or (B, {axes}) expected"
            )
        levels.append(found[None] if found.ndim == len(level.axes) else found)
    shapes = [tuple(each.shape[1:]) for each in levels]
    return Codes(spec, tuple(levels), extent or spec.largest_extent(shapes)).check()


def _floats(given: object, kind: arrays.Kind) -> Tensor:
    """Tensor of floats; numpy arrays become tensors."""
    if isinstance(given, np.ndarray) and given.dtype.kind == "f":
        return torch.from_numpy(np.require(given, np.float32, ["C", "W"]))
    if isinstance(given, Tensor) and given.is_floating_point():
        return given.to(torch.float32)  # half precision and double on purpose: models are float32
    raise UsageError(
        f"{kind.name}: {_type_of(given)} found, floats in [-1, 1] expected", hint=kind.convert
    )


def _integers(given: object) -> Tensor:
    """int64 tensor of plain codes."""
    if isinstance(given, np.ndarray) and given.dtype.kind in "iu":
        return torch.from_numpy(given.astype(np.int64))
    if isinstance(given, Tensor) and not given.is_floating_point() and given.dtype != torch.bool:
        return given.to(torch.int64)
    raise UsageError(
        f"codes: {_type_of(given)} found, integers of numpy or torch expected",
        hint="codes.astype(int), or what encode and read_codes return",
    )


def _type_of(given: object) -> str:
    if isinstance(given, np.ndarray | Tensor):
        return f"{given.dtype} values"
    return type(given).__name__

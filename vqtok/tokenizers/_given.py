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
from vqtok.tokenizers._signals import check_audio, check_images
from vqtok.tokenizers.given import arrays

if TYPE_CHECKING:
    from vqtok.protocols import GivenCodes, Signal


def images(given: Signal, channels: int) -> Tensor:
    """Make a batch of images of what a user gives.

    Args:
        given: Floats (B, C, H, W) in [-1, 1]; or a numpy array of uint8 or uint16 (H, W),
            (H, W, C) or (B, H, W, C), 0 to 255 or 65535; or a Pillow image, turned upright and laid
            over white as ``vqtok encode`` does.
        channels: C; grey integers are repeated.

    Returns:
        (B, C, H, W).

    Raises:
        UsageError: another type, shape or range, NaN or infinity.
    """
    made = arrays.pixels(given, channels)
    if made is not None:
        x = torch.from_numpy(made)
    else:
        x = _floats(given, "images", "a numpy array of uint8, or x / 127.5 - 1 for 0 to 255")
    check_images(x, channels)
    _check_range(x, "images", arrays.IMAGE_LIMIT, arrays.IMAGE_FIX)
    return x


def audio(given: Signal, channels: int = 1) -> Tensor:
    """Make a batch of audio at the model's rate of what a user gives.

    Args:
        given: Floats (B, C, L) in [-1, 1], or up to
            ``arrays.AUDIO_LIMIT``; or a numpy array of int16 or
            int32, (L,) or (L, channels).
        channels: C, those that the model codes together; if it is 1, each channel of integers
            becomes an item of its own.

    Returns:
        (B, C, L).

    Raises:
        UsageError: another type, shape or range, NaN or infinity.
    """
    made = arrays.samples(given, channels)
    if made is not None:
        x = torch.from_numpy(made)
    else:
        x = _floats(given, "audio", "a numpy array of int16, or x / 32768 for 16 bits")
    check_audio(x, channels)
    _check_range(x, "audio", arrays.AUDIO_LIMIT, arrays.AUDIO_FIX)
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
    arrays = tuple(given) if isinstance(given, list | tuple) else (given,)
    if len(arrays) != len(spec.levels):
        names = ", ".join(level.name for level in spec.levels)
        raise CodesError(f"{len(arrays)} arrays found, {len(spec.levels)} expected: {names}")
    levels = []
    for level, array in zip(spec.levels, arrays, strict=True):
        found = _integers(array)
        if found.ndim - len(level.axes) not in (0, 1):
            axes = ", ".join(level.axes)
            raise CodesError(
                f"level {level.name!r}: rank {found.ndim} found, ({axes}) or (B, {axes}) expected"
            )
        levels.append(found[None] if found.ndim == len(level.axes) else found)
    shapes = [tuple(each.shape[1:]) for each in levels]
    return Codes(spec, tuple(levels), extent or spec.largest_extent(shapes)).check()


def _floats(given: object, what: str, fix: str) -> Tensor:
    """Tensor of floats; numpy arrays become tensors."""
    if isinstance(given, np.ndarray) and given.dtype.kind == "f":
        return torch.from_numpy(np.require(given, np.float32, ["C", "W"]))
    if isinstance(given, Tensor) and given.is_floating_point():
        return given.to(torch.float32)  # half precision and double on purpose: models are float32
    raise UsageError(f"{what}: {_type_of(given)} found, floats in [-1, 1] expected", hint=fix)


def _check_range(x: Tensor, what: str, limit: float, fix: str) -> None:
    low, high = (float(each) for each in torch.aminmax(x.detach()))  # NaN wins there
    arrays.check_range(low, high, what=what, limit=limit, fix=fix)


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

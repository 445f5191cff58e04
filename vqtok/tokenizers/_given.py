"""Check what users give to ``encode`` and ``decode``, and bring it to the model's layout.

Floats are signals as models have them, tensors or numpy arrays: (B, C, *space) in [-1, 1]. Integers
in numpy and Pillow's images are signals as files have them, (H, W, C) or (L, C), in the range of
their dtype. Integers in tensors are refused: where they come from, their range was a convention.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

import numpy as np
import torch
from torch import Tensor

from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec
from vqtok.errors import CodesError, UsageError
from vqtok.tokenizers._signals import check_audio, check_images

if TYPE_CHECKING:
    from PIL.Image import Image

    from vqtok.protocols import GivenCodes, Signal

IMAGE_LIMIT = 1.01
"""Largest absolute value of pixels: 8-bit values divided by 127 instead of 127.5 give 1.008."""

AUDIO_LIMIT = 4.0
"""Largest absolute value of samples, 12 dB over full scale: resampled, mixed and decoded sound
overshoots."""

FULL = {"int16": 1 << 15, "int32": 1 << 31}
"""Integers of audio, and the value that stands for 1."""

CHANNELS = 64
"""Most channels of a recording; more are samples on the wrong axis."""


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
    if _is_pillow(given):
        x = torch.from_numpy(_upright(given))[None]
    elif isinstance(given, np.ndarray) and given.dtype.kind in "iu":
        x = torch.from_numpy(_pixels(given, channels))
    else:
        x = _floats(given, "images", "a numpy array of uint8, or x / 127.5 - 1 for 0 to 255")
    check_images(x, channels)
    fix = "x / 127.5 - 1 for 0 to 255, x.clamp(-1, 1) for what is slightly outside"
    _check_range(x, "images", IMAGE_LIMIT, fix)
    return x


def audio(given: Signal, channels: int = 1) -> Tensor:
    """Make a batch of audio at the model's rate of what a user gives.

    Args:
        given: Floats (B, C, L) in [-1, 1], or up to ``AUDIO_LIMIT``; or a numpy array of int16 or
            int32, (L,) or (L, channels).
        channels: C, those that the model codes together; if it is 1, each channel of integers
            becomes an item of its own.

    Returns:
        (B, C, L).

    Raises:
        UsageError: another type, shape or range, NaN or infinity.
    """
    if isinstance(given, np.ndarray) and given.dtype.kind in "iu":
        x = torch.from_numpy(_samples(given, channels))
    else:
        x = _floats(given, "audio", "a numpy array of int16, or x / 32768 for 16 bits")
    check_audio(x, channels)
    fix = "x / 32768 for 16 bits, x / x.abs().max() for what is too loud"
    _check_range(x, "audio", AUDIO_LIMIT, fix)
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


def _is_pillow(given: Signal) -> TypeGuard[Image]:
    return hasattr(given, "getbands")


def _upright(image: Image) -> np.ndarray:
    """Pixels of a Pillow image as of its file: (3, H, W) float32."""
    from vqtok.media.image.facts import ImageInfo
    from vqtok.media.image.picture import Picture
    from vqtok.media.image.pixels import has_alpha, parse_background

    image.load()
    width, height = image.size
    info = ImageInfo(width, height, image.mode, "", frames=1, has_alpha=has_alpha(image), bits=8)
    return Picture(image, info, background=parse_background("white"), name="image").whole()


def _pixels(given: np.ndarray, channels: int) -> np.ndarray:
    """Integers (H, W), (H, W, C) or (B, H, W, C) → (B, C, H, W) float32 in [-1, 1]."""
    if given.dtype not in (np.uint8, np.uint16):
        raise UsageError(
            f"images: {given.dtype} values found, uint8, uint16 or floats in [-1, 1] expected",
            hint="x.astype('uint8') for 0 to 255",
        )
    x = given[..., None] if given.ndim == 2 else given
    x = x[None] if x.ndim == 3 else x
    if x.ndim != 4 or x.shape[-1] not in (1, channels):
        turned = given.ndim in (3, 4) and given.shape[-3] == channels
        hint = "x[..., :3] leaves out the alpha" if given.shape[-1:] == (4,) else None
        raise UsageError(
            f"images: shape {given.shape} of {given.dtype} found, (H, W), (H, W, {channels}) or "
            f"(B, H, W, {channels}) expected",
            hint="np.moveaxis(x, -3, -1)" if turned else hint,
        )
    # In the order of the reader of files, so that the codes are the file's.
    if x.dtype == np.uint8:
        scaled = x.astype(np.float32) / np.float32(255)
    else:
        scaled = (x.astype(np.float64) / 65535).astype(np.float32)
    signed = np.broadcast_to(scaled, (*x.shape[:3], channels)) * np.float32(2) - np.float32(1)
    return np.ascontiguousarray(signed.transpose(0, 3, 1, 2))


def _samples(given: np.ndarray, channels: int) -> np.ndarray:
    """Integers (L,) or (L, k) → (k, 1, L), or (1, C, L) of C channels coded together; float32."""
    if given.dtype.name not in FULL:
        raise UsageError(
            f"audio: {given.dtype} values found, int16, int32 or floats in [-1, 1] expected",
            hint="x.astype('int16') for 16 bits",
        )
    x = given[:, None] if given.ndim == 1 else given
    if x.ndim != 2 or x.shape[1] > CHANNELS or (channels > 1 and x.shape[1] not in (1, channels)):
        turned = given.ndim == 2 and given.shape[0] < given.shape[1]
        raise UsageError(
            f"audio: shape {given.shape} of {given.dtype} found, (L,) or (L, channels) expected",
            hint="x.T" if turned else None,
        )
    scaled = (x.T.astype(np.float64) / FULL[given.dtype.name]).astype(np.float32)  # (k, L)
    if channels == 1:
        return scaled[:, None]
    return np.broadcast_to(scaled, (channels, scaled.shape[1]))[None].copy()


def _floats(given: object, what: str, fix: str) -> Tensor:
    """Tensor of floats; numpy arrays become tensors."""
    if isinstance(given, np.ndarray) and given.dtype.kind == "f":
        return torch.from_numpy(np.require(given, np.float32, ["C", "W"]))
    if isinstance(given, Tensor) and given.is_floating_point():
        return given
    raise UsageError(f"{what}: {_type_of(given)} found, floats in [-1, 1] expected", hint=fix)


def _check_range(x: Tensor, what: str, limit: float, fix: str) -> None:
    low, high = (float(each) for each in torch.aminmax(x.detach()))
    if -limit <= low and high <= limit:
        return
    if not (np.isfinite(low) and np.isfinite(high)):  # NaN wins in aminmax
        raise UsageError(f"{what}: NaN or infinite values found", hint="torch.nan_to_num(x)")
    raise UsageError(f"{what}: values from {low:g} to {high:g} found, [-1, 1] expected", hint=fix)


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

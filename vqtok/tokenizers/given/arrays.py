"""Float arrays of what users give that is no tensor yet: integers, pictures of Pillow; no torch.

Integers are signals as files have them, (H, W, C) or (L, C), in the range of their dtype.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

import numpy as np

from vqtok.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_LIMIT = 1.01
"""Largest absolute value of pixels: 8-bit values divided by 127 instead of 127.5 give 1.008."""

AUDIO_LIMIT = 4.0
"""Largest absolute value of samples, 12 dB over full scale: resampled, mixed and decoded sound
overshoots."""

IMAGE_FIX = "x / 127.5 - 1 for 0 to 255, x.clamp(-1, 1) for what is slightly outside"
AUDIO_FIX = "x / 32768 for 16 bits, x / x.abs().max() for what is too loud"

FULL = {"int16": 1 << 15, "int32": 1 << 31}
"""Integers of audio, and the value that stands for 1."""

CHANNELS = 64
"""Most channels of a recording; more are samples on the wrong axis."""


def pixels(given: object, channels: int) -> np.ndarray | None:
    """Make a batch of images of integers or of Pillow's: (B, C, H, W); None: something else.

    Raises:
        UsageError: integers of a type or shape that images have not.
    """
    if _is_pillow(given):
        return _upright(given)[None]
    if isinstance(given, np.ndarray) and given.dtype.kind in "iu":
        return _of_pixels(given, channels)
    return None


def samples(given: object, channels: int) -> np.ndarray | None:
    """Make a batch of audio of integers: (B, C, L); None: something else.

    Raises:
        UsageError: integers of a type or shape that audio has not.
    """
    if isinstance(given, np.ndarray) and given.dtype.kind in "iu":
        return _of_samples(given, channels)
    return None


def signals(given: object, modality: str, channels: int) -> np.ndarray:
    """Make a batch of numpy arrays or pictures, checked: (B, C, *space) float32.

    Args:
        given: Floats (B, C, *space) in [-1, 1], integers, or a picture of Pillow.
        modality: "image" or "audio".
        channels: C.

    Raises:
        UsageError: another type, shape or range, NaN or infinity.
    """
    is_image = modality == "image"
    x = pixels(given, channels) if is_image else samples(given, channels)
    if x is None:
        if not isinstance(given, np.ndarray) or given.dtype.kind != "f":
            found = f"{given.dtype} values" if hasattr(given, "dtype") else type(given).__name__
            raise UsageError(f"{modality}: {found} found, arrays of numpy expected")
        x = given.astype(np.float32)
    rank, axes = (4, "H, W") if is_image else (3, "L")
    if x.ndim != rank or x.shape[1] != channels or 0 in x.shape:
        raise UsageError(f"{modality}: shape {x.shape} found, (B, {channels}, {axes}) expected")
    limit, fix = (IMAGE_LIMIT, IMAGE_FIX) if is_image else (AUDIO_LIMIT, AUDIO_FIX)
    check_range(float(x.min()), float(x.max()), what=modality, limit=limit, fix=fix)
    return x


def check_range(low: float, high: float, *, what: str, limit: float, fix: str) -> None:
    """Check the least and the largest value of signals.

    Raises:
        UsageError: NaN, infinite or outside the limit.
    """
    if -limit <= low and high <= limit:
        return
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UsageError(f"{what}: NaN or infinite values found", hint="torch.nan_to_num(x)")
    raise UsageError(f"{what}: values from {low:g} to {high:g} found, [-1, 1] expected", hint=fix)


def _is_pillow(given: object) -> TypeGuard[Image]:
    return hasattr(given, "getbands")


def _upright(image: Image) -> np.ndarray:
    """Pixels of a Pillow image as of its file: (3, H, W) float32."""
    from vqtok.media.image.facts import ImageInfo
    from vqtok.media.image.picture import Picture
    from vqtok.media.image.pillow import with_key_in_bytes
    from vqtok.media.image.pixels import has_alpha, parse_background

    image = with_key_in_bytes(image)
    width, height = image.size
    info = ImageInfo(width, height, image.mode, "", frames=1, has_alpha=has_alpha(image), bits=8)
    return Picture(image, info, background=parse_background("white"), name="image").whole()


def _of_pixels(given: np.ndarray, channels: int) -> np.ndarray:
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


def _of_samples(given: np.ndarray, channels: int) -> np.ndarray:
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

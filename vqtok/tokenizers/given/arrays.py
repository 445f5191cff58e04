"""Float arrays of what users give that is no tensor yet: integers, pictures of Pillow; no torch.

Integers are signals as files have them, (H, W, C) or (L, C), in the range of their dtype.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeGuard

import numpy as np

from vqtok.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image


class Kind(NamedTuple):
    """What signals of a modality look like.

    Attributes:
        name: In messages.
        axes: Behind batch and channels.
        limit: Largest absolute value.
        clamp: How values outside the limit become right.
        convert: How values that are no floats become right.
    """

    name: str
    axes: str
    limit: float
    clamp: str
    convert: str


KINDS = {
    "image": Kind(
        "images",
        "H, W",
        1.01,  # 8-bit values divided by 127 instead of 127.5 give 1.008
        "x / 127.5 - 1 for 0 to 255, x.clamp(-1, 1) for what is slightly outside",
        "a numpy array of uint8, or x / 127.5 - 1 for 0 to 255",
    ),
    "audio": Kind(
        "audio",
        "L",
        4.0,  # 12 dB over full scale: resampled, mixed and decoded sound overshoots
        "x / 32768 for 16 bits, x / x.abs().max() for what is too loud",
        "a numpy array of int16, or x / 32768 for 16 bits",
    ),
}

FULL = {"int16": 1 << 15, "int32": 1 << 31}
"""Integers of audio, and the value that stands for 1."""

CHANNELS = 64
"""Most channels of a recording; more are samples on the wrong axis."""


def integers(given: object, modality: str, channels: int) -> np.ndarray | None:
    """Make a batch of integers or of a Pillow image: (B, C, *space); None: something else.

    Raises:
        UsageError: integers of a type or shape that signals of this modality have not.
    """
    if modality == "image" and _is_pillow(given):
        return _upright(given)[None]
    if not isinstance(given, np.ndarray) or given.dtype.kind not in "iu":
        return None
    return _of_pixels(given, channels) if modality == "image" else _of_samples(given, channels)


def signals(given: object, modality: str, channels: int) -> np.ndarray:
    """Make a batch of numpy arrays or pictures, checked: (B, C, *space) float32.

    Args:
        given: Floats (B, C, *space) in [-1, 1], integers, or a picture of Pillow.
        modality: "image" or "audio".
        channels: C.

    Raises:
        UsageError: another type, shape or range, NaN or infinity.
    """
    x = integers(given, modality, channels)
    if x is None:
        if not isinstance(given, np.ndarray) or given.dtype.kind != "f":
            found = f"{given.dtype} values" if hasattr(given, "dtype") else type(given).__name__
            raise UsageError(f"{KINDS[modality].name}: {found} found, arrays of numpy expected")
        x = given.astype(np.float32)
    check_shape(x.shape, modality, channels)
    check_range(float(x.min()), float(x.max()), modality)
    return x


def check_shape(shape: tuple[int, ...], modality: str, channels: int) -> None:
    """Check that signals are (B, C, *space), none of them empty.

    Raises:
        UsageError: they are not.
    """
    kind = KINDS[modality]
    rank = 2 + len(kind.axes.split(", "))
    if len(shape) != rank or shape[1] != channels or 0 in shape:
        raise UsageError(
            f"{kind.name}: shape {tuple(shape)} found, (B, {channels}, {kind.axes}) expected"
        )


def check_range(low: float, high: float, modality: str) -> None:
    """Check the least and the largest value of signals.

    Raises:
        UsageError: NaN, infinite or outside the limit.
    """
    kind = KINDS[modality]
    if -kind.limit <= low and high <= kind.limit:
        return
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UsageError(f"{kind.name}: NaN or infinite values found", hint="torch.nan_to_num(x)")
    raise UsageError(
        f"{kind.name}: values from {low:g} to {high:g} found, [-1, 1] expected", hint=kind.clamp
    )


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

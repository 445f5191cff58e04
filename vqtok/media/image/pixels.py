"""Pixels of any Pillow mode → float samples in [0, 1] and back to bytes."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageColor

from vqtok.errors import MediaError, UsageError
from vqtok.media.image.raster import Raster

GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
ALPHA_MODES = frozenset({"RGBA", "RGBa", "LA", "La", "PA"})


def parse_background(text: str) -> np.ndarray:
    """Makes a CSS colour name or hex as (3,) float32 in [0, 1].

    Raises:
        UsageError: not a colour, or one with transparency.
    """
    hint = "a CSS colour name or hex: white, black, '#808080'"
    try:
        colour = ImageColor.getrgb(text)
    except ValueError as error:
        raise UsageError(f"background {text!r}: not a colour", hint=hint) from error
    if len(colour) == 4 and colour[3] != 255:
        raise UsageError(f"background {text!r}: must be opaque", hint=hint)
    return np.asarray(colour[:3], dtype=np.float32) / np.float32(255)


def check_size(size: tuple[int, int], name: str, max_pixels: int | None) -> None:
    """Refuse pictures that are too large, before there is room made for them.

    Args:
        size: Width and height.
        name: The file, in the message.
        max_pixels: None: no limit.

    Raises:
        MediaError: more pixels than that.
    """
    pixels = size[0] * size[1]
    if max_pixels is not None and pixels > max_pixels:
        raise MediaError(
            name,
            f"{size[0]}x{size[1]} is {pixels} pixels, more than the limit of {max_pixels}",
            hint=f"--max-pixels {pixels} if you trust the file",
        )


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """Float in [-1, 1] → uint8: ``(x + 1) * 127.5`` rounded half to even, clipped to 0 and 255."""
    scaled = (pixels.astype(np.float32, copy=False) + np.float32(1)) * np.float32(127.5)
    rounded: np.ndarray = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return rounded


def shrink(values: np.ndarray, side: int | None) -> np.ndarray:
    """Resize (3, H, W) uint8 so that its short side is at most ``side``; None keeps the size."""
    height, width = values.shape[1:]
    if side is None or min(height, width) <= side:
        return values
    scale = side / min(height, width)
    size = (max(side, round(width * scale)), max(side, round(height * scale)))
    small = Image.fromarray(values.transpose(1, 2, 0)).resize(size, Image.Resampling.LANCZOS)
    out: np.ndarray = np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))
    return out


# Rows × columns looked at together where a whole image must be looked at.
_PART_PIXELS = 1 << 22


def has_alpha(image: Image.Image | Raster) -> bool:
    """Checks whether ``samples`` gives an alpha for it."""
    if isinstance(image, Raster):
        return image.is_transparent
    key = image.info.get("transparency")
    if _is_deep(image):
        return isinstance(key, int)
    return image.mode in ALPHA_MODES or key is not None


def check_range(image: Image.Image | Raster, name: str) -> None:
    """Refuse samples of more than 8 bits that lie outside of their scale.

    Raises:
        MediaError: such samples, or some that are not finite.
    """
    if not _is_deep(image):
        return
    lows, highs = [], []
    step = max(1, _PART_PIXELS // image.width)
    for top in range(0, image.height, step):
        part = image.crop((0, top, image.width, min(top + step, image.height)))
        values = part.values if isinstance(part, Raster) else np.asarray(part)
        if not np.isfinite(values).all():
            raise MediaError(name, "samples are not finite")
        lows.append(float(values.min()))
        highs.append(float(values.max()))
    low, high, white = min(lows), max(highs), _white(image)
    if low < 0 or high > white:
        raise MediaError(
            name,
            f"samples from {low:g} to {high:g}, expected 0 (black) to {white:g} (white)",
            hint="scale the image, or save it with 8 or 16 bits",
        )


def samples(image: Image.Image | Raster) -> tuple[np.ndarray, np.ndarray | None]:
    """Decoded image → (1 or 3, H, W) and alpha (1, H, W) or None, float32 in [0, 1]."""
    if isinstance(image, Raster):
        return image.samples()
    if _is_deep(image):
        return _deep(image)
    transparent = has_alpha(image)
    if transparent:
        image = image.convert("LA" if image.mode in ("LA", "La") else "RGBA")
    elif image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    values = np.asarray(image)
    # (H, W) or (H, W, C) → (C, H, W)
    values = values[None] if values.ndim == 2 else values.transpose(2, 0, 1)
    scaled = values.astype(np.float32)
    scaled /= np.float32(255)
    return (scaled[:-1], scaled[-1:]) if transparent else (scaled, None)


def _deep(image: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """Grey samples of more than 8 bits."""
    values, key = np.asarray(image), image.info.get("transparency")
    scaled = (values.astype(np.float64) / _white(image)).astype(np.float32)[None]
    alpha = (values != key).astype(np.float32)[None] if isinstance(key, int) else None
    return scaled, alpha


def _is_deep(image: Image.Image | Raster) -> bool:
    if isinstance(image, Raster):
        # Samples of up to 16 bits cannot leave their scale.
        return image.values.dtype.kind != "u" or image.values.dtype.itemsize > 2
    return image.mode.startswith("I;16") or image.mode in ("I", "F")


def _white(image: Image.Image | Raster) -> float:
    if isinstance(image, Raster):
        return image.white
    return 1.0 if image.mode == "F" else 65535.0

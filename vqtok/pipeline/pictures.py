"""Original, reconstruction and error side by side, for people to look at. numpy and Pillow only.

Every function gives a picture as (H, W, 3) uint8; ``save`` writes it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from vqtok import atomic
from vqtok.errors import MediaError
from vqtok.media.image import to_uint8
from vqtok.media.opening import os_message
from vqtok.pipeline import canvas
from vqtok.pipeline.codeplot import plot as plot

SMALLEST, LARGEST = 256, 1600
"""Pixels of a panel's longer side: smaller pictures are enlarged, larger ones shrunk."""

ERROR_GAIN = 4.0
"""Errors are shown this much brighter: a quarter of the range is the hottest colour."""

MARGIN = 8
"""Pixels between panels and around the whole."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""BT.601, as in JPEG: what the eye weighs as brightness."""

SHOWN_DB = 80.0
"""Of a spectrogram, below its loudest point."""


def compare(
    original: np.ndarray,
    decoded: np.ndarray,
    *,
    captions: tuple[str, str] = ("original", "decoded"),
) -> np.ndarray:
    """Original, reconstruction and error map, side by side; wide pictures one above the other.

    The error map is the absolute difference of brightness, four times enlarged, black to yellow.

    Args:
        original: (3, H, W) float in [-1, 1].
        decoded: The same shape.
        captions: Texts over the first two panels; "" for none.
    """
    a, b = (to_uint8(each).transpose(1, 2, 0) for each in (original, decoded))
    difference = np.abs((a.astype(np.float32) - b) @ LUMA) * (ERROR_GAIN / 255.0)
    height, width = a.shape[:2]
    scale = _scale(height, width)
    texts = (*captions, f"error in brightness, {ERROR_GAIN:g}x")
    panels = [
        canvas.caption(canvas.resize(panel, scale), text)
        for panel, text in zip((a, b, canvas.colour_map(difference)), texts, strict=True)
    ]
    join = canvas.stack if width > 1.6 * height else canvas.beside
    return canvas.framed(join(panels, gap=MARGIN), margin=MARGIN)


def compare_spectrograms(
    original: np.ndarray,
    decoded: np.ndarray,
    *,
    duration_s: float,
    rate_hz: float,
    captions: tuple[str, str] = ("original", "decoded"),
) -> np.ndarray:
    """Log-mel spectrograms of a recording and its reconstruction, and their difference.

    Args:
        original: (bins, T) log10 magnitudes, low frequencies first.
        decoded: The same shape.
        duration_s: Seconds that the T frames span.
        rate_hz: The top of the frequency axis is half of it.
        captions: Texts over the first two panels; "" for none.
    """
    top = max(float(original.max()), float(decoded.max()))
    shown = SHOWN_DB / 20.0
    texts = (*captions, "difference, 0 to 20 dB")
    values = ((original - top) / shown + 1, (decoded - top) / shown + 1, abs(original - decoded))
    panels = []
    for each, text in zip(values, texts, strict=True):
        picture = Image.fromarray(canvas.colour_map(each[::-1]))  # low frequencies at the bottom
        columns = min(LARGEST, max(480, 2 * picture.width))
        # Enlarged frames stay visible as frames; several frames in one pixel are averaged.
        way = Image.Resampling.NEAREST if columns >= picture.width else Image.Resampling.BOX
        panels.append(canvas.caption(np.asarray(picture.resize((columns, 160), way)), text))
    scope = f"{duration_s:.2f} s from left to right, 0 to {rate_hz / 2000:g} kHz (mel) upwards"
    whole = canvas.stack([*panels, canvas.text_panel(scope)], gap=MARGIN)
    return canvas.framed(whole, margin=MARGIN)


def save(target: Path, picture: np.ndarray) -> None:
    """Write a picture as PNG, whole or not at all.

    Raises:
        MediaError: the target cannot be written.
    """
    try:
        with atomic.file(target) as temporary:
            Image.fromarray(picture).save(temporary, format="PNG")
    except OSError as error:
        raise MediaError(f"{target}: cannot write: {os_message(error)}") from error


def _scale(height: int, width: int) -> float:
    longer = max(height, width)
    if longer < SMALLEST:
        return float(SMALLEST // longer)
    return min(1.0, LARGEST / longer)

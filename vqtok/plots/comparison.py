"""Original, reconstruction and error: of pictures side by side, of recordings as spectrograms."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from vqtok.plots import sheet
from vqtok.plots.sheet import FRAMED, Panel, colour_map

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMALLEST, LARGEST = 256, 1600
"""Pixels of a picture's longer side: smaller ones are enlarged, larger ones shrunk."""

ERROR_GAIN = 4.0
"""Errors are shown this much brighter: a quarter of the range is the hottest colour."""

SHOWN_DB, ERROR_DB = 80.0, 20.0
"""Of a spectrogram, below its loudest point; of the difference of two."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # BT.601, as in JPEG
_MARKS_HZ = (0, 250, 500, 1000, 2000, 4000, 8000, 16000)


def error_map(original: np.ndarray, decoded: np.ndarray) -> np.ndarray:
    """Differences in brightness, ``ERROR_GAIN`` times enlarged.

    Args:
        original: (H, W, 3) uint8.
        decoded: The same shape.

    Returns:
        (H, W) float32; 1 is as bright as it gets.
    """
    difference = np.abs((original.astype(np.float32) - decoded) @ _LUMA)
    errors: np.ndarray = difference * (ERROR_GAIN / 255.0)
    return errors


def pictures(original: np.ndarray, decoded: np.ndarray, *, captions: tuple[str, str]) -> np.ndarray:
    """Show a picture, its reconstruction and their error; wide ones one above the other.

    Args:
        original: (H, W, 3) uint8.
        decoded: The same shape.
        captions: Texts over the first two; "" for none.

    Returns:
        (H, W, 3) uint8.
    """
    height, width = original.shape[:2]
    shown = (original, decoded, colour_map(error_map(original, decoded)))
    titles = (*captions, f"error in brightness, {ERROR_GAIN:g}x")
    panels = [
        sheet.image(_fitted(each), title=text) for each, text in zip(shown, titles, strict=True)
    ]
    return sheet.pixels(panels, across=width <= 1.6 * height)


def spectrograms(
    original: np.ndarray,
    decoded: np.ndarray,
    *,
    duration_s: float,
    bins_hz: Sequence[float],
    captions: tuple[str, str],
) -> np.ndarray:
    """Show log-mel spectrograms of a recording and its reconstruction, and their difference.

    Args:
        original: (bins, T) log10 magnitudes, low frequencies first.
        decoded: The same shape.
        duration_s: Seconds that the T frames span.
        bins_hz: Centre of each bin, ascending.
        captions: Texts over the first two; "" for none.

    Returns:
        (H, W, 3) uint8.
    """
    top = max(float(original.max()), float(decoded.max()))
    size = min(LARGEST, max(640, 2 * original.shape[1])), 180
    shown = (
        (20 * (original - top), (-SHOWN_DB, 0.0), captions[0]),
        (20 * (decoded - top), (-SHOWN_DB, 0.0), captions[1]),
        (20 * np.abs(original - decoded), (0.0, ERROR_DB), "difference"),
    )
    panels = []
    for decibels, ends, title in shown:
        drawn = partial(_draw, decibels=decibels, ends=ends, duration_s=duration_s, bins_hz=bins_hz)
        panels.append(Panel(title, size, drawn, FRAMED._replace(right=80)))
    return sheet.pixels(panels)


def _draw(
    axes: Axes,
    *,
    decibels: np.ndarray,
    ends: tuple[float, float],
    duration_s: float,
    bins_hz: Sequence[float],
) -> None:
    bins = len(decibels)
    # Several frames within a pixel are averaged, enlarged ones stay visible as frames.
    drawn = axes.imshow(
        decibels, "inferno", vmin=ends[0], vmax=ends[1], origin="lower", aspect="auto",
        interpolation="auto", extent=(0.0, duration_s or 1e-3, 0.0, float(bins)),
    )  # fmt: skip
    axes.set(xlabel="time in s", ylabel="kHz (mel)")
    marks = [hz for hz in _MARKS_HZ if hz <= bins_hz[-1]]
    heights = np.interp(marks, bins_hz, np.arange(bins) + 0.5)
    axes.set_yticks(heights, [f"{hz / 1000:g}" for hz in marks])
    axes.spines[:].set_visible(False)
    scale = axes.figure.colorbar(drawn, cax=axes.inset_axes((1.015, 0.0, 0.012, 1.0)), label="dB")
    scale.outline.set_visible(False)


def _fitted(pixels: np.ndarray) -> np.ndarray:
    """Enlarge small pictures by repeating pixels, shrink large ones by averaging them."""
    height, width = pixels.shape[:2]
    longer = max(height, width)
    if longer < SMALLEST:
        times = SMALLEST // longer
        return pixels.repeat(times, axis=0).repeat(times, axis=1)
    if longer <= LARGEST:
        return pixels
    size = (max(1, width * LARGEST // longer), max(1, height * LARGEST // longer))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))

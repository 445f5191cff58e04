"""What pictures are put together from: panels, captions and one colour map. numpy and Pillow only.

A panel is (H, W, 3) uint8.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PAPER = (255, 255, 255)
INK = (32, 32, 32)
FAINT = (208, 208, 208)

FONT_PIXELS = 14
_LINE = FONT_PIXELS + 6

# Nine colours of matplotlib's inferno (CC0), evenly spaced: dark to bright, readable without hue.
_INFERNO = np.array(
    [
        (0, 0, 4),
        (31, 12, 72),
        (85, 15, 109),
        (136, 34, 106),
        (186, 54, 85),
        (227, 89, 51),
        (249, 140, 10),
        (249, 201, 50),
        (252, 255, 164),
    ],
    np.float32,
)


def colour_map(values: np.ndarray) -> np.ndarray:
    """(H, W) numbers → panel: 0 and below black, 1 and above bright yellow."""
    steps = np.clip(values, 0.0, 1.0) * (len(_INFERNO) - 1)
    low = np.minimum(steps.astype(np.int64), len(_INFERNO) - 2)
    part = (steps - low)[..., None]
    mixed = _INFERNO[low] * (1.0 - part) + _INFERNO[low + 1] * part
    panel: np.ndarray = np.rint(mixed).astype(np.uint8)
    return panel


def hashed_colours(codes: np.ndarray) -> np.ndarray:
    """(H, W) integers → panel: each has one colour, always the same, unlike its neighbours'."""
    number = codes.astype(np.uint64)
    hue = (number.astype(np.float64) * 0.6180339887498949) % 1.0  # golden ratio: never in step
    spread = (number * np.uint64(2654435761)) >> np.uint64(8)  # Knuth's multiplicative hash
    saturation = 0.40 + 0.55 * (spread % np.uint64(97)).astype(np.float64) / 96
    value = 0.50 + 0.50 * (spread % np.uint64(89)).astype(np.float64) / 88
    sector = (hue[..., None] * 6.0 + np.array([5.0, 3.0, 1.0])) % 6.0
    wave = np.clip(np.minimum(sector, 4.0 - sector), 0.0, 1.0)  # HSV → RGB in one formula
    rgb = value[..., None] * (1.0 - saturation[..., None] * wave)
    panel: np.ndarray = np.rint(rgb * 255).astype(np.uint8)
    return panel


def resize(panel: np.ndarray, scale: float) -> np.ndarray:
    """Enlarge by repeating pixels, or shrink by averaging them."""
    if scale == 1.0:
        return panel
    height, width = (max(1, round(side * scale)) for side in panel.shape[:2])
    way = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
    return np.asarray(Image.fromarray(panel).resize((width, height), way))


def caption(panel: np.ndarray, text: str) -> np.ndarray:
    """A panel with a line of text above it; it grows if the text is wider."""
    if not text:
        return panel
    width = max(panel.shape[1], text_width(text) + 1)
    board = blank(panel.shape[0] + _LINE, width)
    board[_LINE:, : panel.shape[1]] = panel
    image = Image.fromarray(board)
    ImageDraw.Draw(image).text((0, 1), text, fill=INK, font=font())
    return np.array(image)


def text_panel(text: str) -> np.ndarray:
    """A line of text by itself."""
    return caption(blank(1, 1), text)[:-1]


def beside(panels: Sequence[np.ndarray], *, gap: int) -> np.ndarray:
    """Panels from left to right, aligned below (captions may differ), with a margin all round."""
    height = max(panel.shape[0] for panel in panels)
    board = blank(height, sum(panel.shape[1] for panel in panels) + gap * (len(panels) - 1))
    left = 0
    for panel in panels:
        board[height - panel.shape[0] :, left : left + panel.shape[1]] = panel
        left += panel.shape[1] + gap
    return board


def stack(panels: Sequence[np.ndarray], *, gap: int) -> np.ndarray:
    """Panels from top to bottom, aligned left."""
    width = max(panel.shape[1] for panel in panels)
    board = blank(sum(panel.shape[0] for panel in panels) + gap * (len(panels) - 1), width)
    top = 0
    for panel in panels:
        board[top : top + panel.shape[0], : panel.shape[1]] = panel
        top += panel.shape[0] + gap
    return board


def framed(panel: np.ndarray, *, margin: int) -> np.ndarray:
    """A panel with paper all round."""
    return np.pad(panel, ((margin, margin), (margin, margin), (0, 0)), constant_values=PAPER[0])


def blank(height: int, width: int) -> np.ndarray:
    """An empty panel."""
    return np.full((height, width, 3), PAPER, np.uint8)


def text_width(text: str) -> int:
    """Pixels that a caption takes."""
    return int(font().getlength(text)) + 1


@lru_cache(maxsize=1)
def font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that comes with Pillow: nothing depends on what the machine has installed."""
    return ImageFont.load_default(FONT_PIXELS)

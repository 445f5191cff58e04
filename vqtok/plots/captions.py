"""Lines of text as pixels, to lie under small pictures."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vqtok.plots.sheet import FONT, INK, PAPER

HEIGHT = FONT + 4
"""Pixels of a line."""

LONGEST = 24
"""Letters of a caption at most; more are cut off, and "…" says so."""


def width(text: str) -> int:
    """Measure a caption: pixels from end to end."""
    return round(_font().getlength(_cut(text)))


def caption(text: str, *, wide: int) -> np.ndarray:
    """Draw a line of text, centred: (HEIGHT, ``wide``, 3) uint8."""
    strip = Image.new("RGB", (wide, HEIGHT), PAPER)
    draw = ImageDraw.Draw(strip)
    draw.text((wide / 2, HEIGHT / 2), _cut(text), fill=INK, font=_font(), anchor="mm")
    return np.asarray(strip)


def _cut(text: str) -> str:
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"


@cache
def _font() -> ImageFont.FreeTypeFont:
    """Return the font of all plots, which comes with matplotlib."""
    import matplotlib

    return ImageFont.truetype(
        str(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")), FONT
    )

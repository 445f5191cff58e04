"""Pictures as a test sees them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image


def look(path: str | Path) -> Image.Image:
    """The picture, read whole, its file closed; with its size, mode and format."""
    with Image.open(path) as image:
        image.load()
        return image

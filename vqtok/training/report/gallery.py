"""The ``previews/`` folder: what held-out pictures and recordings look and sound like meanwhile.

``step-0001000.png`` shows originals above their reconstructions. Of audio, ``original-1-NAME.wav``
is written once and ``step-0001000-1-NAME.wav`` at every measurement.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from vqtok.media.image.pixels import to_uint8

FOLDER = "previews"

HEIGHT = 224
"""Pixels of a row; a picture is at most twice as wide."""

GAP = 8
"""Pixels between pictures, and around them."""

GREY = 128
"""Between the pictures: neither a light page nor a dark one changes how they look."""

KEPT = 3
"""Latest measurements whose previews stay, beside the first one's and the best's."""

_OF_STEP = re.compile(r"step-(\d{7,})[-.].*(png|wav)$")
_ORIGINAL = re.compile(r"original-\d+-.*\.wav$")


def sheet(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Arrange originals in a row, each above its reconstruction, both whole and of one scale.

    Larger pictures are scaled down, small ones up by whole numbers, pixel by pixel.

    Args:
        pairs: (original, reconstruction), (3, H, W) float in [-1, 1] of equal size each.

    Returns:
        (3, height, width) float in [-1, 1].
    """
    columns = [(_fitted(original), _fitted(made)) for original, made in pairs]
    widths = [column[0].width for column in columns]
    size = (sum(widths) + GAP * (len(columns) + 1), 2 * HEIGHT + 3 * GAP)
    canvas = Image.new("RGB", size, (GREY, GREY, GREY))
    left = GAP
    for column, width in zip(columns, widths, strict=True):
        for row, picture in enumerate(column):
            spare = (HEIGHT - picture.height) // 2
            canvas.paste(picture, (left, GAP + row * (HEIGHT + GAP) + spare))
        left += width + GAP
    pixels = np.asarray(canvas, dtype=np.float32).transpose(2, 0, 1)
    out: np.ndarray = pixels / np.float32(127.5) - np.float32(1.0)
    return out


def name_of_clip(index: int, file: object, *, step: int | None) -> str:
    """Name the file of a recording's preview; of its original if there is no step.

    Args:
        index: Among the held-out recordings, from 0.
        file: The recording; letters that links do not like become "_".
        step: Steps done, or None.
    """
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(str(file)).stem)[:60]
    when = "original" if step is None else f"step-{step:07d}"
    return f"{when}-{index + 1}-{stem}.wav"


def begin(output: Path) -> None:
    """Delete the previews of an earlier run, which would be taken for this one's."""
    folder = output / FOLDER
    for path in sorted(folder.glob("*")) if folder.is_dir() else []:
        if _OF_STEP.match(path.name) or _ORIGINAL.match(path.name):
            path.unlink()


def prune(output: Path, *, best: int | None) -> list[str]:
    """Delete previews, but those of the first, the best and the last steps.

    Args:
        output: Model directory.
        best: Step of the best measurement, or None.

    Returns:
        What was deleted, relative to ``output``, sorted.
    """
    folder = output / FOLDER
    found = sorted(folder.glob("step-*")) if folder.is_dir() else []
    steps = {path: int(match[1]) for path in found if (match := _OF_STEP.match(path.name))}
    order = sorted(set(steps.values()))
    stay = {*order[:1], *order[-KEPT:], best}
    gone = [path for path, step in steps.items() if step not in stay]
    for path in gone:
        path.unlink()
    return [f"{FOLDER}/{path.name}" for path in gone]


def of_step(output: Path, step: int) -> list[str]:
    """List the previews of a step, relative to ``output``, sorted."""
    found = sorted((output / FOLDER).glob(f"step-{step:07d}[-.]*"))
    return [f"{FOLDER}/{path.name}" for path in found]


def _fitted(pixels: np.ndarray) -> Image.Image:
    """Scale a picture to a cell of ``HEIGHT`` by at most twice that."""
    image = Image.fromarray(np.ascontiguousarray(to_uint8(pixels).transpose(1, 2, 0)))
    width, height = image.size
    times = min(HEIGHT // height, 2 * HEIGHT // width)
    if times > 1:
        return image.resize((width * times, height * times), Image.Resampling.NEAREST)
    scale = min(1.0, HEIGHT / height, 2 * HEIGHT / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)

"""Folders of codes to train priors on, and sizes of priors that train in milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vqtok.codes import files
from vqtok.codes.container import Codes
from vqtok.codes.header import Header
from vqtok.codes.spec import CodeSpec, LevelSpec

IMAGE = CodeSpec("image", (LevelSpec("codes", ("h", "w"), 64, (8, 8)),), None, "aaaa000011112222")
TWO = CodeSpec(
    "image",
    (LevelSpec("top", ("h", "w"), 6, (8, 8)), LevelSpec("bottom", ("h", "w"), 9, (4, 4))),
    None,
    "bbbb000011112222",
)
AUDIO = CodeSpec("audio", (LevelSpec("codes", ("q", "t"), 16, (80,), 3),), 8000.0, "cccc0000")

TINY = [
    "model.width=16",
    "model.blocks=1",
    "model.heads=2",
    "train.batch=4",
    "train.evaluate_every=3",
    "train.warmup=1",
    "train.precision=float32",
    "train.average=0",
]


def codes_of(
    spec: CodeSpec, extent: tuple[int, ...], *, seed: int, few: int = 0, depth: int | None = None
) -> Codes:
    """Random codes of one item; with ``few`` all are below it, else below K."""
    random = np.random.default_rng(seed)
    levels = tuple(
        random.integers(0, few or level.codebook_size, (1, *level.shape(extent, depth=depth)))
        for level in spec.levels
    )
    return Codes(spec, levels, extent).numpy()


def write(path: Path, codes: Codes, *, model: str = "a-model") -> None:
    """One codes file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = Header(codes.spec, codes.extent, model, len(codes), vqtok="0.1.0")
    files.write(path, codes, header)


def folder(
    path: Path,
    spec: CodeSpec = IMAGE,
    *,
    classes: Sequence[str] = ("cat", "dog"),
    each: int = 6,
    extent: tuple[int, ...] = (32, 24),
    few: int = 0,
    depth: int | None = None,
) -> Path:
    """Items of equal size in a directory for each class; those of the second use other codes."""
    for number, name in enumerate(classes):
        for index in range(each):
            codes = codes_of(spec, extent, seed=100 * number + index, few=few, depth=depth)
            write(path / name / f"{index}.safetensors", codes)
    return path

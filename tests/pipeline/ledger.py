"""A corpus writer that only remembers, to look at what a job records."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from vqtok.codes import files
from vqtok.codes.container import Codes
from vqtok.codes.header import Header


class Ledger:
    def __init__(self, count: int) -> None:
        self.count = count
        self.codes: dict[int, bytes] = {}
        self.reasons: dict[int, str] = {}

    def pending(self) -> Iterator[int]:
        done = self.codes.keys() | self.reasons.keys()
        return iter([number for number in range(self.count) if number not in done])

    def add(
        self,
        number: int,
        codes: Codes,
        header: Header,
        carried: Mapping[str, bytes] | None = None,
    ) -> None:
        whole = io.BytesIO()
        files.write(whole, codes.check(), header, format="safetensors")
        self.codes[number] = whole.getvalue()

    def fail(self, number: int, reason: str) -> None:
        self.reasons[number] = reason


def pictures(folder: Path, count: int, *, seed: int = 0) -> None:
    """Small pictures of noise and slopes, of a few sizes, some of them grey."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    for i in range(count):
        height, width = (int(side) for side in generator.integers(5, 60, 2))
        if i % 3:
            height, width = 24, 40
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        mode = "L" if i % 5 == 0 else "RGB"
        Image.fromarray(pixels).convert(mode).save(folder / f"{i:03d}.png")


def recordings(folder: Path, count: int, *, seed: int = 0, seconds: float = 1.0) -> None:
    """Short noise, mono and stereo, at two rates."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    for i in range(count):
        length = int(8000 * seconds * generator.uniform(0.3, 1.0))
        samples = generator.uniform(-0.5, 0.5, (length, 1 + i % 2))
        soundfile.write(folder / f"{i:03d}.wav", samples, 8000 if i % 3 else 11025)

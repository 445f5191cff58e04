"""Small folders and recipes: a step takes milliseconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

IMAGE_EDITS = [
    "model.patch=2",
    "model.widths=[8, 8]",
    "model.encoder_blocks=[1, 1]",
    "model.decoder_blocks=[1, 1]",
    "model.latent=4",
    "model.quantizer.codebook_size=16",
    "model.quantizer.samples=2",
    "model.quantizer.warmup=2",
    "train.batch=2",
    "train.window=16",
    "train.evaluate_every=3",
    "train.precision=float32",
    "train.schedule=cosine",
    "train.average=0",
]

AUDIO_EDITS = [
    "model.rate=800",
    "model.frame=16",
    "model.hop=8",
    "model.width=8",
    "model.latent=4",
    "model.quantizer.codebook_size=8",
    "model.quantizer.depth=2",
    "model.quantizer.samples=2",
    "model.quantizer.warmup=2",
    "train.batch=2",
    "train.window=4096",
    "train.evaluate_every=3",
    "train.precision=float32",
    "train.schedule=cosine",
    "train.average=0",
]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(6):
        coarse = rng.integers(0, 255, (4 + i, 5, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((30, 24 + i)).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    for i in range(5):
        t = np.arange(1500 + 700 * i) / 800
        soundfile.write(folder / f"{i}.wav", 0.3 * np.sin(2 * np.pi * (50 + 20 * i) * t), 800)
    return folder


@pytest.fixture(scope="session")
def folder_of_many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine images of 20x20, each of one grey."""
    folder = tmp_path_factory.mktemp("many")
    for i in range(9):
        Image.new("RGB", (20, 20), (10 * i,) * 3).save(folder / f"{i}.png")
    return folder

"""The shipped models on a real photo and a real recording: quality, and codes that stay put."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import vqtok
from vqtok.checkpoints import directory
from vqtok.media import audio, image
from vqtok.metrics.audio import mel_distance
from vqtok.metrics.image import psnr
from vqtok.tokenizers import codec
from vqtok.tokenizers.exact import tiling2d

ROOT = Path(__file__).parent.parent
MODELS = ROOT / "models"


@pytest.fixture(scope="module")
def pictures() -> tuple[Any, torch.Tensor]:
    pixels, _ = image.read(ROOT / "tests" / "data" / "photo.png")
    return vqtok.load(MODELS / "image-f8"), torch.from_numpy(pixels)[None]


@pytest.fixture(scope="module")
def sounds() -> tuple[Any, torch.Tensor]:
    samples, _ = audio.read(ROOT / "tests" / "data" / "speech.wav", rate=24000)
    return vqtok.load(MODELS / "audio-24k"), torch.from_numpy(samples)[None]


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_the_photo_comes_back_recognisable(pictures: tuple[Any, torch.Tensor]) -> None:
    model, x = pictures
    y = model.decode(model.encode(x))
    assert y.shape == x.shape
    # Its mean colour alone scores 17.5 dB; JPEG with as many bits 26.7.
    assert float(psnr(x, y)) > 28.0


def test_each_further_stage_brings_the_recording_closer(sounds: tuple[Any, torch.Tensor]) -> None:
    model, x = sounds
    codes = model.encode(x)
    distances = [
        float(mel_distance(x, model.decode(codes.truncate(depth)), rate=24000))
        for depth in (1, 2, 4, 8)
    ]
    assert distances == sorted(distances, reverse=True)
    silent = float(mel_distance(x, torch.zeros_like(x), rate=24000))
    assert distances[-1] < 0.25 * silent


def test_what_is_said_is_told_in_another_voice(sounds: tuple[Any, torch.Tensor]) -> None:
    model, x = vqtok.load(MODELS / "speech-speaker"), sounds[1]
    codes = model.encode(x)
    voices = [model.decode(codes, label=name) for name in ("kerstin", "ast_it")]
    assert all(each.shape == x.shape for each in voices)
    silent = float(mel_distance(x, torch.zeros_like(x), rate=24000))
    kept = [float(mel_distance(x, each, rate=24000)) for each in voices]
    assert max(kept) < 0.6 * silent
    assert float(mel_distance(*voices, rate=24000)) > 0.08 * silent


def test_a_photos_codes_do_not_change_with_threads_tiles_or_neighbours(
    pictures: tuple[Any, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = pictures
    expected = model.encode(x).levels[0]
    for count in (1, 2):
        with threads(count):
            assert torch.equal(model.encode(x).levels[0], expected)
    assert torch.equal(model.encode(torch.cat([x.flip(3), x])).levels[0][1:], expected)
    monkeypatch.setattr(tiling2d, "TILE", 128)
    assert torch.equal(model.encode(x).levels[0], expected)


def test_a_recordings_codes_do_not_change_with_threads_tiles_or_blocks(
    sounds: tuple[Any, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = sounds
    expected = model.encode(x).levels[0]
    with threads(1):
        assert torch.equal(model.encode(x).levels[0], expected)
    blocks = torch.cat(list(model.encode_stream(x.split(7001, dim=-1))), dim=-1)
    assert torch.equal(blocks, expected)
    monkeypatch.setattr(codec, "TILE", 100)
    assert torch.equal(model.encode(x).levels[0], expected)


@pytest.mark.parametrize("name", sorted(each.name for each in MODELS.iterdir() if each.is_dir()))
def test_a_card_shows_the_command_and_the_figures_of_its_training(name: str) -> None:
    card = (MODELS / name / "README.md").read_text(encoding="utf-8")
    facts = json.loads((MODELS / name / "training.json").read_text(encoding="utf-8"))
    assert facts["command"] in card
    assert f"{facts['step']} steps" in card
    assert directory.describe(MODELS / name).training == facts

"""Autoencoders without codes on the command line: described, measured, and refused for codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import TINY_AUDIO, TINY_IMAGE
from vqtok.checkpoints import directory
from vqtok.config import parse
from vqtok.protocols import Config

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def models(here: Path) -> Path:
    """./models with autoencoders named "vae" for images and "sound" for audio."""
    for name, data, quantizer in (
        ("vae", TINY_IMAGE, "quantizers/gaussian"),
        ("sound", TINY_AUDIO, "quantizers/identity"),
    ):
        torch.manual_seed(0)
        tokenizer = parse(data | {"quantizer": {"type": quantizer}}, Config).build().eval()
        directory.save(here / "models" / name, tokenizer)
    return here / "models"


def test_such_a_model_comes_back_from_disk(models: Path) -> None:
    model = directory.load(models / "vae")
    assert model.spec.levels == ()
    assert model(torch.zeros(1, 3, 9, 7)).x.shape == (1, 3, 9, 7)


@pytest.mark.parametrize("more", [(), ("--dry-run",), ("--format", "tar", "-o", "corpus/")])
def test_encode_refuses_before_any_work(vqtok: Run, picture: Any, here: Path, more: Any) -> None:
    picture("a.png"), picture("b.png")
    before = sorted(here.rglob("*"))
    result = vqtok("encode", "a.png", "b.png", "-m", "vae", *more)
    assert result.exit_code == 2
    assert result.stderr.count("Error:") == 1
    assert "Error: vae: an autoencoder without codes" in result.stderr
    assert "Hint: `vqtok eval -m vae`" in result.stderr
    assert sorted(here.rglob("*")) == before


def test_encode_of_audio_refuses_too(vqtok: Run, recording: Any) -> None:
    recording("a.wav", length=900)
    for more in ((), ("--format", "stream")):
        result = vqtok("encode", "a.wav", "-m", "sound", *more)
        assert (result.exit_code, result.stderr.count("Error:")) == (2, 1)
        assert "sound: an autoencoder without codes" in result.stderr


def test_decode_with_it_refuses(vqtok: Run, here: Path) -> None:
    np.save(here / "codes.npy", np.zeros((2, 2), np.uint8))
    result = vqtok("decode", "codes.npy", "-m", "vae")
    assert result.exit_code == 2
    assert "vae: an autoencoder without codes" in result.stderr


def test_eval_measures_it_without_rates(vqtok: Run, picture: Any, here: Path) -> None:
    picture("a.png", width=32, height=32)
    command = ("eval", "a.png", "-m", "vae", "--metrics", "psnr")
    result = vqtok(*command, "-o", "kept/")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[0].split() == ["PSNR", "dB", "file"]
    assert "continuous, there are no codes" in result.stdout
    assert "perplexity" not in result.stdout and "codebook" not in result.stdout
    assert (here / "kept/a.compare.png").exists()
    item, summary = (json.loads(line) for line in vqtok(*command, "--json").stdout.splitlines())
    assert item["bits"] is item["bits_per_pixel"] is None
    assert (item["tokens"], item["extent"]) == (0, [32, 32])
    assert item["psnr_db"] == pytest.approx(summary["psnr_db"]["mean"])
    assert summary["bits_per_pixel"] is summary["bits_per_pixel_entropy"] is None
    assert summary["codebook"] is None and summary["levels"] == {}
    assert summary["encode_megapixels_per_s"] > 0 and summary["decode_megapixels_per_s"] > 0
    assert not any("odebook" in sentence for sentence in summary["protocol"])


def test_eval_measures_recordings_with_it(vqtok: Run, recording: Any) -> None:
    recording("a.wav", length=9000, channels=2)
    result = vqtok("eval", "a.wav", "-m", "sound", "--metrics", "mel", "--json")
    assert result.exit_code == 0, result.stderr
    item, summary = (json.loads(line) for line in result.stdout.splitlines())
    assert item["kbit_per_s"] is summary["kbit_per_s"] is None
    assert (item["extent"], item["channels"]) == ([9000], 2)
    assert item["mel_distance"] > 0


def test_eval_has_no_depth_to_choose(vqtok: Run, picture: Any) -> None:
    picture("a.png")
    result = vqtok("eval", "a.png", "-m", "vae", "--depth", "1", "--metrics", "psnr")
    assert result.exit_code == 1
    assert "no depth to choose" in result.stderr


def test_info_and_models_say_that_it_is_continuous(vqtok: Run) -> None:
    told = vqtok("info", "vae").stdout
    assert "none, the latents are continuous: 4 numbers per position" in told
    assert "continuous" in next(line for line in told.splitlines() if "rate:" in line)
    facts = json.loads(vqtok("info", "vae", "--json").stdout)
    assert facts["bits_per_pixel"] is None and facts["levels"] == []
    assert facts["quantizer"] == "quantizers/gaussian"
    rows = vqtok("models").stdout.splitlines()
    assert "continuous" in next(row for row in rows if row.startswith("sound"))


def test_a_default_model_without_codes_hides_no_facts_of_media(
    vqtok: Run, picture: Any, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture("a.png")
    (models / "vae").rename(models / "image-f8")
    monkeypatch.setenv("VQTOK_MODELS", str(models))
    assert vqtok("info", "a.png").exit_code == 0
    result = vqtok("encode", "a.png")
    assert result.exit_code == 2
    assert "image-f8: an autoencoder without codes" in result.stderr

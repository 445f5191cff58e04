"""``vqtok sample`` of a variational autoencoder: latents of N(0, I), decoded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from tests.cli.conftest import Run
from tests.conftest import TINY_AUDIO, TINY_IMAGE
from vqtok.checkpoints import directory
from vqtok.config import parse
from vqtok.media.image.mosaic import GAP
from vqtok.media.image.pixels import to_uint8
from vqtok.protocols import Config

WINDOW = {"recipe": {"train": {"window": 24}}}


@pytest.fixture(autouse=True)
def models(here: Path) -> Path:
    """ "vae" of images, "labelled" too, "sound" of audio, "plain" without a prior."""
    gaussian = {"quantizer": {"type": "quantizers/gaussian"}}
    kinds = {
        "vae": TINY_IMAGE | gaussian,
        "labelled": TINY_IMAGE | gaussian | {"labels": ["cat", "dog"]},
        "sound": TINY_AUDIO | gaussian,
        "plain": TINY_IMAGE | {"quantizer": {"type": "quantizers/identity"}},
    }
    for name, data in kinds.items():
        torch.manual_seed(0)
        tokenizer = parse(data, Config).build().eval()
        if name == "labelled":
            tokenizer.labels.vectors.data.normal_(std=5)
        directory.save(here / name, tokenizer, training=None if name == "labelled" else WINDOW)
    return here


def pixels(path: Path | str) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_samples_are_what_the_decoder_makes_of_standard_gaussian_latents(vqtok: Run) -> None:
    assert vqtok("sample", "-m", "vae", "--count", "3", "--seed", "5", "-o", "out/").exit_code == 0
    model = directory.load("vae")
    for index in range(3):
        z = np.random.default_rng((5, index)).standard_normal((4, 3, 3), dtype=np.float32)
        with torch.inference_mode():
            x = model.render(torch.from_numpy(z)[None], (24, 24))[0].numpy()
        np.testing.assert_array_equal(
            pixels(f"out/{index:04d}.png"), to_uint8(x).transpose(1, 2, 0)
        )


def test_a_sample_is_the_same_however_many_are_made(vqtok: Run) -> None:
    vqtok("sample", "-m", "vae", "--count", "4", "-o", "many/")
    vqtok("sample", "-m", "vae", "--count", "2", "-o", "few/")
    for name in ("0000.png", "0001.png"):
        assert Path("many", name).read_bytes() == Path("few", name).read_bytes()
    assert Path("many/0000.png").read_bytes() != Path("many/0001.png").read_bytes()


def test_a_grid_of_any_size_and_the_temperature(vqtok: Run) -> None:
    flags = ["sample", "-m", "vae", "--count", "4", "--size", "20x12"]
    assert vqtok(*flags, "-o", "grid.png").exit_code == 0
    assert pixels("grid.png").shape == (2 * (12 + GAP) - GAP, 2 * (20 + GAP) - GAP, 3)
    assert vqtok(*flags, "-o", "cold/", "--temperature", "0").exit_code == 0
    assert len({path.read_bytes() for path in Path("cold").iterdir()}) == 1


def test_classes_condition_the_decoder_and_size_must_be_known(vqtok: Run) -> None:
    result = vqtok("sample", "-m", "labelled", "--count", "2", "-o", "out/")
    assert result.exit_code == 2
    assert "--size WxH" in result.stderr
    flags = ["sample", "-m", "labelled", "--size", "16x16", "--temperature", "0", "--count", "2"]
    result = vqtok(*flags, "-o", "out/", "--json")
    assert [json.loads(line)["class"] for line in result.stdout.splitlines()] == ["cat", "dog"]
    assert Path("out/cat/0000.png").read_bytes() != Path("out/dog/0001.png").read_bytes()


def test_recordings_have_the_length_that_is_asked_for(vqtok: Run) -> None:
    assert vqtok("sample", "-m", "sound", "--seconds", "0.125", "-o", "x.wav").exit_code == 0
    assert soundfile.info("x.wav").frames == 1000


@pytest.mark.parametrize(("model", "more", "message"), [
    ("vae", ["-o", "x.npy"], "there are no codes to write"),
    ("vae", ["-o", "x.png", "--top-k", "3"], "--top-k: vae draws its latents from N(0, I)"),
    ("vae", ["-o", "x.png", "--tokenizer", "image-f8"], "--tokenizer: vae draws"),
    ("vae", ["-o", "x.png", "--temperature", "-1"], "temperature"),
    ("vae", ["-o", "x.png", "--class", "cat"], "--class cat"),
    ("plain", ["-o", "x.png"], "an autoencoder whose latents have no prior"),
])  # fmt: skip
def test_what_has_no_meaning_is_refused(
    model: str, more: list[str], message: str, vqtok: Run
) -> None:
    result = vqtok("sample", "-m", model, *more)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not any(Path(name).exists() for name in ("x.png", "x.npy"))

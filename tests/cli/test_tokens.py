"""TiTok through the commands: pictures of any size as a fixed number of codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.checkpoints.foreign.test_titok import SIZE, TOKENS, downloaded, made, settings
from tests.cli.pictures import look

PHOTO = Path(__file__).parent.parent / "data" / "photo.png"


@pytest.fixture
def titok(here: Path) -> Path:
    downloaded(here / "titok", made(mixes=True), settings(mixes=True, l2=True))
    return Path("titok/")


@pytest.mark.parametrize("name", ["codes.npy", "codes.safetensors"])
def test_a_picture_of_any_size_becomes_tokens_and_comes_back(vqtok, titok, name: str):
    assert vqtok("encode", PHOTO, "-m", titok, "-o", name).exit_code == 0
    codes = np.load(name) if name.endswith("npy") else load_file(name)["codes"]
    assert codes.shape == (TOKENS,)
    assert codes.max() < SIZE
    result = vqtok("decode", name, "-m", titok, "-o", "back.png")
    assert result.exit_code == 0
    assert "each file is coded whole and alone" in result.stderr
    assert look("back.png").size == look(PHOTO).size


def test_a_converted_one_has_the_same_codes_and_pixels(vqtok, titok, picture):
    picture()
    assert vqtok("convert", titok, "-o", "mine").exit_code == 0
    for model, name in ((titok, "a"), ("mine/", "b")):
        assert vqtok("encode", "photo.png", "-m", model, "-o", f"{name}.npy").exit_code == 0
    np.testing.assert_array_equal(np.load("a.npy"), np.load("b.npy"))
    for model, name in ((titok, "a"), ("mine/", "b")):
        assert vqtok("decode", "a.npy", "-m", model, "-o", f"{name}.png").exit_code == 0
    np.testing.assert_array_equal(np.asarray(look("a.png")), np.asarray(look("b.png")))


def test_info_tells_how_many_codes_a_picture_has(vqtok, titok):
    result = vqtok("info", titok)
    assert result.exit_code == 0
    assert f"{SIZE} entries, {TOKENS} codes per image\n" in result.stdout
    bits = TOKENS * np.log2(SIZE)
    assert f"{bits:.4g} bits per image\n" in result.stdout
    data = json.loads(vqtok("info", titok, "--json").stdout)
    assert data["family"] == "TiTok"
    assert data["bits_per_pixel"] is None


def test_eval_counts_the_bits_of_the_picture_as_it_is(vqtok, titok, picture):
    picture(width=40, height=20)
    line, *_ = vqtok("eval", "photo.png", "-m", titok, "--json").stdout.splitlines()
    found = json.loads(line)["bits_per_pixel"]
    assert found == pytest.approx(TOKENS * np.log2(SIZE) / 800, abs=1e-4)

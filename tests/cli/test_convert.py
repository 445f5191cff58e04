"""``vqtok convert`` and ``vqtok info`` on a checkpoint of another program, and its codes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vqtok.config import parse
from vqtok.protocols import Config

VQGAN = {
    "type": "tokenizers/vqgan", "widths": [32, 32], "stem": 32, "blocks": 1, "decoder_blocks": 2,
    "attention": [1], "decoder_attention": [1], "latent": 4, "decoder_latent": 4, "dim": 4,
    "codebook_size": 32,
}  # fmt: skip


@pytest.fixture
def checkpoint(here: Path) -> Path:
    """A Lightning checkpoint of a small VQGAN, with leftovers of its training."""
    torch.manual_seed(0)
    model: Any = parse(VQGAN, Config).build()
    torch.nn.init.normal_(model.quantize.embedding.weight)
    state = {**model.state_dict(), "loss.logvar": torch.zeros(())}
    torch.save({"state_dict": state, "epoch": 1}, here / "last.ckpt")
    return Path("last.ckpt")


def test_a_checkpoint_codes_a_picture_of_any_size(vqtok, checkpoint, picture):
    picture(width=37, height=21)
    assert vqtok("encode", "photo.png", "-m", checkpoint, "-o", "a.npy").exit_code == 0
    assert np.load("a.npy").shape == (11, 19)
    result = vqtok("decode", "a.npy", "-m", checkpoint, "-o", "back.png")
    assert result.exit_code == 0
    assert "each file is coded whole and alone" in result.stderr
    with Image.open("back.png") as back:
        assert back.size == (37, 21)


def test_convert_says_what_it_found_and_keeps_the_codes(vqtok, checkpoint, picture):
    picture()
    result = vqtok("convert", checkpoint, "-o", "my-vqgan")
    assert result.exit_code == 0
    assert "VQGAN" in result.stdout
    assert "32 entries, one position per 2×2 pixels" in result.stdout
    assert "loss.*: 1 tensors that only training needs" in result.stdout
    assert sorted(each.name for each in Path("my-vqgan").iterdir()) == [
        "README.md", "config.json", "model.safetensors"
    ]  # fmt: skip
    for name, model in (("a.npy", checkpoint), ("b.npy", "my-vqgan/")):
        assert vqtok("encode", "photo.png", "-m", model, "-o", name).exit_code == 0
    assert np.array_equal(np.load("a.npy"), np.load("b.npy"))
    assert vqtok("decode", "a.npy", "-m", "my-vqgan/", "-o", "back.png").exit_code == 0


def test_info_describes_a_checkpoint(vqtok, checkpoint):
    result = vqtok("info", checkpoint)
    assert result.exit_code == 0
    for text in ("family:", "VQGAN", "32 entries", "loss.*"):
        assert text in result.stdout
    (line,) = vqtok("info", checkpoint, "--json").stdout.splitlines()
    assert json.loads(line)["family"] == "VQGAN"


def test_info_says_why_a_file_is_refused(vqtok, here):
    torch.save({"state_dict": {"x": torch.zeros(1)}, "run": os.system}, here / "evil.pt")
    result = vqtok("info", "evil.pt")
    assert result.exit_code == 1
    assert "it would run" in result.stderr


def test_info_says_what_is_missing(vqtok, checkpoint):
    held = torch.load(checkpoint, weights_only=True)
    del held["state_dict"]["decoder.norm_out.weight"]
    torch.save(held, checkpoint)
    result = vqtok("info", checkpoint)
    assert result.exit_code == 1
    assert "missing: decoder.norm_out.weight" in result.stderr


def test_convert_overwrites_only_when_told_to(vqtok, checkpoint):
    assert vqtok("convert", checkpoint, "-o", "model").exit_code == 0
    assert vqtok("convert", checkpoint, "-o", "model").exit_code == 2
    assert vqtok("convert", checkpoint, "-o", "model", "-f", "--half").exit_code == 0
    assert vqtok("convert", checkpoint, "-o", ".", "-f").exit_code == 2
    again = vqtok("convert", "model", "-o", "other")
    assert again.exit_code == 2
    assert "already a model of vqtok" in again.stderr


def test_eval_measures_a_checkpoint(vqtok, checkpoint, picture):
    picture()
    result = vqtok("eval", "photo.png", "-m", checkpoint)
    assert result.exit_code == 0
    assert "PSNR" in result.stdout or "psnr" in result.stdout

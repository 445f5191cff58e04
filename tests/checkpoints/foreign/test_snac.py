"""Directories of the snac package, written as its author writes them."""

from __future__ import annotations

import importlib
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints.foreign.audio import agrees
from tests.tokenizers.published import sound
from vqtok.checkpoints import foreign
from vqtok.errors import ConfigError

SIZES: dict[str, Any] = {
    "sampling_rate": 800,
    "encoder_dim": 16,
    "encoder_rates": [2, 3],
    "decoder_dim": 64,
    "decoder_rates": [3, 2],
    "attn_window_size": None,
    "codebook_size": 16,
    "codebook_dim": 4,
    "vq_strides": [4, 2, 1],
    "noise": True,
    "depthwise": True,
}
VARIANTS = {
    "as 24k": {},
    "as 44k": {"attn_window_size": 8, "vq_strides": [8, 4, 2, 1]},
    "plain": {"noise": False, "depthwise": False, "encoder_rates": [2, 2], "decoder_rates": [2, 2]},
}


@pytest.fixture(scope="module")
def upstream() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of scripted functions
        return importlib.import_module("snac").SNAC


def published(upstream: Any, path: Path, **more: Any) -> Any:
    torch.manual_seed(0)
    model = upstream(**SIZES | more).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("original1"):
                weight.normal_(0, 1)
            elif name.endswith("original0"):
                weight.uniform_(0.5, 1.2)
            elif name.endswith("codebook.weight"):
                weight.normal_(0, 0.3)
            elif name.endswith("in_proj.bias"):
                weight.zero_()  # coarse codes average much away: a bias would decide them
            elif name.endswith("alpha"):
                weight.uniform_(0.5, 2.0)
    path.mkdir()
    (path / "config.json").write_text(json.dumps(SIZES | more))
    torch.save(model.state_dict(), path / "pytorch_model.bin")
    return model


@torch.no_grad()
@pytest.mark.parametrize("length", [4003, 96])
@pytest.mark.parametrize("variant", list(VARIANTS))
def test_codes_and_sound_are_those_of_its_package(
    tmp_path: Path, upstream: Any, variant: str, length: int
):
    model, x = published(upstream, tmp_path / "m", **VARIANTS[variant]), sound(length)
    codes = model.encode(x)
    torch.manual_seed(0)
    heard = model.decode(codes)[..., :length]
    ours: Any = foreign.open(tmp_path / "m")
    assert [each.shape for each in ours.encode(x).levels] == [each.shape for each in codes]
    if length > 100:
        agrees(tmp_path / "m", x, codes, heard, family="SNAC")


@torch.no_grad()
def test_the_same_codes_give_the_same_sound_and_leave_random_numbers_alone(
    tmp_path: Path, upstream: Any
):
    published(upstream, tmp_path / "m")
    ours: Any = foreign.open(tmp_path / "m")
    codes = ours.encode(sound(333))
    state = torch.random.get_rng_state()
    assert torch.equal(ours.decode(codes), ours.decode(codes))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_config_that_contradicts_itself_is_refused(tmp_path: Path, upstream: Any):
    published(upstream, tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text(json.dumps(SIZES | {"vq_strides": [4, 3]}))
    with pytest.raises(ConfigError, match="vq_strides"):
        foreign.open(tmp_path / "m")

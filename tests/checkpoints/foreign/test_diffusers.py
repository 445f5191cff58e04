"""Directories that diffusers itself writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints.foreign.conftest import agrees, picture, randomised
from vqtok.checkpoints import foreign


def made(**changes: Any) -> Any:
    from diffusers import VQModel  # seconds, of no use to a run without these tests

    sizes: dict[str, Any] = {
        "block_out_channels": (32, 32, 64),
        "down_block_types": ("DownEncoderBlock2D",) * 2 + ("AttnDownEncoderBlock2D",),
        "up_block_types": ("AttnUpDecoderBlock2D",) + ("UpDecoderBlock2D",) * 2,
        "layers_per_block": 1,
        "latent_channels": 4,
        "num_vq_embeddings": 40,
        "vq_embed_dim": 6,
    }
    return randomised(VQModel(**{**sizes, **changes}))


def expected(model: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    z = model.encode(x).latents
    entries, _, (_, _, codes) = model.quantize(z)
    assert torch.equal(
        model.decode(z).sample, model.decode(entries, force_not_quantize=True).sample
    )
    return codes, model.decode(z).sample


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize(
    "changes",
    [{}, {"mid_block_add_attention": False}, {"norm_num_groups": 8}, {"layers_per_block": 2}],
    ids=str,
)
def test_codes_and_pixels_are_those_of_diffusers(tmp_path: Path, changes: Any, safe: bool):
    model = made(**changes)
    model.save_pretrained(tmp_path / "vq", safe_serialization=safe)
    x = picture(32, 48)
    codes, shown = expected(model, x)
    agrees(tmp_path / "vq", x, [codes], shown)
    assert foreign.recognise(tmp_path / "vq").family == "diffusers VQModel"


def test_the_tokenizer_of_a_pipeline_is_found(tmp_path: Path):
    model = made()
    model.save_pretrained(tmp_path / "pipeline" / "vqvae")
    (tmp_path / "pipeline" / "model_index.json").write_text('{"vqvae": ["diffusers", "VQModel"]}')
    x = picture(32, 32)
    codes, shown = expected(model, x)
    agrees(tmp_path / "pipeline", x, [codes], shown)


def test_names_of_older_versions_are_known(tmp_path: Path):
    model = made()
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = {}
    for name, tensor in model.state_dict().items():
        for now, then in old.items():
            name = name.replace(f".{now}.", f".{then}.")
        state[name] = tensor
    (tmp_path / "old").mkdir()
    torch.save(state, tmp_path / "old" / "diffusion_pytorch_model.bin")
    (tmp_path / "old" / "config.json").write_text(json.dumps({"norm_num_groups": 32}))
    x = picture(32, 32)
    codes, shown = expected(model, x)
    agrees(tmp_path / "old", x, [codes], shown)


@pytest.mark.parametrize("changes", [{}, {"norm_num_groups": 8}, {"layers_per_block": 2}], ids=str)
def test_decoders_with_spatial_norms_take_the_quantized_map(tmp_path: Path, changes: Any):
    model = made(norm_type="spatial", vq_embed_dim=4, **changes)
    model.save_pretrained(tmp_path / "movq")
    x = picture(32, 48)
    codes, shown = expected(model, x)
    agrees(tmp_path / "movq", x, [codes], shown)
    assert foreign.recognise(tmp_path / "movq").family == "MoVQ"

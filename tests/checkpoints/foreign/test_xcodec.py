"""X-codec against the class of transformers; what is continuous is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.checkpoints.foreign.audio import agrees
from tests.tokenizers.published import sound
from vqtok.checkpoints import foreign
from vqtok.errors import CheckpointError

SIZES: dict[str, Any] = {
    "sample_rate": 800,
    "codebook_size": 32,
    "target_bandwidths": [1.0, 3.0],
    "acoustic_model_config": {
        "model_type": "dac", "encoder_hidden_size": 8, "downsampling_ratios": [2, 4],
        "decoder_hidden_size": 16, "upsampling_ratios": [2, 4], "hidden_size": 8,
    },
    "semantic_model_config": {
        "model_type": "hubert", "hidden_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 24, "conv_dim": [8, 8],
        "conv_stride": [4, 2], "conv_kernel": [10, 2], "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 2,
    },
}  # fmt: skip


@torch.no_grad()
def made(**changes: Any) -> Any:
    from transformers import XcodecConfig, XcodecModel

    torch.manual_seed(0)
    model = XcodecModel(XcodecConfig(**SIZES | changes)).eval().requires_grad_(False)
    for each in model.modules():
        if isinstance(each, nn.Conv1d | nn.ConvTranspose1d | nn.Linear):
            each.weight.normal_(0, each.weight[0].numel() ** -0.5)
        elif isinstance(each, nn.LayerNorm | nn.GroupNorm):
            each.weight.normal_(1, 0.2)
            each.bias.normal_(0, 0.2)
    for name, buffer in model.named_buffers():
        if name.endswith(".embed"):
            buffer.normal_(0, 0.7)
    return model


@torch.no_grad()
@pytest.mark.parametrize("length", [1000, 1003])
def test_codes_and_sound_are_those_of_transformers(tmp_path: Path, length: int):
    model = made()
    model.save_pretrained(tmp_path / "m")
    x = sound(length)
    codes = model.encode(F.pad(x, (0, -length % 8))).audio_codes
    heard = model.decode(codes).audio_values[..., :length]
    assert codes.shape == (1, 6, -(-length // 8))
    ours = agrees(tmp_path / "m", x, [codes], heard, family="X-codec")
    few = model.encode(F.pad(x, (0, -length % 8)), bandwidth=1.0).audio_codes
    mine = ours.encode(x).truncate(2)
    assert torch.equal(mine.levels[0], few)
    heard = model.decode(few).audio_values[..., :length]
    torch.testing.assert_close(ours.decode(mine), heard, atol=1e-5, rtol=0)


def test_another_network_beside_it_is_refused_by_name(tmp_path: Path):
    made().save_pretrained(tmp_path / "m")
    file = tmp_path / "m" / "config.json"
    data = json.loads(file.read_text())
    data["semantic_model_config"]["model_type"] = "wavlm"
    file.write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match="X-codec: model_type 'wavlm' found"):
        foreign.open(tmp_path / "m")


def test_every_continuous_tokenizer_of_the_library_is_refused_as_such(tmp_path: Path):
    from transformers.models.auto import modeling_auto

    from vqtok.checkpoints.foreign.transformers import CONTINUOUS

    made().save_pretrained(tmp_path / "m")
    file = tmp_path / "m" / "config.json"
    data = json.loads(file.read_text())
    mapped = set(modeling_auto.MODEL_FOR_AUDIO_TOKENIZATION_NAMES)
    continuous = {name for name in mapped if name.startswith(("pocket", "vibevoice"))}
    assert len(continuous) == 2
    for name in continuous | CONTINUOUS:
        file.write_text(json.dumps(data | {"model_type": name}))
        with pytest.raises(CheckpointError, match=f"{name}: an autoencoder without codes"):
            foreign.open(tmp_path / "m")

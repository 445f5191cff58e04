"""WavTokenizer against the class of transformers: its directories, and the authors' checkpoints."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.checkpoints.foreign.audio import agrees
from tests.tokenizers.published import lively, sound
from vqtok.checkpoints import foreign
from vqtok.errors import CheckpointError

SIZES: dict[str, Any] = {
    "sampling_rate": 800,
    "num_filters": 4,
    "upsampling_ratios": [3, 2],
    "hidden_size": 8,
    "codebook_size": 64,
    "codebook_dim": 8,
    "decoder_hidden_size": 64,
    "decoder_intermediate_size": 48,
    "decoder_num_layers": 2,
    "decoder_attention_num_groups": 32,
}


def made(**changes: Any) -> Any:
    from transformers import WavTokenizerConfig, WavTokenizerModel

    torch.manual_seed(0)
    model = WavTokenizerModel(WavTokenizerConfig(**SIZES | changes)).eval()
    lively(model)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1:
                weight.normal_(1.0 if "norm" in name and name.endswith("weight") else 0, 0.2)
        # Entries that lie where latents do.
        latents = model.encoder_model.encoder(sound(6 * SIZES["codebook_size"] - 1))
        model.encoder_model.quantizer.codebook.embed.copy_(latents[0].T)
    return model.requires_grad_(False)


def of_authors(model: Any) -> dict[str, Tensor]:
    """Weights under the names of its authors' program, and what else a checkpoint of it holds."""
    rules = (
        (r"^encoder_model\.quantizer\.codebook\.",
         "feature_extractor.encodec.quantizer.vq.layers.0._codebook."),
        (r"^encoder_model\.encoder\.layers\.", "feature_extractor.encodec.encoder.model."),
        (r"^head\.linear\.", "head.out."),
        (r"parametrizations\.weight\.original0", "weight_g"),
        (r"parametrizations\.weight\.original1", "weight_v"),
        (r"^(feature.*)\.conv\.(weight_g|weight_v|bias)$", r"\1.conv.conv.\2"),
    )  # fmt: skip
    out = {}
    for name, tensor in model.state_dict().items():
        for pattern, text in rules:
            name = re.sub(pattern, text, name)
        out[name] = tensor
    return out | {
        "head.istft.window": torch.hann_window(24),
        "feature_extractor.encodec.decoder.model.0.conv.conv.weight_v": torch.zeros(2, 2, 7),
        "multiperioddisc.discriminators.0.convs.0.weight_v": torch.zeros(2, 2, 3),
    }


@torch.no_grad()
@pytest.mark.parametrize("length", [1003, 5, 600])
@pytest.mark.parametrize("written", ["directory", "checkpoint"])
def test_codes_and_sound_are_those_of_transformers(tmp_path: Path, length: int, written: str):
    model = made()
    path = tmp_path / "m"
    if written == "directory":
        model.save_pretrained(path)
        family = "WavTokenizer"
    else:
        model, path, family = (
            published(path.with_suffix(".ckpt")),
            path.with_suffix(".ckpt"),
            "WavTokenizer `.ckpt`",
        )
    x = sound(length)
    found = model.encode(x)
    heard = model.decode(found.audio_codes).audio_values[..., :length]
    if length > 500:
        ours = agrees(path, x, [found.audio_codes[:, 0]], heard, family=family)
        assert (ours.spec.rate, ours.spec.depth) == (
            24000 if written == "checkpoint" else 800,
            None,
        )
    ours = foreign.open(path)
    codes = ours.encode(x).check()
    assert torch.equal(codes.levels[0], found.audio_codes[:, 0])
    torch.testing.assert_close(ours.decode(codes), heard, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours(x).x, heard, atol=1e-5, rtol=0)


def published(path: Path) -> Any:
    """Write a checkpoint as its authors' training does; the model whose weights are in it."""
    model = made(sampling_rate=24000)
    torch.save({"state_dict": of_authors(model), "epoch": 3, "global_step": 7}, path)
    return model


def test_of_a_checkpoint_it_is_told_what_is_not_used(tmp_path: Path):
    published(tmp_path / "m.ckpt")
    left = foreign.recognise(tmp_path / "m.ckpt").left_out
    assert left == ("feature_extractor.encodec.decoder.*: 1 tensors that only training needs",
                    "multiperioddisc.*: 1 tensors that only training needs")  # fmt: skip


@pytest.mark.parametrize(("key", "value"), [("audio_channels", 2), ("codebook_dim", 7)])
def test_variants_that_we_do_not_have_are_refused_by_name(tmp_path: Path, key: str, value: int):
    made().save_pretrained(tmp_path / "m")
    file = tmp_path / "m" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with pytest.raises(CheckpointError, match=key):
        foreign.open(tmp_path / "m")

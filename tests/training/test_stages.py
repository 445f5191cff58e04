"""After the stage "decoder" codes are what they were, and the decoder is another."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.conftest import TINY_AUDIO, TINY_IMAGE
from vqtok.config import parse
from vqtok.errors import UsageError
from vqtok.protocols import Config
from vqtok.training.stages import freeze

QUANTIZERS: dict[str, dict[str, Any]] = {
    "vq": {"codebook_size": 16, "samples": 1, "warmup": 1, "revive": 0.9, "revive_every": 1},
    "vq-loss": {"codebook_size": 16, "samples": 1, "warmup": 1, "ema": False, "codebook_dim": 3},
    "simvq": {"codebook_size": 16, "samples": 1, "warmup": 1},
    "fsq": {},
    "rvq": {"codebook_size": 8, "depth": 4, "samples": 1, "warmup": 1, "dropout": 0.7},
}


BASES = {
    "image": TINY_IMAGE,
    "levels": TINY_IMAGE | {"type": "tokenizers/vqvae2"},
    "audio": TINY_AUDIO,
}


def signals(kind: str, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (3, 1, 1600) if kind == "audio" else (3, 3, 32, 32)
    return (torch.randn(shape, generator=generator) * 0.3).clamp(-1, 1)


def trained(kind: str, quantizer: str) -> Any:
    """A tokenizer after a few steps of training all of it."""
    torch.manual_seed(0)
    base = BASES[kind]
    settings = {"type": "quantizers/" + quantizer.partition("-")[0], **QUANTIZERS[quantizer]}
    model = parse({**base, "quantizer": settings}, Config).build()
    model.quantizer.generator = torch.Generator().manual_seed(0)
    model.train()
    steps(model, kind, count=8)
    return model


def steps(model: Any, kind: str, *, count: int) -> None:
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-2, weight_decay=0.1)
    for step in range(count):
        x = signals(kind, step)
        result = model(x)
        optimizer.zero_grad()
        ((result.x - x).square().mean() + result.loss).backward()
        optimizer.step()


def tensors(part: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in part.state_dict().items()}


@pytest.mark.parametrize(
    ("kind", "quantizer"),
    [
        *((kind, quantizer) for kind in ("image", "audio") for quantizer in sorted(QUANTIZERS)),
        *(("levels", quantizer) for quantizer in ("vq", "vq-loss", "simvq", "fsq")),
    ],
)
def test_codes_are_bit_identical_after_the_stage(kind: str, quantizer: str) -> None:
    model = trained(kind, quantizer)
    x = signals(kind, 99)
    before, sound = model.encode(x).levels, model.decode(model.encode(x))
    held = {name: tensors(getattr(model, name)) for name in ("encoder", "quantizer")}
    freeze(model)
    steps(model, kind, count=5)
    model.eval()
    assert all(map(torch.equal, model.encode(x).levels, before))
    for name, old in held.items():
        new = tensors(getattr(model, name))
        assert all(torch.equal(value, new[key]) for key, value in old.items())
    assert not torch.equal(model.decode(model.encode(x)), sound)


def test_the_stage_all_would_have_changed_them() -> None:
    model = trained("image", "vq")
    x = signals("image", 99)
    before = model.encode(x).levels[0].clone()
    model.train()
    steps(model, "image", count=5)
    assert not torch.equal(model.encode(x).levels[0], before)


def test_latents_are_computed_without_a_gradient() -> None:
    model = trained("image", "vq")
    freeze(model)
    assert not model.encoder(signals("image", 0)).requires_grad
    assert model(signals("image", 0)).x.requires_grad


def test_a_model_that_was_loaded_to_be_used_learns_again() -> None:
    model = trained("image", "vq").requires_grad_(False).eval()
    freeze(model)
    assert all(p.requires_grad for p in model.decoder.parameters())
    assert not any(p.requires_grad for p in model.encoder.parameters())


def test_freezing_again_after_a_measurement_holds_the_quantizer_still() -> None:
    model = trained("audio", "rvq")
    freeze(model)
    model.eval()
    freeze(model)
    assert model.decoder.training
    assert not model.quantizer.training and not model.quantizer.stages[0].training
    assert len(model.quantizer._forward_hooks) == 1


def test_the_decoder_sees_shorter_stacks_as_dropout_would_leave_them() -> None:
    model = trained("audio", "rvq")
    quantizer, count = model.quantizer, 400
    z = torch.randn(count, 4, 5, generator=torch.Generator().manual_seed(1))
    freeze(model)
    quantizer.generator = torch.Generator().manual_seed(3)
    seen = quantizer(z)
    stacks = torch.stack([quantizer.decode(seen.codes[:, :n]) for n in (1, 2, 3, 4)])
    same = (stacks - seen.z_q).abs().amax((2, 3)) < 1e-6  # (4, count)
    assert same.any(0).all()
    # 0.3 are never cut, and of the others a quarter is cut to 4 of 4 stages; 4 sigma is 0.1
    shares = same.float().mean(1)
    torch.testing.assert_close(
        shares, torch.tensor([0.175, 0.175, 0.175, 0.475]), atol=0.1, rtol=0.0
    )
    model.eval()
    whole = quantizer(z)
    torch.testing.assert_close(whole.z_q, quantizer.decode(whole.codes))


def test_a_model_without_a_codebook_is_refused() -> None:
    model = parse(TINY_IMAGE, Config).build()
    with pytest.raises(UsageError, match="--stage decoder: the model has no codebook yet"):
        freeze(model)

"""A quantizer that has no more than the README says keeps the contract, alone and in a model."""

from __future__ import annotations

import copy
import inspect
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.quantizers import test_assign, test_contract
from tests.quantizers.conftest import DIM, latents
from vqtok.nn.gradients import straight_through
from vqtok.protocols import Assigned, Quantized
from vqtok.tokenizers import codec, vqvae, vqvae2


@dataclass(frozen=True)
class Config:
    """No settings."""

    def build(self, *, dim: int) -> Toy:
        return Toy(dim)


class Toy(nn.Module):
    """Rounds the first number of a latent to five levels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.codebook_size, self.depth, self.dim = 5, None, dim

    def forward(self, z: Tensor) -> Quantized:
        codes = self.assign(z, tolerance=0.0).codes
        return Quantized(straight_through(z, self.decode(codes)), codes, z.new_zeros(()))

    def assign(self, z: Tensor, *, tolerance: float) -> Assigned:
        first = z.detach()[:, 0]
        near = (first - first.floor() - 0.5).abs() <= tolerance
        return Assigned(first.round().clamp(-2, 2).long() + 2, near)

    def decode(self, codes: Tensor) -> Tensor:
        return torch.stack([codes.float() - 2] * self.dim, dim=1)


class Made:
    """Makes it, as the fixture of the contract tests does."""

    def __call__(self) -> nn.Module:
        module = self.fresh()
        module.generator = torch.Generator().manual_seed(1)
        return module

    def fresh(self) -> nn.Module:
        return Config().build(dim=DIM)


def cases() -> list[Any]:
    """Every contract test, with all its parameters."""
    found = []
    tests = [*vars(test_contract).values(), *vars(test_assign).values()]
    for test in tests:
        if not inspect.isfunction(test) or "make" not in inspect.signature(test).parameters:
            continue
        marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
        for values in itertools.product(*(mark.args[1] for mark in marks)):
            names = [mark.args[0] for mark in marks]
            found.append(
                pytest.param(test, dict(zip(names, values, strict=True)), id=test.__name__)
            )
    return found


@pytest.mark.parametrize(("test", "values"), cases())
def test_it_keeps_the_contract(test: Callable[..., None], values: dict[str, Any]) -> None:
    test(make=Made(), **values)


def test_models_take_it_and_code_exactly() -> None:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"widths": (8, 8), "encoder_blocks": (1, 1), "decoder_blocks": (1, 1)}
    one = vqvae.Config(Config(), patch=2, kernel=3, latent=4, **sizes)
    two = vqvae2.Config(Config(), patch=2, kernel=3, latent=4, **sizes)
    sound = codec.Config(Config(), rate=800, frame=16, hop=8, width=8, latent=4)
    for made, shape in ((one, (2, 3, 21, 14)), (two, (2, 3, 21, 14)), (sound, (2, 1, 90))):
        model = made.build()
        x = latents(*shape[:1], *shape[2:])[:, : shape[1]].clamp(-1, 1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            trained = model.train()(x)
        assert trained.x.shape == x.shape and trained.loss.dtype == torch.float32
        codes = model.eval().encode(x).check()
        assert copy.deepcopy(model).decode(codes).shape == x.shape
        assert model.recompute_stats.latents >= codes.tokens

"""Relaxed samples, their schedules, and the likeliest code found as a nearest entry."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from tests.examples import examples
from vqtok import config
from vqtok.errors import ConfigError
from vqtok.quantizers import gumbel


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def made(dim: int = 5, **settings: object) -> gumbel.Gumbel:
    torch.manual_seed(0)
    chosen = {"codebook_size": 30, "samples": 0} | settings
    quantizer: gumbel.Gumbel = gumbel.Config(**chosen).build(dim=dim)  # type: ignore[arg-type]
    quantizer.generator = torch.Generator().manual_seed(1)
    return quantizer


def rows_of(z: Tensor) -> Tensor:
    return z.movedim(1, -1).flatten(0, -2)


@pytest.mark.parametrize("gradient", ["relaxed", "straight-through"])
def test_samples_are_those_of_torchs_gumbel_softmax(gradient: str) -> None:
    quantizer = made(gradient=gradient, anneal_steps=0, coldest=0.7)
    z = gaussian(2, 5, 9)
    out = quantizer(z)
    torch.manual_seed(1)
    logits = quantizer.logits(rows_of(z))
    soft = F.gumbel_softmax(logits, tau=0.7, hard=gradient == "straight-through")
    torch.testing.assert_close(rows_of(out.z_q), soft @ quantizer.entries)
    sources = [quantizer.entries, quantizer.logits.weight, quantizer.logits.bias]
    weight = gaussian(18, 5, seed=3)
    found = torch.autograd.grad((rows_of(out.z_q) * weight).sum(), sources)
    wanted = torch.autograd.grad((soft @ quantizer.entries * weight).sum(), sources)
    torch.testing.assert_close(found, wanted)


def test_straight_through_decodes_an_entry_as_it_is() -> None:
    quantizer = made(gradient="straight-through")
    rows = rows_of(quantizer(gaussian(2, 5, 40)).z_q)
    assert bool((rows[:, None] == quantizer.entries).all(dim=2).any(dim=1).all())


def test_samples_have_the_probabilities_of_the_logits() -> None:
    quantizer = made(codebook_size=6, gradient="straight-through")
    z = gaussian(1, 5, 1).expand(1, 5, 20_000)
    rows = rows_of(quantizer(z).z_q)
    counts = (rows[:, None] == quantizer.entries).all(dim=2).double().mean(dim=0)
    wanted = quantizer.logits(z[0, :, 0]).softmax(dim=0)
    np.testing.assert_allclose(counts, wanted.detach(), atol=5 * math.sqrt(0.25 / 20_000))


def test_the_divergence_is_that_of_torchs_distributions() -> None:
    quantizer = made(kl=1.0, kl_steps=0)
    z = gaussian(2, 5, 9)
    chosen = torch.distributions.Categorical(logits=quantizer.logits(rows_of(z)))
    uniform = torch.distributions.Categorical(logits=torch.zeros(30))
    wanted = torch.distributions.kl_divergence(chosen, uniform).mean()
    torch.testing.assert_close(quantizer(z).loss, wanted)
    torch.testing.assert_close(quantizer.eval()(z).loss, wanted)


def test_evaluation_holds_few_logits_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    quantizer = made(kl=1.0).eval()
    z = gaussian(3, 5, 50)
    with torch.no_grad():
        whole = quantizer(z)
        sizes: list[int] = []
        quantizer.logits.register_forward_hook(lambda m, i, out: sizes.append(out.numel()))
        monkeypatch.setattr(gumbel, "BLOCK", 64 * 30)
        blocks = quantizer(z)
    torch.testing.assert_close(whole.loss, blocks.loss)
    assert len(sizes) == 3 and max(sizes) <= 64 * 30


@examples(20, many=60)
@given(
    size=st.integers(1, 80),
    dim=st.integers(1, 9),
    scale=st.sampled_from([0.1, 1.0, 20.0]),
    bias=st.sampled_from([0.0, 1.0, 30.0]),
    tolerance=st.sampled_from([0.0, 1e-3, 0.1]),
    seed=st.integers(0, 999),
)
def test_codes_and_near_ties_cover_those_of_all_logits_in_float64(
    size: int, dim: int, scale: float, bias: float, tolerance: float, seed: int
) -> None:
    quantizer = made(dim, codebook_size=size).eval()
    with torch.no_grad():
        quantizer.logits.weight.copy_(gaussian(size, dim, seed=seed))
        quantizer.logits.bias.copy_(gaussian(size, seed=seed + 1) * bias)
    z = (gaussian(1, dim, 60, seed=seed + 2) * scale).double()
    found = quantizer.assign(z, tolerance=tolerance)
    weight, offset = (each.detach().double().numpy() for each in quantizer.logits.parameters())
    logits = rows_of(z).numpy() @ weight.T + offset  # (N, K)
    codes = logits.argmax(1)
    gap = logits.max(1, keepdims=True) - logits
    # A move of z by tolerance changes the difference of two logits by so much at most.
    apart = np.linalg.norm(weight[codes][:, None] - weight[None], axis=2)
    rival = np.arange(size)[None] != codes[:, None]
    # The bias passes through a root that is rounded to float32.
    slack = 2.0**-22 * (np.abs(offset).max() + np.square(weight).sum(1).max())
    sure = ((gap > slack) | ~rival).all(1)
    np.testing.assert_array_equal(found.codes[0].numpy()[sure], codes[sure])
    near = ((gap <= tolerance * apart - slack) & rival).any(1)
    assert not (near & ~found.near_tie[0].numpy()).any()


def test_temperature_and_weight_follow_their_cosines_and_stay() -> None:
    quantizer = made(anneal_steps=8, kl_steps=4, kl=2.0, temperature=1.0, coldest=0.25)
    temperatures, weights = [], []
    for _ in range(11):
        temperatures.append(quantizer.temperature())
        weights.append(quantizer._weight())
        quantizer(gaussian(1, 5, 3))
    wave = [(1 + math.cos(math.pi * min(1, step / 8))) / 2 for step in range(11)]
    np.testing.assert_allclose(temperatures, [0.25 + 0.75 * each for each in wave])
    rise = [1 - math.cos(math.pi * min(1, step / 4)) for step in range(11)]
    np.testing.assert_allclose(weights, rise)


def test_a_resumed_run_goes_on_at_its_temperature() -> None:
    quantizer = made(anneal_steps=8)
    for _ in range(3):
        quantizer(gaussian(1, 5, 3))
    resumed = made(anneal_steps=8)
    resumed.load_state_dict(quantizer.state_dict())
    assert resumed.temperature() == quantizer.temperature() < 1


def test_codes_of_training_are_those_of_evaluation_without_noise() -> None:
    quantizer = made()
    z = gaussian(2, 5, 30)
    assert torch.equal(quantizer(z).codes, quantizer.eval()(z).codes)


def test_a_cold_sample_of_huge_logits_is_finite() -> None:
    quantizer = made(anneal_steps=0, coldest=1e-3)
    z = (1e4 * gaussian(1, 5, 50)).requires_grad_()
    out = quantizer(z)
    (out.z_q.sum() + out.loss).backward()
    assert bool(out.z_q.isfinite().all()) and z.grad is not None
    assert bool(z.grad.isfinite().all())


@pytest.mark.parametrize("settings", [{"codebook_size": 0}, {"kl": -1.0}, {"coldest": 0.0}])
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        config.parse(settings, gumbel.Config)


def test_the_start_uses_every_entry_and_is_one_nat_unsure() -> None:
    quantizer = made(samples=40, warmup=2, kl=1.0, kl_steps=0)
    z = gaussian(2, 5, 300)
    assert torch.equal(quantizer(z).z_q, z)  # the warm-up
    assert torch.equal(quantizer(z).z_q, z) or bool(quantizer.initialised)
    while not quantizer.initialised:
        quantizer(z)
    out = quantizer.eval()(z)
    assert out.codes.unique().numel() == 30
    assert float(out.loss.detach()) == pytest.approx(math.log(30) - 1, abs=0.25)
    entries = quantizer.entries.detach()
    nearest = torch.cdist(rows_of(z), entries).argmin(dim=1)
    assert float((nearest == out.codes.flatten()).float().mean()) > 0.99

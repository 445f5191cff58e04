"""Likelihoods against torch.distributions, and which recipes they fit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Bernoulli, Laplace, SigmoidTransform, TransformedDistribution

from vqtok import config
from vqtok.errors import ConfigError
from vqtok.nn.outputs import pixels
from vqtok.protocols import Config
from vqtok.training.losses import terms
from vqtok.training.losses.reconstruction import check_outputs


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def numbers(*shape: int, scale: float, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


@given(scale=st.sampled_from([0.1, 1.0, 10.0, 60.0]), seed=st.integers(0, 50))
def test_bce_is_the_log_probability_of_bernoulli_variables(scale: float, seed: int) -> None:
    raw, x = numbers(2, 3, 4, 5, scale=scale, seed=seed), images(2, 3, 4, 5, seed=seed)
    binary = x.sign()
    for each in (x, binary):
        oracle = Bernoulli(logits=raw.double(), validate_args=False)
        expected = -oracle.log_prob((each.double() + 1) / 2).mean()
        torch.testing.assert_close(terms.bce(raw, each).double(), expected, rtol=1e-5, atol=1e-6)


@given(scale=st.sampled_from([0.1, 1.0, 3.0]), seed=st.integers(0, 50))
def test_logit_laplace_is_the_log_density_of_a_squashed_laplace(scale: float, seed: int) -> None:
    raw, x = numbers(2, 6, 4, 5, scale=scale, seed=seed), images(2, 3, 4, 5, seed=seed)
    mu, log_scale = raw.double().chunk(2, dim=1)
    laplace = Laplace(mu, log_scale.exp() + terms.LEAST)
    oracle = TransformedDistribution(laplace, SigmoidTransform())
    brightness = (x.double() + 1) / 2
    expected = -oracle.log_prob(0.8 * brightness + 0.1).mean()
    found = terms.logit_laplace(raw, x).double()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("output", ["logits", "logit-laplace"])
def test_the_likeliest_numbers_are_those_of_the_pixels(output: str) -> None:
    x = images(1, 3, 4, 4) * 0.9
    if output == "logits":
        raw, loss = ((x + 1) / 2).logit(), terms.bce
    else:
        mu = (0.4 * x + 0.5).logit()
        raw, loss = torch.cat([mu, torch.full_like(mu, -2.0)], dim=1), terms.logit_laplace
    torch.testing.assert_close(pixels(raw, output), x)  # type: ignore[arg-type]
    best = loss(raw, x)
    for step in (-0.05, 0.05):
        moved = raw.clone()
        moved[:, :3] += step
        assert loss(moved, x) > best


@pytest.mark.parametrize("scale", [-500.0, 500.0])
def test_no_scale_gives_a_loss_or_a_gradient_that_is_not_finite(scale: float) -> None:
    x = torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1)
    raw = torch.full((1, 6, 1, 1), scale).requires_grad_()
    loss = terms.logit_laplace(raw, x)
    loss.backward()
    assert bool(loss.isfinite()) and raw.grad is not None and bool(raw.grad.isfinite().all())


def test_half_precision_is_measured_in_float32() -> None:
    raw, x = numbers(2, 6, 3, 3, scale=1.0).bfloat16(), images(2, 3, 3, 3)
    assert terms.logit_laplace(raw, x).dtype == torch.float32
    assert terms.bce(raw[:, :3], x) == terms.bce(raw[:, :3].float(), x)


@pytest.mark.parametrize(
    ("losses", "output"),
    [
        ({"bce": 1.0}, "plain"),
        ({"bce": 1.0}, "logit-laplace"),
        ({"mse": 1.0, "logit-laplace": 1.0}, "logits"),
    ],
)
def test_a_likelihood_of_what_the_model_does_not_give_is_refused(
    losses: dict[str, float], output: str
) -> None:
    data = {"type": "tokenizers/vqvae", "output": output, "quantizer": {"type": "quantizers/fsq"}}
    with pytest.raises(ConfigError, match=rf"train\.losses.*model\.output '{output}'"):
        check_outputs(losses, config.parse(data, Config))


@pytest.mark.parametrize(
    ("losses", "output"),
    [({"bce": 1.0}, "logits"), ({"logit-laplace": 1.0, "l1": 1.0}, "logit-laplace")]
    + [({"mse": 1.0}, output) for output in ("plain", "logits", "logit-laplace")],
)
def test_what_fits_is_accepted(losses: dict[str, float], output: str) -> None:
    data = {"type": "tokenizers/vqvae", "output": output, "quantizer": {"type": "quantizers/fsq"}}
    check_outputs(losses, config.parse(data, Config))


def test_audio_has_no_likelihood_of_pixels() -> None:
    data = {"type": "tokenizers/codec", "quantizer": {"type": "quantizers/fsq"}}
    with pytest.raises(ConfigError, match=r"train\.losses\.bce"):
        check_outputs({"bce": 1.0}, config.parse(data, Config))

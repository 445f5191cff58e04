"""What ``protocols.Quantizer`` promises of methods without codes, and what a VAE adds."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.distributions import Normal, kl_divergence

from tests.quantizers.conftest import CONTINUOUS, DIM, latents, trained
from vqtok.errors import UsageError
from vqtok.quantizers import gaussian
from vqtok.quantizers._start import Learning
from vqtok.tokenizers._quantizers import quantize

GRIDS = [(7,), (3, 4), (2, 3, 2)]


@pytest.fixture(params=CONTINUOUS, ids=[f"{name}-{i}" for i, (name, _) in enumerate(CONTINUOUS)])
def module(request: pytest.FixtureRequest) -> nn.Module:
    return trained(*request.param)


def vae(**settings: Any) -> gaussian.Gaussian:
    """A VAE whose posteriors differ from the prior and from each other."""
    torch.manual_seed(0)
    made = gaussian.Config(**settings).build(dim=DIM)
    nn.init.normal_(made.moments.weight, std=0.5)
    nn.init.normal_(made.moments.bias, std=0.5)
    made.generator = torch.Generator().manual_seed(1)
    return made


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("training", [False, True])
def test_shapes_follow_the_grid(module: nn.Module, grid: tuple[int, ...], training: bool) -> None:
    out = module.train(training)(latents(2, *grid))
    assert out.z_q.shape == (2, DIM, *grid)
    assert out.codes.shape == (2, *grid)
    assert out.codes.dtype == torch.int64 and not out.codes.any()
    assert out.loss.shape == () and bool(out.loss.isfinite())


@pytest.mark.parametrize("training", [False, True])
def test_the_terms_are_parts_of_the_loss(module: nn.Module, training: bool) -> None:
    out = module.train(training)(latents(2, 3, 3).requires_grad_())
    assert all(term.shape == () and not term.requires_grad for term in out.terms.values())
    assert sum(out.terms.values(), torch.zeros(())) == out.loss.detach()


@pytest.mark.parametrize("training", [False, True])
def test_gradients_reach_every_latent(module: nn.Module, training: bool) -> None:
    z = latents(2, 3, 3).requires_grad_()
    out = module.train(training)(z)
    (out.z_q.square().sum() + out.loss).backward()
    assert z.grad is not None and bool(z.grad.isfinite().all())
    assert bool((z.grad != 0).all())


def test_evaluation_repeats_itself_and_changes_nothing(module: nn.Module) -> None:
    module.eval()
    before, generator = copy.deepcopy(module.state_dict()), module.generator.get_state()
    first, second = module(latents(3, 4, 4)), module(latents(3, 4, 4))
    assert torch.equal(first.z_q, second.z_q) and torch.equal(first.loss, second.loss)
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert torch.equal(generator, module.generator.get_state())


def test_a_state_dict_for_use_needs_no_training_state(module: nn.Module) -> None:
    module.eval()
    kept = {key: value for key, value in module.state_dict().items() if "learning." not in key}
    copied = module.config.build(dim=DIM).eval()
    copied.load_state_dict(kept)  # strict: nothing else may be missing
    assert torch.equal(copied(latents(3, 4)).z_q, module(latents(3, 4)).z_q)
    assert torch.equal(copied(latents(3, 4)).loss, module(latents(3, 4)).loss)


def test_a_resumed_run_continues_bit_for_bit(module: nn.Module) -> None:
    resumed = module.config.build(dim=DIM)
    resumed.load_state_dict(copy.deepcopy(module.state_dict()))
    resumed.generator = torch.Generator()
    resumed.generator.set_state(module.generator.get_state())
    for step in range(5):
        a, b = (each(latents(4, 5, 5, seed=step)) for each in (module, resumed))
        assert torch.equal(a.z_q, b.z_q) and torch.equal(a.loss, b.loss)
    one, other = module.state_dict(), resumed.state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("training", [False, True])
def test_autocast_and_half_precision_are_left_to_the_networks(
    module: nn.Module, training: bool
) -> None:
    module.train(training)
    twin = copy.deepcopy(module)
    twin.generator.set_state(module.generator.get_state())
    z = latents(3, 4, 4).bfloat16()
    plain = module(z.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = quantize(twin, z)
    assert torch.equal(cast.z_q, plain.z_q) and torch.equal(cast.loss, plain.loss)
    assert cast.z_q.dtype == cast.loss.dtype == torch.float32


def test_latents_do_not_depend_on_neighbours_or_layout(module: nn.Module) -> None:
    module.eval()
    z = latents(9, 5, 3)
    whole = module(z).z_q
    for i in range(9):
        assert torch.equal(module(z[i : i + 1, :, 1:4]).z_q[0], whole[i, :, 1:4])
    strided = z.contiguous(memory_format=torch.channels_last)
    assert torch.equal(module(strided).z_q, whole)


def test_there_are_no_codes(module: nn.Module) -> None:
    assert module.codebook_size == 0 and module.depth is None
    for call in (
        lambda: module.decode(torch.zeros(1, 3, dtype=torch.int64)),
        lambda: module.assign(latents(1, 3), tolerance=0.0),
    ):
        with pytest.raises(UsageError, match="have no codes") as told:
            call()
        assert "quantizers/vq" in (told.value.hint or "")


def test_identity_passes_every_bit() -> None:
    z = latents(2, 3, 4)
    assert torch.equal(trained("identity", {})(z).z_q, z)


@given(mean=st.floats(-50, 50), logvar=st.floats(-25, 10))
def test_the_divergence_is_that_of_torch_distributions(mean: float, logvar: float) -> None:
    found = gaussian.Posterior(torch.tensor([mean]), torch.tensor([logvar])).kl()
    exact = Normal(torch.tensor([mean]).double(), torch.tensor([logvar]).double().div(2).exp())
    expected = kl_divergence(exact, Normal(0.0, 1.0))
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


def test_the_loss_is_the_divergence_per_position_times_the_weight() -> None:
    module = vae(kl=0.3)
    z = latents(4, 5, 3)
    mean, logvar = module.posterior(z)
    each = kl_divergence(Normal(mean, (logvar / 2).exp()), Normal(0.0, 1.0))
    expected = 0.3 * each.sum(dim=1).mean()  # over D; over items and positions
    for training in (False, True):
        torch.testing.assert_close(module.train(training)(z).loss, expected)


def test_samples_have_the_moments_of_the_posterior() -> None:
    module = vae()
    z = latents(1, 1).expand(40_000, DIM, 1)
    mean, logvar = (each[0, :, 0] for each in module.posterior(z))
    drawn = module(z).z_q[:, :, 0]
    std = (logvar / 2).exp()
    # Standard errors of mean and deviation, five of them.
    assert bool(((drawn.mean(0) - mean).abs() < 5 * std / 200).all())
    assert bool(((drawn.std(0) / std - 1).abs() < 5 / (200 * math.sqrt(2))).all())
    torch.testing.assert_close(module.eval()(z).z_q[0, :, 0], mean)  # float64 in between


def test_the_generator_alone_makes_the_noise() -> None:
    module, z = vae(), latents(2, 3)
    seen = []
    for seed in (5, 6, 5):
        module.generator = torch.Generator().manual_seed(seed)
        seen.append(module(z).z_q)
    assert torch.equal(seen[0], seen[2]) and not torch.equal(seen[0], seen[1])


def test_free_bits_are_a_floor_per_dimension_on_the_mean_of_the_batch() -> None:
    z = latents(4, 5, 3)
    each = vae().posterior(z).kl().detach().mean(dim=(0, 2, 3))  # (D,)
    floor = float(each.median()) * 1.01
    assert 0 < int((each < floor).sum()) < DIM
    module = vae(kl=1.0, free_bits=floor)
    out = module(z)
    torch.testing.assert_close(out.loss, torch.maximum(each, torch.tensor(floor)).sum())
    out.loss.backward()
    weights = module.moments.weight.grad.view(2, DIM, DIM)  # mean and ln(variance) of each
    silent = (weights == 0).all(dim=(0, 2))
    assert torch.equal(silent, each < floor)


def test_the_weight_rises_with_training_and_is_whole_in_evaluation() -> None:
    module, z = vae(kl=2.0, kl_steps=4), latents(2, 3)
    whole = vae(kl=2.0)(z).loss
    seen = []
    for _ in range(6):
        seen.append(module(z).loss)
        assert torch.equal(module.eval()(z).loss, whole)
        module.train()
    expected = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0, 1.0]) * whole
    torch.testing.assert_close(torch.stack(seen), expected)
    assert isinstance(module.learning, Learning) and int(module.learning.steps) == 6


def test_an_untrained_posterior_has_the_priors_variance() -> None:
    assert not gaussian.Config().build(dim=DIM).posterior(latents(2, 3)).logvar.any()


def test_huge_latents_give_finite_losses_and_gradients() -> None:
    module = vae()
    z = (latents(2, 3) * 1e4).requires_grad_()
    out = module(z)
    (out.z_q.sum() + out.loss).backward()
    assert bool(out.loss.isfinite()) and z.grad is not None and bool(z.grad.isfinite().all())


@pytest.mark.parametrize("name", ["kl", "free_bits", "kl_steps"])
def test_a_setting_below_zero_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: -1 is below 0"):
        gaussian.Config(**{name: -1})

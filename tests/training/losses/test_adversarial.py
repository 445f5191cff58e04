"""The discriminator learns to tell, and what it tells makes reconstructions better."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from vqtok import config
from vqtok.errors import ConfigError
from vqtok.nn.discriminators import Scored
from vqtok.training import recipe
from vqtok.training.losses.adversarial import SETTINGS, Discriminator
from vqtok.training.recipe import Adversarial

Kind = Literal["image", "audio"]
KINDS: tuple[Kind, ...] = ("image", "audio")


def adversary(kind: Kind, **changes: float | int) -> Discriminator:
    torch.manual_seed(0)
    settings = {"weight": 1.0, "features": 1.0, "ramp": 1, "width": 8, **changes}
    return Discriminator(Adversarial(**settings), modality=kind, channels=3)


def blurred(kind: Kind, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """(y, x): x is noise with edges, y is x without its high frequencies."""
    generator = torch.Generator().manual_seed(seed)
    if kind == "image":
        x = torch.randn(4, 3, 32, 32, generator=generator).sign() * 0.5
        return F.avg_pool2d(x, 5, 1, 2), x
    x = torch.randn(4, 1, 4000, generator=generator) * 0.2
    return F.avg_pool1d(x, 9, 1, 4), x


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_in_a_few_steps_and_its_gradient_undoes_the_blur(kind: Kind) -> None:
    discriminator = adversary(kind)
    optimizer = torch.optim.AdamW(discriminator.parameters(), lr=2e-3, betas=(0.5, 0.9))
    for step in range(25):
        optimizer.zero_grad()
        discriminator.loss(*blurred(kind, seed=step)).backward()
        optimizer.step()
    y, x = blurred(kind, seed=100)  # never seen
    with torch.no_grad():
        for original, fake in zip(discriminator.network(x), discriminator.network(y), strict=True):
            assert original.scores.mean() > fake.scores.mean() + 0.5
    for name in ("adversarial", "features"):
        moved = y.clone().requires_grad_()
        before = discriminator.generator_terms(moved, x, step=9)[name]
        before.backward()
        assert moved.grad is not None
        better = moved.detach() - 1e-3 * moved.grad / moved.grad.square().mean().sqrt()
        assert discriminator.generator_terms(better, x, step=9)[name] < before


def test_both_losses_equal_their_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    discriminator = adversary("image", weight=0.5, features=2.0)
    rng = np.random.default_rng(0)

    def scored(x: torch.Tensor) -> list[Scored]:
        """Two networks whose features and scores are functions of each item's mean."""
        mean = x.mean((1, 2, 3))[:, None, None, None]
        return [Scored(3 * mean, [mean, mean**2]), Scored(1 - mean, [2 * mean, mean + 1])]

    monkeypatch.setattr(discriminator.network, "forward", scored)
    y, x = (torch.from_numpy(rng.standard_normal((3, 3, 4, 4))).float() for _ in range(2))
    a, b = (each.double().numpy().mean((1, 2, 3)) for each in (y, x))
    hinge = [
        np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean()
        for real, fake in ((3 * b, 3 * a), (1 - b, 1 - a))
    ]
    assert float(discriminator.loss(y, x)) == pytest.approx(np.mean(hinge), rel=1e-5)
    terms = discriminator.generator_terms(y, x, step=0)
    adversarial = -np.mean([(3 * a).mean(), (1 - a).mean()])
    assert float(terms["adversarial"]) == pytest.approx(0.5 * adversarial, rel=1e-5)
    layers = [(a, b), (a**2, b**2), (2 * a, 2 * b), (a + 1, b + 1)]
    shares = [np.abs(of_y - of_x).mean() / np.abs(of_x).mean() for of_y, of_x in layers]
    assert float(terms["features"]) == pytest.approx(2.0 * np.mean(shares), rel=1e-5)


@pytest.mark.slow
@given(
    kind=st.sampled_from(KINDS),
    weight=st.sampled_from((0.1, 3.0)),
    sharpness=st.sampled_from((0.1, 1.0, 10.0)),
    step=st.integers(0, 5),
)
def test_a_term_pulls_as_hard_as_a_mean_absolute_error_of_its_weight(
    kind: Kind, weight: float, sharpness: float, step: int
) -> None:
    """However sure the discriminator is: one that had won pulled the model apart."""
    discriminator = adversary(kind, weight=weight, features=weight, ramp=4)
    with torch.no_grad():
        for parameter in discriminator.parameters():
            parameter.mul_(sharpness)
    y, x = blurred(kind)
    error = torch.zeros_like(y).add_(0.1).requires_grad_()
    (weight * discriminator.strength(step) * error.abs().mean()).backward()
    assert error.grad is not None
    for name in ("adversarial", "features"):
        moved = y.clone().requires_grad_()
        discriminator.generator_terms(moved, x, step=step)[name].backward()
        assert moved.grad is not None
        assert float(moved.grad.norm()) == pytest.approx(float(error.grad.norm()), rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_models_terms_leave_nothing_in_the_discriminator(kind: Kind) -> None:
    discriminator = adversary(kind)
    y, x = blurred(kind)
    y.requires_grad_()
    terms = discriminator.generator_terms(y, x, step=0)
    torch.stack(list(terms.values())).sum().backward()
    assert y.grad is not None and y.grad.abs().sum() > 0
    assert all(p.grad is None and p.requires_grad for p in discriminator.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_the_discriminators_loss_leaves_nothing_in_the_model(kind: Kind) -> None:
    discriminator = adversary(kind)
    y, x = blurred(kind)
    y.requires_grad_()
    discriminator.loss(y, x).backward()
    assert y.grad is None
    assert all(p.grad is not None for p in discriminator.parameters())


def test_terms_begin_at_their_step_and_rise() -> None:
    discriminator = adversary("image", start=10, ramp=4)
    y, x = blurred("image")
    assert discriminator.generator_terms(y, x, step=9) == {}
    values = [discriminator.generator_terms(y, x, step=step)["features"] for step in range(10, 16)]
    shares = [float(value / values[-1]) for value in values]
    assert shares == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 1.0])
    at_once = adversary("image", start=0, ramp=0)
    assert at_once.strength(0) == 1.0


def test_a_weight_of_zero_leaves_its_term_out() -> None:
    y, x = blurred("image")
    assert set(adversary("image", features=0.0).generator_terms(y, x, step=0)) == {"adversarial"}
    assert set(adversary("image", weight=0.0).generator_terms(y, x, step=0)) == {"features"}


@examples(20, many=100)
@given(
    kind=st.sampled_from(KINDS),
    levels=st.tuples(*[st.sampled_from((-1.0, 0.0, 1e-30, 1.0))] * 2),
    size=st.sampled_from((16, 31)),
)
def test_constant_signals_have_finite_gradients_on_both_sides(
    kind: Kind, levels: tuple[float, float], size: int
) -> None:
    discriminator = adversary(kind, width=4)
    shape = (2, 3, size, size) if kind == "image" else (2, 1, 62 * size)
    y = torch.full(shape, levels[0], requires_grad=True)
    x = torch.full(shape, levels[1])
    terms = discriminator.generator_terms(y, x, step=0)
    torch.stack(list(terms.values())).sum().backward()
    discriminator.loss(y, x).backward()
    assert y.grad is not None and y.grad.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in discriminator.parameters())
    if levels[0] == levels[1]:
        assert terms["features"] == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_made_and_judges_the_same_from_the_same_seed(kind: Kind) -> None:
    y, x = blurred(kind)
    one, other = adversary(kind), adversary(kind)
    assert torch.equal(one.loss(y, x), other.loss(y, x))
    torch.manual_seed(1)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.loss(y, x), other.loss(y, x))


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_recipe_leaves_open_follows_from_the_kind_of_data(kind: Kind) -> None:
    usual = SETTINGS[kind]
    discriminator = Discriminator(Adversarial(), modality=kind, channels=3)
    assert (discriminator.weight, discriminator.features) == (usual.weight, usual.features)
    y, x = blurred(kind)
    assert discriminator.network(x)[0].features[0].shape[1] == usual.width
    wider = Discriminator(Adversarial(weight=0.0, features=2.0, width=7), modality=kind, channels=3)
    assert wider.network(x)[0].features[0].shape[1] == 7
    assert set(wider.generator_terms(y, x, step=9999)) == {"features"}


@pytest.mark.parametrize("name", ["weight", "features", "start", "ramp", "width"])
def test_numbers_that_mean_nothing_are_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match=f"adversarial: {name} must be at least"):
        recipe.load("image-f8", edits=[f'train.adversarial={{"{name}": -1}}'])


def test_a_recipe_with_a_discriminator_survives_being_written() -> None:
    found = recipe.load("image-f8", edits=['train.adversarial={"features": 0.5}'])
    assert found.train.adversarial == Adversarial(features=0.5)
    assert recipe.parse(config.dump(found)) == found


def test_there_is_none_for_other_kinds_of_data() -> None:
    with pytest.raises(ConfigError, match=r"train\.adversarial: no discriminator for video"):
        Discriminator(Adversarial(), modality="video")

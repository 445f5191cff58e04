"""One step: accumulation, averages, number formats, what is skipped and what is left alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.conftest import IMAGE_EDITS
from vqtok.training.recipe import Recipe, load
from vqtok.training.run import train_step
from vqtok.training.tokenizer import Reconstruction
from vqtok.training.trainer import Trainer


class Given:
    """A batch of given pictures."""

    labels = None

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def signal(self, device: torch.device) -> Tensor:
        return self.x.to(device)


def recipe(*edits: str) -> Recipe:
    return load("image-f8", edits=[*IMAGE_EDITS, *edits])


def trainer(*edits: str) -> Trainer:
    torch.manual_seed(0)
    made = recipe(*edits)
    model = made.model.build()
    return Trainer(model, made.train, Reconstruction(model, model.spec, made.train))


def pictures(count: int, *, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=generator) * 2 - 1
    return torch.nn.functional.interpolate(coarse, 16)


def weights(found: Trainer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in found.model.state_dict().items()}


PASSING = "model.quantizer.warmup=1000"
"""Latents pass unquantized: nothing but gradients changes the model."""


def test_accumulated_batches_are_one_larger_batch() -> None:
    whole, parts = trainer(PASSING), trainer(PASSING)
    for step in range(3):
        x = pictures(8, seed=step)
        train_step(whole, [Given(x)], step=step, scale=1.0)
        train_step(parts, [Given(each) for each in x.split(2)], step=step, scale=1.0)
    for name, value in whole.model.named_parameters():
        # Adam divides by the root of the square, so round-off of tiny gradients is seen in full.
        torch.testing.assert_close(
            parts.model.get_parameter(name), value, atol=3e-4, rtol=0, msg=name
        )


def test_losses_of_accumulated_batches_are_their_mean() -> None:
    x = pictures(4)
    one = train_step(trainer(PASSING), [Given(x)], step=0, scale=1.0)
    four = train_step(trainer(PASSING), [Given(each) for each in x.split(1)], step=0, scale=1.0)
    assert four.losses == pytest.approx(one.losses, rel=1e-5)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_step_that_is_not_finite_changes_nothing_at_all(bad: float, precision: str) -> None:
    found = trainer(f"train.precision={precision}", "train.average=0.9")
    for step in range(8):  # past the warm-up: the codebook learns by itself too
        train_step(found, [Given(pictures(4, seed=step))], step=step, scale=1.0)
    before = weights(found)
    x = pictures(4)
    x[1, 0, 3, 3] = bad
    assert not train_step(found, [Given(x)], step=8, scale=1.0).finite
    after = weights(found)
    for name, value in before.items():
        assert torch.equal(after[name], value), name
    assert found.average is not None
    assert all(each.isfinite().all() for each in found.average.parameters())
    assert (
        train_step(found, [Given(pictures(4))], step=9, scale=1.0).finite or precision == "float16"
    )


def test_nothing_of_a_bad_batch_enters_the_warm_up() -> None:
    found = trainer("model.quantizer.warmup=3")
    x = pictures(4)
    x[0] = torch.nan
    for step in range(9):
        train_step(found, [Given(x if step == 1 else pictures(4, seed=step))], step=step, scale=1.0)
    assert all(value.isfinite().all() for value in weights(found).values())


def test_float16_trains_with_a_scale_that_settles() -> None:
    found = trainer("train.precision=float16")
    taken = [
        train_step(found, [Given(pictures(4, seed=step))], step=step, scale=1.0).finite
        for step in range(40)
    ]
    assert sum(taken[-10:]) >= 9
    state = found.precision.state()
    assert state["scale"] < 65536 or all(taken)


def test_the_averaged_model_is_the_one_that_is_measured() -> None:
    found = trainer("train.average=0.9")
    for step in range(8):
        train_step(found, [Given(pictures(4, seed=step))], step=step, scale=1.0)
    measured = found.measured()
    assert measured is not found.model
    entries = measured.quantizer.codebook.entries
    assert torch.equal(entries, found.model.quantizer.codebook.entries)
    name = "decoder.out.weight"
    assert not torch.equal(measured.get_parameter(name), found.model.get_parameter(name))
    codes = measured.eval().encode(pictures(1)).levels[0]
    assert codes.shape == (1, 4, 4)


def test_a_plain_run_is_measured_as_it_is() -> None:
    found = trainer()
    assert found.measured() is found.model


def test_gradients_are_clipped_to_the_plan() -> None:
    found = trainer("train.clip=0.001", PASSING)
    train_step(found, [Given(pictures(4))], step=0, scale=1.0)
    gradients = [each.grad for each in found.model.parameters() if each.grad is not None]
    norm = torch.stack([each.norm() for each in gradients]).norm()
    assert float(norm) == pytest.approx(0.001, rel=1e-3)


def test_the_learning_rate_is_scaled_for_every_optimizer() -> None:
    found = trainer("train.adversarial={}")
    train_step(found, [Given(pictures(4))], step=0, scale=0.25)
    plan = found.plan
    assert plan.adversarial is not None
    for name, peak in (
        ("optimizer", plan.learning_rate),
        ("critic", plan.adversarial.learning_rate),
    ):
        assert {group["lr"] for group in found.optimizers[name].param_groups} == {peak / 4}


def test_a_discriminator_learns_beside_the_model() -> None:
    found = trainer("train.adversarial={}", "train.adversarial.ramp=1")
    assert found.discriminator is not None
    before = {name: each.clone() for name, each in found.discriminator.named_parameters()}
    for step in range(4):
        result = train_step(found, [Given(pictures(4, seed=step))], step=step, scale=1.0)
    assert {"adversarial", "discriminator"} <= set(result.losses)
    moved = [not torch.equal(each, before[n]) for n, each in found.discriminator.named_parameters()]
    assert any(moved)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch warns itself while it compiles
def test_a_compiled_model_learns_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []

    def traced(model: Any, **options: Any) -> Any:  # making kernels would take a minute
        made.append(model)
        return real(model, backend="eager")

    real = torch.compile
    monkeypatch.setattr(torch, "compile", traced)
    plain, compiled = trainer(PASSING), trainer(PASSING, "train.compile=true")
    assert len(made) == 2  # encoder and decoder
    for step in range(2):
        x = Given(pictures(2, seed=step))
        expected = train_step(plain, [x], step=step, scale=1.0)
        found = train_step(compiled, [x], step=step, scale=1.0)
        assert found.losses == pytest.approx(expected.losses, rel=1e-3)

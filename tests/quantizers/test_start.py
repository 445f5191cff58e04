"""The warm-up: what is collected, what a restart does, and that bad steps leave no trace."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.quantizers.conftest import DIM, SMALL, latents, trained
from vqtok import config
from vqtok.quantizers import simvq, vq

METHODS = ("vq", "simvq", "rvq")


def state(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


def built(name: str, settings: dict[str, Any]) -> Any:
    module = config.config_class(f"quantizers/{name}")(**settings).build(dim=DIM)
    module.generator = torch.Generator().manual_seed(1)
    return module


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_latents_that_are_not_finite_teach_nothing(name: str, value: float) -> None:
    module: Any = trained(name, SMALL[name])
    before = state(module)
    z = latents(4, 5, 5)
    z[1, 2, 3, 3] = value
    out = module(z)
    assert not bool(out.loss.isfinite())
    assert int(out.codes.min()) >= 0 and int(out.codes.max()) < module.codebook_size
    after = state(module)
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("name", METHODS)
def test_a_warm_up_leaves_out_what_is_not_finite(name: str) -> None:
    settings = SMALL[name] | {"warmup": 3}
    module, clean = built(name, settings), built(name, settings)
    for step in range(3):
        if step == 1:
            module.generator.manual_seed(9)
            module(latents(4, 5, 5) * float("nan"))
        for each in (module, clean):
            each.generator.manual_seed(step)
            each(latents(4, 5, 5, seed=step))
    for key in ("initialised", "learning.rows", "learning.steps"):
        assert torch.equal(module.state_dict()[key], clean.state_dict()[key])


@pytest.mark.parametrize("name", METHODS)
def test_a_restart_brings_a_lost_codebook_back_to_its_latents(name: str) -> None:
    module = built(name, SMALL[name] | {"revive": 0.0} if name != "simvq" else SMALL[name])
    for step in range(6):
        module(latents(4, 5, 5, seed=step))
    assert module.restart()
    far = [latents(4, 5, 5, seed=step) * 0.1 + 50 for step in range(20, 40)]
    steps = 0
    while not bool(module.initialised):
        out = module(far[steps])
        steps += 1
    needed = -(-module.learning.capacity // 100)
    assert steps == needed  # not as long as a new encoder would be given
    out = module(far[-1])
    error = float((out.z_q.detach() - far[-1]).square().mean())
    assert error < float(far[-1].var())
    assert out.codes.unique().numel() > module.codebook_size // 3


def test_a_restart_passes_latents_through_and_evaluation_goes_on() -> None:
    module: Any = trained("vq", SMALL["vq"])
    z = latents(2, 3, 3)
    before = module.eval()(z)
    module.train().restart()
    passed = module(z)
    assert torch.equal(passed.z_q, z) and float(passed.loss) == 0.0
    assert torch.equal(module.eval()(z).codes, before.codes)


def test_a_method_without_a_sample_cannot_restart() -> None:
    module = simvq.Config(codebook_size=8, samples=0).build(dim=DIM)
    assert not module.restart()
    assert bool(module.initialised)


def test_a_run_resumed_during_a_restart_goes_on_bit_for_bit() -> None:
    module: Any = trained("vq", SMALL["vq"] | {"samples": 8})
    module.restart()
    module(latents(4, 5, 5, seed=50))
    resumed = built("vq", SMALL["vq"] | {"samples": 8})
    resumed.load_state_dict(state(module))
    for step in range(51, 60):
        for each in (module, resumed):
            each.generator = torch.Generator().manual_seed(step)
        a, b = (each(latents(4, 5, 5, seed=step)) for each in (module, resumed))
        assert torch.equal(a.z_q, b.z_q)
    one, other = module.state_dict(), resumed.state_dict()
    assert bool(one["initialised"]) and all(torch.equal(one[key], other[key]) for key in one)


def test_a_run_resumed_just_before_its_end_places_entries_as_it_would_have() -> None:
    settings = SMALL["vq"] | {"warmup": 50, "samples": 100}
    module = built("vq", settings)
    module(latents(4, 5, 5))
    resumed = built("vq", settings)
    resumed.load_state_dict(state(module))
    for each in (module, resumed):
        each.generator.manual_seed(7)
        each.place_codebook()
    one, other = module.state_dict(), resumed.state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_entries_that_come_without_averages_stay_where_they_are() -> None:
    module: Any = trained("vq", SMALL["vq"])
    kept = {key: each for key, each in module.state_dict().items() if "learning." not in key}
    fresh = vq.Config(**SMALL["vq"]).build(dim=DIM)
    fresh.load_state_dict(kept)
    entries = fresh.codebook.entries.clone()
    fresh.codebook.learn(entries, torch.arange(40), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(fresh.codebook.entries, entries)
    fresh.codebook.learning.total.zero_()
    fresh.codebook.begin_averages()
    fresh.codebook.learn(entries, torch.arange(40), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(fresh.codebook.entries, entries)

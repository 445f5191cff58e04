"""Which optimizer gets which weights, and that Muon's steps are what the papers say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vqtok import config
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.training import muon
from vqtok.training.optimizers import optimizers_of, peaks_of
from vqtok.training.recipe import Adversarial, Train, load, presets


def model_of(preset: str) -> nn.Module:
    recipe = load(preset)
    if config.type_name(recipe.model).startswith("priors/"):
        levels = (LevelSpec("codes", ("h", "w"), 16, (8, 8)),)
        if preset == "prior-hierarchical":
            levels = (
                LevelSpec("top", ("h", "w"), 16, (8, 8)),
                LevelSpec("bottom", ("h", "w"), 16, (4, 4)),
            )
        return recipe.model.build(spec=CodeSpec(modality="image", levels=levels))
    return recipe.model.build()


@pytest.mark.parametrize("preset", sorted({*presets()} - {"bpe"}))  # merges have no weights
def test_every_weight_has_one_optimizer(preset: str):
    recipe = load(preset)
    with torch.device("meta"):
        model = model_of(preset)
    found = [
        id(parameter)
        for optimizer in optimizers_of(model, recipe.train).values()
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
    assert sorted(found) == sorted(id(each) for each in model.parameters())


@pytest.mark.parametrize("preset", ["image-f8", "audio-24k", "prior-transformer"])
def test_muon_gets_most_of_our_networks_and_no_codebook_or_embedding(preset: str):
    with torch.device("meta"):
        model = model_of(preset)
    optimizers = optimizers_of(model, Train())
    matrices = {id(p) for group in optimizers["muon"].param_groups for p in group["params"]}
    owners = {
        id(p): (name, type(module))
        for name, module in model.named_modules()
        for p in module.parameters(recurse=False)
    }
    assert all(issubclass(owners[each][1], nn.Linear) for each in matrices)
    assert not any(owners[each][0].startswith("quantizer") for each in matrices)
    sizes = {id(p): p.numel() for p in model.parameters() if "quantizer" not in owners[id(p)][0]}
    assert sum(sizes[each] for each in matrices) > 0.8 * sum(sizes.values())


def test_adamw_alone_when_asked_for():
    with torch.device("meta"):
        model = model_of("image-f8")
    assert list(optimizers_of(model, Train(optimizer="adamw"))) == ["optimizer"]


def test_the_step_is_the_nearest_orthogonal_matrix_of_the_momentum_as_large_as_adamws():
    """Against a singular value decomposition: Muon's iteration gives singular values near one."""
    model = nn.Sequential(nn.Linear(48, 24))
    plan = Train(learning_rate=1e-2, matrix_rate=2.0, weight_decay=0.0)
    muon = optimizers_of(model, plan)["muon"]
    before = model[0].weight.detach().clone()
    torch.manual_seed(0)
    gradient = torch.randn(24, 48)
    model[0].weight.grad = gradient.clone()
    muon.step()
    step = (before - model[0].weight.detach()) / (2e-2 * 0.2 * 48**0.5)
    u, _, v = torch.linalg.svd(gradient, full_matrices=False)
    singular = torch.linalg.svdvals(step)
    assert 0.6 < float(singular.min()) <= float(singular.max()) < 1.3
    aligned = u.T @ step @ v.T  # diagonal, if both have the same singular vectors
    # bfloat16 keeps 8 bits.
    assert float((aligned - torch.diag(aligned.diag())).abs().max()) < 0.05


def test_peaks_follow_the_plan():
    plan = Train(learning_rate=2e-3, matrix_rate=4.0, adversarial=Adversarial(learning_rate=1e-4))
    assert peaks_of(plan) == {"optimizer": 2e-3, "muon": 8e-3, "critic": 1e-4}
    with pytest.raises(ValueError, match="matrix_rate"):
        Train(matrix_rate=0.0)


def test_muon_steps_as_torch_does_in_either_type_of_number(monkeypatch: pytest.MonkeyPatch):
    for dtype, bits in ((torch.bfloat16, 8), (torch.float32, 8)):  # torch's own has 8
        monkeypatch.setattr(muon, "native_dtype", lambda device, dtype=dtype: dtype)
        ours, theirs = nn.Linear(24, 48, bias=False), nn.Linear(24, 48, bias=False)
        theirs.load_state_dict(ours.state_dict())
        options = {"lr": 0.1, "weight_decay": 0.2}
        made = muon.Muon(ours.parameters(), **options)
        expected = torch.optim.Muon(theirs.parameters(), adjust_lr_fn="match_rms_adamw", **options)
        generator = torch.Generator().manual_seed(1)
        for _ in range(3):
            gradient = torch.randn(48, 24, generator=generator)
            ours.weight.grad, theirs.weight.grad = gradient.clone(), gradient.clone()
            made.step()
            expected.step()
        largest = 0.1 * 0.2 * 48**0.5 * 1.3  # of a step
        torch.testing.assert_close(
            ours.weight, theirs.weight, rtol=0, atol=3 * largest * 2.0 ** -(bits - 2)
        )
        state, known = made.state_dict()["state"][0], expected.state_dict()["state"][0]
        torch.testing.assert_close(state["momentum_buffer"], known["momentum_buffer"])


def test_a_cpu_without_instructions_for_bfloat16_does_not_emulate_them(
    monkeypatch: pytest.MonkeyPatch,
):
    for known, dtype in ((False, torch.float32), (True, torch.bfloat16)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda known=known: known)
        made = muon.orthogonal(torch.randn(4, 6), (3.4445, -4.775, 2.0315), 5, eps=1e-7)
        assert made.dtype == dtype

"""What stacking adds: prefixes, stage dropout and losses over stages."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vqtok.quantizers import rvq

SETTINGS = {"codebook_size": 16, "depth": 4, "warmup": 0, "samples": 8}


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def ready(**settings: object) -> rvq.Rvq:
    torch.manual_seed(0)
    quantizer: rvq.Rvq = rvq.Config(**(SETTINGS | settings)).build(dim=5)  # type: ignore[arg-type]
    quantizer.generator = torch.Generator().manual_seed(1)
    for step in range(4):
        quantizer(gaussian(4, 5, 32, seed=100 + step))
    assert bool(quantizer.initialised)
    return quantizer


def test_fewer_stages_decode_and_more_stages_come_nearer() -> None:
    quantizer = ready().eval()
    z = gaussian(3, 5, 20)
    codes = quantizer(z).codes
    errors = [float(F.mse_loss(quantizer.decode(codes[:, :n]), z)) for n in range(1, 5)]
    assert errors == sorted(errors, reverse=True)


def test_a_shallower_stack_of_the_same_codebooks_gives_a_prefix() -> None:
    deep = ready().eval()
    shallow = rvq.Config(**(SETTINGS | {"depth": 2})).build(dim=5).eval()  # type: ignore[arg-type]
    weights = {
        k: v for k, v in deep.state_dict().items() if not k.startswith(("stages.2", "stages.3"))
    }
    shallow.load_state_dict(weights)
    z = gaussian(3, 5, 20)
    codes = deep(z).codes[:, :2]
    assert torch.equal(shallow(z).codes, codes)
    assert torch.equal(shallow(z).z_q, deep.decode(codes))


def test_each_stage_quantizes_what_is_left_over() -> None:
    quantizer = ready().eval()
    z = gaussian(1, 5, 20)
    residual = z[0].t()
    for index, found in enumerate(quantizer(z).codes[0]):
        entries = quantizer.stages[index].entries
        assert torch.equal(torch.cdist(residual.double(), entries.double()).argmin(dim=1), found)
        residual = residual - entries[found]


def test_the_loss_is_the_mean_over_stages() -> None:
    quantizer = ready(commitment=0.4).eval()
    z = gaussian(2, 5, 20)
    out = quantizer(z)
    stages = [quantizer.decode(out.codes[:, :n]) for n in range(1, 5)]
    expected = sum(0.4 * F.mse_loss(z, stage) for stage in stages) / 4
    torch.testing.assert_close(out.loss, expected)


def test_dropped_items_are_decoded_from_a_prefix_of_their_codes() -> None:
    quantizer = ready(dropout=1.0)
    with torch.no_grad():
        out = quantizer(gaussian(64, 5, 6))
    frozen = ready(dropout=1.0).eval()  # the same entries, before that step moved them
    kept = []
    for item in range(64):
        prefixes = [frozen.decode(out.codes[item : item + 1, :n])[0] for n in range(1, 5)]
        matches = [torch.equal(out.z_q[item], prefix) for prefix in prefixes]
        kept.append(matches.index(True) + 1)
    assert set(kept) == {1, 2, 3, 4}


def test_stages_learn_only_from_items_that_keep_them() -> None:
    quantizer = ready(dropout=1.0, revive=0.0)
    before = [stage.learning.count.sum().item() for stage in quantizer.stages]
    quantizer(gaussian(64, 5, 6))
    seen = [
        (stage.learning.count.sum().item() - 0.99 * count) / 0.01
        for stage, count in zip(quantizer.stages, before, strict=True)
    ]
    assert seen[0] == pytest.approx(64 * 6, rel=1e-2)
    assert all(deep < shallow for shallow, deep in itertools.pairwise(seen))


def test_without_dropout_every_item_keeps_all_stages() -> None:
    quantizer = ready()
    frozen = ready().eval()
    out = quantizer(gaussian(8, 5, 6))
    assert torch.equal(out.z_q, frozen.decode(out.codes))


def test_every_stage_starts_on_the_residuals_of_the_ones_before() -> None:
    quantizer = ready(samples=25, kmeans=10)
    out = quantizer.eval()(gaussian(8, 5, 100))
    for stage in range(4):
        assert out.codes[:, stage].unique().numel() > 12

"""A frozen codebook that moves through one map."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vqtok.quantizers import simvq
from vqtok.quantizers.search.nearest import nearest


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_only_the_map_learns() -> None:
    quantizer = simvq.Config(codebook_size=32, samples=0).build(dim=4)
    assert [name for name, _ in quantizer.named_parameters()] == ["map.weight", "map.bias"]
    frozen = quantizer.frozen.clone()
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=0.1)
    before = quantizer.entries().clone()
    out = quantizer(gaussian(2, 4, 9))
    out.loss.backward()
    optimizer.step()
    assert torch.equal(quantizer.frozen, frozen)
    moved = (quantizer.entries() != before).any(dim=1)
    assert bool(moved.all())  # chosen or not: this is what keeps entries alive


def test_the_papers_start_is_gaussian_with_variance_one_over_d() -> None:
    torch.manual_seed(0)
    quantizer = simvq.Config(codebook_size=4096, samples=0).build(dim=16)
    assert bool(quantizer.initialised)
    assert math.isclose(float(quantizer.frozen.std()), 16**-0.5, rel_tol=0.02)


def test_the_warm_start_begins_as_kmeans_seen_through_the_identity() -> None:
    quantizer = simvq.Config(codebook_size=16, warmup=2, samples=20).build(dim=4)
    quantizer.generator = torch.Generator().manual_seed(0)
    for step in range(5):
        out = quantizer(gaussian(2, 4, 40, seed=step))
    assert bool(quantizer.initialised)
    assert torch.equal(quantizer.entries(), quantizer.frozen)
    z = gaussian(2, 4, 40, seed=9)
    out = quantizer.eval()(z)
    assert float((z - out.z_q).square().mean()) < 0.5 * float(z.square().mean())
    assert out.codes.unique().numel() == 16


def test_the_mapped_entries_are_an_ordinary_codebook() -> None:
    quantizer = simvq.Config(codebook_size=32, samples=0, codebook_dim=3).build(dim=4).eval()
    z = gaussian(2, 4, 9)
    rows = quantizer.project_in(z.movedim(1, -1).reshape(-1, 4))
    assert torch.equal(nearest(rows, quantizer.entries()).reshape(2, 9), quantizer(z).codes)


def test_the_mapped_entries_follow_the_map() -> None:
    quantizer = simvq.Config(codebook_size=32, samples=0).build(dim=4).eval()
    before = quantizer.entries().clone()
    with torch.no_grad():
        quantizer.map.bias += 1
    torch.testing.assert_close(quantizer.entries(), before + 1)


def test_the_loss_teaches_latents_and_map() -> None:
    quantizer = simvq.Config(codebook_size=32, samples=0).build(dim=4)
    z = gaussian(2, 4, 9).requires_grad_()
    quantizer(z).loss.backward()
    assert z.grad is not None and float(z.grad.abs().sum()) > 0
    assert quantizer.map.weight.grad is not None
    assert float(quantizer.map.weight.grad.abs().sum()) > 0


def mortal(**settings: float) -> simvq.SimVq:
    """A quantizer of two latents whose frozen entries are all far from them, but the first two."""
    config = simvq.Config(
        codebook_size=8,
        samples=0,
        decay=0.5,
        revive_every=4,
        **settings,  # type: ignore[arg-type]
    )
    torch.manual_seed(0)
    quantizer = config.build(dim=4)
    quantizer.generator = torch.Generator().manual_seed(0)
    quantizer.frozen += 100.0
    return quantizer


def mapped(quantizer: simvq.SimVq, z: Tensor) -> Tensor:
    """(N,) distance of each latent of (B, D, T) from the nearest mapped entry."""
    rows = z.movedim(1, -1).reshape(-1, z.shape[1])
    return torch.cdist(rows.detach(), quantizer.entries()).amin(dim=1)


def test_a_dead_entry_is_mapped_onto_a_latent() -> None:
    quantizer, z = mortal(), gaussian(1, 4, 40)
    for _ in range(4):
        frozen = quantizer.frozen.clone()
        quantizer(z)
    changed = (quantizer.frozen != frozen).any(dim=1)
    assert 0 < int(changed.sum()) < 8  # those that were chosen stay
    rows = z.movedim(1, -1).reshape(-1, 4)
    distance = torch.cdist(quantizer.entries()[changed], rows).amin(dim=1)
    assert float(distance.max()) < 1e-3  # the map turns entries of any size: rounding
    assert quantizer(z).codes.unique().numel() >= int(changed.sum())


def test_nothing_is_revived_before_its_time_or_with_revive_at_zero() -> None:
    quantizer, paper, z = mortal(), mortal(revive=0.0), gaussian(1, 4, 40)
    before = quantizer.frozen.clone()
    for _ in range(3):
        quantizer(z)
    assert torch.equal(quantizer.frozen, before)
    before = paper.frozen.clone()
    for _ in range(12):
        paper(z)
    assert torch.equal(paper.frozen, before)
    assert int(paper.life.learning.steps) == 0


def test_revival_does_not_disturb_the_gradient_of_its_step() -> None:
    quantizer, paper, z = mortal(), mortal(revive=0.0), gaussian(1, 4, 40)
    for _ in range(4):
        quantizer.zero_grad()
        paper.zero_grad()
        quantizer(z).loss.backward()
        paper(z).loss.backward()
    assert not torch.equal(quantizer.frozen, paper.frozen)
    assert quantizer.map.weight.grad is not None and paper.map.weight.grad is not None
    assert torch.equal(quantizer.map.weight.grad, paper.map.weight.grad)


def test_a_map_that_lost_a_dimension_revives_to_the_nearest_that_it_tolerances() -> None:
    quantizer, z = mortal(), gaussian(1, 4, 40)
    with torch.no_grad():
        quantizer.map.weight.copy_(torch.diag(torch.tensor([1.0, 1.0, 1.0, 1e-12])))
        quantizer.map.bias.zero_()
    for _ in range(4):
        quantizer(z)
    assert bool(quantizer.frozen.isfinite().all())
    z[:, 3] = 0  # what is out of range
    assert float(mapped(quantizer, z).amin()) < 1e-3


def test_a_map_that_is_not_finite_revives_nobody() -> None:
    quantizer, z = mortal(), gaussian(1, 4, 40)
    before = quantizer.frozen.clone()
    with torch.no_grad():
        quantizer.map.weight[0, 0] = float("nan")
    for _ in range(4):
        quantizer(z)  # a decomposition of NaN would raise
    assert torch.equal(quantizer.frozen, before)

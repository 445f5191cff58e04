"""Which codes hang on the last bits of a latent: those that a small move can change."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.quantizers.conftest import DIM, Made, latents
from vqtok.quantizers.search import nearest as search_nearest
from vqtok.quantizers.search.candidates import NearTies
from vqtok.quantizers.search.nearest import Packed, nearest


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def rows_of(codes: Tensor, depth: int | None) -> Tensor:
    """(B, [Q,] *grid) → (N, 1 or Q)."""
    last = codes[..., None] if depth is None else codes.movedim(1, -1)
    return last.reshape(-1, last.shape[-1])


def test_assigned_codes_are_those_of_a_call(make: Made) -> None:
    module = make().eval()
    z = latents(3, 7, 5)
    assert torch.equal(module.assign(z, tolerance=1e-6).codes, module(z).codes)


@pytest.mark.parametrize("tolerance", [0.01, 0.1])
def test_no_small_move_changes_a_code_that_is_no_near_tie(make: Made, tolerance: float) -> None:
    module = make().eval()
    z = latents(4, 8, 8)
    assigned = module.assign(z, tolerance=tolerance)
    before, near = rows_of(assigned.codes, module.depth), assigned.near_tie.flatten()
    changed = torch.zeros_like(near)
    for seed in range(1000, 1200, 25):  # 25 moves in one batch: no code depends on batch mates
        move = torch.cat([latents(4, 8, 8, seed=seed + each) for each in range(25)])
        move *= 0.999 * tolerance / torch.linalg.vector_norm(move, dim=1, keepdim=True)
        after = rows_of(module(z.repeat(25, 1, 1, 1) + move).codes, module.depth)
        changed |= (after.view(25, *before.shape) != before).any(dim=2).any(dim=0)
    assert changed.any()
    assert not (changed & ~near).any()


def test_without_a_tolerance_hardly_any_code_is_near(make: Made) -> None:
    module = make().eval()
    assert int(module.assign(latents(4, 9, 9), tolerance=0.0).near_tie.sum()) <= 1


def test_float64_latents_are_decided_in_float64(make: Made) -> None:
    module = make().eval()
    z = latents(2, 6, 6)
    plain = module.assign(z, tolerance=1e-4)
    exact = rows_of(module.assign(z.double(), tolerance=0.0).codes, module.depth)
    sure = ~plain.near_tie.flatten()
    assert torch.equal(rows_of(plain.codes, module.depth)[sure], exact[sure])


def test_a_difference_below_float32_decides_between_two_entries() -> None:
    entries = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    z = torch.tensor([[2.0**-40, 5.0], [-(2.0**-40), 5.0]], dtype=torch.float64)
    assert nearest(z, entries).tolist() == [0, 1]


@cache
def case(count: int, size: int, dim: int) -> tuple[Tensor, Tensor]:
    """Latents and entries, the same objects at every call."""
    return gaussian(count, dim), gaussian(size, dim, seed=1)


@cache
def brute(z: Tensor, entries: Tensor, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Codes and near ties from all distances in float64."""
    left, right = z.double().numpy(), entries.double().numpy()
    squares = ((left[:, None] - right[None]) ** 2).sum(-1)
    codes = squares.argmin(1)
    apart = np.sqrt(((right[codes][:, None] - right[None]) ** 2).sum(-1))
    gap = squares - squares.min(1, keepdims=True)
    return codes, ((gap <= 2 * tolerance * apart) & (apart > 0)).any(1)


@pytest.mark.parametrize(("count", "size", "dim"), [(300, 64, 3), (700, 2000, 8), (2100, 600, 16)])
@pytest.mark.parametrize("tolerance", [1e-5, 1e-3, 0.05])
@pytest.mark.parametrize("tile", [1 << 13, 256])
def test_near_ties_are_those_of_all_distances_in_float64(
    count: int, size: int, dim: int, tolerance: float, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_nearest, "TILE", tile)
    z, entries = case(count, size, dim)
    ties = NearTies.of(z.double(), tolerance)
    codes = nearest(z, Packed(entries), ties)
    expected, near = brute(z, entries, tolerance)
    np.testing.assert_array_equal(codes.numpy(), expected)
    missed = near & ~ties.found.numpy()
    assert not missed.any()
    # Nothing else is marked but what lies within a thousandth of the limit.
    assert not (ties.found.numpy() & ~brute(z, entries, tolerance * 1.001)[1]).any()


def test_copies_of_an_entry_are_no_near_ties() -> None:
    entries = gaussian(50, 4).repeat(3, 1)
    ties = NearTies.of(gaussian(200, 4, seed=2).double(), 1e-9)
    codes = nearest(gaussian(200, 4, seed=2), entries, ties)
    assert int(codes.max()) < 50
    assert not ties.found.any()


def test_a_collapsed_codebook_is_searched_for_near_ties_too() -> None:
    entries, z = 1e-4 * gaussian(3000, 8), gaussian(1000, 8, seed=1)
    ties = NearTies.of(z.double(), 0.05)
    codes, near = brute(z, entries, 0.05)
    np.testing.assert_array_equal(nearest(z, entries, ties).numpy(), codes)
    assert 0 < near.sum() < 1000
    np.testing.assert_array_equal(ties.found.numpy(), near)


def test_latents_have_the_dimension_that_the_quantizer_was_made_for(make: Made) -> None:
    assert make().eval().assign(latents(1, 4), tolerance=0.1).near_tie.shape == (1, 4)
    assert latents(1, 4).shape[1] == DIM

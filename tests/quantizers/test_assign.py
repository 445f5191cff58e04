"""Which codes hang on the last bits of a latent: those that a small move can change."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.quantizers.conftest import DIM, latents
from vqtok.quantizers.search import nearest as search_nearest
from vqtok.quantizers.search.candidates import Doubt
from vqtok.quantizers.search.nearest import Packed, nearest

Make = Callable[[], nn.Module]


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def rows_of(codes: Tensor, depth: int | None) -> Tensor:
    """(B, [Q,] *grid) → (N, 1 or Q)."""
    last = codes[..., None] if depth is None else codes.movedim(1, -1)
    return last.reshape(-1, last.shape[-1])


def test_assigned_codes_are_those_of_a_call(make: Make) -> None:
    module = make().eval()
    z = latents(3, 7, 5)
    assert torch.equal(module.assign(z, reach=1e-6).codes, module(z).codes)


@pytest.mark.parametrize("reach", [0.01, 0.1])
def test_no_move_within_reach_changes_a_code_that_is_not_doubtful(make: Make, reach: float) -> None:
    module = make().eval()
    z = latents(4, 8, 8)
    assigned = module.assign(z, reach=reach)
    before, doubtful = rows_of(assigned.codes, module.depth), assigned.doubtful.flatten()
    changed = torch.zeros_like(doubtful)
    for seed in range(200):
        move = latents(4, 8, 8, seed=1000 + seed)
        move *= 0.999 * reach / torch.linalg.vector_norm(move, dim=1, keepdim=True)
        after = rows_of(module(z + move).codes, module.depth)
        changed |= (after != before).any(dim=1)
    assert changed.any()
    assert not (changed & ~doubtful).any()


def test_without_a_reach_hardly_any_code_is_doubtful(make: Make) -> None:
    module = make().eval()
    assert int(module.assign(latents(4, 9, 9), reach=0.0).doubtful.sum()) <= 1


def test_float64_latents_are_decided_in_float64(make: Make) -> None:
    module = make().eval()
    z = latents(2, 6, 6)
    plain = module.assign(z, reach=1e-4)
    exact = rows_of(module.assign(z.double(), reach=0.0).codes, module.depth)
    sure = ~plain.doubtful.flatten()
    assert torch.equal(rows_of(plain.codes, module.depth)[sure], exact[sure])


def test_a_difference_below_float32_decides_between_two_entries() -> None:
    entries = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    z = torch.tensor([[2.0**-40, 5.0], [-(2.0**-40), 5.0]], dtype=torch.float64)
    assert nearest(z, entries).tolist() == [0, 1]


def brute(z: Tensor, entries: Tensor, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Codes and doubts from all distances in float64."""
    left, right = z.double().numpy(), entries.double().numpy()
    squares = ((left[:, None] - right[None]) ** 2).sum(-1)
    codes = squares.argmin(1)
    apart = np.sqrt(((right[codes][:, None] - right[None]) ** 2).sum(-1))
    gap = squares - squares.min(1, keepdims=True)
    return codes, ((gap <= 2 * reach * apart) & (apart > 0)).any(1)


@pytest.mark.parametrize(("count", "size", "dim"), [(300, 64, 3), (700, 2000, 8), (2100, 600, 16)])
@pytest.mark.parametrize("reach", [1e-5, 1e-3, 0.05])
@pytest.mark.parametrize("tile", [1 << 13, 256])
def test_doubts_are_those_of_all_distances_in_float64(
    count: int, size: int, dim: int, reach: float, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_nearest, "TILE", tile)
    z, entries = gaussian(count, dim), gaussian(size, dim, seed=1)
    doubt = Doubt.of(z.double(), reach)
    codes = nearest(z, Packed(entries), doubt)
    expected, doubtful = brute(z, entries, reach)
    np.testing.assert_array_equal(codes.numpy(), expected)
    missed = doubtful & ~doubt.found.numpy()
    assert not missed.any()
    # Nothing else is marked but what lies within a thousandth of the limit.
    assert not (doubt.found.numpy() & ~brute(z, entries, reach * 1.001)[1]).any()


def test_copies_of_an_entry_raise_no_doubt() -> None:
    entries = gaussian(50, 4).repeat(3, 1)
    doubt = Doubt.of(gaussian(200, 4, seed=2).double(), 1e-9)
    codes = nearest(gaussian(200, 4, seed=2), entries, doubt)
    assert int(codes.max()) < 50
    assert not doubt.found.any()


def test_a_collapsed_codebook_is_searched_for_doubts_too() -> None:
    entries, z = 1e-4 * gaussian(3000, 8), gaussian(1000, 8, seed=1)
    doubt = Doubt.of(z.double(), 0.05)
    codes, doubtful = brute(z, entries, 0.05)
    np.testing.assert_array_equal(nearest(z, entries, doubt).numpy(), codes)
    assert 0 < doubtful.sum() < 1000
    np.testing.assert_array_equal(doubt.found.numpy(), doubtful)


def test_latents_have_the_dimension_that_the_quantizer_was_made_for(make: Make) -> None:
    assert make().eval().assign(latents(1, 4), reach=0.1).doubtful.shape == (1, 4)
    assert latents(1, 4).shape[1] == DIM

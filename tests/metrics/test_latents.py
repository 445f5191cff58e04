from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from vqtok.metrics.latents import ACTIVE, Latents


@given(
    sizes=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 5)), min_size=1, max_size=5),
    offset=st.sampled_from([0.0, 1e4]),
    seed=st.integers(0, 99),
)
def test_statistics_equal_numpys_over_all_at_once(
    sizes: list[tuple[int, int]], offset: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.tensor([1.0, 0.3, 0.05, 0.0])[:, None, None]  # by dimension
    found, means, divergences = Latents(), [], []
    for batch, side in sizes:
        mean = torch.randn(batch, 4, side, 2, generator=generator) * scale + offset
        kl = torch.rand(batch, 4, side, 2, generator=generator)
        found.add(mean, kl)
        means.append(mean.movedim(1, -1).reshape(-1, 4).double().numpy())
        divergences.append(kl.double().sum(dim=1).reshape(-1).numpy())
    rows = np.concatenate(means)
    assert found.count == len(rows)
    np.testing.assert_allclose(found.variances.numpy(), rows.var(axis=0), rtol=1e-9, atol=1e-12)
    assert found.active == (rows.var(axis=0) > ACTIVE).sum()
    np.testing.assert_allclose(found.kl, np.concatenate(divergences).mean(), rtol=1e-9)


def test_a_unit_that_says_the_same_of_everything_is_not_active() -> None:
    found = Latents()
    mean = torch.zeros(8, 3, 1)
    mean[:, 0, 0] = torch.linspace(-1, 1, 8)  # variance 0.43
    mean[:, 1, 0] = torch.linspace(-0.1, 0.1, 8)  # variance 0.0043
    mean[:, 2, 0] = 5.0
    found.add(mean, torch.zeros_like(mean))
    assert found.active == 1


def test_nothing_is_nothing() -> None:
    assert (Latents().active, Latents().kl) == (0, 0.0)

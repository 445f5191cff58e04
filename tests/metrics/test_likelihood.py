"""Costs add up, and stand beside an ideal coder of frequencies."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest

from vqtok.metrics.likelihood import Costs


class Level(NamedTuple):
    name: str
    axes: tuple[str, ...]
    codebook_size: int


def test_a_prior_that_knows_only_frequencies_costs_the_unigram_entropy() -> None:
    codes = np.random.default_rng(0).choice(8, (4, 50), p=[0.5, 0.2, 0.1, 0.1, 0.1, 0, 0, 0])
    shares = np.bincount(codes.reshape(-1), minlength=8) / codes.size
    costs = Costs([Level("codes", ("t",), 8)])
    for row in codes[:, None]:
        costs.add([row], [-np.log(shares[row])])
    total = costs.total
    assert total.codes == 200
    assert total.bits_per_code == pytest.approx(total.unigram_bits)
    assert total.saved == pytest.approx(0.0, abs=1e-12)
    assert total.uniform_bits == 3.0
    entropy = -sum(p * math.log(p) for p in shares if p)
    assert total.nats_per_code == pytest.approx(entropy)


def test_levels_weigh_by_their_codes() -> None:
    costs = Costs([Level("top", ("h", "w"), 4), Level("bottom", ("h", "w"), 16)])
    top, bottom = np.zeros((1, 1, 2), int), np.zeros((1, 2, 3), int)
    costs.add([top, bottom], [np.full(top.shape, 1.0), np.full(bottom.shape, 3.0)])
    assert costs.levels["top"].nats_per_code == 1.0
    assert costs.levels["bottom"].nats_per_code == 3.0
    assert costs.total.nats_per_code == pytest.approx((2 * 1 + 6 * 3) / 8)
    assert costs.total.uniform_bits == pytest.approx((2 * 2 + 6 * 4) / 8)


def test_stages_that_are_not_modelled_do_not_count() -> None:
    costs = Costs([Level("codes", ("q", "t"), 4)])
    codes = np.array([[[0, 0, 0], [0, 1, 2]]])
    costs.add([codes], [np.ones((1, 1, 3))])
    assert costs.total.codes == 3
    assert costs.total.unigram_bits == 0.0
    assert costs.total.saved == 0.0


def test_nothing_costs_nothing() -> None:
    total = Costs([Level("codes", ("t",), 4)]).total
    assert (total.codes, total.nats_per_code, total.unigram_bits) == (0, 0.0, 0.0)

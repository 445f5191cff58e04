"""The learning rate rises, and falls as the plan says."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqtok.training.optimizers import learning_rate
from vqtok.training.recipe import Train

COSINE = Train(losses={}, learning_rate=0.5, final_rate=0.1, warmup=10)
CONSTANT = Train(losses={}, learning_rate=0.5, final_rate=0.0, warmup=1, schedule="constant")


@given(progress=st.floats(0, 1))
def test_after_the_warm_up_it_is_half_a_cosine(progress: float) -> None:
    found = learning_rate(COSINE, step=10, progress=progress)
    assert found == pytest.approx(0.05 + 0.45 * (1 + math.cos(math.pi * progress)) / 2)


def test_it_rises_in_equal_steps() -> None:
    rates = [learning_rate(COSINE, step=step, progress=0.0) for step in range(12)]
    assert rates == pytest.approx([0.05 * min(10, step + 1) for step in range(12)])


@given(progress=st.floats(0, 0.8))
def test_a_constant_rate_stays_until_its_last_part(progress: float) -> None:
    assert learning_rate(CONSTANT, step=5, progress=progress) == pytest.approx(0.5)


@given(progress=st.floats(0.8, 1))
def test_a_constant_rate_then_falls_in_a_line(progress: float) -> None:
    found = learning_rate(CONSTANT, step=5, progress=progress)
    assert found == pytest.approx(0.5 * (1 - progress) / 0.2, abs=1e-9)


def test_without_a_last_part_it_never_falls() -> None:
    plan = Train(losses={}, learning_rate=0.5, warmup=1, schedule="constant", decay=0.0)
    assert learning_rate(plan, step=5, progress=1.0) == 0.5

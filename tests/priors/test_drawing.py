"""Choices: the distribution that is asked for, and none that hangs on rounding."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.examples import examples
from vqtok.errors import UsageError
from vqtok.priors._drawing import Choice, Noise, pick

LOGITS = torch.tensor([1.0, 0.2, -0.7, 2.0, 0.0, -3.0, 1.5])
DRAWS = 20000


def frequencies(choice: Choice, logits: Tensor = LOGITS) -> Tensor:
    noise = Noise((5,), range(1)).draw(DRAWS * len(logits)).view(DRAWS, -1)
    codes, _ = pick(logits.expand(DRAWS, -1), noise, choice)
    return torch.bincount(codes, minlength=len(logits)).double() / DRAWS


def truth(choice: Choice, logits: Tensor = LOGITS) -> Tensor:
    """The distribution by its definition, code by code."""
    chances = (logits.double() / choice.temperature).softmax(dim=0)
    order = sorted(range(len(chances)), key=lambda code: -float(chances[code]))
    order = order[: choice.top_k]
    kept, total = [], 0.0
    mass = sum(float(chances[code]) for code in order)
    for code in order:
        if choice.top_p is not None and total >= choice.top_p:
            break
        kept.append(code)
        total += float(chances[code]) / mass
    out = torch.zeros(len(chances), dtype=torch.float64)
    out[kept] = chances[kept]
    return out / out.sum()


@pytest.mark.parametrize(
    "choice",
    [
        Choice(),
        Choice(temperature=0.5),
        Choice(temperature=2.0),
        Choice(top_k=3),
        Choice(top_p=0.6),
        Choice(top_k=4, top_p=0.8, temperature=1.5),
        Choice(top_k=1),
        Choice(top_p=1e-9),
    ],
)
def test_codes_come_as_often_as_they_should(choice: Choice) -> None:
    found, expected = frequencies(choice), truth(choice)
    assert float(found[expected == 0].sum()) == 0
    some = expected > 0
    chi_square = float((DRAWS * (found - expected)[some] ** 2 / expected[some]).sum())
    # 99.99 % of chi-square with up to 6 degrees of freedom lie below 27.9.
    assert chi_square < 28


def test_the_frequency_test_can_fail() -> None:
    found, expected = frequencies(Choice(temperature=0.95)), truth(Choice())
    assert float((DRAWS * (found - expected) ** 2 / expected).sum()) > 28


def test_temperature_zero_takes_the_likeliest() -> None:
    assert frequencies(Choice(temperature=0.0)).argmax() == 3
    assert frequencies(Choice(temperature=0.0)).max() == 1


def test_an_items_noise_is_its_own() -> None:
    together = Noise((7,), range(2, 6))
    alone = Noise((7,), range(4, 5))
    for size in (3, 10):
        assert torch.equal(together.draw(size)[2:3], alone.draw(size))
    other = Noise((8,), range(4, 5)).draw(3)
    assert not torch.equal(other, Noise((7,), range(4, 5)).draw(3))


def test_noise_is_of_gumbels_distribution() -> None:
    noise = Noise((1,), range(1)).draw(40000)[0]
    assert abs(float(noise.mean()) - 0.57722) < 0.03
    assert abs(float(noise.var()) - math.pi**2 / 6) < 0.06


@examples(20, many=150)
@given(
    st.integers(0, 10**6),
    st.sampled_from([None, 1, 3, 8, 40]),
    st.sampled_from([None, 0.3, 0.9, 1.0]),
    st.sampled_from([0.0, 0.7, 1.0, 1.6]),
    st.floats(1e-4, 0.2),
)
def test_what_is_no_near_tie_survives_any_change_within_the_tolerance(
    seed: int, top_k: int | None, top_p: float | None, temperature: float, tolerance: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(64, 12, generator=generator, dtype=torch.float64) * 2
    noise = Noise((seed,), range(64)).draw(12)
    choice = Choice(temperature, top_k, top_p)
    codes, near_tie = pick(logits, noise, choice, tolerance=tolerance)
    exact, never = pick(logits, noise, choice)
    assert not bool(never.any())
    assert torch.equal(codes[~near_tie], exact[~near_tie])
    for number in range(8):
        shift = (torch.rand(64, 12, generator=generator, dtype=torch.float64) * 2 - 1) * tolerance
        if number % 2:
            shift = shift.sign() * tolerance
        other = pick(logits + shift, noise, choice)[0]
        assert torch.equal(codes[~near_tie], other[~near_tie])


def test_few_are_near_ties_at_the_tolerance_in_use() -> None:
    logits = torch.randn(2000, 512, generator=torch.Generator().manual_seed(0)) * 2
    noise = Noise((0,), range(2000)).draw(512)
    for choice in (Choice(), Choice(top_k=100), Choice(top_p=0.9), Choice(top_k=50, top_p=0.9)):
        near_tie = pick(logits, noise, choice, tolerance=1e-4)[1]
        assert float(near_tie.float().mean()) < 0.02


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1.0},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"guidance": -0.5},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Choice(**wrong)  # type: ignore[arg-type]

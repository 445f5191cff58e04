"""Signs ⇄ codes, and the entropies against the distribution over all codes written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.examples import examples
from vqtok import config
from vqtok.errors import ConfigError
from vqtok.quantizers import bsq, lfq
from vqtok.quantizers._bits import entropies

METHODS = [lfq.Config, bsq.Config]


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bits", [1, 3, 8])
def test_the_first_bit_changes_fastest(method: type[lfq.Config], bits: int) -> None:
    quantizer = method(bits=bits).build(dim=bits)
    decoded = quantizer.decode(torch.arange(1 << bits)[None])[0].t()  # (K, d)
    value = 1 if method is lfq.Config else bits**-0.5
    for code, row in enumerate(decoded.tolist()):
        signs = [1 if digit == "1" else -1 for digit in reversed(f"{code:0{bits}b}")]
        np.testing.assert_array_equal(np.float32(row), np.float32(value) * np.float32(signs))


@pytest.mark.parametrize("method", METHODS)
def test_every_code_comes_back(method: type[lfq.Config]) -> None:
    quantizer = method(bits=9).build(dim=9)
    codes = torch.arange(1 << 9)[None]
    assert torch.equal(quantizer(quantizer.decode(codes)).codes, codes)


def test_thirty_one_bits_make_codes_without_a_table() -> None:
    quantizer = lfq.Config(bits=31).build(dim=31)
    assert quantizer.codebook_size == 2**31
    out = quantizer(torch.ones(1, 31, 2))
    assert out.codes.tolist() == [[2**31 - 1] * 2]
    assert torch.equal(quantizer.decode(out.codes), torch.ones(1, 31, 2))


def test_bsq_values_lie_on_the_unit_sphere() -> None:
    out = bsq.Config(bits=7).build(dim=7)(gaussian(2, 7, 30))
    torch.testing.assert_close(out.z_q.square().sum(dim=1), torch.ones(2, 30))


def written_out(z: Tensor, *, value: float, temperature: float) -> tuple[float, float]:
    """Mean entropy and entropy of the mean of softmax(-|z - c|² / temperature) over all codes."""
    rows, bits = z.double().numpy(), z.shape[1]
    digits = np.arange(1 << bits)[:, None] >> np.arange(bits) & 1
    codes = np.where(digits == 1, value, -value)
    scores = -((rows[:, None] - codes[None]) ** 2).sum(-1) / temperature
    shares = np.exp(scores - scores.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)

    def entropy(p: np.ndarray) -> np.ndarray:
        return -(p * np.log(np.maximum(p, 1e-300))).sum(-1)

    return float(entropy(shares).mean()), float(entropy(shares.mean(0)))


@examples(20, many=60)
@given(
    bits=st.integers(1, 9),
    count=st.integers(1, 40),
    temperature=st.sampled_from([0.01, 0.1, 1.0, 10.0]),
    value=st.sampled_from([1.0, 0.4]),
    seed=st.integers(0, 1000),
)
def test_entropies_are_those_of_the_distribution_over_all_codes(
    bits: int, count: int, temperature: float, value: float, seed: int
) -> None:
    z = gaussian(count, bits, seed=seed)
    expected = written_out(z, value=value, temperature=temperature)
    sure, even = entropies(z * 4 * value / temperature, group=bits)
    assert float(sure) == pytest.approx(expected[0], rel=1e-4, abs=1e-5)
    assert float(even) == pytest.approx(expected[1], rel=1e-4, abs=1e-5)


def test_groups_add_up_the_entropies_of_their_own_bits() -> None:
    z = gaussian(50, 7)
    cuts = [z[:, :3], z[:, 3:5], z[:, 5:]]
    expected = sum(written_out(cut, value=1.0, temperature=1.0)[1] for cut in cuts)
    assert float(entropies(4 * z, group=3)[1]) == pytest.approx(expected, rel=1e-5)
    assert float(entropies(4 * z, group=3)[1]) >= float(entropies(4 * z, group=7)[1])


def test_eighteen_bits_need_no_row_of_all_codes() -> None:
    # 4096 rows of 2^18 probabilities would be 4 GB.
    logits = gaussian(4096, 18).requires_grad_()
    sizes: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, _same):
        sure, even = entropies(logits, group=18)
    (sure - even).backward()
    assert logits.grad is not None and bool(logits.grad.isfinite().all())
    assert max(sizes) <= 4096 * 512


def _same(saved: Tensor) -> Tensor:
    return saved


def test_idle_bits_are_woken_by_the_entropy() -> None:
    """Latents that all have one sign spread over both, though nothing else asks them to."""
    rows = (0.3 + 0.1 * gaussian(1, 4, 64)).requires_grad_()
    quantizer = lfq.Config(bits=4, temperature=1.0, commitment=0.0).build(dim=4)
    before = quantizer(rows).codes.unique().numel()
    optimizer = torch.optim.SGD([rows], lr=100.0)
    for _ in range(300):
        optimizer.zero_grad()
        quantizer(rows).loss.backward()
        optimizer.step()
    after = quantizer(rows)
    assert before == 1 and after.codes.unique().numel() == 16
    # At best every latent is sure of its code and all codes are used alike.
    best = -0.1 * 4 * math.log(2)
    assert best <= float(after.loss.detach()) < 0.85 * best


@pytest.mark.parametrize("method", METHODS)
def test_a_sign_within_the_tolerance_of_zero_is_near(method: type[lfq.Config]) -> None:
    quantizer = method(bits=2).build(dim=2)
    z = torch.tensor([[0.5, 0.009, 0.011, -3.0], [0.5, 2.0, -2.0, -0.0099]])[None]
    assert quantizer.assign(z, tolerance=0.01).near_tie.tolist() == [[False, True, False, True]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": 32}, "bits: 32 is not between 1 and 31"),
        ({"group": 0}, "group: 0"),
        ({"temperature": 0.0}, "temperature"),
        ({"entropy": -1.0}, "entropy"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_impossible_settings_are_refused(
    method: type[lfq.Config], settings: dict[str, float], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        config.parse(settings, method)

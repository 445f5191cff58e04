"""Resampling is exact in length, aligned in time, and blind to block sizes."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqtok.errors import MediaError
from vqtok.media.audio.resample import Resampler, rechunk, resample, resampled_length

RATES = st.sampled_from([8000, 11025, 16000, 22050, 24000, 44100, 48000, 96000])


def joined(blocks: object) -> np.ndarray:
    return np.concatenate(list(blocks), axis=1)  # type: ignore[call-overload]


@given(length=st.integers(1, 10**12), from_hz=RATES, to_hz=RATES)
def test_length_is_the_exact_ratio_rounded_up(length: int, from_hz: int, to_hz: int) -> None:
    exact = math.ceil(Fraction(length) * to_hz / from_hz)
    assert resampled_length(length, from_hz, to_hz) == exact


@given(length=st.integers(1, 3000), from_hz=RATES, to_hz=RATES)
def test_output_has_exactly_that_length(length: int, from_hz: int, to_hz: int) -> None:
    out = joined(resample([np.zeros((1, length), np.float32)], from_hz, to_hz, channels=1))
    assert out.shape == (1, resampled_length(length, from_hz, to_hz))


@given(
    cuts=st.lists(st.integers(1, 20_000), min_size=1, max_size=12),
    from_hz=RATES,
    to_hz=RATES,
    channels=st.integers(1, 3),
)
def test_blocks_of_any_sizes_give_the_same_bits(
    cuts: list[int], from_hz: int, to_hz: int, channels: int
) -> None:
    rng = np.random.default_rng(len(cuts))
    x = rng.standard_normal((channels, sum(cuts))).astype(np.float32)
    blocks = np.split(x, np.cumsum(cuts)[:-1], axis=1)
    whole = joined(resample([x], from_hz, to_hz, channels=channels))
    np.testing.assert_array_equal(
        joined(resample(blocks, from_hz, to_hz, channels=channels)), whole
    )


@given(sizes=st.lists(st.integers(0, 50), max_size=10), size=st.integers(1, 40))
def test_rechunk_keeps_the_samples_and_makes_even_blocks(sizes: list[int], size: int) -> None:
    x = np.arange(sum(sizes), dtype=np.float32)[None]
    blocks = np.split(x, np.cumsum(sizes)[:-1], axis=1) if sizes else []
    out = list(rechunk(blocks, size))
    assert all(block.shape[1] == size for block in out[:-1])
    assert all(0 < block.shape[1] <= size for block in out)
    np.testing.assert_array_equal(joined(out) if out else x[:, :0], x)


@pytest.mark.parametrize(
    ("from_hz", "to_hz"),
    [(44100, 24000), (24000, 44100), (48000, 24000), (16000, 24000), (192000, 24000)],
)
def test_a_tone_stays_in_phase(from_hz: int, to_hz: int) -> None:
    tone_hz = min(from_hz, to_hz) / 20
    count = from_hz // 4
    tone = np.sin(2 * np.pi * tone_hz * np.arange(count) / from_hz).astype(np.float32)[None]
    out = joined(resample([tone], from_hz, to_hz, channels=1))[0]
    expected = np.sin(2 * np.pi * tone_hz * np.arange(len(out)) / to_hz)
    # Off the ends, where the filter sees the silence outside. Float32 through soxr's filter.
    inner = slice(len(out) // 4, -len(out) // 4)
    np.testing.assert_allclose(out[inner], expected[inner], atol=1e-5)


def test_equal_rates_change_nothing() -> None:
    x = np.random.default_rng(0).standard_normal((2, 99)).astype(np.float32)
    np.testing.assert_array_equal(joined(resample([x], 24000, 24000, channels=2)), x)


def test_a_resampler_does_not_keep_the_callers_buffer() -> None:
    x = np.random.default_rng(0).standard_normal((1, 4000)).astype(np.float32)
    resampler = Resampler(48000, 24000, channels=1)
    out = []
    for start in range(0, 4000, 1000):
        buffer = x[:, start : start + 1000].copy()
        out += list(resampler.push(buffer))
        buffer[:] = np.nan
    out += list(resampler.finish())
    np.testing.assert_array_equal(joined(out), joined(resample([x], 48000, 24000, channels=1)))


@pytest.mark.parametrize(("source", "target"), [(1, 24000), (24000, 1), (24000, 1 << 53)])
def test_rates_too_far_apart_are_refused_instead_of_filling_the_memory(source: int, target: int):
    with pytest.raises(MediaError, match=f"cannot resample {source} Hz to {target} Hz"):
        Resampler(source, target, channels=1)

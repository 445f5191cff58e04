"""Loudness: of the samples alone, given back exactly, with pauses that are quiet."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqtok.media.audio import loudness
from vqtok.media.audio.loudness import Loudness, restored

RATE = 8000
FRAME = RATE // loudness.FRAMES_PER_S


def tone(seconds: float, level_db: float) -> np.ndarray:
    """A sine of so many dB RMS, whole periods in each frame."""
    t = np.arange(round(seconds * RATE)) / RATE
    return (np.sqrt(2) * 10 ** (level_db / 20) * np.sin(2 * np.pi * 400 * t)).astype(np.float32)


def measured(samples: np.ndarray) -> tuple[float, ...]:
    found = Loudness(RATE)
    found.add(samples)
    return found.db


def pieces(samples: np.ndarray, cuts: list[int]) -> list[np.ndarray]:
    return np.split(samples, sorted(min(c, samples.shape[1]) for c in cuts), axis=1)


def test_a_tone_has_its_level_and_pauses_do_not_count() -> None:
    sound = np.concatenate([tone(1, -23), np.zeros(3 * RATE, np.float32), tone(0.5, -60)])
    assert measured(np.stack([tone(4.5, -30), sound])) == pytest.approx((-30, -23), abs=0.011)
    assert measured(np.zeros((1, RATE), np.float32)) == (loudness.SILENT,)
    assert Loudness(RATE).db == ()


@given(st.lists(st.integers(0, 3 * RATE), max_size=6), st.integers(0, 2**32 - 1))
def test_nothing_depends_on_the_blocks(cuts: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    envelope = np.repeat(random.choice([0.0001, 0.01, 0.3], 30), RATE // 10)
    samples = (random.normal(size=(2, 3 * RATE)) * envelope).astype(np.float32)
    whole, parts = Loudness(RATE), Loudness(RATE)
    whole.add(samples)
    for each in pieces(samples, cuts):
        parts.add(each)
    assert whole.db == parts.db
    wanted = (-20.0, -31.5)
    once = np.concatenate(list(restored(lambda: [samples], wanted, rate=RATE)), axis=1)
    cut = restored(lambda: pieces(samples, cuts), wanted, rate=RATE)
    np.testing.assert_array_equal(np.concatenate(list(cut), axis=1), once)


@pytest.mark.parametrize("level", [-45.0, -20.0, -6.0])
def test_sound_gets_the_loudness_that_is_wanted(level: float) -> None:
    sound = np.stack([tone(1, level)])
    (out,) = restored(lambda: [sound], (-23.0,), rate=RATE)
    assert measured(out)[0] == pytest.approx(-23, abs=0.02)


def test_peaks_stay_below_full_scale() -> None:
    (out,) = restored(lambda: [np.stack([tone(1, -40)])], (0.0,), rate=RATE)
    assert 0.99 < np.abs(out).max() <= 1.0


def test_pauses_fade_and_short_ones_do_not() -> None:
    hum = tone(1, -60)
    speech = tone(1, -20)
    sound = np.concatenate([speech, hum, speech, hum[: 2 * FRAME], speech])[None]
    (out,) = restored(lambda: [sound], (-20.0,), rate=RATE)
    inside = out[0, RATE + FRAME : 2 * RATE - FRAME]
    assert 20 * np.log10(np.sqrt(np.square(inside).mean())) == pytest.approx(-90, abs=0.5)
    np.testing.assert_allclose(
        out[0, 3 * RATE :][: 2 * FRAME], sound[0, 3 * RATE :][: 2 * FRAME], rtol=2e-3
    )
    np.testing.assert_allclose(
        out[0, FRAME : RATE - FRAME], sound[0, FRAME : RATE - FRAME], rtol=2e-3
    )


@pytest.mark.parametrize("length", [0, 1, FRAME - 1, FRAME, FRAME + 1])
def test_short_sound_keeps_its_length_and_silence_stays_silence(length: int) -> None:
    short = np.full((1, length), 0.25, np.float32)
    out = np.concatenate(list(restored(lambda: [short], (-20.0,), rate=RATE)), axis=1)
    assert out.shape == short.shape
    silence = np.zeros((1, length), np.float32)
    out = np.concatenate(list(restored(lambda: [silence], (-20.0,), rate=RATE)), axis=1)
    assert not out.any()

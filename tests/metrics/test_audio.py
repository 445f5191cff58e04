from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vqtok.metrics import audio


def noise(length: int, *, seed: int, batch: int = 1) -> Tensor:
    return torch.randn(batch, length, generator=torch.Generator().manual_seed(seed)) * 0.2


def speechlike(rate: int, *, seconds: float, seed: int) -> np.ndarray:
    """Harmonics of a wandering pitch under a syllable envelope: enough for PESQ's speech finder."""
    time = np.arange(int(rate * seconds)) / rate
    pitch = 120 + 20 * np.sin(2 * np.pi * 0.7 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    voice = sum(np.sin(k * phase) / k for k in range(1, 25))
    envelope = np.clip(np.sin(2 * np.pi * 2.5 * time), 0, 1)
    rng = np.random.default_rng(seed)
    return np.asarray(0.2 * voice * envelope + 1e-3 * rng.normal(size=len(time)), np.float64)


def test_si_sdr_ignores_scale_and_offset() -> None:
    x, y = noise(500, seed=3).double(), noise(500, seed=4).double()
    torch.testing.assert_close(audio.si_sdr(x, y), audio.si_sdr(x * 3 + 0.2, y * 0.1 - 0.5))


@pytest.mark.parametrize("level", [1e-3, 0.1, 2.0])
def test_si_sdr_equals_torchmetrics(level: float) -> None:
    from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

    x = noise(4000, seed=1, batch=3).double() + 0.05
    y = 0.7 * x + level * noise(4000, seed=2, batch=3).double() - 0.1
    reference = scale_invariant_signal_distortion_ratio(y, x, zero_mean=True)
    torch.testing.assert_close(audio.si_sdr(x, y), reference, atol=1e-6, rtol=1e-6)


def test_si_sdr_of_silence_is_not_defined() -> None:
    x = torch.stack([torch.zeros(300), noise(300, seed=5)[0], torch.full((300,), 0.3)])
    y = torch.stack([noise(300, seed=6)[0], torch.zeros(300), noise(300, seed=7)[0]])
    assert audio.si_sdr(x, y).isnan().all()
    assert audio.aligned_si_sdr(x, y, max_delay=9).value.isnan().all()


def brute_force(x: Tensor, y: Tensor, reach: int) -> tuple[float, int]:
    """The definition: every delay, one by one, by torchmetrics."""
    from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

    best = (-math.inf, 0)
    for delay in sorted(range(-reach, reach + 1), key=lambda d: (abs(d), -d)):
        a = x[max(0, -delay) : len(x) - max(0, delay)]
        b = y[max(0, delay) : len(y) - max(0, -delay)]
        value = float(scale_invariant_signal_distortion_ratio(b, a, zero_mean=True))
        best = max(best, (value, delay), key=lambda pair: pair[0])
    return best


@given(
    length=st.integers(40, 200),
    shift=st.integers(-9, 9),
    level=st.floats(0.01, 2.0),
    seed=st.integers(0, 999),
)
def test_aligned_si_sdr_is_the_best_over_all_delays(
    length: int, shift: int, level: float, seed: int
) -> None:
    x = noise(length, seed=seed)[0].double() + 0.1
    y = x.roll(shift) + level * noise(length, seed=seed + 1000)[0]
    value, delay = audio.aligned_si_sdr(x[None], y[None], max_delay=9)
    expected, expected_delay = brute_force(x, y, 9)
    assert value.item() == pytest.approx(expected, abs=1e-5)
    assert int(delay) == expected_delay


@pytest.mark.parametrize("late", [8, -8])
def test_delay_is_positive_for_a_late_reconstruction(late: int) -> None:
    x = noise(2000, seed=8)
    value, delay = audio.aligned_si_sdr(x, x.roll(late), max_delay=20)
    assert delay.tolist() == [late]
    assert value.item() > 200
    assert audio.si_sdr(x, x.roll(late)).item() < 0


def test_a_tone_without_delay_is_not_moved_by_a_period() -> None:
    tone = torch.sin(2 * math.pi * torch.arange(960) / 24).repeat(1, 1)
    assert audio.aligned_si_sdr(tone, tone * 0.5, max_delay=100).delay.tolist() == [0]


@pytest.mark.parametrize("length", [1, 2, 3, 7])
def test_sounds_of_few_samples_have_values_or_nan_but_no_error(length: int) -> None:
    value, delay = audio.aligned_si_sdr(
        noise(length, seed=9), noise(length, seed=10), max_delay=480
    )
    assert value.shape == delay.shape == (1,)
    assert abs(int(delay)) <= length // 4


def test_pesq_equals_the_package_at_its_own_rate() -> None:
    from pesq import pesq as pesq_package

    x = speechlike(16000, seconds=2, seed=1)
    y = x + 0.01 * np.random.default_rng(2).normal(size=len(x))
    ours = audio.pesq(torch.from_numpy(x)[None], torch.from_numpy(y)[None], rate=16000)
    # The package rounds to 16 bits after scaling, so float32 or float64 input gives the same.
    assert ours.item() == pytest.approx(pesq_package(16000, x, y, "wb"), abs=1e-4)


def test_pesq_resamples_other_rates() -> None:
    from pesq import pesq as pesq_package

    soxr = pytest.importorskip("soxr")
    x = speechlike(24000, seconds=2, seed=3)
    y = x + 0.01 * np.random.default_rng(4).normal(size=len(x))
    ours = audio.pesq(torch.from_numpy(x)[None], torch.from_numpy(y)[None], rate=24000)
    resampled = [soxr.resample(each, 24000, 16000) for each in (x, y)]
    assert ours.item() == pytest.approx(pesq_package(16000, *resampled, "wb"), abs=1e-3)


def test_pesq_of_silence_and_of_too_short_sounds_is_not_defined() -> None:
    x = torch.from_numpy(speechlike(16000, seconds=1, seed=5))[None].float()
    assert audio.pesq(torch.zeros_like(x), x, rate=16000).isnan().all()
    assert audio.pesq(x, torch.zeros_like(x), rate=16000).isnan().all()
    assert audio.pesq(x[:, :2000], x[:, :2000], rate=16000).isnan().all()
    assert audio.pesq(x[:, :1], x[:, :1] + 0.1, rate=24000).isnan().all()


@pytest.mark.parametrize("period_s", [0.41, 0.5, 0.7])
def test_many_short_utterances_do_not_crash_pesq(period_s: float) -> None:
    time = np.arange(31 * 16000) / 16000  # 44 to 75 utterances; the package has room for 50
    rng = np.random.default_rng(0)
    x = rng.normal(size=len(time)) * (0.3 * (time % period_s < period_s / 2) + 1e-5)
    y = x + 0.01 * rng.normal(size=len(time))
    pair = [torch.from_numpy(each)[None] for each in (x, y)]
    assert 1.0 < audio.pesq(*pair, rate=16000).item() < 4.7


def test_pesq_of_a_long_recording_is_the_mean_of_equal_pieces() -> None:
    from pesq import pesq as pesq_package

    x = speechlike(16000, seconds=16, seed=9)
    y = x + 0.01 * np.random.default_rng(10).normal(size=len(x))
    y[: 8 * 16000] += 0.02 * np.random.default_rng(11).normal(size=8 * 16000)
    pair = [torch.from_numpy(each)[None] for each in (x, y)]
    halves = [
        pesq_package(16000, x[half], y[half], "wb")
        for half in (slice(8 * 16000), slice(8 * 16000, None))
    ]
    assert audio.pesq(*pair, rate=16000).item() == pytest.approx(np.mean(halves), abs=1e-4)


def test_stoi_equals_the_package() -> None:
    from pystoi import stoi as stoi_package

    x = speechlike(24000, seconds=2, seed=6)
    y = x + 0.05 * np.random.default_rng(7).normal(size=len(x))
    ours = audio.stoi(torch.from_numpy(x)[None], torch.from_numpy(y)[None], rate=24000)
    assert ours.item() == pytest.approx(float(stoi_package(x, y, 24000)), abs=1e-9)


def test_stoi_of_too_little_speech_is_not_defined() -> None:
    x = torch.from_numpy(speechlike(24000, seconds=2, seed=8))[None].float()
    quiet = torch.zeros_like(x)
    quiet[:, :3000] = x[:, 3000:6000]  # an eighth of a second that is not silent
    assert audio.stoi(quiet, quiet, rate=24000).isnan().all()
    assert audio.stoi(quiet * 0, x, rate=24000).isnan().all()
    assert audio.stoi(x[:, :2400], x[:, :2400], rate=24000).isnan().all()
    assert audio.stoi(x[:, :1], x[:, :1], rate=24000).isnan().all()

from __future__ import annotations

import warnings

import librosa
import numpy as np
import pytest
import torch

from tests.metrics.spectra import stft
from vqtok.metrics import audio
from vqtok.metrics.mel import filterbank, spectrogram


def librosa_bank(*, rate: float, window: int, bins: int) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "empty filters": narrow ones between two bins, as ours
        bank = librosa.filters.mel(sr=rate, n_fft=window, n_mels=bins, dtype=np.float64)
    return np.asarray(bank)


def sound(length: int, *, seed: int, batch: int = 2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.2, (batch, length)).clip(-1, 1).astype(np.float32)


@pytest.mark.parametrize("rate", [16000, 24000, 44100])
@pytest.mark.parametrize(("window", "bins"), [*audio.MEL_SCALES, (1024, 80)])
def test_filters_equal_librosa(rate: int, window: int, bins: int) -> None:
    ours = filterbank(rate=rate, window=window, bins=bins).numpy()
    np.testing.assert_allclose(ours, librosa_bank(rate=rate, window=window, bins=bins), atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("length", [2048, 3001])
@pytest.mark.parametrize("window", [32, 512, 2048])
def test_the_restated_transform_is_librosas(length: int, window: int) -> None:
    x = sound(length, seed=7).astype(np.float64)
    # With half a window librosa reflects less than the signal has, at its end.
    how = {"n_fft": window, "hop_length": window // 4}
    np.testing.assert_allclose(
        stft(x, **how), librosa.stft(x, **how, pad_mode="reflect"), atol=1e-10
    )


@pytest.mark.parametrize("length", [2048, 3001])
def test_spectrogram_equals_librosa(length: int) -> None:
    x = sound(length, seed=1)
    ours = spectrogram(torch.from_numpy(x), rate=24000, window=2048, bins=80).numpy()
    magnitudes = np.abs(stft(x, n_fft=2048, hop_length=512))
    theirs = librosa_bank(rate=24000, window=2048, bins=80) @ magnitudes
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def restated_distance(x: np.ndarray, y: np.ndarray, rate: int) -> float:
    """descript-audio-codec's loss as its conf/final/24khz.yml sets it, with librosa throughout."""
    total = 0.0
    windows = (32, 64, 128, 256, 512, 1024, 2048)
    for window, bins in zip(windows, (5, 10, 20, 40, 80, 160, 320), strict=True):
        logs = []
        for each in (x, y):
            spectrum = stft(each, n_fft=window, hop_length=window // 4)
            mel = librosa_bank(rate=rate, window=window, bins=bins) @ np.abs(spectrum)
            logs.append(np.log10(np.maximum(mel, 1e-5)))
        total += float(np.abs(logs[0] - logs[1]).mean())
    return total


@pytest.mark.parametrize("rate", [16000, 24000])
def test_mel_distance_equals_dacs_loss_restated_with_librosa(rate: int) -> None:
    x, y = sound(6000, seed=2), sound(6000, seed=3) * 0.5
    ours = audio.mel_distance(torch.from_numpy(x), torch.from_numpy(y), rate=rate)
    theirs = [restated_distance(a, b, rate) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-4)


@pytest.mark.parametrize("length", [1, 16, 17, 1024])
def test_mel_distance_of_sounds_shorter_than_a_window_is_finite(length: int) -> None:
    x = torch.from_numpy(sound(length, seed=4))
    assert audio.mel_distance(x, x, rate=24000).tolist() == [0.0, 0.0]
    assert audio.mel_distance(x, x * 0.1, rate=24000).isfinite().all()


def test_mel_distance_takes_a_channel_axis() -> None:
    x, y = (torch.from_numpy(sound(3000, seed=seed)) for seed in (5, 6))
    with_axis = audio.mel_distance(x[:, None], y[:, None], rate=24000)
    torch.testing.assert_close(with_axis, audio.mel_distance(x, y, rate=24000))

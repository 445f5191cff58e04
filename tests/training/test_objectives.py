"""Loss terms are zero on equals, grow with the error, and equal their plain restatement."""

from __future__ import annotations

import itertools

import librosa
import numpy as np
import pytest
import torch

from vqtok.training.objectives import SPECTRAL, TERMS, WINDOWS, Objective
from vqtok.training.schedule import learning_rate

RATE = 24000


def pair(audio: bool) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (2, 1, 6000) if audio else (2, 3, 8, 8)
    x = torch.randn(shape, generator=generator) * 0.1
    return x + 0.01 * torch.randn(shape, generator=generator), x


@pytest.mark.parametrize("name", sorted(TERMS))
def test_a_term_is_zero_on_equals_and_grows_with_the_error(name: str) -> None:
    y, x = pair(audio=name in SPECTRAL)
    objective = Objective({name: 2.0}, rate=RATE)
    assert objective(x, x)[name] == 0.0
    near, far = objective(y, x)[name], objective(x + 5 * (y - x), x)[name]
    assert 0.0 < near < far


@pytest.mark.parametrize("name", sorted(SPECTRAL))
def test_spectral_terms_have_finite_gradients_at_silence(name: str) -> None:
    y = torch.zeros(1, 1, 4096, requires_grad=True)
    x = pair(audio=True)[1][:1, :, :4096]
    Objective({name: 1.0}, rate=RATE)(y, x)[name].backward()
    assert y.grad is not None and y.grad.isfinite().all()


def test_the_mel_term_equals_its_restatement_with_librosa() -> None:
    y, x = pair(audio=True)
    expected = []
    for size, bins in WINDOWS:
        bank = librosa.filters.mel(sr=RATE, n_fft=size, n_mels=bins)
        logs = []
        for signal in (y, x):
            options = {"n_fft": size, "hop_length": size // 2, "pad_mode": "reflect"}
            stft = librosa.stft(signal[:, 0].numpy(), **options) * (2 / size)
            logs.append(np.log10(np.maximum(bank @ np.abs(stft), 1e-6)))
        expected.append(np.abs(logs[0] - logs[1]).mean())
    got = float(Objective({"mel": 1.0}, rate=RATE)(y, x)["mel"])
    assert got == pytest.approx(np.mean(expected), rel=1e-4)  # float32 sums


def test_the_learning_rate_rises_then_falls_to_its_end() -> None:
    def at(step: int) -> float:
        return learning_rate(step=step, progress=step / 100, peak=2.0, final=0.1, warmup=10)

    values = [at(step) for step in range(101)]
    assert values[0] == pytest.approx(0.2, rel=1e-3)
    assert max(values) < 2.0
    assert values.index(max(values)) == 9
    assert values[100] == pytest.approx(0.2)
    assert all(a >= b for a, b in itertools.pairwise(values[9:]))

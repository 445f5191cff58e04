"""Loss terms are zero on equals, grow with the error, and equal their plain restatement."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.metrics.spectra import stft
from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec
from vqtok.errors import ConfigError
from vqtok.metrics.mel import filterbank
from vqtok.protocols import Reconstructed
from vqtok.training.losses.reconstruction import ReconstructionLoss
from vqtok.training.losses.terms import (
    AUDIO,
    BINS,
    IMAGE,
    SEVEN,
    TERMS,
    WINDOWS,
    bce,
    logit_laplace,
)

RATE = 24000
LIKELIHOODS = {"bce", "logit-laplace"}
NAMES = sorted({*TERMS, "perceptual"} - LIKELIHOODS)


def result(y: torch.Tensor, raw: torch.Tensor | None = None) -> Reconstructed:
    spec = CodeSpec(modality="image", levels=())
    codes = Codes(spec, (), tuple(y.shape[2:]))
    return Reconstructed(y, codes, torch.zeros(()), MappingProxyType({}), raw)


def pair(audio: bool) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (2, 1, 6000) if audio else (2, 3, 16, 16)
    x = torch.randn(shape, generator=generator) * 0.1
    return x + 0.01 * torch.randn(shape, generator=generator), x


def objective(name: str, weight: float = 1.0) -> ReconstructionLoss:
    return ReconstructionLoss({name: weight}, rate=RATE if name in AUDIO else None)


def value(name: str, y: torch.Tensor, x: torch.Tensor) -> float:
    return float(objective(name)(result(y), x)[name])


@pytest.mark.parametrize("name", NAMES)
def test_a_term_is_zero_on_equals_and_grows_with_the_error(name: str) -> None:
    y, x = pair(audio=name in AUDIO)
    of = objective(name, 2.0)
    assert of(result(x), x)[name] == 0.0
    near, far = of(result(y), x)[name], of(result(x + 5 * (y - x)), x)[name]
    assert 0.0 < near < far
    torch.testing.assert_close(near, 2 * objective(name)(result(y), x)[name])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", [-1.0, 0.0, 1.0])
def test_gradients_are_finite_where_signals_are_constant_or_equal(name: str, level: float) -> None:
    x = pair(audio=name in AUDIO)[1]
    flat = torch.full_like(x, level)
    for start, original in ((flat, flat), (flat, x), (x, flat), (x, x)):
        y = start.clone().requires_grad_()
        objective(name)(result(y), original)[name].backward()
        assert y.grad is not None and y.grad.isfinite().all()


@given(
    kind=st.sampled_from(("image", "audio")),
    sides=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    scale=st.sampled_from((0.0, 1e-6, 1.0, 30.0)),
    seed=st.integers(0, 9),
)
def test_all_terms_of_any_signal_are_finite_with_finite_gradients(
    kind: str, sides: tuple[int, int], scale: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    shape = (1, 1, sides[0] * sides[1]) if kind == "audio" else (1, 3, *sides)
    names = set(NAMES) - (IMAGE if kind == "audio" else AUDIO) - {"perceptual"}
    y = (torch.randn(shape, generator=generator) * scale).requires_grad_()
    x = torch.randn(shape, generator=generator) * 0.3
    of = ReconstructionLoss(dict.fromkeys(names, 1.0), rate=RATE if kind == "audio" else None)
    terms = of(result(y), x)
    assert set(terms) == names
    torch.stack(list(terms.values())).sum().backward()
    assert all(term.isfinite() for term in terms.values())
    assert y.grad is not None and y.grad.isfinite().all()


def test_terms_are_float32_under_autocast() -> None:
    y, x = pair(audio=True)
    of = ReconstructionLoss({"mel": 1.0, "stft": 1.0, "l1": 1.0}, rate=RATE)
    expected = of(result(y), x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = of(result(y), x)
    assert all(torch.equal(got[name], expected[name]) for name in expected)


@pytest.mark.parametrize("name", sorted(AUDIO))
def test_terms_of_audio_are_refused_for_images(name: str) -> None:
    with pytest.raises(ConfigError, match=f"train.losses.{name}: this term is for audio"):
        ReconstructionLoss({name: 1.0}, rate=None)


@pytest.mark.parametrize("name", sorted(IMAGE))
def test_terms_of_images_are_refused_for_audio(name: str) -> None:
    with pytest.raises(ConfigError, match=f"train.losses.{name}: this term is for images"):
        ReconstructionLoss({name: 1.0}, rate=RATE)


def test_an_unknown_term_is_refused_with_those_of_this_kind() -> None:
    with pytest.raises(ConfigError, match=r"train\.losses\.ssim: unknown term") as caught:
        ReconstructionLoss({"ssim": 1.0}, rate=None)
    assert "gradient" in str(caught.value.hint) and "mel" not in str(caught.value.hint)


@pytest.mark.parametrize("name", sorted(LIKELIHOODS))
def test_likelihoods_are_refused_for_a_model_that_does_not_give_them(name: str) -> None:
    y, x = pair(audio=False)
    for raw in (None, torch.zeros(2, 9, 16, 16)):
        with pytest.raises(ConfigError, match=f"train.losses.{name}: this model gives other"):
            objective(name)(result(y, raw), x)


@pytest.mark.parametrize(
    ("name", "likelihood", "parameters"), [("bce", bce, 1), ("logit-laplace", logit_laplace, 2)]
)
def test_likelihoods_are_given_what_the_decoder_gave(
    name: str, likelihood: Callable[..., torch.Tensor], parameters: int
) -> None:
    y, x = pair(audio=False)
    raw = torch.randn(2, 3 * parameters, 16, 16, dtype=torch.bfloat16)
    got = objective(name, 3.0)(result(y, raw), x)[name]
    torch.testing.assert_close(got, 3 * likelihood(raw.float(), x))


def test_the_gradient_term_equals_its_restatement_with_numpy() -> None:
    y, x = pair(audio=False)
    down, across = (
        np.abs(np.diff(y.double().numpy(), axis=axis) - np.diff(x.double().numpy(), axis=axis))
        for axis in (2, 3)
    )
    assert value("gradient", y, x) == pytest.approx(down.mean() + across.mean(), rel=1e-5)


def test_the_gradient_term_sees_blur_and_not_brightness() -> None:
    x = pair(audio=False)[1]
    assert value("gradient", x + 0.3, x) == pytest.approx(0.0, abs=1e-6)
    assert value("gradient", torch.nn.functional.avg_pool2d(x, 3, 1, 1), x) > 0.05


def test_the_multiscale_term_equals_its_restatement_with_numpy() -> None:
    y, x = pair(audio=False)
    a, b, levels = y.double().numpy(), x.double().numpy(), []
    for _ in range(4):
        levels.append(np.abs(a - b).mean())
        a, b = (
            each.reshape(2, 3, each.shape[2] // 2, 2, each.shape[3] // 2, 2).mean((3, 5))
            for each in (a, b)
        )
    assert value("multiscale", y, x) == pytest.approx(np.mean(levels), rel=1e-5)


def mel_distance(y: torch.Tensor, x: torch.Tensor, size: int, bins: int, **how: Any) -> float:
    bank = librosa.filters.mel(sr=RATE, n_fft=size, n_mels=bins)
    logs = []
    for signal in (y, x):
        spectrum = stft(signal[:, 0].numpy(), n_fft=size, hop_length=size // how["hops"])
        logs.append(np.log10(np.maximum(bank @ np.abs(spectrum * how["scale"]), how["floor"])))
    return float(np.abs(logs[0] - logs[1]).mean())


def test_the_mel_term_equals_its_restatement_with_librosa() -> None:
    y, x = pair(audio=True)
    expected = [
        mel_distance(y, x, size, BINS, hops=2, scale=2 / size, floor=1e-6) for size in WINDOWS
    ]
    assert value("mel", y, x) == pytest.approx(np.mean(expected), rel=1e-4)  # float32 sums


@pytest.mark.filterwarnings("ignore:Empty filters")  # of librosa, on narrow filters
def test_the_mel7_term_equals_its_restatement_with_librosa() -> None:
    y, x = pair(audio=True)
    expected = [
        mel_distance(y, x, size, bins, hops=4, scale=1.0, floor=1e-5) for size, bins in SEVEN
    ]
    assert value("mel7", y, x) == pytest.approx(np.mean(expected), rel=1e-3)  # float32 sums


def test_the_stft_term_equals_its_restatement_with_numpy() -> None:
    y, x = pair(audio=True)
    expected = []
    for size in WINDOWS:
        parts = []
        for signal in (y, x):
            c = stft(signal[:, 0].numpy(), n_fft=size, hop_length=size // 2) * (2 / size)
            c = c * (np.abs(c) ** 2 + 1e-8) ** -0.25
            parts.append(np.stack([c.real, c.imag]))
        expected.append(np.abs(parts[0] - parts[1]).mean())
    assert value("stft", y, x) == pytest.approx(np.mean(expected), rel=1e-4)


def test_a_measurement_before_training_does_not_break_it() -> None:
    """Filters are kept between calls; those made in inference mode could not be trained through."""
    filterbank.cache_clear()
    y, x = pair(audio=True)
    with torch.inference_mode():
        value("mel", y, x)
    y.requires_grad_()
    objective("mel")(result(y), x)["mel"].backward()
    assert y.grad is not None

"""Scores are local, of any size of input, and of each item alone."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given
from hypothesis import strategies as st

from vqtok.nn.discriminators import QUIET, Patches, Spectra, Spectral


@given(height=st.integers(1, 40), width=st.integers(1, 40), channels=st.sampled_from((1, 3)))
def test_images_of_any_size_get_a_score_for_every_8_pixels(
    height: int, width: int, channels: int
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, channels, height, width, requires_grad=True)
    (judged,) = Patches(channels, width=4)(x)
    assert judged.scores.shape == (2, 1, max(1, height // 8), max(1, width // 8))
    assert [each.shape[1] for each in judged.features] == [4, 8, 16, 32]
    judged.scores.sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


@given(samples=st.integers(1, 3000), level=st.sampled_from((0.0, 1.0)))
def test_audio_of_any_length_gets_scores_at_every_window(samples: int, level: float) -> None:
    torch.manual_seed(0)
    x = (torch.randn(2, 1, samples) * level).requires_grad_()
    judged = Spectra((512, 128), width=4)(x)
    assert len(judged) == 2
    for each, size in zip(judged, (512, 128), strict=True):
        length = max(samples, size // 2 + 1)
        assert each.scores.shape[:3] == (2, 1, 1 + length // (size // 4))
        assert len(each.features) == 5
    torch.cat([each.scores.flatten() for each in judged]).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


def test_a_score_sees_54_pixels() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 3, 160, 160, requires_grad=True)
    Patches(3, width=8)(x)[0].scores[0, 0, 10, 10].backward()
    assert x.grad is not None
    seen = x.grad.abs().sum((0, 1)).nonzero()
    assert (seen.amax(0) - seen.amin(0) + 1).tolist() == [54, 54]


def test_a_score_sees_21_frames() -> None:
    torch.manual_seed(0)
    network = Spectral(128, width=8)
    frames = torch.randn(1, 2, 60, 65, requires_grad=True)
    network.spectrum = lambda x: x  # type: ignore[method-assign]
    network(frames).scores[0, 0, 30, 3].backward()
    assert frames.grad is not None
    seen = frames.grad.abs().sum((0, 1, 3)).nonzero()
    assert int(seen.max() - seen.min() + 1) == 21


@pytest.mark.parametrize("kind", ["image", "audio"])
def test_scores_of_an_item_do_not_depend_on_its_batch_mates(kind: str) -> None:
    torch.manual_seed(0)
    network = Patches(3, width=8) if kind == "image" else Spectra((256,), width=8)
    x = torch.randn(4, 3, 32, 32) if kind == "image" else torch.randn(4, 1, 2000)
    together, alone = network(x)[0].scores[1:2], network(x[1:2])[0].scores
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)  # kernels differ by batch


def test_the_spectrum_equals_scipys_with_the_root_of_its_magnitude() -> None:
    x = np.random.default_rng(0).standard_normal(1000)
    _, _, expected = scipy.signal.stft(
        np.pad(x, 64, mode="reflect"), nperseg=128, noverlap=96, boundary=None, padded=False
    )
    expected = expected * 64 / np.sqrt(128)  # scipy divides by the sum of the window
    expected = expected * (np.abs(expected) ** 2 + QUIET) ** -0.25
    got = Spectral(128, width=4).spectrum(torch.from_numpy(x)[None, None])
    frames = got[0].numpy()  # (2, T, bins)
    np.testing.assert_allclose(frames[0] + 1j * frames[1], expected.T, atol=1e-4)


def test_the_spectrum_is_float32_under_autocast() -> None:
    network, x = Spectral(128, width=4), torch.randn(1, 1, 1000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(network.spectrum(x), network.spectrum(x.double()))
        assert network(x).scores.dtype == torch.float32

"""Spectra in numpy are those of torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vqtok.graphs.spectra import Spectra
from vqtok.nn.spectral import Spectrum, from_polar
from vqtok.tokenizers._spectral import FrontEnd, Mel


@pytest.mark.parametrize("size", [8, 24, 64, 320, 512, 640, 1024, 1280, 2048])
def test_windows_have_the_same_bits(size: int):
    ours = Spectra(size, size // 2, bands=None, rate=24000.0).window
    np.testing.assert_array_equal(ours, Spectrum(size, size // 2).window.numpy())


@pytest.mark.parametrize("mel", [None, Mel(bands=5)])
def test_features_are_those_of_torch(mel: Mel | None):
    samples = torch.randn(2, 40 * 20, generator=torch.Generator().manual_seed(0))
    spectrum = Spectrum(120, 40)
    front = FrontEnd(mel, frame=120, rate=24000.0)
    theirs = front(spectrum.analyse(samples.double(), torch.zeros(2, 80).double()))
    bands = None if mel is None else mel.bands
    ours = Spectra(120, 40, bands=bands, rate=24000.0).features(samples.numpy())
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-13)


def test_samples_are_those_of_torch():
    spectrum = Spectrum(120, 40)
    parts = torch.randn(2, 9, 2 * spectrum.bins, generator=torch.Generator().manual_seed(0))
    theirs = spectrum.synthesise(from_polar(parts.unflatten(2, (spectrum.bins, 2))))
    ours = Spectra(120, 40, bands=None, rate=24000.0).samples(parts.numpy())
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)

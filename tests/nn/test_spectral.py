"""The transform inverts itself, looks back only, and the polar head means what it says."""

from __future__ import annotations

import math

import pytest
import torch

from vqtok.nn.spectral import Spectrum, compress, from_polar, mel_bands


@pytest.mark.parametrize(("size", "hop"), [(8, 4), (16, 4), (640, 320)])
def test_synthesis_inverts_analysis(size: int, hop: int) -> None:
    spectrum = Spectrum(size, hop)
    x = torch.randn(2, 10 * hop, generator=torch.Generator().manual_seed(0))
    after = torch.zeros(2, size - hop)
    frames = spectrum.analyse(torch.cat([x, after], dim=1), torch.zeros(2, size - hop))
    y = spectrum.synthesise(frames)[:, size - hop :][:, : x.shape[1]]
    torch.testing.assert_close(y, x, atol=1e-5, rtol=0)  # float32 FFT rounding


def test_a_frame_sees_its_own_hop_and_the_past_only() -> None:
    spectrum = Spectrum(16, 4)
    x = torch.randn(1, 40, generator=torch.Generator().manual_seed(0))
    before = spectrum.analyse(x, torch.zeros(1, 12))
    x[:, 20:] = 0.0  # frame 5 starts to see it, frames 0 … 4 do not
    after = spectrum.analyse(x, torch.zeros(1, 12))
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.equal(before[:, 5], after[:, 5])


def test_a_frame_size_that_is_no_multiple_of_the_hop_is_refused() -> None:
    for size in (100, 30):
        with pytest.raises(ValueError, match="multiple"):
            Spectrum(size, 30)


def test_compression_halves_decibels_and_keeps_the_phase() -> None:
    values = torch.polar(torch.tensor([1e-2, 1.0, 100.0]), torch.tensor([0.3, -2.0, 3.0]))
    packed = torch.view_as_complex(compress(values))
    torch.testing.assert_close(packed.abs(), values.abs().sqrt(), rtol=1e-3, atol=0)
    torch.testing.assert_close(packed.angle(), values.angle())


def test_polar_parts_are_log_magnitude_and_phase() -> None:
    parts = torch.tensor([[0.0, 0.0], [1.0, math.pi / 2], [-2.0, -1.0]])
    values = from_polar(parts)
    torch.testing.assert_close(values.abs(), parts[:, 0].exp())
    torch.testing.assert_close(values.angle(), parts[:, 1])
    assert torch.isfinite(from_polar(torch.tensor([[1e9, 0.0], [-1e9, 0.0]])).abs()).all()


def test_bands_are_triangles_between_even_steps_of_the_mel_scale() -> None:
    hz = torch.arange(0.0, 4001.0, 5.0, dtype=torch.float64)
    found = mel_bands(hz, bands=10, highest=4000.0)
    assert found.shape == (801, 10)
    top = 2595 * math.log10(1 + 4000 / 700)
    low, centre, high = (
        [700 * (10 ** ((band + side) * top / 11 / 2595) - 1) for band in range(10)]
        for side in range(3)
    )
    for band in range(10):
        rise = [(f - low[band]) / (centre[band] - low[band]) for f in hz.tolist()]
        fall = [(high[band] - f) / (high[band] - centre[band]) for f in hz.tolist()]
        wanted = [max(0.0, min(pair)) for pair in zip(rise, fall, strict=True)]
        total = sum(wanted)
        expected = torch.tensor([each / total for each in wanted], dtype=torch.float64)
        torch.testing.assert_close(found[:, band], expected, atol=1e-9, rtol=0)


def test_a_band_that_holds_no_bin_is_zero_not_nan() -> None:
    found = mel_bands(torch.tensor([0.0, 2000.0], dtype=torch.float64), bands=8, highest=4000.0)
    assert found.isfinite().all()
    assert not found.sum(dim=0).all()

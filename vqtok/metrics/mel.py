"""Mel filters and spectrograms as librosa and DAC (arXiv:2306.06546) define them."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

# Slaney's Auditory Toolbox (1998): linear below 1 kHz, 27 logarithmic steps per factor 6.4 above.
_HZ_PER_MEL = 200.0 / 3
_KNEE_HZ = 1000.0
_KNEE_MEL = _KNEE_HZ / _HZ_PER_MEL
_LOG_STEP = math.log(6.4) / 27.0


@lru_cache(maxsize=64)
def filterbank(*, rate: float, window: int, bins: int) -> Tensor:
    """Build triangles on Slaney's mel scale from 0 Hz to rate/2, of unit area in Hz.

    Args:
        rate: Hz.
        window: Samples of the STFT window, also its FFT size.
        bins: Number of filters. Narrow ones that fall between two FFT bins are zero, as in librosa.

    Returns:
        (bins, window // 2 + 1) float32; shared between callers, so never write into it.
    """
    # The first caller may be in inference mode; training could not use what it left in the cache.
    with torch.inference_mode(False):
        top = _mel(rate / 2)
        edges = torch.tensor(
            [_hz(top * i / (bins + 1)) for i in range(bins + 2)], dtype=torch.float64
        )
        hz = torch.arange(window // 2 + 1, dtype=torch.float64) * (rate / window)
        low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
        rising = (hz - low) / (centre - low)
        falling = (high - hz) / (high - centre)
        triangles = torch.minimum(rising, falling).clamp(min=0.0)  # (bins, window // 2 + 1)
        return (triangles * (2.0 / (high - low))).float()


def spectrogram(x: Tensor, *, rate: float, window: int, bins: int) -> Tensor:
    """Compute mel-weighted STFT magnitudes.

    Periodic Hann, hop window/4, centred frames, reflected edges.

    Args:
        x: (B, L) float. Where L is too short to be reflected, zeros follow it.
        rate: Hz.
        window: Samples of the window.
        bins: Mel filters.

    Returns:
        (B, bins, T) float of x's dtype, T = 1 + L // (window / 4).
    """
    shortest = window // 2 + 1  # reflection needs more samples than it adds
    x = F.pad(x, (0, max(0, shortest - x.shape[-1])))
    hann = torch.hann_window(window, dtype=x.dtype, device=x.device)
    stft = torch.stft(x, window, hop_length=window // 4, window=hann, return_complex=True)
    return filterbank(rate=rate, window=window, bins=bins).to(x) @ stft.abs()


def centres_hz(*, rate: float, bins: int) -> list[float]:
    """Frequencies at which the filters are highest, in Hz, ascending."""
    return [_hz(_mel(rate / 2) * i / (bins + 1)) for i in range(1, bins + 1)]


def _mel(hz: float) -> float:
    if hz < _KNEE_HZ:
        return hz / _HZ_PER_MEL
    return _KNEE_MEL + math.log(hz / _KNEE_HZ) / _LOG_STEP


def _hz(mel: float) -> float:
    if mel < _KNEE_MEL:
        return mel * _HZ_PER_MEL
    return _KNEE_HZ * math.exp((mel - _KNEE_MEL) * _LOG_STEP)

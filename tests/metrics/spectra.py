"""librosa's short-time Fourier transform restated with numpy.

The original compiles itself for half a minute where it is used for the first time; that both are
the same is a slow test of ``test_mel.py``.
"""

from __future__ import annotations

import numpy as np


def stft(x: np.ndarray, *, n_fft: int, hop_length: int) -> np.ndarray:
    """Windows of a signal that is reflected at its ends: (..., L) → (..., n_fft // 2 + 1, T)."""
    ends = [(0, 0)] * (x.ndim - 1) + [(n_fft // 2, n_fft // 2)]
    padded = np.pad(x.astype(np.float64), ends, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft, axis=-1)[..., ::hop_length, :]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    return np.moveaxis(np.fft.rfft(frames * hann), -1, -2)

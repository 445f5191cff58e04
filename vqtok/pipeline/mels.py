"""Log-mel spectrograms of recordings, as numbers and as pictures for people to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vqtok.pipeline import pictures

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

WINDOW, BINS = 1024, 80


def log_mel(x: Tensor, *, rate: int) -> np.ndarray:
    """(1, L) samples → (bins, T) log10 magnitudes, low frequencies first."""
    from vqtok.metrics.audio import MEL_FLOOR
    from vqtok.metrics.mel import spectrogram

    magnitudes = spectrogram(x.float(), rate=rate, window=WINDOW, bins=BINS)[0]
    found: np.ndarray = magnitudes.clamp(min=MEL_FLOOR).log10().numpy()
    return found


def compare(x: Tensor, y: Tensor, *, rate: int, caption: str) -> np.ndarray:
    """Pictures of a mono pair, (1, L) each, one above the other → (H, W, 3) uint8."""
    return pictures.compare_spectrograms(
        log_mel(x, rate=rate),
        log_mel(y, rate=rate),
        duration_s=x.shape[-1] / rate,
        rate_hz=rate,
        captions=("original", f"decoded, {caption}"),
    )

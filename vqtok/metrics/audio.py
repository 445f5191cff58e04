"""Sound metrics: SI-SDR raw and delay-aligned, mel distance, PESQ, STOI; one value per item.

In every function ``x`` is the original and ``y`` the reconstruction, (B, L) or (B, 1, L) float in
[-1, 1] at one rate; channels of a recording are items of the batch. A value that is not defined for
an item (silence, too short) is NaN.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vqtok.errors import UsageError
from vqtok.metrics.mel import spectrogram

MEL_SCALES = ((32, 5), (64, 10), (128, 20), (256, 40), (512, 80), (1024, 160), (2048, 320))
"""(window in samples, mel bins) of each scale: DAC (arXiv:2306.06546), section 3.4."""

MEL_FLOOR = 1e-5
"""Magnitudes below this count as this: DAC's clamp_eps."""

PESQ_HZ = 16000
"""Wide-band PESQ (ITU-T P.862.2) is defined at this rate."""

PESQ_MOST_S = 15.0
"""Longest piece scored at once. The package crashes beyond 50 utterances, and an utterance with its
pause has at least 0.4 s there; ITU-T P.862.3 wants 8 to 30 s anyway."""

STOI_LEAST_S = 0.4
"""About 30 frames of 25.6 ms at half overlap: below it STOI is not defined."""


class Aligned(NamedTuple):
    """What ``aligned_si_sdr`` returns."""

    value: Tensor
    """(B,) float64 dB at the best delay."""
    delay: Tensor
    """(B,) int64 samples; positive: the reconstruction is late, negative: early."""


def si_sdr(x: Tensor, y: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio in dB (arXiv:1811.02508) of zero-mean signals.

    10 log10(|a x|² / |y - a x|²) with a = <x, y> / <x, x>, computed in float64 without
    regularisation.

    Returns:
        (B,) float64; +inf if y is x up to scale and offset, NaN if x or y is constant.
    """
    return aligned_si_sdr(x, y, max_delay=0).value


def aligned_si_sdr(x: Tensor, y: Tensor, *, max_delay: int) -> Aligned:
    """The highest SI-SDR over all whole-sample delays of y up to ``max_delay`` either way.

    At delay d the pair x[n], y[n + d] is compared where both exist, each made zero-mean there.
    Codecs with a known delay (DAC is 8 samples early) lose many dB raw and nothing here.

    Args:
        x: Original.
        y: Reconstruction.
        max_delay: Largest shift in samples; at most a quarter of the signal is shifted away.

    Returns:
        Value and delay. Ties go to the smallest shift, then to the positive one; value as in
        ``si_sdr``.
    """
    a, b = _mono(x).double(), _mono(y).double()
    length = a.shape[1]
    reach = min(max_delay, length // 4)
    order = sorted(range(-reach, reach + 1), key=lambda d: (abs(d), -d))
    delays = torch.tensor(order, device=a.device)
    # Centring first changes no value below, and keeps the sums of squares from cancelling.
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    size = 1 << (length + reach).bit_length()
    spectrum = torch.fft.rfft(a, size).conj() * torch.fft.rfft(b, size)
    cross = torch.fft.irfft(spectrum, size)[:, delays % size]  # (B, delays): sum of x[n] y[n + d]
    overlap = (length - delays.abs()).double()
    sum_x, square_x = _overlap_sums(a, -delays)
    sum_y, square_y = _overlap_sums(b, delays)
    product = cross - sum_x * sum_y / overlap
    energy_x = square_x - sum_x.square() / overlap
    energy_y = square_y - sum_y.square() / overlap
    share = product.square() / (energy_x * energy_y)  # squared correlation: signal's share of y
    share = torch.nan_to_num(share, nan=-1.0)
    # Periods of a tone differ by rounding only: the first in order within it is the tie's winner.
    near = share >= share.amax(1, keepdim=True) - 1e-12
    best = [delays[row.nonzero()[0, 0]] for row in near]
    value = [_exact_si_sdr(a[i], b[i], int(delay)) for i, delay in enumerate(best)]
    return Aligned(torch.stack(value), torch.stack(best))


def mel_distance(x: Tensor, y: Tensor, *, rate: float) -> Tensor:
    """DAC's mel distance: L1 between log10 mel magnitudes, summed over seven scales.

    Windows 32 … 2048 with 5 … 320 bins, hop a quarter window, magnitudes (power 1) clamped at 1e-5,
    mean over bins and frames; no linear term. This is the training loss of descript-audio-codec as
    its conf/final files set it. 0 is best.

    Returns:
        (B,) float64.
    """
    total = torch.zeros(x.shape[0], dtype=torch.float64, device=x.device)
    for window, bins in MEL_SCALES:
        logs = [
            spectrogram(_mono(each).float(), rate=rate, window=window, bins=bins)
            .clamp(min=MEL_FLOOR)
            .log10()
            for each in (x, y)
        ]
        total = total + (logs[0] - logs[1]).abs().flatten(1).mean(1, dtype=torch.float64)
    return total


def pesq(x: Tensor, y: Tensor, *, rate: float) -> Tensor:
    """Wide-band PESQ (ITU-T P.862.2, package ``pesq``): MOS-LQO, 1.04 … 4.64; soxr to 16 kHz first.

    Signals longer than 15 s are cut into the fewest equal pieces that are not; the value is the
    mean over the pieces where it is defined.

    Returns:
        (B,) float64; NaN where PESQ finds no speech (silence) or the signal is too short.

    Raises:
        UsageError: the package is missing.
    """
    require("pesq")
    import soxr

    values = []
    for a, b in zip(_mono(x), _mono(y), strict=True):
        pair = [soxr.resample(_numpy(each), rate, PESQ_HZ).astype(np.float32) for each in (a, b)]
        count = max(1, math.ceil(len(pair[0]) / (PESQ_MOST_S * PESQ_HZ)))
        pieces = zip(*(np.array_split(each, count) for each in pair), strict=True)
        scores = [score for score in (_pesq(*piece) for piece in pieces) if not math.isnan(score)]
        values.append(sum(scores) / len(scores) if scores else math.nan)
    return torch.tensor(values, dtype=torch.float64)


def _pesq(x: np.ndarray, y: np.ndarray) -> float:
    """PESQ of up to 15 s of float32 at 16 kHz, or NaN."""
    import pesq as package

    if not x.any() or not y.any():
        return math.nan
    try:
        return float(package.pesq(PESQ_HZ, x, y, "wb"))
    except package.PesqError:  # no utterance, or shorter than a quarter of a second
        return math.nan


def stoi(x: Tensor, y: Tensor, *, rate: float) -> Tensor:
    """Short-time objective intelligibility, 0 … 1 (Taal et al. 2011, package ``pystoi``, 10 kHz).

    Returns:
        (B,) float64; NaN where fewer than 30 frames are not silent.

    Raises:
        UsageError: the package is missing.
    """
    require("stoi")
    from pystoi import stoi as package

    values = []
    for a, b in zip(_mono(x), _mono(y), strict=True):
        if a.shape[0] < STOI_LEAST_S * rate or not a.any():
            values.append(math.nan)
            continue
        with warnings.catch_warnings():
            # pystoi warns and returns 1e-5 where too little speech is left: not a score.
            warnings.simplefilter("error", RuntimeWarning)
            try:
                values.append(float(package(_numpy(a), _numpy(b), round(rate))))
            except RuntimeWarning:
                values.append(math.nan)
    return torch.tensor(values, dtype=torch.float64)


def available(name: str) -> bool:
    """Whether what a metric needs is installed: "pesq" and "stoi" need an extra package."""
    return name not in _PACKAGES or importlib.util.find_spec(_PACKAGES[name]) is not None


def require(name: str) -> None:
    """Check that a metric can be computed.

    Raises:
        UsageError: its package is missing; the hint says what to install.
    """
    if not available(name):
        raise UsageError(
            name,
            f"needs the package {_PACKAGES[name]}, which is not installed",
            hint="pip install 'vqtok[metrics]'",
        )


_PACKAGES = {"pesq": "pesq", "stoi": "pystoi"}


def _mono(x: Tensor) -> Tensor:
    """(B, L) or (B, 1, L) → (B, L)."""
    return x[:, 0] if x.ndim == 3 else x


def _numpy(x: Tensor) -> np.ndarray:
    return np.asarray(x.detach().cpu().numpy(), np.float64)


def _overlap_sums(a: Tensor, delays: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of a and a² over its samples that overlap the other signal at each delay.

    Args:
        a: (B, L).
        delays: (N,) positive: the first samples of a are shifted away, negative: the last.

    Returns:
        Two (B, N).
    """
    start, stop = delays.clamp(min=0), a.shape[1] + delays.clamp(max=0)
    sums = []
    for values in (a, a.square()):
        running = torch.nn.functional.pad(values.cumsum(1), (1, 0))
        sums.append(running[:, stop] - running[:, start])
    return sums[0], sums[1]


def _exact_si_sdr(a: Tensor, b: Tensor, delay: int) -> Tensor:
    """SI-SDR of a[n] against b[n + delay], () float64 dB: exact where the correlation is near 1."""
    length = a.shape[0]
    a = a[max(0, -delay) : length - max(0, delay)]
    b = b[max(0, delay) : length - max(0, -delay)]
    if bool((a == a[0]).all()) or bool((b == b[0]).all()):
        return a.new_tensor(math.nan)  # the centred signal would be rounding noise
    a, b = a - a.mean(), b - b.mean()
    target = (a @ b) / (a @ a) * a
    noise = b - target
    return 10.0 * torch.log10((target @ target) / (noise @ noise))

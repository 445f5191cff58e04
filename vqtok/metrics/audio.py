"""Metrics of audio: SI-SDR raw and delay-aligned, mel distance, PESQ, STOI; one value per item.

In every function ``x`` is the original and ``y`` the reconstruction, (B, L) or (B, 1, L) float in
[-1, 1] at one rate; channels of a recording are items of the batch. A value that is not defined for
an item (silence, too short) is NaN.
"""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vqtok.metrics.mel import spectrogram
from vqtok.metrics.metric import Metric

MEL_SCALES = ((32, 5), (64, 10), (128, 20), (256, 40), (512, 80), (1024, 160), (2048, 320))
"""(window in samples, mel bins) of each scale: DAC (arXiv:2306.06546), section 3.4."""

MEL_FLOOR = 1e-5
"""Magnitudes below this count as this: DAC's clamp_eps."""

PESQ_HZ = 16000
"""Wide-band PESQ (ITU-T P.862.2) is defined at this rate."""

PESQ_MOST_S = 15.0
"""Longest piece scored at once. The package crashes beyond 50 utterances, and an utterance with its
pause has at least 0.4 s there; ITU-T P.862.3 wants 8 to 30 s anyway."""

MAX_DELAY_S = 0.02
"""Largest delay that is looked for: codecs are late by few samples; far out, pitch periods win."""

STOI_LEAST_S = 0.4
"""About 30 frames of 25.6 ms at half overlap: below it STOI is not defined."""


class Aligned(NamedTuple):
    """Holds SI-SDR and the delay that it was found at."""

    value: Tensor
    """(B,) float64 dB at the best delay."""
    delay: Tensor
    """(B,) int64 samples; positive: the reconstruction is late, negative: early."""


def si_sdr(x: Tensor, y: Tensor) -> Tensor:
    """Compute the scale-invariant signal-to-distortion ratio in dB (arXiv:1811.02508).

    10 log10(|a x|² / |y - a x|²) with a = <x, y> / <x, x> of zero-mean signals, computed in float64
    without regularisation.

    Returns:
        (B,) float64; +inf if y is x up to scale and offset, NaN if x or y is constant.
    """
    return aligned_si_sdr(x, y, max_delay=0).value


def aligned_si_sdr(x: Tensor, y: Tensor, *, max_delay: int) -> Aligned:
    """Find the highest SI-SDR over whole-sample delays of y up to ``max_delay`` either way.

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
    widest = min(max_delay, length // 4)
    order = sorted(range(-widest, widest + 1), key=lambda d: (abs(d), -d))
    delays = torch.tensor(order, device=a.device)
    # Centring first changes no value below, and keeps the sums of squares from cancelling.
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    size = 1 << (length + widest).bit_length()
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
    """Compute DAC's mel distance: L1 between log10 mel magnitudes, summed over seven scales.

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
    """Compute wide-band PESQ (ITU-T P.862.2, package ``pesq``): MOS-LQO, 1.04 … 4.64.

    Signals are resampled to 16 kHz (soxr); those longer than 15 s are cut into the fewest equal
    pieces that are not. The value is the mean over the pieces where it is defined.

    Returns:
        (B,) float64; NaN where PESQ finds no speech (silence) or the signal is too short.

    Raises:
        UsageError: the package is missing.
    """
    PESQ.require()
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
    """Score up to 15 s of float32 at 16 kHz; NaN if there is no speech."""
    import pesq as package

    if not x.any() or not y.any():
        return math.nan
    try:
        return float(package.pesq(PESQ_HZ, x, y, "wb"))
    except package.PesqError:  # no utterance, or shorter than a quarter of a second
        return math.nan


def stoi(x: Tensor, y: Tensor, *, rate: float) -> Tensor:
    """Compute short-time objective intelligibility, 0 … 1 (Taal et al. 2011, package ``pystoi``).

    Returns:
        (B,) float64; NaN where fewer than 30 frames are not silent.

    Raises:
        UsageError: the package is missing.
    """
    STOI.require()
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


def _mono(x: Tensor) -> Tensor:
    """Drop the channel axis: (B, L) or (B, 1, L) → (B, L)."""
    return x[:, 0] if x.ndim == 3 else x


def _numpy(x: Tensor) -> np.ndarray:
    return np.asarray(x.detach().cpu().numpy(), np.float64)


def _overlap_sums(a: Tensor, delays: Tensor) -> tuple[Tensor, Tensor]:
    """Sum a and a² over the samples that overlap the other signal at each delay.

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
    """Compare a[n] with b[n + delay]: () float64 dB, exact where the correlation is near 1."""
    length = a.shape[0]
    a = a[max(0, -delay) : length - max(0, delay)]
    b = b[max(0, delay) : length - max(0, -delay)]
    if bool((a == a[0]).all()) or bool((b == b[0]).all()):
        return a.new_tensor(math.nan)  # the centred signal would be rounding noise
    a, b = a - a.mean(), b - b.mean()
    target = (a @ b) / (a @ a) * a
    noise = b - target
    return 10.0 * torch.log10((target @ target) / (noise @ noise))


def _raw(x: Tensor, y: Tensor, *, rate: float) -> Tensor:
    return si_sdr(x, y)


def _aligned(x: Tensor, y: Tensor, *, rate: float) -> Tensor:
    return aligned_si_sdr(x, y, max_delay=round(MAX_DELAY_S * rate)).value


def _delay(x: Tensor, y: Tensor, *, rate: float) -> Tensor:
    found = aligned_si_sdr(x, y, max_delay=round(MAX_DELAY_S * rate))
    return found.delay.double().where(~found.value.isnan(), math.nan)  # silence has none


SI_SDR = Metric(
    "si_sdr_db", "SI-SDR", "dB", ".2f", True,
    protocol="scale-invariant signal-to-distortion ratio of zero-mean signals",
    name="si-sdr", modality="audio", measure=_raw,
)  # fmt: skip
SI_SDR_ALIGNED = Metric(
    "si_sdr_aligned_db", "SI-SDR aligned", "dB", ".2f", True,
    protocol="SI-SDR at the best whole-sample delay within 20 ms either way",
    name="si-sdr-aligned", modality="audio", measure=_aligned, drop=2,
)  # fmt: skip
DELAY = Metric(
    "delay_samples", "Delay", "samples", ".0f",
    protocol="that delay, at the model's rate; positive: the reconstruction is late",
    name="delay", modality="audio", measure=_delay, drop=3,
)  # fmt: skip
MEL = Metric(
    "mel_distance", "Mel", "", ".3f", False, label="mel distance",
    protocol="as in DAC: L1 of log10 mel magnitudes (floor 1e-5), windows 32 ... 2048 with 5 ... "
    "320 bins, hop a quarter, summed over the seven",
    name="mel", modality="audio", measure=mel_distance,
)  # fmt: skip
PESQ = Metric(
    "pesq_wb", "PESQ-WB", "", ".2f", True,
    protocol="ITU-T P.862.2 by the package pesq, both signals resampled to 16 kHz, in equal pieces "
    "of at most 15 s; not defined without speech",
    name="pesq", modality="audio", measure=pesq, package="pesq",
)  # fmt: skip
STOI = Metric(
    "stoi", "STOI", "", ".3f", True,
    protocol="Taal et al. 2011 by the package pystoi at 10 kHz; not defined below 30 audible "
    "frames",
    name="stoi", modality="audio", measure=stoi, package="pystoi",
)  # fmt: skip

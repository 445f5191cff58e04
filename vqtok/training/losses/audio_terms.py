"""Loss terms of audio: distances between spectra."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from vqtok.metrics.mel import filterbank
from vqtok.training.losses.pair import WINDOWS, Pair, frames

BINS = 80
"""Mel filters of every scale of "mel"."""

SEVEN = ((32, 5), (64, 10), (128, 20), (256, 40), (512, 80), (1024, 160), (2048, 320))
"""(window in samples, mel filters) of "mel7": DAC's (arXiv:2306.06546, section 3.4)."""


def mel(pair: Pair) -> Tensor:
    """L1 between log10 mel spectrograms, mean over ``WINDOWS``.

    Multi-scale as in DAC (arXiv:2306.06546, section 3.4), with fewer scales and a hop of half a
    window. The floor lies about 80 dB below a full-scale tone: quieter than that is silence.
    """
    total = pair.y.new_zeros(())
    for size, (of_y, of_x) in zip(WINDOWS, pair.spectra(), strict=True):
        bank = filterbank(rate=pair.rate, window=size, bins=BINS).to(pair.y.device)
        a, b = ((bank @ each.magnitude).clamp(min=1e-6).log10() for each in (of_y, of_x))
        total = total + F.l1_loss(a, b)
    return total / len(WINDOWS)


def mel7(pair: Pair) -> Tensor:
    """L1 between log10 mel spectrograms at DAC's seven scales, mean over them.

    Section 3.4 of arXiv:2306.06546 and its code: hops of a quarter window, floor 1e-5 of an
    unscaled STFT. Short windows hear clicks and onsets that "mel" smears; three times the work.
    """
    total = pair.y.new_zeros(())
    for size, bins in SEVEN:
        bank = filterbank(rate=pair.rate, window=size, bins=bins).to(pair.y.device)
        logs = []
        for signal in (pair.y, pair.x):
            spectrum = frames(signal[:, 0], size, hop=size // 4)
            # |c| has no gradient at silence; the constant lies below the floor
            power = spectrum.real.square() + spectrum.imag.square() + 1e-12
            logs.append((bank @ power.sqrt()).clamp(min=1e-5).log10())
        total = total + F.l1_loss(logs[0], logs[1])
    return total / len(SEVEN)


def stft(pair: Pair) -> Tensor:
    """L1 between complex spectra of compressed magnitude, mean over ``WINDOWS``.

    It sees phase, and the compression (|c|^0.5 with the phase of c) makes quiet bins count.
    """
    total = pair.y.new_zeros(())
    for of_y, of_x in pair.spectra():
        total = total + F.l1_loss(of_y.compressed, of_x.compressed)
    return total / len(WINDOWS)

"""Terms of a reconstruction loss, each a function of a reconstruction beside its original.

Likelihoods of pixels are mean nats per value; they need what the decoder gave before it became
pixels: ``output`` in ``tokenizers/vqvae.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from vqtok.errors import ConfigError
from vqtok.metrics.mel import filterbank
from vqtok.nn.outputs import entering

WINDOWS = (512, 1024, 2048)
"""Samples of each scale of the spectra that terms share."""

SCALES = 4
"""Levels of the pyramid of "multiscale": 1, 1/2, 1/4 and 1/8 of the size."""

BINS = 80
"""Mel filters of every scale of "mel"."""

SEVEN = ((32, 5), (64, 10), (128, 20), (256, 40), (512, 80), (1024, 160), (2048, 320))
"""(window in samples, mel filters) of "mel7": DAC's (arXiv:2306.06546, section 3.4)."""

OUTPUTS = {"bce": "logits", "logit-laplace": "logit-laplace"}
"""Loss term → the ``output`` of the model that it needs."""

LEAST = 2.0**-8
"""Added to b: an 8-bit step is 0.0125 of a logit or more, and where many values are equal the
density, and with it the likelihood, would grow without end."""


class Pair:
    """Holds a reconstruction beside its original, and what several terms need, computed once.

    Args:
        y: Reconstruction, (B, C, H, W) or (B, 1, L) float32.
        x: Original, the same shape; no gradient flows into it.
        rate: Hz of audio; 0 for images.
        raw: What the decoder gave before it became y, as ``Reconstructed.raw``.
    """

    def __init__(self, y: Tensor, x: Tensor, *, rate: float, raw: Tensor | None = None) -> None:
        self.y, self.x, self.rate, self.raw = y, x.detach(), rate, raw
        self._spectra: list[tuple[Spectrum, Spectrum]] = []

    def spectra(self) -> list[tuple[Spectrum, Spectrum]]:
        """Compute the spectra of y and of x at each of ``WINDOWS``."""
        if not self._spectra:
            for size in WINDOWS:
                self._spectra.append((Spectrum(self.y[:, 0], size), Spectrum(self.x[:, 0], size)))
        return self._spectra


class Spectrum:
    """Computes the STFT of (B, L) audio: Hann window, hop size/2; a full-scale tone has 0.5.

    Attributes:
        magnitude: (B, bins, T).
        compressed: (B, bins, T, 2), real and imaginary part, magnitude^0.5.
    """

    def __init__(self, x: Tensor, size: int) -> None:
        parts = torch.view_as_real(frames(x, size, hop=size // 2) * (2.0 / size))
        power = parts.square().sum(-1)
        # The constants keep gradients finite at silence. The first lies far below the mel floor;
        # the second is larger because bins near silence would else outweigh all others.
        self.magnitude = (power + 1e-12).sqrt()
        self.compressed = parts * ((power + 1e-8) ** -0.25)[..., None]


def frames(x: Tensor, size: int, *, hop: int) -> Tensor:
    """Compute the STFT of (B, L) float32 audio: complex (B, size/2 + 1, T), edges reflected.

    Where L is too short to be reflected, zeros follow it.
    """
    shortest = size // 2 + 1  # reflection needs more samples than it adds
    x = torch.nn.functional.pad(x, (0, max(0, shortest - x.shape[-1])))
    window = torch.hann_window(size, device=x.device)
    spectrum: Tensor = torch.stft(x, size, hop_length=hop, window=window, return_complex=True)
    return spectrum


Term = Callable[[Pair], Tensor]


def mse(pair: Pair) -> Tensor:
    """Average squared errors: a Gaussian likelihood, what PSNR measures."""
    return F.mse_loss(pair.y, pair.x)


def l1(pair: Pair) -> Tensor:
    """Average absolute errors: a Laplace likelihood, sharper edges."""
    return F.l1_loss(pair.y, pair.x)


def gradient(pair: Pair) -> Tensor:
    """Compare differences of neighbouring pixels by L1, the mean across plus the mean down.

    The gradient difference loss of Mathieu, Couprie and LeCun 2016 (arXiv:1511.05440, Eq. 6) with
    exponent 1, but of signed differences: an edge that is as steep the wrong way is an error.
    """
    error = pair.y - pair.x  # differences are linear: those of the error are the errors of those
    total = error.new_zeros(())
    for axis in (-1, -2):
        if error.shape[axis] > 1:
            total = total + error.diff(dim=axis).abs().mean()
    return total


def multiscale(pair: Pair) -> Tensor:
    """Compare a pyramid of average-pooled images by L1, mean over its levels.

    Coarse levels weigh errors of brightness and colour that extend over many pixels more than
    those that cancel out. Halving ends at one pixel.
    """
    error = pair.y - pair.x  # pooling is linear too
    total = error.abs().mean()
    levels = 1
    while levels < SCALES and min(error.shape[-2:]) > 1:
        error = F.avg_pool2d(error, 2)
        total = total + error.abs().mean()
        levels += 1
    return total / levels


def mel(pair: Pair) -> Tensor:
    """Compare log10 mel spectrograms by L1, mean over ``WINDOWS``.

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
    """Compare log10 mel spectrograms by L1, mean over DAC's seven scales.

    Section 3.4 of arXiv:2306.06546 and its code: hops of a quarter window, floor 1e-5 of an
    unscaled STFT. Short windows show clicks and onsets that "mel" smears; three times the work.
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
    """Compare complex spectra of compressed magnitude by L1, mean over ``WINDOWS``.

    Phase counts, and the compression (|c|^0.5 with the phase of c) makes quiet bins count.
    """
    total = pair.y.new_zeros(())
    for of_y, of_x in pair.spectra():
        total = total + F.l1_loss(of_y.compressed, of_x.compressed)
    return total / len(WINDOWS)


def bce(raw: Tensor, x: Tensor) -> Tensor:
    """Average the cross-entropy of Bernoulli variables, one for each value of x.

    Where x is black or white, that is minus ln of the likelihood.

    What VAEs are often trained with (Kingma & Welling 2013, 1312.6114, appendix C.1). For values in
    between it is no density, but has its least value where the sigmoid equals them.

    Args:
        raw: (B, C, H, W) float, logits.
        x: (B, C, H, W) float in [-1, 1], the originals.

    Returns:
        (): nats per value.
    """
    return F.binary_cross_entropy_with_logits(raw.float(), (x.float() + 1.0) / 2.0)


def logit_laplace(raw: Tensor, x: Tensor) -> Tensor:
    """Average minus ln of the logit-Laplace density of brightness (2102.12092, appendix A.3).

    Args:
        raw: (B, 2·C, H, W) float: mu, then ln b; ``LEAST`` is added to b.
        x: (B, C, H, W) float in [-1, 1], the originals; ``map_pixels`` is applied here.

    Returns:
        (): nats per value; below zero where the density is above one.
    """
    mu, log_scale = raw.float().chunk(2, dim=1)
    value = entering(x.float(), "logit-laplace")  # in [0.1, 0.9]
    # ln(b + LEAST), without an exp that could overflow.
    log_scale = torch.logaddexp(log_scale, log_scale.new_tensor(math.log(LEAST)))
    # Eq. 2: 1 / (2 b x (1 - x)) exp(-|logit(x) - mu| / b)
    distance = (value.logit() - mu).abs() * (-log_scale).exp()
    return (distance + log_scale + math.log(2.0) + value.log() + (-value).log1p()).mean()


def _likelihood(
    name: str, likelihood: Callable[[Tensor, Tensor], Tensor], *, parameters: int
) -> Term:
    """Make a term over what the decoder gave before it became pixels.

    Args:
        name: Of the term.
        likelihood: Of the decoder's numbers and the original.
        parameters: Of the distribution of one value.
    """

    def term(pair: Pair) -> Tensor:
        channels = pair.x.shape[1]
        if pair.raw is None or pair.raw.shape[1] != parameters * channels:
            raise ConfigError(
                f"train.losses.{name}",
                "this model gives other values than that likelihood needs",
                hint=f"--set model.output={OUTPUTS[name]}, for models of images",
            )
        return likelihood(pair.raw.float(), pair.x)

    return term


TERMS: dict[str, Term] = {
    "mse": mse,
    "l1": l1,
    "bce": _likelihood("bce", bce, parameters=1),
    "logit-laplace": _likelihood("logit-laplace", logit_laplace, parameters=2),
    "gradient": gradient,
    "multiscale": multiscale,
    "mel": mel,
    "mel7": mel7,
    "stft": stft,
}
"""Name → term; "perceptual" is beside them, since it holds a network."""

AUDIO = frozenset({"mel", "mel7", "stft"})

IMAGE = frozenset({"gradient", "multiscale", "perceptual", "bce", "logit-laplace"})

"""Metrics of images: PSNR, SSIM, MS-SSIM; one value per image.

Protocol, the same for all three: RGB, and the reconstruction counts as the 8-bit file that would be
written: both sides are rounded to 0 … 255 (half to even) and clipped first. Higher is better.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from vqtok.metrics.metric import Metric

KERNEL = 11
"""Pixels of the SSIM window (Wang et al. 2004: Gaussian, sigma 1.5)."""

SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Weights of the five scales of MS-SSIM, fine to coarse (Wang et al. 2003)."""

MS_SSIM_SIDE = KERNEL * 2 ** (len(SCALES) - 1)
"""176: the shortest side that four halvings leave with one whole window."""

STRIP = 1 << 19
"""Positions scored at a time, so that memory does not grow with the image."""


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Compute the peak signal-to-noise ratio in dB, peak 255.

    One mean over pixels and channels per image.

    Args:
        x: Original, (B, 3, H, W) float in [-1, 1].
        y: Reconstruction, the same shape.

    Returns:
        (B,) float64 dB; +inf where the rounded images are equal.
    """
    squares = (_rounded(x) - _rounded(y)).square().flatten(1)
    return 10.0 * torch.log10(255.0**2 / squares.mean(1, dtype=torch.float64))


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Compute structural similarity of RGB.

    Gaussian window 11, sigma 1.5, K1 .01, K2 .03, data range 1.

    The mean runs over channels and over positions where the whole window lies inside the image, as
    in scikit-image and the paper's code. (torchmetrics, which computes the map, also averages a
    reflected border of 5 pixels.)

    Args:
        x: Original, (B, 3, H, W) float in [-1, 1].
        y: Reconstruction, the same shape.

    Returns:
        (B,) float64; NaN for images with a side shorter than 11 pixels.
    """
    if min(x.shape[-2:]) < KERNEL:
        return _undefined(x)
    return torch.stack([_similarity(a, b) for a, b in _pairs(x, y)])


def ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """Compute multi-scale SSIM.

    Five scales, the paper's weights, 2x2 means between, windows as ``ssim``.

    Args:
        x: Original, (B, 3, H, W) float in [-1, 1].
        y: Reconstruction, the same shape.

    Returns:
        (B,) float64; NaN for images with a side shorter than 176 pixels, whose coarsest scale has
        no whole window.
    """
    if min(x.shape[-2:]) < MS_SSIM_SIDE:
        return _undefined(x)
    values = []
    for a, b in _pairs(x, y):
        terms = []
        for scale in range(len(SCALES)):
            if scale:
                a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
            coarsest = scale == len(SCALES) - 1
            terms.append(_similarity(a, b) if coarsest else _contrast(a, b))
        # A negative mean has no real power: such a pair scores 0 (Wang's code gives a complex
        # number).
        powers = torch.stack(terms).clamp(min=0.0) ** torch.tensor(SCALES, dtype=torch.float64)
        values.append(powers.prod())
    return torch.stack(values)


def _similarity(a: Tensor, b: Tensor) -> Tensor:
    """Average SSIM over whole windows of one image pair, (1, 3, H, W) in [0, 1] → () float64."""
    edge = KERNEL // 2
    total, count = torch.zeros((), dtype=torch.float64), 0
    for top, bottom in _strips(a, b):
        inside = _terms(top, bottom, contrast=False)[..., edge:-edge, edge:-edge]
        total = total + inside.sum(dtype=torch.float64).cpu()
        count += inside.numel()
    return total / count


def _contrast(a: Tensor, b: Tensor) -> Tensor:
    """Average the contrast-structure term over whole windows of one image pair → () float64."""
    total, count = torch.zeros((), dtype=torch.float64), 0
    for top, bottom in _strips(a, b):
        contrast = _terms(top, bottom, contrast=True)
        positions = (top.shape[-2] - KERNEL + 1) * (top.shape[-1] - KERNEL + 1)
        total = total + contrast.double().sum().cpu() * positions
        count += positions
    return total / count


def _terms(a: Tensor, b: Tensor, *, contrast: bool) -> Tensor:
    """Compute the contrast term of an image pair, or else the map of SSIM."""
    # It takes seconds to import, and whoever measures no SSIM need not wait for it.
    from torchmetrics.functional.image import structural_similarity_index_measure

    _, found = structural_similarity_index_measure(
        b, a, data_range=1.0, return_full_image=not contrast, return_contrast_sensitivity=contrast
    )
    return found


def _strips(a: Tensor, b: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Cut both images into strips, so that each whole window lies in exactly one."""
    positions = a.shape[-2] - KERNEL + 1
    step = max(1, STRIP // a.shape[-1])
    for start in range(0, positions, step):
        rows = slice(start, min(start + step, positions) + KERNEL - 1)
        yield a[..., rows, :], b[..., rows, :]


def _rounded(x: Tensor) -> Tensor:
    """Round [-1, 1] to whole numbers 0 … 255 in float32, as the image writer does."""
    return ((x.float() + 1.0) * 127.5).round().clamp(0.0, 255.0)


def _pairs(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each image by itself, (1, 3, H, W) float32 in [0, 1]."""
    for a, b in zip(x, y, strict=True):
        yield _rounded(a)[None] / 255.0, _rounded(b)[None] / 255.0


def _undefined(x: Tensor) -> Tensor:
    return torch.full((x.shape[0],), math.nan, dtype=torch.float64)


PSNR = Metric(
    "psnr_db", "PSNR", "dB", ".2f", True,
    protocol="RGB rounded to 8 bits, peak 255, one mean squared error over all pixels and channels",
    name="psnr", modality="image", measure=psnr,
)  # fmt: skip
SSIM = Metric(
    "ssim", "SSIM", "", ".4f", True,
    protocol="8-bit RGB scaled to [0, 1], Gaussian window 11, sigma 1.5, K1 .01, K2 .03, data "
    "range 1, mean over channels and whole windows; not defined below 11 pixels",
    name="ssim", modality="image", measure=ssim,
)  # fmt: skip
MS_SSIM = Metric(
    "ms_ssim", "MS-SSIM", "", ".4f", True,
    protocol="five scales (.0448 .2856 .3001 .2363 .1333) of 2x2 means, windows as for SSIM; "
    "not defined below 176 pixels",
    name="ms-ssim", modality="image", measure=ms_ssim,
)  # fmt: skip

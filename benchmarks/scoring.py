"""How the training benchmarks measure a model on held-out images, vqtok's or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import vqtok
from vqtok.media import image
from vqtok.media.image.pixels import to_uint8

PART = 100
"""Images that go through a model together when it is measured."""


class Scores(NamedTuple):
    """One model over held-out images."""

    nmse: float
    """Mean squared error over the variance of the training pixels."""
    psnr_db: float
    """Of all pixels together, rounded to uint8."""
    use: float
    perplexity: float
    """exp(entropy) of the codes of all images."""
    batch_perplexity: float
    """The same per batch of 32 images, then the mean: what Sonnet's notebook prints."""


class Reconstructions(NamedTuple):
    """What a tokenizer of vqtok makes of images, in evaluation."""

    decoded: Tensor
    """(N, 3, H, W) float32 in [-1, 1]."""
    codes: Tensor
    """int64 (N, h, w); empty if it is continuous."""
    latents: Tensor
    """(N, D, h, w): what the decoder reads."""
    terms: dict[str, float]
    """Part of the quantizer's loss → weighted mean."""
    model: Any


@torch.no_grad()
def reconstruct(folder: Path, pixels: Tensor) -> Reconstructions:
    """Load a model directory and send uint8 images through it."""
    model: Any = vqtok.load(str(folder)).eval()
    decoded, codes, latents = [], [], []
    terms: dict[str, float] = {}
    model.quantizer.register_forward_hook(lambda _, __, out: latents.append(out.z_q))
    for part in pixels.split(PART):
        result = model(part.float() / 127.5 - 1.0)
        decoded.append(result.x.clamp(-1, 1))
        codes.extend(result.codes.levels)
        for key, value in (result.terms or {"quantizer": result.loss}).items():
            terms[key] = terms.get(key, 0.0) + float(value) * len(part) / len(pixels)
    found = torch.cat(codes) if codes else torch.zeros(0, dtype=torch.int64)
    return Reconstructions(torch.cat(decoded), found, torch.cat(latents), terms, model)


def images_of(folder: Path) -> list[Path]:
    """Images below a folder, sorted."""
    files = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in image.SUFFIXES]
    if not files:
        raise SystemExit(f"{folder}: no images")
    return files


def centres(files: Sequence[Path], window: int) -> Tensor:
    """(N, 3, window, window) uint8: the middle of each image that is large enough, shuffled.

    Files come class by class, and a class has fewer codes than a batch of all of them.
    """
    out = []
    for path in files:
        pixels = torch.from_numpy(to_uint8(image.read(path)[0]))
        top, left = ((side - window) // 2 for side in pixels.shape[1:])
        if min(top, left) >= 0:
            out.append(pixels[:, top : top + window, left : left + window])
    order = np.random.default_rng(0).permutation(len(out))
    return torch.stack([out[i] for i in order])


def variance(pixels: Tensor) -> float:
    """Of uint8 pixels, all channels together, on a scale of 1, as Sonnet's notebook takes it."""
    return float(np.var(pixels.numpy() / 255.0))


def scores(decoded: Tensor, pixels: Tensor, codes: Tensor, *, size: int, spread: float) -> Scores:
    """Measure reconstructions.

    Args:
        decoded: (N, 3, H, W) float in [-1, 1].
        pixels: (N, 3, H, W) uint8 originals.
        codes: (N, h, w), any integers below ``size``.
        size: K; 0 for a method without codes.
        spread: Variance of the training pixels.
    """
    error = (decoded.double() / 2 - (pixels.double() / 127.5 - 1) / 2).square().mean()
    rounded = torch.from_numpy(to_uint8(decoded.numpy()))
    steps = (rounded.double() - pixels.double()).square().mean() / 255**2
    whole = perplexity(codes, size)
    parts = [perplexity(part, size)[1] for part in codes.split(32) if len(part) == 32]
    return Scores(
        nmse=float(error) / spread,
        psnr_db=float(-10 * torch.log10(steps)),
        use=whole[0],
        perplexity=whole[1],
        batch_perplexity=float(np.mean(parts)) if parts else 0.0,
    )


def perplexity(codes: Tensor, size: int) -> tuple[float, float]:
    """(share of the codebook used, exp(entropy)) of any codes."""
    if not size:
        return 0.0, 0.0
    count = torch.bincount(codes.reshape(-1), minlength=size).double()
    share = count[count > 0] / count.sum()
    return len(share) / size, float((-(share * share.log()).sum()).exp())

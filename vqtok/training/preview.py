"""Held-out measurements and previews, through the same encode and decode that users call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vqtok.media import audio, image
from vqtok.metrics.audio import mel_distance
from vqtok.metrics.codebook import Usage
from vqtok.metrics.image import psnr
from vqtok.training import gallery

PICTURES = 6
"""Held-out images in a preview."""

CLIPS = 3
"""Held-out recordings in a preview."""

SECONDS = 10
"""Recordings are measured on their first seconds."""

SIDE = 512
"""Images are measured on a centre crop of at most this side."""

PROTOCOL = {
    "psnr_db": f"PSNR of uint8 RGB per image (centre {SIDE} pixels at most), then the mean.",
    "mel_distance": f"Multi-scale log10 mel distance of the first {SECONDS} s, then the mean.",
}
"""How each number of ``measure`` comes about."""


def measure(
    model: Any, files: Sequence[Path], output: Path, *, step: int
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Reconstruct held-out files.

    Args:
        model: A tokenizer in eval mode.
        files: Held-out files, one at least.
        output: Model directory; previews go into ``previews/``.
        step: For the previews' names.

    Returns:
        (metrics, names of the previews relative to ``output``): "psnr_db" (mean over images of
        uint8 RGB PSNR) or "mel_distance" (mean over clips), "use" and "perplexity" of the codes
        of these files.
    """
    folder = output / "previews"
    folder.mkdir(parents=True, exist_ok=True)
    if model.spec.modality == "image":
        return _images(model, files, folder, step=step)
    return _clips(model, files, folder, step=step)


def _images(
    model: Any, files: Sequence[Path], folder: Path, *, step: int
) -> tuple[dict[str, float], tuple[str, ...]]:
    values: list[float] = []
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    usage = _usage(model)
    for path in files:
        pixels, _ = image.read(path)
        x = torch.from_numpy(_centre(pixels))[None]
        codes = model.encode(x)
        y = model.decode(codes).cpu()
        values.append(float(psnr(y, x)))
        usage.add(codes.numpy().levels[0])
        if len(pairs) < PICTURES:
            pairs.append((x[0].numpy(), y[0].numpy()))
    name = f"step-{step:07d}.png"
    image.write(folder / name, gallery.sheet(pairs))
    total = usage.total
    metrics = {
        "psnr_db": float(np.mean(values)),
        "use": total.share,
        "perplexity": total.perplexity,
    }
    return metrics, (f"previews/{name}",)


def _clips(
    model: Any, files: Sequence[Path], folder: Path, *, step: int
) -> tuple[dict[str, float], tuple[str, ...]]:
    values: list[float] = []
    names: list[str] = []
    rate = int(model.spec.rate)
    usage = _usage(model)
    for index, path in enumerate(files):
        samples, _ = audio.read(path, rate=rate, mono=True)
        x = torch.from_numpy(samples[None, :, : SECONDS * rate])
        codes = model.encode(x)
        y = model.decode(codes).cpu()
        values.append(float(mel_distance(y, x, rate=rate)))
        usage.add(codes.numpy().levels[0])
        if index < CLIPS:
            original = folder / gallery.name_of_clip(index, path, step=None)
            if not original.exists():
                _write(original, x[0].numpy(), rate)
            name = gallery.name_of_clip(index, path, step=step)
            _write(folder / name, y[0].numpy(), rate)
            names.append(f"previews/{name}")
    metrics = {
        "mel_distance": float(np.mean(values)),
        "use": usage.total.share,
        "perplexity": usage.total.perplexity,
    }
    return metrics, tuple(names)


def _usage(model: Any) -> Usage:
    level = model.spec.levels[0]
    axis = 1 + level.axes.index("q") if "q" in level.axes else None
    return Usage(level.codebook_size, stage_axis=axis)


def _centre(pixels: np.ndarray) -> np.ndarray:
    """(3, H, W) → at most SIDE pixels each way around the centre."""
    top, left = (max(0, size - SIDE) // 2 for size in pixels.shape[1:])
    return np.ascontiguousarray(pixels[:, top : top + SIDE, left : left + SIDE])


def _write(path: Path, samples: np.ndarray, rate: int) -> None:
    with audio.Writer(path, rate, 1) as writer:
        writer.write(samples)

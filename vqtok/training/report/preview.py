"""Held-out measurements and previews, by the same encode and decode that users call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from vqtok.media import audio, image
from vqtok.media.items import Place
from vqtok.metrics.audio import mel_distance
from vqtok.metrics.image import psnr
from vqtok.protocols import Tokenizer
from vqtok.training.data.audio import read_beginning
from vqtok.training.data.files import opened
from vqtok.training.report import gallery
from vqtok.training.report.round_trip import RoundTrip

PICTURES = 6
"""Held-out images in a preview."""

CLIPS = 3
"""Held-out recordings in a preview."""

SECONDS = 10
"""Recordings are measured on their first seconds."""

SIDE = 512
"""Images are measured on a centre crop of at most this side."""

QUALITY = {"image": "psnr_db", "audio": "mel_distance"}
"""The metric that says how good a model of a modality is."""

PROTOCOL = {
    "psnr_db": f"PSNR of uint8 RGB per image (centre {SIDE} pixels at most), then the mean.",
    "mel_distance": f"Multi-scale log10 mel distance of the first {SECONDS} s, then the mean.",
}
"""How each number of ``measure`` comes about."""


def measure(
    model: Tokenizer,
    files: Sequence[Place],
    output: Path,
    *,
    step: int,
    labels: Sequence[int] | None = None,
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Reconstruct held-out files.

    Args:
        model: A tokenizer in eval mode.
        files: Held-out files, one at least.
        output: Model directory; previews go into ``previews/``.
        step: For the previews' names.
        labels: Of each file, if the model has labels.

    Returns:
        (metrics, names of the previews relative to ``output``): "psnr_db" (mean over images of
        uint8 RGB PSNR) or "mel_distance" (mean over clips), and what ``RoundTrip.metrics`` says of
        these files.
    """
    folder = output / "previews"
    folder.mkdir(parents=True, exist_ok=True)
    if model.spec.modality == "image":
        return _images(model, files, folder, step=step, labels=labels)
    return _clips(model, files, folder, step=step, labels=labels)


def _images(
    model: Tokenizer,
    files: Sequence[Place],
    folder: Path,
    *,
    step: int,
    labels: Sequence[int] | None,
) -> tuple[dict[str, float], tuple[str, ...]]:
    values: list[float] = []
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    trip = RoundTrip(model)
    for index, path in enumerate(files):
        with opened(path) as source:
            pixels, _ = image.read(source)
        x = torch.from_numpy(_centre(pixels))[None]
        y = trip.reconstruct(x, label=None if labels is None else int(labels[index]))
        values.append(float(psnr(y, x)))
        if len(pairs) < PICTURES:
            pairs.append((x[0].numpy(), y[0].numpy()))
    name = f"step-{step:07d}.png"
    image.write(folder / name, gallery.sheet(pairs))
    metrics = {"psnr_db": float(np.mean(values)), **trip.metrics}
    return metrics, (f"previews/{name}",)


def _clips(
    model: Tokenizer,
    files: Sequence[Place],
    folder: Path,
    *,
    step: int,
    labels: Sequence[int] | None,
) -> tuple[dict[str, float], tuple[str, ...]]:
    values: list[float] = []
    names: list[str] = []
    rate = int(model.spec.rate or 0)
    trip = RoundTrip(model)
    for index, path in enumerate(files):
        samples = read_beginning(path, rate=rate, seconds=SECONDS)
        x = torch.from_numpy(samples[None])
        y = trip.reconstruct(x, label=None if labels is None else int(labels[index]))
        values.append(float(mel_distance(y, x, rate=rate)))
        if index < CLIPS:
            original = folder / gallery.name_of_clip(index, path, step=None)
            if not original.exists():
                _write(original, x[0].numpy(), rate)
            name = gallery.name_of_clip(index, path, step=step)
            _write(folder / name, y[0].numpy(), rate)
            names.append(f"previews/{name}")
    metrics = {"mel_distance": float(np.mean(values)), **trip.metrics}
    return metrics, tuple(names)


def _centre(pixels: np.ndarray) -> np.ndarray:
    """Cut (3, H, W) to at most SIDE pixels each way around the centre."""
    top, left = (max(0, size - SIDE) // 2 for size in pixels.shape[1:])
    return np.ascontiguousarray(pixels[:, top : top + SIDE, left : left + SIDE])


def _write(path: Path, samples: np.ndarray, rate: int) -> None:
    with audio.Writer(path, rate, 1) as writer:
        writer.write(samples)

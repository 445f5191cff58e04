"""Held-out measurements and previews, by the coder that encodes and decodes users' files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from vqtok.backends import torch_backend
from vqtok.media import audio, image
from vqtok.media.items import Place
from vqtok.metrics.audio import MEL
from vqtok.metrics.codebook import Usage
from vqtok.metrics.image import PSNR
from vqtok.metrics.latents import Latents
from vqtok.pipeline.signals import opened
from vqtok.protocols import RoundTrip, Tokenizer
from vqtok.quantizers.gaussian import Gaussian
from vqtok.training.data.audio import read_beginning
from vqtok.training.report import gallery

PREVIEWED = {"image": 6, "audio": 3}
"""Held-out files in a preview."""

SECONDS = 10
"""Recordings are measured on their first seconds."""

SIDE = 512
"""Images are measured on a centre crop of at most this side."""

QUALITY = {"image": PSNR, "audio": MEL}
"""The metric that says how good a model of a modality is."""

MEASURED = {"image": f"centre {SIDE} pixels at most", "audio": f"first {SECONDS} s"}
"""What of each file is measured."""


def protocol(modality: str) -> str:
    """Say how the number of ``QUALITY`` comes about, in one sentence."""
    metric = QUALITY[modality]
    part = MEASURED[modality]
    return f"{metric.title} of each file ({part}), then the mean: {metric.protocol}."


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
        (metrics, names of the previews relative to ``output``): the mean over files of the
        metric of ``QUALITY``, and what ``RoundTrips.metrics`` says of these files.
    """
    kind, rate = model.spec.modality, None if model.spec.rate is None else int(model.spec.rate)
    metric, coder, trips = QUALITY[kind], torch_backend.coder(model), RoundTrips(model)
    values: list[float] = []
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    for index, file in enumerate(files):
        signal = _centre(file) if rate is None else read_beginning(file, rate=rate, seconds=SECONDS)
        x = signal[None]
        trip = coder.round_trip(x, label=None if labels is None else int(labels[index]))
        trips.add(trip)
        values.append(metric.value(torch.from_numpy(x), torch.from_numpy(trip.x), rate_hz=rate))
        if index < PREVIEWED[kind]:
            pairs.append((signal, trip.x[0]))
    folder = output / gallery.FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    if rate is None:
        names = [f"step-{step:07d}.png"]
        image.write(folder / names[0], gallery.sheet(pairs))
    else:
        clips = enumerate(zip(files, pairs, strict=False))
        names = [_clip(folder, at, file, pair, rate, step) for at, (file, pair) in clips]
    previews = tuple(f"{gallery.FOLDER}/{name}" for name in names)
    return {metric.key: float(np.mean(values)), **trips.metrics}, previews


def _centre(file: Place) -> np.ndarray:
    """Read an image: (3, H, W), at most SIDE pixels each way around the centre."""
    with opened(file) as source:
        pixels, _ = image.read(source)
    top, left = (max(0, size - SIDE) // 2 for size in pixels.shape[1:])
    return np.ascontiguousarray(pixels[:, top : top + SIDE, left : left + SIDE])


def _clip(
    folder: Path,
    index: int,
    file: Place,
    pair: tuple[np.ndarray, np.ndarray],
    rate: int,
    step: int,
) -> str:
    """Write a reconstruction, and the original once; return the reconstruction's name."""
    names = [gallery.name_of_clip(index, file, step=when) for when in (None, step)]
    for name, samples in zip(names, pair, strict=True):
        if name == names[1] or not (folder / name).exists():
            with audio.Writer(folder / name, rate, 1) as writer:
                writer.write(samples)
    return names[1]


class RoundTrips:
    """Counts what a model's round trips have in the middle.

    Args:
        model: A tokenizer in evaluation mode.
    """

    def __init__(self, model: Tokenizer) -> None:
        self._usages = {level.name: Usage.of(level) for level in model.spec.levels}
        quantizer = getattr(model, "quantizer", None)
        self._gaussian = quantizer if isinstance(quantizer, Gaussian) else None
        self._latents = Latents()

    @torch.inference_mode()
    def add(self, trip: RoundTrip) -> None:
        """Take what a coder made of some signals."""
        if trip.codes is not None:
            for usage, array in zip(self._usages.values(), trip.codes.levels, strict=True):
                usage.add(array)
        if trip.latents is not None and self._gaussian is not None:
            device = next(self._gaussian.parameters()).device
            posterior = self._gaussian.posterior(torch.from_numpy(trip.latents).to(device))
            self._latents.add(posterior.mean, posterior.kl())

    @property
    def metrics(self) -> dict[str, float]:
        """Measures of all signals so far.

        With codes "use" and "perplexity"; if there are several levels those are means over them,
        and "use_top" and so on are of each. Of a variational autoencoder "kl" in nats per position
        and "active_units", dimensions; of a plain one nothing.
        """
        if self._gaussian is not None:
            return {"kl": self._latents.kl, "active_units": float(self._latents.active)}
        totals = {name: usage.total for name, usage in self._usages.items()}
        found: dict[str, float] = {}
        if totals:
            found["use"] = fmean(total.share for total in totals.values())
            found["perplexity"] = fmean(total.perplexity for total in totals.values())
        for name, total in totals.items() if len(totals) > 1 else ():
            found[f"use_{name}"], found[f"perplexity_{name}"] = total.share, total.perplexity
        return found

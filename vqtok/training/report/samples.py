"""Measurements of a prior: the cost of held-out codes, and samples to look at or listen to."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from vqtok.codes.container import Codes
from vqtok.media import audio, image
from vqtok.media.image.mosaic import enlarged, mosaic
from vqtok.metrics.likelihood import Costs
from vqtok.protocols import Prior, Tokenizer
from vqtok.training.data.code_items import CodeItems
from vqtok.training.data.code_windows import CodeSampler, split_levels
from vqtok.training.report.gallery import FOLDER

SIDE = 128
"""Small pictures are enlarged to about this side."""

COLUMNS = 4

RGB = 3

PROTOCOL = (
    "Cross-entropy of the codes of each item's beginning, as much as a training window holds, then "
    "the mean over all codes; the unigram entropy is that of these very codes."
)


def dimensions(modality: str, extent: tuple[int, ...]) -> int:
    """Count the numbers in a signal: three a pixel, or one a sample."""
    return math.prod(extent) * (1 if modality == "audio" else RGB)


@torch.inference_mode()
def measure(
    model: Prior, items: CodeItems, extent: tuple[int, ...], *, batch: int, labelled: bool
) -> dict[str, float]:
    """Measure the cost of the beginnings of items.

    Args:
        model: A prior in evaluation mode.
        items: Held-out items, one at least, all as large as ``extent``.
        extent: Of what is measured of each.
        batch: Items at a time.
        labelled: Whether the prior is conditioned on each item's class.

    Returns:
        "nats_per_code", "bits_per_code", "bits_per_dimension" and "unigram_bits_per_code".
    """
    origin = items.origin
    shapes, labels = origin.shapes(extent), items.labels()
    sampler = CodeSampler(items, extent, seed=0)
    costs = Costs(origin.spec.levels)
    for start in range(0, len(items), batch):
        numbers = range(start, min(start + batch, len(items)))
        flat = torch.from_numpy(np.stack([sampler.beginning(number) for number in numbers]))
        levels = split_levels(flat, shapes)
        condition = torch.from_numpy(labels[numbers.start : numbers.stop]) if labelled else None
        codes = Codes(origin.spec, levels, extent)
        nats = [each.cpu().numpy() for each in model.nll(codes, condition=condition)]
        costs.add([each.numpy() for each in levels], nats)
    total = costs.total
    per_item = total.bits_per_code * total.codes / len(items)
    return {
        "nats_per_code": total.nats_per_code,
        "bits_per_code": total.bits_per_code,
        "bits_per_dimension": per_item / dimensions(origin.spec.modality, extent),
        "unigram_bits_per_code": total.unigram_bits,
    }


def preview(
    model: Prior,
    tokenizer: Tokenizer,
    output: Path,
    *,
    step: int,
    count: int,
    extent: tuple[int, ...],
    seed: int,
) -> tuple[str, ...]:
    """Sample, decode and write ``previews/``: one class after the other, the same seed each time.

    Returns:
        Names of the previews, relative to ``output``.
    """
    classes = model.classes
    numbers = torch.arange(count) % len(classes) if classes else None
    codes = model.sample(count, extent, condition=numbers, seed=seed)
    labels: tuple[str, ...] = getattr(getattr(tokenizer, "labels", None), "names", ())
    decode: Callable[..., torch.Tensor] = tokenizer.decode
    signals = []
    for number, item in enumerate(codes.split()):
        name = classes[number % len(classes)] if classes else ""
        condition = {"label": name if name in labels else labels[0]} if labels else {}
        signals.append(decode(item, **condition)[0].float().cpu().numpy())
    folder = output / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    if codes.spec.modality == "audio":
        names = [f"step-{step:07d}-{number + 1}-sample.wav" for number in range(count)]
        for name, samples in zip(names, signals, strict=True):
            with audio.Writer(folder / name, int(codes.spec.rate or 0), 1) as writer:
                writer.write(samples)
    else:
        names = [f"step-{step:07d}.png"]
        pictures = [enlarged(each, side=SIDE) for each in signals]
        image.write(folder / names[0], mosaic(pictures, columns=COLUMNS))
    return tuple(f"{FOLDER}/{name}" for name in names)

"""Images for the Classification Accuracy Score (Ravuri & Vinyals 2019, arXiv:1905.10887).

A classifier that is trained on samples alone, and tested on real images, is as good as the samples
are varied and true to their classes. Beside it stand those of real and of reconstructed images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vqtok.errors import UsageError, VqtokError
from vqtok.media import image
from vqtok.media.plan import Job
from vqtok.pipeline.classify import class_of
from vqtok.pipeline.labels import labels_of
from vqtok.pipeline.prior_models import Loaded
from vqtok.pipeline.sample import SampleOptions, run
from vqtok.pipeline.sample_plan import plan, spread

BATCH = 64

REAL, RECONSTRUCTED, SAMPLED = "real", "reconstructed", "sampled"


@dataclass(frozen=True)
class Row:
    """One classifier.

    Attributes:
        trained_on: "real", "reconstructed" or "sampled".
        images: It was trained on.
        accuracy: On real images that no training saw.
    """

    trained_on: str
    images: int
    accuracy: float


@dataclass(frozen=True)
class Scores:
    """The Classification Accuracy Score of a prior.

    Attributes:
        model: NAME of the prior.
        rows: Real, reconstructed, sampled.
        recognised: Share of the samples whose class the classifier of real images names.
        chance: Share that guessing gives.
        tested: Real images that the classifiers were tested on.
    """

    model: str
    rows: tuple[Row, ...]
    recognised: float
    chance: float
    tested: int

    def to_json(self) -> dict[str, Any]:
        """One JSON line."""
        return {
            "model": self.model,
            "cas": {row.trained_on: round(row.accuracy, 6) for row in self.rows},
            "trained_on": {row.trained_on: row.images for row in self.rows},
            "samples_recognised": round(self.recognised, 6),
            "chance": round(self.chance, 6),
            "tested_on": self.tested,
        }


def reconstruct(
    jobs: Sequence[Job],
    tokenizer: Any,
    folder: Path,
    *,
    classes: Sequence[str],
    on_done: Callable[[int], None] = lambda count: None,
) -> int:
    """Send images through a tokenizer: ``folder/CLASS/NUMBER.png`` for each that can be read.

    Returns:
        How many were written.

    Raises:
        UsageError: an image in no directory named as a class.
        MediaError: a picture cannot be written.
    """
    written = 0
    for label, pictures in _groups(jobs, tuple(classes)):
        for pixels in _through(tokenizer, pictures, label):
            image.write(folder / label / f"{written:06d}.png", pixels)
            written += 1
        on_done(written)
    return written


def draw(
    models: Loaded,
    folder: Path,
    *,
    count: int,
    seed: int,
    on_progress: Callable[[float], None] = lambda done: None,
) -> int:
    """Sample all classes in turn into ``folder/CLASS/NUMBER.png``.

    Returns:
        How many were written.
    """
    classes = spread(models.info.classes, (), count)
    made = plan(f"{folder}/", modality="image", count=count, classes=classes, format="png")
    options = SampleOptions(
        count=count, extent=models.learned.extent, classes=classes, seed=seed, batch=BATCH
    )
    return sum(1 for _ in run(models, made, options, on_progress=on_progress))


def check(models: Loaded) -> None:
    """Refuse a prior that has no such score.

    Raises:
        UsageError: it has fewer than two classes, or is not of images.
    """
    if models.info.spec.modality != "image" or len(models.info.classes) < 2:
        raise UsageError(f"--cas: {models.info.name} has no classes of images")


def _groups(
    jobs: Sequence[Job], classes: tuple[str, ...]
) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Neighbours of one class and size; what cannot be read is left out."""
    label, waiting = "", list[np.ndarray]()
    for job in jobs:
        if job.source is None:
            continue
        name = class_of(job.source, classes)
        try:
            pixels, _ = image.read(job.source)
        except VqtokError:
            continue
        full = len(waiting) == BATCH
        if waiting and (full or name != label or pixels.shape != waiting[0].shape):
            yield label, waiting
            waiting = []
        label = name
        waiting.append(pixels)
    if waiting:
        yield label, waiting


def _through(tokenizer: Any, pictures: list[np.ndarray], label: str) -> np.ndarray:
    import torch

    told = {"label": label} if label in labels_of(tokenizer) else {}
    with torch.inference_mode():
        codes = tokenizer.encode(torch.from_numpy(np.stack(pictures)))
        made = tokenizer.decode(codes, **told).float().cpu().numpy()
    return np.asarray(made)

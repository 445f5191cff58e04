"""The Classification Accuracy Score of a prior (Ravuri & Vinyals 2019, arXiv:1905.10887).

A classifier that is trained on samples alone, and tested on real images, is as good as the samples
are varied and true to their classes. Beside it stand those of real and of reconstructed images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vqtok.errors import UsageError, VqtokError
from vqtok.media import image
from vqtok.media.plan import Job
from vqtok.metrics.accuracy import Accuracy
from vqtok.pipeline import plans
from vqtok.pipeline.classify import class_of, classify
from vqtok.pipeline.prior_models import Loaded
from vqtok.pipeline.results import Failed
from vqtok.pipeline.sample import SampleOptions, run
from vqtok.pipeline.sample_plan import plan, spread
from vqtok.protocols import Coder

BATCH = 64

REAL, RECONSTRUCTED, SAMPLED = "real", "reconstructed", "sampled"


@dataclass(frozen=True)
class Row:
    """Holds the accuracy of one classifier.

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
    """Holds the Classification Accuracy Score of a prior.

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
        """Give one JSON line."""
        return {
            "model": self.model,
            "cas": {row.trained_on: round(row.accuracy, 6) for row in self.rows},
            "trained_on": {row.trained_on: row.images for row in self.rows},
            "samples_recognised": round(self.recognised, 6),
            "chance": round(self.chance, 6),
            "tested_on": self.tested,
        }


class Shown(Protocol):
    """Takes the progress of a part."""

    def goto(self, done: int) -> None:
        """Take how many items are finished."""
        ...


class Progress(Protocol):
    """Shows the progress of a part: ``total`` items, what is done to them, their name."""

    def __call__(self, total: int, verb: str, *, unit: str) -> AbstractContextManager[Shown]:
        """Begin a part."""
        ...


Train = Callable[[Path, Path], Iterator[int]]
"""Trains a classifier on a folder of images, into a folder: yields its steps, then each done."""


def score(
    models: Loaded,
    *,
    real: str,
    tests: Sequence[str],
    folder: Path,
    train: Train,
    progress: Progress,
    count: int | None = None,
    on_row: Callable[[Row], None] = lambda row: None,
) -> Scores:
    """Train classifiers on real, reconstructed and sampled images, and test them on real ones.

    Args:
        models: The prior and its tokenizer.
        real: Images to train on, in directories that are named as the prior's classes.
        tests: Images to test on, likewise.
        folder: For the images that are made, and the classifiers.
        train: Trains a classifier.
        progress: Shows each part.
        count: Samples; None: as many as there are real images.
        on_row: Called with each classifier.

    Raises:
        UsageError: the prior has fewer than two classes, or is not of images; an image in no
            directory named as a class.
        MediaError: an image cannot be read for a test, or written.
    """
    if models.info.spec.modality != "image" or len(models.info.classes) < 2:
        raise UsageError("--cas", f"{models.info.name} has no classes of images")
    jobs, tested = plans.for_evaluate([real]).jobs, plans.for_evaluate(tests).jobs
    folders = {REAL: Path(real), RECONSTRUCTED: folder / RECONSTRUCTED, SAMPLED: folder / SAMPLED}
    counts = {REAL: len(jobs)}
    with progress(len(jobs), "reconstructed", unit="images") as shown:
        counts[RECONSTRUCTED] = _reconstruct(jobs, models, folders[RECONSTRUCTED], shown)
    with progress(count or len(jobs), "sampled", unit="samples") as shown:
        counts[SAMPLED] = _sample(models, folders[SAMPLED], count or len(jobs), shown)
    rows = []
    for name, data in folders.items():
        output = folder / f"trained-on-{name}"
        steps = train(data, output)
        with progress(next(steps), f"trained on {data.name}", unit="steps") as shown:
            for step in steps:
                shown.goto(step)
        rows.append(Row(name, counts[name], _accuracy(output, tested, models.device)))
        on_row(rows[-1])
    made = plans.for_evaluate([str(folders[SAMPLED])]).jobs
    recognised = _accuracy(folder / f"trained-on-{REAL}", made, models.device)
    chance = 1 / len(models.info.classes)
    return Scores(models.info.name, tuple(rows), recognised, chance, len(tested))


def _reconstruct(jobs: Sequence[Job], models: Loaded, folder: Path, shown: Shown) -> int:
    """Write ``folder/CLASS/NUMBER.png`` for each image that can be read; return how many."""
    written = 0
    for label, pictures in _groups(jobs, models.info.classes):
        for pixels in _through(models.coder, pictures, label):
            image.write(folder / label / f"{written:06d}.png", pixels)
            written += 1
        shown.goto(written)
    return written


def _sample(models: Loaded, folder: Path, count: int, shown: Shown) -> int:
    """Write samples of all classes in turn as ``folder/CLASS/NUMBER.png``; return how many."""
    classes = spread(models.info.classes, (), count)
    made = plan(f"{folder}/", modality="image", count=count, classes=classes, format="png")
    options = SampleOptions(
        count=count, extent=models.learned.extent, classes=classes, seed=0, batch=BATCH
    )
    results = run(models, made, options, on_progress=lambda done: shown.goto(int(done)))
    return sum(1 for _ in results)


def _accuracy(folder: Path, jobs: Sequence[Job], device: str) -> float:
    """Measure how often a classifier names the class of an image.

    Raises:
        VqtokError: an image that cannot be read.
    """
    from vqtok.checkpoints import classifiers

    found = Accuracy(folder.name, chance=0.0)
    for each in classify(classifiers.load(folder, device=device), jobs):
        if isinstance(each, Failed):
            raise each.error
        found.add(each.label, right=each.right)
    return found.share


def _groups(
    jobs: Sequence[Job], classes: tuple[str, ...]
) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Group neighbours of one class and size; what cannot be read is left out."""
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


def _through(coder: Coder, pictures: list[np.ndarray], label: str) -> np.ndarray:
    known = label if label in coder.labels else None
    return coder.round_trip(np.stack(pictures), label=known).x

"""Which class images are taken for, and how often that is the name of their directory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vqtok.errors import UsageError, VqtokError
from vqtok.media import image
from vqtok.pipeline.labels import directory_label
from vqtok.pipeline.plans import Job
from vqtok.pipeline.results import Failed
from vqtok.protocols import Classifier

BATCH = 64
"""Images of one size that are looked at together."""


@dataclass(frozen=True)
class Classified:
    """One image.

    Attributes:
        source: The file.
        label: The class that its directory names.
        found: The likeliest class.
        probability: Of the class that the directory names.
    """

    source: Path | None
    label: str
    found: str
    probability: float

    @property
    def right(self) -> bool:
        """Whether the two are the same."""
        return self.label == self.found

    def to_json(self) -> dict[str, Any]:
        """Returns one JSON line."""
        return {
            "source": str(self.source or "-"),
            "class": self.label,
            "found": self.found,
            "probability": round(self.probability, 6),
        }


def classify(
    classifier: Classifier, jobs: Iterable[Job], *, label: str | None = None
) -> Iterator[Classified | Failed]:
    """Look at images, neighbours of one size together.

    Args:
        classifier: In evaluation mode.
        jobs: Images.
        label: Class of all of them; None: the end of each file's directory that is a class.

    Yields:
        One result per image, in order.

    Raises:
        UsageError: a label that is no class.
    """
    if label is not None and label not in classifier.classes:
        raise UsageError(f"--label {label}", f"no class of {classifier.name}")
    waiting: list[tuple[Path | None, str, np.ndarray]] = []
    for job in jobs:
        try:
            if job.source is None:
                raise UsageError("-", "a classifier looks at files", hint="name them")
            pixels, _ = image.read(job.source)
            name = label or class_of(job.source, classifier.classes)
        except VqtokError as error:
            yield from _look(classifier, waiting)
            waiting = []
            yield Failed(job.source, error)
            continue
        if waiting and (len(waiting) == BATCH or waiting[0][2].shape != pixels.shape):
            yield from _look(classifier, waiting)
            waiting = []
        waiting.append((job.source, name, pixels))
    yield from _look(classifier, waiting)


def class_of(path: Path, classes: Sequence[str]) -> str:
    """Return the longest end of a file's directory that is a class.

    Raises:
        UsageError: none is.
    """
    return directory_label(path, classes, what="class of the classifier")


def _look(
    classifier: Classifier, waiting: list[tuple[Path | None, str, np.ndarray]]
) -> Iterator[Classified]:
    if not waiting:
        return
    import torch

    x = torch.from_numpy(np.stack([pixels for _, _, pixels in waiting]))
    shares = classifier.probabilities(x).cpu().numpy()
    for (source, label, _), row in zip(waiting, shares, strict=True):
        found = classifier.classes[int(row.argmax())]
        yield Classified(source, label, found, float(row[classifier.classes.index(label)]))

"""Accuracy of a classifier: how often it names the right class. Standard library only."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from vqtok.metrics.metric import Metric


@dataclass
class Accuracy:
    """Counts how often a classifier is right.

    Attributes:
        model: NAME of the classifier.
        chance: Share that guessing gives: 1 of the classes.
        right: Images by class, those that were recognised.
        all: Images by class.
    """

    model: str
    chance: float
    right: Counter[str] = field(default_factory=Counter)
    all: Counter[str] = field(default_factory=Counter)

    def add(self, label: str, *, right: bool) -> None:
        """Count an image of the class ``label``."""
        self.all[label] += 1
        self.right[label] += right

    @property
    def share(self) -> float:
        """Divide the recognised images by all, 0 to 1."""
        return self.right.total() / self.all.total() if self.all else 0.0

    def by_class(self) -> dict[str, float]:
        """Give the share of each class, sorted by name."""
        return {name: self.right[name] / count for name, count in sorted(self.all.items())}

    def to_json(self) -> dict[str, Any]:
        """Give one JSON line."""
        return {
            "model": self.model,
            "images": self.all.total(),
            "accuracy": round(self.share, 6),
            "chance": round(self.chance, 6),
            "classes": {name: round(share, 6) for name, share in self.by_class().items()},
        }


ACCURACY = Metric("accuracy", "accuracy", "", ".1%", True)

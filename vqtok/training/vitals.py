"""What the watch over a run remembers, as numbers that are saved with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class LevelVitals:
    """Of one level of codes.

    Attributes:
        commitment: Sum of its commitment term over the window's steps.
        best_use: Highest share of its entries used in any window.
        restarts: Times its codebook was placed anew.
    """

    commitment: float = 0.0
    best_use: float = 0.0
    restarts: int = 0


@dataclass
class Vitals:
    """What the watch remembers.

    Attributes:
        skipped: Steps without an update because the loss or a gradient was not finite.
        in_a_row: How many of them were the latest steps.
        rate_scale: Factor of the learning rate.
        steps: Of the present window, with placed codebooks.
        rest: Sum of all terms but the commitments over these.
        levels: Of each level of codes.
    """

    skipped: int = 0
    in_a_row: int = 0
    rate_scale: float = 1.0
    steps: int = 0
    rest: float = 0.0
    levels: list[LevelVitals] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Numbers by name; those of the second level end in ".1", and so on."""
        data = asdict(self)
        for index, level in enumerate(data.pop("levels")):
            data |= {_key(name, index): value for name, value in level.items()}
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any], *, levels: int = 1) -> Vitals:
        """From a run's state; what is missing or unknown is left at its start.

        Args:
            data: What ``to_json`` gave.
            levels: Of codes.
        """
        start = cls()
        _take(start, data)
        for index in range(levels):
            level = LevelVitals()
            _take(level, {name: data.get(_key(name, index)) for name in asdict(level)})
            start.levels.append(level)
        return start


def _take(vitals: Vitals | LevelVitals, data: Mapping[str, Any]) -> None:
    for name, value in asdict(vitals).items():
        found = data.get(name)
        if isinstance(found, int | float) and not isinstance(value, list):
            setattr(vitals, name, type(value)(found))


def _key(name: str, index: int) -> str:
    return f"{name}.{index}" if index else name

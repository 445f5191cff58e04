"""What the files of a run are like, by the headers of some of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from vqtok.errors import MediaError
from vqtok.media import image
from vqtok.media.items import Place
from vqtok.pipeline.signals import opened
from vqtok.training.data.audio import read_info
from vqtok.training.data.files import Kind

SURVEYED = 256
"""Files at most whose headers are read, evenly spread over the list."""


@dataclass(frozen=True)
class Survey:
    """Describes files; those that cannot be read are left out.

    Attributes:
        kind: "image" or "audio".
        count: How many there are.
        sides: (height, width) in pixels of some images.
        seconds: Durations of some recordings.
        rates: Hz of these, each once, sorted.
    """

    kind: Kind
    count: int
    sides: tuple[tuple[int, int], ...] = ()
    seconds: tuple[float, ...] = ()
    rates: tuple[int, ...] = ()

    def to_json(self, *, labels: Sequence[str] = ()) -> dict[str, Any]:
        """Sum up the survey for the card and a rehearsal.

        Args:
            labels: Names of classes or speakers, if the run uses them.

        Returns:
            "kind", "files", "labels", "probed" (headers that could be read); of images "smallest",
            "median" and "largest", each [height, width], by their pixels; of audio "shortest_s",
            "median_s", "longest_s", "rates" and "hours", which is estimated unless all were probed.
        """
        probed = len(self.sides) or len(self.seconds)
        facts: dict[str, Any] = {
            "kind": self.kind, "files": self.count, "labels": list(labels), "probed": probed,
        }  # fmt: skip
        if self.sides:
            sizes = sorted(self.sides, key=lambda size: (size[0] * size[1], size))
            facts |= {
                "smallest": list(sizes[0]),
                "median": list(sizes[len(sizes) // 2]),
                "largest": list(sizes[-1]),
            }
        if self.seconds:
            # Of few files all were tried: those that cannot be read last no time.
            count = self.count if self.count > SURVEYED else probed
            facts |= {
                "shortest_s": min(self.seconds),
                "median_s": statistics.median(self.seconds),
                "longest_s": max(self.seconds),
                "rates": list(self.rates),
                "hours": statistics.fmean(self.seconds) * count / 3600,
            }
        return facts


def survey(files: Sequence[Place], kind: Kind) -> Survey:
    """Read the headers of at most ``SURVEYED`` files."""
    sides: list[tuple[int, int]] = []
    seconds: list[float] = []
    rates: set[int] = set()
    some = min(len(files), SURVEYED)
    for number in range(some):
        file = files[number * len(files) // some]
        with suppress(MediaError, OSError):
            if kind == "audio":
                info = read_info(file)
                seconds.append(info.duration_s)
                rates.add(info.rate)
                continue
            with opened(file) as source:
                size = image.probe(source)
            sides.append((size.height, size.width))
    return Survey(kind, len(files), tuple(sides), tuple(seconds), tuple(sorted(rates)))

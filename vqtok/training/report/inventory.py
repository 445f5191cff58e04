"""What the data of a run is, in a few numbers: for the card and for a rehearsal."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from vqtok.errors import MediaError
from vqtok.media import image
from vqtok.media.items import Place
from vqtok.training.data import reading

PROBED = 200
"""Files at most whose headers are read, evenly spread over the list."""


def inventory(places: Sequence[Place], *, kind: str, labels: Sequence[str] = ()) -> dict[str, Any]:
    """Describe files by the headers of some of them.

    Args:
        places: Files and members of tars.
        kind: "image" or "audio".
        labels: Names of classes or speakers, if the run uses them.

    Returns:
        JSON data: "kind", "files", "labels", "probed" (how many headers could be read) and
        - of images "smallest", "median" and "largest", each [height, width], by their pixels;
        - of audio "shortest_s", "median_s", "longest_s", "rates" (Hz, sorted) and "hours", which
          is estimated unless all were probed.
        What cannot be read is left out.
    """
    every = -(-len(places) // PROBED) if places else 1
    some = places[::every]
    facts: dict[str, Any] = {
        "kind": kind, "files": len(places), "labels": list(labels), "probed": 0,
    }  # fmt: skip
    return facts | (_images(some) if kind == "image" else _recordings(some, of=len(places)))


def _images(places: Sequence[Place]) -> dict[str, Any]:
    sizes = []
    for place in places:
        with suppress(MediaError, OSError):
            with reading.opened(place) as source:
                found = image.probe(source)
            sizes.append((found.height, found.width))
    if not sizes:
        return {}
    sizes.sort(key=lambda size: (size[0] * size[1], size))
    return {
        "probed": len(sizes),
        "smallest": list(sizes[0]),
        "median": list(sizes[len(sizes) // 2]),
        "largest": list(sizes[-1]),
    }


def _recordings(places: Sequence[Place], *, of: int) -> dict[str, Any]:
    durations, rates = [], set()
    for place in places:
        with suppress(MediaError, OSError):
            found = reading.facts(place)
            durations.append(found.duration_s)
            rates.add(found.rate)
    if not durations:
        return {}
    return {
        "probed": len(durations),
        "shortest_s": min(durations),
        "median_s": statistics.median(durations),
        "longest_s": max(durations),
        "rates": sorted(rates),
        "hours": statistics.fmean(durations) * (of if len(places) < of else len(durations)) / 3600,
    }

"""What a folder of media holds, by the headers of some of its files."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vqtok.codes import rates
from vqtok.errors import VqtokError
from vqtok.media.inputs import inputs_of
from vqtok.pipeline.facts import Rows

LOOKED_AT = 256
"""Files of each kind at most whose headers are read, evenly spread over the folder."""


@dataclass(frozen=True)
class FolderFacts:
    """Describes a folder of media, with all that is below it.

    Attributes:
        subject: The folder.
        counts: Files of each kind: "image", "audio", "codes".
        left_out: Other files by suffix; how many.
        looked_at: Files of each kind whose headers were read.
        formats: Of these, by kind and format; how many.
        sides: (height, width) in pixels of the images among them.
        seconds: Durations of the recordings among them.
        rates_hz: Sampling rates of these, each once, sorted.
        failures: What could not be read, each with its reason.
    """

    subject: str
    counts: dict[str, int]
    left_out: dict[str, int]
    looked_at: dict[str, int]
    formats: dict[str, dict[str, int]]
    sides: tuple[tuple[int, int], ...]
    seconds: tuple[float, ...]
    rates_hz: tuple[int, ...]
    failures: tuple[VqtokError, ...]

    @property
    def hours(self) -> float:
        """Return the hours of all recordings; an estimate unless all headers were read."""
        if not self.seconds:
            return 0.0
        sound = len(self.seconds) / self.looked_at["audio"]
        return statistics.fmean(self.seconds) * sound * self.counts["audio"] / 3600

    def to_json(self) -> dict[str, Any]:
        """Return JSON data."""
        data: dict[str, Any] = {
            "subject": self.subject,
            "kind": "folder",
            "files": self.counts,
            "left_out": self.left_out,
            "looked_at": self.looked_at,
            "formats": self.formats,
            "unreadable": [{"file": e.subject, "error": e.reason} for e in self.failures],
        }
        if self.sides:
            data["pixels"] = {name: list(size) for name, size in _spread(self.sides).items()}
        if self.seconds:
            spread = {name: round(value, 3) for name, value in _spread(self.seconds).items()}
            data["seconds"] = spread
            data["rates_hz"] = list(self.rates_hz)
            data["hours"] = round(self.hours, 4)
        return data

    def rows(self) -> Rows:
        """Return what people want to know first, first."""
        rows = [("kind", "folder of media")]
        if self.counts.get("image"):
            rows.append(("images", self._count("image")))
            if self.sides:
                spread = _spread(self.sides)
                sizes = (f"{name} {w} × {h}" for name, (h, w) in spread.items())
                rows.append(("sizes", f"{', '.join(sizes)} pixels"))
        if self.counts.get("audio"):
            rows.append(("recordings", self._count("audio")))
            if self.seconds:
                spread_s = _spread(self.seconds)
                lengths = (f"{name} {rates.digits(each)}" for name, each in spread_s.items())
                rows += [
                    ("lengths", f"{', '.join(lengths)} s; {rates.digits(self.hours)} hours in all"),
                    ("sampling", ", ".join(f"{rate} Hz" for rate in self.rates_hz)),
                ]
        if self.counts.get("codes"):
            rows.append(("codes", f"{self.counts['codes']} files"))
        if self.left_out:
            each = ", ".join(f"{count} {name}" for name, count in self.left_out.items())
            rows.append(("others", each))
        if self.failures:
            rows.append(("unreadable", f"{len(self.failures)}: {self.failures[0]}"))
        return rows

    def _count(self, kind: str) -> str:
        found = ", ".join(f"{count} {name}" for name, count in self.formats[kind].items())
        some = self.looked_at[kind] < self.counts[kind]
        where = f"of {self.looked_at[kind]} that were looked at " if some else ""
        return f"{self.counts[kind]} ({where}{found})"


def folder_facts(path: Path) -> FolderFacts:
    """Look through a folder.

    Raises:
        MediaError: nothing in it is an image, a recording or codes.
    """
    from vqtok.media import audio, image

    found = inputs_of([str(path)], ("image", "audio", "codes"))
    failures = [error for _, error in found.failures]
    files: dict[str, list[Path]] = {}
    for item in found.items:
        if item.path is not None:
            files.setdefault(item.kind, []).append(item.path)
    if not files:
        raise failures[0]
    sides, seconds, hertz = [], [], set()
    formats: dict[str, Counter[str]] = {"image": Counter(), "audio": Counter()}
    looked_at = {kind: _some(files.get(kind, [])) for kind in formats}
    for kind, paths in looked_at.items():
        for each in paths:
            try:
                if kind == "image":
                    picture = image.probe(each)
                    sides.append((picture.height, picture.width))
                    formats[kind][picture.format] += 1
                else:
                    sound = audio.probe(each)
                    seconds.append(sound.duration_s)
                    hertz.add(sound.rate)
                    formats[kind][sound.format] += 1
            except VqtokError as error:
                failures.append(error)
    return FolderFacts(
        subject=str(path),
        counts={kind: len(paths) for kind, paths in sorted(files.items())},
        left_out=dict(sorted(found.left_out.counts.items())),
        looked_at={kind: len(paths) for kind, paths in looked_at.items() if paths},
        formats={kind: dict(each.most_common()) for kind, each in formats.items()},
        sides=tuple(sides),
        seconds=tuple(seconds),
        rates_hz=tuple(sorted(hertz)),
        failures=tuple(failures),
    )


def _some(paths: Sequence[Path]) -> list[Path]:
    count = min(len(paths), LOOKED_AT)
    return [paths[number * len(paths) // count] for number in range(count)]


Value = TypeVar("Value", tuple[int, int], float)


def _spread(values: Sequence[Value]) -> dict[str, Value]:
    """Pick the smallest, median and largest; sizes by their area."""
    ordered = sorted(values, key=lambda each: (_area(each), each))
    return {"from": ordered[0], "median": ordered[len(ordered) // 2], "to": ordered[-1]}


def _area(value: tuple[int, int] | float) -> float:
    return value[0] * value[1] if isinstance(value, tuple) else value

"""A few files of an evaluation as data URIs: originals, reconstructions and their errors.

What is kept is bounded: so many files, so many pixels or seconds of each.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from vqtok.media import audio
from vqtok.media.image.pixels import to_uint8
from vqtok.pipeline.results import label as name_of
from vqtok.plots.comparison import ERROR_DB, SHOWN_DB, error_map
from vqtok.plots.sheet import colour_map

if TYPE_CHECKING:
    from markupsafe import Markup

    from vqtok.media.plan import Job
    from vqtok.pipeline.compare import Compared
    from vqtok.pipeline.evaluated import ItemReport

SIDE = 512
"""Pixels of a side: of larger pictures the middle is shown, pixel by pixel."""

SECONDS = 10
"""Of longer recordings the start is heard."""

CHANNELS = 2
"""Of recordings with more, the first ones are heard."""


@dataclass(frozen=True)
class View:
    """One version of a file.

    Attributes:
        label: "original", or of the row.
        media: Data URI: of pictures a PNG, of recordings a FLAC.
        spectrogram: Of recordings: a PNG.
        error: Data URI of a map of the error; "" of the original.
        report: What was measured; None of the original.
    """

    label: str
    media: str
    spectrogram: str = ""
    error: str = ""
    report: ItemReport | None = None


@dataclass
class Example:
    """One file.

    Attributes:
        name: The file.
        modality: "image" or "audio".
        note: What part of it is shown; "" for all of it.
        size: (width, height) of a picture as it is shown; (0, 0) of a recording.
        views: The original first.
    """

    name: str
    modality: str
    note: str = ""
    size: tuple[int, int] = (0, 0)
    views: list[View] = field(default_factory=list)


class Examples:
    """Collects some of the files, evenly spaced over those of each kind.

    Args:
        jobs: All files to come.
        limit: Files of each kind that are kept at most.
    """

    def __init__(self, jobs: Sequence[Job], *, limit: int) -> None:
        self._wanted: set[tuple[object, str]] = set()
        for kind in ("image", "audio"):
            found = [job for job in jobs if job.kind == kind]
            count = min(limit, len(found))
            self._wanted |= {_key(found[i * len(found) // count]) for i in range(count)}
        self._begun: Example | None = None
        self.found: list[Example] = []

    def pair(self, job: Job, label: str, x: np.ndarray, y: np.ndarray, rate: int | None) -> None:
        """See one reconstruction of a file; nothing happens if the file is not wanted.

        Args:
            job: The file.
            label: Of the row.
            x: Original, (3, H, W) or (C, L) in [-1, 1].
            y: Reconstruction, the same shape.
            rate: Hz of a recording.
        """
        if _key(job) not in self._wanted:
            return
        if self._begun is None:
            self._begun = Example(name_of(job.source), job.kind)
        if rate is None:
            self._begun.views += _pictures(self._begun, label, x, y)
        else:
            self._begun.views += _recordings(self._begun, label, x, y, rate)

    def finish(self, compared: Compared | None) -> None:
        """End a file; None: it failed, and what was seen of it is forgotten."""
        begun, self._begun = self._begun, None
        if begun is None or compared is None:
            return
        original, *others = begun.views
        by_label = {view.label: view for view in others}
        # In the order of the rows, which need not be that of the work.
        rows = [
            View(v.label, v.media, v.spectrogram, v.error, report)
            for label, report in compared.reports.items()
            for v in [by_label[label]]
        ]
        begun.views = [original, *rows]
        self.found.append(begun)


def _pictures(example: Example, label: str, x: np.ndarray, y: np.ndarray) -> list[View]:
    height, width = x.shape[1:]
    rows, columns = _middle(height), _middle(width)
    a, b = (to_uint8(each[:, rows, columns]).transpose(1, 2, 0) for each in (x, y))
    views = []
    if not example.views:
        example.size = (a.shape[1], a.shape[0])
        if a.shape[:2] != (height, width):
            example.note = f"the middle {a.shape[1]}x{a.shape[0]} of {width}x{height} pixels"
        views.append(View("original", _png(Image.fromarray(a))))
    error = _png(_coloured(error_map(a, b)))
    return [*views, View(label, _png(Image.fromarray(b)), error=error)]


def _recordings(
    example: Example, label: str, x: np.ndarray, y: np.ndarray, rate: int
) -> list[View]:
    import torch

    from vqtok.pipeline.pictures import log_mel

    part = slice(0, SECONDS * rate)
    a, b = (np.ascontiguousarray(each[:CHANNELS, part]) for each in (x, y))
    mels = [log_mel(torch.from_numpy(each[:1]), rate=rate)[::-1] for each in (a, b)]
    top, shown = float(mels[0].max()), SHOWN_DB / 20.0
    original, decoded = (_png(_coloured((mel - top) / shown + 1)) for mel in mels)
    views = []
    if not example.views:
        notes = [f"the first {SECONDS} s"] * (x.shape[1] > a.shape[1])
        notes += [f"the first {CHANNELS} of {len(x)} channels"] * (len(x) > CHANNELS)
        example.note = ", ".join(notes)
        views.append(View("original", _flac(a, rate), original))
    error = _png(_coloured(np.abs(mels[0] - mels[1]) * (20.0 / ERROR_DB)))
    return [*views, View(label, _flac(b, rate), decoded, error)]


def _middle(length: int) -> slice:
    start = max(0, length - SIDE) // 2
    return slice(start, start + min(length, SIDE))


def _coloured(values: np.ndarray) -> Image.Image:
    """Numbers from 0, black, to 1, bright yellow, as a picture with a palette: small files."""
    steps = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(steps))
    palette = colour_map(np.arange(256)[None] / 255)[0]
    image.putpalette(palette.tobytes())
    return image


def _png(image: Image.Image) -> Markup:
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return _uri("image/png", out.getvalue())


def _flac(samples: np.ndarray, rate: int) -> Markup:
    out = io.BytesIO()
    with audio.Writer(out, rate, len(samples), "flac", length=samples.shape[1]) as writer:
        writer.write(samples)
    return _uri("audio/flac", out.getvalue())


def _uri(kind: str, data: bytes) -> Markup:
    from markupsafe import Markup

    return Markup(f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}")


def _key(job: Job) -> tuple[object, str]:
    return job.source, job.kind

"""An evaluation as one HTML file: tables, plots, examples. Nothing in it asks for a network.

The page is the same for the same results: it holds no times and no speeds. Its own policy forbids
every request, and every script and style but the two that it holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vqtok import __version__, atomic
from vqtok.errors import MediaError
from vqtok.media.opening import os_message
from vqtok.pipeline import html
from vqtok.pipeline.compare import Compared
from vqtok.pipeline.report import sections
from vqtok.pipeline.report.examples import Examples
from vqtok.pipeline.report.sections import TITLES
from vqtok.pipeline.results import Failed
from vqtok.plots import quality

if TYPE_CHECKING:
    from vqtok.media.plan import Job
    from vqtok.pipeline.evaluated import Summary

PACKAGE = "vqtok.pipeline.report"

POINTS = 400
"""Files of each kind that are drawn as points: with more, every so many-th."""

SMALL = 112
"""Pixels of the longer side up to which a picture is enlarged without smoothing."""

NAMED = 50
"""Failures that are listed."""


class Report:
    """Collects what a page shows, while the files are compared.

    Args:
        jobs: All files to come.
        examples: Files of each kind to show and hear at most.
    """

    def __init__(self, jobs: Sequence[Job], *, examples: int) -> None:
        self._examples = Examples(jobs, limit=examples)
        counts = {kind: sum(job.kind == kind for job in jobs) for kind in TITLES}
        self._every = {kind: max(1, math.ceil(n / POINTS)) for kind, n in counts.items()}
        self._seen = dict.fromkeys(TITLES, 0)
        self._points: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
        self._failed: list[Failed] = []
        self._failures = 0

    def pair(self, job: Job, label: str, x: np.ndarray, y: np.ndarray, rate: int | None) -> None:
        """See a file and what became of it in one row: ``compare.OnPair``."""
        self._examples.pair(job, label, x, y, rate)

    def finish(self, result: Compared | Failed) -> None:
        """Take one file's results, in all rows."""
        if isinstance(result, Failed):
            self._examples.finish(None)
            self._failures += 1
            if len(self._failed) < NAMED:
                self._failed.append(result)
            return
        self._examples.finish(result)
        kind = result.modality
        self._seen[kind] += 1
        if (self._seen[kind] - 1) % self._every[kind]:
            return
        for label, report in result.reports.items():
            for name, value in report.values.items():
                if report.rate is not None and math.isfinite(value):
                    points = self._points.setdefault((kind, label, name), [])
                    points.append((report.rate, value))

    def write(
        self, target: Path, summaries: Sequence[Summary], *, likes: Mapping[str, str]
    ) -> None:
        """Write the page, whole or not at all.

        Args:
            target: The file.
            summaries: Of all rows, kind by kind.
            likes: Kind → the model whose bits the classical codecs got.

        Raises:
            MediaError: it cannot be written.
        """
        page = html.template(PACKAGE, "page.html.j2", finalize=sections.shown).stream(
            **self._contents(summaries, likes)
        )
        try:
            with atomic.file(target) as temporary:
                page.dump(str(temporary), encoding="utf-8")
        except OSError as error:
            raise MediaError(target, f"cannot write: {os_message(error)}") from error

    def _contents(self, summaries: Sequence[Summary], likes: Mapping[str, str]) -> dict[str, Any]:
        from markupsafe import Markup

        # By model and not by row: it looks alike in every table, plot and caption of the page.
        numbers = {model: n for n, model in enumerate(dict.fromkeys(s.model for s in summaries))}
        shown = []
        for kind in TITLES:
            rows = [each for each in summaries if each.modality == kind]
            examples = [each for each in self._examples.found if each.modality == kind]
            if rows:
                shown.append(
                    sections.section(rows, likes.get(kind), self._points, examples, numbers)
                )
        style, script = (Markup(html.asset(PACKAGE, name)) for name in ("style.css", "script.js"))
        return {
            "title": "Evaluation of " + " and ".join(each.files for each in shown),
            "policy": "default-src 'none'; img-src data:; media-src data:; base-uri 'none'; "
            f"form-action 'none'; style-src {html.hashed(style)}; script-src {html.hashed(script)}",
            "style": style,
            "script": script,
            "version": __version__,
            "sections": shown,
            "failed": self._failed,
            "failures": self._failures,
            "numbers": numbers,
            "small": SMALL,
            "mark": quality.mark,
            "colour": quality.colour,
            "measured": sections.measured,
        }

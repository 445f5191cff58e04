"""An evaluation as one HTML file: tables, plots, examples. Nothing in it asks for a network.

The page is the same for the same results: it holds no times and no speeds. Its own policy forbids
every request, and every script and style but the two that it holds.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vqtok import __version__, atomic
from vqtok.codes import rates
from vqtok.errors import MediaError
from vqtok.media.opening import os_message
from vqtok.metrics.metric import Metric
from vqtok.pipeline.compare import Compared
from vqtok.pipeline.report import sections
from vqtok.pipeline.report.examples import Examples
from vqtok.pipeline.report.sections import TITLES
from vqtok.pipeline.results import Failed
from vqtok.plots import quality

if TYPE_CHECKING:
    from vqtok.media.plan import Job
    from vqtok.pipeline.evaluated import Summary

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
"""

POINTS = 400
"""Files of each kind that are drawn as points: with more, every so many-th."""

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

    def settle(self, result: Compared | Failed) -> None:
        """Take one file's results, in all rows."""
        if isinstance(result, Failed):
            self._examples.settle(None)
            self._failures += 1
            if len(self._failed) < NAMED:
                self._failed.append(result)
            return
        self._examples.settle(result)
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
        try:
            with atomic.file(target) as temporary, temporary.open("w", encoding="utf-8") as page:
                page.writelines(self._page(summaries, likes))
        except OSError as error:
            raise MediaError(f"{target}: cannot write: {os_message(error)}") from error

    def _page(self, summaries: Sequence[Summary], likes: Mapping[str, str]) -> Iterator[str]:
        style, script = (_asset(name) for name in ("style.css", "script.js"))
        kinds = [kind for kind in TITLES if any(each.modality == kind for each in summaries)]
        title = "Evaluation of " + " and ".join(
            sections.count(next(s.files for s in summaries if s.modality == kind), kind)
            for kind in kinds
        )
        policy = (
            "default-src 'none'; img-src data:; media-src data:; base-uri 'none'; "
            f"form-action 'none'; style-src {_hash(style)}; script-src {_hash(script)}"
        )
        yield _HEAD.format(policy=policy, title=escape(title), style=style)
        yield f'<a class="skip" href="#main">To the results</a>\n<h1>{escape(title)}</h1>\n'
        yield '<main id="main">\n'
        for kind in kinds:
            rows = [each for each in summaries if each.modality == kind]
            yield from self._kind(kind, rows, likes.get(kind))
        yield from self._failure_list()
        yield f"</main>\n<footer><p>vqtok {__version__}</p></footer>\n"
        yield f"<script>{script}</script>\n</body>\n</html>\n"

    def _kind(self, kind: str, rows: Sequence[Summary], like: str | None) -> Iterator[str]:
        title = TITLES[kind]
        yield f'<section aria-labelledby="{kind}">\n<h2 id="{kind}">{title}</h2>\n'
        yield sections.table(rows, like)
        yield '<div class="row">\n'
        for column in rows[0].columns:
            if column.higher_is_better is not None:
                yield self._plot(kind, column, rows)
        yield "</div>\n"
        shown = [each for each in self._examples.found if each.modality == kind]
        if shown:
            yield f"<h2>Examples: {len(shown)} of {sections.count(rows[0].files, kind)}</h2>\n"
            yield f'<p class="note">{sections.ABOUT[kind]}</p>\n'
        for example in shown:
            yield from sections.example_of(example)
        yield from sections.codebooks(kind, rows)
        yield "<details><summary>How the numbers are measured</summary>\n<ul>\n"
        for line in dict.fromkeys(line for each in rows for line in each.protocol):
            yield f"<li>{escape(line)}</li>\n"
        yield "</ul></details>\n</section>\n"

    def _plot(self, kind: str, column: Metric, rows: Sequence[Summary]) -> str:
        series = []
        for number, row in enumerate(rows):
            mean = (row.rate_statistic.mean, row.statistics[column.name].mean)
            if all(math.isfinite(value) for value in mean):
                points = self._points.get((kind, row.model, column.name), [])
                series.append(quality.Series(number, sections.shown(row.model), points, mean))
        if not series:
            return ""
        name = f"{kind}-{column.name}"
        return quality.draw(series, x=rates.unit(kind).symbol, y=column.heading, name=name)

    def _failure_list(self) -> Iterator[str]:
        if not self._failures:
            return
        yield '<section aria-labelledby="failed">\n'
        yield f'<h2 id="failed">{self._failures} left out</h2>\n'
        yield "<p>What failed in one row counts in none.</p>\n<ul>\n"
        for each in self._failed:
            yield f"<li>{sections.text_of(str(each.error))}</li>\n"
        if self._failures > len(self._failed):
            yield f"<li>and {self._failures - len(self._failed)} more</li>\n"
        yield "</ul>\n</section>\n"


def _asset(name: str) -> str:
    return files("vqtok.pipeline.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """How the page's policy names the one script, or style, that may be there."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"

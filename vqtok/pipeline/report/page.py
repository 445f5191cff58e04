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
from vqtok.errors import MediaError, one_line
from vqtok.media.opening import os_message
from vqtok.metrics.report import Column
from vqtok.pipeline.compare import Compared
from vqtok.pipeline.evaluated import CONTINUOUS
from vqtok.pipeline.report import plots
from vqtok.pipeline.report.examples import Example, Examples, View
from vqtok.pipeline.results import Failed

if TYPE_CHECKING:
    from vqtok.media.plan import Job
    from vqtok.pipeline.evaluated import ItemReport, Summary

POINTS = 400
"""Files of each kind that are drawn as points: with more, every so many-th."""

NAMED = 50
"""Failures that are listed."""

TITLES = {"image": "Images", "audio": "Recordings"}
UNITS = {"image": "bits/pixel", "audio": "kbit/s"}


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
            _count(next(s.files for s in summaries if s.modality == kind), kind) for kind in kinds
        )
        policy = (
            "default-src 'none'; img-src data:; media-src data:; base-uri 'none'; "
            f"form-action 'none'; style-src {_hash(style)}; script-src {_hash(script)}"
        )
        yield f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{policy}">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n'
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
        yield _table(rows, like)
        yield '<div class="row">\n'
        for column in rows[0].columns:
            if column.higher_is_better is not None:
                yield self._plot(kind, column, rows)
        yield "</div>\n"
        shown = [each for each in self._examples.found if each.modality == kind]
        if shown:
            yield f"<h2>Examples: {len(shown)} of {_count(rows[0].files, kind)}</h2>\n"
            yield f'<p class="note">{_ABOUT[kind]}</p>\n'
        for example in shown:
            yield from _example(example)
        yield from _codebooks(kind, rows)
        yield "<details><summary>How the numbers are measured</summary>\n<ul>\n"
        for line in dict.fromkeys(line for each in rows for line in each.protocol):
            yield f"<li>{escape(line)}</li>\n"
        yield "</ul></details>\n</section>\n"

    def _plot(self, kind: str, column: Column, rows: Sequence[Summary]) -> str:
        series = []
        for number, row in enumerate(rows):
            mean = (row.rate_statistic.mean, row.statistics[column.name].mean)
            if all(math.isfinite(value) for value in mean):
                points = self._points.get((kind, row.model, column.name), [])
                series.append((number, plots.Series(row.model, points, mean)))
        if not series:
            return ""
        name = f"{kind}-{column.name}"
        return plots.rates(series, x=UNITS[kind], y=column.heading, name=name) + "\n"

    def _failure_list(self) -> Iterator[str]:
        if not self._failures:
            return
        yield f'<section aria-labelledby="failed">\n<h2 id="failed">{self._failures} left out</h2>\n'
        yield "<p>What failed in one row counts in none.</p>\n<ul>\n"
        for each in self._failed:
            yield f"<li>{_text(str(each.error))}</li>\n"
        if self._failures > len(self._failed):
            yield f"<li>and {self._failures - len(self._failed)} more</li>\n"
        yield "</ul>\n</section>\n"


_ABOUT = {
    "image": "The slider shows two versions one over the other; the arrow keys move it. Error maps "
    "are the difference in brightness, four times enlarged, black to yellow.",
    "audio": "A player that is started goes on where another one of the same recording stops. "
    "Spectrograms are log-mel, 80 dB, of the first channel; errors are 0 to 20 dB, black to yellow.",
}


def _table(rows: Sequence[Summary], like: str | None) -> str:
    """Means and spreads, the best mean of each column in bold type."""
    first, kind = rows[0], rows[0].modality
    has_over = any(row.classical for row in rows)
    heads = ["model", *(column.heading for column in first.columns), UNITS[kind], "by entropy"]
    heads += ["over"] * has_over
    caption = f"{_count(first.files, kind)}, mean ± standard deviation over files"
    caption += "; the best mean in bold type" if len(rows) > 1 else ""
    if has_over and like:
        caption += f"; over: files that take more bits than the codes of {like}"
    best = {c.name: _best(c, rows) for c in first.columns}
    out = [f'<div class="scroll" role="region" aria-label="{TITLES[kind]}: results" tabindex="0">']
    out.append(f"<table>\n<caption>{_text(caption)}</caption>\n<thead><tr>")
    out += [f'<th scope="col">{escape(head)}</th>' for head in heads]
    out.append("</tr></thead>\n<tbody>\n")
    for number, row in enumerate(rows):
        out.append(f'<tr><th scope="row">{plots.mark(number)}{_text(row.model)}</th>')
        for column in first.columns:
            found = row.statistics[column.name]
            text = f"{column.format(found.mean)} ± {column.format(found.sd)}"
            is_best = len(rows) > 1 and found.mean == best[column.name]
            out.append(f"<td>{f'<strong>{text}</strong>' if is_best else text}</td>")
        rate = CONTINUOUS if row.rate is None else f"{row.rate:.3f}"
        entropy = "-" if row.entropy_rate is None else f"{row.entropy_rate:.3f}"
        over = [str(row.over) if row.classical else ""] * has_over
        out += [f"<td>{cell}</td>" for cell in (rate, entropy, *over)]
        out.append("</tr>\n")
    return "".join([*out, "</tbody>\n</table></div>\n"])


def _best(column: Column, rows: Sequence[Summary]) -> float | None:
    means = [row.statistics[column.name].mean for row in rows]
    known = [mean for mean in means if not math.isnan(mean)]
    if column.higher_is_better is None or not known:
        return None
    return max(known) if column.higher_is_better else min(known)


def _example(example: Example) -> Iterator[str]:
    yield f'<article class="example" data-kind="{example.modality}">\n'
    yield f"<h3>{_text(example.name)}</h3>\n"
    if example.note:
        yield f'<p class="note">{escape(example.note)}</p>\n'
    yield '<div class="row">\n'
    show = _picture if example.modality == "image" else _recording
    for view in example.views:
        yield show(example, view)
    yield "</div>\n</article>\n"


def _picture(example: Example, view: View) -> str:
    out = _figure(_image(view.media, view.label, example), _caption(view))
    if view.error:
        name = f"error of {view.label}"
        out += _figure(_image(view.error, name, example), _text(name))
    return out


def _recording(example: Example, view: View) -> str:
    name = _text(f"{view.label}: {example.name}", quote=True)
    player = f'<audio controls preload="metadata" src="{view.media}" aria-label="{name}"></audio>'
    spectrogram = f'<img src="{view.spectrogram}" alt="spectrogram of {_text(view.label)}">'
    out = _figure(player + spectrogram, _caption(view))
    if view.error:
        error = f'<img src="{view.error}" alt="error of {_text(view.label)}">'
        out += _figure(error, _text(f"error of {view.label}"))
    return out


def _image(source: str, name: str, example: Example) -> str:
    width, height = example.size
    label = _text(name, quote=True)
    return (
        f'<img src="{source}" alt="{label}" data-name="{label}" width="{width}" height="{height}">'
    )


def _figure(content: str, caption: str) -> str:
    return f"<figure>{content}<figcaption>{caption}</figcaption></figure>\n"


def _caption(view: View) -> str:
    if view.report is None:
        return _text(view.label)
    return f"<b>{_text(view.label)}</b>: {escape(_measured(view.report))}"


def _measured(report: ItemReport) -> str:
    unit = UNITS[report.modality]
    words = [CONTINUOUS if report.rate is None else f"{report.rate:.3f} {unit}"]
    for column in report.columns:
        value = f"{column.title} {column.format(report.values[column.name])}"
        words.append(f"{value} {column.unit}".rstrip())
    return ", ".join(words)


def _codebooks(kind: str, rows: Sequence[Summary]) -> Iterator[str]:
    """Use of each level's codebook in each row that has one."""
    if all(row.codebook is None for row in rows):
        return
    yield '<h2>Codebooks</h2>\n<div class="row">\n'
    for number, row in enumerate(rows):
        for level, usage in row.levels.items():
            use = usage.total
            title = row.model if len(row.levels) == 1 else f"{row.model}, {level}"
            text = (
                f"{title}: {use.share:.1%} of {use.entries} entries used by {use.tokens} codes, "
                f"{use.entropy_bits:.2f} of {use.nominal_bits:.2f} bits per code"
            )
            stages = [[int(n) for n in stage] for stage in usage.used]
            text += f"; {len(stages)} stages, from dark to bright" if len(stages) > 1 else ""
            plot = plots.ranks(
                stages,
                entries=usage.codebook_size,
                name=f"{kind}-use-{number}-{_slug(level)}",
                title=f"Use of the codebook of {title}",
            )
            yield _figure(plot, _text(text))
    yield "</div>\n"


def _slug(text: str) -> str:
    return "".join(each if each.isalnum() else "-" for each in text)


def _count(files: int, kind: str) -> str:
    noun = TITLES[kind].lower() if files != 1 else TITLES[kind].lower()[:-1]
    return f"{files} {noun}"


def _text(text: str, *, quote: bool = False) -> str:
    """A name as HTML: one line, and bytes that are no UTF-8 spelled out."""
    shown = one_line(text).encode("utf-8", "backslashreplace").decode("utf-8")
    return escape(shown, quote=quote)


def _asset(name: str) -> str:
    return files("vqtok.pipeline.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """How the page's policy names the one script, or style, that may be there."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"

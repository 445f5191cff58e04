"""Several models and classical codecs of ``vqtok eval``: who they are, and their tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vqtok.cli import batch
from vqtok.cli.console import Console, Progress, table
from vqtok.errors import UsageError

if TYPE_CHECKING:
    from vqtok.media.plan import Job
    from vqtok.metrics.metric import Metric
    from vqtok.pipeline.compare import Coder, Compared
    from vqtok.pipeline.evaluated import ItemReport, Summary
    from vqtok.pipeline.models import Models

Loader = Callable[[str | None], "Models"]


def names_of(given: Sequence[str] | None, variable: str | None) -> list[str | None]:
    """What -m names; without it the environment's model, or the default of each kind of file."""
    return list(given) if given else [variable or None]


def is_classical(name: str | None) -> bool:
    """Whether -m means a codec. A directory of that name is meant by ``./jpeg``."""
    from vqtok.media.classical import KINDS

    return name in KINDS


def loader(console: Console, progress: Progress, *, device: str, threads: int | None) -> Loader:
    """Models by name, which say when they are loaded."""
    return lambda name: batch.models_for(
        console, progress, model=name, device=device, threads=threads
    )


def coders(names: Sequence[str | None], load: Loader) -> list[Coder]:
    """The rows, in order.

    Raises:
        UsageError: a model or codec that is named twice; something that is no tokenizer.
        CheckpointError: no such model.
    """
    from vqtok.pipeline import compare

    rows: list[Coder] = []
    seen: set[str] = set()
    for name in names:
        if name is not None and is_classical(name):
            row, place = compare.classical(name), name
        else:
            row, place = _model(load(name), alone=len(names) == 1)
        if place in seen:
            raise UsageError(f"-m {name}", "named twice")
        seen.add(place)
        if any(row.label == each.label for each in rows):  # another directory of the same name
            row = replace(row, label=str(name))
        rows.append(row)
    return rows


def _model(models: Models, *, alone: bool) -> tuple[Coder, str]:
    from vqtok.pipeline.compare import ALL, Coder

    info = models.named()
    # A model that is alone tells each file of another kind that it is not for it.
    kinds = ALL if alone or info is None else (info.spec.modality,)
    coder = Coder(
        "" if info is None else info.name,
        lambda kind: models.load(models.info_for_kind(kind)),
        kinds,
        has_codes=info is None or bool(info.spec.levels),
    )
    return coder, "" if info is None else str(info.path.resolve())


def targets(
    files: Sequence[str], rows: Sequence[Coder], *, output: str | None, force: bool
) -> Callable[[str, Job], Path | None]:
    """Where each row keeps its reconstruction of a file: in a folder of its own below -o.

    Raises:
        UsageError: something is in the way there.
    """
    from vqtok.pipeline import plans

    if output is None or len(rows) == 1:
        return lambda label, job: job.target
    if "{" in output:
        raise UsageError(f"-o {output}", "several models need a directory", hint="-o DIR/")
    found = {}
    for row in rows:
        folder = re.sub(r"[^\w.-]+", "-", row.label).strip(".-") or "model"
        plan = plans.for_evaluate(files, output=f"{output.rstrip('/')}/{folder}/", force=force)
        found[row.label] = {job.source: job.target for job in plan.jobs}
    return lambda label, job: found[label].get(job.source)


class Table:
    """Rows as they come: numbers of fixed width first, then names, which may be long."""

    def __init__(self, console: Console, rows: Sequence[Coder]) -> None:
        self._console, self._several = console, len(rows) > 1
        self._width = max(len("model"), *(len(row.label) for row in rows))
        self._modality = ""

    def row(self, compared: Compared) -> None:
        """A line for each model and codec; the heading when the kind of files changes."""
        for report in compared.reports.values():
            unit = unit_of(report)
            has_rate = report.rate is not None or self._several
            if report.modality != self._modality:
                self._modality = report.modality
                heads = [column.heading for column in report.columns]
                heads += [unit] * has_rate + [f"{'model':<{self._width}}"] * self._several
                self._console.result("  ".join([*heads, "file"]))
            cells = [
                f"{column.format(report.values[column.name]):>{len(column.heading)}}"
                for column in report.columns
            ]
            if has_rate:  # a model without codes has no column for it
                rate = "-" if report.rate is None else f"{report.rate:.3f}"
                cells.append(f"{rate:>{len(unit)}}")
            if self._several:
                cells.append(f"{report.model:<{self._width}}")
            name = "-" if report.source is None else str(report.source)
            self._console.result("  ".join([*cells, name]))


def unit_of(report: ItemReport | Summary) -> str:
    """The unit of a report's rate."""
    from vqtok.codes import rates

    return rates.unit(report.modality).symbol


def show(console: Console, summaries: Sequence[Summary], like: str | None) -> None:
    """One table of one kind of files: a row for each model and codec.

    Args:
        console: Where to.
        summaries: Of the same files.
        like: Whose bits the classical codecs got.
    """
    first = summaries[0]
    files = f"{first.files} {'image' if first.rate_hz is None else 'recording'}"
    files += "" if first.files == 1 else "s"
    unit = unit_of(first)
    heads = ["model", *(column.heading for column in first.columns), unit, "by entropy", "over"]
    rows = [_cells(each, first.columns) for each in summaries]
    kept = [i for i in range(len(heads)) if any(row[i] for row in rows)]
    text = table([heads[i] for i in kept], [[row[i] for i in kept] for row in rows])
    console.result(f"\n{files}, mean ± sd\n{text}")
    for each in summaries:
        if each.codebook is not None:
            use = each.codebook
            console.result(
                f"{each.model}: {use.share:.1%} of {use.entries} entries used by {use.tokens} "
                f"codes, {use.entropy_bits:.2f} of {use.nominal_bits:.2f} bits per code"
            )
    if like is not None and any(each.classical for each in summaries):
        console.result(f"over: files that take more bits than the codes of {like}")
    for sentence in dict.fromkeys(line for each in summaries for line in each.protocol):
        console.note(sentence)


def _cells(summary: Summary, columns: Sequence[Metric]) -> list[str]:
    cells = [summary.model]
    for column in columns:
        found = summary.statistics[column.name]
        cells.append(f"{column.format(found.mean)} ± {column.format(found.sd)}")
    cells.append("-" if summary.rate is None else f"{summary.rate:.3f}")
    cells.append("-" if summary.entropy_rate is None else f"{summary.entropy_rate:.3f}")
    return [*cells, str(summary.over) if summary.classical else ""]

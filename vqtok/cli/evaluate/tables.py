"""Tables of ``vqtok eval``: a line for each file, then summaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vqtok.cli import table
from vqtok.cli.console import Console
from vqtok.cli.table import Column
from vqtok.metrics.metric import MISSING

if TYPE_CHECKING:
    from vqtok.metrics.codebook import Use
    from vqtok.metrics.metric import Metric
    from vqtok.pipeline.compare import Compared, Comparison, Method
    from vqtok.pipeline.evaluated import ItemReport, Summary


class Lines:
    """Prints files as they come: numbers of fixed width first, then names, which may be long.

    Args:
        console: Where to.
        rows: Models and codecs.
        wide: Leave nothing out, however narrow the terminal is.
    """

    def __init__(self, console: Console, rows: Sequence[Method], *, wide: bool) -> None:
        self._console, self._several = console, len(rows) > 1
        self._label = max(len("model"), *(len(row.label) for row in rows))
        self._width = None if wide else table.terminal_width()
        self._modality = ""
        self._heads: list[str] = []
        self._room: int | None = None

    def show(self, compared: Compared) -> None:
        """Print a line for each model and codec; the heading when the kind of files changes."""
        for report in compared.reports.values():
            if self._console.as_json:
                self._console.json(report.to_json())
                continue
            columns = self._columns(report)
            if report.modality != self._modality:
                self._modality = report.modality
                self._arrange(columns)
            cells = [each.cells[0] for each in columns if each.head in self._heads]
            source = str(report.source or "-")
            name = source if self._room is None else table.shortened(source, self._room)
            self._console.result("  ".join([*cells, name]))

    def _arrange(self, columns: Sequence[Column]) -> None:
        """Choose what fits beside the names of files, and print the heading."""
        name = Column("file", ["." * table.LEAST_PATH])
        kept = table.fitted([*columns, name], self._width)[:-1]
        self._heads = [each.head for each in kept]
        if self._width is not None:
            numbers = sum(each.width + 2 for each in kept)
            self._room = max(table.LEAST_PATH, self._width - numbers)
        self._console.result("  ".join([*self._heads, "file"]))

    def _columns(self, report: ItemReport) -> list[Column]:
        from vqtok.codes import rates

        columns = [
            Column(
                each.heading,
                [_aligned(each.format(report.values[each.name]), each.heading)],
                each.drop,
            )
            for each in report.columns
        ]
        if report.rate is not None or self._several:  # a model without codes has no rate
            unit = rates.unit(report.modality).symbol
            columns.append(Column(unit, [_aligned(_number(report.rate), unit)]))
        if self._several:
            columns.append(Column(f"{'model':<{self._label}}", [f"{report.model:<{self._label}}"]))
        return columns


def show(console: Console, comparison: Comparison, *, wide: bool) -> None:
    """Print a summary of each kind of files, or a table where there are several models.

    Args:
        console: Where to.
        comparison: That has run.
        wide: Leave no column out.
    """
    summaries = comparison.summaries()
    if console.as_json:
        for each in summaries:
            console.json(each.to_json())
    elif len(comparison.methods) == 1:
        for each in summaries:
            _show_one(console, each)
    else:
        for kind in ("image", "audio"):
            rows = [each for each in summaries if each.modality == kind]
            if rows:
                _show_several(console, rows, comparison.like(kind), wide=wide)


def _show_one(console: Console, summary: Summary) -> None:
    from vqtok.codes import rates

    depth = "" if summary.depth is None else f", depth {summary.depth}"
    rows = []
    for metric in summary.columns:
        found = summary.statistics[metric.name]
        left_out = f" ({found.left_out} not defined)" if found.left_out else ""
        rows.append((metric.title, f"{_mean(summary, metric)} {metric.unit}".rstrip() + left_out))
    use = summary.codebook
    if use is None:
        rows.append(("rate", "continuous, there are no codes"))
    else:
        unit = rates.unit(summary.modality).name
        entropy = f"by entropy {summary.entropy_rate:.3f}"
        rows += [
            ("rate", f"{summary.rate:.3f} {unit}, {entropy}"),
            ("stored", f"{summary.stored_rate:.3f} {unit}, packed, headers included"),
            ("codebook", _used(use)),
            ("entropy", _bits(use)),
            ("perplexity", f"{use.perplexity:.0f}"),
        ]
    if len(summary.levels) > 1:
        for name, usage in summary.levels.items():
            each = usage.total
            share = f"{each.share:.1%} of {each.entries} entries used"
            rows.append((name, f"{share}, {_bits(each)}, perplexity {each.perplexity:.0f}"))
    speed = "megapixels/s" if summary.modality == "image" else "times real time"
    encode, decode = map(rates.digits, (summary.encode_speed, summary.decode_speed))
    speeds = f"encode {encode}, decode {decode} {speed}"
    rows.append(("speed", speeds))
    console.result(f"\n{_files(summary)}, {summary.model} ({summary.fingerprint}){depth}")
    console.result("\n".join(f"  {key + ':':<16}{value}" for key, value in rows))
    for sentence in summary.protocol:
        console.note(sentence)


def _show_several(
    console: Console, summaries: Sequence[Summary], like: str | None, *, wide: bool
) -> None:
    """Print one table of one kind of files: a row for each model and codec.

    Args:
        console: Where to.
        summaries: Of the same files.
        like: Whose bits the classical codecs got.
        wide: Leave no column out.
    """
    from vqtok.codes import rates

    first = summaries[0]
    unit = rates.unit(first.modality).symbol
    columns = [Column("model", [each.model for each in summaries])]
    columns += [
        Column(
            metric.heading,
            [_mean(each, metric) for each in summaries],
            metric.drop,
            short=[metric.format(each.statistics[metric.name].mean) for each in summaries],
        )
        for metric in first.columns
    ]
    over = [str(each.over) if each.classical else "" for each in summaries]
    columns += [
        Column(unit, [_number(each.rate) for each in summaries]),
        Column("stored", [_number(each.stored_rate) for each in summaries], drop=1),
        Column("by entropy", [_number(each.entropy_rate) for each in summaries], drop=1),
    ]
    columns += [Column("over", over)] if any(over) else []
    what = "mean ± sd" if table.fits(columns, wide=wide) else "mean"
    table.show(console, columns, wide=wide, title=f"\n{_files(first)}, {what}")
    for each in summaries:
        if each.codebook is not None:
            console.result(f"{each.model}: {_used(each.codebook)}, {_bits(each.codebook)}")
    if like is not None and any(each.classical for each in summaries):
        console.result(f"over: files that take more bits than the codes of {like}")
    for sentence in dict.fromkeys(line for each in summaries for line in each.protocol):
        console.note(sentence)


def _files(summary: Summary) -> str:
    what = "image" if summary.modality == "image" else "recording"
    return f"{summary.files} {what}{'' if summary.files == 1 else 's'}"


def _mean(summary: Summary, metric: Metric) -> str:
    found = summary.statistics[metric.name]
    return f"{metric.format(found.mean)} ± {metric.format(found.sd)}"


def _aligned(cell: str, head: str) -> str:
    return f"{cell:>{len(head)}}"


def _number(rate: float | None) -> str:
    return MISSING if rate is None else f"{rate:.3f}"


def _used(use: Use) -> str:
    return f"{use.share:.1%} of {use.entries} entries used by {use.tokens} codes"


def _bits(use: Use) -> str:
    return f"{use.entropy_bits:.2f} of {use.nominal_bits:.2f} bits per code"

"""Tables of ``vqtok eval``: a line for each file, then summaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vqtok.cli.console import Console, table
from vqtok.metrics.metric import MISSING

if TYPE_CHECKING:
    from vqtok.metrics.codebook import Use
    from vqtok.metrics.metric import Metric
    from vqtok.pipeline.compare import Compared, Comparison, Method
    from vqtok.pipeline.evaluated import Summary


class Lines:
    """Prints files as they come: numbers of fixed width first, then names, which may be long."""

    def __init__(self, console: Console, rows: Sequence[Method]) -> None:
        self._console, self._several = console, len(rows) > 1
        self._width = max(len("model"), *(len(row.label) for row in rows))
        self._modality = ""

    def show(self, compared: Compared) -> None:
        """Print a line for each model and codec; the heading when the kind of files changes."""
        from vqtok.codes import rates

        for report in compared.reports.values():
            if self._console.as_json:
                self._console.json(report.to_json())
                continue
            unit = rates.unit(report.modality).symbol
            has_rate = report.rate is not None or self._several
            if report.modality != self._modality:
                self._modality = report.modality
                heads = [metric.heading for metric in report.columns]
                heads += [unit] * has_rate + [f"{'model':<{self._width}}"] * self._several
                self._console.result("  ".join([*heads, "file"]))
            cells = [
                f"{metric.format(report.values[metric.name]):>{len(metric.heading)}}"
                for metric in report.columns
            ]
            if has_rate:  # a model without codes has no column for it
                cells.append(f"{_number(report.rate):>{len(unit)}}")
            if self._several:
                cells.append(f"{report.model:<{self._width}}")
            self._console.result("  ".join([*cells, str(report.source or "-")]))


def show(console: Console, comparison: Comparison) -> None:
    """Print a summary of each kind of files, or a table where there are several models."""
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
                _show_several(console, rows, comparison.like(kind))


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
    speeds = f"encode {summary.encode_speed:.3g}, decode {summary.decode_speed:.3g} {speed}"
    rows.append(("speed", speeds))
    console.result(f"\n{_files(summary)}, {summary.model} ({summary.fingerprint}){depth}")
    console.result("\n".join(f"  {key + ':':<16}{value}" for key, value in rows))
    for sentence in summary.protocol:
        console.note(sentence)


def _show_several(console: Console, summaries: Sequence[Summary], like: str | None) -> None:
    """Print one table of one kind of files: a row for each model and codec.

    Args:
        console: Where to.
        summaries: Of the same files.
        like: Whose bits the classical codecs got.
    """
    from vqtok.codes import rates

    first = summaries[0]
    unit = rates.unit(first.modality).symbol
    heads = ["model", *(metric.heading for metric in first.columns), unit, "by entropy", "over"]
    rows = [
        [
            each.model,
            *(_mean(each, metric) for metric in first.columns),
            _number(each.rate),
            _number(each.entropy_rate),
            str(each.over) if each.classical else "",
        ]
        for each in summaries
    ]
    kept = [i for i in range(len(heads)) if any(row[i] for row in rows)]
    text = table([heads[i] for i in kept], [[row[i] for i in kept] for row in rows])
    console.result(f"\n{_files(first)}, mean ± sd\n{text}")
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


def _number(rate: float | None) -> str:
    return MISSING if rate is None else f"{rate:.3f}"


def _used(use: Use) -> str:
    return f"{use.share:.1%} of {use.entries} entries used by {use.tokens} codes"


def _bits(use: Use) -> str:
    return f"{use.entropy_bits:.2f} of {use.nominal_bits:.2f} bits per code"

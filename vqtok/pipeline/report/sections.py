"""What the page says of one kind of media: its table, plots, examples and codebooks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vqtok.codes import rates
from vqtok.errors import one_line
from vqtok.metrics.metric import Metric
from vqtok.pipeline.evaluated import CONTINUOUS
from vqtok.pipeline.report.examples import Example
from vqtok.plots import codes as code_plots
from vqtok.plots import quality, sheet

if TYPE_CHECKING:
    from markupsafe import Markup

    from vqtok.pipeline.evaluated import ItemReport, Summary

Points = Mapping[tuple[str, str, str], Sequence[tuple[float, float]]]
"""(kind, model, metric) → (rate, quality) of single files."""

TITLES = {"image": "Images", "audio": "Recordings"}

ABOUT = {
    "image": "The slider shows two versions one over the other; the arrow keys move it. Error maps "
    "are the difference in brightness, four times enlarged, black to yellow.",
    "audio": "A player that is started goes on where another one of the same recording stops. "
    "Spectrograms are log-mel, 80 dB, of the first channel; errors 0 to 20 dB, black to yellow.",
}


@dataclass(frozen=True)
class Cell:
    """A number in the table."""

    text: str
    is_best: bool = False


@dataclass(frozen=True)
class Row:
    """A model in the table."""

    label: str
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Codebook:
    """The use of a model's codebook, as a plot and in words."""

    model: str
    plot: Markup
    words: str


@dataclass(frozen=True)
class Section:
    """Everything about one kind of media.

    ``files`` says how many: "1 image"; ``unrated`` names the models without a rate.
    """

    kind: str
    title: str
    about: str
    files: str
    caption: str
    heads: Sequence[str]
    rows: Sequence[Row]
    plots: Sequence[Markup]
    unrated: Sequence[str]
    examples: Sequence[Example]
    codebooks: Sequence[Codebook]
    protocol: Sequence[str]


def section(
    rows: Sequence[Summary],
    like: str | None,
    points: Points,
    examples: Sequence[Example],
    numbers: Mapping[str, int],
) -> Section:
    """Gather a section.

    Args:
        rows: Of one kind, one at least.
        like: The model whose bits the classical codecs got.
        points: Of single files.
        examples: Of the same kind.
        numbers: Model → the number that its colour and mark hang on.
    """
    first, kind = rows[0], rows[0].modality
    noun = TITLES[kind].lower() if first.files != 1 else TITLES[kind].lower()[:-1]
    counted = f"{first.files} {noun}"
    has_over = any(row.classical for row in rows)
    caption = f"{counted}, mean ± standard deviation over files"
    caption += "; the best mean in bold type" if len(rows) > 1 else ""
    if has_over and like:
        caption += f"; over: files that take more bits than the codes of {like}"
    headings = [column.heading for column in first.columns]
    best = {column.name: _best(column, rows) for column in first.columns}
    return Section(
        kind=kind,
        title=TITLES[kind],
        about=ABOUT[kind],
        files=counted,
        caption=caption,
        heads=["model", *headings, rates.unit(kind).symbol, "by entropy", *["over"] * has_over],
        rows=[Row(row.model, list(_cells(row, best, has_over=has_over))) for row in rows],
        plots=list(_plots(rows, points, numbers)),
        unrated=[row.model for row in rows if row.rate is None],
        examples=examples,
        codebooks=list(_codebooks(rows, numbers)),
        protocol=list(dict.fromkeys(line for each in rows for line in each.protocol)),
    )


def measured(report: ItemReport) -> str:
    """Say what was measured of one file."""
    unit = rates.unit(report.modality).symbol
    words = [CONTINUOUS if report.rate is None else f"{report.rate:.3f} {unit}"]
    for column in report.columns:
        value = f"{column.title} {column.format(report.values[column.name])}"
        words.append(f"{value} {column.unit}".rstrip())
    return ", ".join(words)


def shown(value: Any) -> Any:
    """Write a text as one line, bytes that are no UTF-8 spelled out; leave markup as it is."""
    if hasattr(value, "__html__"):
        return value
    return one_line(str(value)).encode("utf-8", "backslashreplace").decode("utf-8")


def _cells(row: Summary, best: Mapping[str, float | None], *, has_over: bool) -> Iterator[Cell]:
    for column in row.columns:
        found = row.statistics[column.name]
        text = f"{column.format(found.mean)} ± {column.format(found.sd)}"
        yield Cell(text, is_best=found.mean == best[column.name])
    yield Cell(CONTINUOUS if row.rate is None else f"{row.rate:.3f}")
    yield Cell("-" if row.entropy_rate is None else f"{row.entropy_rate:.3f}")
    if has_over:
        yield Cell(str(row.over) if row.classical else "")


def _best(column: Metric, rows: Sequence[Summary]) -> float | None:
    means = [row.statistics[column.name].mean for row in rows]
    known = [mean for mean in means if not math.isnan(mean)]
    if column.higher_is_better is None or not known or len(rows) == 1:
        return None
    return max(known) if column.higher_is_better else min(known)


def _plots(rows: Sequence[Summary], points: Points, numbers: Mapping[str, int]) -> Iterator[Markup]:
    """Quality against rate, for each metric that has a better and a worse.

    What has no rate is a line at its quality, if there is anything to compare it with.
    """
    from markupsafe import Markup

    kind = rows[0].modality
    for column in rows[0].columns:
        series = []
        for row in rows:
            rate = math.nan if row.rate is None else row.rate_statistic.mean
            mean = (rate, row.statistics[column.name].mean)
            if math.isfinite(mean[1]) and (row.rate is None or math.isfinite(rate)):
                found = points.get((kind, row.model, column.name), ())
                number = numbers[row.model]
                series.append(quality.Series(number, shown(row.model), found, mean))
        is_rated = any(math.isfinite(each.mean[0]) for each in series)
        if is_rated and column.higher_is_better is not None:
            unit, name = rates.unit(kind).symbol, f"{kind}-{column.name}"
            yield Markup(quality.draw(series, x=unit, y=column.heading, name=name))


def _codebooks(rows: Sequence[Summary], numbers: Mapping[str, int]) -> Iterator[Codebook]:
    """Use of each level's codebook in each row that has one."""
    from markupsafe import Markup

    for number, row in enumerate(rows):
        for index, (level, usage) in enumerate(row.levels.items()):
            use, stages = usage.total, len(usage.used)
            title = row.model if len(row.levels) == 1 else f"{row.model}, {level}"
            words = (
                f"{title}: {use.share:.1%} of {use.entries} entries used by {use.tokens} codes, "
                f"{use.entropy_bits:.2f} of {use.nominal_bits:.2f} bits per code"
            )
            words += f"; {stages} stages, from dark to bright" if stages > 1 else ""
            panel = code_plots.use_panel(
                usage.used,
                entries=usage.codebook_size,
                colour=quality.colour(numbers[row.model]),
                size=(340, 230),
            )
            plot = sheet.document(
                [panel],
                name=f"{row.modality}-use-{number}-{index}",
                title=shown(f"Use of the codebook of {title}"),
                description=shown(words),
            )
            yield Codebook(row.model, Markup(plot), words)

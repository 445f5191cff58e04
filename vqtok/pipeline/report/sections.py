"""Parts of the page: tables, examples, codebooks, as pieces of HTML."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

from vqtok.codes import rates
from vqtok.errors import one_line
from vqtok.metrics.metric import Metric
from vqtok.pipeline.evaluated import CONTINUOUS
from vqtok.pipeline.report.examples import Example, View
from vqtok.plots import codes as code_plots
from vqtok.plots import quality, sheet

if TYPE_CHECKING:
    from vqtok.pipeline.evaluated import ItemReport, Summary

TITLES = {"image": "Images", "audio": "Recordings"}

ABOUT = {
    "image": "The slider shows two versions one over the other; the arrow keys move it. Error maps "
    "are the difference in brightness, four times enlarged, black to yellow.",
    "audio": "A player that is started goes on where another one of the same recording stops. "
    "Spectrograms are log-mel, 80 dB, of the first channel; errors 0 to 20 dB, black to yellow.",
}


def table(rows: Sequence[Summary], like: str | None) -> str:
    """Means and spreads, the best mean of each column in bold type."""
    first, kind = rows[0], rows[0].modality
    has_over = any(row.classical for row in rows)
    heads = [
        "model",
        *(column.heading for column in first.columns),
        rates.unit(kind).symbol,
        "by entropy",
    ]
    heads += ["over"] * has_over
    caption = f"{count(first.files, kind)}, mean ± standard deviation over files"
    caption += "; the best mean in bold type" if len(rows) > 1 else ""
    if has_over and like:
        caption += f"; over: files that take more bits than the codes of {like}"
    best = {c.name: _best(c, rows) for c in first.columns}
    out = [f'<div class="scroll" role="region" aria-label="{TITLES[kind]}: results" tabindex="0">']
    out.append(f"<table>\n<caption>{text_of(caption)}</caption>\n<thead><tr>")
    out += [f'<th scope="col">{escape(head)}</th>' for head in heads]
    out.append("</tr></thead>\n<tbody>\n")
    for number, row in enumerate(rows):
        out.append(f'<tr><th scope="row">{_mark(number)}{text_of(row.model)}</th>')
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


def _best(column: Metric, rows: Sequence[Summary]) -> float | None:
    means = [row.statistics[column.name].mean for row in rows]
    known = [mean for mean in means if not math.isnan(mean)]
    if column.higher_is_better is None or not known:
        return None
    return max(known) if column.higher_is_better else min(known)


def example_of(example: Example) -> Iterator[str]:
    """One file: its versions and their errors, side by side."""
    yield f'<article class="example" data-kind="{example.modality}">\n'
    yield f"<h3>{text_of(example.name)}</h3>\n"
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
        out += _figure(_image(view.error, name, example), text_of(name))
    return out


def _recording(example: Example, view: View) -> str:
    name = text_of(f"{view.label}: {example.name}", quote=True)
    player = f'<audio controls preload="metadata" src="{view.media}" aria-label="{name}"></audio>'
    spectrogram = f'<img src="{view.spectrogram}" alt="spectrogram of {text_of(view.label)}">'
    out = _figure(player + spectrogram, _caption(view))
    if view.error:
        error = f'<img src="{view.error}" alt="error of {text_of(view.label)}">'
        out += _figure(error, text_of(f"error of {view.label}"))
    return out


def _image(source: str, name: str, example: Example) -> str:
    width, height = example.size
    label = text_of(name, quote=True)
    return (
        f'<img src="{source}" alt="{label}" data-name="{label}" width="{width}" height="{height}">'
    )


def _figure(content: str, caption: str) -> str:
    return f"<figure>{content}<figcaption>{caption}</figcaption></figure>\n"


def _caption(view: View) -> str:
    if view.report is None:
        return text_of(view.label)
    return f"<b>{text_of(view.label)}</b>: {escape(_measured(view.report))}"


def _measured(report: ItemReport) -> str:
    unit = rates.unit(report.modality).symbol
    words = [CONTINUOUS if report.rate is None else f"{report.rate:.3f} {unit}"]
    for column in report.columns:
        value = f"{column.title} {column.format(report.values[column.name])}"
        words.append(f"{value} {column.unit}".rstrip())
    return ", ".join(words)


def codebooks(kind: str, rows: Sequence[Summary]) -> Iterator[str]:
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
            stages = len(usage.used)
            text += f"; {stages} stages, from dark to bright" if stages > 1 else ""
            panel = code_plots.use_panel(
                usage.used,
                entries=usage.codebook_size,
                colour=quality.colour(number),
                size=(340, 230),
            )
            plot = sheet.document(
                [panel],
                name=f"{kind}-use-{number}-{_slug(level)}",
                title=shown(f"Use of the codebook of {title}"),
                description=shown(text),
            )
            yield _figure(plot, text_of(text))
    yield "</div>\n"


def _slug(text: str) -> str:
    return "".join(each if each.isalnum() else "-" for each in text)


def count(files: int, kind: str) -> str:
    """So many files in words: "1 image"."""
    noun = TITLES[kind].lower() if files != 1 else TITLES[kind].lower()[:-1]
    return f"{files} {noun}"


def text_of(text: str, *, quote: bool = False) -> str:
    """A name as HTML: one line, and bytes that are no UTF-8 spelled out."""
    return escape(shown(text), quote=quote)


def shown(text: str) -> str:
    """A name as one line, bytes that are no UTF-8 spelled out."""
    return one_line(text).encode("utf-8", "backslashreplace").decode("utf-8")


def _mark(number: int) -> str:
    return (
        '<svg class="mark" viewBox="-8 -8 16 16" width="14" height="14" aria-hidden="true">'
        f'<path d="{quality.mark(number)}" fill="{quality.colour(number)}"/></svg>'
    )

"""Cards of models: the README.md beside the weights, written by the run that made them.

``card.md.j2`` is the text; what it is filled with is the run's ``training.json``.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import ChainableUndefined, Environment, Template

from vqtok import atomic
from vqtok.codes import rates
from vqtok.codes.spec import CodeSpec
from vqtok.metrics import registry
from vqtok.metrics.metric import Metric
from vqtok.plots.curves import Curve, Point, draw
from vqtok.training import log
from vqtok.training.log import Learns
from vqtok.training.report import gallery, preview, samples

CURVE = "curve.svg"

NAMED = 20
"""Labels that are named before the rest is counted."""

ROWS = 8
"""Measurements that the table of the curve shows, and the last one."""

HELD = {"tokenizer": "files", "prior": "items", "classifier": "images"}
"""What is held out."""


def compose(kind: Learns, output: Path, spec: CodeSpec, facts: Mapping[str, Any]) -> str:
    """Draw the curves from the run's log into ``curve.svg``; write the card.

    Args:
        kind: Of the model.
        output: Model directory, with ``log.jsonl`` and ``previews/``.
        spec: Of its codes.
        facts: See ``write``.
    """
    shown = curves_of(log.records(output / "log.jsonl"))
    if shown:
        with atomic.file(output / CURVE) as temporary:
            temporary.write_text(draw(shown), encoding="utf-8")
    best = facts.get("best_step")
    pictures = gallery.of_step(output, facts["step"] if best is None else best)
    name = output.resolve().name
    return write(kind, name, spec, facts, pictures=pictures, curves=bool(shown))


def write(
    kind: Learns,
    name: str,
    spec: CodeSpec,
    facts: Mapping[str, Any],
    *,
    pictures: Sequence[str] = (),
    curves: bool = False,
) -> str:
    """Write the Markdown of a card.

    Args:
        kind: Of the model.
        name: Of the model directory.
        spec: Of its codes.
        facts: ``training.json``: command, recipe, counts, metrics, curve, versions; and, if they
            are known, "data" (``Task.describe_data``), "notes" (sentences), "unreadable" (a count),
            "skipped" and "best_step" (whose model this is).
        pictures: Previews of the model, relative to its directory.
        curves: Whether ``curve.svg`` lies there.
    """
    metrics, points = facts["metrics"], _some(facts["curve"])
    quality, protocol = _quality(kind, spec, metrics)
    keys = (key for each in points for key in each if key != "step")
    text = _template().render(
        kind=kind,
        name=name,
        spec=spec,
        facts=facts,
        recipe=facts["recipe"],
        data=facts.get("data") or {},
        pictures=pictures,
        curves=curves,
        curve=points,
        columns=[metric for key in _ordered(keys, quality) if (metric := registry.find(key))],
        measured=[_metric(key) for key in _ordered(metrics, quality) if metrics[key] is not None],
        protocol=protocol,
        held=HELD[kind],
        rate=rates.fixed(spec) if spec.levels and kind != "classifier" else 0.0,
        most=NAMED,
    )
    text = re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
    # File names may be any bytes; a card is UTF-8.
    return text.encode("utf-8", "replace").decode("utf-8")


def plain(text: str) -> str:
    """Escape text, so that Markdown shows it as it is."""
    escaped = "".join(f"\\{each}" if each in "\\`*_[]<>|#" else each for each in text)
    return " ".join(escaped.split())


@cache
def _template() -> Template:
    # No escaping for HTML: what users named goes through ``plain``.
    environment = Environment(
        undefined=ChainableUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    environment.filters |= {"plain": plain, "quote": shlex.quote, "size": _size, "hours": _hours}
    source = files(__package__).joinpath("card.md.j2").read_text(encoding="utf-8")
    return environment.from_string(source)


def _quality(kind: Learns, spec: CodeSpec, metrics: Mapping[str, float]) -> tuple[str, str]:
    """Return the metric that comes first, and how the numbers come about."""
    if kind == "prior":
        return "nats_per_code", f". {samples.PROTOCOL}"
    if kind == "classifier":
        return "accuracy", ", each whole."
    key = preview.QUALITY[spec.modality].key
    return (key, f". {preview.protocol(spec.modality)}") if key in metrics else ("", ".")


def _ordered(metrics: Iterable[str], quality: str) -> list[str]:
    """Put the metric of quality first; leave means out where each level has its own value."""
    keys = list(dict.fromkeys(metrics))
    known = [*dict.fromkeys([quality, *registry.ALL])]
    means = {key.partition("_")[0] for key in keys if key not in known}
    return [
        *(key for key in known if key in keys and key not in means),
        *(key for key in keys if key not in known),
    ]


def _metric(key: str) -> Metric:
    return registry.find(key) or Metric(key, key.replace("_", " "), form=".4g")


def _some(points: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Choose a few points of the held-out curve, evenly spaced, the last one among them."""
    chosen = list(points[:: max(1, len(points) // ROWS)])
    return chosen if not points or chosen[-1] is points[-1] else [*chosen, points[-1]]


def _size(extent: Sequence[int]) -> str:
    return f"{extent[1]}x{extent[0]}"


def _hours(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{hours * 60:.1f} minutes"


def curves_of(records: Iterable[Mapping[str, Any]]) -> list[Curve]:
    """Read loss, first held-out metric and codebook use from the lines of a ``log.jsonl``."""
    loss: list[Point] = []
    use: dict[str, list[Point]] = {}
    held: dict[str, list[Point]] = {}
    best: int | None = None
    for each in records:
        step = each["step"]
        if each["event"] == "progress":
            loss.append((step, log.total(each.get("losses", {}))))
            for level, share in _uses(each).items():
                use.setdefault(level, []).append((step, 100.0 * share))
        elif each["event"] == "evaluated":
            for name, value in each["metrics"].items():
                if value is not None:
                    held.setdefault(name, []).append((step, value))
            best = step if each.get("best") else best
    out = []
    if len(loss) > 1:
        positive = all(value > 0 for _, value in loss)
        out.append(Curve("training loss", loss, logarithmic=positive))
    name, points = next(iter(held.items()), ("", []))
    if len(points) > 1:
        title = f"held out: {name.replace('_db', ' dB').replace('_', ' ')}"
        marked = dict(points).get(best) if best is not None else None
        if marked is not None:
            title += f", best {marked:.4g} at step {best}"
        out.append(Curve(title, points, best=best))
    for level, points in use.items():
        if len(points) > 1:
            of_level = f" of the level {level}" if level else ""
            out.append(Curve(f"codebook use{of_level}, %", points))
    return out


def _uses(record: Mapping[str, Any]) -> dict[str, float]:
    """Share of entries used by level; of a single one under ""."""
    levels = record.get("levels")
    if isinstance(levels, dict) and levels:
        return {name: level["share"] for name, level in levels.items()}
    return {} if record.get("use") is None else {"": record["use"]}

"""What of a run is drawn as curves, from its log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vqtok.plots.curves import Curve, Point
from vqtok.training.log import total


def curves(records: Iterable[Mapping[str, Any]]) -> list[Curve]:
    """Read loss, first held-out metric and codebook use from the lines of a ``log.jsonl``."""
    loss: list[Point] = []
    use: dict[str, list[Point]] = {}
    held: dict[str, list[Point]] = {}
    best: int | None = None
    for each in records:
        step = each["step"]
        if each["event"] == "progress":
            loss.append((step, total(each.get("losses", {}))))
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

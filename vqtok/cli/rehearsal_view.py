"""Lines that ``vqtok train --dry-run`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vqtok.cli.training_view import duration

if TYPE_CHECKING:
    from vqtok.training.report.rehearsal import Rehearsal


def lines_of(facts: Rehearsal) -> list[tuple[str, str]]:
    """Write the facts as (name, text) of each line."""
    rows = [
        ("data", _data(facts)),
        ("model", _model(facts)),
        ("codes", _codes(facts)),
        ("sees", _field(facts)),
        ("steps", _steps(facts)),
        ("time", f"{_pace(facts.step_s)}; about {duration(facts.total_s)} in all"),
        ("memory", f"{_size(facts.peak_bytes)} at most so far" if facts.peak_bytes else ""),
    ]
    return [(name, text) for name, text in rows if text]


def _data(facts: Rehearsal) -> str:
    what = "images" if facts.modality == "image" else "recordings"
    if facts.learns == "prior":
        what = f"items of {facts.modality} codes"
    parts = [f"{facts.files} {what} to train on, {facts.held_out} held out"]
    if "median" in facts.data:
        height, width = facts.data["median"]
        parts.append(f"median {width}x{height} pixels")
    if "hours" in facts.data:
        parts.append(f"median {facts.data['median_s']:.3g} s, {facts.data['hours']:.2g} hours")
    return "; ".join(parts)


def _model(facts: Rehearsal) -> str:
    total = sum(facts.parameters.values())
    parts = ", ".join(
        f"{name} {_count(facts.parameters[name])}" for name in sorted(facts.parameters)
    )
    return f"{_count(total)} parameters ({parts}); {_size(facts.model_bytes)} file"


def _codes(facts: Rehearsal) -> str:
    rate = facts.bits_per_pixel if facts.modality == "image" else facts.kbit_per_s
    if facts.learns == "prior":
        return f"{facts.window_tokens} for a window of {_extent(facts.window)}"
    if facts.learns == "classifier":
        return ""
    if not rate:
        return "none: a continuous model"
    from vqtok.codes import rates

    unit = rates.unit(facts.modality).name
    parts = [f"{facts.window_tokens} for a window of {_extent(facts.window)}"]
    if facts.typical is not None:
        parts.append(f"{facts.typical_tokens} for a file of {_extent(facts.typical)}")
    return f"{', '.join(parts)}; {rate:.3g} {unit}"


def _field(facts: Rehearsal) -> str:
    size = facts.receptive_field
    if size is None:
        return ""
    extent = (size, size) if facts.modality == "image" else (size,)
    return f"{_extent(extent)} at most behind one code"


def _steps(facts: Rehearsal) -> str:
    limit = f", or {facts.minutes:g} minutes" if facts.minutes is not None else ""
    return f"{facts.steps} of {facts.batch} items{limit}; {facts.device}, {facts.precision}"


def _extent(extent: tuple[int, ...]) -> str:
    if len(extent) == 1:
        return f"{extent[0]} samples"
    height, width = extent
    return f"{width}x{height} pixels"


def _pace(step_s: float) -> str:
    return f"{1000 * step_s:.3g} ms a step" if step_s < 1 else f"{step_s:.3g} s a step"


def _count(number: int) -> str:
    return f"{number / 1e6:.2f} M" if number >= 10_000 else str(number)


def _size(number: int) -> str:
    return f"{number / 1e6:.3g} MB" if number < 1e9 else f"{number / 1e9:.3g} GB"

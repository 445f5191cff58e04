"""Lines that ``vqtok train --dry-run`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vqtok.cli.training_view import duration
from vqtok.codes import rates
from vqtok.codes.rates import digits

if TYPE_CHECKING:
    from vqtok.training.report.rehearsal import Rehearsal


LONG_S = 3 * 3600.0
"""Seconds from which a run is one that nobody waits for."""


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
        ("advice", _advice(facts)),
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
        parts.append(
            f"median {digits(facts.data['median_s'])} s, {digits(facts.data['hours'], 2)} hours"
        )
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
    if rate == 0:
        return "none: a continuous model"
    parts = [f"{facts.window_tokens} for a window of {_extent(facts.window)}"]
    if facts.typical is not None:
        parts.append(f"{facts.typical_tokens} for a file of {_extent(facts.typical)}")
    per = "" if rate is None else f"; {digits(rate)} {rates.unit(facts.modality).name}"
    return f"{', '.join(parts)}{per}"


def _field(facts: Rehearsal) -> str:
    size = facts.receptive_field
    if size is None:
        return ""
    extent = (size, size) if facts.modality == "image" else (size,)
    return f"{_extent(extent)} at most behind one code"


def _steps(facts: Rehearsal) -> str:
    limit = f", or {facts.minutes:g} minutes" if facts.minutes is not None else ""
    return f"{facts.steps} of {facts.batch} items{limit}; {facts.device}, {facts.precision}"


def _advice(facts: Rehearsal) -> str:
    """Say what to do where a run would take days, as on a CPU."""
    if facts.total_s < LONG_S:
        return ""
    start = {"image": "image-f8", "audio": "audio-24k"}[facts.modality]
    begin = f", and -m {start} begins with a trained model" if facts.learns == "tokenizer" else ""
    return f"--minutes 30 plans a run that ends in time{begin}"


def _extent(extent: tuple[int, ...]) -> str:
    if len(extent) == 1:
        return f"{extent[0]} samples"
    height, width = extent
    return f"{width}x{height} pixels"


def _pace(step_s: float) -> str:
    return f"{digits(1000 * step_s)} ms a step" if step_s < 1 else f"{digits(step_s)} s a step"


def _count(number: int) -> str:
    return f"{number / 1e6:.2f} M" if number >= 10_000 else str(number)


def _size(number: int) -> str:
    return f"{digits(number / 1e6)} MB" if number < 1e9 else f"{digits(number / 1e9)} GB"

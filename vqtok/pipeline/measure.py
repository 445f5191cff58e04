"""One original and its reconstruction → the values of the chosen columns."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from torch import Tensor

from vqtok.errors import UsageError
from vqtok.metrics import audio, image
from vqtok.metrics.report import METRICS, Column, select

MAX_DELAY_S = 0.02
"""Reach of the delay search: codecs are late by few samples; far out, pitch periods win."""


def choose(names: Sequence[str] | None, kinds: Collection[str]) -> tuple[list[Column], list[str]]:
    """The columns to compute, and what to tell the user about the others.

    Args:
        names: As typed; None: all whose packages are installed.
        kinds: Modalities of the files.

    Returns:
        Columns in order, and notes.

    Raises:
        UsageError: an unknown name, a named metric whose package is missing, or names that are all
            for another kind of files.
    """
    if names is not None:
        columns = list(select(names))
        if kinds and not any(column.modality in kinds for column in columns):
            known = [column.name for column in METRICS if column.modality in kinds]
            raise UsageError(
                f"--metrics {','.join(names)}: not for {' and '.join(sorted(kinds))} files",
                hint=", ".join(known),
            )
        for column in columns:
            audio.require(column.name)
        return columns, []
    missing = [column for column in METRICS if not audio.available(column.name)]
    columns = [column for column in METRICS if column not in missing]
    shown = [column.title for column in missing if column.modality in kinds]
    if not shown:
        return columns, []
    titles = " and ".join(shown)
    return columns, [f"{titles} left out; to add: pip install 'vqtok[metrics]'"]


def measure_image(x: Tensor, y: Tensor, columns: Iterable[Column]) -> dict[str, float]:
    """Values of one picture by column name; x and y are (1, 3, H, W) in [-1, 1]."""
    functions = {"psnr": image.psnr, "ssim": image.ssim, "ms-ssim": image.ms_ssim}
    return {column.name: float(functions[column.name](x, y)[0]) for column in columns}


def measure_audio(
    x: Tensor, y: Tensor, columns: Iterable[Column], *, rate: float
) -> dict[str, float]:
    """Values of one recording by column name, means over the channels where they are defined.

    Args:
        x: Original, (C, 1, L).
        y: Reconstruction, the same shape.
        columns: What to compute.
        rate: Hz of both.
    """
    names = [column.name for column in columns]
    values: dict[str, float] = {}
    if "si-sdr" in names:
        values["si-sdr"] = _mean(audio.si_sdr(x, y))
    if "si-sdr-aligned" in names or "delay" in names:
        aligned = audio.aligned_si_sdr(x, y, max_delay=round(MAX_DELAY_S * rate))
        values["si-sdr-aligned"] = _mean(aligned.value)
        # Without a value (silence) there is no delay either.
        values["delay"] = _mean(aligned.delay.double().where(~aligned.value.isnan(), math.nan))
    for name, function in (
        ("mel", audio.mel_distance),
        ("pesq", audio.pesq),
        ("stoi", audio.stoi),
    ):
        if name in names:
            values[name] = _mean(function(x, y, rate=rate))
    return {name: values[name] for name in names}


def weighted_mean(parts: Sequence[tuple[float, Mapping[str, float]]]) -> dict[str, float]:
    """Join the values of segments.

    Args:
        parts: (weight, values by name) of each segment; all have the same names.

    Returns:
        By name, the weighted mean over the segments where the value is defined, else NaN.
    """
    joined = {}
    for name in parts[0][1]:
        pairs = [(weight, values[name]) for weight, values in parts if not math.isnan(values[name])]
        total = sum(weight for weight, _ in pairs)
        joined[name] = sum(w * value for w, value in pairs) / total if pairs else math.nan
    return joined


def _mean(values: Tensor) -> float:
    defined = values[~values.isnan()]
    return float(defined.mean()) if len(defined) else math.nan

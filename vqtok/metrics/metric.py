"""Metrics: one declaration says how a number is named, measured and shown.

Declarations stand beside the functions that they are about, in the other modules of this room;
``registry`` finds them there. Standard library only.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vqtok.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

MISSING = "-"
"""Stands in a table where a value is not defined."""

PROTOCOLS = {
    "image": "Each file at its full size, decoded to 8 bits; transparent pixels over the "
    "background, grey originals compared as grey. Mean ± sample sd over files.",
    "audio": "Both signals at the model's rate, the original resampled to it (soxr); each channel "
    "by itself, then their mean. Files longer than 60 s: consecutive segments of 30 s "
    "(the last up to 60 s), coded alone and weighted by length. Mean ± sample sd over files.",
}
"""What all metrics of a modality have in common."""


@dataclass(frozen=True)
class Metric:
    """Declares a number: its names, unit, direction, format and measurement.

    Attributes:
        key: Name in JSON and logs, with the unit: "si_sdr_db".
        title: Name in tables: "SI-SDR".
        unit: "dB", or "" for plain numbers.
        form: Format of a value: ".2f".
        higher_is_better: None where neither is.
        label: Name in a card, if the title is too short for it.
        protocol: How it is measured, one sentence.
        name: As typed after ``--metrics``: "si-sdr"; "" if not computed from pairs of signals.
        modality: Of these signals: "image" or "audio"; "" for any.
        measure: Original and reconstruction → (B,) values, of images ``(x, y)``, of audio
            ``(x, y, rate=Hz)``; NaN where a value is not defined.
        package: Module that must be installed for it, or "".
        drop: Where a table is too wide, columns of the highest number are left out first.
    """

    key: str
    title: str
    unit: str = ""
    form: str = ".3g"
    higher_is_better: bool | None = None
    label: str = ""
    protocol: str = ""
    name: str = ""
    modality: str = ""
    measure: Callable[..., Tensor] | None = None
    package: str = ""
    drop: int = 0

    @property
    def heading(self) -> str:
        """Join title and unit: "PSNR dB"."""
        return f"{self.title} {self.unit}".strip()

    def format(self, value: float | None) -> str:
        """Write a value as a table's cell, without unit."""
        if value is None or math.isnan(value):
            return MISSING
        text = format(value, self.form)
        return text.removeprefix("-") if not text.strip("-0.%") else text  # no -0.00

    def text(self, value: float | None) -> str:
        """Write a value with its unit: "24.73 dB"."""
        return f"{self.format(value)} {self.unit}".rstrip()

    def is_better(self, value: float, than: float) -> bool:
        """Compare two values in the metric's direction; never where it has none."""
        if self.higher_is_better is None:
            return False
        return value > than if self.higher_is_better else value < than

    @property
    def is_installed(self) -> bool:
        """Whether the package that it needs is there."""
        return not self.package or importlib.util.find_spec(self.package) is not None

    def require(self) -> None:
        """Check that the metric can be computed.

        Raises:
            UsageError: its package is missing; the hint says what to install.
        """
        if not self.is_installed:
            raise UsageError(
                self.name,
                f"needs the package {self.package}, which is not installed",
                hint="pip install 'vqtok[metrics]'",
            )

    def value(self, x: Tensor, y: Tensor, *, rate_hz: float | None = None) -> float:
        """Measure a batch: the mean over the items where the metric is defined, else NaN.

        Args:
            x: Original, (B, C, *space) in [-1, 1].
            y: Reconstruction, the same shape.
            rate_hz: Of audio.
        """
        if self.measure is None:
            raise TypeError(f"{self.key} is not computed from pairs of signals")
        values = self.measure(x, y) if rate_hz is None else self.measure(x, y, rate=rate_hz)
        defined = values[~values.isnan()]
        return float(defined.mean()) if len(defined) else math.nan


def weighted_mean(parts: Sequence[tuple[float, Mapping[str, float]]]) -> dict[str, float]:
    """Join the values of segments, where they are defined, else NaN.

    Args:
        parts: (weight, values by name) of each segment; all have the same names.
    """
    joined = {}
    for name in parts[0][1]:
        pairs = [(weight, values[name]) for weight, values in parts if not math.isnan(values[name])]
        total = sum(weight for weight, _ in pairs)
        joined[name] = sum(w * value for w, value in pairs) / total if pairs else math.nan
    return joined


@dataclass(frozen=True)
class Statistic:
    """Holds mean and spread of a metric over files.

    Attributes:
        mean: Over the n finite values; NaN if there are none.
        sd: Sample standard deviation (n - 1); NaN for fewer than two values.
        n: Finite values.
        left_out: Values that are not defined or infinite, in neither mean nor sd.
    """

    mean: float
    sd: float
    n: int
    left_out: int

    def to_json(self) -> dict[str, Any]:
        """Give JSON data; null where there is no value."""
        return {
            "mean": plain(self.mean),
            "sd": plain(self.sd),
            "n": self.n,
            "left_out": self.left_out,
        }


class Running:
    """Collects a ``Statistic`` value by value (Welford 1962: no large sums cancel)."""

    def __init__(self) -> None:
        self._n = 0
        self._mean = 0.0
        self._squares = 0.0
        self._left_out = 0

    def add(self, value: float) -> None:
        """Take one value; NaN and infinities are only counted."""
        if not math.isfinite(value):
            self._left_out += 1
            return
        self._n += 1
        step = value - self._mean
        self._mean += step / self._n
        self._squares += step * (value - self._mean)

    @property
    def statistic(self) -> Statistic:
        """Summarize the values so far."""
        mean = self._mean if self._n else math.nan
        sd = math.sqrt(self._squares / (self._n - 1)) if self._n > 1 else math.nan
        return Statistic(mean, sd, self._n, self._left_out)


def plain(value: float) -> float | str | None:
    """Turn a number into JSON: null for NaN, "inf" or "-inf" as text, six decimals."""
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return round(value, 6)

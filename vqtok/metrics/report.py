"""Columns of a report and their statistics: what each number is, and mean ± sd over files.

Standard library only: a command can list the metrics without importing torch.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from vqtok.errors import UsageError

MISSING = "-"
"""How a table shows a value that is not defined."""


@dataclass(frozen=True)
class Column:
    """One number per file.

    Attributes:
        name: As typed after ``--metrics``: "si-sdr".
        key: In JSON, with the unit: "si_sdr_db".
        title: Head of the column: "SI-SDR".
        unit: "dB", or "" for plain numbers.
        decimals: Shown in tables.
        higher_is_better: None where neither is.
        modality: "image" or "audio".
        protocol: How it is measured, one sentence.
    """

    name: str
    key: str
    title: str
    unit: str
    decimals: int
    higher_is_better: bool | None
    modality: str
    protocol: str

    @property
    def heading(self) -> str:
        """Title and unit: "PSNR dB"."""
        return f"{self.title} {self.unit}".strip()

    def format(self, value: float | None) -> str:
        """The text of a table's cell."""
        if value is None or math.isnan(value):
            return MISSING
        if math.isinf(value):
            return "inf" if value > 0 else "-inf"
        return f"{round(value, self.decimals) + 0.0:.{self.decimals}f}"  # + 0.0: no -0


def _column(
    name: str,
    key: str,
    title: str,
    shown: tuple[str, int],
    better: bool | None,
    modality: str,
    protocol: str,
) -> Column:
    return Column(name, key, title, *shown, better, modality, protocol)


METRICS = (
    _column(
        "psnr", "psnr_db", "PSNR", ("dB", 2), True, "image",
        "RGB rounded to 8 bits, peak 255, one mean squared error over all pixels and channels",
    ),
    _column(
        "ssim", "ssim", "SSIM", ("", 4), True, "image",
        "8-bit RGB scaled to [0, 1], Gaussian window 11, sigma 1.5, K1 .01, K2 .03, data range 1, "
        "mean over channels and whole windows; not defined below 11 pixels",
    ),
    _column(
        "ms-ssim", "ms_ssim", "MS-SSIM", ("", 4), True, "image",
        "five scales (.0448 .2856 .3001 .2363 .1333) of 2x2 means, windows as for SSIM; "
        "not defined below 176 pixels",
    ),
    _column(
        "si-sdr", "si_sdr_db", "SI-SDR", ("dB", 2), True, "audio",
        "scale-invariant signal-to-distortion ratio of zero-mean signals",
    ),
    _column(
        "si-sdr-aligned", "si_sdr_aligned_db", "SI-SDR aligned", ("dB", 2), True, "audio",
        "SI-SDR at the best whole-sample delay within 20 ms either way",
    ),
    _column(
        "delay", "delay_samples", "Delay", ("samples", 0), None, "audio",
        "that delay, at the model's rate; positive: the reconstruction is late",
    ),
    _column(
        "mel", "mel_distance", "Mel", ("", 3), False, "audio",
        "as in DAC: L1 of log10 mel magnitudes (floor 1e-5), windows 32 ... 2048 with 5 ... 320 "
        "bins, hop a quarter, summed over the seven",
    ),
    _column(
        "pesq", "pesq_wb", "PESQ-WB", ("", 2), True, "audio",
        "ITU-T P.862.2 by the package pesq, both signals resampled to 16 kHz, in equal pieces of "
        "at most 15 s; not defined without speech",
    ),
    _column(
        "stoi", "stoi", "STOI", ("", 3), True, "audio",
        "Taal et al. 2011 by the package pystoi at 10 kHz; not defined below 30 audible frames",
    ),
)  # fmt: skip
"""Every metric, in the order of the columns."""

RATES = (
    _column(
        "bpp", "bits_per_pixel", "Bits/pixel", ("", 4), False, "image",
        "log2 K bits for each code, over the pixels of the original",
    ),
    _column(
        "kbps", "kbit_per_s", "kbit/s", ("", 3), False, "audio",
        "log2 K bits for each code, all channels, over the seconds of the original",
    ),
)  # fmt: skip
"""What each modality's codes cost, per file."""

PROTOCOLS = {
    "image": "Each file at its full size, decoded to 8 bits; transparent pixels over the "
    "background, grey originals compared as grey. Mean ± sample sd over files.",
    "audio": "Both signals at the model's rate, the original resampled to it (soxr); each channel "
    "by itself, then their mean. Files longer than 60 s: consecutive segments of 30 s "
    "(the last up to 60 s), coded alone and weighted by length. Mean ± sample sd over files.",
}
"""What all metrics of a modality have in common."""

CODEBOOK = (
    "Codebook: exact counts over all files. Entropy is of order 0, each level and stage by its own "
    "frequencies; with fewer codes than some ten per entry, use and entropy come out too low."
)
"""How use, entropy and the rate by entropy come about."""


def select(names: Iterable[str]) -> tuple[Column, ...]:
    """Columns by name, in the order of ``METRICS``.

    Raises:
        UsageError: an unknown name.
    """
    wanted = list(names)
    known = [column.name for column in METRICS]
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "metrics: " + ", ".join(known)
            raise UsageError(f"--metrics {name}", "unknown metric", hint=hint)
    return tuple(column for column in METRICS if column.name in wanted)


@dataclass(frozen=True)
class Statistic:
    """Mean and spread of one column.

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
        """JSON data; null where there is no value."""
        return {
            "mean": plain(self.mean),
            "sd": plain(self.sd),
            "n": self.n,
            "left_out": self.left_out,
        }


class Running:
    """A ``Statistic`` of values that arrive one by one (Welford 1962: no large sums cancel)."""

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
        """The values so far."""
        mean = self._mean if self._n else math.nan
        sd = math.sqrt(self._squares / (self._n - 1)) if self._n > 1 else math.nan
        return Statistic(mean, sd, self._n, self._left_out)


def plain(value: float) -> float | str | None:
    """A number as JSON has it: null for NaN, "inf" or "-inf" as text, six decimals."""
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return round(value, 6)

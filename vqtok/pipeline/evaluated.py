"""What an evaluation finds out: one report per file, one summary per kind of file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqtok.codes import rates
from vqtok.metrics import codebook
from vqtok.metrics.codebook import RATES, Usage, Use
from vqtok.metrics.metric import PROTOCOLS, Metric, Statistic, plain
from vqtok.pipeline.results import label

CONTINUOUS = "continuous"
"""How a rate is written that is none."""


@dataclass(frozen=True)
class ItemReport:
    """What evaluation found out about one file.

    Attributes:
        source: The file; None for standard input.
        modality: "image" or "audio".
        extent: (H, W) pixels, or (L,) samples per channel at the model's rate.
        channels: Audio channels; 1 for images.
        tokens: Codes, over all levels and channels.
        bits: Nominal bits of them; None of a model whose latents are continuous.
        values: Metric by column name; NaN where it is not defined.
        encode_s: Seconds in the encoder.
        decode_s: Seconds in the decoder.
        rate_hz: The model's sampling rate; None for images.
        target: The reconstruction that was kept, or None.
        columns: The columns of ``values``.
        model: What it was coded with.
        segment_bits: Of each segment of a long recording, else of the file; none without codes.
        segment_stored: The same as whole packed files, headers included.
    """

    source: Path | None
    modality: str
    extent: tuple[int, ...]
    channels: int
    tokens: int
    bits: float | None
    values: Mapping[str, float]
    encode_s: float
    decode_s: float
    rate_hz: float | None = None
    target: Path | None = None
    columns: tuple[Metric, ...] = ()
    model: str = ""
    segment_bits: tuple[float, ...] = ()
    segment_stored: tuple[float, ...] = ()

    @property
    def amount(self) -> float:
        """Pixels, or seconds."""
        return rates.amount(self.extent, self.rate_hz)

    @property
    def rate(self) -> float | None:
        """Nominal bits per pixel, or kbit/s over all channels; None without codes."""
        if self.bits is None:
            return None
        return rates.rate(self.bits, self.amount, self.modality)

    @property
    def stored_rate(self) -> float | None:
        """Bits of packed files per pixel, or kbit/s over all channels; None without codes."""
        if self.bits is None:
            return None
        return rates.rate(sum(self.segment_stored), self.amount, self.modality)

    @property
    def picture(self) -> Path | None:
        """Where the comparison is kept: ``cat.recon.png`` → ``cat.compare.png``."""
        if self.target is None:
            return None
        return self.target.with_name(self.target.stem.removesuffix(".recon") + ".compare.png")

    @property
    def caption(self) -> str:
        """Rate and first metric in words: "0.203 bits/pixel, PSNR 24.73 dB"."""
        unit = rates.unit(self.modality).symbol
        words = [CONTINUOUS if self.rate is None else f"{rates.digits(self.rate)} {unit}"]
        for column in self.columns[:1] if self.rate_hz is None else self.columns:
            if column.name in ("psnr", "stoi", "mel"):
                words.append(f"{column.title} {column.text(self.values[column.name])}")
        return ", ".join(words)

    def to_json(self) -> dict[str, Any]:
        """Returns one JSON line: units in the names, keys that do not apply left out."""
        data: dict[str, Any] = {
            "source": label(self.source),
            "model": self.model,
            "modality": self.modality,
            "extent": list(self.extent),
            "tokens": self.tokens,
            "bits": None if self.bits is None else round(self.bits, 3),
            RATES[self.modality].key: None if self.rate is None else plain(self.rate),
            f"{RATES[self.modality].key}_stored": None
            if self.stored_rate is None
            else plain(self.stored_rate),
        }
        if self.rate_hz is not None:
            data["channels"] = self.channels
            data["rate_hz"] = self.rate_hz
            data["duration_s"] = plain(self.amount)
        for column in self.columns:
            data[column.key] = plain(self.values[column.name])
        data["encode_s"], data["decode_s"] = round(self.encode_s, 4), round(self.decode_s, 4)
        if self.target is not None:
            data["target"], data["picture"] = str(self.target), str(self.picture)
        return data


@dataclass(frozen=True)
class Summary:
    """What evaluation found out about all files of one modality.

    Attributes:
        modality: "image" or "audio".
        model: Its name.
        fingerprint: Of the model.
        depth: Stages that were kept, None without a stack.
        rate_hz: The model's sampling rate; None for images.
        files: Files evaluated.
        amount: Pixels, or seconds.
        rate: Nominal bits per pixel or kbit/s: all bits over the whole amount; None of a model
            whose latents are continuous, as are ``entropy_rate`` and ``codebook``.
        stored_rate: The same as whole packed files, headers included.
        entropy_rate: The same with each level and stage at its entropy of order 0.
        statistics: Mean ± sd over files by column.
        rate_statistic: Of the files' nominal rates.
        codebook: All levels and stages together.
        levels: Histograms by level name, coarse to fine.
        encode_speed: Megapixels per second, or seconds of audio per second.
        decode_speed: Likewise.
        columns: The columns of ``statistics``.
        classical: Of a classical codec: its protocol. It has a rate, but no codebook.
        over: Files for which a classical codec took more bits than it was to.
    """

    modality: str
    model: str
    fingerprint: str
    depth: int | None
    rate_hz: float | None
    files: int
    amount: float
    rate: float | None
    entropy_rate: float | None
    statistics: Mapping[str, Statistic]
    rate_statistic: Statistic
    codebook: Use | None
    levels: Mapping[str, Usage]
    encode_speed: float
    decode_speed: float
    columns: tuple[Metric, ...] = ()
    classical: str = ""
    over: int = 0
    stored_rate: float | None = None

    @property
    def rate_column(self) -> Metric:
        """The column of the nominal rate."""
        return RATES[self.modality]

    @property
    def protocol(self) -> tuple[str, ...]:
        """How the numbers came about, sentence by sentence."""
        columns = self.columns if self.codebook is None else (*self.columns, self.rate_column)
        each = [f"{c.title}: {c.protocol}." for c in columns]
        last = self.classical or (codebook.PROTOCOL if self.codebook else "")
        return (PROTOCOLS[self.modality], *each, *((last,) if last else ()))

    def to_json(self) -> dict[str, Any]:
        """Returns one JSON line, which the key "summary" marks."""
        key = self.rate_column.key
        amount = "pixels" if self.rate_hz is None else "duration_s"
        speed = "megapixels_per_s" if self.rate_hz is None else "times_real_time"
        data: dict[str, Any] = {
            "summary": self.modality,
            "model": self.model,
            "fingerprint": self.fingerprint,
            "depth": self.depth,
            "files": self.files,
            amount: plain(self.amount) if self.rate_hz is not None else round(self.amount),
            key: None if self.rate is None else plain(self.rate),
            f"{key}_stored": None if self.stored_rate is None else plain(self.stored_rate),
            f"{key}_entropy": None if self.entropy_rate is None else plain(self.entropy_rate),
        }
        if self.classical:
            data["over"] = self.over
        if self.rate_hz is not None:
            data["rate_hz"] = self.rate_hz
        for column in self.columns:
            data[column.key] = self.statistics[column.name].to_json()
        data["codebook"] = None if self.codebook is None else self.codebook.to_json()
        data["levels"] = {name: usage.to_json() for name, usage in self.levels.items()}
        data[f"encode_{speed}"] = plain(self.encode_speed)
        data[f"decode_{speed}"] = plain(self.decode_speed)
        data["protocol"] = list(self.protocol)
        return data

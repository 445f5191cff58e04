"""Sums of an evaluation: one file while it is coded, then all files. Memory is one histogram."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vqtok.codes import rates
from vqtok.metrics.codebook import Usage, Use
from vqtok.metrics.metric import Metric, Running, weighted_mean
from vqtok.pipeline.classical import Classical
from vqtok.pipeline.evaluated import ItemReport, Summary

if TYPE_CHECKING:
    import numpy as np

    from vqtok.codes.container import Codes
    from vqtok.codes.spec import CodeSpec
    from vqtok.protocols import Coder


@dataclass
class FileTally:
    """One file while it is being coded, perhaps in segments.

    Attributes:
        spec: Of the model.
        columns: What is measured.
        model: What the reports call it.
        budgets: Of a classical codec: the bits that each segment may take.
        bits: What the codes of each segment take; empty without codes.
        stored: The same as whole packed files, headers included.
    """

    spec: CodeSpec
    columns: tuple[Metric, ...]
    model: str = ""
    budgets: Sequence[float] = ()
    bits: list[float] = field(default_factory=list)
    stored: list[float] = field(default_factory=list)
    codes: list[tuple[np.ndarray, ...]] = field(default_factory=list)
    parts: list[tuple[float, Mapping[str, float]]] = field(default_factory=list)
    extent: tuple[int, ...] = ()
    channels: int = 1
    encode_s: float = 0.0
    decode_s: float = 0.0

    @property
    def length(self) -> int:
        """Samples coded so far (audio)."""
        return self.extent[0] if self.extent else 0

    @property
    def is_over(self) -> bool:
        """Whether a classical codec took more bits than it was to."""
        return bool(self.budgets) and sum(self.bits) > sum(self.budgets)

    def code(
        self,
        coder: Coder | Classical,
        x: np.ndarray,
        *,
        depth: int | None,
        label: str | None = None,
        grey: bool = False,
        stored: Callable[[Codes], int] = lambda codes: 0,
    ) -> np.ndarray:
        """Encode and decode signals, (C, 1, n) or (1, 3, H, W); remember codes and times.

        Codes → the bytes of their packed file are ``stored``.
        """
        if isinstance(coder, Classical):
            bits = self.budgets[len(self.bits)] if self.budgets else math.inf
            y, coded = coder.code(x, bits=bits, grey=grey)
            self.bits.append(coded.bits)
            self.stored.append(coded.bits)
            encode_s, decode_s = coded.encode_s, coded.decode_s
        else:
            trip = coder.round_trip(x, depth=depth, label=label)
            y, encode_s, decode_s = trip.x, trip.encode_s, trip.decode_s
            if trip.codes is not None:
                levels = trip.codes.levels
                self.codes.append(levels)
                self.bits.append(rates.bits(self.spec.levels, (array.size for array in levels)))
                self.stored.append(8.0 * stored(trip.codes))
        self.encode_s += encode_s
        self.decode_s += decode_s
        self._extend(tuple(x.shape[2:]), channels=len(x))
        return y

    def _extend(self, extent: tuple[int, ...], *, channels: int) -> None:
        if self.spec.modality == "image":
            self.extent = extent
        else:
            self.extent, self.channels = (self.length + extent[0],), channels

    def values(self, values: Mapping[str, float], *, weight: float) -> None:
        """Take the metrics of what was just coded."""
        self.parts.append((weight, values))

    def done(self, source: Path | None, *, target: Path | None) -> ItemReport:
        """Returns the file's report."""
        return ItemReport(
            source=source,
            modality=self.spec.modality,
            extent=self.extent,
            channels=self.channels,
            tokens=sum(array.size for arrays in self.codes for array in arrays),
            bits=sum(self.bits) if self.bits else None,
            values=weighted_mean(self.parts),
            encode_s=self.encode_s,
            decode_s=self.decode_s,
            rate_hz=self.spec.rate if self.spec.modality == "audio" else None,
            target=target,
            columns=self.columns,
            model=self.model,
            segment_bits=tuple(self.bits),
            segment_stored=tuple(self.stored),
        )


class Tally:
    """Sums over the files of one modality.

    Args:
        coder: The model, or a classical codec.
        columns: What is measured.
        model: What the reports call it; "": by its own name.
    """

    def __init__(
        self, coder: Coder | Classical, columns: tuple[Metric, ...], *, model: str
    ) -> None:
        self.spec: CodeSpec = coder.spec
        self.model = model or coder.name
        self.classical = coder.protocol if isinstance(coder, Classical) else ""
        self.columns = columns
        self._usages = {level.name: Usage.of(level) for level in self.spec.levels}
        self._metrics = {column.name: Running() for column in columns}
        self._rates = Running()
        self.files = self.over = 0
        self._amount = self._bits = self._stored = self._encode_s = self._decode_s = 0.0

    def file(self, budgets: Sequence[float] = ()) -> FileTally:
        """Begin a file; ``budgets`` are the bits that a classical codec has for each segment."""
        return FileTally(self.spec, self.columns, self.model, budgets)

    def add(self, report: ItemReport, tally: FileTally) -> None:
        """Take a whole file; one that failed on the way leaves no trace."""
        for arrays in tally.codes:
            for usage, array in zip(self._usages.values(), arrays, strict=True):
                usage.add(array)
        for name, value in report.values.items():
            self._metrics[name].add(value)
        if report.bits is not None and report.rate is not None:
            self._rates.add(report.rate)
            self._bits += report.bits
            self._stored += sum(report.segment_stored)
            self.over += tally.is_over
        self.files += 1
        self._amount += report.amount
        self._encode_s += report.encode_s
        self._decode_s += report.decode_s

    def summary(self) -> Summary:
        """Returns the sums so far."""
        totals = [usage.total for usage in self._usages.values()]
        tokens = sum(total.tokens for total in totals)
        coded = sum(total.entropy_bits * total.tokens for total in totals)
        sound = self.spec.modality == "audio"
        amount = self._amount or math.nan
        speed = self._amount / (1.0 if sound else 1e6)
        depths = [len(usage.used) for usage in self._usages.values() if usage.stage_axis]
        return Summary(
            modality=self.spec.modality,
            model=self.model,
            fingerprint=self.spec.fingerprint,
            depth=max(depths) if depths else None,
            rate_hz=self.spec.rate if sound else None,
            files=self.files,
            amount=self._amount,
            rate=rates.rate(self._bits, amount, self.spec.modality)
            if totals or self.classical
            else None,
            entropy_rate=rates.rate(coded, amount, self.spec.modality) if totals else None,
            stored_rate=rates.rate(self._stored, amount, self.spec.modality)
            if totals or self.classical
            else None,
            statistics={name: running.statistic for name, running in self._metrics.items()},
            rate_statistic=self._rates.statistic,
            codebook=Use(
                tokens=tokens,
                used=sum(total.used for total in totals),
                entries=sum(total.entries for total in totals),
                entropy_bits=coded / tokens if tokens else 0.0,
                nominal_bits=self._bits / tokens if tokens else 0.0,
            )
            if totals
            else None,
            levels=dict(self._usages),
            encode_speed=speed / self._encode_s if self._encode_s else math.nan,
            decode_speed=speed / self._decode_s if self._decode_s else math.nan,
            columns=self.columns,
            classical=self.classical,
            over=self.over,
        )

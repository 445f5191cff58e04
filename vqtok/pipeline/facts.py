"""Facts of files, each with its two forms: JSON data, and rows for people."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vqtok.codes import rates

if TYPE_CHECKING:
    from vqtok.codes.header import Header
    from vqtok.codes.spec import CodeSpec, LevelSpec
    from vqtok.media.audio import AudioInfo
    from vqtok.media.image import ImageInfo
    from vqtok.metrics.codebook import Usage

Rows = list[tuple[str, str]]
"""(key, value) for people, in order."""


@dataclass(frozen=True)
class LevelFacts:
    """One level of a codes file: what it is, its array's shape, and which entries it uses."""

    level: LevelSpec
    shape: tuple[int, ...]
    usage: Usage

    def to_json(self) -> dict[str, Any]:
        """JSON data."""
        return {
            "name": self.level.name,
            "axes": list(self.level.axes),
            "shape": list(self.shape),
            "dtype": self.level.dtype,
            "codebook_size": self.level.codebook_size,
            "use": self.usage.to_json(),
        }

    def rows(self) -> Rows:
        """Shape and use."""
        use = self.usage.total
        axes = ", ".join(self.level.axes)
        shape = " × ".join(str(size) for size in self.shape)
        stack = " per stage" if "q" in self.level.axes else ""
        return [
            (self.level.name, f"{shape} ({axes}), {self.level.dtype}"),
            ("codebook", f"{self.level.codebook_size} entries{stack}, {use.used} used"),
            (
                "entropy",
                f"{use.entropy_bits:.2f} of {use.nominal_bits:.2f} bits per code, "
                f"perplexity {use.perplexity:.0f}",
            ),
        ]


@dataclass(frozen=True)
class CodesFacts:
    """A codes file.

    Attributes:
        subject: The file.
        header: What it says about itself.
        levels: Coarse to fine.
        size_bytes: Of the file; None for a stream.
        found: Directory of the model that made it, None if it is not here.
        items: Images, each of the header's extent, in an array without a header; or recordings,
            of that extent together.
    """

    subject: str
    header: Header
    levels: tuple[LevelFacts, ...]
    size_bytes: int | None
    found: str | None
    items: int = 1

    @property
    def tokens(self) -> int:
        """Codes over all levels and channels."""
        return sum(math.prod(each.shape) for each in self.levels)

    @property
    def bits(self) -> float:
        """Nominal bits of them."""
        counts = [math.prod(each.shape) for each in self.levels]
        return rates.bits([each.level for each in self.levels], counts)

    @property
    def _bits_of_extent(self) -> float:
        """Nominal bits of what the header's extent is of."""
        return self.bits / (1 if self.header.spec.modality == "audio" else self.items)

    def to_json(self) -> dict[str, Any]:
        """JSON data."""
        header = self.header
        data: dict[str, Any] = {
            "subject": self.subject,
            "kind": "codes",
            **({"items": self.items} if self.items > 1 else {}),
            "modality": header.spec.modality,
            "model": header.model,
            "fingerprint": header.spec.fingerprint,
            "found": self.found,
            "extent": list(header.extent),
            "channels": header.channels,
            "rate_hz": header.spec.rate,
            "levels": [each.to_json() for each in self.levels],
            "tokens": self.tokens,
            "bits": round(self.bits, 3),
            "source": header.to_json()["source"],
            "size_bytes": self.size_bytes,
            "vqtok": header.vqtok,
            "effort": header.effort,
            "effort_metric": header.effort_metric or None,
        }
        data[rates.unit(header.spec.modality).key] = round(
            _rate(self._bits_of_extent, header.spec, header.extent), 4
        )
        return data

    def rows(self) -> Rows:
        """Returns what people want to know first, first."""
        header = self.header
        where = self.found or "not here: put it on VQTOK_MODELS"
        rows = [
            ("kind", f"codes of {_article(header.spec.modality)}"),
            ("model", f"{header.model or 'unnamed'} ({header.spec.fingerprint})"),
            ("found", where),
            ("extent", _extent(header.spec, header.extent, header.channels)),
            *(row for each in self.levels for row in each.rows()),
            ("total", f"{self.tokens} codes, {self.bits / 8:.0f} bytes nominal"),
            ("rate", _rate_text(self._bits_of_extent, header.spec, header.extent)),
            ("source", _source(header) if header.vqtok else "unknown: the file has no header"),
        ]
        if header.effort:
            rows.insert(2, ("effort", f"{header.effort}, for {header.effort_metric}"))
        if self.items > 1:
            rows.insert(1, ("items", str(self.items)))
        if self.size_bytes is not None:
            by = f", vqtok {header.vqtok}" if header.vqtok else ""
            rows.append(("file", f"{self.size_bytes} bytes{by}"))
        return rows


@dataclass(frozen=True)
class Expected:
    """What the default model would make of a file."""

    model: str
    shapes: tuple[tuple[int, ...], ...]
    channels: int
    tokens: int
    bits: float

    def to_json(self) -> dict[str, Any]:
        """JSON data."""
        return {
            "model": self.model,
            "shapes": [list(shape) for shape in self.shapes],
            "channels": self.channels,
            "tokens": self.tokens,
            "bits": round(self.bits, 3),
        }

    def rows(self) -> Rows:
        """Returns one row."""
        shapes = " + ".join("×".join(str(size) for size in shape) for shape in self.shapes)
        each = f"{self.channels} × {shapes}" if self.channels > 1 else shapes
        return [(f"by {self.model}", f"{each} = {self.tokens} codes, {self.bits / 8:.0f} bytes")]


@dataclass(frozen=True)
class ImageFacts:
    """A picture."""

    subject: str
    image: ImageInfo
    expected: Expected | None

    def to_json(self) -> dict[str, Any]:
        """JSON data."""
        found = self.image
        return {
            "subject": self.subject,
            "kind": "image",
            "format": found.format,
            "width": found.width,
            "height": found.height,
            "mode": found.mode,
            "bits_per_sample": found.bits,
            "has_alpha": found.has_alpha,
            "frames": found.frames,
            "left_out": list(found.left_out),
            "expected": None if self.expected is None else self.expected.to_json(),
        }

    def rows(self) -> Rows:
        """Returns what people want to know first, first."""
        found = self.image
        rows = [
            ("kind", f"image, {found.format}"),
            ("size", f"{found.width} × {found.height} pixels"),
            ("colour", f"{found.mode}, {found.bits} bits{', alpha' if found.has_alpha else ''}"),
        ]
        if found.left_out:
            rows.append(("left out", "; ".join(found.left_out)))
        return rows + ([] if self.expected is None else self.expected.rows())


@dataclass(frozen=True)
class AudioFacts:
    """A recording."""

    subject: str
    audio: AudioInfo
    expected: Expected | None

    def to_json(self) -> dict[str, Any]:
        """JSON data."""
        found = self.audio
        return {
            "subject": self.subject,
            "kind": "audio",
            "format": found.format,
            "encoding": found.subtype,
            "rate_hz": found.rate,
            "channels": found.channels,
            "samples": found.length,
            "duration_s": round(found.duration_s, 6),
            "expected": None if self.expected is None else self.expected.to_json(),
        }

    def rows(self) -> Rows:
        """Returns what people want to know first, first."""
        found = self.audio
        rows = [
            ("kind", f"audio, {found.format} {found.subtype}"),
            ("length", f"{found.duration_s:.3f} s, {found.length} samples"),
            ("sampling", f"{found.rate} Hz, {channels(found.channels)}"),
        ]
        return rows + ([] if self.expected is None else self.expected.rows())


def channels(count: int) -> str:
    """Maps 1 → "mono", 2 → "stereo", n → "n channels"."""
    return {1: "mono", 2: "stereo"}.get(count, f"{count} channels")


def _article(modality: str) -> str:
    return {"image": "an image", "audio": "audio"}.get(modality, modality)


def _extent(spec: CodeSpec, extent: tuple[int, ...], count: int) -> str:
    if spec.modality == "image":
        return f"{extent[1]} × {extent[0]} pixels"
    rate = spec.rate or 1.0
    return f"{extent[0] / rate:.3f} s, {extent[0]} samples at {rate:.0f} Hz, {channels(count)}"


def _rate(bits: float, spec: CodeSpec, extent: tuple[int, ...]) -> float:
    return rates.rate(bits, rates.amount(extent, spec.rate), spec.modality)


def _rate_text(bits: float, spec: CodeSpec, extent: tuple[int, ...]) -> str:
    return f"{rates.digits(_rate(bits, spec, extent))} {rates.unit(spec.modality).name}"


def _source(header: Header) -> str:
    source = header.source
    parts = [source.name or "standard input", source.format or ""]
    if source.rate is not None:
        parts.append(f"{source.rate} Hz, {source.length} samples")
    return ", ".join(part for part in parts if part)

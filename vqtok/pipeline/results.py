"""What the verbs yield, one result per input: done, or failed with the reason. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqtok.codes import rates
from vqtok.errors import VqtokError


@dataclass(frozen=True)
class Done:
    """One input that was encoded or decoded.

    Attributes:
        source: The input; None for standard input.
        target: What was written; None for standard output.
        modality: "image" or "audio".
        model: Name of the model.
        fingerprint: Of the model.
        extent: (H, W) pixels, or (L,) samples per channel at the model's rate.
        shapes: Shape of each level's array, coarse to fine, without the channel axis.
        tokens: Codes, over all levels and channels.
        bits: Nominal bits (log2 K per code), over all levels and channels.
        seconds: Wall time spent on this input.
        channels: Audio channels coded; 1 for images.
        rate_hz: The model's sampling rate; None for images.
    """

    source: Path | None
    target: Path | None
    modality: str
    model: str
    fingerprint: str
    extent: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    tokens: int
    bits: float
    seconds: float
    channels: int = 1
    rate_hz: float | None = None

    @property
    def duration_s(self) -> float | None:
        """Length of the signal in seconds; None for images."""
        return None if self.rate_hz is None else self.extent[0] / self.rate_hz

    @property
    def bits_per_pixel(self) -> float | None:
        """Nominal bits per pixel; None for audio."""
        return self._rate() if self.rate_hz is None else None

    @property
    def kbit_per_s(self) -> float | None:
        """Nominal kbit/s over all channels; None for images and for audio without samples."""
        return self._rate() if self.duration_s else None

    def _rate(self) -> float:
        amount = rates.amount(self.extent, self.rate_hz)
        return rates.rate(self.bits, amount, self.modality)

    def to_json(self) -> dict[str, Any]:
        """One JSON line: units in the names, keys that do not apply left out."""
        data: dict[str, Any] = {
            "source": label(self.source),
            "target": label(self.target),
            "modality": self.modality,
            "model": self.model,
            "fingerprint": self.fingerprint,
            "extent": list(self.extent),
            "shapes": [list(shape) for shape in self.shapes],
            "tokens": self.tokens,
            "bits": round(self.bits, 3),
            "seconds": round(self.seconds, 4),
        }
        if self.rate_hz is None:
            data["bits_per_pixel"] = _rounded(self.bits_per_pixel)
        else:
            data["channels"] = self.channels
            data["duration_s"] = _rounded(self.duration_s)
            data["kbit_per_s"] = _rounded(self.kbit_per_s)
        return data


@dataclass(frozen=True)
class Failed:
    """One input that could not be carried out; the others go on.

    Attributes:
        source: The input; None for standard input.
        error: What is wrong, subject first, perhaps with a hint.
    """

    source: Path | None
    error: VqtokError

    def to_json(self) -> dict[str, Any]:
        """One JSON line with the keys "source", "error" and, if there is one, "hint"."""
        data: dict[str, Any] = {"source": label(self.source), "error": str(self.error)}
        if self.error.hint:
            data["hint"] = self.error.hint
        return data


def label(path: Path | None) -> str:
    """How messages and JSON write a place: the path, or "-" for standard input and output."""
    return "-" if path is None else str(path)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)

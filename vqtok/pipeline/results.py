"""What the verbs yield, one result per input: done, or failed with the reason. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqtok.codes import rates
from vqtok.errors import (
    CheckpointError,
    ConfigError,
    UsageError,
    VqtokError,
    explained,
)

if TYPE_CHECKING:
    from vqtok.codes.container import Shapes
    from vqtok.codes.header import Header
    from vqtok.media.plan import Job

FATAL = (UsageError, ConfigError)
NAMED = (CheckpointError, ConfigError)
"""Errors that are about a model, and name it."""


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
        left_out: What of the source is not in the codes, in words.
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
    left_out: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        job: Job,
        header: Header,
        shapes: Shapes,
        *,
        seconds: float,
        left_out: tuple[str, ...] = (),
    ) -> Done:
        """Make the result of a job from the header and the shapes of its codes."""
        spec, channels = header.spec, header.channels
        counts = [channels * math.prod(shape) for shape in shapes]
        return cls(
            source=job.source,
            target=job.target,
            modality=spec.modality,
            model=header.model,
            fingerprint=spec.fingerprint,
            extent=header.extent,
            shapes=shapes,
            tokens=sum(counts),
            bits=rates.bits(spec.levels, counts),
            seconds=seconds,
            channels=channels,
            rate_hz=spec.rate if spec.modality == "audio" else None,
            left_out=left_out,
        )

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
        """Returns one JSON line: units in the names, keys that do not apply left out."""
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
        if self.left_out:
            data["left_out"] = list(self.left_out)
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

    @classmethod
    def of(
        cls,
        source: Path | None,
        error: Exception,
        *,
        has_model: bool = False,
    ) -> Failed:
        """Make the failure of one input, in words for its user; the error stays as the cause.

        Args:
            source: The input.
            error: What happened.
            has_model: Whether the input's model was at hand. If not, a usage or config error is a
                mistake of the whole command, which every further input would only repeat.

        Raises:
            UsageError, ConfigError: the error itself, in that case.
            BrokenPipeError: nobody reads standard output any more; that ends all.
        """
        each: BaseException | None = error
        while each is not None:
            if isinstance(each, BrokenPipeError):
                raise each
            each = each.__cause__
        if not has_model and isinstance(error, FATAL):
            raise error
        return cls(source, _explained(source, error))

    def to_json(self) -> dict[str, Any]:
        """Returns one JSON line with the keys "source", "error" and, if there is one, "hint"."""
        data: dict[str, Any] = {"source": label(self.source), "error": str(self.error)}
        if self.error.hint:
            data["hint"] = self.error.hint
        return data


def label(path: Path | None) -> str:
    """Names a source or target in messages and JSON: its path, or "-" for a standard stream."""
    return "-" if path is None else str(path)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _explained(source: Path | None, error: Exception) -> VqtokError:
    name = "stdin" if source is None else str(source)
    # Errors about values, not files, have no subject of their own yet.
    return error if isinstance(error, NAMED) else explained(error, name).about(name)

"""What codes mean: levels, axes, codebook sizes and strides, and what follows from them (grids, tokens, bits)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from vqtok.errors import CodesError

Modality = Literal["image", "audio", "video"]

SPATIAL = ("t", "h", "w")


@dataclass(frozen=True)
class LevelSpec:
    """One level of codes: one array.

    Attributes:
        name: "codes", "top", "bottom", "scale0".
        axes: "q" stack, "t" frames, "h", "w", "n" latent tokens; in the array's order.
        codebook_size: K: every code c satisfies 0 <= c < K.
        stride: Input samples per step, one per spatial axis ("t", "h", "w"), in order.
        depth: Q, length of a full "q" axis (shorter arrays are prefixes), or length of "n"; None without either.
    """

    name: str
    axes: tuple[str, ...]
    codebook_size: int
    stride: tuple[int, ...]
    depth: int | None = None

    @property
    def dtype(self) -> str:
        """Smallest unsigned numpy dtype that holds every code: "uint8", "uint16" or "uint32"."""
        if self.codebook_size <= 1 << 8:
            return "uint8"
        return "uint16" if self.codebook_size <= 1 << 16 else "uint32"

    @property
    def bits_per_code(self) -> float:
        """log2 K: the nominal cost of one code, in bits."""
        return math.log2(self.codebook_size)

    def shape(self, extent: tuple[int, ...], *, depth: int | None = None) -> tuple[int, ...]:
        """Shape of the level's array for a signal of this extent, without a batch axis.

        Args:
            extent: Original (H, W), (L,) or (T, H, W).
            depth: Stages kept of the "q" axis; None: all.
        """
        strides = iter(zip(extent, self.stride, strict=True))
        kept = self.depth if depth is None else depth
        out = []
        for axis in self.axes:
            if axis in SPATIAL:
                size, stride = next(strides)
                out.append(-(-size // stride))
            else:
                out.append(kept or 0)
        return tuple(out)


@dataclass(frozen=True)
class CodeSpec:
    """What one tokenizer's codes are.

    Attributes:
        modality: "image", "audio" or "video".
        levels: Coarse to fine.
        rate: Hz for audio, frames/s for video, None for images.
        fingerprint: Of the tokenizer that makes and reads the codes; "" if unknown.
    """

    modality: Modality
    levels: tuple[LevelSpec, ...]
    rate: float | None = None
    fingerprint: str = ""

    @property
    def depth(self) -> int | None:
        """Full stack depth Q if a level has a "q" axis, else None."""
        depths = [level.depth for level in self.levels if "q" in level.axes]
        return max(d for d in depths if d is not None) if depths else None

    def with_fingerprint(self, fingerprint: str) -> CodeSpec:
        """The same spec, signed."""
        return replace(self, fingerprint=fingerprint)

    def shapes(
        self, extent: tuple[int, ...], *, depth: int | None = None
    ) -> tuple[tuple[int, ...], ...]:
        """Array shape of each level for a signal of this extent."""
        return tuple(level.shape(extent, depth=depth) for level in self.levels)

    def tokens(self, extent: tuple[int, ...], *, depth: int | None = None) -> int:
        """Number of codes that a signal of this extent becomes (one channel)."""
        return sum(math.prod(shape) for shape in self.shapes(extent, depth=depth))

    def bits(self, extent: tuple[int, ...], *, depth: int | None = None) -> float:
        """Nominal bits (log2 K per code) of a signal of this extent (one channel)."""
        shapes = self.shapes(extent, depth=depth)
        pairs = zip(self.levels, shapes, strict=True)
        return sum(level.bits_per_code * math.prod(shape) for level, shape in pairs)

    def nominal_rate(self, *, depth: int | None = None) -> float:
        """Bits per pixel for images, bits per second for audio, from strides and codebook sizes alone."""
        total = 0.0
        for level in self.levels:
            kept = (level.depth if depth is None else depth) if "q" in level.axes else 1
            if "n" in level.axes:
                raise CodesError(f"level {level.name!r}: rate depends on the input's size")
            total += level.bits_per_code * (kept or 1) / math.prod(level.stride)
        return total * (self.rate or 1.0)

    def to_json(self) -> dict[str, Any]:
        """JSON data for headers; ``from_json`` reads it back."""
        levels = [
            {
                "name": level.name,
                "axes": list(level.axes),
                "codebook_size": level.codebook_size,
                "stride": list(level.stride),
                "depth": level.depth,
            }
            for level in self.levels
        ]
        return {
            "modality": self.modality,
            "levels": levels,
            "rate": self.rate,
            "fingerprint": self.fingerprint,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CodeSpec:
        """Read what ``to_json`` wrote.

        Raises:
            CodesError: a key is missing or of the wrong type.
        """
        try:
            levels = tuple(_level(each) for each in data["levels"])
            modality = data["modality"]
            rate = data["rate"]
            if modality not in ("image", "audio", "video") or not levels:
                raise ValueError(f"modality {modality!r} with {len(levels)} levels")
            return cls(
                modality=cast(Modality, modality),
                levels=levels,
                rate=None if rate is None else float(rate),
                fingerprint=str(data["fingerprint"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CodesError(f"damaged header: {error}") from error


def _level(data: Mapping[str, Any]) -> LevelSpec:
    level = LevelSpec(
        name=str(data["name"]),
        axes=tuple(str(axis) for axis in data["axes"]),
        codebook_size=int(data["codebook_size"]),
        stride=tuple(int(step) for step in data["stride"]),
        depth=None if data.get("depth") is None else int(data["depth"]),
    )
    spatial = sum(axis in SPATIAL for axis in level.axes)
    if level.codebook_size < 1 or min(level.stride, default=1) < 1 or spatial != len(level.stride):
        raise ValueError(f"level {level.name!r} does not hold together")
    return level

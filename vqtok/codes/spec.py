"""What codes mean: levels, axes, codebook sizes, strides, and so grids, tokens and bits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from vqtok.errors import CodesError, UsageError

Modality = Literal["image", "audio", "video"]

SPATIAL = ("t", "h", "w")

RANKS = {"image": 2, "audio": 1, "video": 3}
"""Length of an extent: (H, W), (L,), (T, H, W)."""

LONGEST = 255
"""Characters of any text in a header: what a file name can have."""

LARGEST = 1 << 53
"""Largest integer taken from a header: every JSON reader agrees up to here."""


@dataclass(frozen=True)
class LevelSpec:
    """Describes one level of codes: one array.

    Attributes:
        name: "codes", "top", "bottom", "scale0".
        axes: "q" stack, "t" frames, "h", "w", "n" latent tokens; in the array's order.
        codebook_size: K: every code c satisfies 0 <= c < K.
        stride: Input samples per step, one per spatial axis ("t", "h", "w"), in order.
        depth: Q, length of a full "q" axis (shorter arrays are prefixes), or length of "n"; None
            without either.
        steps: Codes per stride along "t", where a codec gives several for each stretch that it
            pads to or cuts at; a signal then has whole stretches of codes.
    """

    name: str
    axes: tuple[str, ...]
    codebook_size: int
    stride: tuple[int, ...]
    depth: int | None = None
    steps: int = 1

    @property
    def dtype(self) -> str:
        """Name the smallest numpy dtype that holds every code: "uint8", "uint16" or "uint32"."""
        if self.codebook_size <= 1 << 8:
            return "uint8"
        return "uint16" if self.codebook_size <= 1 << 16 else "uint32"

    @property
    def bits_per_code(self) -> float:
        """Return log2 K, the nominal cost of one code in bits."""
        return math.log2(self.codebook_size)

    def shape(self, extent: tuple[int, ...], *, depth: int | None = None) -> tuple[int, ...]:
        """Return the shape of the level's array for a signal of this extent, without a batch axis.

        Args:
            extent: Original (H, W), (L,) or (T, H, W).
            depth: Stages kept of the "q" axis; None: all.

        Raises:
            CodesError: an extent of another rank.
        """
        if self.stride and len(extent) != len(self.stride):
            raise CodesError(
                f"level {self.name!r}: extent {extent} does not fit strides {self.stride}"
            )
        steps = iter(-(-size // stride) for size, stride in zip(extent, self.stride, strict=False))
        out = []
        for axis in self.axes:
            if axis in SPATIAL:
                out.append(next(steps) * self.steps)
            elif axis == "q" and depth is not None:
                out.append(min(depth, self.depth or depth))
            else:
                out.append(self.depth or 0)
        return tuple(out)


@dataclass(frozen=True)
class CodeSpec:
    """Describes the codes of one tokenizer.

    Attributes:
        modality: "image", "audio" or "video".
        levels: Coarse to fine; none of a model whose latents are continuous: it has no codes.
        rate: Hz for audio, frames/s for video, None for images.
        fingerprint: Of the tokenizer that makes and reads the codes; "" if unknown.
        channels: Audio channels that are coded together: 2 for stereo codecs.
    """

    modality: Modality
    levels: tuple[LevelSpec, ...]
    rate: float | None = None
    fingerprint: str = ""
    channels: int = 1

    @property
    def depth(self) -> int | None:
        """Return the full stack depth Q if a level has a "q" axis, else None."""
        depths = [level.depth for level in self.levels if "q" in level.axes]
        return max(d for d in depths if d is not None) if depths else None

    def with_fingerprint(self, fingerprint: str) -> CodeSpec:
        """Return the same spec, signed."""
        return replace(self, fingerprint=fingerprint)

    def require_codes(self, name: str) -> None:
        """Do nothing if there are codes.

        Args:
            name: Of the model, for the message; "" if it has none.

        Raises:
            UsageError: the model's latents are continuous.
        """
        if not self.levels:
            hint = "codes come of a quantizer with a codebook, such as quantizers/vq"
            if name:
                hint = f"`vqtok eval -m {name}` measures it; {hint}"
            raise UsageError(name or "this model", "an autoencoder without codes", hint=hint)

    def shapes(
        self, extent: tuple[int, ...], *, depth: int | None = None
    ) -> tuple[tuple[int, ...], ...]:
        """Return the array shape of each level for a signal of this extent."""
        return tuple(level.shape(extent, depth=depth) for level in self.levels)

    def largest_extent(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        """Give grid times stride, the largest extent that every level's grid allows.

        Args:
            shapes: Of each level's array, without a batch axis.

        Raises:
            CodesError: levels without a grid, or an axis of length 0.
        """
        sizes = []
        for level, shape in zip(self.levels, shapes, strict=True):
            grid = [n for n, axis in zip(shape, level.axes, strict=False) if axis in SPATIAL]
            if grid:
                pairs = zip(grid, level.stride, strict=False)
                sizes.append([n // level.steps * stride for n, stride in pairs])
        if not sizes:
            raise CodesError("codes without a grid: the size of the original must be known")
        extent = tuple(min(column) for column in zip(*sizes, strict=True))
        if 0 in extent:
            raise CodesError("no codes: an axis of length 0")
        return extent

    def tokens(self, extent: tuple[int, ...], *, depth: int | None = None) -> int:
        """Count the codes that one channel of a signal of this extent becomes."""
        return sum(math.prod(shape) for shape in self.shapes(extent, depth=depth))

    def to_json(self) -> dict[str, Any]:
        """Return JSON data for headers; ``from_json`` reads it back."""
        levels = [
            {
                "name": level.name,
                "axes": list(level.axes),
                "codebook_size": level.codebook_size,
                "stride": list(level.stride),
                "depth": level.depth,
                **({} if level.steps == 1 else {"steps": level.steps}),
            }
            for level in self.levels
        ]
        return {
            "modality": self.modality,
            "levels": levels,
            "rate": self.rate,
            "fingerprint": self.fingerprint,
            **({} if self.channels == 1 else {"channels_together": self.channels}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], *, least: int = 1) -> CodeSpec:
        """Read what ``to_json`` wrote.

        Args:
            data: JSON data.
            least: Levels that there must be: one in files of codes, none in models.

        Raises:
            ValueError: a key is missing or of the wrong type.
        """
        try:
            modality, levels, rate = data["modality"], data["levels"], data["rate"]
            if modality not in RANKS:
                raise ValueError(f"unknown modality {modality!r}")
            if not isinstance(levels, list) or len(levels) < least:
                raise ValueError("levels is not a list with entries")
            spec = cls(
                modality=cast(Modality, modality),
                levels=tuple(_level(each, rank=RANKS[modality]) for each in levels),
                rate=None if rate is None else _rate(rate),
                fingerprint=_text(data.get("fingerprint", ""), "fingerprint"),
                channels=integer(data.get("channels_together", 1), "channels_together", high=64),
            )
        except KeyError as error:
            raise ValueError(f"{error} is missing") from error
        except TypeError as error:
            raise ValueError(str(error)) from error
        if len({level.name for level in spec.levels}) != len(spec.levels):
            raise ValueError("two levels of one name")
        return spec


def integer(value: object, key: str, *, low: int = 1, high: int = LARGEST) -> int:
    """Check an integer of a header.

    Raises:
        ValueError: another type, or out of [low, high].
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{key} is not an integer")
    if not low <= value <= high:
        raise ValueError(f"{key} is out of range")
    return value


def _level(data: object, *, rank: int) -> LevelSpec:
    if not isinstance(data, Mapping):
        raise ValueError("a level is not an object")
    axes, stride, depth = data["axes"], data["stride"], data.get("depth")
    if not isinstance(axes, list) or not isinstance(stride, list) or not axes:
        raise ValueError("axes or stride is not a list with entries")
    level = LevelSpec(
        name=_text(data["name"], "level name"),
        axes=tuple(_text(axis, "axis") for axis in axes),
        codebook_size=integer(data["codebook_size"], "codebook_size", high=1 << 32),
        stride=tuple(integer(step, "stride") for step in stride),
        depth=None if depth is None else integer(depth, "depth", high=1 << 16),
        steps=integer(data.get("steps", 1), "steps", high=1 << 24),
    )
    spatial = sum(axis in SPATIAL for axis in level.axes)
    whole = spatial == len(level.stride) and spatial in (0, rank)
    sized = (level.depth is not None) == any(axis in ("q", "n") for axis in level.axes)
    known = len(set(level.axes)) == len(level.axes) and set(level.axes) <= {*SPATIAL, "q", "n"}
    blocks = level.steps == 1 or (rank == 1 and spatial == 1)
    if not (level.name and whole and sized and known and blocks) or {"q", "n"} <= set(level.axes):
        raise ValueError(f"level {level.name!r} does not hold together")
    return level


def _rate(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= LARGEST:
        raise ValueError("rate is not a positive number")
    return float(value)


def _text(value: object, key: str) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > LONGEST:
        raise ValueError(f"{key} is not text")
    return value

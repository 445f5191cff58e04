"""Quantizers in numpy, by their configs and weights: codes of latents, and latents of codes.

One class for each kind of ``vqtok/quantizers``, which explain the methods. A tolerance says how far
latents may be from those that are meant, and what could then have another code is marked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from vqtok.errors import CheckpointError
from vqtok.graphs.search import Codebook, NearTies, lengths

_KNOWN = ("vq", "rvq", "simvq", "gumbel", "fsq", "lfq", "bsq", "grouped")

Array = Any
"""An array of numpy."""


class Assigned(NamedTuple):
    """Codes of latents that are known only roughly."""

    codes: Array
    """int64 (N,), or (Q, N) of Q stages."""
    near_tie: Array
    """(N,) bool: another code is possible."""


class Quantizer(Protocol):
    """Rows of latents ⇄ codes."""

    stacked: bool
    """Whether codes have an axis of stages."""

    def assign(self, rows: Array, *, tolerance: float, threads: int = 1) -> Assigned:
        """Give codes of (N, D) rows, float32 or float64."""
        ...

    def decode(self, codes: Array) -> Array:
        """Codes (N,) or (n, N), fewer stages allowed → (N, D) float32."""
        ...


class Weights:
    """Tensors of one quantizer.

    Args:
        arrays: Of the model, by name.
        prefix: What its names begin with.
    """

    def __init__(self, arrays: Mapping[str, Array], prefix: str) -> None:
        self._arrays, self._prefix = arrays, prefix

    def __call__(self, name: str) -> Array:
        """Give a tensor as float32.

        Raises:
            CheckpointError: there is none.
        """
        try:
            return np.asarray(self._arrays[f"{self._prefix}{name}"], dtype=np.float32)
        except KeyError as error:
            raise CheckpointError(f"missing: {self._prefix}{name}") from error

    def inside(self, name: str) -> Weights:
        """Give the tensors of a part."""
        return Weights(self._arrays, f"{self._prefix}{name}.")

    def linear(self, name: str) -> Linear:
        """Give a linear map; without weights none."""
        if f"{self._prefix}{name}.weight" not in self._arrays:
            return Linear(None, None)
        return Linear(self(f"{name}.weight"), self(f"{name}.bias"))


class Linear(NamedTuple):
    """A linear map of rows, or nothing at all."""

    weight: Array | None
    bias: Array | None

    def __call__(self, rows: Array) -> Array:
        """Map rows, in float64, rounded once to the precision they had."""
        if self.weight is None or self.bias is None:
            return rows
        wide = self.weight.astype(np.float64)
        return np.asarray((rows @ wide.T + self.bias).astype(rows.dtype))

    @property
    def stretch(self) -> float:
        """Bound how much farther apart two rows can be behind it than before it."""
        if self.weight is None:
            return 1.0
        return float(np.linalg.norm(self.weight.astype(np.float64), ord=2))


class Stages:
    """Codebooks, each of which quantizes what those before it left over; often only one.

    Args:
        codebooks: Of each stage.
        maps: Before and after all of them.
        stacked: Whether codes have an axis of stages.
        lift: What is done to rows before they are looked up.
        looked_up: What codes stand for, if not the entries that are searched; of one stage.
    """

    def __init__(
        self,
        codebooks: list[Codebook],
        maps: tuple[Linear, Linear],
        *,
        stacked: bool = False,
        lift: Callable[[Array, NearTies], Array] = lambda rows, ties: rows,
        looked_up: Array | None = None,
    ) -> None:
        self.codebooks, self.maps = codebooks, maps
        self.stacked, self._lift, self.looked_up = stacked, lift, looked_up

    @property
    def turned(self) -> bool:
        """Whether rows are looked up by direction."""
        return self._lift is _turned

    def assign(self, rows: Array, *, tolerance: float, threads: int = 1) -> Assigned:
        """Give codes of (N, D) rows."""
        residual = self.maps[0](rows)
        ties = NearTies(residual, tolerance * self.maps[0].stretch)
        residual, codes = self._lift(residual, ties), []
        for codebook in self.codebooks:
            codes.append(codebook.nearest(residual, ties, threads=threads))
            if self.stacked:
                residual = residual - codebook.entries[codes[-1]]
                ties.round(residual)
        return Assigned(np.stack(codes) if self.stacked else codes[0], ties.found)

    def decode(self, codes: Array) -> Array:
        """Codes → (N, D)."""
        if self.looked_up is not None:
            return self.looked_up[codes]
        pairs = zip(self.codebooks, codes if self.stacked else codes[None], strict=False)
        total = sum(codebook.entries[each] for codebook, each in pairs)
        return self.maps[1](np.asarray(total, dtype=np.float32))


class Signs:
    """One bit for each number.

    Args:
        bits: d.
        value: What a set bit stands for.
        maps: Before and after.
    """

    def __init__(self, bits: int, value: float, maps: tuple[Linear, Linear]) -> None:
        self.stacked = False
        self.basis, self.value = 1 << np.arange(bits, dtype=np.int64), np.float32(value)
        self.maps = maps

    def assign(self, rows: Array, *, tolerance: float, threads: int = 1) -> Assigned:
        """Give codes of (N, D) rows."""
        rows = self.maps[0](rows)
        ties = NearTies(rows, tolerance * self.maps[0].stretch)
        near = (np.abs(rows) <= ties.tolerance[:, None]).any(axis=1)
        return Assigned(((rows > 0) * self.basis).sum(axis=1), near)

    def decode(self, codes: Array) -> Array:
        """Codes → (N, D)."""
        bits = (codes.astype(np.int64)[:, None] & self.basis) > 0
        return self.maps[1](np.where(bits, self.value, -self.value))


class Levels:
    """A few levels for each bounded number.

    Args:
        levels: Of each number.
        maps: Before and after.
    """

    MARGIN = 1e-3
    """How much wider than the levels the bounds are, as ``quantizers/fsq`` has it."""

    def __init__(self, levels: tuple[int, ...], maps: tuple[Linear, Linear]) -> None:
        self.stacked = False
        self.levels = np.array(levels, dtype=np.int64)
        self.basis = np.cumprod([1, *levels[:-1]], dtype=np.int64)
        self.maps = maps

    def assign(self, rows: Array, *, tolerance: float, threads: int = 1) -> Assigned:
        """Give codes of (N, D) rows."""
        rows = self.maps[0](rows)
        ties = NearTies(rows, tolerance * self.maps[0].stretch)
        half = (self.levels - 1) * (1 + self.MARGIN) / 2
        offset = np.where(self.levels % 2 == 0, 0.5, 0.0)
        bounded = np.tanh(rows.astype(np.float64) + np.arctanh(offset / half)) * half - offset
        moved = ties.tolerance[:, None] * half + 2.0**-40
        near = (np.abs(bounded - np.floor(bounded) - 0.5) <= moved).any(axis=1)
        steps = np.rint(bounded).astype(np.int64)
        return Assigned(((steps + self.levels // 2) * self.basis).sum(axis=1), near)

    def decode(self, codes: Array) -> Array:
        """Codes → (N, D)."""
        digits = codes.astype(np.int64)[:, None] // self.basis % self.levels
        half = self.levels // 2
        return self.maps[1](((digits - half) / half).astype(np.float32))


class Groups:
    """A quantizer for each group of channels; codes stage by stage, in each stage by group.

    Args:
        parts: Of each group.
    """

    def __init__(self, parts: list[Quantizer]) -> None:
        self.stacked = True
        self.parts = parts

    def assign(self, rows: Array, *, tolerance: float, threads: int = 1) -> Assigned:
        """Give codes of (N, D) rows."""
        pairs = zip(self.parts, np.split(rows, len(self.parts), axis=1), strict=True)
        found = [
            part.assign(np.ascontiguousarray(own), tolerance=tolerance, threads=threads)
            for part, own in pairs
        ]
        stages = [each.codes.reshape(-1, len(rows)) for each in found]
        woven = np.stack(stages, axis=1)  # (Q, G, N)
        near = np.stack([each.near_tie for each in found]).any(axis=0)
        return Assigned(woven.reshape(-1, woven.shape[-1]), near)

    def decode(self, codes: Array) -> Array:
        """Codes → (N, D); a group without a code is zeros."""
        parts: list[Array] = []
        for index, part in enumerate(self.parts):
            mine = codes[index :: len(self.parts)]
            if not len(mine):
                parts.append(np.zeros_like(parts[0]))
            else:
                parts.append(part.decode(mine if part.stacked else mine[0]))
        return np.concatenate(parts, axis=1)


def quantizers_of(facts: Mapping[str, Any], arrays: Mapping[str, Array]) -> list[Quantizer]:
    """Make the quantizer of each level, coarse → fine.

    Raises:
        CheckpointError: as ``build``.
    """
    configs = facts["quantizers"]
    if len(configs) == 1:
        return [build(configs[0], Weights(arrays, "quantizer."))]
    return [
        build(config, Weights(arrays, f"quantizer.{level}."))
        for level, config in enumerate(configs)
    ]


def known(config: Mapping[str, Any]) -> bool:
    """Tell whether ``build`` has a quantizer; of what other packages add it has none."""
    inner = config.get("quantizer")
    kind = str(config.get("type")).removeprefix("quantizers/")
    return kind in _KNOWN and (inner is None or known(inner))


def build(config: Mapping[str, Any], weights: Weights) -> Quantizer:
    """Make the quantizer of a config.

    Raises:
        CheckpointError: of an unknown type, or whose weights are missing.
    """
    kind = str(config.get("type")).removeprefix("quantizers/")
    maps = weights.linear("project_in"), weights.linear("project_out")
    try:
        if kind == "vq":
            entries = weights("codebook.entries")
            if not config.get("cosine"):
                return Stages([Codebook(entries)], maps)
            return Stages([Codebook(_unit(entries))], maps, lift=_turned)
        if kind == "rvq":
            stages = [weights(f"stages.{each}.entries") for each in range(config["depth"])]
            return Stages([Codebook(entries) for entries in stages], maps, stacked=True)
        if kind == "simvq":
            frozen = weights("frozen").astype(np.float64)
            return Stages([Codebook(weights.linear("map")(frozen))], maps)
        if kind == "gumbel":
            raised = _raised(weights("logits.weight"), weights("logits.bias"))
            entries = weights("entries")
            return Stages([Codebook(raised)], maps, lift=_lifted, looked_up=entries)
        if kind == "fsq":
            return Levels(tuple(config["levels"]), maps)
        if kind in ("lfq", "bsq"):
            bits = int(config["bits"])
            return Signs(bits, 1.0 if kind == "lfq" else bits**-0.5, maps)
        if kind == "grouped":
            inner = config["quantizer"]
            parts = [
                build(inner, weights.inside(f"parts.{each}")) for each in range(config["groups"])
            ]
            return Groups(parts)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"quantizer: {error}") from error
    raise CheckpointError(f"quantizer {config.get('type')!r}: only torch has it")


def _unit(rows: Array) -> Array:
    """Give (N, d) rows unit length, in float64, rounded once."""
    length = np.maximum(lengths(rows), 1e-12)[:, None]
    return np.asarray((rows.astype(np.float64) / length).astype(rows.dtype))


def _turned(rows: Array, ties: NearTies) -> Array:
    """Give rows unit length, and their tolerances as those of directions."""
    # By the sine rule, no direction turns by more; the last term rounds the unit row.
    ties.tolerance = ties.tolerance / (lengths(rows) / 2 + 2.0**-126) + 2.0**-23
    return _unit(rows)


def _lifted(rows: Array, ties: NearTies) -> Array:
    """Append a zero to (N, d) rows, see ``quantizers/gumbel``."""
    return np.concatenate((rows, np.zeros_like(rows[:, :1])), axis=1)


def _raised(weight: Array, bias: Array) -> Array:
    """Append a coordinate to (K, d) logits, so that the nearest is the likeliest."""
    squares = np.square(weight, dtype=np.float64).sum(axis=1) + 2 * bias.astype(np.float64)
    more = np.sqrt(squares.max() - squares)
    return np.concatenate((weight, more[:, None].astype(np.float32)), axis=1)

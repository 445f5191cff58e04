"""Images by windows and tiles over onnxruntime: the way of ``tokenizers/exact/images`` in numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from vqtok.backends.onnx_backend.coding import OnnxCoder
from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec
from vqtok.errors import UsageError
from vqtok.graphs.exact import Position
from vqtok.graphs.float64 import Float64, Source
from vqtok.graphs.graph import Graph, Value
from vqtok.graphs.layers import Region
from vqtok.graphs.parts import in_parts
from vqtok.graphs.sessions import Network
from vqtok.graphs.store import Stored
from vqtok.protocols import Label
from vqtok.tokenizers.exact.tiling2d import Cut, Grids, Tile, Windows, batches, tiles

Array = Any
"""An array of numpy."""
Read = Callable[[slice, slice], Array]

SMALL = 1 << 17
"""Pixels, up to which networks need no more memory than it takes to open them."""

EPSILON = 0.1
"""Share of the range that "logit-laplace" leaves free, as ``nn/outputs`` has it."""


class Levels:
    """The encoder's parts: features of all levels, then context and latents of one after another.

    Args:
        graph: Of the encoder.
        count: Of levels.
        folder: Of the model.
        arrays: Of its weights.
    """

    def __init__(self, graph: Graph, count: int, folder: Path, arrays: Mapping[str, Array]) -> None:
        self.count = count
        self._latents, self._contexts = list[Network](), list[Network]()
        pixels, *quantized = graph.inputs
        if count == 1:
            self._features = Network(graph, folder, split=in_parts)
        else:
            axes = graph.outputs[0].axes
            features = [Value(f"features{level}", axes) for level in range(count)]
            contexts = [Value(f"context{level}", axes) for level in range(count)]
            self._features = Network(graph.part([pixels], features), folder, split=in_parts)
            # The coarsest level has no context.
            known = [[], *([each] for each in contexts[1:])]
            self._latents = [
                Network(graph.part([features[level], *known[level]], [z]), folder, split=in_parts)
                for level, z in enumerate(graph.outputs)
            ]
            self._contexts = [
                Network(graph.part([q, *known[level]], [context]), folder, split=in_parts)
                for level, (q, context) in enumerate(zip(quantized, contexts[1:], strict=True))
            ]
        self._graph, self._arrays = graph, arrays

    def save_memory(self) -> None:
        """Run graphs from now on that need less memory."""
        for network in (self._features, *self._latents, *self._contexts):
            network.save_memory()

    def features(self, x: Array, *, threads: int) -> list[Array]:
        """Maps (B, C, H, W) → of each level, (B, width, h, w); of a single one its latents."""
        return self._features({"x": x}, threads=threads)

    def context(self, level: int, state: dict[str, Array], *, threads: int) -> Array:
        """Compute a level's context from codes and context of the one before, twice its size."""
        return self._contexts[level - 1](state, threads=threads)[0]

    def latents(self, level: int, features: Array, context: Array | None, *, threads: int) -> Array:
        """Compute latents of one level."""
        if self.count == 1:
            return features
        given = {f"features{level}": features}
        if context is not None:
            given[f"context{level}"] = context
        return self._latents[level](given, threads=threads)[0]

    @cached_property
    def float64(self) -> list[Float64]:
        """Make graphs of each level that are computed in float64."""
        pixels, *quantized = self._graph.inputs
        parts = [
            self._graph.part([pixels, *quantized[:level]], [z])
            for level, z in enumerate(self._graph.outputs)
        ]
        return [Float64(part, self._arrays) for part in parts]


class OnnxImages(OnnxCoder):
    """Images ⇄ codes of every level."""

    def __init__(
        self, folder: Path, stored: Stored, spec: CodeSpec, *, name: str, count: int
    ) -> None:
        super().__init__(folder, stored, spec, name=name, count=count)
        facts = stored.facts
        self._stride = spec.levels[0].stride[0]
        self._output, self._halo = facts["output"], int(facts["halo"])
        self._decoder_halo = int(facts["decoder_halo"])
        self._grids = Grids(self._stride, facts["margins"])

    @cached_property
    def _levels(self) -> Levels:
        return Levels(self._stored.encoder, len(self._exact), self._folder, self._arrays)

    @cached_property
    def _decoder(self) -> Network:
        return Network(self._stored.decoder, self._folder, split=in_parts)

    def encode_many(self, signals: Sequence[Array]) -> list[Codes]:
        """Encode (C, H, W) images of any sizes, each as if it were alone."""
        images, found = [], []
        for x in signals:
            if x.ndim != 3 or x.shape[0] != self.channels or 0 in x.shape:
                wanted = f"({self.channels}, H, W)"
                raise UsageError(f"images: shape {x.shape} found, {wanted} expected")
            images.append(self._windows((x.shape[1], x.shape[2]), _reader(x)))
            found.append(self._empty(images[-1].size))
        self._encode(images, found)
        pairs = zip(images, found, strict=True)
        return [Codes(self.spec, arrays, image.size) for image, arrays in pairs]

    def encode_windows(self, size: tuple[int, int], read: Read) -> Codes:
        """Encode one image of (H, W) pixels, window by window."""
        arrays = self._empty(size)
        self._encode([self._windows(size, read)], [arrays])
        return Codes(self.spec, arrays, size)

    def decode(self, codes: Codes, *, label: Label = None) -> Array:
        """Decode codes to (B, C, H, W) float32."""
        x = np.empty((len(codes), self.channels, *codes.extent), dtype=np.float32)
        for item in range(len(codes)):
            for rows, columns, shown in self.decode_tiles(codes, item=item, label=label):
                x[item, :, rows, columns] = shown
        return x

    def decode_tiles(
        self, codes: Codes, *, item: int = 0, label: Label = None
    ) -> Iterator[tuple[slice, slice, Array]]:
        """Decode one image of a batch, tile by tile."""
        (height, width), vector = codes.extent, self._vector(label)
        if height * width > SMALL:
            self._decoder.save_memory()
        count = self._useful(height * width)
        for tile in tiles((height, width), stride=self._stride, halo=self._decoder_halo):
            given = {}
            for level, (exact, array) in enumerate(zip(self._exact, codes.levels, strict=True)):
                window = np.asarray(array[item])[(None, ..., *tile.window(1 << level))]
                given[f"q{level}"] = exact.decode(window)
            if vector is not None:
                given[f"q{len(codes.levels) - 1}"] += vector[:, None, None]
            raw = self._decoder(given, threads=count)[0][(0, ..., *tile.inner(self._stride))]
            rows, columns = tile.owned(self._stride)
            rows = slice(rows.start, min(rows.stop, height))
            columns = slice(columns.start, min(columns.stop, width))
            raw = raw[:, : rows.stop - rows.start, : columns.stop - columns.start]
            yield rows, columns, self._pixels(raw)

    def _encode(
        self, images: Sequence[Windows[Array]], arrays: Sequence[tuple[Array, ...]]
    ) -> None:
        """Write the codes of images into arrays."""

        def key(index: int, tile: Tile) -> tuple[Tile, tuple[Cut, ...]]:
            return tile.form, self._grids.cuts(tile, images[index].size)

        sizes = [image.size for image in images]
        count = self._useful(sum(height * width for height, width in sizes))
        for group in batches(sizes, stride=self._stride, halo=self._halo, key=key):
            index, tile = group[0]
            cuts = self._grids.cuts(tile, images[index].size)
            x = np.stack([images[index](tile) for index, tile in group])
            x = x.astype(np.float32, copy=False)
            levels = self._code(x, cuts, count)
            for item, (index, tile) in enumerate(group):
                pairs = zip(cuts, levels, arrays[index], strict=True)
                for level, (cut, codes, array) in enumerate(pairs):
                    kept = codes[(item, ..., *cut.inner())]
                    array[(0, ..., *cut.position(tile, level))] = kept

    def _code(self, x: Array, cuts: Sequence[Cut], count: int) -> list[Array]:
        """Code (B, C, H, W) windows of one form on each level, as far as it is coded."""
        if x[:, 0].size > SMALL:
            self._levels.save_memory()
        features, known = self._levels.features(x, threads=count), list[Array]()
        context: Array | None = None
        for level, cut in enumerate(cuts):
            own = _cut(features[level], Region(*cut.coded))
            if level:
                state = {f"q{level - 1}": self._exact[level - 1].decode(known[-1])}
                if context is not None:
                    state[f"context{level - 1}"] = context
                whole = self._levels.context(level, state, threads=count)
                context = _cut(whole, Region(*Grids.doubled(cut, cuts[level - 1])))
            z = self._levels.latents(level, own, context, threads=count)
            known.append(self._decided(level, z, x, known, cuts, count))
        return known

    def _decided(
        self,
        level: int,
        z: Array,
        x: Array,
        known: Sequence[Array],
        cuts: Sequence[Cut],
        count: int,
    ) -> Array:
        """Decide the codes of a level's latents, given those of the levels before."""
        (top, _), (left, _) = cuts[level].coded

        def recompute(positions: Sequence[Position]) -> list[Array]:
            sources = {
                item: {"x": Source(partial(_pixels, x[item]), (x.shape[2], x.shape[3]))}
                | {
                    f"q{before}": self._quantized(before, codes[item], cuts[before])
                    for before, codes in enumerate(known)
                }
                for item, _, _ in positions
            }
            found = self._levels.float64[level](
                [sources[item] for item, _, _ in positions],
                [
                    Region((top + row, top + row + 1), (left + column, left + column + 1))
                    for _, row, column in positions
                ],
            )
            return [latent[0, 0] for latent in found]

        return self._exact[level](z, recompute, threads=count)

    def _quantized(self, level: int, codes: Array, cut: Cut) -> Source:
        """Read one level of one item, quantized, by positions in the window."""
        (top, bottom), (left, right) = cut.coded

        def read(at: Region) -> Array:
            rows = slice(max(at.rows[0] - top, 0), at.rows[1] - top)
            columns = slice(max(at.columns[0] - left, 0), at.columns[1] - left)
            z_q = self._exact[level].decode(codes[None, ..., rows, columns])[0]
            beyond = Region(
                (at.rows[0] - top - rows.start, at.rows[1] - top - rows.start),
                (at.columns[0] - left - columns.start, at.columns[1] - left - columns.start),
            )
            return _cut(z_q, beyond).transpose(1, 2, 0).astype(np.float64)

        return Source(read, (bottom, right))

    def _windows(self, size: tuple[int, int], read: Read) -> Windows[Array]:
        def seen(rows: slice, columns: slice) -> Array:
            x = read(rows, columns)
            if self._output != "logit-laplace":
                return x
            # Two operations, each rounded once, as torch has them.
            return np.asarray(x * np.float32(0.5 - EPSILON) + np.float32(0.5))

        return Windows(size, seen, stride=self._stride, repeat=_repeated)

    def _empty(self, size: tuple[int, int]) -> tuple[Array, ...]:
        self.spec.require_codes(self.name)
        pairs = zip(self.spec.levels, self.spec.shapes(size), strict=True)
        return tuple(np.empty((1, *shape), dtype=level.dtype) for level, shape in pairs)

    def _pixels(self, raw: Array) -> Array:
        """Turn (n·C, h, w) numbers of the decoder into (C, h, w) pixels in [-1, 1]."""
        if self._output == "logits":
            raw = 2 * _sigmoid(raw) - 1
        elif self._output == "logit-laplace":
            raw = (_sigmoid(raw[: self.channels]) - 0.5) / np.float32(0.5 - EPSILON)
        return np.clip(raw, -1.0, 1.0)


def _reader(x: Array) -> Read:
    return lambda rows, columns: x[:, rows, columns]


def _pixels(x: Array, at: Region) -> Array:
    """Read a region of (C, H, W) as (rows, columns, C) float64."""
    return x[:, slice(*at.rows), slice(*at.columns)].transpose(1, 2, 0).astype(np.float64)


def _repeated(x: Array, bottom: int, right: int) -> Array:
    return np.pad(x, ((0, 0), (0, bottom), (0, right)), mode="edge")


def _sigmoid(x: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-x)), dtype=np.float32)


def _cut(x: Array, region: Region) -> Array:
    """Cut a region out of (…, H, W), with zeros where it lies beyond the edge."""
    (top, bottom), (left, right) = region
    height, width = x.shape[-2:]
    part = x[..., max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    beyond = (
        (max(-top, 0), max(bottom - max(height, top), 0)),
        (max(-left, 0), max(right - max(width, left), 0)),
    )
    if not any(map(any, beyond)):
        return part
    return np.pad(part, [(0, 0)] * (x.ndim - 2) + list(beyond))

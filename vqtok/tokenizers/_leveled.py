"""Images through an encoder of several levels, tile by tile, in bounded memory.

A tile's window is wide enough that the codes of coarser levels, which finer ones depend on, come
out of it wherever its own codes need them. As they are exact, neighbouring tiles agree on them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vqtok.codes.container import Array
from vqtok.nn.hierarchy import Encoder, Seen, Way
from vqtok.nn.regions import Region, Span, cut
from vqtok.protocols import Quantizer
from vqtok.tokenizers._exact import Doubts, Exact, plain_float32
from vqtok.tokenizers._tiled import BATCH, PROBE, Picture
from vqtok.tokenizers._tiles import Tile, tiles

Slices = tuple[slice, slice]


class Cut(NamedTuple):
    """Which positions of one level's grid a tile is about; rows and columns."""

    seen: tuple[Span, Span]
    """Those that are coded, as positions in the tile's window."""
    owned: tuple[Span, Span]
    """Those that are kept, likewise."""

    def inner(self) -> Slices:
        """What is kept, inside what is coded."""
        rows, columns = (
            slice(kept[0] - coded[0], kept[1] - coded[0])
            for coded, kept in zip(self.seen, self.owned, strict=True)
        )
        return rows, columns


class Part(NamedTuple):
    """What a tile gives for one level."""

    place: Slices
    """Where it belongs in the level's grid."""
    codes: Tensor
    """int64 (h, w) or (Q, h, w), on the CPU."""
    z: Tensor
    """(D, h, w) float32: what was quantized."""


class LeveledEncoder:
    """Pixels → codes of every level; what is coded at once changes nothing.

    Args:
        encoder: The network.
        quantizers: Of each level, coarse → fine.
        stride: Pixels per code of the coarsest level, each way: a cell.
        channels: C.
    """

    def __init__(
        self, encoder: Encoder, quantizers: Sequence[Quantizer], *, stride: int, channels: int
    ) -> None:
        self._encoder, self._quantizers = encoder, quantizers
        self._stride, self._channels = stride, channels
        self._exact = [Exact(Way(encoder, level), self._probe) for level in range(len(quantizers))]

    @property
    def doubts(self) -> Doubts:
        """What was coded so far, and how often in float64."""
        found = [each.doubts for each in self._exact]
        return Doubts(sum(d.latents for d in found), sum(d.recomputed for d in found))

    def encode(self, pictures: Sequence[Picture]) -> Iterator[tuple[int, list[Part]]]:
        """Codes of every tile of every picture; tiles of one form are batched.

        Args:
            pictures: Any number, of any sizes; their stride is a cell.

        Yields:
            The picture's number, and what one of its tiles gives for each level.
        """
        waiting: defaultdict[tuple[Tile, tuple[Cut, ...]], list[tuple[int, Tile]]]
        waiting = defaultdict(list)
        for index, picture in enumerate(pictures):
            for tile in tiles(*picture.grid, size=picture.side, halo=self._encoder.halo):
                key = (tile.form, self._cuts(tile, picture.size))
                waiting[key].append((index, tile))
                if (len(waiting[key]) + 1) * math.prod(tile.shape) * self._stride**2 > BATCH:
                    yield from self._encode(pictures, waiting.pop(key), key[1])
        for key, group in waiting.items():
            yield from self._encode(pictures, group, key[1])

    def fill(self, pictures: Sequence[Picture], arrays: Sequence[Sequence[Array]]) -> None:
        """Put the codes of pictures, (1, h, w) or (1, Q, h, w) of each level, where they belong."""
        for index, parts in self.encode(pictures):
            for array, part in zip(arrays[index], parts, strict=True):
                array[(0, ..., *part.place)] = part.codes

    def latents(self, pictures: Sequence[Picture]) -> tuple[Tensor, ...]:
        """Of each level, (B, D, h, w) float32: what is quantized of pictures of one size."""
        z: list[Tensor] = []
        for index, parts in self.encode(pictures):
            if not z:
                grids = self.grids(pictures[0].size)
                sizes = [(len(pictures), len(parts[0].z), *grid) for grid in grids]
                z = [parts[0].z.new_empty(size) for size in sizes]
            for array, part in zip(z, parts, strict=True):
                array[(index, ..., *part.place)] = part.z
        return tuple(z)

    def looked_up(self, arrays: Sequence[Array], tile: Tile) -> list[Tensor]:
        """What the decoder reads of one item's codes in a tile: (1, D, h, w) of each level."""
        device, found = next(self._encoder.parameters()).device, []
        for level, (array, quantizer) in enumerate(zip(arrays, self._quantizers, strict=True)):
            window = array[(None, ..., *tile.window(1 << level))]
            if isinstance(window, np.ndarray):
                window = torch.from_numpy(window.astype(np.int64))
            found.append(quantizer.decode(window.to(device, torch.int64)))
        return found

    def grids(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """(h, w) of each level's codes for an image of this size."""
        strides = [self._stride >> level for level in range(len(self._quantizers))]
        return [(-(-size[0] // stride), -(-size[1] // stride)) for stride in strides]

    def _cuts(self, tile: Tile, size: tuple[int, int]) -> tuple[Cut, ...]:
        cuts = []
        for level, grid in enumerate(self.grids(size)):
            margin, scale = self._encoder.margins[level], 1 << level
            sides = (
                (tile.halo_top, tile.bottom - tile.top, tile.halo_bottom, tile.top),
                (tile.halo_left, tile.right - tile.left, tile.halo_right, tile.left),
            )
            seen, owned = [], []
            for (ahead, own, behind, first), length in zip(sides, grid, strict=True):
                end = length - (first - ahead) * scale  # of the image, in the window
                wide = (ahead - min(ahead, margin), ahead + own + min(behind, margin))
                seen.append((wide[0] * scale, min(wide[1] * scale, end)))
                owned.append((ahead * scale, min((ahead + own) * scale, end)))
            cuts.append(Cut((seen[0], seen[1]), (owned[0], owned[1])))
        return tuple(cuts)

    def _encode(
        self,
        pictures: Sequence[Picture],
        group: Sequence[tuple[int, Tile]],
        cuts: Sequence[Cut],
    ) -> Iterator[tuple[int, list[Part]]]:
        device = next(self._encoder.parameters()).device
        windows = torch.stack([pictures[index].window(tile) for index, tile in group])
        levels = self._levels(windows.to(device, torch.float32), cuts)
        for item, (index, tile) in enumerate(group):
            parts = []
            for level, (cut_, (codes, z)) in enumerate(zip(cuts, levels, strict=True)):
                rows, columns = cut_.owned
                top, left = tile.top << level, tile.left << level
                place = (
                    slice(top, top + rows[1] - rows[0]),
                    slice(left, left + columns[1] - columns[0]),
                )
                inner = (..., *cut_.inner())
                parts.append(Part(place, codes[item][inner], z[item][inner]))
            yield index, parts

    def _levels(self, x: Tensor, cuts: Sequence[Cut]) -> list[tuple[Tensor, Tensor]]:
        """Codes and latents of windows of one form, (B, C, H, W), as far as each level is coded."""
        encoder, found, known = self._encoder, list[tuple[Tensor, Tensor]](), list[Tensor]()
        with plain_float32(x.device):
            features = encoder.features(x)
        state: Tensor | None = None
        for level, (cut_, quantizer) in enumerate(zip(cuts, self._quantizers, strict=True)):
            parts = [cut(features[level], Region(*cut_.seen))]
            with plain_float32(x.device):
                if state is not None:
                    told = encoder.context(level, state)
                    # In the window the level before begins at ``seen``, and it is doubled.
                    before = cuts[level - 1].seen
                    spans = [
                        (mine[0] - 2 * theirs[0], mine[1] - 2 * theirs[0])
                        for mine, theirs in zip(cut_.seen, before, strict=True)
                    ]
                    parts.append(cut(told, Region(spans[0], spans[1])))
                z = encoder.latent(level, *parts).float().contiguous()
            codes = self._settle(level, z, x, known, cuts)
            z_q = quantizer.decode(codes)
            known.append(codes)
            state = torch.cat([z_q, *parts[1:]], dim=1)
            found.append((codes.cpu(), z))
        return found

    def _settle(
        self, level: int, z: Tensor, x: Tensor, known: Sequence[Tensor], cuts: Sequence[Cut]
    ) -> Tensor:
        """Codes of a level's latents, given those of the levels before."""

        def again(way: nn.Module, place: Tensor) -> Tensor:
            item, row, column = place.tolist()
            rows, columns = cuts[level].seen

            def pixels(wanted: Region) -> Tensor:
                return cut(x[item : item + 1], wanted).double()

            image = Seen(pixels, (x.shape[-2], x.shape[-1]))
            levels = [
                self._seen(quantizer, codes[item : item + 1], before)
                for quantizer, codes, before in zip(self._quantizers, known, cuts, strict=False)
            ]
            where = (rows[0] + row, columns[0] + column)
            latent: Tensor = way.at(where, image, levels)  # type: ignore[operator]
            return latent

        return self._exact[level].settle(z, self._quantizers[level], again)

    def _seen(self, quantizer: Quantizer, codes: Tensor, cut_: Cut) -> Seen:
        """One level of one item, quantized, to be read by positions in the window."""
        (top, bottom), (left, right) = cut_.seen

        def source(wanted: Region) -> Tensor:
            rows, columns = wanted
            there = Region(
                (max(rows[0], top), min(rows[1], bottom)),
                (max(columns[0], left), min(columns[1], right)),
            )
            kept = codes[
                ...,
                there.rows[0] - top : there.rows[1] - top,
                there.columns[0] - left : there.columns[1] - left,
            ]
            z_q = quantizer.decode(kept).double()
            inside = Region(
                (rows[0] - there.rows[0], rows[1] - there.rows[0]),
                (columns[0] - there.columns[0], columns[1] - there.columns[0]),
            )
            return cut(z_q, inside)

        return Seen(source, (bottom, right))

    def _probe(self, way: nn.Module, dtype: torch.dtype) -> Tensor:
        """Latents of an image of noise over a slope, and of random codes before them, (N, D)."""
        weight = next(way.parameters())
        side = PROBE * self._stride
        generator = torch.Generator().manual_seed(0)
        noise = torch.rand(1, self._channels, side, side, generator=generator)
        x = noise * torch.linspace(0, 2, side) - 1
        z_qs = []
        for level, quantizer in enumerate(self._quantizers[: len(way.contexts)]):  # type: ignore[arg-type]
            depth = () if quantizer.depth is None else (quantizer.depth,)
            shape = (1, *depth, PROBE << level, PROBE << level)
            codes = torch.randint(quantizer.codebook_size, shape, generator=generator)
            z_qs.append(quantizer.decode(codes.to(weight.device)).to(dtype))
        with plain_float32(weight.device):
            z: Tensor = way(x.to(weight.device, dtype), z_qs)
        return z.flatten(2)[0].T

"""Code images of one or more levels tile by tile, in bounded memory.

A tile's window is wide enough that the codes of coarser levels, which finer ones depend on, come
out of it wherever its own codes need them. As they are exact, neighbouring tiles agree on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vqtok.codes.container import Array
from vqtok.nn.hierarchy import Encoder, OneLevel
from vqtok.nn.regions import Region, Source, cut
from vqtok.protocols import Quantizer, RecomputeStats
from vqtok.tokenizers.exact.recompute import ExactCodes, full_float32
from vqtok.tokenizers.exact.tiling2d import Cut, Grids, Slices, Tile, Windows, batches

PROBE = 16
"""Code positions per side of the image on which rounding is measured."""


class Part(NamedTuple):
    """One level of one tile."""

    position: Slices
    """Rows and columns of the level's grid."""
    z: Tensor
    """(D, h, w) float32: what was quantized."""
    codes: Tensor | None
    """int64 (h, w) or (Q, h, w), on the CPU; None where latents alone were wanted."""


class ImageEncoder:
    """Pixels → codes of every level; what is coded at once changes nothing.

    Args:
        encoder: The network.
        quantizers: Of each level, coarse → fine.
        stride: Pixels per code of the coarsest level, each way: a cell.
        channels: C.
    """

    def __init__(
        self,
        encoder: Encoder | OneLevel,
        quantizers: Sequence[Quantizer],
        *,
        stride: int,
        channels: int,
    ) -> None:
        self._encoder, self._quantizers = encoder, quantizers
        self._stride, self._channels = stride, channels
        self._grids = Grids(stride, encoder.margins)
        self._paths = [encoder.path(level) for level in range(len(quantizers))]
        self._exact = [ExactCodes(path, self._probe) for path in self._paths]

    @property
    def stats(self) -> RecomputeStats:
        """Count the latents that were coded so far, and those of them in float64."""
        return sum((each.stats for each in self._exact), RecomputeStats())

    def encode(self, images: Sequence[Windows[Tensor]], arrays: Sequence[Sequence[Array]]) -> None:
        """Write the codes of images into arrays.

        Args:
            images: Any number, of any sizes; their stride is a cell.
            arrays: Of each image, (1, h, w) or (1, Q, h, w) integers of each level.
        """
        for index, parts in self._tiles(images, code_last=True):
            for array, part in zip(arrays[index], parts, strict=True):
                array[(0, ..., *part.position)] = part.codes

    def latents(self, images: Sequence[Windows[Tensor]]) -> tuple[Tensor, ...]:
        """Compute what is quantized of images of one size: (B, D, h, w) float32 of each level."""
        z: list[Tensor] = []
        for index, parts in self._tiles(images, code_last=False):
            if not z:
                grids = self.grids(images[0].size)
                sizes = [(len(images), len(parts[0].z), *grid) for grid in grids]
                z = [parts[0].z.new_empty(size) for size in sizes]
            for array, part in zip(z, parts, strict=True):
                array[(index, ..., *part.position)] = part.z
        return tuple(z)

    def grids(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """Compute (h, w) of each level's codes for an image of this size."""
        return self._grids.sizes(size)

    def _tiles(
        self, images: Sequence[Windows[Tensor]], *, code_last: bool
    ) -> Iterator[tuple[int, list[Part]]]:
        """Yield image numbers, and what one of their tiles gives for each level."""

        def key(index: int, tile: Tile) -> tuple[Tile, tuple[Cut, ...]]:
            return tile.form, self._grids.cuts(tile, images[index].size)

        sizes = [image.size for image in images]
        for group in batches(sizes, stride=self._stride, halo=self._encoder.halo, key=key):
            index, tile = group[0]
            cuts = self._grids.cuts(tile, images[index].size)
            windows = torch.stack([images[index](tile) for index, tile in group])
            x = windows.to(next(self._paths[0].parameters()).device, torch.float32)
            with full_float32(x.device):
                levels = self._levels(x, cuts, code_last=code_last)
            for item, (index, tile) in enumerate(group):
                yield (
                    index,
                    [
                        _part(level, tile, cut_, z[item], None if codes is None else codes[item])
                        for level, (cut_, (z, codes)) in enumerate(zip(cuts, levels, strict=True))
                    ],
                )

    def _levels(
        self, x: Tensor, cuts: Sequence[Cut], *, code_last: bool
    ) -> list[tuple[Tensor, Tensor | None]]:
        """Compute latents and codes of windows of one form, as far as each level is coded.

        Args:
            x: (B, C, H, W) windows.
            cuts: Of each level.
            code_last: Whether codes of the finest level are wanted.
        """
        encoder, found, known = self._encoder, list[tuple[Tensor, Tensor | None]](), list[Tensor]()
        features = encoder.features(x)
        state: Tensor | None = None
        for level, (cut_, quantizer) in enumerate(zip(cuts, self._quantizers, strict=True)):
            parts = [cut(features[level], Region(*cut_.coded))]
            if state is not None:
                context = encoder.context(level, state)
                parts.append(cut(context, Region(*Grids.doubled(cut_, cuts[level - 1]))))
            z = encoder.latent(level, *parts).float().contiguous()
            last = level == len(cuts) - 1
            if last and not code_last:
                found.append((z, None))
                break
            codes = self._codes(level, z, x, known, cuts)
            known.append(codes)
            found.append((z, codes.cpu()))
            if not last:
                state = torch.cat([quantizer.decode(codes), *parts[1:]], dim=1)
        return found

    def _codes(
        self, level: int, z: Tensor, x: Tensor, known: Sequence[Tensor], cuts: Sequence[Cut]
    ) -> Tensor:
        """Decide the codes of a level's latents, given those of the levels before."""

        def recompute(path: nn.Module, position: Tensor) -> Tensor:
            item, row, column = position.tolist()
            rows, columns = cuts[level].coded
            image = Source(
                lambda wanted: cut(x[item : item + 1], wanted).double(), (x.shape[-2], x.shape[-1])
            )
            levels = [
                _quantized(quantizer, codes[item : item + 1], before)
                for quantizer, codes, before in zip(self._quantizers, known, cuts, strict=False)
            ]
            latent: Tensor = path.at((rows[0] + row, columns[0] + column), image, levels)  # type: ignore[operator]
            return latent

        return self._exact[level](z, self._quantizers[level], recompute)

    def _probe(self, path: nn.Module, dtype: torch.dtype) -> Tensor:
        """Compute latents of noise over a slope, and of random codes before them: (N, D)."""
        weight = next(path.parameters())
        side = PROBE * self._stride
        generator = torch.Generator().manual_seed(0)
        noise = torch.rand(1, self._channels, side, side, generator=generator)
        x = noise * torch.linspace(0, 2, side) - 1
        z_qs = []
        for level, quantizer in enumerate(self._quantizers[: len(path.contexts)]):  # type: ignore[arg-type]
            depth = () if quantizer.depth is None else (quantizer.depth,)
            shape = (1, *depth, PROBE << level, PROBE << level)
            codes = torch.randint(quantizer.codebook_size, shape, generator=generator)
            z_qs.append(quantizer.decode(codes.to(weight.device)).to(dtype))
        with full_float32(weight.device):
            z: Tensor = path(x.to(weight.device, dtype), z_qs)
        return z.flatten(2)[0].T


def _part(level: int, tile: Tile, cut_: Cut, z: Tensor, codes: Tensor | None) -> Part:
    inner = (..., *cut_.inner())
    return Part(cut_.position(tile, level), z[inner], None if codes is None else codes[inner])


def _quantized(quantizer: Quantizer, codes: Tensor, cut_: Cut) -> Source:
    """Read one level of one item, quantized, by positions in the window."""
    (top, bottom), (left, right) = cut_.coded

    def read(wanted: Region) -> Tensor:
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

    return Source(read, (bottom, right))

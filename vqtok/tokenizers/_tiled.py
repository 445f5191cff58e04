"""Images through an encoder and a quantizer, tile by tile, in bounded memory."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.errors import CodesError
from vqtok.nn.regions import Region, cut, region
from vqtok.protocols import Quantizer
from vqtok.tokenizers._exact import Doubts, Exact, plain_float32
from vqtok.tokenizers._tiles import Tile, tiles

BATCH = 1 << 18
"""Pixels of equal tiles that go through the network together."""

PROBE = 16
"""Code positions per side of the image on which rounding is measured."""

Group = list[tuple[int, Tile]]
"""Pictures' numbers, each with one of its tiles; all tiles of one form."""


Read = Callable[[slice, slice], Tensor]
"""Rows, columns → (C, h, w) float32 in [-1, 1]."""


class Picture:
    """An image that is read window by window, padded to multiples of the stride.

    Args:
        size: (H, W).
        read: Rows, columns → (C, h, w).
        stride: Pixels per code, each way.
        side: Code positions per side of what one tile owns.
    """

    def __init__(self, size: tuple[int, int], read: Read, *, stride: int, side: int) -> None:
        self.size, self.side = size, side
        self._read, self._stride = read, stride
        self.grid = (-(-size[0] // stride), -(-size[1] // stride))

    def window(self, tile: Tile) -> Tensor:
        """What the tile sees; beyond the edge the last row and column go on."""
        rows, columns = tile.window(self._stride)
        height, width = self.size
        bottom, right = max(0, rows.stop - height), max(0, columns.stop - width)
        x = self._read(
            slice(rows.start, rows.stop - bottom), slice(columns.start, columns.stop - right)
        )
        return F.pad(x[None], (0, right, 0, bottom), mode="replicate")[0] if bottom or right else x


def reader(x: Tensor) -> Read:
    """Windows of an image that is in memory, (C, H, W)."""
    return lambda rows, columns: x[:, rows, columns]


class TiledEncoder:
    """Pixels → codes of a local network; what is coded at once changes nothing.

    Args:
        encoder: (B, C, H, W) → (B, D, H/stride, W/stride). Its ``reach`` is how many pixels around
            a position it sees; its ``layers`` are what ``layers/regions.py`` can walk.
        quantizer: Of the latents.
        stride: Pixels per code, each way.
        channels: C.
    """

    def __init__(
        self, encoder: nn.Module, quantizer: Quantizer, *, stride: int, channels: int
    ) -> None:
        self._encoder, self._quantizer = encoder, quantizer
        self._stride, self._channels = stride, channels
        self._exact = Exact(encoder, self._probe)

    @property
    def doubts(self) -> Doubts:
        """What was coded so far, and how often in float64."""
        return self._exact.doubts

    def encode(self, pictures: Sequence[Picture]) -> Iterator[tuple[int, Tile, Tensor]]:
        """Codes of every tile of every picture; tiles of one form are batched.

        Args:
            pictures: Any number, of any sizes.

        Yields:
            The picture's number, the tile, and its codes on the CPU, int64 (h, w) or (Q, h, w).
        """
        waiting: defaultdict[Tile, Group] = defaultdict(list)
        halo = halo_of(self._encoder, self._stride)
        for index, picture in enumerate(pictures):
            for each in tiles(*picture.grid, size=picture.side, halo=halo):
                group = waiting[each.form]
                group.append((index, each))
                if (len(group) + 1) * math.prod(each.shape) * self._stride**2 > BATCH:
                    yield from self._encode(pictures, waiting.pop(each.form))
        for group in waiting.values():
            yield from self._encode(pictures, group)

    def _encode(
        self, pictures: Sequence[Picture], group: Group
    ) -> Iterator[tuple[int, Tile, Tensor]]:
        device = next(self._encoder.parameters()).device
        form = group[0][1]
        windows = torch.stack([pictures[index].window(each) for index, each in group])
        x = windows.to(device, torch.float32)
        with plain_float32(device):
            z = self._encoder(x)[(..., *form.inner())].contiguous()

        def again(encoder: nn.Module, place: Tensor) -> Tensor:
            item, row, column = place.tolist()
            return self._latent(encoder, x[item], row + form.halo_top, column + form.halo_left)

        codes = self._exact.settle(z, self._quantizer, again).cpu()
        for (index, each), found in zip(group, codes, strict=True):
            yield index, each, found

    def _latent(self, encoder: nn.Module, x: Tensor, row: int, column: int) -> Tensor:
        """One latent of a window (C, h, w) in float64: (D,)."""
        layers: Sequence[nn.Module] = encoder.layers()  # type: ignore[operator]
        place = Region((row, row + 1), (column, column + 1))

        def pixels(wanted: Region) -> Tensor:
            return cut(x[None], wanted).double()

        return region(layers, pixels, place, (x.shape[1], x.shape[2]))[0, :, 0, 0]

    def _probe(self, encoder: nn.Module, dtype: torch.dtype) -> Tensor:
        """Latents of an image of noise over a slope, (N, D)."""
        weight = next(encoder.parameters())
        side = PROBE * self._stride
        generator = torch.Generator().manual_seed(0)
        noise = torch.rand(1, self._channels, side, side, generator=generator)
        x = noise * torch.linspace(0, 2, side) - 1
        with plain_float32(weight.device):
            z: Tensor = encoder(x.to(weight.device, dtype))
        return z.flatten(2)[0].T


def latents(encoder: nn.Module, x: Tensor, *, stride: int, side: int) -> Tensor:
    """Latents of equal images, tile by tile: what the whole gives, to rounding.

    Args:
        encoder: As of ``TiledEncoder``.
        x: (B, C, H, W), sides multiples of the stride.
        stride: Pixels per code, each way.
        side: Code positions per side of what one tile owns.

    Returns:
        (B, D, H/stride, W/stride) float32.
    """
    grid = (x.shape[-2] // stride, x.shape[-1] // stride)
    z = x.new_empty(0)
    for tile in tiles(*grid, size=side, halo=halo_of(encoder, stride)):
        with plain_float32(x.device):
            part = encoder(x[(..., *tile.window(stride))])[(..., *tile.inner())].float()
        if not len(z):
            z = part.new_empty((*part.shape[:2], *grid))
        z[(..., *tile.owned())] = part
    return z


def decoded(
    decoder: nn.Module,
    look_up: Callable[[Tile], Any],
    extent: tuple[int, int],
    *,
    stride: int,
    side: int,
) -> Iterator[tuple[slice, slice, Tensor]]:
    """What a local decoder gives, tile by tile.

    Args:
        decoder: (B, D, h, w) → (B, n, h·stride, w·stride); its ``reach`` is in pixels.
        look_up: Tile → (B, D, h, w): what the decoder reads in the tile's window; or whatever else
            this one takes.
        extent: (H, W) of the signal: padding behind it is cut off.
        stride: Pixels per code, each way.
        side: Code positions per side of what one tile owns.

    Yields:
        Rows, columns, and what is there: (B, n, h, w) float32; the tiles cover the extent once.
    """
    height, width = extent
    grid = (-(-height // stride), -(-width // stride))
    for tile in tiles(*grid, size=side, halo=halo_of(decoder, stride)):
        found = decoder(look_up(tile))[(..., *tile.inner(stride))]
        rows, columns = tile.owned(stride)
        rows = slice(rows.start, min(rows.stop, height))
        columns = slice(columns.start, min(columns.stop, width))
        shown = found[..., : rows.stop - rows.start, : columns.stop - columns.start]
        yield rows, columns, shown.float()


def halo_of(network: nn.Module, stride: int) -> int:
    """Code positions around one that can change it, or that it can change."""
    reach = network.reach
    if not isinstance(reach, int):
        raise CodesError("the network does not state its receptive field")
    return -(-reach // stride)

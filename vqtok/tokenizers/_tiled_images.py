"""What image tokenizers share that go tile by tile: sizes of tiles, batches, pixels of tiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec
from vqtok.protocols import Config as AnyConfig
from vqtok.tokenizers._labels import Label
from vqtok.tokenizers._output import Output, entering, pixels
from vqtok.tokenizers._pictures import check_images, joined
from vqtok.tokenizers._tiled import Picture, Read, decoded
from vqtok.tokenizers._tiles import Tile

TILE = 1024
"""Pixels per side that one tile owns; images up to this size are one tile."""

LARGE = 1 << 26
"""Pixels from which on an image's own memory is what hurts: its tiles are half as wide."""


class TiledImages(nn.Module):
    """A family adds its networks, ``spec``, ``encode_many`` and ``decode_tiles``.

    Args:
        config: Of the family.
        stride: Pixels per code of the coarsest level, each way.
        channels: C.
        output: What the decoder gives.
    """

    spec: CodeSpec
    decoder: nn.Module

    def __init__(self, config: AnyConfig, *, stride: int, channels: int, output: Output) -> None:
        super().__init__()
        self.config = config
        self.name = ""
        self.exact = True
        self.stride = stride
        self.channels = channels
        self.output = output

    @torch.inference_mode()
    def encode(self, x: Tensor) -> Codes:
        """Images → codes, each image by itself.

        Args:
            x: (B, C, H, W) float32 in [-1, 1], any size from 1x1 up.

        Returns:
            Codes of every level: int64 (B, h, w) or (B, Q, h, w), extent (H, W).

        Raises:
            UsageError: x is not a batch of images with C channels, or the model has no codes.
        """
        check_images(x, self.channels)
        return joined(self.encode_many(list(x)))

    def encode_many(self, signals: Sequence[Tensor]) -> list[Codes]:
        """Images of any sizes, (C, H, W) each → the codes of each by itself."""
        raise NotImplementedError

    @torch.inference_mode()
    def decode(self, codes: Codes, *, label: Label = None) -> Tensor:
        """Codes → (B, C, H, W) float32, clamped to [-1, 1] and cropped to ``codes.extent``."""
        height, width = codes.extent
        x = torch.empty(len(codes), self.channels, height, width, device=self._device())
        for item in range(len(codes)):
            for rows, columns, shown in self.decode_tiles(codes, item=item, label=label):
                x[item, :, rows, columns] = shown
        return x

    def decode_tiles(
        self, codes: Codes, *, item: int = 0, label: Label = None
    ) -> Iterator[tuple[slice, slice, Tensor]]:
        """Rows, columns and (C, h, w) of each tile of one image."""
        raise NotImplementedError

    def _decoded(
        self, look_up: Callable[[Tile], Any], extent: tuple[int, ...]
    ) -> Iterator[tuple[slice, slice, Tensor]]:
        """Rows, columns and (B, C, h, w) pixels in [-1, 1] of each tile."""
        height, width = extent
        side = self._side(extent)
        parts = decoded(self.decoder, look_up, (height, width), stride=self.stride, side=side)
        for rows, columns, raw in parts:
            yield rows, columns, pixels(raw, self.output).clamp(-1.0, 1.0)

    def _picture(self, size: tuple[int, int], read: Read) -> Picture:
        def seen(rows: slice, columns: slice) -> Tensor:
            return entering(read(rows, columns), self.output)

        return Picture(size, seen, stride=self.stride, side=self._side(size))

    def _side(self, size: tuple[int, ...]) -> int:
        """Positions of the coarsest level per side of a tile: they depend on the size alone."""
        pixels = TILE if math.prod(size) < LARGE else TILE // 2
        return pixels // self.stride

    def _device(self) -> torch.device:
        return next(self.parameters()).device

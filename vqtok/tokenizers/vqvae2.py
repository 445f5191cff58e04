"""VQ-VAE-2 for images: codes of two or three levels (Razavi et al. 2019, arXiv:1906.00446).

The top level says what is where in few codes; each finer level says what those before it leave
open: its encoder sees their codes. ``network = "strided"`` is the paper's, section 3.1 and
appendix A; ``network = "convnext"`` is our own, ConvNeXt blocks on the small grids, an order of
magnitude cheaper. Both are local, so an image of any size is coded in tiles, and codes depend on
nothing but the image and the model, on every level.

The paper's images are multiples of its strides. Here any size goes: the image is continued to whole
positions of the top level, and each level keeps those that begin inside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec
from vqtok.protocols import Config as AnyConfig
from vqtok.protocols import Reconstructed
from vqtok.tokenizers._exact import Doubts
from vqtok.tokenizers._hierarchy import networks
from vqtok.tokenizers._labels import Label, Labels, check_names
from vqtok.tokenizers._leveled import LeveledEncoder
from vqtok.tokenizers._output import Output, entering, pixels
from vqtok.tokenizers._pictures import check_images, padded, size_of
from vqtok.tokenizers._quantizers import NAMES, Quantizers, check_own
from vqtok.tokenizers._tiled import Read, reader
from vqtok.tokenizers._tiled_images import TiledImages
from vqtok.tokenizers._tiles import Tile


@dataclass(frozen=True)
class Config:
    """Sizes of the network.

    Attributes:
        quantizer: Of every level: any member of ``quantizers/`` that has codes.
        quantizers: Those of levels that have one of their own, by name: "top", "middle" (of three
            levels) and "bottom".
        network: "convnext" (ours) or "strided" (the paper's).
        patch: Pixels per side of a position of the finest level; a power of 2 if strided. Each
            coarser level has twice as many.
        widths: Channels of each level, fine to coarse; as many levels as numbers, 2 or 3.
        encoder_blocks: Blocks per level, fine to coarse; strided: residual blocks.
        condition_blocks: Blocks between a level's codes and the next finer level's encoder.
        decoder_blocks: As ``encoder_blocks``, for the decoder.
        kernel: Side of the depthwise windows; "convnext" only.
        hidden: Channels inside a residual block; "strided" only.
        latent: D, dimension that is quantised, on every level.
        channels: Image channels.
        output: What the decoder gives: "plain" pixels, or the parameters of a likelihood, "logits"
            for the loss "bce", "logit-laplace" for the loss of that name.
        labels: Names of classes, one of which the decoder is told; none: it is told nothing.
    """

    quantizer: AnyConfig
    quantizers: dict[str, AnyConfig] = field(default_factory=dict)
    network: Literal["convnext", "strided"] = "convnext"
    patch: int = 4
    widths: tuple[int, ...] = (96, 192)
    encoder_blocks: tuple[int, ...] = (2, 2)
    condition_blocks: int = 1
    decoder_blocks: tuple[int, ...] = (4, 2)
    kernel: int = 5
    hidden: int = 64
    latent: int = 16
    channels: int = 3
    output: Output = "plain"
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.widths)
        if count not in NAMES:
            raise ValueError(f"widths: {count} levels; 2 or 3 are possible")
        if len(self.encoder_blocks) != count or len(self.decoder_blocks) != count:
            raise ValueError(f"encoder_blocks and decoder_blocks need {count} numbers")
        if self.patch < 1 or self.kernel % 2 == 0 or min(self.widths) < 1:
            raise ValueError("widths and patch must be positive and kernel odd")
        if self.network == "strided" and (self.patch < 2 or self.patch & (self.patch - 1)):
            raise ValueError(f"patch: {self.patch} is no power of 2, as strided networks need")
        check_own(self.quantizers, names=NAMES[count])
        check_names(self.labels)

    @property
    def stride(self) -> int:
        """Pixels per code of the coarsest level, each way."""
        return int(self.patch << (len(self.widths) - 1))

    def build(self, **context: object) -> VQVAE2:
        """Make the tokenizer with fresh weights."""
        return VQVAE2(self)


class VQVAE2(TiledImages):
    """Images ⇄ grids of codes, coarse → fine."""

    def __init__(self, config: Config) -> None:
        super().__init__(
            config, stride=config.stride, channels=config.channels, output=config.output
        )
        self.encoder, self.decoder = networks(config)
        names = NAMES[len(config.widths)]
        self.quantizer = Quantizers(
            [config.quantizers.get(name, config.quantizer) for name in names], dim=config.latent
        )
        self.labels = Labels(config.labels, config.latent)
        levels = self.quantizer.levels(names, stride=self.stride)
        self.spec = CodeSpec(modality="image", levels=levels)
        self._leveled = LeveledEncoder(
            self.encoder, self.quantizer.parts(), stride=self.stride, channels=self.channels
        )

    @property
    def doubts(self) -> Doubts:
        """How many latents were coded so far, and how many of them again in float64."""
        return self._leveled.doubts

    @torch.inference_mode()
    def encode_many(self, signals: Sequence[Tensor]) -> list[Codes]:
        """Images of any sizes → the codes of each by itself; equal tiles are batched for speed.

        Args:
            signals: (C, H, W) float32 in [-1, 1] each.

        Raises:
            UsageError: one is not an image with C channels.
        """
        for x in signals:
            check_images(x[None], self.channels)
        pictures = [self._picture(size_of(x), reader(x)) for x in signals]
        sizes = [[(1, *shape) for shape in self.spec.shapes(each.size)] for each in pictures]
        found = [[torch.empty(size, dtype=torch.int64) for size in each] for each in sizes]
        self._leveled.fill(pictures, found)
        device = self._device()
        return [
            Codes(self.spec, tuple(array.to(device) for array in arrays), picture.size)
            for arrays, picture in zip(found, pictures, strict=True)
        ]

    @torch.inference_mode()
    def encode_windows(self, size: tuple[int, int], read: Read) -> Codes:
        """Code an image of any size while only a tile of it is in memory.

        Args:
            size: (H, W).
            read: Gives (C, h, w) float32 in [-1, 1] of some rows and columns.

        Returns:
            The codes of ``encode`` as numpy arrays of each level's small dtype, (1, h, w) or
            (1, Q, h, w).
        """
        pairs = zip(self.spec.levels, self.spec.shapes(size), strict=True)
        arrays = [np.empty((1, *shape), dtype=level.dtype) for level, shape in pairs]
        self._leveled.fill([self._picture(size, read)], [arrays])
        return Codes(self.spec, tuple(arrays), size)

    @torch.inference_mode()
    def decode_tiles(
        self, codes: Codes, *, item: int = 0, label: Label = None
    ) -> Iterator[tuple[slice, slice, Tensor]]:
        """Decode one image of a batch while only a tile of it is in memory.

        Yields:
            Rows, columns, and what is there: (C, h, w) float32 in [-1, 1]; the tiles cover
            ``codes.extent`` once.

        Raises:
            UsageError: a label that does not fit the model.
        """
        arrays = [array[item] for array in codes.levels]

        def look_up(tile: Tile) -> list[Tensor]:
            return self._told(self._leveled.looked_up(arrays, tile), label)

        for rows, columns, shown in self._decoded(look_up, codes.extent):
            yield rows, columns, shown[0]

    @torch.inference_mode()
    def latents(self, x: Tensor) -> tuple[Tensor, ...]:
        """What the quantizers are given: (B, C, H, W) → (B, D, h, w) float32 of each level.

        Raises:
            UsageError: x is not a batch of images with C channels.
        """
        check_images(x, self.channels)
        return self._leveled.latents([self._picture(size_of(x), reader(each)) for each in x])

    @torch.inference_mode()
    def render(
        self, z_q: Sequence[Tensor], extent: tuple[int, ...], *, label: Label = None
    ) -> Tensor:
        """What the decoder makes of latents, quantized or not, in tiles.

        Args:
            z_q: (B, D, h, w) float32 of each level.
            extent: (H, W) of the images.
            label: One for all, if the model has labels.

        Returns:
            (B, C, H, W) float32 in [-1, 1].
        """
        told = self._told(list(z_q), label)
        x = torch.empty(len(told[0]), self.channels, *extent, device=self._device())

        def look_up(tile: Tile) -> list[Tensor]:
            return [each[(..., *tile.window(1 << level))] for level, each in enumerate(told)]

        for rows, columns, shown in self._decoded(look_up, extent):
            x[..., rows, columns] = shown
        return x

    def forward(self, x: Tensor, *, labels: Tensor | None = None) -> Reconstructed:
        """Reconstruct a batch differentiably.

        Args:
            x: (B, C, H, W) float in [-1, 1].
            labels: int64 (B,), if the model has labels.
        """
        height, width = size_of(x)
        seen = padded(entering(x, self.output), self.stride)
        passed = self.quantizer.passing()
        self.encoder(seen, self._leveled.grids((height, width)), passed)
        joined = passed.joined([level.name for level in self.spec.levels])
        raw = self.decoder(self._told([each.z_q for each in passed.found], labels))
        raw = raw[..., :height, :width].float()
        return Reconstructed(
            x=pixels(raw, self.output),
            codes=Codes(self.spec, tuple(each.codes for each in passed.found), (height, width)),
            loss=joined.loss,
            terms=joined.terms,
            raw=None if self.output == "plain" else raw,
        )

    def _told(self, z_qs: list[Tensor], label: Tensor | Label) -> list[Tensor]:
        """The finest level is what carries the label into the decoder."""
        return [*z_qs[:-1], self.labels.tell(z_qs[-1], label)]

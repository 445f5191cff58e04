"""VQ-VAE for images: encoder, quantizer, decoder (van den Oord et al. 2017, arXiv:1711.00937).

``network = "convnext"`` is our own: patches and ConvNeXt blocks that work on the small grid.
``network = "strided"`` is the paper's: strided convolutions and residual blocks. Both are local,
so an image of any size is coded in tiles with a halo of the receptive field: memory stays
bounded, and the tiling depends on the image's size alone, never on a setting.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.protocols import Config as AnyConfig
from vqtok.protocols import Quantized, Reconstructed
from vqtok.tokenizers._exact import Doubts
from vqtok.tokenizers._labels import Label, Labels, check_names
from vqtok.tokenizers._networks import networks
from vqtok.tokenizers._output import Output, entering, pixels
from vqtok.tokenizers._pictures import check_images, padded, size_of
from vqtok.tokenizers._tiled import Read, TiledEncoder, latents, reader
from vqtok.tokenizers._tiled_images import TiledImages
from vqtok.tokenizers._tiles import Tile


@dataclass(frozen=True)
class Config:
    """Sizes of the network.

    Attributes:
        quantizer: Any member of ``quantizers/``.
        network: "convnext" (ours) or "strided" (the paper's).
        patch: Pixels per side of a first-level position; "convnext" only.
        widths: Channels per level, fine to coarse. The stride is patch · 2^(levels - 1), or
            2^levels if strided.
        encoder_blocks: Blocks per level, fine to coarse; strided: residual blocks, one number.
        decoder_blocks: The same for the decoder, also fine to coarse.
        kernel: Side of the depthwise windows; "convnext" only.
        hidden: Channels inside a residual block; "strided" only.
        latent: D, dimension that is quantised.
        channels: Image channels.
        output: What the decoder gives: "plain" pixels, or the parameters of a likelihood, "logits"
            for the loss "bce", "logit-laplace" for the loss of that name.
        labels: Names of classes, one of which the decoder is told; none: it is told nothing.
    """

    quantizer: AnyConfig
    network: Literal["convnext", "strided"] = "convnext"
    patch: int = 4
    widths: tuple[int, ...] = (96, 192)
    encoder_blocks: tuple[int, ...] = (2, 4)
    decoder_blocks: tuple[int, ...] = (2, 6)
    kernel: int = 5
    hidden: int = 32
    latent: int = 16
    channels: int = 3
    output: Output = "plain"
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        levels = len(self.widths) if self.network == "convnext" else 1
        if len(self.encoder_blocks) != levels or len(self.decoder_blocks) != levels:
            raise ValueError(f"encoder_blocks and decoder_blocks need {levels} numbers")
        if not self.widths or self.patch < 1 or self.kernel % 2 == 0:
            raise ValueError("widths must not be empty, patch positive and kernel odd")
        check_names(self.labels)

    @property
    def stride(self) -> int:
        """Pixels per code, each way."""
        if self.network == "strided":
            return int(2 ** len(self.widths))
        return int(self.patch * 2 ** (len(self.widths) - 1))

    def build(self, **context: Any) -> VQVAE:
        """Make the tokenizer with fresh weights."""
        return VQVAE(self)


class VQVAE(TiledImages):
    """Images ⇄ one grid of codes."""

    def __init__(self, config: Config) -> None:
        super().__init__(
            config, stride=config.stride, channels=config.channels, output=config.output
        )
        self.encoder, self.decoder = networks(config)
        self.quantizer = config.quantizer.build(dim=config.latent)
        self.labels = Labels(config.labels, config.latent)
        depth = self.quantizer.depth
        level = LevelSpec(
            name="codes",
            axes=("h", "w") if depth is None else ("q", "h", "w"),
            codebook_size=self.quantizer.codebook_size,
            stride=(self.stride, self.stride),
            depth=depth,
        )
        levels = (level,) if self.quantizer.codebook_size else ()
        self.spec = CodeSpec(modality="image", levels=levels)
        self._tiled = TiledEncoder(
            self.encoder, self.quantizer, stride=self.stride, channels=self.channels
        )

    @property
    def doubts(self) -> Doubts:
        """How many latents were coded so far, and how many of them again in float64."""
        return self._tiled.doubts

    @torch.inference_mode()
    def encode_many(self, signals: Sequence[Tensor]) -> list[Codes]:
        """Images of any sizes → the codes of each by itself; equal tiles are batched for speed.

        Args:
            signals: (C, H, W) float32 in [-1, 1] each.

        Raises:
            UsageError: one is not an image with C channels, or the model has no codes.
        """
        self.spec.require_codes(self.name)
        for x in signals:
            check_images(x[None], self.channels)
        pictures = [self._picture(size_of(x), reader(x)) for x in signals]
        shapes = [self.spec.levels[0].shape(each.size) for each in pictures]
        levels = [torch.empty((1, *shape), dtype=torch.int64) for shape in shapes]
        for index, tile, codes in self._tiled.encode(pictures):
            levels[index][(0, ..., *tile.owned())] = codes
        device = self._device()
        return [
            Codes(self.spec, (level.to(device),), picture.size)
            for level, picture in zip(levels, pictures, strict=True)
        ]

    @torch.inference_mode()
    def encode_windows(self, size: tuple[int, int], read: Read) -> Codes:
        """Code an image of any size while only a tile of it is in memory.

        Args:
            size: (H, W).
            read: Gives (C, h, w) float32 in [-1, 1] of some rows and columns.

        Returns:
            The codes of ``encode`` as a numpy array of the level's small dtype, (1, h, w) or
            (1, Q, h, w).
        """
        self.spec.require_codes(self.name)
        level = self.spec.levels[0]
        array = np.empty((1, *level.shape(size)), dtype=level.dtype)
        picture = self._picture(size, read)
        for _, tile, codes in self._tiled.encode([picture]):
            array[(0, ..., *tile.owned())] = codes.numpy()
        return Codes(self.spec, (array,), size)

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
        self.spec.require_codes(self.name)
        array = codes.levels[0][item]

        def look_up(tile: Tile) -> Tensor:
            window = array[(None, ..., *tile.window())]
            if isinstance(window, np.ndarray):
                window = torch.from_numpy(window.astype(np.int64))
            z_q: Tensor = self.quantizer.decode(window.to(self._device(), torch.int64))
            return self.labels.tell(z_q, label)

        for rows, columns, shown in self._decoded(look_up, codes.extent):
            yield rows, columns, shown[0]

    @torch.inference_mode()
    def latents(self, x: Tensor) -> Tensor:
        """What the quantizer is given: (B, C, H, W) → (B, D, h, w) float32; any size, in tiles.

        Raises:
            UsageError: x is not a batch of images with C channels.
        """
        check_images(x, self.channels)
        seen = padded(entering(x.to(self._device()), self.output), self.stride)
        return latents(self.encoder, seen, stride=self.stride, side=self._side(size_of(x)))

    @torch.inference_mode()
    def render(self, z_q: Tensor, extent: tuple[int, ...], *, label: Label = None) -> Tensor:
        """What the decoder makes of quantized or continuous latents, in tiles.

        Args:
            z_q: (B, D, h, w) float32.
            extent: (H, W) of the images.
            label: One for all, if the model has labels.

        Returns:
            (B, C, H, W) float32 in [-1, 1].
        """
        z_q = self.labels.tell(z_q, label)
        x = torch.empty(len(z_q), self.channels, *extent, device=self._device())
        for rows, columns, shown in self._decoded(lambda tile: z_q[(..., *tile.window())], extent):
            x[..., rows, columns] = shown
        return x

    def forward(self, x: Tensor, *, labels: Tensor | None = None) -> Reconstructed:
        """Reconstruct a batch differentiably.

        Args:
            x: (B, C, H, W) float in [-1, 1].
            labels: int64 (B,), if the model has labels.
        """
        height, width = int(x.shape[-2]), int(x.shape[-1])
        seen = padded(entering(x, self.output), self.stride)
        quantized: Quantized = self.quantizer(self.encoder(seen))
        raw = self.decoder(self.labels.tell(quantized.z_q, labels))[..., :height, :width].float()
        levels = (quantized.codes,) if self.spec.levels else ()
        return Reconstructed(
            x=pixels(raw, self.output),
            codes=Codes(self.spec, levels, (height, width)),
            loss=quantized.loss,
            terms=quantized.terms,
            raw=None if self.output == "plain" else raw,
        )

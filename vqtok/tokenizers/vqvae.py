"""VQ-VAE for images: encoder, quantizer, decoder (van den Oord et al. 2017, arXiv:1711.00937).

``network = "convnext"`` is our own: patches and ConvNeXt blocks that work on the small grid.
``network = "strided"`` is the paper's: strided convolutions and residual blocks. Both are local,
so an image of any size is coded in tiles with a halo of the receptive field: memory stays
bounded, and the tiling depends on the image's size alone, never on a setting.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.errors import CodesError, UsageError
from vqtok.layers.pyramid import Decoder, Encoder, StridedDecoder, StridedEncoder
from vqtok.protocols import Config as AnyConfig
from vqtok.protocols import Quantized, Reconstructed

TILE = 1024
"""Pixels per side that one tile owns; images up to this size are one tile."""


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

    def __post_init__(self) -> None:
        levels = len(self.widths) if self.network == "convnext" else 1
        if len(self.encoder_blocks) != levels or len(self.decoder_blocks) != levels:
            raise ValueError(f"encoder_blocks and decoder_blocks need {levels} numbers")
        if not self.widths or self.patch < 1 or self.kernel % 2 == 0:
            raise ValueError("widths must not be empty, patch positive and kernel odd")

    @property
    def stride(self) -> int:
        """Pixels per code, each way."""
        if self.network == "strided":
            return int(2 ** len(self.widths))
        return int(self.patch * 2 ** (len(self.widths) - 1))

    def build(self, **context: Any) -> VQVAE:
        """Make the tokenizer with fresh weights."""
        return VQVAE(self)


class VQVAE(nn.Module):
    """Images ⇄ one grid of codes."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config: AnyConfig = config
        self.name = ""
        self.stride = config.stride
        self.channels = config.channels
        self.encoder, self.decoder = _networks(config)
        self.quantizer = config.quantizer.build(dim=config.latent)
        depth = self.quantizer.depth
        level = LevelSpec(
            name="codes",
            axes=("h", "w") if depth is None else ("q", "h", "w"),
            codebook_size=self.quantizer.codebook_size,
            stride=(self.stride, self.stride),
            depth=depth,
        )
        self.spec = CodeSpec(modality="image", levels=(level,))

    @torch.inference_mode()
    def encode(self, x: Tensor) -> Codes:
        """Images → codes, each image by itself.

        Args:
            x: (B, C, H, W) float32 in [-1, 1], any size from 1x1 up.

        Returns:
            Codes of one level: int64 (B, h, w) or (B, Q, h, w), extent (H, W).

        Raises:
            UsageError: x is not a batch of images with C channels.
        """
        _check_images(x, self.channels)
        height, width = int(x.shape[-2]), int(x.shape[-1])
        codes = torch.stack([self._encode_one(item[None])[0] for item in x])
        return Codes(self.spec, (codes,), (height, width))

    @torch.inference_mode()
    def decode(self, codes: Codes) -> Tensor:
        """Codes → (B, C, H, W) float32, clamped to [-1, 1] and cropped to ``codes.extent``."""
        array = torch.as_tensor(codes.levels[0], dtype=torch.int64, device=self._device())
        images = [self._decode_one(item[None]) for item in array]
        height, width = codes.extent
        return torch.cat(images)[..., :height, :width].clamp(-1.0, 1.0)

    def forward(self, x: Tensor) -> Reconstructed:
        """Reconstruct a batch differentiably.

        Args:
            x: (B, C, H, W) float in [-1, 1].
        """
        height, width = int(x.shape[-2]), int(x.shape[-1])
        quantized: Quantized = self.quantizer(self.encoder(_pad(x, self.stride)))
        y = self.decoder(quantized.z_q)[..., :height, :width]
        codes = Codes(self.spec, (quantized.codes,), (height, width))
        return Reconstructed(y.float(), codes, quantized.loss)

    def _encode_one(self, x: Tensor) -> Tensor:
        padded = _pad(x.to(self._device(), torch.float32), self.stride)
        height, width = padded.shape[-2] // self.stride, padded.shape[-1] // self.stride
        rows: dict[int, list[Tensor]] = {}
        for tile in _tiles(height, width, TILE // self.stride, self._halo(self.encoder)):
            z = self.encoder(padded[(..., *tile.window(self.stride))])
            rows.setdefault(tile.top, []).append(
                self.quantizer(z[(..., *tile.inner())].contiguous()).codes
            )
        return torch.cat([torch.cat(row, dim=-1) for row in rows.values()], dim=-2)

    def _decode_one(self, codes: Tensor) -> Tensor:
        height, width = int(codes.shape[-2]), int(codes.shape[-1])
        rows: dict[int, list[Tensor]] = {}
        for tile in _tiles(height, width, TILE // self.stride, self._halo(self.decoder)):
            x = self.decoder(self.quantizer.decode(codes[(..., *tile.window(1))]))
            rows.setdefault(tile.top, []).append(x[(..., *tile.inner(self.stride))])
        return torch.cat([torch.cat(row, dim=-1) for row in rows.values()], dim=-2)

    def _halo(self, network: nn.Module) -> int:
        reach = network.reach
        if not isinstance(reach, int):
            raise CodesError("the network does not state its receptive field")
        return -(-reach // self.stride)

    def _device(self) -> torch.device:
        return next(self.parameters()).device


def _networks(config: Config) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder of either form."""
    channels, widths, latent = config.channels, config.widths, config.latent
    inner, outer = config.encoder_blocks, config.decoder_blocks
    if config.network == "convnext":
        patch, kernel = config.patch, config.kernel
        return (
            Encoder(
                channels, patch=patch, widths=widths, blocks=inner, kernel=kernel, latent=latent
            ),
            Decoder(
                channels, patch=patch, widths=widths, blocks=outer, kernel=kernel, latent=latent
            ),
        )
    hidden = config.hidden
    return (
        StridedEncoder(channels, widths=widths, blocks=inner[0], hidden=hidden, latent=latent),
        StridedDecoder(channels, widths=widths, blocks=outer[0], hidden=hidden, latent=latent),
    )


class Tile(NamedTuple):
    """One tile of a grid: the part it owns and the part it sees, in code positions."""

    top: int
    left: int
    bottom: int
    right: int
    halo_top: int
    halo_left: int
    halo_bottom: int
    halo_right: int

    def window(self, scale: int) -> tuple[slice, slice]:
        """What the network sees, as slices of an array with ``scale`` samples per position."""
        return (
            slice((self.top - self.halo_top) * scale, (self.bottom + self.halo_bottom) * scale),
            slice((self.left - self.halo_left) * scale, (self.right + self.halo_right) * scale),
        )

    def inner(self, scale: int = 1) -> tuple[slice, slice]:
        """The owned part inside the window."""
        rows, columns = self.bottom - self.top, self.right - self.left
        return (
            slice(self.halo_top * scale, (self.halo_top + rows) * scale),
            slice(self.halo_left * scale, (self.halo_left + columns) * scale),
        )


def _tiles(height: int, width: int, size: int, halo: int) -> Iterator[Tile]:
    """Tiles of a grid on absolute positions, row by row; halos stop at the grid's edge.

    At the edge the network pads as it would for the whole image, and inside every owned position
    sees its whole receptive field: the union of tiles equals the untiled result.
    """
    for top in range(0, height, size):
        for left in range(0, width, size):
            bottom, right = min(top + size, height), min(left + size, width)
            yield Tile(
                top,
                left,
                bottom,
                right,
                min(halo, top),
                min(halo, left),
                min(halo, height - bottom),
                min(halo, width - right),
            )


def _pad(x: Tensor, stride: int) -> Tensor:
    """Repeat the last row and column until both sides are multiples of the stride."""
    bottom, right = -x.shape[-2] % stride, -x.shape[-1] % stride
    return F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x


def _check_images(x: Tensor, channels: int) -> None:
    if x.ndim != 4 or x.shape[1] != channels or 0 in x.shape:
        raise UsageError(f"images: shape {tuple(x.shape)} found, (B, {channels}, H, W) expected")

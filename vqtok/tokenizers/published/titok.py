"""TiTok (Yu et al. 2024, arXiv:2406.07550): a picture as a few dozen codes, for its weights.

A transformer gathers the picture in n tokens, each of which is looked up; another makes the picture
of them. Tokens have no position in it, and there are as many whatever it shows. Positions of
patches are learned, so every picture is brought to one size, and back on decode.

The first published models do not end in pixels but, for each patch, in the scores of the entries of
MaskGIT's VQGAN: the mean of these by probability goes through that network's decoder, which was
trained on. Pixels are in [0, 1] inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.protocols import Tokenizer
from vqtok.tokenizers.published import _maskgit
from vqtok.tokenizers.published._lookup import Table
from vqtok.tokenizers.published._titok import HEAD, Decoder, Encoder
from vqtok.tokenizers.published._whole import ResizedImages


@dataclass(frozen=True)
class Config:
    """Sizes of the network.

    Attributes:
        tokens: n, codes of a picture.
        codebook_size: K.
        dim: D, dimension of the entries.
        lookup: By the nearest entry, or by the nearest direction.
        side: Pixels per side of the pictures.
        patch: Pixels per side of the encoder's patches.
        width: Channels of the encoder, 64 for each head of its attention.
        layers: Its blocks.
        decoder_patch: Pixels per side of the decoder's patches.
        decoder_width: Channels of the decoder.
        decoder_layers: Its blocks.
        pixel_widths: Of MaskGIT's decoder per level, fine to coarse; each but the first halves the
            size. Empty in the models that end in pixels.
        pixel_blocks: Its residual blocks per level.
        pixel_dim: Dimension of MaskGIT's entries.
        pixel_codebook_size: How many of them there are.
        channels: Of the pictures.
    """

    tokens: int = 32
    codebook_size: int = 4096
    dim: int = 12
    lookup: Literal["nearest", "cosine"] = "cosine"
    side: int = 256
    patch: int = 16
    width: int = 1024
    layers: int = 24
    decoder_patch: int = 16
    decoder_width: int = 1024
    decoder_layers: int = 24
    pixel_widths: tuple[int, ...] = (128, 128, 256, 256, 512)
    pixel_blocks: int = 2
    pixel_dim: int = 256
    pixel_codebook_size: int = 1024
    channels: int = 3

    def __post_init__(self) -> None:
        if any(each % HEAD or each < 1 for each in (self.width, self.decoder_width)):
            raise ValueError(f"width and decoder_width must be multiples of {HEAD}")
        if any(each % _maskgit.GROUPS or each < 1 for each in self.pixel_widths):
            raise ValueError(f"pixel_widths must be multiples of {_maskgit.GROUPS}")
        least = min(self.tokens, self.codebook_size, self.dim, self.layers, self.decoder_layers,
                    self.patch, self.decoder_patch, self.pixel_blocks, self.pixel_dim,
                    self.pixel_codebook_size, self.channels, self.side)  # fmt: skip
        if least < 1:
            raise ValueError("all sizes must be positive")
        if self.side % self.patch or self.side % self.decoder_patch:
            raise ValueError("side must be a multiple of patch and decoder_patch")
        if self.pixel_widths and self.decoder_patch != 2 ** (len(self.pixel_widths) - 1):
            raise ValueError("pixel_widths must make decoder_patch pixels of one")

    @property
    def spec(self) -> CodeSpec:
        """Describe the codes."""
        level = LevelSpec("codes", ("n",), self.codebook_size, (), depth=self.tokens)
        return CodeSpec(modality="image", levels=(level,))

    def build(self, **context: Any) -> Tokenizer:
        """Make the tokenizer with fresh weights."""
        return TiTok(self)


class TiTok(ResizedImages):
    """Images ⇄ n codes without an order in space."""

    decoding_parts = ("decoder", "painter")

    def __init__(self, config: Config) -> None:
        super().__init__(config, side=config.side, channels=config.channels)
        self.latent_tokens = nn.Parameter(
            nn.init.normal_(torch.empty(config.tokens, config.width), std=config.width**-0.5)
        )
        self.encoder = Encoder(
            config.width,
            config.layers,
            grid=config.side // config.patch,
            patch=config.patch,
            tokens=config.tokens,
            dim=config.dim,
            channels=config.channels,
            scrambled=bool(config.pixel_widths),
        )
        self.quantize = Table(config.codebook_size, config.dim, config.lookup)
        self.decoder = Decoder(
            config.decoder_width,
            config.decoder_layers,
            grid=config.side // config.decoder_patch,
            tokens=config.tokens,
            dim=config.dim,
        )
        self.painter = _Mixture(config) if config.pixel_widths else _Patches(config)

    def _analyse(self, x: Tensor) -> Tensor:
        z: Tensor = self.encoder((x + 1) / 2, self.latent_tokens)
        return z

    def _paint(self, z_q: Tensor) -> Tensor:
        # Before it is resized: what is above white would spread.
        x: Tensor = self.painter(self.decoder(z_q)).clamp(0, 1)
        return x * 2 - 1


class _Mixture(nn.Module):
    """Patches → scores of MaskGIT's entries → their mean → MaskGIT's decoder."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, size = config.decoder_width, config.pixel_codebook_size
        self.enter = nn.Conv2d(width, 2 * width, 1)
        self.leave = nn.Conv2d(2 * width, size, 1)
        self.embedding = nn.Embedding(size, config.pixel_dim)
        self.decoder = _maskgit.Decoder(
            config.pixel_widths,
            blocks=config.pixel_blocks,
            latent=config.pixel_dim,
            channels=config.channels,
        )

    def forward(self, h: Tensor) -> Tensor:
        scores = self.leave(torch.tanh(self.enter(h)))  # (B, K, h, w)
        mean = torch.einsum("bkhw,kd->bdhw", scores.softmax(dim=1), self.embedding.weight)
        out: Tensor = self.decoder(mean)
        return out


class _Patches(nn.Module):
    """Patches → their pixels, smoothed across the seams by a convolution."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.patch, self.channels = config.decoder_patch, config.channels
        self.enter = nn.Conv2d(config.decoder_width, self.patch**2 * self.channels, 1)
        self.leave = nn.Conv2d(self.channels, self.channels, 3, padding=1)

    def forward(self, h: Tensor) -> Tensor:
        rows = self.enter(h)  # (B, p·p·C, h, w): colours of a pixel lie together
        pixels = rows.unflatten(1, (self.patch**2, self.channels)).transpose(1, 2).flatten(1, 2)
        out: Tensor = self.leave(F.pixel_shuffle(pixels, self.patch))
        return out

"""VQ-VAE-2 (Razavi et al. 2019, arXiv:1906.00446) as rosinality/vq-vae-2-pytorch builds it.

Two levels, of strides 8 and 4: codes of the top are decoded before those of the bottom are chosen,
and pixels come of both. Our own ``tokenizers/vqvae2`` differs in its layers; this one is for
weights that were trained with those. Pictures are continued to multiples of 8; of the bottom level,
codes that lie wholly behind the edge are not kept, but continued too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.protocols import Tokenizer
from vqtok.tokenizers.published._lookup import Table
from vqtok.tokenizers.published._whole import WholeImages


@dataclass(frozen=True)
class Config:
    """Sizes of the network.

    Attributes:
        width: Channels of the convolutions.
        blocks: Residual blocks of each encoder and decoder.
        hidden: Channels inside a residual block.
        dim: D, dimension of the entries of both levels.
        codebook_size: K of both levels.
        channels: Of the pictures.
    """

    width: int = 128
    blocks: int = 2
    hidden: int = 32
    dim: int = 64
    codebook_size: int = 512
    channels: int = 3

    def __post_init__(self) -> None:
        least = min(self.width // 2, self.hidden, self.dim, self.codebook_size, self.channels)
        if least < 1 or self.blocks < 0:
            raise ValueError("all sizes must be positive")

    @property
    def spec(self) -> CodeSpec:
        """Describe the codes."""
        pairs = (("top", 8), ("bottom", 4))
        levels = (LevelSpec(name, ("h", "w"), self.codebook_size, (n, n)) for name, n in pairs)
        return CodeSpec(modality="image", levels=tuple(levels))

    def build(self, **context: Any) -> Tokenizer:
        """Make the tokenizer with fresh weights."""
        return Rosinality(self)


class _Residual(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(width, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv(x)
        return out


class _Coder(nn.Module):
    """One encoder or decoder: a plain chain of layers under the published numbers."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.blocks(x)
        return out


def _half(inside: int, out: int) -> nn.Module:
    return nn.Conv2d(inside, out, 4, stride=2, padding=1)


def _double(inside: int, out: int) -> nn.Module:
    return nn.ConvTranspose2d(inside, out, 4, stride=2, padding=1)


def _residuals(config: Config) -> list[nn.Module]:
    """Returns the blocks of one side, and the activation behind them."""
    blocks: list[nn.Module] = [_Residual(config.width, config.hidden) for _ in range(config.blocks)]
    return [*blocks, nn.ReLU()]


class Rosinality(WholeImages):
    """Images ⇄ codes of a top and a bottom level."""

    decoding_parts = ("upsample_t", "dec")

    def __init__(self, config: Config) -> None:
        size = config.codebook_size
        super().__init__(config, multiple=8, channels=config.channels)
        n, d, c = config.width, config.dim, config.channels
        wide = nn.Conv2d(n, n, 3, padding=1)
        self.enc_b = _Coder(
            _half(c, n // 2), nn.ReLU(), _half(n // 2, n), nn.ReLU(), wide, *_residuals(config)
        )
        last = nn.Conv2d(n // 2, n, 3, padding=1)
        self.enc_t = _Coder(_half(n, n // 2), nn.ReLU(), last, *_residuals(config))
        self.quantize_conv_t = nn.Conv2d(n, d, 1)
        self.quantize_t = Table(size, d)
        first = nn.Conv2d(d, n, 3, padding=1)
        self.dec_t = _Coder(first, *_residuals(config), _double(n, d))
        self.quantize_conv_b = nn.Conv2d(d + n, d, 1)
        self.quantize_b = Table(size, d)
        self.upsample_t = nn.ConvTranspose2d(d, d, 4, stride=2, padding=1)
        both = nn.Conv2d(2 * d, n, 3, padding=1)
        self.dec = _Coder(
            both, *_residuals(config), _double(n, n // 2), nn.ReLU(), _double(n // 2, c)
        )

    def latents(self, x: Tensor) -> Any:
        """Maps what is quantized: (B, C, H, W) → latents of the top and of the bottom level."""
        return self._both(self._entering(self._checked(x)))[1]

    def _analyse(self, x: Tensor) -> Tensor:
        return x

    def _assign(self, x: Tensor) -> tuple[Tensor, ...]:
        return self._both(x)[0]

    def _both(self, x: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Codes and latents of both levels of whole pictures."""
        fine = self.enc_b(x)
        z_top = self.quantize_conv_t(self.enc_t(fine))
        top = self.quantize_t.assign(z_top)
        above = self.dec_t(self.quantize_t.decode(top))
        z_bottom = self.quantize_conv_b(torch.cat([above, fine], dim=1))
        return (top, self.quantize_b.assign(z_bottom)), (z_top, z_bottom)

    def _look_up(self, levels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        top, bottom = levels
        rows, columns = 2 * top.shape[-2], 2 * top.shape[-1]
        below, right = rows - bottom.shape[-2], columns - bottom.shape[-1]
        if below or right:
            whole = F.pad(bottom[:, None].double(), (0, right, 0, below), mode="replicate")
            bottom = whole[:, 0].long()
        return self.quantize_t.decode(top), self.quantize_b.decode(bottom)

    def _paint(self, z_q: tuple[Tensor, ...]) -> Tensor:
        top, bottom = z_q
        x: Tensor = self.dec(torch.cat([self.upsample_t(top), bottom], dim=1))
        return x

"""Encode and decode images: pixels ⇄ latents at 1/stride of the size.

Two forms with one interface. ``Encoder``/``Decoder`` turn patches into channels at once and do
their work on the small grid (PixelUnshuffle, arXiv:1609.05158, and ConvNeXt blocks): an order of
magnitude cheaper than convolving at full size. ``StridedEncoder``/``StridedDecoder`` are the
networks of VQ-VAE (arXiv:1711.00937, section 4.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.nn.convnext import Block, ChannelNorm, Pointwise


@dataclass(frozen=True)
class Sizes:
    """Sizes that an encoder shares with its decoder.

    Attributes:
        widths: Channels per level, fine to coarse; strided: after each convolution of stride 2,
            so that the stride is 2 to the power of their number.
        latent: D.
        patch: Pixels per side that the first level sees as one position; not strided.
        kernel: Side of the depthwise windows; not strided.
        hidden: Channels inside a residual block; strided.
    """

    widths: tuple[int, ...]
    latent: int
    patch: int = 4
    kernel: int = 5
    hidden: int = 32


class Encoder(nn.Module):
    """Patches → ConvNeXt levels, each at half the resolution of the one before.

    Args:
        channels: C of the image.
        sizes: Of the network.
        blocks: Blocks of each level.
    """

    def __init__(self, channels: int, sizes: Sizes, *, blocks: Sequence[int]) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        inputs, factor = channels, sizes.patch
        for width, count in zip(sizes.widths, blocks, strict=True):
            down = [nn.PixelUnshuffle(factor), Pointwise(inputs * factor**2, width)]
            self.levels.append(nn.Sequential(*down, *_body(width, sizes.kernel, count)))
            inputs, factor = width, 2
        self.norm = ChannelNorm(inputs)
        self.out = Pointwise(inputs, sizes.latent)
        self.receptive_field = _receptive_field(sizes, blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W), sides multiples of the stride → (B, D, H/stride, W/stride)."""
        for level in self.levels:
            x = level(x.contiguous(memory_format=torch.channels_last))
        z: Tensor = self.out(self.norm(x))
        return z

    def layers(self) -> list[nn.Module]:
        """List what ``forward`` does, one layer after the other."""
        return [*self.levels, self.norm, self.out]


class Decoder(nn.Module):
    """The mirror of ``Encoder``: latents → blocks and PixelShuffle up to the pixels."""

    def __init__(self, channels: int, sizes: Sizes, *, blocks: Sequence[int]) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        inputs, factor = sizes.latent, 1
        for width, count in zip(reversed(sizes.widths), reversed(blocks), strict=True):
            up = [Pointwise(inputs, width * factor**2), nn.PixelShuffle(factor)]
            self.levels.append(nn.Sequential(*up, *_body(width, sizes.kernel, count)))
            inputs, factor = width, 2
        self.norm = ChannelNorm(inputs)
        # 3x3 rather than pointwise: neighbouring patches agree on the pixels along their seam.
        self.out = nn.Conv2d(inputs, channels * sizes.patch**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(sizes.patch)
        self.receptive_field = _receptive_field(sizes, blocks) + sizes.patch

    def forward(self, z: Tensor) -> Tensor:
        """Maps (B, D, h, w) → (B, C, h·stride, w·stride)."""
        for level in self.levels:
            z = level(z.contiguous(memory_format=torch.channels_last))
        x: Tensor = self.shuffle(self.out(self.norm(z)))
        return x


class Residual(nn.Module):
    """ReLU, 3x3 conv, ReLU, 1x1 conv, added to the input (arXiv:1711.00937, section 4.1)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(width, hidden, 3, padding=1)
        self.project = nn.Conv2d(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, D, H, W) → the same shape."""
        y: Tensor = self.project(F.relu(self.mix(F.relu(x))))
        return x + y


class StridedEncoder(nn.Module):
    """4x4 stride-2 convolutions, a 3x3, then residual blocks, all at the coarsest grid.

    Args:
        channels: C of the image.
        sizes: Of the network.
        blocks: Residual blocks.
    """

    def __init__(self, channels: int, sizes: Sizes, *, blocks: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = channels
        for width in sizes.widths:
            layers += [nn.Conv2d(inputs, width, 4, stride=2, padding=1), nn.ReLU()]
            inputs = width
        layers.append(nn.Conv2d(inputs, inputs, 3, padding=1))
        layers += [Residual(inputs, sizes.hidden) for _ in range(blocks)]
        self.body = nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(inputs, sizes.latent, 1))
        stride = 2 ** len(sizes.widths)
        # Each stride-2 conv sees one sample of its own input beyond its output; a block
        # sees one coarse step.
        self.receptive_field = stride + (1 + blocks) * stride

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W), sides multiples of the stride → (B, D, H/stride, W/stride)."""
        z: Tensor = self.body(x.contiguous(memory_format=torch.channels_last))
        return z

    def layers(self) -> list[nn.Module]:
        """List what ``forward`` does, one layer after the other."""
        return [self.body]


class StridedDecoder(nn.Module):
    """A 3x3, residual blocks, then 4x4 stride-2 transposed convolutions."""

    def __init__(self, channels: int, sizes: Sizes, *, blocks: int) -> None:
        super().__init__()
        inputs = sizes.widths[-1]
        layers: list[nn.Module] = [nn.Conv2d(sizes.latent, inputs, 3, padding=1)]
        layers += [Residual(inputs, sizes.hidden) for _ in range(blocks)]
        for width in [*reversed(sizes.widths[:-1]), channels]:
            layers += [nn.ReLU(), nn.ConvTranspose2d(inputs, width, 4, stride=2, padding=1)]
            inputs = width
        self.body = nn.Sequential(*layers)
        stride = 2 ** len(sizes.widths)
        self.receptive_field = stride + (1 + blocks) * stride

    def forward(self, z: Tensor) -> Tensor:
        """Maps (B, D, h, w) → (B, C, h·stride, w·stride)."""
        x: Tensor = self.body(z.contiguous(memory_format=torch.channels_last))
        return x


def _body(width: int, kernel: int, count: int) -> list[nn.Module]:
    return [Block(width, kernel=(kernel, kernel)) for _ in range(count)]


def _receptive_field(sizes: Sizes, blocks: Sequence[int]) -> int:
    """Count the pixels beyond a position's own patch that can change it, on each side."""
    steps = [sizes.patch * 2**level for level in range(len(blocks))]
    return sum(
        count * (sizes.kernel // 2) * step for count, step in zip(blocks, steps, strict=True)
    )

"""Image encoders and decoders: pixels ⇄ latents at 1/stride of the size.

Two forms with one interface. ``Encoder``/``Decoder`` turn patches into channels at once and do
their work on the small grid (PixelUnshuffle, arXiv:1609.05158, and ConvNeXt blocks): an order of
magnitude cheaper than convolving at full size. ``StridedEncoder``/``StridedDecoder`` are the
networks of VQ-VAE (arXiv:1711.00937, section 4.1).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.nn.convnext import Block, ChannelNorm, Pointwise


class Encoder(nn.Module):
    """Patches → ConvNeXt levels, each at half the resolution of the one before.

    Args:
        channels: C of the image.
        patch: Pixels per side that the first level sees as one position.
        widths: Channels of each level, fine to coarse.
        blocks: Blocks of each level.
        kernel: Side of the depthwise window.
        latent: D of the output.
    """

    def __init__(
        self,
        channels: int,
        *,
        patch: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        kernel: int,
        latent: int,
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        inputs, factor = channels, patch
        for width, count in zip(widths, blocks, strict=True):
            down = [nn.PixelUnshuffle(factor), Pointwise(inputs * factor**2, width)]
            body = [Block(width, kernel=(kernel, kernel)) for _ in range(count)]
            self.levels.append(nn.Sequential(*down, *body))
            inputs, factor = width, 2
        self.norm = ChannelNorm(widths[-1])
        self.out = Pointwise(widths[-1], latent)
        self.receptive_field = _receptive_field(patch, blocks, kernel)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), sides multiples of the stride → (B, D, H/stride, W/stride)."""
        for level in self.levels:
            x = level(x.contiguous(memory_format=torch.channels_last))
        z: Tensor = self.out(self.norm(x))
        return z

    def layers(self) -> list[nn.Module]:
        """What ``forward`` does, one after the other."""
        return [*self.levels, self.norm, self.out]


class Decoder(nn.Module):
    """The mirror of ``Encoder``: latents → blocks and PixelShuffle up to the pixels."""

    def __init__(
        self,
        channels: int,
        *,
        patch: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        kernel: int,
        latent: int,
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        inputs, factor = latent, 1
        for width, count in zip(reversed(widths), reversed(blocks), strict=True):
            up = [Pointwise(inputs, width * factor**2), nn.PixelShuffle(factor)]
            body = [Block(width, kernel=(kernel, kernel)) for _ in range(count)]
            self.levels.append(nn.Sequential(*up, *body))
            inputs, factor = width, 2
        self.norm = ChannelNorm(widths[0])
        # 3x3 rather than pointwise: neighbouring patches agree on the pixels along their seam.
        self.out = nn.Conv2d(widths[0], channels * patch**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(patch)
        self.receptive_field = _receptive_field(patch, blocks, kernel) + patch

    def forward(self, z: Tensor) -> Tensor:
        """(B, D, h, w) → (B, C, h·stride, w·stride)."""
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
        """(B, D, H, W) → the same shape."""
        y: Tensor = self.project(F.relu(self.mix(F.relu(x))))
        return x + y


class StridedEncoder(nn.Module):
    """4x4 stride-2 convolutions, a 3x3, then residual blocks, all at the coarsest grid.

    Args:
        channels: C of the image.
        widths: Channels after each stride-2 convolution; the stride is 2 to the power of their
            number.
        blocks: Residual blocks.
        hidden: Channels inside a residual block.
        latent: D of the output.
    """

    def __init__(
        self, channels: int, *, widths: Sequence[int], blocks: int, hidden: int, latent: int
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = channels
        for width in widths:
            layers += [nn.Conv2d(inputs, width, 4, stride=2, padding=1), nn.ReLU()]
            inputs = width
        layers.append(nn.Conv2d(inputs, inputs, 3, padding=1))
        layers += [Residual(inputs, hidden) for _ in range(blocks)]
        self.body = nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(inputs, latent, 1))
        stride = 2 ** len(widths)
        # Each stride-2 conv sees one sample of its own input beyond its output; a block
        # sees one coarse step.
        self.receptive_field = stride + (1 + blocks) * stride

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), sides multiples of the stride → (B, D, H/stride, W/stride)."""
        z: Tensor = self.body(x.contiguous(memory_format=torch.channels_last))
        return z

    def layers(self) -> list[nn.Module]:
        """What ``forward`` does, one after the other."""
        return [self.body]


class StridedDecoder(nn.Module):
    """A 3x3, residual blocks, then 4x4 stride-2 transposed convolutions."""

    def __init__(
        self, channels: int, *, widths: Sequence[int], blocks: int, hidden: int, latent: int
    ) -> None:
        super().__init__()
        top = widths[-1]
        layers: list[nn.Module] = [nn.Conv2d(latent, top, 3, padding=1)]
        layers += [Residual(top, hidden) for _ in range(blocks)]
        layers.append(nn.ReLU())
        outputs = [*reversed(widths[:-1]), channels]
        inputs = top
        for i, width in enumerate(outputs):
            layers.append(nn.ConvTranspose2d(inputs, width, 4, stride=2, padding=1))
            if i < len(outputs) - 1:
                layers.append(nn.ReLU())
            inputs = width
        self.body = nn.Sequential(*layers)
        stride = 2 ** len(widths)
        self.receptive_field = stride + (1 + blocks) * stride

    def forward(self, z: Tensor) -> Tensor:
        """(B, D, h, w) → (B, C, h·stride, w·stride)."""
        x: Tensor = self.body(z.contiguous(memory_format=torch.channels_last))
        return x


def _receptive_field(patch: int, blocks: Sequence[int], kernel: int) -> int:
    """Pixels beyond a position's own patch that can change it, on each side."""
    steps = [patch * 2**level for level in range(len(blocks))]
    return sum(count * (kernel // 2) * step for count, step in zip(blocks, steps, strict=True))

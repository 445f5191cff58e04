"""Which encoder and decoder of ``layers/hierarchy.py`` a config of ``vqvae2`` stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import nn

from vqtok.nn.convnext import Block, ChannelNorm, Pointwise
from vqtok.nn.hierarchy import Decoder, Encoder
from vqtok.nn.pyramid import Residual
from vqtok.tokenizers._output import parameters

if TYPE_CHECKING:
    from vqtok.tokenizers.vqvae2 import Config


def networks(config: Config) -> tuple[Encoder, Decoder]:
    """Encoder and decoder of either form."""
    made = _Convnext(config) if config.network == "convnext" else _Strided(config)
    count, stride, latent = len(config.widths), config.stride, config.latent
    told = [made.told(level) for level in range(count)]
    given = [latent, *(latent + told[level] for level in range(1, count))]
    encoder = Encoder(
        [made.trunk(level) for level in range(count)],
        [made.step(level, given[level], config.condition_blocks) for level in range(count - 1)],
        [made.head(level, told[level]) for level in range(count)],
        stride=stride,
    )
    blocks = config.decoder_blocks[::-1]
    decoder = Decoder(
        [made.step(level, given[level], blocks[level]) for level in range(count - 1)],
        made.body(given[-1], blocks[-1]),
        stride=stride,
    )
    return encoder, decoder


class _Convnext:
    """Patches and ConvNeXt blocks."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.widths = config.widths[::-1]  # coarse to fine, as levels are numbered
        self.blocks = config.encoder_blocks[::-1]
        self.given = config.channels * parameters(config.output)

    def told(self, level: int) -> int:
        """Channels of the context of a level."""
        return self.widths[level] if level else 0

    def trunk(self, level: int) -> nn.Module:
        """From the next finer level, or pixels."""
        config, width = self.config, self.widths[level]
        finest = level == len(self.widths) - 1
        inputs, factor = (config.channels, config.patch) if finest else (self.widths[level + 1], 2)
        enter = [nn.PixelUnshuffle(factor), Pointwise(inputs * factor**2, width)]
        return nn.Sequential(*enter, *self._body(width, self.blocks[level]))

    def step(self, level: int, inputs: int, blocks: int) -> nn.Module:
        """From a level to the grid of the next finer one."""
        width, finer = self.widths[level], self.widths[level + 1]
        leave = [Pointwise(width, 4 * finer), nn.PixelShuffle(2)]
        return nn.Sequential(Pointwise(inputs, width), *self._body(width, blocks), *leave)

    def head(self, level: int, told: int) -> nn.Module:
        """To latents."""
        width = self.widths[level] + told
        return nn.Sequential(ChannelNorm(width), Pointwise(width, self.config.latent))

    def body(self, inputs: int, blocks: int) -> nn.Module:
        """From the finest grid to pixels."""
        width, patch = self.widths[-1], self.config.patch
        # 3x3 rather than pointwise: neighbouring patches agree on the pixels along their seam.
        out = nn.Conv2d(width, self.given * patch**2, 3, padding=1)
        leave = [ChannelNorm(width), out, nn.PixelShuffle(patch)]
        return nn.Sequential(Pointwise(inputs, width), *self._body(width, blocks), *leave)

    def _body(self, width: int, blocks: int) -> list[nn.Module]:
        kernel = (self.config.kernel, self.config.kernel)
        return [Block(width, kernel=kernel) for _ in range(blocks)]


class _Strided:
    """4x4 convolutions of stride 2 and residual blocks, as 1906.00446 has them (appendix A.1)."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.widths = config.widths[::-1]
        self.blocks = config.encoder_blocks[::-1]
        self.given = config.channels * parameters(config.output)

    def told(self, level: int) -> int:
        """Channels of the context of a level."""
        return self.config.latent if level else 0

    def trunk(self, level: int) -> nn.Module:
        """From the next finer level, or pixels."""
        config, width = self.config, self.widths[level]
        finest = level == len(self.widths) - 1
        inputs = config.channels if finest else self.widths[level + 1]
        halvings = config.patch.bit_length() - 1 if finest else 1
        narrow = [width // 2] * max(1, halvings - 1)
        outs = [*narrow, width] if finest and halvings > 1 else narrow
        layers: list[nn.Module] = []
        for out in outs:
            layers += [nn.Conv2d(inputs, out, 4, stride=2, padding=1), nn.ReLU()]
            inputs = out
        layers.append(nn.Conv2d(inputs, width, 3, padding=1))
        return nn.Sequential(*layers, *self._body(width, self.blocks[level]))

    def step(self, level: int, inputs: int, blocks: int) -> nn.Module:
        """From a level to the grid of the next finer one; without blocks one convolution."""
        latent, width = self.config.latent, self.widths[level]
        if not blocks:
            return nn.ConvTranspose2d(inputs, latent, 4, stride=2, padding=1)
        enter = nn.Conv2d(inputs, width, 3, padding=1)
        leave = nn.ConvTranspose2d(width, latent, 4, stride=2, padding=1)
        return nn.Sequential(enter, *self._body(width, blocks), leave)

    def head(self, level: int, told: int) -> nn.Module:
        """To latents."""
        return nn.Conv2d(self.widths[level] + told, self.config.latent, 1)

    def body(self, inputs: int, blocks: int) -> nn.Module:
        """From the finest grid to pixels."""
        width = self.widths[-1]
        layers: list[nn.Module] = [nn.Conv2d(inputs, width, 3, padding=1)]
        layers += self._body(width, blocks)
        halvings = self.config.patch.bit_length() - 1
        outs: Sequence[int] = [*[width // 2] * (halvings - 1), self.given]
        inputs = width
        for index, out in enumerate(outs):
            layers.append(nn.ConvTranspose2d(inputs, out, 4, stride=2, padding=1))
            if index < len(outs) - 1:
                layers.append(nn.ReLU())
            inputs = out
        return nn.Sequential(*layers)

    def _body(self, width: int, blocks: int) -> list[nn.Module]:
        return [*(Residual(width, self.config.hidden) for _ in range(blocks)), nn.ReLU()]

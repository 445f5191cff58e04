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

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn

from vqtok.nn.convnext import Block, ChannelNorm, Pointwise
from vqtok.nn.hierarchy import Decoder, Encoder
from vqtok.nn.outputs import Output, parameters
from vqtok.nn.pyramid import Residual
from vqtok.protocols import Config as AnyConfig
from vqtok.protocols import ImageTokenizer, Quantized
from vqtok.tokenizers._images import TiledImages
from vqtok.tokenizers._labels import check_names
from vqtok.tokenizers._quantizers import NAMES, Quantizers, check_own, quantize


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
        output: Of the decoder: "plain" pixels, or the parameters of a likelihood, "logits" for the
            loss "bce", "logit-laplace" for the loss of that name.
        labels: Names of classes, one of which conditions the decoder; none: it has no condition.
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

    def build(self, **context: Any) -> ImageTokenizer:
        """Make the tokenizer with fresh weights."""
        return VQVAE2(self)


class VQVAE2(TiledImages):
    """Images ⇄ grids of codes, coarse → fine."""

    def __init__(self, config: Config) -> None:
        encoder, decoder = _networks(config)
        names = NAMES[len(config.widths)]
        quantizers = Quantizers(
            [config.quantizers.get(name, config.quantizer) for name in names], dim=config.latent
        )
        super().__init__(config, encoder, decoder, quantizers, names=names, levels=encoder)

    def _quantize(self, x: Tensor, extent: tuple[int, int]) -> list[Quantized]:
        found: list[Quantized] = []

        def next_level(level: int, z: Tensor) -> Tensor:
            found.append(quantize(self.quantizers[level], z))
            return found[-1].z_q

        self.encoder(x, self._exact.grids(extent), next_level)
        return found

    def _paint(self, z_qs: Sequence[Tensor]) -> Tensor:
        raw: Tensor = self.decoder(z_qs)
        return raw


def _networks(config: Config) -> tuple[Encoder, Decoder]:
    """Make encoder and decoder of either form."""
    made = _Convnext(config) if config.network == "convnext" else _Strided(config)
    count, stride, latent = len(config.widths), config.stride, config.latent
    context = [made.context(level) for level in range(count)]
    given = [latent, *(latent + context[level] for level in range(1, count))]
    encoder = Encoder(
        [made.trunk(level) for level in range(count)],
        [made.step(level, given[level], config.condition_blocks) for level in range(count - 1)],
        [made.head(level, context[level]) for level in range(count)],
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
    """Makes patches and ConvNeXt blocks."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.widths = config.widths[::-1]  # coarse to fine, as levels are numbered
        self.blocks = config.encoder_blocks[::-1]
        self.given = config.channels * parameters(config.output)

    def context(self, level: int) -> int:
        """Count the channels of the context of a level."""
        return self.widths[level] if level else 0

    def trunk(self, level: int) -> nn.Module:
        """Make what leads from the next finer level, or pixels."""
        config, width = self.config, self.widths[level]
        finest = level == len(self.widths) - 1
        inputs, factor = (config.channels, config.patch) if finest else (self.widths[level + 1], 2)
        enter = [nn.PixelUnshuffle(factor), Pointwise(inputs * factor**2, width)]
        return nn.Sequential(*enter, *self._body(width, self.blocks[level]))

    def step(self, level: int, inputs: int, blocks: int) -> nn.Module:
        """Make what leads from a level to the grid of the next finer one."""
        width, finer = self.widths[level], self.widths[level + 1]
        leave = [Pointwise(width, 4 * finer), nn.PixelShuffle(2)]
        return nn.Sequential(Pointwise(inputs, width), *self._body(width, blocks), *leave)

    def head(self, level: int, context: int) -> nn.Module:
        """Make what leads to latents."""
        width = self.widths[level] + context
        return nn.Sequential(ChannelNorm(width), Pointwise(width, self.config.latent))

    def body(self, inputs: int, blocks: int) -> nn.Module:
        """Make what leads from the finest grid to pixels."""
        width, patch = self.widths[-1], self.config.patch
        # 3x3 rather than pointwise: neighbouring patches agree on the pixels along their seam.
        out = nn.Conv2d(width, self.given * patch**2, 3, padding=1)
        leave = [ChannelNorm(width), out, nn.PixelShuffle(patch)]
        return nn.Sequential(Pointwise(inputs, width), *self._body(width, blocks), *leave)

    def _body(self, width: int, blocks: int) -> list[nn.Module]:
        kernel = (self.config.kernel, self.config.kernel)
        return [Block(width, kernel=kernel) for _ in range(blocks)]


class _Strided:
    """Makes 4x4 convolutions of stride 2 and residual blocks, as 1906.00446 (appendix A.1)."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.widths = config.widths[::-1]
        self.blocks = config.encoder_blocks[::-1]
        self.given = config.channels * parameters(config.output)

    def context(self, level: int) -> int:
        """Count the channels of the context of a level."""
        return self.config.latent if level else 0

    def trunk(self, level: int) -> nn.Module:
        """Make what leads from the next finer level, or pixels."""
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
        """Make what leads from a level to the next finer grid; without blocks one convolution."""
        latent, width = self.config.latent, self.widths[level]
        if not blocks:
            return nn.ConvTranspose2d(inputs, latent, 4, stride=2, padding=1)
        enter = nn.Conv2d(inputs, width, 3, padding=1)
        leave = nn.ConvTranspose2d(width, latent, 4, stride=2, padding=1)
        return nn.Sequential(enter, *self._body(width, blocks), leave)

    def head(self, level: int, context: int) -> nn.Module:
        """Make what leads to latents."""
        return nn.Conv2d(self.widths[level] + context, self.config.latent, 1)

    def body(self, inputs: int, blocks: int) -> nn.Module:
        """Make what leads from the finest grid to pixels."""
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

"""VQ-VAE for images: encoder, quantizer, decoder (van den Oord et al. 2017, arXiv:1711.00937).

``network = "convnext"`` is our own: patches and ConvNeXt blocks that work on the small grid.
``network = "strided"`` is the paper's: strided convolutions and residual blocks. Both are local,
so an image of any size is coded in tiles with a halo of the receptive field: memory stays
bounded, and the tiling depends on the image's size alone, never on a setting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from vqtok.nn import pyramid
from vqtok.nn.hierarchy import OneLevel
from vqtok.nn.outputs import Output, parameters
from vqtok.protocols import Config as AnyConfig
from vqtok.protocols import ImageTokenizer, Quantized
from vqtok.tokenizers._images import TiledImages
from vqtok.tokenizers._labels import check_names
from vqtok.tokenizers._quantizers import quantize


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
        output: Of the decoder: "plain" pixels, or the parameters of a likelihood, "logits" for the
            loss "bce", "logit-laplace" for the loss of that name.
        labels: Names of classes, one of which conditions the decoder; none: it has no condition.
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

    def build(self, **context: Any) -> ImageTokenizer:
        """Make the tokenizer with fresh weights."""
        return VQVAE(self)


class VQVAE(TiledImages):
    """Images ⇄ one grid of codes."""

    def __init__(self, config: Config) -> None:
        encoder, decoder = _networks(config)
        super().__init__(
            config,
            encoder,
            decoder,
            config.quantizer.build(dim=config.latent),
            names=("codes",),
            levels=OneLevel(encoder, stride=config.stride),
        )

    def _quantize(self, x: Tensor, extent: tuple[int, int]) -> list[Quantized]:
        return [quantize(self.quantizers[0], self.encoder(x))]

    def _paint(self, z_qs: Sequence[Tensor]) -> Tensor:
        raw: Tensor = self.decoder(z_qs[0])
        return raw


def _networks(
    config: Config,
) -> tuple[pyramid.Encoder | pyramid.StridedEncoder, nn.Module]:
    """Make encoder and decoder of either form."""
    given = config.channels * parameters(config.output)
    inner, outer = config.encoder_blocks, config.decoder_blocks
    sizes = pyramid.Sizes(config.widths, config.latent, config.patch, config.kernel, config.hidden)
    if config.network == "convnext":
        return (
            pyramid.Encoder(config.channels, sizes, blocks=inner),
            pyramid.Decoder(given, sizes, blocks=outer),
        )
    return (
        pyramid.StridedEncoder(config.channels, sizes, blocks=inner[0]),
        pyramid.StridedDecoder(given, sizes, blocks=outer[0]),
    )

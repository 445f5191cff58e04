"""Which encoder and decoder of ``layers/pyramid.py`` an image tokenizer's config stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from vqtok.nn.pyramid import Decoder, Encoder, StridedDecoder, StridedEncoder
from vqtok.tokenizers._output import parameters

if TYPE_CHECKING:
    from vqtok.tokenizers.vqvae import Config


def networks(config: Config) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder of either form."""
    channels, widths, latent = config.channels, config.widths, config.latent
    given = channels * parameters(config.output)
    inner, outer = config.encoder_blocks, config.decoder_blocks
    if config.network == "convnext":
        patch, kernel = config.patch, config.kernel
        return (
            Encoder(
                channels, patch=patch, widths=widths, blocks=inner, kernel=kernel, latent=latent
            ),
            Decoder(given, patch=patch, widths=widths, blocks=outer, kernel=kernel, latent=latent),
        )
    hidden = config.hidden
    return (
        StridedEncoder(channels, widths=widths, blocks=inner[0], hidden=hidden, latent=latent),
        StridedDecoder(given, widths=widths, blocks=outer[0], hidden=hidden, latent=latent),
    )

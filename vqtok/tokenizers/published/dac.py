"""DAC, the Descript codec (Kumar et al. 2023, 2306.06546): snake convolutions, residual codes.

The network is that of the transformers library. Differences: norms of weights are computed once;
long recordings go through in tiles with all that the convolutions see; and the published decoders
with a stride of 5 (16 and 24 kHz) give sound that is ``delay`` samples early and as many short,
which is undone: decoded samples lie where the original's do, after so many zeros.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import ceil, prod
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.codes.spec import CodeSpec
from vqtok.protocols import AudioTokenizer
from vqtok.tokenizers.published import _transformers
from vqtok.tokenizers.published._audio import AudioCodec, Pass, residual

TILE_S = 10


@dataclass(frozen=True)
class Config:
    """Sizes of the network; keys, meanings and defaults are the library's ``DacConfig``'s.

    Attributes:
        encoder_hidden_size: Channels at the sampling rate; doubled with each stride.
        downsampling_ratios: The product is the hop.
        decoder_hidden_size: Channels at frame rate; halved with each stride.
        n_codebooks: Q.
        codebook_size: K, a power of two.
        codebook_dim: Of an entry; latents are projected to it.
        sampling_rate: Hz.
    """

    encoder_hidden_size: int = 64
    downsampling_ratios: tuple[int, ...] = (2, 4, 8, 8)
    decoder_hidden_size: int = 1536
    n_codebooks: int = 9
    codebook_size: int = 1024
    codebook_dim: int = 8
    sampling_rate: int = 16000

    @property
    def spec(self) -> CodeSpec:
        """Describe the codes."""
        size, hop = self.codebook_size, prod(self.downsampling_ratios)
        return residual(size, self.n_codebooks, hop=hop, rate=self.sampling_rate)

    def build(self, **context: Any) -> AudioTokenizer:
        """Make the tokenizer with fresh weights; needs the transformers package."""
        return AudioCodec(self, Network(self))


class Network(nn.Module):
    """The library's modules, and how a signal goes through them tile by tile."""

    decoding_parts = ("decoder",)

    def __init__(self, config: Config) -> None:
        super().__init__()
        ratios = config.downsampling_ratios
        self.hop = prod(ratios)
        library = _transformers.module("dac", "modeling_dac")
        with _transformers.drawing():
            whole = library.DacModel(_transformers.settings("dac", asdict(config)))
        self.encoder, self.decoder = whole.encoder, whole.decoder
        self.quantizer: Any = whole.quantizer
        self.tile: int | None = max(1, TILE_S * config.sampling_rate // self.hop)
        self.delay = 0
        for ratio in reversed(ratios):
            # kernel 2r, stride r, padding ceil(r / 2): of r·n samples an odd r loses the last.
            self.delay = self.delay * ratio + ratio % 2
        before = ceil(_receptive_field(self.encoder) / self.hop) + 1
        after = ceil(_receptive_field(self.decoder)) + 1
        self.encoder_receptive_field, self.decoder_receptive_field = (
            (before, before),
            (after, after),
        )

    def encoding(self) -> Pass:
        """Makes a pass over windows of samples; it remembers nothing."""

        def run(window: Tensor, skip: int, own: int) -> Tensor:
            z: Tensor = self.encoder(F.pad(window, (0, -window.shape[-1] % self.hop)))
            return z[..., skip : skip + own]

        return run

    def decoding(self) -> Pass:
        """Makes a pass over windows of latents; it remembers nothing."""

        def run(window: Tensor, skip: int, own: int) -> Tensor:
            y: Tensor = F.pad(self.decoder(window), (self.delay, 0))
            return y[..., skip * self.hop : (skip + own) * self.hop]

        return run

    def traceable(self) -> Network:
        """Returns itself: all its layers take any length."""
        return self

    def quantize(self, z: Tensor) -> Tensor:
        """Maps (1, D, T) → int64 (1, Q, T)."""
        codes: Tensor = self.quantizer(z)[1]
        return codes

    def unquantize(self, codes: Tensor) -> Tensor:
        """Maps (1, Q, T), or fewer stages → (1, D, T)."""
        z_q: Tensor = self.quantizer.from_codes(codes)[0]
        return z_q


def _receptive_field(network: nn.Module) -> float:
    """Steps of the input to either side that change one of the output, or a little more."""
    steps, scale = 0.0, 1.0
    for each in network.modules():
        if isinstance(each, nn.ConvTranspose1d):
            steps += 2 * scale  # kernel 2r: an output meets two inputs, at most two steps away
            scale /= each.stride[0]
        elif isinstance(each, nn.Conv1d):
            seen = (each.kernel_size[0] - 1) * each.dilation[0]
            padding = int(each.padding[0])
            steps += scale * max(padding, seen - padding)
            scale *= each.stride[0]
    return steps

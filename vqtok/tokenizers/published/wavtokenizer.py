"""WavTokenizer (Ji et al. 2024, 2408.16532): EnCodec's encoder, one codebook, a spectral decoder.

Convolutions around an LSTM give 40 or 75 latents a second; the decoder is Vocos' (2306.00814) with
attention before it. The network is that of the transformers library, its attention in an order
that needs no matrix of frames by frames. LSTM, norms and attention see the whole recording, so it
goes through whole: ``exact`` is False.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict, dataclass
from math import pi, prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.protocols import Halves, Tokenizer
from vqtok.tokenizers.published import _transformers
from vqtok.tokenizers.published._halves import Half
from vqtok.tokenizers.published._published import Levels
from vqtok.tokenizers.published._whole_audio import WholeAudioCodec
from vqtok.tokenizers.published.encodec import plain_codebooks


@dataclass(frozen=True)
class Config:
    """Sizes of the network; keys, meanings and defaults are the library's ``WavTokenizerConfig``'s.

    Attributes:
        sampling_rate: Hz.
        num_filters: Channels at the sampling rate.
        upsampling_ratios: From codes to samples; the product is the hop.
        num_residual_layers: Residual blocks per rate.
        dilation_growth_rate: From block to block.
        compress: Channels of a block by those inside it.
        use_conv_shortcut: A convolution beside each block.
        use_causal_conv: Whether convolutions look back only.
        pad_mode: Of convolutions.
        norm_type: "weight_norm" or "time_group_norm".
        kernel_size: Of the first convolution.
        last_kernel_size: Of the encoder's last.
        residual_kernel_size: Inside the blocks.
        num_lstm_layers: In the encoder.
        hidden_size: D, dimension that is quantised.
        codebook_size: K.
        decoder_hidden_size: Channels of the decoder.
        decoder_intermediate_size: Inside its blocks.
        decoder_num_layers: Blocks.
        adanorm_num_embeddings: Conditions of the norms, of which the first is used.
        decoder_attention_num_groups: Of the norms around attention.
        norm_eps: Of the decoder's norms.
    """

    sampling_rate: int = 24000
    num_filters: int = 32
    upsampling_ratios: tuple[int, ...] = (6, 5, 5, 4)
    num_residual_layers: int = 1
    dilation_growth_rate: int = 2
    compress: int = 2
    use_conv_shortcut: bool = True
    use_causal_conv: bool = False
    pad_mode: str = "reflect"
    norm_type: str = "weight_norm"
    kernel_size: int = 7
    last_kernel_size: int = 7
    residual_kernel_size: int = 3
    num_lstm_layers: int = 2
    hidden_size: int = 512
    codebook_size: int = 4096
    decoder_hidden_size: int = 768
    decoder_intermediate_size: int = 2304
    decoder_num_layers: int = 12
    adanorm_num_embeddings: int = 4
    decoder_attention_num_groups: int = 32
    norm_eps: float = 1e-6

    @property
    def spec(self) -> CodeSpec:
        """Describe the codes."""
        level = LevelSpec("codes", ("t",), self.codebook_size, (prod(self.upsampling_ratios),))
        return CodeSpec(modality="audio", levels=(level,), rate=float(self.sampling_rate))

    def build(self, **context: Any) -> Tokenizer:
        """Make the tokenizer with fresh weights; needs the transformers package."""
        return WholeAudioCodec(self, Network(self))


class Network(nn.Module):
    """The library's modules: encoder, quantizer, backbone, head."""

    decoding_parts = ("backbone", "head")

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.hop = prod(config.upsampling_ratios)
        keys = {**asdict(config), "codebook_dim": config.hidden_size}
        found = _transformers.settings("wavtokenizer", keys, name="WavTokenizerConfig")
        library = _transformers.module("wavtokenizer", "modeling_wavtokenizer")
        with _transformers.drawing():
            whole = library.WavTokenizerModel(found)
        self.encoder = _transformers.unparametrized(whole.encoder_model.encoder)
        self.quantizer: Any = plain_codebooks(whole.encoder_model.quantizer)
        self.backbone: Any = whole.backbone
        self.head: Any = whole.head
        layers = self.backbone.pos_net
        for index, layer in enumerate(layers):
            if hasattr(layer, "proj_out"):
                layers[index] = _Attention(layer)

    def latents(self, x: Tensor) -> Tensor:
        """Maps (1, 1, L) → (1, D, T)."""
        z: Tensor = self.encoder(x)
        return z

    def codes(self, x: Tensor, z: Tensor) -> Levels:
        """Returns (1, T)."""
        return (self.quantizer.encode(z),)

    def unquantize(self, levels: Levels) -> Tensor:
        """Maps (1, T) → (1, D, T)."""
        z_q: Tensor = self.quantizer.decode(levels[0])
        return z_q

    def render(self, z_q: Tensor, levels: Levels | None, length: int) -> Tensor:
        """Maps (1, D, T) → (1, 1, length)."""
        condition = torch.zeros(1, dtype=torch.int64, device=z_q.device)
        y: Tensor = self.head(self.backbone(z_q, condition))
        return y[..., :length]

    def halves(self) -> Halves:
        """Give the networks, to be traced, with the inverse transform as one convolution."""
        network = deepcopy(self)
        network.encoder = _transformers.traceable(self.encoder)
        network.head = _Head(self.head)
        return Halves(
            Half(network, lambda x: network.codes(x, network.latents(x))),
            Half(
                network, lambda codes: network.render(network.unquantize((codes,)), None, 1 << 62)
            ),
            channels=1,
            multiple=self.hop,
            fill="zeros",
        )


class _Attention(nn.Module):
    """Attention of one head between all frames, in memory that grows with them.

    Args:
        given: The library's, which holds a matrix of frames by frames.
    """

    def __init__(self, given: Any) -> None:
        super().__init__()
        self.norm, self.proj_out = given.norm, given.proj_out
        self.q, self.k, self.v = given.q, given.k, given.v

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, T) → (B, C, T)."""
        h = self.norm(x)
        q, k, v = (each(h).transpose(1, 2)[:, None] for each in (self.q, self.k, self.v))
        seen = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2)
        out: Tensor = self.proj_out(seen)
        return x + out


class _Head(nn.Module):
    """The library's head by operators that graphs have: overlapping frames are a convolution.

    Args:
        given: The library's.
    """

    waves: Tensor
    square: Tensor

    def __init__(self, given: Any) -> None:
        super().__init__()
        self.linear, self.hop, self.padding = given.linear, given.hop_length, given.padding
        size, window = given.n_fft, given.window.double()
        bins, times = torch.arange(size // 2 + 1), torch.arange(size)
        angles = 2 * pi / size * (bins[:, None] * times % size).double()
        # What stands for a bin and its mirror image counts twice.
        weight = torch.where((bins > 0) & (bins < size // 2), 2.0, 1.0).double()[:, None] / size
        waves = torch.cat([weight * angles.cos(), -weight * angles.sin()]) * window
        self.register_buffer("waves", waves.float()[:, None])
        self.register_buffer("square", window.square().float()[None, None])

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, T, D) → (B, 1, T · hop)."""
        magnitude, phase = self.linear(h).transpose(1, 2).chunk(2, dim=1)
        magnitude = magnitude.exp().clamp(max=1e2)
        bins = torch.cat([magnitude * phase.cos(), magnitude * phase.sin()], dim=1)
        joined = F.conv_transpose1d(bins, self.waves, stride=self.hop)
        ones = torch.ones_like(bins[:, :1])
        envelope = F.conv_transpose1d(ones, self.square, stride=self.hop)
        inside = slice(self.padding, -self.padding)
        return joined[..., inside] / envelope[..., inside].clamp(min=1e-11)

"""X-codec (Ye et al. 2024, 2408.17175): DAC's convolutions beside a HuBERT, residual codes of both.

The network is that of the transformers library, HuBERT included, norms of weights computed once.
Differences: what only training needs, the decoder of what HuBERT heard, is left out; and silence
fills up the last frame, as the library's feature extractor does. HuBERT sees the whole recording,
so it goes through whole: ``exact`` is False.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import ceil, log2, prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.codes.spec import CodeSpec
from vqtok.protocols import AudioTokenizer
from vqtok.tokenizers.published import _transformers
from vqtok.tokenizers.published._audio import AudioCodec, Pass, residual
from vqtok.tokenizers.published.encodec import plain_codebooks


@dataclass(frozen=True)
class Acoustic:
    """Sizes of DAC's sides, by the library's keys.

    Attributes:
        encoder_hidden_size: Channels at the sampling rate; doubled with each stride.
        downsampling_ratios: The product is the hop.
        decoder_hidden_size: Channels at frame rate; halved with each stride.
        upsampling_ratios: Of the decoder.
        hidden_size: Of its latents.
    """

    encoder_hidden_size: int = 64
    downsampling_ratios: tuple[int, ...] = (8, 5, 4, 2)
    decoder_hidden_size: int = 1024
    upsampling_ratios: tuple[int, ...] = (8, 5, 4, 2)
    hidden_size: int = 256


@dataclass(frozen=True)
class Semantic:
    """Sizes of HuBERT, by the library's keys; defaults are those of ``HubertConfig``.

    Attributes:
        hidden_size: Of its layers.
        num_hidden_layers: Their number.
        num_attention_heads: Of each.
        intermediate_size: Inside each.
        hidden_act: Activation by the library's name.
        layer_norm_eps: Of norms.
        feat_proj_layer_norm: Whether there is a norm before the projection of features.
        feat_extract_norm: "group" or "layer": of the convolutions.
        feat_extract_activation: Of the convolutions, by the library's name.
        conv_dim: Channels of each.
        conv_stride: Of each.
        conv_kernel: Of each.
        conv_bias: Whether they have biases.
        num_conv_pos_embeddings: Frames that the convolution for positions sees.
        num_conv_pos_embedding_groups: Of it.
        conv_pos_batch_norm: Whether it has a batch norm instead of a normalised weight.
        do_stable_layer_norm: Norms before layers instead of behind.
    """

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5
    feat_proj_layer_norm: bool = True
    feat_extract_norm: str = "group"
    feat_extract_activation: str = "gelu"
    conv_dim: tuple[int, ...] = (512, 512, 512, 512, 512, 512, 512)
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_bias: bool = False
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16
    conv_pos_batch_norm: bool = False
    do_stable_layer_norm: bool = False


@dataclass(frozen=True)
class Config:
    """Sizes of the network; keys, meanings and defaults are the library's ``XcodecConfig``'s.

    Attributes:
        num_quantizers: Q; 8 of 10 bits at 50 Hz are 4 kbit/s.
        sample_rate: Hz.
        kernel_size: Of the convolutions over what HuBERT gives.
        channel_ratios: Channels of each of their blocks by HuBERT's.
        strides: Of each.
        block_dilations: Of the units in each.
        unit_kernel_size: Of a unit.
        codebook_size: K.
        codebook_dim: Of an entry; None: that of the latents.
        acoustic: DAC's sides.
        semantic: HuBERT.
    """

    num_quantizers: int = 8
    sample_rate: int = 16000
    kernel_size: int = 3
    channel_ratios: tuple[int, ...] = (1, 1)
    strides: tuple[int, ...] = (1, 1)
    block_dilations: tuple[int, ...] = (1, 1)
    unit_kernel_size: int = 3
    codebook_size: int = 1024
    codebook_dim: int | None = None
    acoustic: Acoustic = Acoustic()
    semantic: Semantic = Semantic()

    @property
    def spec(self) -> CodeSpec:
        """Describe the codes."""
        hop = prod(self.acoustic.downsampling_ratios)
        return residual(self.codebook_size, self.num_quantizers, hop=hop, rate=self.sample_rate)

    def build(self, **context: Any) -> AudioTokenizer:
        """Make the tokenizer with fresh weights; needs the transformers package."""
        return AudioCodec(self, Network(self))


class Network(nn.Module):
    """The library's modules under their published names."""

    decoding_parts = ("fc2", "acoustic_decoder")

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.tile: int | None = None
        self.encoder_receptive_field = self.decoder_receptive_field = (0, 0)
        self.hop = prod(config.acoustic.downsampling_ratios)
        library = _transformers.module("xcodec", "modeling_xcodec")
        with _transformers.drawing():
            whole = library.XcodecModel(_settings(config))
        self.acoustic_encoder, self.acoustic_decoder = (
            whole.acoustic_encoder,
            whole.acoustic_decoder,
        )
        self.encoder_semantic = whole.encoder_semantic
        self.semantic_model: Any = _transformers.unparametrized(whole.semantic_model)
        self.fc, self.fc2 = whole.fc, whole.fc2
        self.quantizer: Any = plain_codebooks(whole.quantizer)
        self._pad = int(whole.pad)

    def encoding(self) -> Pass:
        """Makes a pass over one whole signal."""

        def run(window: Tensor, skip: int, own: int) -> Tensor:
            x = F.pad(window, (0, -window.shape[-1] % self.hop))
            heard = self.encoder_semantic(self._meaning(x))
            both = torch.cat([self.acoustic_encoder(x), heard], dim=1)
            z: Tensor = self.fc(both.transpose(1, 2)).transpose(1, 2)
            return z

        return run

    def decoding(self) -> Pass:
        """Makes a pass over the latents of one whole signal."""

        def run(window: Tensor, skip: int, own: int) -> Tensor:
            y: Tensor = self.acoustic_decoder(self.fc2(window.transpose(1, 2)).transpose(1, 2))
            return y[..., : own * self.hop]

        return run

    def traceable(self) -> Network:
        """Returns itself: all its layers take any length."""
        return self

    def quantize(self, z: Tensor) -> Tensor:
        """Maps (1, D, T) → int64 (1, Q, T)."""
        codes: Tensor = self.quantizer.encode(z)  # (Q, 1, T)
        return codes.transpose(0, 1)

    def unquantize(self, codes: Tensor) -> Tensor:
        """Maps (1, Q, T), or fewer stages → (1, D, T)."""
        z_q: Tensor = self.quantizer.decode(codes.transpose(0, 1))
        return z_q

    def _meaning(self, x: Tensor) -> Tensor:
        """Averages what all layers of HuBERT give: (1, 1, L) → (1, D, T)."""
        padded = F.pad(x[:, 0], (self._pad, self._pad))
        layers = self.semantic_model(padded, output_hidden_states=True).hidden_states
        return torch.stack(layers, dim=1).mean(dim=1).transpose(1, 2)


def _settings(config: Config) -> Any:
    """Returns the library's config, which tells the number of codebooks by a bandwidth."""
    keys = asdict(config)
    count, acoustic, semantic = (
        keys.pop(key) for key in ("num_quantizers", "acoustic", "semantic")
    )
    hop = prod(config.acoustic.downsampling_ratios)
    bits = ceil(log2(config.codebook_size)) * ceil(config.sample_rate / hop)
    # Half a codebook more, because the library rounds down.
    keys["target_bandwidths"] = [(count + 0.5) * bits / 1000]
    parts = {
        "acoustic_model_config": acoustic | {"model_type": "dac"},
        "semantic_model_config": semantic | {"model_type": "hubert", "mask_time_prob": 0.0},
    }
    for name, part in parts.items():
        keys[name] = {k: list(v) if isinstance(v, tuple) else v for k, v in part.items()}
    return _transformers.settings("xcodec", keys)

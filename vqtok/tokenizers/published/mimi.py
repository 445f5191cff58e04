"""Mimi (Défossez et al. 2024, 2410.00037): a causal codec with transformers at 25 Hz.

The first codebook is semantic, the others are acoustic residuals beside it. The network is that of
the transformers library, its weights under their published names. Attention reaches back 250
frames in each of eight layers, so that a recording goes through whole, in memory that grows with
it: ``exact`` is False. All codebooks are used by default; depth 8 is what most users want.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from math import ceil, prod
from typing import Any

import torch
from torch import Tensor, nn

from vqtok.codes.spec import CodeSpec
from vqtok.protocols import AudioTokenizer
from vqtok.tokenizers.published import _transformers
from vqtok.tokenizers.published._audio import AudioCodec, Pass, residual
from vqtok.tokenizers.published._lookup import closest


@dataclass(frozen=True)
class Config:
    """Sizes of the network; keys, meanings and defaults are the library's ``MimiConfig``'s.

    Attributes:
        sampling_rate: Hz.
        frame_rate: Hz of the codes; half of what the convolutions give.
        hidden_size: Of latents and transformers.
        num_filters: Channels at the sampling rate.
        num_residual_layers: Residual blocks per rate.
        upsampling_ratios: Of the decoder's convolutions.
        kernel_size: Of the first convolutions.
        last_kernel_size: Of the last ones.
        residual_kernel_size: Inside the blocks.
        dilation_growth_rate: From block to block.
        pad_mode: Of convolutions.
        compress: Channels of a block by those inside it.
        codebook_size: K, a power of two.
        codebook_dim: Of an entry.
        num_quantizers: Q, semantic ones included.
        num_semantic_quantizers: Of them.
        use_conv_shortcut: A convolution beside each block.
        vector_quantization_hidden_dimension: What latents are projected to.
        upsample_groups: Of the convolution from codes to 25 Hz.
        num_hidden_layers: Of each transformer.
        intermediate_size: Inside its layers.
        num_attention_heads: Of each layer.
        num_key_value_heads: Of each layer.
        head_dim: None: hidden_size / heads.
        hidden_act: Activation by the library's name.
        norm_eps: Of layer norms.
        rope_theta: Base of rotary positions.
        sliding_window: Frames that attention looks back.
        attention_bias: Whether projections have biases.
    """

    sampling_rate: int = 24000
    frame_rate: float = 12.5
    hidden_size: int = 512
    num_filters: int = 64
    num_residual_layers: int = 1
    upsampling_ratios: tuple[int, ...] = (8, 6, 5, 4)
    kernel_size: int = 7
    last_kernel_size: int = 3
    residual_kernel_size: int = 3
    dilation_growth_rate: int = 2
    pad_mode: str = "constant"
    compress: int = 2
    codebook_size: int = 2048
    codebook_dim: int = 256
    num_quantizers: int = 32
    num_semantic_quantizers: int = 1
    use_conv_shortcut: bool = False
    vector_quantization_hidden_dimension: int = 256
    upsample_groups: int = 512
    num_hidden_layers: int = 8
    intermediate_size: int = 2048
    num_attention_heads: int = 8
    num_key_value_heads: int = 8
    head_dim: int | None = None
    hidden_act: str = "gelu"
    norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    sliding_window: int = 250
    attention_bias: bool = False

    @property
    def spec(self) -> CodeSpec:
        """Describe the codes."""
        hop = prod(self.upsampling_ratios)
        stride = int(ceil(self.sampling_rate / hop) / self.frame_rate)  # as the library has it
        size, depth = self.codebook_size, self.num_quantizers
        return residual(size, depth, hop=hop * stride, rate=self.sampling_rate)

    def build(self, **context: Any) -> AudioTokenizer:
        """Make the tokenizer with fresh weights; needs the transformers package."""
        return AudioCodec(self, Network(self))


class Network(nn.Module):
    """The library's modules under their published names."""

    decoding_parts = ("upsample", "decoder_transformer", "decoder")

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.tile: int | None = None
        self.encoder_receptive_field = self.decoder_receptive_field = (0, 0)
        keys = asdict(config)
        theta = keys.pop("rope_theta")
        keys["rope_parameters"] = {"rope_type": "default", "rope_theta": theta}
        found = _transformers.settings("mimi", keys)
        library = _transformers.module("mimi", "modeling_mimi")
        with _transformers.drawing():
            whole = library.MimiModel(found)
        self.hop = config.spec.levels[0].stride[0]
        self.encoder = whole.encoder.encoder_seanet
        self.encoder_transformer: Any = whole.encoder.encoder_transformer
        self.downsample = whole.encoder.downsample
        self.quantizer: Any = whole.quantizer
        self.upsample = whole.decoder.upsample
        self.decoder_transformer: Any = whole.decoder.decoder_transformer
        self.decoder = whole.decoder.decoder_seanet
        for each in self.quantizer.modules():
            each._buffers.pop("initialized", None)  # of use in training only
        self.register_load_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]

    def encoding(self) -> Pass:
        """Makes a pass over one whole signal."""

        def run(window: Tensor, skip: int, own: int) -> Tensor:
            h = self.encoder(window).transpose(1, 2)
            h = self.encoder_transformer(h).last_hidden_state.transpose(1, 2)
            z: Tensor = self.downsample(h)
            return z

        return run

    def decoding(self) -> Pass:
        """Makes a pass over the latents of one whole signal."""

        def run(window: Tensor, skip: int, own: int) -> Tensor:
            h = self.upsample(window).transpose(1, 2)
            h = self.decoder_transformer(h).last_hidden_state.transpose(1, 2)
            y: Tensor = self.decoder(h)
            return y[..., : own * self.hop]

        return run

    def traceable(self) -> Network:
        """Copies it, with attention masked by hand and codebooks searched by one product."""
        copy = _transformers.traceable(self)
        for name in ("encoder_transformer", "decoder_transformer"):
            setattr(copy, name, _Masked(getattr(copy, name)))
        for each in copy.quantizer.modules():
            if hasattr(each, "embed_sum"):
                each.quantize = partial(closest, entries=each.embed)
        return copy

    def quantize(self, z: Tensor) -> Tensor:
        """Maps (1, D, T) → int64 (1, Q, T)."""
        codes: Tensor = self.quantizer.encode(z)  # (Q, 1, T)
        return codes.transpose(0, 1)

    def unquantize(self, codes: Tensor) -> Tensor:
        """Maps (1, Q, T), or fewer stages → (1, D, T)."""
        z_q: Tensor = self.quantizer.decode(codes)
        return z_q


class _Masked(nn.Module):
    """One of the transformers, which is given what each frame sees: itself and those before it."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner, self.window = inner, int(inner.config.sliding_window)

    def forward(self, h: Tensor) -> Any:
        """Maps (B, T, D) → what the library returns."""
        frames = torch.arange(h.shape[1], device=h.device)
        back = frames[:, None] - frames
        seen = (back >= 0) & (back < self.window)
        return self.inner(
            h, attention_mask=seen[None, None], position_ids=frames[None], use_cache=False
        )


def _forget(network: nn.Module, keys: Any) -> None:
    """Drop codebooks that the library computed from weights which have been replaced."""
    for each in network.modules():
        if hasattr(each, "embed_sum"):
            each._embed = None  # type: ignore[assignment]

"""EnCodec (Défossez et al. 2022, 2210.13438): causal convolutions around an LSTM, residual codes.

The network is that of the transformers library, with its weights under its published names, norms
of weights computed once. Here is the streamable form, such as EnCodec 24 kHz; ``encodec_chunked``
has the one that works in chunks. Differences: all stages by default instead of the fewest, and
long recordings go through in tiles, the LSTMs' states and the ends of convolutions carried along.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from math import ceil, log2, prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vqtok.codes.spec import CodeSpec
from vqtok.protocols import Tokenizer
from vqtok.tokenizers.published import _transformers
from vqtok.tokenizers.published._audio import AudioCodec, Pass, residual

TILE_S = 10
"""Seconds of a tile; reflected starts look ahead by some frames, which the first tile must hold."""


@dataclass(frozen=True)
class Config:
    """Sizes of the network; names, meanings and defaults are those of the library's config.

    Attributes:
        num_quantizers: Q; 32 of 10 bits at 75 Hz are 24 kbit/s.
        sampling_rate: Hz.
        hidden_size: D, dimension that is quantised.
        num_filters: Channels at the sampling rate.
        num_residual_layers: Residual blocks per rate.
        upsampling_ratios: Of the decoder; the product is the hop.
        kernel_size: Of the first convolutions.
        last_kernel_size: Of the last ones.
        residual_kernel_size: Inside the blocks.
        dilation_growth_rate: From block to block.
        pad_mode: "reflect" or "constant".
        compress: Channels of a block by those inside it.
        num_lstm_layers: In encoder and decoder each.
        codebook_size: K.
        codebook_dim: Of an entry; None: ``hidden_size``, and nothing else works.
        use_conv_shortcut: A convolution beside each block.
    """

    num_quantizers: int = 32
    sampling_rate: int = 24000
    hidden_size: int = 128
    num_filters: int = 32
    num_residual_layers: int = 1
    upsampling_ratios: tuple[int, ...] = (8, 5, 4, 2)
    kernel_size: int = 7
    last_kernel_size: int = 7
    residual_kernel_size: int = 3
    dilation_growth_rate: int = 2
    pad_mode: str = "reflect"
    compress: int = 2
    num_lstm_layers: int = 2
    codebook_size: int = 1024
    codebook_dim: int | None = None
    use_conv_shortcut: bool = True

    @property
    def spec(self) -> CodeSpec:
        """Describe the codes."""
        size, hop = self.codebook_size, prod(self.upsampling_ratios)
        return residual(size, self.num_quantizers, hop=hop, rate=self.sampling_rate)

    def build(self, **context: Any) -> Tokenizer:
        """Make the tokenizer with fresh weights; needs the transformers package."""
        return AudioCodec(self, Network(self))


class Modules(nn.Module):
    """The library's modules: encoder, quantizer, decoder.

    Args:
        found: The library's config.
    """

    def __init__(self, found: Any) -> None:
        super().__init__()
        library = _transformers.module("encodec", "modeling_encodec")
        with _transformers.drawing():
            whole = library.EncodecModel(found)
        self.encoder = _transformers.unparametrized(whole.encoder)
        self.decoder = _transformers.unparametrized(whole.decoder)
        self.quantizer: Any = plain_codebooks(whole.quantizer)


class Network(Modules):
    """How a signal goes through the modules tile by tile."""

    decoding_parts = ("decoder",)

    def __init__(self, config: Config) -> None:
        super().__init__(settings(asdict(config)))
        self.hop = prod(config.upsampling_ratios)
        self.tile: int | None = max(1, TILE_S * config.sampling_rate // self.hop)
        before, after = _receptive_field(self.encoder), _receptive_field(self.decoder)
        self.encoder_receptive_field = ceil(before.front / self.hop) + 1, 0
        self.decoder_receptive_field = ceil(after.front), 0
        self._tails = ceil(before.back), ceil(after.back)

    def encoding(self) -> Pass:
        """Makes a fresh pass over the windows of one signal."""
        return _Stateful(self.encoder, tail=self._tails[0])

    def decoding(self) -> Pass:
        """Makes a fresh pass over the windows of one signal's latents."""
        return _Stateful(self.decoder, tail=self._tails[1])

    def traceable(self) -> Network:
        """Copies it with convolutions that take any number of whole frames."""
        return _transformers.traceable(self)

    def quantize(self, z: Tensor) -> Tensor:
        """Maps (1, D, T) → int64 (1, Q, T)."""
        codes: Tensor = self.quantizer.encode(z)  # (Q, 1, T)
        return codes.transpose(0, 1)

    def unquantize(self, codes: Tensor) -> Tensor:
        """Maps (1, Q, T), or fewer stages → (1, D, T)."""
        z_q: Tensor = self.quantizer.decode(codes.transpose(0, 1))
        return z_q


def settings(keys: Mapping[str, Any]) -> Any:
    """Returns the library's config, which tells the number of codebooks by a bandwidth."""
    rest = dict(keys)
    count, ratios = rest.pop("num_quantizers"), rest["upsampling_ratios"]
    bits = ceil(log2(rest["codebook_size"])) * ceil(rest["sampling_rate"] / prod(ratios))
    # Half a codebook more, because the library rounds down.
    return _transformers.settings(
        "encodec", {**rest, "target_bandwidths": [(count + 0.5) * bits / 1000]}
    )


class _Stateful:
    """Layers around an LSTM, over the windows of one signal in their order.

    What comes before the LSTM sees the window's past again; the LSTM goes on from its state; what
    comes after it sees the last frames that the LSTM gave before.

    Args:
        network: The library's encoder or decoder.
        tail: Frames before one that the layers after the LSTM see.
    """

    def __init__(self, network: nn.Module, *, tail: int) -> None:
        layers: Any = network.layers
        at = next(i for i, layer in enumerate(layers) if hasattr(layer, "lstm"))
        self._front, self._lstm, self._back = layers[:at], layers[at].lstm, layers[at + 1 :]
        self._tail = tail
        self._state: tuple[Tensor, Tensor] | None = None
        self._kept: Tensor | None = None

    def __call__(self, window: Tensor, skip: int, own: int) -> Tensor:
        h = _through(self._front, window)[..., skip : skip + own].permute(2, 0, 1)  # (T, 1, C)
        out, self._state = self._lstm(h, self._state)
        h = (out + h).permute(1, 2, 0)
        known = 0 if self._kept is None else self._kept.shape[-1]
        joined = h if self._kept is None else torch.cat([self._kept, h], dim=-1)
        self._kept = joined[..., max(0, joined.shape[-1] - self._tail) :]
        y = _through(self._back, joined)
        return y[..., known * (y.shape[-1] // joined.shape[-1]) :]


class _ReceptiveField(NamedTuple):
    """Steps before one that change it: ``front`` in the input's, ``back`` in the LSTM's."""

    front: float
    back: float


def _receptive_field(network: nn.Module) -> _ReceptiveField:
    front, steps, scale = 0.0, 0.0, 1.0
    layers: Any = network.layers
    for layer in layers:
        if hasattr(layer, "lstm"):
            front, steps, scale = steps, 0.0, 1.0
        for each in layer.modules():
            if isinstance(each, nn.ConvTranspose1d):
                steps += scale * ((each.kernel_size[0] - 1) // each.stride[0])
                scale /= each.stride[0]
            elif isinstance(each, nn.Conv1d):
                # Reflected ends look back by less than the kernel too: hence twice.
                steps += scale * 2 * (each.kernel_size[0] - 1) * each.dilation[0]
                scale *= each.stride[0]
    return _ReceptiveField(front, steps)


def _through(layers: Iterable[Any], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


def plain_codebooks(quantizer: nn.Module) -> nn.Module:
    """Returns the library's quantizer without what only training counts."""
    for each in quantizer.modules():
        for name in ("inited", "cluster_size", "embed_avg"):
            each._buffers.pop(name, None)
    return quantizer

"""EnCodec in chunks (Défossez et al. 2022, 2210.13438): the stereo model at 48 kHz.

Each chunk of a second is brought to one loudness and coded by itself; what it was divided by, its
scale, is a second level of codes: the four bytes of a float32, lowest first, so that nothing is
lost and its bits are counted. Neighbours overlap by a hundredth, where decoding fades. The last
chunk's codes are filled up with zeros, as the library does. The network is that of transformers.

Group norms see a whole chunk and chunks lie at fixed places, but a recording goes through whole:
``exact`` is False.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import ceil, prod
from typing import Any

import torch
from torch import Tensor, nn

from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.protocols import Halves, Tokenizer
from vqtok.tokenizers.published import _transformers, encodec
from vqtok.tokenizers.published._halves import Half
from vqtok.tokenizers.published._published import Levels
from vqtok.tokenizers.published._whole_audio import WholeAudioCodec


@dataclass(frozen=True)
class Config(encodec.Config):
    """Sizes of the network: those of the streamable form, and what chunks need.

    Attributes:
        num_quantizers: Q; 16 of 10 bits at 150 Hz are 24 kbit/s.
        sampling_rate: Hz.
        audio_channels: Channels that are coded together.
        chunk_length_s: Seconds of a chunk.
        overlap: Share of it that the next one has too.
        use_causal_conv: False: convolutions look ahead as far as back.
        norm_type: "time_group_norm" or "weight_norm".
        normalize: Whether chunks are brought to one loudness.
    """

    num_quantizers: int = 16
    sampling_rate: int = 48000
    audio_channels: int = 2
    chunk_length_s: float = 1.0
    overlap: float = 0.01
    use_causal_conv: bool = False
    norm_type: str = "time_group_norm"
    normalize: bool = True

    def __post_init__(self) -> None:
        if not (self.chunk_length_s > 0 and 0 <= self.overlap < 1):
            raise ValueError("chunk_length_s must be positive, and overlap in [0, 1)")
        if self.chunk_length_s * self.sampling_rate < prod(self.upsampling_ratios):
            raise ValueError("a chunk is shorter than one frame")

    @property
    def spec(self) -> CodeSpec:
        """Describe the codes."""
        chunk = int(self.chunk_length_s * self.sampling_rate)
        stride = (max(1, int((1.0 - self.overlap) * chunk)),)
        frames = ceil(chunk / prod(self.upsampling_ratios))
        size, depth = self.codebook_size, self.num_quantizers
        codes = LevelSpec("codes", ("q", "t"), size, stride, depth, frames)
        scales = LevelSpec("scale", ("t",), 256, stride, steps=4)
        return CodeSpec(
            modality="audio",
            levels=(codes, scales) if self.normalize else (codes,),
            rate=float(self.sampling_rate),
            channels=self.audio_channels,
        )

    def build(self, **context: Any) -> Tokenizer:
        """Make the tokenizer with fresh weights; needs the transformers package."""
        return WholeAudioCodec(self, Network(self))


class Network(encodec.Modules):
    """How a signal goes through the modules chunk by chunk."""

    decoding_parts: tuple[str, ...] = ()  # training hears one channel, and no chunks

    def __init__(self, config: Config) -> None:
        found = encodec.settings(asdict(config))
        super().__init__(found)
        self._chunk, self._stride = int(found.chunk_length), int(found.chunk_stride)
        self._hop, self._normalize = prod(config.upsampling_ratios), config.normalize
        self._frames, self._channels = ceil(self._chunk / self._hop), config.audio_channels

    def latents(self, x: Tensor) -> Tensor:
        """Maps (1, C, L) → (1, D, chunks · frames); zeros where the last chunk has no frames."""
        parts = []
        for chunk in self._chunks(x):
            z: Tensor = self.encoder(chunk / self._scale(chunk))
            parts.append(nn.functional.pad(z, (0, self._frames - z.shape[-1])))
        return torch.cat(parts, dim=-1)

    def codes(self, x: Tensor, z: Tensor) -> Levels:
        """Returns (1, Q, chunks · frames), and (1, chunks · 4) bytes of scales."""
        chunks = self._chunks(x)
        found = []
        for chunk, latents in zip(chunks, z.split(self._frames, dim=-1), strict=True):  # type: ignore[no-untyped-call]
            used = ceil(chunk.shape[-1] / self._hop)
            codes = self.quantizer.encode(latents[..., :used]).transpose(0, 1)
            found.append(nn.functional.pad(codes, (0, self._frames - used)))
        joined = torch.cat(found, dim=-1)
        if not self._normalize:
            return (joined,)
        scales = torch.cat([self._scale(chunk).flatten() for chunk in chunks])
        return joined, _bytes(scales)[None]

    def unquantize(self, levels: Levels) -> Tensor:
        """Maps (1, Q, T), or fewer stages → (1, D, T)."""
        z_q: Tensor = self.quantizer.decode(levels[0].transpose(0, 1))
        return z_q

    def render(self, z_q: Tensor, levels: Levels | None, length: int) -> Tensor:
        """Maps (1, D, T) → (1, C, length); without scales every chunk is as loud as was coded."""
        scales = torch.ones(z_q.shape[-1] // self._frames, device=z_q.device)
        if self._normalize and levels is not None:
            scales = _numbers(levels[1][0])
        heard = []
        for index, part in enumerate(z_q.split(self._frames, dim=-1)):  # type: ignore[no-untyped-call]
            left = length - index * self._stride
            used = ceil(min(left, self._chunk) / self._hop)
            heard.append(self.decoder(part[..., :used]) * scales[index])
        return _faded(heard, self._stride)[..., :length]

    def halves(self) -> Halves:
        """Give the networks, to be traced: of one chunk."""
        network = _transformers.traceable(self)

        def encode(x: Tensor) -> Levels:
            scale = network._scale(x)
            codes = network.quantizer.encode(network.encoder(x / scale)).transpose(0, 1)
            return (codes, _bytes_by_hand(scale[:, 0])) if network._normalize else (codes,)

        def decode(codes: Tensor, scale: Tensor | None = None) -> Tensor:
            y: Tensor = network.decoder(network.unquantize((codes,)))
            return y if scale is None else y * _number_by_hand(scale)[..., None]

        return Halves(
            Half(network, encode),
            Half(network, decode),
            channels=self._channels,
            multiple=self._hop,
            fill="zeros",
            longest=self._chunk,
            step=self._stride,
        )

    def _chunks(self, x: Tensor) -> list[Tensor]:
        starts = range(0, x.shape[-1], self._stride)
        return [x[..., start : start + self._chunk] for start in starts]

    def _scale(self, chunk: Tensor) -> Tensor:
        """Returns what a chunk is divided by: (1, 1, 1)."""
        if not self._normalize:
            return torch.ones(1, 1, 1, device=chunk.device)
        mono = torch.sum(chunk, 1, keepdim=True) / chunk.shape[1]
        return mono.pow(2).mean(dim=-1, keepdim=True).sqrt() + 1e-8


def _faded(parts: list[Tensor], stride: int) -> Tensor:
    """Join (1, C, n) parts that begin every ``stride`` samples, each under a triangle.

    The library's arithmetic, but for a last part that ends before the one before it: there the
    library fails.
    """
    first = parts[0]
    total = max(index * stride + part.shape[-1] for index, part in enumerate(parts))
    times = torch.linspace(0, 1, first.shape[-1] + 2, device=first.device, dtype=first.dtype)[1:-1]
    weight = 0.5 - (times - 0.5).abs()
    out = first.new_zeros(*first.shape[:-1], total)
    weights = first.new_zeros(total)
    for index, part in enumerate(parts):
        part_of = slice(index * stride, index * stride + part.shape[-1])
        share = weight[: part.shape[-1]]
        out[..., part_of] += share * part
        weights[part_of] += share
    return out / weights


def _bytes(numbers: Tensor) -> Tensor:
    """Maps (n,) float32 → int64 (4n,) in [0, 255], lowest byte first on any machine."""
    whole = numbers.float().contiguous().view(torch.int32).long() & 0xFFFFFFFF
    shifts = torch.arange(0, 32, 8, device=numbers.device)
    return ((whole[:, None] >> shifts) & 0xFF).flatten()


def _numbers(found: Tensor) -> Tensor:
    """Returns what ``_bytes`` was given; what is no number of a loudness becomes silence."""
    shifts = torch.arange(0, 32, 8, device=found.device)
    whole = (found.view(-1, 4) << shifts).sum(dim=1)
    signed = torch.where(whole >= 1 << 31, whole - (1 << 32), whole).to(torch.int32)
    return signed.view(torch.float32).nan_to_num(0.0, 0.0, 0.0)


_POWERS = 2.0 ** torch.arange(-126, 128)
_ONE = 1 << 23
"""Of the fraction of a float32: its exponent begins there."""


def _bytes_by_hand(numbers: Tensor) -> Tensor:
    """Maps (B, 1) float32 above zero → int64 (B, 4), as ``_bytes`` does, by operators of ONNX."""
    exponent = (numbers >= _POWERS.to(numbers.device)).sum(dim=-1, keepdim=True).clamp(min=1)
    fraction = numbers / _POWERS.to(numbers.device)[exponent - 1] - 1  # exact
    whole = exponent * _ONE + (fraction * _ONE).long()
    return whole // 256 ** torch.arange(4, device=numbers.device) % 256


def _number_by_hand(found: Tensor) -> Tensor:
    """Maps int64 (B, 4) → (B, 1) float32, as ``_numbers`` does, but for the very smallest."""
    whole = (found * 256 ** torch.arange(4, device=found.device)).sum(dim=-1, keepdim=True)
    sign, exponent = 1 - whole // (1 << 31) * 2, whole // _ONE % 256
    power = _POWERS.to(found.device)[exponent.clamp(1, 254) - 1]
    number = sign * power * (1 + (whole % _ONE).float() / _ONE)
    return torch.where((exponent > 0) & (exponent < 255), number, torch.zeros_like(number))

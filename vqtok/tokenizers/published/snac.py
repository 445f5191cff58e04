"""SNAC (Siuzdak et al. 2024, 2410.14411): residual codes at several rates, coarse to fine.

Re-stated from the published code; the norms of weights are folded in, and the noise in the decoder
is drawn from a fixed seed for each signal, so that the same codes give the same sound. Signals are
padded to whole stretches of codes, as upstream does; decoded ones get their length back. Of local
attention the windows lie at fixed places, but recordings go through whole: ``exact`` is False.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import lcm, prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.protocols import Halves, Tokenizer
from vqtok.tokenizers.published._halves import Half
from vqtok.tokenizers.published._published import Levels
from vqtok.tokenizers.published._snac import Down, LocalAttention, Noise, Snake, Stage, Up
from vqtok.tokenizers.published._whole_audio import WholeAudioCodec

NOISE_SEED = 0


@dataclass(frozen=True)
class Config:
    """Sizes; keys, meanings and defaults are those of the published class.

    Attributes:
        sampling_rate: Hz.
        encoder_dim: Channels at the sampling rate; doubled with each stride.
        encoder_rates: Strides; the product is the hop.
        latent_dim: D; None: what the encoder ends with, and nothing else works.
        decoder_dim: Channels at frame rate; halved with each stride.
        decoder_rates: Strides of the decoder.
        attn_window_size: Frames of local attention; None: no attention.
        codebook_size: K of each level.
        codebook_dim: Of an entry.
        vq_strides: Frames per code of each level, coarse to fine; each divides the first.
        noise: Whether the decoder adds noise.
        depthwise: Whether convolutions of the blocks are depthwise.
    """

    sampling_rate: int = 44100
    encoder_dim: int = 64
    encoder_rates: tuple[int, ...] = (3, 3, 7, 7)
    latent_dim: int | None = None
    decoder_dim: int = 1536
    decoder_rates: tuple[int, ...] = (7, 7, 3, 3)
    attn_window_size: int | None = 32
    codebook_size: int = 4096
    codebook_dim: int = 8
    vq_strides: tuple[int, ...] = (8, 4, 2, 1)
    noise: bool = True
    depthwise: bool = True

    def __post_init__(self) -> None:
        width = self.encoder_dim << len(self.encoder_rates)
        if self.latent_dim not in (None, width):
            raise ValueError(f"latent_dim {self.latent_dim} is not {width}, as the encoder gives")
        if prod(self.encoder_rates) != prod(self.decoder_rates):
            raise ValueError("encoder_rates and decoder_rates have different products")
        strides = self.vq_strides
        if not strides or any(each < 1 or strides[0] % each for each in strides):
            raise ValueError("vq_strides do not divide the first of them")

    @property
    def hop(self) -> int:
        """Samples per frame."""
        return prod(self.encoder_rates)

    @property
    def stretch(self) -> int:
        """Frames that signals are padded to multiples of."""
        return lcm(self.vq_strides[0], self.attn_window_size or 1)

    @property
    def spec(self) -> CodeSpec:
        """Describe the codes."""
        levels = tuple(
            LevelSpec(
                name=f"codes{index}",
                axes=("t",),
                codebook_size=self.codebook_size,
                stride=(self.hop * self.stretch,),
                steps=self.stretch // stride,
            )
            for index, stride in enumerate(self.vq_strides)
        )
        return CodeSpec(modality="audio", levels=levels, rate=float(self.sampling_rate))

    def build(self, **context: Any) -> Tokenizer:
        """Make the tokenizer with fresh weights."""
        return WholeAudioCodec(self, Network(self))


class Network(nn.Module):
    """The encoder, one quantizer per level, and the decoder."""

    decoding_parts = ("decoder",)

    def __init__(self, config: Config) -> None:
        super().__init__()
        self._hop, self._rates = config.hop, config.decoder_rates
        self._multiple = config.hop * config.stretch
        self.encoder, self.decoder = _encoder(config), _decoder(config)
        dim = config.encoder_dim << len(config.encoder_rates)
        sizes = {"codebook_size": config.codebook_size, "codebook_dim": config.codebook_dim}
        stages = [Stage(dim, stride=stride, **sizes) for stride in config.vq_strides]
        self.quantizer = nn.ModuleDict({"quantizers": nn.ModuleList(stages)})

    def latents(self, x: Tensor) -> Tensor:
        """Maps (1, 1, L) → (1, D, T), T a multiple of the longest stretch."""
        z: Tensor = self.encoder(F.pad(x, (0, -x.shape[-1] % self._multiple)))
        return z

    def codes(self, x: Tensor, z: Tensor) -> Levels:
        """Returns (1, T_i) of each level."""
        found = []
        for stage in self._stages():
            codes, z_q = stage.assign(z)
            z = z - z_q
            found.append(codes)
        return tuple(found)

    def unquantize(self, levels: Levels) -> Tensor:
        """Maps (1, T_i) of each level → (1, D, T)."""
        total: Tensor | float = 0.0
        for stage, codes in zip(self._stages(), levels, strict=True):
            total = total + stage.decode(codes)
        return torch.as_tensor(total)

    def halves(self) -> Halves:
        """Give the networks, to be traced; noise is handed to the decoder."""
        places = [each for each in self.decoder.modules() if isinstance(each, Noise)]
        rates, count = self._rates, len(self._stages())
        density = [self._multiple // prod(rates[index + 1 :]) for index in range(len(rates))]
        density = density[: len(places)]

        def encode(x: Tensor) -> Levels:
            return self.codes(x, self.encoder(x))

        def decode(*given: Tensor) -> Tensor:
            for place, noise in zip(places, given[count:], strict=True):
                place.given = noise
            try:
                y: Tensor = self.decoder(self.unquantize(given[:count]))
            finally:
                for place in places:
                    place.given = None
            return y

        def noise(levels: Levels) -> Levels:
            blocks = levels[0].shape[-1] * self._stages()[0].stride * self._hop // self._multiple
            with self._drawing(levels[0].device):
                return tuple(torch.randn(1, 1, blocks * each) for each in density)

        return Halves(
            Half(self, encode),
            Half(self, decode),
            channels=1,
            multiple=self._multiple,
            fill="zeros",
            noise=noise if places else None,
            density=tuple(density),
        )

    def _stages(self) -> list[Stage]:
        stages: Any = self.quantizer["quantizers"]
        return list(stages)

    def render(self, z_q: Tensor, levels: Levels | None, length: int) -> Tensor:
        """Maps (1, D, T) → (1, 1, length)."""
        with self._drawing(z_q.device):
            y: Tensor = self.decoder(z_q)
        return y[..., :length]

    @contextmanager
    def _drawing(self, device: torch.device) -> Iterator[None]:
        """Draw the same random numbers each time, and leave the caller's alone."""
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(NOISE_SEED)
            yield


def _encoder(config: Config) -> nn.Module:
    dim = config.encoder_dim
    layers: list[nn.Module] = [nn.Conv1d(1, dim, 7, padding=3)]
    for stride in config.encoder_rates:
        layers.append(Down(dim, stride, depthwise=config.depthwise))
        dim *= 2
    if config.attn_window_size is not None:
        layers.append(LocalAttention(dim, config.attn_window_size))
    layers.append(nn.Conv1d(dim, dim, 7, padding=3, groups=dim if config.depthwise else 1))
    return _Through(nn.Sequential(*layers), "block")


def _decoder(config: Config) -> nn.Module:
    latent, dim = config.encoder_dim << len(config.encoder_rates), config.decoder_dim
    layers: list[nn.Module] = [nn.Conv1d(latent, dim, 7, padding=3)]
    if config.depthwise:
        layers = [nn.Conv1d(latent, latent, 7, padding=3, groups=latent), nn.Conv1d(latent, dim, 1)]
    if config.attn_window_size is not None:
        layers.append(LocalAttention(dim, config.attn_window_size))
    for stride in config.decoder_rates:
        layers.append(Up(dim, stride, noise=config.noise, depthwise=config.depthwise))
        dim //= 2
    layers += [Snake(dim), nn.Conv1d(dim, 1, 7, padding=3), nn.Tanh()]
    return _Through(nn.Sequential(*layers), "model")


class _Through(nn.Module):
    """Layers under the name that their weights were published with."""

    def __init__(self, layers: nn.Module, name: str) -> None:
        super().__init__()
        self.add_module(name, layers)
        self._layers_name = name

    def forward(self, x: Tensor) -> Tensor:
        """Returns what the layers make of x."""
        y: Tensor = self.get_submodule(self._layers_name)(x)
        return y

"""Encode and decode audio with codecs that take a signal whole, and give levels of codes."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Protocol

import torch
from torch import Tensor

from vqtok.codes.container import Codes
from vqtok.nn.undisturbed import held_still, undisturbed
from vqtok.protocols import Halves, Label, Reconstructed, SpecConfig
from vqtok.tokenizers.published._published import Levels, Published


class Network(Protocol):
    """What a family defines; a module. Signals are (1, C, L), of any length."""

    @property
    def decoding_parts(self) -> tuple[str, ...]:
        """Submodules that decoding alone uses; empty: they cannot be trained here."""

    def halves(self) -> Halves:
        """Gives the networks, to be traced."""

    def latents(self, x: Tensor) -> Tensor:
        """Returns what the quantizer is given: (1, D, T)."""

    def codes(self, x: Tensor, z: Tensor) -> Levels:
        """Codes of each level, (1, *axes), of a signal and its latents."""

    def unquantize(self, levels: Levels) -> Tensor:
        """Returns (1, D, T) of codes."""

    def render(self, z_q: Tensor, levels: Levels | None, length: int) -> Tensor:
        """Returns (1, C, length) of latents; ``levels`` for what they say beside them, if known."""


class WholeAudioCodec(Published):
    """Audio ⇄ codes of several levels.

    Its networks look at more of the signal than tiles could hold, so that recordings go through
    whole, in memory that grows with them: ``exact`` is False.
    """

    def __init__(self, config: SpecConfig, network: Network) -> None:
        super().__init__(config, channels=config.spec.channels)
        self.network = network
        self.decoding_parts = tuple(f"network.{name}" for name in network.decoding_parts)

    @undisturbed
    def latents(self, x: Tensor) -> Tensor:
        """Compute what is quantized: (B, C, L) → (B, D, T) float32."""
        return torch.cat([self.network.latents(self._checked(item[None])) for item in x])

    @undisturbed
    def render(self, z_q: Tensor, extent: tuple[int, ...], *, label: Label = None) -> Tensor:
        """Decode (B, D, T) float32 to (B, C, extent[0])."""
        self.labels.number(label)
        self._require_decoder()
        return torch.cat([self.network.render(z[None], None, extent[0]) for z in z_q])

    def forward(self, x: Tensor, *, labels: Tensor | None = None) -> Reconstructed:
        """Reconstruct a batch differentiably, straight through the codes; x is (B, C, L).

        The loss is the commitment term: what remains of the latents after all stages. In training
        mode only the decoder learns: codes are made as ``encode`` makes them.
        """
        self._require_decoder()
        length, audio, columns, losses = int(x.shape[-1]), [], [], []
        for item in x:
            signal = self._checked(item[None])
            with held_still() if self.training else nullcontext():
                z = self.network.latents(signal)
                levels = self.network.codes(signal, z.detach())
                z_q = self.network.unquantize(levels)
            losses.append((z - z_q.detach()).square().mean())
            entered = z_q if self.training else z + (z_q - z).detach()
            audio.append(self.network.render(entered, levels, length))
            columns.append(levels)
        loss = torch.stack(losses).mean()
        joined = tuple(map(torch.cat, zip(*columns, strict=True)))
        codes = Codes(self.spec, joined, (length,))
        return Reconstructed(torch.cat(audio), codes, loss, {"commitment": loss.detach()})

    def halves(self) -> Halves:
        """Give the networks, to be traced."""
        return self.network.halves()

    def _encode(self, x: Tensor) -> Levels:
        return self.network.codes(x, self.network.latents(x))

    def _decode(self, levels: Levels, extent: tuple[int, ...]) -> Tensor:
        return self.network.render(self.network.unquantize(levels), levels, extent[0])

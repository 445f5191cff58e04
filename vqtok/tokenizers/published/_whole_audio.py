"""Encode and decode audio with codecs that take a signal whole, and give levels of codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec
from vqtok.nn.undisturbed import undisturbed
from vqtok.protocols import Config, Label, RecomputeStats, Reconstructed
from vqtok.tokenizers import _given
from vqtok.tokenizers._labels import Labels
from vqtok.tokenizers._signals import check_audio, joined

if TYPE_CHECKING:
    from vqtok.protocols import GivenCodes, Signal

Levels = tuple[Tensor, ...]


class Network(Protocol):
    """What a family defines; a module. Signals are (1, C, L), of any length."""

    spec: CodeSpec

    def latents(self, x: Tensor) -> Tensor:
        """Returns what the quantizer is given: (1, D, T)."""
        ...

    def codes(self, x: Tensor, z: Tensor) -> Levels:
        """Codes of each level, (1, *axes), of a signal and its latents."""
        ...

    def unquantize(self, levels: Levels) -> Tensor:
        """Returns (1, D, T) of codes."""
        ...

    def render(self, z_q: Tensor, levels: Levels | None, length: int) -> Tensor:
        """Returns (1, C, length) of latents; ``levels`` for what they say beside them, if known."""
        ...


class WholeAudioCodec(nn.Module):
    """Audio ⇄ codes of several levels.

    Its networks look at more of the signal than tiles could hold, so that recordings go through
    whole, in memory that grows with them: ``exact`` is False.
    """

    def __init__(self, config: Config, network: Network) -> None:
        super().__init__()
        self.config = config
        self.name = ""
        self.exact = False
        self.labels = Labels(())
        self.recompute_stats = RecomputeStats()
        self.network = network
        self.spec = network.spec

    def encode(self, x: Signal) -> Codes:
        """Encode audio, each item by itself.

        Args:
            x: (B, C, L) float32 in [-1, 1] at ``spec.rate`` Hz, C = ``spec.channels``, L ≥ 1; or
                as ``Tokenizer`` says.

        Raises:
            UsageError: another shape, or values that are not finite or far from [-1, 1].
        """
        return joined(self.encode_many(list(_given.audio(x, self.spec.channels))))

    @undisturbed
    def encode_many(self, signals: Sequence[Tensor]) -> list[Codes]:
        """Encode signals of any lengths, (C, L) each, each by itself."""
        found = []
        for x in signals:
            item = self._checked(x[None])
            levels = self.network.codes(item, self.network.latents(item))
            found.append(Codes(self.spec, levels, (int(x.shape[-1]),)))
        return found

    @undisturbed
    def decode(
        self, codes: GivenCodes, *, extent: tuple[int, ...] | None = None, label: Label = None
    ) -> Tensor:
        """Decode to (B, C, L) float32 at ``spec.rate`` Hz, unclipped as the published code does."""
        self.labels.number(label)
        codes = _given.codes(codes, self.spec, extent)
        parts = []
        for item in range(len(codes)):
            levels = tuple(
                torch.as_tensor(level[item : item + 1]).to(self._device(), torch.int64)
                for level in codes.levels
            )
            z_q = self.network.unquantize(levels)
            parts.append(self.network.render(z_q, levels, codes.extent[0]))
        return torch.cat(parts)

    @undisturbed
    def latents(self, x: Tensor) -> Tensor:
        """Compute what is quantized: (B, C, L) → (B, D, T) float32."""
        return torch.cat([self.network.latents(self._checked(item[None])) for item in x])

    @undisturbed
    def render(self, z_q: Tensor, extent: tuple[int, ...], *, label: Label = None) -> Tensor:
        """Decode (B, D, T) float32 to (B, C, extent[0])."""
        self.labels.number(label)
        return torch.cat([self.network.render(z[None], None, extent[0]) for z in z_q])

    def forward(self, x: Tensor, *, labels: Tensor | None = None) -> Reconstructed:
        """Reconstruct a batch differentiably, straight through the codes; x is (B, C, L).

        The loss is the commitment term: what remains of the latents after all stages.
        """
        length, audio, columns, losses = int(x.shape[-1]), [], [], []
        for item in x:
            signal = self._checked(item[None])
            z = self.network.latents(signal)
            levels = self.network.codes(signal, z.detach())
            z_q = self.network.unquantize(levels)
            losses.append((z - z_q.detach()).square().mean())
            audio.append(self.network.render(z + (z_q - z).detach(), levels, length))
            columns.append(levels)
        loss = torch.stack(losses).mean()
        joined = tuple(map(torch.cat, zip(*columns, strict=True)))
        codes = Codes(self.spec, joined, (length,))
        return Reconstructed(torch.cat(audio), codes, loss, {"commitment": loss.detach()})

    def _checked(self, x: Tensor) -> Tensor:
        check_audio(x, self.spec.channels)
        return x.to(self._device(), torch.float32)

    def _device(self) -> torch.device:
        return next(self.parameters()).device

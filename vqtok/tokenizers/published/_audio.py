"""Wrap published audio codecs as tokenizers: their networks inside, our contract outside.

Each signal goes through the network alone, so that codes do not depend on the batch. Where the
network is local or carries a state, long signals go through in tiles at fixed places, whole ones
too: what arrives together changes nothing. A signal of one tile meets the very operations of the
published code; in longer ones latents may differ from those of one pass in the last bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.nn.undisturbed import held_still, undisturbed
from vqtok.protocols import Halves, Label, Reconstructed, SpecConfig
from vqtok.tokenizers._signals import check_signals, concatenated
from vqtok.tokenizers.exact.tiling1d import segments
from vqtok.tokenizers.published._halves import Half
from vqtok.tokenizers.published._published import Levels, Published

Pass = Callable[[Tensor, int, int], Tensor]
"""(window, skip, own) of one signal's tiles in their order, counted in frames → what is their own.
"""


def residual(size: int, depth: int, *, hop: int, rate: float) -> CodeSpec:
    """Describe one level of Q codes of K entries for every ``hop`` samples."""
    level = LevelSpec("codes", ("q", "t"), size, (hop,), depth)
    return CodeSpec(modality="audio", levels=(level,), rate=float(rate))


class Network(Protocol):
    """Encoder, residual quantizer and decoder of a published codec; a module."""

    hop: int
    """Samples per frame."""
    tile: int | None
    """Frames that one tile owns; None: the network looks at the whole signal."""
    encoder_receptive_field: tuple[int, int]
    """Frames before and after one that change its latent."""
    decoder_receptive_field: tuple[int, int]

    @property
    def decoding_parts(self) -> tuple[str, ...]:
        """Submodules that decoding alone uses."""

    def encoding(self) -> Pass:
        """Maps (1, 1, n) windows of a signal, n ≤ frames · hop → (1, D, own) latents."""

    def decoding(self) -> Pass:
        """Maps (1, D, n) windows of latents → (1, 1, own · hop) samples, no earlier or later."""

    def quantize(self, z: Tensor) -> Tensor:
        """Maps (1, D, T) → int64 (1, Q, T)."""

    def unquantize(self, codes: Tensor) -> Tensor:
        """Maps (1, Q, T), or fewer stages → (1, D, T)."""

    def traceable(self) -> Network:
        """Returns it, or a copy, in a form that tracing fixes to no length."""


class AudioCodec(Published):
    """Mono audio ⇄ residual codes; channels of a recording are coded one by one.

    As the published code does, it does not clip: loud samples may lie outside [-1, 1].

    Args:
        config: That builds it.
        network: A module.
    """

    def __init__(self, config: SpecConfig, network: Network) -> None:
        super().__init__(config, exact=network.tile is not None)
        self.network = network
        self.decoding_parts = tuple(f"network.{name}" for name in network.decoding_parts)

    @undisturbed
    def encode_stream(self, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Encode audio that arrives in blocks; memory stays flat if the model is exact."""
        for z in self._latents(blocks):
            yield torch.cat([self.network.quantize(item[None]) for item in z])

    @undisturbed
    def decode_stream(
        self, pieces: Iterable[Tensor], length: int | None = None, *, label: Label = None
    ) -> Iterator[Tensor]:
        """Decode codes that arrive in pieces; memory stays flat if the model is exact."""
        self.labels.number(label)
        given = 0
        for samples in self._render(pieces, quantized=True):
            left = samples.shape[-1] if length is None else length - given
            yield samples[..., :left]
            given += samples.shape[-1]

    @undisturbed
    def latents(self, x: Tensor) -> Tensor:
        """Compute what is quantized: (B, 1, L) → (B, D, T) float32, T = ceil(L / hop)."""
        check_signals(x, "audio")
        return torch.cat(list(self._latents([x])), dim=-1)

    @undisturbed
    def render(self, z_q: Tensor, extent: tuple[int, ...], *, label: Label = None) -> Tensor:
        """Decode (B, D, T) float32 to (B, 1, extent[0])."""
        self.labels.number(label)
        return torch.cat(list(self._render([z_q], quantized=False)), dim=-1)[..., : extent[0]]

    def forward(self, x: Tensor, *, labels: Tensor | None = None) -> Reconstructed:
        """Reconstruct a batch differentiably, straight through the codes; x is (B, 1, L).

        The loss is the commitment term: what remains of the latents after all stages. In training
        mode only the decoder learns, of whole batches.
        """
        check_signals(x, "audio")
        if self.training:
            return self._decoded(x)
        z = torch.cat(list(self._latents([x])), dim=-1)
        codes = torch.cat([self.network.quantize(item[None]) for item in z.detach()])
        z_q = torch.cat([self.network.unquantize(item[None]) for item in codes])
        commitment = F.mse_loss(z, z_q.detach())
        y = torch.cat(list(self._render([z + (z_q - z).detach()], quantized=False)), dim=-1)
        length = int(x.shape[-1])
        return Reconstructed(
            y[..., :length],
            Codes(self.spec, (codes,), (length,)),
            commitment,
            {"commitment": commitment.detach()},
        )

    def _decoded(self, x: Tensor) -> Reconstructed:
        """Encode a batch without gradients, then decode it differentiably, each in one pass."""
        network, length = self.network, int(x.shape[-1])
        frames = -(-length // network.hop)
        with held_still():
            codes = network.quantize(network.encoding()(x.float(), 0, frames))
            z_q = network.unquantize(codes)
        y = network.decoding()(z_q, 0, frames)[..., :length]
        return Reconstructed(y, Codes(self.spec, (codes,), (length,)), y.new_zeros(()))

    def halves(self) -> Halves:
        """Give the networks, to be traced."""
        network = self.network.traceable()

        def encode(x: Tensor) -> Levels:
            z = network.encoding()(x, 0, x.shape[-1] // network.hop)
            return (network.quantize(z),)

        def decode(codes: Tensor) -> Tensor:
            return network.decoding()(network.unquantize(codes), 0, codes.shape[-1])

        module = cast(nn.Module, network)
        return Halves(
            Half(module, encode),
            Half(module, decode),
            channels=1,
            multiple=network.hop,
            fill="zeros",
        )

    def _encode(self, x: Tensor) -> Levels:
        return (torch.cat(list(self.encode_stream([x])), dim=-1),)

    def _decode(self, levels: Levels, extent: tuple[int, ...]) -> Tensor:
        return torch.cat(list(self.decode_stream(levels, extent[0])), dim=-1)

    def _latents(self, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Maps (B, 1, n) samples → (B, D, t)."""
        network, hop = self.network, self.network.hop
        own = None if network.tile is None else network.tile * hop
        past, ahead = (frames * hop for frames in network.encoder_receptive_field)
        passes: list[Pass] = []
        for segment in segments(blocks, join=concatenated, own=own, past=past, ahead=ahead):
            window = segment.window.to(self._device(), torch.float32)
            passes = passes or [network.encoding() for _ in window]
            frames = -(-segment.own // hop)
            each = zip(passes, torch.split(window, 1), strict=True)
            yield torch.cat([run(item, segment.skip // hop, frames) for run, item in each])

    def _render(self, pieces: Iterable[Tensor], *, quantized: bool) -> Iterator[Tensor]:
        """Maps (B, Q, t) codes or (B, D, t) latents → (B, 1, n) samples."""
        network = self.network
        past, ahead = network.decoder_receptive_field
        passes: list[Pass] = []
        for segment in segments(
            pieces, join=concatenated, own=network.tile, past=past, ahead=ahead
        ):
            window = segment.window.to(self._device())
            passes = passes or [network.decoding() for _ in window]
            parts = []
            for run, item in zip(passes, torch.split(window, 1), strict=True):
                z_q = network.unquantize(item) if quantized else item
                parts.append(run(z_q, segment.skip, segment.own))
            yield torch.cat(parts)

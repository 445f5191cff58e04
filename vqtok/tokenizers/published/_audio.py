"""Wrap published audio codecs as tokenizers: their networks inside, our contract outside.

Each signal goes through the network alone, so that codes do not depend on the batch. Where the
network is local or carries a state, long signals go through in tiles at fixed places, whole ones
too: what arrives together changes nothing. A signal of one tile meets the very operations of the
published code; in longer ones latents may differ from those of one pass in the last bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.nn.undisturbed import undisturbed
from vqtok.protocols import Config, Label, RecomputeStats, Reconstructed
from vqtok.tokenizers import _given
from vqtok.tokenizers._labels import Labels
from vqtok.tokenizers._signals import check_audio, concatenated, joined
from vqtok.tokenizers.exact.tiling1d import segments

if TYPE_CHECKING:
    from vqtok.protocols import GivenCodes, Signal

Pass = Callable[[Tensor, int, int], Tensor]
"""(window, skip, own) of one signal's tiles in their order, counted in frames → what is their own.
"""


class Network(Protocol):
    """Encoder, residual quantizer and decoder of a published codec; a module."""

    rate: int
    """Hz."""
    hop: int
    """Samples per frame."""
    depth: int
    codebook_size: int
    tile: int | None
    """Frames that one tile owns; None: the network looks at the whole signal."""
    encoder_receptive_field: tuple[int, int]
    """Frames before and after one that change its latent."""
    decoder_receptive_field: tuple[int, int]

    def encoding(self) -> Pass:
        """Maps (1, 1, n) windows of a signal, n ≤ frames · hop → (1, D, own) latents."""
        ...

    def decoding(self) -> Pass:
        """Maps (1, D, n) windows of latents → (1, 1, own · hop) samples, no earlier or later."""
        ...

    def quantize(self, z: Tensor) -> Tensor:
        """Maps (1, D, T) → int64 (1, Q, T)."""
        ...

    def unquantize(self, codes: Tensor) -> Tensor:
        """Maps (1, Q, T), or fewer stages → (1, D, T)."""
        ...


class AudioCodec(nn.Module):
    """Mono audio ⇄ residual codes; channels of a recording are coded one by one.

    Args:
        config: That builds it.
        network: A module.
    """

    def __init__(self, config: Config, network: Network) -> None:
        super().__init__()
        self.config = config
        self.name = ""
        self.exact = network.tile is not None
        self.labels = Labels(())
        self.recompute_stats = RecomputeStats()
        self.network = network
        level = LevelSpec(
            name="codes",
            axes=("q", "t"),
            codebook_size=network.codebook_size,
            stride=(network.hop,),
            depth=network.depth,
        )
        self.spec = CodeSpec(modality="audio", levels=(level,), rate=float(network.rate))

    def encode(self, x: Signal) -> Codes:
        """Encode audio with all stages, each item by itself.

        Args:
            x: (B, 1, L) float32 in [-1, 1] at ``spec.rate`` Hz, L ≥ 1; or as ``Tokenizer`` says.

        Returns:
            Codes of one level: int64 (B, Q, T), T = ceil(L / hop).

        Raises:
            UsageError: x is not mono audio with finite values around [-1, 1].
        """
        return joined(self.encode_many(list(_given.audio(x))))

    def encode_many(self, signals: Sequence[Tensor]) -> list[Codes]:
        """Encode signals of any lengths, (1, L) each, by themselves."""
        found = []
        for x in signals:
            check_audio(x[None])
            codes = torch.cat(list(self.encode_stream([x[None]])), dim=-1)
            found.append(Codes(self.spec, (codes,), (int(x.shape[-1]),)))
        return found

    @undisturbed
    def encode_stream(self, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Encode audio that arrives in blocks; memory stays flat if the model is exact.

        Args:
            blocks: (B, 1, n) float32 pieces of any lengths, in order.

        Yields:
            int64 (B, Q, t) pieces; joined they are what ``encode`` gives for the joined blocks.
        """
        for z in self._latents(blocks):
            yield torch.cat([self.network.quantize(item[None]) for item in z])

    def decode(
        self, codes: GivenCodes, *, extent: tuple[int, ...] | None = None, label: Label = None
    ) -> Tensor:
        """Decode to (B, 1, L) float32 at ``spec.rate`` Hz, L samples of the extent.

        As the published code does, it does not clip: loud samples may lie outside [-1, 1].
        """
        codes = _given.codes(codes, self.spec, extent)
        array = torch.as_tensor(codes.levels[0], dtype=torch.int64)
        return torch.cat(list(self.decode_stream([array], codes.extent[0], label=label)), dim=-1)

    @undisturbed
    def decode_stream(
        self, pieces: Iterable[Tensor], length: int | None = None, *, label: Label = None
    ) -> Iterator[Tensor]:
        """Decode codes that arrive in pieces; memory stays flat if the model is exact.

        Args:
            pieces: int64 (B, Q, t) of any lengths, in order.
            length: L, samples to give in total; None: all that the codes stand for, t · hop.
            label: None: these models have no labels.

        Yields:
            (B, 1, n) float32 pieces.
        """
        self.labels.number(label)
        given = 0
        for samples in self._render(pieces, quantized=True):
            left = samples.shape[-1] if length is None else length - given
            yield samples[..., :left]
            given += samples.shape[-1]

    @undisturbed
    def latents(self, x: Tensor) -> Tensor:
        """Compute what is quantized: (B, 1, L) → (B, D, T) float32, T = ceil(L / hop).

        Raises:
            UsageError: x is not mono audio.
        """
        check_audio(x)
        return torch.cat(list(self._latents([x])), dim=-1)

    @undisturbed
    def render(self, z_q: Tensor, extent: tuple[int, ...], *, label: Label = None) -> Tensor:
        """Decode (B, D, T) float32 to (B, 1, extent[0])."""
        self.labels.number(label)
        return torch.cat(list(self._render([z_q], quantized=False)), dim=-1)[..., : extent[0]]

    def forward(self, x: Tensor, *, labels: Tensor | None = None) -> Reconstructed:
        """Reconstruct a batch differentiably, straight through the codes; x is (B, 1, L).

        The loss is the commitment term: what remains of the latents after all stages.
        """
        check_audio(x)
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

    def _device(self) -> torch.device:
        return next(self.parameters()).device

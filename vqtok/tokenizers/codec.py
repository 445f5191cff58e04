"""Code audio with a causal spectral codec: STFT → ConvNeXt → codes → ConvNeXt → inverse STFT.

The shape of Vocos (arXiv:2306.00814), whose head gives log-magnitude and phase, and of FunCodec's
frequency-domain codec (arXiv:2309.07405), with SoundStream's residual quantizer (arXiv:2107.03312).
Differences: every layer looks back only, and the input is the power-compressed complex spectrum, or
mel bands. Working at frame rate makes it several times cheaper than convolving at sample rate.

Encoding and decoding run over segments at absolute frame positions with the left context that the
networks see, so the codes do not depend on how the samples arrive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.codes.container import Codes
from vqtok.codes.spec import CodeSpec
from vqtok.graphs.graph import Value, Weight
from vqtok.graphs.store import Graphs
from vqtok.nn.convnext import Block, ChannelNorm, Pointwise
from vqtok.nn.spectral import Spectrum, from_polar
from vqtok.nn.undisturbed import undisturbed
from vqtok.protocols import AudioTokenizer, Label, Quantizer, RecomputeStats, Reconstructed
from vqtok.protocols import Config as AnyConfig
from vqtok.tokenizers import _given
from vqtok.tokenizers._graphs import Builder, conditioned_blocks
from vqtok.tokenizers._labels import ConditionedBlocks, Labels, check_names
from vqtok.tokenizers._quantizers import dequantize, described, level_specs, of_levels, quantize
from vqtok.tokenizers._signals import check_signals, concatenated
from vqtok.tokenizers._spectral import FrontEnd, Mel, check_bands
from vqtok.tokenizers.exact.audio import AudioEncoder
from vqtok.tokenizers.exact.tiling1d import segments

if TYPE_CHECKING:
    from vqtok.protocols import GivenCodes, Signal

TILE = 750
"""Frames of a segment: 10 s at 75 Hz."""

QUIET = -4.0
"""Log-magnitude that an untrained decoder gives."""


@dataclass(frozen=True)
class Config:
    """Sizes of the codec.

    Attributes:
        quantizer: Any member of ``quantizers/``; "quantizers/rvq" gives a depth to choose from.
        rate: Hz of the audio inside.
        frame: Samples per STFT frame; a multiple of ``hop``, two hops at least.
        hop: Samples per code frame: rate / hop frames a second.
        width: Channels of the blocks.
        encoder_blocks: Blocks before the quantizer.
        decoder_blocks: Blocks after it.
        kernel: Frames that one block's depthwise window sees, itself and the past.
        latent: D, dimension that is quantised.
        labels: Names of speakers, one of which conditions the decoder; none: it has no condition.
        told: Where a label enters the decoder: at its "input", or more strongly in all "blocks".
        mel: Bands that the encoder reads; None: it reads all bins with their phases.
    """

    quantizer: AnyConfig
    rate: int = 24000
    frame: int = 640
    hop: int = 320
    width: int = 256
    encoder_blocks: int = 4
    decoder_blocks: int = 6
    kernel: int = 7
    latent: int = 32
    labels: tuple[str, ...] = ()
    told: Literal["input", "blocks"] = "input"
    mel: Mel | None = None

    def __post_init__(self) -> None:
        if self.hop < 1 or self.frame % self.hop or self.frame < 2 * self.hop:
            raise ValueError(f"frame {self.frame} is not a multiple of hop {self.hop}, from two on")
        check_names(self.labels)
        check_bands(self.mel, frame=self.frame, rate=self.rate)

    def build(self, **context: Any) -> AudioTokenizer:
        """Make the tokenizer with fresh weights."""
        return Codec(self)


class Codec(nn.Module):
    """Mono audio ⇄ code frames; channels of a recording are coded one by one.

    Methods are those of ``protocols.AudioTokenizer`` and ``TrainableTokenizer``; codes are (B, T),
    or (B, Q, T) if the quantizer has a depth, T = ceil(L / hop).
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config: AnyConfig = config
        self.name = ""
        self.exact = True
        self.hop, self.rate, self.channels = config.hop, config.rate, 1
        self.spectrum = Spectrum(config.frame, config.hop)
        self.front_end = FrontEnd(config.mel, frame=config.frame, rate=config.rate)
        self.encoder = nn.Sequential(
            Pointwise(self.front_end.channels, config.width),
            *(_block(config) for _ in range(config.encoder_blocks)),
            ChannelNorm(config.width),
            Pointwise(config.width, config.latent),
        )
        self.quantizer = config.quantizer.build(dim=config.latent)
        head = Pointwise(config.width, 2 * self.spectrum.bins)
        with torch.no_grad():  # start near silence: e^-4, not e^0, in every bin
            head.bias[::2] = QUIET
        self.decoder = ConditionedBlocks(
            Pointwise(config.latent, config.width),
            *(_block(config) for _ in range(config.decoder_blocks)),
            ChannelNorm(config.width),
            head,
        )
        deep = config.told == "blocks"
        shape = (config.decoder_blocks, config.width) if deep else (config.latent,)
        self.labels = Labels(config.labels, *shape)
        self.encoder_context = config.encoder_blocks * (config.kernel - 1)
        self.receptive_field = self.encoder_context * config.hop + config.frame
        self.decoder_context = config.decoder_blocks * (config.kernel - 1)
        levels = level_specs(self.quantizers, ("codes",), axes=("t",), stride=config.hop)
        self.spec = CodeSpec(modality="audio", levels=levels, rate=float(config.rate))
        self._exact = AudioEncoder(
            self.spectrum,
            self.front_end,
            self.encoder,
            self.quantizer,
            context=self.encoder_context,
        )

    @property
    def quantizers(self) -> list[Quantizer]:
        """List the quantizer of each level: one."""
        return of_levels(self.quantizer)

    @property
    def recompute_stats(self) -> RecomputeStats:
        """Count the latents that were coded so far, and those of them in float64."""
        return self._exact.stats

    def encode(self, x: Signal) -> Codes:
        """Encode audio, each item by itself."""
        x = _given.signals(x, "audio", 1)
        codes = torch.cat(list(self.encode_stream([x])), dim=-1)
        return Codes(self.spec, (codes,), (int(x.shape[-1]),))

    @undisturbed
    def encode_many(self, signals: Sequence[Tensor]) -> list[Codes]:
        """Encode signals of any lengths, each by itself; equal segments are batched for speed."""
        self.spec.require_codes(self.name)
        for x in signals:
            check_signals(x[None], "audio")
        found = self._exact.encode_many([x[0] for x in signals], tile=TILE)
        return [
            Codes(self.spec, (codes[None],), (int(x.shape[-1]),))
            for codes, x in zip(found, signals, strict=True)
        ]

    @undisturbed
    def encode_stream(self, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Encode audio that arrives in blocks; memory stays flat."""
        self.spec.require_codes(self.name)
        yield from self._exact.encode_stream((block[:, 0] for block in blocks), tile=TILE)

    def decode(
        self,
        codes: GivenCodes,
        *,
        extent: tuple[int, ...] | None = None,
        label: Label = None,
    ) -> Tensor:
        """Decode to (B, 1, L) float32 at ``spec.rate`` Hz, L samples of the extent."""
        self.spec.require_codes(self.name)
        codes = _given.codes(codes, self.spec, extent)
        array = torch.as_tensor(codes.levels[0], dtype=torch.int64)
        return torch.cat(list(self.decode_stream([array], codes.extent[0], label=label)), dim=-1)

    @undisturbed
    def decode_stream(
        self, pieces: Iterable[Tensor], length: int | None = None, *, label: Label = None
    ) -> Iterator[Tensor]:
        """Decode codes that arrive in pieces to [-1, 1]; memory stays flat."""
        self.spec.require_codes(self.name)
        ahead = self.spectrum.overlap - 1  # frames after a hop that still overlap it
        given = 0  # samples
        for segment in segments(
            pieces, join=concatenated, own=TILE, past=self.decoder_context, ahead=ahead
        ):
            skip, own = segment.skip * self.hop, segment.own * self.hop
            items = [
                self._render(dequantize(self.quantizer, codes[None].to(self._device())), label)
                for codes in segment.window
            ]
            left = own if length is None else max(0, min(own, length - given))
            audio = torch.cat(items)[:, None, skip : skip + left]  # (B, 1, n)
            yield audio.clamp(-1.0, 1.0)
            given += own

    @undisturbed
    def latents(self, x: Tensor) -> Tensor:
        """Compute what is quantized: (B, 1, L) → (B, D, T) float32."""
        check_signals(x, "audio")
        return self._exact.latents(self._padded(x.to(self._device())))

    @undisturbed
    def render(self, z_q: Tensor, extent: tuple[int, ...], *, label: Label = None) -> Tensor:
        """Decode quantized or continuous (B, D, T) latents to (B, 1, L) in [-1, 1]."""
        return self._render(z_q, label)[:, None, : extent[0]].clamp(-1.0, 1.0)

    def forward(self, x: Tensor, *, labels: Tensor | None = None) -> Reconstructed:
        """Reconstruct a batch differentiably; x is (B, 1, L), labels int64 (B,) if there are.

        In training the encoder reads it perturbed as ``mel`` says.
        """
        length, perturbation = int(x.shape[-1]), None
        if self.training:
            generator = getattr(self.quantizer, "generator", None)
            perturbation = self.front_end.perturbation(len(x), generator=generator)
        z = self._exact.latents(self._padded(x), perturbation)
        quantized = quantize(self.quantizer, z)
        y = self._render(quantized.z_q, labels)[:, None, :length]
        levels = (quantized.codes,) if self.spec.levels else ()
        codes = Codes(self.spec, levels, (length,))
        return Reconstructed(y, codes, quantized.loss, quantized.terms)

    def graphs(self, stored: Mapping[str, Weight]) -> Graphs:
        """Write encoder, of features, and decoder, to spectra, as graphs."""
        axes, to = ("batch", "latent", 1, "frames"), Builder(self, stored)
        to.add("Identity", to.layers(self.encoder, "x"), out="z0")
        features = Value("x", ("batch", self.front_end.channels, 1, "frames"))
        encoder, to = to.graph([features], [Value("z0", axes)]), Builder(self, stored)
        deep = bool(self.labels.names) and self.labels.vectors.ndim == 3
        given = [Value("q0", axes)]
        if deep:
            given.append(Value("vectors", ("batch", *self.labels.vectors.shape[1:])))
        raw = conditioned_blocks(to, self.decoder, "q0", "vectors" if deep else "")
        to.add("Identity", raw, out="raw")
        parts = Value("raw", ("batch", 2 * self.spectrum.bins, 1, "frames"))
        facts = {
            "labels": list(self.labels.names),
            "quantizers": described(self.quantizers),
            "rate": self.rate,
            "hop": self.hop,
            "frame": self.spectrum.size,
            "bands": self.front_end.bands,
            "context": self.encoder_context,
            "decoder_context": self.decoder_context,
        }
        return Graphs(encoder, to.graph(given, [parts]), facts)

    def _padded(self, x: Tensor) -> Tensor:
        """Maps (B, 1, L) → (B, T·hop) float32."""
        return F.pad(x[:, 0].float(), (0, -x.shape[-1] % self.hop))

    def _render(self, z_q: Tensor, label: Tensor | Label) -> Tensor:
        """Maps (B, D, n) latents, none before or after them → (B, n·hop) float32 samples."""
        ahead = self.spectrum.overlap - 1
        # Zero latents after the end stand for "nothing follows": the frames there complete the
        # last hops.
        z, vectors = self.labels.inputs(z_q, label)
        z = F.pad(z, (0, ahead))[:, :, None]  # (B, D, 1, T + ahead)
        parts = self.decoder(z, vectors)[:, :, 0].float().mT  # (B, T + ahead, 2·bins)
        with torch.autocast(z.device.type, enabled=False):
            spectrum = from_polar(parts.unflatten(2, (self.spectrum.bins, 2)))
            samples = self.spectrum.synthesise(spectrum)
        cut = self.spectrum.size - self.hop
        return samples[:, cut : cut + z_q.shape[-1] * self.hop]

    def _device(self) -> torch.device:
        return next(self.parameters()).device


def _block(config: Config) -> Block:
    return Block(config.width, kernel=(1, config.kernel), causal=True)

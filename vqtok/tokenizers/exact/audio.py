"""Code audio through a causal encoder segment by segment, in bounded memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.nn.convnext import Block
from vqtok.nn.spectral import Spectrum
from vqtok.protocols import Quantizer, RecomputeStats
from vqtok.tokenizers._signals import concatenated
from vqtok.tokenizers._spectral import FrontEnd, Perturbation
from vqtok.tokenizers.exact.recompute import ExactCodes, full_float32
from vqtok.tokenizers.exact.tiling1d import Segment, segments

STEP = 75
"""The last segment of a signal is filled up to a multiple of so many frames: few forms to batch."""

BATCH = 1 << 12
"""Frames of equal segments that go through the network together."""

PROBE = 75
"""Frames on which rounding is measured."""

Form = tuple[int, int]
"""Samples of a segment's window, and how many of them belong to earlier segments."""


class AudioEncoder:
    """Samples → codes of a causal network over spectra; what is coded at once changes nothing.

    Args:
        spectrum: Samples → frames.
        front_end: Frames → F features.
        encoder: A layer, blocks, a norm and a layer, on (B, F, 1, T) features → (B, D, 1, T).
        quantizer: Of the latents.
        context: Frames before one that the encoder sees.
    """

    def __init__(
        self,
        spectrum: Spectrum,
        front_end: FrontEnd,
        encoder: nn.Sequential,
        quantizer: Quantizer,
        *,
        context: int,
    ) -> None:
        self._spectrum, self._front_end = spectrum, front_end
        self._encoder, self._quantizer = encoder, quantizer
        self._context, self._hop = context, spectrum.hop
        # Samples before a segment that change its codes.
        self._past = spectrum.size - spectrum.hop + context * spectrum.hop
        self._exact = ExactCodes(encoder, self._probe)

    @property
    def stats(self) -> RecomputeStats:
        """Count the latents that were coded so far, and those of them in float64."""
        return self._exact.stats

    def latents(self, samples: Tensor, perturbation: Perturbation | None = None) -> Tensor:
        """Maps (B, n·hop) float32 samples, silence before them → (B, D, n)."""
        features = self.features(samples, perturbation)
        z: Tensor = self._encoder(features.float())[:, :, 0]
        return z.float()

    def features(self, samples: Tensor, perturbation: Perturbation | None = None) -> Tensor:
        """Maps (B, n·hop) samples, silence before them → (B, F, 1, n) float64.

        In float64, because compression magnifies what rounding adds to nearly silent bins.
        """
        history = samples.new_zeros(samples.shape[0], self._spectrum.size - self._hop)
        with torch.autocast(samples.device.type, enabled=False):
            spectrum = self._spectrum.analyse(samples.double(), history.double())
            return self._front_end(spectrum, perturbation).mT[:, :, None]  # from (B, T, F)

    def encode_many(self, signals: Sequence[Tensor], *, tile: int) -> list[Tensor]:
        """Code signals of any lengths, each by itself; segments of one form are batched.

        Args:
            signals: (L,) float32 each.
            tile: Frames of a segment.

        Returns:
            int64 (Q, T) or (T,) each, T = ceil(L / hop).
        """
        waiting: defaultdict[Form, list[tuple[int, int, Tensor]]] = defaultdict(list)
        pieces: list[list[Tensor]] = [[] for _ in signals]

        def encode(form: Form) -> None:
            group = waiting.pop(form)
            windows = torch.stack([window for _, _, window in group])
            for (item, at, _), codes in zip(group, self._encode(windows, form[1]), strict=True):
                pieces[item][at] = codes

        for item, x in enumerate(signals):
            for segment in segments([x], join=concatenated, own=tile * self._hop, past=self._past):
                window = self._filled(segment, tile)
                form = (len(window), segment.skip)
                waiting[form].append((item, len(pieces[item]), window))
                pieces[item].append(window)  # its codes take its place
                if (len(waiting[form]) + 1) * len(window) > BATCH * self._hop:
                    encode(form)
        for form in list(waiting):
            encode(form)
        return [
            torch.cat(parts, dim=-1)[..., : -(-len(x) // self._hop)]
            for parts, x in zip(pieces, signals, strict=True)
        ]

    def encode_stream(self, blocks: Iterable[Tensor], *, tile: int) -> Iterator[Tensor]:
        """Code audio that arrives in blocks.

        Args:
            blocks: (B, n) float32 pieces of any lengths, in order.
            tile: Frames of a segment.

        Yields:
            int64 (B, Q, t) or (B, t) pieces.
        """
        floats = (block.to(torch.float32) for block in blocks)
        for segment in segments(floats, join=concatenated, own=tile * self._hop, past=self._past):
            codes = self._encode(self._filled(segment, tile), segment.skip)
            yield codes[..., : -(-segment.own // self._hop)]

    def _filled(self, segment: Segment[Tensor], tile: int) -> Tensor:
        """Add silence to the last segment, up to a multiple of ``STEP`` or a whole one."""
        missing = min(-segment.own % (STEP * self._hop), tile * self._hop - segment.own)
        return F.pad(segment.window, (0, missing))

    def _encode(self, samples: Tensor, seen: int) -> Tensor:
        """Code (B, n) samples after the first ``seen``: (B, Q, t) or (B, t)."""
        drop, device = seen // self._hop, next(self._encoder.parameters()).device
        samples = samples.to(device, torch.float32)
        with full_float32(device):
            z = self.latents(samples)[..., drop:].contiguous()

        def recompute(encoder: nn.Module, position: Tensor) -> Tensor:
            item, frame = position.tolist()
            return self._latent(encoder, samples[item], drop + frame)

        return self._exact(z, self._quantizer, recompute)

    def _latent(self, encoder: nn.Module, samples: Tensor, frame: int) -> Tensor:
        """Compute the latent of one frame of (n,) samples in float64: (D,)."""
        context, size = self._context, self._spectrum.size
        before = (context - frame) * self._hop + size - self._hop  # samples before the first one
        stop = (frame + 1) * self._hop
        around = F.pad(samples[max(0, -before) : stop], (max(0, before), 0))
        # The first frames that are analysed lack their past: they are left out.
        x = self.features(around[None])[..., self._spectrum.overlap - 1 :]
        inside = torch.arange(frame - context, frame + 1, device=x.device)[None] >= 0
        enter, *blocks, norm, leave = encoder.children()
        x = enter(x)
        for block in blocks:
            x, inside = cast(Block, block).inner(x, inside)
        latent: Tensor = leave(norm(x))[0, :, 0, 0]
        return latent

    def _probe(self, encoder: nn.Module, dtype: torch.dtype) -> Tensor:
        """Compute latents of noise that grows louder, (N, D)."""
        device = next(self._encoder.parameters()).device
        noise = torch.randn(1, PROBE * self._hop, generator=torch.Generator().manual_seed(0))
        samples = (noise * torch.linspace(0, 0.3, noise.shape[1])).to(device)
        with full_float32(device):
            z: Tensor = encoder(self.features(samples).to(dtype))
        return z[0, :, 0].T

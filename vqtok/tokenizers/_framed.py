"""Audio through a causal encoder and a quantizer, tile by tile, in bounded memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.nn.convnext import Block
from vqtok.nn.spectral import Spectrum
from vqtok.protocols import Quantizer
from vqtok.tokenizers._exact import Doubts, Exact, plain_float32
from vqtok.tokenizers._hearing import Disguise, Hearing

STEP = 75
"""The last tile of a signal is filled up to a multiple of so many frames: few forms, so batches."""

BATCH = 1 << 12
"""Frames of equal tiles that go through the network together."""

PROBE = 75
"""Frames on which rounding is measured."""

Form = tuple[int, int]
"""Samples of a tile's window, and how many of them belong to earlier tiles."""


class FramedEncoder:
    """Samples → codes of a causal network over spectra; what is coded at once changes nothing.

    Args:
        spectrum: Samples → frames.
        hearing: Frames → F features.
        encoder: A layer, blocks, a norm and a layer, on (B, F, 1, T) features → (B, D, 1, T).
        quantizer: Of the latents.
        context: Frames before one that the encoder sees.
    """

    def __init__(
        self,
        spectrum: Spectrum,
        hearing: Hearing,
        encoder: nn.Sequential,
        quantizer: Quantizer,
        *,
        context: int,
    ) -> None:
        self._spectrum, self._hearing = spectrum, hearing
        self._encoder, self._quantizer = encoder, quantizer
        self._context, self._hop = context, spectrum.hop
        self._exact = Exact(encoder, self._probe)

    @property
    def doubts(self) -> Doubts:
        """What was coded so far, and how often in float64."""
        return self._exact.doubts

    def latents(self, samples: Tensor, disguise: Disguise | None = None) -> Tensor:
        """(B, n·hop) float32 samples, silence before them → (B, D, n)."""
        features = self.features(samples, disguise)
        z: Tensor = self._encoder(features.float())[:, :, 0]
        return z.float()

    def features(self, samples: Tensor, disguise: Disguise | None = None) -> Tensor:
        """(B, n·hop) samples, silence before them → (B, F, 1, n) float64.

        In float64, because compression magnifies what rounding adds to nearly silent bins.
        """
        history = samples.new_zeros(samples.shape[0], self._spectrum.size - self._hop)
        with torch.autocast(samples.device.type, enabled=False):
            spectrum = self._spectrum.analyse(samples.double(), history.double())
            return self._hearing(spectrum, disguise).mT[:, :, None]  # from (B, T, F)

    def encode_many(self, signals: Sequence[Tensor], *, tile: int) -> list[Tensor]:
        """Signals of any lengths, each by itself; tiles of one form are batched.

        Args:
            signals: (L,) float32 each.
            tile: Frames that one tile owns.

        Returns:
            int64 (Q, T) or (T,) each, T = ceil(L / hop).
        """
        waiting: defaultdict[Form, list[tuple[int, int, Tensor]]] = defaultdict(list)
        pieces: dict[tuple[int, int], Tensor] = {}
        own = tile * self._hop

        def encode(form: Form) -> None:
            group = waiting.pop(form)
            windows = torch.stack([window for _, _, window in group])
            for (item, start, _), codes in zip(group, self._encode(windows, form[1]), strict=True):
                pieces[item, start] = codes

        for item, x in enumerate(signals):
            for start in range(0, len(x), own):
                seen = min(start, self._past)
                window = self._fill(x[start - seen : start + own], seen, own)
                form = (len(window), seen)
                waiting[form].append((item, start, window))
                if (len(waiting[form]) + 1) * len(window) > BATCH * self._hop:
                    encode(form)
        for form in list(waiting):
            encode(form)
        found = []
        for item, x in enumerate(signals):
            parts = [pieces.pop((item, start)) for start in range(0, len(x), own)]
            found.append(torch.cat(parts, dim=-1)[..., : -(-len(x) // self._hop)])
        return found

    def encode_stream(self, blocks: Iterable[Tensor], *, tile: int) -> Iterator[Tensor]:
        """Audio that arrives in blocks.

        Args:
            blocks: (B, n) float32 pieces of any lengths, in order.
            tile: Frames that one tile owns.

        Yields:
            int64 (B, Q, t) or (B, t) pieces.
        """
        own = tile * self._hop
        waiting: list[Tensor] = []  # the past of the next tile, then new samples
        seen = count = 0  # samples that belong to earlier tiles, samples in all
        for block in blocks:
            waiting.append(block.to(torch.float32))
            count += block.shape[1]
            if count - seen < own:
                continue
            buffer = torch.cat(waiting, dim=1)
            while buffer.shape[1] - seen >= own:
                yield self._encode(buffer[:, : seen + own], seen)
                keep = min(self._past, seen + own)
                buffer, seen = buffer[:, seen + own - keep :], keep
            waiting, count = [buffer], buffer.shape[1]
        if count > seen:
            frames = -(-(count - seen) // self._hop)
            rest = torch.cat(waiting, dim=1)
            yield self._encode(self._fill(rest, seen, own), seen)[..., :frames]

    @property
    def _past(self) -> int:
        """Samples before a tile that change its codes."""
        return self._spectrum.size - self._hop + self._context * self._hop

    def _fill(self, samples: Tensor, seen: int, own: int) -> Tensor:
        """Silence after the last samples of a signal, up to a multiple of ``STEP`` or ``own``."""
        count = samples.shape[-1] - seen
        return F.pad(samples, (0, min(-count % (STEP * self._hop), own - count)))

    def _encode(self, samples: Tensor, seen: int) -> Tensor:
        """Codes of (B, n) samples after the first ``seen``: (B, Q, t) or (B, t)."""
        drop, device = seen // self._hop, next(self._encoder.parameters()).device
        samples = samples.to(device, torch.float32)
        with plain_float32(device):
            z = self.latents(samples)[..., drop:].contiguous()

        def again(encoder: nn.Module, place: Tensor) -> Tensor:
            item, frame = place.tolist()
            return self._latent(encoder, samples[item], drop + frame)

        return self._exact.settle(z, self._quantizer, again)

    def _latent(self, encoder: nn.Module, samples: Tensor, frame: int) -> Tensor:
        """The latent of one frame of (n,) samples in float64: (D,)."""
        context, size = self._context, self._spectrum.size
        before = (context - frame) * self._hop + size - self._hop  # samples before the first one
        stop = (frame + 1) * self._hop
        around = F.pad(samples[max(0, -before) : stop], (max(0, before), 0))
        # The first frames of what is analysed lack their past: they are the ones not asked for.
        x = self.features(around[None])[..., self._spectrum.overlap - 1 :]
        inside = torch.arange(frame - context, frame + 1, device=x.device)[None] >= 0
        enter, *blocks, norm, leave = encoder.children()
        x = enter(x)
        for block in blocks:
            x, inside = cast(Block, block).inner(x, inside)
        latent: Tensor = leave(norm(x))[0, :, 0, 0]
        return latent

    def _probe(self, encoder: nn.Module, dtype: torch.dtype) -> Tensor:
        """Latents of noise that grows louder, (N, D)."""
        noise = torch.randn(1, PROBE * self._hop, generator=torch.Generator().manual_seed(0))
        samples = noise * torch.linspace(0, 0.3, noise.shape[1])
        with plain_float32(next(self._encoder.parameters()).device):
            z: Tensor = encoder(
                self.features(samples.to(next(self._encoder.parameters()).device)).to(dtype)
            )
        return z[0, :, 0].T

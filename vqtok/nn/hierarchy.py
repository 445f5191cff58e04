"""Encoders and decoders of several levels: Razavi et al. 2019, arXiv:1906.00446, section 3.1.

Levels are numbered coarse → fine; each has twice the resolution of the one before. The encoder's
features come of one trunk, fine → coarse. A level's latents come of its features and of a context:
what the levels before it, quantized, say at its resolution. The decoder reads all levels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vqtok.nn.regions import Region, Source, Span, before, flat, region

Quantize = Callable[[int, Tensor], Tensor]
"""Level and its latents, (B, D, h, w) → the same shape, quantized."""


class Encoder(nn.Module):
    """Pixels → the latents of one level after the other.

    Args:
        trunks: Of each level: from the next finer level's features (the finest: from pixels) to its
            own.
        contexts: Of each level but the first: from what is known of the level before to its grid.
        heads: Of each level: features, joined by context, → latents; pointwise.
    """

    def __init__(
        self,
        trunks: Sequence[nn.Module],
        contexts: Sequence[nn.Module],
        heads: Sequence[nn.Module],
        *,
        stride: int,
    ) -> None:
        super().__init__()
        self.trunks = nn.ModuleList(trunks)
        self.contexts = nn.ModuleList(contexts)
        self.heads = nn.ModuleList(heads)
        self.margins, self.halo, self.reach = _reaches(self, stride)

    def forward(
        self, x: Tensor, grids: Sequence[tuple[int, int]], quantize: Quantize
    ) -> list[Tensor]:
        """Latents of every level, each quantized before the next.

        Args:
            x: (B, C, H, W), sides multiples of the coarsest stride.
            grids: (h, w) of each level: as far as it reaches into the image without its padding.
            quantize: Called for one level after the other.

        Returns:
            (B, D, h, w) of each level: what ``quantize`` was given.
        """
        features, found = self.features(x), list[Tensor]()
        state: Tensor | None = None
        for level, (height, width) in enumerate(grids):
            parts = [features[level], *([] if state is None else [self.context(level, state)])]
            parts = [each[..., :height, :width] for each in parts]
            found.append(self.latent(level, *parts))
            state = torch.cat([quantize(level, found[-1]), *parts[1:]], dim=1)
        return found

    def features(self, x: Tensor) -> list[Tensor]:
        """(B, C, H, W) → of each level, (B, width, H/stride, W/stride)."""
        found: list[Tensor] = []
        for trunk in reversed(self.trunks):
            x = trunk(x.contiguous(memory_format=torch.channels_last))
            found.insert(0, x)
        return found

    def context(self, level: int, state: Tensor) -> Tensor:
        """What a level is told, from the state of the one before, at twice its size."""
        told: Tensor = self.contexts[level - 1](state)
        return told

    def latent(self, level: int, features: Tensor, context: Tensor | None = None) -> Tensor:
        """Latents of one level, from its features and its context."""
        joined = features if context is None else torch.cat([features, context], dim=1)
        z: Tensor = self.heads[level](joined)
        return z


class Way(nn.Module):
    """All of an encoder that one level's latents come through.

    Args:
        encoder: Shares its weights with this.
        level: The level.
    """

    def __init__(self, encoder: Encoder, level: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*flat(list(reversed(encoder.trunks[level:]))))
        self.contexts = nn.ModuleList(list(encoder.contexts[:level]))
        self.head = encoder.heads[level]

    def forward(self, x: Tensor, z_qs: Sequence[Tensor]) -> Tensor:
        """(B, C, H, W) and the levels before, quantized → (B, D, h, w)."""
        joined = [self.trunk(x)]
        state: Tensor | None = None
        for context, z_q in zip(self.contexts, z_qs, strict=True):
            state = context(z_q if state is None else torch.cat([z_q, state], dim=1))
        if state is not None:
            joined.append(state)
        z: Tensor = self.head(torch.cat(joined, dim=1))
        return z

    def at(self, place: tuple[int, int], pixels: Seen, levels: Sequence[Seen]) -> Tensor:
        """One latent, (D,), from no more of everything than it depends on.

        Args:
            place: (row, column).
            pixels: The image.
            levels: The levels before, quantized.
        """
        row, column = place
        wanted = Region((row, row + 1), (column, column + 1))
        joined = [region(self.trunk, pixels.source, wanted, pixels.grid)]
        if levels:
            joined.append(self._told(wanted, levels))
        z: Tensor = self.head(torch.cat(joined, dim=1))
        return z[0, :, 0, 0]

    def _told(self, wanted: Region, levels: Sequence[Seen]) -> Tensor:
        """The context of a level on a region."""
        *coarser, last = levels

        def state(wanted: Region) -> Tensor:
            z_q = last.source(wanted)
            return torch.cat([z_q, self._told(wanted, coarser)], dim=1) if coarser else z_q

        return region(self.contexts[len(coarser)], state, wanted, last.grid)


class Seen(NamedTuple):
    """A signal that can be read region by region."""

    source: Source
    grid: tuple[int, int]
    """(H, W): what lies beyond does not exist."""


class Decoder(nn.Module):
    """Quantized latents of all levels → pixels.

    Args:
        steps: Of each level but the last: from it, and what comes of those before, to the grid of
            the next.
        body: From the finest level, joined by that, to pixels.
        stride: Pixels per position of the coarsest level.
    """

    def __init__(self, steps: Sequence[nn.Module], body: nn.Module, *, stride: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)
        self.body = body
        scale = stride >> len(steps)  # pixels per position of the present level
        span = before(body, (0, stride))
        spans = [(span[0] * scale, span[1] * scale)]
        for step in reversed(self.steps):
            span, scale = before(step, span), 2 * scale
            spans.append((span[0] * scale, span[1] * scale))
        self.reach = max(max(-first, last - stride) for first, last in spans)

    def forward(self, z_qs: Sequence[Tensor]) -> Tensor:
        """(B, D, h, w) of each level → (B, C, H, W), as many pixels as the finest level covers."""
        state = z_qs[0]
        for step, z_q in zip(self.steps, z_qs[1:], strict=True):
            told = step(state.contiguous(memory_format=torch.channels_last))
            height, width = z_q.shape[-2:]
            state = torch.cat([z_q, told[..., :height, :width]], dim=1)
        x: Tensor = self.body(state.contiguous(memory_format=torch.channels_last))
        return x


def _reaches(encoder: Encoder, stride: int) -> tuple[list[int], int, int]:
    """How far around a cell, the pixels of one coarsest position, things matter to its codes.

    Returns:
        Cells of each level that must be known around it, cells of the image, and pixels.
    """
    count = len(encoder.trunks)
    spans: list[Span] = [(0, 1 << (count - 1))]  # of what is known of each level, in its positions
    for context in reversed(encoder.contexts):
        spans.insert(0, before(context, spans[0]))
    margins, halo, reach = [], 0, 0
    for level, (first, last) in enumerate(spans):
        per_cell = 1 << level
        margin = -(-max(-first, last - per_cell) // per_cell)
        margins.append(margin)
        trunk = list(reversed(encoder.trunks[level:]))
        cells = before(trunk, (-margin * per_cell, (1 + margin) * per_cell))
        halo = max(halo, -(-max(-cells[0], cells[1] - stride) // stride))
        pixels = before(trunk, (first, last))
        reach = max(reach, -pixels[0], pixels[1] - stride)
    return margins, halo, reach

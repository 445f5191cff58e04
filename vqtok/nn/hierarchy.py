"""Encoders and decoders of several levels: Razavi et al. 2019, arXiv:1906.00446, section 3.1.

Levels are numbered coarse → fine; each has twice the resolution of the one before. The encoder's
features come of one trunk, fine → coarse. A level's latents come of its features and of a context:
what the levels before it, quantized, give at its resolution. The decoder reads all levels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from vqtok.nn import pyramid
from vqtok.nn.regions import Region, Source, Span, before, flat, region

Quantize = Callable[[int, Tensor], Tensor]
"""Level and its latents, (B, D, h, w) → the same shape, quantized."""


class Encoder(nn.Module):
    """Pixels → the latents of one level after the other.

    Args:
        trunks: Of each level: from the next finer level's features (the finest: from pixels) to its
            own.
        contexts: Of each level but the first: from the quantized levels before to its grid.
        heads: Of each level: features, joined by context, → latents; pointwise.
        stride: Pixels per position of the coarsest level: a cell.

    Attributes:
        margins: Of each level, cells around one that its codes depend on.
        halo: Cells of the image around one that its codes depend on.
        receptive_field: Pixels around a cell that its codes depend on.
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
        self.margins, self.halo, self.receptive_field = _receptive_fields(self, stride)

    def forward(
        self, x: Tensor, grids: Sequence[tuple[int, int]], quantize: Quantize
    ) -> list[Tensor]:
        """Compute the latents of every level, each quantized before the next.

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
        """Maps (B, C, H, W) → of each level, (B, width, H/stride, W/stride)."""
        found: list[Tensor] = []
        for trunk in reversed(self.trunks):
            x = trunk(x.contiguous(memory_format=torch.channels_last))
            found.insert(0, x)
        return found

    def context(self, level: int, state: Tensor) -> Tensor:
        """Compute a level's context from the state of the one before, at twice its size."""
        context: Tensor = self.contexts[level - 1](state)
        return context

    def latent(self, level: int, features: Tensor, context: Tensor | None = None) -> Tensor:
        """Compute the latents of one level from its features and its context."""
        joined = features if context is None else torch.cat([features, context], dim=1)
        z: Tensor = self.heads[level](joined)
        return z

    def path(self, level: int) -> Path:
        """Take the layers that one level's latents come through; they share their weights."""
        return Path(
            nn.Sequential(*flat(list(reversed(self.trunks[level:])))),
            list(self.contexts[:level]),
            self.heads[level],
        )


class Path(nn.Module):
    """All layers that one level's latents come through.

    Args:
        trunk: From pixels to the level's features.
        contexts: Of the levels up to it.
        head: To its latents.
    """

    def __init__(self, trunk: nn.Module, contexts: Sequence[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.trunk, self.head = trunk, head
        self.contexts = nn.ModuleList(contexts)

    def forward(self, x: Tensor, z_qs: Sequence[Tensor]) -> Tensor:
        """Maps (B, C, H, W) and the levels before, quantized → (B, D, h, w)."""
        joined = [self.trunk(x)]
        state: Tensor | None = None
        for context, z_q in zip(self.contexts, z_qs, strict=True):
            state = context(z_q if state is None else torch.cat([z_q, state], dim=1))
        if state is not None:
            joined.append(state)
        z: Tensor = self.head(torch.cat(joined, dim=1))
        return z

    def at(self, position: tuple[int, int], pixels: Source, levels: Sequence[Source]) -> Tensor:
        """Compute one latent, (D,), from no more of everything than it depends on.

        Args:
            position: (row, column).
            pixels: The image.
            levels: The levels before, quantized.
        """
        row, column = position
        wanted = Region((row, row + 1), (column, column + 1))
        joined = [region(layers_of(self.trunk), pixels, wanted)]
        if levels:
            joined.append(self._context(wanted, levels))
        z: Tensor = self.head(torch.cat(joined, dim=1))
        return z[0, :, 0, 0]

    def _context(self, wanted: Region, levels: Sequence[Source]) -> Tensor:
        """Compute the context of a level on a region."""
        *coarser, last = levels

        def state(wanted: Region) -> Tensor:
            z_q = last.read(wanted)
            return torch.cat([z_q, self._context(wanted, coarser)], dim=1) if coarser else z_q

        return region(self.contexts[len(coarser)], Source(state, last.grid), wanted)


class OneLevel:
    """An encoder of ``nn/pyramid.py`` with the interface of a hierarchy's.

    Args:
        encoder: The network; not copied.
        stride: Pixels per position.
    """

    def __init__(self, encoder: pyramid.Encoder | pyramid.StridedEncoder, *, stride: int) -> None:
        self._encoder, self.receptive_field = encoder, encoder.receptive_field
        self.margins, self.halo = [0], -(-encoder.receptive_field // stride)

    def features(self, x: Tensor) -> list[Tensor]:
        """Maps (B, C, H, W) → the latents, (B, D, H/stride, W/stride)."""
        return [self._encoder(x)]

    def context(self, level: int, state: Tensor) -> Tensor:
        """Refuse: one level has no context."""
        raise NotImplementedError

    def latent(self, level: int, features: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the features, which are the latents already."""
        return features

    def path(self, level: int) -> Path:
        """Take the whole encoder."""
        return Path(self._encoder, (), nn.Identity())


def layers_of(network: nn.Module) -> Sequence[nn.Module]:
    """List what a network does, one layer after the other."""
    if isinstance(network, pyramid.Encoder | pyramid.StridedEncoder):
        return network.layers()
    return list(flat(network))


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
        self.receptive_field = max(max(-first, last - stride) for first, last in spans)

    def forward(self, z_qs: Sequence[Tensor]) -> Tensor:
        """Maps (B, D, h, w) of each level to (B, C, H, W), all pixels that the finest covers."""
        state = z_qs[0]
        for step, z_q in zip(self.steps, z_qs[1:], strict=True):
            coarser = step(state.contiguous(memory_format=torch.channels_last))
            height, width = z_q.shape[-2:]
            state = torch.cat([z_q, coarser[..., :height, :width]], dim=1)
        x: Tensor = self.body(state.contiguous(memory_format=torch.channels_last))
        return x


def _receptive_fields(encoder: Encoder, stride: int) -> tuple[list[int], int, int]:
    """Compute ``margins``, ``halo`` and ``receptive_field`` of an encoder."""
    count = len(encoder.trunks)
    spans: list[Span] = [(0, 1 << (count - 1))]  # of what is known of each level, in its positions
    for context in reversed(encoder.contexts):
        spans.insert(0, before(context, spans[0]))
    margins, halo, beyond = [], 0, 0
    for level, (first, last) in enumerate(spans):
        per_cell = 1 << level
        margin = -(-max(-first, last - per_cell) // per_cell)
        margins.append(margin)
        trunk = list(reversed(encoder.trunks[level:]))
        cells = before(trunk, (-margin * per_cell, (1 + margin) * per_cell))
        halo = max(halo, -(-max(-cells[0], cells[1] - stride) // stride))
        pixels = before(trunk, (first, last))
        beyond = max(beyond, -pixels[0], pixels[1] - stride)
    return margins, halo, beyond

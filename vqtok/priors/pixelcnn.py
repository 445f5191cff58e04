"""Gated PixelCNN (van den Oord et al. 2016, arXiv:1606.05328) over one grid of codes.

A vertical stack sees all rows above, a horizontal one the codes to the left, so nothing before a
code is hidden from it. Differences: the input is moved by one row or one column, once, so that no
kernel needs a mask; and attention over all codes before may follow the layers, as in PixelSNAIL
(arXiv:1712.09763) and in VQ-VAE-2's top prior (arXiv:1906.00446).

Sampling keeps the rows and columns that the kernels look back at, as arXiv:1704.06001 does: each
layer runs once per row (vertical) and once per code (horizontal).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.codes.spec import CodeSpec, LevelSpec
from vqtok.errors import ConfigError
from vqtok.nn.attention import Caches, Turns, turns
from vqtok.nn.gated import Layer
from vqtok.priors._above import Above
from vqtok.priors._autoregressive import Autoregressive
from vqtok.priors._classes import Classes, check_names
from vqtok.priors._network import Condition, Run
from vqtok.priors._patterns import Layout, layout


@dataclass(frozen=True)
class Config:
    """Sizes of the network.

    Attributes:
        width: C, channels of both stacks.
        layers: Gated layers.
        kernel: Side of the first layer's window; those of the others are 3 wide. Both odd.
        attention: Layers after each of which attention follows, 0: none; 4: after each fourth.
        heads: Of each attention; C / heads must be even.
        dropout: Share of each layer's output that training leaves out.
        classes: Names of classes, by which samples can be chosen; none: no choice.
        unlabelled: Share of the items whose class training hides.
    """

    width: int = 128
    layers: int = 12
    kernel: int = 5
    attention: int = 4
    heads: int = 4
    dropout: float = 0.1
    classes: tuple[str, ...] = ()
    unlabelled: float = 0.1

    def __post_init__(self) -> None:
        if min(self.width, self.layers, self.heads) < 1 or self.attention < 0:
            raise ValueError("width, layers and heads must be positive, attention 0 or more")
        if self.kernel < 3 or self.kernel % 2 == 0:
            raise ValueError(f"kernel {self.kernel} is not odd, from 3 on")
        if self.attention and self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} is no multiple of twice the {self.heads} heads")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout} is not from 0 to below 1")
        check_names(self.classes, self.unlabelled)

    def build(self, *, spec: CodeSpec, **context: Any) -> Autoregressive:
        """Make the prior of codes of this spec, with fresh weights."""
        return Autoregressive(self, spec, self.network(spec))

    def network(self, spec: CodeSpec, *, coarser: tuple[LevelSpec, ...] = ()) -> PixelCNN:
        """Returns the network alone, given the codes of coarser levels."""
        return PixelCNN(self, spec, coarser)


class PixelCNN(nn.Module):
    """The network: flat codes → what each of them costs, or the logits of one step.

    Raises:
        ConfigError: codes that are not one grid.
    """

    def __init__(self, config: Config, spec: CodeSpec, coarser: tuple[LevelSpec, ...] = ()) -> None:
        super().__init__()
        if len(spec.levels) != 1 or spec.levels[0].axes != ("h", "w"):
            axes = ", ".join(f"{each.name!r} {each.axes}" for each in spec.levels)
            hint = "priors/transformer takes all codes, priors/hierarchical several grids"
            raise ConfigError(f"priors/pixelcnn: one grid of codes needed, found {axes}", hint=hint)
        width, size = config.width, spec.levels[0].codebook_size
        self.spec, self.dim = spec, width // config.heads
        self.codes = nn.Embedding(size, width)
        nn.init.normal_(self.codes.weight, std=0.5)
        self.classes = Classes(config.classes, width, unlabelled=config.unlabelled)
        self.above = Above(coarser, spec.levels[0], width=width) if coarser else None
        conditioned = bool(config.classes or coarser)
        every = config.attention or config.layers + 1
        self.layers = nn.ModuleList(
            Layer(
                width,
                kernel=3 if number else config.kernel,
                dropout=config.dropout,
                conditioned=conditioned,
                heads=config.heads if (number + 1) % every == 0 else 0,
            )
            for number in range(config.layers)
        )
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, size)
        self.dropout = nn.Dropout(config.dropout)

    def lay_out(self, extent: tuple[int, ...]) -> Layout:
        """Returns the order of the codes of a signal."""
        return layout(self.spec, extent, pattern="flat", device=self.outer.weight.device)

    def nats(self, flat: Tensor, layout: Layout, condition: Condition) -> Tensor:
        """Returns the cost of each of (B, N) flat codes: (B, N) float32."""
        features = self.features(flat, layout, self.context(layout, condition), self.turns(layout))
        logits = self.logits(features).float()  # (B, N, K)
        return F.cross_entropy(logits.mT, flat, reduction="none")

    def features(
        self, flat: Tensor, layout: Layout, context: Tensor | None, positions: Turns
    ) -> Tensor:
        """Returns what the logits of each code are made of: (B, N, C)."""
        x = self.codes(flat).mT.reshape(len(flat), -1, *layout.shapes[0])  # (B, C, H, W)
        down, right = F.pad(x, (0, 0, 1, -1)), F.pad(x, (1, -1, 0, 0))
        for layer in self.layers:
            down, right = layer(down, right, context, positions)
        return right.flatten(2).mT

    def run(self, layout: Layout, condition: Condition, *, cached: bool) -> Run:
        """Begin a pass along the layout."""
        return _Cached(self, layout, condition) if cached else _Whole(self, layout, condition)

    def context(self, layout: Layout, condition: Condition) -> Tensor | None:
        """Returns what is given beside the codes: (B or 1, C, H or 1, W or 1), or None."""
        label = self.classes(condition.classes)
        context = None if label is None else label[:, :, None, None]
        if self.above is None or condition.coarse is None:
            return context
        above: Tensor = self.above(condition.coarse, layout.extent)
        return above if context is None else above + context

    def turns(self, layout: Layout) -> Turns:
        """Rotary angles of all positions, for attention."""
        at = layout.at.to(self.outer.weight.device)
        return turns(at, at, dim=self.dim, dtype=self.outer.weight.dtype)

    def logits(self, features: Tensor) -> Tensor:
        """Maps (…, C) → (…, K)."""
        out: Tensor = self.outer(self.dropout(F.elu(self.inner(F.elu(features)))))
        return out


class _Whole:
    """A pass without memory: all rows so far, anew for each code."""

    def __init__(self, network: PixelCNN, layout: Layout, condition: Condition) -> None:
        self.network, self.layout = network, layout
        self.context, self.turns = network.context(layout, condition), network.turns(layout)

    def __call__(self, flat: Tensor, step: int) -> list[Tensor]:
        features = self.network.features(flat, self.layout, self.context, self.turns)
        return [self.network.logits(features[:, step])]


class _Cached:
    """A pass that keeps what the kernels look back at."""

    def __init__(self, network: PixelCNN, layout: Layout, condition: Condition) -> None:
        self.network = network
        self.layers = cast("list[Layer]", list(network.layers))
        self.width = layout.shapes[0][1]
        self.context, self.turns = network.context(layout, condition), network.turns(layout)
        self.caches = Caches(layout.steps)
        self.done = 0
        self.above: list[Tensor] = []  # of each layer, the rows before: (B, C, radius, W)
        self.left: list[Tensor] = []  # the columns before: (B, C, 1, radius)
        self.between: list[Tensor] = []  # what this row's vertical stack says: (B, 2C, 1, W)
        self.hints: list[Tensor | float] = []

    def __call__(self, flat: Tensor, step: int) -> list[Tensor]:
        for position in range(self.done, step + 1):
            row, column = divmod(position, self.width)
            if column == 0:
                self._begin_row(flat, row)
            right = self._advance(flat, row, column)
        self.done = step + 1
        return [self.network.logits(right[:, :, 0, 0])]

    def _begin_row(self, flat: Tensor, row: int) -> None:
        """Returns the vertical stack of a row, which sees the rows before it."""
        start = max(row - 1, 0) * self.width
        vectors = self.network.codes(flat[:, start : start + self.width])
        down = vectors.mT[:, :, None]  # (B, C, 1, W)
        if row == 0:
            down = torch.zeros_like(down)
            self.above = [F.pad(down, (0, 0, layer.radius - 1, 0)) for layer in self.layers]
        context = self.context
        if context is not None and context.shape[2] > 1:
            context = context[:, :, row : row + 1]
        self.left, self.between, self.hints = [], [], []
        for number, layer in enumerate(self.layers):
            hints = layer.hints(context)
            seen = torch.cat([self.above[number], down], dim=2)
            self.above[number] = seen[:, :, 1:]
            self.left.append(down.new_zeros(*down.shape[:2], 1, layer.radius))
            down, between = layer.rows(seen, hints[0])
            self.between.append(between)
            self.hints.append(hints[1])

    def _advance(self, flat: Tensor, row: int, column: int) -> Tensor:
        """Returns the horizontal stack of one position: (B, C, 1, 1)."""
        if column:
            before = flat[:, row * self.width + column - 1]
            right: Tensor = self.network.codes(before)[:, :, None, None]
        else:
            right = torch.zeros_like(self.left[0][..., :1])
        for number, layer in enumerate(self.layers):
            seen = torch.cat([self.left[number], right], dim=3)
            self.left[number] = seen[..., 1:]
            hint = self.hints[number]
            if isinstance(hint, Tensor) and hint.shape[3] > 1:
                hint = hint[..., column : column + 1]
            between = self.between[number][..., column : column + 1]
            right = right + layer.columns(seen, between, hint)
            if layer.attention is not None:
                position = self.turns.part(row * self.width + column, row * self.width + column + 1)
                right = right + layer.attend(right[..., 0].mT, position, self.caches).mT[..., None]
        return right

"""A decoder-only transformer over codes of any layout (Vaswani et al. 2017, arXiv:1706.03762).

Differences: normalisation comes first, positions are rotary in as many axes as the signal has
(``nn/attention.py``), and each step is also given what it is to predict: which level and stage,
and where in the signal. The output shares the input's code vectors (arXiv:1608.05859).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.codes.spec import RANKS, CodeSpec, LevelSpec
from vqtok.nn.attention import Block, Caches, Turns, turns
from vqtok.priors._above import Above
from vqtok.priors._autoregressive import Autoregressive
from vqtok.priors._classes import Classes, check_names
from vqtok.priors._near import kinds
from vqtok.priors._network import Condition, Run
from vqtok.priors._patterns import Layout, Pattern, layout, slots, vocabularies

SPEEDS = 16
"""Frequencies that say what a step's absolute position is."""


@dataclass(frozen=True)
class Config:
    """Sizes of the transformer.

    Attributes:
        width: D.
        blocks: Attention and MLP, each.
        heads: Of each attention; D / heads must be even.
        expansion: Hidden channels of the MLPs per channel.
        dropout: Share of each block's output that training leaves out.
        pattern: Order of stacked codebooks; without them all are the same.
        depth: Stages of stacked codebooks that are modelled; None: all.
        absolute: Whether a step also has its distance from the signal's edges. Without, signals
            may be longer than those of training.
        classes: Names of classes or speakers, by which samples can be chosen; none: no choice.
        unlabelled: Share of the items whose class training hides.
    """

    width: int = 256
    blocks: int = 6
    heads: int = 8
    expansion: int = 4
    dropout: float = 0.1
    pattern: Pattern = "flat"
    depth: int | None = None
    absolute: bool = True
    classes: tuple[str, ...] = ()
    unlabelled: float = 0.1

    def __post_init__(self) -> None:
        if min(self.width, self.blocks, self.heads, self.expansion) < 1:
            raise ValueError("width, blocks, heads and expansion must be positive")
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} is no multiple of twice the {self.heads} heads")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout} is not from 0 to below 1")
        if self.depth is not None and self.depth < 1:
            raise ValueError(f"depth {self.depth} is not positive")
        check_names(self.classes, self.unlabelled)

    def build(self, *, spec: CodeSpec, **context: Any) -> Autoregressive:
        """Make the prior of codes of this spec, with fresh weights."""
        return Autoregressive(self, spec, self.network(spec), depth=self.depth)

    def network(self, spec: CodeSpec, *, coarser: tuple[LevelSpec, ...] = ()) -> Transformer:
        """Returns the network alone, given the codes of coarser levels."""
        return Transformer(self, spec, coarser)


class Transformer(nn.Module):
    """The network: flat codes → what each of them costs, or the logits of one step."""

    offsets: Tensor

    def __init__(self, config: Config, spec: CodeSpec, coarser: tuple[LevelSpec, ...] = ()) -> None:
        super().__init__()
        spec.require_codes("")
        self.spec, self.pattern, self.depth = spec, config.pattern, config.depth
        self.dim = config.width // config.heads
        self.sizes = vocabularies(spec.levels, config.depth)
        firsts = [sum(self.sizes[:i]) for i in range(len(self.sizes))]
        self.register_buffer("offsets", torch.tensor(firsts), persistent=False)
        width = config.width
        self.codes = nn.Embedding(sum(self.sizes), width)
        self.streams = nn.Embedding(len(self.sizes), width)
        self.begin = nn.Parameter(torch.empty(width))
        # One map per kind of neighbour; steps with several slots hold their neighbours already.
        self.kinds = kinds(spec.levels)
        single = slots(spec.levels, config.pattern, config.depth) == 1
        self.near = nn.Linear(width, self.kinds * width, bias=False) if single else None
        axes = RANKS[spec.modality]
        self.places = nn.Linear(4 * SPEEDS * axes, width, bias=False) if config.absolute else None
        self.classes = Classes(config.classes, width, unlabelled=config.unlabelled)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            Block(width, heads=config.heads, expansion=config.expansion, dropout=config.dropout)
            for _ in range(config.blocks)
        )
        self.norm = nn.LayerNorm(width, bias=False)
        self.bias = nn.Parameter(torch.zeros(sum(self.sizes)))
        self._start(config.blocks)
        self.above: Above | None = None
        if coarser:
            level = spec.levels[0]
            self.above = Above(coarser, level, width=width, depth=config.depth, scale=0.02)

    def lay_out(self, extent: tuple[int, ...]) -> Layout:
        """Returns the order of the codes of a signal."""
        device = self.begin.device
        return layout(self.spec, extent, pattern=self.pattern, depth=self.depth, device=device)

    def nats(self, flat: Tensor, layout: Layout, condition: Condition) -> Tensor:
        """Returns the cost of each of (B, N) flat codes: (B, N) float32."""
        held = self.held(flat, layout, 0, layout.steps, self.neighbours(layout))
        x = self.context(layout, condition) + held
        hidden = self.hidden(x, self.turns(layout))
        found = []
        for stream, group in enumerate(layout.groups):
            logits = self.logits(hidden[:, group.steps], stream).float()  # (B, n, K)
            codes = flat[:, group.cells]
            found.append(F.cross_entropy(logits.mT, codes, reduction="none"))
        return torch.cat(found, dim=1)[:, layout.inverse]

    def run(self, layout: Layout, condition: Condition, *, cached: bool) -> Run:
        """Begin a pass along the layout."""
        return _Run(self, layout, condition, cached=cached)

    def context(self, layout: Layout, condition: Condition) -> Tensor:
        """Returns what each step is given beside the codes before it: (B or 1, S, D)."""
        x = _sum(self.streams, layout.streams, empty=layout.streams < 0)[None]
        if self.places is not None:
            x = x + self.places(_waves(layout).to(self.begin))
        if self.above is not None and condition.coarse is not None:
            above = self.above(condition.coarse, layout.extent).flatten(2).mT  # (B, positions, D)
            x = x + above[:, layout.positions]
        label = self.classes(condition.classes)
        return x if label is None else x + label[:, None]

    def neighbours(self, layout: Layout) -> Neighbours | None:
        """Returns what ``held`` needs to give each step the codes near it."""
        if self.near is None:
            return None
        vectors: Tensor = self.near(self.codes.weight)  # (V, M · D)
        vectors = vectors.view(-1, self.codes.embedding_dim).to(self.begin.dtype)
        firsts = [self.offsets[i].expand(len(each.cells)) for i, each in enumerate(layout.groups)]
        numbers = torch.arange(self.kinds, device=vectors.device)
        cells = layout.near.clamp_min(0)  # (S, M)
        base = torch.cat(firsts)[layout.inverse][cells] * self.kinds + numbers
        return Neighbours(F.pad(vectors, (0, 0, 0, 1)), cells, base, layout.near < 0)

    def held(
        self, flat: Tensor, layout: Layout, start: int, stop: int, near: Neighbours | None
    ) -> Tensor:
        """Embeds for steps start … stop the codes of the step before each, and those near it.

        Args:
            flat: int64 (B, N) codes.
            layout: Their order.
            start: First step.
            stop: Step after the last.
            near: What ``neighbours`` gives.

        Returns:
            (B, n, D).
        """
        before = slice(max(start - 1, 0), stop - 1)
        cells, streams = layout.cells[before], layout.streams[before].clamp_min(0)
        tokens = flat[:, cells.clamp_min(0)] + self.offsets[streams]  # (B, n, P)
        x = _sum(self.codes, tokens, empty=cells < 0)
        if start == 0:
            x = torch.cat([self.begin.expand(len(x), 1, -1).to(x.dtype), x], dim=1)
        return x if near is None else x + near.of(flat, start, stop)

    def turns(self, layout: Layout) -> Turns:
        """Rotary angles of all steps."""
        held = torch.cat([layout.at[:1], layout.at[:-1]])  # step 0 holds nothing
        at, held = layout.at.to(self.begin.device), held.to(self.begin.device)
        return turns(at, held, dim=self.dim, dtype=self.begin.dtype)

    def hidden(self, x: Tensor, positions: Turns, caches: Caches | None = None) -> Tensor:
        """Maps (B, n, D) of steps that follow what is cached → what their logits are made of."""
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, positions, caches)
        normed: Tensor = self.norm(x)
        return normed

    def logits(self, hidden: Tensor, stream: int) -> Tensor:
        """Maps (…, D) → (…, K) of the stream's codes."""
        first = sum(self.sizes[:stream])
        part = slice(first, first + self.sizes[stream])
        return F.linear(hidden, self.codes.weight[part], self.bias[part])

    def _start(self, blocks: int) -> None:
        """Fresh weights as GPT-2's: small, what is added to the residual path smaller still."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.begin, std=0.02)
        if self.near is not None:  # as large as what it is added to
            nn.init.normal_(self.near.weight, std=self.near.in_features**-0.5)
        for name, weight in self.blocks.named_parameters():
            if name.endswith(("leave.weight", "project.weight")):
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * blocks))


class Neighbours(NamedTuple):
    """Vectors of the codes near each step, in one table for all codes and kinds of neighbours."""

    vectors: Tensor
    """(V · M + 1, D), the last one zero."""
    cells: Tensor
    """int64 (S, M): positions in the flat codes."""
    base: Tensor
    """int64 (S, M): of each such code's vocabulary and kind, the row of code 0."""
    missing: Tensor
    """bool (S, M): there is none."""

    def of(self, flat: Tensor, start: int, stop: int) -> Tensor:
        """Returns their sums for steps start … stop: (B, n, D)."""
        kinds = self.cells.shape[1]
        rows = flat[:, self.cells[start:stop]] * kinds + self.base[start:stop]  # (B, n, M)
        rows = rows.masked_fill(self.missing[start:stop], len(self.vectors) - 1)
        sums = F.embedding_bag(rows.flatten(0, 1), self.vectors, mode="sum")
        return sums.view(len(flat), -1, sums.shape[1])


class _Run:
    """A pass that keeps keys and values; without a cache each call begins at step 0."""

    def __init__(
        self, network: Transformer, layout: Layout, condition: Condition, *, cached: bool
    ) -> None:
        self.network, self.layout = network, layout
        self.context, self.turns = network.context(layout, condition), network.turns(layout)
        self.near = network.neighbours(layout)
        self.caches = Caches(layout.steps) if cached else None
        self.done = 0

    def __call__(self, flat: Tensor, step: int) -> list[Tensor]:
        start, stop = self.done, step + 1
        held = self.network.held(flat, self.layout, start, stop, self.near)
        x = self.context[:, start:stop] + held
        last = self.network.hidden(x, self.turns.part(start, stop), self.caches)[:, -1]
        if self.caches is not None:
            self.done = stop
        streams = self.layout.streams[step].tolist()
        return [self.network.logits(last, stream) for stream in streams if stream >= 0]


def _sum(table: nn.Embedding, numbers: Tensor, *, empty: Tensor) -> Tensor:
    """Vectors of (…, P) numbers, summed over the slots that are not empty: (…, D)."""
    found: Tensor = table(numbers.clamp_min(0).to(table.weight.device))
    if found.shape[-2] == 1:
        return found[..., 0, :]
    return found.masked_fill(empty[..., None].to(found.device), 0.0).sum(dim=-2)


def _waves(layout: Layout) -> Tensor:
    """Sines and cosines of the distances from the first and to the last edges: (S, A·4·SPEEDS)."""
    distances = torch.cat([layout.at, layout.size - 1 - layout.at], dim=1)  # (S, 2A)
    # From neighbours, half a turn apart, to signals of some thousand steps.
    speeds = math.pi * 4096.0 ** -torch.linspace(0, 1, SPEEDS, dtype=torch.float64)
    angles = (distances[:, :, None] * speeds.to(distances.device)).flatten(1)
    return torch.cat([angles.sin(), angles.cos()], dim=1)

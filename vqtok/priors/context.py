"""Context model: what packing codes goes by; a few passes over interlaced positions.

The checkerboard of He et al. 2021 (arXiv:2103.15306), with seven passes instead of two, over codes
instead of latents: the codes that are known around a position, embedded, go through a perceptron
that gives a cell of the codebook, and then the entry in it. Entries that are alike share a cell:
the codebook is halved along its main axis, over and over.

Weights, activations and embeddings are rounded as ``codes.packed.context`` rounds them, which
computes the same in integers; ``packed`` makes that model. It knows no classes, and what is far
away it does not see, so as a source of samples other priors are better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqtok.codes.packed import context, interlaced
from vqtok.codes.spec import CodeSpec
from vqtok.priors._autoregressive import Autoregressive
from vqtok.priors._network import Condition, Run
from vqtok.priors._patterns import Layout, layout

_HOLE = -1e4
"""Logit of an entry that the codebook does not have."""


@dataclass(frozen=True)
class Config:
    """Sizes of the network.

    Attributes:
        width: Of the hidden layers.
        blocks: Residual layers after the first one.
        embedding: E, dimensions in which codes that are given are embedded.
        query: D, dimensions in which the entries of a cell are told apart.
        near: Known positions around a code that are given to it.
        across: Of each coarser level or stage, positions within so many steps are given too.
    """

    width: int = 256
    blocks: int = 2
    embedding: int = 16
    query: int = 32
    near: int = 24
    across: int = 1

    def __post_init__(self) -> None:
        if min(self.width, self.embedding, self.query) < 1:
            raise ValueError("width, embedding and query must be positive")
        if min(self.blocks, self.near, self.across) < 0 or max(self.near, self.across) > 1000:
            raise ValueError("blocks, near and across must be 0 or more, the last two up to 1000")

    def build(
        self, *, spec: CodeSpec, entries: Sequence[np.ndarray] = (), **others: Any
    ) -> Context:
        """Make the prior of codes of this spec, with fresh weights.

        Args:
            spec: Of the codes.
            entries: (K, d) of each level or stage: where alike entries are known to be alike.
            others: Of no effect.
        """
        return Context(self, spec, Network(self, spec, entries))


class Context(Autoregressive):
    """The prior, and the model of integers that it becomes."""

    def packed(self) -> context.ContextModel:
        """Round the weights: what ``.vqz`` is packed with."""
        return cast(Network, self.network).packed(self.spec)


class Places(NamedTuple):
    """Says where a pass lies in the sequence of all streams."""

    cells: Tensor
    """int64 (n,)."""
    given: Tensor
    """int64 (n, contexts); one after the last: nothing is there."""


class Network(nn.Module):
    """The network: flat codes → what each of them costs.

    Raises:
        ConfigError: codes that are neither in grids nor in frames.
    """

    def __init__(self, config: Config, spec: CodeSpec, entries: Sequence[np.ndarray]) -> None:
        super().__init__()
        self.config, self.spec = config, spec
        self.streams = interlaced.streams_of(spec)
        self.passes = interlaced.passes_of(self.streams, near=config.near, across=config.across)
        sizes = [stream.size for stream in self.streams]
        splits = [interlaced.split_bits(size) for size in sizes]
        self.starts = np.cumsum([0, *sizes]).tolist()
        width, wide = config.width, config.query
        self.embedding = nn.Embedding(sum(sizes) + 1, config.embedding)
        self.first = nn.ModuleList(
            nn.Linear(len(each.context) * config.embedding, width) for each in self.passes
        )
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(config.blocks))
        self.cells = nn.ModuleList(nn.Linear(width, cells) for cells, _ in splits)
        self.queries = nn.ModuleList(nn.Linear(width, wide) for _ in splits)
        self.turns = nn.ParameterList(torch.randn(cells, wide) * 0.1 for cells, _ in splits)
        self.keys = nn.ParameterList(torch.randn(cells * n, wide) * 0.3 for cells, n in splits)
        self.bias = nn.ParameterList(torch.zeros(cells * n) for cells, n in splits)
        self.offset = nn.Parameter(torch.zeros(len(self.passes), max(n for n, _ in splits)))
        for number, size in enumerate(sizes):
            vectors = entries[number] if number < len(entries) else None
            self.register_buffer(f"rank{number}", torch.from_numpy(_ranks(vectors, size)))
            self._begin(number, vectors)
        with torch.no_grad():
            self.embedding.weight[-1] = 0.0

    def lay_out(self, extent: tuple[int, ...]) -> Layout:
        """Returns the order of the codes of a signal: a step is a pass."""
        plain = layout(self.spec, extent, pattern="flat", device=self.offset.device)
        return _in_passes(plain, self._places(extent, plain.shapes))

    def nats(self, flat: Tensor, layout: Layout, condition: Condition) -> Tensor:
        """Returns the cost of each of (B, N) flat codes: (B, N) float32."""
        places = self._places(layout.extent, layout.shapes)
        seen = self._seen(flat, layout)
        out = flat.new_zeros(flat.shape, dtype=self.offset.dtype)
        for number, place in enumerate(places):
            if not len(place.cells):
                continue
            hidden = self._hidden(number, seen[:, place.given])
            codes = flat[:, place.cells]
            costs = self._costs(number, hidden.flatten(0, 1), codes.reshape(-1))
            out[:, place.cells] = costs.reshape(codes.shape)
        return out

    def run(self, layout: Layout, condition: Condition, *, cached: bool) -> Run:
        """Begin a pass along the layout; there is nothing to remember."""
        return _Run(self, layout)

    def logits(self, number: int, flat: Tensor, layout: Layout) -> Tensor:
        """Logits of all entries, of the positions of a pass: (n, B, K)."""
        place = self._places(layout.extent, layout.shapes)[number]
        stream = self.passes[number].stream
        seen = self._seen(flat, layout)
        hidden = self._hidden(number, seen[:, place.given]).transpose(0, 1)  # (n, B, W)
        high = self._cell_logits(number, hidden).log_softmax(-1)
        cells, each = interlaced.split_bits(self.streams[stream].size)
        query = _rounded(self.queries[stream](hidden), context.QUERY_BITS)[..., None, :]
        query = (query + self._turn(stream)).clamp(-_QUERY, _QUERY)  # (n, B, cells, D)
        keys = self._key(stream).reshape(cells, each, -1)
        low = torch.einsum("nbcd,ced->nbce", query, keys) + self._biases(stream)
        joint = (high[..., None] + low.log_softmax(-1)).flatten(-2)
        return joint[..., self._rank(stream)]

    def packed(self, spec: CodeSpec) -> context.ContextModel:
        """Round the weights to integers; the spec carries the tokenizer's fingerprint."""
        tensors: dict[str, np.ndarray] = {}
        bits: dict[str, int] = {}
        with torch.no_grad():
            embedding = self.embedding.weight
            tensors["embedding"] = _integers(embedding, context.EMBEDDING_BITS, 127, np.int8)
            tensors["offset"] = _integers(self.offset, context.LOGIT_BITS, 32767, np.int16)
            layers = {f"first{i}": (each, context.EMBEDDING_BITS) for i, each in _all(self.first)}
            for name, group in (("block", self.blocks), ("cell", self.cells)):
                layers |= {f"{name}{i}": (x, context.ACTIVATION_BITS) for i, x in _all(group)}
            layers |= {f"query{i}": (x, context.ACTIVATION_BITS) for i, x in _all(self.queries)}
            for name, (layer, given) in layers.items():
                found = context.rounded(layer.weight.T.double().cpu().numpy())
                tensors[f"{name}.weight"] = np.ascontiguousarray(found.values.astype(np.int8))
                bits[name] = found.bits
                most = (1 << 23) - 1
                tensors[f"{name}.bias"] = _integers(layer.bias, given + found.bits, most, np.int32)
            for number in range(len(self.streams)):
                found = context.rounded(self.keys[number].double().cpu().numpy())
                tensors[f"keys{number}"], bits[f"keys{number}"] = (
                    found.values.astype(np.int8),
                    found.bits,
                )
                turn, bias = self.turns[number], self.bias[number]
                tensors[f"turn{number}"] = _integers(turn, context.QUERY_BITS, 127, np.int8)
                tensors[f"bias{number}"] = _integers(bias, context.LOGIT_BITS, 32767, np.int16)
                tensors[f"rank{number}"] = self._rank(number).cpu().numpy().astype(np.uint16)
        config = self.config
        return context.ContextModel(
            spec, near=config.near, across=config.across, bits=bits, tensors=tensors
        )

    def _places(
        self, extent: tuple[int, ...], shapes: tuple[tuple[int, ...], ...]
    ) -> tuple[Places, ...]:
        return _places(self.streams, self.passes, shapes, self.offset.device)

    def _seen(self, flat: Tensor, layout: Layout) -> Tensor:
        """Returns rows of the embedding: (B, N + 1), the last one of what is outside."""
        grids = interlaced.Grids.of(self.streams, layout.shapes)
        sizes = np.diff(grids.starts)
        starts = np.repeat(self.starts[:-1], sizes)
        rows = flat + torch.from_numpy(starts).to(flat.device)
        return F.pad(rows, (0, 1), value=self.starts[-1])

    def _hidden(self, number: int, given: Tensor) -> Tensor:
        """Features of positions: (B, n, contexts) rows of the embedding → (B, n, W)."""
        table = _rounded(self.embedding.weight, context.EMBEDDING_BITS).clamp(-_EMBEDDED, _EMBEDDED)
        state: Tensor = self.first[number](F.embedding(given, table).flatten(2))
        hidden = _activated(state)
        for block in self.blocks:
            state = state + block(hidden)
            hidden = _activated(state)
        return hidden

    def _cell_logits(self, number: int, hidden: Tensor) -> Tensor:
        stream = self.passes[number].stream
        out: Tensor = self.cells[stream](hidden)
        return out + self.offset[number, : out.shape[-1]]

    def _costs(self, number: int, hidden: Tensor, codes: Tensor) -> Tensor:
        """Nats of (m,) codes, given (m, W) features."""
        stream = self.passes[number].stream
        cells, each = interlaced.split_bits(self.streams[stream].size)
        ranks = self._rank(stream)[codes]
        high, low = ranks // each, ranks % each
        cost = F.cross_entropy(self._cell_logits(number, hidden), high, reduction="none")
        query = _rounded(self.queries[stream](hidden), context.QUERY_BITS)
        query = (query + self._turn(stream)[high]).clamp(-_QUERY, _QUERY)
        # Cell by cell: the keys of each are then read once, not for every code.
        order = high.argsort(stable=True)
        counts = high.bincount(minlength=cells).tolist()
        keys, bias = self._key(stream).reshape(cells, each, -1), self._biases(stream)
        found = [
            torch.addmm(bias[cell], part, keys[cell].T)
            for cell, part in enumerate(torch.split(query[order], counts))
            if len(part)
        ]
        inner = F.cross_entropy(torch.cat(found), low[order], reduction="none")
        return cost + torch.zeros_like(cost).index_copy(0, order, inner)

    def _rank(self, stream: int) -> Tensor:
        return cast(Tensor, getattr(self, f"rank{stream}"))

    def _turn(self, stream: int) -> Tensor:
        return _rounded(self.turns[stream], context.QUERY_BITS)

    def _key(self, stream: int) -> Tensor:
        return cast(Tensor, self.keys[stream])

    def _biases(self, stream: int) -> Tensor:
        """Returns (cells, entries): logits without a context, holes far below."""
        size = self.streams[stream].size
        cells, each = interlaced.split_bits(size)
        bias: Tensor = self.bias[stream]
        if size < cells * each:
            holes = torch.ones_like(bias, dtype=torch.bool)
            holes[self._rank(stream)] = False
            bias = bias.masked_fill(holes, _HOLE)
        return bias.reshape(cells, each)

    def _begin(self, number: int, vectors: np.ndarray | None) -> None:
        """Let embeddings and keys begin as the entries themselves, where these are known."""
        if vectors is None:
            nn.init.normal_(self.embedding.weight[self.starts[number] : self.starts[number + 1]])
            return
        scaled = torch.from_numpy(_scaled(vectors)).float()
        rows = self.embedding.weight.data[self.starts[number] : self.starts[number + 1]]
        count = min(rows.shape[1], scaled.shape[1])
        rows[:, :count] = scaled[:, :count] * 0.7
        rank, keys = self._rank(number), self.keys[number].data
        count = min(keys.shape[1], scaled.shape[1])
        keys[rank, :count] = scaled[:, :count] * 0.5


class _Run:
    """A pass along a layout, without memory."""

    def __init__(self, network: Network, layout: Layout) -> None:
        self.network, self.layout = network, layout
        self.passes = [
            number
            for number, place in enumerate(network._places(layout.extent, layout.shapes))
            if len(place.cells)
        ]

    def __call__(self, flat: Tensor, step: int) -> list[Tensor]:
        return list(self.network.logits(self.passes[step], flat, self.layout))


class _Rounding(torch.autograd.Function):
    """Rounds to integers; gradients pass (Bengio et al. 2013, arXiv:1308.3432)."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(context: Any, *gradients: Any) -> Any:
        return gradients[0]


_EMBEDDED = 127 / 2**context.EMBEDDING_BITS
_QUERY = context.QUERY_TOP / 2**context.QUERY_BITS
_TOP = context.ACTIVATION_TOP / 2**context.ACTIVATION_BITS


def _rounded(x: Tensor, bits: int) -> Tensor:
    out = cast(Tensor, _Rounding.apply(x * 2.0**bits))  # type: ignore[no-untyped-call]
    return out * 2.0**-bits


def _activated(state: Tensor) -> Tensor:
    return _rounded(state.clamp(0, _TOP), context.ACTIVATION_BITS)


def _integers(x: Tensor, bits: int, most: int, dtype: Any) -> np.ndarray:
    found = np.rint(x.detach().double().cpu().numpy() * 2.0**bits)
    return found.clip(-most, most).astype(dtype)


def _all(group: nn.ModuleList) -> list[tuple[int, nn.Linear]]:
    return [(number, cast(nn.Linear, each)) for number, each in enumerate(group)]


def _scaled(vectors: np.ndarray) -> np.ndarray:
    centred = vectors.astype(np.float64) - vectors.mean(axis=0)
    spread: np.ndarray = centred / np.maximum(centred.std(axis=0), 1e-9)
    return spread


def _ranks(vectors: np.ndarray | None, size: int) -> np.ndarray:
    """Order entries so that alike ones are neighbours: halves along the main axis, and again."""
    if vectors is None:
        return np.arange(size)
    cells, each = interlaced.split_bits(size)
    scaled, order = _scaled(vectors), [np.arange(size)]
    full = cells * each
    while full > 1:  # the first part takes all that it has room for
        full //= 2
        halves = []
        for part in order:
            inner = scaled[part] - scaled[part].mean(axis=0) if len(part) else scaled[part]
            axis = np.linalg.svd(inner.T @ inner)[0][:, 0]
            sorted_ = part[np.argsort(inner @ axis, kind="stable")]
            halves += [sorted_[:full], sorted_[full:]]
        order = halves
    rank = np.empty(size, dtype=np.int64)
    for place, part in enumerate(order):
        rank[part] = place
    return rank


@lru_cache(maxsize=32)
def _places(
    streams: tuple[interlaced.Stream, ...],
    passes: tuple[interlaced.Pass, ...],
    shapes: tuple[tuple[int, ...], ...],
    device: torch.device,
) -> tuple[Places, ...]:
    grids = interlaced.Grids.of(streams, shapes)
    made = []
    for each in passes:
        positions = grids.positions(each)
        found = grids.cells(each, positions), grids.given(each, positions)
        made.append(Places(*(torch.from_numpy(array).to(device) for array in found)))
    return tuple(made)


def _in_passes(plain: Layout, places: tuple[Places, ...]) -> Layout:
    """Returns a layout whose steps are passes."""
    found = [place.cells for place in places if len(place.cells)]
    cells = torch.nn.utils.rnn.pad_sequence(found, batch_first=True, padding_value=-1)
    first = torch.stack([each[0] for each in found])
    back = torch.empty(plain.count, dtype=torch.int64, device=cells.device)
    back[plain.cells[:, 0]] = torch.arange(plain.count, device=cells.device)
    at = back[first]
    return Layout(
        extent=plain.extent,
        shapes=plain.shapes,
        cells=cells,
        streams=plain.streams[back[cells.clamp(min=0)], 0].masked_fill(cells < 0, -1),
        at=plain.at[at],
        size=plain.size,
        positions=plain.positions[at],
        near=plain.near[at],
        groups=plain.groups,
        inverse=plain.inverse,
    )

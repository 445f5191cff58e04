"""Exact nearest-entry search at the speed of one matrix product, without an N x K matrix.

Scores |e|² - 2 z·e come from float32 products, block by block, |e|² folded in as one more column.
Their rounding differs with block shape, thread count and device, and could swap two entries at
nearly equal distance. So each row also keeps its second best score, and the few rows whose two best
lie within the product's error bound are decided again in float64. What comes out is the answer of
float64 distances, whatever the batch or the machine.

Where it pays, ``prescreen`` decides most rows at half the cost, with the same answer. That depends
on the data: entries that lie close together, for their distance from the mean, are left to float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vqtok.quantizers.search import prescreen
from vqtok.quantizers.search.candidates import NearTies, all_distances, distances
from vqtok.quantizers.search.product import bound, multiply, scratch, slices

BUFFER = 1 << 21
"""Floats in the score buffer: 8 MB stay in a last-level cache."""
INSIDE = 1 << 20
"""Floats of rows, and of winning groups, that share the calls around the products."""
TILE = 1 << 13
"""Entries scored at once."""
KEPT = 1 << 22
"""Entries' floats up to which tiles are kept between calls (16 MB, and 8 in bfloat16)."""
PAIRS = 1 << 18
"""Floats per block of the float64 check."""
ROUNDED = 1 + 2.0**-40
"""More than float64 can round a limit by."""
TRUSTED = 64
"""Steps of training over which a codebook counts as crowded if it was; codes are the same."""


class Packed:
    """A codebook made ready for ``nearest``.

    Args:
        codebook: (K, d) float; must not change while this is in use.
        earlier: The same codebook a step of training ago, as crowded as this one for some time.
    """

    def __init__(self, codebook: Tensor, *, earlier: Packed | None = None) -> None:
        self.entries = codebook.detach().float().contiguous()
        # Far from the origin |e|² - 2 z·e would cancel to noise: all is relative to the mean entry.
        self.centre = self.entries.mean(dim=0)
        self._kept = self.entries.numel() <= KEPT
        self._tiles: list[tuple[int, Tensor]] | None = None
        self._screen: prescreen.Screen | None = None
        self._firsts: Tensor | None = None
        self._age: int = (earlier._age + 1) % TRUSTED if earlier and earlier.crowded() else 0

    def crowded(self) -> bool:
        """Checks whether entries are known to lie too close together for bfloat16 to pay."""
        return self._age > 0 or (self._screen is not None and self._screen.crowded)

    def tiles(self) -> Iterator[tuple[int, Tensor]]:
        """Blocks of the codebook: the first entry, (d + 1, M, g) as ``_fill`` makes it.

        A tile may be gone when the next one comes.
        """
        if self._kept and self._tiles is None:
            self._tiles = list(self._pack(keep=True))
        return iter(self._tiles) if self._tiles is not None else self._pack()

    def screen(self) -> prescreen.Screen:
        """Returns the codebook in bfloat16."""
        if self._screen is None:
            self._screen = prescreen.Screen(self.entries, self.centre, tile=TILE, keep=self._kept)
        return self._screen

    def firsts(self) -> Tensor:
        """Returns (K,) bool: False for copies of an earlier entry."""
        if self._firsts is None:
            entries = self.entries.cpu().numpy()
            # Sorting whole entries would need several copies of the codebook: sort hashes instead,
            # and compare each entry with the first of its hash.
            draw = np.random.default_rng(0).integers
            weights = draw(1 << 63, size=entries.shape[1], dtype=np.uint64)
            blocks = slices(len(entries), PAIRS // entries.shape[1] + 1)
            hashes = [(entries[rows].view(np.uint32) * weights).sum(axis=1) for rows in blocks]
            _, first, group = np.unique(
                np.concatenate(hashes), return_index=True, return_inverse=True
            )
            earlier = first[group]
            same = [(entries[rows] == entries[earlier[rows]]).all(axis=1) for rows in blocks]
            firsts = ~np.concatenate(same) | (earlier == np.arange(len(entries)))
            self._firsts = torch.from_numpy(firsts).to(self.entries.device)
        return self._firsts

    def _pack(self, *, keep: bool = False) -> Iterator[tuple[int, Tensor]]:
        for start in range(0, len(self.entries), TILE):
            entries = self.entries[start : start + TILE]
            shape = (entries.shape[1] + 1, _groups(len(entries)) * _width(len(entries)))
            tile = entries.new_empty(shape) if keep else scratch("tile", shape, entries.device)
            _fill(tile, entries, self.centre)
            yield start, tile.view(len(tile), _groups(len(entries)), -1)


class PackedOnce:
    """Keeps a codebook packed until a tensor that it is made of changes."""

    def __init__(self) -> None:
        self._kept: tuple[tuple[int, ...], Packed] | None = None

    def __call__(self, sources: Sequence[Tensor], make: Callable[[], Tensor]) -> Packed:
        """Pack the (K, d) codebook that ``make`` computes of ``sources``."""
        if any(each.is_inference() for each in sources):  # they do not count their versions
            return Packed(make())
        key = tuple(number for each in sources for number in (each.data_ptr(), each._version))
        if self._kept is None or self._kept[0] != key:
            earlier = self._kept[1] if self._kept is not None else None
            self._kept = key, Packed(make(), earlier=earlier)
        return self._kept[1]


def _groups(size: int) -> int:
    """Groups of at most 128 entries, or 256 where there are many."""
    return -(-size // (256 if size > 2048 else 128))


def _width(size: int) -> int:
    """Entries per group; the last group may need filling up."""
    return -(-size // _groups(size))


def _fill(tile: Tensor, entries: Tensor, centre: Tensor) -> None:
    """Write -2 e over |e|² of (k, d) entries into (d + 1, k or more) columns, the rest with +inf.

    In place: a tile of a large codebook is 8 MB, and so would each intermediate result be.
    """
    used, norms = tile[:-1, : len(entries)], tile[-1]
    tile[:-1, len(entries) :] = 0
    torch.sub(entries.t(), centre[:, None], out=used)
    norms.fill_(torch.inf)
    norms[: len(entries)] = 0
    for row in used:
        norms[: len(entries)].addcmul_(row, row)
    used *= -2


@torch.no_grad()
def nearest(z: Tensor, codebook: Tensor | Packed, ties: NearTies | None = None) -> Tensor:
    """Index of the entry at the smallest Euclidean distance from each row; the lowest of equals.

    Args:
        z: (N, d) float; taken as float32, but for float64. A row that holds NaN gets some code in
            range.
        codebook: (K, d) float, or ``Packed`` when it serves many calls.
        ties: How well the rows are known; marks those that could have another code.

    Returns:
        int64 (N,).
    """
    packed = codebook if isinstance(codebook, Packed) else Packed(codebook)
    if z.dtype == torch.float64:
        return _in_float64(z.detach(), packed, ties)
    z = z.detach().float()
    size, dim = packed.entries.shape
    if packed.crowded() or not prescreen.pays(len(z), size, dim, z.device):
        return _search(z, packed, ties)
    codes, undecided = prescreen.prescreen(z, packed.screen(), ties)
    if len(undecided) == len(z):
        return _search(z, packed, ties)
    if len(undecided):
        rest = ties and ties[undecided]
        codes[undecided] = _search(z[undecided], packed, rest)
        if ties and rest:
            ties.found[undecided] = rest.found
    return codes


def _in_float64(z: Tensor, packed: Packed, ties: NearTies | None) -> Tensor:
    """Returns ``nearest`` of float64 rows: in float32, but where their last bits matter."""
    rough = NearTies.of(z.float(), 0.0)
    if ties:
        rough.tolerance.add_(ties.tolerance)
    codes = nearest(z.float(), packed, rough)
    which = rough.found.nonzero().squeeze(1)
    rest = ties and ties[which]
    codes[which] = all_distances(z[which], packed.entries, rest)
    if ties and rest:
        ties.found[which] = rest.found
    return codes


def _search(z: Tensor, packed: Packed, ties: NearTies | None = None) -> Tensor:
    """Returns ``nearest`` by float32 products alone."""
    codes = z.new_empty(len(z), dtype=torch.int64)
    best, second, radius = z.new_empty(3, len(z))
    for start, tile in packed.tiles():
        for rows in slices(len(z), INSIDE // max(128, tile.shape[2], z.shape[1] + 1)):
            left = _left(z[rows], packed)
            value, index, other = _two_smallest(left, tile)
            if start == 0:
                radius[rows] = torch.linalg.vector_norm(left[:, :-1], dim=1)
            else:  # strictly better: an earlier tile keeps its lower index
                index = torch.where(value < best[rows], index + start, codes[rows])
                loser = torch.maximum(value, best[rows])
                other = torch.minimum(torch.minimum(loser, other), second[rows])
                value = torch.minimum(value, best[rows])
            codes[rows], best[rows], second[rows] = index, value, other
    limit = best + _tolerance(radius, best, bound(z.shape[1] + 1))
    if ties:
        square = limit + radius.square()
        limit += ((ties.rivals(square) - square.clamp(min=0)) * 1.001).float()
    unsure = (second <= limit).nonzero().squeeze(1)
    for which in (unsure[rows] for rows in slices(len(unsure), INSIDE // 256)):
        rest = ties and ties[which]
        codes[which] = _decide(z[which], packed, limit[which], rest)
        if ties and rest:
            ties.found[which] = rest.found
    return codes


def _left(z: Tensor, packed: Packed) -> Tensor:
    """Maps (R, d) → (R, d + 1): relative to the centre, and a column of ones for the norms."""
    left = scratch("left", (len(z), z.shape[1] + 1), z.device)
    left[:, -1] = 1
    torch.sub(z, packed.centre, out=left[:, :-1])
    return left


def _two_smallest(left: Tensor, tile: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Finds each row's smallest score in a tile, its index, and the next smallest: (R,) each.

    ``torch.argmin`` is scalar code, so it is kept away from the full scores: the smallest of each
    group (vectorised and threaded), then the first smallest group, then the position inside it.
    """
    count, (_, groups, width) = len(left), tile.shape
    minima = scratch("minima", (count, groups), left.device)
    inside = scratch("inside", (count, width), left.device)
    group = torch.empty(count, dtype=torch.int64, device=left.device)
    row = torch.arange(count, device=left.device)
    for rows, scores in _scores(left, tile):
        torch.amin(scores, dim=2, out=minima[rows])
        group[rows] = _argmin(minima[rows])
        picked = row[: len(scores)] * groups + group[rows]
        torch.index_select(scores.flatten(0, 1), 0, picked, out=inside[rows])
    column = _argmin(inside)
    value = minima[row, group]
    minima[row, group] = torch.inf
    inside[row, column] = torch.inf
    return value, group * width + column, torch.minimum(minima.amin(dim=1), inside.amin(dim=1))


def _scores(left: Tensor, tile: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of rows with their (r, M, g) scores, in a buffer that the next block overwrites.

    All products have one shape out of few, so that each shape's probe is paid for once.
    """
    _, groups, width = tile.shape
    blocks = slices(len(left), max(16, BUFFER // (groups * width)))
    size = blocks[0].stop if blocks else 0
    size += -size % (64 if size > 64 else 16)
    buffer = scratch("scores", (size, groups * width), left.device)
    for rows in blocks:
        part = left[rows]
        padded = F.pad(part, (0, 0, 0, size - len(part))) if len(part) < size else part
        multiply(padded, tile.flatten(1), out=buffer)
        yield rows, buffer[: len(part)].view(len(part), groups, width)


def _argmin(values: Tensor) -> Tensor:
    """First smallest of each row; numpy's argmin is vectorised where torch's is not."""
    if values.device.type == "cpu":
        return torch.from_numpy(values.numpy().argmin(axis=1))
    return values.argmin(dim=1)


def _tolerance(radius: Tensor, best: Tensor, error: float) -> Tensor:
    """Bounds how far rounding lifts the nearest entry's score above the best found: (N,).

    Args:
        radius: (N,) distance of the rows from the centre.
        best: (N,) smallest scores.
        error: Of a product, relative to its terms' absolute values.
    """
    # A rival is no farther from the row than the best entry is, so it is at most this far from the
    # centre; the hundredth covers the error of ``best`` itself.
    rival = 1.01 * (radius + (radius.square() + best).clamp(min=0).sqrt())
    return 2 * error * (2 * radius * rival + rival.square())


def _decide(z: Tensor, packed: Packed, limit: Tensor, ties: NearTies | None) -> Tensor:
    """Nearest entry in float64 of (U, d) rows, among those that score within their ``limit``."""
    pairs: list[tuple[Tensor, Tensor, Tensor]] = []
    least = torch.full((len(z),), torch.inf, dtype=torch.float64, device=z.device)
    left = _left(z, packed)
    for start, tile in packed.tiles():
        for rows, scores in _scores(left, tile):
            near = (scores <= limit[rows, None, None]).flatten(1)[:, : len(packed.entries) - start]
            if int(near.sum()) > 16 * len(near):  # a collapsed codebook: look at each point once
                near &= packed.firsts()[start : start + near.shape[1]]
            row, code = near.nonzero().unbind(1)
            row, code = row + rows.start, code + start
            distance = z.new_empty(len(row), dtype=torch.float64)
            for some in slices(len(row), PAIRS // z.shape[1] + 1):
                distance[some] = distances(z[row[some]], packed.entries[code[some]])
            least.scatter_reduce_(0, row, distance, "amin")
            kept = distance <= (ties.rivals(least) * ROUNDED if ties else least)[row]
            pairs.append((row[kept], code[kept], distance[kept]))
    row, code, distance = (torch.cat(each) for each in zip(*pairs, strict=True))
    winner = distance == least[row]
    codes = torch.full((len(z),), len(packed.entries), dtype=torch.int64, device=z.device)
    codes.scatter_reduce_(0, row[winner], code[winner], "amin")
    codes[codes == len(packed.entries)] = 0  # rows of NaN
    if ties:
        ties.compare(row, code, distance, codes, packed.entries)
    return codes

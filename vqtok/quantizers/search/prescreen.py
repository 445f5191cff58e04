"""A bfloat16 look over the codebook that leaves a few entries per row, the nearest among them.

Where the CPU multiplies bfloat16 natively, that is twice as fast as float32, and half the memory.
Squared distances come out of one product, with |e|² folded in as a high and a low part, and |z|².
They are kept positive, so that their bits, read as int16, have their order: integer minima
are vectorised where bfloat16 ones are not. By how much rounding can have moved a score follows from
the residuals of the rounded inputs (Cauchy-Schwarz). Entries within twice that of the best one go
on to float32 and, where that cannot decide, to float64. Rows that keep too many are handed back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vqtok.quantizers.search.candidates import BLOCK, MOST, Candidates, Integers, NearTies
from vqtok.quantizers.search.product import ROUND_OFF, bound, scratch, slices

BUFFER = 1 << 21
"""Scores at once: 4 MB."""
SHARED = 1 << 10
"""Rows up to which more threads get more scores at once, lest they wait for each other often."""
ROWS = 1 << 14
"""Most rows that run through all tiles together; what they keep is in memory."""
FLOATS = 1 << 21
"""Most numbers in those rows."""
ENOUGH = 512
"""Rows after which to judge whether this is worth it."""
CROWDED = 8
"""Entries kept per row from which on float32 by itself is quicker."""
LEAST = 1 << 20
"""Scores below which the many small steps cost more than the product saves."""
HALF = 2.0**-8
"""Largest relative error of rounding to bfloat16."""
TINY = 2.0**-70
"""Components below this may vanish when squared in float32."""
FOLDED = 3
"""Rows of a tile besides the dimensions: |e|² high and low, and ones for |z|²."""
FAR = 1e36
"""Squared distances that are left to float32."""


def pays(rows: int, size: int, dim: int, device: torch.device) -> bool:
    """Checks whether to look in bfloat16 first."""
    large = rows >= 64 and size >= 128 and dim >= 4 and rows * size >= LEAST
    return large and device.type == "cpu" and bool(torch.backends.mkldnn.enabled) and _native()


@lru_cache(maxsize=1)
def _native() -> bool:
    """Checks whether the CPU multiplies bfloat16, and PyTorch knows."""
    # Without oneDNN the product is a slow loop; older PyTorch does not say what the CPU can do.
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(torch._C._has_mkldnn and known.get("avx512_bf16"))


class Screen:
    """A codebook rounded to bfloat16.

    Args:
        entries: (K, d) float32; must not change while this is in use.
        centre: (d,) what all is relative to.
        tile: Entries scored at once.
        keep: Whether tiles stay in memory between calls.
    """

    def __init__(self, entries: Tensor, centre: Tensor, *, tile: int, keep: bool) -> None:
        self.entries, self.centre, self._tile = entries, centre, tile
        self.radius = self.residual = 0.0
        """Largest norm of an entry, and of what rounding took from one; NaN for a broken one."""
        self.crowded = False
        """Whether entries turned out to lie too close together, for their norms, for bfloat16."""
        made = self._make(keep=keep)
        self._tiles = list(made) if keep else [(start, tile.new_empty(0)) for start, tile in made]
        self._kept = keep

    def tiles(self) -> Iterator[tuple[int, Tensor]]:
        """Blocks of the codebook: the first entry, (d + 3, w, G); entry w·G + g is at (w, g)."""
        return iter(self._tiles) if self._kept else self._make(keep=False)

    def give_up(self) -> None:
        """Remember that the codebook is crowded, and keep no tiles of it."""
        self.crowded, self._tiles = True, []

    def _make(self, *, keep: bool) -> Iterator[tuple[int, Tensor]]:
        for start in range(0, len(self.entries), self._tile):
            entries = self.entries[start : start + self._tile]
            groups = _groups(len(entries))
            shape = (entries.shape[1] + FOLDED, -(-len(entries) // groups) * groups)
            tile = (
                torch.empty(shape, dtype=torch.bfloat16)
                if keep
                else scratch("screen tile", shape, entries.device, torch.bfloat16)
            )
            for some in slices(len(entries), 1024):
                self._fill(tile[:, some], entries[some])
            tile[:, len(entries) :] = 0
            tile[-3, len(entries) :] = torch.inf
            yield start, tile.view(len(tile), -1, groups)

    def _fill(self, tile: Tensor, entries: Tensor) -> None:
        """Write (k, d) entries into (d + 3, k) columns."""
        shifted = entries - self.centre
        rounded = shifted.bfloat16()
        norms = shifted.square().sum(dim=1)
        torch.mul(rounded.t(), -2, out=tile[:-FOLDED])
        tile[-3] = norms
        tile[-2] = norms - tile[-3]
        tile[-1] = 1
        lost = (shifted - rounded).square().sum(dim=1)
        tiny = TINY * math.sqrt(entries.shape[1])
        self.radius = _largest(self.radius, norms) + tiny
        self.residual = _largest(self.residual, lost) + tiny


def _largest(before: float, squares: Tensor) -> float:
    found = math.sqrt(float(squares.max())) * (1 + 2.0**-10)  # ``max`` of a tensor keeps NaN
    return before if found <= before or math.isnan(before) else found


def _groups(size: int) -> int:
    """About twice the square root: few minima to compare, and few entries behind each."""
    return 1 << max(4, (size.bit_length() + 2) // 2)


def prescreen(z: Tensor, screen: Screen, ties: NearTies | None = None) -> tuple[Tensor, Tensor]:
    """Nearest entries of (N, d) rows in float64, and the rows that it leaves undecided.

    With ``ties``, rows that are decided and could have another code are marked there.

    Returns:
        int64 (N,) codes, and int64 (U,) rows whose code is still to be found.
    """
    codes = torch.zeros(len(z), dtype=torch.int64)
    undecided = []
    for rows in slices(len(z), min(ROWS, FLOATS // z.shape[1] + 1)):
        codes[rows], rest = _prescreen(z[rows], screen, ties and ties[rows])
        undecided.append(rest + rows.start)
        if screen.crowded or 2 * len(rest) > rows.stop - rows.start:
            undecided.append(torch.arange(rows.stop, len(z)))
            break
    return codes, torch.cat(undecided)


def _prescreen(z: Tensor, screen: Screen, ties: NearTies | None) -> tuple[Tensor, Tensor]:
    everything = torch.zeros(len(z), dtype=torch.int64), torch.arange(len(z))
    if not screen.radius**2 < FAR:
        return everything
    left, slack = _left(z, screen)
    if ties is not None:  # no two entries are farther apart than twice the radius
        slack += 2 * screen.radius * ties.tolerance
    best = torch.full((len(z),), torch.inf)
    kept = Candidates(slack.isinf())
    found = 0
    for start, tile in screen.tiles():
        size = _block(len(z), tile[0].numel())
        if not trusted(size, len(tile), tile[0].numel()):
            return everything
        for rows, scores in _scores(left, tile, size):
            row, code, value = _near(scores, best[rows], slack[rows], kept.broken[rows])
            inside = code < len(screen.entries) - start
            kept.add(row[inside] + rows.start, code[inside] + start, value[inside])
            found += int(np.bincount(row).clip(max=MOST).sum())
            if start == 0 and rows.stop >= ENOUGH:
                many = found + MOST * int(kept.broken[: rows.stop].sum())
                if many > CROWDED * rows.stop:
                    screen.give_up()
                    return everything
        if len(screen.entries) > start + tile[0].numel():
            kept.drop(limits(best, slack))
    kept.drop(limits(best, slack))
    return kept.nearest(z, screen.entries, ties), kept.broken.nonzero().squeeze(1)


def _block(count: int, columns: int) -> int:
    """Rows of one product: few shapes, so that each one's probe is paid for once."""
    fit = BUFFER // columns
    most = max(64, fit, min(SHARED, fit * torch.get_num_threads()))
    size = slices(count, most)[0].stop
    return int(size + -size % 64)


def _scores(left: Tensor, tile: Tensor, size: int) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of rows with the bits of their (r, w, G) scores, which the next block overwrites."""
    right = tile.flatten(1)
    scores = scratch("screen", (size, right.shape[1]), left.device, torch.bfloat16)
    for start in range(0, len(left), size):
        part = left[start : start + size]
        padded = F.pad(part, (0, 0, 0, size - len(part))) if len(part) < size else part
        torch.mm(padded, right, out=scores)
        view = scores[: len(part)].view(torch.int16)
        yield slice(start, start + len(part)), view.view(len(part), *tile.shape[1:])


def _left(z: Tensor, screen: Screen) -> tuple[Tensor, Tensor]:
    """Returns (N, d + 3) bfloat16 rows, and how far rounding moves their scores: (N,).

    The slack is on one score before it is itself rounded, up to a constant of the row.
    """
    count, dim = z.shape
    left = scratch("screen left", (count, dim + FOLDED), z.device, torch.bfloat16)
    slack = torch.empty(count)
    for rows in slices(count, BLOCK // dim + 1):
        shifted = z[rows] - screen.centre
        rounded = shifted.bfloat16()
        part = left[rows]
        part[:, :dim] = rounded
        part[:, dim : dim + 2] = 1
        square = shifted.square().sum(dim=1)
        lost = shifted.sub_(rounded).square_().sum(dim=1)
        slack[rows] = tolerance(square, lost, screen, dim)
        # Rounded up: whatever a row adds to all its scores changes no order, and they must not be
        # negative.
        part[:, dim + 2] = square * (1 + 2.0**-6) + 2 * slack[rows]
        far = ~((square.sqrt() + screen.radius).square() < FAR)
        if far.any():
            part[far] = 1
            slack[rows][far] = -torch.inf
    return left, slack


def tolerance(square: Tensor, lost: Tensor, screen: Screen, dim: int) -> Tensor:
    """Bounds a float32 score's error, but for what is the same in all of the row: (N,).

    Args:
        square: (N,) squared norms of the rows.
        lost: (N,) squared norms of what rounding took from them.
        screen: Has the largest of the same norms of the entries.
        dim: Dimensions.
    """
    tiny = TINY * math.sqrt(dim)
    norm = square.sqrt() * (1 + 2.0**-10) + tiny
    lost = lost.sqrt() * (1 + 2.0**-10) + tiny
    product = 2 * (lost * screen.radius + (norm + lost) * screen.residual)
    # A split |e|² keeps 16 bits; float32 sums, with room for the ways of different CPUs.
    split = 2 * HALF**2 * screen.radius**2
    summed = 8 * bound(dim + FOLDED) * (norm + screen.radius).square()
    flushed = (dim + FOLDED) * 2.0**-110 * (1 + norm + screen.radius)
    return 1.001 * (product + split + summed + flushed)


def limits(best: Tensor, slack: Tensor) -> Tensor:
    """Returns (N,) int16 bits of the largest score that the nearest entry can have.

    Rounding is monotonous: no more is needed than to round the limit of the unrounded score.
    """
    wide = 1 + 16 * ROUND_OFF
    limit = torch.add(best * ((1 + HALF) * wide), slack, alpha=2 * wide)
    return limit.bfloat16().view(torch.int16)


def _near(
    scores: Tensor, best: Tensor, slack: Tensor, broken: Tensor
) -> tuple[Integers, Integers, Integers]:
    """Row, entry and score of what is within the limits among (r, w, G) scores.

    Updates the rows' best scores, and which are broken, in place.
    """
    count, width, groups = scores.shape
    minima = scores.amin(dim=1)
    least = torch.from_numpy(minima.numpy().min(axis=1))  # too little work to wake threads for
    torch.minimum(best, least.view(torch.bfloat16).float(), out=best)
    limit = limits(best, slack).numpy()
    near = minima.numpy() <= limit[:, None]
    picked = np.flatnonzero(near)
    if len(picked) > MOST // 2 * count:
        many = near.sum(axis=1) > MOST
        broken |= torch.from_numpy(many)
        near[many] = False
        picked = np.flatnonzero(near)
    row = picked // groups
    group = picked - row * groups
    values = scores.numpy()[row, :, group]
    at = np.flatnonzero(values <= limit[row][:, None])
    which = at // width
    column = at - which * width
    return row[which], column * groups + group[which], values.reshape(-1)[at]


@lru_cache(maxsize=256)
def trusted(rows: int, inner: int, columns: int) -> bool:
    """Checks whether products of this shape are summed in float32, then rounded to nearest."""
    generator = torch.Generator().manual_seed(0)
    left = (torch.rand(rows, inner, generator=generator) + 0.5).bfloat16()
    some = torch.rand(inner, min(columns, 67), generator=generator) + 0.5
    right = some.repeat(1, -(-columns // 67))[:, :columns].bfloat16()
    found = torch.mm(left, right)
    some = torch.linspace(0, columns - 1, min(columns, 64)).long()
    exact = left.double() @ right[:, some].double()
    # Half the step between bfloat16 numbers around each sum.
    half = torch.exp2(torch.frexp(exact).exponent.double() - 9)
    return bool(((found[:, some] - exact).abs() <= half + 8 * bound(inner) * exact).all())

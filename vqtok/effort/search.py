"""Choose codes by what the decoder makes of them.

A gradient says for every latent at once in which direction decoded pixels come closer, and the
decoder's mean steepness how far that holds; so every entry of every position has an expected gain
for the price of one decoding and its gradient. The best changes that are not neighbours are made
together, the decoder looks at the result, and each change stays only if the errors around it fell.

What is decided depends on the picture, the model and the effort alone: windows are of a fixed form,
and where rounding in float32 could turn a decision, both looks are taken again in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import count, pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vqtok.codes.container import Codes
from vqtok.effort.choices import Choice, choose
from vqtok.effort.network import Look, Network
from vqtok.tokenizers.exact.tiling2d import Tile

TILE = 640
"""Pixels per side of a tile at most; each is searched by itself, after those before it."""

AROUND = 48
"""Pixels around a tile that its errors are counted in."""

CAUTION = 1.7
"""Times the mean steepness that a change is expected to meet: latents that move most, and the
largest of many expectations, are worse than the mean."""

ACTIVITY = 0.2
"""Power of a picture's activity that it grows with: decoders are flatter where little happens."""

MARGIN = 1.3
"""Times the steepness that a change met, to expect of the next one there."""

MET = (0.2, 6.0)
"""Least and most of that steepness, by the mean one."""

FINE = 2
"""Steps in an octave of steepness."""

RELAX = 0.1
"""Octaves of steepness by which caution falls at each pass where nothing was tried."""

BOLDER = 0.5
"""The same where nothing promised anything: that costs no gradient."""

TRIES = 4
"""Times that this is done before a search ends."""

LEARNT = 0.7
"""Share of what a change met in what is expected there from then on, by its logarithm."""

NEARBY = 0.3
"""The same at the positions around it that did not change."""

REFUSED = 1.1
"""Times that caution grows at a position whose change was taken back, besides."""

WORTH = 0.02
"""Share of a position's mean error that a change must promise."""

SMALLEST = 1e-6
"""Error of a pixel that is none."""

Read = Callable[[slice, slice], np.ndarray]


class Search:
    """Searches the codes of pictures.

    Args:
        network: The decoder.
        passes: Gradients that are taken.
    """

    def __init__(self, network: Network, *, passes: int) -> None:
        self._network, self._passes = network, passes

    def refine(self, codes: Codes, read: Read) -> Codes:
        """Choose the codes of one picture, given those of the nearest entries.

        Args:
            codes: numpy codes, batch 1, with as many stages as are searched.
            read: Rows and columns → (C, h, w) float32 in [-1, 1].
        """
        height, width = codes.extent
        cut = list(tiles((height, width), stride=self._network.strides[0]))
        arrays = [np.array(level) for level in codes.levels]
        stride, device = self._network.strides[0], self._network.device
        for tile in cut:
            rows, columns = tile.window(stride)
            x = read(
                slice(rows.start, min(rows.stop, height)),
                slice(columns.start, min(columns.stop, width)),
            )
            given, owned = list[Tensor](), list[Tensor]()
            for level, array in enumerate(arrays):
                window = array[(0, ..., *tile.window(1 << level))].astype(np.int64)
                window = window[None] if window.ndim == 2 else window
                given.append(torch.from_numpy(window).to(device))
                mask = torch.zeros(window.shape[1:], dtype=torch.bool, device=device)
                mask[tile.inner(1 << level)] = True
                owned.append(mask)
            run = Run(self._network, torch.from_numpy(np.ascontiguousarray(x)))
            found = run.search(given, owned, passes=self._passes)
            for level, (array, chosen) in enumerate(zip(arrays, found, strict=True)):
                inner = chosen[(..., *tile.inner(1 << level))].cpu().numpy()
                array[(0, ..., *tile.owned(1 << level))] = inner if array.ndim == 4 else inner[0]
        result = Codes(codes.spec, tuple(arrays), codes.extent)
        if len(cut) > 1:  # what tiles change beyond what they see of each other is small, not zero
            totals = [self._network.total(each, read) for each in (codes, result)]
            return result if totals[1] < totals[0] else codes
        return result


def tiles(size: tuple[int, int], *, stride: int) -> Iterator[Tile]:
    """Cut a picture into tiles of about the same size, row by row, each with some cells around.

    Args:
        size: (H, W) pixels.
        stride: Pixels per position of the coarsest grid.
    """
    around = -(-AROUND // stride)
    sides = []
    for side in size:
        cells = -(-side // stride)
        count = -(-side // TILE)
        ends = [cells * index // count for index in range(count + 1)]
        sides.append([(a, b, min(around, a), min(around, cells - b)) for a, b in pairwise(ends)])
    for top, bottom, above, below in sides[0]:
        for left, right, before, behind in sides[1]:
            yield Tile(top, left, bottom, right, above, before, below, behind)


class Run:
    """Searches the codes of one window.

    Args:
        network: The decoder.
        x: (C, H, W) in [-1, 1], what of the window is inside the picture.
    """

    def __init__(self, network: Network, x: Tensor) -> None:
        self._network, self._x = network, x.to(network.device)
        self._exact: dict[int, tuple[Look, Look]] = {}

    def search(
        self, codes: Sequence[Tensor], owned: Sequence[Tensor], *, passes: int
    ) -> Sequence[Tensor]:
        """Choose codes whose errors add up to no more than before.

        Args:
            codes: Of each level, (Q, h, w).
            owned: Of each level, (h, w) bool: what may change.
            passes: Gradients that are taken.
        """
        network = self._network
        now = best = network.look(self._x, codes, gradients=True)
        least = self._least(now)
        weights = [network.weights(self._x, level, mask.shape) for level, mask in enumerate(owned)]
        caution = [
            math.log2(CAUTION) + ACTIVITY * network.activity(self._x, level, mask.shape).log2()
            for level, mask in enumerate(owned)
        ]
        resting = [torch.zeros_like(mask) for mask in owned]
        kept, idle, taken = list(codes), 0, 0
        for number in count():
            if taken == passes or idle == TRIES * len(codes):
                break
            level = len(codes) - 1 - number % len(codes)  # the finest first
            free = owned[level] & ~resting[level]
            steps = weights[level] * torch.exp2(caution[level])
            choice = self._choose(now, level, kept[level], steps, free, least)
            if not bool(choice.changed.any()) and _same(kept, now.codes):
                idle += 1
                caution[level] -= BOLDER
                continue
            idle, taken = 0, taken + 1
            tried = [*kept[:level], choice.codes, *kept[level + 1 :]]
            after = network.look(self._x, tried, gradients=taken < passes)
            worse = choice.changed & ~self._fell(now, after, level, choice.changed)
            move = network.moves(level, kept[level], choice.codes)
            met = self._met(now, after, level, choice.changed, move, weights[level])
            caution[level] = _learnt(caution[level], choice.changed, met)
            caution[level] += worse * math.log2(REFUSED) - RELAX * ~choice.changed
            kept[level] = torch.where(worse, kept[level], choice.codes)
            resting = self._near(worse, level, owned)
            best = self._better(best, after)
            now = after
            self._forget(now, best)
        if not _same(kept, now.codes):
            best = self._better(best, network.look(self._x, kept, gradients=False))
        return best.codes

    def _least(self, look: Look) -> float:
        """Find the gain, by pixels of a position, that is worth a change: a power of two."""

        def share(look: Look) -> float:
            return math.log2(max(SMALLEST, WORTH * look.total / (self._x[0].numel())))

        found = share(look)
        if abs(found - round(found)) < 1e-4:
            found = share(self._exactly(look))
        return float(2.0 ** math.floor(found))

    def _choose(
        self,
        look: Look,
        level: int,
        codes: Tensor,
        steps: Tensor,
        free: Tensor,
        least: float,
    ) -> Choice:
        """Choose what to change, by float64 where float32 could err."""
        network = self._network

        def choice(look: Look, error: float) -> Choice:
            return choose(
                network.levels[level],
                look.gradients[level],
                codes,
                steps=steps,
                free=free,
                least=least * network.strides[level] ** 2,
                error=error,
            )

        found = choice(look, network.gradient_error)
        return choice(self._exactly(look), 0.0) if found.near_tie else found

    def _fell(self, before: Look, after: Look, level: int, changed: Tensor) -> Tensor:
        """Tell where the errors around a position fell, (h, w) bool; of those that changed."""
        network, shape = self._network, changed.shape

        def change(before: Look, after: Look) -> Tensor:
            return network.around(after.errors - before.errors, level, shape)

        found = change(before, after)
        scale = network.around(before.errors, level, shape).mean()
        if bool((found[changed].abs() < 2 * network.change_error * scale).any()):
            found = change(self._exactly(before), self._exactly(after))
        return found < 0

    def _met(
        self,
        before: Look,
        after: Look,
        level: int,
        changed: Tensor,
        move: Tensor,
        weights: Tensor,
    ) -> Tensor:
        """Compute how steep it was where something changed, in octaves of the mean steepness.

        A change by d was to raise the errors by s d'Md, less 2 g'd: what they did tells s. It is
        rounded to steps, so that no later decision depends on the rounding of pixels.

        Args:
            before: Where the changes were made.
            after: What came of them.
            level: Of the changes.
            changed: (h, w) bool.
            move: (D, h, w) float64: d.
            weights: (h, w) float64: what of s is the objective's.

        Returns:
            (h, w) float64, in steps of 1 / FINE; of those that changed.
        """
        network = self._network
        along = torch.einsum("dhw,de,ehw->hw", move, network.levels[level].steepness, move)
        unit = torch.where(changed, along * weights, 1.0)

        def octaves(before: Look, after: Look, off: Tensor | float) -> Tensor:
            rise = network.around(after.errors - before.errors, level, changed.shape)
            promised = 2 * (before.gradients[level] * move).sum(dim=0)
            met = ((rise + promised + off) / unit).clamp(*MET)
            return ((met * MARGIN).log2() * FINE).round() / FINE

        sums = network.around(before.errors, level, changed.shape).mean()
        slopes = before.gradients[level].square().mean().sqrt()
        off = 2 * network.change_error * sums
        off = off + 2 * network.gradient_error * slopes * move.norm(dim=0)
        low, high = (octaves(before, after, sign * off) for sign in (-1, 1))
        if bool((low != high)[changed].any()):
            return octaves(self._exactly(before), self._exactly(after), 0.0)
        return low

    def _better(self, best: Look, other: Look) -> Look:
        """Take the look with the smaller sum of errors; the first if they are equal."""
        gain = best.total - other.total
        if abs(gain) < 2 * self._network.change_error * best.total:
            gain = self._exactly(best).total - self._exactly(other).total
        return other if gain > 0 else best

    def _exactly(self, look: Look) -> Look:
        """Take a look again in float64, once."""
        if id(look) not in self._exact:
            gradients = bool(look.gradients)
            exact = self._network.look(self._x, look.codes, gradients=gradients, exact=True)
            self._exact[id(look)] = look, exact
        return self._exact[id(look)][1]

    def _forget(self, *kept: Look) -> None:
        self._exact = {key: pair for key, pair in self._exact.items() if pair[0] in kept}

    def _near(self, worse: Tensor, level: int, owned: Sequence[Tensor]) -> list[Tensor]:
        """Mark around positions whose change was taken back, which no look has seen, each level."""
        strides = self._network.strides
        if not bool(worse.any()):
            return [torch.zeros_like(mask) for mask in owned]
        reach = self._network.levels[level].radius + 1
        marked = F.max_pool2d(worse[None, None].double(), 2 * reach + 1, 1, reach)
        found = []
        for other, mask in enumerate(owned):
            if strides[other] <= strides[level]:
                times = strides[level] // strides[other]
                here = marked.repeat_interleave(times, 2).repeat_interleave(times, 3)
            else:
                times = strides[other] // strides[level]
                here = F.max_pool2d(marked, times, ceil_mode=True)
            found.append(here[0, 0, : mask.shape[0], : mask.shape[1]] > 0)
        return found


def _learnt(caution: Tensor, changed: Tensor, met: Tensor) -> Tensor:
    """Take up what changes met, at their positions and around them; all (h, w), in octaves."""
    count, total = (
        F.avg_pool2d(each[None, None], 3, 1, 1, divisor_override=1)[0, 0]
        for each in (changed.double(), torch.where(changed, met, 0.0))
    )
    nearby = torch.lerp(caution, total / count.clamp(min=1), NEARBY)
    own = torch.lerp(caution, met, LEARNT)
    return torch.where(changed, own, torch.where(count > 0, nearby, caution))


def _same(a: Sequence[Tensor], b: Sequence[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))

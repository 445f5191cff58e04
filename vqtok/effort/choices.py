"""Choose changes of codes by what they are expected to gain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

ROUNDS = 2
"""Times that changes are chosen among positions that have no changed neighbour yet."""

CHUNK = 1 << 22
"""Scores in memory at once."""

ROUNDING = 1e-6
"""Relative error of a score in float32, amply."""

EQUAL = 1e-10
"""Relative difference of scores in float64 that is none: of such entries the first is taken."""


@dataclass(frozen=True, eq=False)
class Level:
    """What is known of a level of codes.

    Attributes:
        tables: Of each stage, (K, D) float64: what an entry adds to the latent.
        steepness: (D, D) float64.
        radius: Neighbours up to here do not change together.
    """

    tables: Sequence[Tensor]
    steepness: Tensor
    radius: int


@dataclass(frozen=True, eq=False)
class Choice:
    """Changes of one level, to be tried together.

    Attributes:
        changed: (h, w) bool.
        codes: (Q, h, w): all codes of the level, with the changes.
        near_tie: Whether rounding in float32 could turn one of them.
    """

    changed: Tensor
    codes: Tensor
    near_tie: bool


def choose(
    level: Level,
    gradient: Tensor,
    codes: Tensor,
    *,
    steps: Tensor,
    free: Tensor,
    least: float,
    error: float,
) -> Choice:
    """Choose the changes that promise most, none of which are neighbours.

    A change of a latent by d is expected to gain 2 g'd - s d'Md: g is the gradient, M the
    steepness, s what a position multiplies it by.

    Args:
        level: Its tables.
        gradient: (D, h, w) float64.
        codes: (Q, h, w).
        steps: (h, w) float64: s.
        free: (h, w) bool: positions that may change.
        least: Gains no larger than that are left.
        error: Of the gradient, by its root mean square; 0 if it was computed in float64.
    """
    g, at, s = gradient.flatten(1).T, codes.flatten(1), steps.flatten()  # (N, D), (Q, N), (N,)
    gains, length = _expected(level, g, at, s)
    slack = 2 * error * float(gradient.square().mean().sqrt()) * length
    # Positions of a regular pattern gain alike: none of them is to win by rounding.
    count = torch.arange(len(gains), device=gains.device, dtype=torch.float64)
    gains *= 1 - 1e-4 * (count * 0.6180339887498949).frac()
    gains = gains.masked_fill(~free.flatten(), -torch.inf)
    shape = codes.shape[1:]
    changed, near = _apart(gains.view(shape), slack.view(shape), level.radius, least)
    (rows,) = changed.flatten().nonzero(as_tuple=True)
    found = at.clone()
    if len(rows):
        stages, entries, gap = _decided(level, g[rows], at[:, rows], s[rows])
        found[stages, rows] = entries
        near = near or bool((gap < slack[rows]).any())
    return Choice(changed, found.view_as(codes), near and error > 0)


def _expected(level: Level, g: Tensor, at: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """Find the largest gain at each position, (N,), and how far its move goes, (N,)."""
    best, length = torch.zeros_like(s), torch.zeros_like(s)
    for table, codes in zip(level.tables, at, strict=True):
        now = table[codes]
        entries = _nearest(table, *_scoring(level, table, now, g, s))
        move = table[entries] - now
        gains = _gains(level, move, g, s)
        length = torch.where(gains > best, move.norm(dim=1), length)
        best = torch.maximum(best, gains)
    return best, length


def _nearest(table: Tensor, norms: Tensor, towards: Tensor) -> Tensor:
    """Find the entries with the least scores: in float32, and those that are close in float64."""
    flipped, single = table.T.float(), norms.float()
    found = towards.new_empty(len(towards), dtype=torch.int64)
    error = 2 * ROUNDING * (norms.abs().max() + towards.norm(dim=1) * table.norm(dim=1).max())
    step = max(1, CHUNK // len(table))
    for start in range(0, len(towards), step):
        part = slice(start, start + step)
        scores = torch.addmm(single, towards[part].float(), flipped, alpha=-2)
        least, entries = scores.min(dim=1)
        scores.scatter_(1, entries[:, None], torch.inf)
        close = scores.amin(dim=1) - least < error[part]
        if bool(close.any()):
            exact = norms - 2 * towards[part][close] @ table.T
            entries[close] = exact.min(dim=1).indices
        found[part] = entries
    return found


def _decided(level: Level, g: Tensor, at: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find stage and entry that gain most, in float64, and how much more than any other.

    Returns:
        int64 (N,), int64 (N,), float64 (N,).
    """
    gains, entries, seconds = [], [], []
    for table, codes in zip(level.tables, at, strict=True):
        norms, towards = _scoring(level, table, table[codes], g, s)
        scores = norms - 2 * towards @ table.T
        least = scores.min(dim=1, keepdim=True).values
        # Of entries that are the same the first is taken, however their scores were rounded.
        same = scores <= least + EQUAL * (norms.abs().max() + least.abs())
        first = same.to(torch.uint8).argmax(dim=1)
        others = scores.masked_fill(same, torch.inf).min(dim=1).values
        gain = _gains(level, table[first] - table[codes], g, s)
        gains.append(gain)
        entries.append(first)
        seconds.append(gain - s * (others - least[:, 0]))
    stacked = torch.stack(gains)
    stage = stacked.argmax(dim=0)
    index = stage[None]
    best = stacked.gather(0, index)[0]
    rest = stacked.scatter(0, index, -torch.inf).max(dim=0).values
    rest = torch.maximum(rest, torch.stack(seconds).max(dim=0).values)
    return stage, torch.stack(entries).gather(0, index)[0], best - rest


def _scoring(
    level: Level, table: Tensor, now: Tensor, g: Tensor, s: Tensor
) -> tuple[Tensor, Tensor]:
    """Give (K,) a and (N, D) b: entry e scores a - 2 b'e, less the more it gains; in units of s."""
    norms = ((table @ level.steepness) * table).sum(dim=1)
    return norms, g / s[:, None] + now @ level.steepness


def _gains(level: Level, move: Tensor, g: Tensor, s: Tensor) -> Tensor:
    """Compute the gain of each move, (N, D): 2 g'd - s d'Md."""
    return 2 * (g * move).sum(dim=1) - s * ((move @ level.steepness) * move).sum(dim=1)


def _apart(gains: Tensor, slack: Tensor, radius: int, least: float) -> tuple[Tensor, bool]:
    """Find positions that gain more than all neighbours, and again among those far from them.

    Args:
        gains: (h, w).
        slack: (h, w): what they may be off by.
        radius: Of a neighbourhood.
        least: Gains no larger are left.

    Returns:
        (h, w) bool, and whether it may be otherwise.
    """
    changed = torch.zeros_like(gains, dtype=torch.bool)
    near = False
    size = 2 * radius + 1
    for _ in range(ROUNDS):
        padded = F.pad(gains, (radius,) * 4, value=-torch.inf)
        around = padded.unfold(0, size, 1).unfold(1, size, 1).flatten(2).clone()  # (h, w, size²)
        around[..., size * size // 2] = -torch.inf
        rival = around.max(dim=2).values.clamp(min=least)
        found = gains > rival
        near = near or bool(((gains - rival).abs() < 2 * slack).any())
        changed |= found
        blocked = F.max_pool2d(found[None, None].double(), size, 1, radius)[0, 0] > 0
        gains = gains.masked_fill(blocked, -torch.inf)
    return changed, near

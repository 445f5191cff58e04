"""Cut a signal that arrives in pieces into segments at fixed positions, each with its context."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class Segment(NamedTuple):
    """A part of a signal that is worked on at once."""

    window: Tensor
    """(…, skip + own + n): with up to ``past`` steps before, and n ≤ ``ahead`` after."""
    skip: int
    """Steps of the window that belong to earlier segments."""
    own: int
    """Steps that belong to this segment."""


def segments(
    pieces: Iterable[Tensor], *, own: int | None, past: int = 0, ahead: int = 0
) -> Iterator[Segment]:
    """Cut at multiples of ``own``, however the pieces fall.

    Args:
        pieces: (…, n) of any lengths, in order.
        own: Steps of a segment, the last one at most so many; None: one segment for all.
        past: Steps before a segment that its window holds.
        ahead: Steps after it.

    Yields:
        The segments in order; none if there are no steps.
    """
    waiting: list[Tensor] = []
    count = skip = 0
    for piece in pieces:
        waiting.append(piece)
        count += piece.shape[-1]
        if own is None or count - skip < own + ahead:
            continue
        held = torch.cat(waiting, dim=-1)
        while held.shape[-1] - skip >= own + ahead:
            yield Segment(held[..., : skip + own + ahead], skip, own)
            held, skip = _moved(held, skip + own, past)
        waiting, count = [held], held.shape[-1]
    held = torch.cat(waiting, dim=-1) if waiting else torch.empty(0)
    while held.shape[-1] > skip:
        left = held.shape[-1] - skip
        step = left if own is None else min(own, left)
        yield Segment(held[..., : skip + step + ahead], skip, step)
        held, skip = _moved(held, skip + step, past)


def _moved(held: Tensor, edge: int, past: int) -> tuple[Tensor, int]:
    """Drop what no later segment sees: the rest, and how much of it lies before ``edge``."""
    keep = min(past, edge)
    return held[..., edge - keep :], keep

"""Cut a signal that arrives in pieces into segments at fixed positions, each with its context."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Steps = TypeVar("Steps", bound=Any)
"""A tensor, or an array of numpy: (…, n)."""


@dataclass(frozen=True)
class Segment(Generic[Steps]):
    """A part of a signal that is worked on at once.

    Attributes:
        window: (…, skip + own + n): with up to ``past`` steps before, and n ≤ ``ahead`` after.
        skip: Steps of the window that belong to earlier segments.
        own: Steps that belong to this segment.
    """

    window: Steps
    skip: int
    own: int


def segments(
    pieces: Iterable[Steps],
    *,
    join: Callable[[list[Steps]], Steps],
    own: int | None,
    past: int = 0,
    ahead: int = 0,
) -> Iterator[Segment[Steps]]:
    """Cut at multiples of ``own``, however the pieces fall.

    Args:
        pieces: (…, n) of any lengths, in order.
        join: Joins pieces along their last axis.
        own: Steps of a segment, the last one at most so many; None: one segment for all.
        past: Steps before a segment that its window holds.
        ahead: Steps after it.

    Yields:
        The segments in order; none if there are no steps.
    """
    waiting: list[Steps] = []
    count = skip = 0
    for piece in pieces:
        waiting.append(piece)
        count += piece.shape[-1]
        if own is None or count - skip < own + ahead:
            continue
        held = join(waiting)
        while held.shape[-1] - skip >= own + ahead:
            yield Segment(held[..., : skip + own + ahead], skip, own)
            held, skip = _moved(held, skip + own, past)
        waiting, count = [held], held.shape[-1]
    if not waiting:
        return
    held = join(waiting)
    while held.shape[-1] > skip:
        left = held.shape[-1] - skip
        step = left if own is None else min(own, left)
        yield Segment(held[..., : skip + step + ahead], skip, step)
        held, skip = _moved(held, skip + step, past)


def _moved(held: Steps, edge: int, past: int) -> tuple[Steps, int]:
    """Drop what no later segment sees: the rest, and how much of it lies before ``edge``."""
    keep = min(past, edge)
    return held[..., edge - keep :], keep

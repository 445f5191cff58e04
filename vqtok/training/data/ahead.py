"""Steps prepared by threads while the model works on earlier ones."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Value = TypeVar("Value")

WAITING = 2
"""Finished steps that may wait, beyond one in the making for every thread."""

MOST = 8


class Closing(Exception):
    """Whoever wanted the step has gone."""


def threads(wanted: int | None) -> int:
    """How many threads read files: as wanted, or by the processor."""
    if wanted is not None:
        return max(0, wanted)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(MOST, usable or 1))


def prepared(
    make: Callable[[int, threading.Event], Value], start: int, *, workers: int
) -> Generator[Value, None, None]:
    """``make(start, …)``, ``make(start + 1, …)`` and so on without end, in order.

    Args:
        make: Makes one step; it should raise ``Closing`` soon after the event is set.
        start: First step.
        workers: Threads; 0: each step is made when it is asked for.

    Raises:
        Exception: what ``make`` raised, at the step where it did.
    """
    closing = threading.Event()
    step = start
    if not workers:
        while True:
            yield make(step, closing)
            step += 1
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="vqtok-data")
    waiting: deque[Future[Value]] = deque()
    try:
        while True:
            while len(waiting) < workers + WAITING:
                waiting.append(pool.submit(make, step, closing))
                step += 1
            yield waiting.popleft().result()
    finally:
        closing.set()
        pool.shutdown(wait=True, cancel_futures=True)

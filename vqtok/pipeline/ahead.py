"""Threads around a model: files are read before it needs them and written after it, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")


def read_ahead(
    items: Iterable[Item], read: Callable[[Item], Value], *, threads: int
) -> Iterator[tuple[Item, Future[Value]]]:
    """Yield each item with the future of ``read(item)``, in order.

    At most ``threads`` results wait beyond the present one, so memory is bounded. Reading starts
    when the first item is asked for, before its result is: the caller can load its model meanwhile.
    """
    waiting: deque[tuple[Item, Future[Value]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="read") as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(read, item)))
                if len(waiting) > threads:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def finish_behind(items: Iterable[Callable[[], Value]], *, threads: int) -> Iterator[Value]:
    """Yield ``finish()`` of each item, in order, run in a thread while the next item is made.

    The next item is made only when at most ``threads`` are unfinished.
    """
    waiting: deque[Future[Value]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="write") as pool:
        try:
            for finish in items:
                waiting.append(pool.submit(finish))
                # Results that are ready are handed on at once: whoever reads the pipe sees them
                # early.
                while waiting and (len(waiting) > threads or waiting[0].done()):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # What is being written is finished, so that no temporary file is left behind; what
            # waits is not begun.
            pool.shutdown(wait=True, cancel_futures=True)

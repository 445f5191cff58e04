"""Threads around a model: files are read before it needs them, results are written after it.

All of it is bounded in memory. ``prefetch`` and ``finish_later`` keep the order of their items;
``run_workers`` gives batches to several workers and yields results as they are made.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar


class Load(Protocol):
    """What readers hand to workers."""

    @property
    def alone(self) -> bool:
        """Tell whether it is a batch by itself."""
        ...


Item = TypeVar("Item")
Value = TypeVar("Value")
Result = TypeVar("Result")
Loaded = TypeVar("Loaded", bound=Load)

Reserve = Callable[[int], None]
"""Called by a reader, once, before it takes memory for so many samples; may wait."""
Check = Callable[[], None]
"""Called by long work now and then: raises ``Stopped`` if nobody wants its result any more."""


class Stopped(BaseException):
    """Ends work that nobody wants; nothing on the way may take it for an item's failure."""


def prefetch(
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


def finish_later(items: Iterable[Callable[[], Value]], *, threads: int) -> Iterator[Value]:
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


@dataclass(frozen=True)
class Limits:
    """Says how many threads work, and how much may wait.

    Attributes:
        readers: Threads that read.
        workers: Threads that run the model.
        batch: Samples that a worker takes at once; one item may be more.
        waiting: Samples that readers, queue and workers hold together; one item may be more.
        count: Items in each queue.
    """

    readers: int
    workers: int
    batch: int
    waiting: int
    count: int = 64


@dataclass
class Timing:
    """Says where time went.

    Attributes:
        workers: Threads that ran the model.
        busy_s: Seconds in which they worked, together.
        wall_s: Seconds from the first item to the last result.
    """

    workers: int = 1
    busy_s: float = 0.0
    wall_s: float = 0.0

    @property
    def busy(self) -> float:
        """Return the fraction of the time in which the model computed, 0 to 1."""
        return self.busy_s / (self.workers * self.wall_s) if self.wall_s else 0.0


def run_workers(
    items: Iterable[Item],
    read: Callable[[Item, Reserve], Loaded],
    work: Callable[[list[Loaded], Check], list[Result]],
    *,
    limits: Limits,
    timing: Timing | None = None,
) -> Iterator[Result]:
    """Yield the results of all items, in the order in which they are made.

    Args:
        items: Taken in order, by one reader at a time.
        read: Item → load, in a reader's thread; it calls ``reserve`` before it takes memory.
        work: Loads → results, in a worker's thread.
        limits: Threads and bounds.
        timing: Filled in.

    Raises:
        Exception: whatever ``items``, ``read`` or ``work`` raised; the rest is given up.
    """
    spent = timing or Timing()
    spent.workers = limits.workers
    begun = time.perf_counter()  # before the first of the threads
    workers: _Workers[Item, Loaded, Result] = _Workers(items, read, work, limits, spent)
    try:
        yield from workers.results()
    finally:
        workers.stop()
        spent.wall_s += time.perf_counter() - begun


class _Workers(Generic[Item, Loaded, Result]):
    """Runs readers and workers. One condition guards all that they share.

    Two queues are bounded in samples, because pictures differ, and in number, because failures
    weigh nothing.
    """

    def __init__(
        self,
        items: Iterable[Item],
        read: Callable[[Item, Reserve], Loaded],
        work: Callable[[list[Loaded], Check], list[Result]],
        limits: Limits,
        timing: Timing,
    ) -> None:
        self._source, self._read, self._work = iter(items), read, work
        self._limits, self._timing = limits, timing
        self._change = threading.Condition()
        self._next = threading.Lock()
        self._turn = threading.Lock()  # one reader asks for memory at a time: none is overtaken
        self._ready: deque[tuple[Loaded, int]] = deque()  # with the samples reserved for it
        self._done: deque[Result] = deque()
        self._held = 0  # samples
        self._reading, self._working = limits.readers, limits.workers
        self._stopped = False
        self._error: BaseException | None = None
        roles = [self._reader] * limits.readers + [self._worker] * limits.workers
        # Daemons: a program that ends in the middle of a batch must not wait for it.
        self._threads = [
            threading.Thread(target=self._guarded, args=(role,), daemon=True) for role in roles
        ]
        for thread in self._threads:
            thread.start()

    def results(self) -> Iterator[Result]:
        """Yield results until the last one, or raise what a thread raised."""
        while True:
            with self._change:
                self._change.wait_for(lambda: self._done or self._error or not self._working)
                if self._error is not None:
                    raise self._error
                batch = list(self._done)
                self._done.clear()
                self._change.notify_all()
            if not batch:
                return
            yield from batch

    def stop(self) -> None:
        """Give up what is not begun, and wait for what is."""
        with self._change:
            self._stopped = True
            self._change.notify_all()
        for thread in self._threads:
            thread.join()

    def _guarded(self, role: Callable[[], None]) -> None:
        error: BaseException | None = None
        try:
            role()
        except BaseException as raised:
            error = raised
        with self._change:
            if role == self._reader:
                self._reading -= 1
            else:
                self._working -= 1
            if error is not None:
                self._stopped = True
                if not isinstance(error, Stopped):
                    self._error = self._error or error
            self._change.notify_all()

    def _reader(self) -> None:
        while not self._stopped:
            with self._next:
                item = next(self._source, self)
            if item is self:
                return
            held: list[int] = []
            load = self._read(item, partial(self._reserve, held))  # type: ignore[arg-type]
            with self._change:
                self._wait_for(lambda: len(self._ready) < self._limits.count)
                self._ready.append((load, sum(held)))
                self._change.notify_all()

    def _reserve(self, held: list[int], samples: int) -> None:
        most = max(0, self._limits.waiting - samples)
        with self._turn, self._change:
            self._wait_for(lambda: self._held <= most)
            self._check()
            self._held += samples
            held.append(samples)

    def _worker(self) -> None:
        while taken := self._take():
            begun = time.perf_counter()
            results = self._work([load for load, _ in taken], self._check)
            with self._change:
                self._timing.busy_s += time.perf_counter() - begun
                self._held -= sum(samples for _, samples in taken)
                self._change.notify_all()
                self._wait_for(lambda: len(self._done) < self._limits.count)
                self._done.extend(results)
                self._change.notify_all()

    def _take(self) -> list[tuple[Loaded, int]]:
        """Take what is ready, up to a batch; nothing at the end."""
        with self._change:
            self._wait_for(lambda: bool(self._ready) or not self._reading)
            if not self._ready or self._stopped:
                return []
            # Shared out: what is ready must not keep one worker busy and the others idle.
            share = -(-len(self._ready) // self._limits.workers)
            taken = [self._ready.popleft()]
            room = self._limits.batch - taken[0][1]
            while self._ready and len(taken) < share and not taken[0][0].alone:
                load, samples = self._ready[0]
                room -= samples
                if load.alone or room < 0:
                    break
                taken.append(self._ready.popleft())
            self._change.notify_all()
            return taken

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        self._change.wait_for(lambda: condition() or self._stopped)

    def _check(self) -> None:
        if self._stopped:
            raise Stopped

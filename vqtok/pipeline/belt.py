"""Readers, a model and a consumer that work at the same time, with bounded queues between them.

Readers fetch items in order and put them on the belt; workers take as much as is ready, up to a
batch; the caller's thread gets results as they are made. What lies between them is bounded: in
samples, because pictures differ, and in number, because failures weigh nothing.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, Protocol, TypeVar


class Load(Protocol):
    """What readers put on the belt."""

    @property
    def alone(self) -> bool:
        """Whether it is a batch by itself."""
        ...


Item = TypeVar("Item")
Result = TypeVar("Result")
Loaded = TypeVar("Loaded", bound=Load)

Reserve = Callable[[int], None]
"""Called by a reader, once, before it takes memory for so many samples; may wait."""
Pulse = Callable[[], None]
"""Called by long work now and then: it ends there if nobody wants it any more."""


@dataclass(frozen=True)
class Size:
    """How many work, and how much may wait.

    Attributes:
        readers: Threads that read.
        workers: Threads that run the model.
        batch: Samples that a worker takes at once; one item may be more.
        waiting: Samples that readers, belt and workers hold together; one item may be more.
        count: Items on the belt.
    """

    readers: int
    workers: int
    batch: int
    waiting: int
    count: int = 64


@dataclass
class Timing:
    """Where time went.

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
        """Fraction of the time in which the model computed, 0 to 1."""
        return self.busy_s / (self.workers * self.wall_s) if self.wall_s else 0.0


def run(
    items: Iterable[Item],
    read: Callable[[Item, Reserve], Loaded],
    work: Callable[[list[Loaded], Pulse], list[Result]],
    *,
    size: Size,
    timing: Timing | None = None,
) -> Iterator[Result]:
    """Yield the results of all items, in the order in which they are made.

    Args:
        items: Taken in order, by one reader at a time.
        read: Item → load, in a reader's thread; it calls ``reserve`` before it takes memory.
        work: Loads → results, in a worker's thread.
        size: Threads and bounds.
        timing: Filled in.

    Raises:
        Exception: whatever ``items``, ``read`` or ``work`` raised; the rest is given up.
    """
    belt: Belt[Item, Loaded, Result] = Belt(items, read, work, size, timing or Timing())
    begun = time.perf_counter()
    try:
        belt.start()
        yield from belt.results()
    finally:
        belt.stop()
        belt.timing.wall_s += time.perf_counter() - begun


@dataclass
class Belt(Generic[Item, Loaded, Result]):
    """The state that the threads share; all of it is guarded by one condition."""

    items: Iterable[Item]
    read: Callable[[Item, Reserve], Loaded]
    work: Callable[[list[Loaded], Pulse], list[Result]]
    size: Size
    timing: Timing
    _ready: deque[tuple[Loaded, int]] = field(default_factory=deque)
    _done: deque[Result] = field(default_factory=deque)
    _held: int = 0
    _reading: int = 0
    _working: int = 0
    _stopped: bool = False
    _error: BaseException | None = None
    _threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._change = threading.Condition()
        self._turn = threading.Lock()  # one reader asks for memory at a time: none is overtaken
        self._source = iter(self.items)
        self._next = threading.Lock()
        self.timing.workers = self.size.workers

    def start(self) -> None:
        """Start all threads."""
        self._reading, self._working = self.size.readers, self.size.workers
        roles = [self._reader] * self.size.readers + [self._worker] * self.size.workers
        # Daemons: a program that ends in the middle of a batch must not wait for it.
        self._threads = [threading.Thread(target=role, daemon=True) for role in roles]
        for thread in self._threads:
            thread.start()

    def results(self) -> Iterator[Result]:
        """Results until the last one."""
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

    def _reader(self) -> None:
        try:
            while not self._stopped:
                with self._next:
                    item = next(self._source, self)
                if item is self:
                    break
                held: list[int] = []
                load = self.read(item, partial(self._reserve, held))  # type: ignore[arg-type]
                with self._change:
                    self._change.wait_for(
                        lambda: len(self._ready) < self.size.count or self._stopped
                    )
                    self._ready.append((load, sum(held)))
                    self._change.notify_all()
        except BaseException as error:
            self._fail(error)
        finally:
            with self._change:
                self._reading -= 1
                self._change.notify_all()

    def _reserve(self, held: list[int], samples: int) -> None:
        most = max(0, self.size.waiting - samples)
        with self._turn, self._change:
            self._change.wait_for(lambda: self._held <= most or self._stopped)
            self._pulse()
            self._held += samples
            held.append(samples)

    def _worker(self) -> None:
        try:
            while taken := self._take():
                begun = time.perf_counter()
                results = self.work([load for load, _ in taken], self._pulse)
                with self._change:
                    self.timing.busy_s += time.perf_counter() - begun
                    self._held -= sum(samples for _, samples in taken)
                    self._change.notify_all()
                    self._change.wait_for(
                        lambda: len(self._done) < self.size.count or self._stopped
                    )
                    self._done.extend(results)
                    self._change.notify_all()
        except BaseException as error:
            self._fail(error)
        finally:
            with self._change:
                self._working -= 1
                self._change.notify_all()

    def _pulse(self) -> None:
        if self._stopped:
            raise Stopped

    def _take(self) -> list[tuple[Loaded, int]]:
        """What is ready, up to a batch; empty at the end."""
        with self._change:
            self._change.wait_for(lambda: self._ready or not self._reading or self._stopped)
            if not self._ready or self._stopped:
                return []
            # Shared out: what is ready must not keep one worker busy and the others idle.
            share = -(-len(self._ready) // self.size.workers)
            taken = [self._ready.popleft()]
            room = self.size.batch - taken[0][1]
            while self._ready and len(taken) < share and not taken[0][0].alone:
                load, samples = self._ready[0]
                room -= samples
                if load.alone or room < 0:
                    break
                taken.append(self._ready.popleft())
            self._change.notify_all()
            return taken

    def _fail(self, error: BaseException) -> None:
        with self._change:
            if not isinstance(error, Stopped):
                self._error = self._error or error
            self._stopped = True
            self._change.notify_all()


class Stopped(BaseException):
    """The caller wants no more. Nothing on the way may take it for an item's misfortune."""

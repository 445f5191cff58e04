"""Threads around a model: everything comes through once, bounded, and stops when it is closed."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.programs import LIMIT_S
from vqtok.pipeline.workers import (
    Check,
    Limits,
    Reserve,
    Timing,
    finish_later,
    prefetch,
    run_workers,
)


@dataclass(frozen=True)
class Load:
    number: int
    samples: int
    alone: bool = False


def read(number: int, reserve: Reserve) -> Load:
    reserve(number % 7)
    return Load(number, number % 7, number % 5 == 0)


def numbers(batch: list[Load], check: Check) -> list[int]:
    return [load.number for load in batch]


@examples(20, many=60)
@given(
    count=st.integers(0, 40),
    readers=st.integers(1, 4),
    workers=st.integers(1, 3),
    batch=st.integers(1, 20),
    waiting=st.integers(1, 30),
    queue=st.integers(1, 5),
)
def test_every_item_comes_out_once(count, readers, workers, batch, waiting, queue) -> None:
    limits = Limits(readers, workers, batch, waiting, queue)
    found = list(run_workers(range(count), read, numbers, limits=limits))
    assert sorted(found) == list(range(count))


def test_batches_are_bounded_and_long_items_are_alone() -> None:
    batches: list[list[Load]] = []

    def work(batch: list[Load], check: Check) -> list[int]:
        batches.append(batch)
        time.sleep(0.002)
        return numbers(batch, check)

    list(run_workers(range(200), read, work, limits=Limits(2, 2, 15, 100)))
    assert all(len(batch) == 1 for batch in batches if any(load.alone for load in batch))
    assert all(sum(load.samples for load in batch) <= 15 for batch in batches)
    assert max(len(batch) for batch in batches) > 1


def test_memory_is_reserved_before_it_is_taken_and_one_large_item_gets_in() -> None:
    held, most, lock = 0, 0, threading.Lock()

    def read(samples: int, reserve: Reserve) -> Load:
        nonlocal held, most
        reserve(samples)
        with lock:
            held += samples
            most = max(most, held)
        return Load(samples, samples)

    def work(batch: list[Load], check: Check) -> list[int]:
        nonlocal held
        time.sleep(0.001)
        with lock:
            held -= sum(load.samples for load in batch)
        return numbers(batch, check)

    sizes = [3, 4, 100, 2, 5, 1, 9, 9, 9, 200, 1] * 5
    found = list(run_workers(sizes, read, work, limits=Limits(4, 2, 10, 10)))
    assert sorted(found) == sorted(sizes)
    assert most == 200  # the largest was alone, and the others never came to more than it


def test_reading_does_not_run_ahead_of_a_slow_consumer() -> None:
    begun = []

    def read(number: int, reserve: Reserve) -> Load:
        begun.append(number)
        return Load(number, 0)

    results = run_workers(range(10_000), read, numbers, limits=Limits(2, 1, 1, 10, count=8))
    next(results)
    time.sleep(0.2)
    assert len(begun) < 200
    results.close()
    assert len(begun) < 200


@pytest.mark.parametrize("where", ["items", "read", "work"])
def test_an_error_anywhere_ends_it_and_is_raised(where: str) -> None:
    def items():
        yield from range(5)
        if where == "items":
            raise ZeroDivisionError
        yield from range(5, 100)

    def read_or_fail(number: int, reserve: Reserve) -> Load:
        return Load(number // (number - 5 if where == "read" else 1), 0)

    def work(batch: list[Load], check: Check) -> list[int]:
        return [1 // (load.number - 5 if where == "work" else 1) for load in batch]

    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        list(run_workers(items(), read_or_fail, work, limits=Limits(2, 2, 4, 10)))
    assert threading.active_count() == before


def test_closing_ends_long_work_at_its_next_check() -> None:
    started = threading.Event()

    def work(batch: list[Load], check: Check) -> list[int]:
        if batch[0].number == 0:
            return [0]
        started.set()
        while True:
            time.sleep(0.01)
            check()

    before = threading.active_count()
    results = run_workers(
        range(2), lambda n, reserve: Load(n, 0, True), work, limits=Limits(1, 1, 1, 1)
    )
    assert next(results) == 0
    assert started.wait(LIMIT_S)
    results.close()
    assert threading.active_count() == before


def test_readers_and_worker_overlap() -> None:
    both = threading.Barrier(2, timeout=LIMIT_S)  # passed only while the other is there too

    def meeting_read(number: int, reserve: Reserve) -> Load:
        if number % 2:
            both.wait()
        return Load(number, 0, True)

    def meeting_work(batch: list[Load], check: Check) -> list[int]:
        if batch[0].number % 2 == 0:
            both.wait()
        return numbers(batch, check)

    limits = Limits(1, 1, 1, 10)
    assert list(run_workers(range(10), meeting_read, meeting_work, limits=limits)) == list(
        range(10)
    )


def test_the_share_of_time_at_work_is_measured() -> None:
    timing = Timing()
    list(run_workers(range(3), read, numbers, limits=Limits(1, 1, 1, 10), timing=timing))
    assert timing.wall_s > 0
    assert 0 < timing.busy <= 1


@pytest.mark.parametrize("threads", [1, 3])
def test_what_is_read_ahead_comes_in_order_and_within_bounds(threads):
    begun: list[int] = []

    def read(item: int) -> int:
        begun.append(item)
        time.sleep(0.002 * (item % 3))
        return item * item

    for count, (item, future) in enumerate(prefetch(range(20), read, threads=threads)):
        assert item == count
        assert future.result() == item * item
        assert len(begun) <= count + 1 + threads


def test_reading_begins_before_the_first_result_is_asked_for():
    begun = threading.Event()
    results = prefetch([1], lambda item: begun.set(), threads=1)
    _, future = next(results)
    assert begun.wait(timeout=LIMIT_S)
    assert future.result() is None


def test_an_error_belongs_to_its_item():
    def read(item: int) -> int:
        if item == 1:
            raise ValueError("one")
        return item

    outcomes = [future.exception() for _, future in prefetch(range(3), read, threads=2)]
    assert [type(each) for each in outcomes] == [type(None), ValueError, type(None)]


def test_what_is_finished_behind_comes_in_order():
    def finish(item: int) -> int:
        time.sleep(0.002 * (3 - item % 3))
        return item

    works = (partial(finish, item) for item in range(20))
    assert list(finish_later(works, threads=3)) == list(range(20))


def test_the_next_is_not_made_while_too_many_are_unfinished():
    gate = threading.Event()
    made: list[int] = []

    def works():
        for item in range(10):
            made.append(item)
            yield partial(gate.wait, LIMIT_S)

    results = finish_later(works(), threads=2)
    consumer = threading.Thread(target=lambda: next(results))
    consumer.start()
    time.sleep(0.05)
    assert len(made) <= 3
    gate.set()
    consumer.join(timeout=LIMIT_S)
    results.close()

"""Threads around a model keep order and bounds."""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest

from tests.programs import LIMIT_S
from vqtok.pipeline.ahead import finish_behind, read_ahead


@pytest.mark.parametrize("threads", [1, 3])
def test_what_is_read_ahead_comes_in_order_and_within_bounds(threads):
    begun: list[int] = []

    def read(item: int) -> int:
        begun.append(item)
        time.sleep(0.002 * (item % 3))
        return item * item

    for count, (item, future) in enumerate(read_ahead(range(20), read, threads=threads)):
        assert item == count
        assert future.result() == item * item
        assert len(begun) <= count + 1 + threads


def test_reading_begins_before_the_first_result_is_asked_for():
    begun = threading.Event()
    results = read_ahead([1], lambda item: begun.set(), threads=1)
    _, future = next(results)
    assert begun.wait(timeout=LIMIT_S)
    assert future.result() is None


def test_an_error_belongs_to_its_item():
    def read(item: int) -> int:
        if item == 1:
            raise ValueError("one")
        return item

    outcomes = [future.exception() for _, future in read_ahead(range(3), read, threads=2)]
    assert [type(each) for each in outcomes] == [type(None), ValueError, type(None)]


def test_what_is_finished_behind_comes_in_order():
    def finish(item: int) -> int:
        time.sleep(0.002 * (3 - item % 3))
        return item

    works = (partial(finish, item) for item in range(20))
    assert list(finish_behind(works, threads=3)) == list(range(20))


def test_the_next_is_not_made_while_too_many_are_unfinished():
    gate = threading.Event()
    made: list[int] = []

    def works():
        for item in range(10):
            made.append(item)
            yield partial(gate.wait, LIMIT_S)

    results = finish_behind(works(), threads=2)
    consumer = threading.Thread(target=lambda: next(results))
    consumer.start()
    time.sleep(0.05)
    assert len(made) <= 3
    gate.set()
    consumer.join(timeout=LIMIT_S)
    results.close()

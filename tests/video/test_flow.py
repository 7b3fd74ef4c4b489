"""Steps that work at the same time: in order, bounded, and over as soon as one fails or is closed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from bgremove.video.flow import ahead, spread


def test_ahead_keeps_the_order_and_goes_no_further_than_asked() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    source = ahead(items(), 3)
    assert next(source) == 0
    time.sleep(0.3)
    assert len(taken) <= 1 + 3 + 1  # what was given, what waits, and the one that does not fit any more
    assert list(source) == list(range(1, 20))


def test_an_error_comes_out_at_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("the second is bad")

    source = ahead(items(), 2)
    assert next(source) == 1
    with pytest.raises(ValueError, match="the second is bad"):
        next(source)


def test_closing_ends_the_thread_and_the_source() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            number = 0
            while True:
                yield (number := number + 1)
        finally:
            closed.set()

    before = threading.active_count()
    source = ahead(items(), 2)
    assert next(source) == 1
    source.close()  # type: ignore[attr-defined]
    assert closed.wait(5) and threading.active_count() == before


def test_spread_works_at_once_and_keeps_the_order() -> None:
    together = threading.Barrier(2, timeout=10)

    def work(number: int) -> int:
        together.wait()  # passes only if two are at work at once
        return number * number

    with ThreadPoolExecutor(2) as pool:
        assert list(spread(work, range(6), pool, 2)) == [0, 1, 4, 9, 16, 25]


def test_spread_passes_errors_on_and_begins_no_more() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 2:
            raise ValueError("no")
        return number

    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="no"):
        list(spread(work, range(100), pool, 3))
    assert len(begun) < 10

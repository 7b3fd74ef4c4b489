"""One set of worker threads for the whole process.

Threads that come and go with every step would each leave the C library a piece of memory that only
they could use again: hundreds of megabytes after some hundred photos. These stay.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

THREADS = min(4, os.cpu_count() or 1)

_AHEAD = 4 * THREADS  # items of one caller that wait for a thread: the next caller's come soon

_here = threading.local()
_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None


class OutOfTime(Exception):
    """Work was stopped, since its time was over; only where :func:`until` says when that is."""


@contextlib.contextmanager
def until(end: float) -> Iterator[None]:
    """Stop what :func:`map_on_threads` is asked for here, by `end` of :func:`time.monotonic`.

    What is begun goes on: items should be small.
    """
    before, _here.end = getattr(_here, "end", math.inf), end
    try:
        yield
    finally:
        _here.end = before


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """What is done inside takes no other threads: for workers that each do a whole picture by themselves."""
    before, _here.is_worker = getattr(_here, "is_worker", False), True
    try:
        yield
    finally:
        _here.is_worker = before


def map_on_threads(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """What `work` gives for each item, in order, worked out on all cores while the results are taken.

    NumPy, OpenCV and zlib let go of Python's lock. Called by `work` itself, it takes no other
    threads: waiting for each other they could stand still for ever.

    Raises:
        OutOfTime: if there is an end (:func:`until`), and it has come.
    """
    end = getattr(_here, "end", math.inf)

    def in_time(item: T) -> R:
        if time.monotonic() > end:
            raise OutOfTime
        with until(end):
            return work(item)

    if getattr(_here, "is_worker", False):
        yield from map(in_time, items)
        return
    pool, begun = _workers(), deque[Future[R]]()
    try:
        for item in items:
            if len(begun) == _AHEAD:
                yield begun.popleft().result()
            begun.append(pool.submit(in_time, item))
        while begun:
            yield begun.popleft().result()
    finally:
        for future in begun:
            future.cancel()


def _workers() -> ThreadPoolExecutor:
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(THREADS, "bgremove", initializer=_mark)
        return _pool


def _mark() -> None:
    _here.is_worker = True


def _forget() -> None:
    """A forked process has none of its parent's threads; it makes its own."""
    global _lock, _pool
    _lock, _pool = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)

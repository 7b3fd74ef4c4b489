"""One set of worker threads for the whole process.

Threads that come and go with every step would each leave the C library a piece of memory that only
they could use again: hundreds of megabytes after some hundred photos. These stay.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

THREADS = min(4, os.cpu_count() or 1)

_here = threading.local()
_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None


def map_on_threads(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """What `work` gives for each item, in order, worked out on all cores.

    NumPy, OpenCV and zlib let go of Python's lock. Called by `work` itself, it takes no other
    threads: waiting for each other they could stand still for ever.
    """
    if getattr(_here, "is_worker", False):
        return map(work, items)
    return _workers().map(work, items)


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

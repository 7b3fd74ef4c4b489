"""Steps that work at the same time, each a few items ahead of the next, with memory bounded."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_OVER = object()


def ahead(items: Iterable[T], most: int) -> Iterator[T]:
    """`items` in order, taken in a thread of their own that is at most `most` of them ahead.

    An error in `items` comes out at its place. To stop early, close the iterator: the thread ends, and
    `items`, if they can be closed, are.
    """
    waiting: queue.Queue[Any] = queue.Queue(most)
    stop = threading.Event()

    def put(item: Any) -> bool:
        while not stop.is_set():
            try:
                waiting.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    break
        except BaseException as error:
            put((None, error))
        finally:
            _close(items)
            put(_OVER)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(work,), name="bgremove-ahead", daemon=True)
    thread.start()
    try:
        while (got := waiting.get()) is not _OVER:
            item, error = got
            if error is not None:
                raise error
            yield item
            del item, got  # not kept while the next one is waited for
    finally:
        stop.set()
        thread.join()


def spread(work: Callable[[T], R], items: Iterable[T], pool: Executor, most: int) -> Iterator[R]:
    """What `work` gives for each item, in order, `most` of them at once on `pool`."""
    begun = deque[Future[R]]()
    try:
        for item in items:
            begun.append(pool.submit(work, item))
            del item
            if len(begun) == most:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        for future in begun:
            future.cancel()
        _close(items)


def _close(items: object) -> None:
    close = getattr(items, "close", None)
    if callable(close):
        close()

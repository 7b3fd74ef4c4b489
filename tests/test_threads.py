"""Worker threads that stay, and do not wait for each other."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from bgremove.threads import THREADS, OutOfTime, map_on_threads, until


def test_results_come_in_order() -> None:
    assert list(map_on_threads(lambda value: value * value, range(100))) == [n * n for n in range(100)]


def test_the_same_few_threads_do_all_the_work() -> None:
    names: set[str] = set()
    for _ in range(20):
        list(map_on_threads(lambda _: names.add(threading.current_thread().name), range(8)))
    assert 1 <= len(names) <= THREADS and threading.current_thread().name not in names


def test_work_may_use_them_again() -> None:
    def inner(value: int) -> int:
        return sum(map_on_threads(lambda other: value * other, range(4)))

    assert list(map_on_threads(inner, range(4 * THREADS))) == [6 * n for n in range(4 * THREADS)]


def test_an_error_reaches_the_caller_and_the_threads_live_on() -> None:
    with pytest.raises(ZeroDivisionError):
        list(map_on_threads(lambda value: 1 // value, [1, 0, 2]))
    assert list(map_on_threads(str, [1, 2])) == ["1", "2"]


def test_many_callers_at_once() -> None:
    sums: list[int] = []
    callers = [
        threading.Thread(target=lambda: sums.append(sum(map_on_threads(abs, range(-50, 0)))))
        for _ in range(8)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(30)
    assert sums == [1275] * 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_has_threads_of_its_own() -> None:
    code = """
import os, warnings
from bgremove.threads import map_on_threads
warnings.simplefilter("ignore")  # Python 3.12 warns of forking with threads
list(map_on_threads(abs, [1]))
child = os.fork()
if child == 0:
    os._exit(sum(map_on_threads(abs, [-1, -2])))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "3", done.stderr


def test_work_ends_when_its_time_is_over() -> None:
    done: list[int] = []

    def slow(number: int) -> None:
        def inner(_: int) -> int:
            time.sleep(0.01)
            return number

        done.extend(map_on_threads(inner, range(10)))

    began = time.monotonic()
    with pytest.raises(OutOfTime), until(began + 0.2):
        list(map_on_threads(slow, range(10_000)))
    assert 0.1 < time.monotonic() - began < 2
    count = len(done)
    time.sleep(0.3)
    assert 0 < count and len(done) - count <= THREADS
    assert list(map_on_threads(str, [1, 2])) == ["1", "2"]  # there is no end any more


def test_much_work_does_not_keep_others_waiting() -> None:
    over = threading.Event()
    much = threading.Thread(target=lambda: list(map_on_threads(lambda _: over.wait(0.02), range(2000))))
    much.start()
    time.sleep(0.1)
    began = time.monotonic()
    assert list(map_on_threads(abs, range(3))) == [0, 1, 2]
    assert time.monotonic() - began < 2  # of ten and more
    over.set()
    much.join(20)

"""What the benchmarks share: child processes, alternating runs, medians, peak memory, tables.

Only the standard library, so that a child process in a peer's environment can import it, too.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent
OURS = sys.executable


def run_child(python: str | Path, *arguments: str | Path) -> dict[str, Any]:
    """Run a Python process to its end.

    Our own interpreter finds the package in this checkout, installed or not; a peer's sees only
    its own environment.

    Returns:
        The JSON object on the last line it prints (if it is one), and ``wall_s`` and ``cpu_s`` of the
        whole process, start to end.

    Raises:
        SystemExit: if it fails.
    """
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if str(python) == OURS:
        environment["PYTHONPATH"] = str(ROOT)
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [str(python), *map(str, arguments)], env=environment, capture_output=True, text=True, check=False
    )
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, arguments))} failed in {python}:\n{done.stderr[-2000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    last = done.stdout.strip().rpartition("\n")[2]
    report = json.loads(last) if last.startswith("{") else {}
    return {"wall_s": wall, "cpu_s": cpu, **report}


def alternate(tasks: Mapping[str, Callable[[], T]], runs: int) -> dict[str, list[T]]:
    """A B C, A B C ...: every task's results, so that a busy moment of the machine hits all alike."""
    results: dict[str, list[T]] = {name: [] for name in tasks}
    for number in range(runs):
        for name, task in tasks.items():
            results[name].append(task())
            print(f"\r{number + 1}/{runs} {name}\033[K", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return results


def median(reports: Iterable[Mapping[str, Any]], key: str) -> float:
    """The median of one figure of several reports."""
    return statistics.median(float(report[key]) for report in reports)


def spread(reports: Iterable[Mapping[str, Any]], key: str) -> str:
    """The smallest and the largest of one figure, ``1.2-1.5``."""
    values = [float(report[key]) for report in reports]
    return f"{min(values):.2f}-{max(values):.2f}"


def peak_mb() -> float:
    """Peak resident memory of this process in MB.

    Linux keeps it per program (VmHWM); ``ru_maxrss`` there would also count the parent's memory at
    the time of the fork, and is used elsewhere only.
    """
    status = Path("/proc/self/status")
    if status.exists():
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def cpu_s() -> float:
    """CPU time of this process and its threads so far, seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; floats with three digits or so."""
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}"


def machine() -> str:
    """The machine in general words, and how busy it was."""
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, "
        f"Python {platform.python_version()}; load {load:.1f} when this was printed"
    )

"""How long `import bgremove` takes against `import rembg`, and what `bgremove --help` loads.

    python benchmarks/startup.py --peer-python PYTHON [--runs 11]

Every run is a new process; the imports are timed inside it, the command from outside. Both are
warm: files in the system's cache, bytecode and rembg's compiled functions written before.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from measure import OURS, alternate, machine, median, run_child, spread, table

HEAVY = (
    "torch",
    "onnxruntime",
    "numba",
    "scipy",
    "cv2",
    "numpy",
    "pydantic",
    "PIL",
    "pooch",
    "click",
    "tqdm",
)

_TIMED = """
import time, sys, json
started = time.perf_counter()
{code}
spent = time.perf_counter() - started
names = {heavy!r}
print(json.dumps({{"inside_s": spent, "loaded": [name for name in names if name in sys.modules]}}))
"""
_HELP = """
import runpy, sys
sys.argv = ["bgremove", "--help"]
try:
    runpy.run_module("bgremove", run_name="__main__")
except SystemExit:
    pass
"""
_FIRST_USE = """
import numpy
photo = numpy.full((600, 800, 3), 40, numpy.uint8)
photo[150:450, 200:600] = (250, 190, 30)
import bgremove
bgremove.remove(photo)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peer-python", required=True, help="Python that has rembg")
    parser.add_argument("--runs", type=int, default=11)
    options = parser.parse_args()

    def timed(python: str, code: str) -> dict[str, Any]:
        return run_child(python, "-c", _TIMED.format(code=code, heavy=HEAVY))

    tasks: dict[str, Callable[[], dict[str, Any]]] = {
        "import rembg": lambda: timed(options.peer_python, "import rembg"),
        "import bgremove": lambda: timed(OURS, "import bgremove"),
        "import bgremove, first remove() of 0.5 MP": lambda: timed(OURS, _FIRST_USE),
        "bgremove --help": lambda: timed(OURS, _HELP),
        "python alone": lambda: timed(OURS, "pass"),
    }
    for task in tasks.values():
        task()  # fills caches
    reports = alternate(tasks, options.runs)
    rembg = median(reports["import rembg"], "inside_s")
    rows = []
    for name, own in reports.items():
        inside = median(own, "inside_s")
        loaded = ", ".join(own[0]["loaded"]) or "none"
        rows.append(
            [name, 1000 * inside, spread(own, "inside_s"), inside / rembg, 1000 * median(own, "cpu_s")]
            + [1000 * median(own, "wall_s"), loaded]
        )
    print(machine())
    header = ["", "inside, ms", "from-to, s", "ratio", "process CPU, ms", "process wall, ms"]
    print(table([*header, f"loaded of {', '.join(HEAVY)}"], rows))


if __name__ == "__main__":
    main()

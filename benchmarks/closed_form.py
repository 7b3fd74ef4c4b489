"""Closed-form matting beside rembg's: time, memory and error.

    python benchmarks/closed_form.py --peer-python /path/with/rembg/bin/python --data bench

Both are given the same mask, a true matte shrunk to 320 px and back as a network would leave it, and
make a cut-out of it: mask, trimap (over 240 and under 10, both eroded by 10 px), alpha, foreground,
RGBA. Each run is a process of its own that first works on a tiny picture, so that neither imports nor
compilation count; the two take turns. CPU seconds are those of all threads and say more than seconds
on a busy machine. Memory is the peak of the whole process, imports included.

``--data`` holds ``alpha/`` and ``hair/`` with ``images/`` and ``masks/`` of equal stems. The timed
pictures are enlarged (Lanczos) to ``--megapixels`` and given slight noise in place of the detail that
they lack. The errors are those of the unknown region at the pictures' own size, of ``alpha/`` alone:
SAD is the sum of absolute differences in thousands, MSE the mean squared difference.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

ERODE = 10
TIMED = ("alpha/images/alphamatting_00002.jpg", "hair/images/p3m_demo_00029.jpg")


def trimap_of(mask: Array, width: int) -> Array:
    """rembg's trimap: 0, 128 and 255 from a uint8 mask."""
    import cv2  # here and below, as rembg's environment may lack it

    kernel = np.ones((width, width), np.uint8)
    trimap = np.full(mask.shape, 128, np.uint8)
    # Outside the picture rembg takes foreground to be absent and background to go on.
    for certain, value, outside in ((mask > 240, 255, 0), (mask < 10, 0, 1)):
        eroded = cv2.erode(
            certain.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=(outside,)
        )
        trimap[eroded > 0] = value
    return trimap


def ours() -> Callable[[Array, Array], Array]:
    from bgremove.foreground import estimate_foreground
    from bgremove.matting import closed_form_alpha

    def cut_out(image: Array, mask: Array) -> Array:
        alpha = closed_form_alpha(image, trimap_of(mask, ERODE))
        foreground = estimate_foreground(image, alpha)
        return np.dstack([foreground, np.rint(alpha * 255).astype(np.uint8)])

    return cut_out


def peers() -> Callable[[Array, Array], Array]:
    from PIL import Image
    from rembg.bg import alpha_matting_cutout  # type: ignore[import-not-found, unused-ignore]

    def cut_out(image: Array, mask: Array) -> Array:
        pictures = Image.fromarray(image), Image.fromarray(mask)
        return np.asarray(alpha_matting_cutout(*pictures, 240, 10, ERODE))

    return cut_out


def our_alpha() -> Callable[[Array, Array], Array]:
    from bgremove.matting import closed_form_alpha

    return closed_form_alpha


def peer_alpha() -> Callable[[Array, Array], Array]:
    """What rembg calls, without its rounding to bytes."""
    from pymatting import estimate_alpha_cf

    def solve(image: Array, trimap: Array) -> Array:
        return np.asarray(estimate_alpha_cf(image / 255, trimap / 255))

    return solve


TASKS = {"ours": ours, "rembg": peers, "our-alpha": our_alpha, "rembg-alpha": peer_alpha}


def child(task: str, source: Path, result: Path) -> None:
    """Do `task` on the arrays of `source`, after a tiny warm-up, and write what it gave and took."""
    work = TASKS[task]()
    arrays = np.load(source)
    image, given = arrays["image"], arrays["given"]
    side = np.linspace(0, 255, 64, dtype=np.uint8)
    tiny = np.zeros((64, 64), np.uint8)
    tiny[:, 20:44], tiny[:, 44:] = 128, 255
    work(np.dstack([np.tile(side, (64, 1))] * 3), tiny)
    start, busy = time.perf_counter(), time.process_time()
    output = work(image, given)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    unit = 1024**2 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    np.savez(result, output=output, cost=[seconds, busy, peak])


def run(python: str, task: str, image: Array, given: Array) -> dict[str, Array]:
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder, "in.npz"), Path(folder, "out.npz")
        np.savez(source, image=image, given=given)
        command = [python, __file__, "--child", task, str(source), str(result)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}")
        with np.load(result) as arrays:
            return dict(arrays)


def read(path: Path) -> tuple[Array, Array]:
    """A picture in RGB and its matte, both uint8."""
    import cv2

    image = cv2.imread(str(path))
    matte = cv2.imread(str(path.parents[1] / "masks" / f"{path.stem}.png"), cv2.IMREAD_GRAYSCALE)
    if image is None or matte is None:
        raise SystemExit(f"{path} or its mask cannot be read; is --data right?")
    return np.ascontiguousarray(image[..., ::-1]), np.asarray(matte)


def enlarge(image: Array, matte: Array, megapixels: float) -> tuple[Array, Array]:
    import cv2

    scale = (megapixels * 1e6 / matte.size) ** 0.5
    size = (round(matte.shape[1] * scale), round(matte.shape[0] * scale))
    big, matte = (cv2.resize(part, size, interpolation=cv2.INTER_LANCZOS4) for part in (image, matte))
    noisy = big + np.random.default_rng(0).normal(0, 2, big.shape)
    return np.rint(np.clip(noisy, 0, 255)).astype(np.uint8), matte


def network_mask(matte: Array) -> Array:
    import cv2

    height, width = matte.shape
    scale = 320 / max(height, width)
    small = cv2.resize(matte, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


def measure_cost(python: str, data: Path, megapixels: float, runs: int) -> None:
    print(f"{megapixels:g} MP, median of {runs}      seconds     CPU s   peak MB")
    for name in TIMED:
        image, matte = enlarge(*read(data / name), megapixels)
        mask = network_mask(matte)
        unknown = (trimap_of(mask, ERODE) == 128).mean()
        costs: dict[str, list[Array]] = {"ours": [], "rembg": []}
        for _ in range(runs):
            for task, executable in (("ours", sys.executable), ("rembg", python)):
                done = run(executable, task, image, mask)
                costs[task].append(done["cost"])
        print(f"{Path(name).stem}, {unknown:.0%} unknown")
        middle = {task: np.median(rows, axis=0) for task, rows in costs.items()}
        for task, (seconds, busy, peak) in middle.items():
            print(f"  {task:22} {seconds:9.2f} {busy:9.2f} {peak:9.0f}")
        ratios = middle["ours"] / middle["rembg"]
        print(f"  {'ratio':22} {ratios[0]:9.3f} {ratios[1]:9.3f} {ratios[2]:9.3f}", flush=True)


def measure_error(python: str, data: Path, widths: list[int]) -> None:
    print("errors, mean of alpha/       SAD      MSE  better in")
    for width in widths:
        errors: dict[str, list[tuple[float, float]]] = {"our-alpha": [], "rembg-alpha": []}
        for path in sorted((data / "alpha" / "images").iterdir()):
            image, matte = read(path)
            trimap = trimap_of(network_mask(matte), width)
            for task, executable in (("our-alpha", sys.executable), ("rembg-alpha", python)):
                alpha = run(executable, task, image, trimap)["output"]
                difference = (alpha - matte / 255)[trimap == 128]
                errors[task].append((np.abs(difference).sum() / 1000, np.square(difference).mean()))
        table = {task: np.array(rows) for task, rows in errors.items()}
        better = (table["our-alpha"] < table["rembg-alpha"]).sum(0)
        total = len(table["our-alpha"])
        print(f"eroded by {width} px")
        for task, rows in table.items():
            note = f"{better[0]} and {better[1]} of {total}" if task == "our-alpha" else ""
            print(f"  {task:20} {rows[:, 0].mean():8.3f} {rows[:, 1].mean():8.5f}  {note}", flush=True)


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
        return
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", required=True, help="interpreter of an environment with rembg")
    parser.add_argument("--data", required=True, type=Path, help="folder with alpha/ and hair/")
    parser.add_argument("--megapixels", type=float, default=4)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--erode", type=int, nargs="*", default=[10, 20, 30, 40], help="px, for the errors")
    options = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, NumPy {np.__version__}, {os.cpu_count()} cores")
    measure_cost(options.peer_python, options.data, options.megapixels, options.runs)
    measure_error(options.peer_python, options.data, options.erode)


if __name__ == "__main__":
    main()

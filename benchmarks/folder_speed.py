"""A folder of photos: ``bgremove batch`` and ``bgremove remove`` against a plain loop, and against rembg.

    python benchmarks/folder_speed.py --photos FOLDER [--count 500] [--runs 3]
        [--peer-python PYTHON --network FILE]

The plain loop is what one writes with this package: ``for path in paths: bgremove.remove(path, remover)``.
With a network that takes 1x3x320x320, rembg's folder command joins in; it and ours then use that network.
All runs come in turns (A B C, A B C ...), each a process of its own, from its start to its end.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import OURS, alternate, cpu_s, machine, median, peak_mb, run_child, spread, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of JPEGs; varied and made 2 MP")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--megapixels", type=float, default=2.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--model", default="lite", help="of ours, without a peer")
    parser.add_argument("--peer-python", help="of an environment that has rembg[cpu,cli]")
    parser.add_argument("--network", type=Path, help="ONNX file that takes 1x3x320x320, for both")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_photos(sorted(options.photos.rglob("*.jpg")), folder / "in", options.count, options.megapixels)
        report = compare(folder, ours(folder, options.model), "plain loop", options.runs, options.count)
        print(f"network: {options.model}\n\n{report}\n")
        if options.network is not None and options.peer_python:
            tasks = ours(folder, f"onnx:{options.network}")
            tasks = {"rembg p": rembg(folder, options.peer_python, options.network), **tasks}
            report = compare(folder, tasks, "rembg p", options.runs, options.count)
            print(f"network: {options.network.name}\n\n{report}\n")
    print(machine())


Task = Callable[[Path], dict[str, Any]]


def ours(folder: Path, model: str) -> dict[str, Task]:
    """The ways this package does a folder."""

    def way(kind: str) -> Task:
        return lambda out: run_child(OURS, __file__, "--child", kind, folder / "in", out, model)

    return {name: way(name.split()[0]) for name in ("plain loop", "remove", "batch")}


def rembg(folder: Path, python: str, network: Path) -> Task:
    """rembg's folder command with a network of one's own."""
    os.environ["U2NET_HOME"] = str(network.resolve().parent)
    extras = json.dumps({"model_path": str(network.resolve())})
    code = "from rembg.cli import main; main()"
    command = ("-c", code, "p", "-m", "u2net_custom", "-x", extras, folder / "in")
    return lambda out: run_child(python, *command, out)


def compare(folder: Path, tasks: dict[str, Task], first: str, runs: int, count: int) -> str:
    """A row for each task, with its speed as a ratio to that of the `first`."""

    def once(task: Task) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            report = task(Path(out) / "out")
            written = len(list((Path(out) / "out").glob("*.png")))
        assert written == count, written
        return report

    reports = alternate({name: lambda task=task: once(task) for name, task in tasks.items()}, runs)  # type: ignore[misc]
    usual = median(reports[first], "wall_s")
    rows = [
        (
            name,
            count / median(own, "wall_s"),
            usual / median(own, "wall_s"),
            spread(own, "wall_s"),
            1000 * median(own, "cpu_s") / count,
            median(own, "peak_mb") if "peak_mb" in own[0] else "",
        )
        for name, own in reports.items()
    ]
    header = ("way", "photos/s", "ratio", "seconds, from-to", "CPU ms a photo", "peak MB")
    return table(header, rows)


def child(kind: str, source: str, out: str, model: str) -> None:
    """One way to do the folder, in this process; prints its peak memory and its CPU time."""
    if kind == "plain":
        plain(Path(source), Path(out), model)
    else:
        from bgremove.cli import main as command

        target = [source, "-o", f"{out}/"] if kind == "remove" else [source, "-o", out]
        try:
            command.main([kind, *target, "--model", model, "--quiet"], standalone_mode=False)
        except SystemExit as end:
            if end.code:
                raise
    print("\n" + json.dumps({"peak_mb": peak_mb(), "own_cpu_s": cpu_s()}))


def plain(source: Path, out: Path, model: str) -> None:
    """One after another."""
    import bgremove

    out.mkdir()
    remover = bgremove.create_remover(model)
    for path in sorted(source.iterdir()):
        bgremove.remove(path, remover, to=out / f"{path.stem}.png")


def make_photos(sources: list[Path], folder: Path, count: int, megapixels: float) -> None:
    """`count` JPEGs of one size in area, cut and enlarged; after 40 they come again."""
    import numpy as np
    from PIL import Image

    folder.mkdir()
    began = time.perf_counter()
    for number in range(count):
        target = folder / f"photo-{number:04}.jpg"
        if number >= 40:
            target.write_bytes((folder / f"photo-{number % 40:04}.jpg").read_bytes())
            continue
        with Image.open(sources[number * len(sources) // 40 % len(sources)]) as photo:
            picture = photo.convert("RGB")
        width, height = picture.size
        left, top, right, bottom = np.random.default_rng(number).uniform(0, 0.1, 4)
        box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
        scale = (megapixels * 1e6 / ((box[2] - box[0]) * (box[3] - box[1]))) ** 0.5
        size = (round((box[2] - box[0]) * scale), round((box[3] - box[1]) * scale))
        picture.resize(size, Image.Resampling.LANCZOS, box=box).save(target, quality=92)
    print(f"made {count} photos in {time.perf_counter() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()

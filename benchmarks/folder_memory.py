"""Does the memory of `bgremove remove FOLDER -o OUT --jobs 2` grow with the number of photos?

    python benchmarks/folder_memory.py --photo JPEG... [--few 20] [--many 200] [--runs 3]

The photos are made of the given ones: enlarged to 1 to 2 MP, cut in 20 ways, as JPEG.

The peak is the largest of many chance meetings of two photos in work, so that more photos make a
larger one likely. What would show a leak is the memory that is usual while it works: the median of
samples every 50 ms, in the first and in the last quarter of the time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from measure import OURS, alternate, machine, median, peak_mb, run_child, spread, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--photo", nargs="+", type=Path, required=True)
    parser.add_argument("--model", nargs="+", default=["auto", "contour"])
    parser.add_argument("--few", type=int, default=20)
    parser.add_argument("--many", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for count in (options.few, options.many):
            make_photos(options.photo, folder / f"{count}", count)
        rows = []
        for model in options.model:

            def task(count: int, model: str = model) -> dict[str, Any]:
                out = folder / f"{count}-{model}"
                return run_child(
                    OURS, __file__, "--child", folder / f"{count}", out, model, str(options.jobs)
                )

            counts = (options.few, options.many)
            reports = alternate({str(n): lambda n=n: task(n) for n in counts}, options.runs)  # type: ignore[misc]
            few = median(reports[str(options.few)], "peak_mb")
            for count in counts:
                own = reports[str(count)]
                assert all(report["written"] == count for report in own)
                peak = median(own, "peak_mb")
                rate = count / median(own, "wall_s")
                usual = [median(own, key) for key in ("first_mb", "last_mb")]
                rows.append([model, count, *usual, peak, spread(own, "peak_mb"), peak / few, rate])
    print(machine())
    header = ["model", "photos", "first quarter MB", "last quarter MB", "peak MB", "from-to", "ratio"]
    print(table([*header, "photos a second"], rows))


def child(source: str, out: str, model: str, jobs: str) -> None:
    """The command, in this process, so that its peak memory can be read; prints a JSON object."""
    from bgremove.cli import main as command

    samples: list[float] = []
    threading.Thread(target=sample_memory, args=(samples,), daemon=True).start()
    arguments = ["remove", source, "-o", f"{out}/", "--model", model, "--jobs", jobs, "--overwrite"]
    try:
        command.main(arguments, standalone_mode=False)
    except SystemExit as end:
        if end.code:
            raise
    written = len(list(Path(out).glob("*.png")))
    quarter = max(1, len(samples) // 4)
    report = {
        "first_mb": statistics.median(samples[:quarter]),
        "last_mb": statistics.median(samples[-quarter:]),
        "peak_mb": peak_mb(),
        "written": written,
    }
    print("\n" + json.dumps(report))


def sample_memory(samples: list[float]) -> None:
    """Resident memory every 50 ms (Linux)."""
    page = os.sysconf("SC_PAGE_SIZE") / (1 << 20)
    while True:
        samples.append(int(Path("/proc/self/statm").read_text().split()[1]) * page)
        time.sleep(0.05)


def make_photos(sources: list[Path], folder: Path, count: int) -> None:
    """`count` JPEGs of 1 to 2 MP; after 20 they come again."""
    import numpy as np
    from PIL import Image

    folder.mkdir()
    for number in range(count):
        random = np.random.default_rng(number % 20)
        with Image.open(sources[number % 20 % len(sources)]) as photo:
            picture = photo.convert("RGB")
        left, top, right, bottom = random.uniform(0, 0.12, 4)
        width, height = picture.size
        box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
        megapixels = 1 + (number % 5) / 4
        scale = (megapixels * 1e6 / ((box[2] - box[0]) * (box[3] - box[1]))) ** 0.5
        size = (round((box[2] - box[0]) * scale), round((box[3] - box[1]) * scale))
        resized = picture.resize(size, Image.Resampling.LANCZOS, box=box)
        resized.save(folder / f"photo-{number:04}.jpg", quality=92)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()

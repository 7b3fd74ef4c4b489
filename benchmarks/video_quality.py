"""What smoothing over time does to a video's mattes: flicker, and what it costs in IoU.

    python benchmarks/video_quality.py --data video [--model auto] [--frames N] [--pictures FOLDER]

`--data` holds a folder for each clip, with `images` and exact binary `masks` by frame number. Every frame
goes through what `bgremove video` does to it (network, smoothing, refined edges at full size), with the
default settings but for the smoothing:

- still: each frame by itself, as a photo (`bgremove remove`);
- none, exponential, motion: the values of ``--smoothing``.

Flicker is the mean absolute change of alpha between neighbouring frames, in thousandths, of the pixels whose
truth is the same in both. Edges are soft, so that even exact masks change there as the subject moves: "truth"
is those masks with the same refinement of edges, and no method can be expected to get below it.
Error is the mean absolute difference from the truth, in thousandths. "ms" is the smoothing alone,
a frame, at the size that it works at.

`--pictures` writes each fifth frame over green, without and with smoothing, and what differs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from measure import machine, table

from bgremove.arrays import Alpha, Image
from bgremove.io import read_image
from bgremove.metrics import iou
from bgremove.refine import refine_alpha
from bgremove.removers.base import Remover
from bgremove.video.cutting import FrameCutter, finish
from bgremove.video.params import CutSettings

WAYS = ("none", "exponential", "motion")
COLUMNS = ("clip", "smoothing", "frames", "IoU %", "flicker", "of none", "error", "ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="auto")
    parser.add_argument("--frames", type=int, default=None, help="only so many of each clip")
    parser.add_argument("--pictures", type=Path)
    options = parser.parse_args()
    settings = CutSettings.build(options.model)
    remover = settings.create_remover()
    rows: list[list[Any]] = []
    sums: dict[str, list[list[float]]] = {}
    for folder in sorted(path.parent for path in options.data.glob("*/masks")):
        images, truths = load(folder, options.frames)
        results = {"truth": (truth_as_cut(images, truths, remover), 0.0)}
        results["still"] = ([still(remover, image) for image in images], 0.0)
        results |= {way: cut(remover, options.model, way, images) for way in WAYS}
        none = flicker(results["none"][0], truths)
        for way, (mattes, ms) in results.items():
            found = (mean_iou(mattes, truths), flicker(mattes, truths), error(mattes, truths))
            rows.append([folder.name, way, len(images), found[0], found[1], found[1] / none, found[2], ms])
            sums.setdefault(way, []).append([*found, ms])
        if options.pictures:
            show(options.pictures, folder.name, images, results["none"][0], results["motion"][0])
    means = {way: np.mean(found, axis=0) for way, found in sums.items()}
    for way, (score, flickers, wrong, ms) in means.items():
        rows.append(["mean", way, "", score, flickers, flickers / means["none"][1], wrong, ms])
    print(machine())
    print(table(COLUMNS, rows))


def load(folder: Path, count: int | None) -> tuple[list[Image], list[Alpha]]:
    """The frames and masks of a clip, by number."""
    names = sorted((folder / "images").iterdir())[:count]
    masks = sorted((folder / "masks").iterdir())[:count]
    if not names or [path.stem for path in names] != [path.stem for path in masks]:
        raise SystemExit(f"{folder} must have as many images as masks, of the same names")
    truths = [(read_image(path)[..., 0] > 127).astype(np.float32) for path in masks]
    return [read_image(path) for path in names], truths


def still(remover: Remover, image: Image) -> Alpha:
    """As a photo."""
    found = remover.predict(image)
    return refine_alpha(image, found.alpha, grain=found.grain)


def truth_as_cut(images: Sequence[Image], truths: Sequence[Alpha], remover: Remover) -> list[Alpha]:
    """The exact masks, with edges refined as the network's are."""
    pairs = zip(images, truths, strict=True)
    return [refine_alpha(i, t, grain=remover.grain(*t.shape)) for i, t in pairs]


def cut(remover: Remover, model: str, way: str, images: Sequence[Image]) -> tuple[list[Alpha], float]:
    """The mattes, and how long the smoothing takes, ms a frame."""
    settings = CutSettings.build(model, smoothing=way, foreground="none")
    cutter, mattes, seconds = FrameCutter(remover, settings), [], 0.0
    for image in images:
        look = cutter.predict(image)
        started = time.perf_counter()
        look = cutter.steady(look)
        seconds += time.perf_counter() - started
        mattes.append(finish(look, settings.refine, settings.foreground).alpha)
    return mattes, 1000 * seconds / len(images)


def neighbours(mattes: Sequence[Alpha], truths: Sequence[Alpha]) -> Iterator[float]:
    """Mean change of alpha from each frame to the next where the truth stays."""
    for i in range(1, len(mattes)):
        stays = truths[i] == truths[i - 1]
        yield float(np.abs(mattes[i] - mattes[i - 1])[stays].mean())


def flicker(mattes: Sequence[Alpha], truths: Sequence[Alpha]) -> float:
    """In thousandths."""
    return 1000 * float(np.mean(list(neighbours(mattes, truths))))


def mean_of(
    measure: Callable[[Alpha, Alpha], float], mattes: Sequence[Alpha], truths: Sequence[Alpha]
) -> float:
    return float(np.mean([measure(matte, truth) for matte, truth in zip(mattes, truths, strict=True)]))


def mean_iou(mattes: Sequence[Alpha], truths: Sequence[Alpha]) -> float:
    """In percent."""
    return 100 * mean_of(iou, mattes, truths)


def error(mattes: Sequence[Alpha], truths: Sequence[Alpha]) -> float:
    """In thousandths."""
    return 1000 * mean_of(lambda matte, truth: float(np.abs(matte - truth).mean()), mattes, truths)


def show(
    folder: Path, name: str, images: Sequence[Image], plain: Sequence[Alpha], steady: Sequence[Alpha]
) -> None:
    """Sheets of four pictures: the frame, cut without and with smoothing, and the difference."""
    folder.mkdir(parents=True, exist_ok=True)
    green = np.array([60, 200, 90], np.float32)
    for number in range(0, len(images), 5):
        image, mattes = images[number], (plain[number], steady[number])
        parts: list[Any] = [image, *(green + alpha[..., None] * (image - green) for alpha in mattes)]
        parts.append(np.repeat(255 * np.abs(mattes[0] - mattes[1])[..., None], 3, axis=2))
        sheet = np.hstack([np.rint(part).astype(np.uint8) for part in parts])
        cv2.imwrite(str(folder / f"{name}-{number:05d}.png"), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()

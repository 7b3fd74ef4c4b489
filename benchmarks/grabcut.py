"""GrabCut with its automatic start beside a plain one, and the fit of the start's weights.

    python benchmarks/grabcut.py --data DIR          DIR/SET/images/*, DIR/SET/masks/*.png
    python benchmarks/grabcut.py --fit PAIRS.zip     images/NAME.webp and masks/NAME.png

The plain start is a rectangle inset by 5 %, five iterations, at the same working size.
"""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from pprint import pprint

import click
import cv2
import numpy as np
import numpy.typing as npt

from bgremove import saliency
from bgremove.arrays import Alpha, Image, Mask
from bgremove.removers.grabcut import GrabCutParams, GrabCutRemover

SETS = ("ecssd", "portraits", "people", "hair")
THRESHOLDS = np.arange(1, 256, 2) / 255
STAGES = 3
Pair = tuple[Image, Mask]
Named = dict[str, saliency.Floats]


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), help="Folder of the sets to measure on")
@click.option(
    "--fit", "pairs", type=click.Path(exists=True, path_type=Path), help="Archive to fit the weights on"
)
@click.option("--count", default=2000, show_default=True, help="Photos to fit on")
def main(data: Path | None, pairs: Path | None, count: int) -> None:
    """Measure the remover, or fit the weights of its automatic start."""
    if data is not None:
        measure(data)
    if pairs is not None:
        for table in fit(pairs, count):
            pprint(table, sort_dicts=False)


def measure(data: Path) -> None:
    """Print IoU at 0.5, best F (beta2 = 0.3, over thresholds) and time, per set and start."""
    remover = GrabCutRemover(GrabCutParams())
    methods: dict[str, Callable[[Image], Alpha]] = {"ours": remover.predict_alpha, "plain": plain}
    print(f"{'set':12}{'start':8}{'photos':>7}{'IoU@0.5':>9}{'max F':>8}{'ms':>7}")
    for name in SETS:
        found = list(read_folder(data / name))
        for label, predict in methods.items():
            started = time.perf_counter()
            alphas = [predict(image) for image, _ in found]
            spent = (time.perf_counter() - started) / len(found) * 1000
            iou, best = score(alphas, [mask for _, mask in found])
            print(f"{name:12}{label:8}{len(found):7}{iou:9.3f}{best:8.3f}{spent:7.0f}", flush=True)


def plain(image: Image) -> Alpha:
    """GrabCut as in its tutorials: all but a margin of 5 % may be subject."""
    height, width = image.shape[:2]
    scale = min(1.0, GrabCutParams().working_size / max(height, width))
    size = (round(width * scale), round(height * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    left, top = round(0.05 * size[0]), round(0.05 * size[1])
    rectangle = (left, top, size[0] - 2 * left, size[1] - 2 * top)
    labels, models = np.zeros(size[::-1], np.uint8), np.zeros((2, 1, 65))
    cv2.setRNGSeed(0)
    cv2.grabCut(small, labels, rectangle, models[0], models[1], 5, cv2.GC_INIT_WITH_RECT)
    return np.asarray(cv2.resize((labels % 2).astype(np.float32), (width, height)), np.float32)


def score(alphas: list[Alpha], masks: list[Mask]) -> tuple[float, float]:
    """Mean IoU at 0.5, and the best F of the mean precision and recall."""
    ious, precisions, recalls = [], [], []
    for alpha, mask in zip(alphas, masks, strict=True):
        found = alpha > 0.5
        ious.append((found & mask).sum() / max((found | mask).sum(), 1))
        right = _above(alpha[mask])
        precisions.append(right / np.maximum(_above(alpha.ravel()), 1))
        recalls.append(right / max(mask.sum(), 1))
    precision, recall = np.mean(precisions, axis=0), np.mean(recalls, axis=0)
    return float(np.mean(ious)), float((1.3 * precision * recall / (0.3 * precision + recall + 1e-9)).max())


def _above(values: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """How many of `values` reach each threshold."""
    return np.asarray(values.size - np.searchsorted(np.sort(values), THRESHOLDS), np.int64)


def read_folder(folder: Path) -> Iterator[Pair]:
    for path in sorted((folder / "images").iterdir()):
        yield _pair(path.read_bytes(), (folder / "masks" / f"{path.stem}.png").read_bytes())


def read_zip(path: Path, count: int) -> Iterator[tuple[str, Pair]]:
    """`count` pairs drawn at random, with their names."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(Path(name).stem for name in archive.namelist() if name.startswith("images/"))
        for index in np.random.default_rng(0).permutation(len(names))[:count]:
            name = names[index]
            yield name, _pair(archive.read(f"images/{name}.webp"), archive.read(f"masks/{name}.png"))


def _pair(image: bytes, mask: bytes) -> Pair:
    picture = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    truth = cv2.imdecode(np.frombuffer(mask, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture is not None and truth is not None
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8), truth > 127


def fit(path: Path, count: int) -> list[dict[str, float]]:
    """The tables of :mod:`bgremove.saliency`: first its features' weights, then each revision's."""
    regions, truths, emphasis, values = [], [], [], []
    for name, (image, mask) in read_zip(path, count):
        found, named = saliency.measure(image)
        size = found.labels.shape[::-1]
        shares = found.mean(
            np.asarray(cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA))
        )
        area = found.size / found.size.sum()
        # Each picture counts once, those of small subjects more, and so do the fewer photos of people.
        people = 8 if name.startswith(("ccp", "wankols")) else 1
        regions.append(found)
        truths.append(shares)
        values.append(named)
        emphasis.append(people * area / np.sqrt(max(float(shares @ area), 0.03)))
    truth, weight = np.concatenate(truths), np.concatenate(emphasis)
    tables: list[dict[str, float]] = []
    for _ in range(STAGES):
        tables.append(_logistic_fit(values, truth, weight / weight.mean()))
        likely = [saliency.logistic(named, tables[-1]) for named in values]
        values = [saliency.context(found, map_) for found, map_ in zip(regions, likely, strict=True)]
    return tables


def _logistic_fit(
    values: list[Named], truth: saliency.Floats, weight: saliency.Floats, ridge: float = 20
) -> dict[str, float]:
    """Weights by name of a ridge logistic regression, by Newton's method."""
    names = list(values[0])
    rows = np.concatenate([np.column_stack([named[name] for name in names]) for named in values]).astype(
        float
    )
    spread = np.where(rows.std(axis=0) > 1e-6, rows.std(axis=0), 1)
    rows /= spread
    solution = np.zeros(len(names))
    for _ in range(12):
        likely = 1 / (1 + np.exp(-rows @ solution))
        curvature = rows.T @ (rows * (weight * likely * (1 - likely))[:, None]) + ridge * np.eye(len(names))
        solution += np.linalg.solve(curvature, rows.T @ (weight * (truth - likely)) - ridge * solution)
    return {name: round(float(w), 3) for name, w in zip(names, solution / spread, strict=True)}


if __name__ == "__main__":
    main()

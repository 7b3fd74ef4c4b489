"""What the edge refinement makes of masks as coarse as Mask R-CNN's: before and after.

    python benchmarks/coarse_masks.py --data bench

True mattes are degraded as Mask R-CNN's head leaves a perfect one: averaged onto 28x28 cells of the box
around each subject, enlarged again (bilinear) and cut at one half. The refinement then gets that mask, the
photo and the size of a cell. ``--data`` holds ``people/`` and ``hair/`` with ``images/`` and ``masks/`` of
equal stems.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from bgremove.arrays import Alpha, Image
from bgremove.metrics import boundary_iou, gradient_error, iou
from bgremove.pairs import find_pairs, read_pair
from bgremove.pipeline import Settings
from bgremove.refine import RefineParams, refine_alpha
from bgremove.trimap import bounding_box

CELLS = 28
SETS = ("people", "hair")


def degraded(truth: Alpha, cells: int = CELLS) -> tuple[Alpha, float]:
    """A matte as a hard mask from a grid of `cells` a side over its box, and the pixels of a cell.

    Args:
        truth: (H, W) float32 in [0, 1].
        cells: a side of the grid, for every subject that touches no other.
    """
    mask = np.zeros_like(truth)
    count, labels = cv2.connectedComponents((truth > 0.5).astype(np.uint8))
    cell = 1.0
    for number in range(1, count):
        part = np.where(labels == number, truth, np.float32(0))
        box = bounding_box(part, 0.5)
        if box is None or (part > 0.5).sum() < 1e-3 * truth.size:
            continue  # a speck; no box would be found for it
        rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)
        grid = cv2.resize(truth[rows, columns], (cells, cells), interpolation=cv2.INTER_AREA)
        size = (box.right - box.left, box.bottom - box.top)
        pasted = cv2.resize(grid, size, interpolation=cv2.INTER_LINEAR) > 0.5
        mask[rows, columns] = np.maximum(mask[rows, columns], pasted)
        cell = max(cell, max(size) / cells)
    return mask, cell


def scribbled(image: Image, mask: Alpha, cell: float) -> Alpha:
    """GrabCut inside the band that may be wrong, then the guided edges of the default."""
    width = 2 * int(np.ceil(0.75 * cell)) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    hint = np.full(mask.shape, 128, np.uint8)
    hint[cv2.erode(mask, kernel) > 0.5] = 255
    hint[cv2.dilate(mask, kernel) < 0.5] = 0
    settings = Settings.build("grabcut", hint_as="scribbles")
    alpha = settings.create_remover().predict_alpha(image, hint)  # type: ignore[call-arg]
    return refine_alpha(image, alpha)


def as_it_is(image: Image, mask: Alpha, cell: float) -> Alpha:
    return mask


def wide(image: Image, mask: Alpha, cell: float) -> Alpha:
    return refine_alpha(image, mask, grain=cell)


def guided(image: Image, mask: Alpha, cell: float) -> Alpha:
    return refine_alpha(image, mask, grain=cell / 2)  # as removers/detectron2.py says


def closed_form(image: Image, mask: Alpha, cell: float) -> Alpha:
    return refine_alpha(image, mask, RefineParams(edges="closed-form"), grain=cell / 2)


WAYS: dict[str, Callable[[Image, Alpha, float], Alpha]] = {
    "none: the mask as it is": as_it_is,
    "guided, 1.5 cells wide": wide,
    "guided, 0.75 cells wide (the default)": guided,
    "closed-form, 0.75 cells wide": closed_form,
    "grabcut, then guided": scribbled,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    folder = parser.parse_args().data
    print("| set | edges | IoU | boundary IoU | gradient error | s a photo |")
    print("|---|---|---|---|---|---|")
    for name in SETS:
        figures: dict[str, list[tuple[float, ...]]] = {way: [] for way in WAYS}
        for pair in find_pairs(folder / name).pairs:
            image, truth = read_pair(pair)
            mask, cell = degraded(truth)
            for way, refine in WAYS.items():
                start = time.perf_counter()
                alpha = refine(image, mask, cell)
                seconds = time.perf_counter() - start
                row = iou(alpha, truth), boundary_iou(alpha, truth), gradient_error(alpha, truth), seconds
                figures[way].append(row)
        for way, rows in figures.items():
            means = np.mean(rows, axis=0)
            print(f"| {name} | {way} | {means[0]:.3f} | {means[1]:.3f} | {means[2]:.2f} | {means[3]:.2f} |")


if __name__ == "__main__":
    main()

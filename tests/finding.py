"""A remover that finds what it is told, for what comes after the finding."""

from __future__ import annotations

from typing import Any

import numpy as np

from bgremove.arrays import Image, Mask
from bgremove.removers.base import SegmentRemover
from bgremove.segments import Segment, Segments, SelectParams


class Finding(SegmentRemover):
    """Gives the same segments for every picture."""

    def __init__(self, found: Segments, **choice: Any) -> None:
        super().__init__(SelectParams(**choice))
        self.found = found

    def find_segments(self, image: Image) -> Segments:
        assert image.shape[:2] == (self.found.height, self.found.width)
        return self.found


def rectangle(height: int, width: int, box: tuple[int, int, int, int]) -> Mask:
    """True from left, top to right, bottom."""
    left, top, right, bottom = box
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = True
    return mask


def a_segment(label: str, mask: Mask, score: float | None = None, grain: float = 1) -> Segment:
    """A thing, or stuff if it has no score."""
    made = Segment.of(label, mask, score=score, kind="stuff" if score is None else "thing", grain=grain)
    assert made is not None
    return made


def two_subjects() -> tuple[Image, Segments]:
    """A picture of a red person and a green dining table on blue, 60 x 100, and where they are."""
    person, table = rectangle(60, 100, (10, 10, 40, 50)), rectangle(60, 100, (60, 20, 90, 40))
    image = np.full((60, 100, 3), (20, 30, 120), np.uint8)
    image[person] = (230, 60, 40)
    image[table] = (40, 200, 60)
    items = (a_segment("person", person, 0.9), a_segment("dining table", table, 0.8))
    return image, Segments(60, 100, items, (), ("person", "dining table", "dog"))

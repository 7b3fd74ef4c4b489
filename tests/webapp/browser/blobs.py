"""A remover that finds what is red, green or blue, as models do that find every subject."""

from __future__ import annotations

from bgremove.arrays import Image
from bgremove.removers.base import RemoverInfo, SegmentRemover
from bgremove.segments import Segment, Segments, SelectParams


class Blobs(SegmentRemover):
    """Everything of one strong colour is a thing."""

    def find_segments(self, image: Image) -> Segments:
        found = []
        for channel, (label, score) in enumerate((("apple", 0.95), ("leaf", 0.9), ("berry", 0.8))):
            others = [one for one in range(3) if one != channel]
            mask = image[..., channel] > 60 + image[..., others].max(axis=2).astype(int)
            if (one := Segment.of(label, mask, score=score)) is not None:
                found.append(one)
        height, width = image.shape[:2]
        return Segments(height, width, tuple(found), (), ("apple", "leaf", "berry"))


BLOBS = RemoverInfo(
    name="blobs",
    kind="network",
    target="tests.webapp.browser.blobs:Blobs",
    params=SelectParams,
    summary="What is red, green or blue",
    license="Apache-2.0",
    paper="none",
)

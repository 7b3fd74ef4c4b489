"""The classical pipeline: edges, contours, area filter, fill, smooth.

Good for plain subjects on plain backgrounds, and for seeing what each stage does
(:meth:`ContourRemover.stages`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal, Self, cast

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from bgremove.arrays import Alpha, Image, check_image
from bgremove.options import Params
from bgremove.removers.base import Remover

Steps = Literal[1, 3, 5, 7, 11, 19, 21]
Contour = npt.NDArray[np.int32]

_CROSS = np.ones((3, 3), np.uint8)


class ContourParams(Params):
    """How edges become a subject."""

    blur: Steps = Field(1, description="Size of the Gaussian that softens the result, in working pixels")
    canny_low: int = Field(20, ge=1, le=40, description="Edges weaker than this are dropped")
    canny_high: int = Field(150, ge=100, le=200, description="Edges stronger than this always count")
    min_area: float = Field(
        0.013, ge=0.0001, le=0.1, description="Smallest outline kept, as a fraction of the picture"
    )
    max_area: float = Field(
        0.5, ge=0.05, le=0.99, description="Largest outline kept, as a fraction of the picture"
    )
    dilate: Steps = Field(1, description="Times the filled subject grows by a pixel, closing gaps")
    erode: Steps = Field(1, description="Times it then shrinks by a pixel")
    working_width: int = Field(
        800, ge=64, le=4096, description="Width at which edges are found, in pixels; the result is full size"
    )
    holes: Literal["keep", "fill"] = Field(
        "keep", description="Keep see-through parts that look like the background, or fill them"
    )

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "use-default": {
            "blur": 3,
            "canny_low": 15,
            "canny_high": 150,
            "min_area": 0.0005,
            "max_area": 0.95,
            "dilate": 3,
            "erode": 3,
            "working_width": 500,
        }
    }

    @model_validator(mode="after")
    def _areas_in_order(self) -> Self:
        if self.min_area >= self.max_area:
            raise ValueError(f"min_area must be below max_area; got {self.min_area:g} and {self.max_area:g}")
        return self


class ContourRemover(Remover):
    """Canny edges, closed into outlines, filtered by area, filled with their holes.

    References:
        Canny, "A Computational Approach to Edge Detection", PAMI 1986.
        Suzuki and Abe, "Topological Structural Analysis of Digitized Binary Images by Border
        Following", CVGIP 1985.
    """

    params: ContourParams

    def predict_alpha(self, image: Image) -> Alpha:
        """Matte of `image`, (H, W) float32; zeros if no outline passes the area filter."""
        height, width = check_image(image).shape[:2]
        small = self._shrink(image)
        alpha = self._soften(self._fill(small, self._outlines(self._edges(small))))
        full = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_LINEAR)
        return cast(Alpha, full)

    def stages(self, image: Image) -> dict[str, Image]:
        """What each stage sees, at the working size: pictures to show, (h, w, 3) uint8 each.

        Keys: ``edges`` (white on black), ``contours`` (kept outlines drawn on the picture) and
        ``mask`` (the softened result).
        """
        small = self._shrink(check_image(image))
        edges = self._edges(small)
        outlines = self._outlines(edges)
        drawn = small.copy()
        cv2.drawContours(drawn, [contour for contour, _ in outlines], -1, (255, 0, 128), 2)
        mask = np.rint(self._soften(self._fill(small, outlines)) * 255).astype(np.uint8)
        return {
            "edges": np.dstack([edges] * 3),
            "contours": drawn,
            "mask": np.dstack([mask] * 3),
        }

    def grain(self, height: int, width: int) -> float:
        return max(1.0, width / self.params.working_width)

    def _shrink(self, image: Image) -> Image:
        height, width = image.shape[:2]
        if width <= self.params.working_width:
            return image
        scale = self.params.working_width / width
        size = (self.params.working_width, max(1, round(height * scale)))
        return cast(Image, cv2.resize(image, size, interpolation=cv2.INTER_AREA))

    def _edges(self, small: Image) -> npt.NDArray[np.uint8]:
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        edges = cv2.Canny(grey, self.params.canny_low, self.params.canny_high)
        # Dilate, then erode: one-pixel gaps close, the line stays where the edge is.
        return cast(npt.NDArray[np.uint8], cv2.morphologyEx(edges, cv2.MORPH_CLOSE, _CROSS))

    def _outlines(self, edges: npt.NDArray[np.uint8]) -> list[tuple[Contour, int]]:
        """Outer outlines of the edge lines within the area filter, with their depth, outermost first.

        A closed edge line has two borders: its outer one and, one level deeper in the hierarchy,
        its inner one. Only outer borders (even levels) are outlines of something.
        """
        contours, hierarchy = cv2.findContours(edges, cv2.RETR_TREE, cv2.CHAIN_APPROX_NONE)
        area = edges.size
        kept = []
        for index, contour in enumerate(contours):
            level = sum(1 for _ in _ancestors(hierarchy, index))
            fraction = cv2.contourArea(contour) / area
            if level % 2 == 0 and self.params.min_area < fraction < self.params.max_area:
                kept.append((cast(Contour, contour), level // 2))
        return sorted(kept, key=lambda item: item[1])

    def _fill(self, small: Image, outlines: list[tuple[Contour, int]]) -> npt.NDArray[np.uint8]:
        mask = np.zeros(small.shape[:2], np.uint8)
        for contour, _ in outlines:
            cv2.drawContours(mask, [contour], -1, 255, cv2.FILLED)
        if self.params.holes == "keep":
            subject = mask.copy()
            for contour, depth in outlines:
                if depth > 0:  # a hole, or something in one, or on the subject
                    value = 0 if _looks_like_background(small, subject, contour) else 255
                    cv2.drawContours(mask, [contour], -1, value, cv2.FILLED)
        return mask

    def _soften(self, mask: npt.NDArray[np.uint8]) -> Alpha:
        mask = cast("npt.NDArray[np.uint8]", cv2.dilate(mask, _CROSS, iterations=self.params.dilate))
        mask = cast("npt.NDArray[np.uint8]", cv2.erode(mask, _CROSS, iterations=self.params.erode))
        # The Gaussian of a mask in [0, 1] is soft on both sides of the border; cutting it at any
        # value above 0, as is often done, would only make the subject fatter.
        alpha = mask.astype(np.float32) / 255
        soft = cv2.GaussianBlur(alpha, (self.params.blur, self.params.blur), 0)
        return cast(Alpha, np.clip(soft, 0, 1))  # its weights may add up to a hair over 1


def _ancestors(hierarchy: Any, index: int) -> Iterator[int]:
    """The contours around contour `index`, innermost first (column 3 is the parent)."""
    parent = int(hierarchy[0, index, 3])
    while parent >= 0:
        yield parent
        parent = int(hierarchy[0, parent, 3])


def _looks_like_background(image: Image, subject: npt.NDArray[np.uint8], contour: Contour) -> bool:
    """Is the mean colour inside `contour` nearer to the background's than to the subject's around it?"""
    inside = np.zeros_like(subject)
    cv2.drawContours(inside, [contour], -1, 255, cv2.FILLED)
    around = cv2.subtract(subject, inside)
    outside = cv2.bitwise_not(subject)
    if not (around.any() and outside.any()):
        return False
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    hole, near, far = (np.array(cv2.mean(lab, region)) for region in (inside, around, outside))
    return bool(np.linalg.norm(hole - far) < np.linalg.norm(hole - near))

"""GrabCut with an automatic start: colour models of subject and background, and a graph cut.

References:
    Rother, Kolmogorov and Blake, "GrabCut: Interactive Foreground Extraction using Iterated Graph
    Cuts", SIGGRAPH 2004.
"""

from __future__ import annotations

import math
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from bgremove.arrays import Alpha, Image, Mask, Trimap, describe
from bgremove.errors import ImageError, OptionError
from bgremove.options import Params
from bgremove.removers.base import HintedRemover
from bgremove.saliency import saliency

Box = tuple[float, float, float, float]
_Labels = npt.NDArray[np.uint8]

_SMALLEST_SIDE = 8
"""Fewer working pixels than this, on either side, hold no colour models and no subject."""
_FEWEST = 16
"""Pixels that a colour model of five components needs at least."""


class GrabCutParams(Params):
    """How GrabCut starts and how long it works."""

    box: Box | None = Field(
        None, description="Box around the subject: left, top, right, bottom, in pixels of the photo"
    )
    hint_as: Literal["mask", "scribbles"] = Field(
        "mask", description="A given mask is a rough guess (mask) or certain where marked (scribbles)"
    )
    reach: float = Field(
        0.5, ge=0, le=1, description="How much is taken for subject; more takes in fainter parts"
    )
    iterations: int = Field(5, ge=1, le=20, description="Rounds of colour models and graph cut")
    working_size: int = Field(
        480, ge=120, le=1600, description="Long side of the reduced picture it works on, in pixels"
    )
    border: float = Field(
        0.04,
        ge=0.01,
        le=0.2,
        description="Share of the picture's edge that the automatic start takes for background",
        json_schema_extra={"advanced": True},
    )
    smoothness: float = Field(
        1.0,
        ge=0,
        le=5,
        description="Smoothing of the outline, in reduced pixels",
        json_schema_extra={"advanced": True},
    )
    tidy: bool = Field(
        True, description="Drop tiny islands and fill tiny holes", json_schema_extra={"advanced": True}
    )

    @field_validator("box")
    @classmethod
    def _ordered(cls, box: Box | None) -> Box | None:
        if box is not None and (box[0] >= box[2] or box[1] >= box[3]):
            raise ValueError(
                f"box must be left, top, right, bottom with left < right and top < bottom; got {_commas(box)}"
            )
        return box


class GrabCutRemover(HintedRemover):
    """One clear subject, found from its colours; a box, a rough mask or scribbles point it out."""

    params: GrabCutParams

    def predict_alpha(self, image: Image, hint: Trimap | None = None) -> Alpha:
        """Matte of `image`; zeros where no subject stands out.

        Raises:
            OptionError: if the box lies outside the picture.
            ImageError: if the hint has another size, or a mask marks no subject.
        """
        height, width = image.shape[:2]
        if hint is not None:
            _check_hint(hint, (height, width), self.params.hint_as)
        box = None if self.params.box is None else _clip_box(self.params.box, height, width)
        scale = 1 / self.grain(height, width)
        small = (max(1, round(height * scale)), max(1, round(width * scale)))
        alpha = np.zeros((height, width), np.float32)
        if min(small) >= _SMALLEST_SIDE:
            reduced = cv2.resize(image, small[::-1], interpolation=cv2.INTER_AREA)
            labels = self._start(reduced, box, hint)
            alpha = _enlarge(self._cut(reduced, labels), (height, width), self.params.smoothness)
        if hint is not None and self.params.hint_as == "scribbles":
            alpha[hint == 255] = 1
            alpha[hint == 0] = 0
        return alpha

    def grain(self, height: int, width: int) -> float:
        """Photo pixels per working pixel."""
        return max(1.0, max(height, width) / self.params.working_size)

    def _start(self, image: Image, box: Box | None, hint: Trimap | None) -> _Labels:
        """GrabCut's labels from what is known of the picture, the automatic map filling the gaps."""
        labels = _from_map(saliency(image, self.params.border), self.params.reach)
        if box is not None:
            inside = _box_mask(box, image.shape[:2])
            labels[inside & (labels == cv2.GC_BGD)] = cv2.GC_PR_BGD
            labels[inside] = cv2.GC_PR_FGD
            labels[~inside] = cv2.GC_BGD
        if hint is not None:
            subject, background = _shares(hint, image.shape[:2])
            certain = self.params.hint_as == "scribbles"
            labels[subject] = cv2.GC_FGD if certain else cv2.GC_PR_FGD
            labels[background] = cv2.GC_BGD if certain else cv2.GC_PR_BGD
        return labels

    def _cut(self, image: Image, labels: _Labels) -> Mask:
        """The subject according to GrabCut, started from `labels`."""
        subject = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
        if min(subject.sum(), (~subject).sum()) < _FEWEST:
            return np.asarray(labels == cv2.GC_FGD)
        models = np.zeros((2, 1, 65))
        # Its k-means draws from this thread's generator: the same picture must give the same matte.
        cv2.setRNGSeed(0)
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        cv2.grabCut(
            bgr,
            labels,
            (0, 0, 1, 1),
            models[0],
            models[1],
            self.params.iterations,
            cv2.GC_INIT_WITH_MASK,
        )
        mask = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
        return _tidy(mask, labels == cv2.GC_FGD) if self.params.tidy else mask


def _from_map(found: Alpha, reach: float) -> _Labels:
    """Certain and probable labels from the map of the probable subject."""
    labels = np.full(found.shape, cv2.GC_BGD, np.uint8)
    if found.max() <= 0:
        return labels
    levels = np.round(found * 255).astype(np.uint8)
    otsu, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    middle = otsu / 255 * (1.5 - reach)
    labels[found > 0.3 * middle] = cv2.GC_PR_BGD
    labels[found > middle] = cv2.GC_PR_FGD
    labels[found > 1 - 0.3 * (1 - middle)] = cv2.GC_FGD
    return labels


def _check_hint(hint: Trimap, shape: tuple[int, int], hint_as: str) -> None:
    if not isinstance(hint, np.ndarray) or hint.dtype != np.uint8 or hint.shape != shape:
        raise ImageError(
            f"hint must be uint8 of the photo's height and width {shape}; got {describe(hint)}: "
            "resize the mask to the photo"
        )
    if hint_as == "mask" and not ((hint == 255).any() and (hint != 255).any()):
        raise ImageError(
            "a hint taken as mask must mark some of the picture with 255 and leave some unmarked; got "
            f"{'only 255' if (hint == 255).all() else 'no 255'}: mark both, or set hint_as to scribbles"
        )


def _clip_box(box: Box, height: int, width: int) -> Box:
    """The part of the box inside the picture, as shares of the picture's width and height."""
    left, top, right, bottom = max(0, box[0]), max(0, box[1]), min(width, box[2]), min(height, box[3])
    if left >= right or top >= bottom:
        raise OptionError(
            f"box must overlap the picture of {width}x{height} pixels; got {_commas(box)}: "
            "give left, top, right, bottom in pixels of the photo"
        )
    return left / width, top / height, right / width, bottom / height


def _box_mask(box: Box, shape: tuple[int, ...]) -> Mask:
    height, width = shape[:2]
    mask = np.zeros((height, width), bool)
    left, top = math.floor(box[0] * width), math.floor(box[1] * height)
    mask[top : math.ceil(box[3] * height), left : math.ceil(box[2] * width)] = True
    return mask


def _commas(box: Box) -> str:
    return ", ".join(f"{value:g}" for value in box)


def _shares(hint: Trimap, shape: tuple[int, ...]) -> tuple[Mask, Mask]:
    """Where the reduced picture is marked as subject and as background; a thin stroke counts."""
    size = (shape[1], shape[0])
    subject, background = (
        cv2.resize((hint == value).astype(np.float32), size, interpolation=cv2.INTER_AREA)
        for value in (255, 0)
    )
    return (subject > 0) & (subject >= background), (background > 0) & (background > subject)


def _tidy(mask: Mask, certain: Mask) -> Mask:
    """Without islands and holes that are tiny beside the subject; certain pixels stay."""
    area = int(mask.sum())
    kept = ~_specks(~_specks(mask, 0.03 * area, certain), 0.003 * area, np.zeros_like(certain))
    return np.asarray(kept | certain)


def _specks(mask: Mask, below: float, certain: Mask) -> Mask:
    """`mask` without its connected pieces of fewer than `below` pixels."""
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    keep = stats[:, cv2.CC_STAT_AREA] >= below
    keep[np.unique(pieces[certain])] = True
    keep[0] = False
    return np.asarray(keep[pieces])


def _enlarge(mask: Mask, shape: tuple[int, int], smoothness: float) -> Alpha:
    """`mask` at the photo's size, its stair-steps smoothed before enlarging."""
    soft = mask.astype(np.float32)
    if smoothness > 0:
        soft = cv2.GaussianBlur(soft, (0, 0), smoothness)
    grown = cv2.resize(soft, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(grown, 0, 1).astype(np.float32, copy=False)

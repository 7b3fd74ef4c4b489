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

from bgremove.arrays import Alpha, Image, Mask, Trimap, check_image, describe
from bgremove.errors import ImageError, OptionError
from bgremove.options import Params
from bgremove.removers.base import HintedRemover
from bgremove.saliency import saliency

Box = tuple[float, float, float, float]
Labels = npt.NDArray[np.uint8]

_SMALLEST_SIDE = 8
"""Fewer working pixels than this, on either side, hold no colour models and no subject."""
_COARSE = 240
"""Long side at which the subject is found; the outline follows at the working size."""
_OPEN = 3
"""Half the width, in coarse pixels, of the strip in which the outline may still move."""
_ISLAND, _HOLE = 0.03, 0.05
"""Pieces below these shares of the subject are dropped, or filled."""
_SPAN, _FAINTEST = (11, 11), 10.5
"""Coarse pixels compared across an outline, and the least difference (CIE Lab) that is a subject's."""
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
        shape = check_image(image).shape[:2]
        if hint is not None:
            _check_hint(hint, shape, self.params.hint_as)
        box = None if self.params.box is None else _clip_box(self.params.box, *shape)
        fine = _shrunk(image, self.params.working_size)
        alpha = np.zeros(shape, np.float32)
        if min(fine.shape[:2]) >= _SMALLEST_SIDE:
            mask = self._subject(fine, box, hint)
            alpha = _enlarged(mask, shape, self.params.smoothness)
        if hint is not None and self.params.hint_as == "scribbles":
            alpha[hint == 255] = 1
            alpha[hint == 0] = 0
        return alpha

    def grain(self, height: int, width: int) -> float:
        """Photo pixels per working pixel."""
        return max(1.0, max(height, width) / self.params.working_size)

    def _subject(self, fine: Image, box: Box | None, hint: Trimap | None) -> Mask:
        """The subject in the reduced picture: found in a smaller one still, then its outline in this."""
        coarse = _shrunk(fine, _COARSE)
        labels = self._start(coarse, box, hint)
        models = np.zeros((2, 1, 65))
        labels = _cut(coarse, labels, models, self.params.iterations, cv2.GC_INIT_WITH_MASK)
        mask = _is_subject(labels)
        if self.params.tidy:
            mask = _tidy(mask, labels)
        pointed = box is not None or hint is not None
        if not pointed and _outline_contrast(coarse, mask) < _FAINTEST:
            return np.zeros(fine.shape[:2], bool)
        if coarse.shape == fine.shape or not models.any():
            return _resized(mask, fine.shape)
        band = _band(mask, fine.shape)
        if hint is not None and self.params.hint_as == "scribbles":
            _mark(band, hint, certain=True)
        return _is_subject(_cut(fine, band, models, 1, cv2.GC_EVAL_FREEZE_MODEL))

    def _start(self, image: Image, box: Box | None, hint: Trimap | None) -> Labels:
        """What is certain and what is probable before the first cut."""
        shape = image.shape[:2]
        certain = hint is not None and self.params.hint_as == "scribbles"
        known = np.full(shape, 128, np.uint8)
        if box is not None:
            known[~_box_mask(box, shape)] = 0
        if hint is not None:
            subject, background = _shares(hint, shape)
            known[subject], known[background] = 255, 0
        labels = _from_map(saliency(image, self.params.border, known), self.params.reach)
        if box is not None:
            inside = _box_mask(box, shape)
            labels[inside & (labels == cv2.GC_BGD)] = cv2.GC_PR_BGD
            labels[~inside] = cv2.GC_BGD
        if hint is not None:
            _mark(labels, hint, certain)
        return labels


def _cut(image: Image, labels: Labels, models: npt.NDArray[np.float64], rounds: int, mode: int) -> Labels:
    """GrabCut's labels after `rounds` from `labels`; `models` are read or written, as `mode` says."""
    subject = _is_subject(labels)
    if min(subject.sum(), (~subject).sum()) < _FEWEST:
        return np.where(labels == cv2.GC_FGD, cv2.GC_FGD, cv2.GC_BGD).astype(np.uint8)
    # Its k-means draws from this thread's generator: the same picture must give the same matte.
    cv2.setRNGSeed(0)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, *_ = cv2.grabCut(bgr, labels.copy(), (0, 0, 1, 1), models[0], models[1], rounds, mode)
    return np.asarray(done, np.uint8)


def _is_subject(labels: Labels) -> Mask:
    return np.asarray((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD))


def _from_map(found: Alpha, reach: float) -> Labels:
    """Certain and probable labels from the map of the probable subject."""
    levels = np.round(found * 255).astype(np.uint8)
    otsu, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    middle = (0.12 + 0.4 * otsu / 255) * 4 ** (0.5 - reach)
    labels = np.full(found.shape, cv2.GC_BGD, np.uint8)
    labels[found > 0.3 * middle] = cv2.GC_PR_BGD
    labels[found > middle] = cv2.GC_PR_FGD
    labels[found > middle + 0.6 * (float(found.max()) - middle)] = cv2.GC_FGD
    return labels


def _band(mask: Mask, shape: tuple[int, ...]) -> Labels:
    """Labels of the enlarged mask that leave only its outline open."""
    rough = _resized(mask, shape)
    width = round(2 * _OPEN * max(shape) / max(mask.shape)) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    labels = np.where(rough, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[cv2.erode(rough.astype(np.uint8), kernel) > 0] = cv2.GC_FGD
    labels[cv2.dilate(rough.astype(np.uint8), kernel) == 0] = cv2.GC_BGD
    return labels


def _mark(labels: Labels, hint: Trimap, certain: bool) -> None:
    """Write the hint into `labels`."""
    subject, background = _shares(hint, labels.shape)
    labels[subject] = cv2.GC_FGD if certain else cv2.GC_PR_FGD
    labels[background] = cv2.GC_BGD if certain else cv2.GC_PR_BGD


def _outline_contrast(image: Image, mask: Mask) -> float:
    """Difference in colour (CIE Lab) between the two sides of the mask's outline, on average.

    Both sides are averaged over some pixels, so noise and slow gradients count for little.
    """
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    # Speckles that follow the noise would find contrast in it: the median leaves the coarse shape.
    inside = np.asarray(cv2.medianBlur(mask.astype(np.uint8), 5), np.float32)[..., None]
    means = [cv2.blur(lab * side, _SPAN) / (_blurred(side) + 1e-6) for side in (inside, 1 - inside)]
    share = _blurred(inside)
    outline = ((share > 0.3) & (share < 0.7))[..., 0]
    return float(np.sqrt(((means[0] - means[1]) ** 2).sum(axis=2))[outline].mean()) if outline.any() else 0.0


def _blurred(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.asarray(cv2.blur(plane, _SPAN), np.float32)[..., None]


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


def _tidy(mask: Mask, labels: Labels) -> Mask:
    """Without islands and holes that are small beside the subject; what is certain stays."""
    area = int(mask.sum())
    mask = _large_pieces(mask, _ISLAND * area)
    return ~_large_pieces(~mask, _HOLE * area)


def _large_pieces(mask: Mask, at_least: float) -> Mask:
    """`mask` without its connected pieces of fewer pixels than `at_least`."""
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    keep = stats[:, cv2.CC_STAT_AREA] >= at_least
    keep[0] = False
    return np.asarray(keep[pieces])


def _shrunk(image: Image, side: int) -> Image:
    """`image` reduced to a long side of at most `side`."""
    scale = side / max(image.shape[:2])
    if scale >= 1:
        return image
    width, height = (max(1, round(length * scale)) for length in (image.shape[1], image.shape[0]))
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _resized(mask: Mask, shape: tuple[int, ...]) -> Mask:
    soft = cv2.resize(mask.astype(np.float32), (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(soft > 0.5)


def _enlarged(mask: Mask, shape: tuple[int, ...], smoothness: float) -> Alpha:
    """`mask` at the photo's size, its stair-steps smoothed before enlarging."""
    soft = np.asarray(mask, np.float32)
    if smoothness > 0:
        soft = np.asarray(cv2.GaussianBlur(soft, (0, 0), smoothness), np.float32)
    grown = cv2.resize(soft, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(grown, 0, 1), np.float32)

"""Touching up a matte by hand: strokes of a brush that erase, restore, or have a region worked out again.

The page draws the same strokes on its preview. A stroke is 1 up to ``(1 - softness) * radius`` from its
line and falls linearly to 0 at the radius; ``erase`` makes alpha ``alpha * (1 - s)``, ``restore`` makes it
``alpha + (1 - alpha) * s``. Points are in pixels of the photo, where (0, 0) is the corner of the first pixel
and (0.5, 0.5) its centre.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import cv2
import numpy as np
import numpy.typing as npt

from bgremove.arrays import Alpha, Image
from bgremove.errors import MissingExtraError
from bgremove.refine import guided_filter
from bgremove.webapp.errors import TooSlow, WrongRequest

Mode = Literal["erase", "restore", "refine"]

_POINTS = 20_000  # of all strokes of one request
_STROKES = 1000
_EXACT = 200_000_000  # pixels to look at for one stroke
_LARGEST_REGION = 4_000_000  # pixels worked out again at once


@dataclass(frozen=True)
class Stroke:
    """One stroke of the brush.

    Attributes:
        size: diameter, in pixels of the photo.
        softness: the share of the radius over which it falls off, 0 to 1.
        points: x and y of its line, in pixels of the photo; one is a dab.
    """

    mode: Mode
    size: float
    softness: float
    points: tuple[tuple[float, float], ...]


def parse_edits(value: Any) -> tuple[Stroke, ...]:
    """Strokes from JSON.

    Raises:
        WrongRequest: naming what is wrong with which.
    """
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > _STROKES:
        raise WrongRequest(f"edits must be a list of at most {_STROKES} strokes; got {_briefly(value)}")
    strokes = tuple(_parse_stroke(number, one) for number, one in enumerate(value))
    if sum(len(one.points) for one in strokes) > _POINTS:
        raise WrongRequest(f"edits must have at most {_POINTS} points in all")
    return strokes


def _parse_stroke(number: int, value: Any) -> Stroke:
    where = f"edits[{number}]"
    if not isinstance(value, dict):
        raise WrongRequest(f"{where} must be an object with mode, size and points; got {_briefly(value)}")
    mode: Any = value.get("mode")
    if mode not in get_args(Mode):
        raise WrongRequest(f"{where}.mode must be one of {', '.join(get_args(Mode))}; got {_briefly(mode)}")
    points = value.get("points")
    if not isinstance(points, list) or not 1 <= len(points) <= _POINTS:
        raise WrongRequest(f"{where}.points must be a list of 1 to {_POINTS} points; got {_briefly(points)}")
    return Stroke(
        mode,
        _number(f"{where}.size", value.get("size"), 0.1, 20_000),
        _number(f"{where}.softness", value.get("softness", 0), 0, 1),
        tuple(_point(f"{where}.points", one) for one in points),
    )


def _point(where: str, value: Any) -> tuple[float, float]:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise WrongRequest(f"{where} must have points of two numbers, x and y; got {_briefly(value)}")
    x, y = (_number(where, one, -1e5, 1e6) for one in value)
    return x, y


def _number(where: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise WrongRequest(f"{where} must be a number from {low:g} to {high:g}; got {_briefly(value)}")
    return float(value)


def _briefly(value: Any) -> str:
    if isinstance(value, (list, tuple, dict)):
        return f"{type(value).__name__} of {len(value)}"
    return repr(value)[:60]


def apply_edits(image: Image, alpha: Alpha, strokes: Sequence[Stroke], *, seconds: float = math.inf) -> Alpha:
    """The matte after all strokes, in order.

    Args:
        image: (H, W, 3) uint8 RGB, the photo.
        alpha: (H, W) float32 in [0, 1].
        seconds: that it may take.

    Returns:
        (H, W) float32 in [0, 1], a new array if anything changed.

    Raises:
        TooSlow: if it takes longer.
        WrongRequest: if a region to refine is too large.
    """
    end = time.monotonic() + seconds
    if strokes:
        alpha = alpha.copy()
    for stroke in strokes:
        if time.monotonic() > end:
            raise TooSlow("these strokes take too long here; use fewer, or smaller ones", status=504)
        window, strength = draw_stroke(stroke, *alpha.shape)
        if not strength.size:
            continue
        part = alpha[window]
        match stroke.mode:
            case "erase":
                part *= 1 - strength
            case "restore":
                part += (1 - part) * strength
            case "refine":
                part += (refined_region(image, alpha, window, strength > 0) - part) * strength
    return alpha


def draw_stroke(stroke: Stroke, height: int, width: int) -> tuple[tuple[slice, slice], Alpha]:
    """How strong a stroke is, 0 to 1, and the rows and columns of the picture where it is anything."""
    radius = stroke.size / 2
    points = np.asarray(stroke.points, np.float32)
    if len(points) > 2:  # hands make many points where few say the same to a fifth of a pixel
        points = cast("npt.NDArray[np.float32]", cv2.approxPolyDP(points[:, None], 0.2, False)[:, 0])
    window = _window(points, radius, height, width)
    rows, columns = window
    shape = (max(0, rows.stop - rows.start), max(0, columns.stop - columns.start))
    if 0 in shape:
        return window, np.zeros(shape, np.float32)
    points = points - np.array([columns.start, rows.start], np.float32)
    distance = _distance(points, radius, *shape)
    fall = stroke.softness * radius
    if fall < 1e-3:
        return window, (distance <= radius).astype(np.float32)
    return window, np.clip((radius - distance) / np.float32(fall), 0, 1)


def _window(points: npt.NDArray[np.float32], radius: float, height: int, width: int) -> tuple[slice, slice]:
    low = np.floor(points.min(axis=0) - radius).astype(int)
    high = np.ceil(points.max(axis=0) + radius).astype(int)
    left, top = np.clip(low, 0, (width, height)).tolist()
    right, bottom = np.clip(high, 0, (width, height)).tolist()
    return slice(top, bottom), slice(left, right)


def _distance(points: npt.NDArray[np.float32], radius: float, height: int, width: int) -> Alpha:
    """How far each pixel of a window is from a line, at least where that is less than `radius`."""
    ends = points if len(points) == 1 else points[1:]
    lines = list(zip(points, ends, strict=False))
    windows = [_window(np.stack(line), radius, height, width) for line in lines]
    work = sum((y.stop - y.start) * (x.stop - x.start) for y, x in windows)
    if work > _EXACT:
        return _distance_of_large(points, radius, height, width)
    nearest = np.full((height, width), np.inf, np.float32)  # squared
    for (first, last), window in zip(lines, windows, strict=True):
        _nearer(nearest, first, last, window)
    return cast(Alpha, np.sqrt(nearest, out=nearest))


def _distance_of_large(points: npt.NDArray[np.float32], radius: float, height: int, width: int) -> Alpha:
    """The same for a wide brush and a long line, worked out at a reduced size: right to a few thousandths."""
    room = math.ceil(radius)
    scale = min(1.0, 1500 / (max(height, width) + 2 * room))
    small = [max(1, math.ceil((side + 2 * room) * scale)) for side in (height, width)]
    drawn = np.full(small, 255, np.uint8)
    line = np.clip(np.rint(((points + room) * scale - 0.5) * 16), -(2**20), 2**20).astype(np.int32)
    cv2.polylines(drawn, [line[:, None]], False, 0, 1, cv2.LINE_8, 4)
    distance = cv2.distanceTransform(drawn, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) / np.float32(scale)
    # From the centres of the small pixels to those of the window's.
    matrix = np.array([[scale, 0, (room + 0.5) * scale - 0.5], [0, scale, (room + 0.5) * scale - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cast(
        Alpha,
        cv2.warpAffine(distance, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE),
    )


def _nearer(
    nearest: Alpha,
    first: npt.NDArray[np.float32],
    last: npt.NDArray[np.float32],
    window: tuple[slice, slice],
) -> None:
    """Lower the squared distances in a window of `nearest` to those from a line between two points."""
    rows, columns = window
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + np.float32(0.5) - first[1]
    x = np.arange(columns.start, columns.stop, dtype=np.float32)[None] + np.float32(0.5) - first[0]
    dx, dy = (last - first).tolist()
    length = dx * dx + dy * dy
    if length > 0:
        along = np.clip((x * dx + y * dy) * np.float32(1 / length), 0, 1)
        squared = (x - along * np.float32(dx)) ** 2 + (y - along * np.float32(dy)) ** 2
    else:
        squared = x * x + y * y
    part = nearest[rows, columns]
    np.minimum(part, squared, out=part)


def refined_region(image: Image, alpha: Alpha, window: tuple[slice, slice], brushed: Any) -> Alpha:
    """The matte of a window, worked out again where it was brushed, from what surrounds it.

    Closed-form matting where PyMatting is installed, else GrabCut with guided edges.

    Args:
        image: (H, W, 3) uint8 RGB.
        alpha: (H, W) float32.
        window: rows and columns.
        brushed: of the window's size, True where the matte is not trusted.

    Raises:
        WrongRequest: if the region is too large.
    """
    rows, columns = window
    height, width = brushed.shape
    room = max(24, min(200, max(height, width) // 4))
    outer = (
        slice(max(0, rows.start - room), min(alpha.shape[0], rows.stop + room)),
        slice(max(0, columns.start - room), min(alpha.shape[1], columns.stop + room)),
    )
    part, matte = np.ascontiguousarray(image[outer]), np.ascontiguousarray(alpha[outer])
    if matte.size > _LARGEST_REGION:
        raise WrongRequest(
            f"the brushed region has {matte.size / 1e6:.1f} megapixels, and at most "
            f"{_LARGEST_REGION / 1e6:g} can be worked out again at once; brush smaller ones, one by one"
        )
    inside = (
        slice(rows.start - outer[0].start, rows.stop - outer[0].start),
        slice(columns.start - outer[1].start, columns.stop - outer[1].start),
    )
    trimap = np.where(matte > 0.5, np.uint8(255), np.uint8(0))
    trimap[inside][brushed] = 128
    known = trimap[trimap != 128]
    if not known.size or known.min() == known.max():
        return matte[inside]  # all of one kind around it: there is nothing to learn from
    try:
        from bgremove.matting import closed_form_alpha

        found = closed_form_alpha(part, trimap, initial=matte)
    except MissingExtraError:
        found = _grabcut_region(part, matte, trimap)
    return np.clip(found[inside], 0, 1)


def _grabcut_region(image: Image, alpha: Alpha, trimap: npt.NDArray[np.uint8]) -> Alpha:
    """GrabCut of the unknown part, its border made soft along the photo's edges."""
    unknown = trimap == 128
    labels = np.where(trimap == 255, np.uint8(cv2.GC_FGD), np.uint8(cv2.GC_BGD))
    labels[unknown] = np.where(alpha[unknown] > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)
    cv2.grabCut(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), labels, None, *models, 3, cv2.GC_INIT_WITH_MASK)
    hard = ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.float32)
    soft = np.clip(guided_filter(image, hard, 4), 0, 1)
    return np.where(unknown, soft, alpha)

"""The subject's own colours, without the old background in hair and edges."""

from __future__ import annotations

from typing import Any, Literal, cast

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from bgremove.arrays import Alpha, Image, check_alpha, check_image
from bgremove.errors import OptionError
from bgremove.options import Params
from bgremove.tiles import Tile, each_strip, each_tile

Method = Literal["fast", "multilevel", "none"]
Floats = npt.NDArray[np.float32]

_FAR, _NEAR = 90, 6  # blur radii of the two passes, in pixels, as published
_SHRINK = 8  # the far pass sees nothing finer than its radius: run it at an eighth of the size
_TINY = np.float32(1e-5)


class ForegroundParams(Params):
    """How the colour of half-transparent pixels is found."""

    foreground: Method = Field(
        "fast",
        description="Edge colours: fast (blur fusion), multilevel (PyMatting), none (the photo's own, "
        "with its old background)",
    )


def estimate_foreground(image: Image, alpha: Alpha, method: Method = "fast") -> Image:
    """Colours of the subject alone, so that it can stand on another background without a fringe.

    A pixel at the border was photographed as ``I = alpha*F + (1 - alpha)*B``; this estimates F.
    ``fast`` averages the colours of foreground and background around each pixel, weighted by
    alpha, then corrects the average by what the equation leaves over; a wide pass, then a narrow
    one. Only tiles that have soft pixels are worked on.

    Args:
        image: (H, W, 3) uint8 RGB.
        alpha: (H, W) float in [0, 1].
        method: ``fast``; ``multilevel`` needs the extra ``matting``; ``none`` keeps the photo's.

    Returns:
        (H, W, 3) uint8 RGB: the photo's own colour where alpha is 1, black where it is 0.

    Raises:
        ImageError: if the sizes differ or the arrays are of the wrong kind.
        OptionError: for an unknown method.
        MissingExtraError: if ``multilevel`` lacks PyMatting.

    References:
        Forte and Pitié, "Approximate Fast Foreground Colour Estimation", ICIP 2021.
        Germer et al., "Fast Multi-Level Foreground Estimation", ICPR 2020.
    """
    image, alpha = check_image(image), check_alpha(alpha, image.shape)
    match method:
        case "fast":
            foreground = _blur_fusion(image, alpha)
        case "multilevel":
            from bgremove.matting import multilevel_foreground

            foreground = _visible(multilevel_foreground(image, alpha), alpha)
        case "none":
            foreground = _visible(image, alpha)
        case _:
            raise OptionError(f"method must be one of fast, multilevel, none; got {method!r}")
    return foreground


def _visible(image: Image, alpha: Alpha) -> Image:
    """A copy of `image` that is black where alpha is 0."""
    # NumPy's boolean assignment takes three times as long as this on a 12 MP picture.
    return cast(Image, cv2.copyTo(image, (alpha > 0).view(np.uint8)))


def _blur_fusion(image: Image, alpha: Alpha) -> Image:
    foreground = _visible(image, alpha)
    soft = alpha > 0
    soft &= alpha < 1
    if not soft.any():
        return foreground
    far, shrink = _far_averages(image, alpha)

    def work(tile: Tile) -> None:
        part = image[tile.outer].astype(np.float32)
        # One matte per colour: NumPy broadcasts over three values at a time far more slowly.
        matte = cv2.merge([alpha[tile.outer]] * 3)
        subject, background = (_enlarge(colours, tile.outer, shrink) for colours in far)
        subject = _correct(part, matte, subject, background)
        subject *= matte
        background *= 1 - matte
        subject, background = _ratios(subject, background, alpha[tile.outer], _NEAR)
        subject = _correct(part, matte, subject, background)
        rounded = np.rint(subject[tile.within]).astype(np.uint8)
        cv2.copyTo(rounded, soft[tile.inner].view(np.uint8), foreground[tile.inner])

    each_tile(work, soft, size=256, margin=2 * _NEAR)
    return foreground


def _far_averages(image: Image, alpha: Alpha) -> tuple[tuple[Floats, Floats], int]:
    """Foreground and background colours within 90 px at a reduced size, and how much that is."""
    height, width = alpha.shape
    shrink = _SHRINK if min(height, width) >= 16 * _SHRINK else 1
    small = np.empty((-(-height // shrink), -(-width // shrink), 7), np.float32)

    def work(strip: slice) -> None:
        part, matte = image[strip], alpha[strip]
        # Shrinking must not mix the two: the means of alpha*I and of I give both sides' sums.
        byte = cv2.convertScaleAbs(matte, alpha=255)
        product = cv2.multiply(part, cv2.merge([byte, byte, byte]), scale=1 / 255)
        rows = small[strip.start // shrink : -(-strip.stop // shrink)]
        rows[..., :3], rows[..., 3:6] = _shrunk(product, shrink), _shrunk(part, shrink)
        rows[..., 6] = _shrunk(matte, shrink)

    each_strip(work, height, rows=8 * shrink)
    subject, mixed, matte = small[..., :3], small[..., 3:6], small[..., 6]
    return _ratios(subject, mixed - subject, matte, round(_FAR / shrink)), shrink


def _shrunk(array: npt.NDArray[Any], by: int) -> npt.NDArray[Any]:
    """Means of squares of `by` pixels; those at the right and the lower border are filled up."""
    height, width = array.shape[:2]
    if height % by or width % by:
        array = cv2.copyMakeBorder(array, 0, -height % by, 0, -width % by, cv2.BORDER_REPLICATE)
    size = (array.shape[1] // by, array.shape[0] // by)
    return cast("npt.NDArray[Any]", cv2.resize(array, size, interpolation=cv2.INTER_AREA))


def _ratios(subject: Floats, background: Floats, matte: Alpha, radius: int) -> tuple[Floats, Floats]:
    """Means of both colours around each pixel, from colours times how much of each is there."""
    height, width = matte.shape  # a wider window sees nothing new, but takes its time row by row
    sides = (2 * min(radius, width) + 1, 2 * min(radius, height) + 1)

    def blur(values: Floats) -> Floats:
        return cast(Floats, cv2.blur(values, sides, borderType=cv2.BORDER_REFLECT))

    share = cv2.merge([blur(np.ascontiguousarray(matte))] * 3)
    front, back = blur(subject), blur(background)
    front /= share + _TINY
    back /= 1 + _TINY - share
    return front, back


def _correct(image: Floats, matte: Floats, subject: Floats, background: Floats) -> Floats:
    """Add to the average F what the equation leaves over: ``F + alpha*(I - alpha*F - (1-alpha)*B)``."""
    left_over = image - background - matte * (subject - background)
    left_over *= matte
    left_over += subject
    return cast(Floats, np.clip(left_over, 0, 255, out=left_over))


def _enlarge(small: Floats, window: tuple[slice, slice], by: int) -> Floats:
    """The part of `small` that lies under `window` of the full picture, at full size, bilinear."""
    # One more pixel on each side, for those at the window's border to lie between two.
    rows, columns = (slice(max(0, part.start // by - 1), -(-part.stop // by) + 1) for part in window)
    piece = small[rows, columns]
    size = (piece.shape[1] * by, piece.shape[0] * by)
    large = cv2.resize(piece, size, interpolation=cv2.INTER_LINEAR)
    inside = tuple(
        slice(part.start - used.start * by, part.stop - used.start * by)
        for part, used in zip(window, (rows, columns), strict=True)
    )
    return cast(Floats, large[inside])

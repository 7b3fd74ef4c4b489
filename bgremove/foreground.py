"""The subject's own colours, without the old background in hair and edges."""

from __future__ import annotations

from typing import Literal, cast

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from bgremove.arrays import Alpha, Image, check_alpha, check_image
from bgremove.errors import OptionError
from bgremove.options import Params
from bgremove.tiles import Tile, each_tile

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

            foreground = multilevel_foreground(image, alpha)
        case "none":
            foreground = image.copy()
        case _:
            raise OptionError(f"method must be one of fast, multilevel, none; got {method!r}")
    # NumPy's boolean assignment takes three times as long as this on a 12 MP picture.
    return cast(Image, cv2.copyTo(foreground, (alpha > 0).view(np.uint8)))


def _blur_fusion(image: Image, alpha: Alpha) -> Image:
    foreground = image.copy()
    soft = (alpha > 0) & (alpha < 1)
    if not soft.any():
        return foreground
    far = _far_averages(image, alpha)
    scale = np.array(far.shape[:2]) / np.array(image.shape[:2])

    def work(tile: Tile) -> None:
        part, matte = image[tile.outer].astype(np.float32), alpha[tile.outer][..., None]
        averages = _enlarge(far, tile.outer, scale)
        subject = _correct(part, matte, averages[..., :3], averages[..., 3:])
        near = _averages(subject, averages[..., 3:], matte, _NEAR)
        subject = _correct(part, matte, near[..., :3], near[..., 3:])
        inner, edge = subject[tile.within], soft[tile.inner]
        foreground[tile.inner][edge] = np.rint(inner[edge]).astype(np.uint8)

    each_tile(work, soft, size=256, margin=2 * _NEAR)
    return foreground


def _far_averages(image: Image, alpha: Alpha) -> Floats:
    """Foreground and background colours within 90 px, (h, w, 6), at a reduced size."""
    height, width = alpha.shape
    size = (max(1, round(width / _SHRINK)), max(1, round(height / _SHRINK)))
    if min(size) < 16:
        size = (width, height)
    ratio = size[0] / width
    matte = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)[..., None]
    # Shrinking must not mix the two: the means of alpha*I and of I give both sides' sums.
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    weighted = _shrink_weighted(image, alpha, size)
    return _ratios(weighted, matte, small - weighted, 1 - matte, max(1, round(_FAR * ratio)))


def _shrink_weighted(image: Image, alpha: Alpha, size: tuple[int, int]) -> Floats:
    """Mean of ``alpha * image`` over each pixel of the reduced size."""
    byte = cv2.convertScaleAbs(alpha, alpha=255)
    product = cv2.multiply(image, cv2.merge([byte, byte, byte]), scale=1 / 255)
    return cast(Floats, cv2.resize(product, size, interpolation=cv2.INTER_AREA).astype(np.float32))


def _averages(subject: Floats, background: Floats, matte: Floats, radius: int) -> Floats:
    """Means of both colours around each pixel, weighted by how much of each is there."""
    return _ratios(subject * matte, matte, background * (1 - matte), 1 - matte, radius)


def _ratios(subject: Floats, matte: Floats, background: Floats, rest: Floats, radius: int) -> Floats:
    def blur(values: Floats) -> Floats:
        blurred = cv2.blur(values, (2 * radius + 1, 2 * radius + 1), borderType=cv2.BORDER_REFLECT)
        return cast(Floats, blurred if blurred.ndim == 3 else blurred[..., None])

    return np.concatenate(
        [blur(subject) / (blur(matte) + _TINY), blur(background) / (blur(rest) + _TINY)], axis=2
    )


def _correct(image: Floats, matte: Floats, subject: Floats, background: Floats) -> Floats:
    """Add to the average F what the equation leaves over: ``F + alpha*(I - alpha*F - (1-alpha)*B)``."""
    left_over = image - matte * subject - (1 - matte) * background
    corrected: Floats = np.clip(subject + matte * left_over, 0, 255)
    return corrected


def _enlarge(small: Floats, window: tuple[slice, slice], scale: npt.NDArray[np.float64]) -> Floats:
    """The part of `small` that lies under `window` of the full picture, at full size, bilinear."""
    rows, columns = window
    # Pixel centres: x_small = (x + 1/2) * scale - 1/2.
    matrix = np.array(
        [
            [scale[1], 0, (columns.start + 0.5) * scale[1] - 0.5],
            [0, scale[0], (rows.start + 0.5) * scale[0] - 0.5],
        ]
    )
    size = (columns.stop - columns.start, rows.stop - rows.start)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    halves = [
        cv2.warpAffine(half, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        for half in (small[..., :3], small[..., 3:])
    ]
    return np.concatenate(halves, axis=2)

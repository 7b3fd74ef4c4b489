"""Putting a subject over something else, cutting the picture to the subject, and its final size."""

from __future__ import annotations

import re
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from bgremove.arrays import Alpha, Cutout, Image, check_alpha, check_image
from bgremove.errors import ImageError, OptionError
from bgremove.tiles import each_strip
from bgremove.trimap import Box, bounding_box

Colour = tuple[int, int, int, int]
"""Red, green, blue and opacity, each 0 to 255."""
Pixels = npt.NDArray[np.uint8]
"""(H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA with straight alpha, uint8."""


def composite(foreground: Image, background: Image, alpha: Alpha) -> Image:
    """Blend a foreground over a background: ``I = alpha*F + (1 - alpha)*B``.

    Args:
        foreground: (H, W, 3) uint8 RGB of the subject, without background colour in its edges.
        background: (H, W, 3) uint8 RGB.
        alpha: (H, W) float in [0, 1]; 1 keeps the foreground.

    Returns:
        (H, W, 3) uint8 RGB, rounded to the nearest value.

    Raises:
        ImageError: if the sizes differ or the arrays are of the wrong kind.

    References:
        Porter and Duff, "Compositing Digital Images", SIGGRAPH 1984.
    """
    foreground, background = check_image(foreground, "foreground"), check_image(background, "background")
    if foreground.shape != background.shape:
        raise ImageError(
            f"foreground and background must have one size; got {foreground.shape[:2]} and "
            f"{background.shape[:2]}: resize one, or use fit_background"
        )
    alpha = check_alpha(alpha, foreground.shape)
    result = np.empty_like(foreground)

    def work(strip: slice) -> None:
        below = background[strip].astype(np.float32)
        blend = below + alpha[strip, :, None] * (foreground[strip] - below)
        result[strip] = np.rint(blend)

    each_strip(work, alpha.shape[0])
    return result


def cutout(foreground: Image, alpha: Alpha) -> Cutout:
    """Foreground and alpha as one RGBA picture with straight alpha; colour under alpha 0 is zeroed.

    Args:
        foreground: (H, W, 3) uint8 RGB.
        alpha: (H, W) float in [0, 1].

    Returns:
        (H, W, 4) uint8.
    """
    foreground, alpha = check_image(foreground, "foreground"), check_alpha(alpha, foreground.shape)
    result = np.empty((*alpha.shape, 4), np.uint8)

    def work(strip: slice) -> None:
        opacity = alpha_to_bytes(alpha[strip])
        result[strip] = cv2.copyTo(cv2.merge([*cv2.split(foreground[strip]), opacity]), opacity)

    each_strip(work, alpha.shape[0], rows=64)
    return result


def over_colour(foreground: Image, colour: Colour, alpha: Alpha) -> Image | Cutout:
    """The foreground over one colour; RGBA (straight alpha) if the colour is see-through itself.

    With the colour's own opacity b, the result has opacity ``a + b*(1 - a)`` and colour
    ``(a*F + (1 - a)*b*C)`` divided by that (Porter and Duff's "over").
    """
    foreground, alpha = check_image(foreground, "foreground"), check_alpha(alpha, foreground.shape)
    rgb = np.array(colour[:3], np.float32)
    opacity = np.float32(colour[3] / 255)
    result = np.empty((*alpha.shape, 3 if colour[3] == 255 else 4), np.uint8)

    def work(strip: slice) -> None:
        a = alpha[strip, :, None]
        below = (1 - a) * opacity
        total = a + below
        blend = (a * foreground[strip] + below * rgb) / np.maximum(total, 1e-6)
        result[strip, :, :3] = np.rint(blend)
        if result.shape[2] == 4:
            result[strip, :, 3] = np.rint(total[..., 0] * 255)
            result[strip][result[strip, :, 3] == 0] = 0

    each_strip(work, alpha.shape[0])
    return result


def alpha_to_bytes(alpha: Alpha) -> npt.NDArray[np.uint8]:
    """(H, W) float in [0, 1] to uint8 0 to 255, rounded to the nearest value."""
    return cast("npt.NDArray[np.uint8]", cv2.convertScaleAbs(alpha, alpha=255))


def crop_to_subject(
    picture: npt.NDArray[np.uint8], alpha: Alpha, padding: str | int = 0
) -> npt.NDArray[np.uint8]:
    """The part of a picture around the subject, with `padding` on every side inside the picture.

    Args:
        picture: (H, W) or (H, W, C) uint8; anything of the matte's size.
        alpha: (H, W) float in [0, 1].
        padding: pixels (``10``), or per cent of the subject's longer side (``"5%"``).

    Returns:
        The part, a view; all of the picture if there is no subject.

    Raises:
        ImageError: if the sizes differ.
        OptionError: if `padding` is neither.
    """
    box = subject_box(check_alpha(alpha, picture.shape), padding)
    return picture[box.top : box.bottom, box.left : box.right]


def subject_box(alpha: Alpha, padding: str | int = 0) -> Box:
    """Where :func:`crop_to_subject` cuts."""
    height, width = alpha.shape
    box = bounding_box(alpha)
    if box is None:
        return Box(0, 0, width, height)
    amount = parse_padding(padding, max(box.right - box.left, box.bottom - box.top))
    return Box(
        max(0, box.left - amount),
        max(0, box.top - amount),
        min(width, box.right + amount),
        min(height, box.bottom + amount),
    )


def parse_padding(padding: str | int, side: int) -> int:
    """Padding in pixels, from ``10``, ``"10"``, ``"10px"`` or ``"5%"`` of `side`.

    Raises:
        OptionError: if it is none of these or negative.
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(?:\s*(px|%))?", str(padding).strip())
    if match is None:
        raise OptionError(f"padding must be pixels (10) or per cent (5%), at least 0; got {padding!r}")
    value = float(match[1])
    return round(value / 100 * side) if match[2] == "%" else round(value)


def checkerboard(height: int, width: int, square: int = 12) -> Image:
    """The grey pattern that stands for "transparent": (height, width, 3) uint8."""
    rows, columns = np.arange(height) // square, np.arange(width) // square
    light = (rows[:, None] + columns[None, :]) % 2 == 0
    grey = np.where(light, np.uint8(252), np.uint8(214))
    return np.repeat(grey[..., None], 3, axis=2)


def limit_size(pixels: Pixels, size: str, *, soft: bool = True) -> Pixels:
    """A picture made smaller to fit `size`; never larger.

    Args:
        size: the longest side (``1024``), or width and height it must fit in (``800x600``); empty
            leaves the picture as it is.
        soft: False keeps to the values there are, as a mask or a trimap must.

    Raises:
        OptionError: if `size` is neither.
    """
    if not size.strip():
        return pixels
    match = re.fullmatch(r"(\d{1,9})(?:\s*[xX]\s*(\d{1,9}))?(?:\s*px)?", size.strip())
    if match is None or not int(match[1]) or not int(match[2] or 1):
        raise OptionError(f"size must be the longest side (1024) or width x height (800x600); got {size!r}")
    height, width = pixels.shape[:2]
    scale = min(int(match[1]) / width, int(match[2] or match[1]) / height, 1.0)
    if scale == 1.0:
        return pixels
    new = (max(1, round(width * scale)), max(1, round(height * scale)))
    if pixels.ndim == 2 or pixels.shape[2] == 3:
        method = cv2.INTER_AREA if soft else cv2.INTER_NEAREST_EXACT
        smaller: Pixels = cv2.resize(pixels, new, interpolation=method)
        return smaller
    # Colours count as much as they are opaque, or transparent black would darken the edges.
    alpha = pixels[..., 3].astype(np.float32) / 255
    opacity = cv2.resize(alpha, new, interpolation=cv2.INTER_AREA)
    colours = cv2.resize(pixels[..., :3] * alpha[..., None], new, interpolation=cv2.INTER_AREA)
    colours = np.rint(np.clip(colours / np.maximum(opacity, 1e-6)[..., None], 0, 255))
    return cutout(colours.astype(np.uint8), np.clip(opacity, 0, 1))

"""What a subject is put over: nothing, a colour, a picture, or its own surroundings out of focus."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from typing import Any, Literal, cast

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage
from PIL import ImageColor

from bgremove.arrays import Alpha, Image, check_alpha, check_image
from bgremove.compositing import Colour, Pixels, composite, cutout, over_colour
from bgremove.errors import OptionError
from bgremove.io import read_frame

Fit = Literal["cover", "contain", "stretch", "tile"]


@dataclass(frozen=True)
class Background:
    """A background that was understood and, if it is a picture, read: once for a whole run.

    Attributes:
        kind: what it is.
        colour: for ``colour``.
        picture: for ``picture``, (h, w, 3) uint8 of any size.
        fit: how a picture fills the frame.
        blur_radius: for ``blur``, sigma in pixels; 0 goes by the photo's size.
    """

    kind: Literal["transparent", "colour", "picture", "blur"] = "transparent"
    colour: Colour = (255, 255, 255, 255)
    picture: Image | None = None
    fit: Fit = "cover"
    blur_radius: float = 0.0

    @property
    def opaque(self) -> bool:
        """True if nothing shows through the result."""
        return self.kind in ("picture", "blur") or (self.kind == "colour" and self.colour[3] == 255)

    def under(self, image: Image, foreground: Image, alpha: Alpha) -> Pixels:
        """The subject over this background; RGBA where that is see-through.

        Args:
            image: (H, W, 3) uint8, the photo, for ``blur``.
            foreground: (H, W, 3) uint8, the subject's own colours.
            alpha: (H, W) float in [0, 1].
        """
        if self.kind == "transparent":
            return cutout(foreground, alpha)
        if self.kind == "colour":
            return over_colour(foreground, self.colour, alpha)
        if self.kind == "blur":
            return composite(foreground, blur_background(image, alpha, self.blur_radius), alpha)
        assert self.picture is not None
        height, width = alpha.shape
        return composite(foreground, fit_background(self.picture, height, width, self.fit), alpha)


def parse_background(background: Any, *, fit: Fit = "cover", blur_radius: float = 0.0) -> Background:
    """A background from what a user gives.

    Args:
        background: ``transparent``, ``blur``, a colour (see :func:`parse_colour`, or a tuple of 3 or 4
            numbers from 0 to 255), or a picture (path, bytes, PIL image or array).

    Raises:
        OptionError: if it is none of these.
        ImageError: if it is a file that cannot be read as a picture.
    """
    if isinstance(background, Background):
        return background
    if isinstance(background, str) and background.strip().lower() in ("transparent", "none", ""):
        return Background()
    if isinstance(background, str) and background.strip().lower() == "blur":
        return Background("blur", blur_radius=blur_radius)
    if isinstance(background, (tuple, list)):
        background = ",".join(map(str, background))
    if isinstance(background, str):
        try:
            return Background("colour", colour=parse_colour(background))
        except OptionError:
            if not os.path.exists(background):
                raise OptionError(
                    f"unknown background {background!r}; give transparent, blur, a colour (white, #fa0, "
                    "255,170,0) or a picture that exists"
                ) from None
    if not isinstance(background, (str, os.PathLike, bytes, PILImage.Image, np.ndarray)):
        raise OptionError(f"background must be text, a colour or a picture; got {type(background).__name__}")
    frame = read_frame(background)
    picture = frame.image
    if frame.alpha is not None:
        picture = composite(picture, np.full_like(picture, 255), frame.alpha)
    return Background("picture", picture=picture, fit=fit)


def parse_colour(text: str) -> Colour:
    """A colour as (red, green, blue, opacity), each 0 to 255.

    Accepts CSS names (``tomato``), ``#rgb``, ``#rgba``, ``#rrggbb``, ``#rrggbbaa``, ``r,g,b`` and
    ``r,g,b,a`` with values 0 to 255, and CSS functions (``rgb(1,2,3)``, ``hsl(120,50%,50%)``).

    Raises:
        OptionError: if it is none of these.
    """
    text = text.strip()
    values: tuple[int, ...] = ()
    if re.fullmatch(r"\d{1,9}\s*(,\s*\d{1,9}\s*){2,3}", text):
        values = tuple(int(part) for part in text.split(","))
    else:
        with contextlib.suppress(ValueError):
            values = ImageColor.getrgb(text)
    if values and 0 <= min(values) and max(values) <= 255:  # Pillow takes rgb(300,0,0)
        return cast(Colour, (*values, 255)[:4])
    raise OptionError(
        f"unknown colour {text!r}; give a CSS name (white), #rgb, #rrggbb, #rrggbbaa or r,g,b from 0 to 255"
    )


def fit_background(background: Image, height: int, width: int, fit: Fit = "cover") -> Image:
    """A background picture made (height, width) large.

    ``cover`` fills the frame and crops what is left over, ``contain`` shows all of it on its own
    mean border colour, ``stretch`` ignores its proportions, ``tile`` repeats it at its own size.

    Raises:
        OptionError: for an unknown `fit`.
    """
    background = check_image(background, "background")
    if fit == "tile":
        rows, columns = (-(-height // background.shape[0]), -(-width // background.shape[1]))
        return np.tile(background, (rows, columns, 1))[:height, :width]
    if fit == "stretch":
        return _resize(background, height, width)
    if fit not in ("cover", "contain"):
        raise OptionError(f"fit must be one of cover, contain, stretch, tile; got {fit!r}")
    ratios = (height / background.shape[0], width / background.shape[1])
    scale = max(ratios) if fit == "cover" else min(ratios)
    new = [max(1, round(side * scale)) for side in background.shape[:2]]
    if fit == "cover":
        # Crop first: enlarging what is cut away afterwards can cost a thousand times the frame.
        crop = _centre(background, height / scale, width / scale)
        return _resize(crop, height, width)
    scaled = _resize(background, min(new[0], height), min(new[1], width))
    result = np.empty((height, width, 3), np.uint8)
    result[:] = _border_colour(background)
    top, left = (height - scaled.shape[0]) // 2, (width - scaled.shape[1]) // 2
    result[top : top + scaled.shape[0], left : left + scaled.shape[1]] = scaled
    return result


def blur_background(image: Image, alpha: Alpha, radius: float = 0.0) -> Image:
    """The photo's own background, blurred as if out of focus, without the subject bleeding into it.

    A plain blur spreads the subject's colours around it like a halo. Here only pixels that are
    background count: ``blur(w*I) / blur(w)`` with w = 1 where alpha is 0, a little away from the
    subject, and 0 elsewhere; where no background is within reach, ever wider blurs fill in.

    Args:
        image: (H, W, 3) uint8 RGB, the photo.
        alpha: (H, W) float in [0, 1].
        radius: the blur's sigma in pixels; 0 takes 1/50 of the long side.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    image, alpha = check_image(image), check_alpha(alpha, image.shape)
    height, width = alpha.shape
    radius = radius or max(height, width) / 50
    # A blur of sigma s holds nothing finer than s: work where sigma is about 6 pixels.
    shrink = max(1.0, radius / 6)
    size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    # What may carry the subject's colour counts nothing; if everything may, the least of it counts.
    carried = cv2.dilate(alpha, np.ones((3, 3), np.uint8), iterations=max(1, round(shrink)))
    clear = carried <= max(0.05, float(carried.min()))
    weight = cv2.resize(clear.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    masked = cv2.copyTo(image, clear.view(np.uint8))
    weighted = cv2.resize(masked, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    blurred = _fill_blur(weighted, weight, radius / shrink)
    full = cv2.resize(
        blurred, (width, height), interpolation=cv2.INTER_CUBIC if shrink > 1 else cv2.INTER_LINEAR
    )
    return cast(Image, np.rint(np.clip(full, 0, 255)).astype(np.uint8))


def _resize(image: Image, height: int, width: int) -> Image:
    shrinking = height * width < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC
    return cast(Image, cv2.resize(image, (width, height), interpolation=method))


def _centre(image: Image, height: float, width: float) -> Image:
    rows, columns = max(1, round(height)), max(1, round(width))
    top, left = (image.shape[0] - rows) // 2, (image.shape[1] - columns) // 2
    return image[max(0, top) : max(0, top) + rows, max(0, left) : max(0, left) + columns]


def _border_colour(image: Image) -> npt.NDArray[np.uint8]:
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    return cast(Pixels, np.rint(border.mean(axis=0)).astype(np.uint8))


def _fill_blur(weighted: npt.NDArray[np.float32], weight: Alpha, sigma: float) -> npt.NDArray[np.float32]:
    """Blurred ``weighted / weight``, wider where too little weight is near; `weighted` is colour times it."""
    result = np.zeros_like(weighted)
    missing = np.ones((*weight.shape, 1), np.float32)
    while True:
        amount, summed = _blurred(weight, sigma)[..., None], _blurred(weighted, sigma)
        trust = np.clip(amount * 8, 0, 1)
        if sigma > max(weight.shape):
            mean = weighted.sum((0, 1)) / max(float(weight.sum()), 1e-6)
            return cast("npt.NDArray[np.float32]", result + missing * mean.astype(np.float32))
        result += missing * trust * summed / np.maximum(amount, 1e-6)
        missing = missing * (1 - trust)
        if missing.max() < 1e-3:
            return result
        sigma *= 2


def _blurred(values: npt.NDArray[np.float32], sigma: float) -> npt.NDArray[np.float32]:
    """A Gaussian blur; a wide one at a reduced size, or its time would grow with `sigma` without end."""
    height, width = values.shape[:2]
    shrink = sigma / 6
    if shrink < 2:
        blurred = cv2.GaussianBlur(values, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    else:
        size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
        small = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), 6, borderType=cv2.BORDER_REFLECT)
        blurred = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return cast("npt.NDArray[np.float32]", blurred)

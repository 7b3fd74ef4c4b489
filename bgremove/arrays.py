"""The arrays that flow through bgremove, and the checks at its doors.

Sizes are ``(height, width)``, colours are RGB. Everything between reading and writing a picture
speaks these types; BGR exists only on the lines that call OpenCV.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt

from bgremove.errors import ImageError

Image = npt.NDArray[np.uint8]
"""``(H, W, 3)`` uint8, RGB."""
Alpha = npt.NDArray[np.float32]
"""``(H, W)`` float32, 0 background to 1 foreground."""
Mask = npt.NDArray[np.bool_]
"""``(H, W)`` bool, True is foreground."""
Trimap = npt.NDArray[np.uint8]
"""``(H, W)`` uint8: 0 background, 128 unknown, 255 foreground."""
Cutout = npt.NDArray[np.uint8]
"""``(H, W, 4)`` uint8, RGBA with straight (not premultiplied) alpha."""


def describe(array: object) -> str:
    """``float64 (480, 640)`` for an array, its type's name for anything else."""
    if isinstance(array, np.ndarray):
        return f"{array.dtype} {array.shape}"
    return type(array).__name__


def check_image(image: Any, name: str = "image") -> Image:
    """`image` if it is an :data:`Image` with at least one pixel.

    Raises:
        ImageError: otherwise.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(
            f"{name} must be uint8 of shape (H, W, 3); got {describe(image)}: "
            "convert it with bgremove.read_image"
        )
    if image.size == 0:
        raise ImageError(f"{name} has no pixels (shape {image.shape}); give a picture of at least 1x1")
    return cast(Image, image)


def check_alpha(alpha: Any, shape: tuple[int, ...] | None = None, name: str = "alpha") -> Alpha:
    """`alpha` as float32 if it is a matte in [0, 1], of `shape`'s height and width if given.

    bool is taken as 0 and 1, any float dtype is converted.

    Raises:
        ImageError: if it is something else, has values outside [0, 1] or NaN, or another size.
    """
    if not isinstance(alpha, np.ndarray) or alpha.ndim != 2 or alpha.dtype.kind not in "fb":
        raise ImageError(
            f"{name} must be float of shape (H, W) with values from 0 to 1; got {describe(alpha)}: "
            "divide a uint8 mask by 255"
        )
    if shape is not None and alpha.shape != tuple(shape[:2]):
        raise ImageError(
            f"{name} must have the image's height and width {tuple(shape[:2])}; got {alpha.shape}"
        )
    if alpha.size and not (alpha.min() >= 0 and alpha.max() <= 1):
        raise ImageError(
            f"{name} must lie within 0 and 1; got {alpha.min()} to {alpha.max()}: "
            "scale it first, and remove any NaN"
        )
    return alpha.astype(np.float32, copy=False)


def check_trimap(trimap: Any, shape: tuple[int, ...] | None = None) -> Trimap:
    """`trimap` if it is a :data:`Trimap`.

    Raises:
        ImageError: if it has another dtype, another size or a value besides 0, 128 and 255.
    """
    if not isinstance(trimap, np.ndarray) or trimap.ndim != 2 or trimap.dtype != np.uint8:
        raise ImageError(f"trimap must be uint8 of shape (H, W) with 0, 128 and 255; got {describe(trimap)}")
    if shape is not None and trimap.shape != tuple(shape[:2]):
        raise ImageError(
            f"trimap must have the image's height and width {tuple(shape[:2])}; got {trimap.shape}"
        )
    found = np.flatnonzero(np.bincount(trimap.ravel(), minlength=256))
    if not set(found.tolist()) <= {0, 128, 255}:
        raise ImageError(
            "trimap must hold only 0 (background), 128 (unknown) and 255 (foreground); got "
            f"{', '.join(map(str, found[:6]))}{' ...' if len(found) > 6 else ''}"
        )
    return trimap

"""From a matte to what is certain and what is not, and to where the subject lies."""

from __future__ import annotations

from typing import NamedTuple, cast

import cv2
import numpy as np

from bgremove.arrays import Alpha, Mask, Trimap, check_alpha
from bgremove.errors import OptionError
from bgremove.tiles import Tile, each_tile


class Box(NamedTuple):
    """A rectangle in pixels; `right` and `bottom` are one past the last pixel."""

    left: int
    top: int
    right: int
    bottom: int


def alpha_to_trimap(
    alpha: Alpha, width: int = 10, *, background_below: float = 0.04, foreground_above: float = 0.94
) -> Trimap:
    """Background and foreground that are certain, with an unknown band of `width` px on each side.

    Args:
        alpha: (H, W) float in [0, 1].
        width: pixels, at least 0, by which the certain regions are shrunk. The picture's own
            border does not shrink them: a subject that leaves the picture goes on outside.
        background_below: alpha under this is background before shrinking.
        foreground_above: alpha over this is foreground before shrinking.

    Returns:
        (H, W) uint8: 0 background, 128 unknown, 255 foreground.

    Raises:
        ImageError: if `alpha` is not a matte.
        OptionError: if `width` is negative.
    """
    alpha = check_alpha(alpha)
    if width < 0:
        raise OptionError(f"width must be at least 0 pixels; got {width}")
    trimap = np.empty(alpha.shape, np.uint8)

    def work(tile: Tile) -> None:
        part = alpha[tile.outer]
        background = shrink_mask(part < background_below, width)[tile.within].view(np.uint8)
        foreground = shrink_mask(part > foreground_above, width)[tile.within].view(np.uint8)
        trimap[tile.inner] = 128 + 128 * background + 127 * foreground  # 256 is 0 in uint8

    # What lies farther off than `width` does not count, so most tiles of a photo need no distances.
    each_tile(work, np.broadcast_to(np.True_, alpha.shape), size=256, margin=width + 1)
    return trimap


def shrink_mask(mask: Mask, width: int) -> Mask:
    """`mask` without the pixels nearer than `width` px to one that is False (Euclidean distance)."""
    if width == 0 or cv2.countNonZero(mask.view(np.uint8)) in (0, mask.size):
        return mask
    distance = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return cast(Mask, distance > width)


def bounding_box(alpha: Alpha, threshold: float = 0.1) -> Box | None:
    """The smallest box around every pixel with alpha above `threshold`; None if there is none.

    Raises:
        ImageError: if `alpha` is not a matte.
    """
    mask = check_alpha(alpha) > threshold
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)

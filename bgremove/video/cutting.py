"""Frame after frame: the network in order, smoothed over time; then edges and colours, in any order.

::

    predict (any thread, unless the remover remembers) -> steady (in order) -> finish (any thread)

What must be in order works on small mattes and is quick; what costs time, the edges and colours at full
size, can be done for several frames at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from bgremove.arrays import Alpha, Image, check_alpha, check_image
from bgremove.compositing import composite
from bgremove.foreground import ForegroundParams, estimate_foreground
from bgremove.pipeline import Cut
from bgremove.refine import RefineParams, edge_radius, refine_alpha
from bgremove.removers.base import Prediction, Remover, enlarged
from bgremove.trimap import Box, bounding_box
from bgremove.video.params import CutSettings
from bgremove.video.temporal import SceneCuts, Smoother

_SMALL = 512  # pixels, of the longer side of what is smoothed
_ROOM = 96  # pixels around the subject: how far away its edges' colours are looked for


@dataclass(frozen=True, eq=False)
class Look:
    """What is known of one frame before its edges are found.

    Attributes:
        image: (H, W, 3) uint8 RGB, the frame.
        seen: as `image`, but grey where the frame itself is transparent.
        own: (H, W) float32, the frame's own transparency; None if it has none.
        alpha: (h, w) float32, the raw matte, at the frame's size or smaller.
        grain: frame pixels per pixel of the prediction.
        small: `seen`, at most 512 pixels wide and high.
        foreground: (H, W, 3) uint8, the remover's own, or None.
        new_scene: did a new scene begin with it?
        note: for the user, why there is nothing in it; may be empty.
    """

    image: Image
    seen: Image
    own: Alpha | None
    alpha: Alpha
    grain: float
    small: Image
    foreground: Image | None = None
    new_scene: bool = False
    note: str = ""


class FrameCutter:
    """Finds the subject in frame after frame, without flicker.

    Use one for each video; :meth:`look` is all that is needed where frames come one by one. The two steps it
    consists of are for those who do several at once.
    """

    def __init__(self, remover: Remover, settings: CutSettings) -> None:
        self.remover, self.settings = remover, settings
        self._smoother = Smoother(settings.smooth)
        self._cuts = SceneCuts(settings.smooth)
        self._follow: Callable[[Image], Prediction] = remover.follow()

    def reset(self) -> None:
        """Forget all frames."""
        self.__init__(self.remover, self.settings)  # type: ignore[misc]

    def look(self, image: Image, alpha: Alpha | None = None) -> Look:
        """Predict and smooth the matte of the next frame.

        Args:
            image: (H, W, 3) uint8 RGB.
            alpha: (H, W) float32, the frame's own transparency, if it has any.
        """
        return self.steady(self.predict(image, alpha))

    def predict(self, image: Image, alpha: Alpha | None = None) -> Look:
        """The network's matte of a frame; in order, one at a time, if the remover remembers."""
        image = check_image(image)
        seen = image if alpha is None else composite(image, np.full_like(image, 128), alpha)
        small = _shrunk(seen)
        if self.remover.remembers and self._cuts.is_new(small):
            self._follow = self.remover.follow()
        found = self._follow(seen)
        matte = check_alpha(found.alpha)
        return Look(image, seen, alpha, matte, found.grain, small, found.foreground, note=found.note)

    def steady(self, look: Look) -> Look:
        """Smooth the matte by those of the frames before; in order."""
        alpha = look.alpha
        scale = min(1.0, _SMALL / max(alpha.shape))
        size = (max(1, round(alpha.shape[1] * scale)), max(1, round(alpha.shape[0] * scale)))
        small = alpha
        if scale != 1:
            small = np.clip(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), 0, 1)
        image = look.small
        if image.shape[:2] != small.shape:
            shrinks = image.shape[0] > small.shape[0] or image.shape[1] > small.shape[1]
            method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            image = cast(Image, cv2.resize(image, size, interpolation=method))
        smooth, new_scene = self._smoother.step(image, small)
        if scale == 1:
            alpha = smooth
        elif smooth is not small:
            # Only what changes is enlarged, so that no detail is lost.
            alpha = np.clip(alpha + enlarged(smooth - small, *alpha.shape), 0, 1)
        return replace(look, alpha=alpha, new_scene=new_scene)


def _shrunk(image: Image) -> Image:
    """At most 512 pixels wide and high; halved first, which OpenCV does in a tenth of the time."""
    while min(image.shape[:2]) > 1 and max(image.shape[:2]) >= 2 * _SMALL:
        size = (image.shape[1] // 2, image.shape[0] // 2)
        image = cast(Image, cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    scale = _SMALL / max(image.shape[:2])
    if scale >= 1:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cast(Image, cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def finish(look: Look, refine: RefineParams, foreground: ForegroundParams) -> Cut:
    """Edges and colours at the frame's own size; frames may be finished in any order, several at once.

    Work is done where the subject is, with some room around it; colours are black elsewhere.
    """
    height, width = look.image.shape[:2]
    radius = refine.edge_radius or edge_radius(np.broadcast_to(np.float32(0), (height, width)), look.grain)
    box = Box(0, 0, width, height)
    if not refine.min_region and not refine.fill_holes:  # these are fractions of the whole
        room = _ROOM + 2 * radius + refine.closing + max(0, refine.grow) + round(3 * refine.feather)
        box = _around(look.alpha, height, width, room, refine.background_threshold / 255 / 2)
    rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)
    alpha = _enlarged_part(look.alpha, height, width, box)
    image = np.ascontiguousarray(look.image[rows, columns])
    seen = image if look.seen is look.image else np.ascontiguousarray(look.seen[rows, columns])
    alpha = refine_alpha(seen, alpha, refine.model_copy(update={"edge_radius": radius}), grain=look.grain)
    if look.foreground is not None:
        colours = look.foreground
    elif foreground.foreground == "none":
        colours = look.image
    else:
        colours = _placed(estimate_foreground(image, alpha, foreground.foreground), box, look.image.shape)
    alpha = _placed(alpha, box, (height, width))
    if look.own is not None:
        alpha = alpha * look.own
    return Cut(look.image, alpha, colours, radius, note=look.note)


def _around(alpha: Alpha, height: int, width: int, room: int, least: float) -> Box:
    """Where a small matte is above `least`, in pixels of the frame, with `room` around; at least a pixel."""
    found = bounding_box(alpha, least)
    if found is None:
        return Box(0, 0, 1, 1)
    down, across = height / alpha.shape[0], width / alpha.shape[1]
    return Box(
        max(0, math.floor((found.left - 1) * across) - room),
        max(0, math.floor((found.top - 1) * down) - room),
        min(width, math.ceil((found.right + 1) * across) + room),
        min(height, math.ceil((found.bottom + 1) * down) + room),
    )


def _enlarged_part(alpha: Alpha, height: int, width: int, box: Box) -> Alpha:
    """The part under `box` of a matte enlarged to (height, width)."""
    if alpha.shape == (height, width):
        return np.ascontiguousarray(alpha[box.top : box.bottom, box.left : box.right])
    # OpenCV's own rule for where pixels lie: their centres are at halves.
    across, down = alpha.shape[1] / width, alpha.shape[0] / height
    place = np.array(
        [
            [across, 0, (box.left + 0.5) * across - 0.5],
            [0, down, (box.top + 0.5) * down - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (box.right - box.left, box.bottom - box.top)
    part = cv2.warpAffine(alpha, place, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return cast(Alpha, np.clip(part, 0, 1, out=part))


def _placed(part: npt.NDArray[Any], box: Box, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """A part where it belongs; zeros around it."""
    if part.shape == shape:
        return part
    whole = np.zeros(shape, part.dtype)
    whole[box.top : box.bottom, box.left : box.right] = part
    return whole

"""Mattes that are steady over time, and where a new scene begins.

The steadied matte of a frame is that of the frame before, moved along with the video, mixed with what the
network says now. How much of the old is kept is decided for each pixel:

- Where the moved frame before has the colours of this one, the same things are seen, and `steadiness` of the
  old is kept. At edges that move otherwise than was believed the colours differ, and the new counts, so that
  nothing is dragged along.
- Where old and new differ over an area that is wider than motion is misjudged by, and the colours are not
  altogether others, the network has changed its mind: a part of the subject that is lost for one frame, or
  something else that lights up. There, too, the old is kept.

Nothing is kept for long against a network that does not change its mind again: after a few frames it is
believed, sooner where it says less, so that no ghosts stay, than where it says more.

Only frames before are looked at, so that the same is done for files and for cameras.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from bgremove.arrays import Alpha, Image, check_alpha, check_image
from bgremove.options import Params

Floats = npt.NDArray[np.float32]

_FLOW = 256  # pixels, of the longer side of what motion is looked for in
_LEAST = 32  # pixels; the flow needs some
_SAME = 12.0  # of 255: colours that differ by less are of the same thing, moved rightly
_LIKE = 60.0  # of 255: those that differ by more are of another thing altogether
_WIDE = 1 / 100  # of the matte's longer side; motion is misjudged by less
_PATIENCE = (3, 10)  # frames that the network may say less, or more, than what is kept before it is believed
_GIVING_IN = 0.85  # times what is kept, with each frame more
_OTHERWISE = 0.04  # difference of alpha
_STEADINESS = {"motion": 0.95, "exponential": 0.5, "none": 0.0}
_THUMB = 32  # pixels, of both sides of what scenes are compared by


class SmoothParams(Params):
    """How the mattes of a video are kept from flickering."""

    smoothing: Literal["motion", "exponential", "none"] = Field(
        "motion",
        description="Keep the matte from flickering: steadied along the motion in the video, by a plain "
        "running mean (edges that move are blurred), or not at all",
    )
    steadiness: float | None = Field(
        None,
        ge=0,
        le=0.98,
        description="How much of the matte so far is kept at each frame; empty: 0.95 along the motion, 0.5 "
        "in a running mean",
    )
    scene_threshold: float = Field(
        0.3,
        ge=0,
        le=1,
        description="How different a frame must be from the one before to begin a new scene, of which "
        "nothing is kept; 1: none does",
        json_schema_extra={"advanced": True},
    )

    @property
    def kept(self) -> float:
        """How much of the matte so far is kept, where it can be."""
        return _STEADINESS[self.smoothing] if self.steadiness is None else self.steadiness


class SceneCuts:
    """Says of frame after frame whether a new scene begins with it; one for each video.

    Frames are compared by their layout, as the correlation of small grey pictures, which a change of light
    leaves as it is, and by their colours, which a movement leaves as they are.
    """

    def __init__(self, params: SmoothParams | None = None) -> None:
        self.params = params or SmoothParams()
        self._before: tuple[tuple[int, ...], Floats, Floats] | None = None

    def is_new(self, image: Image) -> bool:
        """Does a new scene begin with `image`, (H, W, 3) uint8 RGB? With the first and a new size it does."""
        shape = check_image(image).shape[:2]
        thumb = cv2.resize(image, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA)
        grey = cv2.GaussianBlur(cv2.cvtColor(thumb, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.5)
        now = (shape, cast(Floats, grey), _colours(thumb))
        before, self._before = self._before, now
        if before is None or before[0] != shape:
            return True
        return _difference(before[1:], now[1:]) > self.params.scene_threshold


def _colours(thumb: Image) -> Floats:
    """Shares of 6x6x6 colours, each shared with its neighbours, so that a little more light is no change."""
    counts = cv2.calcHist([thumb], [0, 1, 2], None, [6, 6, 6], [0, 256] * 3)
    for axis in range(3):
        rolled = [np.take(counts, np.clip(np.arange(6) + step, 0, 5), axis) for step in (-1, 0, 1)]
        counts = 0.25 * rolled[0] + 0.5 * rolled[1] + 0.25 * rolled[2]
    return cast(Floats, counts / counts.sum())


def _difference(before: tuple[Floats, Floats], now: tuple[Floats, Floats]) -> float:
    """0 for the same picture, about 0.7 for two that have nothing to do with each other, at most 1."""
    one, other = (grey - grey.mean() for grey, _ in (before, now))
    noise = 9.0  # variance of grey; so that of two flat pictures is none
    spread = np.sqrt(((one * one).mean() + noise) * ((other * other).mean() + noise))
    alike = float(((one * other).mean() + noise) / spread)
    colours = 1 - float(np.minimum(before[1], now[1]).sum())
    return 0.5 * (1 - max(0.0, alike)) + 0.5 * colours


class Smoother:
    """Steadies matte after matte; one for each video, or each camera."""

    def __init__(self, params: SmoothParams | None = None) -> None:
        self.params = params or SmoothParams()
        self._cuts = SceneCuts(self.params)
        self._motion = _Motion()
        self._alpha: Alpha | None = None

    def step(self, image: Image, alpha: Alpha) -> tuple[Alpha, bool]:
        """The steadied matte of the next frame, and whether a new scene begins with it.

        With a new scene, and with mattes of another size, nothing of what was before is kept.

        Args:
            image: (H, W, 3) uint8 RGB, the frame at the matte's size.
            alpha: (H, W) float32 in [0, 1]; best at most 512 pixels wide and high, since it takes time.

        Raises:
            ImageError: if the sizes differ or the arrays are of the wrong kind.
        """
        image, alpha = check_image(image), check_alpha(alpha, image.shape)
        new = self._cuts.is_new(image)
        kept, before = self.params.kept, self._alpha
        if self.params.smoothing == "none" or kept == 0:
            return alpha, new
        if self.params.smoothing == "exponential":
            if not new and before is not None:
                alpha = alpha + np.float32(kept) * (before - alpha)
        else:
            self._motion.see(image, fresh=new)
            if not new and before is not None:
                alpha = self._motion.steady(before, alpha, kept)
        self._alpha = alpha
        return alpha, new


class _Motion:
    """What moved where from one frame to the next, and where that is to be believed.

    References:
        Kroeger, Timofte, Dai and Van Gool, "Fast Optical Flow using Dense Inverse Search", ECCV 2016.
    """

    def __init__(self) -> None:
        dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._flow = dis
        self._before: tuple[Image, npt.NDArray[np.uint8]] | None = None
        self._moved: Floats | None = None  # (h, w, 2): where in the frame before each pixel was
        self._changed: Floats | None = None  # (h, w): how much its colour changed on the way, of 255
        self._otherwise: Floats | None = (
            None  # for how many frames more (or, below 0, less) was said than kept
        )
        self._grids: dict[tuple[int, int], Floats] = {}

    def see(self, image: Image, *, fresh: bool) -> None:
        """Take in the next frame; `fresh` if the one before is to be forgotten."""
        height, width = image.shape[:2]
        scale = min(1.0, _FLOW / max(height, width))
        size = (max(_LEAST, round(width * scale)), max(_LEAST, round(height * scale)))
        if size != (width, height):
            image = cast(Image, cv2.resize(image, size, interpolation=cv2.INTER_AREA))
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        before, self._before = self._before, (image, cast("npt.NDArray[np.uint8]", grey))
        if fresh or before is None:
            self._otherwise = None
            return
        self._moved = self._flow.calc(grey, before[1], None)
        came = _fetched(before[0], self._grid(*grey.shape) + self._moved)
        change = cv2.absdiff(image, came).max(axis=2).astype(np.float32)
        self._changed = cast(Floats, cv2.blur(change, (3, 3)))

    def steady(self, before: Alpha, alpha: Alpha, kept: float) -> Alpha:
        """`alpha` mixed with `kept` of `before`, moved, where that can be."""
        assert self._moved is not None and self._changed is not None
        height, width = alpha.shape
        moved, changed = self._moved, self._changed
        if moved.shape[:2] != alpha.shape:
            ratio = np.array([width / moved.shape[1], height / moved.shape[0]], np.float32)
            moved = cast(Floats, cv2.resize(moved, (width, height))) * ratio
            changed = cast(Floats, cv2.resize(changed, (width, height)))
        places = self._grid(height, width) + moved
        difference = _fetched(before, places) - alpha
        size = np.abs(difference)
        reach = 2 * max(2, round(max(height, width) * _WIDE)) + 1
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
        wide = cv2.morphologyEx(size, cv2.MORPH_OPEN, disc) / (size + np.float32(1e-3))
        same = np.exp(-np.square(changed / _SAME))
        like = np.exp(-np.square(changed / _LIKE))
        weight = np.maximum(same, wide * like)
        x, y = places[..., 0], places[..., 1]
        weight[(x < 0) | (y < 0) | (x > width - 1) | (y > height - 1)] = 0  # it was not in the picture
        weight *= np.float32(kept) * self._patience(difference, places)
        return cast(Alpha, alpha + weight * difference)

    def _patience(self, difference: Floats, places: Floats) -> Floats:
        """1, and less where the network has said the same, other than what is kept, for several frames."""
        now = np.where(np.abs(difference) > _OTHERWISE, -np.sign(difference), np.float32(0))
        if self._otherwise is not None and self._otherwise.shape == now.shape:
            so_far = cv2.remap(
                self._otherwise, places, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
            )
            now += np.where(now * so_far > 0, so_far, np.float32(0))
        self._otherwise = now
        over = np.maximum(-now - _PATIENCE[0], now - _PATIENCE[1])
        return cast(Floats, np.float32(_GIVING_IN) ** np.clip(over, 0, 20))

    def _grid(self, height: int, width: int) -> Floats:
        """Each pixel's own place, (height, width, 2), x first."""
        if (height, width) not in self._grids:
            if len(self._grids) > 2:
                self._grids.clear()
            y, x = np.mgrid[:height, :width].astype(np.float32)
            self._grids[height, width] = np.dstack([x, y])
        return self._grids[height, width]


def _fetched(values: Any, places: Floats) -> Any:
    """`values` at `places`, bilinear; beyond the border those at the border."""
    return cv2.remap(values, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

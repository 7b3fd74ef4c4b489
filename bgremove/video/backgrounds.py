"""What is behind the subject in each frame of a video."""

from __future__ import annotations

from collections.abc import Generator
from fractions import Fraction
from typing import Literal, Self

import cv2
import numpy as np

from bgremove.arrays import Alpha, Image
from bgremove.background import Background, Fit, blur_background, fit_background
from bgremove.compositing import Pixels, alpha_to_bytes
from bgremove.errors import VideoError
from bgremove.pipeline import Cut
from bgremove.video.frames import VideoFrame
from bgremove.video.reading import open_video


class Backdrop:
    """Another video as the background. Use as a context manager; ask for ever later times.

    Args:
        path: the video.
        end: what happens when it is over before the subject's video is.
    """

    def __init__(self, path: str, end: Literal["loop", "hold", "cut"] = "loop") -> None:
        self._shown = _shown(path, end)
        self._image: Image | None = None
        self._until: Fraction | None = Fraction(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.close()

    def at(self, time: Fraction) -> Image | None:
        """The frame shown at `time`, (H, W, 3) uint8; None when it is over and was to be cut there."""
        while self._until is not None and self._until <= time:
            self._image, self._until = next(self._shown, (None, None))
        return self._image


def _shown(path: str, end: str) -> Generator[tuple[Image, Fraction | None]]:
    """Each frame and when it is over; None is never."""
    began = Fraction(0)
    while True:
        with open_video(path) as video:
            first: VideoFrame | None = None
            last: VideoFrame | None = None
            for frame in video:
                first = first or frame
                if last is not None:
                    yield last.image, began + frame.time - first.time
                last = frame
            if first is None or last is None:
                raise VideoError(f"the background {path} has no frames; give another")
            if end == "hold":
                yield last.image, None
                return
            began += last.time - first.time + (last.duration or 1 / video.info.rate)
            yield last.image, began
            if end == "cut":
                return


class Scene:
    """Puts cut-out frames over their background; may be used by several threads.

    Args:
        output: what is made of each.
        background: a picture is made to fit once.
        fit: how the frames of a background video fill the frame.
    """

    def __init__(
        self, output: Literal["cutout", "composite", "alpha"], background: Background, fit: Fit = "cover"
    ) -> None:
        self._output, self._background, self._fit = output, background, fit
        self._same: dict[tuple[int, int], Image] = {}

    def compose(self, cut: Cut, behind: Image | None = None) -> Pixels:
        """One output frame, (H, W), (H, W, 3) or (H, W, 4) uint8.

        Args:
            behind: the frame of a background video.
        """
        if self._output == "alpha":
            return alpha_to_bytes(cut.alpha)
        if self._output == "cutout":
            return Background().under(cut.image, cut.foreground, cut.alpha)
        height, width = cut.alpha.shape
        if behind is not None:
            fits = behind.shape[:2] == (height, width) and self._fit != "tile"
            behind = behind if fits else fit_background(behind, height, width, self._fit)
            return blend(cut.foreground, behind, cut.alpha)
        background = self._background
        if background.kind == "blur":
            behind = blur_background(cut.image, cut.alpha, background.blur_radius)
            return blend(cut.foreground, behind, cut.alpha)
        if background.kind == "picture" or (background.kind == "colour" and background.opaque):
            return blend(cut.foreground, self._at(height, width), cut.alpha)
        return background.under(cut.image, cut.foreground, cut.alpha)

    def _at(self, height: int, width: int) -> Image:
        """The background that is the same for all frames, at their size."""
        found = self._same.get((height, width))
        if found is None:
            background = self._background
            if background.picture is not None:
                found = fit_background(background.picture, height, width, background.fit)
            else:
                found = np.empty((height, width, 3), np.uint8)
                found[:] = background.colour[:3]
            self._same = {(height, width): found}
        return found


def blend(foreground: Image, background: Image, alpha: Alpha) -> Image:
    """As :func:`bgremove.composite` in a fraction of its time: only soft pixels are computed.

    Args:
        foreground, background: (H, W, 3) uint8 RGB.
        alpha: (H, W) float32 in [0, 1].

    Returns:
        (H, W, 3) uint8 RGB, rounded to the nearest value.
    """
    result: Image = background.copy()
    shown = alpha > 0
    cv2.copyTo(foreground, shown.view(np.uint8), result)
    shown &= alpha < 1
    soft = np.flatnonzero(shown)
    if soft.size:
        weight = alpha.reshape(-1)[soft][:, None]
        below = background.reshape(-1, 3)[soft].astype(np.float32)
        below += weight * (foreground.reshape(-1, 3)[soft] - below)
        result.reshape(-1, 3)[soft] = np.rint(below, out=below)
    return result

"""What is behind the subject in each frame of a video."""

from __future__ import annotations

from collections.abc import Generator
from fractions import Fraction
from typing import Literal, Self

import cv2
import numpy as np
import numpy.typing as npt

from bgremove.arrays import Alpha, Image
from bgremove.background import Background, Fit, fit_background
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
        background: a picture is made to fit once.
        fit: how the frames of a background video fill the frame.
    """

    def __init__(
        self, output: Literal["cutout", "composite", "alpha"], background: Background, fit: Fit
    ) -> None:
        self._output, self._background, self._fit = output, background, fit
        self._fitted: dict[tuple[int, ...], Image] = {}

    def compose(self, cut: Cut, behind: Image | None = None) -> Pixels:
        """One output frame, (H, W), (H, W, 3) or (H, W, 4) uint8.

        Args:
            behind: the frame of a background video.
        """
        if self._output == "alpha":
            return alpha_to_bytes(cut.alpha)
        if self._output == "cutout":
            return Background().under(cut.image, cut.foreground, cut.alpha)
        background = self._background
        if behind is not None:
            return blend(cut.foreground, self._fit_to(behind, cut.alpha), cut.alpha)
        if background.kind == "picture" and background.picture is not None:
            size = cut.alpha.shape
            if size not in self._fitted:
                self._fitted[size] = fit_background(background.picture, size[0], size[1], background.fit)
            return blend(cut.foreground, self._fitted[size], cut.alpha)
        if background.kind == "colour" and background.opaque:
            return blend(cut.foreground, background.colour[:3], cut.alpha)
        return background.under(cut.image, cut.foreground, cut.alpha)

    def _fit_to(self, picture: Image, alpha: Alpha) -> Image:
        if picture.shape[:2] == alpha.shape and self._fit != "tile":
            return picture
        return fit_background(picture, alpha.shape[0], alpha.shape[1], self._fit)


def blend(foreground: Image, background: Image | tuple[int, int, int], alpha: Alpha) -> Image:
    """As :func:`bgremove.composite`, a fifth of its time: only soft pixels are computed.

    Args:
        foreground: (H, W, 3) uint8 RGB.
        background: (H, W, 3) uint8 RGB, or one colour.
        alpha: (H, W) float in [0, 1].

    Returns:
        (H, W, 3) uint8 RGB, rounded to the nearest value.
    """
    if isinstance(background, tuple):
        result = np.empty_like(foreground)
        result[:] = background
    else:
        result = background.copy()
    cv2.copyTo(foreground, (alpha >= 1).view(np.uint8), result)
    soft = np.flatnonzero((alpha > 0) & (alpha < 1))
    if soft.size:
        weight: npt.NDArray[np.float32] = alpha.reshape(-1)[soft][:, None]
        below = result.reshape(-1, 3)[soft].astype(np.float32)
        mixed = below + weight * (foreground.reshape(-1, 3)[soft] - below)
        result.reshape(-1, 3)[soft] = np.rint(mixed)
    return result

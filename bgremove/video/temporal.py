"""Mattes that are steady over time, and where a new scene begins."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bgremove.arrays import Alpha, Image
from bgremove.options import Params


class SmoothParams(Params):
    """How the mattes of a video are kept from flickering."""

    smoothing: Literal["motion", "exponential", "none"] = Field(
        "motion",
        description="Steady the matte over time: along the motion in the video, by a plain running mean, "
        "or not at all",
    )
    steadiness: float = Field(
        0.85, ge=0, le=0.98, description="How much of the matte so far is kept at each frame; 0 keeps none"
    )
    scene_threshold: float = Field(
        0.5, ge=0, le=1, description="How different a frame must be to begin a new scene; 1: no frame does"
    )


class SceneCuts:
    """Says of frame after frame whether a new scene begins with it."""

    def __init__(self, params: SmoothParams | None = None) -> None:
        self.params = params or SmoothParams()

    def is_new(self, image: Image) -> bool:
        """Does a new scene begin with `image`? The first frame's answer is True."""
        return False


class Smoother:
    """Steadies matte after matte; one for each video, or each camera."""

    def __init__(self, params: SmoothParams | None = None) -> None:
        self.params = params or SmoothParams()

    def step(self, image: Image, alpha: Alpha) -> tuple[Alpha, bool]:
        """The steadied matte of the next frame, and whether a new scene begins with it.

        Args:
            image: (H, W, 3) uint8 RGB, at the matte's size.
            alpha: (H, W) float32 in [0, 1].
        """
        return alpha, False

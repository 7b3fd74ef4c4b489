"""Robust Video Matting: people in videos, by a network that remembers the frames before."""

from __future__ import annotations

from pydantic import Field

from bgremove.arrays import Alpha, Image
from bgremove.options import Params
from bgremove.removers.base import Remover


class RvmParams(Params):
    """How a frame is given to the network."""

    downsample_ratio: float | None = Field(
        None,
        ge=0.05,
        le=1,
        description="Size at which the subject is looked for, of the frame's; empty: 512 px, longest side",
    )
    own_foreground: bool = Field(True, description="Take the subject's colours from the network")


class RvmRemover(Remover):
    """Robust Video Matting."""

    params: RvmParams

    @property
    def remembers(self) -> bool:
        """It does."""
        return True

    def predict_alpha(self, image: Image) -> Alpha:
        """Matte of a still."""
        raise NotImplementedError

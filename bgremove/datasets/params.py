"""The settings of ``bgremove data``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bgremove.options import Params


class DataParams(Params):
    """How pairs are divided and written, whatever their source."""

    val: float = Field(
        0.05, ge=0, description="Pairs to validate on: a share of all (below 1), or their number"
    )
    seed: int = Field(0, ge=0, description="Decides which pairs; another one gives another choice")
    limit: int | None = Field(None, ge=1, description="Take at most so many pairs, chosen by the seed")
    max_size: int | None = Field(
        None, ge=16, le=16384, description="Shrink pictures and masks to this longest side, in pixels"
    )
    threshold_masks: bool = Field(False, description="Make soft masks hard, at one half")
    link: bool = Field(False, description="Hard-link unchanged pictures instead of copying them")
    image_format: Literal["jpeg", "webp", "png"] = Field(
        "jpeg", description="Format of pictures that are shrunk or made; others stay as they are"
    )
    image_quality: int = Field(95, ge=1, le=100, description="Quality of these; 100 makes WebP lossless")


class NoParams(Params):
    """No settings of its own."""


class OwnSplitParams(Params):
    """For sources that may come divided."""

    own_split: bool = Field(
        True, description="Keep to train and val where the source has both; else divide by the seed"
    )


class CompositeParams(Params):
    """How cut-outs are put over backgrounds."""

    cutouts: str = Field("", description="Folder of pictures with transparency")
    backgrounds: str = Field("", description="Folder of pictures without the subjects")
    count: int = Field(1000, ge=1, description="How many pictures to make")
    subject_size: tuple[float, float] = Field(
        (0.35, 0.95), description="Least and greatest size of the subject, as a share of the picture's sides"
    )

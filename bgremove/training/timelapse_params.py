"""Settings of the timelapse: apart from it, so that the command's help loads no NumPy."""

from __future__ import annotations

from pydantic import Field

from bgremove.options import Params


class TimelapseParams(Params):
    """How a training's strips are joined."""

    sample: int | None = Field(
        None, ge=1, description="Only this sample; without it all, one above the other"
    )
    fps: float = Field(5.0, ge=0.1, le=120, description="Epochs a second; 29.97 is taken as 30000/1001")
    hold: float = Field(2.0, ge=0, le=60, description="Seconds the last epoch stays")

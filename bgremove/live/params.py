"""The settings of a live view."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field

from bgremove.background import Background, Fit, parse_background
from bgremove.compositing import limit_size
from bgremove.errors import OptionError
from bgremove.options import Params
from bgremove.removers.base import Remover
from bgremove.video.params import CutSettings

Kind = Literal["blur", "colour", "picture", "transparent", "off"]
"""What is behind the subject; ``off`` leaves the frame as it is."""


class LiveParams(Params):
    """What is behind the subject, and what the camera is asked for."""

    background: str = Field(
        "blur",
        description="blur, a colour, a picture's path, transparent (shown on a chequered ground), or off: "
        "the frame as it is",
    )
    background_fit: Fit = Field("cover", description="How a background picture fills the frame")
    blur_radius: float = Field(
        0.0, ge=0, le=500, description="Blur of the background (sigma), px; 0 goes by the frame's size"
    )
    size: str = Field(
        "1280", description="Make frames fit 1280 (longest side) or 1280x720, before all else; never enlarges"
    )
    camera_size: str = Field("640x480", description="Width and height that the camera is asked for")
    camera_rate: int = Field(30, ge=1, le=240, description="Frames a second that the camera is asked for")
    mirror: Literal["auto", "on", "off"] = Field(
        "auto", description="Show left and right as a mirror does; auto: a camera's frames in a window"
    )
    show_rate: bool = Field(True, description="Show the frames a second in the window")
    loop: bool = Field(False, description="Play a file again and again")

    def model_post_init(self, _: Any) -> None:
        limit_size(np.zeros((1, 1), np.uint8), self.size)
        _ = self.camera_pixels

    @property
    def camera_pixels(self) -> tuple[int, int]:
        """Width and height that the camera is asked for.

        Raises:
            OptionError: if that is no size.
        """
        match = re.fullmatch(r"\s*([1-9]\d{0,4})\s*[xX]\s*([1-9]\d{0,4})\s*", self.camera_size)
        if match is None:
            raise OptionError(f"camera_size must be width x height, as 640x480; got {self.camera_size!r}")
        return int(match[1]), int(match[2])


@dataclass(frozen=True)
class LiveSettings(CutSettings):
    """All that a live view needs besides its source and its sink.

    Attributes:
        live: the validated group.
        kind: what is behind the subject at the beginning.
        background: a colour or a picture, if one was given.
    """

    live: LiveParams
    kind: Kind
    background: Background

    @classmethod
    def build(
        cls,
        model: str | Remover = "auto",
        *,
        preset: str | None = None,
        background: Any = None,
        **values: Any,
    ) -> Self:
        """As :meth:`CutSettings.build`; `background` also takes what `parse_background` does, or ``off``.

        Raises:
            UnknownRemoverError, OptionError, ImageError: with one sentence.
        """
        if isinstance(background, str):
            values["background"] = background
        live = LiveParams(**{name: values.pop(name) for name in LiveParams.model_fields if name in values})
        cut = CutSettings.build(model, preset=preset, **values)
        given = live.background if background is None else background
        kind: Kind
        if isinstance(given, str) and given.strip().lower() == "off":
            parsed = Background()
            kind = "off"
        else:
            parsed = parse_background(given, fit=live.background_fit, blur_radius=live.blur_radius)
            kind = parsed.kind
        return cls(
            cut.model,
            cut.remover,
            cut.refine,
            cut.foreground,
            cut.smooth,
            live=live,
            kind=kind,
            background=parsed,
        )

"""The settings of a video: how its frames are cut out, and what is made of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field

from bgremove.background import Background, Fit, parse_background
from bgremove.compositing import limit_size
from bgremove.errors import OptionError
from bgremove.foreground import ForegroundParams
from bgremove.io import READABLE_EXTENSIONS
from bgremove.options import Params
from bgremove.pipeline import sort_settings
from bgremove.refine import RefineParams
from bgremove.registry import create_remover, remover_info
from bgremove.removers.base import Device, Remover, RemoverInfo
from bgremove.removers.onnx import OnnxParams, sharing_cores
from bgremove.video.temporal import SmoothParams
from bgremove.video.writing import VideoWriteParams

PREVIEW_SIZE = "854"


class VideoParams(Params):
    """Which part of a video, and what is made of it."""

    output: Literal["auto", "cutout", "composite", "alpha"] = Field(
        "auto",
        description="What to make; auto: the composite if there is a background, else the cutout. alpha is "
        "the matte as a grey video",
    )
    background: str = Field(
        "transparent",
        description="transparent, a colour, blur, or the path of a picture or of another video",
    )
    background_fit: Fit = Field("cover", description="How a background picture or video fills the frame")
    background_end: Literal["loop", "hold", "cut"] = Field(
        "loop",
        description="When a background video is over: begin again, hold its last frame, or end there, too",
    )
    blur_radius: float = Field(
        0.0, ge=0, le=500, description="Blur of the background (sigma), px; 0 goes by the video's size"
    )
    size: str = Field(
        "", description="Make the video fit 1280 (longest side) or 1280x720, before all else; never enlarges"
    )
    start: str = Field("", description="Begin there: seconds (12.5), 1:02.5, or 1m2s")
    end: str = Field("", description="End there, counted like start")
    every: int = Field(1, ge=1, le=1000, description="Take each n-th frame only")
    preview: str = Field(
        "", description="Make only so much of it, from start (5s), at most 854 px wide or high"
    )
    rate: str = Field(
        "", description="Frames a second, where single pictures do not say: 25, 30000/1001  [default: 25]"
    )

    def model_post_init(self, _: Any) -> None:
        limit_size(np.zeros((1, 1), np.uint8), self.size)
        start, end = self.begins, self.ends
        if end is not None and end <= start:
            raise OptionError(
                f"end must lie behind start; got {self.end or self.preview} and {self.start or 0}"
            )
        if self.rate:
            parse_rate(self.rate)

    @property
    def begins(self) -> Fraction:
        """Seconds from the source's beginning."""
        return parse_time(self.start, "start") if self.start.strip() else Fraction(0)

    @property
    def ends(self) -> Fraction | None:
        """Seconds from the source's beginning; None is its end."""
        ends = [parse_time(self.end, "end")] if self.end.strip() else []
        if self.preview.strip():
            ends.append(self.begins + parse_time(self.preview, "preview"))
        return min(ends, default=None)

    @property
    def fits(self) -> str:
        """What the frames are made to fit."""
        return self.size or (PREVIEW_SIZE if self.preview.strip() else "")


def parse_time(text: str, name: str = "time") -> Fraction:
    """Seconds, exactly, from ``90``, ``12.5s``, ``1:02.5``, ``1:00:00`` or ``1m30s``.

    Raises:
        OptionError: if it is none of these.
    """
    clean = text.strip().lower()
    number = r"\d{1,9}(?:\.\d{1,9})?"
    if re.fullmatch(rf"{number}\s*(s|sec|seconds)?", clean):
        return Fraction(re.match(number, clean)[0])  # type: ignore[index]
    if re.fullmatch(rf"(\d{{1,4}}:)?\d{{1,4}}:{number}", clean):
        seconds = Fraction(0)
        for part in clean.split(":"):
            seconds = seconds * 60 + Fraction(part)
        return seconds
    units = re.fullmatch(rf"(?:(\d{{1,4}})h)?\s*(?:(\d{{1,6}})m)?\s*(?:({number})s)?", clean)
    if clean and units:
        hours, minutes, rest = (Fraction(part or 0) for part in units.groups())
        return hours * 3600 + minutes * 60 + rest
    raise OptionError(f"{name} must be a time as 12.5, 1:02.5 or 1m2s; got {text!r}")


def parse_rate(text: str) -> Fraction:
    """Frames a second, exactly, from ``25``, ``23.976`` or ``30000/1001``.

    Raises:
        OptionError: if it is none of these, or not between 0.01 and 1000.
    """
    if re.fullmatch(r"\s*\d{1,9}(\.\d{1,9}|/\d{1,9})?\s*", text) and not re.search(r"/0+\s*$", text):
        rate = Fraction(text.strip())
        if Fraction(1, 100) <= rate <= 1000:
            return rate
    raise OptionError(f"rate must be frames a second, 0.01 to 1000, as 25 or 30000/1001; got {text!r}")


@dataclass(frozen=True)
class CutSettings:
    """How the frames of a video, or of a camera, are cut out.

    Attributes:
        model: the remover's name.
        remover, refine, foreground, smooth: the validated groups.
    """

    model: str
    remover: Params
    refine: RefineParams
    foreground: ForegroundParams
    smooth: SmoothParams

    @classmethod
    def build(cls, model: str | Remover = "auto", *, preset: str | None = None, **values: Any) -> Self:
        """Sort flat settings into their groups and validate them.

        Args:
            model: a remover's name; or a remover, whose own settings are then not to be given.
            preset: a preset of the remover or of the refinement; `values` win over it.

        Raises:
            UnknownRemoverError, OptionError: with one sentence.
        """
        return cls(**_cutting(model, preset, values, [])[0])

    def create_remover(self, device: Device = "auto", model_file: Any = None) -> Remover:
        """The remover these settings are for, for several frames at once."""
        alone = issubclass(remover_info(self.model).params, OnnxParams)
        with sharing_cores(threads=1 if alone else 0):
            return create_remover(self.model, self.remover, device, model_file=model_file)


def smoothing_of(info: RemoverInfo) -> dict[str, Any]:
    """The defaults of the smoothing for a row of the table."""
    return {"smoothing": "none"} if info.steady else {}


def _cutting(
    model: str | Remover, preset: str | None, values: dict[str, Any], groups: list[type[Params]]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The validated groups of :class:`CutSettings` by name, and the values of `groups`."""
    name, remover, (refine, foreground, smooth, *others) = sort_settings(
        model, preset, values, ForegroundParams, SmoothParams, *groups
    )
    steady = {} if isinstance(model, Remover) else smoothing_of(remover_info(model))
    return {
        "model": name,
        "remover": remover,
        "refine": RefineParams(**refine),
        "foreground": ForegroundParams(**foreground),
        "smooth": SmoothParams(**{**steady, **smooth}),
    }, others


@dataclass(frozen=True)
class VideoSettings(CutSettings):
    """All that a video's run needs besides its source and its target.

    Attributes:
        video, write: the validated groups.
        background: what is put behind the subject; if that is another video, `backdrop` names it instead.
        backdrop: the path of a background video, or None.
    """

    video: VideoParams
    write: VideoWriteParams
    background: Background
    backdrop: str | None = None

    @classmethod
    def build(
        cls,
        model: str | Remover = "auto",
        *,
        preset: str | None = None,
        background: Any = None,
        **values: Any,
    ) -> Self:
        """As :meth:`CutSettings.build`; `background` also takes what `parse_background` does.

        Raises:
            UnknownRemoverError, OptionError, ImageError: with one sentence.
        """
        if isinstance(background, str):
            values["background"] = background
        cutting, (chosen, writing) = _cutting(model, preset, values, [VideoParams, VideoWriteParams])
        video = VideoParams(**chosen)
        given = video.background if background is None else background
        backdrop = given if isinstance(given, str) and _is_video(given) else None
        built = cls(
            **cutting,
            video=video,
            write=VideoWriteParams(**writing),
            background=Background()
            if backdrop
            else parse_background(given, fit=video.background_fit, blur_radius=video.blur_radius),
            backdrop=backdrop,
        )
        if video.output == "composite" and not built.opaque and built.background.kind == "transparent":
            raise OptionError("a composite needs a background; give one (--background white)")
        return built

    @property
    def output(self) -> Literal["cutout", "composite", "alpha"]:
        """What is made."""
        if self.video.output != "auto":
            return self.video.output
        plain = self.backdrop is None and self.background.kind == "transparent"
        return "cutout" if plain else "composite"

    @property
    def opaque(self) -> bool:
        """True if there is a background that nothing shows through."""
        return self.backdrop is not None or self.background.opaque

    @property
    def transparent(self) -> bool:
        """Can the result have see-through pixels?"""
        return self.output == "cutout" or (self.output == "composite" and not self.opaque)


_ANIMATED = (".gif", ".apng")


def _is_video(text: str) -> bool:
    """Whether a background is another video: a file that is there and is not a picture's by its name."""
    from pathlib import Path

    path = Path(text)
    suffix = path.suffix.lower()
    if "%" in path.name or path.is_dir():
        return path.is_dir() or path.parent.is_dir()
    return path.is_file() and (suffix in _ANIMATED or suffix not in READABLE_EXTENSIONS)

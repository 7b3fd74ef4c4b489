"""Videos out: packets into a working file that survives a crash, then with the sound into the target."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Literal

from pydantic import Field

from bgremove.compositing import Pixels
from bgremove.options import Params


class VideoWriteParams(Params):
    """How a video is written."""

    codec: Literal["auto", "h264", "vp9", "prores", "qtrle", "gif", "webp", "apng", "png"] = Field(
        "auto",
        description="auto goes by the output's name: h264 (.mp4), vp9 (.webm), prores or qtrle (.mov), gif, "
        "webp, apng, png (pictures)",
    )
    quality: int = Field(75, ge=1, le=100, description="Of h264, vp9, prores and webp: higher looks better")
    speed: Literal["fast", "medium", "slow"] = Field(
        "fast", description="Slower encoding makes smaller files of the same look"
    )
    sound: bool = Field(True, description="Keep the sound")
    loop: int = Field(0, ge=0, le=65535, description="Times a GIF, WebP or APNG is shown; 0 is for ever")


class VideoWriter:
    """Writes one video."""

    kept: int = 0
    notes: tuple[str, ...] = ()

    def write(self, pixels: Pixels, time: Fraction) -> None:
        """Add a frame."""
        raise NotImplementedError

    def close(self) -> Path:
        """Complete the file."""
        raise NotImplementedError

    def stop(self) -> Path | None:
        """A playable file of what there is; the part is kept for later."""
        raise NotImplementedError

    def abandon(self) -> None:
        """Let go of everything without a result; the part is kept. Does nothing after close or stop."""


def open_writer(
    target: Path,
    params: VideoWriteParams,
    *,
    size: tuple[int, int],
    rate: Fraction,
    alpha: bool,
    sound_from: Path | None = None,
    sound_start: Fraction = Fraction(0),
    sound_end: Fraction | None = None,
    overwrite: bool = False,
    resume: bool = False,
    threads: int | None = None,
    key: str = "",
) -> VideoWriter:
    """Check everything, and begin a video."""
    raise NotImplementedError

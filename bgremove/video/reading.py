"""Videos in: any file PyAV opens, pictures in a folder, animations, as upright RGB frames one by one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from typing import Self

from bgremove.video.frames import VideoFrame, VideoInfo


class Video:
    """An opened video. Use as a context manager; iterate once."""

    def __init__(self, info: VideoInfo) -> None:
        self.info = info

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go."""

    def __iter__(self) -> Iterator[VideoFrame]:
        raise NotImplementedError


def open_video(
    source: str | os.PathLike[str],
    *,
    start: Fraction | None = None,
    end: Fraction | None = None,
    every: int = 1,
    size: str = "",
    skip: int = 0,
    rate: Fraction = Fraction(25),
    threads: int | None = None,
) -> Video:
    """Open a video."""
    raise NotImplementedError

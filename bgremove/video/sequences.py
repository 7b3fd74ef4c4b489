"""Pictures in a folder, and animations, as videos; and how they are written."""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from bgremove.arrays import Alpha, Image
from bgremove.compositing import limit_size
from bgremove.errors import ImageError, VideoError
from bgremove.io import (
    READABLE_EXTENSIONS,
    Picture,
    open_picture,
)
from bgremove.io import Frame as StillFrame
from bgremove.video.frames import VideoFrame, VideoInfo
from bgremove.video.reading import Part, Video, check_area

_COUNTER = re.compile(r"%(0?)(\d*)d")


def pictures_of(source: str) -> list[Path] | None:
    """The pictures that a folder or a pattern stands for, in order; None if `source` is neither.

    Raises:
        VideoError: if there are none.
    """
    path = Path(source)
    if path.is_file():
        return None
    if path.is_dir():
        found = [one for one in path.iterdir() if one.suffix.lower() in READABLE_EXTENSIONS and one.is_file()]
        what = f"the folder {source}"
    elif _COUNTER.search(path.name):
        match = as_pattern(path)
        found = [one for one in _listed(path.parent) if match.fullmatch(one.name)]
        what = f"no file fits {source}: the folder {path.parent}"
    elif glob.has_magic(source):
        found = [Path(one) for one in glob.glob(source) if os.path.isfile(one)]
        what = f"no file fits {source}: it"
    else:
        return None
    found = [one for one in found if not one.name.startswith(".")]
    if not found:
        raise VideoError(f"{what} holds no such pictures; check the path")
    return sorted(found, key=lambda one: natural(one.name))


def as_pattern(path: Path) -> re.Pattern[str]:
    """What matches the names of a pattern as ``frame_%06d.png``; group 1 is the number."""
    counters = _COUNTER.findall(path.name)
    if len(counters) != 1:
        raise VideoError(f"{path.name} must have one number in it, as %06d; got {len(counters)}")
    [(_, digits)] = counters
    before, after = re.split(r"%0?\d*d", path.name)
    number = rf"(\d{{{int(digits)},}})" if digits else r"(\d+)"
    return re.compile(re.escape(before) + number + re.escape(after))


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sorts ``frame_10`` behind ``frame_9``."""
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part
    ]


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def is_animation(path: Path, name: str, head: bytes) -> bool:
    """Is it a GIF, WebP or PNG of several frames?

    Raises:
        VideoError: if it is one of these, but cannot be read, or is a single picture.
    """
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    if not (head.startswith((b"GIF87a", b"GIF89a", b"\x89PNG\r\n\x1a\n")) or webp):
        return False
    try:
        with open_picture(path, name=name, first_only=True) as picture:
            if picture.frames == 1:
                raise VideoError(f"{name} is a single picture, not a video; use: bgremove remove")
    except ImageError as error:
        raise VideoError(str(error)) from None
    return True


class PictureRow(Video):
    """Single pictures, one after the other."""

    def __init__(self, name: str, paths: list[Path], part: Part, rate: Fraction) -> None:
        self._name, self._paths, self._part, self._rate = name, paths, part, rate
        first = self._read(paths[0])
        self._whole = first.image.shape[:2]
        self._size = part.fitted((self._whole[0], self._whole[1]))
        duration = len(paths) / rate
        self.info = VideoInfo(
            name=name,
            size=self._size,
            rate=rate / part.every,
            duration=part.span(duration),
            frames=part.count(len(paths), rate, duration),
            alpha=first.alpha is not None,
            start=part.start,
        )

    def close(self) -> None:
        """Nothing is open between two pictures."""

    def __iter__(self) -> Iterator[VideoFrame]:
        numbered = ((number / self._rate, number) for number in range(len(self._paths)))
        for time, number in self._part.choose(numbered):
            frame = self._read(self._paths[number])
            if frame.image.shape[:2] != self._whole:
                raise VideoError(
                    f"{self._paths[number]} is {_by(frame.image)}, but the pictures before it are "
                    f"{self._whole[1]} x {self._whole[0]}; make them of one size"
                )
            image, alpha = _fitted(frame, self._part.size)
            yield VideoFrame(number, time, image, alpha, 1 / self._rate)

    def _read(self, path: Path) -> StillFrame:
        try:
            with open_picture(path, first_only=True) as picture:
                check_area(str(path), *picture.size)
                return next(iter(picture))
        except ImageError as error:
            raise VideoError(str(error)) from None


def _by(image: Image) -> str:
    return f"{image.shape[1]} x {image.shape[0]}"


def _fitted(frame: StillFrame, size: str) -> tuple[Image, Alpha | None]:
    if not size.strip() or limit_size(frame.image[..., 0], size).shape == frame.image.shape[:2]:
        return frame.image, frame.alpha
    if frame.alpha is None:
        return limit_size(frame.image, size), None
    rgba = np.dstack([frame.image, np.rint(frame.alpha * 255).astype(np.uint8)])
    small = limit_size(rgba, size)
    alpha = small[..., 3].astype(np.float32) * np.float32(1 / 255)
    return np.ascontiguousarray(small[..., :3]), alpha


class Animation(Video):
    """A GIF, WebP or PNG animation, each frame as long as it says."""

    def __init__(self, path: Path, name: str, part: Part) -> None:
        self._name, self._part = name, part
        durations = _durations(path, name)
        try:
            self._picture: Picture = open_picture(path, name=name)
        except ImageError as error:
            raise VideoError(str(error)) from None
        size = self._picture.size
        mean = sum(durations, Fraction(0)) / len(durations)
        total = mean * self._picture.frames
        rate = (1 / mean).limit_denominator(1001)
        variable = len(set(durations)) > 1
        self.info = VideoInfo(
            name=name,
            size=part.fitted(size),
            rate=rate / part.every,
            variable=variable,
            duration=part.span(total),
            frames=part.count(self._picture.frames, rate, total),
            alpha=True,
            start=part.start,
            notes=self._picture.notes,
        )

    def close(self) -> None:
        self._picture._close()

    def __iter__(self) -> Iterator[VideoFrame]:
        for time, (number, frame, duration) in self._part.choose(self._timed()):
            image, alpha = _fitted(frame, self._part.size)
            yield VideoFrame(number, time, image, alpha, duration)

    def _timed(self) -> Iterator[tuple[Fraction, tuple[int, StillFrame, Fraction]]]:
        time, frames = Fraction(0), iter(self._picture)
        for number in itertools.count():
            try:
                frame = next(frames, None)
            except ImageError as error:
                raise VideoError(f"{self._name}, frame {number} ({float(time):.2f} s): {error}") from None
            if frame is None:
                return
            duration = Fraction(frame.duration).limit_denominator(100) / 1000
            yield time, (number, frame, duration)
            time += duration


_TIMED = 60  # frames whose durations are looked at beforehand


def _durations(path: Path, name: str) -> list[Fraction]:
    """Seconds of the first frames."""
    try:
        with open_picture(path, name=name) as picture:
            frames = itertools.islice(iter(picture), min(_TIMED, picture.frames))
            found = [Fraction(one.duration).limit_denominator(100) / 1000 for one in frames]
    except ImageError as error:
        raise VideoError(str(error)) from None
    return [one or Fraction(1, 10) for one in found]

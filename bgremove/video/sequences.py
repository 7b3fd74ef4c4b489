"""Pictures in a folder, and animations, as videos; and how they are written."""

from __future__ import annotations

import glob
import io
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage

from bgremove.arrays import Alpha, Image
from bgremove.compositing import Pixels, limit_size
from bgremove.errors import ImageError, OutputError, VideoError
from bgremove.io import (
    READABLE_EXTENSIONS,
    Picture,
    WriteParams,
    encode,
    no_transparency,
    open_picture,
    output_format,
    write_bytes,
)
from bgremove.io import Frame as StillFrame
from bgremove.video.frames import VideoFrame, VideoInfo
from bgremove.video.reading import Part, Video, check_area, import_av
from bgremove.video.writing import COUNTER, Job, VideoWriter, address, check_folder, is_pattern


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
    elif is_pattern(path):
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
    counters = COUNTER.findall(path.name)
    if len(counters) != 1:
        raise VideoError(f"{path.name} must have one number in it, as %06d; got {len(counters)}")
    digits = counters[0].strip("%d").lstrip("0")
    before, after = COUNTER.split(path.name)
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
        self._picture.__exit__()

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


# Writing ----------------------------------------------------------------------------------------

_SAMPLES = 1 << 16  # pixels of all frames that a GIF's palette is made from
_NOTE_GIF = "GIF knows no soft edges: pixels less than half opaque became transparent, the others opaque"


class PictureWriter(VideoWriter):
    """Writes each frame as a picture, ``frames/000001.png`` and so on."""

    def __init__(self, job: Job) -> None:
        self._job = job
        target = job.target if is_pattern(job.target) else job.target / "%06d.png"
        self._names = as_pattern(target)
        self._target, self._folder = target, target.parent
        self._format = output_format(Path(f"x{target.suffix or '.png'}"), "auto")
        if job.alpha and self._format.alpha == "none":
            raise no_transparency(self._format.name.upper())
        quality = job.params.quality if self._format.name != "png" else 90
        self._params = WriteParams(quality=quality)
        self._written, self._uneven, self._ended = 0, False, False
        check_folder(self._folder, target)
        self._state = self._folder / ".bgremove-frames.json"
        numbers = self._numbers()
        self.kept = self._kept(numbers) if job.resume else 0
        if numbers and not self.kept and not job.overwrite:
            raise OutputError(
                f"{self._folder} holds such pictures already; add --overwrite to replace them, or give "
                "another folder"
            )
        write_bytes(self._state, json.dumps({"key": job.key}).encode(), overwrite=True)

    @property
    def notes(self) -> tuple[str, ...]:  # type: ignore[override]
        rate = f"{float(self._job.rate):.3g}"
        said = f"single pictures do not say how long they are shown; on average, {rate} are a second"
        return (said,) if self._uneven else ()

    def _numbers(self) -> set[int]:
        matches = (self._names.fullmatch(one.name) for one in _listed(self._folder))
        return {int(match[1]) for match in matches if match}

    def _kept(self, numbers: set[int]) -> int:
        try:
            key = json.loads(self._state.read_text())["key"]
        except (OSError, ValueError, TypeError, KeyError):
            return 0
        if key != self._job.key:
            raise VideoError(
                f"the pictures in {self._folder} were made with other settings or of another video; give the "
                "same settings, or leave out --resume to begin anew"
            )
        return next(number for number in itertools.count(1) if number not in numbers) - 1

    def _place(self, number: int) -> Path:
        name = COUNTER.sub(lambda counter: counter[0] % number, self._target.name)
        return self._folder / name

    def write(self, pixels: Pixels, time: Fraction, duration: Fraction | None = None) -> None:
        number = self.kept + self._written + 1
        self._uneven |= abs(time * self._job.rate - (number - 1)) > 1
        data = encode([pixels], self._format, self._params)
        write_bytes(self._place(number), data, overwrite=True)
        self._written += 1

    def close(self) -> Path:
        count = self.kept + self._written
        if self._job.overwrite:
            for number in self._numbers():
                if number > count:
                    self._place(number).unlink(missing_ok=True)
        self._end()
        return self._folder

    def stop(self) -> Path | None:
        if not self.kept + self._written:
            self._end()
            return None
        self._ended = True
        return self._folder

    def abandon(self) -> None:
        if not self._ended and not self.kept + self._written:
            self._end()

    def _end(self) -> None:
        self._ended = True
        self._state.unlink(missing_ok=True)


def make_animation(
    frames: Callable[[], Iterator[tuple[Fraction, Pixels]]], path: Path, muxer: str, job: Job, shown: Fraction
) -> list[str]:
    """A GIF, WebP or APNG file, in memory that does not grow with its length.

    Args:
        frames: goes through all frames, (H, W, 4) RGBA, with their seconds; may be called twice.
        shown: seconds that the last one is shown.

    Returns:
        Sentences about what could not be kept.
    """
    av = import_av()
    loop = job.params.loop
    if muxer == "webp":
        with WebPFile(path, job, shown) as made:
            for time, rgba in frames():
                made.add(rgba, time)
        return []
    encoder, pixel_format, base = {
        "gif": ("gif", "pal8", Fraction(1, 100)),
        "apng": ("apng", "rgba" if job.alpha else "rgb24", Fraction(1, 1000)),
    }[muxer]
    muxing = {
        "gif": {
            "loop": "-1" if loop == 1 else str(max(0, loop - 1)),
            "final_delay": str(max(1, min(65_535, round(shown * 100)))),
        },
        "apng": {"plays": str(loop), "final_delay": f"{min(65_535, round(shown * 1000))}/1000"},
    }[muxer]
    soft = False
    with av.open(address(path), "w", format=muxer, container_options=muxing) as file:
        stream = file.add_stream(encoder, rate=job.rate)
        stream.height, stream.width = job.size
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = base
        convert = Quantiser(frames(), job).frame if muxer == "gif" else _plain(pixel_format)
        last = -1
        for time, rgba in frames():
            if muxer == "gif" and not soft:
                soft = bool(((rgba[..., 3] > 8) & (rgba[..., 3] < 247)).any())
            frame = convert(rgba)
            last = max(last + 1, round(time / base))
            frame.pts, frame.time_base = last, base
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return [_NOTE_GIF] if soft else []


def _plain(pixel_format: str) -> Callable[[Pixels], Any]:
    from av.video.frame import VideoFrame as Frame

    return lambda rgba: Frame.from_ndarray(rgba, "rgba").reformat(format=pixel_format)


class WebPFile:
    """Writes an animated WebP frame by frame; a library's encoder would keep all of it in memory.

    Of each frame only the rectangle is stored in which it differs from the one before.

    References:
        WebP Container Specification (RFC 9649), "Animation".
    """

    def __init__(self, path: Path, job: Job, shown: Fraction) -> None:
        self._job, self._alpha, self._last = job, job.alpha, shown
        height, width = job.size
        if max(height, width) > 16_383:
            raise VideoError(
                f"WebP holds at most 16383 x 16383 pixels; got {width} x {height}: give a smaller --size"
            )
        self._file = open(path, "wb")
        flags = 0x02 | (0x10 if job.alpha else 0)
        size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        self._file.write(b"RIFF\0\0\0\0WEBP" + _chunk(b"VP8X", bytes([flags, 0, 0, 0]) + size))
        self._file.write(_chunk(b"ANIM", bytes(4) + job.params.loop.to_bytes(2, "little")))
        self._shown: Pixels | None = None
        self._waiting: tuple[bytes, bytes] | None = None
        self._at = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with self._file:
            if kind is None:
                self._put(self._at + max(1, round(1000 * self._last)))
                length = self._file.tell() - 8
                if length >= 1 << 32:
                    raise VideoError("WebP holds at most 4 gigabytes; make it shorter, or write WebM")
                self._file.seek(4)
                self._file.write(length.to_bytes(4, "little"))

    def add(self, rgba: Pixels, time: Fraction) -> None:
        """The next frame, (H, W, 4), and when it is shown."""
        at = max(round(time * 1000), self._at + (self._shown is not None))
        self._put(at)
        top, left, bottom, right = self._changed(rgba)
        part = PILImage.fromarray(np.ascontiguousarray(rgba[top:bottom, left:right]))
        part = part if self._alpha else part.convert("RGB")
        data, quality = io.BytesIO(), self._job.params.quality
        if quality == 100:
            part.save(data, "WEBP", lossless=True, method=2)
        else:
            part.save(data, "WEBP", quality=quality, method=4)
        numbers = (left // 2, top // 2, right - left - 1, bottom - top - 1)
        place = b"".join(number.to_bytes(3, "little") for number in numbers)
        self._waiting = place, _picture_chunks(data.getvalue())
        self._shown, self._at = rgba, at

    def _put(self, until: int) -> None:
        """Write the frame that waits for its end to be known."""
        if self._waiting is None:
            return
        place, data = self._waiting
        duration = min(until - self._at, (1 << 24) - 1).to_bytes(3, "little")
        self._file.write(_chunk(b"ANMF", place + duration + b"\x02" + data))  # in place of what was there

    def _changed(self, rgba: Pixels) -> tuple[int, int, int, int]:
        height, width = rgba.shape[:2]
        if self._shown is None:
            return 0, 0, height, width
        other = (rgba != self._shown).any(axis=2)
        rows, columns = np.flatnonzero(other.any(axis=1)), np.flatnonzero(other.any(axis=0))
        if not rows.size:
            return 0, 0, 1, 1
        return int(rows[0]) & ~1, int(columns[0]) & ~1, int(rows[-1]) + 1, int(columns[-1]) + 1


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + len(data).to_bytes(4, "little") + data + b"\0" * (len(data) % 2)


def _picture_chunks(webp: bytes) -> bytes:
    """What is in the file of a single picture, without its header."""
    found, place = b"", 12
    while place + 8 <= len(webp):
        end = place + 8 + int.from_bytes(webp[place + 4 : place + 8], "little")
        end += end % 2
        if webp[place : place + 4] in (b"ALPH", b"VP8 ", b"VP8L"):
            found += webp[place:end]
        place = end
    return found


class Quantiser:
    """Frames in one palette of 255 colours and transparency; what is at rest does not flicker.

    Args:
        frames: all of them; their colours are looked at, evenly over their time.
    """

    def __init__(self, frames: Iterator[tuple[Fraction, Pixels]], job: Job) -> None:
        from av.filter import Graph
        from av.video.frame import VideoFrame as Frame

        graph = Graph()
        height, width = job.size
        pixels = graph.add(
            "buffer", f"video_size={width}x{height}:pix_fmt=bgra:time_base=1/100:pixel_aspect=1/1"
        )
        colours = graph.add("buffer", "video_size=16x16:pix_fmt=bgra:time_base=1/100:pixel_aspect=1/1")
        use = graph.add("paletteuse", "dither=bayer:bayer_scale=3:alpha_threshold=128")
        sink = graph.add("buffersink")
        pixels.link_to(use, 0, 0)
        colours.link_to(use, 0, 1)
        use.link_to(sink)
        graph.configure()
        self._pixels, self._sink, self._graph = pixels, sink, graph
        palette = Frame.from_ndarray(self._palette(frames), "rgba").reformat(format="bgra")
        palette.pts, palette.time_base = 0, Fraction(1, 100)
        colours.push(palette)
        colours.push(None)
        self._count = 0

    @staticmethod
    def _palette(frames: Iterator[tuple[Fraction, Pixels]]) -> Pixels:
        """(16, 16, 4) uint8, the last transparent."""
        taken: list[npt.NDArray[np.uint8]] = []
        each, random = 4096, np.random.default_rng(0)
        step = 1
        for number, (_, rgba) in enumerate(frames):
            if number % step:
                continue
            visible = rgba[rgba[..., 3] >= 128][:, :3]
            taken.append(visible[random.integers(0, len(visible), each)] if len(visible) else visible)
            if len(taken) * each > 2 * _SAMPLES:  # every second one is enough then
                taken, step = taken[::2], step * 2
        some = np.concatenate([*taken, np.zeros((1, 3), np.uint8)])
        picture = PILImage.fromarray(some[None]).quantize(255, PILImage.Quantize.MEDIANCUT, kmeans=3)
        found = np.array(picture.getpalette(), np.uint8).reshape(-1, 3)[:255]
        palette = np.zeros((256, 4), np.uint8)
        palette[:255, 3] = 255
        palette[: len(found), :3] = found
        palette[len(found) : 255, :3] = found[-1]
        return palette.reshape(16, 16, 4)

    def frame(self, rgba: Pixels) -> Any:
        """A ``pal8`` frame of (H, W, 4) pixels."""
        from av.video.frame import VideoFrame as Frame

        frame = Frame.from_ndarray(rgba, "rgba").reformat(format="bgra")
        frame.pts, frame.time_base = self._count, Fraction(1, 100)
        self._count += 1
        self._pixels.push(frame)
        return self._sink.pull()

"""Videos in: any file PyAV opens, pictures in a folder, animations, as upright RGB frames one by one.

What a phone, a camera or a disc put into a file is undone here: rotation, pixels that are not square,
fields, more than 8 bits, high dynamic range, times that are not regular.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
import stat
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Self

import cv2
import numpy as np
import numpy.typing as npt

from bgremove.arrays import Alpha, Image
from bgremove.compositing import Pixels, limit_size
from bgremove.errors import MissingExtraError, VideoError
from bgremove.io import MAX_MEGAPIXELS
from bgremove.video.frames import VideoFrame, VideoInfo

# Containers of films and of sound. Not here: playlists (hls, dash, concat), which name other files and
# addresses, devices, and single pictures.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpegtsraw,mpeg,mpegvideo,flv,live_flv,asf,asf_o,ogg,mxf,"
    "nut,ivf,obu,av1,dv,rm,gxf,yuv4mpegpipe,h261,h263,h264,hevc,m4v,vc1,vc1test,vvc,evc,wtv,swf,nsv,nuv,amv,roq,"
    "smk,bink,flic,film_cpk,dhav,cavsvideo,mjpeg,mtv,mv,dirac,xmv,smjpeg,avs,avs2,avs3,ea,dxa,4xm,vmd,"
    "wc3movie,wsvqa,jv,cine,kux,ser,r3d,vivo,"
    "mp3,wav,flac,aac,aiff,caf,ac3,eac3,amr,w64,au,ape,dts,opus"
)
_KNOWN = "MP4, MOV, MKV, WebM, AVI, MPEG, a GIF or WebP animation, or pictures (frames/%06d.png)"

_LOOK_PACKETS, _LOOK_BYTES = 240, 8 << 20  # what is read ahead to learn about the frames' times


class Video:
    """An opened video. Use as a context manager; iterate once.

    Attributes:
        info: what is known beforehand.
    """

    info: VideoInfo

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go."""

    def __iter__(self) -> Iterator[VideoFrame]:
        """The frames, decoded one by one.

        Raises:
            VideoError: where the file is damaged; it names the frame and its time.
        """
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
    """Open a video, an animation, or pictures that make one, and decode its first frame.

    Args:
        source: a file, a folder of pictures, or a pattern of them (``frames/%06d.png``, ``frames/*.png``).
        start: seconds; frames before are left out.
        end: seconds; frames from there on are left out.
        every: keep each n-th frame of that part only.
        size: as for :func:`~bgremove.compositing.limit_size`; never enlarges.
        skip: leave out so many of the frames that would come otherwise.
        rate: frames a second of single pictures.
        threads: for decoding; as many as are useful by default.

    Raises:
        VideoError: if it cannot be read, with one sentence.
        OptionError: if `size` is nonsense.
        MissingExtraError: without the extra ``video``.
    """
    from bgremove.video.sequences import Animation, PictureRow, is_animation, pictures_of

    limit_size(np.zeros((1, 1), np.uint8), size)
    part = Part(start, end, every, size, skip)
    name = os.fspath(source)
    paths = pictures_of(name)
    if paths is not None:
        return PictureRow(name, paths, part, rate)
    path = Path(source)
    head = _head(path, name)
    if is_animation(path, name, head):
        return Animation(path, name, part)
    return FilmFile(path, name, part, head, threads)


class Part:
    """Which frames of a video are wanted, and how large.

    Args:
        start, end, every, size, skip: as for :func:`open_video`.
    """

    def __init__(
        self, start: Fraction | None, end: Fraction | None, every: int, size: str, skip: int
    ) -> None:
        self.start = Fraction(start or 0)
        self.end = end
        self.every, self.size, self.skip = every, size, skip

    def choose(self, frames: Iterator[tuple[Fraction, Any]]) -> Iterator[tuple[Fraction, Any]]:
        """Those that are wanted of all, each with its time.

        A picture that stands for long and began before `start` is there from `start` on.
        """
        return itertools.islice(self._within(frames), self.skip * self.every, None, self.every)

    def _within(self, frames: Iterator[tuple[Fraction, Any]]) -> Iterator[tuple[Fraction, Any]]:
        before: Any = None
        for time, frame in frames:
            if time < self.start:
                before = frame
                continue
            if before is not None and time - self.start > _LONG:
                yield self.start, before
            before = None
            if self.end is not None and time >= self.end:
                return
            yield time, frame

    def count(self, frames: int | None, rate: Fraction, duration: Fraction | None) -> int | None:
        """How many frames will come, as far as is known."""
        if self.start or self.end is not None or frames is None:
            span = self.span(duration)
            if span is None:
                return None
            frames = -(-span * rate // 1)
        return max(0, -(-frames // self.every) - self.skip)

    def span(self, duration: Fraction | None) -> Fraction | None:
        """Seconds of the part, of a video of `duration`."""
        ends = [end for end in (self.end, duration) if end is not None]
        return max(Fraction(0), min(ends) - self.start) if duration is not None else None

    def fitted(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) that a frame of `size` is made to have."""
        if not self.size.strip():
            return size
        shape = limit_size(np.broadcast_to(np.zeros(1, np.uint8), size), self.size).shape
        return int(shape[0]), int(shape[1])


_LONG = Fraction(1, 10)  # seconds


def check_area(name: str, height: int, width: int) -> None:
    """Refuse frames that no video has.

    Raises:
        VideoError: over :data:`~bgremove.io.MAX_MEGAPIXELS`.
    """
    if height < 1 or width < 1:
        raise VideoError(
            f"{name} has frames of {width} x {height} pixels; get the file again from where it came"
        )
    if height * width > MAX_MEGAPIXELS * 1e6:
        raise VideoError(
            f"{name} has frames of {width} x {height}, more than {MAX_MEGAPIXELS:g} megapixels; make it "
            "smaller first"
        )


def clock(seconds: Fraction | float) -> str:
    """``1:02.5`` for 62.5 seconds."""
    minutes, rest = divmod(round(float(seconds), 3), 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{rest:06.3f}".rstrip("0").rstrip(".")
    return f"{hours}:{minutes:02d}:{text}" if hours else f"{minutes}:{text}"


def import_av() -> Any:
    """PyAV.

    Raises:
        MissingExtraError: if it is not installed.
    """
    try:
        import av
    except ImportError:
        raise MissingExtraError('videos need PyAV: pip install "bgremove[video]"') from None
    return av


# Files ------------------------------------------------------------------------------------------


def _head(path: Path, name: str) -> bytes:
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            raise VideoError(f"{name} is no regular file; save it to a file first, and give that")
        with open(path, "rb") as file:
            head = file.read(64)
    except FileNotFoundError:
        if "://" in name:
            raise VideoError(f"{name} is an address; download the video first, and give the file") from None
        raise VideoError(f"{name} does not exist; check the path") from None
    except VideoError:
        raise
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise VideoError(f"{name} cannot be opened: {why}; check its permissions") from None
    if not head:
        raise VideoError(f"{name} is empty (0 bytes); give a video")
    return head


def open_container(path: Path) -> Any:
    """An opened file, which can name no other file and no address."""
    return import_av().open(
        "file:" + os.path.abspath(path),
        container_options={"protocol_whitelist": "file", "format_whitelist": _CONTAINERS},
        metadata_errors="replace",
    )


def picture_stream(container: Any) -> Any:
    """The stream of pictures, if there is one that moves."""
    covers = 0x400 | 0x20000  # attached picture, still image
    streams = [one for one in container.streams.video if not one.disposition.value & covers]
    return streams[0] if streams else None


def sound_stream(container: Any) -> Any:
    """The sound track marked as the default, else the first."""
    tracks = list(container.streams.audio)
    return next((one for one in tracks if one.disposition.value & 1), tracks[0] if tracks else None)


def origin_of(container: Any) -> Fraction:
    """What the file's time stamps say at its beginning, in seconds.

    Where the sound begins a little before zero, that is only what its decoder needs to get going. Where it
    begins less than a frame before the pictures, as in many MKV and TS files, these count: their first
    frame is to stand as long as the others.
    """
    picture, track = picture_stream(container), sound_stream(container)
    pictures, sound = _begin_of(picture), _begin_of(track)
    if sound is None:
        return pictures or Fraction(0)
    sound = max(sound, Fraction(0))
    if pictures is None:
        return sound
    rate = Fraction(picture.guessed_rate or picture.average_rate or 25)
    return pictures if pictures - sound < 1 / rate else sound


def _begin_of(stream: Any) -> Fraction | None:
    if stream is None or stream.start_time is None:
        return None
    return Fraction(stream.start_time * Fraction(stream.time_base))


class FilmFile(Video):
    """A video file, decoded by FFmpeg's libraries."""

    def __init__(self, path: Path, name: str, part: Part, head: bytes, threads: int | None) -> None:
        self._name, self._part = name, part
        av = import_av()
        try:
            self._container = open_container(path)
        except (av.FFmpegError, ValueError, OSError) as error:
            raise VideoError(_why_not(name, head, error)) from None
        try:
            self._open(path, threads)
        except BaseException:
            self._container.close()
            raise

    def close(self) -> None:
        self._container.close()

    def _open(self, path: Path, threads: int | None) -> None:
        name, part = self._name, self._part
        stream = picture_stream(self._container)
        if stream is None:
            what = "only a cover picture" if self._container.streams.video else "no pictures"
            sound = " but sound" if self._container.streams.audio else ""
            raise VideoError(f"{name} has {what}{sound}; give a video")
        context = stream.codec_context
        if context is None:
            raise VideoError(f"{name} is of a kind that cannot be decoded here; convert it to MP4 first")
        check_area(name, context.height, context.width)
        self._stream = stream
        self._base = Fraction(stream.time_base)
        self._origin = origin_of(self._container)
        began = 0 if stream.start_time is None else stream.start_time * self._base - self._origin
        self._first = Fraction(began)
        self._decoder = self._make_decoder(threads)
        self._packets = self._container.demux(stream)
        self._cut_short = _cut_short(path)
        times = self._look_ahead()
        rate, variable = _rate_of(stream, times)
        self._rate, self._grid = rate, None if variable else _grid(times, rate, self._base)
        self._seen = 0
        self._last: Fraction | None = None
        self._expected = _duration(self._container, stream, self._origin)
        raw = self._decoded()
        if part.start > 2:
            raw = self._from(part.start)
        first = next(raw, None)
        if first is None:
            raise VideoError(f"{name} has no frames that can be decoded; is it complete?")
        self._raw: Iterator[tuple[Fraction, Any]] = itertools.chain([first], raw)
        self._look = _Look(first[1], stream, name, part)
        if self._look.interlaced:
            self._raw = Deinterlacer().frames(self._raw)
        duration = _duration(self._container, stream, self._origin)
        frames = stream.frames or (None if duration is None else round(duration * rate))
        self.info = VideoInfo(
            name=name,
            size=self._look.size,
            rate=rate / part.every,
            variable=variable,
            duration=part.span(duration),
            frames=part.count(frames, rate, duration),
            alpha=self._look.alpha,
            sound=sound_stream(self._container) is not None,
            start=part.start,
            notes=tuple(self._look.notes),
        )

    def _make_decoder(self, threads: int | None) -> Any:
        context = self._stream.codec_context
        if context.name in ("vp8", "vp9") and _tag(self._stream, "alpha_mode") == "1":
            # FFmpeg's own decoders of these know nothing of transparency.
            library = {"vp8": "libvpx", "vp9": "libvpx-vp9"}[context.name]
            context = import_av().CodecContext.create(library, "r")
            if self._stream.codec_context.extradata:
                context.extradata = self._stream.codec_context.extradata
        context.thread_type = "AUTO"
        context.thread_count = min(8, os.cpu_count() or 1) if threads is None else threads
        return context

    def _look_ahead(self) -> list[int]:
        """Read some packets, which are decoded later; the times of their frames, sorted."""
        ahead, total = [], 0
        for packet in self._safe_packets():
            ahead.append(packet)
            total += packet.size
            if len(ahead) >= _LOOK_PACKETS or total > _LOOK_BYTES:
                break
        self._packets = itertools.chain(ahead, self._packets)
        stamps = sorted(packet.pts for packet in ahead if packet.size and packet.pts is not None)
        if not self._cut_short and len(ahead) < _LOOK_PACKETS and total <= _LOOK_BYTES:
            return stamps
        return stamps[: max(2, len(stamps) - 16)]  # frames between the last of them may have been left out

    def _safe_packets(self) -> Iterator[Any]:
        """Packets as long as the file is whole; where it is not, :meth:`_decoded` meets the error again."""
        av = import_av()
        try:
            while True:  # with yield from, they would be over, too, when this is left early
                packet = next(self._packets, None)
                if packet is None:
                    return
                yield packet
        except av.FFmpegError as error:
            self._packets = _raising(error)

    def _from(self, start: Fraction) -> Iterator[tuple[Fraction, Any]]:
        """Frames from a key frame before `start` on."""
        av = import_av()
        for back in (Fraction(1, 2), Fraction(10), start + 1):
            target = max(start - back, Fraction(0)) + self._origin
            try:
                self._container.seek(int(target / self._base), stream=self._stream)
            except av.FFmpegError:
                break
            self._decoder.flush_buffers()
            self._packets, self._seen = self._container.demux(self._stream), 0
            raw = self._decoded()
            first = next(raw, None)
            if first is not None and (first[0] <= start or back > start):
                return itertools.chain([first], raw)
        try:
            self._container.seek(0, stream=self._stream)
        except av.FFmpegError as error:
            raise VideoError(
                f"{self._name} cannot be read from {clock(start)} on: {error.strerror}; leave out the start"
            ) from None
        self._decoder.flush_buffers()
        self._packets = self._container.demux(self._stream)
        return self._decoded()

    def _decoded(self) -> Iterator[tuple[Fraction, Any]]:
        """All frames and their times, as they are in the file."""
        av = import_av()
        trouble: Exception | None = None
        try:
            for packet in self._packets:
                if not packet.size and packet.dts is not None:
                    continue  # the frame before stays, as some AVI files say
                try:
                    frames = self._decoder.decode(packet if packet.size else None)
                except av.EOFError:
                    continue
                except av.FFmpegError as error:
                    if not self._seen:
                        continue  # a recording that was begun in the middle of things
                    trouble = error
                    frames = self._rest()
                for frame in frames:
                    if frame.is_corrupt and not self._seen:
                        continue
                    if frame.is_corrupt:
                        trouble = trouble or VideoError("the picture is damaged")
                        break
                    self._seen += 1
                    yield self._time(frame), frame
                if trouble is not None:
                    break
            else:
                for frame in self._rest():
                    self._seen += 1
                    yield self._time(frame), frame
        except av.FFmpegError as error:
            trouble = error
            for frame in self._rest():
                self._seen += 1
                yield self._time(frame), frame
        if self._part.end is not None and self._last is not None and self._next() >= self._part.end:
            return  # what is damaged is not asked for
        if trouble is not None and self._seen:
            raise self._damaged(
                "the file ends there" if self._cut_short else "what is there makes no picture"
            )
        if self._cut_short and self._last is not None:
            missing = 0 if self._expected is None else self._expected - self._last - 1 / self._rate
            early = f", {float(missing):.1f} seconds too early" if missing > Fraction(1, 10) else " too early"
            raise self._damaged(f"the file ends there{early}")

    def _rest(self) -> list[Any]:
        """The frames that the decoder still holds."""
        av = import_av()
        try:
            return [frame for frame in self._decoder.decode(None) if not frame.is_corrupt]
        except (av.FFmpegError, EOFError):
            return []

    def _next(self) -> Fraction:
        """When the next frame can be expected."""
        return Fraction(0) if self._last is None else self._last + 1 / self._rate

    def _damaged(self, why: str) -> VideoError:
        at = self._next()
        return VideoError(
            f"{self._name} is damaged or incomplete at frame {self._number(at)} ({clock(at)}): {why}; "
            f"get it again, or take the part before it (--end {math.floor(at * 100) / 100:.2f})"
        )

    def _number(self, time: Fraction) -> int:
        return max(0, round((time - self._first) * self._rate))

    def _time(self, frame: Any) -> Fraction:
        stamp = frame.pts if frame.pts is not None else frame.dts
        if stamp is None:
            time = Fraction(0) if self._last is None else self._last + 1 / self._rate
        else:
            base = Fraction(frame.time_base) if frame.time_base else self._base
            time = stamp * base
            if self._grid is not None:
                exact = self._grid + round((time - self._grid) * self._rate) / self._rate
                time = exact if abs(exact - time) <= base else time
            time -= self._origin
        if self._last is not None and time <= self._last:
            time = self._last + 1 / (2 * self._rate)  # stamps that do not go on are of no use
        self._last = time
        return time

    def __iter__(self) -> Iterator[VideoFrame]:
        for time, frame in self._part.choose(self._raw):
            image, alpha = self._look.pixels(frame)
            yield VideoFrame(self._number(time), time, image, alpha)


def _raising(error: Exception) -> Iterator[Any]:
    raise error
    yield


def _tag(stream: Any, name: str) -> str | None:
    return next((value for key, value in stream.metadata.items() if key.lower() == name), None)


def _why_not(name: str, head: bytes, error: Exception) -> str:
    if head.lstrip(b"\xef\xbb\xbf").startswith((b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD")):
        return f"{name} is a playlist, which only names other files; give the video itself"
    pictures = (b"\xff\xd8\xff", b"\x89PNG", b"BM", b"II*\0", b"MM\0*")
    if head.startswith(pictures) or head[4:12] in (b"ftypheic", b"ftypavif", b"ftypmif1", b"ftypheix"):
        return f"{name} is a single picture, not a video; use: bgremove remove"
    if (
        head.startswith((b"RIFF",))
        or head[4:8] in (b"ftyp", b"moov", b"mdat")
        or head[:4] == b"\x1aE\xdf\xa3"
    ):
        return f"{name} is damaged or incomplete, its header cannot be read; get it again from where it came"
    return (
        f"{name} is not a video that can be read (it begins with {head[:12]!r}); expected {_KNOWN}".replace(
            "begins with b", "begins with "
        )
    )


# Times ------------------------------------------------------------------------------------------


def _rate_of(stream: Any, stamps: list[int]) -> tuple[Fraction, bool]:
    """Frames a second, and whether they come at times of their own."""
    base = Fraction(stream.time_base)
    said = [Fraction(one) for one in (stream.base_rate, stream.guessed_rate, stream.average_rate) if one]
    sane = [one for one in said if Fraction(1, 100) <= one <= 1000]
    steps = [later - earlier for earlier, later in itertools.pairwise(stamps) if later > earlier]
    if not steps:  # without stamps; the base rate of H.264 may count fields
        return (sane[-1] if sane else Fraction(25)), False
    mean = len(steps) / ((stamps[-1] - stamps[0]) * base)
    for rate in sane:
        # Constant: no stamp is off its place by more than rounding to the file's clock explains.
        first, off = stamps[0], Fraction(3, 2) * base
        places = ((stamp - first) * base * rate for stamp in stamps)
        ticks = [round(place) for place in places]
        regular = all(
            abs((stamp - first) * base - Fraction(tick) / rate) <= max(off, Fraction(1, 50) / rate)
            for stamp, tick in zip(stamps, ticks, strict=True)
        )
        if regular and ticks == list(range(len(ticks))):
            return rate, False
    average = Fraction(stream.average_rate) if stream.average_rate else mean
    if not Fraction(1, 100) <= average <= 1000 or len(steps) < 2:
        average = mean
    average = Fraction(90_000, max(1, round(90_000 / average)))  # which leaves a clock of 90 kHz exact
    spread = (max(steps) - min(steps)) * base
    return average, spread > max(2 * base, Fraction(1, 1000))


def _grid(stamps: list[int], rate: Fraction, base: Fraction) -> Fraction | None:
    """Where the exact times of a constant rate begin, for files whose clock is too coarse to tell them."""
    step = 1 / rate / base
    if not stamps or step.denominator == 1:
        return None
    return stamps[0] * base


def _duration(container: Any, stream: Any, origin: Fraction) -> Fraction | None:
    if stream.duration:
        start = (
            stream.start_time * Fraction(stream.time_base) - origin if stream.start_time is not None else 0
        )
        return Fraction(stream.duration * Fraction(stream.time_base) + start)
    said = _tagged_duration(stream)
    if said is not None:
        return said
    return Fraction(container.duration, 1_000_000) if container.duration else None


def _tagged_duration(stream: Any) -> Fraction | None:
    """What Matroska files say of a stream, ``00:01:02.500000000``."""
    try:
        hours, minutes, seconds = (_tag(stream, "duration") or "").split(":")
        return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)
    except (ValueError, ZeroDivisionError):
        return None


_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp")


def _cut_short(path: Path) -> bool:
    """Does an MP4, MOV or Matroska file end before its last part does?"""
    with open(path, "rb") as file:
        whole = os.fstat(file.fileno()).st_size
        if file.read(4) == b"\x1aE\xdf\xa3":
            return _matroska_end(file) > whole
        place = 0
        while 0 <= place < whole:
            file.seek(place)
            head = file.read(16)
            if not head[4:8].isalnum() or (not place and head[4:8] not in _FIRST_BOXES):
                return False  # something else
            length = int.from_bytes(head[:4], "big")
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            if length < 8:  # 0: up to the end
                return False
            place += length
        return place > whole


def _matroska_end(file: BinaryIO) -> int:
    """Where the segment of an open Matroska file ends; 0 if that is not said."""

    def number() -> int:
        first = file.read(1)
        if not first or not first[0]:
            return 0
        more = 8 - first[0].bit_length()
        value = int.from_bytes(bytes([first[0] & (0x7F >> more)]) + file.read(more), "big")
        return 0 if value == (1 << (7 * (more + 1))) - 1 else value

    file.seek(number(), os.SEEK_CUR)
    if file.read(4) != b"\x18\x53\x80\x67":
        return 0
    length = number()
    return file.tell() + length if length else 0


# Pixels -----------------------------------------------------------------------------------------

_BILINEAR, _ALL_CHROMA, _ROUNDED = 0x2, 0x2000, 0x40000
_GOOD = _BILINEAR | _ALL_CHROMA | _ROUNDED
_LIMITED, _FULL = 1, 2
_FAST_FORMATS = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p")
_BT601, _BT709 = 5, 1
_PQ, _HLG, _BT2020 = 16, 18, 9


class _Look:
    """How the frames of a file become upright RGB of one size."""

    def __init__(self, frame: Any, stream: Any, name: str, part: Part) -> None:
        from av.video.reformatter import VideoReformatter

        self._name, self.notes = name, list[str]()
        self._reformat = VideoReformatter().reformat
        self.alpha = _has_alpha(frame)
        self._turn, self._flip = _turn_of(frame)
        height, width = frame.height, frame.width
        shape = _stream_sar(stream, frame)
        if shape > 1:
            width = round(width * shape)
        elif shape < 1:
            height = round(height / shape)
        if self._turn in (90, 270):
            height, width = width, height
        check_area(name, height, width)
        self.size = part.fitted((height, width))
        self.interlaced = bool(frame.interlaced_frame)
        if self.interlaced:
            self.notes.append(f"{name} is interlaced; its fields were made into whole frames")
        self._tone: Any = None
        transfer, primaries = int(frame.color_trc), int(frame.color_primaries)
        if int(frame.colorspace) in (14, 15):
            raise VideoError(
                f"{name} is in Dolby Vision's own colours, which cannot be read here; export it as SDR "
                "or HDR10 first"
            )
        if transfer in (_PQ, _HLG) or (primaries == _BT2020 and not self.alpha):
            from bgremove.video.hdr import ToneMap

            self._tone = ToneMap(transfer)
            if transfer in (_PQ, _HLG):
                kind = "PQ" if transfer == _PQ else "HLG"
                self.notes.append(f"{name} is HDR ({kind}); its colours were mapped to the standard range")

    def pixels(self, frame: Any) -> tuple[Image, Alpha | None]:
        """(H, W, 3) uint8 and, where there is transparency, (H, W) float32."""
        if self.alpha:
            return self._with_alpha(frame)
        rgb = self._upright(self._rgb(frame))
        if rgb.shape[:2] != self.size:
            rgb = _resized(rgb, self.size)
        return rgb, None

    def _rgb(self, frame: Any) -> Image:
        source = self._matrix(frame)
        if self._tone is not None:
            frame = self._tone.mapped(frame, source)
            return np.asarray(
                self._reformat(frame, format="rgb24", interpolation=_GOOD, threads=1).to_ndarray()
            )
        name = frame.format.name
        fast = name in _FAST_FORMATS
        rgb = self._reformat(
            frame,
            format="rgb24",
            src_colorspace=source,
            dst_color_range=_FULL,
            interpolation=_BILINEAR if fast else _GOOD,
            threads=1,
        ).to_ndarray()
        if fast and _truncates():
            rgb = cv2.LUT(rgb, _ROUNDING)
        return np.asarray(rgb)

    def _with_alpha(self, frame: Any) -> tuple[Image, Alpha | None]:
        rgba = self._reformat(
            frame,
            format="rgba",
            src_colorspace=self._matrix(frame),
            dst_color_range=_FULL,
            interpolation=_GOOD,
            threads=1,
        ).to_ndarray()
        return split_rgba(resized_rgba(self._upright(np.asarray(rgba)), self.size))

    def _matrix(self, frame: Any) -> int | None:
        """The matrix of a frame that does not say: as televisions guess it."""
        if frame.format.is_rgb or int(frame.colorspace) not in (2, 3):
            return None
        return _BT709 if frame.height > 576 or frame.width > 1024 else _BT601

    def _upright(self, pixels: Pixels) -> Pixels:
        if self._flip:
            pixels = cv2.flip(pixels, 1)
        turns = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
        if self._turn:
            pixels = cv2.rotate(pixels, turns[self._turn])
        return pixels


_ROUNDING = np.minimum(np.arange(256) + 1, 255).astype(np.uint8)
_ROUNDING[0] = 0


@functools.cache
def _truncates() -> bool:
    """Does FFmpeg's quick way from YUV to RGB (a fifteenth of the time) cut off instead of rounding?"""
    from av.video.frame import VideoFrame as Frame
    from av.video.reformatter import VideoReformatter

    grey = Frame(256, 16, "yuv420p")
    for plane in grey.planes:
        plane.update(
            np.tile(np.clip(np.arange(plane.line_size), 40, 220).astype(np.uint8), plane.height).tobytes()
        )
    quick, good = (
        VideoReformatter()
        .reformat(grey, format="rgb24", src_colorspace=_BT709, dst_color_range=_FULL, interpolation=way)
        .to_ndarray()
        .astype(np.float32)
        for way in (_BILINEAR, _GOOD)
    )
    return bool((quick - good).mean() < -0.4)


def _has_alpha(frame: Any) -> bool:
    name = str(frame.format.name)
    return name.startswith(("yuva", "gbrap", "rgba", "bgra", "argb", "abgr", "ya", "pal8"))


def _stream_sar(stream: Any, frame: Any) -> Fraction:
    shape = Fraction(stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or 1)
    return shape if Fraction(1, 8) <= shape <= 8 else Fraction(1)


def _turn_of(frame: Any) -> tuple[int, bool]:
    """Degrees clockwise to turn, after mirroring left and right if so said."""
    matrix = None
    for data in frame.side_data:
        if "DISPLAYMATRIX" in str(data.type):
            matrix = np.frombuffer(bytes(data), "<i4", 9).astype(np.float64) / 65536
    if matrix is None:
        return 0, False
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    flip = bool(a * d - b * c < 0)
    if flip:
        a, b = -a, -b
    degrees = round(float(np.degrees(np.arctan2(b, a))) / 90) * 90 % 360
    return degrees, flip


class Deinterlacer:
    """Weaves fields into whole frames with FFmpeg's ``bwdif``."""

    def __init__(self) -> None:
        self._graph: Any = None

    def frames(self, frames: Iterator[tuple[Fraction, Any]]) -> Iterator[tuple[Fraction, Any]]:
        """Whole frames, one for each; their times stay theirs."""
        av = import_av()
        waiting: list[Fraction] = []
        for number, (time, frame) in enumerate(frames):
            if self._graph is None:
                self._graph = self._made(frame)
            frame.pts, frame.time_base = number, Fraction(1, 1000)
            waiting.append(time)
            self._graph.vpush(frame)
            yield from self._ready(waiting)
        if self._graph is not None:
            try:
                self._graph.vpush(None)
            except av.FFmpegError:
                return
            yield from self._ready(waiting)

    def _ready(self, waiting: list[Fraction]) -> Iterator[tuple[Fraction, Any]]:
        av = import_av()
        while waiting:
            try:
                frame = self._graph.vpull()
            except (av.BlockingIOError, av.EOFError):
                return
            yield waiting.pop(0), frame

    @staticmethod
    def _made(frame: Any) -> Any:
        from av.filter import Graph

        graph = Graph()
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000)
        )
        weave, sink = graph.add("bwdif", "mode=send_frame:deint=all"), graph.add("buffersink")
        graph.link_nodes(source, weave, sink).configure()
        return graph


def _resized(pixels: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    height, width = size
    smaller = height * width < pixels.shape[0] * pixels.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    result: npt.NDArray[Any] = cv2.resize(pixels, (width, height), interpolation=method)
    return result


def resized_rgba(rgba: Pixels, size: tuple[int, int]) -> Pixels:
    """RGBA at (height, width), colours weighted by their opacity."""
    if rgba.shape[:2] == size:
        return rgba
    opacity = rgba[..., 3].astype(np.float32) / 255
    alpha = np.clip(_resized(opacity, size), 0, 1)
    colours = _resized(rgba[..., :3] * opacity[..., None], size) / np.maximum(alpha, 1e-6)[..., None]
    result = np.empty((*size, 4), np.uint8)
    result[..., :3] = np.rint(np.clip(colours, 0, 255))
    result[..., 3] = np.rint(alpha * 255)
    return result


def split_rgba(rgba: Pixels) -> tuple[Image, Alpha | None]:
    """Colours, and alpha if any pixel is not opaque."""
    image = cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB)
    opacity = rgba[..., 3]
    if opacity.min() == 255:
        return image, None
    alpha: npt.NDArray[np.float32] = opacity.astype(np.float32) * np.float32(1 / 255)
    return image, alpha

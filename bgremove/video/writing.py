"""Videos out: packets into a working file that survives a crash, then with the sound into the target.

While a video is made, its packets are in a hidden file beside the target, ``.NAME.part1.mov``, and what was
asked for in ``.NAME.part.json``; when a run is taken up again, it goes on in ``.NAME.part2.mov``. In the end
the packets of all parts are put, as they are, into a file with the sound, which then gets the target's name.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import math
import os
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from bgremove.compositing import Pixels
from bgremove.errors import OptionError, OutputError, VideoError
from bgremove.io import make_folder, move_into_place, unfinished, write_bytes
from bgremove.options import Params
from bgremove.video.reading import import_av
from bgremove.video.sound import Sound


class VideoWriteParams(Params):
    """How a video is written."""

    codec: Literal["auto", "h264", "vp9", "prores", "qtrle", "gif", "webp", "apng", "png"] = Field(
        "auto",
        description="auto goes by the output's name: h264 (.mp4), vp9 (.webm), prores or qtrle (.mov), gif, "
        "webp, apng, png (frames/%06d.png)",
    )
    quality: int = Field(
        75, ge=1, le=100, description="Of h264, vp9 and webp: higher looks better; 100 makes webp lossless"
    )
    speed: Literal["fast", "medium", "slow"] = Field(
        "fast", description="Slower encoding makes smaller files of the same look"
    )
    sound: bool = Field(True, description="Keep the sound")
    loop: int = Field(0, ge=0, le=65535, description="Times a GIF, WebP or APNG is shown; 0 is for ever")


@dataclass(frozen=True)
class Codec:
    """A way to write a video.

    Attributes:
        name: the setting's.
        extensions: of the files, with FFmpeg's name of the container.
        alpha: how much transparency it holds.
        part: FFmpeg's name of the working file's container.
        encoder: FFmpeg's name of what encodes the working file.
        opaque, transparent: pixel formats.
        even: must width and height be even?
    """

    name: str
    extensions: dict[str, str]
    alpha: Literal["soft", "hard", "none"]
    part: Literal["mov", "matroska", "nut"] = "nut"
    encoder: str = "ffv1"
    opaque: str = "bgr0"
    transparent: str = "bgra"
    even: bool = False

    @property
    def animation(self) -> bool:
        """Is the working file encoded again in the end?"""
        return self.encoder == "ffv1"


CODECS = {
    row.name: row
    for row in (
        Codec(
            "h264",
            {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"},
            "none",
            "mov",
            "libx264",
            "yuv420p",
            even=True,
        ),
        Codec(
            "vp9",
            {".webm": "webm", ".mkv": "matroska"},
            "soft",
            "matroska",
            "libvpx-vp9",
            "yuv420p",
            "yuva420p",
        ),
        Codec("prores", {".mov": "mov"}, "soft", "mov", "prores_aw", "yuv422p10le", "yuva444p10le"),
        Codec("qtrle", {".mov": "mov"}, "soft", "mov", "qtrle", "rgb24", "argb"),
        Codec("gif", {".gif": "gif"}, "hard"),
        Codec("webp", {".webp": "webp"}, "soft"),
        Codec("apng", {".apng": "apng", ".png": "apng"}, "soft"),
        Codec("png", {".png": ""}, "soft"),
    )
}

_BY_NAME = {
    ".mp4": ("h264", "h264"),
    ".m4v": ("h264", "h264"),
    ".mov": ("h264", "prores"),
    ".mkv": ("h264", "vp9"),
    ".webm": ("vp9", "vp9"),
    ".gif": ("gif", "gif"),
    ".webp": ("webp", "webp"),
    ".apng": ("apng", "apng"),
}
"""What "auto" means, without and with transparency."""


def address(path: Path) -> str:
    """A file's name as FFmpeg takes it, which else reads ``a:b.mp4`` as a protocol's."""
    return f"file:{path}"


COUNTER = re.compile(r"%0?\d*d")
"""What stands for the number in a pattern of single pictures' names."""


def is_pattern(path: Path) -> bool:
    """Is it a pattern of single pictures, as ``frames/%06d.png``?"""
    return COUNTER.search(path.name) is not None


def codec_for(target: Path, wanted: str, *, alpha: bool) -> Codec:
    """What a target of that name is written with.

    Raises:
        OptionError: if its name and the codec do not go together, or it cannot hold the transparency.
    """
    suffix = target.suffix.lower()
    if wanted == "auto" and (is_pattern(target) or target.is_dir()):
        wanted = "png"
    if wanted == "png":
        return CODECS["png"]
    if wanted == "auto":
        if suffix not in _BY_NAME:
            got = f"{suffix} is no format of videos written here" if suffix else "its name has no ending"
            hint = " or, for single pictures, frames/%06d.png"
            raise OptionError(f"cannot write {target}: {got}; name it {', '.join(_BY_NAME)}{hint}")
        codec = CODECS[_BY_NAME[suffix][alpha]]
    else:
        codec = CODECS[wanted]
        if suffix not in codec.extensions:
            ends = " or ".join(codec.extensions)
            raise OptionError(
                f"{target.name} cannot hold {wanted}; name it {target.stem}{ends}, or leave out the codec"
            )
    if alpha and codec.alpha == "none":
        held = f"{suffix[1:].upper()} with H.264"
        raise OptionError(
            f"{held} cannot hold transparency; add a background (--background white), or write WebM "
            f"({target.stem}.webm), ProRes ({target.stem}.mov) or GIF"
        )
    return codec


class VideoWriter:
    """Writes one video; of one thread.

    Attributes:
        kept: frames that an earlier run has left, and that are not to come again.
        notes: sentences about what was converted; complete after :meth:`close`.
    """

    kept: int
    notes: tuple[str, ...]

    def write(self, pixels: Pixels, time: Fraction, duration: Fraction | None = None) -> None:
        """Add a frame.

        Args:
            pixels: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA with straight alpha, uint8.
            time: seconds from the beginning of the target at which it is shown.
            duration: seconds it is shown if it is the last one; as the others on average by default.

        Raises:
            VideoError: if it cannot be written.
        """
        raise NotImplementedError

    def close(self) -> Path:
        """Complete the target, and remove the working files."""
        raise NotImplementedError

    def stop(self) -> Path | None:
        """A target that can be played as far as it goes; what is needed to go on is kept.

        Returns:
            None if there is no frame.
        """
        raise NotImplementedError

    def abandon(self) -> None:
        """Let go of everything: no target, but what is needed to go on is kept. Does nothing after an end."""
        raise NotImplementedError


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
    """Check all that can be checked before there is a frame, and begin a video.

    Args:
        target: the file; for single pictures a folder, or a pattern as ``frames/%06d.png``.
        size: (height, width) of the frames.
        rate: frames a second; of a variable rate the mean.
        alpha: will there be transparency?
        sound_from: the video whose sound is to be kept.
        sound_start, sound_end: the part of it, seconds.
        overwrite: replace a target that exists.
        resume: go on where an earlier run ended that had the same `key`.
        threads: for encoding; as many as are useful by default.
        key: what says that two runs make the same video.

    Raises:
        OptionError: if name, codec and transparency do not go together.
        OutputError: if the target exists or cannot be written.
        VideoError: if it cannot be encoded so, or what an earlier run left does not fit.
        MissingExtraError: without the extra ``video``.
    """
    import_av()
    target = Path(target)
    codec = codec_for(target, params.codec, alpha=alpha)
    job = Job(target, codec, params, size, Fraction(rate), alpha, overwrite, resume, threads, key)
    if codec.name == "png":
        from bgremove.video.sequences import PictureWriter

        return PictureWriter(job)
    if target.is_dir():
        raise OutputError(f"cannot write {target}: it is a folder; give a file name")
    if sound_from is not None and target.exists() and os.path.samefile(target, sound_from):
        raise OutputError(f"{target} is the video itself; give the result another name")
    sound = None if sound_from is None or not params.sound else (sound_from, sound_start, sound_end)
    return PacketWriter(job, sound)


@dataclass(frozen=True)
class Job:
    """What is to be written; the arguments of :func:`open_writer`."""

    target: Path
    codec: Codec
    params: VideoWriteParams
    size: tuple[int, int]
    rate: Fraction
    alpha: bool
    overwrite: bool = False
    resume: bool = False
    threads: int | None = None
    key: str = ""


def check_folder(folder: Path, target: Path) -> None:
    """Make the folder, and see whether a file can be made in it.

    Raises:
        OutputError: if not.
    """
    make_folder(folder)
    probe = folder / f".bgremove-{secrets.token_hex(8)}.part"
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}; give another folder") from None


@dataclass
class _State:
    """What a run leaves for one that goes on.

    Attributes:
        parts: of each working file the first frame's tick, how many frames are good (None: to be seen),
            and how long the last is shown.
        made: size and time of the target that a stop has left.
    """

    key: str
    parts: list[dict[str, int | None]] = field(default_factory=list)
    made: list[int] = field(default_factory=list)


class PacketWriter(VideoWriter):
    """Encodes frames into a working file."""

    def __init__(self, job: Job, sound: tuple[Path, Fraction, Fraction | None] | None) -> None:
        self._job, self._sound = job, sound
        self._base = time_base(job.rate)
        self._muxer = job.codec.extensions[job.target.suffix.lower()]
        self._notes: list[str] = []
        self._ended = False
        self._written, self._last = 0, -1
        self._shown = 1 / job.rate
        self._file: Any = None
        check_folder(job.target.parent, job.target)
        self._state = self._found()
        self.kept = sum(part["frames"] or 0 for part in self._state.parts)
        self._check_target()
        height, width = job.size
        self._pad = (height % 2, width % 2) if job.codec.even else (0, 0)
        if any(self._pad):
            even = f"{width + self._pad[1]} x {height + self._pad[0]}"
            self._notes.append(f"H.264 needs even sizes: {width} x {height} became {even}, its edge repeated")
        self._look_at_sound()
        self._begin()

    @property
    def notes(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(self._notes)

    # What is there already

    def _beside(self, ending: str) -> Path:
        return self._job.target.with_name(f".{self._job.target.name}.part{ending}")

    def _part(self, index: int) -> Path:
        return self._beside(f"{index + 1}.{_PART_ENDINGS[self._job.codec.part]}")

    def _found(self) -> _State:
        """What an earlier run has left, if it is to be used."""
        try:
            state = _State(**json.loads(self._beside(".json").read_text()))
        except (OSError, ValueError, TypeError):
            state = None
        if not self._job.resume or state is None:
            self._remove_parts()
            return _State(self._job.key)
        if state.key != self._job.key:
            raise VideoError(
                f"what an earlier run left of {self._job.target} was made with other settings or of another "
                "video; give the same settings, or leave out --resume to begin anew"
            )
        good = []
        for index, part in enumerate(state.parts):
            frames = part["frames"]
            if frames is None:
                frames = _whole_frames(self._part(index))
            if not frames:
                break
            good.append(part | {"frames": frames})
        state.parts = good
        for index in range(len(good), 99):
            self._part(index).unlink(missing_ok=True)
        return state

    def _remove_parts(self) -> None:
        with contextlib.suppress(OSError):
            self._beside(".json").unlink(missing_ok=True)
            for index in range(99):
                path = self._part(index)
                if not path.exists() and index > 8:
                    break
                path.unlink(missing_ok=True)

    def _check_target(self) -> None:
        target = self._job.target
        if not target.exists() and not target.is_symlink():
            return
        if not target.is_file():
            raise OutputError(f"cannot write {target}: it is no regular file; give another name")
        ours = bool(self._state.made) and self._state.made == _mark(target)
        if not self._job.overwrite and not ours:
            raise OutputError(f"{target} exists; add --overwrite to replace it, or give another name")

    def _look_at_sound(self) -> None:
        if self._sound is None:
            return
        if self._job.codec.animation:
            self._notes.append(f"{self._job.codec.name.upper()} cannot hold sound, which was left out")
            self._sound = None
            return
        sound = self._open_sound()
        if sound is not None:
            if not sound.found:
                self._sound = None
            if sound.note:
                self._notes.append(sound.note)
            sound.close()

    def _open_sound(self) -> Sound | None:
        av = import_av()
        try:
            return Sound(*self._sound, self._muxer) if self._sound else None
        except (av.FFmpegError, OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            self._notes.append(f"the sound was left out, as it cannot be read: {why}")
            self._sound = None
            return None

    # The working file

    def _begin(self) -> None:
        """Open the encoder and the next working file."""
        av, job = import_av(), self._job
        height, width = job.size[0] + self._pad[0], job.size[1] + self._pad[1]
        path = self._part(len(self._state.parts))
        try:
            self._file = av.open(
                address(path), "w", format=job.codec.part, container_options=_PART_OPTIONS[job.codec.part]
            )
            stream = self._file.add_stream(job.codec.encoder, rate=job.rate, options=_encoder_options(job))
            stream.width, stream.height = width, height
            stream.pix_fmt = job.codec.transparent if job.alpha else job.codec.opaque
            context = stream.codec_context
            context.time_base = self._base
            context.gop_size = max(1, min(250, round(5 * job.rate)))
            _tag_colours(context, job.codec)
            context.thread_count = min(8, os.cpu_count() or 1) if job.threads is None else job.threads
            if job.codec.name == "vp9" and job.alpha:
                stream.metadata["alpha_mode"] = "1"
            self._file.start_encoding()
        except (av.FFmpegError, ValueError, OSError) as error:
            self.abandon()
            path.unlink(missing_ok=True)
            why = getattr(error, "strerror", None) or error
            raise VideoError(
                f"cannot make a video of {width} x {height} with {job.codec.name}: {why}; try another "
                "--codec or --size"
            ) from None
        self._stream = stream
        self._converter = Converter(job.codec, job.alpha, self._pad)

    def write(self, pixels: Pixels, time: Fraction, duration: Fraction | None = None) -> None:
        if self._ended or self._file is None:
            raise VideoError("this video is closed already; open another writer")
        job = self._job
        if pixels.shape[:2] != job.size:
            raise VideoError(
                f"all frames must be {job.size[1]} x {job.size[0]}; got {pixels.shape[1]} x {pixels.shape[0]}"
            )
        if pixels.ndim == 3 and pixels.shape[2] == 4 and not job.alpha:
            raise VideoError(
                "this video was opened without transparency; give RGB, or open it with alpha=True"
            )
        tick = round(time / self._base)
        if not self.kept and not self._written and 0 < time < 1 / job.rate:
            tick = 0  # no player needs to show nothing for a part of a frame
        tick = max(tick, self._last + 1)
        av = import_av()
        frame = self._converter.frame(pixels)
        frame.pts, frame.time_base = tick, self._base
        try:
            if not self._written:
                self._state.parts.append({"first": tick, "frames": None})
                self._save()
            for packet in self._stream.encode(frame):
                self._file.mux(packet)
        except (av.FFmpegError, OSError) as error:
            raise self._failed(error) from error
        self._written += 1
        self._last = tick
        self._shown = duration or 1 / job.rate

    def _save(self) -> None:
        data = json.dumps(self._state.__dict__).encode()
        write_bytes(self._beside(".json"), data, overwrite=True)

    def _failed(self, error: Exception) -> VideoError:
        why = getattr(error, "strerror", None) or error
        return VideoError(
            f"cannot write {self._job.target}: {why}; make room or give another folder, then --resume"
        )

    def _finish_part(self) -> None:
        """Complete the working file."""
        if self._file is None:
            return
        av = import_av()
        file, self._file = self._file, None
        try:
            if self._written:
                for packet in self._stream.encode():
                    file.mux(packet)
            file.close()
        except (av.FFmpegError, OSError) as error:
            with contextlib.suppress(Exception):
                file.close()
            raise self._failed(error) from error
        if self._written:
            self._state.parts[-1] |= {"frames": self._written, "shown": round(self._shown / self._base)}
            self._save()
        else:
            self._part(len(self._state.parts)).unlink(missing_ok=True)

    # The end

    def close(self) -> Path:
        self._finish_part()
        if not self._state.parts:
            self._remove_parts()
            self._ended = True
            raise VideoError(
                f"no frame was written to {self._job.target}, so there is no video; check what came before"
            )
        path = self._made(whole=True)
        self._remove_parts()
        self._ended = True
        return path

    def stop(self) -> Path | None:
        self._finish_part()
        self._ended = True
        if not self._state.parts:
            self._remove_parts()
            return None
        path = self._made(whole=False)
        self._state.made = _mark(path)
        self._save()
        return path

    def abandon(self) -> None:
        if self._ended:
            return
        self._ended = True
        with contextlib.suppress(Exception):
            self._finish_part()
        if not self._state.parts:
            self._remove_parts()

    def _made(self, *, whole: bool) -> Path:
        """The target, out of the working files."""
        job, av = self._job, import_av()
        temporary = job.target.with_name(f".bgremove-{secrets.token_hex(8)}.part")
        unfinished.add(temporary)
        try:
            if job.codec.animation:
                from bgremove.video.sequences import make_animation

                shown = self._shown_last()
                self._notes += make_animation(self._frames(), temporary, self._muxer, job, shown)
            else:
                self._remux(temporary, whole=whole)
            move_into_place(temporary, job.target, overwrite=job.overwrite or bool(self._state.made))
        except (av.FFmpegError, OSError) as error:
            if isinstance(error, OutputError):
                raise
            raise self._failed(error) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
            unfinished.discard(temporary)
        return job.target

    def _remux(self, path: Path, *, whole: bool) -> None:
        av = import_av()
        options = {"movflags": "+faststart"} if self._muxer in ("mp4", "mov") else {}
        if self._muxer in ("mp4", "mov"):
            options["video_track_timescale"] = str(self._base.denominator)
        with contextlib.ExitStack() as stack:
            sound = self._open_sound()
            if sound is not None:
                stack.callback(sound.close)
            first = stack.enter_context(av.open(address(self._part(0))))
            output = stack.enter_context(
                av.open(address(path), "w", format=self._muxer, container_options=options)
            )
            stream = output.add_stream_from_template(first.streams.video[0])
            stream.time_base = self._base
            if self._job.codec.name == "prores":  # else the kind without transparency would be named
                stream.codec_context.codec_tag = first.streams.video[0].codec_context.codec_tag
            if self._job.codec.name == "vp9" and self._job.alpha:
                stream.metadata["alpha_mode"] = "1"
            tracks = [self._packets(stream)]
            if sound is not None:
                sound.add_to(output)
                tracks.append(sound.packets(None if whole else self._end()))
            for _, packet in heapq.merge(*tracks, key=lambda one: one[0]):
                output.mux(packet)
        if sound is not None and sound.note and sound.note not in self._notes:
            self._notes.append(sound.note)

    def _end(self) -> Fraction:
        """Seconds of what there is."""
        if self._last >= 0:
            return self._last * self._base + self._shown
        return self.kept / self._job.rate

    def _shown_last(self) -> Fraction:
        """Seconds that the last frame is shown."""
        ticks = self._state.parts[-1].get("shown")
        return ticks * self._base if ticks else 1 / self._job.rate

    def _packets(self, stream: Any) -> Iterator[tuple[Fraction, Any]]:
        """The packets of all working files, with their times as they were meant."""
        last: int | None = None
        shown = round(self._shown_last() / self._base)
        waiting: Any = None
        for index, part in enumerate(self._state.parts):
            for packet, tick, decode in self._part_packets(index, part):
                if last is not None and decode <= last:
                    decode = min(last + 1, tick)
                last = decode
                packet.pts, packet.dts, packet.time_base = tick, decode, self._base
                packet.stream = stream
                if self._muxer in ("mp4", "mov"):
                    packet.duration = (
                        shown  # which counts for the last only: others end where the next begins
                    )
                if waiting is not None:
                    yield waiting.dts * self._base, waiting
                waiting = packet
        if waiting is not None:
            waiting.duration = shown
            yield waiting.dts * self._base, waiting

    def _part_packets(self, index: int, part: dict[str, int | None]) -> Iterator[tuple[Any, int, int]]:
        shift: int | None = None
        with import_av().open(address(self._part(index))) as file:
            track = file.streams.video[0]
            scale = Fraction(track.time_base) / self._base
            count = 0
            for packet in file.demux(track):
                if not packet.size:
                    continue
                if count == part["frames"]:
                    return
                count += 1
                shown = round(packet.pts * scale)
                decoded = round((packet.dts if packet.dts is not None else packet.pts) * scale)
                if shift is None:
                    shift = (part["first"] or 0) - shown
                yield packet, shown + shift, decoded + shift

    def _frames(self) -> Callable[[], Iterator[tuple[Fraction, Pixels]]]:
        """What goes through all frames of a lossless working file, (H, W, 4) each, as often as asked."""

        def frames() -> Iterator[tuple[Fraction, Pixels]]:
            for index, part in enumerate(self._state.parts):
                with import_av().open(address(self._part(index))) as file:
                    track = file.streams.video[0]
                    track.thread_type = "AUTO"
                    shift: Fraction | None = None
                    for count, frame in enumerate(file.decode(track)):
                        if count == part["frames"]:
                            break
                        time = frame.pts * Fraction(track.time_base)
                        if shift is None:
                            shift = (part["first"] or 0) * self._base - time
                        yield time + shift, frame.to_ndarray(format="rgba")

        return frames


_PART_ENDINGS = {"mov": "mov", "matroska": "mkv", "nut": "nut"}
_PART_OPTIONS = {
    "mov": {
        "movflags": "frag_keyframe+empty_moov+negative_cts_offsets+default_base_moof",
        "flush_packets": "1",
    },
    "matroska": {"cluster_time_limit": "2000", "flush_packets": "1"},
    "nut": {"flush_packets": "1"},
}


def _whole_frames(path: Path) -> int:
    """How many frames of a working file are good for sure: those before its last key frame."""
    av = import_av()
    count = good = 0
    try:
        with av.open(address(path)) as file:
            for packet in file.demux(file.streams.video[0]):
                if packet.size:
                    good = count if packet.is_keyframe else good
                    count += 1
    except (av.FFmpegError, OSError, IndexError):
        pass
    return good


def _mark(path: Path) -> list[int]:
    state = path.stat()
    return [state.st_size, state.st_mtime_ns]


def time_base(rate: Fraction) -> Fraction:
    """A clock that tells the times of a constant rate exactly, and those of a variable one well enough."""
    ticks = math.lcm(rate.numerator, 90_000)
    if ticks > 1_000_000:
        ticks = rate.numerator * max(1, 90_000 // rate.numerator)
    return Fraction(1, ticks if ticks <= 1_000_000 else 90_000)


def _encoder_options(job: Job) -> dict[str, str]:
    quality, speed = job.params.quality, job.params.speed
    match job.codec.encoder:
        case "libx264":
            preset = {"fast": "veryfast", "medium": "medium", "slow": "slower"}[speed]
            return {"preset": preset, "crf": f"{10 + (100 - quality) * 0.4:.1f}"}
        case "libvpx-vp9":
            pace = {
                "fast": {"deadline": "realtime", "cpu-used": "8"},
                "medium": {"deadline": "good", "cpu-used": "4"},
                "slow": {"deadline": "good", "cpu-used": "1"},
            }[speed]
            columns = min(2, max(0, int(math.log2(max(1, job.size[1] / 256)))))
            return pace | {
                "crf": str(round(6 + (100 - quality) * 0.55)),
                "b": "0",
                "row-mt": "1",
                "tile-columns": str(columns),
                "auto-alt-ref": "0",
            }
        case "prores_aw":
            return {"vendor": "apl0"} | ({} if job.alpha else {"profile": "3"})
        case "ffv1":
            return {"level": "3", "slices": "4", "slicecrc": "0", "coder": "range_def"}
    return {}


def _tag_colours(context: Any, codec: Codec) -> None:
    context.color_primaries, context.color_trc = 1, 1
    if codec.opaque.startswith("yuv"):
        context.colorspace, context.color_range = 1, 1


class Converter:
    """From RGB and RGBA arrays to frames as an encoder wants them.

    Args:
        pad: rows and columns to add.
    """

    def __init__(self, codec: Codec, alpha: bool, pad: tuple[int, int]) -> None:
        from av.video.reformatter import VideoReformatter

        self._format = codec.transparent if alpha else codec.opaque
        self._alpha, self._pad = alpha, pad
        self._yuv = self._format.startswith("yuv")
        # Colours that are kept exactly, see through or not, are not to be touched.
        self._fill = alpha and self._yuv
        self._reformat = VideoReformatter().reformat

    def frame(self, pixels: Pixels) -> Any:
        """A frame of the encoder's format; the array may be changed afterwards."""
        from av.video.frame import VideoFrame as Frame

        if pixels.ndim == 2:
            pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
        if self._alpha and pixels.shape[2] == 3:
            pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2RGBA)
        if self._fill:
            pixels = filled(pixels)
        if any(self._pad):
            pixels = cv2.copyMakeBorder(pixels, 0, self._pad[0], 0, self._pad[1], cv2.BORDER_REPLICATE)
        source = Frame.from_numpy_buffer(np.ascontiguousarray(pixels), "rgba" if self._alpha else "rgb24")
        if not self._yuv:
            return self._reformat(source, format=self._format, threads=1)
        frame = self._reformat(
            source, format=self._format, dst_colorspace=1, dst_color_range=1, interpolation=2, threads=1
        )
        frame.colorspace = frame.color_primaries = frame.color_trc = frame.color_range = 1
        return frame


def filled(rgba: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """RGBA whose invisible pixels have the colours of the visible ones near them.

    Video stores colours by blocks, at half the size: black beside the subject would darken its edge.
    """
    visible = cv2.threshold(rgba[..., 3], 0, 255, cv2.THRESH_BINARY)[1]
    found = cv2.countNonZero(visible)
    height, width = visible.shape
    if found in (0, height * width):
        return rgba
    marked = cv2.copyTo(rgba, visible)
    cv2.insertChannel(visible, marked, 3)
    small = cv2.resize(marked, (-(-width // 8), -(-height // 8)), interpolation=cv2.INTER_AREA).astype(
        np.float32
    )
    colours = np.zeros((*small.shape[:2], 4), np.uint8)
    colours[..., :3] = np.rint(np.minimum(_spread(small[..., :3], small[..., 3] / 255), 255))
    result = cv2.resize(colours, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.copyTo(rgba, visible, result), np.uint8)


def _spread(colours: npt.NDArray[np.float32], weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Weighted colours where there are any, elsewhere those of the next coarser picture."""
    own = colours / np.maximum(weight, 1e-3)[..., None]
    height, width = weight.shape
    if (weight > 0).all() or height * width == 1:
        return np.asarray(own, np.float32)
    half = (-(-width // 2), -(-height // 2))
    below = _spread(
        cv2.resize(colours, half, interpolation=cv2.INTER_AREA),
        cv2.resize(weight, half, interpolation=cv2.INTER_AREA),
    )
    wide = cv2.resize(below, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where((weight > 0)[..., None], own, wide).astype(np.float32)

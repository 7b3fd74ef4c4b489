"""A whole video: read, cut out, put over its background, written, with all of it at the same time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

from bgremove.arrays import Image
from bgremove.compositing import Pixels
from bgremove.errors import BGRemoveError, OutputError, VideoError
from bgremove.io import make_folder
from bgremove.removers.base import Device, Remover
from bgremove.threads import alone
from bgremove.video.backgrounds import Backdrop, Scene
from bgremove.video.cutting import FrameCutter, Look, finish
from bgremove.video.flow import ahead, spread
from bgremove.video.frames import VideoFrame, VideoInfo
from bgremove.video.params import VideoSettings, parse_rate
from bgremove.video.reading import Video, clock, open_video
from bgremove.video.sequences import as_pattern, pictures_of
from bgremove.video.writing import codec_for, is_pattern, open_writer

_WARM_UP = 12  # frames before a resumed run's first one that are looked at again, for what is remembered
_CORES = min(8, os.cpu_count() or 1)


@dataclass(frozen=True)
class VideoProgress:
    """How far a video is.

    Attributes:
        done: frames written, those of an earlier run included.
        total: frames there will be, as far as is known; None if nobody knows.
        at: seconds into the source.
        fps: frames a second of this run, on average; 0 at its beginning.
        left: seconds it will still take; None if nobody knows.
    """

    done: int
    total: int | None
    at: Fraction
    fps: float
    left: float | None


@dataclass(frozen=True)
class VideoResult:
    """What became of a video.

    Attributes:
        path: the file (of single pictures, their folder); None if it was stopped before its first frame.
        frames: how many are in it.
        made: how many of them this run made.
        duration: seconds of it.
        complete: False if it was stopped.
        empty: frames of this run in which no subject was found.
        scenes: how many scenes it was taken to have.
        seconds: what this run took.
        notes: sentences about what was converted or could not be kept.
    """

    path: Path | None
    frames: int
    made: int
    duration: Fraction
    complete: bool
    empty: int
    scenes: int
    seconds: float
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Item:
    """A frame on its way, and what is known of it so far."""

    frame: VideoFrame
    look: Look
    behind: Image | None


def remove_video(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str] | None = None,
    model: str | Remover = "auto",
    *,
    background: Any = None,
    preset: str | None = None,
    device: Device = "auto",
    model_file: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    on_progress: Callable[[VideoProgress], object] | None = None,
    **settings: Any,
) -> VideoResult:
    """Cut the subject out of a video: what ``bgremove video`` does, from Python.

    ::

        bgremove.remove_video("clip.mp4", "cutout.webm")
        bgremove.remove_video("clip.mp4", "beach.mp4", background="beach.jpg", smoothing="none")

    Args:
        source: a video, an animation, a folder or a pattern (``frames/%06d.png``) of pictures.
        target: its name says the format; by default a new file beside the source.
        model: a remover's name, or a remover.
        background: as for :func:`bgremove.remove`; also another video.
        preset: a preset of the remover or of the refinement.
        device: where networks run: auto, cpu or cuda.
        model_file: use this file instead of the cached or downloaded one.
        overwrite: replace a target that exists.
        resume: go on where an earlier run with the same settings ended.
        on_progress: called after each frame.
        settings: any of the flags of ``bgremove video``, by name.

    Raises:
        VideoError, OptionError, OutputError, WeightsError, DeviceError: each with one sentence.
    """
    plan = VideoSettings.build(model, preset=preset, background=background, **settings)
    built = model if isinstance(model, Remover) else lambda: plan.create_remover(device, model_file)
    return cut_video(
        source,
        beside(source, plan) if target is None else target,
        plan,
        built,
        overwrite=overwrite,
        resume=resume,
        on_progress=on_progress,
        model_file=model_file,
    )


def beside(source: str | os.PathLike[str], settings: VideoSettings) -> Path:
    """A name for a new file beside the source."""
    path = Path(source)
    if not path.exists() and ("%" in path.name or "*" in path.name):
        path = path.parent
    stem = path.stem if path.is_file() else path.name
    suffix = ".webm" if settings.transparent else ".mp4"
    return path.parent / f"{stem.replace('%', '') or 'video'}_{settings.output}{suffix}"


def cut_video(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    settings: VideoSettings,
    remover: Remover | Callable[[], Remover] | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    on_progress: Callable[[VideoProgress], object] | None = None,
    stop: threading.Event | None = None,
    on_frame: Callable[[Pixels], object] | None = None,
    model_file: str | os.PathLike[str] | None = None,
) -> VideoResult:
    """Cut the subject out of a video and write the result.

    Decoding, the network, edges and colours, and encoding go on at the same time; memory is bounded,
    whatever the video's length. A file appears at `target` only when it is complete, or was stopped and
    can be played as far as it goes.

    Args:
        source: a video, an animation, a folder or a pattern (``frames/%06d.png``) of pictures.
        target: its name says the format, unless the settings do.
        remover: built already, or what builds it once everything else is known to be right.
        overwrite: replace a target that exists.
        resume: go on where an earlier run with the same settings ended.
        on_progress: called after each frame.
        stop: when set, the frames in work are written, the file is made playable, and that is all.
        model_file: what `remover` is built from, if it was named; to resume, it must be the same.
        on_frame: gets each output frame as it is written, for previews; must not change it.

    Raises:
        VideoError: if the video cannot be read or written; it names the frame and its time.
        OptionError: if the settings do not go together with the video.
        MissingExtraError: without the extra ``video``.
    """
    began = time.monotonic()
    video, target = settings.video, Path(target)
    rate = {"rate": parse_rate(video.rate)} if video.rate else {}
    reading: dict[str, Any] = {"end": video.ends, "every": video.every, "size": video.fits, **rate}
    if video.begins:
        reading["start"] = video.begins
    _check_apart(target, source, "the video")
    if settings.backdrop is not None:
        _check_apart(target, settings.backdrop, "the background")
    with contextlib.ExitStack() as stack:
        stack.enter_context(alone())
        with open_video(source, **reading) as probe:
            info = probe.info
        codec_for(target, settings.write.codec, alpha=settings.transparent)
        stack.enter_context(_kept_to_us(target))
        writer = open_writer(
            target,
            settings.write,
            size=info.size,
            rate=info.rate,
            alpha=settings.transparent,
            sound_from=Path(source) if info.sound and settings.write.sound else None,
            sound_start=video.begins,
            sound_end=video.ends,
            overwrite=overwrite,
            resume=resume,
            key=_key(source, settings, model_file),
        )
        stack.callback(writer.abandon)
        if not isinstance(remover, Remover):
            remover = (remover or settings.create_remover)()
        warm = min(writer.kept, _WARM_UP)
        opened = stack.enter_context(open_video(source, **reading, skip=writer.kept - warm))
        backdrop = None
        if settings.backdrop is not None:
            backdrop = stack.enter_context(Backdrop(settings.backdrop, video.background_end))
        frames = _Frames(remover, settings, info, opened, backdrop)
        meter = _Meter(writer.kept, info, on_progress)
        at = until = Fraction(0)
        stopped = False
        with contextlib.closing(frames.composed(warm)) as composed:
            for item, pixels in composed:
                at = item.frame.time
                until = at - info.start + (item.frame.duration or 1 / info.rate)
                try:
                    writer.write(pixels, at - info.start, item.frame.duration)
                except BGRemoveError as error:
                    raise _named(error, item.frame, "write") from error
                if on_frame is not None:
                    on_frame(pixels)
                meter.frame(at)
                if stop is not None and stop.is_set():
                    stopped = True
                    break
        if not meter.done:
            raise VideoError(f"{info.name} has no frames in the part asked for; check --start and --end")
        path = writer.stop() if stopped else writer.close()
    return VideoResult(
        path=path,
        frames=meter.done,
        made=meter.done - writer.kept,
        duration=until or meter.done / info.rate,
        complete=not stopped,
        empty=frames.empty,
        scenes=frames.scenes,
        seconds=time.monotonic() - began,
        notes=(*info.notes, *writer.notes, *frames.notes),
    )


def _check_apart(target: Path, source: str | os.PathLike[str], what: str) -> None:
    """Refuse a target that would replace what is read.

    Raises:
        OutputError: if it would.
    """
    counted = is_pattern(target)
    if counted or target.is_dir():
        names = as_pattern(target if counted else target / "%06d.png")
        folder = target.parent if counted else target
        pictures = pictures_of(os.fspath(source)) if folder.is_dir() else None
        whole = os.path.realpath(folder)
        if any(names.fullmatch(one.name) and os.path.realpath(one.parent) == whole for one in pictures or ()):
            raise OutputError(f"{target} would replace the pictures of {source}; give another folder")
        return
    try:
        same = os.path.isfile(source) and os.path.samefile(source, target)
    except OSError:
        return
    if same:
        raise OutputError(f"{target} is {what} itself; give the result another name")


@contextlib.contextmanager
def _kept_to_us(target: Path) -> Iterator[None]:
    """Keep the target to this run; the system frees it if the process is killed.

    Raises:
        OutputError: if another run is writing it.
    """
    folder = target if target.is_dir() else target.parent
    path = folder / f".{target.name}.part.lock"
    make_folder(folder)
    try:
        file = _locked(path)
    except BlockingIOError:
        raise OutputError(f"another run is writing {target}; wait for it, or give another name") from None
    except OSError:  # it cannot be written, which is said soon, or the folder cannot lock
        file = None
    try:
        yield
    finally:
        if file is not None:
            with contextlib.suppress(OSError):
                if sys.platform == "win32":  # where only closed files can be removed
                    file.close()
                path.unlink()
            file.close()


def _locked(path: Path) -> BinaryIO:
    """The file, opened, and kept to whoever holds it."""
    while True:
        file = open(path, "ab")
        try:
            if sys.platform == "win32":
                import msvcrt

                try:
                    msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
                except OSError as error:
                    raise BlockingIOError from error
                return file
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
            file.close()  # the one that held it has just removed it
        except BaseException:
            file.close()
            raise


class _Frames:
    """From decoded to composed frames."""

    def __init__(
        self,
        remover: Remover,
        settings: VideoSettings,
        info: VideoInfo,
        video: Video,
        backdrop: Backdrop | None,
    ) -> None:
        self._remover, self._settings = remover, settings
        self._info, self._video, self._backdrop = info, video, backdrop
        self._cutter = FrameCutter(remover, settings)
        self._scene = Scene(settings.output, settings.background, settings.video.background_fit)
        self.empty = 0
        self.scenes = 1
        self.notes: list[str] = []

    def composed(self, warm: int) -> Generator[tuple[_Item, Pixels]]:
        """Every frame and what is written of it, in order; the first `warm` are only looked at."""
        with ThreadPoolExecutor(_CORES, "bgremove-video", initializer=lambda: alone().__enter__()) as pool:
            decoded = ahead(self._video, 3)
            seen: Iterator[tuple[VideoFrame, Look]] = map(self._predicted, decoded)
            if not self._remover.remembers:
                seen = spread(self._predicted, decoded, pool, _CORES)
            items = ahead(self._steadied(seen, warm), 2)
            yield from spread(self._finished, items, pool, _CORES + 1)

    def _predicted(self, frame: VideoFrame) -> tuple[VideoFrame, Look]:
        with _naming(frame, "cut out"):
            return frame, self._cutter.predict(frame.image, frame.alpha)

    def _steadied(self, seen: Iterator[tuple[VideoFrame, Look]], warm: int) -> Iterator[_Item]:
        for number, (frame, look) in enumerate(seen):
            with _naming(frame, "cut out"):
                steady = self._cutter.steady(look)
            self.scenes += steady.new_scene and number > 0
            behind = None
            if self._backdrop is not None:
                behind = self._backdrop.at(frame.time - self._info.start)
                if behind is None:
                    return
            if look.note and look.note not in self.notes and len(self.notes) < 5:
                self.notes.append(look.note)
            if number >= warm:
                yield _Item(frame, steady, behind)

    def _finished(self, item: _Item) -> tuple[_Item, Pixels]:
        with _naming(item.frame, "cut out"):
            cut = finish(item.look, self._settings.refine, self._settings.foreground)
            self.empty += not cut.alpha.any()
            return item, self._scene.compose(cut, item.behind)


class _Meter:
    def __init__(
        self, kept: int, info: VideoInfo, on_progress: Callable[[VideoProgress], object] | None
    ) -> None:
        self.done = self._kept = kept
        self._total, self._tell = info.frames, on_progress
        self._began: float | None = None

    def frame(self, at: Fraction) -> None:
        """One frame more is written."""
        now = time.monotonic()
        self.done += 1
        if self._began is None:
            self._began = now  # the first frame waits for all that begins once
            self._first = self.done
        if self._tell is None:
            return
        ours, seconds = self.done - self._first, now - self._began
        fps = ours / seconds if ours and seconds > 0 else 0.0
        left = max(0, self._total - self.done) / fps if self._total is not None and fps else None
        total = None if self._total is None else max(self._total, self.done)
        self._tell(VideoProgress(self.done, total, at, fps, left))


@contextlib.contextmanager
def _naming(frame: VideoFrame, what: str) -> Iterator[None]:
    """Errors inside name the frame."""
    try:
        yield
    except BGRemoveError as error:
        raise _named(error, frame, what) from error
    except MemoryError as error:
        why = f"frame {frame.number} ({clock(frame.time)}) needs more memory than there is; take --size 1280"
        raise VideoError(why) from error
    except Exception as error:
        why = f"frame {frame.number} ({clock(frame.time)}): unexpected {type(error).__name__}: {error}"
        raise VideoError(why) from error


def _named(error: BGRemoveError, frame: VideoFrame, what: str) -> BGRemoveError:
    return VideoError(f"cannot {what} frame {frame.number} ({clock(frame.time)}): {error}")


def _key(
    source: str | os.PathLike[str], settings: VideoSettings, model_file: str | os.PathLike[str] | None
) -> str:
    """What a run that is taken up again must have in common with the one that was stopped."""
    background = settings.background
    picture = "" if background.picture is None else hashlib.sha256(background.picture.tobytes()).hexdigest()
    groups = [settings.remover, settings.refine, settings.foreground, settings.smooth, settings.video]
    facts = [
        _state_of(source),
        settings.model,
        *(group.model_dump_json() for group in [*groups, settings.write]),
        repr(replace(background, picture=None)),
        picture,
        "" if settings.backdrop is None else _state_of(settings.backdrop),
        "" if model_file is None else _state_of(model_file),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _state_of(source: str | os.PathLike[str]) -> str:
    """What changes when the files of a video do."""
    paths = pictures_of(os.fspath(source)) or [Path(source)]
    digest = hashlib.sha256(os.fsencode(os.path.abspath(source)))
    for path in paths:
        with contextlib.suppress(OSError):
            state = path.stat()
            digest.update(f"{path.name} {state.st_size} {state.st_mtime_ns}\n".encode(errors="replace"))
    return digest.hexdigest()

"""Short videos: kept on disk, each visitor's own, cut out one at a time beside the pictures."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeVar

from bgremove.errors import BGRemoveError, MissingExtraError
from bgremove.webapp.config import ServeParams
from bgremove.webapp.errors import Busy, NotFound, TooLarge, TooSlow, WrongRequest, unforeseen

if TYPE_CHECKING:
    from bgremove.compositing import Pixels
    from bgremove.options import Params
    from bgremove.removers.base import Remover
    from bgremove.video.frames import VideoInfo
    from bgremove.video.params import VideoSettings
    from bgremove.video.run import VideoProgress, VideoResult

T = TypeVar("T")

State = Literal["new", "waiting", "working", "done", "stopped", "failed"]

TYPES = {
    "webm": "video/webm",
    "mov": "video/quicktime",
    "mp4": "video/mp4",
    "gif": "image/gif",
    "webp": "image/webp",
}
"""The files that are made of a video, by their extensions."""

OPAQUE = ("mp4",)
"""Those of them that cannot be transparent."""

_PIECE = 1 << 20  # bytes copied at a time
_LOOK_SECONDS = 20
_PER_SECOND = 120  # frames: more is no video of a camera's
_RESULT_TIMES = 10  # as large as the largest upload
_OWN_MOST = 3  # videos of one visitor
_WATCHED = 5.0  # seconds after which nobody looks at the frames any more
_SHOW_EVERY = 0.5  # seconds between two frames that are shown
_SHOW_SIDE = 640
_STILL_SIDE = 960
_JOIN_SECONDS = 20


@dataclass(frozen=True)
class Made:
    """The file that a video became.

    Attributes:
        name: for the download.
        mimetype: of it.
        nbytes: its size.
        result: what the run says of it.
    """

    path: Path
    name: str
    mimetype: str
    nbytes: int
    result: VideoResult


@dataclass(frozen=True)
class Still:
    """One frame, cut out.

    Attributes:
        time: seconds at which it is shown.
        photo: the frame, a JPEG.
        cutout: the subject, a transparent PNG of the same size.
    """

    time: float
    photo: bytes
    cutout: bytes


@dataclass(eq=False)
class Job:
    """A video, and what is done with it.

    Attributes:
        id: unguessable.
        owner: the key of the visitor it belongs to; empty for one of the API's, where its id is the key.
        name: as it was called; for display only.
        folder: of its own.
        source: the file.
        info: what its header says.
        state: where it is.
        error: the sentence of the last failure.
        stop: set to end the work.
        stopped_by: why it was set: a sentence, or empty where the visitor wanted it.
        shown: the last frame that was made, a WebP, and its number.
        seen: when somebody asked for it last, by the monotonic clock.
    """

    owner: str
    name: str
    folder: Path
    source: Path
    info: VideoInfo
    nbytes: int
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    state: State = "new"
    error: str = ""
    stop: threading.Event = field(default_factory=threading.Event)
    stopped_by: str = ""
    progress: VideoProgress | None = None
    shown: tuple[int, bytes] = (0, b"")
    made: Made | None = None
    seen: float = field(default_factory=time.monotonic)
    still: tuple[object, Still] | None = None
    removed: bool = False
    settings: VideoSettings | None = None
    kind: str = "webm"
    runs: int = 0

    @property
    def busy(self) -> bool:
        """Whether it waits or is in work."""
        return self.state in ("waiting", "working")

    @property
    def seconds(self) -> float | None:
        """How long it is, if that is known."""
        return None if self.info.duration is None else float(self.info.duration)

    @property
    def info_notes(self) -> tuple[str, ...]:
        """What its header's notes say, for visitors."""
        return tuple(_for_visitors(one, self.source, self.name) for one in self.info.notes)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said of what was made, for visitors."""
        made = self.made.result.notes if self.made else ()
        return tuple(_for_visitors(one, self.source, self.name) for one in made)


class Videos:
    """The videos that are kept, and the one that is in work."""

    def __init__(self, params: ServeParams) -> None:
        self.params = params
        self._lock = threading.RLock()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._waiting: deque[Job] = deque()
        self._working: Job | None = None
        self._more = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._over = False
        self._coming = 0  # uploads on their way into a file
        self._root: Path | None = None
        self._remover: tuple[object, Remover] | None = None
        self._lookers = ThreadPoolExecutor(2, "bgremove-look-video")

    # What is kept

    @property
    def available(self) -> bool:
        """Whether videos can be taken at all."""
        return self.params.videos > 0 and importlib.util.find_spec("av") is not None

    @property
    def folder(self) -> Path:
        """Where the files are; made when it is first asked for, gone with this object."""
        with self._lock:
            if self._root is None:
                self._root = Path(tempfile.mkdtemp(prefix="bgremove-videos-"))
                weakref.finalize(self, shutil.rmtree, self._root, ignore_errors=True)
            return self._root

    @property
    def kept(self) -> int:
        """How many videos are kept."""
        return len(self._jobs)

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._waiting)

    @property
    def working(self) -> int:
        """1 while one is in work."""
        return int(self._working is not None)

    def in_use(self, owner: str) -> bool:
        """Whether a video of a visitor's waits or is in work; takes no lock, as others ask within theirs."""
        return any(one.owner == owner and one.busy for one in list(self._jobs.values()))

    def check(self, owner: str = "") -> None:
        """Whether one more may come.

        Raises:
            MissingExtraError: if this server takes none.
            TooLarge: if the visitor has too many.
            Busy: if there are too many of others.
        """
        if not self.params.videos:
            raise WrongRequest("this server takes no videos; send pictures")
        if importlib.util.find_spec("av") is None:
            raise MissingExtraError(
                'this server cannot read videos; to change that where it runs: pip install "bgremove[video]"'
            )
        with self._lock:
            mine = sum(one.owner == owner for one in self._jobs.values()) if owner else 0
            if mine >= _OWN_MOST:
                raise TooLarge(
                    f"there are {mine} videos of yours here, which is all for one; remove one first"
                )
            if len(self._jobs) + self._coming >= self.params.videos:
                self._forget_one()

    def add(self, stream: IO[bytes], *, name: str, owner: str = "", size: int | None = None) -> Job:
        """Keep the video that comes in `stream`, piece by piece, in a file of its own.

        Args:
            size: bytes that will come, if that is known.

        Raises:
            TooLarge: if it has too many bytes, or too large frames.
            VideoError: if it is no video.
        """
        self.check(owner)
        if size is not None and size > self.params.video_bytes:
            raise self._too_large(size)
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        kept = False
        with self._lock:
            self._coming += 1
        try:
            source = folder / f"source{_extension(name)}"
            nbytes = self._copy(stream, source)
            info = self._look(source, name)
            job = Job(owner, name, folder, source, info, nbytes)
            with self._lock:
                self._jobs[job.id] = job
            kept = True
            return job
        finally:
            with self._lock:
                self._coming -= 1
            if not kept:
                shutil.rmtree(folder, ignore_errors=True)

    def job(self, id: str, owner: str = "") -> Job:
        """A video of a visitor's, or one of the API's.

        Raises:
            NotFound: if there is none.
        """
        with self._lock:
            found = self._jobs.get(id)
            if found is None or found.owner != owner:
                raise NotFound("this video is not here any more; send it again")
            found.seen = time.monotonic()
            return found

    def of(self, owner: str) -> list[Job]:
        """All videos of a visitor, as they came."""
        with self._lock:
            return [one for one in self._jobs.values() if one.owner == owner]

    def remove(self, job: Job) -> None:
        """Stop the work on a video and delete its files."""
        with self._lock:
            job.removed = True
            job.stop.set()
            self._jobs.pop(job.id, None)
            if job in self._waiting:
                self._waiting.remove(job)
            if job is self._working:
                return  # its files go when the work has ended
        _delete(job)

    def sweep(self, visitors: Callable[[str], bool]) -> None:
        """Delete what nobody asked for in a long time.

        Args:
            visitors: says whether a key is still that of a visitor.
        """
        now = time.monotonic()
        with self._lock:
            old = [
                one
                for one in self._jobs.values()
                if not one.busy
                and (
                    now - one.seen > self.params.keep_minutes * 60 or (one.owner and not visitors(one.owner))
                )
            ]
        for one in old:
            self.remove(one)

    def close(self) -> None:
        """Stop the work and delete everything; it may go on with new videos afterwards."""
        with self._lock:
            self._over = True
            jobs, thread, root = list(self._jobs.values()), self._thread, self._root
            self._thread = self._root = None
            for one in jobs:
                self.remove(one)
            self._more.notify_all()
        if thread is not None:
            thread.join(_JOIN_SECONDS)
        if root is not None:
            shutil.rmtree(root, ignore_errors=True)
        with self._lock:
            self._over = False
            self._remover = None

    # Work

    def place(self, job: Job) -> int:
        """How many are done before this one, itself included; 0 if it does not wait."""
        with self._lock:
            return self._waiting.index(job) + 1 + self.working if job in self._waiting else 0

    def begin(self, job: Job, settings: VideoSettings, kind: str) -> None:
        """Cut a video out as soon as it is its turn.

        Args:
            kind: the extension of the file to make.

        Raises:
            WrongRequest: if it is in work already, or too long.
        """
        self._check_part(job, settings)
        with self._lock:
            if job.busy:
                raise WrongRequest("this video is in work; stop that first")
            if job.removed or self._over:
                raise NotFound("this video is not here any more; send it again")
            job.settings, job.kind, job.state, job.error = settings, kind, "waiting", ""
            job.stop, job.stopped_by, job.progress, job.shown = threading.Event(), "", None, (0, b"")
            job.made = None
            self._waiting.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="bgremove-videos", daemon=True)
                self._thread.start()
            self._more.notify_all()

    def halt(self, job: Job) -> None:
        """End the work on a video; what there is of it is kept."""
        with self._lock:
            job.stop.set()
            if job in self._waiting:
                self._waiting.remove(job)
                job.state = "new"

    def still_of(self, job: Job, at: float, settings: VideoSettings) -> Still:
        """One frame, cut out, to see what the video will be like. To be called on a service's thread."""
        from bgremove.video.cutting import FrameCutter, finish
        from bgremove.video.reading import open_video

        key = (at, settings.model, settings.remover, settings.refine, settings.foreground)
        known = job.still
        if known is not None and known[0] == key:
            return known[1]
        start = Fraction(at).limit_denominator(1000)
        with open_video(job.source, start=start or None, size=str(_STILL_SIDE)) as video:
            frame = next(iter(video), None)
        if frame is None:
            raise WrongRequest(f"there is no frame at {at:g} s")
        cutter = FrameCutter(self.remover(settings), settings)
        cut = finish(cutter.look(frame.image, frame.alpha), settings.refine, settings.foreground)
        still = Still(float(frame.time), _jpeg(frame.image), _png(cut.foreground, cut.alpha))
        job.still = (key, still)
        return still

    def remover(self, settings: VideoSettings) -> Remover:
        """The remover of `settings`; the last one is kept."""
        key: tuple[str, Params] = (settings.model, settings.remover)
        with self._lock:
            if self._remover is not None and self._remover[0] == key:
                return self._remover[1]
        built = settings.create_remover()
        with self._lock:
            self._remover = (key, built)
        return built

    def _work(self) -> None:
        """Cut one video after the other out, until all is over."""
        me = threading.current_thread()
        while True:
            with self._lock:
                while self._thread is me and not self._waiting:
                    self._more.wait()
                if self._thread is not me:
                    return
                job = self._working = self._waiting.popleft()
                job.state = "working"
            try:
                self._cut(job)
            except BGRemoveError as error:
                job.error = _for_visitors(str(error), job.source, job.name)
            except Exception as error:
                job.error = unforeseen(error)
            with self._lock:
                self._working = None
                if job.error:
                    job.state = "failed"
                elif job.made is not None:
                    job.state = "done" if job.made.result.complete else "stopped"
                else:
                    job.state = "new"
                job.seen = time.monotonic()
                removed = job.removed
            if removed:
                _delete(job)

    def _cut(self, job: Job) -> None:
        from bgremove.video.run import cut_video

        settings = job.settings
        assert settings is not None
        job.runs += 1
        target = job.folder / f"result-{job.runs}.{job.kind}"
        for old in job.folder.glob("result-*"):
            old.unlink(missing_ok=True)
        ends = time.monotonic() + self.params.video_minutes * 60

        def progress(now: VideoProgress) -> None:
            job.progress = now
            if time.monotonic() > ends:
                self._end(job, f"stopped after {self.params.video_minutes:g} minutes, the most there is here")
            elif (
                now.done % 24 == 0
                and _size(job.folder) - job.nbytes > _RESULT_TIMES * self.params.video_bytes
            ):
                self._end(job, "stopped, since the result became too large; take a smaller size, or WebM")

        began = [0.0]

        def frame(pixels: Pixels) -> None:
            now = time.monotonic()
            if now - began[0] > _SHOW_EVERY and now - job.seen < _WATCHED:
                began[0] = now
                job.shown = (job.shown[0] + 1, _webp(pixels))

        result = cut_video(
            job.source,
            target,
            settings,
            self.remover(settings),
            on_progress=progress,
            on_frame=frame,
            stop=job.stop,
        )
        if result.path is not None:
            size = Path(result.path).stat().st_size
            name = f"{_stem(job.name)}-{settings.output}.{job.kind}"
            job.made = Made(Path(result.path), name, TYPES[job.kind], size, result)

    def _end(self, job: Job, why: str) -> None:
        if not job.stop.is_set():
            job.stopped_by = why
            job.stop.set()

    # Limits

    def _copy(self, stream: IO[bytes], target: Path) -> int:
        total = 0
        with open(target, "xb") as file:
            while piece := stream.read(_PIECE):
                total += len(piece)
                if total > self.params.video_bytes:
                    raise self._too_large(total)
                file.write(piece)
        if not total:
            raise WrongRequest("the body is empty; send the bytes of a video")
        return total

    def _too_large(self, nbytes: int) -> TooLarge:
        return TooLarge(
            f"the video has {nbytes / 1e6:.0f} MB, more than the {self.params.video_mb:g} MB this server "
            "takes; make it shorter or smaller"
        )

    def _look(self, source: Path, name: str) -> VideoInfo:
        """What a video's header says; limited in time."""
        from bgremove.video.reading import open_video

        def work() -> VideoInfo:
            with open_video(source) as video:
                return video.info

        future = self._lookers.submit(work)
        try:
            info = future.result(_LOOK_SECONDS)
        except TimeoutError:
            future.cancel()
            raise TooSlow(f"{name} could not be looked at in time; try again, or another file") from None
        except BGRemoveError as error:
            raise type(error)(_for_visitors(str(error), source, name)) from None
        height, width = info.size
        if height * width > self.params.video_megapixels * 1e6:
            raise TooLarge(
                f"{name} has frames of {width} x {height} pixels, more than the "
                f"{self.params.video_megapixels:g} megapixels this server takes; make it smaller"
            )
        return info

    def _check_part(self, job: Job, settings: VideoSettings) -> None:
        """Refuse what is too long."""
        video, most = settings.video, self.params.video_seconds
        begins, ends = float(video.begins), video.ends
        length = job.seconds
        if length is not None and begins >= length:
            raise WrongRequest(f"start must lie within the video's {length:.1f} s; got {begins:g}")
        end = float(ends) if ends is not None else length
        if end is not None and length is not None:
            end = min(end, length)
        if end is None:
            raise WrongRequest(
                f"nobody knows how long this video is: give an end, at most {most:g} s after start"
            )
        if end - begins > most + 0.5:
            raise TooLarge(
                f"that is {end - begins:.1f} s of video, and {most:g} s is the most that is cut out here; "
                "choose where to begin and to end"
            )
        if job.info.rate / video.every > _PER_SECOND:
            raise TooLarge(
                f"it has {float(job.info.rate):g} frames a second, and {_PER_SECOND} is the most; give "
                "every=2 or more, to take each second frame"
            )

    def _forget_one(self) -> None:
        """Make room: the video that nobody asked for the longest goes, if that is long."""
        now = time.monotonic()
        idle = [one for one in self._jobs.values() if not one.busy and now - one.seen > 60]
        if not idle:
            raise Busy("too many videos are kept here just now; try again in a minute", 60)
        self.remove(min(idle, key=lambda one: one.seen))


def _delete(job: Job) -> None:
    shutil.rmtree(job.folder, ignore_errors=True)


def _size(folder: Path) -> int:
    total = 0
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for one in entries:
            total += one.stat().st_size
    return total


def _extension(name: str) -> str:
    """A file's, if it is an ordinary one: some formats are known by it."""
    found = re.search(r"\.[A-Za-z0-9]{1,5}$", name)
    return found[0].lower() if found else ""


def _stem(name: str) -> str:
    from bgremove.webapp.pictures import safe_stem

    return safe_stem(name)


def _for_visitors(sentence: str, source: Path, name: str) -> str:
    """A sentence with the name a visitor knows, without the command line's dashes and what it alone reads."""
    named = sentence.replace(str(source), name).replace(source.name, name).replace(str(source.parent), "")
    named = named.replace(", or pictures (frames/%06d.png)", "")
    return re.sub(r"(?<![\w-])--([a-z])", r"\1", named)


def _jpeg(image: Any) -> bytes:
    import cv2

    return bytes(cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1])


def _png(colours: Any, alpha: Any) -> bytes:
    import numpy as np

    from bgremove.compositing import alpha_to_bytes
    from bgremove.png import encode_png

    return encode_png(np.dstack([colours, alpha_to_bytes(alpha)]), level=1)


def _webp(pixels: Pixels) -> bytes:
    """A frame for the page, small: (H, W), RGB or RGBA."""
    import cv2

    height, width = pixels.shape[:2]
    scale = min(1.0, _SHOW_SIDE / max(height, width))
    small = pixels
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    if small.ndim == 3:
        small = cv2.cvtColor(small, cv2.COLOR_RGBA2BGRA if small.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".webp", small, [cv2.IMWRITE_WEBP_QUALITY, 80])[1])

"""The loop of a live view: the newest frame wins, nothing queues.

::

    source --newest--> network --one at a time--> edges, colours, background --newest--> what shows it

Each step has its thread and works on one frame; a frame that comes while the next step is still busy takes
the place of one that waits. So what is shown is never older than the steps together take, however slow they
are.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

import cv2
import numpy as np

from bgremove.compositing import Pixels
from bgremove.errors import BGRemoveError, VideoError
from bgremove.live.backdrops import Backdrops
from bgremove.live.sources import LiveFrame, Source
from bgremove.pipeline import Cut
from bgremove.threads import alone
from bgremove.video.cutting import FrameCutter, Look, finish

T = TypeVar("T")

_WINDOW = 2.0  # seconds over which frames are counted


class Newest(Generic[T]):
    """A place for one thing: what is put there takes the place of what nobody has taken."""

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._item: T | None = None
        self._closed = False

    def put(self, item: T, *, patient: bool = False) -> None:
        """Put something there.

        Args:
            patient: wait until what is there has been taken.
        """
        with self._ready:
            if patient:
                self._ready.wait_for(lambda: self._item is None or self._closed)
            self._item = item
            self._ready.notify_all()

    def take(self, timeout: float | None = None) -> T | None:
        """What is there, as soon as something is; None after `timeout` seconds, or when nothing will come."""
        with self._ready:
            self._ready.wait_for(lambda: self._item is not None or self._closed, timeout)
            item, self._item = self._item, None
            self._ready.notify_all()
            return item

    def close(self) -> None:
        """Nothing will come any more; what is there may still be taken."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()

    @property
    def over(self) -> bool:
        """Is there nothing, and will nothing come?"""
        with self._ready:
            return self._closed and self._item is None


@dataclass(frozen=True, eq=False)
class Shown:
    """A frame that is to be shown.

    Attributes:
        pixels: (H, W, 3) or (H, W, 4) uint8, over its background.
        frame: what was seen.
        cut: the subject; None where it was not looked for.
    """

    pixels: Pixels
    frame: LiveFrame
    cut: Cut | None


@dataclass(frozen=True)
class LiveResult:
    """What a live view was.

    Attributes:
        seen: frames that the source gave.
        shown: those that were cut out and shown.
        seconds: from the first that was shown to the last.
        delay: from seeing a frame to showing it, seconds; the median.
        longest: the same, of the slowest in twenty.
    """

    seen: int
    shown: int
    seconds: float
    delay: float
    longest: float

    @property
    def dropped(self) -> int:
        """Frames that were not shown, since a newer one was there."""
        return self.seen - self.shown

    @property
    def rate(self) -> float:
        """Frames shown a second."""
        return (self.shown - 1) / self.seconds if self.seconds > 0 else 0.0


class LiveSession:
    """Cuts out what a source gives, as fast as that goes. A context manager: its threads end with it.

    Args:
        source: opened; closed by who opened it.
        cutter: its settings say how edges and colours are found.
        backdrops: what is behind; may be changed meanwhile.
        mirror: exchange left and right.
    """

    def __init__(
        self, source: Source, cutter: FrameCutter, backdrops: Backdrops, *, mirror: bool = False
    ) -> None:
        self.source, self.cutter, self.backdrops, self._mirror = source, cutter, backdrops, mirror
        self.stop = threading.Event()
        self._went_on = threading.Event()
        self._went_on.set()
        self._inbox, self._outbox = Newest[LiveFrame](), Newest[Shown]()
        self._between = Newest[tuple[LiveFrame, Look | None]]()
        self._error: BaseException | None = None
        self._working = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._seen = self._shown = 0
        self._delays = deque[float](maxlen=10_000)
        self._times = deque[float]()
        self._first = self._last = 0.0

    def __enter__(self) -> Self:
        for work, after in (
            (self._read, self._inbox),
            (self._look, self._between),
            (self._finish, self._outbox),
        ):
            thread = threading.Thread(
                target=self._run, args=(work, after), name=f"bgremove-live{work.__name__}", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._went_on.set()
        for box in (self._inbox, self._between, self._outbox):
            box.close()
        for thread in self._threads:
            thread.join(10)

    # What shows it asks --------------------------------------------------------------------------

    def next(self, timeout: float | None = None) -> Shown | None:
        """The newest frame that is ready; None if there is none after `timeout` seconds, or never again.

        Raises:
            VideoError: if the source failed; or what else went wrong in a step.
        """
        shown = self._outbox.take(timeout)
        if self._error is not None:
            raise self._error
        if shown is not None:
            self._count(shown)
        return shown

    @property
    def over(self) -> bool:
        """Has the source ended, and all of it been shown?"""
        return self._outbox.over and self._error is None

    @property
    def rate(self) -> float:
        """Frames a second now; 0 while that cannot be said."""
        now = time.monotonic()
        while self._times and self._times[0] < now - _WINDOW:
            self._times.popleft()
        span = now - self._times[0] if self._times else 0.0
        return (len(self._times) - 1) / span if span > 0.3 else 0.0

    @property
    def delay(self) -> float:
        """Seconds from seeing a frame to showing it, of the last few."""
        last = list(self._delays)[-15:]
        return statistics.median(last) if last else 0.0

    @property
    def frozen(self) -> bool:
        """Is the camera not looked at?"""
        return not self._went_on.is_set()

    def freeze(self, wanted: bool) -> None:
        """Let the camera be, or go on."""
        if wanted:
            self._went_on.clear()
        else:
            self._times.clear()
            self._went_on.set()

    def again(self, shown: Shown) -> Shown:
        """The same frame over the background that is chosen now."""
        cut = shown.cut
        if cut is None and self.backdrops.cuts:
            with self._working:
                cut = self._cut(self.cutter.look(shown.frame.image, shown.frame.alpha))
        pixels = shown.frame.image if cut is None else self.backdrops.compose(cut)
        return Shown(pixels, shown.frame, cut)

    def result(self) -> LiveResult:
        """What it was until now."""
        delays = sorted(self._delays)
        return LiveResult(
            seen=self._seen,
            shown=self._shown,
            seconds=self._last - self._first,
            delay=statistics.median(delays) if delays else 0.0,
            longest=delays[int(0.95 * (len(delays) - 1))] if delays else 0.0,
        )

    def _count(self, shown: Shown) -> None:
        now = time.monotonic()
        self._shown += 1
        self._last = now
        self._first = self._first or now
        self._times.append(now)
        self._delays.append(now - shown.frame.taken)

    # Its threads ---------------------------------------------------------------------------------

    def _run(self, work: Callable[[], None], after: Newest[object]) -> None:
        try:
            with alone():
                work()
        except Exception as error:
            if not isinstance(error, BGRemoveError):
                why = "needs more memory than there is; take a smaller --size"
                if not isinstance(error, MemoryError):
                    why = f"failed at a frame with an unexpected {type(error).__name__}: {error}"
                wrapped = VideoError(f"the live view {why}")
                wrapped.__cause__ = error
                error = wrapped
            self._error = self._error or error
            self.stop.set()
            self._outbox.close()
        finally:
            after.close()

    def _read(self) -> None:
        for frame in self.source.frames(self.stop):
            if self.stop.is_set():
                return
            self._seen += 1
            self._inbox.put(frame)

    def _look(self) -> None:
        cutting = True
        while (frame := self._inbox.take()) is not None and not self.stop.is_set():
            if self.frozen:
                self._went_on.wait()
                continue  # with one that is not old
            if self._mirror:
                frame = _mirrored(frame)
            look = None
            with self._working:
                if self.backdrops.cuts:
                    if not cutting:
                        self.cutter.reset()
                    look = self.cutter.look(frame.image, frame.alpha)
                cutting = look is not None
            self._between.put((frame, look), patient=True)

    def _finish(self) -> None:
        while (got := self._between.take()) is not None and not self.stop.is_set():
            frame, look = got
            cut = None if look is None else self._cut(look)
            pixels = frame.image if cut is None else self.backdrops.compose(cut)
            self._outbox.put(Shown(pixels, frame, cut))

    def _cut(self, look: Look) -> Cut:
        settings = self.cutter.settings
        return finish(look, settings.refine, settings.foreground)


def _mirrored(frame: LiveFrame) -> LiveFrame:
    alpha = None if frame.alpha is None else np.ascontiguousarray(frame.alpha[:, ::-1])
    return LiveFrame(frame.number, cv2.flip(frame.image, 1), frame.taken, alpha)

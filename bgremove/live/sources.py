"""Where live frames come from: a camera, or a file that is played in real time."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import cv2

from bgremove.arrays import Alpha, Image
from bgremove.compositing import limit_size
from bgremove.errors import VideoError
from bgremove.live.params import LiveParams

_LATE = 0.5  # seconds that a file's frames may come late, before its clock is put back
_BLIND = 5.0  # seconds that a camera may give nothing


@dataclass(frozen=True, eq=False)
class LiveFrame:
    """A frame as it is seen.

    Attributes:
        number: from 0; those that nobody will see count.
        image: (H, W, 3) uint8 RGB.
        taken: when it was seen, seconds of :func:`time.monotonic`.
        alpha: (H, W) float32, its own transparency; None if it has none.
    """

    number: int
    image: Image
    taken: float
    alpha: Alpha | None = None


class Source(ABC):
    """Gives frames when it is time for them, whether or not anybody has time for them.

    Attributes:
        name: for messages.
        rate: frames a second, as far as is known.
        camera: False for a file.
    """

    name: str = ""
    rate: float = 30.0
    camera: bool = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027
        """Let the camera or the file go."""

    @abstractmethod
    def frames(self, stop: threading.Event) -> Iterator[LiveFrame]:
        """The frames, each when it is seen, until the end or until `stop` is set.

        Raises:
            VideoError: if there are no more, though there should be.
        """


def open_source(source: str | os.PathLike[str], params: LiveParams | None = None) -> Source:
    """A camera (its number, ``0``, or ``/dev/video0``), or a file to be played.

    Raises:
        VideoError: if it cannot be opened.
        MissingExtraError: for a file, without the extra ``video``.
    """
    params = params or LiveParams()
    text = os.fspath(source).strip()
    if match := re.fullmatch(r"(?:/dev/video)?(\d{1,3})", text):
        return Camera(int(match[1]), params)
    return File(text, params)


class Camera(Source):
    """A camera, through OpenCV."""

    camera = True

    def __init__(self, which: int | str, params: LiveParams) -> None:
        self.name = f"camera {which}"
        self._size, self._lock = params.size, threading.Lock()
        with _silent():
            self._capture: Any = cv2.VideoCapture(which)
            if not self._capture.isOpened():
                raise VideoError(f"there is no {self.name}, or another program uses it; {_cameras()}")
            width, height = params.camera_pixels
            # Most cameras give full rate in large sizes only as JPEGs.
            for name, value in (
                (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),
                (cv2.CAP_PROP_FRAME_WIDTH, width),
                (cv2.CAP_PROP_FRAME_HEIGHT, height),
                (cv2.CAP_PROP_FPS, params.camera_rate),
                (cv2.CAP_PROP_BUFFERSIZE, 1),
            ):
                self._capture.set(name, value)  # what a camera cannot do, it leaves as it is
            said = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.rate = said if 1 <= said <= 1000 else float(params.camera_rate)

    def close(self) -> None:
        """Let the camera go."""
        with self._lock:
            self._capture.release()

    def frames(self, stop: threading.Event) -> Iterator[LiveFrame]:
        """What it sees."""
        number, seen = 0, time.monotonic()
        while not stop.is_set():
            with self._lock, _silent():
                good, pixels = self._capture.read()
            now = time.monotonic()
            if good and pixels is not None:
                seen = now
                image = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if pixels.ndim == 3 else cv2.COLOR_GRAY2RGB)
                yield LiveFrame(number, limit_size(image, self._size), now)
                number += 1
            elif now - seen > _BLIND or not self._capture.isOpened():
                raise VideoError(
                    f"{self.name} gives no frames any more; was it unplugged? Plug it in and begin again"
                )
            else:
                stop.wait(0.02)


class File(Source):
    """A video that is played as fast as it was taken; what comes late is not waited for."""

    def __init__(self, path: str, params: LiveParams) -> None:
        self._path, self._params = path, params
        self.name = Path(path).name or path
        with self._opened() as video:
            self.rate = float(video.info.rate)
            self.notes = tuple(video.info.notes)

    def _opened(self) -> Any:
        from bgremove.video.reading import open_video

        return open_video(self._path, size=self._params.size)

    def frames(self, stop: threading.Event) -> Iterator[LiveFrame]:
        """Its frames, in real time."""
        number, began, length = 0, time.monotonic(), 0.0
        while not stop.is_set():
            first = last = None
            with self._opened() as video:
                for frame in video:
                    first = frame.time if first is None else first
                    last = frame
                    due = began + float(frame.time - first)
                    late = time.monotonic() - due
                    if late > _LATE:
                        began += late  # it cannot be decoded as fast as it was taken
                    elif stop.wait(max(0.0, -late)):
                        return
                    yield LiveFrame(number, frame.image, time.monotonic(), frame.alpha)
                    number += 1
            if last is None or first is None:
                raise VideoError(f"{self.name} has no frames; give another file")
            length = float(last.time - first) + float(last.duration or 1 / video.info.rate)
            began += length
            if not self._params.loop:
                stop.wait(max(0.0, began - time.monotonic()))  # the last one is shown as long as the others
                return


def _cameras() -> str:
    """What to do about a camera that is not there."""
    found = sorted(int(path.removeprefix("/dev/video")) for path in glob.glob("/dev/video*"))
    if found:
        return f"there are {', '.join(map(str, found))}: bgremove live {found[0]}"
    return "connect one, or give a file: bgremove live clip.mp4"


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """OpenCV's own complaints say nothing that a user understands."""
    logging = cv2.utils.logging
    before = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(before)

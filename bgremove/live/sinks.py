"""Where a live view goes: a window, a virtual camera, or nowhere."""

from __future__ import annotations

import contextlib
import importlib
import os
import subprocess
import sys
from typing import Any, Literal, Self

import cv2

from bgremove.arrays import Image
from bgremove.compositing import Pixels
from bgremove.errors import MissingExtraError, VideoError
from bgremove.live.backdrops import GREEN, opaque

Where = Literal["window", "virtual", "none"]

CLOSED = "closed"
"""In place of a key: the window was closed."""

_ESCAPE = 27
_PROBE = "import cv2; cv2.namedWindow('bgremove', cv2.WINDOW_NORMAL); cv2.destroyAllWindows()"


class Sink:
    """Takes frames; this one lets them fall.

    Attributes:
        name: for messages.
        interactive: are there keys?
    """

    name = "nowhere"
    interactive = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def show(self, pixels: Pixels, words: str = "") -> None:
        """Show a frame.

        Args:
            pixels: (H, W, 3) RGB or (H, W, 4) RGBA uint8.
            words: written on it, where that disturbs nobody.
        """

    def key(self) -> str:
        """The key that was pressed, ``esc``, :data:`CLOSED`, or nothing."""
        return ""

    def close(self) -> None:
        """No more frames."""


class Window(Sink):
    """A window of this machine's screen.

    Raises:
        VideoError: if there is no screen, or this OpenCV has no windows.
    """

    name, interactive = "a window", True

    def __init__(self, title: str = "bgremove live") -> None:
        _check_screen()
        self._title, self._size = title, (0, 0)
        flags = cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL
        try:
            cv2.namedWindow(title, flags)
        except cv2.error as error:
            raise VideoError(_HEADLESS) from error

    def show(self, pixels: Pixels, words: str = "") -> None:
        """Show a frame; see-through parts on a chequered ground."""
        image = opaque(pixels)
        size = image.shape[:2]
        if size != self._size:
            self._size = size
            scale = min(1.0, 1280 / size[1], 800 / size[0])
            cv2.resizeWindow(self._title, round(size[1] * scale), round(size[0] * scale))
        shown = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        if words:
            write(shown, words)
        cv2.imshow(self._title, shown)

    def key(self) -> str:
        """The key that was pressed since the last time."""
        code = cv2.pollKey()
        if code == -1:
            return "" if self._size == (0, 0) or self._open() else CLOSED
        code &= 0xFF
        if code == _ESCAPE:
            return "esc"
        return chr(code) if 32 <= code < 127 else ""  # shift by itself is a key, too

    def _open(self) -> bool:
        try:
            return bool(cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1)
        except cv2.error:  # it was the last one
            return False

    def close(self) -> None:
        """Close the window."""
        with contextlib.suppress(cv2.error):
            cv2.destroyWindow(self._title)
            cv2.pollKey()  # or it stays until somebody looks for its events


class VirtualCamera(Sink):
    """A camera that other programs can choose, through pyvirtualcam.

    What is see-through is green there, which those programs can replace.

    Args:
        rate: frames a second that it says it has.
        device: which one, as ``/dev/video10``; the first by default.

    Raises:
        MissingExtraError: without pyvirtualcam.
        VideoError: if this machine has no virtual camera.
    """

    def __init__(self, rate: float = 30.0, device: str | None = None) -> None:
        try:
            self._module: Any = importlib.import_module("pyvirtualcam")
        except ImportError as error:
            raise MissingExtraError(
                "a virtual camera needs pyvirtualcam: pip install pyvirtualcam"
            ) from error
        self._rate, self._device = rate, device
        self._camera: Any = None
        self._open(480, 640)

    @property
    def name(self) -> str:  # type: ignore[override]
        """What other programs call it."""
        return f"the virtual camera {self._camera.device}"

    def _open(self, height: int, width: int) -> None:
        if self._camera is not None:
            self._camera.close()
        try:
            self._camera = self._module.Camera(
                width=width, height=height, fps=max(1.0, self._rate), device=self._device
            )
        except RuntimeError as error:
            raise VideoError(f"this machine has no virtual camera; {_HOW.get(sys.platform, _OBS)}") from error

    def show(self, pixels: Pixels, words: str = "") -> None:
        """Send a frame; `words` are not for those who look at it."""
        image = opaque(pixels, GREEN)
        height, width = image.shape[:2]
        if (height, width) != (self._camera.height, self._camera.width):
            self._open(height, width)
        self._camera.send(image)

    def close(self) -> None:
        """The camera is gone for other programs."""
        if self._camera is not None:
            self._camera.close()
            self._camera = None


_OBS = "install OBS Studio, start its virtual camera once, and run this again"
_HOW = {
    "linux": "load one with: sudo modprobe v4l2loopback exclusive_caps=1 (package v4l2loopback-dkms), and "
    "run this again"
}
_HEADLESS = (
    "this OpenCV has no windows (it is opencv-python-headless); pip install opencv-python, or take "
    "--to virtual"
)


def open_sink(where: Where, *, rate: float = 30.0) -> Sink:
    """What `where` says."""
    match where:
        case "window":
            return Window()
        case "virtual":
            return VirtualCamera(rate)
    return Sink()


def write(image: Image, words: str) -> None:
    """Put words into a picture's upper left corner, on a dark ground; in place."""
    size = max(0.4, min(0.9, image.shape[0] / 900))
    margin = round(14 * size)
    (width, height), below = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    right, bottom = width + 3 * margin, height + below + 3 * margin
    ground = image[margin:bottom, margin:right]
    ground[:] = ground // 4
    origin = (2 * margin, 2 * margin + height)
    cv2.putText(image, words, origin, cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), 1, cv2.LINE_AA)


def _check_screen() -> None:
    """Where there is no screen, the library of the windows would end the process."""
    if not sys.platform.startswith("linux"):
        return
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise VideoError("there is no screen here to open a window on; take --to virtual, or --to none")
    probe = [sys.executable, "-c", _PROBE]
    try:
        done = subprocess.run(probe, capture_output=True, text=True, timeout=60, env=_environment())
    except subprocess.TimeoutExpired as error:
        raise VideoError("the screen does not answer; take --to virtual, or --to none") from error
    if "not implemented" in done.stderr:
        raise VideoError(_HEADLESS)
    if done.returncode:
        display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        raise VideoError(
            f"no window can be opened on the screen {display}; is it there, and may this user write on it? "
            "Else take --to virtual, or --to none"
        )


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONWARNINGS": "ignore"}

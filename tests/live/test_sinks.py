"""Windows, virtual cameras, and what is said where there are none."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from bgremove.errors import MissingExtraError, VideoError
from bgremove.live.backdrops import GREEN
from bgremove.live.sinks import Sink, VirtualCamera, Window, open_sink, write
from tests.cli_helpers import environment, python_there
from tests.live.screens import Screen, a_screen

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="screens are X's on Linux only")


@linux
def test_without_a_screen_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV's library of windows would end the process."""
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(VideoError, match="there is no screen here to open a window on; take --to virtual"):
        Window()


@linux
def test_a_screen_that_does_not_answer_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":4711")
    with pytest.raises(VideoError, match="no window can be opened on the screen :4711"):
        open_sink("window")


SHOW = """
import sys, time
import numpy as np
from bgremove.live.sinks import Window
pixels = np.zeros((300, 400, 4), np.uint8)
pixels[:, 200:] = (200, 30, 60, 255)
with Window("a test") as window:
    end = time.monotonic() + 60
    keys = []
    while time.monotonic() < end and len(keys) < 4:
        window.show(pixels, "12 fps")
        if key := window.key():
            keys.append(key)
        time.sleep(0.02)
print(keys)
"""


@linux
def test_a_window_shows_colours_words_and_hears_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    with a_screen() as screen:
        monkeypatch.setenv("DISPLAY", screen.name)
        running = subprocess.Popen(
            [sys.executable, "-c", SHOW],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(),
        )
        try:
            window = screen.window("a test")
            screen.until(lambda: "yes" if _red(screen) > 30_000 else "")
            picture = screen.picture()
            for key in ("b", "plus", "space", "Escape"):
                screen.press(window, key)
            out, _ = running.communicate(timeout=60)
        finally:
            running.kill()
            running.communicate()
    assert out.strip() == "['b', '+', ' ', 'esc']"
    red = np.abs(picture.astype(int) - (200, 30, 60)).max(axis=2) < 8
    assert red.sum() > 0.9 * 200 * 300, "red is red, and not blue"
    board = (picture == 252).all(axis=2) | (picture == 214).all(axis=2)
    assert board.sum() > 0.7 * 200 * 300, "the chequered ground where it is see-through"
    assert (picture.min(axis=2) > 240).sum() > board.sum() / 4, "and letters"


def _red(screen: Screen) -> int:
    return int((np.abs(screen.picture().astype(int) - (200, 30, 60)).max(axis=2) < 8).sum())


def test_words_are_readable_and_stay_in_the_corner() -> None:
    image = np.full((480, 640, 3), 255, np.uint8)
    write(image, "24 fps   41 ms   blur 13 px")
    assert (image[100:] == 255).all() and (image[:, 500:] == 255).all()
    assert image[8:40, 8:200].min() < 80
    small = np.full((20, 30, 3), 255, np.uint8)
    write(small, "24 fps   41 ms")


def test_nowhere_takes_everything() -> None:
    with open_sink("none") as sink:
        sink.show(np.zeros((2, 2, 3), np.uint8), "words")
        assert sink.key() == "" and not sink.interactive and type(sink) is Sink


def test_without_pyvirtualcam_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(MissingExtraError, match="pip install pyvirtualcam"):
        open_sink("virtual")


class Loopback:
    """A stand-in for pyvirtualcam's camera, which needs a module of the kernel."""

    made: list[Loopback] = []

    def __init__(self, *, width: int, height: int, fps: float, device: str | None) -> None:
        if device == "/dev/none":
            raise RuntimeError("No v4l2 loopback device found at /dev/video[0-99].")
        self.width, self.height, self.fps, self.device = width, height, fps, device or "/dev/video9"
        self.sent: list[Any] = []
        self.open = True
        Loopback.made.append(self)

    def send(self, image: Any) -> None:
        assert image.shape == (self.height, self.width, 3) and image.dtype == np.uint8
        self.sent.append(image)

    def close(self) -> None:
        self.open = False


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> list[Loopback]:
    Loopback.made = []
    monkeypatch.setitem(sys.modules, "pyvirtualcam", SimpleNamespace(Camera=Loopback))
    return Loopback.made


def test_a_virtual_camera_has_the_frames_size_and_green(loopback: list[Loopback]) -> None:
    with VirtualCamera(25.0) as camera:
        assert camera.name == "the virtual camera /dev/video9"
        camera.show(np.zeros((48, 64, 4), np.uint8), "not for them")
        camera.show(np.full((48, 64, 3), 7, np.uint8))
    first, second = loopback
    assert not first.open and not second.open and second.fps == 25
    green, plain = second.sent
    assert (green == GREEN).all() and (plain == 7).all()


def test_a_machine_without_one_says_how_to_get_it(loopback: list[Loopback]) -> None:
    with pytest.raises(VideoError, match="this machine has no virtual camera; "):
        VirtualCamera(device="/dev/none")


def test_the_real_pyvirtualcam_says_the_same() -> None:
    if importlib.util.find_spec("pyvirtualcam") is None or Path("/sys/module/v4l2loopback").exists():
        return  # as above, with a stand-in
    with pytest.raises(VideoError, match="this machine has no virtual camera; "):
        VirtualCamera()


def test_a_headless_opencv_is_named() -> None:
    code = """
import os, sys
os.environ["DISPLAY"] = ":1"
import cv2, subprocess
from bgremove.live import sinks
def headless(*_, **__):
    return subprocess.CompletedProcess([], 1, "", "error: (-2) The function is not implemented. Rebuild ...")
sinks.subprocess.run = headless
try:
    sinks.Window()
except Exception as error:
    print(error)
"""
    if sys.platform.startswith("linux"):
        said = python_there(code).stdout
        assert said.startswith("this OpenCV has no windows (it is opencv-python-headless); pip install")
    assert cv2.__version__

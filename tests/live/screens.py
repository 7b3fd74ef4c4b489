"""A screen that nobody sees, on which windows are real: Xvfb, and xdotool for its keys."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest
from PIL import ImageGrab

from bgremove.arrays import Image


class _Message(ctypes.Structure):
    """Xlib's XClientMessageEvent, with the room of an XEvent."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        ("window", ctypes.c_ulong),
        ("message_type", ctypes.c_ulong),
        ("format", ctypes.c_int),
        ("data", ctypes.c_long * 5),
        ("room", ctypes.c_long * 16),
    ]


@dataclass(frozen=True)
class Screen:
    """A screen.

    Attributes:
        name: as in ``DISPLAY``.
    """

    name: str

    def picture(self) -> Image:
        """What is on it, (H, W, 3) uint8 RGB."""
        return cast("npt.NDArray[np.uint8]", np.asarray(ImageGrab.grab(xdisplay=self.name).convert("RGB")))

    def window(self, title: str, seconds: float = 60) -> str:
        """The number of a window, as soon as it is there and draws."""
        number = self.until(lambda: self._tool("search", "--name", title).split("\n")[0], seconds)
        for _ in range(20):
            for _ in range(10):
                time.sleep(0.1)
                if self.picture().any():
                    return number
            # There is no manager of windows here, without which Qt may miss that it is to draw.
            self._tool("windowunmap", "--sync", number, "windowmap", "--sync", number)
        raise AssertionError(f"the window {title} stays black")

    def press(self, window: str, key: str) -> None:
        """Press a key in a window, as quickly as a person does."""
        self._tool("windowfocus", window)
        self._tool("key", key)
        time.sleep(0.3)

    def close(self, window: str) -> None:
        """Close a window as the button in its frame would: ask it to."""
        message = _Message(type=33, window=int(window), format=32)  # ClientMessage
        x = ctypes.CDLL("libX11.so.6")
        x.XOpenDisplay.restype = ctypes.c_void_p
        x.XInternAtom.restype = ctypes.c_ulong
        display = ctypes.c_void_p(x.XOpenDisplay(self.name.encode()))
        message.message_type = x.XInternAtom(display, b"WM_PROTOCOLS", 0)
        message.data[0] = x.XInternAtom(display, b"WM_DELETE_WINDOW", 0)
        x.XSendEvent(display, ctypes.c_ulong(int(window)), 0, ctypes.c_long(0), ctypes.byref(message))
        x.XCloseDisplay(display)

    def until(self, look: Callable[[], str], seconds: float = 60) -> str:
        """What `look` says as soon as it says something."""
        end = time.monotonic() + seconds
        while not (found := look()):
            assert time.monotonic() < end, "it does not come"
            time.sleep(0.1)
        return found

    def _tool(self, *words: str) -> str:
        environment = {**os.environ, "DISPLAY": self.name}
        done = subprocess.run(
            ["xdotool", *words], capture_output=True, text=True, env=environment, timeout=60
        )
        return done.stdout.strip()


@contextlib.contextmanager
def a_screen() -> Iterator[Screen]:
    """One of its own, 1000 x 800."""
    for tool in ("Xvfb", "xdotool"):
        if shutil.which(tool) is None:
            pytest.skip(f"windows need a screen and keys: apt-get install xvfb xdotool ({tool} is missing)")
    reading, writing = os.pipe()
    command = [
        "Xvfb",
        "-displayfd",
        str(writing),
        "-noreset",
        "-screen",
        "0",
        "1000x800x24",
        "-nolisten",
        "tcp",
    ]
    server = subprocess.Popen(
        command, pass_fds=[writing], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(writing)
    try:
        with os.fdopen(reading) as file:
            number = file.readline().strip()
        assert number, "Xvfb has not come up"
        yield Screen(f":{number}")
    finally:
        server.terminate()
        server.wait(30)

"""A live view from its first frame to its last: shown, and changed by keys."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from bgremove.console import say_nothing
from bgremove.errors import BGRemoveError
from bgremove.io import encode, output_format, write_bytes
from bgremove.live.session import LiveResult, LiveSession, Shown
from bgremove.live.sinks import CLOSED, Sink

KEYS = "keys: b background, + and - more and less of it, s save a picture, space freeze, q or Esc end"

_WAIT = 0.02  # seconds between two looks at the keys
_TOLD = 2.5  # seconds that an answer to a key stays on the picture


class View:
    """Shows what a session gives.

    Args:
        session: begun.
        folder: where pictures are saved.
        show_rate: write the frames a second on the picture.
        say: gets sentences for the user.
        on_rate: gets the frames a second and what else is on the picture, once a second.
    """

    def __init__(
        self,
        session: LiveSession,
        sink: Sink,
        *,
        folder: Path = Path(),
        show_rate: bool = True,
        say: Callable[[str], object] = say_nothing,
        on_rate: Callable[[str], object] = say_nothing,
    ) -> None:
        self._session, self._sink, self._folder = session, sink, folder
        self._show_rate, self._say, self._on_rate = show_rate, say, on_rate
        self._next_rate = 0.0
        self._now: Shown | None = None
        self._told, self._until = "", 0.0
        self._keys: dict[str, Callable[[], object]] = {
            "b": session.backdrops.next,
            "+": lambda: self._step(1),
            "=": lambda: self._step(1),  # + without shift
            "-": lambda: self._step(-1),
            "_": lambda: self._step(-1),
            " ": lambda: session.freeze(not session.frozen),
            "s": self._save,
        }

    def run(self, stop: threading.Event) -> LiveResult:
        """Until the source ends, a key says so, or `stop` is set.

        Raises:
            VideoError: if the source fails.
        """
        session = self._session
        while not stop.is_set() and not session.over:
            shown = session.next(_WAIT)
            if shown is not None and not session.frozen:
                self._now = shown
                self._paint()
            elif self._until and time.monotonic() > self._until:
                self._until = 0.0
                self._paint()
            if (now := time.monotonic()) > self._next_rate and session.rate:
                self._next_rate = now + 1
                self._on_rate(self._words())
            key = self._sink.key()
            if key in ("q", "esc", CLOSED):
                break
            if key:
                self._press(key)
        return session.result()

    def _press(self, key: str) -> None:
        work = self._keys.get(key.lower())
        if work is None:
            return
        work()
        if self._session.frozen and self._now is not None:
            self._now = self._session.again(self._now)
        self._paint()

    def _paint(self) -> None:
        if self._now is not None:
            self._sink.show(self._now.pixels, self._words() if self._show_rate or self._until else "")

    def _words(self) -> str:
        if self._until:
            return self._told
        size = self._now.frame.image.shape[:2] if self._now else (480, 640)
        parts = [self._session.backdrops.words((size[0], size[1]))]
        if self._session.frozen:
            parts.insert(0, "frozen")
        elif rate := self._session.rate:
            parts = [f"{rate:.0f} fps", f"{1000 * self._session.delay:.0f} ms", *parts]
        return "   ".join(parts)

    def _step(self, by: int) -> None:
        size = self._now.frame.image.shape[:2] if self._now else (480, 640)
        self._session.backdrops.step(by, (size[0], size[1]))

    def _save(self) -> None:
        if self._now is None:
            return
        try:
            path = save_picture(self._now, self._folder)
        except BGRemoveError as error:
            self._say(str(error))
            self._told = "not saved: see the terminal"
        else:
            self._say(f"wrote {path}")
            self._told = f"saved {path.name}"
        self._until = time.monotonic() + _TOLD


def save_picture(shown: Shown, folder: Path) -> Path:
    """Write a frame as a PNG under a name of its own: ``live-20260131-235959.png``.

    Raises:
        OutputError: if it cannot be written.
    """
    stem = time.strftime("live-%Y%m%d-%H%M%S")
    path, number = folder / f"{stem}.png", 2
    while path.exists():
        path, number = folder / f"{stem}-{number}.png", number + 1
    write_bytes(path, encode([shown.pixels], output_format(None, "png")))
    return path

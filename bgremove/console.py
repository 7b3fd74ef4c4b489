"""What a command says while it works: one line each on stderr, progress on a terminal, Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bgremove.video.run import VideoProgress


def printable(text: str) -> str:
    """`text` on one line: line breaks, other control characters and broken letters are escaped."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def say(text: str) -> None:
    """One line on stderr, above a progress bar if there is one."""
    from tqdm import tqdm

    with tqdm.external_write_mode(file=sys.stderr):
        click.echo(printable(text), err=True)


def say_nothing(text: str) -> None:
    """In place of :func:`say` where nobody listens; unlike a lambda, it can be pickled."""


class Progress:
    """Shows on a terminal that work goes on: a bar for several pictures, seconds for a single one.

    Silent where stderr is no terminal. Use as a context manager.
    """

    def __init__(self, total: int, name: str, *, quiet: bool = False) -> None:
        from tqdm import tqdm

        silent = quiet or sys.stderr is None or not sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            unit="picture",
            disable=silent,
            file=sys.stderr,
            leave=False,
            delay=1,
            bar_format=None if total > 1 else "{desc}, {elapsed}",
        )
        self.silent = bool(silent)
        self._over = threading.Event()
        self._name = name if total == 1 else ""
        self.phase("")

    def phase(self, text: str) -> None:
        """Say what is being done now."""
        self._bar.set_description_str(printable(text or self._name), refresh=False)

    def advance(self, failed: int) -> None:
        """One picture more is over."""
        self._bar.set_postfix(failed=failed, refresh=False)
        self._bar.update()

    def __enter__(self) -> Progress:
        if not self._bar.disable:
            threading.Thread(target=self._tick, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._bar.close()

    def _tick(self) -> None:
        while not self._over.wait(1):  # what is quicker shows nothing
            self._bar.refresh()


class VideoBar:
    """Frames, frames a second and the time left, on a terminal; silent elsewhere. A context manager."""

    def __init__(self, name: str, *, quiet: bool = False) -> None:
        self._progress = Progress(1, name, quiet=quiet)
        self.done = 0

    def phase(self, text: str) -> None:
        """Say what is being done now."""
        self._progress.phase(text)

    def show(self, progress: VideoProgress) -> None:
        """Show how far it is."""
        self.done = progress.done
        if not self._progress.silent:
            self._progress.phase(in_words(progress))

    def __enter__(self) -> VideoBar:
        self._progress.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.__exit__(*error)


def in_words(progress: VideoProgress) -> str:
    """``frame 120 of 1440 (8 %), 12.3 frames a second, 1:47 left``."""
    total = (
        "" if progress.total is None else f" of {progress.total} ({100 * progress.done // progress.total} %)"
    )
    speed = f", {progress.fps:.1f} frames a second" if progress.fps else ""
    left = "" if progress.left is None else f", {_clock(progress.left)} left"
    return f"frame {progress.done}{total}{speed}{left}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@contextlib.contextmanager
def stop_on_ctrl_c(
    *, gently: bool, saying: str = "stopping after the pictures in work; Ctrl-C again stops at once"
) -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, while the second ends the process at once.

    Does nothing outside the main thread, where no signal arrives, and where Ctrl-C is ignored (``nohup``).

    Args:
        gently: if not, the first one ends the process, too.
        saying: what is said at the first one.
    """
    stop, asked = threading.Event(), False

    def on_signal(*_: object) -> None:
        nonlocal asked
        if asked or not gently:
            _leave()
        asked = True  # first, as a second Ctrl-C within an event's own set() would wait for it for ever
        stop.set()
        os.write(2, f"\n{saying}\n".encode())

    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        yield stop
        return
    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _leave() -> None:
    """End now, whatever the other threads do, with nothing half-written left behind."""
    from bgremove.io import remove_unfinished

    remove_unfinished()
    with contextlib.suppress(OSError):
        os.write(2, b"\nstopped\n")
    os._exit(130)

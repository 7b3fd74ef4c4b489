"""The work behind the page and the API: pictures are read and cut out, so many at once and no more."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from bgremove.background import Background, Fit
from bgremove.io import Metadata, Picture
from bgremove.pipeline import Cut, Settings
from bgremove.webapp.config import ServeParams

T = TypeVar("T")


@dataclass(frozen=True)
class Served(Cut):
    """A subject, separated, with what else an answer needs (:class:`~bgremove.pipeline.Cut`).

    Attributes:
        metadata: of the file, for the result's.
        notes: sentences for the user: first frame only, empty result ...
        seconds: it took, without waiting.
    """

    metadata: Metadata = Metadata()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


class Service:
    """Cuts pictures out for every door of the web app."""

    def __init__(self, params: ServeParams) -> None:
        self.params = params
        self.loaded = False
        """Whether the default remover is there and was run."""
        self.note = ""
        """What :meth:`load` did, for the user."""

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return 0

    @property
    def working(self) -> int:
        """Requests at work."""
        return 0

    def load(self) -> str:
        """Build the default remover and run it once; a sentence that says what it did."""
        raise NotImplementedError

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """A place at work; waits for it if need be. A second one inside the first takes no place.

        Raises:
            Busy: if too many wait already.
            TooSlow: if it does not come in time.
        """
        yield

    def run(self, work: Callable[[], T]) -> T:
        """What `work` gives, done in a turn on the service's own threads, within the request's time limit."""
        return work()

    def settings(
        self, model: str = "", *, preset: str | None = None, background: Any = None, **values: Any
    ) -> Settings:
        """As :meth:`Settings.build`, without what a visitor must not: no paths, no models from files.

        Args:
            model: empty or ``auto`` is the model that is served.
            preset: of the model or the refinement.
            background: a :class:`Background`, as :meth:`background` makes one; or transparent, blur, a colour.
            values: settings by name, as text or as they are.
        """
        raise NotImplementedError

    def background(self, data: bytes, *, fit: Fit = "cover", name: str = "the background") -> Background:
        """An uploaded file as a background picture."""
        raise NotImplementedError

    def open(self, data: bytes, *, name: str = "the picture") -> Picture:
        """A picture whose header was read: not too large a file, not too many pixels, not decoded yet."""
        raise NotImplementedError

    def cut(self, data: bytes, settings: Settings, *, name: str = "the picture") -> Served:
        """Separate the subject of a file's (first) picture; in a turn, within the time limit."""
        raise NotImplementedError

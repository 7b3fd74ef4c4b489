"""The pictures of the visitors: in memory, each visitor's own, and not for long.

What is kept is small: the file as it came, mattes as PNG and previews as JPEG. Everything else is worked
out again when it is asked for.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bgremove.errors import BGRemoveError
from bgremove.foreground import Method
from bgremove.trimap import Box
from bgremove.webapp.config import ServeParams
from bgremove.webapp.errors import Busy, NotFound, TooLarge
from bgremove.webapp.service import Ticket

REVISIONS = 8
_VISITORS = 1000
_IDLE = 60.0  # seconds after which a visitor's pictures may go to make room for another's


@dataclass(frozen=True, eq=False)
class Revision:
    """One state of a cut-out.

    Attributes:
        number: from 1, within its picture.
        alpha: the matte at full size, a grey PNG.
        alpha_preview: the same at the preview's size.
        foreground: the subject's own colours at the preview's size, a JPEG; the photo's where alpha is 0.
        method: how these colours are found at full size.
        box: around the subject, in pixels of the photo; None if there is none.
        note: for the user.
        seconds: that it took.
        preview: width and height of the preview.
        segments: what the model found, ready for JSON.
    """

    number: int
    alpha: bytes
    alpha_preview: bytes
    foreground: bytes
    method: Method
    box: Box | None
    note: str
    seconds: float
    preview: tuple[int, int]
    segments: list[dict[str, Any]]

    @property
    def nbytes(self) -> int:
        """Memory it takes, about."""
        outlines = sum(len(line) for one in self.segments for line in one["outline"])
        return len(self.alpha) + len(self.alpha_preview) + len(self.foreground) + 150 * outlines


@dataclass(eq=False)
class Kept:
    """A picture of a visitor.

    Attributes:
        id: unguessable.
        name: as the visitor called it; for display only.
        data: the file.
        note: what could not be kept of it.
        original: the preview of the photo, a JPEG; None until it is needed.
        revisions: by number, the latest last.
        found: what the model found, packed, by what it depends on.
        error: the sentence of the last failure.
        tickets: of the requests that are waiting or at work for it.
    """

    name: str
    data: bytes
    width: int
    height: int
    note: str
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    original: bytes | None = None
    revisions: OrderedDict[int, Revision] = field(default_factory=OrderedDict)
    found: tuple[Hashable, Any, int] | None = None
    error: str = ""
    tickets: list[Ticket] = field(default_factory=list)
    _count: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def nbytes(self) -> int:
        """Memory it takes, about."""
        found = self.found[2] if self.found else 0
        revisions = sum(one.nbytes for one in list(self.revisions.values()))
        return len(self.data) + len(self.original or b"") + found + revisions + 2000

    @contextlib.contextmanager
    def in_work(self) -> Iterator[Ticket]:
        """A ticket for work on it; meanwhile it is not forgotten."""
        ticket = Ticket()
        self.tickets.append(ticket)
        try:
            yield ticket
            self.error = ""
        except Busy:  # it will be asked for again
            raise
        except Exception as error:
            self.error = str(error) if isinstance(error, BGRemoveError) else "something went wrong here"
            raise
        finally:
            self.tickets.remove(ticket)

    def number(self) -> int:
        """The next revision's."""
        with self._lock:
            self._count += 1
            return self._count

    def keep(self, revision: Revision) -> None:
        """Keep a revision, and let the oldest go."""
        with self._lock:
            self.revisions[revision.number] = revision
            while len(self.revisions) > REVISIONS:
                self.revisions.popitem(last=False)

    def revision(self, number: int | None = None) -> Revision:
        """A revision by number; the latest without one.

        Raises:
            NotFound: if there is none, or none of that number any more.
        """
        with self._lock:
            if number is None and self.revisions:
                return next(reversed(self.revisions.values()))
            if number is not None and number in self.revisions:
                return self.revisions[number]
        if self.revisions:
            raise NotFound(f"version {number} of this picture is not kept any more; cut it out again")
        raise NotFound("this picture was not cut out yet")

    def forget(self) -> None:
        """Keep nothing but the file."""
        with self._lock:
            self.revisions.clear()
            self.found = self.original = None

    def shorten(self) -> bool:
        """Forget the oldest revision but the latest; False if there is none."""
        with self._lock:
            if len(self.revisions) < 2:
                return False
            self.revisions.popitem(last=False)
            return True


@dataclass(eq=False)
class Visitor:
    """One who uses the page.

    Attributes:
        key: unguessable, what the page sends with every request.
        pictures: by id, in the order they came.
        background: the file of a background picture.
        seen: when the last request came, by the monotonic clock.
    """

    key: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    pictures: OrderedDict[str, Kept] = field(default_factory=OrderedDict)
    background: bytes | None = None
    seen: float = field(default_factory=time.monotonic)

    @property
    def nbytes(self) -> int:
        """Memory that all of it takes, about."""
        return sum(one.nbytes for one in list(self.pictures.values())) + len(self.background or b"")

    @property
    def busy(self) -> bool:
        """Whether a picture is in work, or waits for it."""
        return any(one.tickets for one in list(self.pictures.values()))

    def picture(self, id: str) -> Kept:
        """A picture of this visitor.

        Raises:
            NotFound: if there is none.
        """
        found = self.pictures.get(id)
        if found is None:
            raise NotFound("this picture is not here any more; add it again")
        return found


class Store:
    """What is kept for the visitors of the page."""

    def __init__(self, params: ServeParams) -> None:
        self.params = params
        self.in_use: Callable[[str], bool] = lambda key: False
        """Whether something else of a visitor's, by the key, is in work; it must wait for nothing."""
        self._lock = threading.RLock()
        self._visitors: OrderedDict[str, Visitor] = OrderedDict()  # the latest seen last
        self._swept = time.monotonic()

    @property
    def pictures(self) -> int:
        """Pictures kept now."""
        with self._lock:
            return sum(len(one.pictures) for one in self._visitors.values())

    @property
    def nbytes(self) -> int:
        """Memory they take, about."""
        with self._lock:
            return sum(one.nbytes for one in self._visitors.values())

    def new_visitor(self) -> Visitor:
        """Somebody who has no pictures yet.

        Raises:
            Busy: if there are too many.
        """
        self.sweep()
        visitor = Visitor()
        with self._lock:
            while len(self._visitors) >= _VISITORS:
                self._forget_idle(keep=None, empty_first=True)
            self._visitors[visitor.key] = visitor
        return visitor

    def visitor(self, key: str) -> Visitor:
        """The one who was given `key`.

        Raises:
            NotFound: if nobody was, or it was too long ago.
        """
        self.sweep()
        with self._lock:
            found = self._visitors.get(key)
            if found is None:
                raise NotFound("this visit is over, since nothing was asked for long; load the page again")
            found.seen = time.monotonic()
            self._visitors.move_to_end(key)
            return found

    def knows(self, key: str) -> bool:
        """Whether a key is a visitor's still; asking does not count as a request of theirs."""
        with self._lock:
            return key in self._visitors

    def add(self, visitor: Visitor, picture: Kept) -> None:
        """Keep a picture for a visitor.

        Raises:
            TooLarge: if the visitor has too many, or too much.
            Busy: if all have too much.
        """
        with self._lock:
            if len(visitor.pictures) >= self.params.pictures:
                raise TooLarge(
                    f"there are {len(visitor.pictures)} pictures here, which is all that is kept for one "
                    "visitor; clear some first"
                )
            self._check_room(visitor, len(picture.data))
            visitor.pictures[picture.id] = picture

    def set_background(self, visitor: Visitor, data: bytes | None) -> None:
        """Keep a background picture for a visitor in place of the last; None forgets it.

        Raises:
            TooLarge, Busy: as :meth:`add`.
        """
        with self._lock:
            visitor.background = None
            if data is not None:
                self._check_room(visitor, len(data))
                visitor.background = data

    def remove(self, visitor: Visitor, id: str | None = None) -> None:
        """Forget a picture of a visitor, or all.

        Raises:
            NotFound: if there is no such picture.
        """
        with self._lock:
            if id is None:
                visitor.pictures.clear()
                visitor.background = None
            else:
                del visitor.pictures[visitor.picture(id).id]

    def fit(self, visitor: Visitor, latest: Kept) -> None:
        """After a revision of `latest` was added: forget old ones, and others' idle pictures, if need be.

        Raises:
            TooLarge: if the visitor's pictures are still too much; what was kept of `latest` but its file is
                forgotten.
            Busy: likewise, if all visitors' are.
        """
        with self._lock:
            most = self.params.visitor_mb * 1e6
            while visitor.nbytes > most and any([one.shorten() for one in visitor.pictures.values()]):
                pass
            try:
                self._check_room(visitor, 0)
            except (TooLarge, Busy) as error:
                latest.forget()
                if isinstance(error, TooLarge):  # else it is asked for again
                    latest.error = str(error)
                raise

    def sweep(self) -> None:
        """Forget the visitors who were not seen for long, but those whose pictures are in work."""
        now = time.monotonic()
        with self._lock:
            if now - self._swept < min(5.0, self.params.keep_minutes * 6):
                return
            self._swept = now
            for key, one in list(self._visitors.items()):
                if now - one.seen > self.params.keep_minutes * 60 and not self._busy(one):
                    del self._visitors[key]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._visitors.clear()

    def _busy(self, visitor: Visitor) -> bool:
        return visitor.busy or self.in_use(visitor.key)

    def _check_room(self, visitor: Visitor, more: int) -> None:
        if visitor.nbytes + more > self.params.visitor_mb * 1e6:
            raise TooLarge(
                f"your pictures take {visitor.nbytes / 1e6:.0f} MB here, and {self.params.visitor_mb:g} MB "
                "is all that is kept for one visitor; clear some first"
            )
        while self.nbytes + more > self.params.store_mb * 1e6:
            self._forget_idle(keep=visitor)

    def _forget_idle(self, keep: Visitor | None, *, empty_first: bool = False) -> None:
        """Forget the visitor who was not seen for longest, if that is long."""
        now = time.monotonic()
        idle = [one for one in self._visitors.values() if one is not keep and not self._busy(one)]
        old = [one for one in idle if now - one.seen > _IDLE]
        if empty_first:
            old = [one for one in idle if not one.pictures] or old
        if not any(one.nbytes for one in old) and not empty_first:
            old = []
        if not old:
            raise Busy("too many pictures are kept here just now; try again in a minute", 60)
        del self._visitors[old[0].key]

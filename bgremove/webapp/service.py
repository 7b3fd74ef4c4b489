"""The work behind the page and the API: pictures are read and cut out, so many at once and no more."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from bgremove.arrays import Image
from bgremove.background import Background, Fit, parse_background, parse_colour
from bgremove.compositing import composite
from bgremove.demo import sample_path
from bgremove.errors import ImageError, OptionError
from bgremove.io import Frame, Metadata, Picture, open_picture
from bgremove.options import Params
from bgremove.pipeline import Cut, OutputParams, Settings, cut
from bgremove.registry import full_name, remover_info
from bgremove.removers.base import Remover, SegmentRemover
from bgremove.removers.onnx import OnnxParams, OnnxRemover, Planes, sharing_cores
from bgremove.segments import SelectParams
from bgremove.threads import OutOfTime, until
from bgremove.webapp.config import ServeParams
from bgremove.webapp.downloading import Downloads
from bgremove.webapp.errors import Busy, Refused, TooLarge, TooSlow

if TYPE_CHECKING:
    from bgremove.video.params import VideoSettings

T = TypeVar("T")

_KEPT_MB = 500.0  # of networks besides the served one
_KEPT_WAYS = 16  # to use one network: they share it
_LARGEST_INPUT = 640  # a network's memory grows with the square of it
_LONGEST_TEXT = 10_000  # letters: names of many classes, say
_LONGEST_SIDE = 65_500  # as a JPEG's: what is longer is no photo
_LARGEST_REACH = 30  # opening and closing take time with the square of it
_PNG_LEVEL = 2  # a tenth larger than the usual one, in half the time
_POLL = 0.25  # seconds
_LOOK_SECONDS = 10


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


class Ticket:
    """One who waits in a :class:`Line`, or is at work."""

    def __init__(self) -> None:
        self.called = threading.Event()
        self.deadline = 0.0
        self.left_behind: Future[Any] | None = None


class Line:
    """So many places at work, and so many that wait for one, first come first served.

    Args:
        places: at work at once.
        room: that may wait.
    """

    def __init__(self, places: int, room: int) -> None:
        self._places, self._room = places, room
        self._lock = threading.Lock()
        self._waiting: deque[Ticket] = deque()
        self._working = 0
        self._usual = 1.0  # seconds at work

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def working(self) -> int:
        """How many are at work."""
        return self._working

    def place(self, ticket: Ticket) -> int:
        """How many are served before this one, itself included; 0 if it does not wait."""
        with self._lock:
            return self._waiting.index(ticket) + 1 if ticket in self._waiting else 0

    def enter(self, ticket: Ticket, gone: Callable[[], bool]) -> None:
        """Take a place; wait for it until the ticket's deadline, and while the client is not `gone`.

        Raises:
            Busy: if too many wait already.
            TooSlow: if no place came free in time.
        """
        with self._lock:
            if self._working < self._places and not self._waiting:
                self._working += 1
                return
            if len(self._waiting) >= self._room:
                seconds = self._usual * (len(self._waiting) + 1) / self._places
                raise Busy(
                    f"{self._working} pictures are at work and {len(self._waiting)} wait, which is all this "
                    f"server takes; try again in {max(1, round(seconds))} s",
                    seconds,
                )
            self._waiting.append(ticket)
        while not ticket.called.wait(min(_POLL, max(0.0, ticket.deadline - time.monotonic()))):
            late = time.monotonic() >= ticket.deadline
            if late or gone():
                with self._lock:
                    if ticket.called.is_set():
                        return
                    self._waiting.remove(ticket)
                raise TooSlow(
                    "there was no free place in time; try again later" if late else "the client went away"
                )

    def leave(self, seconds: float) -> None:
        """Give the place to the next, after `seconds` of work."""
        with self._lock:
            self._usual += 0.2 * (min(seconds, 60.0) - self._usual)
            if self._waiting:
                self._waiting.popleft().called.set()
            else:
                self._working -= 1


class Service:
    """Cuts pictures out for every door of the web app."""

    def __init__(self, params: ServeParams) -> None:
        self.params = params
        self.loaded = False
        """Whether the default remover is there and was run."""
        self.note = ""
        """What :meth:`load` did, for the user."""
        self._line = Line(params.at_work, params.queue)
        self._pool = ThreadPoolExecutor(params.at_work, "bgremove-work")
        self._lookers = ThreadPoolExecutor(2, "bgremove-look")
        self._here = threading.local()
        self._removers = Removers(params.model)
        self._downloads = Downloads()

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return self._line.waiting

    @property
    def working(self) -> int:
        """Requests at work."""
        return self._line.working

    def load(self) -> str:
        """Build the default remover and run it once; a sentence that says what it did.

        Raises:
            BGRemoveError: if that cannot be done.
        """
        began = time.perf_counter()
        settings = self.settings()
        with open(sample_path("coffee.jpg"), "rb") as file:
            self.cut(file.read(), settings)
        remover = self._removers.get(settings)
        self.loaded = True
        seconds = time.perf_counter() - began
        self.note = f"{shown_model(settings.model)} is ready after {seconds:.1f} s" + (
            f"; it {remover.note}" if remover.note else ""
        )
        return self.note

    def place(self, ticket: Ticket) -> int:
        """How many are served before `ticket`, itself included; 0 if it does not wait."""
        return self._line.place(ticket)

    @contextlib.contextmanager
    def turn(self, ticket: Ticket | None = None) -> Iterator[None]:
        """A place at work; waits for it if need be. A second one inside the first takes no place.

        Args:
            ticket: to be asked for its :meth:`place` by others.

        Raises:
            Busy: if too many wait already.
            TooSlow: if it does not come in time.
        """
        if getattr(self._here, "ticket", None) is not None:
            yield
            return
        ticket = ticket or Ticket()
        ticket.deadline = time.monotonic() + self.params.seconds
        self._line.enter(ticket, _client_gone())
        began = time.monotonic()
        self._here.ticket = ticket
        try:
            yield
        finally:
            self._here.ticket = None

            def leave(_: object = None) -> None:
                self._line.leave(time.monotonic() - began)

            if ticket.left_behind is None:
                leave()
            else:  # its work goes on, though nobody waits for it any more
                ticket.left_behind.add_done_callback(leave)

    def run(self, work: Callable[[], T], ticket: Ticket | None = None) -> T:
        """What `work` gives, done in a turn on the service's own threads, within the request's time limit.

        Raises:
            Busy, TooSlow: as :meth:`turn`, and if `work` takes too long.
        """
        if getattr(self._here, "works", False):
            return work()
        with self.turn(ticket):
            mine: Ticket = self._here.ticket
            if mine.left_behind is not None:
                raise _too_long(self.params.seconds)
            future = self._pool.submit(self._as_worker, work, mine)
            with contextlib.suppress(TimeoutError):
                future.exception(max(0.0, mine.deadline - time.monotonic()))
            if not future.done() and not future.cancel():
                mine.left_behind = future
            if not future.done() or future.cancelled():
                raise _too_long(self.params.seconds)
            return future.result()

    def _as_worker(self, work: Callable[[], T], ticket: Ticket) -> T:
        self._here.works, self._here.ticket = True, ticket
        try:
            with until(ticket.deadline):
                return work()
        except OutOfTime:
            raise _too_long(self.params.seconds) from None
        finally:
            self._here.ticket = None

    def settings(
        self, /, model: str = "", *, preset: str | None = None, background: Any = None, **values: Any
    ) -> Settings:
        """As :meth:`Settings.build`, without what a visitor must not: no paths, no models from files.

        Args:
            model: empty or ``auto`` is the model that is served.
            preset: of the model or the refinement.
            background: a :class:`Background`, as :meth:`background` makes one; or transparent, blur, a
                colour.
            values: settings by name, as text or as they are.

        Raises:
            OptionError, UnknownRemoverError: with one sentence.
            Refused: for a model of a visitor's own.
        """
        name = self._model(model)
        _check_values(background, values)
        values.setdefault("png_level", _PNG_LEVEL)
        settings = Settings.build(name, preset=preset or None, background=background, **values)
        _check_cost(settings)
        if settings.instances:
            raise OptionError(
                "instances are several files, which are not made here; choose another output, or use "
                "bgremove remove"
            )
        return settings

    def video_settings(
        self, /, model: str = "", *, preset: str | None = None, background: Any = None, **values: Any
    ) -> VideoSettings:
        """As :meth:`settings`, for a video."""
        from bgremove.video.params import VideoSettings

        name = self._model(model)
        self.need(name)
        if "background" in values:
            raise OptionError("background belongs beside settings, not into it")
        _check_values(background, values)
        if isinstance(background, str):  # a path was refused
            fit, radius = self.fit(values.get("background_fit", "cover")), values.get("blur_radius")
            plain = OutputParams(**({} if radius is None else {"blur_radius": radius}))
            background = parse_background(background, fit=fit, blur_radius=plain.blur_radius)
        settings = VideoSettings.build(
            name, preset=preset or None, background=background or Background(), **values
        )
        _check_cost(settings)
        return settings

    @staticmethod
    def fit(text: Any) -> Fit:
        """A word for how a background fills the frame.

        Raises:
            OptionError: if it is none.
        """
        return OutputParams(background_fit=text).background_fit

    def _model(self, model: str) -> str:
        """The full name of a model that visitors may use."""
        name = model.strip()
        name = self.params.model if name in ("", "auto") else full_name(name)
        if name not in (self.params.model, full_name(self.params.model)):
            if ":" in name or remover_info(name).needs_file:
                raise Refused(
                    "a model of one's own can only be served by whoever runs this server; choose one of "
                    "those it lists"
                )
        return name

    def background(self, data: bytes, *, fit: Fit = "cover", name: str = "the background") -> Background:
        """An uploaded file as a background picture.

        Raises:
            ImageError, TooLarge: if it cannot be read.
        """
        with self.open(data, name=name) as picture:
            frame = next(iter(picture))
        image = frame.image
        if frame.alpha is not None:
            image = composite(image, _white(image), frame.alpha)
        return parse_background(image, fit=fit)

    def open(self, data: bytes, *, name: str = "the picture") -> Picture:
        """A picture whose header was read: not too large a file, not too many pixels, not decoded yet.

        Raises:
            TooLarge: if it is too large.
            ImageError: if it is no picture.
        """
        if len(data) > self.params.upload_bytes:
            raise TooLarge(
                f"{name} has {len(data) / 1e6:.1f} MB, more than the {self.params.max_upload_mb:g} MB this "
                "server takes; make it smaller"
            )
        try:
            picture = open_picture(
                data, max_megapixels=self.params.max_megapixels, name=name, first_only=True
            )
        except ImageError as error:
            sentence, limited, _ = str(error).partition("; raise it with")  # which a visitor cannot
            if limited:
                raise TooLarge(f"{sentence}; make it smaller") from None
            raise
        if max(picture.size) > _LONGEST_SIDE:
            height, width = picture.size
            picture.__exit__()
            raise TooLarge(
                f"{name} has {width} x {height} pixels, and sides of at most {_LONGEST_SIDE} are taken here; "
                "cut it into parts"
            )
        if picture.frames > 1:
            note = f"{name} is an animation; only its first picture is used"
            picture = dataclasses.replace(picture, notes=(*picture.notes, note))
        return picture

    def look(self, data: bytes, *, name: str = "the picture") -> Picture:
        """What :meth:`open` finds, closed again; takes no turn, but two at once and ten seconds are the most.

        Headers are quickly read, but for files that are made to have a hundred thousand pages.

        Raises:
            TooSlow: if it takes too long.
            TooLarge, ImageError: as :meth:`open`.
        """

        def work() -> Picture:
            with self.open(data, name=name) as picture:
                return picture

        future = self._lookers.submit(work)
        with contextlib.suppress(TimeoutError):
            future.exception(_LOOK_SECONDS)
        if not future.done():
            future.cancel()
            raise TooSlow(f"{name} could not be looked at in time; try again, or another file")
        return future.result()

    def read(self, data: bytes, *, name: str = "the picture") -> tuple[Frame, Picture]:
        """The (first) picture of a file, decoded, and what its header says."""
        with self.open(data, name=name) as picture:
            return next(iter(picture)), picture

    def remover(self, settings: Settings) -> Remover:
        """The remover of `settings`, built if need be.

        Raises:
            Busy: while its file is downloaded.
            BGRemoveError: as :func:`bgremove.create_remover`.
        """
        self.need(settings.model)
        return self._removers.get(settings)

    def need(self, model: str) -> None:
        """Return if nothing has to be downloaded for `model`.

        Raises:
            Busy: while it is downloaded.
            BGRemoveError: if that failed.
        """
        if full_name(model) != full_name(self.params.model):  # that one is here since load()
            self._downloads.need(model)

    def cut(self, data: bytes, settings: Settings, *, name: str = "the picture") -> Served:
        """Separate the subject of a file's (first) picture; in a turn, within the time limit.

        Raises:
            BGRemoveError: any of the steps' errors, each with one sentence.
        """

        def work() -> Served:
            began = time.perf_counter()
            frame, picture = self.read(data, name=name)
            return served(cut(frame, self.remover(settings), settings), picture, settings, began)

        return self.run(work)


def served(result: Cut, picture: Picture, settings: Settings, began: float) -> Served:
    """A cut with the facts of its file, and a note if there is nothing in it."""
    notes = list(picture.notes)
    if result.empty:
        why = result.note or f"the model {shown_model(settings.model)} found no subject; try another model"
        notes.append(f"the result is empty: {why}")
    known = {field.name: getattr(result, field.name) for field in dataclasses.fields(Cut)}
    return Served(**known, metadata=picture.metadata, notes=tuple(notes), seconds=time.perf_counter() - began)


def shown_model(name: str) -> str:
    """A model's name without the folders of its file."""
    kind, colon, file = name.partition(":")
    return f"{kind}:{file.replace(chr(92), '/').rpartition('/')[2]}" if colon else kind


class Removers:
    """The networks that are kept: the served one, and a few of the others, the latest.

    One network serves all settings that do not change it: another input size or other classes build
    nothing anew.
    """

    def __init__(self, served: str) -> None:
        self._served = full_name(served)
        self._lock = threading.Lock()
        self._building: dict[object, threading.Lock] = {}
        self._built: OrderedDict[object, Remover] = OrderedDict()
        self._ways: OrderedDict[object, Remover] = OrderedDict()

    def __len__(self) -> int:
        return len(self._built)

    def get(self, settings: Settings) -> Remover:
        """The remover of `settings`.

        Raises:
            BGRemoveError: as :func:`bgremove.create_remover`.
        """
        if remover_info(settings.model).kind == "classical":
            return settings.create_remover()  # there is nothing to load
        way = (settings.model, settings.remover)
        with self._lock:
            if way in self._ways:
                self._ways.move_to_end(way)
                self._built.move_to_end(_network_of(settings))
                return self._ways[way]
            gate = self._building.setdefault(settings.model, threading.Lock())
        with gate:
            network = self._network(settings)
            remover = _used(network, settings.remover)
        with self._lock:
            if _network_of(settings) in self._built:
                self._ways[way] = remover
                while len(self._ways) > _KEPT_WAYS:
                    self._ways.popitem(last=False)
        return remover

    def _network(self, settings: Settings) -> Remover:
        key = _network_of(settings)
        with self._lock:
            if key in self._built:
                return self._built[key]
        info = remover_info(settings.model)
        plain = settings
        if issubclass(info.params, OnnxParams):  # one that its file's own settings describe
            plain = dataclasses.replace(settings, remover=info.params(**info.defaults))
        weights = remover_info(settings.model).weights
        # The shipped network is too small for a second thread to help with; others are not.
        with sharing_cores(threads=1 if weights is not None and weights.packaged else 0):
            network = plain.create_remover()
        with self._lock:
            self._built[key] = network
            self._make_room()
        return network

    def _make_room(self) -> None:
        """Let the networks go that were not used for longest, but the served one and the latest."""
        others = [key for key in self._built if _name(key) != self._served]
        sizes = {key: _megabytes(_name(key)) for key in others}
        while len(others) > 1 and sum(sizes[key] for key in others) > _KEPT_MB:
            self._drop(others.pop(0))
        mine = [key for key in self._built if _name(key) == self._served]
        for key in mine[:-1]:
            self._drop(key)

    def _drop(self, key: object) -> None:
        del self._built[key]
        for way in [way for way in self._ways if cast(tuple[str, Params], way)[0] == _name(key)]:
            del self._ways[way]


class _OtherWay(OnnxRemover):
    """A network used in another way than usually, which gives its memory back after each run.

    Else the memory it keeps would grow to what the largest input size needs.
    """

    def _run(self, seen: Image, params: OnnxParams, *, sparing: bool = False) -> Planes:
        return super()._run(seen, params, sparing=True)


def _used(network: Remover, params: Params) -> Remover:
    """`network` with other settings of its use."""
    if isinstance(network, SegmentRemover):
        network = copy.copy(network)
        network.params = cast(SelectParams, params)
    elif isinstance(network, OnnxRemover):
        asked = cast(OnnxParams, params)
        if any(getattr(network.params, name) != value for name, value in asked.given().items()):
            return _OtherWay(asked, network._session, network._name, network.note)
    return network


def _network_of(settings: Settings) -> object:
    """What a network must be built anew for."""
    params = settings.remover
    chosen = (
        set(SelectParams.model_fields) if isinstance(params, SelectParams) else set(type(params).model_fields)
    )
    return settings.model, tuple((name, value) for name, value in params if name not in chosen)


def _name(key: object) -> str:
    return cast(tuple[str, Any], key)[0]


def _megabytes(model: str) -> float:
    weights = remover_info(model).weights
    return 100.0 if weights is None or weights.size_mb is None else weights.size_mb


def _white(image: Image) -> Image:
    import numpy as np

    return np.full_like(image, 255)


def _check_background(text: str) -> None:
    """Refuse what is neither a word nor a colour: it would be taken for a path."""
    if text.strip().lower() not in ("", "none", "transparent", "blur"):
        try:
            parse_colour(text)
        except OptionError:
            raise OptionError(
                f"unknown background {text[:40]!r}; give transparent, blur or a colour (white, #fa0, "
                "255,170,0), or upload a picture"
            ) from None


def _check_values(background: Any, values: dict[str, Any]) -> None:
    """Refuse backgrounds that are paths, very long texts, and names that Python would take for its own."""
    if isinstance(background, str):
        _check_background(background)
    elif background is not None and not isinstance(background, Background):
        raise OptionError("background must be transparent, blur or a colour; upload a picture as a file")
    for one, value in values.items():
        if isinstance(value, str) and len(value) > _LONGEST_TEXT:
            raise OptionError(f"{one[:60]} must be at most {_LONGEST_TEXT} letters; got {len(value)}")
    for taken in ("self", "cls"):
        if taken in values:
            raise OptionError(f"unknown setting {taken!r}")


def _check_cost(settings: Settings | VideoSettings) -> None:
    """Refuse settings that take a server's memory or its time."""
    size = getattr(settings.remover, "input_size", None)
    own = remover_info(settings.model).defaults.get("input_size") or _LARGEST_INPUT
    if size is not None and isinstance(settings.remover, OnnxParams) and size > max(own, _LARGEST_INPUT):
        raise OptionError(f"input_size must be at most {max(own, _LARGEST_INPUT)} on this server; got {size}")
    for name in ("opening", "closing", "grow"):
        value = getattr(settings.refine, name)
        if abs(value) > _LARGEST_REACH:
            raise OptionError(f"{name} must be at most {_LARGEST_REACH} px on this server; got {value}")


def _too_long(seconds: float) -> TooSlow:
    return TooSlow(
        f"this took longer than the {seconds:g} s a request may take here; try a smaller picture or a "
        "quicker model",
        status=504,
    )


def _client_gone() -> Callable[[], bool]:
    """Asks whether the client of the request at hand closed the connection; waitress knows."""
    from flask import has_request_context, request

    asked = request.environ.get("waitress.client_disconnected") if has_request_context() else None
    return asked or (lambda: False)

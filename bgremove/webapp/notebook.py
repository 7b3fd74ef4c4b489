"""What the notebook's cells call: the page in a frame, a public address, a live table of requests.

>>> from bgremove.webapp import notebook                # doctest: +SKIP
>>> notebook.start("lite")                              # doctest: +SKIP

There is one page at a time; :func:`start` again replaces it. It runs in a thread, so that other cells go on,
on a free port of this machine, and always with a token: others who use the machine cannot look in, and a
public address may be opened at any time. All of it ends with the kernel.
"""

from __future__ import annotations

import atexit
import contextlib
import copy
import html
import importlib
import secrets
import statistics
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bgremove.colab import colab_module
from bgremove.errors import BGRemoveError, MissingExtraError
from bgremove.webapp.config import ServeParams

if TYPE_CHECKING:
    from flask import Flask, Response

    from bgremove.webapp.server import Server
    from bgremove.webapp.tunnel import Tunnel

HEIGHT = 860
"""Of the page's frame, in pixels."""

# Who may show the page in a frame: on Colab its own pages, elsewhere a Jupyter of this machine.
_COLAB = ("https://colab.research.google.com", "https://*.googleusercontent.com")
_JUPYTER = ("http://localhost:*", "http://127.0.0.1:*")
_LAST = 12  # requests in the table
_EVERY = 0.5  # seconds between two looks at them
_TIMES = 200  # of a route, for its median


# The cells ---------------------------------------------------------------------------------------


def start(model: str = "auto", *, height: int = HEIGHT, **limits: Any) -> Page | None:
    """Start the page and show it; one that runs already is stopped first.

    Args:
        model: used unless a visitor chooses another.
        height: of the frame, in pixels.
        limits: other settings of :class:`~bgremove.webapp.config.ServeParams`, as ``max_megapixels``.

    Returns:
        The page; None if it could not be started, which is said in a sentence.
    """
    with _saying("The page was not started"):
        params = _params(model, limits)
        if _stop_all():
            print("The page that was there is stopped, and its pictures are gone.")
        page = Page(params)
        _running.append(page)
        print(page.note)
        page.show(height)
        return page
    return None


def open_public(*, wanted: bool = True, token: str | None = None) -> None:
    """Give the page a public address, through ngrok: its link and a QR code are shown.

    Args:
        wanted: if not, only say how.
        token: ngrok's; by default from Colab's secrets, the environment, or a prompt.
    """
    if not wanted:
        print("There is no public address. For one, tick OPEN (or write OPEN = True) and run this cell.")
    elif page := current():
        with _saying("There is no public address"):
            page.open_public(token=token)


def requests_table() -> Any:
    """A table of the requests that is kept up to date, also when the page is started again.

    Returns:
        A widget; None where there are no widgets.
    """
    with _saying("There is no table"):
        return _Table().widget
    return None


def stop(*, wanted: bool = True) -> None:
    """Close the public address and stop the page; its pictures are gone.

    Args:
        wanted: if not, only say how.
    """
    if not wanted:
        print("The page goes on. To stop it, tick STOP (or write STOP = True) and run this cell.")
    elif _stop_all():
        print("The page is stopped, its addresses are closed, and its pictures are gone.")
    else:
        print("No page is running.")


def current() -> Page | None:
    """The page that runs; if there is none, says so."""
    if not _running:
        print("No page is running: run the cell that starts it first.")
    return _running[-1] if _running else None


_running: list[Page] = []


@atexit.register  # with the kernel, too
def _stop_all() -> int:
    """How many pages were stopped."""
    count = len(_running)
    while _running:
        _running.pop().stop()
    return count


@contextlib.contextmanager
def _saying(what: str) -> Iterator[None]:
    """One sentence in place of a traceback."""
    try:
        yield
    except BGRemoveError as error:
        print(f"{what}: {error}")


def _params(model: str, limits: Mapping[str, Any]) -> ServeParams:
    return ServeParams(model=model, token=secrets.token_urlsafe(24), port=0, **limits)


# The page ----------------------------------------------------------------------------------------


class Page:
    """A page that is served from this notebook; started when it is made.

    Attributes:
        note: what there is, for the user.
        log: its requests.
        tunnel: its public address.
    """

    def __init__(self, params: ServeParams) -> None:
        from bgremove.webapp.server import Server

        self.log = RequestLog()
        self.tunnel: Tunnel | None = None
        self._card: Any = None
        frames = _JUPYTER if colab_module("output") is None else _COLAB
        self._server: Server = Server(params, frames=frames)
        self._over = False
        self.log.init_app(self._server.app)
        try:
            self.note = self._server.parts.service.load()
            self._server.start()
        except BaseException:  # a click on the cell's stop button, too
            self.stop()
            raise

    @property
    def url(self) -> str:
        """Where it is on this machine."""
        return self._server.url

    @property
    def link(self) -> str:
        """The same with the token: whoever has it may come in."""
        return self._server.link

    def show(self, height: int = HEIGHT) -> None:
        """The page, in the notebook: on Colab by its own proxy, elsewhere from this machine."""
        output = colab_module("output")
        if output is not None:
            path = self.link.removeprefix(self.url.rstrip("/"))
            output.serve_kernel_port_as_iframe(self._server.port, path=path, height=str(height))
            return
        _display().display(_Html(_frame(self.link, height)))

    def open_public(self, *, token: str | None = None) -> str:
        """A public address, in place of one that is there; its link and QR code are shown and kept right.

        Returns:
            The link, with the token.

        Raises:
            TunnelError: if there is none.
        """
        from bgremove.webapp.tunnel import open_tunnel

        self._close_tunnel()
        self._card = _display().display(_Html(_words("Opening a public address ...")), display_id=True)

        def opened(url: str) -> None:
            self._tell(_card(self._server.link_at(url)))

        try:
            self.tunnel = open_tunnel(
                self._server.port, token=token, say=lambda text: self._tell(_words(text)), on_url=opened
            )
        except BaseException:
            self._tell("")
            raise
        opened(self.tunnel.url)
        return self._server.link_at(self.tunnel.url)

    def _tell(self, text: str) -> None:
        """Show HTML where the public address is shown."""
        if self._card is not None:
            self._card.update(_Html(text))

    def stop(self) -> None:
        """Close the public address, stop the page and forget its pictures; may be called again."""
        self._over = True
        self._close_tunnel()
        self._server.stop()

    def _close_tunnel(self) -> None:
        if self.tunnel is not None:
            self.tunnel.close()
            self.tunnel = None
            self._tell(_words("The public address is closed."))

    def state(self) -> str:
        """What it does, in a few words."""
        service = self._server.parts.service
        return "stopped" if self._over else f"{service.working} at work, {service.waiting} waiting"


# The requests ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """A request: nothing of whom or what.

    Attributes:
        clock: the time of day.
        method: GET, POST ...
        route: its pattern, as ``/page/pictures/<id>``.
        status: of the answer.
        seconds: until it was ready.
    """

    clock: str
    method: str
    route: str
    status: int
    seconds: float


@dataclass
class Sum:
    """The requests of one kind.

    Attributes:
        method: GET, POST ...
        route: its pattern.
        count: all of them.
        refused: those answered with 4xx.
        failed: those answered with 5xx.
        times: seconds of the last ones.
    """

    method: str
    route: str
    count: int = 0
    refused: int = 0
    failed: int = 0
    times: deque[float] = field(default_factory=lambda: deque(maxlen=_TIMES))

    def add(self, asked: Asked) -> None:
        """One more."""
        self.count += 1
        self.refused += 400 <= asked.status < 500
        self.failed += asked.status >= 500
        self.times.append(asked.seconds)


class RequestLog:
    """The last requests of an app, and how many there were of each kind."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: deque[Asked] = deque(maxlen=_LAST)
        self._sums: dict[tuple[str, str], Sum] = {}

    def init_app(self, app: Flask) -> None:
        """Look at every answer of `app`."""
        from flask import g, request

        @app.after_request
        def seen(response: Response) -> Response:
            route = request.url_rule.rule if request.url_rule else "(unknown)"
            now = time.perf_counter()
            seconds = now - float(g.get("started", now))
            self.add(Asked(time.strftime("%H:%M:%S"), request.method, route, response.status_code, seconds))
            return response

    def add(self, asked: Asked) -> None:
        """One more."""
        key = asked.method, asked.route
        with self._lock:
            if not asked.route.startswith("/static/"):
                self._last.appendleft(asked)
            self._sums.setdefault(key, Sum(*key)).add(asked)

    def last(self) -> list[Asked]:
        """The newest first; without the page's own files."""
        with self._lock:
            return list(self._last)

    def sums(self) -> list[Sum]:
        """By kind; the most first."""
        with self._lock:
            found = copy.deepcopy(list(self._sums.values()))
        return sorted(found, key=lambda one: (-one.count, one.route, one.method))


class _Table:
    """The table of whatever page runs; there is one at a time, the last that was made.

    Attributes:
        widget: the table.
    """

    _latest: _Table | None = None

    def __init__(self) -> None:
        try:
            widgets = importlib.import_module("ipywidgets")
        except ImportError as error:
            raise MissingExtraError(
                'a live table needs ipywidgets: pip install "bgremove[notebook]"'
            ) from error
        self._page: Page | None = None
        self.widget = widgets.HTML(self._text(), layout=widgets.Layout(width="100%"))
        _Table._latest = self
        threading.Thread(target=self._follow, name="bgremove-table", daemon=True).start()

    def _text(self) -> str:
        self._page = _running[-1] if _running else self._page
        if self._page is None:
            return _words("No page is running: run the cell that starts it.")
        return table(self._page.log, self._page.state())

    def _follow(self) -> None:
        while _Table._latest is self:
            text = self._text()
            if text != self.widget.value:
                self.widget.value = text
            time.sleep(_EVERY)


# HTML --------------------------------------------------------------------------------------------

# Only shades of the notebook's own text colour, and half-transparent greys: right on dark and on light.
_CELL = "padding: 2px 12px 2px 0; text-align: {}; border: 0; background: none"
_CAPTION = "font-weight: 600; text-align: left; padding: 0 0 4px; caption-side: top; color: inherit"


class _Html:
    """HTML that a notebook shows, and its plain text elsewhere."""

    def __init__(self, text: str) -> None:
        self.data = text

    def _repr_html_(self) -> str:
        return self.data

    def __repr__(self) -> str:
        return "HTML of the page's notebook"


def table(log: RequestLog, state: str) -> str:
    """The requests as HTML: the last ones, and sums by route."""
    sums = log.sums()
    count, refused, failed = (
        sum(getattr(one, name) for one in sums) for name in ("count", "refused", "failed")
    )
    head = f"{count} requests, {refused} refused, {failed} failed · {state}"
    last = [(one.clock, one.method, one.route, str(one.status), f"{one.seconds:.3f}") for one in log.last()]
    by_route = [
        (*(one.method, one.route), *map(str, (one.count, one.refused, one.failed)), _median(one.times))
        for one in sums
    ]
    return (
        '<div style="line-height: 1.5; overflow-x: auto">'
        f'<div role="status" style="padding-bottom: 8px">{html.escape(head)}</div>'
        '<div style="display: flex; flex-wrap: wrap; gap: 8px 40px; align-items: flex-start">'
        + _rows("Last requests", ("time", "method", "route", "status", "seconds"), last)
        + _rows("By route", ("method", "route", "requests", "refused", "failed", "median s"), by_route)
        + "</div></div>"
    )


def _median(times: Iterable[float]) -> str:
    return f"{statistics.median(times):.3f}"


def _rows(caption: str, names: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    right = [name in ("status", "seconds", "requests", "refused", "failed", "median s") for name in names]
    styles = [_CELL.format("right" if one else "left") for one in right]
    head = "".join(
        f'<th style="{style}; opacity: .7; font-weight: 400">{name}</th>'
        for name, style in zip(names, styles, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f'<td style="{style}; font-variant-numeric: tabular-nums">{html.escape(value)}</td>'
            for value, style in zip(row, styles, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<table style="border-collapse: collapse; margin: 0; font-size: 12px"><caption style="{_CAPTION}">'
        f"{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _card(link: str) -> str:
    """The public link, and its QR code."""
    from bgremove.webapp.tunnel import qr

    address, _, _ = link.partition("#")
    safe = html.escape(link, quote=True)
    return (
        '<div style="display: flex; flex-wrap: wrap; gap: 20px; align-items: center; line-height: 1.5">'
        f'<div style="border-radius: 6px; overflow: hidden; line-height: 0">{qr(link)}</div>'
        '<div style="max-width: 44em">'
        f'<p style="margin: 0 0 8px; font-size: 16px"><a href="{safe}" target="_blank" rel="noreferrer">'
        f"{html.escape(address)}</a></p>"
        '<p style="margin: 0 0 8px">Open the link or scan the code. <b>Whoever has this link can use the '
        "page</b>, and sees only pictures of their own; it ends with the page. At the first visit, ngrok "
        "shows a page of its own; click <i>Visit Site</i>.</p>"
        f'<p style="margin: 0; overflow-wrap: anywhere; font-size: 12px; opacity: .75">{safe}</p></div></div>'
    )


def _frame(link: str, height: int) -> str:
    """The page in a frame that may copy pictures to the clipboard."""
    safe = html.escape(link, quote=True)
    return (
        f'<p style="margin: 4px 0"><a href="{safe}" target="_blank" rel="noreferrer">Open the page in a '
        "tab of its own</a>, on the machine that runs this notebook, or use it here:</p>"
        f'<iframe src="{safe}" title="bgremove" width="100%" height="{height}" '
        'allow="clipboard-read; clipboard-write" style="border: 1px solid rgba(127,127,127,.3); '
        'border-radius: 6px"></iframe>'
    )


def _words(sentence: str) -> str:
    return f"<p>{html.escape(sentence)}</p>"


def _display() -> Any:
    try:
        return importlib.import_module("IPython.display")
    except ImportError as error:
        raise MissingExtraError("the page is shown by a notebook; elsewhere, run: bgremove serve") from error

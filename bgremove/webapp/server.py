"""The app on a port, in a thread: for ``bgremove serve``, the notebook and the tests."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import logging
import socket
import sys
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from waitress import create_server
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.utilities import RequestEntityTooLarge
from werkzeug.test import create_environ
from werkzeug.wrappers import Response

from bgremove.errors import OptionError
from bgremove.webapp import Parts, ServeParams, create_app
from bgremove.webapp.errors import Fault, TooLarge, TooSlow
from bgremove.webapp.guard import REFUSED, takes_video

if TYPE_CHECKING:
    from flask import Flask

_MORE_THREADS = 8  # for what needs no turn, while all who work and wait have one
_CONNECTIONS = 100
_MEMORY_BODY = 2 << 20  # bytes of a body kept in memory; more goes to a file without a name
_BODIES = 8  # of the largest size, at most on their way at once
_VIDEO_BODIES = 3  # and so many videos
_DRAIN_SECONDS = 10
_STALLED_SECONDS = 60  # a client may take nothing of its answer
_HEADER_SECONDS = 30  # for a request without its body
_SLOWEST = 10_000  # bytes a second of a body
_M_ARENA_MAX = -8  # of glibc's mallopt


class Server:
    """The web app, served by waitress; a context manager that starts and stops it.

    Attributes:
        app: the Flask app.
        port: the port it listens on, once it was started.
    """

    def __init__(
        self, params: ServeParams | None = None, *, hosts: Sequence[str] = (), frames: Sequence[str] = ()
    ) -> None:
        self.params = params or ServeParams()
        self.app = create_app(self.params, hosts=hosts, frames=frames)
        self.port = self.params.port
        self._server: Any = None
        self._thread: threading.Thread | None = None
        self._over = threading.Event()

    @property
    def parts(self) -> Parts:
        """What the app is made of."""
        parts: Parts = self.app.extensions["bgremove"]
        return parts

    @property
    def url(self) -> str:
        """Where it is on this machine, ``http://127.0.0.1:8000/``."""
        host = self.params.host.strip("[]")
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"

    @property
    def link(self) -> str:
        """:attr:`url` with the token, if there is one, in its fragment, which no browser sends."""
        return self.link_at(self.url)

    def link_at(self, url: str) -> str:
        """The link to another address of this server, as a tunnel's."""
        token = self.parts.guard.token
        return f"{url.rstrip('/')}/#token={token}" if token else f"{url.rstrip('/')}/"

    def start(self) -> Self:
        """Listen, in a thread.

        Raises:
            OptionError: if the port is taken or the address is none of this machine's.
        """
        _few_arenas(self.params.at_work)
        listening = _listen(self.params.host, self.params.port)
        self.port = int(listening.getsockname()[1])
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # that some wait is no news
        self._server = create_server(
            self.app,
            sockets=[listening],
            threads=self.params.at_work + self.params.queue + 2 * self.params.live + _MORE_THREADS,
            connection_limit=max(_CONNECTIONS, 2 * (self.params.at_work + self.params.queue)),
            max_request_body_size=self.params.video_body_bytes,  # which the parser asks the guard about
            max_request_header_size=32768,
            inbuf_overflow=_MEMORY_BODY,
            recv_bytes=65536,
            channel_timeout=60,
            channel_request_lookahead=1,  # tells when a client goes away
            clear_untrusted_proxy_headers=False,  # the guard knows whom to believe
            asyncore_use_poll=True,
            log_socket_errors=False,  # clients may go away
            ident=None,
        )
        self._server.channel_class = functools.partial(_Channel, params=self.params)
        self._over.clear()
        self._thread = threading.Thread(target=self._run, name="bgremove-server", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop listening and all work, forget all pictures and videos; does nothing if it does not run."""
        server, thread = self._server, self._thread
        if server is not None and thread is not None:
            self._over.set()
            with contextlib.suppress(OSError):
                server.pull_trigger()
            thread.join(10)
            self._server = self._thread = None
        self.parts.live.close()
        self.parts.videos.close()
        self.parts.store.clear()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        server, store, videos, live = self._server, self.parts.store, self.parts.videos, self.parts.live
        while not self._over.is_set():
            server.asyncore.loop(timeout=1, map=server._map, use_poll=True, count=1)
            store.sweep()
            videos.sweep(store.knows)
            live.sweep()
            for channel in list(server.active_channels.values()):
                channel.close_if_stalled()
        server.task_dispatcher.shutdown(cancel_pending=True, timeout=1)
        server.asyncore.close_all(server._map, ignore_all=True)


def _listen(host: str, port: int) -> socket.socket:
    """A socket bound to an address."""
    where = f"{host}:{port}"
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        found.sort(key=lambda one: one[0] != socket.AF_INET)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        try:
            if sys.platform != "win32":  # where it would let two servers have one port
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
        except BaseException:
            listening.close()
            raise
    except socket.gaierror:
        raise OptionError(
            f"host must be an address or a name of this machine; {host!r} is none that is known"
        ) from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise OptionError(
                f"port {port} is in use, perhaps by another bgremove; give another, or 0 for any free one"
            ) from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise OptionError(f"host must be an address of this machine; {host} is not") from None
        if error.errno == errno.EACCES:
            raise OptionError(f"port {port} is not for everybody to use; take one from 1024 on") from None
        raise OptionError(f"cannot listen on {where}: {error.strerror or error}") from error
    return listening


def _few_arenas(workers: int) -> None:
    """Keep memory from being spread over many threads, each with a piece that only it can use again.

    The C library of Linux has up to eight such pieces (arenas) a core; a server's threads use them all.
    """
    with contextlib.suppress(OSError, AttributeError):
        if sys.platform == "linux":
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, max(2, workers))


# Refusing a body before it is read ---------------------------------------------------------------


class _Refusal:
    """An answer that waitress gives by itself, as its errors: the app's to a request without its body.

    So it has the shape and the headers of all answers, and is counted.
    """

    def __init__(self, parser: _Parser, fault: Fault) -> None:
        self._parser, self._fault = parser, fault

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        """Status, headers and body."""
        environ = {**self._parser.environ, REFUSED: self._fault}
        response = Response.from_app(self._parser.app, environ, buffered=True)
        return response.status, list(response.headers), response.get_data()


class _Parser(HTTPRequestParser):  # type: ignore[misc]
    """Refuses a body that is too large, or whose sender may not come in, before it is there.

    Also if too much is on its way at once.

    Attributes:
        began: when the first of it came, by the monotonic clock.
    """

    def __init__(self, adj: Any, channel: _Channel) -> None:
        super().__init__(adj)
        self._channel = channel
        self._most: int | None = None  # bytes of its body, once that is known
        self.began = time.monotonic()

    @property
    def app(self) -> Flask:
        """That the request is for."""
        app: Flask = self._channel.server.application
        return app

    @property
    def environ(self) -> dict[str, Any]:
        """What the app has to know of the request, which has no body yet."""
        headers = {f"HTTP_{name}": value for name, value in self.headers.items()}
        return {
            **create_environ(method=self.command.upper()),
            **{name: value for name, value in headers.items() if name != "HTTP_CONTENT_LENGTH"},
            "PATH_INFO": self.path,
            "REMOTE_ADDR": self._channel.addr[0],
        }

    def received(self, data: bytes) -> int:
        """Take a piece of a request; how many bytes of it were used."""
        used: int = super().received(data)
        if isinstance(self.error, RequestEntityTooLarge):
            self._refuse(self._too_large())
        elif self.error is not None or self.body_rcv is None:
            return used
        elif self._strange():
            pass
        elif max(self.content_length, self.body_bytes_received) > (self._most or 0):
            self._refuse(self._too_large())
        elif not self.completed and self._channel.full(self.is_video):
            busy = TooSlow("too many uploads are on their way at once; try again in 5 s")
            busy.headers["Retry-After"] = "5"
            self._refuse(busy)
        else:
            return used
        return len(data)  # what is left of the body is nobody's request

    @property
    def is_video(self) -> bool:
        """Whether it may bring a video."""
        return self.headers_finished and takes_video(self.command.upper(), self.path)

    def _too_large(self) -> TooLarge:
        """What to say of a body that is larger than its address takes."""
        params = self._channel.params
        if self._most is not None and self._most < params.body_bytes:
            return TooLarge("this address takes no uploads; see /api for one that does")
        most = params.video_mb if self.is_video else params.max_upload_mb
        return TooLarge(f"the upload is larger than the {most:g} MB this server takes; make it smaller")

    def _strange(self) -> bool:
        """Whether its sender may not come in, and is told so; asked once, before its body comes."""
        if self._most is None:
            guard = self.app.extensions["bgremove"].guard
            with self.app.request_context(self.environ):
                try:
                    guard.check_door()
                except Fault as fault:
                    self._refuse(fault)
                    return True
                self._most = guard.most_bytes()
        return False

    @property
    def slow(self) -> bool:
        """Whether it comes so slowly that somebody wants to keep a place here."""
        usual = _HEADER_SECONDS + self.body_bytes_received / _SLOWEST
        return bool(time.monotonic() - self.began > usual)

    def _refuse(self, fault: Fault) -> None:
        self.error, self.completed, self.expect_continue = _Refusal(self, fault), True, False
        self._channel.refused = True


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection; after a refusal, what still comes is thrown away for a while.

    If it was closed at once, a client that is still sending would see a broken connection, not the answer.
    """

    refused = False
    _drain_until = 0.0

    def __init__(self, *args: Any, params: ServeParams, **kwargs: Any) -> None:
        self.params = params
        super().__init__(*args, **kwargs)

    def parser_class(self, adj: Any) -> _Parser:
        """A parser of this connection's."""
        return _Parser(adj, self)

    def full(self, videos: bool) -> bool:
        """Whether all uploads on their way are too many bytes together: those of videos, or all others."""
        total = 0
        for channel in list(self.server.active_channels.values()):
            for request in [channel.request, *channel.requests]:
                if request is not None and request.error is None and request.is_video == videos:
                    total += request.body_bytes_received
        if videos:
            return bool(total > _VIDEO_BODIES * self.params.video_body_bytes)
        return bool(total > _BODIES * self.params.body_bytes)

    def close_if_stalled(self) -> None:
        """Close it if its client has not taken anything of its answer for long: a thread waits for that.

        Also if a request is all too slow to come: connections are few.
        """
        stalled = self.total_outbufs_len and time.time() - self.last_activity > _STALLED_SECONDS
        request = self.request
        if stalled or (request is not None and request.slow):
            self.handle_close()

    def readable(self) -> bool:
        """Whether to be told when something comes."""
        return bool(self._drain_until) or bool(super().readable())

    def writable(self) -> bool:
        """Whether to be told when something can be sent."""
        return self.will_close if self._drain_until else bool(super().writable())

    def handle_write(self) -> None:
        """Send; then, after a refusal, begin to throw away."""
        if self.refused and self.close_when_flushed and not self._drain_until:
            self._flush_exception(self._flush_some)
            if self.total_outbufs_len and not self.will_close:
                return
            if not self.will_close:
                with contextlib.suppress(OSError):
                    self.socket.shutdown(socket.SHUT_WR)
                self._drain_until = time.monotonic() + _DRAIN_SECONDS
                return
        super().handle_write()

    def handle_read(self) -> None:
        """Read; or throw away."""
        if not self._drain_until:
            super().handle_read()
            return
        try:
            data = self.recv(1 << 20)
        except OSError:
            data = b""
        if not data or time.monotonic() > self._drain_until:
            self.handle_close()

"""A web server of this machine that sends one file: whole, from a byte on, or cut short."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Sends `body` under each of some names; anything else is missing.

    Attributes:
        body: what is sent.
        names: of the files.
        requests: the Range header of each request, None where there was none.
        sent: bytes of body sent for each request.
        cut: close the connection after this many bytes of the next body.
        ranges: whether Range is understood.
    """

    daemon_threads = True

    def __init__(self, body: bytes, *names: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.names = body, names
        self.requests: list[str | None] = []
        self.sent: list[int] = []
        self.cut: int | None = None
        self.ranges = True

    @property
    def url(self) -> str:
        """Of the file's first name."""
        return f"http://127.0.0.1:{self.server_address[1]}/{self.names[0]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.requests.append(asked)
        if self.path.removeprefix("/") not in self.server.names:
            return self.send_error(404)
        body, start = self.server.body, 0
        if asked and self.server.ranges:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        rest = body[start:]
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        cut, self.server.cut = self.server.cut, None
        self.server.sent.append(self.wfile.write(rest[:cut]))
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def serving(body: bytes, *names: str) -> Iterator[Server]:
    """A :class:`Server` at work."""
    with Server(body, *names) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()

"""The app on a port, in a thread: for ``bgremove serve``, the notebook and the tests."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Self

from bgremove.errors import OptionError
from bgremove.webapp import Parts, ServeParams, create_app


class Server:
    """The web app, served by waitress; a context manager that starts and stops it.

    Attributes:
        app: the Flask app.
        port: the port it listens on, once it was started.
    """

    def __init__(self, params: ServeParams | None = None, *, hosts: Sequence[str] = ()) -> None:
        self.params = params or ServeParams()
        self.app = create_app(self.params, hosts=hosts)
        self.port = self.params.port
        self._server: Any = None
        self._thread: threading.Thread | None = None

    @property
    def parts(self) -> Parts:
        """What the app is made of."""
        parts: Parts = self.app.extensions["bgremove"]
        return parts

    @property
    def url(self) -> str:
        """Where it is on this machine, ``http://127.0.0.1:8000/``."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.params.host, self.params.host)
        return f"http://{f'[{host}]' if ':' in host.strip('[]') and host[0] != '[' else host}:{self.port}/"

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
        import waitress

        try:
            self._server = waitress.create_server(self.app, host=self.params.host, port=self.params.port)
        except OSError as error:
            raise OptionError(
                f"cannot listen on {self.params.host}:{self.params.port}: {error.strerror}"
            ) from error
        self.port = int(self._server.effective_port)
        self._thread = threading.Thread(target=self._server.run, name="bgremove-server", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop listening and forget all pictures; does nothing if it does not run."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.parts.store.clear()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

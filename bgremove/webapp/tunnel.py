"""A public address for the page, through ngrok and its Python package (pyngrok 8 and 9).

ngrok's token is not to be seen: it is no argument, which a list of processes would show; it is taken out of
pyngrok's log, as ngrok repeats it in its errors; and it is in a private file only until ngrok has read it.
ngrok keeps nothing of what it forwards, and ends with the process that started it, however that ends.
"""

from __future__ import annotations

import atexit
import contextlib
import getpass
import http.client
import io
import json
import logging
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import urlsplit

from bgremove.console import say as say_on_stderr
from bgremove.errors import BGRemoveError, MissingExtraError

if TYPE_CHECKING:
    from pyngrok.conf import PyngrokConfig

SECRET = "NGROK_AUTHTOKEN"
"""What the token is called among Colab's secrets, and in the environment."""

_DASHBOARD = "https://dashboard.ngrok.com"
_NO_TOKEN = (
    f"a public address needs an account of ngrok's, which is free: copy the token from "
    f"{_DASHBOARD}/get-started/your-authtoken and put it into Colab's secrets (the key at the left, "
    f"access on) or into the environment as {SECRET}"
)
_REFUSED = f"ngrok refused the token; copy it again, whole, from {_DASHBOARD}/get-started/your-authtoken"
_TWICE = (
    f"this ngrok account has a tunnel open already, in another notebook or on another machine; close it "
    f"there or at {_DASHBOARD}/agents, then try again"
)
_OLD = "this ngrok is too old; delete it, so that the current one is downloaded, or run: ngrok update"
_SENTENCES = {
    "ERR_NGROK_105": _REFUSED,
    "ERR_NGROK_107": _REFUSED,
    "ERR_NGROK_108": _TWICE,
    "ERR_NGROK_121": _OLD,
    "ERR_NGROK_334": _TWICE,
    "ERR_NGROK_4018": _NO_TOKEN,
}
_LOGGERS = ("pyngrok.installer", "pyngrok.ngrok", "pyngrok.process", "pyngrok.process.ngrok")
_PAUSES = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds before the next try; the last for all that follow

# Ends ngrok and tidies up when what started it is gone, even if killed. Drops stderr, where ngrok repeats
# the token.
_SCRIPT = """#!/bin/sh
unset NGROK_AUTHTOKEN
umask 077
cd {folder}
echo $$ > pid
parent=$PPID
(while kill -0 $parent; do kill -0 $$ || exit; sleep 1; done
 kill $$; rm -f pid ngrok ngrok.yml; rmdir {folder}) < /dev/null > /dev/null 2>&1 &
exec {binary} "$@" 2> /dev/null
"""

Say = Callable[[str], None]


class TunnelError(BGRemoveError):
    """There is no public address, and why."""


class TokenError(TunnelError):
    """ngrok's token is missing, or was refused: trying again does not help."""


# The token ---------------------------------------------------------------------------------------


def ngrok_token(token: str | None = None) -> str:
    """ngrok's token: the one given, or else from Colab's secrets, the environment, or whom one can ask.

    Raises:
        TokenError: if there is none, or it cannot be one.
    """
    found = (token or _from_colab() or os.environ.get(SECRET) or _from_a_person()).strip()
    if not found:
        raise TokenError(_NO_TOKEN)
    if not re.fullmatch(r"[A-Za-z0-9_~.:-]{10,200}", found):  # do not repeat it
        raise TokenError(
            f"that is no token of ngrok's, which are some 49 letters, digits and _; copy it from "
            f"{_DASHBOARD}/get-started/your-authtoken"
        )
    return found


def _from_colab() -> str:
    from bgremove.colab import colab_module

    secrets = colab_module("userdata")
    if secrets is None:
        return ""
    with contextlib.suppress(Exception):  # not there, not allowed, or nobody answers
        return str(secrets.get(SECRET) or "")
    return ""


def _from_a_person() -> str:
    """What is typed, unseen; empty where nobody can be asked."""
    if not (_is_notebook() or (sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty())):
        return ""
    with contextlib.suppress(Exception, EOFError):  # a notebook that is run without a person raises its own
        return getpass.getpass(f"ngrok's token ({_DASHBOARD}/get-started/your-authtoken; Enter for none): ")
    return ""


def _is_notebook() -> bool:
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    return bool(shell) and hasattr(shell, "kernel")


# The tunnel --------------------------------------------------------------------------------------


def open_tunnel(
    port: int,
    *,
    token: str | None = None,
    say: Say = say_on_stderr,
    on_url: Callable[[str], None] | None = None,
    ngrok_path: str | os.PathLike[str] | None = None,
    wait: float = 30,
) -> Tunnel:
    """A public address for the page on a port of this machine; only if the page asks strangers for a token.

    Args:
        port: where the page is.
        token: ngrok's; by default as :func:`ngrok_token` finds it.
        say: is told when the address is lost and found again.
        on_url: is called with the address when it was opened again; it may be another one.
        ngrok_path: ngrok's program; by default ``PYNGROK_NGROK_PATH``, else it is downloaded.
        wait: seconds that ngrok has to start.

    Raises:
        TunnelError: if there is none; its sentence says why.
        MissingExtraError: without the extra ``web``.
    """
    if port in _open:
        raise TunnelError(f"the page is open already, at {_open[port].url}; close that first")
    config = _config(ngrok_path)
    check_door(port)
    key = ngrok_token(token)
    binary = _binary(config, given=ngrok_path is not None)
    return Tunnel(port, lambda: _Agent(port, key, binary, wait), say, on_url)


_open: dict[int, Tunnel] = {}


class Tunnel:
    """A public address that is opened again if ngrok ends; a context manager that closes it.

    Made by :func:`open_tunnel`. It is closed at the latest when Python ends.
    """

    def __init__(
        self, port: int, make: Callable[[], _Agent], say: Say, on_url: Callable[[str], None] | None
    ) -> None:
        self._port, self._make, self._say, self._on_url = port, make, say, on_url
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._agent = make()
        _open[port] = self
        atexit.register(self.close)
        threading.Thread(target=self._watch, name="bgremove-tunnel", daemon=True).start()

    @property
    def url(self) -> str:
        """The address, ``https://something.ngrok-free.app``; it may change when it has to be opened again."""
        return self._agent.url

    def alive(self) -> bool:
        """Whether ngrok runs and the address is open."""
        return not self._over.is_set() and self._agent.running() and self._agent.listed()

    def close(self) -> None:
        """Close the address and end ngrok; may be called again."""
        self._over.set()
        with self._lock:
            self._agent.stop()
            if _open.get(self._port) is self:
                del _open[self._port]
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _watch(self) -> None:
        while not self._over.wait(1):
            if not (self._agent.running() and self._agent.listed()):
                self._say_safely("the public address is lost, as ngrok has ended; opening it again")
                self._reopen()

    def _reopen(self) -> None:
        said = ""
        for pause in _pauses():
            if self._over.wait(pause):
                return
            try:
                self._restart()
            except TokenError as error:
                self._say_safely(f"the public address stays closed: {error}")
                return self.close()
            except BGRemoveError as error:
                if str(error) != said:
                    said = str(error)
                    self._say_safely(f"not yet, and trying again: {error}")
                continue
            if not self._over.is_set():
                self._say_safely(f"the public address is open again: {self.url}")
                if self._on_url is not None:
                    with contextlib.suppress(Exception):
                        self._on_url(self.url)
            return

    def _restart(self) -> None:
        """One try to have another ngrok in place of the one that ended."""
        with self._lock:
            if not self._over.is_set():
                self._agent.stop()
                check_door(self._port)
                self._agent = self._make()

    def _say_safely(self, text: str) -> None:
        with contextlib.suppress(Exception):  # whoever listened may be gone
            self._say(text)


def check_door(port: int) -> None:
    """Make sure that the page on a port of this machine lets nobody in without a token.

    Raises:
        TunnelError: if it does, or does not answer.
    """
    page = http.client.HTTPConnection("127.0.0.1", port, timeout=20)  # past every proxy
    try:
        page.request("GET", "/page/config")
        status = page.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise TunnelError(f"no page answers on port {port} of this machine; start it first") from error
    finally:
        page.close()
    if status not in (401, 403):
        raise TunnelError(
            f"the page on port {port} lets everybody in (it answered {status} without a token), so it gets "
            f"no public address; serve it with a token"
        )


def qr(link: str, kind: Literal["svg", "text"] = "svg") -> str:
    """A link as a QR code: an ``<svg>`` for HTML, or text for a terminal.

    Raises:
        MissingExtraError: without the extra ``web``.
    """
    try:
        import segno
    except ImportError as error:
        raise MissingExtraError('QR codes need segno: pip install "bgremove[web]"') from error
    code = segno.make(link, micro=False, error="m")
    if kind == "svg":
        return str(code.svg_inline(scale=5, border=4, dark="#000", light="#fff"))
    text = io.StringIO()
    code.terminal(out=text, compact=True, border=2)
    return text.getvalue()


def _pauses() -> Iterator[float]:
    yield from _PAUSES
    while True:
        yield _PAUSES[-1]


# ngrok -------------------------------------------------------------------------------------------


class _Agent:
    """One ngrok of our own, with settings of its own, and one address; started when it is made.

    Attributes:
        url: the address.
    """

    def __init__(self, port: int, token: str, binary: Path, wait: float) -> None:
        self.url = ""
        self._hide = _Hide(token)
        self._folder = Path(tempfile.mkdtemp(prefix="bgremove-ngrok-"))  # for this user only
        self._wait = wait
        self._config = _config(self._start_script(binary))
        self._config.config_path = str(self._folder / "ngrok.yml")
        try:
            self._start(token)
            self._connect(port)
        except BaseException as error:
            self.stop()
            if isinstance(error, Exception) and not isinstance(error, BGRemoveError):
                raise _sentence(error) from None  # its text and its log have the token
            raise

    def running(self) -> bool:
        """Whether the process is there."""
        from pyngrok import process

        return process.is_process_running(self._config.ngrok_path)

    def listed(self) -> bool:
        """Whether ngrok still knows the address; True when it is too busy to say."""
        from pyngrok import ngrok
        from pyngrok.exception import PyngrokError, PyngrokNgrokHTTPError

        try:
            ngrok.api_request(self._uri)
        except PyngrokNgrokHTTPError as error:
            return error.status_code != 404
        except (PyngrokError, OSError, ValueError):
            return True
        return True

    def stop(self) -> None:
        """Close the address and end the process; does nothing where there is neither."""
        from pyngrok import ngrok

        if self.url:
            with contextlib.suppress(Exception):
                ngrok.disconnect(self.url, self._config)
        self._kill()
        with contextlib.suppress(Exception):
            ngrok.kill(self._config)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._hide.close()

    def _start(self, token: str) -> None:
        """Start the process; in a thread, for pyngrok waits without end for one that says nothing."""
        from pyngrok import ngrok

        failed: list[BaseException] = []

        def start() -> None:
            try:
                ngrok.get_ngrok_process(self._config)
            except BaseException as error:
                failed.append(error)

        self._write_settings(token)
        thread = threading.Thread(target=start, name="bgremove-ngrok", daemon=True)
        thread.start()
        thread.join(self._wait)
        if thread.is_alive():
            self._kill()
            thread.join(5)
            raise TunnelError(
                f"ngrok said nothing for {self._wait:g} seconds; check the network and try again"
            )
        self._write_settings("")
        if failed:
            raise failed[0]

    def _connect(self, port: int) -> None:
        from pyngrok import ngrok

        made = ngrok.connect(f"http://127.0.0.1:{port}", "http", "bgremove", self._config)
        self.url, self._uri = str(made.public_url), f"{made.api_url}{made.uri}"
        parts = urlsplit(self.url)
        if parts.scheme != "https" and parts.hostname != "127.0.0.1":
            raise TunnelError(f"ngrok gave {self.url}, which is not encrypted; it was closed again")

    def _write_settings(self, token: str) -> None:
        """The settings that ngrok reads at its start, in the format of this pyngrok's version."""
        agent: dict[str, Any] = {"inspect_db_size": -1, "update_check": False}  # requests are not kept
        if token:
            agent["authtoken"] = token
        version = str(getattr(self._config, "config_version", "2"))  # not in pyngrok 8.1
        settings = {"version": version, **({"agent": agent} if version == "3" else agent)}
        path = Path(str(self._config.config_path))
        path.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML, too

    def _start_script(self, binary: Path) -> Path:
        """What is started in place of the program itself, where there is a shell."""
        if os.name != "posix":
            return binary
        script = self._folder / "ngrok"
        words = {"folder": self._folder, "binary": binary.absolute()}
        quoted = {name: shlex.quote(str(path)) for name, path in words.items()}
        script.write_text(_SCRIPT.format(**quoted), encoding="utf-8")
        script.chmod(0o700)
        return script

    def _kill(self) -> None:
        """End the process even while pyngrok waits for it."""
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((self._folder / "pid").read_text(encoding="utf-8")), signal.SIGTERM)


class _Hide(logging.Filter):
    """Takes a token out of what pyngrok logs, until it is closed."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._token = token
        logging.getLogger("pyngrok").addHandler(_SILENCE)  # no line on stderr where nobody asked for any
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = record.getMessage().replace(self._token, "(token)"), ()
        return True

    def close(self) -> None:
        """Leave the loggers as they were."""
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(self)


_SILENCE = logging.NullHandler()


def _config(ngrok_path: str | os.PathLike[str] | None) -> PyngrokConfig:
    """pyngrok's settings without a token, in a session of its own, which Ctrl-C does not reach."""
    try:
        from pyngrok.conf import PyngrokConfig
    except ImportError as error:
        raise MissingExtraError('a public address needs pyngrok: pip install "bgremove[web]"') from error
    _no_proxy_to_this_machine()
    path = ngrok_path or os.environ.get("PYNGROK_NGROK_PATH")  # pyngrok 8.1 does not look there
    config = PyngrokConfig(
        os.fspath(path) if path else None, request_timeout=20, start_new_session=os.name == "posix"
    )
    config.auth_token = None
    return config


def _no_proxy_to_this_machine() -> None:
    """pyngrok asks ngrok through the proxy that the environment names; ngrok is on this machine."""
    for name in ("no_proxy", "NO_PROXY"):
        listed = os.environ.get(name, "")
        if "127.0.0.1" not in listed and listed != "*":
            os.environ[name] = f"{listed},127.0.0.1".strip(",")


def _binary(config: PyngrokConfig, *, given: bool) -> Path:
    """ngrok's program; downloaded if it is not there."""
    from pyngrok import installer
    from pyngrok.exception import PyngrokError

    path = Path(config.ngrok_path)
    if not path.exists() and not given:
        try:
            installer.install_ngrok(str(path), config.ngrok_version, timeout=30)
        except (PyngrokError, OSError) as error:
            raise TunnelError(
                f"ngrok could not be downloaded ({_short(error)}); check the network, or download it from "
                f"https://ngrok.com/download and set PYNGROK_NGROK_PATH to it"
            ) from error
    if not path.is_file() or not os.access(path, os.X_OK):
        raise TunnelError(f"there is no ngrok that can be run at {path}; see https://ngrok.com/download")
    return path


def _short(error: BaseException) -> str:
    """The innermost reason of a failed download."""
    return str(error).rsplit(": ", 1)[-1].strip("<> \n")[:120] or type(error).__name__


def _sentence(error: Exception) -> TunnelError:
    """What pyngrok raised, without the token that may be in it."""
    text = f"{error} {getattr(error, 'body', '')} {getattr(error, 'ngrok_error', '')}"
    found = re.search(r"ERR_NGROK_\d+", text)
    if found is None:
        return TunnelError(_unknown(error, text))
    code = found[0]
    kind = TokenError if code in ("ERR_NGROK_105", "ERR_NGROK_107", "ERR_NGROK_4018") else TunnelError
    described = f"ngrok refused, for a reason described at https://ngrok.com/docs/errors/{code.lower()}"
    return kind(_SENTENCES.get(code, described))


def _unknown(error: Exception, text: str) -> str:
    """A sentence for an error without a number of ngrok's."""
    if getattr(error, "status_code", 0) == 404:
        return _OLD
    if re.search(r"dial tcp|lookup|timeout|no such host|unreachable", text):
        return "ngrok does not reach its servers; check the network and try again"
    if "unable to start" in text:
        return "ngrok ended as soon as it was started; see whether it runs by hand: ngrok version"
    return f"ngrok did not open an address ({type(error).__name__}); try again"

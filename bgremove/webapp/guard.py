"""Who may enter: tokens, hosts, other sites, and how often."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, request

from bgremove.webapp.config import ServeParams, is_loopback
from bgremove.webapp.errors import Busy, NotAllowedIn, Refused

COOKIE = "bgremove"
REFUSED = "bgremove.refused"
"""In a request's environment, the fault for which the server does not take its body."""

_WRONG_TOKENS = 10  # a minute and address
_ADDRESSES = 10_000  # remembered
_STRANGERS_BYTES = 65_536

_POLICY = (
    "default-src 'self'",
    "img-src 'self' blob: data:",
    "media-src 'self' blob:",
    "connect-src 'self' blob:",
    "worker-src 'self' blob:",
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'self'",
)


def safe_headers(frames: Sequence[str] = ()) -> dict[str, str]:
    """The headers of every answer: what the page may load, and who besides it may show it in a frame."""
    ancestors = " ".join(("'self'", *frames))
    return {
        "Content-Security-Policy": "; ".join((*_POLICY, f"frame-ancestors {ancestors}")),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), microphone=()",  # but for the live view
    }


HEADERS = safe_headers()
"""Of every answer, unless more may frame it."""


class Buckets:
    """How often each of many may do something: so often a minute, all of it at once if need be."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._lock = threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, who: str, *, take: float = 1) -> float:
        """Seconds until `who` may do it; 0 if it may now, which then counts as `take` times."""
        now = time.monotonic()
        with self._lock:
            left, then = self._left.pop(who, (float(self.rate), now))
            left = min(float(self.rate), left + (now - then) * self.rate / 60)
            granted = left >= 1
            self._left[who] = (left - take if granted else left, now)
            if len(self._left) > _ADDRESSES:
                self._left.popitem(last=False)
            return 0.0 if granted else (1 - left) * 60 / self.rate


class Guard:
    """Lets requests in or refuses them.

    Attributes:
        token: what visitors must show; empty if nobody is asked.
        hosts: more names under which this app may be called; ``.example.com`` is every name below.
        headers: of every answer.
    """

    def __init__(self, params: ServeParams, hosts: Sequence[str] = (), frames: Sequence[str] = ()) -> None:
        self.params = params
        self.headers = safe_headers(frames)
        self.hosts = tuple(host.lower() for host in hosts)
        self.token = (params.token or secrets.token_urlsafe(24)) if params.needs_token else ""
        self._pictures = Buckets(params.rate)
        self._wrong = Buckets(_WRONG_TOKENS)

    def init_app(self, app: Flask) -> None:
        """Stand before every request of `app`, and put the headers of safety on every answer."""

        @app.before_request
        def check() -> None:
            self.check()

        @app.after_request
        def protect(response: Response) -> Response:
            for name, value in self.headers.items():
                response.headers.setdefault(name, value)
            return response

    def check(self) -> None:
        """Let the request at hand pass.

        Raises:
            Refused, NotAllowedIn, Busy: as :meth:`check_door`, and if it asks for too many pictures.
            Fault: for which the server did not take its body.
        """
        if REFUSED in request.environ:
            raise request.environ[REFUSED]
        self.check_door()
        if takes_video(request.method, request.path):
            request.max_content_length = self.params.video_body_bytes
        if request.method == "POST" and _counts():
            self.count()

    def check_door(self) -> None:
        """Whether the sender of the request at hand may come in; its body is not needed.

        Raises:
            Refused: if it comes from another site, or by a name that is not this server's.
            NotAllowedIn: if it shows no token, or a wrong one.
            Busy: if it showed too many wrong ones.
        """
        if not self.token:
            self._check_host()
            self._check_site()
        elif not _open():
            how = self._shown()
            if not how:
                raise NotAllowedIn(
                    "a token is needed; open the link that was printed when this server started, or send the "
                    "token in the header X-Api-Key",
                    {"WWW-Authenticate": "Bearer"},
                )
            if how == "cookie":
                self._check_site()

    def most_bytes(self) -> int:
        """How large the body of the request at hand may be: strangers may show a token, and no more."""
        if self.token and _open():
            return _STRANGERS_BYTES
        if takes_video(request.method, request.path):
            return self.params.video_body_bytes
        return self.params.body_bytes

    def allowed(self) -> bool:
        """Whether the request at hand showed the token, or needs none."""
        return not self.token or bool(self._shown())

    def log_in(self, token: Any) -> None:
        """Accept a token from the page.

        Raises:
            NotAllowedIn: if it is wrong.
            Busy: if too many were.
        """
        if self.token:
            self._compare(token if isinstance(token, str) else "")

    def set_cookie(self, response: Response) -> None:
        """Let the browser show from now on that it knew the token."""
        if self.token:
            secure = request.is_secure or request.headers.get("X-Forwarded-Proto", "") == "https"
            response.set_cookie(COOKIE, self._stamp, httponly=True, samesite="Strict", secure=secure)

    def count(self) -> None:
        """One picture more for whoever asks.

        Raises:
            Busy: if these are more than the rate allows.
        """
        if not self.params.rate:
            return
        seconds = self._pictures.wait(client_address())
        if seconds:
            raise Busy(
                f"{self.params.rate} pictures a minute is what one visitor may ask for; try again in "
                f"{max(1, round(seconds))} s",
                seconds,
            )

    @property
    def _stamp(self) -> str:
        """What the cookie holds: it follows from the token, and does not tell it."""
        return hmac.digest(self.token.encode(), b"bgremove cookie", "sha256").hex()

    def _shown(self) -> str:
        """By what the token was shown: ``header``, ``cookie``, or not at all."""
        shown = request.headers.get("X-Api-Key", "")
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        if not shown and scheme.lower() == "bearer":
            shown = bearer.strip()
        if shown:
            self._compare(shown)
            return "header"
        cookie = request.cookies.get(COOKIE, "")
        return "cookie" if hmac.compare_digest(cookie.encode(), self._stamp.encode()) else ""

    def _compare(self, token: str) -> None:
        """Compare in constant time; not at all after too many wrong ones, so that nobody can try them all."""
        address = client_address()
        seconds = self._wrong.wait(address, take=0)
        if seconds:
            raise Busy(f"too many wrong tokens; try again in {max(1, round(seconds))} s", seconds)
        if not hmac.compare_digest(token.encode(errors="surrogatepass"), self.token.encode()):
            self._wrong.wait(address)
            raise NotAllowedIn(
                "the token is wrong; take the link that was printed when this server started",
                {"WWW-Authenticate": "Bearer"},
            )

    def _check_host(self) -> None:
        """Names that lead here by a trick of somebody's (DNS rebinding) are not ours."""
        host = _hostname(request.host)
        if not (is_loopback(host) or self._is_ours(host)):
            raise Refused(
                f"this server is not called {host[:80]!r}; open it as localhost, or start it with a token"
            )

    def _check_site(self) -> None:
        """Pages of other sites must not change anything in a visitor's name."""
        if request.method in ("GET", "HEAD", "OPTIONS"):
            return
        origin = request.headers.get("Origin")
        foreign = request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none")
        if origin is not None and not foreign:
            netloc = urlsplit(origin).netloc
            foreign = netloc != request.host and not self._is_ours(_hostname(netloc))
        if foreign:
            raise Refused("this request comes from a page of another site; use this server's own page")

    def _is_ours(self, host: str) -> bool:
        return any(host.endswith(one) if one.startswith(".") else host == one for one in self.hosts)


def client_address() -> str:
    """Where the request at hand comes from; what a tunnel or a proxy on this machine says counts.

    Of an IPv6 address the network's part, since whoever has one has 2**64.
    """
    address = _network(request.remote_addr or "")
    said = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
    return _network(said[:64]) if said and is_loopback(address) else address


def _network(address: str) -> str:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address) or found.is_loopback:
        return str(found)
    return str(found.ipv4_mapped or ipaddress.ip_network((int(found), 64), strict=False))


def _open() -> bool:
    """Whether the request at hand is for what everybody may see."""
    path = request.path
    if request.method in ("GET", "HEAD"):
        return path in ("/", "/live", "/healthz") or path.startswith("/static/")
    return request.method == "POST" and path == "/page/login"


def takes_video(method: str, path: str) -> bool:
    """Whether such a request may bring a video, which is larger than a picture."""
    return method == "POST" and path in ("/page/videos", "/api/video")


def _counts() -> bool:
    """Whether the request at hand asks for a picture to be cut out."""
    path = request.path
    return not path.startswith("/page/") or path.endswith(("/cut", "/refine"))


def _hostname(netloc: str) -> str:
    """A host without its port, in lower case."""
    host = netloc.rpartition("@")[2].lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]

"""Fetching what a stranger's address points to, without lending the stranger our place in the network.

An address given by a client may name the machine itself, its neighbours, or a cloud's metadata service; it
may lead there by a redirect, or by a name that resolves to something else the second time. So every name is
resolved once, every address that it has must be public, and the connection is made to the very address that
was checked. Nothing of ours is sent along: no cookies, no credentials, no proxy's.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, urljoin, urlsplit

from bgremove.errors import BGRemoveError

T = TypeVar("T")
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
SocketAddress = tuple[Any, ...]
Resolve = Callable[[str, int], list[SocketAddress]]

_CHUNK = 1 << 16
_LOW_PORTS = (80, 443)  # below 1024, those of the web alone: the others belong to mail, files and the like
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by a provider's customers
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # public by its number, inside Azure the host's own
        "169.254.0.0/16",  # link-local, where clouds keep a machine's secrets
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocols
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
        "2001::/23",  # protocols, Teredo
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)
"""IANA's special-purpose addresses; Python's own lists differ from version to version."""
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # all else of IPv6 is not the public's
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_ADDRESS = re.compile(r"[^\s\\\x00-\x1f\x7f]+")  # what browsers and libraries read differently


class AddressError(BGRemoveError):
    """An address that is not fetched, or that gave nothing; with one sentence."""


@dataclass(frozen=True)
class Place:
    """Where an address leads: a checked one.

    Attributes:
        secure: over TLS.
        host: the name, as sent to the server.
        port: of the connection.
        path: with its query, quoted.
        addresses: what `host` resolved to, all allowed; a connection is made to one of these.
    """

    secure: bool
    host: str
    port: int
    path: str
    addresses: tuple[SocketAddress, ...]


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public network's hosts.

    Not loopback, private, shared, link-local, reserved, multicast, or an IPv6 address that carries such an
    IPv4 address inside it.

    Args:
        address: as :func:`socket.getaddrinfo` gives it, also with a zone (``fe80::1%eth0``).
    """
    try:
        found: IPAddress = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        elif found in _NAT64:
            found = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        elif found not in _GLOBAL_UNICAST:
            return False
    return not any(found in network for network in _NOT_PUBLIC)


def fetch(
    address: str,
    *,
    max_bytes: int,
    seconds: float = 20.0,
    redirects: int = 4,
    allowed: Callable[[str], bool] = is_public,
    resolve: Resolve | None = None,
) -> bytes:
    """The bytes that a public address has.

    Args:
        address: ``http://`` or ``https://``.
        max_bytes: more than this is refused, if the server says so before it is read.
        seconds: for all of it: names, redirects and the body.
        redirects: followed at most; each is checked as `address` itself.
        allowed: which IP addresses may be connected to; tests allow their own.
        resolve: host and port to socket addresses; the system's resolver without it.

    Raises:
        AddressError: with one sentence that does not tell what a name resolved to.
    """
    end = time.monotonic() + seconds
    host = _shown(address)
    for _ in range(redirects + 1):
        place = check(address, allowed=allowed, resolve=resolve, seconds=end - time.monotonic())
        with _answer(place, end) as (answer, watch):
            if answer.status in (301, 302, 303, 307, 308):
                address = urljoin(address, answer.headers.get("Location", ""))
                continue
            if answer.status != 200:
                raise AddressError(f"{place.host} answered {answer.status}; give the picture's own address")
            return _body(answer, place.host, max_bytes, watch)
    raise AddressError(f"{host} redirects more than {redirects} times; give the last address")


def check(
    address: str,
    *,
    allowed: Callable[[str], bool] = is_public,
    resolve: Resolve | None = None,
    seconds: float = 20.0,
) -> Place:
    """Where an address leads, if it may be gone to.

    Raises:
        AddressError: if it is no web address, has credentials in it, or any of its IP addresses is not
            allowed.
    """
    if not _ADDRESS.fullmatch(address) or len(address) > 4096:
        raise AddressError("the address must be one line without spaces or backslashes, http:// or https://")
    try:
        parts = urlsplit(address)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode("ascii")
    except (UnicodeError, ValueError):
        raise AddressError("the address cannot be understood; expected https://host/path") from None
    if parts.scheme not in ("http", "https"):
        raise AddressError(f"only http and https addresses are fetched; got {_shown(address)}")
    if parts.username is not None or parts.password is not None:
        raise AddressError("the address must not have a user name or a password in it; leave them out")
    if not host:
        raise AddressError("the address has no host; expected https://host/path")
    if port is None:
        port = 443 if parts.scheme == "https" else 80
    if port < 1024 and port not in _LOW_PORTS:
        raise AddressError(f"port {port} is not fetched from; only 80, 443 and those from 1024 are")
    found = _in_time(lambda: (resolve or _resolve)(host, port), seconds, host)
    if not found or not all(allowed(str(one[0])) for one in found):
        raise AddressError(f"{host} is not a public address; only pictures on public addresses are fetched")
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~-._?") if parts.query else ""
    return Place(parts.scheme == "https", host, port, path + query, tuple(found))


def _shown(address: str) -> str:
    """The beginning of an address as a message may show it, without what may be secret in it."""
    scheme, _, rest = address.partition("://")
    shown = re.split(r"[/?#]", rest.rpartition("@")[2] if rest else scheme, maxsplit=1)[0]
    return "".join(letter for letter in shown if letter.isprintable())[:80] or "the address"


def _resolve(host: str, port: int) -> list[SocketAddress]:
    """The system's resolver; it also reads 2130706433, 0177.1 and the like, as the connection would."""
    with contextlib.suppress(OSError, UnicodeError):
        return [one[4] for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    raise AddressError(f"{host} was not found; check the address")


def _in_time(work: Callable[[], T], seconds: float, host: str) -> T:
    """What `work` gives, which has no time limit of its own."""
    results: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put((work(), None))
        except BaseException as error:
            results.put((None, error))

    threading.Thread(target=run, name="bgremove-resolve", daemon=True).start()
    try:
        found, error = results.get(timeout=max(0.0, seconds))
    except queue.Empty:
        raise _too_slow(host) from None
    if error is not None:
        raise error
    return found  # type: ignore[return-value]


def _too_slow(host: str) -> AddressError:
    return AddressError(f"{host} did not answer in time; try again, or send the picture itself")


class _Watch:
    """Ends a connection when its time is over, however slowly the other side drips."""

    def __init__(self, connection: socket.socket, end: float) -> None:
        self.connection, self.over = connection, False
        self._timer = threading.Timer(max(0.0, end - time.monotonic()), self._cut)
        self._timer.daemon = True
        self._timer.start()

    def _cut(self) -> None:
        self.over = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        self._timer.cancel()


@contextlib.contextmanager
def _answer(place: Place, end: float) -> Iterator[tuple[http.client.HTTPResponse, _Watch]]:
    """The answer to one GET, its body unread."""
    connection = _connected(place, end)
    watch = _Watch(connection, end)
    client = http.client.HTTPConnection(place.host, place.port)
    client.sock = connection
    try:
        if isinstance(connection, ssl.SSLSocket):
            connection.do_handshake()
        standard = place.port == (443 if place.secure else 80)
        host = f"[{place.host}]" if ":" in place.host else place.host
        client.putrequest("GET", place.path, skip_host=True, skip_accept_encoding=True)
        client.putheader("Host", host if standard else f"{host}:{place.port}")
        client.putheader("User-Agent", "bgremove")
        client.putheader("Accept", "image/*,*/*;q=0.5")
        client.putheader("Accept-Encoding", "identity")
        client.putheader("Connection", "close")
        client.endheaders()
        with contextlib.closing(client.getresponse()) as answer:
            yield answer, watch
    except ssl.SSLCertVerificationError:
        raise AddressError(f"the certificate of {place.host} cannot be trusted; check the address") from None
    except (OSError, http.client.HTTPException, ValueError):
        raise _too_slow(place.host) if watch.over else _broken(place.host) from None
    finally:
        watch.stop()
        client.close()
        connection.close()


def _broken(host: str) -> AddressError:
    return AddressError(f"the connection to {host} failed; check the address, or send the picture itself")


def _connected(place: Place, end: float) -> socket.socket:
    """A connection to one of the addresses that were checked, and to no other."""
    for address in place.addresses:
        left = end - time.monotonic()
        if left <= 0:
            raise _too_slow(place.host)
        family = socket.AF_INET6 if ":" in str(address[0]) else socket.AF_INET
        plain = socket.socket(family, socket.SOCK_STREAM)
        try:
            plain.settimeout(min(left, 10.0))
            plain.connect(address)
            plain.settimeout(max(0.1, end - time.monotonic()))
            if not place.secure:
                return plain
            context = ssl.create_default_context()
            return context.wrap_socket(plain, server_hostname=place.host, do_handshake_on_connect=False)
        except (OSError, ValueError):
            plain.close()
    raise _broken(place.host)


def _body(answer: http.client.HTTPResponse, host: str, max_bytes: int, watch: _Watch) -> bytes:
    """All of the body, if it is not too long and not cut off."""
    too_large = AddressError(
        f"the file at {host} is larger than the {max_bytes / 1e6:g} MB that are taken; give a smaller one"
    )
    if answer.length is not None and answer.length > max_bytes:
        raise too_large
    body = bytearray()
    while piece := answer.read1(_CHUNK):
        body += piece
        if len(body) > max_bytes:
            raise too_large
    if watch.over:
        raise _too_slow(host)
    if answer.length:
        raise _broken(host)
    return bytes(body)

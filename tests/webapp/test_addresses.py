"""Fetching from addresses that strangers give: real connections to servers of this machine."""

from __future__ import annotations

import contextlib
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bgremove.webapp.addresses import AddressError, SocketAddress, check, fetch, is_public

BODY = b"\x89PNG the bytes of a picture" * 50

INNER = [
    "http://127.0.0.1/",
    "http://127.1/",
    "http://2130706433/",
    "http://0177.0.0.1/",
    "http://0x7f.0.0.1/",
    "http://0x7f000001/",
    "http://localhost/",
    "http://LOCALHOST./",
    "http://0.0.0.0/",
    "http://0/",
    "http://10.1.2.3/",
    "http://172.31.255.255/",
    "http://192.168.0.1/",
    "http://100.64.0.1/",
    "http://100.100.100.200/",
    "http://169.254.169.254/latest/meta-data/",
    "http://2852039166/",
    "http://168.63.129.16/",
    "http://192.0.0.192/",
    "http://198.18.0.1/",
    "http://224.0.0.1/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://[::1]/",
    "http://[::]/",
    "http://[::127.0.0.1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[64:ff9b::127.0.0.1]/",
    "http://[64:ff9b:1::127.0.0.1]/",
    "http://[2002:7f00:1::]/",
    "http://[2002:c0a8:1::1]/",
    "http://[fe80::1]/",
    "http://[fd00:ec2::254]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://①②⑦.⓪.⓪.①/",
]
"""Ways to write addresses that are not the public's."""

NO_ADDRESS = [
    "",
    "photo.jpg",
    "//127.0.0.1/photo.jpg",
    "file:///etc/passwd",
    "ftp://photos.example/a.jpg",
    "gopher://photos.example/",
    "data:image/png;base64,AAAA",
    "javascript:alert(1)",
    "http:///photo.jpg",
    "http://:80/",
    "http://me:secret@photos.example/a.jpg",
    "http://me@photos.example/a.jpg",
    "http://photos.example\\@127.0.0.1/",
    "http://photos.example:22/",
    "http://photos.example:25/",
    "http://photos.example:99999/",
    "http://photos.example:http/",
    "http://[::1/",
    "http://photos.example/a b.jpg",
    "http://photos.example/\r\nX-Injected: 1",
    "http://photos.example/\tb",
    f"http://{'a' * 70}.example/",
    "http://photos.example/" + "a" * 5000,
]
"""What is not fetched whatever it resolves to."""


class Site(ThreadingHTTPServer):
    """A web server with a few bad habits.

    Attributes:
        seen: path and Host of every request.
        elsewhere: where ``/away`` redirects to.
    """

    daemon_threads = True

    def __init__(self, host: str) -> None:
        super().__init__((host, 0), Habits)
        self.seen: list[tuple[str, str]] = []
        self.headers_seen: list[dict[str, str]] = []
        self.elsewhere = ""

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}"


class Habits(BaseHTTPRequestHandler):
    server: Site
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers["Host"]))
        self.server.headers_seen.append(dict(self.headers))
        self.close_connection = True
        match self.path.partition("?")[0]:
            case "/photo":
                self.answer(200, {"Content-Length": str(len(BODY))}, BODY)
            case "/chunked":
                self.answer(200, {"Transfer-Encoding": "chunked"}, b"5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n")
            case "/endless":
                self.answer(200, {"Transfer-Encoding": "chunked"}, b"")
                with contextlib.suppress(OSError):
                    while True:
                        self.wfile.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            case "/large":
                self.answer(200, {"Content-Length": "900000000"}, b"x")
            case "/short":
                self.answer(200, {"Content-Length": "1000"}, b"only this")
            case "/away":
                self.answer(302, {"Location": self.server.elsewhere, "Content-Length": "0"}, b"")
            case "/around":
                self.answer(301, {"Location": "/around", "Content-Length": "0"}, b"")
            case "/nowhere":
                self.answer(302, {"Content-Length": "0"}, b"")
            case "/drip":
                self.drip(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 100)
            case "/drip-body":
                self.answer(200, {"Content-Length": "500"}, b"")
                self.drip(b"x" * 500)
            case "/nonsense":
                self.wfile.write(b"\x00\x01 this is no HTTP\r\n\r\n")
            case _:
                self.answer(404, {"Content-Length": "0"}, b"")

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def drip(self, text: bytes) -> None:
        with contextlib.suppress(OSError):
            for place in range(len(text)):
                self.wfile.write(text[place : place + 1])
                self.wfile.flush()
                time.sleep(0.05)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def at_work(site: Site) -> Iterator[Site]:
    with site:
        thread = threading.Thread(target=site.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield site
        finally:
            site.shutdown()
            thread.join()


@pytest.fixture
def site() -> Iterator[Site]:
    """One that stands for a public site; the tests allow its address."""
    with at_work(Site("127.0.0.1")) as site:
        yield site


def anywhere(address: str) -> bool:
    return True


@pytest.mark.parametrize("address", INNER)
def test_addresses_of_the_inside_are_refused_however_they_are_written(address: str) -> None:
    with pytest.raises(AddressError, match=r"not a public address|was not found|cannot be understood"):
        check(address, seconds=5)  # no more than that: were it wrong, a test should not go there


@pytest.mark.parametrize("address", NO_ADDRESS)
def test_what_is_no_web_address_is_refused_without_asking_any_server(address: str) -> None:
    def resolve(host: str, port: int) -> list[SocketAddress]:
        raise AssertionError("must not be resolved")

    with pytest.raises(AddressError) as caught:
        fetch(address, max_bytes=1000, resolve=resolve)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]
)
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", ["", "photos.example", "2001:db8::1", "203.0.113.5", "2002:a00:1::1"])
def test_documentation_and_nonsense_are_not_public(address: str) -> None:
    assert not is_public(address)


def test_teredo_hides_no_private_address() -> None:
    # The client's address is stored with its bits turned over: 10.0.0.1 is f5ff:fffe.
    assert not is_public("2001:0:4136:e378:8000:63bf:f5ff:fffe")


def test_a_picture_is_fetched(site: Site) -> None:
    assert fetch(f"{site.url}/photo?size=1#top", max_bytes=10_000, allowed=anywhere) == BODY
    assert site.seen == [("/photo?size=1", site.url.removeprefix("http://"))]


def test_a_picture_in_chunks_is_fetched(site: Site) -> None:
    assert fetch(f"{site.url}/chunked", max_bytes=11, allowed=anywhere) == b"firstsecond"


def test_nothing_of_ours_is_sent_along(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9/")
    fetch(f"{site.url}/photo", max_bytes=10_000, allowed=anywhere)
    assert not {"Cookie", "Authorization", "Referer", "X-Api-Key"} & set(site.headers_seen[0])


def test_a_name_is_resolved_once_and_the_checked_address_is_the_one_connected_to(site: Site) -> None:
    answers: list[list[SocketAddress]] = [
        [site.server_address],
        [("10.0.0.1", 80)],
    ]  # a name that changes its mind

    def resolve(host: str, port: int) -> list[SocketAddress]:
        return answers.pop(0)

    asked = f"http://photos.example:{site.server_address[1]}/photo"
    assert fetch(asked, max_bytes=10_000, allowed=lambda one: one == "127.0.0.1", resolve=resolve) == BODY
    assert len(answers) == 1
    assert site.seen == [("/photo", f"photos.example:{site.server_address[1]}")]


def test_one_inner_address_among_public_ones_is_enough_to_refuse() -> None:
    def resolve(host: str, port: int) -> list[SocketAddress]:
        return [("8.8.8.8", port), ("192.168.1.1", port)]

    with pytest.raises(AddressError, match=r"photos\.example is not a public address") as caught:
        check("https://photos.example/", resolve=resolve)
    assert "192.168" not in str(caught.value)  # what our own resolver knows is nobody's business


def test_a_redirect_to_the_inside_is_refused(site: Site) -> None:
    with at_work(Site("127.0.0.2")) as inside:
        site.elsewhere = f"{inside.url}/photo"
        with pytest.raises(AddressError, match="not a public address"):
            fetch(f"{site.url}/away", max_bytes=10_000, allowed=lambda one: one == "127.0.0.1")
        assert site.seen
        assert not inside.seen
        assert fetch(f"{site.url}/away", max_bytes=10_000, allowed=anywhere) == BODY


@pytest.mark.parametrize("elsewhere", ["file:///etc/passwd", "http://me:secret@127.0.0.1/", "http://x\\y/"])
def test_a_redirect_to_what_is_no_web_address_is_refused(site: Site, elsewhere: str) -> None:
    site.elsewhere = elsewhere
    with pytest.raises(AddressError):
        fetch(f"{site.url}/away", max_bytes=10_000, allowed=anywhere)


@pytest.mark.parametrize("path", ["/around", "/nowhere"])
def test_redirects_come_to_an_end(site: Site, path: str) -> None:
    with pytest.raises(AddressError, match="redirects more than 4 times"):
        fetch(f"{site.url}{path}", max_bytes=10_000, allowed=anywhere)
    assert len(site.seen) == 5


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/large", "larger than the 0.01 MB"),
        ("/endless", "larger than the 0.01 MB"),
        ("/short", "connection to 127.0.0.1 failed"),
        ("/nonsense", "connection to 127.0.0.1 failed"),
        ("/missing", "answered 404"),
    ],
)
def test_answers_that_are_no_use_get_a_sentence(site: Site, path: str, sentence: str) -> None:
    began = time.monotonic()
    with pytest.raises(AddressError, match=sentence):
        fetch(f"{site.url}{path}", max_bytes=10_000, seconds=5, allowed=anywhere)
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("path", ["/drip", "/drip-body"])
def test_the_time_is_limited_even_if_bytes_go_on_coming(site: Site, path: str) -> None:
    began = time.monotonic()
    with pytest.raises(AddressError, match="in time"):
        fetch(f"{site.url}{path}", max_bytes=10_000, seconds=0.5, allowed=anywhere)
    assert time.monotonic() - began < 2


def test_a_resolver_that_hangs_is_not_waited_for() -> None:
    done = threading.Event()

    def resolve(host: str, port: int) -> list[SocketAddress]:
        done.wait(10)
        return []

    began = time.monotonic()
    with pytest.raises(AddressError, match="in time"):
        fetch("http://photos.example/", max_bytes=10, seconds=0.3, resolve=resolve)
    done.set()
    assert time.monotonic() - began < 2


def test_a_server_that_is_not_there_gets_a_sentence(site: Site) -> None:
    with Site("127.0.0.1") as gone:
        url = gone.url
    with pytest.raises(AddressError, match="connection to 127.0.0.1 failed"):
        fetch(url, max_bytes=10, allowed=anywhere)


def test_https_needs_a_certificate_that_is_trusted_for_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subject = ["-subj", "/CN=photos.example", "-addext", "subjectAltName=DNS:photos.example"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", "req", "-x509", *kind, *subject, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    site = Site("127.0.0.1")
    site.socket = context.wrap_socket(site.socket, server_side=True)
    port = site.server_address[1]

    def get(name: str) -> bytes:
        return fetch(
            f"https://{name}:{port}/photo",
            max_bytes=10_000,
            allowed=anywhere,
            resolve=lambda host, port: [("127.0.0.1", port)],
        )

    with at_work(site):
        with pytest.raises(AddressError, match="certificate of photos.example cannot be trusted"):
            get("photos.example")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert get("photos.example") == BODY
        with pytest.raises(AddressError, match="certificate of other.example cannot be trusted"):
            get("other.example")

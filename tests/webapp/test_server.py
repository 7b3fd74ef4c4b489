from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
import requests
from flask import Response, request

from bgremove.errors import OptionError
from bgremove.webapp import ServeParams
from bgremove.webapp.server import Server
from tests.webapp.conftest import photo_bytes

Serve = Callable[..., Server]


def page_of(server: Server) -> requests.Session:
    """A session with a visitor's key."""
    session = requests.Session()
    session.headers["X-Visitor"] = session.post(f"{server.url}page/visitors", timeout=10).json()["visitor"]
    return session


def talk(server: Server, data: bytes, more: Iterable[bytes] = (), seconds: float = 10) -> bytes:
    """What the server says to `data` on a connection of its own, while `more` is being sent."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as line:
        line.sendall(data)
        sent = 0
        try:
            for piece in more:
                line.sendall(piece)
                sent += len(piece)
        except OSError:
            pass
        answer = b""
        while True:
            try:
                piece = line.recv(65536)
            except (ConnectionResetError, TimeoutError):
                break
            answer += piece
            if not piece:
                break
    return answer


def test_from_drop_to_download_over_the_wire(serve: Serve, cat: bytes) -> None:
    server = serve()
    session = page_of(server)
    added = session.post(f"{server.url}page/pictures", files={"file": ("cat.jpg", cat)}, timeout=10).json()
    where = f"{server.url}page/pictures/{added['id']}"
    assert session.post(f"{where}/cut", json={}, timeout=20).json()["revision"] == 1
    answer = session.post(f"{where}/result", json={}, timeout=20)
    assert answer.content[:4] == b"\x89PNG"
    assert "Server" not in answer.headers
    zipped = session.post(f"{server.url}page/zip", json={"items": [{"id": added["id"]}]}, timeout=20)
    assert zipped.content[:2] == b"PK"


def test_starting_and_stopping(serve: Serve) -> None:
    first = serve()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", first.url) and first.link == first.url
    assert requests.get(first.url, timeout=10).status_code == 200
    before = threading.active_count()
    first.stop()
    first.stop()
    with pytest.raises(requests.ConnectionError):
        requests.get(first.url, timeout=10)
    assert threading.active_count() < before
    again = Server(ServeParams(port=first.port)).start()  # the port is free at once
    assert requests.get(again.url, timeout=10).status_code == 200
    again.stop()


def test_link_carries_the_token_where_no_server_sees_it(serve: Serve) -> None:
    server = serve(token="open-sesame-1234")
    assert server.link == f"http://127.0.0.1:{server.port}/#token=open-sesame-1234"
    assert server.link_at("https://x.example/") == "https://x.example/#token=open-sesame-1234"
    assert requests.get(f"{server.url}page/config", timeout=10).status_code == 401
    headers = {"X-Api-Key": "open-sesame-1234"}
    assert requests.get(f"{server.url}page/config", headers=headers, timeout=10).status_code == 200


def test_a_port_in_use(serve: Serve) -> None:
    server = serve()
    with pytest.raises(OptionError, match=f"port {server.port} is in use"):
        Server(ServeParams(port=server.port)).start()
    assert requests.get(server.url, timeout=10).status_code == 200


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid"])
def test_hosts_that_are_not_here(host: str) -> None:
    with pytest.raises(OptionError, match="host must be an address"):
        Server(ServeParams(host=host, port=0)).start()


def ipv6_is_here() -> bool:
    """Asked of the system itself, so that a fault of the server's own is not taken for the lack of it."""
    try:
        with socket.socket(socket.AF_INET6) as one:
            one.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not ipv6_is_here(), reason="no IPv6 here")
def test_ipv6() -> None:
    with Server(ServeParams(host="::1", port=0)).start() as server:
        assert server.url == f"http://[::1]:{server.port}/"
        assert requests.get(server.url, timeout=10).status_code == 200


# Bodies that are too large -----------------------------------------------------------------------


def test_a_body_that_says_it_is_too_large(serve: Serve) -> None:
    """2 GB, of which nothing has to be sent for the answer."""
    server = serve(max_upload_mb=1)
    head = b"POST /page/pictures HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000000\r\n\r\n"
    answer = talk(server, head)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {
        "error": "the upload is larger than the 1 MB this server takes; make it smaller"
    }
    assert requests.get(server.url, timeout=10).status_code == 200


@pytest.mark.parametrize("kind", ["length", "chunked", "expect"])
def test_a_body_that_is_too_large_is_not_taken_in(serve: Serve, kind: str) -> None:
    """The answer is heard though the client goes on sending, and nothing of it stays."""
    server = serve(max_upload_mb=1)
    piece = bytes(1 << 20)
    head = b"POST /page/pictures HTTP/1.1\r\nHost: localhost\r\n"
    if kind == "chunked":
        head += b"Transfer-Encoding: chunked\r\n"
        piece = b"%x\r\n%s\r\n" % (len(piece), piece)
    else:
        head += b"Content-Length: 2000000000\r\n"
        head += b"Expect: 100-continue\r\n" if kind == "expect" else b""
    before = _resident()
    answer = talk(server, head + b"\r\n", [piece] * 150)
    assert b"413" in answer.split(b"\r\n")[0] and b"larger than the 1 MB" in answer
    assert _resident() - before < 40e6
    assert requests.get(server.url, timeout=10).status_code == 200


def test_too_many_bodies_at_once(serve: Serve) -> None:
    server = serve(max_upload_mb=1)  # so 2 MB a body, and 16 MB in all
    head = b"POST /page/pictures HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1900000\r\n\r\n"
    lines = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(12)]
    try:
        for line in lines:
            try:
                line.sendall(head + bytes(1_800_000))
            except OSError:
                pass
        refused = 0
        for line in lines:
            line.settimeout(0.5)
            try:
                refused += line.recv(1000).startswith(b"HTTP/1.1 503 ")
            except TimeoutError:
                pass
        assert 1 <= refused <= 5
        assert requests.get(server.url, timeout=10).status_code == 200
    finally:
        for line in lines:
            line.close()


def test_a_file_may_be_as_large_as_the_limit(serve: Serve) -> None:
    server = serve(max_upload_mb=1)
    session = page_of(server)
    photo = photo_bytes()
    for size, status in ((1_000_000, 201), (1_000_001, 413)):
        data = photo + bytes(size - len(photo))
        answer = session.post(f"{server.url}page/pictures", files={"file": ("a.jpg", data)}, timeout=10)
        assert answer.status_code == status, answer.text
    assert "more than the 1 MB this server takes" in answer.json()["error"]


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 50_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nBad Header: x\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"POST /page/visitors HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /page/visitors HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET /%00%0d%0aX:y HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /static/..%2f..%2fconfig.py HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /static/%2e%2e/config.py HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ],
)
def test_malformed_requests(serve: Serve, request_head: bytes) -> None:
    server = serve()
    answer = talk(server, request_head, seconds=3)
    assert re.match(rb"HTTP/1\.[01] (4\d\d|501) ", answer), answer[:200]
    assert b"Traceback" not in answer and b"ServeParams" not in answer
    assert requests.get(server.url, timeout=10).status_code == 200


# Clients that misbehave --------------------------------------------------------------------------


def test_a_client_that_goes_away_gives_up_its_place(serve: Serve) -> None:
    server = serve(workers=1)
    service = server.parts.service
    over = threading.Event()
    blocker = threading.Thread(target=service.run, args=(lambda: over.wait(20),))
    blocker.start()
    session = page_of(server)
    added = session.post(f"{server.url}page/pictures", files={"file": photo_bytes()}, timeout=10).json()
    line = socket.create_connection(("127.0.0.1", server.port))
    line.sendall(
        f"POST /page/pictures/{added['id']}/cut HTTP/1.1\r\nHost: localhost\r\n"
        f"X-Visitor: {session.headers['X-Visitor']!s}\r\n\r\n".encode()
    )
    _until(lambda: service.waiting == 1)
    line.close()
    _until(lambda: service.waiting == 0)
    over.set()
    blocker.join(10)
    _until(lambda: service.working == 0)
    state = session.get(f"{server.url}page/pictures/{added['id']}", timeout=10).json()
    assert state["state"] == "failed"


def test_a_client_that_does_not_read_holds_no_thread_for_ever(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bgremove.webapp.server._STALLED_SECONDS", 0.5)
    server = serve()
    over = threading.Event()

    @server.app.get("/test/long")
    def long() -> Response:
        def pieces() -> Iterator[bytes]:
            try:
                while True:
                    yield bytes(1 << 20)
            finally:
                over.set()

        return Response(pieces())

    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect(("127.0.0.1", server.port))
        line.sendall(b"GET /test/long HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert over.wait(10)
    assert requests.get(server.url, timeout=10).status_code == 200


def test_many_at_once_get_a_picture_or_are_told_to_wait(serve: Serve, cat: bytes) -> None:
    server = serve(workers=2, queue=3, rate=0)
    server.parts.service.load()
    session = page_of(server)
    ids = [
        session.post(f"{server.url}page/pictures", files={"file": cat}, timeout=10).json()["id"]
        for _ in range(20)
    ]
    answers: list[requests.Response] = []

    def cut(id: str) -> None:
        headers = {"X-Visitor": str(session.headers["X-Visitor"])}
        answers.append(
            requests.post(f"{server.url}page/pictures/{id}/cut", json={}, headers=headers, timeout=30)
        )

    threads = [threading.Thread(target=cut, args=(id,)) for id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    codes = [one.status_code for one in answers]
    assert len(codes) == 20 and set(codes) <= {200, 429} and codes.count(200) >= 5
    assert all(int(one.headers["Retry-After"]) >= 1 for one in answers if one.status_code == 429)
    assert server.parts.service.working == server.parts.service.waiting == 0


def test_pictures_are_forgotten_without_any_request(serve: Serve, cat: bytes) -> None:
    server = serve(keep_minutes=0.1)
    session = page_of(server)
    session.post(f"{server.url}page/pictures", files={"file": cat}, timeout=10)
    store = server.parts.store
    assert store.pictures == 1
    for visitor in store._visitors.values():
        visitor.seen -= 10
    _until(lambda: store.pictures == 0)


def test_nothing_of_a_visitor_touches_the_disk(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    server = serve()
    session = page_of(server)
    data = photo_bytes(size=(2800, 2100), kind="PNG")  # more than is kept in memory on the way
    assert len(data) > 3_000_000
    added = session.post(f"{server.url}page/pictures", files={"file": ("n.png", data)}, timeout=20).json()
    where = f"{server.url}page/pictures/{added['id']}"
    cut = session.post(f"{where}/cut", json={}, timeout=30)
    assert cut.status_code == 200, cut.text
    assert len(session.post(f"{where}/result", json={}, timeout=30).content) > 1_000_000
    assert os.listdir(tmp_path) == []


def _resident() -> int:
    if sys.platform != "linux":
        return 0
    with open("/proc/self/status") as file:
        return 1024 * int(re.findall(r"VmRSS:\s+(\d+)", file.read())[0])


def _until(condition: Callable[[], bool], seconds: float = 8) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


# Before the app ----------------------------------------------------------------------------------


HUGE = "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000000\r\n\r\n"


def test_refusals_before_the_app_are_as_the_apps_own(serve: Serve) -> None:
    server = serve(max_upload_mb=1)
    seen: list[tuple[str, int]] = []

    @server.app.after_request
    def note(response: Response) -> Response:  # as the notebook's table does
        seen.append((request.path, response.status_code))
        return response

    page, removebg = (
        talk(server, HUGE.format(path).encode()) for path in ("/page/pictures", "/v1.0/removebg")
    )
    for answer in (page, removebg):
        for header in (
            b"Content-Security-Policy: ",
            b"X-Content-Type-Options: nosniff",
            b"Connection: close",
        ):
            assert answer.count(b"\r\n" + header) == 1, header
    assert page.startswith(b"HTTP/1.1 413 ")
    assert removebg.startswith(b"HTTP/1.1 400 ")
    [error] = json.loads(removebg.partition(b"\r\n\r\n")[2])["errors"]
    assert error["code"] == "file_too_large" and "larger than the 1 MB" in error["detail"]
    assert seen == [("/page/pictures", 413), ("/v1.0/removebg", 400)]
    metrics = requests.get(f"{server.url}metrics", timeout=10).text
    assert 'bgremove_requests_total{method="POST",route="/v1.0/removebg",status="400"} 1.0' in metrics


@pytest.mark.parametrize("token", ["", "X-Api-Key: nothing\r\n", "Cookie: bgremove=nothing\r\n"])
def test_strangers_send_no_bodies(serve: Serve, token: str) -> None:
    server = serve(token="open-sesame-1234")
    head = f"POST /api/remove HTTP/1.1\r\nHost: localhost\r\n{token}Content-Length: 20000000\r\n\r\n"
    assert talk(server, head.encode()).startswith(b"HTTP/1.1 401 ")  # before any of it came
    for path in ("/page/login", "/"):
        method = "POST" if path == "/page/login" else "GET"
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
        assert talk(server, f"{head}Content-Length: 20000000\r\n\r\n".encode()).startswith(b"HTTP/1.1 413 ")
        pieces = [b"4000\r\n" + bytes(0x4000) + b"\r\n"] * 20
        answer = talk(server, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode(), pieces)
        assert answer.startswith(b"HTTP/1.1 413 "), answer[:200]
    login = requests.post(f"{server.url}page/login", json={"token": "open-sesame-1234"}, timeout=10)
    assert login.status_code == 204
    data = {"X-Api-Key": "open-sesame-1234", "Content-Type": "image/jpeg"}
    sent = requests.post(f"{server.url}api/remove", data=photo_bytes(), headers=data, timeout=30)
    assert sent.status_code == 200


@pytest.mark.parametrize("host", [b"\xff", b"a@b", b"[::", b"", b"x" * 5000, b"a b", b"localhost:99999999"])
def test_strange_hosts_before_a_body(serve: Serve, host: bytes) -> None:
    head = b"POST /api/remove HTTP/1.1\r\nHost: " + host + b"\r\nContent-Length: 100000\r\n\r\n"
    assert re.match(rb"HTTP/1\.1 40[03] ", talk(serve(), head, seconds=3))


def test_requests_that_drip_in_keep_no_connection(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bgremove.webapp.server._HEADER_SECONDS", 0.5)
    server = serve()
    for begun in (
        b"GET / HTTP/1.1\r\nX: y",
        b"POST /page/pictures HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as line:
            line.sendall(begun)
            began = time.monotonic()
            with pytest.raises(OSError):
                while time.monotonic() - began < 8:
                    line.sendall(b"y")
                    time.sleep(0.1)
            assert time.monotonic() - began < 5
    assert requests.get(server.url, timeout=10).status_code == 200

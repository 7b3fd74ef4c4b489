"""The public address, end to end through pyngrok: a stand-in of ngrok really forwards on this machine."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bgremove.console import say_nothing
from bgremove.errors import MissingExtraError
from bgremove.webapp import tunnel as module
from bgremove.webapp.tunnel import TokenError, Tunnel, TunnelError, ngrok_token, open_tunnel, qr
from tests.notebooks.notebooks import HERE as NOTEBOOKS
from tests.notebooks.notebooks import ROOT

pytest.importorskip("pyngrok", reason='tunnels need pyngrok: pip install "bgremove[web]"')

AGENT = Path(__file__).with_name("ngrok_agent.py")
TOKEN = "2abcDEFGHijklmnopqrstuvwxyz_0123456789ABCDEFGHIJK"


class Page(BaseHTTPRequestHandler):
    """A page that asks for a token, and says what it was asked with."""

    status = 401

    def do_GET(self) -> None:
        data = json.dumps({"path": self.path, "headers": dict(self.headers.items())}).encode()
        self.send_response(self.server.status if self.path == "/page/config" else 200)  # type: ignore[attr-defined]
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Served(ThreadingHTTPServer):
    """That page on a free port; `status` is its answer to strangers."""

    daemon_threads = True
    status = 401

    @property
    def port(self) -> int:
        return int(self.server_address[1])


@pytest.fixture
def page() -> Iterator[Served]:
    server = Served(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No ngrok, no open address, no file and no filter outlives its test; none asks the network."""
    monkeypatch.delenv(module.SECRET, raising=False)
    monkeypatch.setenv("PYNGROK_NGROK_PATH", str(AGENT))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NO_PROXY", "")
    yield
    assert not module._open
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith("bgremove-ngrok-")] == []
    assert not any(logging.getLogger(name).filters for name in module._LOGGERS)


def get(url: str) -> dict[str, Any]:
    """What a page answers, asked past every proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=20) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def until(true: Callable[[], bool], seconds: float = 15) -> None:
    """Wait for something."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


def agent_of(tunnel: Tunnel) -> int:
    """The process that forwards."""
    return int((tunnel._agent._folder / "pid").read_text(encoding="utf-8"))


def runs(pid: int) -> bool:
    """Whether a process is there, and not only its number."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return False


# Open and closed ---------------------------------------------------------------------------------


def test_the_page_is_reached_through_the_address(page: Served) -> None:
    with open_tunnel(page.port, token=TOKEN) as tunnel:
        assert tunnel.alive()
        answer = get(f"{tunnel.url}/some/path?a=1")
        pid = agent_of(tunnel)
    assert answer["path"] == "/some/path?a=1"
    assert answer["headers"]["X-Forwarded-Proto"] == "https", "it came through the stand-in"
    assert not tunnel.alive() and not runs(pid)
    with pytest.raises(urllib.error.URLError):
        get(tunnel.url)
    tunnel.close()


def test_an_agent_that_is_killed_is_replaced(page: Served) -> None:
    said: list[str] = []
    urls: list[str] = []
    with open_tunnel(page.port, token=TOKEN, say=said.append, on_url=urls.append) as tunnel:
        before = agent_of(tunnel), tunnel.url
        os.kill(before[0], signal.SIGKILL)
        until(lambda: bool(urls))
        assert tunnel.url == urls[0] != before[1] and tunnel.alive()
        assert get(tunnel.url)["path"] == "/"
        assert said[0].startswith("the public address is lost") and tunnel.url in said[-1]
        again = agent_of(tunnel)
        os.kill(again, signal.SIGKILL)  # and a second time
        until(lambda: len(urls) == 2)
        assert get(urls[1])["path"] == "/"
    assert not runs(before[0]) and not runs(again)


def test_an_address_that_ngrok_forgot_is_opened_again(page: Served) -> None:
    from pyngrok import ngrok

    urls: list[str] = []
    with open_tunnel(page.port, token=TOKEN, say=say_nothing, on_url=urls.append) as tunnel:
        ngrok.disconnect(tunnel.url, tunnel._agent._config)
        until(lambda: bool(urls))
        assert get(urls[0])["path"] == "/"


def test_it_is_not_opened_again_for_a_page_that_stands_open_by_now(page: Served) -> None:
    said: list[str] = []
    with open_tunnel(page.port, token=TOKEN, say=said.append) as tunnel:
        page.status = 200
        os.kill(agent_of(tunnel), signal.SIGKILL)
        until(lambda: len(said) == 2)
        assert "lets everybody in" in said[1] and not tunnel.alive()
        page.status = 401
        until(lambda: len(said) == 3)
        assert "open again" in said[2] and get(tunnel.url)["path"] == "/"


def test_a_token_that_is_refused_by_then_ends_it(page: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    tunnel = open_tunnel(page.port, token=TOKEN, say=said.append)
    make = module._Agent
    monkeypatch.setattr(module, "_Agent", lambda port, key, *more: make(port, f"{key}REFUSED", *more))
    os.kill(agent_of(tunnel), signal.SIGKILL)
    until(lambda: not module._open)
    assert said[-1].startswith("the public address stays closed: ngrok refused the token")


def test_two_pages_have_two_addresses(page: Served) -> None:
    other = Served(("127.0.0.1", 0), Page)
    threading.Thread(target=other.serve_forever, args=(0.05,), daemon=True).start()
    with open_tunnel(page.port, token=TOKEN) as one, open_tunnel(other.port, token=TOKEN) as two:
        assert one.url != two.url
        one.close()
        assert get(two.url)["path"] == "/"
    other.shutdown()
    other.server_close()


def test_it_ends_with_the_process_even_if_that_is_killed(page: Served) -> None:
    lines = "import sys, time; from bgremove.webapp.tunnel import open_tunnel\n" + (
        f"tunnel = open_tunnel({page.port}, token={TOKEN!r})\n"
        "print(tunnel._agent._folder / 'pid', flush=True)\n"
    )
    for ending, signalled in (("time.sleep(600)", True), ("raise KeyboardInterrupt", False)):
        command = [sys.executable, "-c", lines + ending]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
        ) as one:
            assert one.stdout is not None and one.stderr is not None
            name = Path(one.stdout.readline().strip())
            if signalled:
                pid = int(name.read_text(encoding="utf-8"))
                assert runs(pid)
                one.kill()
                one.wait(20)
                until(lambda pid=pid: not runs(pid))  # type: ignore[misc]
                until(lambda folder=name.parent: not folder.exists())  # type: ignore[misc]
            else:
                assert "KeyboardInterrupt" in one.stderr.read()
                assert one.wait(20) and not name.parent.exists()


# What goes wrong ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "kind", "says"),
    [
        ("REFUSED", TokenError, "ngrok refused the token"),
        ("MALFORMED", TokenError, "ngrok refused the token"),
        ("TWICE", TunnelError, "has a tunnel open already, in another notebook"),
        ("ONLINE", TunnelError, "has a tunnel open already, in another notebook"),
        ("DIES", TunnelError, "ended as soon as it was started"),
        ("PLAIN", TunnelError, "not encrypted"),
    ],
)
def test_failures_are_sentences_and_nothing_repeats_the_token(
    word: str, kind: type, says: str, page: Served, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    token = f"{TOKEN}{word}"
    with pytest.raises(kind, match=says) as caught:
        open_tunnel(page.port, token=token)
    assert "\n" not in str(caught.value) and "Pyngrok" not in str(caught.value)
    told = capfd.readouterr()
    assert caplog.records, "pyngrok's own log was looked at"
    for text in (str(caught.getrepr(chain=True)), caplog.text, told.out, told.err):
        assert token not in text and TOKEN not in text
    assert told.err == "" and caught.value.__cause__ is None


def test_the_token_is_no_argument_and_no_file_once_ngrok_runs(page: Served) -> None:
    with open_tunnel(page.port, token=TOKEN) as tunnel:
        pid = agent_of(tunnel)
        assert TOKEN.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert TOKEN.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
        folder = tunnel._agent._folder
        assert folder.stat().st_mode & 0o077 == 0
        for path in folder.iterdir():
            assert TOKEN not in path.read_text(encoding="utf-8"), path


def test_an_ngrok_that_says_nothing_is_given_up(page: Served) -> None:
    start = time.monotonic()
    with pytest.raises(TunnelError, match="said nothing for 2 seconds"):
        open_tunnel(page.port, token=f"{TOKEN}SILENT", wait=2)
    assert time.monotonic() - start < 10


def test_one_address_is_enough_for_a_page(page: Served) -> None:
    with open_tunnel(page.port, token=TOKEN) as tunnel:
        with pytest.raises(TunnelError, match="open already") as caught:
            open_tunnel(page.port, token=TOKEN)
        assert tunnel.url in str(caught.value)


@pytest.mark.parametrize("status", [200, 404, 500])
def test_a_page_that_asks_for_no_token_gets_no_address(page: Served, status: int) -> None:
    page.status = status
    with pytest.raises(TunnelError, match="lets everybody in"):
        open_tunnel(page.port, token=TOKEN)


def test_no_page_no_address() -> None:
    with pytest.raises(TunnelError, match="no page answers on port 9"):
        open_tunnel(9, token=TOKEN)


@pytest.mark.parametrize("content", [None, "no program"])
def test_no_program(page: Served, tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "nothing"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(TunnelError, match=f"no ngrok that can be run at {re.escape(str(path))}"):
        open_tunnel(page.port, token=TOKEN, ngrok_path=path)


def test_a_download_that_fails(page: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYNGROK_NGROK_PATH", str(tmp_path / "bin" / "ngrok"))
    with pytest.raises(TunnelError, match="ngrok could not be downloaded") as caught:
        open_tunnel(page.port, token=TOKEN)
    assert len(str(caught.value)) < 300 and "PYNGROK_NGROK_PATH" in str(caught.value)


# The token ---------------------------------------------------------------------------------------


def test_without_a_token_there_is_a_sentence(page: Served) -> None:
    with pytest.raises(TokenError, match="needs an account of ngrok's, which is free") as caught:
        open_tunnel(page.port)
    assert module.SECRET in str(caught.value) and "\n" not in str(caught.value)


def test_ngrok_itself_says_that_there_is_none(page: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the stand-in does it, too, so that the sentence is the same if ours did not notice."""
    monkeypatch.setattr(module, "ngrok_token", lambda token: "")
    with pytest.raises(TokenError, match="needs an account of ngrok's"):
        open_tunnel(page.port)


def test_the_environments_token_is_taken(page: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(module.SECRET, f" {TOKEN}\n")
    assert ngrok_token() == TOKEN
    with open_tunnel(page.port) as tunnel:
        assert get(tunnel.url)["path"] == "/"
    monkeypatch.setenv(module.SECRET, f"{TOKEN}REFUSED")
    with open_tunnel(page.port, token=TOKEN) as tunnel:
        assert get(tunnel.url)["path"] == "/", "the one that is given counts"


@pytest.mark.parametrize(
    "wrong", ["short", "with space in it, really", "a\nb" * 10, 'quote"quote"quote', "é" * 20]
)
def test_what_cannot_be_a_token_is_not_repeated(wrong: str) -> None:
    with pytest.raises(TokenError, match="no token of ngrok's") as caught:
        ngrok_token(wrong)
    assert wrong not in str(caught.value)


def test_colabs_secret_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(module.SECRET, "of_the_environment")
    monkeypatch.setenv("COLAB_STAND_IN", str(tmp_path))
    command = [sys.executable, "-c", "from bgremove.webapp.tunnel import ngrok_token; print(ngrok_token())"]
    paths = os.pathsep.join(map(str, (NOTEBOOKS / "stand_in", ROOT)))
    environment = {**os.environ, "PYTHONPATH": paths}

    def printed() -> str:
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    assert printed() == "of_the_environment\n", "there is no such secret"
    (tmp_path / "secrets.json").write_text(json.dumps({module.SECRET: "of_colabs_secrets"}), encoding="utf-8")
    assert printed() == "of_colabs_secrets\n"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals on Windows")
def test_on_a_terminal_one_is_asked_and_what_is_typed_is_not_shown() -> None:
    import pty

    code = "from bgremove.webapp.tunnel import ngrok_token; print('got', len(ngrok_token()))"
    child, terminal = pty.fork()
    if not child:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-c", code])
    said = b""
    while b"Enter for none): " not in said:
        said += os.read(terminal, 1000)
    time.sleep(0.2)
    os.write(terminal, f"{TOKEN}\n".encode())
    while b"got" not in said or not said.endswith(b"\n"):
        said += os.read(terminal, 1000)
    os.waitpid(child, 0)
    os.close(terminal)
    assert f"got {len(TOKEN)}".encode() in said and TOKEN.encode() not in said


def test_without_the_extra_there_is_a_sentence(page: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyngrok.conf", None)
    with pytest.raises(MissingExtraError, match=r'pip install "bgremove\[web\]"'):
        open_tunnel(page.port, token=TOKEN)
    monkeypatch.setitem(sys.modules, "segno", None)
    with pytest.raises(MissingExtraError, match=r'pip install "bgremove\[web\]"'):
        qr("https://example.com")


# The QR code -------------------------------------------------------------------------------------


def test_the_code_is_the_link() -> None:
    """Read back by OpenCV, from the text and from the drawing."""
    import cv2
    import numpy as np

    link = "https://abcd-12-34.ngrok-free.app/#token=abcDEF_123-xyz"
    rows = qr(link, "text").rstrip("\n").split("\n")
    halves = {"█": (255, 255), "▀": (255, 0), "▄": (0, 255), " ": (0, 0)}
    pixels = [[halves[one][half] for one in row] for row in rows for half in (0, 1)]
    image = np.kron(np.array(pixels, np.uint8), np.ones((8, 8), np.uint8))
    assert cv2.QRCodeDetector().detectAndDecode(image)[0] == link
    assert qr(link).startswith("<svg ") and "<script" not in qr(link)

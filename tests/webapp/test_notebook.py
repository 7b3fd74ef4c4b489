"""What the cells of the web page's notebook call: one page, its frame, its address, its requests, its end."""

from __future__ import annotations

import html
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from bgremove.demo import sample_path
from bgremove.errors import WeightsError
from bgremove.webapp import notebook
from bgremove.webapp.notebook import Asked, Page, RequestLog
from tests.notebooks.notebooks import HERE as NOTEBOOKS
from tests.notebooks.notebooks import ROOT

pytest.importorskip("waitress", reason='the page needs the extra: pip install "bgremove[web]"')

AGENT = Path(__file__).with_name("ngrok_agent.py")
NGROK_TOKEN = "2abcDEFGHijklmnopqrstuvwxyz_0123456789ABCDEFGHIJK"


@pytest.fixture(autouse=True)
def no_page_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PYNGROK_NGROK_PATH", str(AGENT))
    monkeypatch.delenv("NGROK_AUTHTOKEN", raising=False)
    yield
    notebook._stop_all()
    notebook._Table._latest = None  # ends its thread
    until(lambda: not [one for one in threading.enumerate() if one.name == "bgremove-table"])


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What cells show; a thing that is updated is a list of all it was."""
    import IPython.display

    found: list[Any] = []

    class Handle:
        def __init__(self, first: Any) -> None:
            self.all = [first]

        def update(self, other: Any) -> None:
            self.all.append(other)

    def display(thing: Any, *, display_id: bool = False) -> Handle | None:
        handle = Handle(thing) if display_id else None
        found.append(handle.all if handle else thing)
        return handle

    monkeypatch.setattr(IPython.display, "display", display)
    return found


def started(**limits: Any) -> Page:
    """A page with the quickest model."""
    page = notebook.start("contour", **limits)
    assert page is not None
    return page


def ask(url: str, path: str, *, token: str = "", method: str = "GET", **more: Any) -> requests.Response:
    """An answer of a page, past every proxy."""
    with requests.Session() as session:
        session.trust_env = False
        headers = {"X-Api-Key": token, **more.pop("headers", {})} if token else more.pop("headers", {})
        return session.request(
            method, url.rstrip("/") + path, headers=headers, timeout=30, allow_redirects=False, **more
        )


def token_of(link: str) -> str:
    """The secret of a link."""
    return link.partition("#token=")[2]


def until(true: Callable[[], bool], seconds: float = 15) -> None:
    """Wait for something."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


# Start and stop ----------------------------------------------------------------------------------


def test_the_page_answers_whoever_has_the_link(shown: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    page = started(max_megapixels=12)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/#token=[\w-]{32}", page.link)
    assert ask(page.url, "/").status_code == 200
    assert ask(page.url, "/page/config").status_code == 401
    config = ask(page.url, "/page/config", token=token_of(page.link))
    assert config.status_code == 200 and config.json()["limits"]["megapixels"] == 12
    said = capsys.readouterr().out
    assert "contour is ready after" in said and token_of(page.link) not in said
    [frame] = shown
    assert f'<iframe src="{page.link}"' in frame.data and "clipboard-write" in frame.data


def framed_by(url: str, path: str = "/") -> set[str]:
    policy = ask(url, path).headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    [frames] = [part.split()[1:] for part in policy.split("; ") if part.startswith("frame-ancestors ")]
    return set(frames)


def test_it_may_be_framed_by_a_jupyter_of_this_machine_only(shown: list[Any]) -> None:
    page = started()
    for path in ("/", "/page/config", "/static/app.js", "/nowhere"):
        assert framed_by(page.url, path) == {"'self'", "http://localhost:*", "http://127.0.0.1:*"}, path


def test_starting_twice_leaves_one(shown: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    first = started()
    second = started(max_megapixels=3)
    assert (
        notebook._running == [second] and "is stopped, and its pictures are gone" in capsys.readouterr().out
    )
    with pytest.raises(requests.ConnectionError):
        ask(first.url, "/")
    assert first.link != second.link
    assert ask(second.url, "/page/config", token=token_of(first.link)).status_code == 401
    assert ask(second.url, "/page/config", token=token_of(second.link)).status_code == 200


def test_stop_and_stop_again(shown: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    page = started()
    notebook.stop(wanted=False)
    assert ask(page.url, "/").status_code == 200
    notebook.stop()
    with pytest.raises(requests.ConnectionError):
        ask(page.url, "/")
    notebook.stop()
    said = capsys.readouterr().out.splitlines()
    assert said[-3:] == [
        "The page goes on. To stop it, tick STOP (or write STOP = True) and run this cell.",
        "The page is stopped, its addresses are closed, and its pictures are gone.",
        "No page is running.",
    ]


@pytest.mark.parametrize(
    ("model", "limits", "says", "kept"),
    [
        ("nonsense", {}, "unknown remover 'nonsense'", False),
        ("contour", {"max_megapixels": -1}, "max_megapixels must be a number from 0.01 to 1000", True),
        ("contour", {"max_megapixel": 1}, "max_megapixels", True),
        ("onnx:/not/there.onnx", {}, "there.onnx", False),
    ],
)
def test_what_cannot_be_started_is_a_sentence(
    model: str,
    limits: dict[str, Any],
    says: str,
    kept: bool,
    shown: list[Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = started()
    assert notebook.start(model, **limits) is None
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("The page was not started: ") and says in last
    assert notebook._running == ([before] if kept else [])


@pytest.mark.parametrize("error", [KeyboardInterrupt, WeightsError])
def test_an_interrupted_start_leaves_nothing(
    error: type[BaseException], shown: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bgremove.webapp.server import Server

    made: list[Server] = []

    def start(self: Server) -> Server:
        made.append(original(self))
        raise error("now")

    original = Server.start
    monkeypatch.setattr(Server, "start", start)
    if error is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            notebook.start("contour")
    else:
        assert notebook.start("contour") is None
    assert notebook._running == [] and shown == []
    with pytest.raises(requests.ConnectionError):
        ask(made[0].url, "/")


def test_without_a_page_every_cell_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    notebook.open_public()
    assert capsys.readouterr().out == "No page is running: run the cell that starts it first.\n"
    assert "No page is running" in notebook.requests_table().value


def test_all_of_it_ends_with_the_kernel(tmp_path: Path) -> None:
    lines = (
        "from bgremove.webapp import notebook\n"
        "page = notebook.start('contour')\n"
        f"notebook.open_public(token={NGROK_TOKEN!r})\n"
        "print('pid', page.tunnel._agent._folder / 'pid', page.tunnel.url, flush=True)\n"
        "input()\n"
    )
    command = [sys.executable, "-c", lines]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as one:
        assert one.stdout is not None and one.stdin is not None and one.stderr is not None
        said = next(line for line in iter(one.stdout.readline, "") if line.startswith("pid "))
        _, pid, url = said.split()
        assert ask(url, "/").status_code == 200
        one.stdin.write("\n")
        one.stdin.close()
        assert one.wait(30) == 0
        assert "Traceback" not in one.stderr.read()
    assert not Path(pid).parent.exists()
    with pytest.raises(requests.ConnectionError):
        ask(url, "/")


# Colab -------------------------------------------------------------------------------------------


def test_on_colab_its_own_proxy_shows_the_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(NOTEBOOKS / "stand_in")
    monkeypatch.setenv("COLAB_STAND_IN", str(tmp_path))
    try:
        page = started()
        token = token_of(page.link)
        port = page.url.rstrip("/").rpartition(":")[2]
        assert (tmp_path / "calls.txt").read_text(encoding="utf-8") == f"iframe {port} /#token={token}\n"
        colab = {"https://colab.research.google.com", "https://*.googleusercontent.com"}
        assert framed_by(page.url) == {"'self'", *colab}
        # What the frame then asks: through the proxy, by another name, from a page of another site.
        proxied = {
            "Host": f"{port}-m-s-abc.us-central1-0.prod.colab.dev",
            "Origin": "https://abc-colab.googleusercontent.com",
            "Sec-Fetch-Site": "same-origin",
        }
        login = ask(page.url, "/page/login", method="POST", json={"token": token}, headers=proxied)
        assert login.status_code == 204
        for method, path in (("GET", "/page/config"), ("POST", "/page/visitors")):
            answer = ask(page.url, path, method=method, token=token, headers=proxied)
            assert answer.ok, "without a cookie, which does not stick there"
    finally:
        for name in [name for name in sys.modules if name.startswith("google.colab")]:
            del sys.modules[name]
        if "google" in sys.modules:
            vars(sys.modules["google"]).pop("colab", None)


# The public address ------------------------------------------------------------------------------


def test_the_public_address_is_opened_when_wanted(
    shown: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    page = started()
    notebook.open_public(wanted=False)
    assert page.tunnel is None and "tick OPEN" in capsys.readouterr().out
    notebook.open_public(token=NGROK_TOKEN)
    assert page.tunnel is not None
    url, token = page.tunnel.url, token_of(page.link)
    card = shown[-1][-1].data
    assert html.unescape(re.findall(r'href="([^"]+)"', card)[0]) == f"{url}/#token={token}"
    assert "<svg" in card and "Opening" in shown[-1][0].data
    assert NGROK_TOKEN not in card + capsys.readouterr().out
    assert ask(url, "/").status_code == 200
    assert ask(url, "/page/config").status_code == 401
    assert ask(url, "/page/config", token=token).status_code == 200
    notebook.open_public(token=NGROK_TOKEN)  # again: another
    again = page.tunnel.url
    assert again != url and again in shown[-1][-1].data
    assert "is closed" in shown[-2][-1].data or "is closed" in shown[-2][-2].data
    notebook.stop()
    assert "is closed" in shown[-1][-1].data
    for one in (url, again):
        with pytest.raises(requests.ConnectionError):
            ask(one, "/")


def test_a_lost_address_is_shown_anew(shown: list[Any]) -> None:
    page = started()
    notebook.open_public(token=NGROK_TOKEN)
    assert page.tunnel is not None
    before = page.tunnel.url
    os.kill(int((page.tunnel._agent._folder / "pid").read_text(encoding="utf-8")), signal.SIGKILL)
    until(lambda: page.tunnel is not None and page.tunnel.url != before and page.tunnel.alive())
    until(lambda: page.tunnel is not None and page.tunnel.url in shown[-1][-1].data)
    assert any("lost" in one.data for one in shown[-1])


def test_without_ngroks_token_the_page_goes_on(shown: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    page = started()
    notebook.open_public()
    assert "There is no public address: " in capsys.readouterr().out
    notebook.open_public(token=f"{NGROK_TOKEN}REFUSED")
    said = capsys.readouterr().out
    assert said.startswith("There is no public address: ngrok refused the token") and NGROK_TOKEN not in said
    assert page.tunnel is None and "Opening" not in shown[-1][-1].data
    assert ask(page.url, "/").status_code == 200
    notebook.open_public(token=NGROK_TOKEN)
    assert page.tunnel is not None


# The requests ------------------------------------------------------------------------------------


def test_the_table_shows_requests_as_they_come_and_no_names(shown: list[Any]) -> None:
    page = started()
    widget = notebook.requests_table()
    token = token_of(page.link)
    assert "0 requests, 0 refused, 0 failed" in widget.value
    ask(page.url, "/page/config")
    until(lambda: "1 requests, 1 refused" in widget.value)
    visitor = ask(page.url, "/page/visitors", method="POST", token=token).json()["visitor"]
    with open(sample_path("coffee.jpg"), "rb") as file:
        sent = ask(
            page.url,
            "/page/pictures",
            method="POST",
            token=token,
            headers={"X-Visitor": visitor},
            files={"file": ("<b>very private</b>.jpg", file)},
        )
    assert sent.status_code == 201
    number = sent.json()["id"]
    path = f"/page/pictures/{number}/original.jpg"
    assert ask(page.url, path, token=token, headers={"X-Visitor": visitor}).status_code == 200
    ask(page.url, "/<script>alert(1)</script>?token=secret", token=token)
    until(lambda: "5 requests, 2 refused" in widget.value)
    value = html.unescape(widget.value)
    for hidden in ("private", number, visitor, token, "alert", "secret"):
        assert hidden not in value
    assert "/page/pictures/<id>/original.jpg" in re.sub(r"<(string:|int:|)\w+>", "<id>", value)
    assert "<id>" not in widget.value and "<script" not in widget.value, "patterns are escaped"
    assert "(unknown)" in value
    notebook.stop()
    until(lambda: "5 requests, 2 refused, 0 failed · stopped" in widget.value)
    started()
    until(lambda: "0 requests, 0 refused" in widget.value)  # it follows the next one
    other = notebook.requests_table()
    ask(notebook._running[0].url, "/nowhere")
    until(lambda: "1 requests, 1 refused" in other.value)
    assert "0 requests" in widget.value, "the one before it rests"


def test_sums_and_the_last_requests() -> None:
    log = RequestLog()
    for number in range(40):
        log.add(Asked("12:00:00", "GET", "/a", 200, number / 10))
    log.add(Asked("12:00:01", "POST", "/b", 429, 0.5))
    log.add(Asked("12:00:02", "POST", "/b", 500, 1.5))
    log.add(Asked("12:00:03", "GET", "/static/<path:filename>", 304, 0.1))
    a, b, static = log.sums()
    assert (a.method, a.route, a.count, a.refused, a.failed) == ("GET", "/a", 40, 0, 0)
    assert (b.count, b.refused, b.failed, static.count) == (2, 1, 1, 1)
    assert [one.status for one in log.last()[:3]] == [500, 429, 200]
    text = notebook.table(log, "idle")
    assert "43 requests, 1 refused, 1 failed · idle" in text
    assert ">1.950<" in text and ">1.000<" in text, "medians"
    assert text.count("<tr>") == 2 + 12 + 3

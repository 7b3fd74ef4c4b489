"""Ways into the page, and what it does when the server is busy, away, or behind something."""

from __future__ import annotations

import http.server
import io
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image as PILImage
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import make_server

from bgremove.registry import REMOVERS
from bgremove.webapp import ServeParams, create_app
from bgremove.webapp.server import Server
from tests.webapp.browser.blobs import BLOBS
from tests.webapp.browser.hands import done, drop, pixels_of, saved, settled
from tests.webapp.conftest import photo_bytes

if TYPE_CHECKING:
    from playwright.sync_api import FilePayload, Page

    Opener = Callable[..., Page]

TOKEN = "of-these-tests-only"
NO_STORAGE = """for (const name of ["sessionStorage", "localStorage"]) {
    Object.defineProperty(window, name, { get() { throw new DOMException("blocked", "SecurityError"); } });
}"""


@pytest.fixture(scope="module")
def cat() -> bytes:
    return photo_bytes("cat", (300, 200))


@pytest.fixture(scope="module")
def private() -> Iterator[Server]:
    """A server that asks for a token; a page of another site may show it in a frame."""
    with Server(
        ServeParams(port=0, workers=2, rate=0, token=TOKEN), frames=("http://localhost:*",)
    ) as server:
        yield server


@pytest.fixture
def notebook(private: Server) -> Iterator[str]:
    """The address of a page of another site that shows ours in a frame."""
    body = f'<!doctype html><title>n</title><iframe src="{private.link}" width="900" height="700"></iframe>'

    class Notebook(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/" else 204)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body.encode() if self.path == "/" else b"")

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Notebook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_the_link_lets_in_and_the_token_goes_from_the_address(
    open_page: Opener, private: Server, cat: bytes
) -> None:
    page = open_page(private.link)
    assert TOKEN not in page.url
    drop(page, cat_jpg=cat)
    done(page)
    page.reload()  # now the cookie lets in
    done(page)
    page.goto("about:blank")
    page.goto(private.link)  # and the link again
    done(page)
    assert TOKEN not in page.url
    [cookie] = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")


def test_without_the_link_the_token_is_asked_for(open_page: Opener, private: Server) -> None:
    page = open_page(private.url, ready=False, refusals=True)
    page.get_by_label("Token").fill("wrong-token")
    page.keyboard.press("Enter")
    page.locator("#login-error:not(:empty)").wait_for()
    page.get_by_label("Token").fill(private.link)  # all of the link will do
    page.keyboard.press("Enter")
    page.locator("#app[data-ready]").wait_for()


def test_in_a_notebooks_frame_where_cookies_and_storage_are_blocked(
    open_page: Opener, notebook: str, cat: bytes
) -> None:
    page = open_page(notebook, ready=False, script=NO_STORAGE)
    [frame] = page.frames[1:]
    frame.locator("#app[data-ready]").wait_for()
    files: FilePayload = {"name": "cat.jpg", "mimeType": "image/jpeg", "buffer": cat}
    frame.locator("#file").set_input_files(files)
    frame.locator('.thumb[data-state="done"]').wait_for()
    with page.expect_download() as download:
        frame.locator("#download").click()
    assert pixels_of(download.value.path().read_bytes()).shape == (200, 300, 4)


def test_behind_a_prefix(open_page: Opener, cat: bytes) -> None:
    app = create_app(ServeParams(rate=0))

    def nothing(environ: object, start_response: Callable[..., object]) -> list[bytes]:
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"nothing here"]

    server = make_server("127.0.0.1", 0, DispatcherMiddleware(nothing, {"/proxy/8000": app}), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        page = open_page(f"http://127.0.0.1:{server.server_port}/proxy/8000/")
        drop(page, cat_jpg=cat)
        done(page)
        assert pixels_of(saved(page)[1]).shape == (200, 300, 4)
        page.goto("about:blank")
    finally:
        server.shutdown()
        server.server_close()


def test_a_busy_server_is_waited_for(open_page: Opener, cat: bytes) -> None:
    with Server(ServeParams(port=0, workers=1, queue=0, rate=0)) as server:
        page = open_page(server.url, refusals=True)
        drop(page, a_jpg=cat, b_jpg=cat, c_jpg=cat)
        done(page, 3)
        page.goto("about:blank")


def test_a_lost_server_is_said_and_found_again_with_the_pictures(open_page: Opener, cat: bytes) -> None:
    first = Server(ServeParams(port=0, workers=1, rate=0)).start()
    port = int(first.url.rstrip("/").rpartition(":")[2])
    try:
        page = open_page(first.url, refusals=True, ready=True)
        drop(page, cat_jpg=cat)
        done(page)
    finally:
        first.stop()
    drop(page, more_jpg=cat)
    page.locator("#banner", has_text="The server does not answer").wait_for()
    page.click(".thumb:nth-child(1) .thumb-pick")
    with Server(ServeParams(port=port, workers=1, rate=0)):
        page.click("#banner-retry")
        done(page, 2)
        assert not page.locator("#banner").is_visible()
        page.click("#tab-model")
        page.select_option("#model", "grabcut")
        page.click("#apply")  # the new server does not know the first picture: it is sent again
        page.locator("#facts", has_text="grabcut").wait_for()
        page.goto("about:blank")


def test_subjects_are_chosen_in_the_picture_and_in_the_list(
    open_page: Opener, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(REMOVERS, "blobs", BLOBS)
    image = np.full((200, 300, 3), 128, np.uint8)
    for left, colour in ((20, (230, 30, 30)), (120, (30, 200, 30)), (220, (30, 30, 230))):
        image[60:140, left : left + 60] = colour
    file = io.BytesIO()
    PILImage.fromarray(image).save(file, "PNG")
    page = open_page()
    drop(page, blobs_png=file.getvalue())
    done(page)
    assert not page.locator("#tab-subjects").is_visible()
    page.click("#tab-model")
    page.select_option("#model", "blobs")
    page.click("#apply")
    page.click("#tab-subjects")
    names = page.locator(".subject").all_inner_texts()
    assert [one.split(",")[0].strip() for one in names] == ["apple", "leaf", "berry"]
    middles = [50, 150, 250]
    settled(page, lambda pixels: [pixels[100, x, 3] for x in middles] == [255, 255, 255])

    page.locator(".subject", has_text="leaf").click()
    settled(page, lambda pixels: [pixels[100, x, 3] for x in middles] == [255, 0, 255])
    box = page.locator("#frame").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] * 50 / 300, box["y"] + box["height"] / 2)  # the apple's outline
    settled(page, lambda pixels: [pixels[100, x, 3] for x in middles] == [0, 0, 255])
    assert page.locator('.subject[aria-pressed="true"]').all_inner_texts()[0].startswith("berry")
    page.locator(".subject", has_text="berry").click()  # the last one stays
    page.get_by_text("At least one subject stays chosen").first.wait_for()
    alpha = pixels_of(saved(page)[1])[..., 3]
    assert [alpha[100, x] for x in middles] == [0, 0, 255]

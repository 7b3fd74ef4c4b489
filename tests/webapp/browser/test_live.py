"""The live view in a real browser, whose camera sees a photograph that moves."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from flask import Response

from bgremove.webapp import ServeParams
from bgremove.webapp.server import Server
from tests.webapp.browser.camera import camera_file
from tests.webapp.browser.conftest import DESKTOP, PHONE
from tests.webapp.browser.hands import PIXELS, Pixels, pixels_of
from tests.webapp.browser.test_looks import NAMELESS, NARROWEST, SMALL, no_weak_text
from tests.webapp.conftest import photo_bytes

if TYPE_CHECKING:
    from playwright.sync_api import Browser, FilePayload, Page

    Opener = Callable[..., Page]

FAKE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
DENIED = """navigator.mediaDevices.getUserMedia = async () => {
    throw new DOMException("Permission denied", "NotAllowedError");
};"""
INSECURE = 'Object.defineProperty(navigator, "mediaDevices", { value: undefined });'


@pytest.fixture(scope="module")
def filming(launch: Callable[..., Browser], tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """A Chromium whose camera sees a cat."""
    file = camera_file(tmp_path_factory.mktemp("camera") / "cat.mjpeg", size=(320, 240))
    return launch(*FAKE, f"--use-file-for-fake-video-capture={file}")


@pytest.fixture
def live(open_page: Opener, server: Server, filming: Browser) -> Callable[..., Page]:
    """Opens the live view."""

    def live(**options: object) -> Page:
        options = {"permissions": ["camera"], "chromium": filming, **options}
        return open_page(f"{server.url}live", **options)

    return live


def shown(page: Page) -> Pixels:
    """What the canvas shows."""
    width, height, text = page.locator("#canvas").evaluate(PIXELS)
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)


def frames(page: Page) -> int:
    """How many frames were shown."""
    return int(page.locator("#app").get_attribute("data-frames") or 0)


def after(page: Page, count: int) -> None:
    """Wait until so many frames more were shown."""
    wanted = frames(page) + count
    for _ in range(300):
        if frames(page) >= wanted:
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"only {frames(page)} frames of {wanted}")


def started(page: Page) -> Page:
    """The camera is on, and frames come."""
    page.click("#start")
    page.locator("#canvas").wait_for()
    after(page, 3)
    return page


def test_the_subject_stands_over_nothing_a_colour_a_picture_and_blur(
    live: Callable[..., Page], artifacts: Path
) -> None:
    page = started(live())
    page.locator("#rate", has_text="fps").wait_for()
    pixels = shown(page)
    assert pixels.shape == (240, 320, 4)
    clear, solid = pixels[..., 3] == 0, pixels[..., 3] == 255
    assert 0.02 < clear.mean() < 0.9 and solid.mean() > 0.1
    page.screenshot(path=artifacts / "live-none.png")

    page.click('.tile[data-kind="colour"]')
    page.click('.swatch[data-value="#2f6fde"]')
    after(page, 2)
    pixels = shown(page)
    assert (pixels[..., 3] == 255).all()
    behind = (pixels[..., :3] == (0x2F, 0x6F, 0xDE)).all(axis=2)
    assert 0.02 < behind.mean() < 0.9

    picture = photo_bytes("coffee", (64, 48))
    page.set_input_files("#backdrop-file", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": picture})
    page.locator('.tile[data-kind="picture"][aria-checked="true"]').wait_for()
    after(page, 2)
    assert not (shown(page)[..., :3] == (0x2F, 0x6F, 0xDE)).all(axis=2).any()
    page.screenshot(path=artifacts / "live-picture.png")

    page.click('.tile[data-kind="blur"]')
    after(page, 2)
    blurred = shown(page)
    assert (blurred[..., 3] == 255).all()
    page.screenshot(path=artifacts / "live-blur.png")


def test_no_more_than_two_frames_are_on_their_way(live: Callable[..., Page]) -> None:
    script = """{
        const real = window.fetch;
        window.most = window.now = 0;
        window.fetch = async (address, options) => {
            if (!String(address).includes("page/live/")) return real(address, options);
            window.most = Math.max(window.most, ++window.now);
            try {
                const answer = await real(address, options);
                await new Promise((done) => setTimeout(done, 120)); // a slow network
                return answer;
            } finally {
                window.now--;
            }
        };
    }"""
    page = started(live(script=script))
    after(page, 12)
    assert page.evaluate("window.most") == 2
    page.click("#stop")


def test_stop_ends_it_here_and_on_the_server(live: Callable[..., Page], server: Server) -> None:
    page = started(live())
    assert server.parts.live.count >= 1
    with page.expect_response(lambda one: one.request.method == "DELETE" and "/page/live/" in one.url):
        page.click("#stop")
    assert page.locator("#begin").is_visible() and not page.locator("#canvas").is_visible()
    before = frames(page)
    page.wait_for_timeout(400)
    assert frames(page) == before
    assert page.evaluate("document.querySelector('#camera').srcObject") is None
    started(page)


def test_a_server_that_forgot_it_gets_a_new_session(live: Callable[..., Page], server: Server) -> None:
    page = started(live(refusals=True))
    server.parts.live.close()
    after(page, 4)
    assert page.locator("#canvas").is_visible()


def test_a_server_that_is_gone_is_said_and_it_goes_on_when_it_is_back(
    open_page: Opener, filming: Browser
) -> None:
    server = Server(ServeParams(port=0)).start()
    try:
        page = open_page(f"{server.url}live", permissions=["camera"], chromium=filming, refusals=True)
        started(page)
        port = server.port
        server.stop()
        page.locator("#problem", has_text="does not answer").wait_for()
        server = Server(ServeParams(port=port)).start()
        after(page, 3)
        page.locator("#problem").wait_for(state="hidden")
    finally:
        server.stop()


def test_what_is_saved_is_what_is_shown(live: Callable[..., Page]) -> None:
    page = started(live())
    page.click('.tile[data-kind="transparent"]')
    after(page, 2)
    with page.expect_download() as download:
        page.click("#snap")
    name = download.value.suggested_filename
    pixels = pixels_of(download.value.path().read_bytes())
    assert name.startswith("live-") and name.endswith(".png")
    assert pixels.shape == (240, 320, 4)
    assert (pixels[..., 3] == 0).any() and (pixels[..., 3] == 255).any()


def test_a_mirror_turns_the_subject_but_not_the_picture_behind(live: Callable[..., Page]) -> None:
    page = started(live())
    colours = np.zeros((48, 64, 3), np.uint8)
    colours[:, :32, 0] = colours[:, 32:, 2] = 255  # red on the left, blue on the right
    file: FilePayload = {"name": "a.png", "mimeType": "image/png", "buffer": _png(colours)}
    page.set_input_files("#backdrop-file", file)
    page.locator('.tile[data-kind="picture"][aria-checked="true"]').wait_for()
    sides = []
    for _ in range(2):
        seen = np.zeros(2, int)
        for _ in range(6):  # the subject moves, and hides now this side, now that
            after(page, 2)
            pixels = shown(page)[..., :3].astype(int)
            red = (pixels == (255, 0, 0)).all(axis=2)
            blue = (pixels == (0, 0, 255)).all(axis=2)
            assert not red[:, 162:].any() and not blue[:, :158].any()
            seen += red.sum(), blue.sum()
        sides.append(seen[0] > seen[1])
        page.click("#mirror")
    assert sides[0] != sides[1]  # the subject stands on the other side then


def _png(pixels: Pixels) -> bytes:
    import io

    from PIL import Image as PILImage

    file = io.BytesIO()
    PILImage.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("script", "words"), [(DENIED, "allow it beside the address"), (INSECURE, "pages that come by https")]
)
def test_without_a_camera_it_says_why(
    live: Callable[..., Page], artifacts: Path, script: str, words: str
) -> None:
    page = live(script=script)
    page.click("#start")
    page.locator("#begin-text", has_text=words).wait_for()
    assert page.locator("#start").inner_text() == "Try again"
    no_weak_text(page)
    page.screenshot(path=artifacts / "live-denied.png")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["desktop", "phone"])
def test_how_it_looks(live: Callable[..., Page], artifacts: Path, scheme: str, kind: str) -> None:
    page = live(color_scheme=scheme, **(PHONE if kind == "phone" else DESKTOP))
    no_weak_text(page)
    page.screenshot(path=artifacts / f"live-{kind}-{scheme}-begin.png")
    started(page)
    page.click('.tile[data-kind="colour"]')
    page.click('.swatch[data-value="#f2c14e"]')
    after(page, 3)
    no_weak_text(page)
    assert page.evaluate(NAMELESS) == []
    assert page.evaluate(SMALL, NARROWEST) == []
    wide = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0
    assert page.evaluate("() => document.documentElement.scrollHeight <= innerHeight")
    page.screenshot(path=artifacts / f"live-{kind}-{scheme}.png")


def test_in_a_frame_with_the_token_only(filming: Browser, open_page: Opener) -> None:
    """As a notebook shows it: in another site's frame, where no cookie sticks."""
    outside = Server(ServeParams(port=0))
    link = ""

    def framing() -> Response:
        html = f'<iframe allow="camera" width="900" height="600" src="{link}"></iframe>'
        return Response(
            html, headers={"Content-Security-Policy": "frame-src *", "Permissions-Policy": "camera=*"}
        )

    outside.app.add_url_rule("/frame.html", view_func=framing)
    with outside:
        site = outside.url.replace("127.0.0.1", "localhost")
        with Server(ServeParams(port=0, token="a-token-of-mine"), frames=(site.rstrip("/"),)) as server:
            link = server.link.replace("/#", "/live#")
            page = open_page(f"{site}frame.html", ready=False, chromium=filming, refusals=True)
            inside = page.frame_locator("iframe")
            inside.locator("#app[data-ready]").wait_for()
            inside.locator("#start").click()
            inside.locator("#rate", has_text="fps").wait_for()
            assert not inside.locator("#go-pictures").is_visible()


def test_the_page_leads_there_and_back(open_page: Opener, filming: Browser, server: Server) -> None:
    page = open_page(chromium=filming, permissions=["camera"])
    page.click("#go-live")
    page.locator("#start").wait_for()
    assert page.url == f"{server.url}live"
    page.click("#go-pictures")
    page.locator("#welcome").wait_for()

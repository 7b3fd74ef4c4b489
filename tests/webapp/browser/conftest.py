"""A Chromium, a server with the shipped network, and pages that must not complain."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bgremove.webapp import ServeParams
from bgremove.webapp.server import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

    Opener = Callable[..., Page]

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
ARTIFACTS = Path(__file__).parents[3] / "artifacts"
DESKTOP = {"viewport": {"width": 1360, "height": 840}}
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
}
REFUSED = ("status of 4", "status of 503", "net::ERR_")  # a browser says so by itself

READ_BACK = "willReadFrequently"  # said because the tests read canvases


@pytest.fixture(scope="package")
def launch() -> Iterator[Callable[..., Browser]]:
    """Starts the Chromium that is installed, with more flags."""
    playwright_api = pytest.importorskip(
        "playwright.sync_api", reason='browsers are driven with Playwright: pip install -e ".[test]"'
    )
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    started = []
    with playwright_api.sync_playwright() as playwright:

        def launch(*flags: str) -> Browser:
            browser: Browser = playwright.chromium.launch(executable_path=found, args=[*FLAGS, *flags])
            started.append(browser)
            return browser

        yield launch
        for browser in started:
            browser.close()


@pytest.fixture(scope="package")
def browser(launch: Callable[..., Browser]) -> Browser:
    """A Chromium that is installed."""
    return launch()


@pytest.fixture(scope="package")
def server() -> Iterator[Server]:
    """The page's server, on loopback without a token."""
    with Server(ServeParams(port=0, workers=2, rate=0, videos=100, live=100)) as server:
        yield server


@pytest.fixture
def open_page(browser: Browser, server: Server) -> Iterator[Opener]:
    """Opens pages; whatever a page complains of in its console fails the test.

    Args of what it gives: `address` (the server's own by default); `chromium`, if not the usual
    one; `refusals` True if the server is to refuse something; `ready` False to not wait until it can
    be used; `script` runs before the page's own; the rest is for the browser's context.
    """
    complaints: list[str] = []
    contexts = []

    def open_page(
        address: str = "", *, refusals: bool = False, ready: bool = True, script: str = "", **options: Any
    ) -> Page:
        chromium = options.pop("chromium", browser)
        context = chromium.new_context(**{**DESKTOP, "accept_downloads": True, **options})
        context.set_default_timeout(15_000)
        contexts.append(context)
        if script:
            context.add_init_script(script)
        page: Page = context.new_page()

        def heard(message: ConsoleMessage) -> None:
            expected = refusals and any(one in message.text for one in REFUSED)
            if message.type in ("error", "warning") and not expected and READ_BACK not in message.text:
                complaints.append(f"{message.type}: {message.text}")

        page.on("console", heard)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address or server.url)
        if ready:
            page.locator("#app[data-ready]").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="package")
def artifacts() -> Path:
    """Where the pictures of pages go, to be looked at; git ignores it."""
    ARTIFACTS.mkdir(exist_ok=True)
    return ARTIFACTS

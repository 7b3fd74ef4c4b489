"""The notebook in JupyterLab and a real browser: all cells are run, a slider is moved, Run is pressed.

The pictures of the page go into ``artifacts/``, to be looked at.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.notebooks.notebooks import BACKGROUND_REMOVAL, ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

playwright_api = pytest.importorskip(
    "playwright.sync_api", reason='browsers are driven with Playwright: pip install -e ".[test]"'
)

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
TOKEN = "of-this-test-only"
SETTINGS = {
    # Every cell is in the page, also where it is not in view; and nothing is asked of the network.
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
WAIT = 240_000  # milliseconds, on a machine that has much else to do
BADGE = """<svg xmlns="http://www.w3.org/2000/svg" width="117" height="20">
<rect width="117" height="20" rx="4" fill="#555"/>
<text x="15" y="14" fill="#fff" font-family="sans-serif" font-size="11">Open in Colab</text></svg>"""
NOWHERE = "http://127.0.0.1:9"

FINISHED = """() => {
    const panel = window.jupyterapp.shell.currentWidget;
    const cells = panel.content.widgets.filter(one => one.model.type === 'code');
    return cells.every(one => one.model.executionCount > 0);
}"""


@pytest.fixture(scope="module")
def browser() -> str:
    """A Chromium's path."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    return found


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a JupyterLab of its own that has a copy of the notebook."""
    folder = tmp_path_factory.mktemp("lab")
    root = folder / "root"
    root.mkdir()
    shutil.copy(BACKGROUND_REMOVAL, root)
    for name, values in SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"},
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), NOWHERE),
        **{"PYTHONPATH": str(ROOT), "PIP_NO_INDEX": "1", "BGREMOVE_HOME": str(folder / "home")},
        **{"JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "JUPYTER_CONFIG_DIR": str(folder / "config")},
        **{"JUPYTERLAB_WORKSPACES_DIR": str(folder / "spaces"), "IPYTHONDIR": str(folder / "ipython")},
        **{"JUPYTER_DATA_DIR": str(folder / "data"), "JUPYTER_RUNTIME_DIR": str(folder / "run")},
        **{"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
    }
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser"),
        *(f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}"),
        f"--ServerApp.root_dir={root}",
    ]
    log = folder / "log.txt"
    with log.open("wb") as file:
        server = subprocess.Popen(
            command, cwd=root, env=environment, stdout=file, stderr=file, start_new_session=True
        )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(f"{address}/api/status?token={TOKEN}", server, log)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)  # its kernels with it
        server.wait(60)


def wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Until something answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(600):
        assert server.poll() is None, log.read_text(encoding="utf-8", errors="replace")
        try:
            with opener.open(address, timeout=10):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(log.read_text(encoding="utf-8", errors="replace"))


@pytest.fixture(scope="module")
def page(lab: str, browser: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The notebook's page, after all its cells have run."""
    profile = tmp_path_factory.mktemp("profile")
    with playwright_api.sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=browser,
            headless=True,
            args=list(FLAGS),
            viewport={"width": 1440, "height": 7600},
        )
        context.set_default_timeout(WAIT)
        [page] = context.pages
        # What would come from the web comes from here, or not at all.
        context.route(lambda url: not url.startswith(lab), lambda route: route.abort())
        context.route("**/main/docs/demo.jpg", lambda route: route.fulfill(path=ROOT / "docs" / "demo.jpg"))
        context.route(
            "**/colab-badge.svg", lambda route: route.fulfill(body=BADGE, content_type="image/svg+xml")
        )
        page.goto(f"{lab}/lab/tree/{BACKGROUND_REMOVAL.name}?token={TOKEN}")
        page.wait_for_function("() => window.jupyterapp?.shell?.currentWidget?.content?.widgets?.length > 5")
        page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.ready.then(() => true)")
        page.evaluate("() => void window.jupyterapp.commands.execute('notebook:run-all-cells')")
        page.wait_for_function(FINISHED, polling=500)
        yield page
        context.close()


@pytest.fixture(scope="module", autouse=True)
def pictures(page: Page) -> Iterator[Path]:
    """Where the page's pictures go: one before, one after the tests."""
    folder = ROOT / "artifacts"
    folder.mkdir(exist_ok=True)
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    page.wait_for_timeout(1500)
    page.screenshot(path=folder / "notebook.png")
    yield folder
    page.screenshot(path=folder / "notebook-after.png")


def app_of(page: Page, cell: str) -> Locator:
    """The form that a cell shows."""
    number = next(
        index
        for index, one in enumerate(json.loads(BACKGROUND_REMOVAL.read_text(encoding="utf-8"))["cells"])
        if one["id"] == cell
    )
    return page.locator(".jp-Notebook-cell").nth(number).locator(".bgremove-app").first


def picture_of(app: Locator) -> str:
    """The last picture that a form shows, as its address."""
    source = app.locator(".bgremove-view img, .bgremove-steps img").last.get_attribute("src")
    assert source and source.startswith("data:image/")
    return source


def test_no_cell_failed_and_every_form_is_there(page: Page) -> None:
    errors = page.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]')
    assert errors.all_inner_texts() == []
    for cell in ("form", "detectron2", "classical"):
        assert app_of(page, cell).is_visible(), cell


def test_the_shipped_networks_form_shows_a_result_at_once(page: Page) -> None:
    assert picture_of(app_of(page, "form"))


def test_detectron2s_form_says_what_is_missing(page: Page) -> None:
    sentence = app_of(page, "detectron2").locator(".bgremove-error").first.inner_text()
    reasons = ("bgremove setup detectron2", "torchvision", "could not be downloaded")
    assert any(reason in sentence for reason in reasons), sentence
    assert "Traceback" not in sentence


def test_a_moved_slider_and_run_change_the_picture(page: Page) -> None:
    app = app_of(page, "classical")
    before = picture_of(app)
    handle = app.locator(".widget-slider .noUi-handle").first
    handle.focus()
    for _ in range(12):
        handle.press("ArrowRight")
    app.locator(".bgremove-run").first.click()
    page.wait_for_function(
        "([node, before]) => [...node.querySelectorAll('.bgremove-view img, .bgremove-steps img')].at(-1)"
        "?.src !== before",
        arg=[app.element_handle(), before],
    )
    assert picture_of(app) != before


def test_the_figure_of_all_methods_is_shown(page: Page) -> None:
    figures = page.locator(".jp-OutputArea-output img[src^='data:image/jpeg']")
    assert figures.count() >= 2
    widths = [figure.evaluate("one => one.naturalWidth") for figure in figures.all()]
    assert max(widths) >= 1000


def test_the_upload_button_shows_no_number_of_files(page: Page) -> None:
    style = "one => [getComputedStyle(one).fontSize, getComputedStyle(one, '::after').content]"
    assert page.locator(".bgremove-upload").first.evaluate(style) == ["0px", '"Upload photos"']

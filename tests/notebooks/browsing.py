"""Notebooks in JupyterLab and a real browser."""

from __future__ import annotations

import contextlib
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.notebooks.notebooks import ROOT, read_notebook

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

OPENED = """name => {
    const panel = window.jupyterapp?.shell?.currentWidget;
    return panel?.context?.path === name && panel.content?.widgets?.length > 5;
}"""
FINISHED = """() => {
    const panel = window.jupyterapp.shell.currentWidget;
    const cells = panel.content.widgets.filter(one => one.model.type === 'code');
    return cells.every(one => one.model.executionCount > 0);
}"""


@contextlib.contextmanager
def all_run(
    lab: str,
    browser: str,
    notebook: Path,
    profile: Path,
    *,
    height: int,
    allowed: Callable[[str], bool] = lambda url: False,
    flags: Sequence[str] = (),
) -> Iterator[Page]:
    """A notebook's page, after all its cells have run.

    Args:
        lab: a JupyterLab's address.
        browser: a Chromium's path.
        profile: an empty folder.
        height: of the window.
        allowed: which addresses besides the lab's may be asked; nothing else comes from the web.
        flags: more of the browser's.
    """
    with playwright_api.sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=browser,
            headless=True,
            args=[*FLAGS, *flags],
            viewport={"width": 1440, "height": height},
        )
        context.set_default_timeout(WAIT)
        [page] = context.pages
        # What would come from the web comes from here, or not at all.
        context.route(lambda url: not (url.startswith(lab) or allowed(url)), lambda route: route.abort())
        context.route("**/main/docs/demo.jpg", lambda route: route.fulfill(path=ROOT / "docs" / "demo.jpg"))
        context.route(
            "**/colab-badge.svg", lambda route: route.fulfill(body=BADGE, content_type="image/svg+xml")
        )
        # In a workspace of its own: in the common one the notebook of another test would open, too.
        page.goto(f"{lab}/lab/workspaces/{notebook.stem}/tree/{notebook.name}?token={TOKEN}")
        page.wait_for_function(OPENED, arg=notebook.name)
        page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.ready.then(() => true)")
        page.evaluate("() => void window.jupyterapp.commands.execute('notebook:run-all-cells')")
        page.wait_for_function(FINISHED, polling=500)
        page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
        page.wait_for_timeout(1500)
        yield page
        context.close()


def cell_of(page: Page, notebook: Path, cell: str) -> Locator:
    """A cell and what it shows."""
    ids = [one["id"] for one in read_notebook(notebook)["cells"]]
    return page.locator(".jp-Notebook-cell").nth(ids.index(cell))


def errors_of(page: Page) -> list[str]:
    """What failed, of all cells."""
    kind = "application/vnd.jupyter.error"
    return page.locator(f'.jp-OutputArea-output[data-mime-type="{kind}"]').all_inner_texts()


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

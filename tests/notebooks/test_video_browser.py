"""Video_Background.ipynb in JupyterLab and a real browser with a camera that Chromium makes up.

JupyterLab is at ``localhost`` and the live view at ``127.0.0.1``: two sites to a browser, as on Colab. The
pictures go into ``artifacts/``, to be looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.notebooks.browsing import all_run, cell_of, errors_of
from tests.notebooks.notebooks import ROOT, VIDEO

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest.importorskip("waitress", reason='the live view needs the extra: pip install "bgremove[web]"')
pytest.importorskip("av", reason='videos need the extra: pip install "bgremove[video]"')

CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")

# How much of the page's colour is around the subject, and whether time goes on.
PLAYED = """async node => {
    const video = node.querySelector('video');
    video.pause();
    const seek = at => new Promise(done => { video.onseeked = done; video.currentTime = at; });
    await seek(0.5);
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    const context = canvas.getContext('2d', {willReadFrequently: true});
    context.drawImage(video, 0, 0);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    let clear = 0, solid = 0;
    for (let at = 3; at < data.length; at += 4) { clear += data[at] < 10; solid += data[at] > 245; }
    return {clear: clear / (data.length / 4), solid: solid / (data.length / 4), seconds: video.duration};
}"""


@pytest.fixture(scope="module")
def page(lab: str, browser: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The notebook's page, after all its cells have run."""
    profile = tmp_path_factory.mktemp("profile")
    elsewhere = lab.replace("127.0.0.1", "localhost")
    with all_run(elsewhere, browser, VIDEO, profile, height=3600, allowed=is_here, flags=CAMERA) as page:
        yield page


def is_here(url: str) -> bool:
    """Whether an address is of this machine."""
    return urlsplit(url).hostname == "127.0.0.1" or urlsplit(url).scheme in ("blob", "data")


@pytest.fixture(scope="module", autouse=True)
def pictures(page: Page) -> Iterator[Path]:
    """Where the page's pictures go: before and after the tests."""
    folder = ROOT / "artifacts"
    folder.mkdir(exist_ok=True)
    page.screenshot(path=folder / "video-notebook.png")
    yield folder
    page.screenshot(path=folder / "video-notebook-after.png")


def test_no_cell_failed(page: Page) -> None:
    assert errors_of(page) == []
    assert "sample.mp4: 480 x 360" in cell_of(page, VIDEO, "clip").inner_text()
    assert "sample-cutout.webm: " in cell_of(page, VIDEO, "cut").inner_text()


def test_the_result_plays_and_the_page_shows_through(page: Page) -> None:
    player = cell_of(page, VIDEO, "play").locator(".bgremove-play")
    seen = player.evaluate(PLAYED)
    assert seen["clear"] > 0.2 and seen["solid"] > 0.2 and 2.9 < seen["seconds"] < 3.2
    player.locator("input[type=color]").fill("#3366ff")
    colour = player.evaluate("one => getComputedStyle(one).backgroundColor")
    assert colour == "rgb(51, 102, 255)"


def test_the_camera_is_cut_out_live_in_the_frame(page: Page, pictures: Path) -> None:
    cell = cell_of(page, VIDEO, "live")
    cell.scroll_into_view_if_needed()
    frame = cell.frame_locator("iframe")
    frame.locator("#start").click()
    rate = frame.locator("#rate")
    rate.filter(has_text=re.compile(r"\d+ fps")).wait_for()
    shown = next(one for one in page.frames if urlsplit(one.url).path == "/live")
    count = "() => Number(document.querySelector('#app').dataset.frames ?? 0)"
    before = shown.evaluate(count)
    shown.wait_for_function(f"before => ({count})() > before + 5", arg=before)
    page.screenshot(path=pictures / "video-notebook-live.png")
    frame.locator("#stop").click()
    frame.locator("#start").wait_for()

"""A video on the page: dropped, looked at, cut out, played, saved; and what can go wrong."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image as PILImage

from bgremove.demo import sample_path
from bgremove.webapp import ServeParams
from bgremove.webapp.server import Server
from tests.webapp.browser.conftest import DESKTOP, PHONE
from tests.webapp.browser.hands import DROP, PIXELS, Pixels, done, drop
from tests.webapp.browser.test_looks import NAMELESS, NARROWEST, SMALL, no_weak_text
from tests.webapp.conftest import photo_bytes

pytest.importorskip("av", reason='videos are read with PyAV: pip install -e ".[video]"')

from bgremove.video.reading import open_video  # noqa: E402
from tests.video.clips import Clip, clip  # noqa: E402

if TYPE_CHECKING:
    from playwright.sync_api import FilePayload, Page

    Opener = Callable[..., Page]

WAIT = 60_000  # milliseconds for a video


@pytest.fixture(scope="module")
def disc(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """Two seconds of a disc, with sound."""
    return clip(tmp_path_factory.mktemp("clips") / "disc.mp4", frames=36, size=(144, 192), sound=True)


@pytest.fixture(scope="module")
def cat(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """A photograph that moves, long enough to be stopped."""
    size = (240, 360)
    with PILImage.open(sample_path("cat.jpg")) as photo:
        pixels = np.asarray(photo.convert("RGB").resize((420, 280)))
    images = []
    for number in range(160):
        y, x = (round(30 * (1 + wave(number / 25))) - 12 for wave in (math.sin, math.cos))
        y, x = min(max(y, 0), 40), min(max(x, 0), 60)
        images.append(np.ascontiguousarray(pixels[y : y + size[0], x : x + size[1]]))
    path = tmp_path_factory.mktemp("clips") / "cat.mp4"
    return clip(path, frames=160, size=size, images=images, sound=True)


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server of the test's own."""
    with Server(ServeParams(port=0, workers=2, rate=0)) as server:
        yield server


def state(page: Page, wanted: str) -> None:
    """Wait until the video is so far."""
    page.locator(f'#app[data-video="{wanted}"]').wait_for(timeout=WAIT)


def added(page: Page, video: Clip) -> None:
    """Choose a video, and wait for its first frame."""
    page.set_input_files("#file", str(video.path))
    state(page, "new")
    page.locator("#video-stage .pill").wait_for(state="hidden", timeout=WAIT)


def shown(page: Page) -> Pixels:
    """The canvas of the stage."""
    width, height, text = page.locator("#video-stage canvas").evaluate(PIXELS)
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)


def made(page: Page) -> None:
    """Cut it out, and wait for the end."""
    page.click("#video-go")
    state(page, "done")


def saved(page: Page, folder: Path) -> tuple[Path, list[Any]]:
    """Download the result: the file and its frames."""
    with page.expect_download() as download:
        page.click("#video-save")
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    with open_video(path) as video:
        return path, list(video)


def overlap(alpha: Any, other: Any) -> float:
    """Soft intersection over union."""
    return float(np.minimum(alpha, other).sum() / np.maximum(alpha, other).sum())


def test_a_dropped_video_is_looked_at_cut_out_played_and_saved(
    open_page: Opener, disc: Clip, tmp_path: Path
) -> None:
    page = open_page()
    data = base64.b64encode(disc.path.read_bytes()).decode()
    transfer = page.evaluate_handle(DROP, [("disc.mp4", "video/mp4", data)])
    page.dispatch_event("#app", "drop", {"dataTransfer": transfer})
    state(page, "new")
    page.locator("#video-stage .pill").wait_for(state="hidden", timeout=WAIT)
    still = shown(page)
    assert still.shape == (144, 192, 4)
    assert overlap(still[..., 3] / 255, disc.alphas[0]) > 0.8

    page.locator("#video-time").fill("0.9")
    page.wait_for_timeout(300)
    page.locator("#video-stage .pill").wait_for(state="hidden", timeout=WAIT)
    assert overlap(shown(page)[..., 3] / 255, disc.alphas[21]) > 0.8  # another moment

    made(page)
    player = page.locator("#video-stage video")
    player.wait_for()
    facts = player.evaluate("(one) => [one.videoWidth, one.videoHeight, one.error]")
    assert facts == [192, 144, None]
    assert not page.locator("#video-stage canvas").is_visible()  # nothing old shows through
    assert "disc-cutout.webm" in page.locator(".reel-ready").inner_text()
    path, frames = saved(page, tmp_path)
    assert path.name == "disc-cutout.webm" and len(frames) == 36
    assert overlap(frames[20].alpha, disc.alphas[20]) > 0.8


def test_a_colour_behind_it_a_part_of_it_and_another_size(
    open_page: Opener, disc: Clip, tmp_path: Path
) -> None:
    page = open_page()
    added(page, disc)
    page.click('#video .tile[data-kind="colour"]')
    page.click('#video .swatch[data-value="#8ecae6"]')
    assert (shown(page)[2, -3] == (0x8E, 0xCA, 0xE6, 255)).all()
    page.click('#video-formats [data-value="mp4"]')
    page.fill("#video-from", "0.5")
    page.fill("#video-to", "1")
    made(page)
    path, frames = saved(page, tmp_path)
    assert path.name == "disc-composite.mp4" and len(frames) == 12
    assert np.abs(frames[5].image[2, -3].astype(int) - (0x8E, 0xCA, 0xE6)).max() < 12

    page.click("#video-anew")
    assert page.locator("#video-from").input_value() == "0.5"  # what was chosen is still there
    page.click('#video .tile[data-kind="transparent"]')
    assert "becomes white" in page.locator("#video").inner_text()
    assert (shown(page)[2, -3] == 255).all()
    page.click('#video-formats [data-value="gif"]')
    assert page.locator("#video-sound").is_disabled()
    page.fill("#video-to", "0.8")
    made(page)
    assert (
        page.locator("#video-stage img").evaluate("(one) => one.decode().then(() => one.naturalWidth)") == 192
    )
    path, frames = saved(page, tmp_path)
    assert path.suffix == ".gif" and frames[0].alpha is not None


def test_it_can_be_stopped_and_what_there_is_is_kept(
    open_page: Opener, cat: Clip, artifacts: Path, tmp_path: Path
) -> None:
    page = open_page()
    added(page, cat)
    page.click("#video-go")
    state(page, "working")
    page.locator("#video", has_text="fps").wait_for()
    page.wait_for_timeout(900)
    no_weak_text(page)
    page.screenshot(path=artifacts / "video-working.png")
    assert shown(page).shape == (240, 360, 4)
    bar = page.locator("#video [role=progressbar]")
    assert 0 <= int(bar.get_attribute("aria-valuenow") or -1) < 100
    page.click("#video-stop")
    state(page, "stopped")
    assert "Stopped early" in page.locator(".reel-ready").inner_text()
    _, frames = saved(page, tmp_path)
    assert 1 <= len(frames) < 160


def test_a_reload_finds_the_video_again_in_work_and_done(open_page: Opener, cat: Clip) -> None:
    page = open_page()
    added(page, cat)
    page.click("#video-go")
    state(page, "working")
    page.reload()
    page.locator("#app[data-video=working], #app[data-video=done]").wait_for()
    state(page, "done")
    page.locator("#video-stage video").wait_for()
    page.reload()
    state(page, "done")
    page.locator("#video-stage video").wait_for()


def test_closing_goes_back_and_deletes_it(open_page: Opener, own_server: Server, cat: Clip) -> None:
    page = open_page(own_server.url)
    drop(page, cat_jpg=photo_bytes("cat", (120, 90)))
    done(page)
    added(page, cat)
    assert own_server.parts.videos.kept == 1
    assert not page.locator("#work").is_visible()
    page.click("#video-go")
    state(page, "working")
    page.click("#video-close")
    page.click("#ask-no")
    assert page.locator("#video").is_visible()
    page.click("#video-close")
    page.click("#ask-yes")
    page.locator("#work").wait_for()
    assert not page.locator("#video").is_visible()
    for _ in range(100):
        if own_server.parts.videos.kept == 0:
            break
        page.wait_for_timeout(50)
    assert own_server.parts.videos.kept == 0
    page.click('.tile[data-kind="colour"]')  # the tools of pictures are whole
    page.click('.swatch[data-value="#f2c14e"]')
    assert page.locator("#sheet-background").is_visible()
    page.reload()
    done(page)
    assert page.locator("#work").is_visible()


def test_what_is_no_video_says_so_and_another_can_be_tried(
    open_page: Opener, artifacts: Path, disc: Clip
) -> None:
    page = open_page(refusals=True)
    wrong: FilePayload = {"name": "notes.mp4", "mimeType": "video/mp4", "buffer": b"these are words " * 90}
    page.set_input_files("#file", [wrong])
    state(page, "failed")
    text = page.locator("#video .trouble").inner_text()
    assert "notes.mp4" in text and "Traceback" not in text and "source" not in text
    no_weak_text(page)
    page.screenshot(path=artifacts / "video-failed.png")
    added(page, disc)
    assert not page.locator("#video .trouble").is_visible()


def test_too_large_a_video_is_not_even_sent(open_page: Opener) -> None:
    page = open_page()
    page.evaluate(
        """() => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(201e6)], "big.mp4", { type: "video/mp4" }));
            const dropped = new DragEvent("drop", { dataTransfer: transfer, bubbles: true });
            document.querySelector("#app").dispatchEvent(dropped);
        }"""
    )
    state(page, "failed")
    assert "200 MB" in page.locator("#video .trouble").inner_text()


def test_what_is_wrong_with_the_choices_is_said_beside_the_button(open_page: Opener, disc: Clip) -> None:
    page = open_page()
    added(page, disc)
    for first, last, words in (
        ("1", "0.5", "later than"),
        ("x", "1", "are seconds"),
        ("9", "10", "has 1.5 s"),
    ):
        page.fill("#video-from", first)
        page.fill("#video-to", last)
        page.click("#video-go")
        page.locator("#video .apply .sentence", has_text=words).wait_for()


def test_a_server_that_forgot_it_takes_it_again(open_page: Opener, own_server: Server, disc: Clip) -> None:
    page = open_page(own_server.url, refusals=True)
    added(page, disc)
    own_server.parts.videos.close()
    own_server.parts.store.clear()
    page.click("#video-go")
    state(page, "failed")
    assert "send it again" in page.locator("#video .trouble").inner_text()
    page.get_by_role("button", name="Try again").click()
    state(page, "new")
    made(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["desktop", "phone"])
def test_how_it_looks(open_page: Opener, artifacts: Path, disc: Clip, scheme: str, kind: str) -> None:
    page = open_page(color_scheme=scheme, **(PHONE if kind == "phone" else DESKTOP))

    def look(name: str) -> None:
        no_weak_text(page)
        assert page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0
        assert page.evaluate("() => document.documentElement.scrollHeight <= innerHeight")
        assert page.evaluate(NAMELESS) == []
        assert kind == "desktop" or page.evaluate(SMALL, NARROWEST) == []
        page.screenshot(path=artifacts / f"video-{kind}-{scheme}-{name}.png")

    added(page, disc)
    look("new")
    page.click('#video .tile[data-kind="blur"]')
    page.wait_for_timeout(100)
    look("blur")
    page.click('#video .tile[data-kind="transparent"]')
    made(page)
    page.locator("#video-stage video").wait_for()
    page.wait_for_timeout(400)
    look("done")


def test_a_page_without_videos_loads_nothing_of_them(open_page: Opener) -> None:
    names = open_page().evaluate("() => performance.getEntriesByType('resource').map((one) => one.name)")
    assert any(name.endswith("app.js") for name in names)
    parts = ("video.js", "video.css", "compose.js", "live.js", "live.css", "blur.js")
    assert not [name for name in names if name.endswith(parts)]

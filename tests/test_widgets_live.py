"""The live view of a cell's output on Colab: real frames of a browser's camera, through Python, and back.

Colab's page is stood in for by a page with ``google.colab.kernel.invokeFunction``, which calls what was
registered and sends back what IPython would show of it, as Colab does. The picture goes into ``artifacts/``.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from bgremove.arrays import Image
from bgremove.demo import sample_path
from bgremove.errors import BGRemoveError, ImageError
from tests.webapp.browser.camera import camera_file

pytest.importorskip("ipywidgets", reason='widgets need the extra: pip install "bgremove[notebook]"')

from bgremove.widgets import live as widget  # noqa: E402
from bgremove.widgets.live import ColabLive, live_view  # noqa: E402

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
ADDRESS = "https://notebook.test/"
SHELL = """<!doctype html><meta charset="utf-8"><body style="margin: 16px">
<script>window.google = {colab: {kernel: {accessAllowed: true,
  invokeFunction: async (name, given, named) => JSON.parse(await window.python(name, given))}}};</script>
"""


def jpeg(image: Image) -> str:
    """A picture as the browser sends it."""
    data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


def pixels_of(address: str) -> Any:
    """What is in an answer, BGR or BGRA."""
    data = base64.b64decode(address.partition(",")[2])
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def cat(width: int = 320, height: int = 240) -> Image:
    image: Image = cv2.cvtColor(cv2.imread(str(sample_path("cat.jpg"))), cv2.COLOR_BGR2RGB)
    resized: Image = cv2.resize(image, (width, height))
    return resized


# Python ------------------------------------------------------------------------------------------


def test_a_frame_comes_back_over_each_background() -> None:
    view = ColabLive("lite", sample_path("stars.jpg"))
    answers = {
        kind: view.frame(jpeg(cat()), {"kind": kind, "colour": "#ff0000"}).data
        for kind in ("blur", "colour", "picture", "transparent")
    }
    pictures = {kind: pixels_of(answer["picture"]) for kind, answer in answers.items()}
    assert {kind: one.shape for kind, one in pictures.items()} == {
        "blur": (240, 320, 3),
        "colour": (240, 320, 3),
        "picture": (240, 320, 3),
        "transparent": (240, 320, 4),
    }
    red = (np.abs(pictures["colour"].astype(int) - (0, 0, 255)).max(axis=2) < 30).mean()
    clear = (pictures["transparent"][..., 3] < 20).mean()
    assert 0.1 < red < 0.9 and abs(red - clear) < 0.1
    assert view.frames == 4 and all(answer["seconds"] < 30 for answer in answers.values())


@pytest.mark.parametrize(
    ("picture", "says"),
    [
        ("nonsense", "a frame must be a JPEG"),
        ("data:image/png;base64,AAAA", "a frame must be a JPEG"),
        ("data:image/jpeg;base64,!!!", "a frame must be a JPEG"),
        ("data:image/jpeg;base64,AAAA", "a frame must be a JPEG"),
        (jpeg(np.zeros((8, 2000, 3), np.uint8)), "a frame may be 1280 px wide and high; got 2000 x 8"),
    ],
)
def test_what_is_no_frame_is_a_sentence(picture: str, says: str) -> None:
    view = ColabLive("contour")
    answer = view.frame(picture, {"kind": "blur", "colour": ""}).data
    assert says in answer["error"] and "picture" not in answer


def test_wrong_backgrounds_are_sentences() -> None:
    view = ColabLive("contour", "white")
    says = view.frame(jpeg(cat()), {"kind": "picture"}).data["error"]
    assert says == "the background must be one of blur, colour, transparent; got 'picture'"
    assert "#00b140" in view.frame(jpeg(cat()), {"kind": "colour", "colour": "blur"}).data["error"]
    with pytest.raises(BGRemoveError):
        ColabLive("nothing")
    with pytest.raises(ImageError):
        ColabLive("contour", __file__)


def test_a_pause_begins_a_new_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of what was seen before is left in the matte."""
    monkeypatch.setattr(widget, "_NEW_SCENE", 0.2)
    view = ColabLive("contour")
    resets: list[int] = []
    monkeypatch.setattr(view._cutter, "reset", lambda: resets.append(view.frames))
    for pause in (0.0, 0.0, 0.3):
        time.sleep(pause)
        view.cut(cat(), "transparent")
    assert resets == [0, 2], "at the beginning, and after the pause"


# The browser -------------------------------------------------------------------------------------


@pytest.fixture
def colab(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[..., Any]]:
    """Colab's package; what was registered with it."""
    registered: dict[str, Callable[..., Any]] = {}
    output = ModuleType("google.colab.output")
    output.register_callback = registered.__setitem__  # type: ignore[attr-defined]
    for name, module in (
        ("google", ModuleType("google")),
        ("google.colab", ModuleType("google.colab")),
        ("google.colab.output", output),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    return registered


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """A page of a Chromium that has a camera, in which a photograph moves."""
    api = pytest.importorskip(
        "playwright.sync_api", reason='browsers are driven with Playwright: pip install -e ".[test]"'
    )
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    camera = camera_file(tmp_path / "camera.mjpeg")
    flags = [
        *FLAGS,
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}",
    ]
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=flags)
        page = browser.new_page(viewport={"width": 800, "height": 720})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def opened(page: Page, registered: dict[str, Callable[..., Any]], text: str) -> list[int]:
    """Put a cell's output into the page; the numbers of frames that were in Python at once."""
    from IPython.core.formatters import DisplayFormatter

    inside: list[int] = []

    def python(name: str, given: list[Any]) -> str:
        inside.append(len(given[0]))
        data, _ = DisplayFormatter().format(registered[name](*given))
        return json.dumps({"data": data})

    page.expose_function("python", python)
    page.route(ADDRESS, lambda route: route.fulfill(body=SHELL + text, content_type="text/html"))
    page.goto(ADDRESS)
    return inside


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The HTML that was displayed."""
    import IPython.display

    found: list[str] = []
    monkeypatch.setattr(IPython.display, "display", lambda one: found.append(one.data))
    return found


def frames(page: Page) -> int:
    return int(page.locator("[data-frames]").get_attribute("data-frames") or 0)


def colours(page: Page) -> Any:
    """The corners and the middle of what is shown, RGBA."""
    return page.evaluate(
        """() => { const one = document.querySelector('canvas'), context = one.getContext('2d');
        return [[4, 4], [one.width - 5, 4], [one.width / 2, one.height / 2]]
          .map(([x, y]) => [...context.getImageData(x, y, 1, 1).data]); }"""
    )


def test_the_camera_is_cut_out_live(
    page: Page, colab: dict[str, Callable[..., Any]], shown: list[str]
) -> None:
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    view = live_view("lite", "#ff00ff")
    [text] = shown
    sent = opened(page, colab, text)
    assert list(colab) == [view.name] and page.locator(".kind").input_value() == "colour"
    page.get_by_role("button", name="Start the camera").click()
    page.wait_for_function("() => document.querySelector('[data-frames]').dataset.frames > 8")
    rate = page.locator(".rate")
    rate.filter(has_text=re.compile(r"^\d+ fps · \d+ ms behind$")).wait_for()
    assert page.evaluate("() => [...document.querySelectorAll('canvas')].map(one => one.width)") == [640]
    corners = colours(page)
    assert any(np.abs(np.array(one[:3]) - (255, 0, 255)).max() < 40 for one in corners[:2]), corners
    artifacts = ROOT / "artifacts"
    artifacts.mkdir(exist_ok=True)
    page.screenshot(path=artifacts / "colab-live.png")
    page.locator(".kind").select_option("transparent")
    before = frames(page)
    page.wait_for_function(f"() => document.querySelector('[data-frames]').dataset.frames > {before + 3}")
    assert any(one[3] < 40 for one in colours(page)[:2]), "the page shows through"
    with page.expect_download() as download:
        page.get_by_role("button", name="Save picture").click()
    saved = cv2.imread(str(download.value.path()), cv2.IMREAD_UNCHANGED)
    assert (
        saved is not None
        and saved.shape == (480, 640, 4)
        and re.match(r"live-.*\.png", download.value.suggested_filename)
    )
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Start the camera").wait_for()
    count = len(sent)
    page.wait_for_timeout(500)
    assert len(sent) <= count + 1, "no frame is sent any more"
    assert len(sent) >= frames(page) >= 8 and view.frames == len(sent)
    assert max(sent) < 200_000, "a frame is some tens of kilobytes"
    assert complaints == []


def test_errors_are_said_on_the_page(
    page: Page, colab: dict[str, Callable[..., Any]], shown: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    view = live_view("contour")
    opened(page, colab, shown[0])
    colab[view.name] = lambda *_: SimpleNamespace(
        _repr_mimebundle_=lambda **_: {"application/json": {"error": "the network is away"}}
    )
    page.get_by_role("button", name="Start the camera").click()
    problem = page.get_by_role("alert")
    problem.filter(has_text="the network is away").wait_for()
    colab[view.name] = view.frame
    page.wait_for_function("() => document.querySelector('[data-frames]').dataset.frames > 2")
    assert problem.is_hidden(), "it goes on by itself"


def test_a_camera_that_is_not_allowed_is_a_sentence(
    page: Page, colab: dict[str, Callable[..., Any]], shown: list[str]
) -> None:
    page.add_init_script(
        "navigator.mediaDevices.getUserMedia = async () => {"
        " throw new DOMException('no', 'NotAllowedError'); }"
    )
    live_view("contour")
    opened(page, colab, shown[0])
    page.get_by_role("button", name="Start the camera").click()
    said = page.get_by_role("alert").filter(has_text="does not let this page use the camera")
    said.wait_for()
    assert page.get_by_role("button", name="Start the camera").is_enabled()

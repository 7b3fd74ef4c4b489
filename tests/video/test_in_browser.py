"""A phone's clip becomes a transparent WebM that a browser plays over its page, in time with its sound."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image as PILImage

from tests.cli_helpers import bgremove_there
from tests.video.clips import BEEP, Clip, clip, draw
from tests.webapp.browser.conftest import ARTIFACTS, BROWSERS, FLAGS

if TYPE_CHECKING:
    from playwright.sync_api import Page

FRAMES, SIZE = 60, (256, 192)  # stored lying, shown upright
FLASH = (40, 60, 250)  # of the disc, while it beeps

HTML = """<!doctype html><meta charset="utf-8"><title>A page with a video on it</title>
<link rel="icon" href="data:,">
<style>body { margin: 0; background: rgb(250, 220, 40) } video { display: block }</style>
<video id="film" preload="auto" playsinline></video>"""

HELPERS = """
    const video = document.querySelector("#film");
    const late = () => new Promise((_, fail) => setTimeout(fail, 10000, "too late"));
    const soon = (promise) => Promise.race([promise, late()]);
    const event = (name) => soon(new Promise((done) => video.addEventListener(name, done, { once: true })));
    const { videoWidth: width, videoHeight: height } = video;
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const look = () => {
        context.clearRect(0, 0, width, height);
        context.drawImage(video, 0, 0);
        return context.getImageData(0, 0, width, height).data;
    };
"""
LOAD = f"""async () => {{
    {HELPERS}
    const ready = event("canplaythrough");
    video.src = URL.createObjectURL(await (await fetch("film.webm")).blob()); // so that it can be sought in
    await ready;
}}"""
SEEK = f"""async (time) => {{
    {HELPERS}
    const seeked = event("seeked");
    video.currentTime = time;
    await seeked;
    const frame = new VideoFrame(video);
    const shown = frame.timestamp / 1e6;
    frame.close();
    const data = look();
    let text = "";
    for (let at = 0; at < data.length; at += 32768) {{
        text += String.fromCharCode(...data.subarray(at, at + 32768));
    }}
    return [shown, width, height, btoa(text)];
}}"""

# The sound's samples as the browser decodes them: where it becomes loud, and where it ends.
BEEP_AT = """async () => {
    const context = new OfflineAudioContext(2, 48000, 48000);
    const bytes = await (await fetch("film.webm")).arrayBuffer();
    const sound = await context.decodeAudioData(bytes);
    const values = sound.getChannelData(0);
    const first = values.findIndex((one) => Math.abs(one) > 0.25);
    let last = values.length;
    while (Math.abs(values[--last]) <= 0.25);
    return [first / sound.sampleRate, last / sound.sampleRate, sound.duration];
}"""

# Played as a visitor sees and hears it: when it becomes loud, and when the disc changes its colour.
PLAY = f"""async () => {{
    {HELPERS}
    if (!window.analyser) {{
        const sound = new AudioContext();
        await soon(sound.resume());
        window.analyser = new AnalyserNode(sound, {{ fftSize: 256 }});
        sound.createMediaElementSource(video).connect(analyser).connect(sound.destination);
    }}
    const samples = new Float32Array(256);
    const found = {{ heard: null, seen: null }};
    const seeked = event("seeked");
    video.currentTime = 0;
    await seeked;
    const ended = event("ended");
    const began = performance.now();
    const watch = () => {{
        analyser.getFloatTimeDomainData(samples);
        const now = performance.now() - began;
        if (found.heard === null && samples.some((one) => Math.abs(one) > 0.25)) found.heard = now;
        const data = look();
        let blue = 0;
        for (let at = 0; at < data.length; at += 4) {{
            if (data[at + 3] > 200 && data[at + 2] > 180 && data[at] < 120) blue++;
        }}
        if (found.seen === null && blue > 500) found.seen = now;
        if (!video.ended) requestAnimationFrame(watch);
    }};
    await video.play();
    watch();
    await ended;
    return {{ ...found, took: performance.now() - began }};
}}"""


@dataclass(frozen=True, eq=False)
class Film:
    """The clip, and what the command made of it."""

    clip: Clip
    path: Path


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """``bgremove video`` on a clip as phones make them: rotated, of a variable frame rate, with sound.

    While it beeps, the disc is blue.
    """
    folder = tmp_path_factory.mktemp("film")
    steps = [(3003, 2970, 3090, 2880, 4500)[number % 5] for number in range(FRAMES)]
    times = [Fraction(sum(steps[:number]), 90_000) for number in range(FRAMES)]
    images = []
    for number, at in enumerate(times):
        image, alpha = draw(number / (FRAMES - 1), SIZE)
        if BEEP[0] <= at < BEEP[1]:
            weight = alpha[..., None]
            image = np.rint(image * (1 - weight) + np.array(FLASH) * weight).astype(np.uint8)
        images.append(image)
    made = clip(
        folder / "phone.mp4",
        size=SIZE,
        rate=Fraction(30),
        rotation=90,
        sound=True,
        times=times,
        images=images,
    )
    ran = bgremove_there("video", "phone.mp4", "-o", "film.webm", "-q", cwd=folder)
    assert ran.returncode == 0, ran.stderr.decode()
    return Film(made, folder / "film.webm")


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and says nothing of it."""

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def page(film: Film) -> Iterator[Page]:
    """A page with the film on it, in a browser; requests to anywhere else fail the test."""
    playwright_api = pytest.importorskip(
        "playwright.sync_api", reason='browsers are driven with Playwright: pip install -e ".[test]"'
    )
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    folder = film.path.parent
    (folder / "index.html").write_text(HTML, encoding="utf-8")
    asked: list[str] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        with playwright_api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=found, args=[*FLAGS, "--autoplay-policy=no-user-gesture-required"]
            )
            page: Page = browser.new_page(viewport={"width": 400, "height": 300})
            page.on("request", lambda request: asked.append(request.url))
            page.goto(url)
            page.evaluate(LOAD)
            yield page
            browser.close()
        server.shutdown()
    assert all(one.startswith((url, f"blob:{url}", "data:")) for one in asked)


def at(page: Page, time: float) -> tuple[float, np.ndarray[Any, np.dtype[np.uint8]]]:
    """The frame that the browser shows at a time: its own time, and its pixels with their alpha."""
    media_time, width, height, text = page.evaluate(SEEK, time)
    return media_time, np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)


def overlap(alpha: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """Soft intersection over union."""
    return float(np.minimum(alpha, other).sum() / np.maximum(alpha, other).sum())


def test_it_is_upright_transparent_and_each_frame_comes_at_its_time(film: Film, page: Page) -> None:
    for number in (3, 17, 30, 44, 58):
        begins = float(film.clip.times[number])
        ends = float(film.clip.times[number + 1])
        media_time, pixels = at(page, (begins + ends) / 2)
        assert media_time == pytest.approx(begins, abs=0.0015)  # WebM counts milliseconds
        assert pixels.shape == (*SIZE, 4)
        alpha = pixels[..., 3] / 255
        assert overlap(alpha, film.clip.alphas[number]) > 0.85, number
        away = film.clip.alphas[number] == 0
        assert (pixels[away][:, 3] < 20).mean() > 0.97
        sure = film.clip.alphas[number] == 1
        assert (pixels[sure][:, 3] > 235).mean() > 0.9
        colours = np.abs(pixels[sure][:, :3].astype(int) - film.clip.images[number][sure])
        assert np.median(colours) < 16


def test_the_page_shows_through(film: Film, page: Page) -> None:
    number = 30
    middle = float(film.clip.times[number] + film.clip.times[number + 1]) / 2
    at(page, middle)
    ARTIFACTS.mkdir(exist_ok=True)
    colours = {}
    for colour in ((250, 220, 40), (20, 90, 200)):
        page.evaluate("(colour) => (document.body.style.background = colour)", f"rgb{colour}")
        data = page.locator("#film").screenshot(path=ARTIFACTS / "video-over-page.png")
        with PILImage.open(io.BytesIO(data)) as picture:
            colours[colour] = np.asarray(picture.convert("RGB")).astype(int)
    one, other = colours.values()
    away = np.zeros(SIZE, bool)
    away[4:20, 4:-4] = away[-20:-4, 4:-4] = True  # above and below the disc
    for colour, shown in colours.items():
        assert np.abs(shown[away] - colour).mean() < 4, "the page does not show through"
    sure = film.clip.alphas[number] == 1
    assert np.abs(one[sure] - other[sure]).mean() < 6  # nothing shows through the subject
    # No dark or bright fringe: at the soft edge the colour lies between the disc's and the page's.
    edge = (film.clip.alphas[number] > 0.2) & (film.clip.alphas[number] < 0.8)
    disc = np.array((225, 130, 60))
    for colour, shown in colours.items():
        low, high = np.minimum(disc, colour) - 45, np.maximum(disc, colour) + 45
        inside = ((shown[edge] >= low) & (shown[edge] <= high)).all(axis=1)
        assert inside.mean() > 0.9


def test_the_beep_and_the_flash_come_together(film: Film, page: Page) -> None:
    first, last, duration = page.evaluate(BEEP_AT)
    assert first == pytest.approx(BEEP[0], abs=0.02)
    assert last == pytest.approx(BEEP[1], abs=0.03)
    assert duration == pytest.approx(float(film.clip.times[-1]) + 1 / 30, abs=0.1)
    flashing = [number for number, time in enumerate(film.clip.times) if BEEP[0] <= time < BEEP[1]]
    for number, blue in (
        (flashing[0] - 1, False),
        (flashing[0], True),
        (flashing[-1], True),
        (flashing[-1] + 1, False),
    ):
        begins = float(film.clip.times[number])
        media_time, pixels = at(page, begins + 0.004)
        assert media_time == pytest.approx(begins, abs=0.0015)
        sure = film.clip.alphas[number] == 1
        shown = np.median(pixels[sure][:, :3], axis=0)
        assert bool(shown[2] > 180 > shown[0]) is blue, (number, shown)


def test_played_it_is_heard_when_it_is_seen(page: Page) -> None:
    found: dict[str, float] = {}
    for _ in range(3):  # where much else runs on the machine, a browser may be late once
        found = page.evaluate(PLAY)
        if abs(found["heard"] - found["seen"]) < 120:
            break
    assert abs(found["heard"] - found["seen"]) < 120, found  # milliseconds
    assert found["took"] > 1800

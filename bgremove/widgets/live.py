"""The live view in a notebook: the browser's camera, cut out by the runtime.

On Colab the cell's own output asks for the camera and sends frames to Python, one at a time, the newest
always; elsewhere the web page's live view is shown in a frame.
"""

from __future__ import annotations

import atexit
import base64
import binascii
import html
import importlib
import json
import secrets
import threading
import time
from collections.abc import Mapping
from string import Template
from typing import Any, cast

import cv2
import numpy as np

from bgremove.arrays import Image
from bgremove.background import Background, parse_background
from bgremove.compositing import Pixels
from bgremove.errors import BGRemoveError, ImageError, MissingExtraError, OptionError
from bgremove.live.backdrops import Backdrops
from bgremove.live.params import Kind
from bgremove.threads import alone
from bgremove.video.cutting import FrameCutter, finish
from bgremove.video.params import CutSettings

SIDE = 640
"""Longest side of what the browser sends, in pixels."""
LARGEST = 1280
"""Of what is taken."""

_NEW_SCENE = 2.0  # seconds without a frame: what was seen before says nothing any more
_QUALITY = 80


class ColabLive:
    """A live view in a cell's output on Colab.

    Args:
        model: what finds the subject; it must be quick.
        background: what is behind at the beginning, as :func:`~bgremove.background.parse_background` takes.

    Attributes:
        name: under which the browser asks for frames.
        frames: how many were cut out.
    """

    def __init__(self, model: str = "lite", background: Any = "blur") -> None:
        settings = CutSettings.build(model)
        self._given = parse_background(background)
        self._cutter = FrameCutter(settings.create_remover(), settings)
        self._backdrops: dict[tuple[str, str], Backdrops] = {}
        self._lock = threading.Lock()
        self._last = -_NEW_SCENE
        self.frames = 0
        self.name = f"bgremove.live.{secrets.token_hex(8)}"

    def show(self) -> None:
        """Put it below the cell."""
        output = importlib.import_module("google.colab.output")
        output.register_callback(self.name, self.frame)
        _display(self.html())

    def frame(self, picture: str, wanted: Mapping[str, Any]) -> Any:
        """One frame, cut out; called by the browser.

        Args:
            picture: a JPEG as a data address.
            wanted: ``kind`` and ``colour`` of the background.

        Returns:
            What Colab sends back as JSON: ``picture``, a data address; or ``error``, a sentence.
        """
        from IPython.display import JSON

        began = time.perf_counter()
        try:
            pixels = self.cut(_decoded(picture), str(wanted.get("kind")), str(wanted.get("colour")))
        except BGRemoveError as error:
            return JSON({"error": str(error)})  # type: ignore[no-untyped-call, unused-ignore]
        answer = {"picture": _encoded(pixels), "seconds": round(time.perf_counter() - began, 4)}
        return JSON(answer)  # type: ignore[no-untyped-call, unused-ignore]

    def cut(self, image: Image, kind: str, colour: str = "") -> Pixels:
        """The next frame over a background.

        Args:
            image: (H, W, 3) uint8 RGB.
            kind: ``blur``, ``colour``, ``picture`` or ``transparent``.
            colour: for ``colour``, as ``#00b140``.

        Raises:
            OptionError: if there is no such background.
        """
        backdrops = self._backdrop(kind, colour)
        settings = self._cutter.settings
        with self._lock, alone():
            now = time.monotonic()
            if now - self._last > _NEW_SCENE:
                self._cutter.reset()
            subject = finish(self._cutter.look(image), settings.refine, settings.foreground)
            self._last = time.monotonic()
            self.frames += 1
            return backdrops.compose(subject)

    def _backdrop(self, kind: str, colour: str) -> Backdrops:
        key = (kind, colour if kind == "colour" else "")
        if key not in self._backdrops:
            if kind == "picture" and self._given.picture is not None:
                background = self._given
            elif kind == "colour":
                background = parse_background(colour)
                if background.kind != "colour":
                    raise OptionError(f"a colour is written as #00b140; got {colour!r}")
            elif kind in ("blur", "transparent"):
                background = Background()
            else:
                raise OptionError(f"the background must be one of {', '.join(self._kinds)}; got {kind!r}")
            self._backdrops = {key: Backdrops(cast(Kind, kind), background)}
        return self._backdrops[key]

    @property
    def _kinds(self) -> list[str]:
        kinds = ["blur", "colour", "picture", "transparent"]
        return [one for one in kinds if one != "picture" or self._given.picture is not None]

    def html(self) -> str:
        """What the browser shows."""
        given = self._given
        colour = "#{:02x}{:02x}{:02x}".format(*given.colour[:3]) if given.kind == "colour" else "#00b140"
        options = "".join(
            f'<option value="{one}"{" selected" if one == given.kind else ""}>{_WORDS[one]}</option>'
            for one in self._kinds
        )
        return Template(_PAGE).substitute(
            id=self.name.replace(".", "-"),
            name=json.dumps(self.name),
            side=SIDE,
            options=options,
            colour=html.escape(colour),
        )


def live_view(model: str = "lite", background: Any = "blur", *, height: int = 640) -> Any:
    """Show the live view: on Colab in the cell's output, elsewhere by the web page in a frame.

    Args:
        background: what is behind at the beginning; on the web page it is chosen there.
        height: of the frame, in pixels.

    Returns:
        What is shown; keep nothing of it.

    Raises:
        MissingExtraError: without the extra ``web``, where there is no Colab.
    """
    from bgremove.colab import colab_module

    if colab_module("output") is not None:
        view = ColabLive(model, background)
        view.show()
        return view
    return _page(model, height)


_pages: list[Any] = []


@atexit.register  # with the kernel, too
def stop_pages() -> None:
    """Stop the web page that serves the live view, if there is one."""
    while _pages:
        _pages.pop().stop()


def _page(model: str, height: int) -> Any:
    """The web page's live view."""
    try:
        from bgremove.webapp.config import ServeParams
        from bgremove.webapp.notebook import Page
    except ImportError as error:
        raise MissingExtraError('the live view needs the web page: pip install "bgremove[web]"') from error
    stop_pages()
    page = Page(ServeParams(model=model, live_model=model, token=secrets.token_urlsafe(24), port=0))
    _pages.append(page)
    address = page.link.replace("/#token=", "/live#token=")
    _display(_frame(address, height))
    return page


def _frame(link: str, height: int) -> str:
    """The live view in a frame that may use the camera."""
    safe = html.escape(link, quote=True)
    return (
        f'<p style="margin: 4px 0"><a href="{safe}" target="_blank" rel="noreferrer">Open the live view in a '
        "tab of its own</a>, on the machine that runs this notebook, or use it here:</p>"
        f'<iframe src="{safe}" title="bgremove live" width="100%" height="{height}" '
        'allow="camera; clipboard-write" style="border: 1px solid rgba(127,127,127,.3); '
        'border-radius: 6px"></iframe>'
    )


def _display(text: str) -> None:
    from IPython.display import HTML, display

    display(HTML(text))  # type: ignore[no-untyped-call, unused-ignore]


def _decoded(address: str) -> Image:
    """The pixels of a data address, RGB.

    Raises:
        ImageError: if it is none, or too large.
    """
    head, _, text = address.partition(",")
    try:
        if not head.startswith("data:image/jpeg"):
            raise ValueError(head[:20])
        data = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except (ValueError, binascii.Error, cv2.error):
        pixels = None
    if pixels is None:
        raise ImageError("a frame must be a JPEG as a data address; this one cannot be read")
    if max(pixels.shape[:2]) > LARGEST:
        raise ImageError(
            f"a frame may be {LARGEST} px wide and high; got {pixels.shape[1]} x {pixels.shape[0]}"
        )
    return cast(Image, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))


def _encoded(pixels: Pixels) -> str:
    """A data address: a JPEG, or a WebP where something shows through."""
    if pixels.shape[2] == 4:
        kind, data = "webp", cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA)
        options = [cv2.IMWRITE_WEBP_QUALITY, _QUALITY]
    else:
        kind, data = "jpeg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        options = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    done, file = cv2.imencode(f".{kind}", data, options)
    if not done:
        raise ImageError("the answer cannot be packed")
    return f"data:image/{kind};base64,{base64.b64encode(file.tobytes()).decode()}"


_WORDS = {"blur": "Blur", "colour": "Colour", "picture": "Picture", "transparent": "None"}

_PAGE = """
<style>
#$id {font: 13px/1.5 system-ui, sans-serif; max-width: 720px; color: inherit}
#$id .stage {position: relative; border-radius: 8px; overflow: hidden; background: rgba(127,127,127,.14);
  aspect-ratio: 4/3; display: grid; place-items: center}
#$id .stage.clear {background: repeating-conic-gradient(#d6d6d6 0% 25%, #fcfcfc 0% 50%) 0 0/24px 24px}
#$id canvas {width: 100%; height: 100%; object-fit: contain; display: block}
#$id .rate {position: absolute; left: 10px; top: 10px; padding: 2px 9px; border-radius: 10px; color: #fff;
  background: rgba(0,0,0,.6); font-size: 12px; font-variant-numeric: tabular-nums}
#$id .words {max-width: 44em; padding: 24px; text-align: center; opacity: .8; margin: 0}
#$id .bar {display: flex; flex-wrap: wrap; gap: 10px 14px; align-items: center; margin-top: 10px}
#$id button, #$id select {font: inherit; padding: 5px 14px; border-radius: 6px; cursor: pointer;
  color: inherit; border: 1px solid rgba(127,127,127,.5); background: rgba(127,127,127,.12)}
#$id select option {color: #111; background: #fff}
#$id button.first {background: #1a73e8; border-color: #1a73e8; color: #fff}
#$id button:disabled {opacity: .45; cursor: default}
#$id label {display: inline-flex; gap: 6px; align-items: center}
#$id .problem {margin: 8px 0 0; padding: 6px 10px; border-radius: 4px; background: rgba(220,60,60,.16);
  border-left: 3px solid rgb(220,60,60)}
#$id [hidden] {display: none}
</style>
<div id="$id" data-frames="0">
  <div class="stage">
    <p class="words">Your browser asks for the camera. Its frames go to this notebook's runtime, one by one,
    and none is kept.</p>
    <canvas hidden role="img" aria-label="The camera's picture without its background"></canvas>
    <span class="rate" hidden></span>
  </div>
  <div class="bar">
    <button class="first start">Start the camera</button>
    <label>Background <select class="kind">$options</select></label>
    <label class="colours" hidden>Colour <input type="color" value="$colour"></label>
    <label><input type="checkbox" class="mirror" checked> As in a mirror</label>
    <button class="save" disabled>Save picture</button>
  </div>
  <p class="problem" role="alert" hidden></p>
</div>
<script>
(() => {
  const root = document.getElementById("$id"), find = (what) => root.querySelector(what);
  const canvas = find("canvas"), rate = find(".rate"), start = find(".start"), save = find(".save");
  const kind = find(".kind"), colour = find("input[type=color]"), mirror = find(".mirror");
  const problem = find(".problem"), words = find(".words"), stage = find(".stage");
  const video = document.createElement("video"), small = document.createElement("canvas");
  Object.assign(video, {muted: true, playsInline: true});
  let stream = null, times = [], delay = 0;

  const say = (text) => { problem.textContent = text; problem.hidden = !text; };
  const paint = () => {
    find(".colours").hidden = kind.value !== "colour";
    stage.classList.toggle("clear", kind.value === "transparent" && !canvas.hidden);
  };
  const known = {
    NotAllowedError: "The browser does not let this page use the camera; allow it beside the address, "
      + "and start again.",
    NotFoundError: "No camera was found; connect one, and start again.",
    NotReadableError: "The camera does not answer; another program may be using it.",
  };

  const stop = (text) => {
    for (const track of stream ? stream.getTracks() : []) track.stop();
    stream = video.srcObject = null;
    [canvas.hidden, rate.hidden, words.hidden, save.disabled] = [true, true, false, true];
    start.textContent = "Start the camera";
    start.classList.add("first");
    paint();
    say(text || "");
  };

  const begin = async () => {
    say("");
    start.disabled = true;
    try {
      if (!navigator.mediaDevices) throw new Error("Browsers give cameras only to pages that come by https.");
      const size = {width: {ideal: $side}, height: {ideal: 480}, frameRate: {ideal: 30}};
      const wanted = {audio: false, video: {...size, facingMode: "user"}};
      stream = await navigator.mediaDevices.getUserMedia(wanted);
      const [track] = stream.getVideoTracks();
      track.addEventListener("ended", () => stream && stop("The camera was taken away."));
      mirror.checked = track.getSettings().facingMode !== "environment";
      video.srcObject = stream;
      await video.play();
      [times, delay] = [[], 0];
      start.textContent = "Stop";
      start.classList.remove("first");
      loop(stream);
    } catch (error) {
      stop(known[error.name] || error.message);
    } finally {
      start.disabled = false;
    }
  };

  // The next frame that the camera gives; those that come while one is on its way are passed over.
  const next = () => new Promise((done) => {
    if (!video.requestVideoFrameCallback) return setTimeout(done, 33);
    const timer = setTimeout(done, 1000);
    video.requestVideoFrameCallback(() => { clearTimeout(timer); done(); });
  });

  const grab = () => {
    const scale = Math.min(1, $side / Math.max(video.videoWidth, video.videoHeight));
    const width = Math.round(video.videoWidth * scale), height = Math.round(video.videoHeight * scale);
    if (small.width !== width || small.height !== height) Object.assign(small, {width, height});
    const context = small.getContext("2d", {alpha: false});
    context.setTransform(mirror.checked ? -1 : 1, 0, 0, 1, mirror.checked ? width : 0, 0);
    context.drawImage(video, 0, 0, width, height);
    return small.toDataURL("image/jpeg", 0.85);
  };

  const ask = async (frame) => {
    const text = "The runtime is busy with another cell; the view goes on after it.";
    const busy = setTimeout(() => say(text), 4000);
    try {
      const wanted = {kind: kind.value, colour: colour.value};
      const reply = await google.colab.kernel.invokeFunction($name, [frame, wanted], {});
      return reply.data["application/json"];
    } finally {
      clearTimeout(busy);
    }
  };

  const loop = async (mine) => {
    while (mine === stream) {
      await next();
      if (mine !== stream || !root.isConnected) break;
      if (!video.videoWidth) continue;
      const began = performance.now();
      try {
        const answer = await ask(grab());
        if (mine !== stream) return;
        if (answer.error) throw new Error(answer.error);
        const picture = new Image();
        picture.src = answer.picture;
        await picture.decode();
        if (mine !== stream) return;
        draw(picture, performance.now() - began);
        say("");
      } catch (error) {
        if (mine !== stream) return;
        say((error && error.message) || "The runtime does not answer; is it connected? Trying again.");
        await new Promise((done) => setTimeout(done, 1500));
      }
    }
    if (!root.isConnected) stop();
  };

  const draw = (picture, took) => {
    const {naturalWidth: width, naturalHeight: height} = picture;
    if (canvas.width !== width || canvas.height !== height) {
      Object.assign(canvas, {width, height});
      stage.style.aspectRatio = width + "/" + height;
    }
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    context.drawImage(picture, 0, 0);
    [canvas.hidden, words.hidden, save.disabled] = [false, true, false];
    paint();
    const now = performance.now();
    times.push(now);
    while (times[0] < now - 2000) times.shift();
    delay += (took - delay) * (delay ? 0.1 : 1);
    const span = now - times[0];
    rate.hidden = span < 300;
    const fps = (times.length - 1) * 1000 / span;
    rate.textContent = fps.toFixed(0) + " fps · " + Math.round(delay) + " ms behind";
    root.dataset.frames = Number(root.dataset.frames) + 1;
  };

  start.addEventListener("click", () => stream ? stop() : begin());
  kind.addEventListener("change", paint);
  save.addEventListener("click", () => canvas.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = "live-" + new Date().toISOString().slice(0, 19).replaceAll(":", "-") + ".png";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }, "image/png"));
  paint();
})();
</script>
"""

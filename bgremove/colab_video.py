"""What the cells of the notebook about video call, so that they stay thin: on Colab, and in any Jupyter.

As in :mod:`bgremove.colab`, nothing ends in a traceback because of what is not to be had: that is said in
one sentence, and the notebook goes on.
"""

from __future__ import annotations

import base64
import html
import itertools
import math
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

from bgremove.arrays import Image
from bgremove.background import parse_colour
from bgremove.colab import _display_module, _figure, _panel, _skipping, colab_module
from bgremove.colab import offer as offer_file
from bgremove.compositing import limit_size
from bgremove.demo import sample_path
from bgremove.errors import OptionError
from bgremove.io import read_frame, write_bytes

if TYPE_CHECKING:
    from bgremove.video.run import VideoProgress, VideoResult
    from bgremove.webapp.notebook import Page
    from bgremove.widgets.live import ColabLive

LARGEST = 40 * 10**6
"""Bytes of a video that is put into the notebook's page."""

_SHOWN = 4  # frames of a clip
_SAMPLE = (360, 480)  # height and width
_RATE = Fraction(24)
_KINDS = {
    ".webm": "video/webm",
    ".mp4": "video/mp4",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".png": "image/png",
}


# The clip ----------------------------------------------------------------------------------------


def choose_clip(clip: str = "sample") -> Path | None:
    """A video for all that follows; a few of its frames are shown.

    Args:
        clip: a file of this machine; ``upload``, which asks for one on Colab; or ``sample``, a short one
            that is made on the spot. What cannot be had is said, and the sample is taken.
    """
    path = None
    if clip.strip() not in ("", "sample"):
        with _skipping(clip):
            path = _uploaded() if clip.strip() == "upload" else Path(clip.strip()).expanduser()
            _display_module().display(_frames_of(path))
            return path
    with _skipping("the sample"):
        path = make_sample(Path("sample.mp4"))
        _display_module().display(_frames_of(path))
    return path


def make_sample(path: Path, *, seconds: float = 3.0) -> Path:
    """A short video: a camera's way over the photograph of the cat; one that is there is kept.

    Raises:
        MissingExtraError: without the extra ``video``.
        OutputError: if it cannot be written.
    """
    from bgremove.video.writing import VideoWriteParams, open_writer

    if path.is_file():
        return path
    photo = read_frame(sample_path("cat.jpg")).image
    writer = open_writer(path, VideoWriteParams(), size=_SAMPLE, rate=_RATE, alpha=False)
    try:
        for number in range(round(seconds * _RATE)):
            writer.write(_seen(photo, number / float(seconds * _RATE)), number / _RATE)
        return writer.close()
    finally:
        writer.abandon()


def _seen(photo: Image, at: float) -> Image:
    """What the sample's camera sees when `at` (0 to 1) of its way is done: it sways and comes closer."""
    height, width = _SAMPLE
    scale = (1.0 + 0.25 * math.sin(math.pi * at)) * max(height / photo.shape[0], width / photo.shape[1])
    room_x, room_y = photo.shape[1] - width / scale, photo.shape[0] - height / scale
    left = room_x * (0.5 + 0.5 * math.sin(2 * math.pi * at))
    top = room_y * (0.1 - 0.1 * math.cos(2 * math.pi * at))
    matrix = np.array([[scale, 0, -scale * left], [0, scale, -scale * top]])
    moved = cv2.warpAffine(
        photo, matrix, (width, height), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
    )
    return np.ascontiguousarray(moved)


def _uploaded() -> Path:
    files = colab_module("files")
    if files is None:
        raise OptionError("uploads are Colab's; write the path of a file of this machine instead of upload")
    uploads = files.upload()
    if not uploads:
        raise OptionError("no video was uploaded; run the cell again for another try")
    name, data = next(iter(uploads.items()))
    path = Path(PurePosixPath(name).name)
    if not path.is_file():  # Colab has put it there
        write_bytes(path, bytes(data))
    return path


def _frames_of(path: Path) -> Any:
    """A few frames side by side, after a line about the video."""
    from bgremove.video.reading import open_video

    with open_video(path) as video:
        info = video.info
        length = float(info.duration or 0)
    shown = []
    for number in range(_SHOWN):
        at = Fraction(length * number / _SHOWN).limit_denominator(1000)
        with open_video(path, start=at or None) as video:
            for frame in itertools.islice(video, 1):
                shown.append((f"{float(frame.time):.1f} s", _panel(limit_size(frame.image, "360"))))
    height, width = info.size
    sound = "with sound" if info.sound else "no sound"
    print(f"{info.name}: {width} x {height}, {float(info.rate):.4g} frames a second, {length:.1f} s, {sound}")
    for note in info.notes:
        print(note)
    return _figure([shown])


# The result --------------------------------------------------------------------------------------


def cut_out(
    clip: Path | None,
    kind: str = "webm",
    *,
    background: Any = "transparent",
    model: str = "auto",
    seconds: float = 0,
    size: int = 0,
    **settings: Any,
) -> Path | None:
    """Cut the subject out of a video, with a bar that moves; the stop button leaves what there is.

    Args:
        clip: what :func:`choose_clip` gave.
        kind: ``webm``, ``mov``, ``mp4``, ``gif`` or ``webp``: the result's name ends so.
        background: what :func:`bgremove.colab.choose_background` gave. An mp4 holds nothing transparent, and
            is made over white then.
        model: a remover's name.
        seconds: only so much of the beginning; 0 takes all of it.
        size: the longest side in pixels, if it is larger; 0 leaves it as it is.
        settings: any other of :class:`~bgremove.video.params.VideoSettings`, by name.

    Returns:
        The video, beside the clip, or None if there is none.
    """
    if clip is None:
        print("There is no clip yet: run the cell above first.")
        return None
    with _skipping(clip.name):
        from bgremove.video.params import VideoSettings

        if kind == "mp4" and background == "transparent":
            print("An mp4 holds nothing transparent: it is made over white.")
            background = "white"
        given = {"end": f"{seconds:g}"} if seconds else {}
        given |= {"size": str(size)} if size else {}
        plan = VideoSettings.build(model, background=background, **given, **settings)
        target = next(one for one in _free(clip, kind) if not one.exists())
        result = _cut(clip, target, plan)
        _tell(result)
        return result.path
    return None


def _cut(clip: Path, target: Path, plan: Any) -> VideoResult:
    """In a thread, so that the cell's stop button ends it well."""
    from tqdm.auto import tqdm

    from bgremove.video.run import cut_video

    stop, over = threading.Event(), threading.Event()
    found: list[Any] = []
    with tqdm(unit=" frames", desc=clip.name, dynamic_ncols=True) as bar:

        def follow(progress: VideoProgress) -> None:
            bar.total = progress.total
            bar.update(progress.done - bar.n)

        def work() -> None:
            try:
                found.append(
                    cut_video(clip, target, plan, plan.create_remover, on_progress=follow, stop=stop)
                )
            except BaseException as error:
                found.append(error)
            finally:
                over.set()

        thread = threading.Thread(target=work, name="bgremove-video", daemon=True)
        thread.start()
        try:
            while not over.wait(0.2):
                pass
        except KeyboardInterrupt:
            stop.set()
            over.wait()
    [result] = found
    if isinstance(result, BaseException):
        raise result
    return result  # type: ignore[no-any-return]


def _tell(result: VideoResult) -> None:
    if result.path is None:
        print("It was stopped before its first frame.")
        return
    rate = result.frames / result.seconds if result.seconds else 0
    megabytes = result.path.stat().st_size / 1e6
    print(
        f"{result.path}: {result.frames} frames, {float(result.duration):.1f} s, {megabytes:.1f} MB, "
        f"{rate:.0f} frames a second{'' if result.complete else '; stopped, as far as it went'}"
    )
    if result.empty:
        print(f"Nothing was found in {result.empty} frames.")
    for note in result.notes:
        print(note)


def _free(clip: Path, kind: str) -> Iterator[Path]:
    """Names beside the clip; its folder may be one that nothing can be written to."""
    yield Path(f"{clip.stem}-cutout.{kind}")
    for number in itertools.count(2):
        yield Path(f"{clip.stem}-cutout-{number}.{kind}")


def play(video: Path | None, page: str = "#00b140") -> Any:
    """A video on a page of a colour that can be changed, to see what shows through.

    Args:
        video: what :func:`cut_out` gave.
        page: the colour to begin with: a name, ``#rgb``, or ``red,green,blue``.

    Returns:
        What a cell shows if it ends with it; None if there is nothing to show.
    """
    if video is None:
        print("There is no result yet: run the cell above first.")
        return None
    with _skipping(f"showing {video.name}"):
        kind = _KINDS.get(video.suffix.lower())
        if kind is None:
            raise OptionError(
                "browsers do not play this format; download it, or make a webm to look at it here"
            )
        if video.stat().st_size > LARGEST:
            raise OptionError(
                f"it is larger than the {LARGEST // 10**6} MB that fit into this page; download it"
            )
        address = f"data:{kind};base64,{base64.b64encode(video.read_bytes()).decode()}"
        return _display_module().HTML(
            _player(address, kind, "#{:02x}{:02x}{:02x}".format(*parse_colour(page)))
        )
    return None


def _player(address: str, kind: str, colour: str) -> str:
    name = html.escape("The result, on a page of this colour", quote=True)
    style = 'style="display: block; max-width: 100%; max-height: 480px; margin: 0 auto"'
    if kind.startswith("video"):
        tag = f'<video src="{address}" aria-label="{name}" autoplay loop muted playsinline controls {style}>'
        shown = f"{tag}</video>"
    else:
        shown = f'<img src="{address}" alt="{name}" {style}>'
    change = "this.closest('.bgremove-play').style.background=this.value"
    return (
        f'<div class="bgremove-play" style="background: {colour}; padding: 20px; border-radius: 8px; '
        'max-width: 760px; box-sizing: border-box">'
        f"{shown}"
        '<label style="display: inline-flex; gap: 8px; align-items: center; margin-top: 14px; '
        "padding: 4px 10px; border-radius: 6px; background: rgba(255,255,255,.85); color: #222; "
        'font: 13px system-ui, sans-serif">'
        f'Colour of the page <input type="color" value="{colour}" oninput="{change}"></label></div>'
    )


def offer(video: Path | None) -> None:
    """Download a result through Colab's page; elsewhere, say where it is."""
    if video is None:
        print("There is no result yet: run the cells above first.")
    elif colab_module("files") is None:
        print(f"It is on this machine: {video.resolve()}")
    else:
        offer_file(video)


# Live --------------------------------------------------------------------------------------------


def live(
    model: str = "lite",
    kind: Literal["blur", "colour", "image", "transparent"] = "blur",
    colour: str = "#00b140",
    *,
    chosen: Any = None,
) -> ColabLive | Page | None:
    """The browser's camera without its background, in the cell's output; nothing of it is kept.

    Args:
        model: which must be quick.
        kind: what is behind at the beginning, on Colab.
        colour: for ``colour``.
        chosen: a background picture that was chosen before; the stars by default.
    """
    from bgremove.widgets.live import live_view

    with _skipping("the live view"):
        background = {"colour": colour, "image": chosen or sample_path("stars.jpg")}.get(kind, kind)
        view: ColabLive | Page = live_view(model, background)
        return view
    return None

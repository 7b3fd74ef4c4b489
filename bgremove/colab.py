"""What the notebook's cells call, so that they stay thin: on Colab, and in any other Jupyter.

Nothing here ends in a traceback because of what is not to be had: what was left out is said in one
sentence, and the notebook goes on.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import shutil
import subprocess
import time
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from bgremove.arrays import Image
from bgremove.background import parse_background
from bgremove.compositing import Pixels, checkerboard, composite, limit_size
from bgremove.demo import contact_sheet, sample_path
from bgremove.errors import BGRemoveError, ImageError, MissingExtraError, OptionError, OutputError
from bgremove.io import Frame, Source, encode, open_picture, output_format
from bgremove.pipeline import Cut, Settings, cut, process, render
from bgremove.removers.base import Remover

if TYPE_CHECKING:
    import requests

    from bgremove.widgets import App, Photos
    from bgremove.widgets.photos import Photo

MAX_DOWNLOAD = 100 * 10**6
"""A picture from the web may have so many bytes."""

_DRIVE = "/content/drive"
_SHEET, _PANEL = 1500, 480  # pixels: a figure's width, and the longest side of a picture in it
_THUMBNAIL = "240"
_UNTIMED = "256"  # the size of the picture that is cut out before the clock runs


# The runtime -------------------------------------------------------------------------------------


def colab_module(name: str) -> Any:
    """``google.colab.NAME``; None where there is no Colab."""
    try:
        return importlib.import_module(f"google.colab.{name}")
    except ImportError:
        return None


def set_up(*, detectron2: bool = True) -> None:
    """Say what this runtime has, and get Detectron2; may be called again at no cost.

    Args:
        detectron2: as ``bgremove setup detectron2``, which changes no package that is installed.
    """
    from bgremove import __version__

    gpu = gpu_name()
    print(f"bgremove {__version__}, Python {platform.python_version()}, {gpu or 'no GPU'}")
    if not gpu:
        slow = "; Detectron2 then takes seconds, not tenths of a second" if detectron2 else ""
        print(f"All of it works without a GPU, too{slow}.")
        print("For a GPU, click Runtime > Change runtime type > T4 GPU > Save, and run this cell again.")
    if detectron2:
        from bgremove.detectron2_source import setup_detectron2

        with _skipping("Detectron2"):
            setup_detectron2(say=print)


def gpu_name() -> str:
    """The first NVIDIA GPU and its memory; empty if there is none. Loads nothing large."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
        return (done.stdout.splitlines() or [""])[0].strip()
    return ""


# Photos and background ---------------------------------------------------------------------------


def choose_photos(url: str = "") -> Photos:
    """Photos for all that follows: from the web, uploaded, or else the package's samples. They are shown.

    On Colab its upload is shown, and cancelling it takes the samples; elsewhere there is a button.

    Args:
        url: addresses with spaces between them; nothing is asked for then.
    """
    from bgremove.widgets import upload
    from bgremove.widgets.photos import Photo

    found = []
    for address in url.split():
        with _skipping(address):
            found.append(Photo(_name_of(address), download(address)))
    if url.split() and not found:
        print("These are the sample photographs instead.")
        found += _samples()
    photos = upload(*found)
    display = _display_module().display
    display(photos.widget)
    shown = display(_gallery(photos), display_id=True)
    photos.on_change(lambda: shown and shown.update(_gallery(photos)))
    return photos


def first(photos: Photos) -> Image:
    """The first photo that can be read: (H, W, 3) uint8 RGB."""
    for photo in (*photos.items, *_samples()):
        with _skipping(photo.name):
            return photo.read()[0].image
    raise AssertionError("the samples can be read")


def choose_background(kind: str, colour: str = "255,255,255", url: str = "") -> Any:
    """A background from the form: what :func:`bgremove.remove` takes.

    Args:
        kind: ``transparent``, ``blur``, ``colour`` or ``image``: from `url`, or else uploaded, or else stars.
        colour: a name, ``#rgb``, or ``red,green,blue``.
        url: the address of a picture.
    """
    with _skipping("the background; it is transparent"):
        match kind:
            case "transparent" | "blur":
                return kind
            case "colour":
                parse_background(colour)
                return colour
            case "image":
                return _background_picture(url.strip())
        raise OptionError(f"the background must be transparent, image, colour or blur; got {kind!r}")
    return "transparent"


def download(url: str) -> bytes:
    """The picture at an address, as the bytes of its file.

    Raises:
        ImageError: if it cannot be had, is too large, or is no picture.
    """
    import requests

    if not url.lower().startswith(("http://", "https://")):
        raise ImageError(f"{url!r} is no address of a picture; it must begin with https://")
    agent = {"User-Agent": "bgremove (+https://github.com/bgremove/bgremove)"}  # some sites want to know
    try:
        with requests.get(url, headers=agent, stream=True, timeout=(10, 60)) as response:
            response.raise_for_status()
            data = _body(response, url)
    except requests.HTTPError as error:
        raise ImageError(
            f"cannot download {url}: the server answered {error.response.status_code}"
        ) from error
    except (requests.RequestException, ValueError) as error:  # a ValueError for broken addresses
        raise ImageError(f"cannot download {url}: {_reason(error)}; check the address") from error
    with open_picture(data, name=url):
        return data


def _body(response: requests.Response, url: str) -> bytes:
    data = bytearray()
    for chunk in response.iter_content(1 << 16):
        data += chunk
        if len(data) > MAX_DOWNLOAD:
            raise ImageError(f"{url} is larger than {MAX_DOWNLOAD // 10**6} MB; give a smaller picture")
    return bytes(data)


def _reason(error: BaseException) -> str:
    import requests

    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    if isinstance(error, requests.ConnectionError):
        return "there is no connection to the server"
    return str(error) or type(error).__name__


def _background_picture(url: str) -> Any:
    if url:
        return download(url)
    files = colab_module("files")
    uploads = files.upload() if files else {}
    if uploads:
        name, data = next(iter(uploads.items()))
        with open_picture(bytes(data), name=name):
            return bytes(data)
    print("No picture was uploaded: the background is a photograph of stars.")
    return sample_path("stars.jpg")


def _samples() -> Sequence[Photo]:
    from bgremove.widgets.photos import sample_photos

    return sample_photos()


def _gallery(photos: Photos, most: int = 6) -> Any:
    """The first few photos, side by side; text if there are more, or none."""
    row = []
    for photo in photos.items[:most]:
        with _skipping(photo.name):
            row.append((PurePosixPath(photo.name).name, limit_size(photo.read()[0].image, _THUMBNAIL)))
    more = len(photos.items) - most
    if more > 0:
        print(f"and {more} more")
    return _figure([row]) if row else "no photos"


def _name_of(url: str) -> str:
    """What the picture at an address is called."""
    from urllib.parse import unquote, urlsplit

    return PurePosixPath(unquote(urlsplit(url).path)).name or "photo"


@contextlib.contextmanager
def _skipping(what: str) -> Iterator[None]:
    """Go on after what could not be done, and say so in one sentence."""
    try:
        yield
    except BGRemoveError as error:
        print(f"Skipped {what}: {error}")


# Figures -----------------------------------------------------------------------------------------


def show(**pictures: Any) -> Any:
    """Pictures side by side under their names; see-through parts on a chequered ground.

    Args:
        pictures: arrays or anything else that :func:`bgremove.read_image` reads.

    Returns:
        A figure that a cell shows if it ends with it.
    """
    return _figure([[(name.replace("_", " "), _panel(_pixels(one))) for name, one in pictures.items()]])


def detectron2_app(
    photos: Any,
    config: str,
    background: Any,
    colour: str,
    width: int = 0,
    *,
    use_default: bool = False,
    chosen: Any = None,
) -> App:
    """The form of section 2 with what the cell says, run once.

    Args:
        photos: what :func:`choose_photos` gave.
        config: a name of Detectron2's model zoo.
        background: ``transparent``, ``image``, ``colour`` or ``blur``; ``as above`` takes `chosen`.
        colour: for ``colour``.
        width: of the result, in pixels; 0 keeps the photo's own size.
        use_default: the original notebook's preset: X101-FPN, over white, 500 pixels wide.
        chosen: the background chosen before.
    """
    from bgremove.widgets import app

    if use_default:
        made = app(photos, config, models="detectron2", preset="use-default")
    else:
        if background == "image" and not isinstance(chosen, (bytes, os.PathLike)):
            chosen = sample_path("stars.jpg")
        under = chosen if background in ("as above", "image") else choose_background(background, colour)
        size = f"{width}x100000" if width else ""
        made = app(photos, config, models="detectron2", background=under, size=size)
    made.run_button.click()
    return made


def compare(photos: Any, methods: str, *, background: Any = "transparent", most: int = 3) -> Any:
    """One figure of several methods: a row a photo, a column a method, with the seconds each took.

    The time is that of the whole cut at the photo's own size, refinement and colours and all, after the
    model was loaded and used once.

    Args:
        photos: what :func:`choose_photos` gave, or paths.
        methods: names of removers with commas between them; what cannot be had is skipped.
        background: of the results.
        most: rows of the figure.
    """
    from bgremove.widgets.photos import photos_of

    frames = {photo.name: photo.read()[0] for photo in photos_of(photos)[:most]}
    rows = [[(PurePosixPath(name).name, _panel(one.image))] for name, one in frames.items()]
    for name in dict.fromkeys(part.strip() for part in methods.split(",") if part.strip()):
        with _skipping(name):
            settings = Settings.build(name, background=background)
            remover = settings.create_remover()
            timed = [_timed(frame, remover, settings) for frame in frames.values()]
            for row, (result, seconds) in zip(rows, timed, strict=True):
                pixels = render(result, settings.outputs[0], settings)
                note = ", found nothing" if result.empty else ""
                row.append((f"{name} · {seconds:.2f} s{note}", _panel(pixels)))
            print(f"{name}: {np.mean([seconds for _, seconds in timed]):.2f} s a photo")
    return _figure(rows)


def _timed(frame: Frame, remover: Remover, settings: Settings) -> tuple[Cut, float]:
    """A cut, and the seconds it took once everything is warm."""
    cut(Frame(limit_size(frame.image, _UNTIMED)), remover, settings)
    start = time.perf_counter()
    result = cut(frame, remover, settings)
    return result, time.perf_counter() - start


def _pixels(picture: Any) -> Pixels:
    if isinstance(picture, np.ndarray):
        return picture
    with open_picture(picture) as opened:
        frame = next(iter(opened))
    if frame.alpha is None:
        return frame.image
    return np.dstack([frame.image, np.rint(frame.alpha * 255).astype(np.uint8)])


def _panel(pixels: Pixels) -> Image:
    """A small copy for a figure, RGB."""
    small = limit_size(pixels, str(_PANEL))
    if small.ndim == 2:
        return np.dstack([small] * 3)
    if small.shape[2] == 3:
        return small
    height, width = small.shape[:2]
    alpha = (small[..., 3] / np.float32(255)).astype(np.float32)
    return composite(np.ascontiguousarray(small[..., :3]), checkerboard(height, width, 10), alpha)


def _figure(rows: Sequence[Sequence[tuple[str, Image]]]) -> Any:
    """Rows of labelled pictures as something that a notebook shows."""
    import io

    from PIL import Image as PILImage

    widest = max(sum(one.shape[1] / one.shape[0] for _, one in row) for row in rows)
    height = max(one.shape[0] for row in rows for _, one in row)
    sheet = contact_sheet(rows, width=min(_SHEET, round(widest * height)))
    file = io.BytesIO()
    PILImage.fromarray(sheet).save(file, "JPEG", quality=90)
    # Fewer points than pixels: sharp on a fine screen, too.
    return _display_module().Image(file.getvalue(), format="jpeg", width=round(sheet.shape[1] * 0.73))


def _display_module() -> Any:
    try:
        return importlib.import_module("IPython.display")
    except ImportError as error:
        raise MissingExtraError('figures need a notebook: pip install "bgremove[notebook]"') from error


# Many photos -------------------------------------------------------------------------------------


def cut_out_all(
    source: Any, target: str = "", *, model: str = "auto", background: Any = "transparent", **settings: Any
) -> Path | None:
    """Cut out every picture of a folder or a zip, into a new zip; on Colab, it is then downloaded.

    A folder in Google Drive is mounted first. Subfolders stay subfolders; a picture that fails is named
    and the others are done; what was done before an interruption is kept. Nothing is ever replaced.

    Args:
        source: a folder, a zip, or what :func:`choose_photos` gave.
        target: the zip to write; by default ``NAME-cutouts.zip`` beside `source`, with a number if there
            is one already.
        model: a remover's name.
        background: anything :func:`bgremove.remove` takes.
        settings: any other, by name.

    Returns:
        The zip, or None if there was nothing to put into it.
    """
    in_drive = isinstance(source, str) and source.startswith(_DRIVE)
    with _skipping("the folder"):
        if in_drive:
            _mount_drive()
        plan = Settings.build(model, background=background, **settings)
        remover = plan.create_remover()
        with _pictures(source) as pictures:
            path = _zip_of(pictures, remover, plan, _target(source, target))
        if path is not None and not in_drive:
            offer(path)
        return path
    return None


def offer(path: Path) -> None:
    """Download a file through Colab's page; elsewhere it is on this machine already."""
    files = colab_module("files")
    if files is not None:
        files.download(str(path))


def _mount_drive() -> None:
    drive = colab_module("drive")
    if drive is None and not os.path.isdir(_DRIVE):
        raise OptionError(f"{_DRIVE} is there on Colab only; give a folder or a zip of this machine")
    if drive is not None and not os.path.ismount(_DRIVE):
        drive.mount(_DRIVE)


@contextlib.contextmanager
def _pictures(source: Any) -> Iterator[list[tuple[str, Any]]]:
    """Name and opener of each picture of a folder, a zip or a collection of photos."""
    if not isinstance(source, (str, os.PathLike)):
        from bgremove.widgets.photos import photos_of

        yield [(PurePosixPath(photo.name).name, _given(photo.source)) for photo in photos_of(source)]
        return
    from bgremove.datasets.files import open_places

    with open_places([Path(source)]) as found:
        for problem in found.problems:
            print(problem)
        if not found.entries:
            raise OptionError(f"{source} holds no pictures; give another folder or zip")
        yield [(entry.name, entry.read) for entry in found.entries]


def _given(source: Source) -> Any:
    return lambda: source


def _target(source: Any, target: str) -> Path:
    """A name that is not taken."""
    path = Path(target or "cutouts.zip").expanduser()
    if not target and isinstance(source, (str, os.PathLike)):
        folder = Path(source).expanduser()
        path = folder.with_name(f"{folder.stem}-cutouts.zip")
    return next(one for one in _numbered(path) if not os.path.lexists(one))


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    number = 2
    while True:
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1


def _zip_of(pictures: list[tuple[str, Any]], remover: Remover, plan: Settings, path: Path) -> Path | None:
    """The zip of all that could be done, which appears when it is whole."""
    part = path.with_name(path.name + ".part")
    extension = output_format(None, plan.write.format).extensions[0]
    failed: list[str] = []
    taken: set[str] = set()
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:  # PNGs are compressed already
            with contextlib.suppress(KeyboardInterrupt):
                for name, read in _progress(pictures):
                    try:
                        data, notes = _encoded(name, read(), remover, plan)
                    except BGRemoveError as error:
                        failed.append(str(error))
                        continue
                    failed += notes
                    archive.writestr(_free_name(name, extension, taken), data)
        if taken:
            os.replace(part, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
    for sentence in failed:
        print(sentence)
    where = f"are in {path}" if taken else "could be done; nothing was written"
    print(f"{len(taken)} of {len(pictures)} pictures {where}")
    return path if taken else None


def _encoded(name: str, source: Source, remover: Remover, plan: Settings) -> tuple[bytes, tuple[str, ...]]:
    """One picture's file, and what the user should know of it."""
    done = process(source, remover, plan, name=name)
    frames = done.frames[plan.outputs[0]]
    row = output_format(None, plan.write.format)
    data = encode(frames, row, plan.write, done.metadata, durations=done.durations, loop=done.loop)
    return data, done.notes


def _free_name(name: str, extension: str, taken: set[str]) -> str:
    """The name in the zip; ``a.jpg`` and ``a.png`` become ``a.png`` and ``a-2.png``."""
    wanted = PurePosixPath(name).with_suffix(extension)
    free = next(one.as_posix() for one in _numbered(Path(wanted)) if one.as_posix() not in taken)
    taken.add(free)
    return free


def _progress(pictures: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, Any]]:
    from tqdm.auto import tqdm

    return tqdm(pictures, unit="picture", desc="Cutting out")

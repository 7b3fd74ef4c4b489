"""Photos to work on: uploaded, named, or the samples of the package."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ipywidgets as w
import numpy as np
from PIL import Image as PILImage

from bgremove.demo import SAMPLES, sample_path
from bgremove.errors import ImageError
from bgremove.io import READABLE_EXTENSIONS, Frame, Metadata, Source, open_picture
from bgremove.widgets.fields import style_sheet

ACCEPT = ",".join(sorted(READABLE_EXTENSIONS))


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture and what it is called.

    Attributes:
        name: a file's path as given, or the uploaded file's name.
        source: what :func:`bgremove.io.open_picture` takes.
        sample: True for what comes with the package.
    """

    name: str
    source: Source = field(repr=False)
    sample: bool = False

    @property
    def stem(self) -> str:
        """The name without folder and extension."""
        return Path(self.name).stem or "photo"

    def read(self) -> tuple[Frame, Metadata, tuple[str, ...]]:
        """The picture (an animation's first), what its file says, and what the user should know.

        Raises:
            ImageError: if it cannot be read.
        """
        with open_picture(self.source, name=self.name) as picture:
            notes = picture.notes
            if picture.frames > 1:
                notes += (f"{self.name} is animated; this form shows and saves its first picture only",)
            return next(iter(picture)), picture.metadata, notes


def photos_of(*sources: Any) -> tuple[Photo, ...]:
    """Photos from paths, bytes, PIL images and arrays, or lists and folders of them.

    Raises:
        ImageError: for anything else, and for a file that is not there.
    """
    found: list[Photo] = []
    for source in sources:
        found.extend(_photos_in(source, len(found)))
    return tuple(found)


@functools.cache
def sample_photos() -> tuple[Photo, ...]:
    """The photographs that come with the package."""
    paths = [sample_path(f"{sample.name}.jpg") for sample in SAMPLES]
    return tuple(Photo(str(path), path, sample=True) for path in paths)


class Photos:
    """Photos, with a button that asks for more.

    Attributes:
        items: the photos; the samples while there is nothing else, if they are wanted.
        widget: the button and what it says.
    """

    def __init__(self, items: Sequence[Photo] = (), *, samples: bool = True, what: str = "photos") -> None:
        self._items, self._samples, self._what = tuple(items), samples, what
        self._listeners: list[Callable[[], object]] = []
        self._told = w.HTML()
        self._asked = w.Output()
        self.button = self._button()
        self.clear = w.Button(description="Clear", tooltip="Forget the uploads", layout={"width": "64px"})
        self.clear.on_click(lambda _: self.put(()))
        line = w.HBox([self.button, self.clear, self._told], layout={"align_items": "center"})
        self.widget = w.VBox([style_sheet(), line, self._asked] if on_colab() else [style_sheet(), line])
        self._tell()

    @property
    def items(self) -> tuple[Photo, ...]:
        """What there is to work on."""
        return self._items or (sample_photos() if self._samples else ())

    def on_change(self, listener: Callable[[], object]) -> None:
        """Call `listener` when photos have come or gone."""
        self._listeners.append(listener)

    def ask(self) -> None:
        """On Colab: show its own upload, and wait for it."""
        files = on_colab()
        if files is not None:
            self._add([Photo(name, bytes(data)) for name, data in (files.upload() or {}).items()])

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.widget)  # type: ignore[no-untyped-call, unused-ignore]

    def _button(self) -> Any:
        title = f"Upload {self._what}"
        if on_colab() is not None:
            button = w.Button(description=title, icon="upload", layout={"width": "auto"})
            button.on_click(lambda _: self._ask_below())
        else:
            several = self._what.endswith("s")
            button = w.FileUpload(
                description=title, accept=ACCEPT, multiple=several, layout={"width": "auto"}
            )
            button.observe(lambda _: self._take(), names="value")
            # In place of its own label, which would end in the number of files that it holds: always (0).
            button.add_class("bgremove-upload")
            button.add_class(f"bgremove-upload-{self._what.split()[-1]}")
        return button

    def _ask_below(self) -> None:
        """Colab's upload needs a place to be shown."""
        self._asked.clear_output()
        with self._asked:
            self.ask()
        self._asked.clear_output()

    def _take(self) -> None:
        """What the browser sent; the widget does not keep it."""
        uploads = uploaded(self.button)
        if uploads:
            forget(self.button)
            self._add([Photo(name, data) for name, data in uploads])

    def _add(self, photos: Sequence[Photo]) -> None:
        """The new ones; of one name the newest, as in a folder."""
        if photos:
            new = {photo.name: photo for photo in photos}
            old = {photo.name: photo for photo in self._items if self._what.endswith("s")}
            self.put(tuple({**old, **new}.values()))

    def put(self, items: Sequence[Photo]) -> None:
        """Have these photos, and no others."""
        self._items = tuple(items)
        self._tell()
        for listener in self._listeners:
            listener()

    def _tell(self) -> None:
        count = len(self._items)
        none = "none yet; these are samples" if self._samples else "none yet"
        self._told.value = f"&nbsp;{count} here" if count else f"&nbsp;{none}"
        self.clear.layout.display = None if count else "none"


def upload(*sources: Any, samples: bool = True) -> Photos:
    """Ask for photos; several at once can be given.

    On Colab its own upload is shown, and the call returns when it is done. Elsewhere a button is shown if
    the result ends a cell, and what is uploaded arrives when it does.

    Args:
        sources: paths, folders, bytes, PIL images or arrays; with any of them nothing is asked.
        samples: work on the package's own photographs while there are no others.

    Raises:
        ImageError: if one of `sources` is none of these.
    """
    photos = Photos(photos_of(*sources), samples=samples)
    if not sources:
        photos.ask()
    return photos


def on_colab() -> Any:
    """Colab's module for uploads and downloads; None elsewhere."""
    try:
        from google.colab import files  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        return None
    return files


def uploaded(control: Any) -> list[tuple[str, bytes]]:
    """Name and bytes of what a FileUpload holds: a dict in ipywidgets 7, a tuple in 8."""
    if isinstance(control.value, dict):
        return [(name, bytes(one["content"])) for name, one in control.value.items()]
    return [(one["name"], bytes(one["content"])) for one in control.value]


def forget(control: Any) -> None:
    """Empty a FileUpload, so that its files are not kept twice."""
    if isinstance(control.value, dict):
        control.set_trait("value", {})
        control._counter = 0
    else:
        control.value = ()


def _photos_in(source: Any, number: int) -> list[Photo]:
    if isinstance(source, Photo):
        return [source]
    if isinstance(source, Photos):
        return list(source.items)
    if isinstance(source, (str, os.PathLike)):
        return _photos_at(Path(source).expanduser(), os.fspath(source))
    if isinstance(source, (list, tuple)):
        return [photo for one in source for photo in _photos_in(one, number)]
    if isinstance(source, (bytes, np.ndarray, PILImage.Image)):
        name = getattr(source, "filename", "") or f"photo{number + 1 if number else ''}.png"
        return [Photo(Path(name).name, source)]
    raise ImageError(
        f"expected photos as paths, bytes, PIL images or arrays; got {type(source).__name__}; "
        "give a path, or upload() them"
    )


def _photos_at(path: Path, name: str) -> list[Photo]:
    if path.is_dir():
        inside = sorted(one for one in path.iterdir() if one.suffix.lower() in READABLE_EXTENSIONS)
        if not inside:
            raise ImageError(f"there is no picture in {path}; give another folder, or upload() photos")
        return [Photo(str(one), one) for one in inside]
    if not path.exists():
        raise ImageError(f"there is no file {name}; give another path, or upload() photos")
    return [Photo(name, path)]

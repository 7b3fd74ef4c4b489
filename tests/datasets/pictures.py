"""Small pictures and masks, each different from the others, in any layout."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage

from bgremove.datasets.files import open_places
from bgremove.datasets.params import DataParams, NoParams
from bgremove.datasets.sources import Found, Item, Request, by_folders
from bgremove.options import Params


def picture(number: int = 0, height: int = 24, width: int = 32) -> npt.NDArray[np.uint8]:
    """RGB noise of its own for every number."""
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)


def mask(number: int = 0, height: int = 24, width: int = 32) -> npt.NDArray[np.uint8]:
    """A soft ramp, shifted by the number."""
    ramp = np.linspace(0, 255, width).round().astype(np.uint8)
    return np.tile(np.roll(ramp, number), (height, 1))


def save(path: Path, pixels: npt.NDArray[Any]) -> Path:
    """The pixels as a file, its folders made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PILImage.fromarray(pixels).save(path)
    return path


def add_pairs(
    folder: Path, names: list[str], images: str = "images", masks: str = "masks", start: int = 0
) -> None:
    """Pairs in two folders."""
    for number, name in enumerate(names, start):
        save(folder / images / f"{name}.jpg", picture(number))
        save(folder / masks / f"{name}.png", mask(number))


def zipped(folder: Path, path: Path) -> Path:
    """A zip of a folder's files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder).as_posix())
    return path


def found_in(*places: Path, own: Params | None = None, source: Any = by_folders, **settings: Any) -> Found:
    """What a source finds in some places; their zips are closed afterwards."""
    with open_places(places) as contents:
        found: Found = source(Request(contents, DataParams(**settings), own or NoParams()))
        return found


def stems(items: tuple[Item, ...] | list[Item]) -> list[str]:
    """The names of items."""
    return [item.stem for item in items]

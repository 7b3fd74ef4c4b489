"""Folders of pictures with their masks, ``images/`` and ``masks/``, matched by name.

Evaluation and training read their data through this module. A mask is black, grey and white, from 0
background to 1 foreground, in any bit depth; or it has an alpha channel, which is then the mask.
"""

from __future__ import annotations

import io
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PILImage
from PIL import ImageOps

from bgremove.arrays import Alpha, Image
from bgremove.errors import DataError, ImageError, MissingExtraError
from bgremove.io import READABLE_EXTENSIONS, open_picture, read_image
from bgremove.threads import map_on_threads

IMAGES, MASKS = "images", "masks"
"""The two folders of a set."""
TRAIN, VAL = "train", "val"
"""The two sets of a training folder."""

_COLOURED = 64  # greatest difference of red, green and blue in a mask that still counts as grey


@dataclass(frozen=True)
class Pair:
    """A picture and its mask.

    Attributes:
        stem: their common name: relative to ``images/``, with sub-folders, without extension.
        image: the picture's file.
        mask: the mask's file.
    """

    stem: str
    image: Path
    mask: Path


@dataclass(frozen=True)
class Listing:
    """What a folder holds.

    Attributes:
        pairs: sorted by stem.
        problems: a sentence for each file that is left out: an image without mask, a mask without
            image, two files of one stem.
    """

    pairs: tuple[Pair, ...]
    problems: tuple[str, ...]


def find_pairs(folder: Path) -> Listing:
    """The pairs of ``folder/images`` and ``folder/masks``, their sub-folders included.

    Nothing is opened. Hidden files, and those that are no pictures by their name, do not count.

    Raises:
        DataError: if a folder is missing, or there is no pair.
    """
    images, masks = folder / IMAGES, folder / MASKS
    missing = [part.name for part in (images, masks) if not part.is_dir()]
    if missing:
        raise DataError(
            f"{folder} has no folder {' and no folder '.join(missing)}; expected {IMAGES}/NAME.jpg and "
            f"{MASKS}/NAME.png, found {_found_in(folder)}"
        )
    listing = match_files(_pictures_by_stem(images), _pictures_by_stem(masks))
    if not listing.pairs:
        raise DataError(
            f"{folder} has no picture with a mask: {_count(images)} in {IMAGES}/ and {_count(masks)} in "
            f"{MASKS}/, none of one name; expected {IMAGES}/NAME.jpg and {MASKS}/NAME.png"
        )
    return listing


def find_split(folder: Path) -> tuple[Listing, Listing]:
    """The pairs to train on and those to validate on: ``folder/train`` and ``folder/val``.

    Raises:
        DataError: if one of the two is missing or has no pair.
    """
    missing = [name for name in (TRAIN, VAL) if not (folder / name).is_dir()]
    if missing:
        raise DataError(
            f"{folder} has no folder {' and no folder '.join(missing)}; expected {TRAIN}/{IMAGES}, "
            f"{TRAIN}/{MASKS}, {VAL}/{IMAGES} and {VAL}/{MASKS}, found {_found_in(folder)}: bgremove data "
            "makes this layout from what you have"
        )
    return find_pairs(folder / TRAIN), find_pairs(folder / VAL)


def match_files(images: dict[str, list[Path]], masks: dict[str, list[Path]]) -> Listing:
    """Images and masks by stem, put together where there is exactly one of each."""
    pairs, problems = [], []
    for stem in sorted({*images, *masks}):
        ours, theirs = images.get(stem, []), masks.get(stem, [])
        if len(ours) == len(theirs) == 1:
            pairs.append(Pair(stem, ours[0], theirs[0]))
        elif not theirs:
            problems.append(f"{ours[0]} has no mask")
        elif not ours:
            problems.append(f"{theirs[0]} has no image")
        else:
            several = ours if len(ours) > 1 else theirs
            problems.append(f"{several[0]} and {several[1].name} have one name; keep one of them")
    return Listing(tuple(pairs), tuple(problems))


def read_pair(pair: Pair, *, threshold: float | None = None) -> tuple[Image, Alpha]:
    """The upright picture and its truth.

    Args:
        pair: what to read.
        threshold: makes the truth hard: 1 from this value on, else 0. Without it soft masks stay soft.

    Returns:
        (H, W, 3) uint8 RGB and (H, W) float32 in [0, 1].

    Raises:
        DataError: if one of them cannot be read, or their sizes differ.
    """
    try:
        image, truth = read_image(pair.image), read_mask(pair.mask)
    except ImageError as error:
        raise DataError(str(error)) from error
    check_sizes(str(pair.image), image.shape[:2], str(pair.mask), truth.shape)
    return image, truth if threshold is None else harden(truth, threshold)


def harden(truth: Alpha, threshold: float) -> Alpha:
    """A mask of only 0 and 1: 1 from `threshold` on."""
    return (truth >= threshold).astype(np.float32)


def read_mask(source: Path | bytes, *, name: str = "") -> Alpha:
    """A mask from a file or the bytes of one, upright, with its values as they are stored.

    The alpha channel is the mask where there is one that says anything, else the grey. A mask that
    knows only the values 0 and 1 means black and white, and one of 16 bits that goes up to 255 at most
    was meant to have 8. Colour profiles do not apply: they would bend the values.

    Args:
        source: what to read.
        name: what messages call it; a path's own name by default.

    Returns:
        (H, W) float32 in [0, 1].

    Raises:
        ImageError: if it cannot be read.
        DataError: if it is a coloured picture.
    """
    name = name or (str(source) if isinstance(source, Path) else "the mask")
    with open_picture(source, name=name):
        pass  # it is a picture, and not too large
    with PILImage.open(io.BytesIO(source) if isinstance(source, bytes) else source) as pil:
        pil.info.pop("icc_profile", None)
        with open_picture(pil, name=name) as picture:
            frame = next(iter(picture))
        if pil.mode.startswith("I;16"):
            return _deep_mask(ImageOps.exif_transpose(pil))
    if frame.alpha is not None:
        return frame.alpha
    grey = _grey(frame.image, name)
    return grey.astype(np.float32) if grey.max() <= 1 else grey * np.float32(1 / 255)


def check_sizes(image: str, image_size: Iterable[int], mask: str, mask_size: Iterable[int]) -> None:
    """Refuse a mask of another size than its picture's; `image` and `mask` are their names.

    Raises:
        DataError: naming both sizes.
    """
    (height, width), (mask_height, mask_width) = image_size, mask_size
    if (height, width) == (mask_height, mask_width):
        return
    turned = (height, width) == (mask_width, mask_height)
    raise DataError(
        f"{mask} is {mask_width} x {mask_height}, {image} is {width} x {height}; "
        + ("one of them lies on its side: turn it" if turned else "a mask must have its picture's size")
    )


def check_pairs(pairs: Sequence[Pair], progress: Callable[[], object] | None = None) -> list[str]:
    """A sentence for each pair that cannot be read, or differs in size; see :func:`split_usable`."""
    return split_usable(pairs, progress)[1]


def split_usable(
    pairs: Sequence[Pair], progress: Callable[[], object] | None = None
) -> tuple[list[Pair], list[str]]:
    """The pairs that can be used, and a sentence for each that cannot be read, or differs in size.

    Where a file's header and its end show that it is whole, it is not decoded.

    Args:
        pairs: what to check.
        progress: called after each pair.
    """
    good, problems = [], []
    for pair, problem in zip(pairs, map_on_threads(_problem_of, pairs), strict=True):
        if problem:
            problems.append(problem)
        else:
            good.append(pair)
        if progress is not None:
            progress()
    return good, problems


def first_few(sentences: Sequence[str], most: int = 10) -> list[str]:
    """The first of many sentences, and how many more there are."""
    more = len(sentences) - most
    return [*sentences[:most], f"and {more} more"] if more > 0 else list(sentences)


# Finding --------------------------------------------------------------------------------------------


def picture_files(folder: Path) -> list[Path]:
    """The pictures under `folder` by their names, sorted, without hidden files and folders."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if _counts(name)]
        found += [Path(place, name) for name in names if _counts(name) and _is_picture(name)]
    return sorted(found)


def _counts(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in READABLE_EXTENSIONS


def _pictures_by_stem(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = defaultdict(list)
    for path in picture_files(folder):
        found[path.relative_to(folder).with_suffix("").as_posix()].append(path)
    return found


def _count(folder: Path) -> str:
    number = len(picture_files(folder))
    return f"{number} picture{'' if number == 1 else 's'}"


def _found_in(folder: Path) -> str:
    """What is there instead, in a few words."""
    if not folder.exists():
        return "no such folder"
    if not folder.is_dir():
        return "a file"
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())
    return ", ".join(first_few(names, 4)) or "an empty folder"


# Reading --------------------------------------------------------------------------------------------


def _grey(image: Image, name: str) -> Image:
    """The grey of a mask that was stored in colour: (H, W) uint8."""
    red, green, blue = cv2.split(image)
    spread = cv2.max(cv2.max(red, green), blue) - cv2.min(cv2.min(red, green), blue)
    if spread.max() > _COLOURED:
        raise DataError(
            f"{name} is a coloured picture; a mask must be black, grey and white, or have an alpha channel"
        )
    grey: Image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if spread.any() else red
    return grey


def _deep_mask(pil: PILImage.Image) -> Alpha:
    values = np.asarray(pil).astype(np.float32)
    top = values.max(initial=0)
    return values / np.float32(1 if top <= 1 else 255 if top <= 255 else 65535)


# Checking -------------------------------------------------------------------------------------------


def _problem_of(pair: Pair) -> str:
    """What is wrong with a pair, empty if nothing."""
    try:
        with open_picture(pair.image) as image, open_picture(pair.mask) as mask:
            check_sizes(str(pair.image), image.size, str(pair.mask), mask.size)
            formats = image.format, mask.format
        if not (_is_whole(pair.image, formats[0]) and _is_whole(pair.mask, formats[1])):
            read_pair(pair)
        elif not _is_stored_grey(pair.mask):
            read_mask(pair.mask)
    except (DataError, ImageError, MissingExtraError) as error:
        return str(error)
    return ""


def _is_whole(path: Path, file_format: str) -> bool:
    """Whether the end of the file is there, for the formats that mark it or say their length."""
    with path.open("rb") as file:
        head, size = file.read(12), path.stat().st_size
        file.seek(max(0, size - 12))
        tail = file.read()
    match file_format:
        case "JPEG":
            return tail.endswith(b"\xff\xd9")
        case "PNG":
            return tail.endswith(b"IEND\xaeB`\x82")
        case "WEBP":
            return int.from_bytes(head[4:8], "little") + 8 <= size
    return False


def _is_stored_grey(path: Path) -> bool:
    with PILImage.open(path) as pil:
        return pil.mode in ("1", "L", "LA") or pil.mode.startswith("I;16")

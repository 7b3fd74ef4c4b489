"""How pairs are found among the files of a data set: one function for each kind of layout."""

from __future__ import annotations

import io
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal, TypeVar

from PIL import Image as PILImage

from bgremove.arrays import Alpha, Image
from bgremove.datasets.files import Contents, Entry
from bgremove.datasets.params import DataParams, OwnSplitParams
from bgremove.errors import DataError
from bgremove.io import Frame, open_picture
from bgremove.options import Params
from bgremove.pairs import check_sizes, first_few, read_mask

Split = Literal["train", "val"]
P = TypeVar("P", bound=Params)


@dataclass(frozen=True)
class Sample:
    """A picture and its truth, decoded.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        truth: (H, W) float32 in [0, 1].
        data: the picture's file as it came, None if it was made.
    """

    image: Image
    truth: Alpha
    data: bytes | None = None


@dataclass(frozen=True)
class Item:
    """A pair that can be had.

    Attributes:
        stem: its name in the result, with ``/`` for sub-folders.
        origin: where it comes from, for messages and for the list that is written.
        load: reads or makes it; raises :class:`DataError` or :class:`ImageError`.
        split: where its source puts it, None where that is open.
        image: the picture's file, None if it is made.
    """

    stem: str
    origin: str
    load: Callable[[], Sample]
    split: Split | None = None
    image: Entry | None = None


@dataclass(frozen=True)
class Found:
    """What a source has.

    Attributes:
        items: in a fixed order.
        problems: a sentence for each file that is left out.
    """

    items: tuple[Item, ...]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """What a source is asked for.

    Attributes:
        contents: the files of the places that were named.
        params: the common settings.
        own: the source's own settings.
    """

    contents: Contents
    params: DataParams
    own: Params

    def own_as(self, kind: type[P]) -> P:
        """The source's own settings, or their defaults if it has none of this kind."""
        return self.own if isinstance(self.own, kind) else kind()


# Two folders ----------------------------------------------------------------------------------------

_IMAGES = re.compile(r"(.*[-_ ])?(image|images|img|imgs|im|photo|photos|picture|pictures|jpegimages|inputs?)")
_MASKS = re.compile(r"(.*[-_ ])?(mask|masks|gt|gts|alpha|alphas|matte|mattes|pha|labels?|ground_?truth)")
_MASK_ENDING = re.compile(r"[-_ .](mask|matte|alpha|gt|seg|segmentation|label)$", re.IGNORECASE)
_SPLITS: dict[str, str] = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing", "te"), "test"),
}


@dataclass(frozen=True)
class _Placed:
    """A file in one of the two folders.

    Attributes:
        kind: which of the two it is.
        above: the place of that folder.
        prefix: how that folder's name begins, ``DUTS-TR-`` of ``DUTS-TR-Image``.
        stem: the file's place below that folder, without extension.
    """

    entry: Entry
    kind: Literal["image", "mask"]
    above: str
    prefix: str
    stem: str


def by_folders(request: Request) -> Found:
    """Pictures and masks in two folders, matched by stem, sub-folders included.

    The folders are known by their names: ``images`` and ``masks``, ``DUTS-TR-Image`` and ``DUTS-TR-Mask``,
    ``blurred_image`` and ``mask`` and the like; any two folders do if the masks are the grey ones.
    Masks may be called ``NAME_mask``. Several such pairs of folders are taken together.

    Raises:
        DataError: if there is no pair.
    """
    entries = request.contents.entries
    placed = [one for one in map(_place, entries) if one is not None]
    if not {"image", "mask"} <= {one.kind for one in placed}:
        placed = _two_folders(entries)
    pairs, problems = _match(placed)
    if not pairs:
        raise DataError(_no_pair(entries))
    names = _names(pairs)
    items = [
        file_pair(name, image.entry, mask.entry) for name, (image, mask) in zip(names, pairs, strict=True)
    ]
    if request.own_as(OwnSplitParams).own_split:
        items, more = _divided(items, [image for image, _ in pairs])
        problems += more
    return Found(tuple(items), (*request.contents.problems, *problems))


def file_pair(
    stem: str, image: Entry, mask: Entry, truth_of: Callable[[bytes, str], Alpha] | None = None
) -> Item:
    """A pair of two files; `truth_of` reads a mask that is of a special kind."""

    def load() -> Sample:
        data = image.read()
        pixels = _decoded(data, image.label).image
        truth = truth_of(mask.read(), mask.label) if truth_of else read_mask(mask.read(), name=mask.label)
        check_sizes(image.label, pixels.shape[:2], mask.label, truth.shape)
        return Sample(pixels, truth, data)

    return Item(stem, image.label, load, image=image)


def _decoded(data: bytes, name: str) -> Frame:
    with open_picture(data, name=name) as picture:
        return next(iter(picture))


def _place(entry: Entry) -> _Placed | None:
    """Where the last folder of a known kind is in the entry's path; the place's own name counts, too."""
    place = Path(os.path.abspath(entry.place))
    parts = (*place.parts[:-1], place.stem, *PurePosixPath(entry.name).parts)
    for index in range(len(parts) - 2, max(len(place.parts) - 2, 0), -1):
        for kind, known in (("mask", _MASKS), ("image", _IMAGES)):
            if match := known.fullmatch(parts[index].lower()):
                stem = "/".join((*parts[index + 1 : -1], PurePosixPath(parts[-1]).stem))
                return _Placed(
                    entry,
                    "mask" if kind == "mask" else "image",
                    "/".join(parts[:index]),
                    match[1] or "",
                    stem,
                )
    return None


def _two_folders(entries: Sequence[Entry]) -> list[_Placed]:
    """Two folders of any names: the masks are in the one whose files are grey or see-through."""
    folders: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        folders[str(entry.place), str(PurePosixPath(entry.name).parent)].append(entry)
    if len(folders) != 2:
        return []
    first, second = folders.values()
    looks = [all(map(_looks_like_a_mask, some[:5])) for some in (first, second)]
    if looks[0] == looks[1]:
        return []
    return [
        _Placed(entry, "mask" if is_mask else "image", "", "", PurePosixPath(entry.name).stem)
        for some, is_mask in zip((first, second), looks, strict=True)
        for entry in some
    ]


def _looks_like_a_mask(entry: Entry) -> bool:
    try:
        with PILImage.open(io.BytesIO(entry.read())) as pil:
            return pil.mode in ("1", "L", "LA", "P", "RGBA") or pil.mode.startswith("I")
    except (OSError, DataError):
        return False


def _match(placed: Sequence[_Placed]) -> tuple[list[tuple[_Placed, _Placed]], list[str]]:
    """Images and masks put together: of one place first, then by their stems alone."""
    problems: list[str] = []
    pairs: list[tuple[_Placed, _Placed]] = []
    keys: tuple[Callable[[_Placed], tuple[str, ...]], ...] = (
        lambda one: (one.above, one.prefix, one.stem),
        lambda one: (one.above, one.prefix, _bare(one)),
        lambda one: (one.above, _bare(one)),
        lambda one: (_bare(one),),
    )
    rest = list(placed)
    for key in keys:
        groups: dict[tuple[str, ...], list[_Placed]] = defaultdict(list)
        for one in rest:
            groups[key(one)].append(one)
        rest = []
        for group in groups.values():
            if sorted(one.kind for one in group) == ["image", "mask"]:
                image, mask = sorted(group, key=lambda one: one.kind)
                pairs.append((image, mask))
            else:
                rest += group
    for one in rest:
        other = "mask" if one.kind == "image" else "image"
        several = any(two.kind == other and _bare(two) == _bare(one) for two in rest)
        problems.append(f"{one.entry.label} has {'no' if not several else 'more than one possible'} {other}")
    return sorted(pairs, key=lambda pair: pair[0].entry.label), problems


def _bare(one: _Placed) -> str:
    return _MASK_ENDING.sub("", one.stem) if one.kind == "mask" else one.stem


def _names(pairs: Sequence[tuple[_Placed, _Placed]]) -> list[str]:
    """A name for each pair: its stem, after what is above where stems repeat."""
    times: dict[str, int] = defaultdict(int)
    for image, _ in pairs:
        times[image.stem.casefold()] += 1
    return [
        image.stem
        if times[image.stem.casefold()] == 1
        else f"{PurePosixPath(image.above).name or image.entry.place.stem}/{image.stem}"
        for image, _ in pairs
    ]


def _divided(items: Iterable[Item], images: Sequence[_Placed]) -> tuple[list[Item], list[str]]:
    """The items with the sets that their folders and zips are named after, where there are two."""
    found = [_named_split(one.entry) for one in images]
    if "val" not in found:
        found = ["val" if split == "test" else split for split in found]
    if not {"train", "val"} <= set(found):
        return list(items), []
    left = found.count("test")
    problems = [f"{left} in a test set: left out, as there is another to validate on"] if left else []
    kept = [(item, split) for item, split in zip(items, found, strict=True) if split != "test"]
    return [replace(item, split="val" if split == "val" else "train") for item, split in kept], problems


def _named_split(entry: Entry) -> str | None:
    parts = (entry.place.stem, *PurePosixPath(entry.name).parts[:-1])
    for part in reversed(parts):
        for word in re.split(r"[-_. ]", part.lower()):
            if word in _SPLITS:
                return _SPLITS[word]
    return None


def _no_pair(entries: Sequence[Entry]) -> str:
    folders = sorted({str(PurePosixPath(entry.name).parent) + "/" for entry in entries})
    found = f"{len(entries)} pictures in {', '.join(first_few(folders, 4))}" if entries else "no picture"
    return (
        f"no picture has a mask; expected two folders, as images/NAME.jpg and masks/NAME.png, found {found}: "
        "name the folders images and masks, and files alike in both"
    )


# AISegment ------------------------------------------------------------------------------------------


def aisegment(request: Request) -> Found:
    """``clip_img/GROUP/clip_NNN/NAME.jpg`` with ``matting/GROUP/matting_NNN/NAME.png``.

    The matte is the alpha channel of the latter. The data set holds all of its files twice; each
    picture is taken once.

    Raises:
        DataError: if there is no pair.
    """
    images: dict[str, Entry] = {}
    mattes: dict[str, Entry] = {}
    for entry in request.contents.entries:
        parts = PurePosixPath(entry.name).parts
        for kind, known in (("clip_img", images), ("matting", mattes)):
            if kind in parts:
                below = parts[len(parts) - parts[::-1].index(kind) :]
                key = "/".join(
                    (*(part.rpartition("_")[2] for part in below[:-1]), below[-1].rpartition(".")[0])
                )
                known.setdefault(key, entry)
    items = [
        file_pair(PurePosixPath(key).name, images[key], mattes[key], _alpha_channel)
        for key in sorted(images.keys() & mattes.keys())
    ]
    if not items:
        raise DataError(
            "no picture has a matte; expected clip_img/GROUP/clip_NNN/NAME.jpg and "
            f"matting/GROUP/matting_NNN/NAME.png, found {len(images)} pictures and {len(mattes)} mattes"
        )
    alone = [f"{images[key].label} has no matte" for key in sorted(images.keys() - mattes.keys())]
    alone += [f"{mattes[key].label} has no picture" for key in sorted(mattes.keys() - images.keys())]
    return Found(tuple(items), (*request.contents.problems, *alone))


def _alpha_channel(data: bytes, name: str) -> Alpha:
    alpha = _decoded(data, name).alpha
    if alpha is None:
        raise DataError(f"{name} is opaque everywhere; its alpha channel should be the matte")
    return alpha

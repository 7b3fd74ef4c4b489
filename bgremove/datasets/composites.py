"""Made pictures: cut-outs put over backgrounds, whose truth is known exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from bgremove.arrays import Alpha, Image
from bgremove.compositing import composite, limit_size, subject_box
from bgremove.datasets.build import by_chance, number_to_validate
from bgremove.datasets.params import CompositeParams
from bgremove.datasets.sources import Found, Item, Request, Sample, Split
from bgremove.errors import DataError, OptionError
from bgremove.io import read_frame
from bgremove.pairs import first_few, picture_files

_PART = 0.6  # a background is cropped to at least this share of its sides
_ENLARGED = 1.5  # a cut-out is enlarged at most so much
_CUT = 0.1  # of a side of the subject's box opaque at the picture's edge: the photo cut it off there


@dataclass(frozen=True)
class Cut:
    """A subject, cropped to its box.

    Attributes:
        colours: (H, W, 3) uint8 RGB, straight alpha.
        alpha: (H, W) float32 in [0, 1].
        cut: whether the photo cut it off at the left, top, right and bottom.
    """

    colours: Image
    alpha: Alpha
    cut: tuple[bool, bool, bool, bool]


def composites(request: Request) -> Found:
    """Cut-outs over backgrounds, each at a random place, size and side.

    The truth is the alpha of the cut-out, soft as it is. No cut-out and no background is in both sets.
    A subject that its photo cut off at an edge is put at that edge.

    Raises:
        OptionError: if a folder is not given.
        DataError: if there are too few cut-outs or backgrounds.
    """
    own = request.own_as(CompositeParams)
    low, high = own.subject_size
    if not 0 < low <= high <= 1:
        raise OptionError(
            "subject_size must be two shares of a picture, above 0 to 1, the least first; "
            f"got {low:g},{high:g}"
        )
    cutouts = _folder(own.cutouts, "cutouts", "pictures with transparency")
    backgrounds = _folder(own.backgrounds, "backgrounds", "pictures to put them over")
    validating = number_to_validate(own.count, request.params.val)
    parts = [(own.count - validating, *_parts(cutouts, backgrounds, request, validating, "train"))]
    if validating:
        parts.append((validating, *_parts(cutouts, backgrounds, request, validating, "val")))
    items: list[Item] = []
    for (count, subjects, scenes), split in zip(parts, ("train", "val"), strict=False):
        items += _items(count, subjects, scenes, cast(Split, split), request, own)
    return Found(tuple(items))


def _folder(text: str, name: str, what: str) -> list[Path]:
    if not text:
        raise OptionError(f"{name} is missing; give a folder of {what}")
    folder = Path(text).expanduser()
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; {name} must be a folder of {what}")
    found = picture_files(folder)
    if not found:
        names = first_few(sorted(path.name for path in folder.iterdir()), 4)
        raise DataError(f"{folder} holds no picture, but {', '.join(names) or 'nothing'}; give {what}")
    return found


def _parts(
    cutouts: list[Path], backgrounds: list[Path], request: Request, validating: int, split: str
) -> tuple[list[Path], list[Path]]:
    """The cut-outs and backgrounds of one set."""
    own = request.own_as(CompositeParams)
    chosen = []
    for paths, name in ((cutouts, "cutouts"), (backgrounds, "backgrounds")):
        if validating and len(paths) < 2:
            raise DataError(
                f"there is one picture in {name}; training and validation need one each: give more, or "
                "make no validation set (--val 0)"
            )
        number = number_to_validate(len(paths), validating / own.count) if validating else 0
        order = by_chance([str(path) for path in paths], f"{name} {request.params.seed}")
        chosen.append([Path(text) for text in (order[:number] if split == "val" else order[number:])])
    return chosen[0], chosen[1]


def _items(
    count: int,
    cutouts: Sequence[Path],
    backgrounds: Sequence[Path],
    split: Split,
    request: Request,
    own: CompositeParams,
) -> list[Item]:
    """Each cut-out equally often, each time over another background."""
    random = np.random.default_rng([request.params.seed, split == "val"])
    places = random.permutation(max(count, len(backgrounds))) % len(backgrounds)
    digits = len(str(count - 1))
    items = []
    for index in range(count):
        cutout, background = cutouts[index % len(cutouts)], backgrounds[places[index]]
        stem = f"{cutout.stem}_{index:0{digits}}"
        made = _Made(
            cutout, background, (request.params.seed, index, split == "val"), request.params.max_size, own
        )
        items.append(Item(stem, f"{cutout} over {background}, {index}", made, split))
    return items


@dataclass(frozen=True)
class _Made:
    """Makes one picture; the same one whenever it is called."""

    cutout: Path
    background: Path
    seed: tuple[int, ...]
    max_size: int | None
    own: CompositeParams

    def __call__(self) -> Sample:
        random = np.random.default_rng(self.seed)
        scene = background_part(read_frame(self.background).image, self.max_size, random)
        cut = read_cut(self.cutout)
        if random.random() < 0.5:
            left, top, right, bottom = cut.cut
            cut = Cut(
                np.ascontiguousarray(cut.colours[:, ::-1]),
                np.ascontiguousarray(cut.alpha[:, ::-1]),
                (right, top, left, bottom),
            )
        return Sample(*place(cut, scene, self.own.subject_size, random))


def read_cut(path: Path) -> Cut:
    """A cut-out's subject.

    Raises:
        ImageError: if it cannot be read.
        DataError: if it has no transparency, or nothing but it.
    """
    frame = read_frame(path)
    if frame.alpha is None:
        raise DataError(f"{path} has no transparency; a cut-out is a PNG or WebP with an alpha channel")
    if not (frame.alpha > 0.5).any():
        raise DataError(f"{path} shows nothing: no pixel is more than half opaque")
    box = subject_box(frame.alpha)
    alpha = np.ascontiguousarray(frame.alpha[box.top : box.bottom, box.left : box.right])
    height, width = frame.alpha.shape
    sides = (
        (box.left == 0, alpha[:, 0]),
        (box.top == 0, alpha[0]),
        (box.right == width, alpha[:, -1]),
        (box.bottom == height, alpha[-1]),
    )
    left, top, right, bottom = (at_edge and float((side > 0.5).mean()) > _CUT for at_edge, side in sides)
    colours = np.ascontiguousarray(frame.image[box.top : box.bottom, box.left : box.right])
    return Cut(colours, alpha, (left, top, right, bottom))


def background_part(image: Image, max_size: int | None, random: np.random.Generator) -> Image:
    """A random part of a background, perhaps mirrored, shrunk to `max_size`: uint8 RGB."""
    height, width = image.shape[:2]
    share = random.uniform(_PART, 1)
    rows, columns = max(1, round(height * share)), max(1, round(width * share))
    top, left = random.integers(height - rows + 1), random.integers(width - columns + 1)
    part = image[top : top + rows, left : left + columns]
    if random.random() < 0.5:
        part = part[:, ::-1]
    part = np.ascontiguousarray(part)
    return part if max_size is None else limit_size(part, str(max_size))


def place(
    cut: Cut, scene: Image, sizes: tuple[float, float], random: np.random.Generator
) -> tuple[Image, Alpha]:
    """The subject somewhere over the scene, and its truth.

    Args:
        cut: the subject.
        scene: (H, W, 3) uint8 RGB.
        sizes: least and greatest share of the scene's sides that the subject takes.
        random: decides the size and the place.

    Returns:
        The picture, of the scene's size, and the alpha in it.
    """
    height, width = scene.shape[:2]
    rows, columns = cut.alpha.shape
    scale = random.uniform(*sizes) * min(height / rows, width / columns)
    scale = min(scale, _ENLARGED)
    # What was cut off on both sides must reach from side to side.
    left, top, right, bottom = cut.cut
    if left and right:
        scale = max(scale, width / columns)
    if top and bottom:
        scale = max(scale, height / rows)
    colours, alpha = _scaled(cut, max(1, round(rows * scale)), max(1, round(columns * scale)))
    y = _offset(height - alpha.shape[0], top, bottom, random)
    x = _offset(width - alpha.shape[1], left, right, random)
    layer, truth = np.zeros_like(scene), np.zeros((height, width), np.float32)
    target = (slice(max(y, 0), y + alpha.shape[0]), slice(max(x, 0), x + alpha.shape[1]))
    source = (slice(max(-y, 0), height - y), slice(max(-x, 0), width - x))
    layer[target], truth[target] = colours[source], alpha[source]
    return composite(layer, scene, truth), truth


def _offset(room: int, at_start: bool, at_end: bool, random: np.random.Generator) -> int:
    """Where the subject begins along one side; `room` is below 0 where it is larger than the scene."""
    anywhere = int(random.integers(min(room, 0), max(room, 0) + 1))
    if at_start and at_end:
        return anywhere
    return 0 if at_start else room if at_end else anywhere


def _scaled(cut: Cut, rows: int, columns: int) -> tuple[Image, Alpha]:
    """Another size; colours count as much as they are opaque, or hidden ones would show at the edges."""
    method = cv2.INTER_AREA if rows < cut.alpha.shape[0] else cv2.INTER_LINEAR
    alpha = cv2.resize(cut.alpha, (columns, rows), interpolation=method)
    weighted: npt.NDArray[Any] = cut.colours * cut.alpha[..., None]
    colours = cv2.resize(weighted, (columns, rows), interpolation=method)
    colours = np.clip(colours / np.maximum(alpha, 1e-6)[..., None], 0, 255)
    return np.rint(colours).astype(np.uint8), np.clip(alpha, 0, 1).astype(np.float32)

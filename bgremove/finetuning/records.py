"""A user's own pictures with masks, or a COCO file, as records that Detectron2 trains on.

A record is Detectron2's own: ``file_name``, ``height``, ``width``, ``image_id`` and ``annotations``, of which
each has a box, a class number and a mask as polygons or in COCO's run-length code.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bgremove.arrays import Mask
from bgremove.errors import BGRemoveError, DataError, OptionError
from bgremove.io import open_picture
from bgremove.pairs import IMAGES, TRAIN, VAL, Pair, find_split, read_mask, split_usable
from bgremove.threads import map_on_threads
from bgremove.trimap import bounding_box

Record = dict[str, Any]

_JSON = ("annotations.json", "_annotations.coco.json")
_VALS = (VAL, "valid", "validation")
_LEAST_REGION = 0.001  # of the picture's area


@dataclass(frozen=True)
class Records:
    """One set of pictures to train or to validate on.

    Attributes:
        items: one for each picture.
        classes: names by number.
        problems: a sentence for each picture or annotation that was left out.
    """

    items: tuple[Record, ...]
    classes: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class CocoSet:
    """A COCO file and the folder that its pictures' names start from."""

    annotations: Path
    images: Path


def read_records(
    data: Path,
    classes: Sequence[str],
    *,
    separate: bool = False,
    progress: Callable[[], object] | None = None,
) -> tuple[Records, Records]:
    """The pictures to train on and those to validate on, of either layout.

    Args:
        data: holds ``train`` and ``val``, each with ``images`` and ``masks``, or with a COCO file; or the
            layout that COCO has itself, ``annotations/instances_train*.json`` beside ``train*``.
        classes: of a COCO file, those to learn, none for all; of masks, the one name of the subject.
        separate: each separate region of a mask is a subject by itself.
        progress: called after each picture.

    Raises:
        DataError: if there is nothing to learn from.
        OptionError: if a class is not in the COCO file.
    """
    found = find_coco(data)
    if found is not None:
        parts = [_from_coco(one, classes, progress) for one in found]
        if parts[0].classes != parts[1].classes:
            raise DataError(
                f"{found[0].annotations} and {found[1].annotations} have other classes: "
                f"{', '.join(parts[0].classes)}, and {', '.join(parts[1].classes)}"
            )
    else:
        if len(classes) > 1:
            raise OptionError(
                f"classes must be one name, since masks do not tell classes apart; got {', '.join(classes)}: "
                "take a COCO file for several"
            )
        name = (*classes, "subject")[0]
        parts = [
            _from_masks(listing.pairs, listing.problems, name, separate, progress)
            for listing in find_split(data)
        ]
    for part, what in zip(parts, (TRAIN, VAL), strict=True):
        if not part.items:
            why = f": {part.problems[0]}" if part.problems else ""
            raise DataError(f"{data} has no picture of {what} with a subject that can be used{why}")
    return parts[0], parts[1]


# Masks ---------------------------------------------------------------------------------------------


def _from_masks(
    pairs: Sequence[Pair],
    problems: Sequence[str],
    name: str,
    separate: bool,
    progress: Callable[[], object] | None,
) -> Records:
    good, bad = split_usable(pairs, progress)
    items, empty = [], []
    for number, (pair, masks) in enumerate(
        zip(
            good,
            map_on_threads(lambda one: _subjects(read_mask(one.mask) > 0.5, separate), good),
            strict=True,
        )
    ):
        if masks:
            items.append(_record(pair.image, number, masks))
        else:
            empty.append(f"{pair.mask} has no subject: nothing in it is white")
    return Records(tuple(items), (name,), (*problems, *bad, *empty))


def _subjects(mask: Mask, separate: bool) -> list[tuple[list[float], dict[str, Any]]]:
    """Box and run-length code of each subject."""
    if not separate:
        masks = [mask] if mask.any() else []
    else:
        count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        regions = (labels == number for number in range(1, count))
        masks = [one for one in regions if one.sum() >= _LEAST_REGION * mask.size]
    return [(_box(one), _run_lengths(one)) for one in masks]


def _box(mask: Mask) -> list[float]:
    box = bounding_box(mask.astype(np.float32))
    assert box is not None
    return [float(side) for side in (box.left, box.top, box.right, box.bottom)]


def _run_lengths(mask: Mask) -> dict[str, Any]:
    coder = importlib.import_module("pycocotools.mask")
    code: dict[str, Any] = coder.encode(np.asfortranarray(mask.astype(np.uint8)))
    return code


def _record(image: Path, number: int, masks: Sequence[tuple[list[float], dict[str, Any]]]) -> Record:
    height, width = masks[0][1]["size"]
    mode = importlib.import_module("detectron2.structures").BoxMode.XYXY_ABS
    return {
        "file_name": str(image),
        "height": height,
        "width": width,
        "image_id": number,
        "annotations": [
            {"bbox": box, "bbox_mode": mode, "category_id": 0, "segmentation": code, "iscrowd": 0}
            for box, code in masks
        ],
    }


# COCO ----------------------------------------------------------------------------------------------


def find_coco(data: Path) -> tuple[CocoSet, CocoSet] | None:
    """The COCO files of train and val, or None if there is none for training.

    Raises:
        DataError: if there is one to train on, and none to validate on.
    """
    train = _coco_of(data, (TRAIN,))
    if train is None:
        return None
    val = _coco_of(data, _VALS)
    if val is None:
        raise DataError(
            f"{train.annotations} has no companion to validate on; expected {data / VAL / _JSON[0]} with the "
            f"pictures beside it, or {data}/annotations/instances_val....json"
        )
    return train, val


def _coco_of(data: Path, names: Sequence[str]) -> CocoSet | None:
    for name in names:
        folder = data / name
        for file in [folder / one for one in _JSON]:
            if file.is_file():
                images = folder / IMAGES
                return CocoSet(file, images if images.is_dir() else folder)
        for file in sorted((data / "annotations").glob(f"instances_{name}*.json")):
            images = data / file.stem.removeprefix("instances_")
            if images.is_dir():
                return CocoSet(file, images)
    return None


def _from_coco(one: CocoSet, wanted: Sequence[str], progress: Callable[[], object] | None) -> Records:
    names = _categories(one.annotations)
    unknown = [name for name in wanted if name not in names.values()]
    if unknown:
        raise OptionError(
            f"classes must be of those in {one.annotations}: {', '.join(names.values())}; got {unknown[0]}"
        )
    classes = tuple(wanted) or tuple(names.values())
    numbers = {key: classes.index(name) for key, name in names.items() if name in classes}
    load = importlib.import_module("detectron2.data.datasets").load_coco_json
    try:
        records = load(str(one.annotations), str(one.images))
    except Exception as error:  # it asserts, and misses keys
        why = str(error).strip("'\"") or type(error).__name__
        raise DataError(f"{one.annotations} is no COCO file that can be used: {why}") from error
    problems: list[str] = []
    items = []
    for record, problem in zip(records, map_on_threads(_picture_problem, records), strict=True):
        annotations = [
            {**each, "category_id": numbers[each["category_id"]]}
            for each in record["annotations"]
            if each["category_id"] in numbers
        ]
        masked = [each for each in annotations if each.get("segmentation")]
        if not problem and len(masked) < len(annotations):
            problems.append(
                f"{record['file_name']}: {len(annotations) - len(masked)} of its subjects have a box, no mask"
            )
        if problem:
            problems.append(problem)
        elif any(not each.get("iscrowd") for each in masked):
            items.append({**record, "annotations": masked})
        if progress is not None:
            progress()
    return Records(tuple(items), classes, tuple(problems))


def _categories(path: Path) -> dict[int, str]:
    """Names by COCO's own numbers, in their order."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        found = {int(one["id"]): str(one["name"]) for one in data["categories"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is no COCO file that can be used: it has no categories ({error!r})"
        ) from error
    if not found:
        raise DataError(f"{path} has no categories; expected at least one")
    return dict(sorted(found.items()))


def _picture_problem(record: Record) -> str:
    """Why a picture cannot be used, empty if it can."""
    path = Path(record["file_name"])
    try:
        with open_picture(path) as picture:
            height, width = picture.size
    except BGRemoveError as error:
        return str(error)
    if (height, width) != (record["height"], record["width"]):
        return (
            f"{path} is {width} x {height} px (upright), and the COCO file says {record['width']} x "
            f"{record['height']}"
        )
    return ""


def union(record: Record) -> Mask:
    """Everything that is annotated in a picture: (H, W) bool."""
    coder = importlib.import_module("pycocotools.mask")
    height, width = record["height"], record["width"]
    result = np.zeros((height, width), bool)
    for one in record["annotations"]:
        code = one["segmentation"]
        if isinstance(code, list):
            code = coder.merge(coder.frPyObjects(code, height, width))
        result |= coder.decode(code).astype(bool)
    return result


def spread(items: Sequence[Record], most: int) -> list[Record]:
    """At most so many of them, evenly from all."""
    step = max(1, math.ceil(len(items) / most))
    return list(items[::step])

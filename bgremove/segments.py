"""What a model found in a photo, piece by piece, and choosing from it.

Models such as Mask R-CNN find every subject by itself; panoptic ones also name what is not countable, as sky
and wall. Things are countable, stuff is not. :meth:`Segments.select` chooses, :meth:`Segments.alpha` joins
what was chosen into one matte.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from pydantic import Field, field_validator

from bgremove.arrays import Alpha, Mask, describe
from bgremove.errors import ImageError, OptionError
from bgremove.options import Params
from bgremove.trimap import Box

Kind = Literal["thing", "stuff"]

UNLABELLED = "unlabelled"
"""The name of what a panoptic model leaves without one; it counts as stuff."""

_ALL = ("all", "all things", "all stuff")


class SelectParams(Params):
    """Which of the things and the stuff that a model found are kept."""

    classes: str = Field(
        "",
        description="What to keep: names with commas (person,dog), all things, all stuff, or all; empty: all "
        "things, or anything if drop, point or index chooses",
    )
    drop: str = Field(
        "", description="What to remove: names with commas (sky,wall); without classes, all else is kept"
    )
    min_score: float = Field(0.5, ge=0, le=1, description="Leave out things that the model is less sure of")
    pick: Literal["all", "largest", "most-central"] = Field(
        "all", description="Keep all that fit, or one: the largest, or that nearest to the middle"
    )
    most: int | None = Field(
        None,
        ge=1,
        le=100,
        description="Keep so many at most: the surest, or the first that pick takes; empty: all, or one",
    )
    point: tuple[float, float] | None = Field(
        None, description="Keep what covers this point of the photo: x, y, in pixels"
    )
    box: tuple[float, float, float, float] | None = Field(
        None,
        description="Keep what lies in this box, or fills it, by half at least: left, top, right, bottom, "
        "in pixels",
    )
    index: str = Field(
        "", description="Keep these by number (0,2): things from the surest on, then stuff; the first is 0"
    )

    @field_validator("box")
    @classmethod
    def _ordered(
        cls, box: tuple[float, float, float, float] | None
    ) -> tuple[float, float, float, float] | None:
        if box is not None and (box[0] >= box[2] or box[1] >= box[3]):
            raise ValueError(
                "box must be left, top, right, bottom with left < right and top < bottom; got "
                f"{', '.join(f'{side:g}' for side in box)}"
            )
        return box

    @field_validator("index")
    @classmethod
    def _whole_numbers(cls, index: str) -> str:
        if not re.fullmatch(r"\s*(\d{1,6}\s*(,\s*\d{1,6}\s*)*)?", index):
            raise ValueError(f"index must be whole numbers from 0 with commas, as 0,2; got {index!r}")
        return index

    @property
    def indices(self) -> frozenset[int]:
        """`index` as numbers."""
        return frozenset(int(one) for one in self.index.split(",") if one.strip())

    @property
    def wanted(self) -> tuple[str, ...]:
        """`classes` as names, with what is kept where none are given."""
        everything = self.drop.strip() or self.index.strip() or self.point is not None
        return _names(self.classes) or (("all",) if everything else ("all things",))


@dataclass(frozen=True, eq=False)
class Segment:
    """One thing, or all the stuff of one name.

    Attributes:
        label: the name of its class.
        score: how sure the model is, 0 to 1; None for stuff.
        box: around it, as the model says, which need not be exactly around the mask.
        mask: (H, W) bool, of the photo's size.
        area: True pixels of the mask.
        grain: photo pixels per pixel of the grid on which the mask was predicted, at least 1.
    """

    label: str
    score: float | None
    kind: Kind
    box: Box
    mask: Mask
    area: int
    grain: float = 1.0

    @classmethod
    def of(
        cls,
        label: str,
        mask: Mask,
        *,
        score: float | None = None,
        kind: Kind = "thing",
        box: Box | None = None,
        grain: float = 1.0,
    ) -> Self | None:
        """A segment whose area, and box if none is given, are worked out; None if the mask is empty.

        Raises:
            ImageError: if `mask` is not (H, W) bool.
        """
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.ndim != 2:
            raise ImageError(f"mask must be bool of shape (H, W); got {describe(mask)}")
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not rows.size:
            return None
        around = Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        return cls(label, score, kind, box or around, mask, int(np.count_nonzero(mask)), max(1.0, grain))

    def __str__(self) -> str:
        return self.label if self.score is None else f"{self.label} {self.score:.2f}"


@dataclass(frozen=True, eq=False)
class Segments:
    """What was found in one photo.

    Attributes:
        height, width: of the photo.
        items: things from the surest on, then stuff from the largest on; masks of things may overlap.
        missed: label and score of things that were less sure than was asked for, the surest first.
        things, stuff: the names of all the classes that the model knows; empty if that is not known.
    """

    height: int
    width: int
    items: tuple[Segment, ...] = ()
    missed: tuple[tuple[str, float], ...] = ()
    things: tuple[str, ...] = ()
    stuff: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for one in self.items:
            if one.mask.shape != (self.height, self.width):
                raise ImageError(
                    f"the mask of {one.label} must have the photo's height and width "
                    f"{(self.height, self.width)}; got {one.mask.shape}"
                )

    @property
    def grain(self) -> float:
        """The coarsest of the masks' grains; 1 if there is nothing."""
        return max((one.grain for one in self.items), default=1.0)

    def select(self, params: SelectParams) -> Self:
        """The segments that `params` keep, in the same order.

        First what is named (`index`, `drop`, `classes`), then what is sure enough and lies where `point` and
        `box` say; of what is left then, `pick` and `most` take some.

        Raises:
            OptionError: if a class is named that the model does not know.
        """
        check_classes(params, self.things, self.stuff)
        kept: list[Segment] = []
        unsure: list[Segment] = []
        for number, one in enumerate(self.items):
            numbered = not params.index.strip() or number in params.indices
            if numbered and _is_named(one.label, one.kind, params) and _lies_right(one, params):
                sure = one.score is None or one.score >= params.min_score
                (kept if sure else unsure).append(one)
        missed = [(one.label, one.score or 0.0) for one in unsure]
        missed += [found for found in self.missed if _is_named(found[0], "thing", params)]
        missed.sort(key=lambda found: -found[1])
        chosen = set(map(id, _best(kept, params, self.height, self.width)))
        return replace(self, items=tuple(one for one in kept if id(one) in chosen), missed=tuple(missed))

    def alpha(self) -> Alpha:
        """All segments in one matte: (H, W) float32, 1 where any of them is."""
        union = np.zeros((self.height, self.width), np.bool_)
        for one in self.items:
            union |= one.mask
        return union.astype(np.float32)

    def why_nothing(self, params: SelectParams) -> str:
        """A sentence for a user of whose `params` nothing is left here; empty if anything is.

        It names what was found, and what was found but is not sure enough.
        """
        if self.select(params).items:
            return ""
        unsure = self.select(params).missed
        if unsure:
            below = _listed([f"{label} {score:.2f}" for label, score in unsure])
            return (
                f"nothing reaches the score asked for, {params.min_score:g}; below it: {below}; lower "
                "min_score to keep them"
            )
        if self.items:
            found = _listed([f"{number} {one}" for number, one in enumerate(self.items)])
            return f"nothing that was found fits {_choice(params)}; found, by number: {found}"
        return "nothing was found that the model knows by name"


def check_classes(params: SelectParams, things: Sequence[str], stuff: Sequence[str]) -> None:
    """Refuse names of classes that a model does not know; does nothing if `things` and `stuff` are empty.

    Raises:
        OptionError: with the nearest names it knows.
    """
    known = [*things, *stuff]
    for setting in ("classes", "drop"):
        for name in _names(getattr(params, setting)):
            if known and name not in _ALL and not any(_is_called(label, name) for label in known):
                raise OptionError(
                    f"{setting} names {name!r}, which this model does not know; nearest: "
                    f"{', '.join(_nearest(name, known))}"
                    + ("" if stuff else " (sky, wall and other stuff is known to the panoptic models)")
                )


def _names(text: str) -> tuple[str, ...]:
    """Names of classes from text with commas."""
    names = (" ".join(part.replace("_", " ").lower().split()) for part in text.split(","))
    return tuple(name for name in names if name)


def _is_called(label: str, name: str) -> bool:
    """Whether a class is meant by `name`: ``wall`` means ``wall-brick`` and ``wall-wood``, too."""
    label = label.lower().replace("_", " ")
    return label == name or label.startswith(f"{name}-")


def _nearest(name: str, known: Iterable[str]) -> list[str]:
    """Three known names that are most like `name`; those that contain it first."""
    labels = sorted({label.lower() for label in known})
    inside = [label for label in labels if name in label]
    alike = difflib.get_close_matches(name, labels, n=3, cutoff=0.0)
    return list(dict.fromkeys([*inside, *alike]))[:3]


def _is_named(label: str, kind: Kind, params: SelectParams) -> bool:
    """Whether a segment of this class is wanted and not dropped."""
    whole = ("all", "all things" if kind == "thing" else "all stuff")

    def fits(name: str) -> bool:
        return name in whole or _is_called(label, name)

    return any(map(fits, params.wanted)) and not any(map(fits, _names(params.drop)))


def _lies_right(one: Segment, params: SelectParams) -> bool:
    height, width = one.mask.shape
    if params.point is not None:
        x, y = map(math.floor, params.point)
        if not (0 <= x < width and 0 <= y < height and one.mask[y, x]):
            return False
    if params.box is not None:
        left, top, right, bottom = (max(0, round(side)) for side in params.box)
        inside = int(np.count_nonzero(one.mask[top:bottom, left:right]))
        room = max(1, min(right, width) - left) * max(1, min(bottom, height) - top)
        return inside > 0 and 2 * inside >= min(one.area, room)
    return True


def _best(kept: list[Segment], params: SelectParams, height: int, width: int) -> list[Segment]:
    """The best of `kept`, as many as are asked for."""
    orders: dict[str, Callable[[Segment], float]] = {
        "all": lambda one: -1.0 if one.score is None else -one.score,
        "largest": lambda one: -one.area,
        "most-central": lambda one: _off_centre(one, height, width),
    }
    count = params.most or (1 if params.pick != "all" else len(kept))
    return sorted(kept, key=orders[params.pick])[:count]


def _off_centre(one: Segment, height: int, width: int) -> float:
    """Distance of the mask's centre of mass from the middle of the photo, with both sides taken as 1."""
    rows, columns = one.mask.sum(axis=1), one.mask.sum(axis=0)
    y = float(rows @ (np.arange(height) + 0.5)) / one.area / height
    x = float(columns @ (np.arange(width) + 0.5)) / one.area / width
    return math.hypot(x - 0.5, y - 0.5)


def _listed(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _choice(params: SelectParams) -> str:
    """What was chosen, in words: ``classes cat, point 3,4``."""
    declared = SelectParams.model_fields
    chosen = {
        name: value
        for name, value in params
        if name in declared and name != "min_score" and value != declared[name].default
    }
    return ", ".join(f"{name} {_plain(value)}" for name, value in chosen.items()) or "all things"


def _plain(value: object) -> str:
    return ",".join(f"{number:g}" for number in value) if isinstance(value, tuple) else str(value)

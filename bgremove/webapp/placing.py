"""Where a cut-out stands: on a canvas of its own, with margins, at a size and a place that are asked for.

These are the words of the remove.bg API: ``roi``, ``crop_margin``, ``scale`` and ``position``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from bgremove.arrays import Alpha, Image
from bgremove.errors import OptionError
from bgremove.trimap import Box, bounding_box

MAX_MARGIN_PX, MAX_MARGIN_SHARE = 500, 0.5


@dataclass(frozen=True)
class Length:
    """Pixels, or a share of a side."""

    value: float
    relative: bool = False

    def of(self, side: int) -> float:
        """In pixels, where it is relative to `side`."""
        return self.value * side if self.relative else self.value


@dataclass(frozen=True)
class Subject:
    """A separated subject on its canvas.

    Attributes:
        colours: (H, W, 3) uint8 RGB, the subject's own; anything where `alpha` is 0.
        alpha: (H, W) float32 in [0, 1].
    """

    colours: Image
    alpha: Alpha

    @property
    def box(self) -> Box | None:
        """Around what can be seen; None if there is nothing."""
        return bounding_box(self.alpha)


def parse_lengths(text: str, counts: tuple[int, ...], example: str) -> list[Length]:
    """Lengths with spaces (or commas) between: ``10px``, ``10`` or ``5%``.

    Args:
        counts: how many there may be.
        example: for the message.

    Raises:
        OptionError: if the text is anything else.
    """
    parts = re.split(r"[\s,]+", text.strip())
    lengths = [
        re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(px|%)?", part) for part in parts[: max(counts) + 1]
    ]
    if len(lengths) not in counts or None in lengths:
        many = " or ".join(map(str, counts))
        raise OptionError(f"expected {many} lengths in px or %, as {example}; got {text[:60]!r}")
    return [
        Length(float(found[1]) / 100 if found[2] == "%" else float(found[1]), found[2] == "%")
        for found in lengths
        if found is not None
    ]


def parse_scale(text: str) -> float | None:
    """``10%`` to ``100%`` as a share; None for ``original``.

    Raises:
        OptionError: for anything else.
    """
    if text.strip().lower() == "original":
        return None
    match = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%", text.strip())
    if match is None or not 10 <= float(match[1]) <= 100:
        raise OptionError(f"scale must be original or 10% to 100%; got {text[:60]!r}")
    return float(match[1]) / 100


def parse_position(text: str) -> tuple[float, float] | None:
    """``center``, ``30%`` or ``30% 60%`` (across, down) as shares; None for ``original``.

    Raises:
        OptionError: for anything else.
    """
    text = text.strip().lower()
    if text == "original":
        return None
    if text == "center":
        return 0.5, 0.5
    matches = [
        re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%", part) for part in re.split(r"[\s,]+", text)[:3]
    ]
    shares = [float(match[1]) / 100 for match in matches if match]
    if len(shares) != len(matches) or len(shares) > 2 or max(shares) > 1:
        raise OptionError(
            f"position must be original, center, or one or two values from 0% to 100%; got {text[:60]!r}"
        )
    return shares[0], shares[-1]


def region(lengths: list[Length], height: int, width: int) -> Box:
    """The part of a picture that two corners (x1 y1 x2 y2) enclose; it may be empty or reach outside."""
    left, top, right, bottom = lengths
    return Box(
        *(
            round(one.of(side))
            for one, side in zip((left, top, right, bottom), (width, height) * 2, strict=True)
        )
    )


def within(frame_part: Subject, box: Box, height: int, width: int) -> Subject:
    """A subject that was cut out of a part of a picture, on the picture's whole canvas."""
    return _on_canvas(frame_part, height, width, box.top, box.left)


def crop(subject: Subject, margins: list[Length], *, most: float = math.inf) -> Subject:
    """A subject with nothing around it but margins, which may reach beyond the picture.

    Args:
        margins: for all sides, or top/bottom and left/right, or top, right, bottom and left; relative ones
            are of the subject's height or width.
        most: megapixels that the result may have.

    Raises:
        OptionError: if it would have more.
    """
    box = subject.box
    if box is None:
        return subject
    rows, columns = box.bottom - box.top, box.right - box.left
    top, right, bottom, left = (margins * 4)[:4]  # for one and four; two are alternately the same
    sizes = [
        round(one.of(side)) for one, side in zip((top, right, bottom, left), (rows, columns) * 2, strict=True)
    ]
    height, width = rows + sizes[0] + sizes[2], columns + sizes[1] + sizes[3]
    if height * width > most * 1e6:
        raise OptionError(
            f"with these margins the result would have {height * width / 1e6:.1f} megapixels, more than "
            f"{most:g}; make them smaller"
        )
    part = Subject(
        subject.colours[box.top : box.bottom, box.left : box.right],
        subject.alpha[box.top : box.bottom, box.left : box.right],
    )
    return _on_canvas(part, height, width, sizes[0], sizes[3])


def check_margins(margins: list[Length]) -> None:
    """Refuse margins that would make a picture of almost nothing but them.

    Raises:
        OptionError: for one over half of the subject, or 500 pixels.
    """
    for one in margins:
        if one.value > (MAX_MARGIN_SHARE if one.relative else MAX_MARGIN_PX):
            raise OptionError(
                f"a margin must be at most {MAX_MARGIN_SHARE:.0%} or {MAX_MARGIN_PX}px on a side"
            )


def place(subject: Subject, scale: float | None, position: tuple[float, float] | None) -> Subject:
    """A subject made larger or smaller and moved, on a canvas of the same size.

    Args:
        scale: the share of the canvas that it fills, in the direction in which it fills more; None leaves its
            size.
        position: the share of the free room that is left of it and above it; None leaves its middle where it
            was, as far as it then fits.
    """
    box = subject.box
    if box is None or (scale is None and position is None):
        return subject
    height, width = subject.alpha.shape
    rows, columns = box.bottom - box.top, box.right - box.left
    factor = 1.0 if scale is None else min(scale * height / rows, scale * width / columns)
    new_rows, new_columns = (
        min(height, max(1, round(rows * factor))),
        min(width, max(1, round(columns * factor))),
    )
    part = resize(
        Subject(
            subject.colours[box.top : box.bottom, box.left : box.right],
            subject.alpha[box.top : box.bottom, box.left : box.right],
        ),
        new_rows,
        new_columns,
    )
    if position is None:
        top = min(max(0, round((box.top + box.bottom - new_rows) / 2)), height - new_rows)
        left = min(max(0, round((box.left + box.right - new_columns) / 2)), width - new_columns)
    else:
        left, top = round((width - new_columns) * position[0]), round((height - new_rows) * position[1])
    return _on_canvas(part, height, width, top, left)


def resize(subject: Subject, height: int, width: int) -> Subject:
    """A subject at another size; colours count as much as they are opaque, so that no fringe comes in."""
    if subject.alpha.shape == (height, width):
        return subject
    shrinks = height * width < subject.alpha.size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    alpha = subject.alpha.astype(np.float32)
    weighted = subject.colours * alpha[..., None]
    alpha = cv2.resize(alpha, (width, height), interpolation=method)
    colours = cv2.resize(weighted, (width, height), interpolation=method) / np.maximum(alpha, 1e-3)[..., None]
    return Subject(np.rint(np.clip(colours, 0, 255)).astype(np.uint8), np.clip(alpha, 0, 1))


def _on_canvas(part: Subject, height: int, width: int, top: int, left: int) -> Subject:
    rows, columns = part.alpha.shape
    place = np.s_[top : top + rows, left : left + columns]
    colours: npt.NDArray[Any] = np.zeros((height, width, 3), np.uint8)
    alpha: npt.NDArray[Any] = np.zeros((height, width), np.float32)
    colours[place], alpha[place] = part.colours, part.alpha
    return Subject(cast(Image, colours), cast(Alpha, alpha))

"""A picture of cases to look at: photo, truth, prediction and cut-out beside each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont

from bgremove.arrays import Alpha, Image
from bgremove.compositing import alpha_to_bytes, checkerboard, composite
from bgremove.pipeline import Cut
from bgremove.reports import PictureResult, Summary, time_text

_CELL_WIDTH, _CELL_HEIGHT, _GAP, _MARGIN = 330, 360, 16, 32
_LEAST_WIDTH = 200  # of a column, however slim its pictures
_INK, _PALE, _LINE, _PAPER = (28, 30, 34), (112, 118, 128), (208, 211, 216), (255, 255, 255)
_TITLES = ("photo", "truth", "prediction", "cut-out")


@dataclass(frozen=True)
class Row:
    """A case as it will be drawn: four small pictures, a name, and what was measured."""

    name: str
    facts: str
    pictures: tuple[PILImage.Image, ...]

    @classmethod
    def of(cls, result: PictureResult, truth: Alpha, found: Cut) -> Self:
        """Draw a case small, so that the large pictures can go."""
        height, width = truth.shape
        scale = min(_CELL_WIDTH / width, _CELL_HEIGHT / height, 4)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        board = checkerboard(height, width, max(1, round(10 / scale)))
        pictures = (
            found.image,
            alpha_to_bytes(truth),
            alpha_to_bytes(found.alpha),
            composite(found.foreground, board, found.alpha),
        )
        facts = f"IoU {result.figures.iou:.3f}    MAE {result.figures.mae:.3f}    {width} x {height}"
        small = (
            PILImage.fromarray(one).resize(size, PILImage.Resampling.LANCZOS).convert("RGB")
            for one in pictures
        )
        return cls(result.picture, facts, tuple(small))


def contact_sheet(summary: Summary, parts: Sequence[tuple[str, Sequence[Row]]]) -> Image:
    """Cases under each other, photo, truth, prediction and cut-out beside each other.

    Args:
        summary: said at the top.
        parts: titled groups of rows.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    cell = max([_LEAST_WIDTH, *(row.pictures[0].width for _, rows in parts for row in rows)])
    width = 2 * _MARGIN + 4 * cell + 3 * _GAP
    title, head, text = (ImageFont.load_default(size) for size in (30, 22, 17))
    row_heights = [row.pictures[0].height + 30 + 22 for _, rows in parts for row in rows]
    height = _MARGIN + 92 + 84 * len(parts) + sum(row_heights) + _MARGIN - 22
    sheet = PILImage.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)

    def write(x: float, y: float, words: str, font: Any, colour: Any, room: float) -> float:
        """Words that keep to their room; where they end."""
        words = fit_text(words, lambda one: float(draw.textlength(one, font=font)), room)
        draw.text((x, y), words, fill=colour, font=font)
        return x + float(draw.textlength(words, font=font))

    room = width - 2 * _MARGIN
    top = _MARGIN
    write(_MARGIN, top, f"{summary.model} on {summary.set}", title, _INK, room)
    write(_MARGIN, top + 44, _headline(summary), text, _PALE, room)
    top += 92
    for name, rows in parts:
        draw.line((_MARGIN, top, width - _MARGIN, top), fill=_LINE, width=2)
        write(_MARGIN, top + 10, name, head, _INK, cell)
        for column, words in enumerate(_TITLES):
            left = _MARGIN + column * (cell + _GAP)
            write(left, top + 46, words, text, _PALE, cell)
        top += 84
        for row in rows:
            facts = float(draw.textlength(row.facts, font=text))
            end = write(_MARGIN, top, row.name, text, _INK, room - facts - 24)
            write(end + 24, top, row.facts, text, _PALE, facts + 1)
            for column, picture in enumerate(row.pictures):
                left = _MARGIN + column * (cell + _GAP)
                sheet.paste(picture, (left, top + 30))
                box = (left - 1, top + 29, left + picture.width, top + 30 + picture.height)
                draw.rectangle(box, outline=_LINE)
            top += picture.height + 30 + 22
    return np.asarray(sheet)


def _headline(one: Summary) -> str:
    figures = one.figures
    words = f"{one.pictures} picture{'' if one.pictures == 1 else 's'}, mean IoU {figures.iou:.3f}"
    words += f", max F {figures.max_f:.3f}, boundary IoU {figures.boundary_iou:.3f}, MAE {figures.mae:.3f}"
    return f"{words}, {time_text(one.milliseconds)} ms a picture"


def fit_text(words: str, length: Callable[[str], float], room: float) -> str:
    """`words`, with dots instead of their middle if they are too long."""
    if length(words) <= room:
        return words
    for kept in range(len(words) - 1, 0, -1):
        shorter = f"{words[: -(-kept // 2)]}...{words[len(words) - kept // 2 :]}"
        if length(shorter) <= room:
            return shorter
    return "..."

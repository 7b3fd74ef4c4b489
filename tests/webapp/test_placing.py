"""Lengths, margins, sizes and places, on numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from bgremove.errors import OptionError
from bgremove.trimap import Box
from bgremove.webapp.placing import (
    Length,
    Subject,
    check_margins,
    crop,
    parse_lengths,
    parse_position,
    parse_scale,
    place,
    region,
    resize,
    within,
)


def block(height: int, width: int, box: Box) -> Subject:
    """A red box, solid, on an empty canvas."""
    colours, alpha = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.float32)
    colours[box.top : box.bottom, box.left : box.right] = (200, 30, 10)
    alpha[box.top : box.bottom, box.left : box.right] = 1
    return Subject(colours, alpha)


@pytest.mark.parametrize(
    ("text", "counts", "lengths"),
    [
        ("10", (1,), [Length(10)]),
        ("10px 5%", (1, 2), [Length(10), Length(0.05, True)]),
        ("0% 0% 100% 100%", (4,), [Length(0, True), Length(0, True), Length(1, True), Length(1, True)]),
        (" 1px,2px , 3.5 4 ", (4,), [Length(1), Length(2), Length(3.5), Length(4)]),
    ],
)
def test_lengths_are_understood(text: str, counts: tuple[int, ...], lengths: list[Length]) -> None:
    assert parse_lengths(text, counts, "") == lengths


@pytest.mark.parametrize(
    "text", ["", "-5", "5em", "1e3", "1 2 3", "½", "٣", "9" * 50, "1 " * 5000, "%", "NaN"]
)
def test_no_lengths_get_a_short_sentence(text: str) -> None:
    with pytest.raises(OptionError, match="expected 1 or 2 lengths in px or %, as 10px") as caught:
        parse_lengths(text, (1, 2), "10px")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("text", "scale"), [("original", None), ("10%", 0.1), ("100%", 1.0), (" 33.5% ", 0.335)]
)
def test_scales_are_understood(text: str, scale: float | None) -> None:
    assert parse_scale(text) == (None if scale is None else pytest.approx(scale))


@pytest.mark.parametrize("text", ["", "9%", "101%", "50", "-50%", "half"])
def test_other_scales_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match="scale must be original or 10% to 100%"):
        parse_scale(text)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("original", None),
        ("center", (0.5, 0.5)),
        ("Center", (0.5, 0.5)),
        ("20%", (0.2, 0.2)),
        ("0% 100%", (0, 1)),
    ],
)
def test_positions_are_understood(text: str, position: tuple[float, float] | None) -> None:
    assert parse_position(text) == position


@pytest.mark.parametrize("text", ["", "left", "101%", "10px 10px", "1% 2% 3%", "10% left"])
def test_other_positions_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match="position must be"):
        parse_position(text)


def test_a_region_is_x1_y1_x2_y2() -> None:
    lengths = parse_lengths("10px 25% 100% 30px", (4,), "")
    assert region(lengths, 100, 200) == Box(10, 25, 200, 30)


def test_a_part_goes_back_where_it_was() -> None:
    part = block(4, 6, Box(1, 1, 3, 3))
    whole = within(part, Box(10, 20, 16, 24), 50, 60)
    assert whole.alpha.shape == (50, 60)
    assert whole.box == Box(11, 21, 13, 23)


@pytest.mark.parametrize(
    ("margins", "size", "box"),
    [
        ("0", (20, 40), Box(0, 0, 40, 20)),
        ("5px", (30, 50), Box(5, 5, 45, 25)),
        ("10%", (24, 48), Box(4, 2, 44, 22)),
        ("3px 7px", (26, 54), Box(7, 3, 47, 23)),
        ("1px 2px 3px 4px", (24, 46), Box(4, 1, 44, 21)),
        ("50% 25%", (40, 60), Box(10, 10, 50, 30)),
    ],
)
def test_margins_go_round_the_cropped_subject_also_beyond_the_picture(
    margins: str, size: tuple[int, int], box: Box
) -> None:
    subject = block(60, 80, Box(0, 0, 40, 20))  # in the corner
    cropped = crop(subject, parse_lengths(margins, (1, 2, 4), ""))
    assert cropped.alpha.shape == size
    assert cropped.box == box


@pytest.mark.parametrize("margins", ["51%", "501px", "0 0 0 600"])
def test_margins_have_an_end(margins: str) -> None:
    with pytest.raises(OptionError, match="at most 50% or 500px"):
        check_margins(parse_lengths(margins, (1, 4), ""))


@pytest.mark.parametrize(
    ("scale", "position", "box"),
    [
        (None, None, Box(10, 30, 30, 40)),
        (0.5, (0.5, 0.5), Box(25, 44, 75, 69)),  # 50 wide of 100, 25 high
        (1.0, (0.0, 0.0), Box(0, 0, 100, 50)),
        (1.0, (0.0, 1.0), Box(0, 63, 100, 113)),
        (None, (1.0, 0.0), Box(80, 0, 100, 10)),
        (0.4, None, Box(0, 25, 40, 45)),  # its middle stays, as far as it fits
    ],
)
def test_a_subject_is_placed(scale: float | None, position: tuple[float, float] | None, box: Box) -> None:
    subject = block(113, 100, Box(10, 30, 30, 40))
    placed = place(subject, scale, position)
    assert placed.alpha.shape == (113, 100)
    assert placed.box is not None
    assert np.abs(np.subtract(placed.box, box)).max() <= 1


def test_scaling_brings_no_dark_fringe_in() -> None:
    subject = block(60, 60, Box(20, 20, 41, 41))
    for height, width in ((35, 37), (100, 110)):
        resized = resize(subject, height, width)
        seen = resized.alpha > 0.05
        assert seen.any()
        assert np.abs(resized.colours[seen].astype(int) - (200, 30, 10)).max() <= 1


def test_nothing_stays_nothing() -> None:
    nothing = block(10, 10, Box(0, 0, 0, 0))
    assert nothing.box is None
    assert crop(nothing, [Length(5)]) is nothing
    assert place(nothing, 0.5, (0, 0)) is nothing

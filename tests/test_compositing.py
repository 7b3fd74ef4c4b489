"""The straight-alpha equation, against Pillow and floats."""

from __future__ import annotations

import io
import time
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as PILImage
from PIL import ImageColor

import bgremove
from bgremove.arrays import Alpha, Image
from bgremove.background import parse_colour
from bgremove.compositing import (
    Colour,
    alpha_to_bytes,
    checkerboard,
    composite,
    crop_to_subject,
    cutout,
    limit_size,
    over_colour,
    parse_padding,
)
from bgremove.errors import ImageError, OptionError
from tests.conftest import Example, KnownRemover, soft_disc

SHAPES = [(1, 1), (1, 40), (40, 1), (37, 53), (700, 90)]  # the last is blended in several strips


def layers(shape: tuple[int, int]) -> tuple[Image, Image, Alpha]:
    random = np.random.default_rng(1)
    foreground, background = random.integers(0, 256, (2, *shape, 3), np.uint8)
    alpha = (random.integers(0, 256, shape) / 255).astype(np.float32)
    return foreground, background, alpha


@pytest.mark.parametrize("shape", SHAPES)
def test_composite_is_pillows(shape: tuple[int, int]) -> None:
    foreground, background, alpha = layers(shape)
    mask = PILImage.fromarray(alpha_to_bytes(alpha))
    theirs = PILImage.composite(PILImage.fromarray(foreground), PILImage.fromarray(background), mask)
    assert np.abs(composite(foreground, background, alpha).astype(int) - np.asarray(theirs)).max() <= 1


@pytest.mark.parametrize("shape", SHAPES)
def test_a_cutout_put_over_something_by_pillow_is_the_composite(shape: tuple[int, int]) -> None:
    foreground, background, alpha = layers(shape)
    below = PILImage.fromarray(background).convert("RGBA")
    below.alpha_composite(PILImage.fromarray(cutout(foreground, alpha)))
    theirs = np.asarray(below)[..., :3].astype(int)
    assert np.abs(composite(foreground, background, alpha) - theirs).max() <= 1


@pytest.mark.parametrize("shape", SHAPES)
def test_composite_rounds_the_equation(shape: tuple[int, int]) -> None:
    foreground, background, alpha = layers(shape)
    a = alpha[..., None].astype(float)
    exact = a * foreground + (1 - a) * background
    assert np.abs(composite(foreground, background, alpha) - exact).max() <= 0.501


def test_alpha_0_and_1_change_nothing() -> None:
    foreground, background, alpha = layers((20, 30))
    np.testing.assert_array_equal(composite(foreground, background, alpha * 0), background)
    np.testing.assert_array_equal(composite(foreground, background, alpha * 0 + 1), foreground)


def test_colour_200_at_half_alpha_over_white_is_not_darkened() -> None:
    """rembg shows 177 here: it writes colours that are multiplied by alpha already."""
    grey = np.full((4, 4, 3), 200, np.uint8)
    half = np.full((4, 4), 0.5, np.float32)
    assert set(composite(grey, np.full_like(grey, 255), half).ravel()) <= {227, 228}
    assert set(over_colour(grey, (255, 255, 255, 255), half).ravel()) <= {227, 228}


@pytest.mark.parametrize("own", [True, False])
def test_the_whole_cutout_is_straight(own: bool) -> None:
    """Soft alpha, the file's own or a remover's, through everything to PNG and, by Pillow, over white."""
    alpha = (np.rint(soft_disc(edge=12).alpha * 255) / 255).astype(np.float32)
    alpha[80, 20:40] = 128 / 255  # a hair
    if own:
        picture = np.full((160, 200, 4), 200, np.uint8)
        picture[..., 3] = np.rint(alpha * 255)
        remover = KnownRemover(np.ones_like(alpha))
    else:
        picture = np.rint(np.repeat((20 + alpha * 180)[..., None], 3, axis=2)).astype(np.uint8)
        remover = KnownRemover(alpha)
    file = io.BytesIO()
    PILImage.fromarray(picture).save(file, "PNG")
    made = PILImage.open(io.BytesIO(bgremove.remove(file.getvalue(), remover, preset="raw")))
    np.testing.assert_array_equal(np.asarray(made)[..., 3], np.rint(alpha * 255))
    white = PILImage.new("RGBA", made.size, "white")
    white.alpha_composite(made)
    seen = np.asarray(white)[..., 0]
    assert np.abs(seen - (200 * alpha + 255 * (1 - alpha))).max() <= (1 if own else 8)
    half = seen[np.abs(alpha - 0.5) < 0.003]  # 227.5 where the colour is known, near it where estimated
    assert half.size and half.min() >= (227 if own else 221) and half.max() <= (228 if own else 229)


def test_colour_under_alpha_0_is_zero() -> None:
    foreground, _, alpha = layers((300, 40))
    alpha[:100] = 0
    alpha[100:200] = 0.001  # rounds to 0
    for rgba in (
        cutout(foreground, alpha),
        over_colour(foreground, (9, 8, 7, 0), alpha),
        limit_size(cutout(foreground, alpha), "20"),
    ):
        assert (rgba[..., 3] == 0).any()
        assert not rgba[rgba[..., 3] == 0].any()


@pytest.mark.parametrize("opacity", [0, 1, 64, 200, 254, 255])
def test_over_a_see_through_colour(opacity: int) -> None:
    foreground, _, alpha = layers((60, 50))
    colour: Colour = (250, 30, 90, opacity)
    made = over_colour(foreground, colour, alpha)
    assert made.shape == (60, 50, 3 if opacity == 255 else 4)
    a, b = alpha.astype(float)[..., None], opacity / 255
    total = a + b * (1 - a)
    exact = (a * foreground + (1 - a) * b * np.array(colour[:3])) / np.maximum(total, 1e-9)
    seen = np.rint(total[..., 0] * 255) > 0
    assert np.abs(made[..., :3] - exact)[seen].max() <= 0.51
    if opacity < 255:
        assert np.abs(made[..., 3] - total[..., 0] * 255).max() <= 0.51


def test_over_a_see_through_colour_is_pillows() -> None:
    foreground, _, alpha = layers((60, 50))
    below = PILImage.new("RGBA", (50, 60), (250, 30, 90, 128))
    below.alpha_composite(PILImage.fromarray(cutout(foreground, alpha)))
    theirs, made = np.asarray(below).astype(int), over_colour(foreground, (250, 30, 90, 128), alpha)
    assert np.abs(made - theirs).max() <= 1


def test_alpha_to_bytes_rounds() -> None:
    values = (np.arange(2560) / 2559).astype(np.float32).reshape(10, 256)
    assert np.abs(alpha_to_bytes(values) - values * 255.0).max() <= 0.5001
    exact = (np.arange(256) / 255).astype(np.float32)[None]
    assert alpha_to_bytes(exact)[0].tolist() == list(range(256))


def test_inputs_are_left_alone() -> None:
    foreground, background, alpha = layers((30, 40))
    before = [layer.copy() for layer in (foreground, background, alpha)]
    composite(foreground, background, alpha)
    cutout(foreground, alpha)
    over_colour(foreground, (1, 2, 3, 4), alpha)
    limit_size(foreground, "10")
    for layer, copy in zip((foreground, background, alpha), before, strict=True):
        np.testing.assert_array_equal(layer, copy)


def test_sizes_must_agree() -> None:
    foreground, background, alpha = layers((30, 40))
    with pytest.raises(ImageError, match="must have one size"):
        composite(foreground, background[:20], alpha)
    with pytest.raises(ImageError, match="height and width"):
        composite(foreground, background, alpha[:20])
    with pytest.raises(ImageError, match="height and width"):
        cutout(foreground, alpha.T.copy())
    with pytest.raises(ImageError, match="within 0 and 1"):
        cutout(foreground, alpha * np.float32("nan"))
    with pytest.raises(ImageError, match="foreground must be uint8"):
        cutout(foreground.astype(np.float32), alpha)


# Cropping -------------------------------------------------------------------------------------------


@pytest.fixture
def square() -> Alpha:
    alpha = np.zeros((100, 120), np.float32)
    alpha[30:50, 60:100] = 1
    return alpha


@pytest.mark.parametrize(
    ("padding", "rows", "columns"),
    [
        (0, (30, 50), (60, 100)),
        (5, (25, 55), (55, 105)),
        ("5", (25, 55), (55, 105)),
        ("5px", (25, 55), (55, 105)),
        (" 7 px ", (23, 57), (53, 107)),
        ("10%", (26, 54), (56, 104)),  # of the longer side, 40
        ("12.5%", (25, 55), (55, 105)),
        (1000, (0, 100), (0, 120)),
        (25, (5, 75), (35, 120)),
    ],
)
def test_padding(square: Alpha, padding: str | int, rows: tuple[int, int], columns: tuple[int, int]) -> None:
    position = np.arange(square.size, dtype=np.uint32).reshape(square.shape)
    part = crop_to_subject(position.view(np.uint8).reshape(100, 120, 4), square, padding)
    expected = position[slice(*rows), slice(*columns)]
    np.testing.assert_array_equal(np.ascontiguousarray(part).view(np.uint32)[..., 0], expected)


def test_without_a_subject_nothing_is_cut(square: Alpha) -> None:
    picture = np.zeros((100, 120), np.uint8)
    assert crop_to_subject(picture, square * 0, 10).shape == (100, 120)


@pytest.mark.parametrize("wrong", ["-1", -1, "5 %%", "5em", "", "nan", "1e3", "5%px", None, "9" * 400])
def test_wrong_padding(wrong: Any) -> None:
    with pytest.raises(OptionError, match="padding must be pixels"):
        parse_padding(wrong, 100)


def test_cropping_needs_a_matte_of_the_size(square: Alpha) -> None:
    with pytest.raises(ImageError, match="height and width"):
        crop_to_subject(np.zeros((50, 60), np.uint8), square)


def test_many_spaces_are_read_quickly() -> None:
    """A pattern that can share them out in many ways takes minutes."""
    text = "1" + " " * 20_000 + "?"
    began = time.process_time()
    with pytest.raises(OptionError):
        parse_padding(text, 1)
    with pytest.raises(OptionError):
        limit_size(np.zeros((1, 1), np.uint8), text)
    assert time.process_time() - began < 1


# Size -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("", (90, 160)),
        ("  ", (90, 160)),
        ("160", (90, 160)),
        ("1000", (90, 160)),
        ("80", (45, 80)),
        ("80px", (45, 80)),
        ("80x80", (45, 80)),
        ("1000x45", (45, 80)),
        (" 40 X 1000 ", (22, 40)),
        ("1", (1, 1)),
        ("1x1000", (1, 1)),
    ],
)
@pytest.mark.parametrize("channels", [(), (3,), (4,)])
def test_limiting_the_size(size: str, expected: tuple[int, int], channels: tuple[int, ...]) -> None:
    picture: npt.NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (90, 160, *channels), np.uint8)
    made = limit_size(picture, size)
    assert made.shape == (*expected, *channels)
    if expected == (90, 160):
        np.testing.assert_array_equal(made, picture)


@pytest.mark.parametrize(
    "wrong", ["0", "0x5", "5x0", "-5", "x", "5x", "x5", "1.5", "a", "5x5x5", "50%", "9" * 5000]
)
def test_wrong_sizes(wrong: str) -> None:
    with pytest.raises(OptionError, match="size must be the longest side"):
        limit_size(np.zeros((5, 5), np.uint8), wrong)


def test_shrinking_leaves_no_dark_fringe(disc: Example) -> None:
    """One colour under a soft matte stays that colour: transparent black must not mix in."""
    flat = np.zeros_like(disc.image)
    flat[:] = (240, 200, 160)
    small = limit_size(cutout(flat, disc.alpha), "37")
    seen = small[..., 3] > 0
    assert ((small[..., 3] > 20) & (small[..., 3] < 235)).sum() > 20
    assert np.abs(small[seen][:, :3].astype(int) - (240, 200, 160)).max() <= 1
    mean = disc.alpha.mean()
    assert small[..., 3].mean() / 255 == pytest.approx(mean, abs=0.005)


def test_shrinking_averages_areas() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (80, 120, 3), np.uint8)
    blocks = picture.reshape(20, 4, 30, 4, 3).mean((1, 3))
    assert np.abs(limit_size(picture, "30") - blocks).max() <= 0.6


@pytest.mark.parametrize("output", ["mask", "trimap"])
def test_masks_and_trimaps_keep_their_values(output: str, disc: Example) -> None:
    made = bgremove.remove(disc.image, "grabcut", output=output, size=61)
    assert made.shape == (49, 61)
    values = {0, 255} if output == "mask" else {0, 128, 255}
    assert set(np.unique(made).tolist()) == values


# Colours --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "colour"),
    [
        ("white", (255, 255, 255, 255)),
        ("Tomato", (255, 99, 71, 255)),
        (" rebeccapurple ", (102, 51, 153, 255)),
        ("#fa0", (255, 170, 0, 255)),
        ("#FA08", (255, 170, 0, 136)),
        ("#0a141e", (10, 20, 30, 255)),
        ("#0a141e28", (10, 20, 30, 40)),
        ("10,20,30", (10, 20, 30, 255)),
        ("10, 20 ,30, 0", (10, 20, 30, 0)),
        ("0,0,0", (0, 0, 0, 255)),
        ("rgb(1, 2, 3)", (1, 2, 3, 255)),
        ("rgba(1, 2, 3, 4)", (1, 2, 3, 4)),
        ("rgb(100%, 0%, 50%)", (255, 0, 128, 255)),
        ("hsl(120, 100%, 50%)", (0, 255, 0, 255)),
    ],
)
def test_colours(text: str, colour: Colour) -> None:
    assert parse_colour(text) == colour


def test_every_css_name_is_known() -> None:
    assert len(ImageColor.colormap) >= 148
    for name in ImageColor.colormap:
        assert parse_colour(name)[3] == 255


@pytest.mark.parametrize(
    "wrong",
    ["", "wihte", "#12", "#12345", "#gggggg", "1,2", "1,2,3,4,5", "256,0,0", "1,2,-3", "1.5,2,3", "1;2;3"]
    + ["rgb(300,0,0)", "rgb(-1,0,0)", "hsl(120,200%,50%)", "hsl(0,100%,150%)", "rgb(1,2)", "nan", "1," * 500]
    + [",".join(["9" * 5000] * 3)],
)
def test_wrong_colours(wrong: str) -> None:
    with pytest.raises(OptionError, match="unknown colour .*; give a CSS name"):
        parse_colour(wrong)


def test_the_checkerboard_is_grey_squares() -> None:
    board = checkerboard(50, 70, 10)
    assert board.shape == (50, 70, 3)
    assert set(np.unique(board).tolist()) == {214, 252}
    assert (board[:10, :10] == 252).all() and (board[:10, 10:20] == 214).all()
    assert (board[..., 0] == board[..., 2]).all()
    flipped = cv2.flip(board[:40, :60], 1)
    np.testing.assert_array_equal(flipped[:, :10], board[:40, 50:60])

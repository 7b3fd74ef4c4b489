"""Trimaps and boxes, against distances counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from bgremove.arrays import Alpha, check_trimap
from bgremove.errors import ImageError, OptionError
from bgremove.trimap import Box, alpha_to_trimap, bounding_box
from tests.conftest import Example


@pytest.fixture
def square() -> Alpha:
    alpha = np.zeros((60, 80), np.float32)
    alpha[20:40, 30:60] = 1
    return alpha


@pytest.mark.parametrize("width", [0, 1, 3, 7])
def test_the_band_is_width_pixels_on_each_side(square: Alpha, width: int) -> None:
    trimap = check_trimap(alpha_to_trimap(square, width), square.shape)
    across = trimap[30]  # through the middle of the square
    assert (across == 255).sum() == 30 - 2 * width
    assert (across == 128).sum() == 4 * width
    assert (across[30 - width : 30 + width] == 128).all()
    assert (across[60 - width : 60 + width] == 128).all()


def test_certain_parts_are_certain(disc: Example) -> None:
    trimap = alpha_to_trimap(disc.alpha, 4)
    assert (disc.alpha[trimap == 255] == 1).all()
    assert (disc.alpha[trimap == 0] == 0).all()
    assert ((trimap == 128) >= ((disc.alpha > 0.04) & (disc.alpha < 0.94))).all()


def test_the_pictures_border_shrinks_nothing() -> None:
    alpha = np.zeros((40, 40), np.float32)
    alpha[:, :20] = 1
    trimap = alpha_to_trimap(alpha, 5)
    assert (trimap[:, :15] == 255).all()
    assert (trimap[:, 25:] == 0).all()


def test_thresholds() -> None:
    alpha = np.array([[0.0, 0.04, 0.1, 0.5, 0.94, 0.95, 1.0]], np.float32)
    assert alpha_to_trimap(alpha, 0).tolist() == [[0, 128, 128, 128, 128, 255, 255]]
    loose = alpha_to_trimap(alpha, 0, background_below=0.2, foreground_above=0.4)
    assert loose.tolist() == [[0, 0, 0, 255, 255, 255, 255]]


@pytest.mark.parametrize(("value", "expected"), [(0.0, 0), (1.0, 255), (0.5, 128)])
def test_flat_mattes_stay_what_they_are(value: float, expected: int) -> None:
    assert (alpha_to_trimap(np.full((9, 7), value, np.float32), 3) == expected).all()


def test_refusals(square: Alpha) -> None:
    with pytest.raises(OptionError, match="at least 0 pixels; got -1"):
        alpha_to_trimap(square, -1)
    with pytest.raises(ImageError):
        alpha_to_trimap(square * 2)
    with pytest.raises(ImageError):
        bounding_box(square * 2)


def test_the_box_holds_every_visible_pixel(square: Alpha) -> None:
    assert bounding_box(square) == Box(left=30, top=20, right=60, bottom=40)
    square[50, 70] = 0.1  # not above the threshold
    assert bounding_box(square) == Box(30, 20, 60, 40)
    square[50, 70] = 0.2
    assert bounding_box(square) == Box(30, 20, 71, 51)
    assert bounding_box(square, threshold=0.5) == Box(30, 20, 60, 40)


def test_boxes_of_one_pixel_of_all_and_of_nothing() -> None:
    assert bounding_box(np.zeros((4, 5), np.float32)) is None
    assert bounding_box(np.ones((4, 5), np.float32)) == Box(0, 0, 5, 4)
    assert bounding_box(np.ones((1, 1), np.float32)) == Box(0, 0, 1, 1)

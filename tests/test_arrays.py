"""The checks at the doors: what passes, what is refused, and what the sentence says."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from bgremove.arrays import check_alpha, check_image, check_trimap, describe
from bgremove.errors import ImageError


def test_an_image_passes_as_it_is() -> None:
    image = np.zeros((3, 4, 3), np.uint8)
    assert check_image(image) is image


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((3, 4), np.uint8),
        np.zeros((3, 4, 4), np.uint8),
        np.zeros((3, 4, 3), np.float32),
        np.zeros((1, 3, 4, 3), np.uint8),
        [[[1, 2, 3]]],
        None,
    ],
)
def test_other_images_are_refused_with_what_they_are(wrong: Any) -> None:
    told = re.escape(f"photo must be uint8 of shape (H, W, 3); got {describe(wrong)}")
    with pytest.raises(ImageError, match=told):
        check_image(wrong, "photo")


@pytest.mark.parametrize("shape", [(0, 4, 3), (4, 0, 3), (0, 0, 3)])
def test_an_image_without_pixels_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="no pixels"):
        check_image(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, bool])
def test_a_matte_becomes_float32(dtype: type) -> None:
    matte = check_alpha(np.eye(3).astype(dtype), (3, 3))
    assert matte.dtype == np.float32
    np.testing.assert_array_equal(matte, np.eye(3))


@pytest.mark.parametrize("value", [-1e-6, 1 + 1e-6, np.nan, np.inf, -np.inf])
def test_a_matte_outside_0_to_1_is_refused(value: float) -> None:
    matte = np.full((2, 3), 0.5)
    matte[1, 1] = value
    with pytest.raises(ImageError, match="alpha must lie within 0 and 1"):
        check_alpha(matte)


def test_a_uint8_mask_is_no_matte() -> None:
    with pytest.raises(ImageError, match=r"got uint8 \(2, 2\): divide a uint8 mask by 255"):
        check_alpha(np.zeros((2, 2), np.uint8))


def test_a_matte_must_fit_its_image() -> None:
    with pytest.raises(ImageError, match=re.escape("height and width (4, 5); got (5, 4)")):
        check_alpha(np.zeros((5, 4)), (4, 5, 3))


def test_a_trimap_has_three_values() -> None:
    trimap = np.array([[0, 128, 255]], np.uint8)
    assert check_trimap(trimap, (1, 3)) is trimap
    with pytest.raises(ImageError, match="got 0, 1, 2, 3, 4, 5 ..."):
        check_trimap(np.arange(9, dtype=np.uint8).reshape(3, 3))
    with pytest.raises(ImageError, match="uint8"):
        check_trimap(trimap.astype(np.float32))
    with pytest.raises(ImageError, match="height and width"):
        check_trimap(trimap, (3, 1))

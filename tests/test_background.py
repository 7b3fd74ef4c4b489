"""Backgrounds: what a user may give, how pictures fill a frame, and a blur without a halo."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as PILImage

import bgremove
from bgremove.arrays import Image
from bgremove.background import Background, blur_background, fit_background, parse_background
from bgremove.errors import ImageError, OptionError
from tests.conftest import Example, KnownRemover, soft_disc

FITS: list[Any] = ["cover", "contain", "stretch", "tile"]


def gradient(height: int, width: int) -> Image:
    """Red grows from left to right, green from top to bottom, both from 0 to 200."""
    rows, columns = np.mgrid[:height, :width]
    red, green = (columns + 0.5) / width * 200, (rows + 0.5) / height * 200
    return np.dstack([red, green, np.full_like(red, 77)]).round().astype(np.uint8)


@pytest.mark.parametrize("text", ["transparent", "none", "", " Transparent "])
def test_nothing(text: str) -> None:
    background = parse_background(text)
    assert background.kind == "transparent" and not background.opaque


@pytest.mark.parametrize(
    ("given", "colour", "opaque"),
    [
        ("white", (255, 255, 255, 255), True),
        ("#fa08", (255, 170, 0, 136), False),
        ((255, 170, 0), (255, 170, 0, 255), True),
        ([255, 170, 0, 10], (255, 170, 0, 10), False),
        (tuple(np.array([1, 2, 3])), (1, 2, 3, 255), True),
    ],
)
def test_colours(given: Any, colour: tuple[int, ...], opaque: bool) -> None:
    background = parse_background(given)
    assert (background.kind, background.colour, background.opaque) == ("colour", colour, opaque)


def test_pictures_of_every_kind(tmp_path: Path) -> None:
    picture = gradient(20, 30)
    path = tmp_path / "below.png"
    PILImage.fromarray(picture).save(path)
    for given in (str(path), path, path.read_bytes(), PILImage.open(path), picture):
        background = parse_background(given, fit="tile")
        assert (background.kind, background.fit, background.opaque) == ("picture", "tile", True)
        np.testing.assert_array_equal(background.picture, picture)


def test_a_picture_with_transparency_lies_on_white(disc: Example) -> None:
    rgba = np.dstack([disc.foreground, np.rint(disc.alpha * 255).astype(np.uint8)])
    white = PILImage.new("RGBA", (200, 160), "white")
    white.alpha_composite(PILImage.fromarray(rgba))
    file = io.BytesIO()
    PILImage.fromarray(rgba).save(file, "PNG")
    made = parse_background(file.getvalue()).picture
    assert made is not None
    assert np.abs(made.astype(int) - np.asarray(white)[..., :3]).max() <= 1


def test_a_picture_is_upright(tmp_path: Path) -> None:
    exif = PILImage.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.png"
    PILImage.fromarray(gradient(20, 30)).save(path, exif=exif)
    made = parse_background(path).picture
    assert made is not None and made.shape == (30, 20, 3)


@pytest.mark.parametrize("wrong", ["wihte", "1,2,3,4,5", "300,0,0", (1, 2), (1.5, 2, 3), "x" * 5000, "a\0b"])
def test_unknown_texts(wrong: Any) -> None:
    with pytest.raises(OptionError, match="unknown background .* give transparent, blur, a colour"):
        parse_background(wrong)


@pytest.mark.parametrize("wrong", [3, None, {}, 0.5])
def test_other_things(wrong: Any) -> None:
    with pytest.raises(OptionError, match=f"got {type(wrong).__name__}"):
        parse_background(wrong)


def test_files_that_are_no_pictures(tmp_path: Path) -> None:
    path = tmp_path / "text.jpg"
    path.write_text("no picture")
    with pytest.raises(ImageError, match="is not a picture"):
        parse_background(str(path))
    with pytest.raises(ImageError, match="is a folder"):
        parse_background(str(tmp_path))
    with pytest.raises(ImageError, match="does not exist"):
        parse_background(tmp_path / "none.png")


# Fitting --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("frame", [(1, 1), (50, 70), (1, 300), (300, 1)])
@pytest.mark.parametrize("size", [(1, 1), (50, 70), (7, 500), (500, 7), (1, 3000), (3000, 1)])
def test_any_picture_fills_any_frame(fit: Any, frame: tuple[int, int], size: tuple[int, int]) -> None:
    made = fit_background(gradient(*size), *frame, fit)
    assert made.shape == (*frame, 3) and made.dtype == np.uint8
    assert (made[..., 2] == 77).all()  # nothing but the picture, and its border's mean


def test_a_picture_of_the_frames_size_is_itself() -> None:
    picture = gradient(50, 70)
    for fit in FITS:
        np.testing.assert_array_equal(fit_background(picture, 50, 70, fit), picture)


def test_stretch_shows_all_of_it() -> None:
    made = fit_background(gradient(300, 200), 50, 70, "stretch").astype(int)
    assert np.abs(made - gradient(50, 70)).max() <= 2


def test_cover_keeps_the_proportions_and_crops_the_rest() -> None:
    # 200 x 400 in a frame of 100 x 100: the middle half of the columns, all the rows.
    made = fit_background(gradient(200, 400), 100, 100, "cover").astype(int)
    columns = 50 + 100 * (np.arange(100) + 0.5) / 100
    assert np.abs(made[:, :, 0] - columns).max() <= 2
    assert np.abs(made[:, :, 1] - gradient(100, 100)[:, :, 1]).max() <= 2


def test_cover_enlarges() -> None:
    made = fit_background(gradient(20, 20), 100, 60, "cover").astype(int)
    rows = 200 * (np.arange(100) + 0.5) / 100
    assert np.abs(made[10:-10, 30, 1] - rows[10:-10]).max() <= 3


def test_contain_shows_all_of_it_on_its_border_colour() -> None:
    picture = gradient(100, 200)
    made = fit_background(picture, 100, 100, "contain").astype(int)
    assert np.abs(made[25:75] - gradient(50, 100)).max() <= 2
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]]).mean(0)
    assert np.abs(made[:25] - border).max() <= 0.5
    assert np.abs(made[75:] - border).max() <= 0.5


def test_tile_repeats_pixel_for_pixel() -> None:
    picture = gradient(30, 20)
    made = fit_background(picture, 100, 70, "tile")
    for row, column in [(0, 0), (29, 19), (30, 20), (99, 69), (65, 47)]:
        assert made[row, column].tolist() == picture[row % 30, column % 20].tolist()


def test_cover_of_an_extreme_picture_is_quick() -> None:
    """Enlarging all of it before cropping would make a picture of 60 gigapixels."""
    made = fit_background(gradient(2, 20000), 3000, 2000, "cover")
    assert made.shape == (3000, 2000, 3)


def test_an_unknown_fit() -> None:
    with pytest.raises(OptionError, match="fit must be one of cover, contain, stretch, tile; got 'fill'"):
        fit_background(gradient(5, 5), 10, 10, "fill")  # type: ignore[arg-type]


# Blur -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edge", [1, 4, 16])
@pytest.mark.parametrize("radius", [0, 2, 10, 60])
def test_the_subject_does_not_shine_into_the_blur(radius: float, edge: float) -> None:
    """A bright subject on a dark background: the blurred background is dark next to it and behind it."""
    alpha = soft_disc(240, 320, radius=70, edge=edge).alpha
    image = np.repeat(np.rint(20 + 235 * alpha).astype(np.uint8)[..., None], 3, axis=2)
    blurred = blur_background(image, alpha, radius)
    plain = cv2.GaussianBlur(image, (0, 0), max(radius, 6))
    near = (alpha == 0) & (cv2.dilate(alpha, np.ones((9, 9), np.uint8)) > 0)
    assert plain[near].mean() > 38  # what the usual blur does
    assert np.abs(blurred.astype(int) - 20).max() <= 2


def test_it_is_a_gaussian_where_there_is_no_subject(photo: Image) -> None:
    nothing = np.zeros(photo.shape[:2], np.float32)
    for radius in (3.0, 12.0):
        ours = blur_background(photo, nothing, radius).astype(float)
        theirs = cv2.GaussianBlur(photo.astype(np.float32), (0, 0), radius, borderType=cv2.BORDER_REFLECT)
        assert np.abs(ours - theirs).mean() < 2.5
        assert np.abs(ours - theirs).max() < 14


def test_a_flat_background_stays_flat() -> None:
    example = soft_disc(120, 150, radius=30, edge=3)
    image = np.where(example.alpha[..., None] > 0, np.uint8(250), np.uint8(90)) * np.ones(3, np.uint8)
    assert np.abs(blur_background(image, example.alpha, 9).astype(int) - 90).max() <= 1


def test_a_larger_radius_blurs_more(photo: Image) -> None:
    nothing = np.zeros(photo.shape[:2], np.float32)
    spread = [float(blur_background(photo, nothing, radius).std()) for radius in (1, 4, 16, 60)]
    assert spread == sorted(spread, reverse=True)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (3, 400)])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("radius", [0.0, 500.0])
def test_extremes(shape: tuple[int, int], value: float, radius: float) -> None:
    image = np.full((*shape, 3), 99, np.uint8)
    blurred = blur_background(image, np.full(shape, value, np.float32), radius)
    assert blurred.shape == image.shape and blurred.dtype == np.uint8
    assert np.abs(blurred.astype(int) - 99).max() <= 1


@pytest.mark.parametrize("crop", [False, True])
def test_no_halo_through_the_whole_pipeline(crop: bool) -> None:
    image = np.full((120, 160, 3), 20, np.uint8)
    image[40:80, 60:100] = 250
    remover = KnownRemover((image[..., 0] > 100).astype(np.float32))
    made = bgremove.remove(image, remover, "blur", blur_radius=8, crop=crop, padding=12, edges="none")
    assert made.shape == ((64, 64, 3) if crop else (120, 160, 3))
    square = made[12:52, 12:52] if crop else made[40:80, 60:100]
    assert square[4:-4, 4:-4].min() > 240
    outside = np.ones(made.shape[:2], bool)
    outside[slice(8, 56) if crop else slice(36, 84), slice(8, 56) if crop else slice(56, 104)] = False
    assert made[outside].max() <= 24


def test_the_subject_over_each(disc: Example) -> None:
    over = {
        kind: parse_background(given).under(disc.image, disc.foreground, disc.alpha)
        for kind, given in {"none": "", "red": "red", "glass": "#ff000080", "blur": "blur"}.items()
    }
    assert {kind: made.shape[2] for kind, made in over.items()} == {
        "none": 4,
        "red": 3,
        "glass": 4,
        "blur": 3,
    }
    inside = disc.alpha == 1
    for made in over.values():
        np.testing.assert_array_equal(made[inside][:, :3], disc.foreground[inside])
    assert (over["red"][disc.alpha == 0] == (255, 0, 0)).all()
    assert (over["glass"][disc.alpha == 0] == (255, 0, 0, 128)).all()
    assert Background().kind == "transparent"


def test_a_small_blur_beside_a_large_subject_is_quick() -> None:
    """What lies far behind the subject is filled by wide blurs, whose cost must not grow with their width."""
    image = np.full((1000, 1000, 3), 20, np.uint8)
    alpha = np.zeros((1000, 1000), np.float32)
    cv2.circle(alpha, (500, 500), 490, 1, -1)
    image[alpha > 0] = 250
    began = time.process_time()
    blurred = blur_background(image, alpha, 6)
    assert time.process_time() - began < 3
    assert np.abs(blurred.astype(int) - 20).max() <= 2

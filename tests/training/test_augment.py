"""How training pictures are varied: picture and truth alike, within the ranges, by the seed."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from bgremove.arrays import Image
from bgremove.training.augment import Grey, augmented, background_swapped, filled, resized
from bgremove.training.params import AugmentParams

STILL: dict[str, float] = {
    "flip": 0, "rotate": 0, "zoom": 1, "shrink": 1, "stretch": 0, "colour": 0, "grey": 0, "degrade": 0,
}  # fmt: skip
"""Nothing is varied."""


def only(**values: float) -> AugmentParams:
    return AugmentParams(**{**STILL, **values})


def vary(image: Image, truth: Grey, size: int, params: AugmentParams, seed: int = 0) -> tuple[Image, Grey]:
    return augmented(image, truth, size, params, np.random.default_rng(seed))


def drawn(height: int = 120, width: int = 120) -> tuple[Image, Grey]:
    """A picture that shows its truth, an uneven blob, as white on black."""
    truth = np.zeros((height, width), np.uint8)
    cv2.ellipse(
        truth, (width * 2 // 5, height // 2), (width // 5, height // 9), 20, 0, 360, 255, -1, cv2.LINE_AA
    )
    cv2.rectangle(truth, (width * 3 // 5, height // 4), (width * 3 // 4, height // 2), 255, -1)
    return np.repeat(truth[..., None], 3, axis=2), truth


def bar(size: int = 201) -> tuple[Image, Grey]:
    """A long, thin, level bar through the middle."""
    truth = np.zeros((size, size), np.uint8)
    truth[size // 2 - 4 : size // 2 + 5, size // 5 : -size // 5] = 255
    return np.repeat(truth[..., None], 3, axis=2), truth


def second_moments(truth: Grey) -> npt.NDArray[np.float64]:
    """(2, 2): how a shape spreads, in columns and rows."""
    moments = cv2.moments(truth)
    parts = [moments["mu20"], moments["mu11"], moments["mu11"], moments["mu02"]]
    return np.array(parts, np.float64).reshape(2, 2) / float(moments["m00"])


# Together -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("height", "width", "size"), [(120, 120, 96), (90, 150, 96), (40, 40, 64)])
def test_picture_and_truth_move_together(height: int, width: int, size: int, seed: int) -> None:
    image, truth = drawn(height, width)
    params = only(flip=0.5, rotate=30, zoom=1.5, stretch=0.3)
    picture, matte = vary(image, truth, size, params, seed)
    assert picture.shape == (size, size, 3) and matte.shape == (size, size)
    np.testing.assert_array_equal(picture, np.repeat(matte[..., None], 3, axis=2))
    plain = resized(image, truth, size)[1].astype(int)
    assert np.abs(matte.astype(int) - plain).mean() > 5  # and it did move


def test_a_picture_much_too_large_moves_with_its_truth() -> None:
    image, truth = drawn(300, 300)
    picture, matte = vary(image, truth, 64, only(rotate=10, zoom=1.3), 3)
    assert np.abs(picture[..., 0].astype(int) - matte).mean() < 3
    assert cv2.phaseCorrelate(picture[..., 0].astype(float), matte.astype(float))[0] == pytest.approx(
        (0, 0), abs=0.1
    )


@pytest.mark.parametrize("colour", [1.0, 3.0])
def test_colours_and_flaws_leave_the_truth_alone(colour: float) -> None:
    image, truth = drawn()
    picture, matte = vary(image, truth, 120, only(colour=colour, grey=1, degrade=1))
    np.testing.assert_array_equal(matte, truth)
    assert not np.array_equal(picture, image)


def test_what_comes_in_stays_as_it_was(photo: Image) -> None:
    truth = photo[..., 0].copy()
    photo.setflags(write=False)
    truth.setflags(write=False)
    before = photo.copy(), truth.copy()
    picture, matte = vary(photo, truth, photo.shape[0], only(colour=1, degrade=1))
    picture[:], matte[:] = 0, 0
    np.testing.assert_array_equal(photo, before[0])
    np.testing.assert_array_equal(truth, before[1])


# Nothing varied -------------------------------------------------------------------------------------


def test_of_the_same_size_nothing_changes(noise: Any) -> None:
    image, truth = noise(64, 64, 3), noise(64, 64)
    picture, matte = vary(image, truth, 64, AugmentParams(**STILL))
    np.testing.assert_array_equal(picture, image)
    np.testing.assert_array_equal(matte, truth)
    assert resized(image, truth, 64)[0] is image


@pytest.mark.parametrize(("height", "width", "size"), [(64, 64, 96), (100, 140, 128), (160, 240, 128)])
def test_of_another_size_it_is_a_plain_resize(photo: Image, height: int, width: int, size: int) -> None:
    image = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)
    truth = np.ascontiguousarray(image[..., 1])
    picture, matte = vary(image, truth, size, AugmentParams(**STILL))
    plain, plain_truth = resized(image, truth, size)
    inner = np.s_[2:-2, 2:-2]
    assert np.abs(picture[inner].astype(int) - plain[inner]).mean() < 6
    assert np.abs(matte[inner].astype(int) - plain_truth[inner]).mean() < 6
    # No shift: the two are where they were, to a tenth of a pixel.
    shift, _ = cv2.phaseCorrelate(matte.astype(float), plain_truth.astype(float))
    assert shift == pytest.approx((0, 0), abs=0.1)


def test_pixels_are_squares_when_enlarged() -> None:
    """Twice the size: OpenCV's own bilinear resize, save for the outermost pixels and rounding."""
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    picture, _ = vary(image, image[..., 0].copy(), 64, AugmentParams(**STILL))
    wanted = cv2.resize(image, (64, 64), interpolation=cv2.INTER_LINEAR)
    assert np.abs(picture[1:-1, 1:-1].astype(int) - wanted[1:-1, 1:-1]).max() <= 2


def test_resized_averages_what_is_shrunk() -> None:
    truth = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    image = np.repeat(truth[..., None], 3, axis=2)
    picture, matte = resized(image, truth, 32)
    assert set(np.unique(matte)) <= {127, 128} and set(np.unique(picture)) <= {127, 128}
    assert resized(image, truth, 200)[1].shape == (200, 200)


# Ranges ---------------------------------------------------------------------------------------------


def test_rotations_stay_within_their_range() -> None:
    image, truth = bar()
    angles = []
    for seed in range(150):
        matte = vary(image, truth, 201, only(rotate=10), seed)[1]
        spread = second_moments(matte)
        angles.append(math.degrees(0.5 * math.atan2(2 * spread[0, 1], spread[0, 0] - spread[1, 1])))
    assert max(map(abs, angles)) <= 10.2
    assert min(angles) < -8 and max(angles) > 8
    assert abs(np.mean(angles)) < 2 and np.std(angles) == pytest.approx(10 / math.sqrt(3), rel=0.25)


def test_zooms_stay_within_their_ranges() -> None:
    image, truth = drawn()
    whole = float(truth.sum())
    zooms = []
    for seed in range(150):
        matte = vary(image, truth, 120, only(zoom=1.2, shrink=1.1), seed)[1]
        zooms.append(math.sqrt(matte.sum() / whole))
    # The blob is in the middle, so that nothing of it leaves the picture at these zooms.
    assert 1 / 1.1 - 0.01 <= min(zooms) < 0.93 and 1.17 < max(zooms) <= 1.21
    assert 0.4 < np.mean([zoom > 1 for zoom in zooms]) < 0.6


def test_stretches_stay_within_their_range_and_keep_the_area() -> None:
    image, truth = drawn()
    before = second_moments(truth)
    ratios = []
    for seed in range(100):
        matte = vary(image, truth, 120, only(stretch=0.2), seed)[1]
        after = second_moments(matte)
        ratios.append(0.5 * math.log(after[0, 0] / before[0, 0] / (after[1, 1] / before[1, 1])))
        assert float(matte.sum()) == pytest.approx(float(truth.sum()), rel=0.02)
    assert max(map(abs, ratios)) < 0.22 and max(ratios) > 0.15 and min(ratios) < -0.15


def test_where_it_is_enlarged_the_view_stays_inside_and_wanders() -> None:
    """Left and top of the view, told by a picture whose colours are its coordinates."""
    rows, columns = np.mgrid[:240, :240].astype(np.uint8)
    image = np.dstack([rows, columns, np.full_like(rows, 255)])
    lefts = []
    for seed in range(80):
        picture, _ = vary(image, rows.copy(), 240, only(zoom=2), seed)
        if int(picture[120, 140, 1]) - int(picture[120, 100, 1]) >= 40:
            continue  # shrunk: the whole shows, and beyond it its mirror image
        # In an enlarged view every line goes on rising: nothing is mirrored at the border.
        assert (np.diff(picture[120, :, 1].astype(int)) >= 0).all()
        assert (np.diff(picture[:, 120, 0].astype(int)) >= 0).all()
        lefts.append(int(picture[120, 0, 1]))
    assert len(lefts) > 20 and np.std(lefts) > 10 and min(lefts) < 20


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_the_mirrored_share(share: float) -> None:
    image, truth = drawn(32, 32)
    rng = np.random.default_rng(0)
    mattes = [augmented(image, truth, 32, only(flip=share), rng)[1] for _ in range(400)]
    mirrored = sum(np.array_equal(matte, truth[:, ::-1]) for matte in mattes)
    assert mirrored / 400 == pytest.approx(share, abs=0.08 if 0 < share < 1 else 0)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_grey_share(photo: Image, share: float) -> None:
    small, truth = resized(photo, photo[..., 0].copy(), 16)
    grey = 0
    for seed in range(200):
        picture, _ = vary(small, truth, 16, only(grey=share), seed)
        grey += int(np.ptp(picture, axis=2).max() == 0)
    assert grey / 200 == pytest.approx(share, abs=0.1 if 0 < share < 1 else 0)


def test_colours_are_changed_by_one_rising_curve_each() -> None:
    """Gamma, contrast and brightness; what was lighter stays lighter, in each channel."""
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None], 256, axis=0)
    image = np.dstack([ramp] * 3)
    means, tints = [], []
    for seed in range(60):
        picture, _ = vary(image, ramp.copy(), 256, only(colour=1), seed)
        curves = picture[0].astype(int)
        assert (np.diff(curves, axis=0) >= 0).all() and (picture == picture[:1]).all()
        means.append(curves.mean())
        tints.append(np.ptp(curves.mean(0)))
    assert min(means) < 110 and max(means) > 145 and max(tints) > 10
    assert np.mean(means) == pytest.approx(127.5, abs=8)


def test_stronger_colours_change_more(photo: Image) -> None:
    small, truth = resized(photo, photo[..., 0].copy(), 64)

    def change(strength: float) -> float:
        changes = [
            np.abs(vary(small, truth, 64, only(colour=strength), s)[0].astype(int) - small).mean()
            for s in range(20)
        ]
        return float(np.mean(changes))

    assert 0 == change(0) < change(0.3) < change(1) < change(2)


# Flaws ----------------------------------------------------------------------------------------------


class Draws:
    """A generator whose first draws of three decide which flaws there are; all else as by NumPy."""

    def __init__(self, flaws: tuple[bool, bool, bool], seed: int) -> None:
        self._flaws, self._rng = flaws, np.random.default_rng(seed)

    def random(self, size: int | None = None) -> Any:
        return np.where(self._flaws, 0.0, 1.0) if size == 3 else self._rng.random(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rng, name)


def flawed(image: Image, flaws: tuple[bool, bool, bool], seed: int = 0) -> Image:
    rng: Any = Draws(flaws, seed)
    return augmented(image, image[..., 0].copy(), image.shape[0], only(degrade=0.5), rng)[0]


def test_each_flaw_does_its_own(photo: Image) -> None:
    square = resized(photo, photo[..., 0].copy(), 128)[0]

    def sharpness(image: Image) -> float:
        return float(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())

    before = sharpness(square)
    for seed in range(8):
        assert sharpness(flawed(square, (True, False, False), seed)) < before
        grain = flawed(square, (False, True, False), seed).astype(float) - square
        assert 1 < grain.std() < 13 and abs(grain.mean()) < 1
        packed = flawed(square, (False, False, True), seed).astype(float) - square
        assert 0.5 < np.abs(packed).mean() < 15
        assert np.abs(packed.mean((0, 1))).max() < 2  # the channels are in their places
    np.testing.assert_array_equal(flawed(square, (False, False, False)), square)


def test_noise_does_not_wrap_round() -> None:
    for value in (0, 255):
        picture = flawed(np.full((64, 64, 3), value, np.uint8), (False, True, False))
        assert np.abs(picture.astype(int) - value).max() < 80


def test_the_share_of_flawed_pictures(photo: Image) -> None:
    small, truth = resized(photo, photo[..., 0].copy(), 32)
    changed = sum(
        not np.array_equal(vary(small, truth, 32, only(degrade=0.1), seed)[0], small) for seed in range(400)
    )
    assert changed / 400 == pytest.approx(1 - 0.9**3, abs=0.07)


# The generator, types and sizes ---------------------------------------------------------------------


def test_the_same_state_gives_the_same_picture(photo: Image) -> None:
    truth = photo[..., 0].copy()
    strong = AugmentParams(degrade=1, grey=0.5)
    first, again = vary(photo, truth, 64, strong, 5), vary(photo, truth, 64, strong, 5)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    other = vary(photo, truth, 64, strong, 6)
    assert not np.array_equal(first[0], other[0]) and not np.array_equal(first[1], other[1])


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 50), (3, 2), (37, 500), (64, 64)])
@pytest.mark.parametrize("size", [1, 32, 65])
def test_any_size_becomes_the_square(height: int, width: int, size: int, noise: Any) -> None:
    params = AugmentParams(degrade=1, zoom=4, rotate=180, stretch=1, colour=3)
    for seed in range(3):
        picture, matte = vary(noise(height, width, 3), noise(height, width), size, params, seed)
        assert picture.shape == (size, size, 3) and picture.dtype == np.uint8 and picture.flags.c_contiguous
        assert matte.shape == (size, size) and matte.dtype == np.uint8


def test_a_flat_truth_stays_flat(photo: Image) -> None:
    """All foreground has no border, and none is made: beyond its edges a picture is mirrored."""
    full = np.full(photo.shape[:2], 255, np.uint8)
    for seed in range(10):
        assert vary(photo, full, 64, AugmentParams(zoom=3, rotate=45), seed)[1].min() == 255


# Other backgrounds ----------------------------------------------------------------------------------


def swap_pair() -> tuple[npt.NDArray[np.uint8], ...]:
    """A red box on blue, and a green box elsewhere on grey; each with its truth."""
    image, other = np.full((64, 96, 3), (20, 30, 200), np.uint8), np.full((64, 96, 3), 120, np.uint8)
    truth, other_truth = np.zeros((64, 96), np.uint8), np.zeros((64, 96), np.uint8)
    truth[10:40, 10:40], other_truth[20:50, 50:80] = 255, 255
    image[truth > 0], other[other_truth > 0] = (200, 20, 20), (20, 220, 20)
    return image, truth, other, other_truth


@pytest.mark.parametrize("seed", range(6))
def test_the_subject_moves_before_another_background(seed: int) -> None:
    image, truth, other, other_truth = swap_pair()
    made = background_swapped(image, truth, other, other_truth, np.random.default_rng(seed))
    assert made.shape == image.shape and made.dtype == np.uint8
    inside = cv2.erode(truth, np.ones((5, 5), np.uint8)) > 0
    outside = cv2.dilate(truth, np.ones((5, 5), np.uint8)) == 0
    np.testing.assert_array_equal(made[inside], image[inside])
    assert np.abs(made[outside].astype(int) - 120).max() <= 2, (
        "neither the old background nor the other subject"
    )


@pytest.mark.parametrize("seed", range(4))
def test_only_the_shape_of_a_subject_stays(seed: int) -> None:
    image, truth, _, _ = swap_pair()
    ramp = 100 + np.arange(96, dtype=np.uint8)
    other = np.repeat(np.broadcast_to(ramp, (64, 96))[..., None], 3, axis=2)
    made = filled(image, truth, other, np.random.default_rng(seed))
    assert made.shape == image.shape and made.dtype == np.uint8
    inside = cv2.erode(truth, np.ones((5, 5), np.uint8)) > 0
    outside = cv2.dilate(truth, np.ones((5, 5), np.uint8)) == 0
    np.testing.assert_array_equal(made[outside], image[outside])
    assert made[inside].min() >= 100 and made[inside].max() <= 195, "only the other picture's colours"
    assert made[20, 37, 0] > made[20, 12, 0], "and its order"


def test_a_shape_is_filled_with_more_or_less_of_a_picture() -> None:
    image, truth, _, _ = swap_pair()
    other = np.repeat(np.broadcast_to(100 + np.arange(96, dtype=np.uint8), (64, 96))[..., None], 3, axis=2)
    rows = [filled(image, truth, other, np.random.default_rng(seed))[20, 12:38, 0] for seed in range(12)]
    spans = [int(row[-1]) - int(row[0]) for row in rows]
    assert min(spans) < 14 and max(spans) > 18, "a third to the whole of 25 steps"


def test_a_swap_needs_a_subject_and_a_background() -> None:
    image, truth, other, other_truth = swap_pair()
    rng = np.random.default_rng(0)
    assert background_swapped(image, np.zeros_like(truth), other, other_truth, rng) is image
    assert background_swapped(image, np.full_like(truth, 255), other, other_truth, rng) is image
    assert background_swapped(image, truth, other, np.full_like(truth, 255), rng) is image

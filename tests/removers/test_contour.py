"""The classical pipeline, on shapes whose area is known."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from bgremove.arrays import Alpha, Image, Mask
from bgremove.errors import BGRemoveError, OptionError
from bgremove.options import settings
from bgremove.registry import create_remover
from bgremove.removers.contour import ContourParams, ContourRemover

STEPS = (1, 3, 5, 7, 11, 19, 21)
OPEN: dict[str, Any] = {"min_area": 0.0001, "max_area": 0.99}
ORANGE, BLUE = (240, 150, 30), (30, 60, 120)


def predict(image: Image, **values: Any) -> Alpha:
    alpha = ContourRemover(ContourParams(**(OPEN | values))).predict_alpha(image)
    assert alpha.dtype == np.float32 and alpha.shape == image.shape[:2]
    assert alpha.min() >= 0 and alpha.max() <= 1
    return alpha


def paint(
    mask: Mask, subject: tuple[int, int, int] = ORANGE, background: tuple[int, int, int] = BLUE
) -> Image:
    return np.where(mask[..., None], np.array(subject), np.array(background)).astype(np.uint8)


def disc(
    height: int = 300, width: int = 400, radius: float = 80, centre: tuple[float, float] | None = None
) -> Mask:
    rows, columns = np.mgrid[:height, :width]
    row, column = centre or (height / 2, width / 2)
    inside: Mask = np.hypot(rows - row, columns - column) < radius
    return inside


def iou(alpha: Alpha, truth: Mask) -> float:
    found = alpha > 0.5
    return float((found & truth).sum() / (found | truth).sum())


def polygon(points: list[tuple[float, float]], shape: tuple[int, int] = (300, 400)) -> Mask:
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.array(points, np.int32)], 1)
    return mask > 0


def star() -> Mask:
    """Five long points: its convex hull has twice its area."""
    corners = []
    for index in range(10):
        angle, radius = index * np.pi / 5, 120 if index % 2 == 0 else 45
        corners.append((200 + radius * np.sin(angle), 150 - radius * np.cos(angle)))
    return polygon(corners)


def letter_c() -> Mask:
    ring = disc(radius=110) & ~disc(radius=70)
    ring[120:180, 200:] = False
    return ring


# Shapes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [disc(), star(), letter_c()], ids=["disc", "star", "C"])
def test_shapes_are_found_as_they_are(mask: Mask) -> None:
    alpha = predict(paint(mask))
    assert iou(alpha, mask) > 0.93


@pytest.mark.parametrize("mask", [star(), letter_c()], ids=["star", "C"])
def test_bays_are_never_filled(mask: Mask) -> None:
    """fillConvexPoly, which the original uses, would."""
    hull = np.zeros(mask.shape, np.uint8)
    points = np.argwhere(mask)[:, ::-1].astype(np.int32)
    cv2.fillConvexPoly(hull, cv2.convexHull(points), 1)
    bays = (hull > 0) & ~cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    assert bays.sum() > 2000
    assert not predict(paint(mask))[bays].any()


def test_a_ring_keeps_its_hole() -> None:
    ring = disc(radius=110) & ~disc(radius=60)
    assert iou(predict(paint(ring)), ring) > 0.93
    filled = predict(paint(ring), holes="fill")
    assert iou(filled, disc(radius=110)) > 0.95


def test_what_is_painted_on_the_subject_is_no_hole() -> None:
    plate = disc(radius=110)
    image = paint(plate)
    image[disc(radius=40)] = (255, 230, 20)  # nothing like the background
    image[disc(radius=9, centre=(100, 200))] = (250, 100, 60)
    assert iou(predict(image), plate) > 0.95


def test_an_island_in_a_hole_is_kept() -> None:
    target = (disc(radius=130) & ~disc(radius=90)) | disc(radius=40)
    assert iou(predict(paint(target)), target) > 0.9


def test_two_subjects() -> None:
    both = disc(radius=60, centre=(150, 100)) | disc(radius=50, centre=(150, 300))
    assert iou(predict(paint(both)), both) > 0.93


def test_a_black_subject_is_whole() -> None:
    """In the original, black pixels of the subject become holes."""
    mask = disc()
    assert iou(predict(paint(mask, subject=(0, 0, 0), background=(250, 250, 250))), mask) > 0.93


# Settings -------------------------------------------------------------------------------------------


def test_the_area_filter_works_both_ways() -> None:
    small, large = disc(radius=20, centre=(60, 60)), disc(radius=90, centre=(170, 250))
    image = paint(small | large)  # 1 % and 21 % of the picture
    for low, high, truth in [
        (0.001, 0.9, small | large),
        (0.05, 0.9, large),
        (0.001, 0.1, small),
    ]:
        assert iou(predict(image, min_area=low, max_area=high), truth) > 0.9
    assert not predict(image, min_area=0.03, max_area=0.06).any()


@pytest.mark.parametrize("steps", [3, 21])
def test_growth_does_not_depend_on_the_number_of_contours(steps: int) -> None:
    """The original grows the whole mask once for every contour that it finds."""
    centre = disc(radius=40)
    dots = np.zeros_like(centre)
    for index in range(12):
        dots |= disc(radius=9, centre=(20, 20 + 32 * index))
    alone = predict(paint(centre), dilate=steps)
    crowd = predict(paint(centre | dots), dilate=steps)
    np.testing.assert_array_equal(alone[90:], crowd[90:])


@pytest.mark.parametrize("steps", STEPS)
def test_dilation_is_counted_in_pixels_and_erosion_takes_it_back(steps: int) -> None:
    block = np.zeros((300, 400), bool)
    block[100:200, 150:250] = True
    still = (predict(paint(block), dilate=1, erode=1) > 0.5).sum(axis=1)[150]
    wide = (predict(paint(block), dilate=steps, erode=1) > 0.5).sum(axis=1)[150]
    assert wide == still + 2 * (steps - 1)
    back = (predict(paint(block), dilate=steps, erode=steps) > 0.5).sum(axis=1)[150]
    assert back == still


@pytest.mark.parametrize("blur", STEPS)
def test_blur_softens_and_does_not_fatten(blur: int) -> None:
    sharp, soft = predict(paint(disc())), predict(paint(disc()), blur=blur)
    assert soft.mean() == pytest.approx(sharp.mean(), rel=0.005)
    assert (soft > 0.5).mean() == pytest.approx((sharp > 0.5).mean(), rel=0.01)
    if blur > 1:
        assert ((soft > 0.01) & (soft < 0.99)).sum() > ((sharp > 0.01) & (sharp < 0.99)).sum()


@pytest.mark.parametrize("blur", STEPS)
@pytest.mark.parametrize("steps", [1, 21])
def test_a_blurred_matte_never_leaves_0_to_1(blur: int, steps: int) -> None:
    """Filter weights that add up to 1.0000001 made `remove` refuse its own remover's matte."""
    predict(paint(disc(radius=140)), blur=blur, dilate=steps)


def test_weak_edges_need_low_thresholds() -> None:
    image = paint(disc(), subject=(70, 70, 70), background=(60, 60, 60))
    assert not predict(image, canny_high=200).any()
    strong = paint(disc(), subject=(110, 110, 110), background=(60, 60, 60))
    assert predict(strong, canny_high=100).any()


def test_the_seeds_ranges_initial_values_and_default_preset() -> None:
    """The table of the first source document."""
    made = {setting.name: setting for setting in settings(ContourParams)}
    for name in ("blur", "dilate", "erode"):
        assert made[name].choices == STEPS
        assert made[name].default == 1
    ranges = {name: (made[name].minimum, made[name].maximum, made[name].default) for name in made}
    assert ranges["canny_low"] == (1, 40, 20)
    assert ranges["canny_high"] == (100, 200, 150)
    assert ranges["min_area"] == (0.0001, 0.1, 0.013)
    assert ranges["max_area"] == (0.05, 0.99, 0.5)
    assert made["working_width"].default == 800
    assert ContourParams.preset("use-default").model_dump(exclude={"holes"}) == {
        "blur": 3,
        "canny_low": 15,
        "canny_high": 150,
        "min_area": 0.0005,
        "max_area": 0.95,
        "dilate": 3,
        "erode": 3,
        "working_width": 500,
    }


def test_areas_out_of_order_are_refused() -> None:
    with pytest.raises(OptionError, match="min_area must be below max_area; got 0.1 and 0.05"):
        ContourParams(min_area=0.1, max_area=0.05)


@pytest.mark.parametrize("name", ["blur", "dilate", "erode"])
def test_steps_between_the_seeds_are_refused(name: str) -> None:
    with pytest.raises(OptionError, match=f"{name} must be one of 1, 3, 5, 7, 11, 19, 21; got 2"):
        ContourParams(**{name: 2})
    assert ContourParams(**{name: "11"}) == ContourParams(**{name: 11})


# Sizes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("working_width", [64, 200, 800, 4096])
def test_the_result_has_the_photos_size(working_width: int) -> None:
    mask = disc(900, 1200, 250)
    alpha = predict(paint(mask), working_width=working_width)
    assert iou(alpha, mask) > (0.85 if working_width == 64 else 0.93)


def test_grain_is_the_shrinkage() -> None:
    remover = ContourRemover(ContourParams(working_width=500))
    assert remover.grain(1000, 2000) == 4
    assert remover.grain(2000, 400) == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (2, 30000), (30000, 2), (3, 3)])
def test_extreme_shapes(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    predict(image)
    assert not predict(np.full((*shape, 3), 77, np.uint8)).any()


def test_noise_is_survived() -> None:
    predict(np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8))


def test_a_photo(photo: Image) -> None:
    alpha = predict(photo, **{key: value for key, value in ContourParams.presets["use-default"].items()})
    assert 0.02 < alpha.mean() < 0.9


# Views ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(300, 400), (1, 1), (600, 1600)])
def test_stages(shape: tuple[int, int]) -> None:
    image = paint(disc(*shape, radius=min(shape) / 3))
    remover = ContourRemover(ContourParams(**OPEN))
    stages = remover.stages(image)
    assert list(stages) == ["edges", "contours", "mask"]
    height, width = (300, 800) if shape == (600, 1600) else shape
    for view in stages.values():
        assert view.shape == (height, width, 3) and view.dtype == np.uint8
    if shape == (1, 1):
        return
    assert set(np.unique(stages["edges"]).tolist()) == {0, 255}
    changed = (stages["contours"] == (255, 0, 128)).all(axis=2)
    assert (
        changed.any() and (changed <= cv2.dilate(stages["edges"], np.ones((7, 7)))[..., 0].astype(bool)).all()
    )
    full = cv2.resize(stages["mask"][..., 0].astype(np.float32) / 255, shape[::-1])
    assert np.abs(full - remover.predict_alpha(image)).max() < 0.01


def test_the_same_remover_twice_and_from_the_table() -> None:
    remover = create_remover("contour", **OPEN)
    assert isinstance(remover, ContourRemover)
    image = paint(disc())
    first = remover.predict_alpha(image)
    remover.predict_alpha(paint(star()))
    np.testing.assert_array_equal(first, remover.predict_alpha(image))


@pytest.mark.parametrize("wrong", [np.zeros((5, 5), np.uint8), np.zeros((0, 5, 3), np.uint8), None])
def test_what_is_no_image(wrong: Any) -> None:
    with pytest.raises(BGRemoveError, match="image"):
        ContourRemover(ContourParams()).predict_alpha(wrong)

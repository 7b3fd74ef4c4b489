"""GrabCut: its automatic start, and being pointed."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pytest

from bgremove.arrays import Image, Mask, Trimap
from bgremove.errors import ImageError, OptionError
from bgremove.options import settings
from bgremove.removers.grabcut import GrabCutParams, GrabCutRemover


def _remover(**values: Any) -> GrabCutRemover:
    return GrabCutRemover(GrabCutParams(**values))


def _scene(shape: str = "disc", height: int = 240, width: int = 320) -> tuple[Image, Mask]:
    """A coloured shape on a textured background."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:height, :width]
    if shape == "disc":
        inside = (y - 0.5 * height) ** 2 + (x - 0.55 * width) ** 2 < (0.3 * height) ** 2
    else:
        inside = (abs(y - 0.5 * height) < 0.27 * height) & (abs(x - 0.45 * width) < 0.2 * width)
    ground = np.stack([70 + 25 * np.sin(x / 9), 110 + 25 * np.sin(y / 7), 90 + 0 * x], axis=2)
    image = np.where(inside[..., None], (205, 70, 50), ground) + rng.normal(0, 10, (height, width, 3))
    return np.clip(image, 0, 255).astype(np.uint8), inside


def _iou(alpha: np.ndarray, mask: Mask) -> float:
    found = alpha > 0.5
    return float((found & mask).sum() / (found | mask).sum())


def _scribbles(mask: Mask) -> Trimap:
    """A thin stroke inside and one outside."""
    hint = np.full(mask.shape, 128, np.uint8)
    hint[110:112, 150:180] = 255
    hint[6:8, 20:300] = 0
    return hint


@pytest.mark.parametrize("shape", ["disc", "rectangle"])
def test_automatic(shape: str) -> None:
    image, mask = _scene(shape)
    alpha = _remover().predict_alpha(image)
    assert alpha.dtype == np.float32 and alpha.shape == mask.shape
    assert 0 <= alpha.min() and alpha.max() <= 1
    assert _iou(alpha, mask) > 0.95


def test_box() -> None:
    image, mask = _scene()
    alpha = _remover(box=(85, 30, 265, 210)).predict_alpha(image)
    assert _iou(alpha, mask) > 0.95
    assert not alpha[:, :80].any()


def test_box_picks_one_of_two() -> None:
    image, mask = _scene(width=320)
    both = np.ascontiguousarray(np.concatenate([image, image], axis=1))
    alpha = _remover(box=(90, 30, 260, 210)).predict_alpha(both)
    assert _iou(alpha[:, :320], mask) > 0.9
    assert not alpha[:, 330:].any()


def test_mask_hint() -> None:
    image, mask = _scene()
    rough = cv2.dilate(mask.astype(np.uint8) * 255, np.ones((21, 21), np.uint8))
    assert _iou(_remover().predict_alpha(image, np.asarray(rough, np.uint8)), mask) > 0.95


def test_scribbles() -> None:
    image, mask = _scene()
    alpha = _remover(hint_as="scribbles").predict_alpha(image, _scribbles(mask))
    assert _iou(alpha, mask) > 0.95


def test_scribbles_are_obeyed_against_the_colours() -> None:
    image, mask = _scene()
    hint = _scribbles(mask)
    hint[100:140, 190:200] = 0
    hint[200:203, 10:60] = 255
    alpha = _remover(hint_as="scribbles").predict_alpha(image, hint)
    assert (alpha[hint == 255] == 1).all() and (alpha[hint == 0] == 0).all()


def test_scribbles_hold_on_a_large_photo() -> None:
    image, mask = _scene()
    big = np.ascontiguousarray(cv2.resize(image, (1600, 1200), interpolation=cv2.INTER_CUBIC))
    hint = np.full(big.shape[:2], 128, np.uint8)
    hint[600, 700:1000] = 255
    hint[20, 20:1500] = 0
    alpha = _remover(hint_as="scribbles").predict_alpha(np.asarray(big, np.uint8), hint)
    assert (alpha[hint == 255] == 1).all() and (alpha[hint == 0] == 0).all()
    assert _iou(alpha[::5, ::5], mask) > 0.93


@pytest.mark.parametrize("value", [0, 128, 255])
def test_scribbles_of_one_value(value: int) -> None:
    image, mask = _scene()
    alpha = _remover(hint_as="scribbles").predict_alpha(image, np.full(mask.shape, value, np.uint8))
    assert alpha.mean() == pytest.approx({0: 0, 255: 1, 128: mask.mean()}[value], abs=0.02)


def test_subject_running_out_of_the_bottom() -> None:
    image, _ = _scene()
    y, x = np.mgrid[:240, :320]
    mask = ((x - 160) ** 2 + (y - 80) ** 2 < 45**2) | ((abs(x - 160) < 90) & (y > 120))
    image[_scene()[1]] = (70, 110, 90)
    image[mask] = (205, 70, 50)
    alpha = _remover().predict_alpha(image)
    assert _iou(alpha, mask) > 0.9
    assert alpha[-1, 100:220].min() > 0.9


def test_same_result_again_and_whatever_came_before() -> None:
    image, _ = _scene()
    remover = _remover()
    first = remover.predict_alpha(image)
    cv2.setRNGSeed(1234)
    remover.predict_alpha(_scene("rectangle")[0])
    assert np.array_equal(first, remover.predict_alpha(image))
    assert np.array_equal(image, _scene()[0])


def test_same_result_from_several_threads() -> None:
    images = [_scene("disc")[0], _scene("rectangle")[0]] * 3
    remover = _remover()
    alone = [remover.predict_alpha(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(remover.predict_alpha, images))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 60), (60, 1), (2, 30000), (30000, 2), (7, 7), (9, 9), (12, 90)]
)
@pytest.mark.parametrize("box", [None, (0, 0, 1, 1)])
def test_odd_sizes(shape: tuple[int, int], box: tuple[float, float, float, float] | None) -> None:
    image = np.full((*shape, 3), 120, np.uint8)
    alpha = _remover(box=box).predict_alpha(image)
    assert alpha.shape == shape and not alpha.any()
    hint = np.full(shape, 128, np.uint8)
    hint[0, 0] = 255
    alpha = _remover(hint_as="scribbles").predict_alpha(image, hint)
    assert alpha[0, 0] == 1


@pytest.mark.parametrize("name", ["flat", "noise", "grey noise", "blurred noise", "across", "down", "spot"])
def test_no_subject_gives_zeros(name: str) -> None:
    y, x = np.mgrid[:240, :320]
    noise = np.random.default_rng(3).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    spot = 255 * np.exp(-((x / 320 - 0.5) ** 2 + (y / 240 - 0.5) ** 2) / 0.15)
    plane = {
        "across": x * 0.79,
        "down": y * 1.06,
        "spot": spot,
        "flat": 90 + 0 * x,
        "grey noise": noise[..., 0],
    }
    image = {
        "noise": noise,
        "blurred noise": np.asarray(cv2.GaussianBlur(noise, (0, 0), 3), np.uint8),
    }.get(name, np.repeat(plane.get(name, x)[..., None], 3, axis=2).astype(np.uint8))
    assert not _remover().predict_alpha(image).any()


@pytest.mark.parametrize("box", [(10, 10, 10, 50), (50, 10, 20, 60), (10, 60, 50, 20)])
def test_empty_box(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(OptionError, match="box must be left, top, right, bottom"):
        GrabCutParams(box=box)


def test_box_outside_the_picture() -> None:
    image, _ = _scene()
    with pytest.raises(
        OptionError, match="box must overlap the picture of 320x240 pixels; got 400, 10, 500, 90"
    ):
        _remover(box=(400, 10, 500, 90)).predict_alpha(image)


def test_box_reaching_over_the_edge_is_clipped() -> None:
    image, _ = _scene()
    inside = _remover(box=(85, 30, 320, 240)).predict_alpha(image)
    assert np.array_equal(inside, _remover(box=(85, 30, 900, 900)).predict_alpha(image))


def test_hint_of_wrong_size() -> None:
    image, _ = _scene()
    with pytest.raises(ImageError, match=r"hint must be uint8 of the photo's height and width \(240, 320\)"):
        _remover().predict_alpha(image, np.zeros((24, 32), np.uint8))


@pytest.mark.parametrize("value", [0, 128, 255])
def test_mask_that_marks_nothing(value: int) -> None:
    image, mask = _scene()
    with pytest.raises(ImageError, match="must mark some of the picture with 255"):
        _remover().predict_alpha(image, np.full(mask.shape, value, np.uint8))


def test_grain() -> None:
    assert _remover().grain(300, 400) == 1
    assert _remover(working_size=400).grain(3000, 1000) == 7.5


@pytest.mark.parametrize("working_size", [120, 240, 1600])
def test_working_sizes(working_size: int) -> None:
    image, mask = _scene()
    assert _iou(_remover(working_size=working_size).predict_alpha(image), mask) > 0.9


@pytest.mark.parametrize("setting", settings(GrabCutParams), ids=lambda setting: setting.name)
def test_settings(setting: Any) -> None:
    assert setting.help and not setting.help.endswith(".")
    if setting.minimum is not None:
        for value in (setting.minimum, setting.maximum):
            GrabCutParams(**{setting.name: value})
        for value in (setting.minimum - 1, setting.maximum + 1):
            with pytest.raises(OptionError, match=setting.name):
                GrabCutParams(**{setting.name: value})


def test_reach_takes_in_more() -> None:
    image = _scene()[0]
    areas = [_remover(reach=reach).predict_alpha(image).sum() for reach in (0.1, 0.9)]
    assert areas[0] <= areas[1] * 1.02

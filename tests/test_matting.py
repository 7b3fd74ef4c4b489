"""Closed-form matting and multi-level colours, against known mattes and PyMatting's own answers."""

from __future__ import annotations

import sys
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from bgremove.arrays import Alpha, Image, Trimap
from bgremove.errors import ImageError, MissingExtraError, OptionError
from bgremove.matting import closed_form_alpha, multilevel_foreground

Floats = npt.NDArray[Any]


def mixed(alpha: Floats, seed: int = 0) -> tuple[Image, Floats, Floats]:
    """``I = alpha*F + (1 - alpha)*B`` with smooth colours, and F and B in [0, 1]."""
    height, width = alpha.shape
    y, x = np.mgrid[:height, :width] / max(height, width)
    foreground = np.dstack([0.9 - 0.2 * x, 0.55 + 0.2 * y, 0.2 + 0.1 * x])
    background = np.dstack([0.1 + 0.1 * y, 0.3 + 0.2 * x, 0.7 - 0.2 * y])
    noise = np.random.default_rng(seed).normal(0, 1 / 255, (height, width, 3))
    image = alpha[..., None] * foreground + (1 - alpha[..., None]) * background + noise
    return np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8), foreground, background


def band(alpha: Floats, width: int = 5) -> Trimap:
    """Unknown within `width` px of every soft pixel."""
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    trimap = np.full(alpha.shape, 128, np.uint8)
    trimap[cv2.erode((alpha <= 0).astype(np.uint8), kernel) > 0] = 0
    trimap[cv2.erode((alpha >= 1).astype(np.uint8), kernel) > 0] = 255
    return trimap


def disc(height: int = 200, width: int = 240, radius: float = 0.3, soft: float = 12) -> Floats:
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - height / 2, x - width / 2)
    return np.asarray(np.clip((radius * min(height, width) - distance) / soft + 0.5, 0, 1))


def hairy(size: int = 320) -> Floats:
    """A soft disc with thin strands around it."""
    rng = np.random.default_rng(7)
    picture = np.zeros((4 * size, 4 * size), np.uint8)
    centre = 2 * size
    cv2.circle(picture, (centre, centre), size, 255, -1)
    for angle in rng.uniform(0, 2 * np.pi, 160):
        steps = np.linspace(0.8, rng.uniform(1.2, 1.6), 20)
        bend = angle + rng.uniform(-0.4, 0.4) * (steps - 0.8)
        points = centre + size * steps[:, None] * np.column_stack([np.cos(bend), np.sin(bend)])
        cv2.polylines(picture, [np.rint(points).astype(np.int32)], False, 255, 4, cv2.LINE_AA)
    small = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float64) / 255


def error(found: Alpha, alpha: Floats, trimap: Trimap) -> float:
    """Mean absolute difference over the unknown pixels."""
    return float(np.abs(found - alpha)[trimap == 128].mean())


def check(found: Alpha, trimap: Trimap) -> None:
    assert found.dtype == np.float32 and found.shape == trimap.shape
    assert found.min() >= 0 and found.max() <= 1
    assert (found[trimap == 0] == 0).all() and (found[trimap == 255] == 1).all()


def test_soft_disc_is_recovered() -> None:
    alpha = disc()
    image, trimap = mixed(alpha)[0], band(alpha)
    found = closed_form_alpha(image, trimap)
    check(found, trimap)
    assert error(found, alpha, trimap) < 0.006
    assert np.abs(found - alpha).max() < 0.05


def test_agrees_with_pymatting() -> None:
    from pymatting import estimate_alpha_cf

    alpha = disc(90, 70, soft=8)
    image, trimap = mixed(alpha)[0], band(alpha, 3)
    exact = estimate_alpha_cf(image / 255, trimap / 255)
    found = closed_form_alpha(image, trimap)
    assert np.abs(found - exact)[trimap == 128].mean() < 0.005
    assert np.abs(found - exact).max() < 0.05


def test_smallest_pictures_are_solved_exactly() -> None:
    from pymatting import estimate_alpha_cf

    alpha = disc(30, 32, soft=8)
    image, trimap = mixed(alpha)[0], band(alpha, 2)
    exact = estimate_alpha_cf(image / 255, trimap / 255)
    # The difference is the small weight that keeps the system definite.
    assert np.abs(closed_form_alpha(image, trimap) - exact).max() < 2e-3


def test_recorded_error_of_hair() -> None:
    """Fails on a rise of 1 %. PyMatting's exact solution is at 0.00518 on the same picture."""
    alpha = hairy()
    image, trimap = mixed(alpha)[0], band(alpha, 8)
    assert error(closed_form_alpha(image, trimap), alpha, trimap) < 1.01 * 0.00553


def test_tiles_do_not_show() -> None:
    alpha = hairy(420)
    image, trimap = mixed(alpha)[0], band(alpha, 8)
    whole = closed_form_alpha(image, trimap, tile=1024)
    difference = np.abs(closed_form_alpha(image, trimap, tile=64) - whole)
    assert difference.max() < 1 / 255
    assert difference[trimap == 128].mean() < 2e-5


def test_tiles_do_not_show_in_large_pictures() -> None:
    alpha = np.tile(hairy(200), (1, 6))
    image, trimap = mixed(alpha)[0], band(alpha, 8)
    difference = np.abs(
        closed_form_alpha(image, trimap, tile=100) - closed_form_alpha(image, trimap, tile=1024)
    )
    assert difference.max() < 1 / 255


def test_same_answer_every_time() -> None:
    alpha = hairy(300)
    image, trimap = mixed(alpha)[0], band(alpha, 8)
    first, second = (closed_form_alpha(image, trimap, tile=64) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 2), (2, 2), (1, 300), (300, 2), (5, 400), (3, 3), (33, 31), (257, 259)]
)
def test_any_size(shape: tuple[int, int]) -> None:
    """Left third background, right third foreground, unknown between: a ramp."""
    height, width = shape
    alpha = np.broadcast_to(np.clip(np.linspace(-1, 2, width), 0, 1), shape)
    trimap = np.full(shape, 128, np.uint8)
    trimap[alpha == 0], trimap[alpha == 1] = 0, 255
    found = closed_form_alpha(mixed(alpha)[0], trimap)
    check(found, trimap)
    if width > 100:
        assert error(found, alpha, trimap) < 0.05


def test_nothing_unknown() -> None:
    trimap = band(disc())
    trimap[trimap == 128] = 255
    found = closed_form_alpha(mixed(disc())[0], trimap)
    np.testing.assert_array_equal(found, (trimap == 255).astype(np.float32))


def test_nothing_known() -> None:
    image = mixed(disc(20, 30))[0]
    trimap = np.full(image.shape[:2], 128, np.uint8)
    assert (closed_form_alpha(image, trimap) == 0.5).all()
    initial = disc(20, 30).astype(np.float32)
    found = closed_form_alpha(image, trimap, initial=initial)
    np.testing.assert_array_equal(found, initial)
    assert found is not initial


@pytest.mark.parametrize("known, value", [(0, 0.0), (255, 1.0)])
def test_one_side_known(known: int, value: float) -> None:
    image = mixed(disc(100, 120))[0]
    trimap = np.full(image.shape[:2], 128, np.uint8)
    trimap[40:60, 40:60] = known
    found = closed_form_alpha(image, trimap)
    check(found, trimap)
    assert (found == value).all()


def test_bands_at_the_border_and_apart() -> None:
    """A subject cut by the picture's edge, a second one, and a tile that holds no known pixel."""
    alpha = np.maximum(np.roll(disc(400, 500, 0.25, 60), -150, axis=1), np.roll(disc(400, 500, 0.1), 180, 1))
    alpha = np.roll(alpha, -180, axis=0)
    alpha[200:] = np.where(np.arange(500) < 480, alpha[200:], 0)
    image, trimap = mixed(alpha)[0], band(alpha, 6)
    assert (trimap[0] == 128).any()
    found = closed_form_alpha(image, trimap, tile=32)
    check(found, trimap)
    assert error(found, alpha, trimap) < 0.03


def test_flat_colours() -> None:
    """No colour says anything: the band is crossed smoothly, without NaN."""
    trimap = band(disc())
    image = np.full((*trimap.shape, 3), 128, np.uint8)
    found = closed_form_alpha(image, trimap)
    check(found, trimap)


def test_inputs_are_checked() -> None:
    image, trimap = mixed(disc(20, 20))[0], band(disc(20, 20))
    with pytest.raises(ImageError, match="height and width"):
        closed_form_alpha(image, trimap[1:])
    with pytest.raises(ImageError, match="initial must have"):
        closed_form_alpha(image, trimap, initial=np.zeros((2, 2), np.float32))
    with pytest.raises(OptionError, match="epsilon must be above 0"):
        closed_form_alpha(image, trimap, epsilon=0)
    with pytest.raises(OptionError, match="tile must be at least 32"):
        closed_form_alpha(image, trimap, tile=8)


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymatting", None)
    image, alpha = mixed(disc(20, 20))[0], disc(20, 20).astype(np.float32)
    with pytest.raises(MissingExtraError, match=r'pip install "bgremove\[matting\]"'):
        closed_form_alpha(image, band(alpha))
    with pytest.raises(MissingExtraError, match=r'pip install "bgremove\[matting\]"'):
        multilevel_foreground(image, alpha)


def test_multilevel_foreground_matches_pymatting() -> None:
    from pymatting import estimate_foreground_ml

    alpha = hairy(700).astype(np.float32)
    image, foreground, _ = mixed(alpha)
    soft = (alpha > 0) & (alpha < 1)
    found = multilevel_foreground(image, alpha)
    whole = estimate_foreground_ml(image.astype(np.float32) / 255, alpha)
    np.testing.assert_array_equal(found[~soft], image[~soft])
    weight = alpha[soft][:, None] * 255
    assert np.mean(weight * np.abs(found / 255 - whole)[soft]) < 1  # grey levels, as composited
    ours, theirs = (np.mean(weight * np.abs(f - foreground)[soft]) for f in (found / 255, whole))
    assert ours < 1.05 * theirs


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (2, 2)])
def test_multilevel_foreground_of_few_pixels(shape: tuple[int, int]) -> None:
    found = multilevel_foreground(np.full((*shape, 3), 90, np.uint8), np.full(shape, 0.5, np.float32))
    assert found.dtype == np.uint8 and found.shape == (*shape, 3)

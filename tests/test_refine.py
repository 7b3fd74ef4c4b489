"""Refinement: each step against what it should do to shapes whose measures are known."""

from __future__ import annotations

import math
import time
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from bgremove import refine as module
from bgremove import tiles
from bgremove.arrays import Alpha, Image
from bgremove.errors import ImageError, OptionError
from bgremove.refine import (
    RefineParams,
    clean_regions,
    edge_radius,
    guided_filter,
    refine_alpha,
    sharpen_edges,
    stretch_levels,
)
from tests.conftest import Example, soft_disc

RAW: dict[str, Any] = {"background_threshold": 0, "foreground_threshold": 255, "edges": "none"}


def raw(**values: Any) -> RefineParams:
    """Nothing but what `values` say."""
    return RefineParams(**(RAW | values))


def blocks(*boxes: tuple[int, int, int, int], shape: tuple[int, int] = (100, 120)) -> Alpha:
    """Alpha 1 in boxes of top, bottom, left, right."""
    alpha = np.zeros(shape, np.float32)
    for top, bottom, left, right in boxes:
        alpha[top:bottom, left:right] = 1
    return alpha


def refined(alpha: Alpha, **values: Any) -> Alpha:
    """On a flat photo, in which there is nothing to see."""
    result = refine_alpha(np.full((*alpha.shape, 3), 90, np.uint8), alpha, raw(**values))
    assert result.dtype == np.float32 and result.shape == alpha.shape
    assert result.min() >= 0 and result.max() <= 1
    return result


# Thresholds -----------------------------------------------------------------------------------------


def test_thresholds_are_exact() -> None:
    """System E's: 0 up to 15 of 255, 1 from 240, linear between."""
    levels = (np.arange(256)[None] / 255).astype(np.float32)
    made = refine_alpha(np.zeros((1, 256, 3), np.uint8), levels, RefineParams(edges="none"))[0]
    expected = np.clip((np.arange(256) - 15) / 225, 0, 1)
    np.testing.assert_allclose(made, expected, atol=1e-6)
    assert made[15] == pytest.approx(0, abs=1e-7) and made[16] > 0.004
    assert made[240] == pytest.approx(1, abs=1e-6) and made[239] < 0.996


@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 1), (254, 255), (100, 101), (40, 200)])
def test_any_thresholds_in_order(low: int, high: int) -> None:
    levels = (np.arange(256)[None] / 255).astype(np.float32)
    expected = np.clip((np.arange(256) - low) / (high - low), 0, 1)
    stretch_levels(levels, low, high)
    np.testing.assert_allclose(levels[0], expected, atol=2e-5)


def test_the_raw_preset_changes_nothing(photo: Image) -> None:
    alpha = np.random.default_rng(0).random(photo.shape[:2]).astype(np.float32)
    alpha[0, :2] = (0, 1)
    made = refine_alpha(photo, alpha, RefineParams.preset("raw"))
    np.testing.assert_allclose(made, alpha, atol=1e-7)
    assert made is not alpha


@pytest.mark.parametrize(("low", "high"), [(20, 20), (30, 20), (254, 1)])
def test_thresholds_out_of_order_are_refused(low: int, high: int) -> None:
    told = f"background_threshold must be below foreground_threshold; got {low} and {high}"
    with pytest.raises(OptionError, match=told):
        RefineParams(background_threshold=low, foreground_threshold=high)


# Regions --------------------------------------------------------------------------------------------


def test_only_the_largest_part_is_kept() -> None:
    alpha = blocks((10, 40, 10, 40), (60, 90, 60, 100), (5, 8, 100, 103))
    np.testing.assert_array_equal(refined(alpha, keep_largest=True), blocks((60, 90, 60, 100)))


def test_parts_that_touch_at_a_corner_are_one() -> None:
    alpha = blocks((10, 20, 10, 20), (20, 30, 20, 30), (50, 62, 50, 62))
    np.testing.assert_array_equal(
        refined(alpha, keep_largest=True), blocks((10, 20, 10, 20), (20, 30, 20, 30))
    )


def test_soft_edges_go_with_their_part() -> None:
    soft = cv2.GaussianBlur(blocks((10, 40, 10, 40), (60, 80, 70, 90)), (0, 0), 3)
    made = refined(soft, keep_largest=True)
    np.testing.assert_allclose(made[:45, :45], soft[:45, :45], atol=1e-6)
    assert not made[62:, 60:].any()


def test_parts_below_an_area_are_dropped() -> None:
    alpha = blocks((10, 40, 10, 40), (60, 70, 60, 70), (90, 93, 90, 93))  # 900, 100 and 9 of 12000
    for share, kept in [(0, 3), (9 / 12000, 3), (10 / 12000, 2), (101 / 12000, 1), (0.5, 0)]:
        made = refined(alpha, min_region=share)
        assert cv2.connectedComponents((made > 0.5).astype(np.uint8))[0] - 1 == kept


def ring() -> Alpha:
    alpha = blocks((20, 80, 20, 80))
    alpha[40:50, 40:50] = 0  # 100 px of 12000
    alpha[60:62, 60:62] = 0  # 4 px
    return alpha


@pytest.mark.parametrize(
    ("share", "left"), [(0.0, 104), (4 / 12000, 104), (5 / 12000, 100), (0.02, 0), (1.0, 0)]
)
def test_holes_below_an_area_are_filled(share: float, left: int) -> None:
    made = refined(ring(), fill_holes=share)
    assert (made[20:80, 20:80] == 0).sum() == left
    assert not made[:20].any()


def test_a_bay_at_the_pictures_border_is_no_hole() -> None:
    alpha = blocks((0, 60, 30, 90))
    alpha[0:20, 50:60] = 0
    alpha[30:40, 50:60] = 0
    made = refined(alpha, fill_holes=1)
    assert not made[0:20, 50:60].any()
    assert made[30:40, 50:60].all()


@pytest.mark.parametrize("size", [1, 2, 5])
def test_opening_removes_what_is_thinner_than_twice_its_size(size: int) -> None:
    thin, thick = 2 * size, 2 * size + 1
    alpha = blocks((10, 10 + thin, 10, 60), (50, 50 + thick, 10, 60))
    made = refined(alpha, opening=size)
    assert not made[:40].any()
    np.testing.assert_array_equal(made[50 : 50 + thick, 20:50], 1)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_closing_closes_gaps_narrower_than_twice_its_size(size: int) -> None:
    for gap, closed in [(2 * size, True), (2 * size + 1, False)]:
        alpha = blocks((20, 80, 20, 50), (20, 80, 50 + gap, 100))
        assert (refined(alpha, closing=size)[30:70, 50 : 50 + gap].min() == 1) == closed


@pytest.mark.parametrize("grow", [-7, -1, 0, 1, 7])
def test_growing_moves_the_border_by_pixels(grow: int) -> None:
    made = refined(blocks((30, 70, 30, 90)), grow=grow)
    assert made[50].sum() == 60 + 2 * grow
    assert made[:, 60].sum() == 40 + 2 * grow


def test_growing_a_disc_is_round() -> None:
    disc = (soft_disc(edge=0.01).alpha > 0.5).astype(np.float32)
    area = refined(disc, grow=10).sum()
    assert area == pytest.approx(np.pi * 60**2, rel=0.02)


@pytest.mark.parametrize("sigma", [0.8, 3.3, 10.0])
def test_feathering_is_a_gaussian(sigma: float) -> None:
    made = refined(blocks((0, 100, 0, 60)), feather=sigma)
    for offset in (0.5, 1.5, sigma):
        column = int(59.5 + offset)
        exact = 0.5 * (1 - math.erf((column - 59.5) / sigma / 2**0.5))
        assert made[50, column] == pytest.approx(exact, abs=0.02)
    assert made.mean() == pytest.approx(0.5, abs=1e-3)


def test_a_full_matte_stays_full_however_it_is_feathered() -> None:
    """Filter weights that add up to 1.0000001 would make a matte that nothing downstream accepts."""
    for sigma in (0.3, 0.8, 1.7, 3.3, 5.5, 7.0, 20.0, 100.0):
        made = refined(np.ones((150, 200), np.float32), feather=sigma)
        assert made.min() > 0.9999


@pytest.mark.parametrize("name", [None, *RefineParams.presets])
@pytest.mark.parametrize("shape", [(1, 1), (1, 60), (60, 1), (5, 4), (50, 70)])
@pytest.mark.parametrize("value", [0.0, 0.03, 0.5, 1.0])
def test_flat_mattes_and_odd_shapes(name: str | None, shape: tuple[int, int], value: float) -> None:
    params = RefineParams.preset(name) if name else RefineParams()
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    alpha = np.full(shape, value, np.float32)
    made = refine_alpha(image, alpha, params)
    assert made.shape == shape and made.dtype == np.float32
    assert 0 <= made.min() and made.max() <= 1
    np.testing.assert_array_equal(alpha, np.float32(value))
    if value in (0, 1):
        assert np.abs(made - value).max() < 1e-6


def test_everything_at_once_keeps_nothing_empty() -> None:
    everything = RefineParams(
        keep_largest=True, min_region=0.1, fill_holes=1, opening=3, closing=3, grow=20, feather=9
    )
    empty = np.zeros((80, 90), np.float32)
    assert not refine_alpha(np.full((80, 90, 3), 9, np.uint8), empty, everything).any()


def test_the_largest_settings_are_survived(photo: Image, disc: Example) -> None:
    params = RefineParams(opening=100, closing=100, grow=100, edge_radius=400, feather=100)
    made = refine_alpha(disc.image, disc.alpha, params)
    assert np.isfinite(made).all()
    made = refine_alpha(disc.image, disc.alpha, RefineParams(edge_smoothness=1e-7, edge_radius=1))
    assert np.isfinite(made).all()
    assert np.abs(made - disc.alpha).mean() < 0.05


# Edges ----------------------------------------------------------------------------------------------


def naive_guided_filter(guide: Image, values: Alpha, radius: int, epsilon: float) -> npt.NDArray[np.float64]:
    """Eqs. 19 to 21 of He, Sun and Tang (2013), window by window."""
    height, width = values.shape
    colours = np.pad(guide / 255.0, ((radius, radius), (radius, radius), (0, 0)), "symmetric")
    targets = np.pad(values.astype(float), radius, "symmetric")
    a, b = np.zeros((height, width, 3)), np.zeros((height, width))
    side = 2 * radius + 1
    for row in range(height):
        for column in range(width):
            x = colours[row : row + side, column : column + side].reshape(-1, 3)
            y = targets[row : row + side, column : column + side].ravel()
            covariance = np.cov(x.T, bias=True) + epsilon * np.eye(3)
            a[row, column] = np.linalg.solve(covariance, (x * y[:, None]).mean(0) - x.mean(0) * y.mean())
            b[row, column] = y.mean() - a[row, column] @ x.mean(0)
    around_a = np.pad(a, ((radius, radius), (radius, radius), (0, 0)), "symmetric")
    around_b = np.pad(b, radius, "symmetric")
    result = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            mean_a = around_a[row : row + side, column : column + side].reshape(-1, 3).mean(0)
            mean_b = around_b[row : row + side, column : column + side].mean()
            result[row, column] = mean_a @ guide[row, column] / 255.0 + mean_b
    return result


@pytest.mark.parametrize("radius", [1, 3, 6])
@pytest.mark.parametrize("epsilon", [1e-4, 1e-2])
def test_the_guided_filter_is_the_papers(radius: int, epsilon: float, photo: Image) -> None:
    guide = photo[40:64, 60:90]
    values = np.random.default_rng(0).random(guide.shape[:2]).astype(np.float32)
    ours = guided_filter(guide, values, radius, epsilon)
    atol = 2e-4 if radius == 1 else 1e-4  # nine pixels can be so alike that float32 tells less
    np.testing.assert_allclose(ours, naive_guided_filter(guide, values, radius, epsilon), atol=atol)


def test_the_fast_filter_is_near_the_full_one() -> None:
    example = soft_disc(240, 300, radius=80, edge=6)
    rough = cv2.GaussianBlur(example.alpha, (0, 0), 5)
    full = guided_filter(example.image, rough, 16, 1e-4)
    fast = guided_filter(example.image, rough, 16, 1e-4, subsample=4)
    assert np.abs(full - fast).mean() < 0.01


def test_values_that_follow_the_guide_come_back() -> None:
    guide = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    values = (guide @ np.array([0.2, 0.5, 0.3]) / 255).astype(np.float32)
    np.testing.assert_allclose(guided_filter(guide, values, 5, 1e-7), values, atol=1e-3)


def test_on_a_flat_guide_it_is_a_mean() -> None:
    values = np.random.default_rng(0).random((40, 50)).astype(np.float32)
    made = guided_filter(np.full((40, 50, 3), 255, np.uint8), values, 2, 1e-4)
    twice = cv2.blur(
        cv2.blur(values, (5, 5), borderType=cv2.BORDER_REFLECT), (5, 5), borderType=cv2.BORDER_REFLECT
    )
    np.testing.assert_allclose(made, twice, atol=2e-3)


def degraded(example: Example, kind: str) -> Alpha:
    """What a remover working at an eighth of the size, or one that is off by pixels, would give."""
    height, width = example.alpha.shape
    if kind == "small":
        small = cv2.resize(example.alpha, (width // 8, height // 8), interpolation=cv2.INTER_AREA)
        enlarged: Alpha = np.clip(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)
        return enlarged
    hard = (example.alpha > 0.5).astype(np.float32)
    if kind == "hard":
        return hard
    return np.roll(hard, (3, 4), axis=(0, 1))


@pytest.mark.parametrize(("kind", "recorded"), [("small", 0.3238), ("hard", 1.4577), ("shifted", 11.1864)])
def test_guided_edges_improve_a_rough_matte(kind: str, recorded: float) -> None:
    """`recorded` is the mean error in thousandths when this was written; it may not rise by 1 %."""
    example = soft_disc(320, 400, radius=110, edge=6)
    rough = degraded(example, kind)
    before = 1000 * float(np.abs(rough - example.alpha).mean())
    made = refine_alpha(example.image, rough, RefineParams(), grain=8)
    after = 1000 * float(np.abs(made - example.alpha).mean())
    print(f"{kind}: {before:.4f} before, {after:.4f} after")
    assert after < 0.8 * before
    assert after <= 1.01 * recorded


def test_far_from_the_border_nothing_changes() -> None:
    example = soft_disc(320, 400, radius=110, edge=6)
    made = sharpen_edges(example.image, example.alpha, raw(edges="guided", edge_radius=5))
    rows, columns = np.mgrid[:320, :400]
    distance = np.hypot(rows - 159.5, columns - 199.5)
    far = np.abs(distance - 110) > 3 + 5 + 2
    np.testing.assert_array_equal(made[far], example.alpha[far])


def test_tiles_of_the_guided_filter_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    example = soft_disc(1100, 1300, radius=450, edge=10)
    rough = degraded(example, "small")
    params = raw(edges="guided", edge_radius=7)
    tiled = sharpen_edges(example.image, rough, params)
    each_tile = tiles.each_tile

    def whole(work: Any, needed: npt.NDArray[np.bool_], *, margin: int, size: int = 0) -> None:
        each_tile(work, needed, size=10_000, margin=margin)

    monkeypatch.setattr(module, "each_tile", whole)
    assert np.abs(tiled - sharpen_edges(example.image, rough, params)).max() < 2e-3


@pytest.mark.parametrize(
    ("shape", "grain", "radius"),
    [
        ((100, 200), 1, 2),
        ((100, 200), 10, 15),
        ((3000, 4000), 1, 10),
        ((3000, 4000), 12.5, 19),
        ((9, 9), 1e9, 400),
    ],
)
def test_the_automatic_radius(shape: tuple[int, int], grain: float, radius: int) -> None:
    assert edge_radius(np.zeros(shape, np.float32), grain) == radius


def test_refusals(disc: Example) -> None:
    with pytest.raises(ImageError, match="height and width"):
        refine_alpha(disc.image, disc.alpha[:50])
    with pytest.raises(ImageError, match="within 0 and 1"):
        refine_alpha(disc.image, disc.alpha * np.float32("nan"))
    with pytest.raises(ImageError, match="image must be uint8"):
        refine_alpha(disc.image.astype(float), disc.alpha)


def test_clean_regions_leaves_its_input() -> None:
    alpha = ring()
    clean_regions(alpha, RefineParams(keep_largest=True, fill_holes=1, opening=2, closing=2, grow=3))
    np.testing.assert_array_equal(alpha, ring())


def test_a_thin_strip_takes_no_longer_than_its_pixels() -> None:
    """Windows wider than the picture made a row of 20,000 pixels take minutes."""
    image = np.random.default_rng(0).integers(0, 256, (1, 20_000, 3), np.uint8)
    alpha = np.tile(np.linspace(0, 1, 100, dtype=np.float32), 200)[None]
    began = time.process_time()
    refined = refine_alpha(image, alpha, grain=200)
    assert time.process_time() - began < 4
    assert refined.shape == alpha.shape

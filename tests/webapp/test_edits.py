from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest

from bgremove.arrays import Alpha
from bgremove.webapp.edits import Stroke, apply_edits, draw_stroke, parse_edits
from bgremove.webapp.errors import TooSlow, WrongRequest
from tests.conftest import soft_disc


def naive(stroke: Stroke, height: int, width: int) -> Alpha:
    """The formula, pixel by pixel."""
    result = np.zeros((height, width), np.float32)
    radius, points = stroke.size / 2, stroke.points
    lines = list(zip(points, points[1:], strict=False)) or [(points[0], points[0])]
    for row in range(height):
        for column in range(width):
            x, y = column + 0.5, row + 0.5
            best = math.inf
            for (ax, ay), (bx, by) in lines:
                dx, dy = bx - ax, by - ay
                length = dx * dx + dy * dy
                t = 0.0 if length == 0 else min(1.0, max(0.0, ((x - ax) * dx + (y - ay) * dy) / length))
                best = min(best, math.hypot(x - ax - t * dx, y - ay - t * dy))
            if stroke.softness == 0:
                result[row, column] = best <= radius
            else:
                result[row, column] = min(1.0, max(0.0, (radius - best) / (stroke.softness * radius)))
    return result


STROKES = [
    Stroke("erase", 10, 0.5, ((20.0, 15.0),)),
    Stroke("erase", 9, 1.0, ((5.0, 5.0), (35.0, 20.0))),
    Stroke("erase", 6, 0.0, ((5.0, 25.0), (20.0, 4.0), (38.0, 25.0))),
    Stroke("erase", 14, 0.3, ((-8.0, 3.0), (3.0, -8.0), (50.0, 40.0))),
    Stroke("erase", 8, 0.7, ((12.0, 12.0), (12.0, 12.0), (12.0, 12.0))),
]


@pytest.mark.parametrize("stroke", STROKES)
def test_a_stroke_is_what_the_formula_says(stroke: Stroke) -> None:
    window, strength = draw_stroke(stroke, 30, 40)
    whole = np.zeros((30, 40), np.float32)
    whole[window] = strength
    np.testing.assert_allclose(whole, naive(stroke, 30, 40), atol=0.02)
    assert whole.max() > 0.3


def test_many_points_of_a_hand_are_as_few() -> None:
    """A curve of a thousand points, drawn as the polyline that it is to a fifth of a pixel."""
    angles = np.linspace(0, 3, 1000)
    points = tuple((20 + 12 * math.cos(a), 15 + 10 * math.sin(a)) for a in angles)
    window, strength = draw_stroke(Stroke("erase", 8, 1.0, points), 30, 40)
    whole = np.zeros((30, 40), np.float32)
    whole[window] = strength
    thin = Stroke("erase", 8, 1.0, points[::27])
    np.testing.assert_allclose(whole, naive(thin, 30, 40), atol=0.1)


@pytest.mark.parametrize("softness", [0.05, 0.6, 1.0])
def test_a_wide_brush_and_a_long_line(softness: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too much to be worked out exactly comes out nearly the same."""
    rng = np.random.default_rng(1)
    points = tuple((float(x), float(y)) for x, y in rng.uniform(-300, 1500, (40, 2)))
    stroke = Stroke("erase", 500, softness, points[:8])
    window, exact = draw_stroke(stroke, 900, 1300)
    monkeypatch.setattr("bgremove.webapp.edits._EXACT", 0)
    same, near = draw_stroke(stroke, 900, 1300)
    assert same == window
    difference = np.abs(near - exact)
    assert np.percentile(difference, 99) < 0.02 / softness and difference.mean() < 0.01
    assert 0.1 < exact.mean() < 0.99


def test_strokes_that_would_take_for_ever() -> None:
    """A brush as large as the picture along twenty thousand points."""
    rng = np.random.default_rng(2)
    points = tuple((float(x), float(y)) for x, y in rng.uniform(0, 3000, (19_000, 2)))
    began = time.monotonic()
    window, strength = draw_stroke(Stroke("erase", 6000, 0.5, points), 3000, 3000)
    assert strength.min() == 1 and strength.shape == (3000, 3000)
    assert time.monotonic() - began < 10
    alpha, image = np.ones((100, 100), np.float32), np.zeros((100, 100, 3), np.uint8)
    with pytest.raises(TooSlow, match="fewer"):
        apply_edits(image, alpha, [Stroke("erase", 50, 0.5, ((5.0, 5.0),))] * 2, seconds=-1)


def test_outside_the_picture_nothing_is_drawn() -> None:
    alpha = np.full((20, 20), 0.5, np.float32)
    image = np.zeros((20, 20, 3), np.uint8)
    for points in (((-500.0, -500.0),), ((900.0, 4.0), (1000.0, 8.0))):
        same = apply_edits(image, alpha, [Stroke("erase", 30, 0.5, points)])
        np.testing.assert_array_equal(same, alpha)


def test_erase_and_restore() -> None:
    alpha = np.linspace(0, 1, 1200, dtype=np.float32).reshape(30, 40)
    image = np.zeros((30, 40, 3), np.uint8)
    line = ((8.0, 8.0), (30.0, 22.0))
    s = naive(Stroke("erase", 12, 0.5, line), 30, 40)
    erased = apply_edits(image, alpha, [Stroke("erase", 12, 0.5, line)])
    restored = apply_edits(image, alpha, [Stroke("restore", 12, 0.5, line)])
    np.testing.assert_allclose(erased, alpha * (1 - s), atol=0.02)
    np.testing.assert_allclose(restored, alpha + (1 - alpha) * s, atol=0.02)
    both = apply_edits(image, alpha, [Stroke("erase", 12, 0.5, line), Stroke("restore", 12, 0.5, line)])
    assert both[15, 19] == 1  # the later one is on top
    assert alpha[15, 19] < 1


@pytest.mark.parametrize("without_pymatting", [False, True])
def test_refine_finds_the_edge_that_was_brushed(
    without_pymatting: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    disc = soft_disc(edge=2.0)
    wrong = disc.alpha.copy()
    wrong[70:95, 120:175] = 1  # a piece of background is taken for the subject
    if without_pymatting:
        import bgremove.matting
        from bgremove.errors import MissingExtraError

        def missing(*_: Any, **__: Any) -> None:
            raise MissingExtraError("no PyMatting")

        monkeypatch.setattr(bgremove.matting, "closed_form_alpha", missing)
    stroke = Stroke("refine", 60, 0.1, ((130.0, 82.0), (172.0, 82.0)))
    better = apply_edits(disc.image, wrong, [stroke])
    before, after = np.abs(wrong - disc.alpha).mean(), np.abs(better - disc.alpha).mean()
    assert after < 0.15 * before
    far = np.s_[:, :90]
    np.testing.assert_array_equal(better[far], wrong[far])


def test_refine_with_nothing_to_learn_from_changes_nothing() -> None:
    alpha = np.zeros((60, 60), np.float32)
    image = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    same = apply_edits(image, alpha, [Stroke("refine", 20, 0.5, ((30.0, 30.0),))])
    np.testing.assert_array_equal(same, alpha)


def test_refine_of_too_much_is_refused() -> None:
    alpha = np.zeros((2200, 2200), np.float32)
    image = np.zeros((2200, 2200, 3), np.uint8)
    with pytest.raises(WrongRequest, match="brush smaller"):
        apply_edits(image, alpha, [Stroke("refine", 2300, 0.5, ((1100.0, 1100.0),))])


GOOD = {"mode": "erase", "size": 10, "softness": 0.5, "points": [[1, 2], [3.5, 4]]}


def test_edits_come_from_json() -> None:
    assert parse_edits(None) == ()
    assert parse_edits([GOOD]) == (Stroke("erase", 10.0, 0.5, ((1.0, 2.0), (3.5, 4.0))),)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mode": "paint"}, "mode must be one of erase, restore, refine; got 'paint'"),
        ({"mode": ["erase"]}, "mode must be one of"),
        ({"size": 0}, "size must be a number from 0.1"),
        ({"size": "10"}, "size must be a number"),
        ({"size": True}, "size must be a number"),
        ({"size": float("nan")}, "size must be a number"),
        ({"softness": 2}, "softness must be a number from 0 to 1"),
        ({"points": []}, "points must be a list of 1 to"),
        ({"points": [[1]]}, "points of two numbers"),
        ({"points": [[1, None]]}, "points must be a number"),
        ({"points": [[1, float("inf")]]}, "points must be a number"),
        ({"points": "12"}, "points must be a list"),
    ],
)
def test_wrong_edits_are_named(change: dict[str, Any], says: str) -> None:
    with pytest.raises(WrongRequest, match=says):
        parse_edits([GOOD, {**GOOD, **change}])


def test_too_many_edits_are_refused() -> None:
    with pytest.raises(WrongRequest, match="at most 1000 strokes"):
        parse_edits([GOOD] * 1001)
    with pytest.raises(WrongRequest, match="at most 20000 points"):
        parse_edits([{**GOOD, "points": [[1, 1]] * 15000}] * 2)
    with pytest.raises(WrongRequest, match="list"):
        parse_edits({"edits": 1})
    with pytest.raises(WrongRequest, match="object"):
        parse_edits(["erase"])

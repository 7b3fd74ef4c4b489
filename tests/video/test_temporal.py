"""Steady mattes: less noise, nothing dragged along, nothing of another scene."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import cast

import cv2
import numpy as np
import pytest

from bgremove.arrays import Alpha, Image
from bgremove.errors import ImageError, OptionError
from bgremove.video.temporal import SceneCuts, Smoother, SmoothParams

SIZE = (120, 160)


def wall(seed: int = 0, light: int = 90) -> Image:
    """A background with something to see in it."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(light - 60, light + 60, (15, 20, 3)).astype(np.uint8)
    return cast(Image, cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC))


def disc(at: float, radius: float = 22, row: float = 60) -> Alpha:
    """A soft disc whose middle is in column `at`."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    alpha: Alpha = np.clip((radius - np.hypot(rows - row, columns - at)) / 2 + 0.5, 0, 1).astype(np.float32)
    return alpha


def before(background: Image, alpha: Alpha, at: float) -> Image:
    """A patterned disc over `background`; the pattern moves with it."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    tone = 205 + 25 * np.sin((columns - at) / 4) * np.cos(rows / 5)
    subject = np.dstack([tone, tone * 0.8, tone * 0.3])
    return np.rint(background + alpha[..., None] * (subject - background)).astype(np.uint8)


def moving(frames: int = 24, speed: float = 3.0) -> Iterator[tuple[Image, Alpha]]:
    """A disc on its way to the right, and its true alpha."""
    background = wall()
    for number in range(frames):
        at = 35 + speed * number
        alpha = disc(at)
        yield before(background, alpha, at), alpha


def noisy(alpha: Alpha, rng: np.random.Generator) -> Alpha:
    """What an unsteady network would say: patches come and go, edges tremble."""
    patches = cv2.resize(rng.normal(0, 0.35, (9, 12)).astype(np.float32), SIZE[::-1])
    return cast(Alpha, np.clip(alpha + patches, 0, 1).astype(np.float32))


def error(one: Alpha, other: Alpha) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.square(one - other).mean()))


def test_noise_is_smoothed_on_a_moving_disc() -> None:
    rng, smoother = np.random.default_rng(3), Smoother()
    raw: list[Alpha] = []
    steady: list[Alpha] = []
    truths: list[Alpha] = []
    for number, (image, alpha) in enumerate(moving()):
        unsteady = noisy(alpha, rng)
        found, _ = smoother.step(image, unsteady)
        if number >= 8:
            for kept, one in ((raw, unsteady), (steady, found), (truths, alpha)):
                kept.append(one)
    wrong = [np.mean([error(a, t) for a, t in zip(m, truths, strict=True)]) for m in (raw, steady)]
    assert wrong[1] < 0.6 * wrong[0]

    def flicker(mattes: list[Alpha]) -> float:
        changes = zip(pairwise(mattes), pairwise(truths), strict=True)
        return float(np.mean([np.abs(b - a)[s == t].mean() for (a, b), (s, t) in changes]))

    assert flicker(steady) < 0.4 * flicker(raw)


@pytest.mark.parametrize("speed", [0, 2, 5, 9])
def test_what_is_right_is_not_dragged(speed: float) -> None:
    smoother = Smoother()
    for image, alpha in moving(12, speed):
        steady, _ = smoother.step(image, alpha)
    lag = disc(35 + speed * 10)  # what it would be if it were kept as it was
    assert error(steady, alpha) < max(0.001, 0.15 * error(lag, alpha))
    trail = disc(35 + speed * 11, radius=26) == 0
    assert steady[trail].max(initial=0) < 0.25


def test_a_running_mean_drags() -> None:
    """What the motion is followed for."""
    errors = {}
    for smoothing in ("exponential", "motion"):
        smoother = Smoother(SmoothParams(smoothing=smoothing, steadiness=0.8))
        for image, alpha in moving(12, 5):
            steady, _ = smoother.step(image, alpha)
        errors[smoothing] = error(steady, alpha)
    assert errors["motion"] < errors["exponential"] / 5


@pytest.mark.parametrize("lost", [True, False])
def test_one_wrong_frame_is_put_right(lost: bool) -> None:
    smoother = Smoother()
    for number, (image, alpha) in enumerate(moving(10)):
        wrong = np.zeros_like(alpha) if lost else np.maximum(alpha, disc(130, 20, row=25))
        steady, _ = smoother.step(image, wrong if number == 9 else alpha)
    assert error(wrong, alpha) > 0.05
    assert error(steady, alpha) < 0.25 * error(wrong, alpha)


@pytest.mark.parametrize("more", [True, False])
def test_a_network_that_has_changed_its_mind_is_believed(more: bool) -> None:
    smoother, second = Smoother(), disc(130, 20, row=25)
    for number, (image, alpha) in enumerate(moving(45, 0)):
        both = np.maximum(alpha, second)
        now = both if (number >= 20) == more else alpha
        steady, _ = smoother.step(image, now)
        if number == 20 + (8 if not more else 20):
            assert error(steady, now) < 0.05
    assert error(steady, now) < 0.01


def test_a_subject_that_jumps_leaves_nothing() -> None:
    background, smoother = wall(), Smoother(SmoothParams(scene_threshold=1))
    for at in (35, 35, 35, 120):
        alpha = disc(at)
        steady, new = smoother.step(before(background, alpha, at), alpha)
    assert not new
    assert steady[disc(35, 16) == 1].mean() < 0.15  # the wall is seen there again
    assert steady[disc(120, 18) == 1].min() > 0.5
    for _ in range(8):
        steady, _ = smoother.step(before(background, alpha, at), alpha)
    assert (steady - alpha).max() < 0.05


def test_nothing_of_the_scene_before_is_left() -> None:
    smoother = Smoother()
    for image, alpha in moving(6):
        steady, new = smoother.step(image, alpha)
    assert not new
    other, alpha = wall(7, light=180), disc(40, 12, row=95)
    steady, new = smoother.step(other, alpha)
    assert new
    np.testing.assert_array_equal(steady, alpha)
    steady, new = smoother.step(other, alpha)
    assert not new
    np.testing.assert_allclose(steady, alpha, atol=1e-6)


def test_scenes_begin_where_they_do() -> None:
    cuts, found = SceneCuts(), []
    frames = [image for image, _ in moving(8)]
    frames += [np.roll(wall(5), 4 * n, axis=1) for n in range(8)]  # panned
    last = frames[-1] * 0.7
    frames += [np.clip(last * (1 + 0.1 * n), 0, 255).astype(np.uint8) for n in range(8)]  # lights go on
    frames += [np.zeros_like(wall()), wall(9)]  # black, then something else
    for image in frames:
        found.append(cuts.is_new(image))
    assert [number for number, new in enumerate(found) if new] == [0, 8, 24, 25]


def test_a_threshold_of_one_finds_none() -> None:
    cuts = SceneCuts(SmoothParams(scene_threshold=1))
    assert [cuts.is_new(image) for image in (wall(1), wall(2) // 8, 255 - wall(3))] == [True, False, False]


@pytest.mark.parametrize("smoothing", ["motion", "exponential", "none"])
def test_any_sizes_one_after_the_other(smoothing: str) -> None:
    smoother = Smoother(SmoothParams(smoothing=smoothing))
    rng = np.random.default_rng(0)
    for size in [(1, 1), (1, 40), (40, 1), (7, 9), (512, 3), (64, 64), (288, 512)]:
        image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        alpha = rng.random(size, dtype=np.float32)
        for _ in range(2):
            steady, _ = smoother.step(image, alpha)
            assert steady.dtype == np.float32 and steady.shape == size
            assert 0 <= steady.min() and steady.max() <= 1
            np.testing.assert_allclose(steady, alpha, atol=1e-5)  # nothing moves, nothing changes


def test_what_is_given_stays_as_it_is() -> None:
    smoother, rng = Smoother(), np.random.default_rng(2)
    for image, alpha in moving(4):
        given = noisy(alpha, rng)
        kept, seen = given.copy(), image.copy()
        smoother.step(image, given)
        np.testing.assert_array_equal(given, kept)
        np.testing.assert_array_equal(image, seen)


def test_no_smoothing_gives_back_what_it_got() -> None:
    for params in (SmoothParams(smoothing="none"), SmoothParams(steadiness=0)):
        smoother = Smoother(params)
        for image, alpha in moving(3):
            assert smoother.step(image, alpha)[0] is alpha


def test_a_flat_video_is_one_scene() -> None:
    """Nothing to follow: no motion is made up, no warning comes."""
    smoother = Smoother()
    image, news = np.full((*SIZE, 3), 128, np.uint8), []
    for number in range(6):
        alpha = disc(80) * np.float32(0.8 + 0.2 * (number % 2))
        steady, new = smoother.step(image, alpha)
        news.append(new)
    assert news == [True] + [False] * 5
    assert abs(float(steady[60, 80]) - 0.82) < 0.06


def test_sizes_that_differ_are_refused() -> None:
    with pytest.raises(ImageError):
        Smoother().step(wall(), np.zeros((5, 5), np.float32))
    with pytest.raises(OptionError, match=r"steadiness must be a number from 0 to 0.98; got 1"):
        SmoothParams(steadiness=1)

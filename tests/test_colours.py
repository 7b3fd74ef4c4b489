"""The evidence of colours: doubts decided by what is sure, what is sure left alone."""

from __future__ import annotations

import numpy as np
import pytest

from bgremove.colours import colour_evidence, weigh_colours

RED, BLUE = (200, 40, 40), (40, 60, 190)


def scene(doubt: float = 0.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A red subject on blue, right of it a red part and a blue one about which the matte is in doubt."""
    rng = np.random.default_rng(0)
    image = np.empty((64, 96, 3), np.float32)
    image[:] = BLUE
    image[16:48, 16:64] = RED
    image = np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
    truth = np.zeros((64, 96), bool)
    truth[16:48, 16:64] = True
    alpha = np.where(truth, np.float32(0.97), np.float32(0.03))
    alpha[16:48, 48:80] = doubt  # half of it is the subject
    return image, alpha, truth


@pytest.mark.parametrize("doubt", [0.3, 0.5, 0.7])
def test_doubts_go_the_way_of_their_colour(doubt: float) -> None:
    image, alpha, truth = scene(doubt)
    found = weigh_colours(image, alpha, 0.5)
    assert found.dtype == np.float32 and found.shape == alpha.shape
    inside = np.s_[18:46, 50:62], np.s_[18:46, 66:78]  # not the pixels at the border between them
    assert found[inside[0]].min() > doubt + 0.1
    assert found[inside[1]].max() < doubt - 0.1
    assert np.abs(found - truth).mean() < 0.8 * np.abs(alpha - truth).mean()


def test_more_strength_says_more_and_none_nothing() -> None:
    image, alpha, _ = scene()
    weak, strong = (weigh_colours(image, alpha, strength) for strength in (0.2, 1.0))
    assert strong[30, 56] > weak[30, 56] > 0.5 > weak[30, 72] > strong[30, 72]
    assert weigh_colours(image, alpha, 0.0) is alpha


def test_a_colour_that_is_on_both_sides_says_nothing() -> None:
    image, alpha, _ = scene()
    image[:] = np.random.default_rng(1).integers(90, 130, image.shape)
    found = weigh_colours(image, alpha, 1.0)
    assert np.median(np.abs(found - alpha)) < 0.1
    assert ((found > 0.5) == (alpha > 0.5))[:, :40].mean() > 0.98


def test_what_is_surely_so_stays() -> None:
    image, alpha, truth = scene()
    sure = np.where(truth, np.float32(1), np.float32(0))
    sure[20:24, 20:24] = 0  # a hole of the subject's colour
    found = weigh_colours(image, sure, 0.5)
    assert found[20:24, 20:24].max() < 1 / 255
    assert found[30:40, 30:40].min() > 254 / 255


@pytest.mark.parametrize("value", [0.0, 0.4, 0.6, 1.0])
def test_without_a_subject_or_a_background_nothing_is_known(value: float) -> None:
    image, _, _ = scene()
    alpha = np.full(image.shape[:2], value, np.float32)
    assert colour_evidence(image, alpha) is None
    assert weigh_colours(image, alpha, 1.0) is alpha


def test_evidence_is_bounded_and_goes_by_the_side() -> None:
    image, alpha, truth = scene()
    evidence = colour_evidence(image, alpha)
    assert evidence is not None and evidence.dtype == np.float32
    assert np.abs(evidence).max() <= 4 + 1e-5
    assert evidence[truth].mean() > 2 and evidence[~truth].mean() < -2
    swapped = colour_evidence(image, 1 - alpha)
    assert swapped is not None
    np.testing.assert_allclose(swapped, -evidence, atol=1e-3)

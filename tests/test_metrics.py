"""The figures: against PySODMetrics' recorded ones, against naive loops, and where there is nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import astuple

import numpy as np
import numpy.typing as npt
import pytest

from bgremove import metrics
from bgremove.arrays import Alpha, Mask, Trimap
from bgremove.errors import ImageError
from tests.conftest import soft_disc

Error = Callable[[Alpha, Alpha, Trimap | None], float]
SHAPE_FIGURES = (
    metrics.iou,
    metrics.dice,
    metrics.pixel_accuracy,
    metrics.max_f,
    metrics.s_measure,
    metrics.boundary_iou,
)
SOFT_ERRORS: tuple[Error, ...] = (
    metrics.sad,
    metrics.mse,
    metrics.gradient_error,
    metrics.connectivity_error,
)


def rough_case(seed: int, height: int, width: int) -> tuple[Alpha, Alpha]:
    """A rectangle and a noisy guess beside it, in whole numbers so that it is the same everywhere."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    (top, left), (down, right) = (
        rng.integers(0, (height // 2, width // 2)),
        rng.integers(1, (height // 5, width // 5)),
    )
    inside = (rows >= top) & (rows < top + height // 2) & (columns >= left) & (columns < left + width // 2)
    found = np.roll(inside, (down, right), (0, 1))
    alpha = np.where(found, rng.integers(90, 256, found.shape), rng.integers(0, 150, found.shape))
    alpha[0, :2] = 0, 255  # spans all levels, so that stretching it would do nothing
    return (alpha / np.float32(255)).astype(np.float32), inside.astype(np.float32)


# Made with PySODMetrics 1.6.2 (py_sod_metrics) from the same arrays as uint8: FmeasureV2 with its IOU,
# DICE and OverallAccuracy handlers (binary) and its Fmeasure handler (dynamic, beta 0.3), MAE, Smeasure.
ROUGH = [
    ((0, 40, 60), (0.372829418, 0.543154762, 0.744166667, 0.349776144, 0.644347826, 0.541280454)),
    ((1, 61, 33), (0.254947614, 0.406307978, 0.682066567, 0.397110936, 0.428475336, 0.454828094)),
    ((2, 25, 25), (0.359832636, 0.529230769, 0.7552, 0.357559216, 0.632838284, 0.541050056)),
]


@pytest.mark.parametrize(("case", "figures"), ROUGH)
def test_the_figures_of_pysodmetrics(case: tuple[int, int, int], figures: tuple[float, ...]) -> None:
    found = metrics.measure(*rough_case(*case))
    assert astuple(found)[:6] == pytest.approx(figures, abs=2e-8)
    assert found.sad is None, "the truth is not soft"


def test_both_max_f_of_a_set() -> None:
    """PySODMetrics: ``pr`` curves of the set put into F, and its ``fm`` curve."""
    total = metrics.FMeasure()
    for case, figures in ROUGH:
        assert total.add(*rough_case(*case)) == pytest.approx(figures[4], abs=2e-8)
    assert total.max_f == pytest.approx(0.5695139825353372, abs=1e-9)
    assert total.max_mean_f == pytest.approx(0.5685538154127365, abs=1e-9)
    assert total.pictures == 3


def test_a_set_without_pictures() -> None:
    assert metrics.FMeasure().max_f == metrics.FMeasure().max_mean_f == 0


def test_known_overlaps() -> None:
    truth = np.zeros((4, 5), np.float32)
    truth[:2] = 1
    alpha = np.zeros((4, 5), np.float32)
    alpha[1:3] = 0.75
    assert metrics.confusion(alpha, truth) == (5, 5, 5, 5)
    assert metrics.iou(alpha, truth) == pytest.approx(1 / 3)
    assert metrics.dice(alpha, truth) == pytest.approx(1 / 2)
    assert metrics.pixel_accuracy(alpha, truth) == pytest.approx(1 / 2)
    assert metrics.mae(alpha, truth) == pytest.approx((5 * 1 + 5 * 0.25 + 5 * 0.75) / 20)
    assert metrics.iou(alpha, truth, threshold=0.8) == 0, "nothing is above it"
    precision, recall = metrics.precision_recall(alpha, truth)
    assert recall[190] == 0.5 and recall[191] == 0, "0.75 is stored as 191, the threshold at index 190"
    assert precision[190] == 0.5 and precision[191] == 0


def test_f_goes_down_to_nothing_without_a_division() -> None:
    assert metrics.f_measure(np.array([0.0, 1.0]), np.array([0.0, 1.0])).tolist() == [0, 1]


def test_a_perfect_matte() -> None:
    truth = soft_disc().alpha
    found = metrics.measure((truth > 0.5).astype(np.float32), (truth > 0.5).astype(np.float32))
    assert astuple(found)[:7] == pytest.approx((1, 1, 1, 0, 1, 1, 1))
    # OpenCV's filters may round the same picture in two ways, by where it lies in memory.
    assert [error(truth, truth, None) for error in SOFT_ERRORS] == pytest.approx([0] * 4, abs=1e-9)


EMPTY, FULL = np.zeros((20, 30), np.float32), np.ones((20, 30), np.float32)
HALF = np.repeat([[0.0, 1.0]], 20, axis=0).repeat(15, axis=1).astype(np.float32)


@pytest.mark.parametrize(
    ("alpha", "truth", "expected"),
    [  # IoU, Dice, accuracy, max F, S-measure, boundary IoU
        pytest.param(EMPTY, EMPTY, (1, 1, 1, 1, 1, 1), id="both empty"),
        pytest.param(FULL, FULL, (1, 1, 1, 1, 1, 1), id="both full"),
        pytest.param(EMPTY, HALF, (0, 0, 0.5, 0, 0.25 + 7 / 60, 0), id="nothing found"),
        pytest.param(FULL, EMPTY, (0, 0, 0, 0, 0, 0), id="found where nothing is"),
        pytest.param(EMPTY, FULL, (0, 0, 0, 0, 0, 0), id="all missed"),
    ],
)
def test_where_there_is_nothing(alpha: Alpha, truth: Alpha, expected: tuple[float, ...]) -> None:
    found = [figure(alpha, truth) for figure in SHAPE_FIGURES]
    # For nothing against a half, PySODMetrics too gives 0.3667: the background is right, and the parts in
    # the last 7 of 30 columns count as alike because both are flat.
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("level", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("truth", [EMPTY, HALF, FULL, HALF * np.float32(0.5)], ids=lambda t: f"{t.mean()}")
def test_flat_predictions_give_numbers(level: float, truth: Alpha) -> None:
    flat = np.full_like(truth, level)
    values = [one for one in astuple(metrics.measure(flat, truth)) if one is not None]
    values += [error(flat, truth, None) for error in SOFT_ERRORS]
    assert np.isfinite(values).all()
    assert all(0 <= value <= 1 for value in values[:7])


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (2, 2)])
def test_tiny_pictures(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    for truth in (np.zeros(shape), np.ones(shape), rng.integers(0, 2, shape)):
        alpha = rng.random(shape).astype(np.float32)
        values = [figure(alpha, truth.astype(np.float32)) for figure in SHAPE_FIGURES]
        values += [error(alpha, truth.astype(np.float32), None) for error in SOFT_ERRORS]
        assert np.isfinite(values).all()


def test_a_subject_in_the_last_corner() -> None:
    """The parts of the S-measure to its right and below are empty."""
    truth = np.zeros((12, 9), np.float32)
    truth[-1, -1] = 1
    assert metrics.s_measure(truth, truth) == pytest.approx(1)
    assert 0 < metrics.s_measure(truth * np.float32(0.5), truth) < 1


def test_predictions_are_not_stretched() -> None:
    assert metrics.iou(HALF * np.float32(0.4), HALF) == 0
    assert metrics.mae(HALF * np.float32(0.4), HALF) == pytest.approx(0.3)


# Against loops --------------------------------------------------------------------------------------


def naive_border(mask: Mask, width: int) -> Mask:
    """The pixels of a mask with a pixel of something else, or the outside, in the square around them."""
    framed = np.pad(mask, width)
    side = 2 * width + 1
    return np.array(
        [
            [mask[y, x] and not framed[y : y + side, x : x + side].all() for x in range(mask.shape[1])]
            for y in range(mask.shape[0])
        ]
    )


@pytest.mark.parametrize(("height", "width", "dilation"), [(40, 60, 0.02), (40, 60, 0.06), (25, 25, 0.5)])
def test_boundary_iou_against_a_loop(height: int, width: int, dilation: float) -> None:
    alpha, truth = rough_case(0, height, width)
    pixels = max(1, round(dilation * (height**2 + width**2) ** 0.5))
    ours, theirs = naive_border(alpha > 0.5, pixels), naive_border(truth > 0.5, pixels)
    expected = (ours & theirs).sum() / (ours | theirs).sum()
    assert metrics.boundary_iou(alpha, truth, dilation) == pytest.approx(expected)


def test_boundary_iou_sees_edges_of_large_subjects() -> None:
    truth = (soft_disc(300, 300, 120).alpha > 0.5).astype(np.float32)
    smaller = (soft_disc(300, 300, 116).alpha > 0.5).astype(np.float32)
    assert metrics.iou(smaller, truth) > 0.9
    assert metrics.boundary_iou(smaller, truth) < 0.5


def naive_gradient(alpha: npt.NDArray[np.float64], sigma: float) -> npt.NDArray[np.float64]:
    reach = 4  # for sigma 1.4
    steps = range(-reach, reach + 1)
    kernel = np.array([[np.exp(-(y * y + x * x) / (2 * sigma**2)) * x for x in steps] for y in steps])
    kernel /= np.sqrt((kernel**2).sum())
    framed = np.pad(alpha, reach, mode="edge")
    found = np.zeros(alpha.shape)
    for y, x in np.ndindex(*alpha.shape):
        window = framed[y : y + 2 * reach + 1, x : x + 2 * reach + 1]
        found[y, x] = np.hypot((window * kernel).sum(), (window * kernel.T).sum())
    return found


def soft_case() -> tuple[Alpha, Alpha, Trimap]:
    """A soft disc, the same one wrong by a smooth wave, and what of it is unknown."""
    truth = soft_disc(36, 44, 12, 8).alpha
    wave = 0.25 * np.sin(np.arange(36)[:, None] / 3) * np.cos(np.arange(44) / 4)
    alpha = np.clip(truth + wave.astype(np.float32), 0, 1)
    unknown = (truth > 0) & (truth < 1)
    return alpha, truth, np.where(unknown, 128, np.where(truth == 1, 255, 0)).astype(np.uint8)


def test_gradient_error_against_a_loop() -> None:
    alpha, truth, trimap = soft_case()
    squares = (naive_gradient(alpha.astype(float), 1.4) - naive_gradient(truth.astype(float), 1.4)) ** 2
    assert metrics.gradient_error(alpha, truth) == pytest.approx(squares.sum() / 1000, rel=1e-5)
    expected = squares[trimap == 128].sum() / 1000
    assert metrics.gradient_error(alpha, truth, trimap) == pytest.approx(expected, rel=1e-5)


def regions(mask: Mask) -> Iterator[set[tuple[int, int]]]:
    """The 4-connected regions, by walking through them."""
    left = set(zip(*np.nonzero(mask), strict=True))
    while left:
        region, edge = set(), {min(left)}
        while edge:
            region |= edge
            edge = {(y + v, x + h) for y, x in edge for v, h in ((0, 1), (1, 0), (0, -1), (-1, 0))}
            edge = (edge & left) - region
        left -= region
        yield region


def naive_connectivity(alpha: Alpha, truth: Alpha, where: Mask) -> float:
    """As the benchmark's own program does it, level by level."""
    levels = [round(0.1 * one, 1) for one in range(11)]
    reached = np.full(alpha.shape, -1.0)
    for below, level in zip(levels, levels[1:], strict=False):
        omega = np.zeros(alpha.shape, bool)
        for pixel in max(regions((alpha >= level) & (truth >= level)), key=len, default=set()):
            omega[pixel] = True
        reached[(reached == -1) & ~omega] = below
    reached[reached == -1] = 1
    found, wanted = alpha - reached, truth - reached
    return float(np.abs(found * (found >= 0.15) - wanted * (wanted >= 0.15))[where].sum() / 1000)


def test_connectivity_error_against_a_loop() -> None:
    alpha, truth, trimap = soft_case()
    alpha[:4, :4] = truth[:4, :4] = 0.9  # a piece of its own, in both
    alpha[30:34, 2:6] = 0.7  # and one too many
    everywhere = np.ones(alpha.shape, bool)
    expected = naive_connectivity(alpha, truth, everywhere)
    assert expected > 0.01
    assert metrics.connectivity_error(alpha, truth) == pytest.approx(expected, rel=1e-5)
    expected = naive_connectivity(alpha, truth, trimap == 128)
    assert metrics.connectivity_error(alpha, truth, trimap) == pytest.approx(expected, rel=1e-5)


def test_levels_of_8_bits_reach_the_steps() -> None:
    """153 / 255 is 0.6, whichever way it was divided."""
    truth = np.full((8, 8), 153, np.float32) * np.float32(1 / 255)
    assert metrics.connectivity_error(truth, np.float32(0.6) * np.ones_like(truth)) == 0
    assert metrics.connectivity_error(truth, np.ones_like(truth)) == pytest.approx(64 * 0.4 / 1000)


def test_sums_and_means_of_soft_errors() -> None:
    alpha, truth, trimap = soft_case()
    off = np.abs(alpha.astype(float) - truth)
    assert metrics.sad(alpha, truth) == pytest.approx(off.sum() / 1000, rel=1e-5)
    assert metrics.mse(alpha, truth) == pytest.approx((off**2).mean(), rel=1e-5)
    assert metrics.mse(alpha, truth, trimap) == pytest.approx((off[trimap == 128] ** 2).mean(), rel=1e-5)
    assert metrics.sad(alpha, truth, trimap) < metrics.sad(alpha, truth)


def test_nothing_unknown_is_no_error() -> None:
    alpha, truth, _ = soft_case()
    known = np.zeros(truth.shape, np.uint8)
    assert [error(alpha, truth, known) for error in SOFT_ERRORS] == [0, 0, 0, 0]


# Soft or not ----------------------------------------------------------------------------------------


def test_what_is_soft() -> None:
    wide, narrow = soft_disc(edge=12).alpha, soft_disc(edge=1.5).alpha
    assert metrics.is_soft(wide)
    assert not metrics.is_soft(narrow), "a smooth edge is no matte"
    assert ((narrow > 0.05) & (narrow < 0.95)).mean() > 0.01, "though it has many grey pixels"
    assert not metrics.is_soft(HALF) and not metrics.is_soft(EMPTY)
    assert metrics.measure(wide, wide).sad == 0


def test_max_f_counts_no_threshold_of_nothing() -> None:
    """At a threshold of 0 everything is foreground whatever the prediction says; it earns nothing."""
    assert metrics.max_f(EMPTY, HALF) == 0


# What is refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize("figure", [*SHAPE_FIGURES, metrics.mae, *SOFT_ERRORS])
def test_wrong_input_is_one_sentence(figure: Callable[..., float]) -> None:
    with pytest.raises(ImageError, match=r"alpha must have the image's height and width \(20, 30\)"):
        figure(EMPTY[:-1], EMPTY)
    with pytest.raises(ImageError, match="truth must be float"):
        figure(EMPTY, np.zeros((20, 30), np.uint8))
    with pytest.raises(ImageError, match="alpha must lie within 0 and 1"):
        figure(EMPTY - np.float32(0.1), EMPTY)
    with pytest.raises(ImageError, match="truth has no pixels"):
        figure(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32))


def test_a_trimap_of_another_size() -> None:
    with pytest.raises(ImageError, match="trimap"):
        metrics.sad(EMPTY, EMPTY, np.zeros((2, 2), np.uint8))


def test_arguments_are_left_alone() -> None:
    alpha, truth, trimap = soft_case()
    before = [one.tobytes() for one in (alpha, truth, trimap)]
    metrics.measure(alpha, truth, trimap=trimap)
    assert before == [one.tobytes() for one in (alpha, truth, trimap)]

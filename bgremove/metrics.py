"""How good a matte is: figures on arrays, for one picture and for a set.

Everywhere `alpha` is the prediction and `truth` what it should be, both (H, W) float in [0, 1]. Figures
of a cut-out's shape (IoU, Dice, accuracy, F, S-measure, boundary IoU) take the truth as foreground where
it is above 0.5; MAE and the errors of matting (SAD, MSE, gradient, connectivity) take it as it is, soft.
Predictions are used as they are, never stretched to span 0 to 1.

No figure is ever NaN. If truth and prediction are both empty, the overlap is perfect, 1; if only one of
them is, it is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

import cv2
import numpy as np
import numpy.typing as npt

from bgremove.arrays import Alpha, Mask, Trimap, check_alpha, check_trimap
from bgremove.compositing import alpha_to_bytes
from bgremove.errors import ImageError

Curve = npt.NDArray[np.float64]
"""(255,) float64: a value for each of :data:`THRESHOLDS`."""

THRESHOLDS = np.arange(1, 256) / 255
"""Where curves are measured: every level of an 8-bit picture but 0, which takes all of the picture."""

BETA2 = 0.3
"""How F weighs recall against precision, as everybody does since Achanta et al. 2009."""


# Overlap --------------------------------------------------------------------------------------------


class Confusion(NamedTuple):
    """Pixels by what they are and what they were taken for."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def iou(self) -> float:
        """Intersection over union; 1 if both are empty."""
        union = self.true_positive + self.false_positive + self.false_negative
        return self.true_positive / union if union else 1.0

    @property
    def dice(self) -> float:
        """Twice the intersection over the sum of both areas; 1 if both are empty."""
        areas = 2 * self.true_positive + self.false_positive + self.false_negative
        return 2 * self.true_positive / areas if areas else 1.0

    @property
    def accuracy(self) -> float:
        """The share of pixels that are right."""
        return (self.true_positive + self.true_negative) / sum(self)


def confusion(alpha: Alpha, truth: Alpha, threshold: float = 0.5) -> Confusion:
    """Count pixels; the prediction is foreground above `threshold`, the truth above 0.5.

    Raises:
        ImageError: if the sizes differ or one is no matte; so do all functions here.
    """
    alpha, truth = _check(alpha, truth)
    return _confusion(alpha > threshold, truth > 0.5)


def iou(alpha: Alpha, truth: Alpha, threshold: float = 0.5) -> float:
    """Intersection over union (Jaccard index), 0 to 1; 1 if both are empty."""
    return confusion(alpha, truth, threshold).iou


def dice(alpha: Alpha, truth: Alpha, threshold: float = 0.5) -> float:
    """Dice coefficient (F1), 0 to 1; 1 if both are empty."""
    return confusion(alpha, truth, threshold).dice


def pixel_accuracy(alpha: Alpha, truth: Alpha, threshold: float = 0.5) -> float:
    """The share of pixels that are right, 0 to 1."""
    return confusion(alpha, truth, threshold).accuracy


def mae(alpha: Alpha, truth: Alpha) -> float:
    """Mean absolute error of the matte against the truth as it is, 0 to 1."""
    alpha, truth = _check(alpha, truth)
    return _sum(cv2.absdiff(alpha, truth)) / alpha.size


def boundary_iou(alpha: Alpha, truth: Alpha, dilation: float = 0.02) -> float:
    """IoU of only what lies within some pixels of each mask's own border: it sees edges, not size.

    The picture's border counts as a mask's border where the mask reaches it.

    Args:
        alpha, truth: foreground above 0.5.
        dilation: the width of that band, as a fraction of the picture's diagonal; at least one pixel.

    References:
        Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", CVPR 2021.
    """
    alpha, truth = _check(alpha, truth)
    width = max(1, round(dilation * float(np.hypot(*truth.shape))))
    return _confusion(_border(alpha > 0.5, width), _border(truth > 0.5, width)).iou


def _border(mask: Mask, width: int) -> Mask:
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    whole = mask.view(np.uint8)
    # Outside the picture is background; a frame of one pixel says so.
    framed = cv2.copyMakeBorder(whole, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=[0])
    return cast(Mask, whole > cv2.erode(framed, kernel)[1:-1, 1:-1])


def _confusion(found: Mask, wanted: Mask) -> Confusion:
    both = int(np.count_nonzero(found & wanted))
    extra, missing = int(np.count_nonzero(found)) - both, int(np.count_nonzero(wanted)) - both
    return Confusion(both, extra, missing, found.size - both - extra - missing)


# F-measure ------------------------------------------------------------------------------------------


def precision_recall(alpha: Alpha, truth: Alpha) -> tuple[Curve, Curve]:
    """Precision and recall of one picture at each of :data:`THRESHOLDS`.

    The matte is rounded to 8 bits first, as it would be stored, and is foreground from the threshold
    on. Where nothing is found, precision is 0. A picture without foreground has recall 1, and there
    precision is 1 where nothing is found.
    """
    alpha, truth = _check(alpha, truth)
    wanted = truth > 0.5
    # One histogram of both: the levels of the background, then those of the foreground.
    levels = alpha_to_bytes(alpha).astype(np.uint16) + wanted * np.uint16(256)
    background, foreground = np.bincount(levels.ravel(), minlength=512).reshape(2, 256)
    right, wrong = (np.cumsum(part[:0:-1])[::-1] for part in (foreground, background))
    if not wanted.any():
        return (wrong == 0).astype(np.float64), np.ones(255)
    return right / np.maximum(right + wrong, 1), right / np.count_nonzero(wanted)


def f_measure(precision: Curve, recall: Curve, beta2: float = BETA2) -> Curve:
    """``(1 + beta2) P R / (beta2 P + R)``, 0 where both are 0.

    References:
        Achanta et al., "Frequency-tuned Salient Region Detection", CVPR 2009.
    """
    below = beta2 * precision + recall
    return (1 + beta2) * precision * recall / np.where(below > 0, below, 1)


class FMeasure:
    """The best F of a set of pictures over all thresholds, in memory that does not grow with the set.

    Two definitions are in use. :attr:`max_f` is the usual one, that of U2-Net's and most papers' tables
    and the one that `bgremove evaluate` prints: precision and recall are averaged over the pictures at
    each threshold, F comes from these two curves, and its maximum counts. :attr:`max_mean_f` averages
    the pictures' own F curves and takes the maximum of that (PySODMetrics' ``fm`` curve); it is lower,
    0.70 against 0.73 for GrabCut on ECSSD, and the two must not be compared.

    Attributes:
        pictures: how many were added.
    """

    def __init__(self, beta2: float = BETA2) -> None:
        self.beta2 = beta2
        self.pictures = 0
        self._precision, self._recall, self._f = np.zeros((3, 255))

    def add(self, alpha: Alpha, truth: Alpha) -> float:
        """Take in one picture; its own best F."""
        precision, recall = precision_recall(alpha, truth)
        f = f_measure(precision, recall, self.beta2)
        self._precision += precision
        self._recall += recall
        self._f += f
        self.pictures += 1
        return float(f.max())

    @property
    def max_f(self) -> float:
        """The best F of the mean precision and recall; 0 if there is no picture."""
        count = max(self.pictures, 1)
        return float(f_measure(self._precision / count, self._recall / count, self.beta2).max())

    @property
    def max_mean_f(self) -> float:
        """The best mean F; 0 if there is no picture."""
        return float((self._f / max(self.pictures, 1)).max())


def max_f(alpha: Alpha, truth: Alpha, beta2: float = BETA2) -> float:
    """The best F of one picture over all thresholds, 0 to 1. For sets see :class:`FMeasure`."""
    return FMeasure(beta2).add(alpha, truth)


# S-measure ------------------------------------------------------------------------------------------

_EPSILON = float(np.spacing(1))


def s_measure(alpha: Alpha, truth: Alpha, balance: float = 0.5) -> float:
    """Likeness of structure, 0 to 1: of the subject as a whole, and of the picture's four parts.

    The parts meet at the centre of the true foreground. Where all of the truth is background or all of
    it is foreground, this is the share of the matte that agrees.

    Args:
        alpha: taken as it is.
        truth: foreground above 0.5.
        balance: weight of the subject against the parts.

    References:
        Fan et al., "Structure-measure: A New Way to Evaluate Foreground Maps", ICCV 2017.
    """
    alpha, truth = _check(alpha, truth)
    wanted, values = truth > 0.5, alpha.astype(np.float64)
    share = np.count_nonzero(wanted) / wanted.size
    if share in (0, 1):
        agrees = float(values.mean())
        return agrees if share else 1 - agrees
    subject = share * _evenness(values[wanted]) + (1 - share) * _evenness(1 - values[~wanted])
    return float(max(0.0, balance * subject + (1 - balance) * _parts(values, wanted)))


def _evenness(values: npt.NDArray[np.float64]) -> float:
    """How near to 1 all the values are."""
    mean, spread = float(values.mean()), float(values.std(ddof=1)) if values.size > 1 else 0.0
    return 2 * mean / (mean**2 + 1 + spread + _EPSILON)


def _parts(values: npt.NDArray[np.float64], wanted: Mask) -> float:
    height, width = wanted.shape
    pixels = np.count_nonzero(wanted)
    # The pixel at the centre belongs to the upper left part.
    row = round(float(wanted.sum(axis=1) @ np.arange(height)) / pixels) + 1
    column = round(float(wanted.sum(axis=0) @ np.arange(width)) / pixels) + 1
    score = 0.0
    for part in np.s_[:row, :column], np.s_[:row, column:], np.s_[row:, :column], np.s_[row:, column:]:
        if wanted[part].size:
            score += _similarity(values[part], wanted[part]) * wanted[part].size / wanted.size
    return score


def _similarity(values: npt.NDArray[np.float64], wanted: Mask) -> float:
    """SSIM of a part without its constants; 1 where both are flat, whatever their levels."""
    below = values.size - 1 + _EPSILON
    mean, share = float(values.mean()), np.count_nonzero(wanted) / wanted.size
    off = values - mean
    variance, true_variance = float((off * off).sum()) / below, share * (1 - share) * values.size / below
    covariance = float(off[wanted].sum()) / below if 0 < share < 1 else 0.0
    likeness = 4 * mean * share * covariance
    most = (mean**2 + share**2) * (variance + true_variance)
    if likeness != 0:
        return likeness / (most + _EPSILON)
    return 1.0 if most == 0 else 0.0


# Errors of soft mattes ------------------------------------------------------------------------------


def is_soft(truth: Alpha) -> bool:
    """Is it a true matte, with hair or glass in it, rather than a mask with smooth edges?

    It is if more than 0.1 % of its pixels lie between 0.05 and 0.95 together with all their eight
    neighbours; a mask that was made smaller has soft edges, but no wider than two pixels.
    """
    truth = check_alpha(truth, name="truth")
    soft = ((truth > 0.05) & (truth < 0.95)).view(np.uint8)
    wide = cv2.erode(soft, np.ones((3, 3), np.uint8))
    return cv2.countNonZero(wide) > 0.001 * truth.size


def sad(alpha: Alpha, truth: Alpha, trimap: Trimap | None = None) -> float:
    """Sum of absolute differences, in thousands.

    Args:
        alpha, truth: the matte and the true one.
        trimap: only where this is unknown (128) counts; all of the picture without it. Published
            tables are of one or the other: they cannot be compared. The same holds for all four errors.
    """
    alpha, truth, unknown = _check_soft(alpha, truth, trimap)
    return _sum(cv2.absdiff(alpha, truth), unknown) / 1000


def mse(alpha: Alpha, truth: Alpha, trimap: Trimap | None = None) -> float:
    """Mean squared error (papers often print a thousand times this); 0 if nothing is unknown.

    For the arguments see :func:`sad`.
    """
    alpha, truth, unknown = _check_soft(alpha, truth, trimap)
    counted = alpha.size if unknown is None else max(1, int(np.count_nonzero(unknown)))
    return _sum((alpha - truth) ** 2, unknown) / counted


def gradient_error(alpha: Alpha, truth: Alpha, trimap: Trimap | None = None, *, sigma: float = 1.4) -> float:
    """Squared difference of the gradients' lengths, summed, in thousands: it sees blurred hair.

    The gradients are those of a Gaussian with `sigma` in pixels, whose filters have norm 1.
    For the other arguments see :func:`sad`.

    References:
        Rhemann et al., "A Perceptually Motivated Online Benchmark for Image Matting", CVPR 2009.
    """
    alpha, truth, unknown = _check_soft(alpha, truth, trimap)
    difference = _gradient(alpha, sigma) - _gradient(truth, sigma)
    return _sum(difference**2, unknown) / 1000


def _gradient(alpha: Alpha, sigma: float) -> Alpha:
    # As far as the Gaussian is above 0.01, as in the benchmark's own program.
    reach = int(np.ceil(sigma * np.sqrt(-2 * np.log(np.sqrt(2 * np.pi) * sigma * 0.01))))
    steps = np.arange(-reach, reach + 1)
    smooth = np.exp(-(steps**2) / (2 * sigma**2))
    smooth, slope = (kernel / np.linalg.norm(kernel) for kernel in (smooth, steps * smooth))
    across = cv2.sepFilter2D(alpha, cv2.CV_32F, slope, smooth, borderType=cv2.BORDER_REPLICATE)
    down = cv2.sepFilter2D(alpha, cv2.CV_32F, smooth, slope, borderType=cv2.BORDER_REPLICATE)
    return cast(Alpha, cv2.magnitude(across, down))


def connectivity_error(
    alpha: Alpha, truth: Alpha, trimap: Trimap | None = None, *, step: float = 0.1
) -> float:
    """How differently pixels hang together with the subject, summed, in thousands.

    At each level, in steps of `step`, the largest region (4-connected) where matte and truth both reach
    it is the subject. A pixel is connected up to the level at which it drops out of it; how far
    alpha lies above that, if by at least 0.15, is what is compared. For the other arguments see
    :func:`sad`.

    References:
        Rhemann et al., "A Perceptually Motivated Online Benchmark for Image Matting", CVPR 2009.
    """
    alpha, truth, unknown = _check_soft(alpha, truth, trimap)
    common = cv2.min(alpha, truth)
    connected, steps = np.ones(alpha.shape, np.bool_), np.zeros(alpha.shape, np.uint8)
    for level in range(1, round(1 / step) + 1):
        connected &= _largest(common >= np.float32(level * step - 1e-6))  # 153 / 255 reaches 0.6
        if not connected.any():
            break
        steps += connected
    reached = steps * np.float32(step)
    beyond, true_beyond = (np.where(one >= 0.15, one, 0) for one in (alpha - reached, truth - reached))
    return _sum(cv2.absdiff(beyond, true_beyond), unknown) / 1000


def _largest(mask: Mask) -> Mask:
    """The largest 4-connected region; the first of several."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4)
    if count < 2:
        return mask
    return cast(Mask, labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])))


# All of them ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figures:
    """All figures of one picture, or their means; each is explained by the function of its name.

    The last four are None where the truth is not soft.
    """

    iou: float
    dice: float
    pixel_accuracy: float
    mae: float
    max_f: float
    s_measure: float
    boundary_iou: float
    sad: float | None = None
    mse: float | None = None
    gradient_error: float | None = None
    connectivity_error: float | None = None


def measure(
    alpha: Alpha, truth: Alpha, *, trimap: Trimap | None = None, total: FMeasure | None = None
) -> Figures:
    """All figures of one picture.

    Args:
        alpha, truth: the matte and what it should be.
        trimap: for the errors of soft mattes, see :func:`sad`.
        total: takes the picture in, for the F-measure of its set.
    """
    counts = confusion(alpha, truth)
    soft = (sad, mse, gradient_error, connectivity_error) if is_soft(truth) else ()
    return Figures(
        counts.iou,
        counts.dice,
        counts.accuracy,
        mae(alpha, truth),
        (total or FMeasure()).add(alpha, truth),
        s_measure(alpha, truth),
        boundary_iou(alpha, truth),
        *(error(alpha, truth, trimap) for error in soft),
    )


def _check(alpha: Alpha, truth: Alpha) -> tuple[Alpha, Alpha]:
    truth = check_alpha(truth, name="truth")
    if truth.size == 0:
        raise ImageError(f"truth has no pixels (shape {truth.shape}); give a mask of at least 1x1")
    return check_alpha(alpha, truth.shape), truth


def _check_soft(alpha: Alpha, truth: Alpha, trimap: Trimap | None) -> tuple[Alpha, Alpha, Mask | None]:
    alpha, truth = _check(alpha, truth)
    return alpha, truth, None if trimap is None else check_trimap(trimap, truth.shape) == 128


def _sum(values: npt.NDArray[np.float32], where: Mask | None = None) -> float:
    """The sum in double precision, over part of the picture if so asked."""
    return float((values if where is None else values[where]).sum(dtype=np.float64))

"""Each term of the loss against loops and other people's code."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from bgremove.errors import OptionError
from bgremove.training.params import LossParams

pytest.importorskip("torch", reason="needs the extra train")
pytest.importorskip("torchmetrics", reason="needs the extra train")

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torchmetrics.functional.image import structural_similarity_index_measure  # noqa: E402

from bgremove.training.losses import (  # noqa: E402
    DEEP,
    boundary_loss,
    deep_loss,
    dice_loss,
    iou_loss,
    segmentation_loss,
    ssim_loss,
)

TERMS = ("bce", "dice", "iou", "ssim", "boundary")


def only(**weights: float) -> LossParams:
    """The loss of the given terms alone."""
    return LossParams(**{**dict.fromkeys(TERMS, 0.0), **weights})


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def soft() -> tuple[Tensor, Tensor]:
    """Probabilities and soft truths, three pictures."""
    return random(3, 1, 12, 15), random(3, 1, 12, 15, seed=1)


# Each term ------------------------------------------------------------------------------------------


def test_dice_and_iou_as_by_loops(soft: tuple[Tensor, Tensor]) -> None:
    dice, iou = [], []
    for p, t in zip(*(x.double().numpy() for x in soft), strict=True):
        both = sum(float(a * b) for a, b in zip(p.flat, t.flat, strict=True))
        either = sum(float(a + b - a * b) for a, b in zip(p.flat, t.flat, strict=True))
        dice.append(1 - (2 * both + 1) / (p.sum() + t.sum() + 1))
        iou.append(1 - (both + 1) / (either + 1))
    assert dice_loss(*soft).item() == pytest.approx(np.mean(dice), abs=1e-6)
    assert iou_loss(*soft).item() == pytest.approx(np.mean(iou), abs=1e-6)


def test_a_small_subject_counts_as_much_as_a_large_one() -> None:
    """Per picture, then the mean: not over all pixels of a batch."""
    truth = torch.zeros(2, 1, 32, 32)
    truth[0, :, :4, :4] = 1
    truth[1] = 1
    missed = truth.clone()
    missed[0] = 0
    assert iou_loss(missed, truth).item() == pytest.approx(0.5 * (1 - 1 / 17), abs=1e-6)
    assert dice_loss(missed, truth).item() == pytest.approx(0.5 * (1 - 1 / 17), abs=1e-6)


def test_ssim_as_by_torchmetrics() -> None:
    p = random(2, 1, 30, 40)
    t = 0.7 * p + 0.3 * random(2, 1, 30, 40, seed=1)
    _, everywhere = structural_similarity_index_measure(
        p, t, gaussian_kernel=False, kernel_size=11, data_range=1.0, return_full_image=True
    )
    within = everywhere[..., 5:-5, 5:-5].mean().item()  # theirs goes beyond the borders, mirrored
    assert 0.5 < within < 0.95
    assert 1 - ssim_loss(p, t).item() == pytest.approx(within, abs=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 1, 4, 30), (2, 1, 11, 11)])
def test_ssim_of_what_is_smaller_than_its_window(shape: tuple[int, ...]) -> None:
    p = random(*shape)
    assert ssim_loss(p, p).item() == pytest.approx(0, abs=1e-6)
    assert ssim_loss(p, 1 - p).isfinite()


def test_the_boundary_of_a_step() -> None:
    """A step from 0 to 1 has length 1 on both its sides; flat is 0."""
    truth = torch.zeros(1, 1, 6, 10)
    truth[..., 5:] = 1
    flat = torch.full_like(truth, 0.5)
    assert boundary_loss(flat, truth).item() == pytest.approx(2 / 10, abs=1e-3)
    assert boundary_loss(truth, truth).item() == 0
    assert boundary_loss(1 - truth, truth).item() == pytest.approx(0, abs=1e-6)
    moved = truth.roll(2, -1)
    moved[..., :2] = 0
    assert boundary_loss(moved, truth).item() == pytest.approx(4 / 10, abs=1e-3)


def test_the_boundary_turns_with_the_picture(soft: tuple[Tensor, Tensor]) -> None:
    p, t = soft
    turned = boundary_loss(p.rot90(1, (-2, -1)), t.rot90(1, (-2, -1)))
    assert turned.item() == pytest.approx(boundary_loss(p, t).item(), abs=1e-6)
    slope = torch.arange(12.0).expand(1, 1, 12, 12) / 12
    inner = (slope + slope.transpose(-1, -2)) / 2
    expected = math.hypot(1 / 24, 1 / 24) * 2  # per pixel: half of a step spans two pixels
    assert boundary_loss(inner, torch.zeros_like(inner)).item() == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("term", [dice_loss, iou_loss, ssim_loss, boundary_loss])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_flat_pictures_have_finite_gradients(term: Callable[[Tensor, Tensor], Tensor], value: float) -> None:
    for truth in (torch.zeros(2, 1, 16, 16), torch.ones(2, 1, 16, 16), torch.full((2, 1, 16, 16), 0.3)):
        p = torch.full((2, 1, 16, 16), value, requires_grad=True)
        loss = term(p, truth)
        loss.backward()  # type: ignore[no-untyped-call]
        assert loss.isfinite() and p.grad is not None and p.grad.isfinite().all()


# The sum --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("term", TERMS)
def test_perfect_is_nothing_and_the_opposite_is_bad(term: str) -> None:
    truth = torch.zeros(2, 1, 32, 32)
    truth[:, :, 8:20, 6:25] = 1
    logits = (truth - 0.5) * 60
    params = only(**{term: 1.0})
    best = segmentation_loss(logits, truth, params).item()
    assert best == pytest.approx(0, abs=1e-3)
    half = segmentation_loss(torch.zeros_like(logits), truth, params).item()
    assert half > best + 0.1
    if term != "boundary":  # edges look alike from both sides
        worst = segmentation_loss(-logits, truth, params).item()
        assert worst > half and worst > 0.9


@pytest.mark.parametrize("term", TERMS)
def test_a_step_downhill_makes_it_smaller(term: str) -> None:
    truth = (random(2, 1, 16, 16, seed=5) > 0.5).float()
    logits = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(6)).requires_grad_()
    loss = segmentation_loss(logits, truth, only(**{term: 1.0}))
    [slope] = torch.autograd.grad(loss, logits)
    assert slope.abs().sum() > 0
    nearer = segmentation_loss(logits - slope / slope.norm() * 0.1, truth, only(**{term: 1.0}))
    assert nearer < loss


@pytest.mark.parametrize("logit", [-500.0, 500.0])
def test_the_surest_of_mistakes_stays_finite(logit: float) -> None:
    logits = torch.full((1, 1, 16, 16), logit, requires_grad=True)
    truth = torch.full((1, 1, 16, 16), 0.0 if logit > 0 else 1.0)
    loss = segmentation_loss(logits, truth, LossParams(**dict.fromkeys(TERMS, 1.0)))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.isfinite() and logits.grad is not None and logits.grad.isfinite().all()


def test_soft_truths_are_soft() -> None:
    """The entropy is least where the prediction is the soft truth itself."""
    truth = torch.full((1, 1, 8, 8), 0.3)
    at = {p: segmentation_loss(torch.full_like(truth, math.log(p / (1 - p))), truth, only(bce=1)).item()
          for p in (0.1, 0.3, 0.5, 0.9)}  # fmt: skip
    assert min(at, key=at.__getitem__) == 0.3
    assert at[0.3] == pytest.approx(-0.3 * math.log(0.3) - 0.7 * math.log(0.7), abs=1e-5)


def test_the_weights_are_those_of_a_sum(soft: tuple[Tensor, Tensor]) -> None:
    logits, truth = torch.logit(soft[0], 1e-3), soft[1]
    alone = {term: segmentation_loss(logits, truth, only(**{term: 1.0})).item() for term in TERMS}
    weights = {"bce": 0.5, "dice": 2.0, "iou": 0.25, "ssim": 3.0, "boundary": 1.5}
    wanted = sum(weights[term] * alone[term] for term in TERMS)
    assert segmentation_loss(logits, truth, only(**weights)).item() == pytest.approx(wanted, rel=1e-5)
    assert alone["bce"] == pytest.approx(F.binary_cross_entropy(logits.sigmoid(), truth).item(), rel=1e-4)
    assert alone["dice"] == pytest.approx(dice_loss(logits.sigmoid(), truth).item(), rel=1e-6)


def test_a_term_without_weight_is_not_worked_out(
    soft: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Tensor:
        raise AssertionError("worked out")

    for name in ("dice_loss", "ssim_loss", "boundary_loss"):
        monkeypatch.setattr(f"bgremove.training.losses.{name}", fail)
    assert segmentation_loss(*soft, only(bce=1, iou=1)).isfinite()
    with pytest.raises(AssertionError, match="worked out"):
        segmentation_loss(*soft, only(bce=1, dice=1))


def test_no_term_at_all_is_refused() -> None:
    with pytest.raises(OptionError, match="the loss has no term; give one of bce, dice"):
        only()


def test_deep_supervision_weighs_the_scales() -> None:
    truth = random(2, 1, 32, 32)
    scales = [random(2, 1, side, side, seed=side) * 4 - 2 for side in (32, 16, 8, 4)]
    params = only(bce=1.0, iou=0.5)
    wanted = 0.0
    for logits, weight in zip(scales, (1.0, 0.5, 0.4, 0.3), strict=True):
        times = 32 // logits.shape[-1]
        small = truth.reshape(2, 1, 32 // times, times, 32 // times, times).mean((3, 5))
        wanted += weight * segmentation_loss(logits, small, params).item()
    assert deep_loss(scales, truth, params).item() == pytest.approx(wanted, rel=1e-5)
    assert DEEP[:4] == (1.0, 0.5, 0.4, 0.3) and list(DEEP) == sorted(DEEP, reverse=True)


def test_one_scale_is_the_plain_loss(soft: tuple[Tensor, Tensor]) -> None:
    assert deep_loss([soft[0]], soft[1], LossParams()) == segmentation_loss(*soft, LossParams())


@pytest.mark.parametrize(
    "term",
    ["bce", "dice", "iou", "ssim", "boundary"],
)
def test_half_precision_is_for_the_network_alone(term: str) -> None:
    """Under autocast the loss of the same logits is the same to the last digit."""
    logits, truth = random(2, 1, 32, 32) * 8 - 4, random(2, 1, 32, 32, seed=1)
    params = only(**{term: 1.0})
    wanted = segmentation_loss(logits, truth, params)
    with torch.autocast("cpu", torch.bfloat16):
        assert segmentation_loss(logits, truth, params).item() == pytest.approx(wanted.item(), rel=1e-6)
        half = segmentation_loss(logits.bfloat16(), truth, params)
    assert half.dtype == torch.float32 and half.item() == pytest.approx(wanted.item(), rel=0.02)

"""Losses: how far logits are from a truth. One weighted sum of terms, at every scale a network gives."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from bgremove.training.params import LossParams

DEEP = (1.0, 0.5, 0.4, 0.3, 0.3, 0.3)
"""Weights of a network's scales, the finest first."""


def dice_loss(p: Tensor, truth: Tensor) -> Tensor:
    """``1 - 2 |P and T| / (|P| + |T|)``, soft, per picture, then the mean. Both (N, 1, H, W) in [0, 1].

    References:
        Milletari et al., "V-Net", 3DV 2016.
    """
    both = (p * truth).sum((1, 2, 3))
    return (1 - (2 * both + 1) / (p.sum((1, 2, 3)) + truth.sum((1, 2, 3)) + 1)).mean()


def iou_loss(p: Tensor, truth: Tensor) -> Tensor:
    """``1 - |P and T| / |P or T|``, soft, per picture, then the mean. Both (N, 1, H, W) in [0, 1].

    References:
        Rahman and Wang, "Optimizing intersection-over-union in deep neural networks", ISVC 2016.
    """
    both = (p * truth).sum((1, 2, 3))
    either = (p + truth - p * truth).sum((1, 2, 3))
    return (1 - (both + 1) / (either + 1)).mean()


def ssim_loss(p: Tensor, truth: Tensor, window: int = 11) -> Tensor:
    """1 minus the structural similarity, over square windows. Both (N, 1, H, W) in [0, 1].

    References:
        Wang et al., "Image quality assessment", IEEE TIP 2004; as a loss: Qin et al., "BASNet", CVPR 2019.
    """
    window = min(window, p.shape[-1], p.shape[-2])

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, window, 1)

    mean_p, mean_t = mean(p), mean(truth)
    var_p, var_t = mean(p * p) - mean_p**2, mean(truth * truth) - mean_t**2
    covariance = mean(p * truth) - mean_p * mean_t
    c1, c2 = 0.01**2, 0.03**2
    likeness = (2 * mean_p * mean_t + c1) * (2 * covariance + c2)
    return 1 - (likeness / ((mean_p**2 + mean_t**2 + c1) * (var_p + var_t + c2))).mean()


def boundary_loss(p: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference of the Sobel gradients' lengths. Both (N, 1, H, W) in [0, 1].

    A step from 0 to 1 has length 1.
    """
    return (_edges(p) - _edges(truth)).abs().mean()


def _edges(x: Tensor) -> Tensor:
    across = x.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 4
    kernels = torch.stack([across, across.T])[:, None]
    gradient = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernels)
    return (gradient.square().sum(1, keepdim=True) + 1e-6).sqrt()


def segmentation_loss(logits: Tensor, truth: Tensor, params: LossParams) -> Tensor:
    """The weighted sum of the terms of `params`, for one scale.

    Args:
        logits: (N, 1, H, W), any float type.
        truth: (N, 1, H, W) in [0, 1], soft truths as they are.
    """
    with torch.autocast(logits.device.type, enabled=False):
        return _weighted(logits.float(), truth, params)


def _weighted(logits: Tensor, truth: Tensor, params: LossParams) -> Tensor:
    loss = logits.new_zeros(())
    if params.bce:
        loss = loss + params.bce * F.binary_cross_entropy_with_logits(logits, truth)
    p = logits.sigmoid()
    for weight, term in (
        (params.dice, dice_loss),
        (params.iou, iou_loss),
        (params.ssim, ssim_loss),
        (params.boundary, boundary_loss),
    ):
        if weight:
            loss = loss + weight * term(p, truth)
    return loss


def deep_loss(scales: Sequence[Tensor], truth: Tensor, params: LossParams) -> Tensor:
    """The loss summed over a network's scales, weighted by :data:`DEEP`, each against the truth at its size.

    References:
        Lee et al., "Deeply-supervised nets", AISTATS 2015.
    """
    total = truth.new_zeros(())
    for logits, weight in zip(scales, DEEP, strict=False):
        total = total + weight * segmentation_loss(logits, _shrunk(truth, logits), params)
    return total


def _shrunk(truth: Tensor, like: Tensor) -> Tensor:
    if truth.shape[-2:] == like.shape[-2:]:
        return truth
    return F.interpolate(truth, size=like.shape[-2:], mode="area")

"""A matte corrected by the picture's own colours.

A network knows what subjects look like in general; what this subject's colours are, and those of what is
behind it, the picture itself says. Where a network is in doubt, a pixel whose colour is common in what is
surely the subject, and rare in what is surely not, is more likely the subject's, and the other way round.
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from bgremove.arrays import Alpha, Image

Floats = npt.NDArray[np.float32]

_BINS = 16  # a side, of the cube of colours
_FAR = 4.0  # the most that a colour can say, as a logit
_LEAST = 2e-3  # of the picture: with less subject or background, nothing is known of its colours
_COMMON = 2.5e-5  # of the picture: a colour rarer than this, in both, says little
_SURE = 1e-4  # nearest to 0 and 1 that a matte can be moved from


def weigh_colours(image: Image, alpha: Alpha, strength: float) -> Alpha:
    """`alpha`, with the evidence of each pixel's colour added to its logit.

    Args:
        image: (H, W, 3) uint8 RGB; small, as a network sees it: 256x256 takes 3 ms.
        alpha: (H, W) float32 in [0, 1].
        strength: factor of the evidence; 0 changes nothing, at 1 it counts as much as the matte.

    Returns:
        (H, W) float32 in [0, 1]; `alpha` itself where there is too little surely subject, or surely
        background, to know its colours by.

    References:
        Boykov and Jolly, "Interactive graph cuts for optimal boundary and region segmentation", ICCV
        2001 (the term of the colours); no graph is cut here.
    """
    if strength <= 0:
        return alpha
    evidence = colour_evidence(image, alpha)
    if evidence is None:
        return alpha
    held = np.clip(alpha, np.float32(_SURE), np.float32(1 - _SURE))
    logits = np.log(held / (1 - held)) + np.float32(strength) * evidence
    return cast(Alpha, np.float32(0.5) + np.float32(0.5) * np.tanh(np.float32(0.5) * logits))


def colour_evidence(image: Image, alpha: Alpha) -> Floats | None:
    """For each pixel, the log of how much more common its colour is in the subject than in the rest.

    Pixels count by how sure they are, those at one half not at all; colours are compared in CIELAB, each
    with its neighbours.

    Args:
        image: (H, W, 3) uint8 RGB.
        alpha: (H, W) float32 in [0, 1].

    Returns:
        (H, W) float32 in [-4, 4], above 0 where the colour is the subject's; None where there is too
        little of the subject, or of the rest.
    """
    sure = (2 * alpha - 1).ravel()
    sides = [np.maximum(sure, 0), np.maximum(-sure, 0)]
    totals = [float(side.sum()) for side in sides]
    if min(totals) < _LEAST * sure.size:
        return None
    lab = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2LAB), np.int32) * _BINS // 256
    places = ((lab[..., 0] * _BINS + lab[..., 1]) * _BINS + lab[..., 2]).ravel()
    subject, rest = (
        _smoothed(np.bincount(places, side, _BINS**3).astype(np.float64)) / total
        for side, total in zip(sides, totals, strict=True)
    )
    ratio = np.log((subject + _COMMON) / (rest + _COMMON)).astype(np.float32)
    evidence = np.clip(ratio, -_FAR, _FAR).ravel()[places].reshape(alpha.shape)
    return np.asarray(cv2.GaussianBlur(evidence, (0, 0), 0.8), np.float32)


def _smoothed(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Counts by colour, as a cube, each shared with its neighbours along the three axes (1/4, 1/2, 1/4)."""
    counts = counts.reshape(_BINS, _BINS, _BINS)
    for _ in range(3):
        padded = np.pad(counts, ((1, 1), (0, 0), (0, 0)))
        counts = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
        counts = counts.transpose(1, 2, 0)  # the next axis first; after three turns as it was
    return counts

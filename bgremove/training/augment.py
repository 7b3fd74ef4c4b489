"""Training pictures varied at random: moved, turned, mirrored, recoloured, degraded.

In NumPy and OpenCV on 8-bit pictures, one warp and one look-up table each: 1 ms a picture of 176 px
on one core, where the same as a batch of kornia's augmentations took 5, and 13 with JPEG.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from bgremove.arrays import Image
from bgremove.training.params import AugmentParams

Grey = npt.NDArray[np.uint8]  # (H, W), a truth as stored


def resized(image: Image, truth: Grey, size: int) -> tuple[Image, Grey]:
    """A picture and its truth as a square of `size`, not varied."""
    if image.shape[:2] == (size, size):
        return image, truth
    how = cv2.INTER_AREA if size < min(image.shape[:2]) else cv2.INTER_LINEAR
    return (
        np.asarray(cv2.resize(image, (size, size), interpolation=how), np.uint8),
        np.asarray(cv2.resize(truth, (size, size), interpolation=how), np.uint8),
    )


def augmented(
    image: Image, truth: Grey, size: int, params: AugmentParams, rng: np.random.Generator
) -> tuple[Image, Grey]:
    """A picture and its truth as a square of `size`, varied alike.

    Args:
        image: (H, W, 3) uint8 RGB.
        truth: (H, W) uint8, 255 is foreground.
        size: side of the result, pixels.
        params: what is varied, and how much.
        rng: the same state gives the same result.
    """
    matrix = _view(image.shape[:2], size, params, rng)
    if max(image.shape[:2]) > 1.6 * size:  # the warp takes single pixels: average first
        image = np.asarray(cv2.GaussianBlur(image, (3, 3), 0.6), np.uint8)
    image = _warped(image, matrix, size)
    truth = _warped(truth, matrix, size)
    if params.colour:
        image = _recoloured(image, params.colour, rng)
    if rng.random() < params.grey:
        image = np.repeat(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)[..., None], 3, axis=2)
    return _degraded(image, params.degrade, rng), truth


def background_swapped(
    image: Image, truth: Grey, other: Image, other_truth: Grey, rng: np.random.Generator
) -> Image:
    """The subject of a picture before the background of another one, whose own subject is painted over.

    It teaches what a subject looks like whatever is behind it.

    Args:
        image, other: (H, W, 3) uint8 RGB, of one size.
        truth, other_truth: (H, W) uint8, 255 is foreground.
        rng: decides whether the background is mirrored, and how far out of focus it is.

    Returns:
        (H, W, 3) uint8; `image` itself where there is hardly a subject to move, or hardly a background.

    References:
        Ghiasi et al., "Simple copy-paste is a strong data augmentation method for instance segmentation",
        CVPR 2021.
    """
    if not 0.02 < truth.mean() / 255 < 0.9 or other_truth.mean() / 255 > 0.6:
        return image
    behind = _without_subject(other, other_truth)
    if rng.random() < 0.5:
        behind = behind[:, ::-1]
    sigma = rng.uniform(0, 4)
    if sigma > 0.5:
        behind = np.asarray(cv2.GaussianBlur(np.ascontiguousarray(behind), (0, 0), sigma), np.float32)
    alpha = np.asarray(cv2.GaussianBlur(truth, (3, 3), 0.7), np.float32)[..., None] / np.float32(255)
    return np.rint(behind + alpha * (image - behind)).astype(np.uint8)


def filled(image: Image, truth: Grey, other: Image, rng: np.random.Generator) -> Image:
    """A picture of which only the subject's shape stays, filled with a part of another picture.

    It teaches that a subject can also be known by its outline and by being unlike what is around it.

    Args:
        image, other: (H, W, 3) uint8 RGB, of one size.
        truth: (H, W) uint8, 255 is foreground.
        rng: decides which part, a third to the whole of its sides.

    Returns:
        (H, W, 3) uint8.
    """
    height, width = truth.shape
    share = rng.uniform(0.33, 1.0)
    rows, columns = max(1, round(height * share)), max(1, round(width * share))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    part = other[top : top + rows, left : left + columns]
    texture = np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    alpha = np.asarray(cv2.GaussianBlur(truth, (3, 3), 0.7), np.float32)[..., None] / np.float32(255)
    return np.rint(image + alpha * (texture - image)).astype(np.uint8)


def _without_subject(image: Image, truth: Grey) -> npt.NDArray[np.float32]:
    """A picture whose subject is painted over with the colours around it: float32, 0 to 255."""
    near = max(3, min(truth.shape) // 24) | 1
    known = (cv2.dilate(truth, np.ones((near, near), np.uint8)) < 16).astype(np.float32)
    seen = image * known[..., None]
    filled = np.full_like(seen, seen.sum((0, 1)) / max(1.0, float(known.sum())))
    for share in (2, 4, 16):  # from far and coarse to near and fine
        size = (max(1, truth.shape[1] * share // 64), max(1, truth.shape[0] * share // 64))
        weight = cv2.GaussianBlur(cv2.resize(known, size, interpolation=cv2.INTER_AREA), (5, 5), 1.2)
        colour = cv2.GaussianBlur(cv2.resize(seen, size, interpolation=cv2.INTER_AREA), (5, 5), 1.2)
        coarser = cv2.resize(filled, size, interpolation=cv2.INTER_AREA)
        mean = np.asarray((colour + 1e-3 * coarser) / (weight + np.float32(1e-3))[..., None], np.float32)
        sure = np.clip(np.asarray(weight, np.float32) * 4, 0, 1)
        full = truth.shape[::-1]
        trust = cv2.resize(sure, full, interpolation=cv2.INTER_LINEAR)[..., None]
        filled += trust * (cv2.resize(mean, full, interpolation=cv2.INTER_LINEAR) - filled)
    soft = np.asarray(cv2.GaussianBlur(known, (0, 0), near / 4), np.float32)[..., None] * known[..., None]
    return np.asarray(filled + soft * (image - filled), np.float32)


def _view(
    shape: tuple[int, ...], size: int, params: AugmentParams, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """(2, 3): where in the picture each pixel of the result comes from."""
    mirrored = -1.0 if rng.random() < params.flip else 1.0
    angle = math.radians(rng.uniform(-params.rotate, params.rotate))
    much = rng.uniform(-1, 1)
    zoom = params.zoom**much if much > 0 else params.shrink**much
    stretch = math.exp(rng.uniform(-params.stretch, params.stretch) / 2)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) / zoom
    unit = turn * np.array([mirrored * stretch, 1 / stretch])
    span = np.array([shape[1], shape[0]], np.float64)
    linear = unit * span[:, None] / size
    room = abs(1 - 1 / zoom) / 2  # stay inside where enlarged; let the whole show where shrunk
    centre = span * (0.5 + rng.uniform(-room, room, 2))
    corner = centre - linear @ np.array([size / 2, size / 2])
    # Pixels are squares: the middle of the first is at one half.
    shift = corner + linear @ np.array([0.5, 0.5]) - 0.5
    return np.column_stack([linear, shift])


def _warped(
    array: npt.NDArray[np.uint8], matrix: npt.NDArray[np.float64], size: int
) -> npt.NDArray[np.uint8]:
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(array, matrix, (size, size), flags=how, borderMode=cv2.BORDER_REFLECT_101), np.uint8
    )


def _recoloured(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Gamma, contrast, brightness, and a tint: one curve for each channel."""
    gamma = math.exp(strength * rng.uniform(-0.3, 0.3))
    contrast = 1 + strength * rng.uniform(-0.3, 0.3)
    brightness = strength * (rng.uniform(-0.12, 0.12) + rng.uniform(-0.06, 0.06, 3))
    curve = np.linspace(0, 1, 256)[:, None] ** gamma
    table = np.clip(((curve - 0.5) * contrast + 0.5 + brightness) * 255 + 0.5, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table.reshape(1, 256, 3)), np.uint8)


def _degraded(image: Image, share: float, rng: np.random.Generator) -> Image:
    """Blur, noise and JPEG, each for its share of pictures."""
    blur, noise, jpeg = rng.random(3) < share
    if blur:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.5)), np.uint8)
    if noise:
        grain = rng.normal(0, rng.uniform(2, 12), image.shape).astype(np.float32)
        image = np.clip(image + grain + 0.5, 0, 255).astype(np.uint8)
    if jpeg:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 90))]
        _, packed = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), quality)
        decoded = cv2.imdecode(packed, cv2.IMREAD_COLOR)
        image = np.ascontiguousarray(np.asarray(decoded, np.uint8)[..., ::-1])
    return image

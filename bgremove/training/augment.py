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

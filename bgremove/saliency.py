"""Where the subject probably is, from colour and position alone.

References:
    Zhang et al., "Minimum Barrier Salient Object Detection at 80 FPS", ICCV 2015.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from bgremove.arrays import Alpha, Image

_Floats = npt.NDArray[np.float32]

SIDE = 200
"""Long side, in pixels, at which the map is computed."""


def saliency(image: Image, border: float = 0.04) -> Alpha:
    """Map of the probable subject, 0 to 1, of `image`'s height and width; zeros where nothing stands out."""
    height, width = image.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    small = (max(1, round(height * scale)), max(1, round(width * scale)))
    lab = _lab(cv2.resize(image, small[::-1], interpolation=cv2.INTER_AREA))
    raw = _barrier_distance(lab) / 3 + _border_contrast(lab, border)
    peak = float(raw.max())
    if peak < 8:
        return np.zeros((height, width), np.float32)
    mapped = raw / peak * (0.5 + 0.5 * _centre_prior(*small))
    mapped = np.clip(mapped / mapped.max(), 0, 1)
    return np.clip(cv2.resize(mapped, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)


def _lab(image: Image) -> _Floats:
    return np.asarray(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), np.float32)


def _barrier_distance(lab: _Floats, rounds: int = 2) -> _Floats:
    """Minimum barrier distance of every pixel to the picture's border, summed over the channels."""
    distance = np.full(lab.shape, np.inf, np.float32)
    distance[[0, -1]] = distance[:, [0, -1]] = 0
    upper, lower = lab.copy(), lab.copy()
    planes = (lab, distance, upper, lower)
    for _ in range(rounds):
        for view in (planes, tuple(np.ascontiguousarray(p.swapaxes(0, 1)) for p in planes)):
            for step in (1, -1):
                _sweep(*(p[::step] for p in view))
            if view is not planes:
                for plane, done in zip(planes[1:], view[1:], strict=True):
                    plane[:] = done.swapaxes(0, 1)
    return np.asarray(distance.sum(axis=2), np.float32)


def _sweep(lab: _Floats, distance: _Floats, upper: _Floats, lower: _Floats) -> None:
    """One pass over the rows, each taking the path of the row before where that is cheaper."""
    for y in range(1, len(lab)):
        high = np.maximum(upper[y - 1], lab[y])
        low = np.minimum(lower[y - 1], lab[y])
        cost = high - low
        better = (cost < distance[y]) & np.isfinite(distance[y - 1])
        np.copyto(distance[y], cost, where=better)
        np.copyto(upper[y], high, where=better)
        np.copyto(lower[y], low, where=better)


def _border_contrast(lab: _Floats, border: float) -> _Floats:
    """Mahalanobis distance to the colours of each side; the least alike side is left out."""
    height, width = lab.shape[:2]
    rows, columns = max(1, round(border * height)), max(1, round(border * width))
    sides = (lab[:rows], lab[-rows:], lab[:, :columns], lab[:, -columns:])
    maps = []
    for side in sides:
        pixels = side.reshape(-1, 3).astype(np.float64)
        centre = pixels.mean(axis=0)
        covariance = (pixels - centre).T @ (pixels - centre) / len(pixels) + 25 * np.eye(3)
        delta = lab - centre.astype(np.float32)
        inverse = np.linalg.inv(covariance).astype(np.float32)
        maps.append(np.sqrt(np.einsum("hwi,ij,hwj->hw", delta, inverse, delta)))
    stacked = np.stack(maps)
    return np.asarray((stacked.sum(axis=0) - stacked.max(axis=0)) * 5, np.float32)


def _centre_prior(height: int, width: int) -> _Floats:
    y = (np.arange(height, dtype=np.float32)[:, None] + 0.5) / height - 0.5
    x = (np.arange(width, dtype=np.float32)[None] + 0.5) / width - 0.5
    return np.asarray(np.exp(-(x * x + y * y) / 0.15), np.float32)

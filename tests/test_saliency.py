"""The map of the probable subject."""

import cv2
import numpy as np
import pytest

from bgremove.arrays import Image
from bgremove.saliency import find_regions, saliency


def _disc(height: int = 240, width: int = 320) -> tuple[Image, np.ndarray]:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:height, :width]
    inside = (y - height * 0.5) ** 2 + (x - width * 0.45) ** 2 < (0.28 * height) ** 2
    image = np.where(inside[..., None], (210, 60, 40), (70, 110, 80)) + rng.normal(0, 12, (height, width, 3))
    return np.clip(image, 0, 255).astype(np.uint8), inside


def test_a_disc_stands_out() -> None:
    image, inside = _disc()
    found = saliency(image)
    assert found.dtype == np.float32 and found.shape == image.shape[:2]
    assert found.min() >= 0 and found.max() <= 1
    assert found[inside].mean() > 0.7
    assert found[~inside].mean() < 0.15


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (2, 3000), (3000, 2), (8, 8), (9, 30), (31, 17)])
@pytest.mark.parametrize("value", [0, 99, 255])
def test_any_size_flat(shape: tuple[int, int], value: int) -> None:
    found = saliency(np.full((*shape, 3), value, np.uint8))
    assert found.shape == shape and np.isfinite(found).all()


def test_known_places_lead_the_map() -> None:
    image, inside = _disc()
    known = np.full(inside.shape, 128, np.uint8)
    known[100:140, 130:160] = 0
    turned = saliency(image, known=known)
    assert turned[inside].mean() < saliency(image)[inside].mean() - 0.2


def test_the_subject_follows_the_picture_when_mirrored() -> None:
    image, inside = _disc()
    found = saliency(np.ascontiguousarray(image[:, ::-1]))[:, ::-1]
    assert np.abs(found - saliency(image)).mean() < 0.05


def test_regions_cover_the_picture() -> None:
    image, _ = _disc(90, 120)
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    regions = find_regions(np.asarray(lab, np.float32))
    assert regions.labels.shape == (90, 120)
    assert regions.size.sum() == 90 * 120 and (regions.size > 0).all()
    assert regions.sides.sum() == 2 * (90 + 120)
    assert (regions.adjacent == regions.adjacent.T).all()

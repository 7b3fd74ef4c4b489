"""The TIFF writer, against Pillow and libtiff."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as PILImage

from bgremove import tiff
from bgremove.arrays import Image
from bgremove.tiff import encode_tiff


def decode(data: bytes) -> PILImage.Image:
    picture = PILImage.open(io.BytesIO(data))
    picture.load()
    assert picture.format == "TIFF"
    return picture


@pytest.mark.parametrize("seed", range(16))
def test_any_picture_comes_back(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(seed)
    height, width = (int(side) for side in random.integers(1, 200, 2))
    shape = [(height, width), (height, width, 2), (height, width, 3), (height, width, 4)][seed % 4]
    picture = random.integers(0, 256, shape, np.uint8)
    monkeypatch.setattr(tiff, "_STRIP_BYTES", [1 << 20, 1000, 1][seed % 3])
    decoded = decode(encode_tiff(picture, level=seed % 10))
    assert decoded.mode == ["L", "LA", "RGB", "RGBA"][seed % 4]
    np.testing.assert_array_equal(np.asarray(decoded), picture)


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 4), (1, 70000, 3), (70000, 1, 3), (1500, 1200, 4)])
def test_extreme_shapes(shape: tuple[int, ...]) -> None:
    picture: npt.NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.testing.assert_array_equal(np.asarray(decode(encode_tiff(picture))), picture)


def test_profile_resolution_and_exif_are_read_back(photo: Image) -> None:
    exif = PILImage.Exif()
    exif[0x010F] = "Maker"
    exif.get_ifd(0x8769)[0x9003] = "2026:05:04 03:02:01"
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.5)})
    read = decode(encode_tiff(photo, icc=b"profile" * 100, dpi=(300, 72.5), exif=exif.tobytes()))
    assert read.info["icc_profile"] == b"profile" * 100
    assert read.info["dpi"] == (300, 72.5)
    found = read.getexif()
    assert found[0x010F] == "Maker"
    assert found.get_ifd(0x8769)[0x9003] == "2026:05:04 03:02:01"
    assert found.get_ifd(0x8825)[2] == (52.0, 31.0, 12.5)
    np.testing.assert_array_equal(np.asarray(read), photo)


def test_no_larger_than_libtiffs(photo: Image) -> None:
    file = io.BytesIO()
    PILImage.fromarray(photo).save(file, "TIFF", compression="tiff_adobe_deflate")
    assert len(encode_tiff(photo)) < len(file.getvalue())

"""The PNG writer, against Pillow's decoder (which checks every checksum)."""

from __future__ import annotations

import io
import zlib

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as PILImage
from PIL import ImageCms

from bgremove import png
from bgremove.png import encode_png


def decode(data: bytes) -> PILImage.Image:
    with PILImage.open(io.BytesIO(data)) as check:
        check.verify()
    picture = PILImage.open(io.BytesIO(data))
    picture.load()
    assert picture.format == "PNG"
    return picture


def pixels(shape: tuple[int, ...], seed: int) -> npt.NDArray[np.uint8]:
    """Noise, steps, and flat parts: each filter has something to win on."""
    random = np.random.default_rng(seed)
    values = random.integers(0, 256, shape).astype(np.uint8)
    if seed % 3 == 1:
        values = np.cumsum(values % 3, axis=0).astype(np.uint8)
    elif seed % 3 == 2:
        values[: shape[0] // 2] = 7
    return values


@pytest.fixture(params=["isal", "zlib"])
def deflate(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the quick package, and as where it is not installed."""
    if request.param == "isal":
        pytest.importorskip("isal", reason="isal is not installed")
    else:
        monkeypatch.setattr(png, "_isal", lambda: None)
    return str(request.param)


@pytest.mark.usefixtures("deflate")
@pytest.mark.parametrize("seed", range(24))
def test_any_picture_comes_back(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(seed)
    height, width = (int(side) for side in random.integers(1, 200, 2))
    shape = [(height, width), (height, width, 2), (height, width, 3), (height, width, 4)][seed % 4]
    monkeypatch.setattr(png, "_STRIP_BYTES", [1 << 20, 1000, 1][seed % 3])  # one strip, some, a row each
    picture = pixels(shape, seed)
    decoded = decode(encode_png(picture, level=seed % 10))
    assert decoded.mode == ["L", "LA", "RGB", "RGBA"][seed % 4]
    np.testing.assert_array_equal(np.asarray(decoded), picture)


@pytest.mark.usefixtures("deflate")
@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 4), (1, 5000, 3), (5000, 1, 3), (2, 30000, 4), (30000, 2)])
def test_extreme_shapes(shape: tuple[int, ...]) -> None:
    picture = pixels(shape, 0)
    np.testing.assert_array_equal(np.asarray(decode(encode_png(picture))), picture)


def test_parts_of_arrays_and_other_memory_orders(noise_strides: npt.NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(np.asarray(decode(encode_png(noise_strides))), noise_strides)


@pytest.fixture(params=["every other", "turned", "columns first"])
def noise_strides(request: pytest.FixtureRequest) -> npt.NDArray[np.uint8]:
    picture = pixels((60, 40, 3), 0)
    match request.param:
        case "every other":
            return picture[::2, ::-1]
        case "turned":
            return picture.transpose(1, 0, 2)
    return np.asfortranarray(picture)


def test_many_strips_of_a_large_picture() -> None:
    picture = pixels((1500, 1200, 4), 1)
    assert picture.nbytes > 3 * png._STRIP_BYTES
    np.testing.assert_array_equal(np.asarray(decode(encode_png(picture))), picture)


def test_higher_levels_are_smaller_and_lossless() -> None:
    rows, columns = np.mgrid[:300, :300]
    picture = np.dstack([rows, columns, rows ^ columns]).astype(np.uint8)
    sizes = [len(encode_png(picture, level=level)) for level in (0, 1, 9)]
    assert sizes[0] > picture.nbytes > sizes[1] > sizes[2]


def test_not_much_larger_than_pillows(photo: npt.NDArray[np.uint8]) -> None:
    """Two filters, one choice a strip, against Pillow's five, one choice a row."""
    file = io.BytesIO()
    PILImage.fromarray(photo).save(file, "PNG", compress_level=6)
    assert len(encode_png(photo, level=6)) < 1.15 * len(file.getvalue())


def test_profile_resolution_and_exif_are_read_back() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = PILImage.Exif()
    exif[0x010F] = "Maker"
    for block in (exif.tobytes(), exif.tobytes().removeprefix(b"Exif\0\0")):
        data = encode_png(pixels((5, 6, 3), 0), icc=profile, dpi=(300, 150), exif=block)
        picture = decode(data)
        assert picture.info["icc_profile"] == profile
        assert picture.info["dpi"] == pytest.approx((300, 150), abs=0.02)
        assert picture.getexif()[0x010F] == "Maker"
        np.testing.assert_array_equal(np.asarray(picture), pixels((5, 6, 3), 0))


@pytest.mark.parametrize("seed", range(8))
def test_joined_checksums(seed: int) -> None:
    random = np.random.default_rng(seed)
    first = random.bytes(int(random.integers(0, 200_000)))
    second = random.bytes([0, 1, 65521, 65520, 300_000, 7, 131042, 5552][seed])
    joined = png._combine_adler32(zlib.adler32(first), zlib.adler32(second), len(second))
    assert joined == zlib.adler32(first + second)

"""Pictures in and out, against what Pillow itself wrote or reads."""

from __future__ import annotations

import functools
import io
import os
import re
import stat
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pillow_heif
import pytest
from PIL import Image as PILImage
from PIL import ImageCms, ImageOps

import bgremove
from bgremove.arrays import Image
from bgremove.errors import ImageError, OptionError, OutputError
from bgremove.io import (
    FORMATS,
    Metadata,
    Pixels,
    WriteParams,
    encode,
    frame_from_array,
    open_picture,
    output_format,
    read_frame,
    read_image,
    write_bytes,
)
from tests.conftest import ASSETS, Example, soft_disc

Noise = Callable[..., Image]


def file_of(picture: PILImage.Image, name: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, name, **options)
    return file.getvalue()


def smooth(height: int = 48, width: int = 64) -> Image:
    """Colours that change slowly, so that lossy formats keep them within a few values."""
    rows, columns = np.mgrid[:height, :width]
    return np.dstack([rows * 4, columns * 3, 200 - rows * 2]).astype(np.uint8)


# Reading: formats -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["PNG", "TIFF", "BMP", "DIB", "PPM"])
def test_lossless_formats_are_exact(name: str, noise: Noise) -> None:
    picture = noise(37, 53, 3)
    np.testing.assert_array_equal(read_image(file_of(PILImage.fromarray(picture), name)), picture)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("WEBP", {"quality": 95}),
        ("AVIF", {"quality": 95}),
        ("JPEG2000", {}),
        ("TIFF", {"compression": "jpeg"}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_lossy_formats_are_near(name: str, options: dict[str, Any]) -> None:
    read = read_image(file_of(PILImage.fromarray(smooth()), name, **options))
    assert np.abs(read.astype(int) - smooth()).max() <= 8


def test_heic() -> None:
    file = io.BytesIO()
    pillow_heif.from_pillow(PILImage.fromarray(smooth())).save(file, quality=95)
    with open_picture(file.getvalue()) as picture:
        assert picture.format == "HEIF"
        [frame] = picture
    assert np.abs(frame.image.astype(int) - smooth()).max() <= 8


def test_gif() -> None:
    colours = np.zeros((20, 30, 3), np.uint8)
    colours[5:10, 5:20] = (255, 0, 128)
    read = read_frame(file_of(PILImage.fromarray(colours).quantize(4), "GIF"))
    np.testing.assert_array_equal(read.image, colours)
    assert read.alpha is None


@pytest.mark.parametrize("kind", ["1", "L", "LA", "P", "RGBA"])
def test_png_kinds(kind: str, noise: Noise) -> None:
    picture = PILImage.fromarray(noise(30, 40, 4))
    pil = (picture if kind in ("LA", "RGBA") else picture.convert("RGB")).convert(kind)
    frame = read_frame(file_of(pil, "PNG"))
    rgba = np.asarray(pil.convert("RGBA"))
    np.testing.assert_array_equal(frame.image, rgba[..., :3])
    if kind in ("LA", "RGBA"):
        assert frame.alpha is not None
        np.testing.assert_allclose(frame.alpha * 255, rgba[..., 3], atol=1e-3)
    else:
        assert frame.alpha is None


def test_palette_with_transparency() -> None:
    pil = PILImage.new("P", (3, 1))
    pil.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    pil.putdata([0, 1, 2])
    for transparency, alpha in ((bytes([0, 128, 255]), [0, 128, 255]), (1, [255, 0, 255])):
        frame = read_frame(file_of(pil, "PNG", transparency=transparency))
        assert frame.alpha is not None
        assert frame.image[0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
        np.testing.assert_allclose(frame.alpha[0] * 255, alpha, atol=1e-3)


@pytest.mark.parametrize(("mode", "colour"), [("L", 7), ("RGB", (1, 2, 3))])
def test_one_transparent_colour(mode: str, colour: Any) -> None:
    pil = PILImage.new(mode, (2, 1), colour)
    pil.putpixel((1, 0), 200 if mode == "L" else (200, 200, 200))
    frame = read_frame(file_of(pil, "PNG", transparency=colour))
    assert frame.alpha is not None
    assert frame.alpha.tolist() == [[0.0, 1.0]]


def test_opaque_alpha_is_none(noise: Noise) -> None:
    pil = PILImage.fromarray(noise(4, 5, 3)).convert("RGBA")
    assert read_frame(file_of(pil, "PNG")).alpha is None


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(name: str) -> None:
    ramp = np.linspace(0, 65535, 512).astype(np.uint16).reshape(2, 256)
    read = read_image(file_of(PILImage.fromarray(ramp), name))
    np.testing.assert_array_equal(read, np.repeat(np.rint(ramp / 257)[..., None], 3, axis=2))


def deep_png(values: npt.NDArray[np.uint16]) -> bytes:
    """A 16-bit PNG of RGB or RGBA, which Pillow cannot write."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour_png(channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (20, 30, channels)).astype(np.uint16)
    frame = read_frame(deep_png(values))
    assert np.abs(frame.image - values[..., :3] / 257).max() <= 1
    if channels == 4:
        assert frame.alpha is not None
        assert np.abs(frame.alpha * 255 - values[..., 3] / 257).max() <= 1


def test_16_bit_colour_tiff() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (8, 10, 3)).astype("<u2")
    tags = [
        (256, 4, 1, 10),
        (257, 4, 1, 8),
        (258, 3, 3, 8),  # bits per sample, 16 x 3, put right after the header
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 14),
        (277, 3, 1, 3),
        (278, 4, 1, 8),
        (279, 4, 1, values.nbytes),
    ]
    head = struct.pack("<2sHI3H", b"II", 42, 14 + values.nbytes, 16, 16, 16)
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    read = read_image(head + values.tobytes() + directory + bytes(4))
    assert np.abs(read - values / 257).max() <= 1


def test_float_tiff() -> None:
    grey = np.linspace(0, 1, 60, dtype=np.float32).reshape(6, 10)
    np.testing.assert_array_equal(
        read_image(file_of(PILImage.fromarray(grey), "TIFF"))[..., 1], np.rint(grey * 255)
    )
    for wrong in (grey * 255, grey - 0.5, np.where(grey > 0.9, np.float32(np.nan), grey)):
        with pytest.raises(ImageError, match="grey values"):
            read_image(file_of(PILImage.fromarray(wrong), "TIFF"))


def test_a_tiff_of_several_pages_gives_its_first_and_says_so(noise: Noise) -> None:
    pages = [PILImage.fromarray(page) for page in noise(3, 12, 15, 3)]
    data = file_of(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    with open_picture(data, name="scan.tif") as picture:
        assert picture.frames == 1
        assert picture.notes == ("scan.tif has 3 pages; only the first is used",)
        [frame] = picture
    np.testing.assert_array_equal(frame.image, np.asarray(pages[0]))


def test_path_text_bytes_and_pil_are_one(tmp_path: Path, noise: Noise) -> None:
    picture = noise(12, 15, 3)
    path = tmp_path / "a picture.png"
    PILImage.fromarray(picture).save(path)
    for source in (path, str(path), path.read_bytes(), PILImage.fromarray(picture), picture):
        np.testing.assert_array_equal(read_image(source), picture)


def test_the_name_says_nothing_about_the_format(tmp_path: Path, noise: Noise) -> None:
    path = tmp_path / "really.jpg"
    path.write_bytes(file_of(PILImage.fromarray(noise(5, 6, 3)), "PNG"))
    np.testing.assert_array_equal(read_image(path), noise(5, 6, 3))


def test_files_are_closed(tmp_path: Path, noise: Noise) -> None:
    """pytest turns the ResourceWarning of a file left open into an error; so does Windows's rename."""
    path = tmp_path / "a.png"
    PILImage.fromarray(noise(5, 6, 3)).save(path)
    with open_picture(path) as picture:
        list(picture)
    handles = Path("/proc/self/fd")
    if handles.exists():
        assert str(path) not in [os.readlink(one) for one in handles.iterdir() if one.exists()]


# Reading: orientation and colour --------------------------------------------------------------------


def with_orientation(orientation: int) -> PILImage.Exif:
    exif = PILImage.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientation_is_applied_once(name: str, orientation: int) -> None:
    stored = smooth(40, 56)
    transpose: dict[int, Callable[[Image], Image]] = {
        1: lambda x: x,
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.transpose(1, 0, 2),
        6: lambda x: x.transpose(1, 0, 2)[:, ::-1],
        7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
        8: lambda x: x.transpose(1, 0, 2)[::-1],
    }
    upright = transpose[orientation](stored)
    data = file_of(PILImage.fromarray(stored), name, exif=with_orientation(orientation))
    with open_picture(data) as picture:
        [frame] = picture
    assert picture.size == frame.image.shape[:2] == upright.shape[:2]
    assert np.abs(frame.image.astype(int) - upright).max() <= 12
    # Written again and read again, it is still upright.
    again = read_image(encode([frame.image], FORMATS["png"], metadata=picture.metadata))
    np.testing.assert_array_equal(again, frame.image)


def test_heic_orientation() -> None:
    file = io.BytesIO()
    heif = pillow_heif.from_pillow(PILImage.fromarray(smooth(40, 56)))
    heif.save(file, quality=95, exif=with_orientation(6).tobytes())
    read = read_image(file.getvalue())
    assert np.abs(read.astype(int) - smooth(40, 56).transpose(1, 0, 2)[:, ::-1]).max() <= 8


def test_nonsense_orientation_is_none(noise: Noise) -> None:
    picture = noise(5, 6, 3)
    for orientation in (0, 9, 77):
        data = file_of(PILImage.fromarray(picture), "PNG", exif=with_orientation(orientation))
        np.testing.assert_array_equal(read_image(data), picture)


def test_cmyk_without_a_profile() -> None:
    """Ink takes away light: R = 255 (1 - C)(1 - K)."""
    inks = np.random.default_rng(0).integers(0, 256, (10, 12, 4), np.uint8)
    light = 1 - inks / 255
    expected = 255 * light[..., :3] * light[..., 3:]
    read = read_image(file_of(PILImage.frombytes("CMYK", (12, 10), inks.tobytes()), "TIFF"))
    assert np.abs(read - expected).max() <= 2
    flat = PILImage.new("CMYK", (16, 16), (0, 128, 255, 20))
    read = read_image(file_of(flat, "JPEG", quality=95))
    assert np.abs(read - 255 * np.array([1, 127 / 255, 0]) * (235 / 255)).max() <= 4


def cmyk_profile() -> bytes:
    """A small CMYK profile: Lab at the 16 corners of the ink cube, linear between (ICC.1, lut8Type)."""
    corners = []
    for index in range(16):
        c, m, y, k = (index >> 3) & 1, (index >> 2) & 1, (index >> 1) & 1, index & 1
        lightness = 0 if k else 100 - 20 * c - 30 * m - 5 * y
        a, b = (0, 0) if k else (60 * m - 40 * c, 70 * y - 40 * c)
        corners += [round(lightness * 2.55), a + 128, b + 128]
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    ramp = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + ramp * 4 + bytes(corners) + ramp * 3
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    text = b"text" + bytes(4) + b"test\0"
    name = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = [(b"A2B0", table), (b"wtpt", white), (b"cprt", text), (b"desc", name)]
    offset, listing, body = 132 + 12 * len(tags), b"", b""
    for key, data in tags:
        data += bytes(-len(data) % 4)
        listing += key + struct.pack(">II", offset + len(body), len(data))
        body += data
    size = offset + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"test", 0x02400000, b"prtr", b"CMYK", b"Lab ") + bytes(12)
    head += b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061) + bytes(48)
    return head + struct.pack(">I", len(tags)) + listing + body


@pytest.mark.parametrize("name", ["JPEG", "TIFF"])
@pytest.mark.parametrize(
    "inks", [(0, 0, 0, 0), (0, 0, 0, 255), (0, 255, 0, 0), (0, 0, 255, 0), (60, 40, 0, 0)]
)
def test_cmyk_goes_through_its_profile(name: str, inks: Any) -> None:
    flat = PILImage.new("CMYK", (16, 16), inks)
    with open_picture(file_of(flat, name, icc_profile=cmyk_profile())) as picture:
        [frame] = picture
    assert picture.metadata.icc is None  # used up; the result is sRGB
    expected = np.array(lab_to_srgb(*_lab_of(inks)))
    assert np.abs(frame.image.astype(int) - expected).max() <= 4


def _lab_of(inks: tuple[int, int, int, int]) -> tuple[float, float, float]:
    c, m, y, k = (ink / 255 for ink in inks)
    return (0, 0, 0) if k else (100 - 20 * c - 30 * m - 5 * y, 60 * m - 40 * c, 70 * y - 40 * c)


def lab_to_srgb(lightness: float, a: float, b: float) -> list[int]:
    """CIE 15 and IEC 61966-2-1, with the Bradford matrix from D50."""
    y = (lightness + 16) / 116

    def cube(t: float) -> float:
        return t**3 if t > 6 / 29 else 3 * (6 / 29) ** 2 * (t - 4 / 29)

    xyz = np.array([0.9642, 1.0, 0.8249]) * [cube(y + a / 500), cube(y), cube(y - b / 200)]
    matrix = [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
    linear = np.clip(np.array(matrix) @ xyz, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return [round(float(value) * 255) for value in encoded]


def test_lab() -> None:
    flat = PILImage.new("LAB", (8, 8), (178, 188, 128))  # L 70, a 60, b 0, as Pillow holds them
    read = read_image(file_of(flat, "TIFF"))
    assert np.abs(read.astype(int) - lab_to_srgb(178 / 2.55, 60, 0)).max() <= 5


def test_a_damaged_profile_is_no_reason_to_fail() -> None:
    flat = PILImage.new("CMYK", (16, 16), (0, 255, 0, 0))
    damaged = file_of(flat, "TIFF", icc_profile=b"no profile at all" * 20)
    assert np.abs(read_image(damaged) - np.array([255, 0, 255])).max() <= 2
    with open_picture(damaged, name="inks.tif") as picture:
        assert picture.notes == (
            "inks.tif: its colour profile cannot be used, so its colours may be a little off",
        )
    with open_picture(file_of(flat, "TIFF", icc_profile=cmyk_profile())) as picture:
        assert picture.notes == ()


# Reading: metadata ------------------------------------------------------------------------------------


@functools.cache  # it holds the time it was made at
def srgb_profile() -> bytes:
    return bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())


def a_full_exif() -> PILImage.Exif:
    exif = PILImage.Exif()
    exif[0x010F], exif[0x0110], exif[0x8298] = "Maker", "Model 7", "(c) somebody"
    exif[0x0112] = 6
    exif.get_ifd(0x8769).update({0x829A: 0.01, 0x9003: "2026:05:04 03:02:01", 0xA002: 56, 0xA003: 40})
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0)})
    return exif


def check_exif(exif: PILImage.Exif) -> None:
    assert exif[0x010F] == "Maker"
    assert exif[0x8298] == "(c) somebody"
    assert exif.get(0x0112, 1) == 1
    inside = exif.get_ifd(0x8769)
    assert inside[0x9003] == "2026:05:04 03:02:01"
    assert float(inside[0x829A]) == pytest.approx(0.01)
    # The size may have changed: none is better than a wrong one (TIFF's own tags excepted).
    assert 0xA002 not in inside and 0xA003 not in inside
    assert exif.get_ifd(0x8825)[1] == "N"
    assert [float(part) for part in exif.get_ifd(0x8825)[2]] == [52, 31, 12]


@pytest.mark.parametrize("target", ["png", "jpeg", "webp", "tiff", "avif"])
@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_metadata_survives_remove(source: str, target: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"exif": a_full_exif().tobytes(), "icc_profile": srgb_profile()}
    has_dpi = source in ("JPEG", "PNG", "TIFF") and target in ("png", "jpeg", "tiff")
    if has_dpi:
        options["dpi"] = (300, 300)
    path = tmp_path / "in.any"
    path.write_bytes(file_of(PILImage.fromarray(soft_disc(edge=1).image), source, **options))
    for strip in (False, True):
        made = bgremove.remove(
            path,
            "contour",
            "white" if target == "jpeg" else "transparent",
            to=tmp_path / f"out{strip}",
            format=target,
            strip=strip,
        )
        with PILImage.open(made) as written:
            assert written.size == (160, 200)  # turned upright
            if strip:
                assert "icc_profile" not in written.info
                assert not [tag for tag in written.getexif() if tag in (0x010F, 0x8298, 0x8769, 0x8825)]
            else:
                assert written.info["icc_profile"] == srgb_profile()
                check_exif(written.getexif())
                if has_dpi:
                    assert written.info["dpi"] == pytest.approx((300, 300), abs=0.05)


def test_metadata_of_heic() -> None:
    file = io.BytesIO()
    heif = pillow_heif.from_pillow(PILImage.fromarray(smooth()))
    heif.save(file, exif=a_full_exif().tobytes(), icc_profile=srgb_profile())
    with open_picture(file.getvalue()) as picture:
        assert picture.size == (64, 48)
        assert picture.metadata.icc == srgb_profile()
        block = PILImage.Exif()
        block.load(picture.metadata.exif or b"")
    check_exif(block)


def test_a_grey_picture_gets_no_rgb_profile(noise: Noise) -> None:
    data = encode([noise(5, 6)], FORMATS["png"], metadata=Metadata(icc=srgb_profile()))
    with PILImage.open(io.BytesIO(data)) as written:
        assert "icc_profile" not in written.info


def test_damaged_exif_is_left_out_with_a_note(noise: Noise) -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x87\x69\0\x04\0\0\0\x01\0\0\xff\xff" + bytes(4)
    data = file_of(PILImage.fromarray(noise(40, 50, 3)), "JPEG", exif=exif)
    with open_picture(data) as picture:
        [frame] = picture
    assert frame.image.shape == (40, 50, 3)


# Reading: animations --------------------------------------------------------------------------------


def an_animation(name: str, count: int = 5, **options: Any) -> bytes:
    frames = []
    for index in range(count):
        frame = np.zeros((60, 80, 4), np.uint8)
        frame[..., :3], frame[..., 3] = (30, 60, 90), 255
        frame[15:45, 10 + 8 * index : 40 + 8 * index, :3] = (250, 200, 40)
        frames.append(PILImage.fromarray(frame).convert("RGB"))
    durations = [100, 250, 40, 500, 70][:count]
    options = {"duration": durations, "loop": 0} | options
    if name == "WEBP":
        options["lossless"] = True
    return file_of(frames[0], name, save_all=True, append_images=frames[1:], **options)


@pytest.mark.parametrize("target", ["png", "webp", "gif"])
@pytest.mark.parametrize("source", ["GIF", "WEBP", "PNG"])
def test_animations_keep_frames_and_times(source: str, target: str) -> None:
    data = bgremove.remove(an_animation(source), "contour", format=target)
    with PILImage.open(io.BytesIO(data)) as written:
        assert (written.format or "").lower() == target
        assert getattr(written, "n_frames", 1) == 5
        assert written.info.get("loop", 0) == 0
        for index, duration in enumerate([100, 250, 40, 500, 70]):
            written.seek(index)
            rgba = np.asarray(written.convert("RGBA"))
            assert written.info["duration"] == duration
            # The square, where it is in this frame, and nothing else.
            inside = rgba[20:40, 15 + 8 * index : 35 + 8 * index]
            assert (inside[..., 3] == 255).all()
            assert np.abs(inside[..., :3].astype(int) - (250, 200, 40)).max() <= 8
            assert (rgba[:10, :, 3] == 0).all() and (rgba[50:, :, 3] == 0).all()


@pytest.mark.parametrize("name", ["GIF", "WEBP", "PNG"])
@pytest.mark.parametrize("loop", [0, 1, 3])
def test_animations_repeat_as_often(name: str, loop: int) -> None:
    data = bgremove.remove(an_animation(name, loop=loop), "contour", format=name.lower())
    with PILImage.open(io.BytesIO(data)) as written:
        assert written.info.get("loop") == loop


def test_a_gif_that_plays_once_plays_once() -> None:
    """No repeat count in a GIF means once; 0 in WebP and PNG would mean for ever."""
    data = an_animation("GIF", loop=None)
    with PILImage.open(io.BytesIO(data)) as source:
        assert "loop" not in source.info
    for target in ("gif", "webp", "png"):
        with PILImage.open(io.BytesIO(bgremove.remove(data, "contour", format=target))) as written:
            assert written.info.get("loop", 1) == 1, target


def test_an_animation_needs_a_format_that_moves() -> None:
    with pytest.raises(OptionError, match="TIFF cannot hold an animation; write one of png, webp, gif"):
        bgremove.remove(an_animation("GIF"), "contour", format="tiff")


@pytest.mark.parametrize("name", ["GIF", "WEBP", "PNG"])
def test_transparent_animations_keep_their_transparency(name: str) -> None:
    frames = np.zeros((4, 20, 40, 4), np.uint8)
    for index in range(4):
        frames[index, 5:15, 8 * index : 8 * index + 10] = (255, 0, 0, 255)
    pictures = [PILImage.fromarray(pixels) for pixels in frames]
    options: dict[str, Any] = {"lossless": True} if name == "WEBP" else {"disposal": 2}
    data = file_of(pictures[0], name, save_all=True, append_images=pictures[1:], duration=50, **options)
    with open_picture(data) as picture:
        read = list(picture)
    assert [frame.duration for frame in read] == [50] * 4
    for frame, expected in zip(read, frames, strict=True):
        assert frame.alpha is not None
        np.testing.assert_array_equal(frame.alpha == 1, expected[..., 3] == 255)


def test_the_still_in_front_of_a_png_animation_is_no_frame() -> None:
    pictures = [PILImage.new("RGB", (20, 10), (60 * index, 0, 0)) for index in range(4)]
    data = file_of(
        pictures[0],
        "PNG",
        save_all=True,
        append_images=pictures[1:],
        duration=[10, 20, 30],
        default_image=True,
    )
    with open_picture(data) as picture:
        assert picture.frames == 3
        assert [(int(one.image[0, 0, 0]), one.duration) for one in picture] == [
            (60, 10),
            (120, 20),
            (180, 30),
        ]


def test_cropped_frames_have_one_size() -> None:
    for target in ("png", "webp", "gif"):
        data = bgremove.remove(an_animation("PNG"), "contour", format=target, crop=True)
        with PILImage.open(io.BytesIO(data)) as written:
            width, height = written.size
            assert 61 <= width <= 68 and 29 <= height <= 36  # 32 px of movement and 30 of square
            assert getattr(written, "n_frames", 1) == 5


# Reading: arrays ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
def test_arrays_of_every_layout(dtype: type, channels: int | None, noise: Noise) -> None:
    base = noise(6, 7, *([] if channels is None else [channels]))
    top = 1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    frame = frame_from_array((base / 255 * top).astype(dtype))
    colours = base.reshape(6, 7, -1)[..., : 3 if (channels or 1) > 2 else 1]
    np.testing.assert_array_equal(frame.image, np.broadcast_to(colours, (6, 7, 3)))
    if channels in (2, 4):
        assert frame.alpha is not None and frame.alpha.dtype == np.float32
        np.testing.assert_allclose(frame.alpha, base[..., -1] / 255, atol=1e-3)
    else:
        assert frame.alpha is None


def test_big_endian_arrays_are_read() -> None:
    values = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    np.testing.assert_array_equal(frame_from_array(values.astype(">u2")).image[..., 0], values // 257)


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros((0, 5, 3), np.uint8), "has no pixels"),
        (np.zeros((5, 0), np.uint8), "has no pixels"),
        (np.zeros((5, 5, 5), np.uint8), "must be uint8, uint16 or float"),
        (np.zeros((2, 5, 5, 3), np.uint8), "must be uint8, uint16 or float"),
        (np.zeros(5, np.uint8), "must be uint8, uint16 or float"),
        (np.zeros((5, 5), np.int32), r"got int32 \(5, 5\)"),
        (np.zeros((5, 5), bool), r"got bool \(5, 5\)"),
        (np.zeros((5, 5), complex), "got complex128"),
        (np.full((5, 5, 3), 255.0), "within 0 and 1; got 255.0 to 255.0"),
        (np.full((5, 5, 3), -0.1), "within 0 and 1"),
        (np.full((5, 5, 3), np.nan), "remove any NaN"),
        (np.where(np.eye(5) > 0, np.nan, 0.5), "remove any NaN"),
        (np.where(np.eye(5) > 0, np.inf, 0.5), "within 0 and 1"),
    ],
)
def test_arrays_that_are_no_pictures(array: npt.NDArray[Any], sentence: str) -> None:
    with pytest.raises(ImageError, match=sentence):
        frame_from_array(array)


# Reading: what is refused ---------------------------------------------------------------------------


def test_missing_empty_folder_and_text(tmp_path: Path) -> None:
    empty, text = tmp_path / "empty.jpg", tmp_path / "text.jpg"
    empty.touch()
    text.write_text("This is no picture.")
    film = tmp_path / "film.jpg"
    film.write_bytes(b"\0\0\0 ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(100))
    cases: list[tuple[str | Path, str]] = [
        (tmp_path / "none.jpg", "none.jpg does not exist; check the path"),
        (empty, r"empty.jpg is empty \(0 bytes\); give a picture"),
        (tmp_path, "is a folder; give a picture"),
        (text, r"text.jpg is not a picture that can be read \(it begins with 'This is no p'\)"),
        (film, r"film.jpg is a video, not a picture; use: bgremove video"),
        (tmp_path / ("x" * 300), "cannot be opened: File name too long"),
        ("nul\0byte", "cannot be opened"),
    ]
    for path, sentence in cases:
        with pytest.raises(ImageError, match=sentence):
            read_image(path)
    with pytest.raises(ImageError, match="the picture is empty"):
        read_image(b"")


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_truncated_files(name: str, share: float, noise: Noise) -> None:
    data = file_of(PILImage.fromarray(noise(120, 150, 3)), name)
    with pytest.raises(ImageError, match="damaged or incomplete|is it complete|not a picture"):
        read_image(data[: int(len(data) * share)])


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "AVIF", "BMP"])
def test_random_damage_is_one_sentence_or_a_picture(name: str) -> None:
    whole = file_of(PILImage.fromarray(smooth()), name)
    random = np.random.default_rng(0)
    for _ in range(25):
        data = bytearray(whole)
        for place in random.integers(0, len(data), 6):
            data[place] = int(random.integers(256))
        try:
            read_frame(bytes(data))
        except ImageError as error:
            assert "\n" not in str(error)
        except UserWarning:  # Pillow's own, of odd tags
            pass


def test_formats_that_run_code_or_hold_no_photos_are_refused(noise: Noise) -> None:
    eps = file_of(PILImage.fromarray(noise(5, 6, 3)), "EPS")
    for data in (eps, b"%PDF-1.4\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\x7fELF" + bytes(60)):
        with pytest.raises(ImageError, match="is not a picture that can be read"):
            read_image(data)


@pytest.mark.parametrize("wrong", [None, 3, [1, 2], bytearray(b"x"), {"a": 1}])
def test_other_things_are_refused(wrong: Any) -> None:
    with pytest.raises(ImageError, match=f"expected a path, .* got {type(wrong).__name__}"):
        read_image(wrong)


def bomb(side: int = 12000) -> bytes:
    """A grey PNG of side x side zeros: 144 MP in under 20 KB at one bit a pixel."""
    rows = zlib.compress(bytes((side // 8 + 1) * side), 9)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_picture_beyond_the_limit_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb())
    assert path.stat().st_size < 20_000
    code = (
        "import resource, sys, time\n"
        "from bgremove.io import read_image\n"
        "from bgremove.errors import ImageError\n"
        "before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()\n"
        "try: read_image(sys.argv[1])\n"
        "except ImageError as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, time.perf_counter() - start)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    sentence, figures = done.stdout.splitlines()
    assert sentence == (
        f"{path} has 144 megapixels (12000 x 12000), more than the limit of 100; raise it with "
        "--max-megapixels 144 (max_megapixels= in Python) if you trust the file"
    )
    kilobytes, seconds = figures.split()
    assert int(kilobytes) < 20_000
    assert float(seconds) < 1


def test_the_limit_can_be_raised_and_lowered(noise: Noise) -> None:
    assert read_image(bomb(10400), max_megapixels=109).shape == (10400, 10400, 3)
    with pytest.raises(ImageError, match="more than the limit of 0.001"):
        read_image(file_of(PILImage.fromarray(noise(50, 50, 3)), "PNG"), max_megapixels=0.001)
    with pytest.raises(ImageError, match="more than the limit"):
        read_image(PILImage.new("1", (20000, 20000)))


def test_pillows_own_limit_is_left_as_it_was(noise: Noise) -> None:
    before = PILImage.MAX_IMAGE_PIXELS
    read_image(file_of(PILImage.fromarray(noise(5, 5, 3)), "PNG"))
    with pytest.raises(ImageError):
        read_image(b"no picture")
    assert before == PILImage.MAX_IMAGE_PIXELS is not None


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 30000, 3), (30000, 2, 3)])
def test_extreme_shapes_are_read(shape: tuple[int, int, int], noise: Noise) -> None:
    picture = noise(*shape)
    np.testing.assert_array_equal(read_image(file_of(PILImage.fromarray(picture), "PNG")), picture)


# Writing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("channels", [None, 3, 4])
def test_every_format_is_what_it_says(name: str, channels: int | None) -> None:
    picture: Pixels = np.dstack([smooth(), np.full((48, 64), 255, np.uint8)])
    picture[:, :20] = 0
    picture = picture[..., 0] if channels is None else picture[..., :channels]
    row = FORMATS[name]
    if channels == 4 and row.alpha == "none":
        with pytest.raises(OptionError, match=f"{name.upper()} cannot hold transparency; add a background"):
            encode([picture], row)
        return
    with PILImage.open(io.BytesIO(encode([picture], row))) as written:
        assert written.format == row.pillow
        decoded = written.convert({None: "L", 3: "RGB", 4: "RGBA"}[channels])
        difference = np.abs(np.asarray(decoded).astype(int) - picture)
        assert np.median(difference) <= 4
        if row.alpha == "soft" and channels == 4:
            np.testing.assert_array_equal(np.asarray(decoded)[..., 3], picture[..., 3])


@pytest.mark.parametrize("name", ["png", "tiff", "bmp"])
def test_lossless_formats_lose_nothing(name: str, noise: Noise) -> None:
    picture = noise(21, 34, 3)
    np.testing.assert_array_equal(read_image(encode([picture], FORMATS[name])), picture)


def test_webp_of_quality_100_is_lossless(noise: Noise) -> None:
    picture = noise(21, 34, 4)
    picture[..., 3] |= 1  # WebP may drop the colour under alpha 0
    data = encode([picture], FORMATS["webp"], WriteParams(quality=100))
    with PILImage.open(io.BytesIO(data)) as written:
        np.testing.assert_array_equal(np.asarray(written.convert("RGBA")), picture)


@pytest.mark.parametrize("name", ["jpeg", "webp", "avif"])
def test_quality_is_used(name: str, photo: Image) -> None:
    sizes = [len(encode([photo], FORMATS[name], WriteParams(quality=quality))) for quality in (20, 60, 95)]
    assert sizes[0] < 0.6 * sizes[1] < 0.6 * sizes[2]


def test_gif_has_hard_edges(disc: Example) -> None:
    rgba = np.dstack([disc.foreground, np.rint(disc.alpha * 255).astype(np.uint8)])
    with PILImage.open(io.BytesIO(encode([rgba], FORMATS["gif"]))) as written:
        alpha = np.asarray(written.convert("RGBA"))[..., 3]
    np.testing.assert_array_equal(alpha, np.where(rgba[..., 3] >= 128, 255, 0))


@pytest.mark.parametrize(("name", "side"), [("webp", 16384), ("jpeg", 65501), ("gif", 65536)])
def test_a_side_too_long_for_the_format(name: str, side: int) -> None:
    with pytest.raises(
        OutputError, match=f"{name.upper()} cannot hold this picture of {side} x 1: .*; write"
    ):
        encode([np.zeros((1, side, 3), np.uint8)], FORMATS[name])


@pytest.mark.parametrize(
    ("path", "wanted", "name"),
    [
        ("a.png", "auto", "png"),
        ("a.JPG", "auto", "jpeg"),
        ("a.jpeg", "auto", "jpeg"),
        ("a.tif", "auto", "tiff"),
        ("a.png", "webp", "webp"),
        ("a", "auto", "png"),
        (None, "auto", "png"),
        (None, "avif", "avif"),
    ],
)
def test_the_format_of_an_output(path: str | None, wanted: str, name: str) -> None:
    assert output_format(None if path is None else Path(path), wanted).name == name


def test_an_unknown_extension_is_refused() -> None:
    with pytest.raises(OptionError, match="cannot write a.xyz: .xyz is no format written here; name it .png"):
        output_format(Path("a.xyz"), "auto")


# Files ----------------------------------------------------------------------------------------------


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writing_a_file(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["out.png"]


def test_an_existing_file_is_kept_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    path.write_bytes(b"old")
    with pytest.raises(OutputError, match="exists; add --overwrite"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    write_bytes(path, b"new", overwrite=True)
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["out.png"]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_permissions_follow_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_bytes(tmp_path / "new", b"x")
        write_bytes(tmp_path / "new", b"y", overwrite=True)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o666 & ~mask


def test_a_folder_that_is_not_there_or_is_the_target(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write .*: No such file or directory; nothing was changed"):
        write_bytes(tmp_path / "none" / "out.png", b"x")
    with pytest.raises(OutputError, match="is a folder; give a file name"):
        write_bytes(tmp_path, b"x", overwrite=True)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="Not a directory"):
        write_bytes(tmp_path / "file" / "out.png", b"x")


def test_of_two_writers_at_once_one_wins(tmp_path: Path) -> None:
    """`write_bytes` must not look first and write later: another program may write between."""
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from bgremove.errors import OutputError\n"
        "from bgremove.io import write_bytes\n"
        "while time.time() < float(sys.argv[3]): pass\n"
        "for index in range(200):\n"
        "    try: write_bytes(Path(sys.argv[1]) / str(index), sys.argv[2].encode()); print(index)\n"
        "    except OutputError: pass\n"
    )
    start = str(time.time() + 1.5)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, tmp_path, who, start], stdout=subprocess.PIPE, text=True
        )
        for who in ("one", "two")
    ]
    wins = [writer.communicate()[0].split() for writer in writers]
    assert len(wins[0]) + len(wins[1]) == 200
    for won, who in zip(wins, ("one", "two"), strict=True):
        assert all((tmp_path / index).read_text() == who for index in won)
    assert len(names(tmp_path)) == 200


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_FSIZE")
def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    path.write_bytes(b"old")
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from bgremove.errors import OutputError\n"
        "from bgremove.io import write_bytes\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "try: write_bytes(Path(sys.argv[1]), bytes(1_000_000), overwrite=True)\n"
        "except OutputError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert done.stdout == f"cannot write {path}: File too large; nothing was changed\n"
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["out.png"]


def test_every_sample_photograph_is_read() -> None:
    for path in sorted(ASSETS.glob("*.jpg")):
        with PILImage.open(path) as picture:
            expected = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
        np.testing.assert_array_equal(read_image(path), expected)
        assert re.search(path.name, (ASSETS / "SOURCES.md").read_text()), "its source is not said"


def many_scans(count: int, side: int = 200) -> bytes:
    """A progressive JPEG whose last scan is told `count` times."""
    data = file_of(PILImage.new("L", (side, side), 90), "JPEG", progressive=True)
    return data[:-2] + data[data.rfind(b"\xff\xda") : -2] * count + data[-2:]


@pytest.mark.parametrize("as_file", [False, True])
def test_a_jpeg_of_endless_scans_is_not_decoded(tmp_path: Path, as_file: bool) -> None:
    """At 50 megapixels each of its 14 bytes' scans takes 30 ms: 2 MB would take an hour."""
    source: bytes | Path = many_scans(100_000)
    if as_file:
        (tmp_path / "a.jpg").write_bytes(many_scans(100_000))
        source = tmp_path / "a.jpg"
    began = time.process_time()
    with pytest.raises(ImageError, match="is a JPEG of more than 100 scans; save it anew"):
        read_image(source)
    assert time.process_time() - began < 1


def test_what_only_looks_like_scans_does_no_harm(tmp_path: Path) -> None:
    usual = many_scans(3)
    like = b"\xff\xda\0\x08" * 1000
    within = usual[:2] + b"\xff\xe5" + struct.pack(">H", len(like) + 2) + like + usual[2:]  # a thumbnail, say
    (tmp_path / "a.jpg").write_bytes(within + like)  # and a film behind the picture
    for source in (within + like, tmp_path / "a.jpg"):
        np.testing.assert_array_equal(read_image(source), read_image(usual))


@pytest.mark.parametrize("kind", ["TIFF", "GIF"])
def test_the_first_of_many_is_read_at_once(kind: str) -> None:
    small = [PILImage.new("L", (8, 8), shade) for shade in (0, 255)]
    data = file_of(small[0], kind, save_all=True, append_images=small[1:] * 100)
    if kind == "TIFF":  # Pillow would write 20,000 pages for minutes
        data = endless_tiff(20_000)
    began = time.process_time()
    with open_picture(data, first_only=True) as picture:
        assert next(iter(picture)).image.shape == (8, 8, 3)
    assert time.process_time() - began < 1
    assert picture.frames == (2 if kind == "GIF" else 1)
    assert picture.notes == (("the picture has several pages; only the first is used",) * (kind == "TIFF"))
    with open_picture(file_of(small[0], kind), first_only=True) as picture:
        assert picture.frames == 1 and picture.notes == ()


def endless_tiff(pages: int) -> bytes:
    """So many pages of 114 bytes, which share their pixels; counting them takes the square of that."""
    tags = [(256, 3, 8), (257, 3, 8), (258, 3, 8), (259, 3, 1), (262, 3, 1)]
    tags += [(273, 4, 8), (277, 3, 1), (278, 3, 8), (279, 4, 64)]
    page = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, k, 1, v) for tag, k, v in tags)
    step = len(page) + 4
    nexts = [72 + step * number for number in range(1, pages)] + [0]
    return (
        struct.pack("<2sHI", b"II", 42, 72) + bytes(64) + b"".join(page + struct.pack("<I", n) for n in nexts)
    )

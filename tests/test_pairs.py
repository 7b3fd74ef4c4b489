"""Finding, checking and reading pictures with their masks, in every way masks are stored."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as PILImage
from PIL import PngImagePlugin

from bgremove.errors import DataError, ImageError
from bgremove.io import read_image
from bgremove.pairs import Pair, check_pairs, find_pairs, find_split, first_few, read_mask, read_pair

from .conftest import Example

RAMP = np.tile(np.arange(0, 256, 5, dtype=np.uint8), (20, 1))  # 20 x 52, every kind of grey


def save(path: Path, pixels: npt.NDArray[Any] | PILImage.Image, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pil = pixels if isinstance(pixels, PILImage.Image) else PILImage.fromarray(pixels)
    pil.save(path, **options)
    return path


def add_pair(folder: Path, stem: str, height: int = 20, width: int = 52, shade: int = 0) -> Pair:
    image = np.full((height, width, 3), (200, 100 + shade, 50), np.uint8)
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : height // 2, width // 4 :] = 255
    return Pair(
        stem,
        save(folder / "images" / f"{stem}.jpg", image),
        save(folder / "masks" / f"{stem}.png", mask),
    )


# Finding --------------------------------------------------------------------------------------------


def test_pairs_are_found_by_stem_in_sub_folders_too(tmp_path: Path) -> None:
    made = [add_pair(tmp_path, stem) for stem in ("b", "a", "more/c", "x.y")]
    save(tmp_path / "images" / ".hidden.png", RAMP)
    save(tmp_path / "images" / "__MACOSX" / "d.png", RAMP)
    (tmp_path / "masks" / "notes.txt").write_text("no picture")
    listing = find_pairs(tmp_path)
    assert listing.pairs == tuple(sorted(made, key=lambda pair: pair.stem))
    assert listing.problems == ()


def test_what_has_no_partner_is_said(tmp_path: Path) -> None:
    add_pair(tmp_path, "good")
    alone = save(tmp_path / "images" / "alone.jpg", RAMP)
    lost = save(tmp_path / "masks" / "lost.png", RAMP)
    add_pair(tmp_path, "twice")
    save(tmp_path / "images" / "twice.png", RAMP)
    listing = find_pairs(tmp_path)
    assert [pair.stem for pair in listing.pairs] == ["good"]
    assert listing.problems == (
        f"{alone} has no mask",
        f"{lost} has no image",
        f"{tmp_path / 'images' / 'twice.jpg'} and twice.png have one name; keep one of them",
    )


def test_a_folder_of_another_layout_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no folder images and no folder masks; .*found no such folder"):
        find_pairs(tmp_path / "nothing")
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    with pytest.raises(DataError, match="has no folder masks; expected .*found images/, labels/"):
        find_pairs(tmp_path)
    (tmp_path / "masks").mkdir()
    save(tmp_path / "images" / "a.jpg", RAMP)
    with pytest.raises(DataError, match="no picture with a mask: 1 picture in images/ and 0 pictures"):
        find_pairs(tmp_path)


def test_a_training_folder_has_two_sets(tmp_path: Path) -> None:
    add_pair(tmp_path / "train", "a")
    with pytest.raises(
        DataError, match="has no folder val; expected train/images.*found train/: bgremove data"
    ):
        find_split(tmp_path)
    add_pair(tmp_path / "val", "b")
    train, val = find_split(tmp_path)
    assert [pair.stem for pair in (*train.pairs, *val.pairs)] == ["a", "b"]


# Reading --------------------------------------------------------------------------------------------


def test_a_pair_is_read_as_rgb_and_soft_truth(tmp_path: Path, disc: Example) -> None:
    pair = Pair(
        "disc",
        save(tmp_path / "disc.png", disc.image),
        save(tmp_path / "mask.png", np.rint(disc.alpha * 255).astype(np.uint8)),
    )
    image, truth = read_pair(pair)
    assert np.array_equal(image, disc.image)
    assert truth.dtype == np.float32 and np.abs(truth - disc.alpha).max() <= 0.5 / 255 + 1e-6
    assert 0.2 < truth[(truth > 0) & (truth < 1)].mean() < 0.8
    _, hard = read_pair(pair, threshold=0.5)
    assert hard.dtype == np.float32 and set(np.unique(hard)) == {0.0, 1.0}
    assert np.array_equal(hard == 1, truth >= 0.5)


def deep(scale: int) -> PILImage.Image:
    return PILImage.fromarray((RAMP.astype(np.uint16) * scale).astype(np.uint16))


def palette() -> PILImage.Image:
    pil = PILImage.fromarray(255 - RAMP).convert("P")
    pil.putpalette([255 - index for index in range(256) for _ in range(3)])  # index 0 is white
    return pil


def rgba(grey: int) -> PILImage.Image:
    return PILImage.fromarray(np.dstack([np.full_like(RAMP, grey)] * 3 + [RAMP]))


@pytest.mark.parametrize(
    ("name", "pil"),
    {
        "L.png": PILImage.fromarray(RAMP),
        "16 bits.png": deep(257),
        "16 bits.tif": deep(257),
        "8 bits in 16.png": deep(1),
        "palette.png": palette(),
        "RGB.png": PILImage.fromarray(np.dstack([RAMP] * 3)),
        "RGBA with the mask as alpha.png": rgba(0),
        "RGBA, opaque.png": PILImage.fromarray(np.dstack([RAMP] * 3 + [np.full_like(RAMP, 255)])),
        "grey and alpha.png": PILImage.fromarray(np.dstack([np.full_like(RAMP, 9), RAMP])),
        "lossless.webp": PILImage.fromarray(np.dstack([RAMP] * 3)),
        "float.tif": PILImage.fromarray(RAMP.astype(np.float32) / 255),
    }.items(),
)
def test_every_kind_of_mask_has_the_same_values(tmp_path: Path, name: str, pil: PILImage.Image) -> None:
    options = {"lossless": True} if name.endswith("webp") else {}
    mask = read_mask(save(tmp_path / name, pil, **options))
    assert mask.dtype == np.float32 and mask.shape == RAMP.shape
    assert np.allclose(mask, RAMP / 255, atol=1e-6)


def test_sixteen_bits_are_kept(tmp_path: Path) -> None:
    values = np.arange(0, 65536, 13, dtype=np.uint16)[None]
    mask = read_mask(save(tmp_path / "deep.png", PILImage.fromarray(values)))
    assert np.allclose(mask, values / 65535, atol=1e-7)


@pytest.mark.parametrize("kind", ["bits", "bytes", "16 bits", "palette"])
def test_zero_and_one_mean_black_and_white(tmp_path: Path, kind: str) -> None:
    truth = RAMP > 120
    pil = PILImage.fromarray(truth.astype(np.uint16 if kind == "16 bits" else np.uint8))
    if kind == "bits":
        pil = PILImage.fromarray(truth)
        assert pil.mode == "1"
    if kind == "palette":
        pil = pil.convert("P")
    mask = read_mask(save(tmp_path / "mask.png", pil))
    assert np.array_equal(mask, truth.astype(np.float32))


def test_an_empty_mask_is_empty(tmp_path: Path) -> None:
    for dtype in (np.uint8, np.uint16):
        mask = read_mask(save(tmp_path / "black.png", PILImage.fromarray(np.zeros((4, 6), dtype))))
        assert mask.shape == (4, 6) and not mask.any()


def grey_profile(gamma: int) -> bytes:
    """A colour profile of grey pictures, built by hand as the standard ICC.1 says."""
    tags = {
        b"desc": b"desc" + struct.pack(">II", 0, 5) + b"grey\0" + bytes(78),
        b"cprt": b"text" + bytes(4) + b"none\0",
        b"wtpt": b"XYZ " + struct.pack(">I3i", 0, 63190, 65536, 54061),
        b"kTRC": b"curv" + struct.pack(">IIH", 0, 1, gamma * 256),
    }
    table, data, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, body in tags.items():
        table += name + struct.pack(">II", start + len(data), len(body))
        data += body + bytes(-len(body) % 4)
    head = struct.pack(">I4sI4s4s4s12s4s", start + len(data), b"", 0x02100000, b"mntr", b"GRAY", b"XYZ ",
                       bytes(12), b"acsp")  # fmt: skip
    head += bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + data


def test_a_colour_profile_does_not_bend_a_mask(tmp_path: Path) -> None:
    path = save(tmp_path / "mask.png", RAMP, icc_profile=grey_profile(gamma=1))
    assert np.abs(read_image(path)[..., 0].astype(int) - RAMP).max() > 40  # as a picture it is brighter
    assert np.allclose(read_mask(path), RAMP / 255, atol=1e-6)


def test_a_coloured_picture_is_no_mask(tmp_path: Path) -> None:
    photo = np.zeros((20, 52, 3), np.uint8)
    photo[5:, 5:] = (200, 20, 20)
    path = save(tmp_path / "photo.png", photo)
    with pytest.raises(DataError, match="photo.png is a coloured picture; a mask must be black, grey and"):
        read_mask(path)


def test_masks_come_from_bytes_too(tmp_path: Path) -> None:
    data = save(tmp_path / "mask.png", RAMP).read_bytes()
    assert np.allclose(read_mask(data, name="m"), RAMP / 255, atol=1e-6)
    with pytest.raises(ImageError, match="^inner.png is not a picture"):
        read_mask(b"nothing of the sort", name="inner.png")


def test_pictures_and_masks_are_turned_upright(tmp_path: Path) -> None:
    exif = PILImage.Exif()
    exif[0x0112] = 6  # the camera was held on its side: turn it clockwise
    lying = np.zeros((20, 52, 3), np.uint8)
    lying[:, :26] = 255
    turned = np.rot90(lying[..., 0], -1)
    image = save(tmp_path / "a.png", lying, exif=exif)
    image_truth = read_pair(Pair("a", image, save(tmp_path / "m.png", np.ascontiguousarray(turned))))
    assert np.array_equal(image_truth[0][..., 0], turned) and np.array_equal(image_truth[1] * 255, turned)
    _, truth = read_pair(Pair("a", image, save(tmp_path / "n.png", lying[..., 0], exif=exif)))
    assert np.array_equal(truth * 255, turned)
    deep_mask = PILImage.fromarray(lying[..., 0].astype(np.uint16) * 257)
    _, truth = read_pair(Pair("a", image, save(tmp_path / "d.png", deep_mask, exif=exif)))
    assert np.array_equal(truth * 255, turned)
    with pytest.raises(DataError, match="is 52 x 20, .* is 20 x 52; one of them lies on its side"):
        read_pair(Pair("a", image, save(tmp_path / "o.png", lying[..., 0])))


def test_other_colour_modes_are_read(tmp_path: Path) -> None:
    mask = save(tmp_path / "mask.png", RAMP)
    cmyk = PILImage.new("CMYK", (52, 20), (0, 255, 255, 0))
    image, _ = read_pair(Pair("a", save(tmp_path / "cmyk.jpg", cmyk, quality=95), mask))
    assert image.shape == (20, 52, 3) and image[0, 0, 0] > 180 and image[0, 0, 1] < 60


def test_sizes_must_agree(tmp_path: Path) -> None:
    pair = add_pair(tmp_path, "a")
    save(pair.mask, np.zeros((10, 26), np.uint8))
    with pytest.raises(DataError, match="a.png is 26 x 10, .*a.jpg is 52 x 20; a mask must have its pic"):
        read_pair(pair)


def test_broken_files_get_a_sentence(tmp_path: Path) -> None:
    pair = add_pair(tmp_path, "a")
    pair.image.write_bytes(b"not a picture at all")
    with pytest.raises(DataError, match="a.jpg is not a picture that can be read"):
        read_pair(pair)


# Checking -------------------------------------------------------------------------------------------


def test_check_names_every_bad_pair(tmp_path: Path) -> None:
    pairs = [add_pair(tmp_path, f"{index:02}") for index in range(12)]
    save(pairs[1].mask, np.zeros((10, 26), np.uint8))
    pairs[2].image.write_bytes(b"")
    noise = np.random.default_rng(0).integers(0, 256, (20, 52), np.uint8)
    save(pairs[3].mask, noise)
    pairs[3].mask.write_bytes(pairs[3].mask.read_bytes()[:-300])
    save(pairs[4].image, noise)
    pairs[4].image.write_bytes(pairs[4].image.read_bytes()[:-300])
    save(pairs[5].mask, np.dstack([noise, noise, 255 - noise]))
    seen = []
    found = check_pairs(pairs, progress=lambda: seen.append(1))
    assert len(seen) == 12 and len(found) == 5
    parts = (
        "01.png is 26 x 10",
        "02.jpg is empty",
        "03.png is damaged",
        "04.jpg is damaged",
        "05.png is a c",
    )
    for sentence, part in zip(found, parts, strict=True):
        assert part in sentence
    assert check_pairs(pairs[6:]) == []


def test_what_follows_a_whole_picture_is_no_fault(tmp_path: Path) -> None:
    pair = add_pair(tmp_path, "a")
    pair.image.write_bytes(pair.image.read_bytes() + b"trailer of some camera")
    chunk = PngImagePlugin.PngInfo()
    chunk.add_text("note", "x")
    save(pair.mask, RAMP, pnginfo=chunk)
    assert check_pairs([pair]) == []


def test_many_sentences_are_cut_short() -> None:
    assert first_few(["a", "b"], 2) == ["a", "b"]
    assert first_few(["a", "b", "c", "d"], 2) == ["a", "b", "and 2 more"]

"""The layouts of data sets: what belongs together, and to which set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bgremove.datasets import SOURCES
from bgremove.datasets.params import OwnSplitParams
from bgremove.datasets.sources import aisegment
from bgremove.errors import DataError

from .pictures import add_pairs, found_in, mask, picture, save, stems, zipped


def splits(*places: Path, own_split: bool = True) -> dict[str, str | None]:
    found = found_in(*places, own=OwnSplitParams(own_split=own_split))
    return {item.stem: item.split for item in found.items}


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("images", "masks"),
        ("DUTS-TR/DUTS-TR-Image", "DUTS-TR/DUTS-TR-Mask"),
        ("train/blurred_image", "train/mask"),
        ("P3M-500-NP/original_image", "P3M-500-NP/mask"),
        ("JPEGImages", "GT"),
        ("set/im", "set/gt"),
        ("holiday", "cut"),  # of any name: the masks are grey
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_layouts(tmp_path: Path, images: str, masks: str, packed: bool) -> None:
    folder = tmp_path / "source"
    add_pairs(folder, ["a", "b", "c"], images, masks)
    if "P3M" in images or "train" in images:
        add_pairs(folder, ["a"], "x", str(Path(masks).parent / "trimap"))  # is not taken for a mask
    found = found_in(zipped(folder, tmp_path / "source.zip") if packed else folder, own=OwnSplitParams())
    assert stems(found.items) == ["a", "b", "c"] and found.problems == ()


def test_a_pair_is_read(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.png", picture(3))
    save(tmp_path / "masks" / "a.png", mask(3))
    [item] = found_in(tmp_path).items
    sample = item.load()
    assert np.array_equal(sample.image, picture(3))
    assert np.allclose(sample.truth, mask(3) / 255, atol=1e-6)
    assert sample.data == (tmp_path / "images" / "a.png").read_bytes()
    save(tmp_path / "masks" / "a.png", mask(3, height=12))
    with pytest.raises(DataError, match="masks/a.png is 32 x 12, .*images/a.png is 32 x 24"):
        item.load()


def test_two_folders_can_be_named_themselves(tmp_path: Path) -> None:
    add_pairs(tmp_path, ["a", "b"])
    found = found_in(tmp_path / "images", tmp_path / "masks")
    assert stems(found.items) == ["a", "b"]


def test_pictures_and_masks_in_zips_of_their_own(tmp_path: Path) -> None:
    add_pairs(tmp_path / "set", ["a", "b"])
    places = [zipped(tmp_path / "set" / part, tmp_path / f"{part}.zip") for part in ("images", "masks")]
    assert stems(found_in(*places).items) == ["a", "b"]


def test_masks_may_have_an_ending(tmp_path: Path) -> None:
    for number, name in enumerate("ab"):
        save(tmp_path / "images" / f"{name}.jpg", picture(number))
        save(tmp_path / "masks" / f"{name}_mask.png", mask(number))
    found = found_in(tmp_path)
    assert stems(found.items) == ["a", "b"] and not found.problems


def test_what_is_alone_or_double_is_said(tmp_path: Path) -> None:
    add_pairs(tmp_path, ["a", "b", "c"])
    (tmp_path / "masks" / "a.png").unlink()
    (tmp_path / "images" / "b.jpg").unlink()
    save(tmp_path / "images" / "c.png", picture(9))
    add_pairs(tmp_path, ["d"], start=5)
    found = found_in(tmp_path)
    assert stems(found.items) == ["d"]
    assert [problem.removeprefix(f"{tmp_path}/") for problem in sorted(found.problems)] == [
        "images/a.jpg has no mask",
        "images/c.jpg has more than one possible mask",
        "images/c.png has more than one possible mask",
        "masks/b.png has no image",
        "masks/c.png has more than one possible image",
    ]


def test_no_pair_at_all(tmp_path: Path) -> None:
    save(tmp_path / "one" / "a.jpg", picture())
    save(tmp_path / "two" / "b.jpg", picture())
    with pytest.raises(DataError, match="no picture has a mask; .* found 2 pictures in one/, two/: name the"):
        found_in(tmp_path)


def test_names_that_repeat_are_told_apart(tmp_path: Path) -> None:
    for number, part in enumerate(("first", "second")):
        add_pairs(tmp_path / part, ["1"], start=number)
    assert stems(found_in(tmp_path).items) == ["first/1", "second/1"]


# Sets of its own ------------------------------------------------------------------------------------


def test_a_division_of_its_own_is_kept(tmp_path: Path) -> None:
    add_pairs(tmp_path / "P3M-10k" / "train", ["p_1", "p_2"], "blurred_image", "mask")
    add_pairs(tmp_path / "P3M-10k" / "validation" / "P3M-500-P", ["p_3"], "blurred_image", "mask", 5)
    add_pairs(tmp_path / "P3M-10k" / "validation" / "P3M-500-NP", ["p_4"], "original_image", "mask", 6)
    assert splits(tmp_path) == {"p_1": "train", "p_2": "train", "p_3": "val", "p_4": "val"}
    assert splits(tmp_path / "P3M-10k", own_split=False) == dict.fromkeys(["p_1", "p_2", "p_3", "p_4"])
    assert splits(tmp_path / "P3M-10k" / "train") == dict.fromkeys(["p_1", "p_2"])


def test_zips_may_be_named_after_the_sets(tmp_path: Path) -> None:
    places = []
    for number, name in enumerate(("train-0", "train-1", "val")):
        add_pairs(tmp_path / name, [f"x{number}"], start=number)
        places.append(zipped(tmp_path / name, tmp_path / f"{name}.zip"))
    assert splits(*places) == {"x0": "train", "x1": "train", "x2": "val"}


def test_a_test_set_validates_only_where_nothing_else_does(tmp_path: Path) -> None:
    for number, part in enumerate(("TR", "TE")):
        add_pairs(tmp_path / f"DUTS-{part}", [part], f"DUTS-{part}-Image", f"DUTS-{part}-Mask", start=number)
    assert splits(tmp_path) == {"TR": "train", "TE": "val"}
    add_pairs(tmp_path / "val", ["v"], start=7)
    found = found_in(tmp_path, own=OwnSplitParams())
    assert {item.stem: item.split for item in found.items} == {"TR": "train", "v": "val"}
    assert found.problems == ("1 in a test set: left out, as there is another to validate on",)


# AISegment ------------------------------------------------------------------------------------------


def test_aisegment(tmp_path: Path) -> None:
    for top in ("", "matting_human_half"):  # everything is in it twice
        for number, name in enumerate(("18-00003", "18-00005")):
            save(tmp_path / top / "clip_img" / "18" / "clip_00000000" / f"{name}.jpg", picture(number))
            rgba = np.dstack([picture(number), mask(number)])
            save(tmp_path / top / "matting" / "18" / "matting_00000000" / f"{name}.png", rgba)
    (tmp_path / "matting" / "18" / "._matting_00000000").write_bytes(b"of a Mac")
    save(tmp_path / "clip_img" / "18" / "clip_00000000" / "alone.jpg", picture(8))
    opaque = save(tmp_path / "matting" / "19" / "matting_00000001" / "19-1.png", np.dstack([picture()]))
    save(tmp_path / "clip_img" / "19" / "clip_00000001" / "19-1.jpg", picture(9))
    found = found_in(tmp_path, source=aisegment)
    assert stems(found.items) == ["18-00003", "18-00005", "19-1"]
    assert len(found.problems) == 1 and found.problems[0].endswith("alone.jpg has no matte")
    assert np.allclose(found.items[1].load().truth, mask(1) / 255, atol=1e-6)
    with pytest.raises(DataError, match=f"{opaque.name} is opaque everywhere"):
        found.items[2].load()
    with pytest.raises(DataError, match="no picture has a matte; expected clip_img/GROUP"):
        found_in(tmp_path / "clip_img" / "19", source=aisegment)


# The table ------------------------------------------------------------------------------------------


def test_every_source_is_described() -> None:
    assert list(SOURCES) == ["duts", "p3m", "aisegment", "zip", "folder", "composite"]
    for row in SOURCES.values():
        assert row.summary and not row.summary.endswith(".")
        assert bool(row.paper) == bool(row.license) == bool(row.download or row.kaggle)
        if row.download:
            assert row.download.file.endswith(".zip") and row.download.page.startswith("http")

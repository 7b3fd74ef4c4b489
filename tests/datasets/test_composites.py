"""Cut-outs over backgrounds: the picture is what the truth says, and nothing is in both sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bgremove.arrays import Alpha
from bgremove.datasets.build import build_dataset
from bgremove.datasets.composites import Cut, composites, place, read_cut
from bgremove.datasets.params import CompositeParams, DataParams
from bgremove.datasets.sources import Found, Item
from bgremove.errors import DataError, OptionError
from bgremove.pairs import find_split, read_pair

from ..conftest import Example
from .pictures import found_in, save

GREEN, RED = (20, 200, 40), (220, 30, 30)


def disc_alpha(height: int = 60, width: int = 80, centre: float = 0.5) -> Alpha:
    rows, columns = np.mgrid[:height, :width]
    distance = np.hypot(rows - height * centre, columns - width / 2)
    alpha: Alpha = np.clip((height * 0.35 - distance) / 6 + 0.5, 0, 1).astype(np.float32)
    return alpha


def save_cutout(path: Path, alpha: Alpha, colour: tuple[int, int, int] = RED) -> Path:
    """One colour where anything shows; white, which must not be seen, where nothing does."""
    opacity = np.rint(alpha * 255).astype(np.uint8)
    colours = np.where(opacity[..., None] > 0, np.array(colour, np.uint8), np.uint8(255))
    return save(path, np.dstack([colours, opacity]))


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Any]:
    """Six cut-outs and five backgrounds, of one colour each."""
    for number in range(6):
        save_cutout(tmp_path / "cut" / f"c{number}.png", disc_alpha())
    for number in range(5):
        save(tmp_path / "bg" / f"b{number}.png", np.full((90, 120 + number, 3), GREEN, np.uint8))
    return {"cutouts": str(tmp_path / "cut"), "backgrounds": str(tmp_path / "bg")}


def find(own: dict[str, Any], **settings: Any) -> Found:
    return found_in(own=CompositeParams(**own), source=composites, **settings)


def parts_of(items: list[Item]) -> tuple[set[str], set[str]]:
    split = [item.origin.partition(", ")[0].partition(" over ") for item in items]
    return {one[0] for one in split}, {one[2] for one in split}


def test_the_picture_is_the_blend_that_the_truth_says(folders: dict[str, Any]) -> None:
    for item in find({**folders, "count": 12}).items:
        sample = item.load()
        assert sample.image.shape[:2] == sample.truth.shape
        blend = sample.truth[..., None] * RED + (1 - sample.truth[..., None]) * GREEN
        assert np.abs(sample.image - blend).max() <= 1.01  # white under alpha 0 shows nowhere
        assert 0.02 < sample.truth.mean() < 0.9
        assert ((sample.truth > 0.1) & (sample.truth < 0.9)).sum() > 20  # soft


def test_no_cutout_and_no_background_is_in_both_sets(folders: dict[str, Any]) -> None:
    items = find({**folders, "count": 60}, val=0.2).items
    train = [item for item in items if item.split == "train"]
    val = [item for item in items if item.split == "val"]
    assert (len(train), len(val)) == (48, 12)
    (cuts, scenes), (val_cuts, val_scenes) = parts_of(train), parts_of(val)
    assert not cuts & val_cuts and not scenes & val_scenes
    assert len(cuts | val_cuts) == 6 and len(scenes | val_scenes) == 5
    assert len({item.stem for item in items}) > 48


def test_every_cutout_is_used_equally_often(folders: dict[str, Any]) -> None:
    items = find({**folders, "count": 30}, val=0).items
    used = [item.origin.partition(" over ")[0] for item in items]
    assert {used.count(one) for one in set(used)} == {5}


def test_the_seed_decides(folders: dict[str, Any]) -> None:
    first, again, other = (find({**folders, "count": 8}, seed=seed).items for seed in (0, 0, 1))
    for one, two in zip(first, again, strict=True):
        assert one.origin == two.origin and np.array_equal(one.load().image, two.load().image)
    assert any(
        a.load().image.shape != b.load().image.shape or not np.array_equal(a.load().truth, b.load().truth)
        for a, b in zip(first, other, strict=True)
    )


def test_composites_become_a_data_set(folders: dict[str, Any], tmp_path: Path) -> None:
    params = DataParams(val=2, max_size=64)
    found = found_in(own=CompositeParams(**folders, count=10), source=composites, **params.model_dump())
    report = build_dataset(found, tmp_path / "out", params, {})
    assert (report.train, report.val) == (8, 2)
    train, val = find_split(tmp_path / "out")
    for pair in (*train.pairs, *val.pairs):
        image, truth = read_pair(pair)
        assert max(image.shape) <= 64 and len(np.unique(truth)) > 10


def test_backgrounds_and_cutouts_that_are_none(tmp_path: Path, folders: dict[str, Any]) -> None:
    opaque = save(tmp_path / "more" / "opaque.png", np.zeros((8, 8, 3), np.uint8))
    empty = save_cutout(tmp_path / "more" / "empty.png", np.zeros((8, 8), np.float32))
    with pytest.raises(DataError, match="opaque.png has no transparency; a cut-out is"):
        read_cut(opaque)
    with pytest.raises(DataError, match="empty.png shows nothing"):
        read_cut(empty)
    with pytest.raises(OptionError, match="backgrounds is missing; give a folder"):
        find({"cutouts": folders["cutouts"]})
    with pytest.raises(DataError, match="there is no folder nowhere; cutouts must be"):
        find({**folders, "cutouts": "nowhere"})
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="none holds no picture, but nothing"):
        find({**folders, "backgrounds": str(tmp_path / "none")})
    with pytest.raises(OptionError, match="subject_size must be two shares .* got 0.9,0.2"):
        find({**folders, "subject_size": (0.9, 0.2)})
    for number in range(1, 6):
        (tmp_path / "cut" / f"c{number}.png").unlink()
    with pytest.raises(DataError, match="one picture in cutouts; training and validation need one each"):
        find({**folders, "count": 10})
    assert len(find({**folders, "count": 10}, val=0).items) == 10


# Placing --------------------------------------------------------------------------------------------


def test_a_subject_cut_off_by_its_photo_stays_at_that_edge(tmp_path: Path) -> None:
    bust = read_cut(save_cutout(tmp_path / "bust.png", disc_alpha(centre=0.8)))
    assert bust.cut == (False, False, False, True)
    whole = read_cut(save_cutout(tmp_path / "whole.png", disc_alpha()))
    assert whole.cut == (False, False, False, False)
    scene = np.full((100, 140, 3), GREEN, np.uint8)
    floating = 0
    for seed in range(20):
        _, truth = place(bust, scene, (0.3, 0.9), np.random.default_rng(seed))
        assert truth[-1].max() == 1
        _, truth = place(whole, scene, (0.3, 0.9), np.random.default_rng(seed))
        floating += truth[-1].max() == 0
    assert floating > 10


def test_a_band_from_side_to_side_fills_the_width() -> None:
    band = Cut(np.full((10, 40, 3), RED, np.uint8), np.ones((10, 40), np.float32), (True, False, True, False))
    _, truth = place(band, np.zeros((50, 300, 3), np.uint8), (0.3, 0.5), np.random.default_rng(0))
    assert truth[truth.any(axis=1)].all()
    tall = Cut(np.full((80, 4, 3), RED, np.uint8), np.ones((80, 4), np.float32), (True, True, True, True))
    _, truth = place(tall, np.zeros((50, 300, 3), np.uint8), (0.3, 0.5), np.random.default_rng(0))
    assert truth.all()


def test_a_size_of_one_puts_the_subject_there_as_it_is(disc: Example) -> None:
    cut = Cut(disc.foreground, disc.alpha, (False, False, False, False))
    image, truth = place(cut, disc.background, (1, 1), np.random.default_rng(0))
    assert np.allclose(truth, disc.alpha, atol=1e-6)
    visible = disc.alpha > 0.02
    assert np.abs(image.astype(int) - disc.image)[visible].max() <= 1
    assert np.array_equal(image[disc.alpha == 0], disc.background[disc.alpha == 0])

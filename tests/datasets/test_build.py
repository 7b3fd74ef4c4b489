"""The folder that is made: its division, its files, and what a stopped run leaves."""

from __future__ import annotations

import csv
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

from bgremove.datasets.build import Report, build_dataset, by_chance, divide
from bgremove.datasets.params import DataParams, OwnSplitParams
from bgremove.datasets.sources import Found, Item, Sample
from bgremove.errors import DataError, OptionError, OutputError
from bgremove.pairs import find_split, read_pair

from .pictures import add_pairs, found_in, mask, picture, save

NAMES = [f"p{number:02}" for number in range(20)]


def build(source: Path, out: Path, *, add: bool = False, **settings: Any) -> Report:
    params = DataParams(**settings)
    return build_dataset(found_in(source, own=OwnSplitParams()), out, params, {"source": "folder"}, add=add)


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def sample(number: int) -> Sample:
    return Sample(picture(number), mask(number).astype(np.float32) / np.float32(255))


def made(count: int, **fields: Any) -> list[Item]:
    return [Item(f"m{n}", f"m{n}", partial(sample, n), **fields) for n in range(count)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twenty pairs."""
    add_pairs(tmp_path / "source", NAMES)
    return tmp_path / "source"


# Division -------------------------------------------------------------------------------------------


def names_to_validate(count: int, **settings: Any) -> set[str]:
    return {item.stem for item in divide(made(count), DataParams(**settings)) if item.split == "val"}


def test_a_share_or_a_number_is_validated_on() -> None:
    assert len(names_to_validate(100)) == 5
    assert len(names_to_validate(100, val=0.25)) == 25
    assert len(names_to_validate(100, val=3)) == 3
    assert len(names_to_validate(100, val=0)) == 0
    assert len(names_to_validate(3)) == 1  # at least one
    assert len(names_to_validate(1)) == 0  # but never all
    assert len(names_to_validate(3, val=0.99)) == 2


def test_the_seed_decides() -> None:
    assert names_to_validate(100) == names_to_validate(100)
    assert names_to_validate(100) != names_to_validate(100, seed=1)
    assert names_to_validate(100, val=5) <= names_to_validate(100, val=10)
    assert by_chance(["a", "b", "c"], "x") == by_chance(["c", "a", "b"], "x")


@pytest.mark.parametrize(("val", "words"), [(10, "below the number of pairs, which is 10"), (2.5, "a whole")])
def test_a_division_that_cannot_be(val: float, words: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=f"val must be .*{words}.* got {val:g}"):
        build_dataset(Found(tuple(made(10))), tmp_path / "out", DataParams(val=val), {})
    assert not (tmp_path / "out").exists()


def test_a_sources_own_division_is_kept(tmp_path: Path) -> None:
    items = (*made(4, split="train"), *(Item(f"v{n}", f"v{n}", made(1)[0].load, "val") for n in range(3)))
    report = build_dataset(Found(items), tmp_path, DataParams(val=0.5), {})
    assert (report.train, report.val) == (4, 3)
    _, val = find_split(tmp_path)
    assert [pair.stem for pair in val.pairs] == ["v0", "v1", "v2"]


def test_the_same_picture_is_never_in_both(tmp_path: Path) -> None:
    add_pairs(tmp_path / "source" / "train", ["a", "b"])
    add_pairs(tmp_path / "source" / "val", ["c", "d"], start=1)  # c is the same picture as b
    report = build(tmp_path / "source", tmp_path / "out")
    assert (report.train, report.val) == (1, 2)
    [problem] = report.problems
    assert "train/images/b.jpg is the same picture as" in problem and problem.endswith("val/images/c.jpg")


# Files ----------------------------------------------------------------------------------------------


def test_the_layout(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = build(source, out)
    assert report == Report(19, 1, ())
    train, val = find_split(out)
    assert len(train.pairs) == 19 and len(val.pairs) == 1 and not train.problems
    assert {path.split("/")[0] for path in tree(out)} == {"train", "val", "pairs.csv", "dataset.json"}
    for pair in (*train.pairs, *val.pairs):
        assert pair.image.read_bytes() == (source / "images" / pair.image.name).read_bytes()
        assert np.allclose(read_pair(pair)[1], mask(int(pair.stem[1:])) / 255, atol=1e-6)


def test_what_is_written_down(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (source / "masks" / "p00.png").unlink()
    build(source, out, seed=3)
    facts = json.loads((out / "dataset.json").read_text())
    assert (facts["train"], facts["val"]) == (18, 1)
    [run] = facts["runs"]
    assert run["source"] == "folder" and run["settings"]["seed"] == 3 and run["version"]
    assert run["left_out"] == 1 and run["reasons"][0].endswith("p00.jpg has no mask")
    with (out / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 19 and {row["set"] for row in rows} == {"train", "val"}
    for row in rows:
        assert (out / row["set"] / "images" / f"{row['name']}.jpg").exists()
        assert row["from"] == f"{source}/images/{row['name']}.jpg"


def test_pictures_and_masks_shrink_together(tmp_path: Path) -> None:
    save(tmp_path / "source" / "images" / "a.png", picture(0, 60, 120))
    save(tmp_path / "source" / "masks" / "a.png", mask(0, 60, 120))
    save(tmp_path / "source" / "images" / "small.png", picture(1))
    save(tmp_path / "source" / "masks" / "small.png", mask(1))
    build(tmp_path / "source", tmp_path / "out", max_size=40, val=0, image_format="png")
    pairs = {path.stem: path for path in (tmp_path / "out" / "train" / "images").iterdir()}
    with PILImage.open(pairs["a"]) as pil:
        assert pil.size == (40, 20)
        blocks = picture(0, 60, 120).reshape(20, 3, 40, 3, 3).mean(axis=(1, 3))
        assert np.abs(np.asarray(pil) - blocks).max() <= 1
    with PILImage.open(tmp_path / "out" / "train" / "masks" / "a.png") as pil:
        assert pil.mode == "L" and pil.size == (40, 20)
        assert np.abs(np.asarray(pil) - mask(0, 60, 120).reshape(20, 3, 40, 3).mean(axis=(1, 3))).max() <= 1
    assert pairs["small"].read_bytes() == (tmp_path / "source" / "images" / "small.png").read_bytes()


def test_masks_can_be_made_hard(source: Path, tmp_path: Path) -> None:
    build(source, tmp_path / "out", threshold_masks=True)
    train, _ = find_split(tmp_path / "out")
    for pair in train.pairs:
        number = int(pair.stem[1:])
        assert np.array_equal(read_pair(pair)[1], (mask(number) >= 128).astype(np.float32))


def test_pictures_can_be_linked(source: Path, tmp_path: Path) -> None:
    build(source, tmp_path / "out", link=True)
    train, _ = find_split(tmp_path / "out")
    for pair in train.pairs:
        assert os.path.samefile(pair.image, source / "images" / pair.image.name)
        assert not os.path.samefile(pair.mask, source / "masks" / pair.mask.name)


def test_a_limit_takes_some_by_the_seed(source: Path, tmp_path: Path) -> None:
    for number, seed in enumerate((0, 0, 1)):
        build(source, tmp_path / f"{number}", limit=6, seed=seed)
    first, second, other = (tree(tmp_path / f"{number}") for number in range(3))
    assert len(first) == 6 * 2 + 2
    assert first == second != other


def test_names_fit_every_system(tmp_path: Path) -> None:
    names = ["../up", "a:b?", "CON", "same", "SAME", "/abs", "dots. ", "new\nline", ""]
    items = tuple(Item(name, f"{n}", made(1)[0].load) for n, name in enumerate(names))
    build_dataset(Found(items), tmp_path / "out", DataParams(val=0), {})
    assert tree(tmp_path / "out" / "train" / "masks") == {
        "up.png", "a_b_.png", "_CON.png", "same.png", "SAME-2.png", "abs.png", "dots.png", "new_line.png",
        "picture.png",
    }  # fmt: skip
    assert tree(tmp_path) == {f"out/{path}" for path in tree(tmp_path / "out")}


# What is left out -----------------------------------------------------------------------------------


def test_bad_pairs_are_left_out_with_their_reasons(source: Path, tmp_path: Path) -> None:
    save(source / "masks" / "p01.png", mask(1, height=12))
    (source / "images" / "p02.jpg").write_bytes(b"no picture")
    broken = source / "images" / "p03.jpg"
    broken.write_bytes(broken.read_bytes()[:-400])
    counts: list[int] = []
    report = build_dataset(
        found_in(source), tmp_path / "out", DataParams(), {}, progress=counts.append, stop=threading.Event()
    )
    assert report.train + report.val == 17 and len(report.problems) == 3
    assert counts == sorted(counts) and len(counts) == 20 and counts[-1] == 3
    for sentence, part in zip(
        report.problems, ("p01.png is 32 x 12", "p02.jpg is not a picture", "p03.jpg is dam"), strict=True
    ):
        assert part in sentence


def test_nothing_usable_leaves_nothing(tmp_path: Path) -> None:
    add_pairs(tmp_path / "source", ["a", "b"])
    for name in "ab":
        (tmp_path / "source" / "images" / f"{name}.jpg").write_bytes(name.encode() * 9)
    with pytest.raises(DataError, match="no pair could be used: .*a.jpg is not a picture .*, and 1 more"):
        build(tmp_path / "source", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# The folder -----------------------------------------------------------------------------------------


def test_a_full_folder_is_not_touched(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="out is not empty; give another folder, or add --add"):
        build(source, out)
    with pytest.raises(OutputError, match="holds no data set"):
        build(source, out, add=True)
    assert tree(out) == {"thesis.txt"}
    with pytest.raises(OutputError, match="it is not a folder"):
        build(source, out / "thesis.txt")


def test_more_can_be_added(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(source, out)
    before = {name: (out / name).stat().st_mtime_ns for name in tree(out) if "/" in name}
    add_pairs(tmp_path / "more", ["p00", "new"], start=50)
    add_pairs(tmp_path / "more", ["double"], start=4)
    report = build(tmp_path / "more", out, add=True, val=1)
    assert (report.train, report.val) == (1, 1)
    [problem] = report.problems
    assert problem.endswith("double.jpg is in the data set already")
    assert {name: (out / name).stat().st_mtime_ns for name in before} == before
    train, val = find_split(out)
    assert {pair.stem for pair in (*train.pairs, *val.pairs)} == {*NAMES, "p00-2", "new"}
    facts = json.loads((out / "dataset.json").read_text())
    assert (facts["train"], facts["val"], len(facts["runs"])) == (20, 2, 2)
    with pytest.raises(DataError, match="no pair could be used"):
        build(source, out, add=True)
    assert not (out / ".unfinished").exists()


def test_adding_to_a_folder_made_by_hand(source: Path, tmp_path: Path) -> None:
    add_pairs(tmp_path / "out" / "train", ["p03"], start=90)
    build(source, tmp_path / "out", add=True)
    train, val = find_split(tmp_path / "out")
    assert {pair.stem for pair in (*train.pairs, *val.pairs)} == {*NAMES, "p03-2"}


# Interruptions --------------------------------------------------------------------------------------


def slowly(load: Callable[[], Sample]) -> Callable[[], Sample]:
    def loaded() -> Sample:
        time.sleep(0.01)
        return load()

    return loaded


def stopped(source: Path, out: Path, after: int, **settings: Any) -> Report:
    stop = threading.Event()
    seen: list[int] = []

    def progress(failed: int) -> None:
        seen.append(failed)
        if len(seen) == after:
            stop.set()

    found = found_in(source, own=OwnSplitParams())
    slow = tuple(replace(one, load=slowly(one.load)) for one in found.items)
    params, facts = DataParams(**settings), {"source": "folder"}
    return build_dataset(Found(slow), out, params, facts, progress=progress, stop=stop)


def test_a_stopped_run_leaves_no_half_data_set_and_goes_on(source: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    build(source, whole)
    out = tmp_path / "out"
    report = stopped(source, out, after=3)
    assert report.left > 0 and report.train + report.val + report.left == 20
    assert {path.name for path in out.iterdir()} == {".unfinished"}
    with pytest.raises(DataError):
        find_split(out)
    with pytest.raises(
        OutputError, match="unfinished run of other settings; repeat its command .*, or delete"
    ):
        build(source, out, seed=1)
    done = {path: path.stat().st_mtime_ns for path in (out / ".unfinished").rglob("masks/*.png")}
    assert done
    assert build(source, out) == Report(19, 1, ())
    assert tree(out) == tree(whole)
    for path, when in done.items():  # what was there was not made again
        assert (out / path.relative_to(out / ".unfinished")).stat().st_mtime_ns == when
    for name in tree(out) - {"dataset.json"}:
        assert (out / name).read_bytes() == (whole / name).read_bytes()


def test_a_run_that_died_while_moving_goes_on(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(source, out)
    wanted = tree(out)
    # As it is after the first of the two folders was moved.
    work = out / ".unfinished"
    work.mkdir()
    (out / "val").rename(work / "val")
    facts = json.loads((out / "dataset.json").read_text())["runs"][0]
    plan = {key: facts[key] for key in ("version", "source", "settings")}
    (work / "plan.json").write_text(json.dumps({"plan": plan, "earlier": []}))
    (out / "dataset.json").unlink()
    (out / "pairs.csv").unlink()
    assert build(source, out) == Report(19, 1, ())
    assert tree(out) == wanted

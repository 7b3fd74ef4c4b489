"""Where a COCO file is found, and what a user hears without Detectron2."""

from __future__ import annotations

from pathlib import Path

import pytest

from bgremove import detectron2_source
from bgremove.errors import DataError, OptionError
from bgremove.finetuning.params import FREE, FinetuneParams
from bgremove.finetuning.records import CocoSet, find_coco, spread
from tests.cli_helpers import bgremove_here
from tests.picture_sets import disc_set


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_a_coco_file_in_each_part(tmp_path: Path) -> None:
    train = touch(tmp_path / "train" / "annotations.json")
    val = touch(tmp_path / "valid" / "_annotations.coco.json")
    (tmp_path / "train" / "images").mkdir()
    found = find_coco(tmp_path)
    assert found == (CocoSet(train, train.parent / "images"), CocoSet(val, val.parent))


def test_the_layout_of_coco_itself(tmp_path: Path) -> None:
    files = [touch(tmp_path / "annotations" / f"instances_{name}.json") for name in ("train2017", "val2017")]
    assert find_coco(tmp_path) is None  # the pictures are not there
    for name in ("train2017", "val2017"):
        (tmp_path / name).mkdir()
    found = find_coco(tmp_path)
    assert found is not None
    assert [one.annotations for one in found] == files
    assert [one.images.name for one in found] == ["train2017", "val2017"]


def test_a_coco_file_needs_one_to_check_with(tmp_path: Path) -> None:
    touch(tmp_path / "train" / "annotations.json")
    with pytest.raises(DataError, match=r"has no companion to validate on; expected .*val.annotations.json"):
        find_coco(tmp_path)


def test_folders_of_masks_are_no_coco(tmp_path: Path) -> None:
    disc_set(tmp_path / "train")
    assert find_coco(tmp_path) is None


@pytest.mark.parametrize(
    ("count", "most", "expected"), [(3, 5, [0, 1, 2]), (10, 4, [0, 3, 6, 9]), (4, 1, [0])]
)
def test_pictures_are_taken_evenly(count: int, most: int, expected: list[int]) -> None:
    assert [one["n"] for one in spread([{"n": n} for n in range(count)], most)] == expected


def test_settings() -> None:
    assert set(FinetuneParams.model_fields) > FREE
    with pytest.raises(OptionError, match="steps must be a whole number from 1 to 10000000; got 0"):
        FinetuneParams(steps=0)


def test_the_commands_help_needs_nothing() -> None:
    result = bgremove_here("finetune", "--help")
    assert result.exit_code == 0 and "detectron2" in result.stdout
    result = bgremove_here("finetune", "detectron2", "--help")
    assert result.exit_code == 0
    for setting in FinetuneParams.model_fields:
        assert "--" + setting.replace("_", "-") in result.stdout


def test_without_detectron2_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BGREMOVE_HOME", str(tmp_path / "home"))
    if detectron2_source.detectron2_path() is not None:
        pytest.skip("a Detectron2 is installed here")
    result = bgremove_here("finetune", "detectron2", "--data", tmp_path, "-o", tmp_path / "out")
    assert result.exit_code == 1 and "bgremove setup detectron2" in result.stderr
    assert not (tmp_path / "out").exists()

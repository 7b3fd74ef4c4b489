"""The demo: the promised files, a sheet of the right size, twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bgremove.demo import SAMPLES, contact_sheet, sample_path
from tests.cli_helpers import bgremove_here, decode, files, is_one_sentence

VERSIONS = {"cutout": 4, "colour": 3, "picture": 3, "blur": 3}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The demo's folder and what it said."""
    folder = tmp_path_factory.mktemp("demo") / "bgremove-demo"
    result = bgremove_here("demo", "-o", folder)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return folder, result.stdout


def test_the_promised_files_and_no_others(demo: tuple[Path, str]) -> None:
    folder, said = demo
    names = {f"{sample.name}_{version}.png" for sample in SAMPLES for version in VERSIONS}
    assert set(files(folder)) == {*names, "contact_sheet.png"}
    assert said.splitlines()[-1] == f"Look at {folder / 'contact_sheet.png'}"
    assert all(f"wrote {folder / name}" in said for name in names)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_each_sample_is_cut_out_at_its_own_size(demo: tuple[Path, str], sample: object) -> None:
    name = getattr(sample, "name", "")
    photo = decode(sample_path(f"{name}.jpg"))
    for version, channels in VERSIONS.items():
        assert decode(demo[0] / f"{name}_{version}.png").shape == (*photo.shape[:2], channels)
    alpha = decode(demo[0] / f"{name}_cutout.png")[..., 3]
    assert 0.1 < (alpha > 127).mean() < 0.9, "a subject, and not all of the photo"
    inside = alpha == 255
    difference = np.abs(decode(demo[0] / f"{name}_blur.png")[inside].astype(int) - photo[inside])
    assert difference.mean() < 3, "the subject keeps its colours"


def test_the_sheet_shows_every_sample_in_a_row(demo: tuple[Path, str]) -> None:
    sheet = decode(demo[0] / "contact_sheet.png")
    height, width = sheet.shape[:2]
    assert sheet.shape[2] == 3 and 800 <= width <= 4000
    assert height >= 200 * len(SAMPLES) and sheet.std() > 30


def test_a_sheet_of_one_picture() -> None:
    picture = np.full((60, 90, 3), 120, np.uint8)
    sheet = contact_sheet([[("one", picture), ("two", picture)]])
    assert sheet.dtype == np.uint8 and sheet.shape[1] > sheet.shape[0] > 60


def test_it_runs_twice_with_the_same_result(demo: tuple[Path, str]) -> None:
    before = files(demo[0])
    assert bgremove_here("demo", "-o", demo[0]).exit_code == 0
    assert files(demo[0]) == before


def test_the_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bgremove.demo.SAMPLES", SAMPLES[:1])
    assert bgremove_here("demo").exit_code == 0
    assert (tmp_path / "bgremove-demo" / "contact_sheet.png").exists()


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for place in tmp_path / "file", tmp_path / "file" / "below":
        result = bgremove_here("demo", "-o", place)
        assert result.exit_code == 1 and is_one_sentence(result.stderr)
    assert (tmp_path / "file").read_text() == "mine"


def test_every_sample_has_its_source_and_licence() -> None:
    sources = sample_path("SOURCES.md").read_text("utf-8")
    carried = {path.name for path in sample_path("").iterdir() if path.suffix in (".jpg", ".png")}
    photos = {name for name in carried if "strokes" not in name}
    assert {f"{sample.name}.jpg" for sample in SAMPLES} < photos
    assert all(name in sources for name in photos)

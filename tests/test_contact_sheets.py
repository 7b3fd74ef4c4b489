"""Contact sheets: pictures of any shape, in order, with names of any length."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageFont

from bgremove.contact_sheets import fit_text
from bgremove.evaluation import EvaluateParams, evaluate
from tests.cli_helpers import decode
from tests.picture_sets import Wrong, disc_set, write_pair


@pytest.fixture
def discs(tmp_path: Path) -> Path:
    return disc_set(tmp_path / "discs")


@pytest.mark.parametrize(
    ("height", "width", "column"),
    [(96, 128, 330), (300, 20, 200), (360, 250, 250), (3, 700, 330), (1, 1, 200)],
)
def test_a_sheet_of_any_shape(tmp_path: Path, height: int, width: int, column: int) -> None:
    rng = np.random.default_rng(0)
    for index in range(3):
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        write_pair(tmp_path / "any", f"sub/p{index}", image, np.ones((height, width), np.float32))
    found = evaluate(tmp_path / "any", ["contour"], out=tmp_path / "out")
    assert found.problems == ()
    sheet = decode(tmp_path / "out" / "sheet_any_contour.png")
    assert sheet.shape[1] == 4 * column + 3 * 16 + 2 * 32 and sheet.shape[2] == 3
    assert (sheet[:, :20] == 255).all() and (sheet[:, -20:] == 255).all(), "the margins are clear"
    assert (sheet[:20] == 255).all() and (sheet[-20:] == 255).all()


def test_the_sheet_shows_the_pictures_in_order(discs: Path, tmp_path: Path) -> None:
    evaluate(discs, [Wrong()], EvaluateParams(cases=1), out=tmp_path / "out")
    sheet = decode(tmp_path / "out" / "sheet_discs_Wrong.png")
    assert 2 * 247 + 250 < sheet.shape[0] < 2 * 247 + 500, "two rows of pictures 247 px high"
    row = sheet[124 + 84 + 30 : 124 + 84 + 30 + 247]
    photo, truth, found, cutout = (row[:, 32 + 346 * n : 32 + 346 * n + 330] for n in range(4))
    assert photo[10, 10].tolist() == [30, 40, 170], "the worst is the one of the deepest shade"
    assert np.isin(truth, (0, 255)).mean() > 0.95
    assert 0.25 < (truth > 127).mean() < 0.27 and (found > 127).mean() < (truth > 127).mean()
    assert cutout[10, 10].min() > 200, "a light board"
    assert np.abs(cutout[123, 165].astype(int) - photo[123, 165]).max() < 12


def test_long_names_keep_to_their_room() -> None:
    font = ImageFont.load_default(17)
    length: Callable[[str], float] = lambda words: float(font.getlength(words))  # noqa: E731
    name = "a_very_long_name_" * 20 + "end"
    short = fit_text(name, length, 400)
    assert 350 < length(short) <= 400
    assert short.startswith("a_very_long") and short.endswith("end") and "..." in short
    assert fit_text("fits", length, 400) == "fits"
    assert fit_text("no room", length, 1) == "..."


def test_unreadable_stems_do_not_break_a_sheet(tmp_path: Path) -> None:
    folder = disc_set(tmp_path / "d", 1)
    for place in ("images", "masks"):
        (folder / place / "disc_0.png").rename(folder / place / ("名前 é" + "x" * 100 + ".png"))
    found = evaluate(folder, [Wrong()], out=tmp_path / "out")
    assert len(found.files) == 3

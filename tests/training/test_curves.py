"""A training's CSV and its curves."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

from bgremove.errors import DataError, MissingExtraError
from bgremove.training.curves import COLUMNS, History, append_history, best_epoch, draw_curves, read_history
from tests.cli_helpers import decode, files, is_one_sentence, python_there

draws = pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="needs the extra train")


def row(epoch: int, **values: float) -> dict[str, float]:
    """An epoch's figures, all columns there."""
    figures = {"step": epoch * 10, "lr": 1e-3 / epoch, "train_loss": 1 / epoch, "val_loss": 1.1 / epoch}
    figures |= {"val_iou": 1 - 0.5 / epoch, "val_dice": 1 - 0.3 / epoch, "val_accuracy": 1 - 0.1 / epoch}
    return {"epoch": epoch, **figures, "val_mae": 0.2 / epoch, "size": 64, "seconds": 1.5, **values}


def history(epochs: int) -> History:
    rows = [row(epoch) for epoch in range(1, epochs + 1)]
    return {name: np.array([one[name] for one in rows], float) for name in rows[0]}


# The CSV --------------------------------------------------------------------------------------------


def test_rows_come_back_as_they_were_appended(tmp_path: Path) -> None:
    path = tmp_path / "run" / "history.csv"
    for epoch in (1, 2, 3):
        append_history(path, row(epoch))
    assert path.read_text().splitlines()[:2] == [
        ",".join(COLUMNS),
        "1,10,0.001,1,1.1,0.5,0.7,0.9,0.2,64,1.5",
    ]
    read = read_history(path)
    assert tuple(read) == COLUMNS
    for name, values in history(3).items():
        np.testing.assert_allclose(read[name], values, rtol=1e-5)
    assert set(files(tmp_path)) == {"run/history.csv"}


def test_after_a_resume_an_epoch_is_there_once(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    for epoch in (1, 2, 3, 4):
        append_history(path, row(epoch))
    before = path.read_text().splitlines()
    append_history(path, row(3, train_loss=0.125))
    read = read_history(path)
    assert read["epoch"].tolist() == [1, 2, 3] and read["train_loss"][2] == 0.125
    assert path.read_text().splitlines()[:3] == before[:3]


def test_cells_may_be_missing_and_columns_may_come(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    append_history(path, {"epoch": 1, "train_loss": 0.5, "val_loss": math.nan})
    append_history(path, {"epoch": 2, "train_loss": 0.25, "val_iou": 0.75, "teacher": 0.1})
    assert path.read_text() == "epoch,train_loss,val_loss,val_iou,teacher\n1,0.5,,,\n2,0.25,,0.75,0.1\n"
    read = read_history(path)
    assert tuple(read) == (*COLUMNS, "teacher")
    assert np.isnan(read["val_loss"]).all() and np.isnan(read["lr"]).all()
    np.testing.assert_array_equal(read["val_iou"], [np.nan, 0.75])


def test_a_row_cut_short_by_others_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text("epoch,train_loss,val_loss\r\n1,0.5,0.6\r\n\r\n2,0.4")
    read = read_history(tmp_path / "history.csv")
    np.testing.assert_array_equal(read["train_loss"], [0.5, 0.4])
    np.testing.assert_array_equal(read["val_loss"], [0.6, np.nan])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "has no column epoch"),
        (b"a,b\n1,2\n", "has no column epoch"),
        (b"epoch,lr\n", "holds no epochs yet"),
        (b"epoch,lr\n1,0.1\n2,fast\n", "lr of row 2 must be a number; got 'fast'"),
        (b"lr,epoch\n1\n", "epoch of row 1 must be a number; got ''"),
        (b"\xff\xfe\x00\x01", "it is no such text"),
    ],
)
def test_what_is_no_history_is_said_and_left_alone(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "history.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=sentence) as caught:
        read_history(path)
    assert is_one_sentence(str(caught.value))
    if "lr" not in sentence and "yet" not in sentence:
        with pytest.raises(DataError, match=sentence):
            append_history(path, row(1))
        assert path.read_bytes() == content


def test_no_history_and_no_epoch(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read .*No such file"):
        read_history(tmp_path / "none.csv")
    with pytest.raises(DataError, match="needs its epoch"):
        append_history(tmp_path / "none.csv", {"lr": 0.1})
    assert not files(tmp_path)


# The picture ----------------------------------------------------------------------------------------


def test_the_best_epoch() -> None:
    figures = {"val_iou": np.array([0.5, np.nan, 0.8, 0.8]), "val_loss": np.array([3.0, 2.0, np.nan, 1.0])}
    assert best_epoch(figures) == (2, "val_iou")
    assert best_epoch({**figures, "val_iou": np.full(4, np.nan)}) == (3, "val_loss")
    assert best_epoch({"train_loss": np.array([np.inf, 2.0, 1.5])}) == (2, "train_loss")
    assert best_epoch({"lr": np.ones(3)}) is None


@draws
@pytest.mark.parametrize("epochs", [1, 2, 500])
def test_curves_of_any_number_of_epochs(tmp_path: Path, epochs: int) -> None:
    draw_curves(history(epochs), tmp_path / "deep" / "curves.png")
    pixels = decode(tmp_path / "deep" / "curves.png")[..., :3].astype(int)
    assert pixels.shape[1] == 1500 and 700 < pixels.shape[0] < 900
    for name, colour in {"blue": (31, 111, 180), "orange": (221, 107, 32), "green": (29, 131, 72)}.items():
        assert (np.abs(pixels - colour).max(axis=2) < 12).sum() > 20, name
    border = np.concatenate(
        [pixels[:4].reshape(-1, 3), pixels[-4:].reshape(-1, 3), pixels[:, :4].reshape(-1, 3)]
    )
    assert (border == 255).all(), "something is cut off"


@draws
def test_what_is_missing_gets_no_axes(tmp_path: Path) -> None:
    full, partly = history(5), history(5)
    for name in ("val_iou", "val_dice", "val_mae", "val_accuracy", "seconds"):
        partly[name] = np.full(5, np.nan)
    draw_curves(full, tmp_path / "full.png")
    draw_curves({name: partly[name] for name in partly if name != "lr"}, tmp_path / "partly.png")
    assert decode(tmp_path / "partly.png").shape[0] < decode(tmp_path / "full.png").shape[0]
    with pytest.raises(DataError, match="nothing to draw in none.png"):
        draw_curves({"epoch": np.arange(1.0, 4)}, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


@draws
def test_gaps_infinity_and_wide_ranges_are_drawn(tmp_path: Path) -> None:
    figures = history(12)
    figures["train_loss"] = np.geomspace(50, 0.01, 12)
    figures["val_loss"] = np.where(np.arange(12) % 5 == 0, 2.0, np.nan)
    figures["val_iou"][3], figures["val_mae"][0] = np.nan, np.inf
    figures["lr"][-1] = 0
    figures["size"][6:] = 96
    draw_curves(figures, tmp_path / "curves.png")
    calm = history(12)
    draw_curves(calm, tmp_path / "calm.png")
    assert decode(tmp_path / "curves.png").shape == decode(tmp_path / "calm.png").shape
    assert not np.array_equal(decode(tmp_path / "curves.png"), decode(tmp_path / "calm.png"))


@draws
def test_curves_are_replaced_and_alike(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    draw_curves(history(3), path)
    first = path.read_bytes()
    draw_curves(history(4), path)
    assert path.read_bytes() != first
    draw_curves(history(3), path)
    assert path.read_bytes() == first and set(files(tmp_path)) == {"curves.png"}


def test_matplotlib_is_imported_for_drawing_only_and_its_lack_is_said(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["matplotlib"] = None
from pathlib import Path
from bgremove.training.curves import append_history, draw_curves, read_history
append_history(Path(sys.argv[1]), {"epoch": 1, "train_loss": 0.5})
try:
    draw_curves(read_history(Path(sys.argv[1])), Path("x.png"))
except ImportError as error:
    print(type(error).__name__, error)
"""
    done = python_there(code, tmp_path / "history.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout.startswith(MissingExtraError.__name__) and 'pip install "bgremove[train]"' in done.stdout
    )
    assert set(files(tmp_path)) == {"history.csv"}

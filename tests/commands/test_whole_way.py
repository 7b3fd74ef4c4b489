"""From a zip of pictures to a cut-out by a network of one's own: every command, one after the other."""

from __future__ import annotations

import csv
import signal
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.cli_helpers import bgremove_here, decode

pytest.importorskip("lightning", reason="needs the extra train")
pytest.importorskip("onnxscript", reason="needs the extra train")

from bgremove.pairs import find_pairs, read_pair  # noqa: E402
from bgremove.training.registry import NETWORKS  # noqa: E402
from bgremove.training.train import read_checkpoint  # noqa: E402
from tests.training.tiny import FLAGS, ROWS, disc_data, tiny_there  # noqa: E402

EPOCHS = 12


def do(*args: str | Path) -> str:
    """Run a command that must end well; what it said."""
    result = bgremove_here(*args)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Discs that went through a zip and ``bgremove data``."""
    folder = tmp_path_factory.mktemp("way")
    made = disc_data(folder / "made", train=20, val=4, size=48)
    with zipfile.ZipFile(folder / "discs.zip", "w") as archive:
        for path in sorted(made.glob("*/*/*.png")):
            part, kind, name = path.parts[-3:]
            archive.write(path, f"{kind}/{part}_{name}")
    said = do("data", "zip", folder / "discs.zip", "-o", folder / "data", "--val", "6")
    assert "18 pairs to train on, 6 to validate on" in said
    return folder / "data"


@pytest.fixture(scope="module")
def run(data: Path) -> Path:
    """A training that was killed in the middle and gone on with."""
    out = data.parent / "run"
    flags = [*FLAGS, "--epochs", str(EPOCHS), "--timelapse", "--timelapse-samples", "2", "-o", str(out)]
    process = tiny_there("train", "--data", data, *flags)
    until = time.monotonic() + 120
    while not (out / "timelapse" / "sample_01" / "epoch_002.png").exists():
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = len((out / "history.csv").read_text("utf-8").splitlines()) - 1
    assert 1 <= done < EPOCHS, "killed before its end"
    resumed = tiny_there("train", "--data", data, *flags, "--resume")
    said = "".join(resumed.communicate(timeout=120))
    assert resumed.returncode == 0, said
    return out


def test_the_training_left_all_it_promises(run: Path) -> None:
    with (run / "history.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(1, EPOCHS + 1))
    assert float(rows[-1]["train_loss"]) < 0.7 * float(rows[0]["train_loss"])
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert (run / "curves.png").exists() and any((run / "tensorboard").iterdir())
    for sample in ("sample_01", "sample_02"):
        assert len(list((run / "timelapse" / sample).glob("epoch_*.png"))) == EPOCHS
    assert (
        read_checkpoint(run / "checkpoints" / "best.ckpt")["hyper_parameters"]["train"]["network"] == "tiny"
    )


def test_the_timelapse_becomes_a_gif_and_an_mp4(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="needs the extra video")
    for name in ("learning.gif", "learning.mp4"):
        do("timelapse", run, "-o", tmp_path / name, "--fps", "4")
        assert (tmp_path / name).stat().st_size > 1000


@pytest.fixture(scope="module")
def network(run: Path) -> Path:
    """What the training gave, as an ONNX file."""
    out = run / "mine.onnx"
    with pytest.MonkeyPatch.context() as patch:
        for name, row in ROWS.items():
            patch.setitem(NETWORKS, name, row)
        said = do("export", run / "checkpoints" / "best.ckpt", "-o", out, "--data", run.parent / "data")
    assert "PyTorch" in said and "IoU" in said
    return out


def test_it_is_measured_beside_another_model(network: Path, data: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    said = do("evaluate", "--data", data / "val", "-m", f"onnx:{network}", "-m", "contour", "-o", report)
    assert "mine.onnx" in said and "contour" in said
    with (report / "summary.csv").open(encoding="utf-8") as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    ours = rows["onnx:mine.onnx"]
    assert float(ours["iou"]) > 0.85, "discs are easy"
    assert int(ours["pictures"]) == 6
    assert len(list(report.glob("sheet_*.png"))) == 2


def test_it_cuts_out_without_a_setting(network: Path, data: Path, tmp_path: Path) -> None:
    pair = find_pairs(data / "val").pairs[0]
    do(
        "remove", pair.image, "-m", f"onnx:{network}", "-o", tmp_path, "--output", "mask,alpha,cutout",
        "--edges", "none",
    )  # fmt: skip
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"{pair.stem}_{kind}.png" for kind in ("mask_binary", "mask_soft", "foreground")}
    _, truth = read_pair(pair)
    mask = decode(tmp_path / f"{pair.stem}_mask_binary.png") > 127
    assert (mask & (truth > 0.5)).sum() / (mask | (truth > 0.5)).sum() > 0.8
    cutout = decode(tmp_path / f"{pair.stem}_foreground.png")
    np.testing.assert_array_equal(cutout[..., 3], decode(tmp_path / f"{pair.stem}_mask_soft.png"))

"""``bgremove evaluate``: what it prints and writes, its exit status, and Ctrl-C."""

from __future__ import annotations

import csv
import io
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from bgremove.evaluation import EvaluateParams
from bgremove.foreground import ForegroundParams
from bgremove.options import settings
from bgremove.refine import RefineParams
from bgremove.registry import ALIASES
from bgremove.removers.contour import ContourParams
from bgremove.removers.grabcut import GrabCutParams
from tests.cli_helpers import bgremove_here, environment, files, is_one_sentence, python_there
from tests.picture_sets import disc_set


@pytest.fixture
def discs(tmp_path: Path) -> Path:
    return disc_set(tmp_path / "discs")


def evaluate_here(*args: str | Path) -> Result:
    return bgremove_here("evaluate", *args)


def test_a_table_of_two_models(discs: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="needs the extra train")
    from tests.removers.onnx_models import conv

    network = conv(tmp_path / "red.onnx", [[1.0, 0.0, 0.0]], then="Sigmoid")
    result = evaluate_here(
        "--data", discs, "-m", "contour", "--model", f"onnx:{network}", "--limit", "2", "-q"
    )
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["set", "model", "n"],
        [lines[1].split()[0], lines[1].split()[1], "---"],
        ["discs", "contour", "2"],
        ["discs", "onnx:red.onnx", "2"],
    ]
    assert float(lines[2].split()[3]) > 0.9


def test_what_else_it_says(discs: Path) -> None:
    result = evaluate_here("--data", discs, "-m", "contour", "--format", "markdown")
    table, _, legend = result.stdout.partition("\n\n")
    assert table.startswith("| set ") and len(table.splitlines()) == 3
    assert "beta2 = 0.3" in legend and max(map(len, legend.splitlines())) <= 110
    assert result.stderr == ""


def test_the_default_model_is_that_of_remove(discs: Path) -> None:
    result = evaluate_here("--data", discs, "--limit", "1", "-q")
    assert result.stdout.splitlines()[2].split()[1] == ALIASES["auto"]


def test_the_files_are_named(discs: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    result = evaluate_here("--data", discs, "-m", "contour", "--out", out, "--cases", "1")
    assert result.exit_code == 0
    names = ["images.csv", "sheet_discs_contour.png", "summary.csv"]
    assert sorted(files(out)) == names
    assert sorted(result.stderr.splitlines()) == [f"wrote {out / name}" for name in names]
    again = evaluate_here("--data", discs, "-m", "contour", "--out", out)
    assert again.exit_code == 1 and again.stdout == "" and is_one_sentence(again.stderr)
    assert "--overwrite" in again.stderr
    assert evaluate_here("--data", discs, "-m", "contour", "--out", out, "--overwrite").exit_code == 0


def test_raw_and_refined_differ(discs: Path) -> None:
    tables = [
        evaluate_here("--data", discs, "-m", "contour", "-q", *flags).stdout.splitlines()[2].split()[3:10]
        for flags in (["--raw"], [], ["--grow", "4"])
    ]
    assert len({tuple(row) for row in tables}) == 3


def test_something_left_out_gives_status_1(discs: Path) -> None:
    (discs / "masks" / "disc_1.png").unlink()
    (discs / "images" / "disc_2.png").write_bytes(b"no picture")
    result = evaluate_here("--data", discs, "-m", "contour", "-q")
    assert result.exit_code == 1
    first, second = result.stderr.splitlines()
    assert first == f"left out: {discs / 'images' / 'disc_1.png'} has no mask"
    assert second.startswith(f"left out: {discs / 'images' / 'disc_2.png'} is not a picture")
    assert result.stdout.splitlines()[2].split()[:3] == ["discs", "contour", "3"]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--limit", "0"], 2, "--limit must be a whole number of at least 1; got 0"),
        (["--cases", "many"], 2, "--cases must be a whole number from 1 to 100; got many"),
        (["--raw", "--feather", "2"], 2, "--raw leaves out the refinement"),
        (["-m", "u2nett"], 2, "unknown remover 'u2nett'"),
        (
            ["-m", "grabcut", "--canny-low", "3"],
            2,
            "--canny-low is a setting of contour; choose it with --model",
        ),
        (["--preset", "nope"], 2, "unknown preset 'nope'"),
        (["--format", "html"], 2, "--format"),
        (["-m", "contour", "--device", "cuda"], 1, "CPU only"),
        (["-m", "onnx:missing.onnx"], 1, "there is no model file missing.onnx"),
    ],
)
def test_wrong_options(discs: Path, arguments: list[str], status: int, words: str) -> None:
    result = evaluate_here("--data", discs, *arguments)
    assert result.exit_code == status and result.stdout == ""
    assert is_one_sentence(result.stderr) and words in result.stderr


def test_wrong_folders(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        result = evaluate_here("--data", folder)
        assert result.exit_code == 1 and is_one_sentence(result.stderr)
    assert "--data" in evaluate_here().stderr


def test_the_help_has_every_setting_of_every_model_named() -> None:
    text = evaluate_here("--model", "contour", "-mgrabcut", "--help").stdout
    for group in (EvaluateParams, RefineParams, ForegroundParams, ContourParams, GrabCutParams):
        for setting in settings(group):
            assert f"{setting.flag} " in text
    assert max(map(len, text.splitlines())) <= 110
    alone = evaluate_here("--model=grabcut", "--help").stdout
    assert "--canny-low" not in alone and "--iterations" in alone
    both = evaluate_here("-m", "u2net", "-m", "isnet-general-use", "--help").stdout
    assert "Settings of networks:" in both and both.count("--input-size") == 1


def test_it_loads_nothing_before_it_is_used() -> None:
    code = "import sys, bgremove.commands.evaluate; print('numpy' in sys.modules, 'cv2' in sys.modules)"
    assert python_there(code).stdout.split() == ["False", "False"]


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent another way there")
def test_ctrl_c_leaves_what_was_measured(tmp_path: Path) -> None:
    out = tmp_path / "out"
    disc_set(tmp_path / "data" / "few", 1)
    disc_set(tmp_path / "data" / "many", 300)
    arguments = ["--data", tmp_path / "data", "-m", "grabcut", "--out", out]
    command = [sys.executable, "-m", "bgremove", "evaluate", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    deadline = time.monotonic() + 60
    while not (out / "images.csv").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)  # somewhere in the second set
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr.decode()
    measured = list(csv.DictReader(io.StringIO((out / "images.csv").read_text())))
    assert 0 < len(measured) < 301
    table = stdout.decode().partition("\n\n")[0].splitlines()[2:]
    assert sum(int(line.split()[2]) for line in table) == len(measured)
    assert f"stopped: {len(measured)} of 301 pictures measured" in stderr.decode()
    assert np.isfinite([float(row["iou"]) for row in measured]).all()
    assert set(files(out)) == {"images.csv", "summary.csv", "sheet_few_grabcut.png"}, "nothing half-written"

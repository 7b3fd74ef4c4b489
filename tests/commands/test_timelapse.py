"""``bgremove timelapse``."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image as PILImage

from tests.cli_helpers import bgremove_here, bgremove_there, files, is_one_sentence, python_there
from tests.training.test_timelapse import gif_frames, mp4_frames, write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a training of four epochs with two samples."""
    return write_run(tmp_path / "run")


@pytest.mark.parametrize("folder", ["run", "run/timelapse"])
def test_a_gif(run: Path, tmp_path: Path, folder: str) -> None:
    out = tmp_path / "x.gif"
    result = bgremove_here("timelapse", tmp_path / folder, "-o", out)
    assert result.exit_code == 0, result.stderr
    frames, durations = gif_frames(out)
    height, width = frames[0].shape[:2]
    assert durations == [200, 200, 200, 2000]
    assert result.stdout == ""
    assert result.stderr == f"wrote {out}: 4 epochs of 2 samples, {width} x {height} px, 2.6 s\n"


def test_every_flag_and_an_mp4(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.mp4"
    out.write_bytes(b"old")
    args = ["--sample", "2", "--fps", "10", "--hold", "0.5", "--overwrite", "--quiet"]
    done = bgremove_there("timelapse", run, "-o", out, *args)
    assert done.returncode == 0 and done.stderr == done.stdout == b"", done.stderr
    with PILImage.open(run / "timelapse" / "sample_02" / "epoch_001.png") as strip:
        width, height = strip.size
    frames = mp4_frames(out)
    assert (
        len(frames) == 3 + 5
        and frames[0].shape[0] - height in (0, 1)
        and frames[0].shape[1] - width in (0, 1)
    )


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (["run", "-o", "x.avi"], 2, "Error: a timelapse is a .gif or an .mp4; got 'x.avi', name it x.gif"),
        (["run"], 2, "Missing option '-o' / '--out'"),
        (["run", "-o", "there.gif"], 1, "there.gif exists; add --overwrite to replace it"),
        (["empty", "-o", "x.gif"], 1, "empty holds no strips"),
        (["none", "-o", "x.gif"], 1, "none is no folder"),
        (["run", "-o", "x.gif", "--fps", "fast"], 2, "--fps must be a number from 0.1 to 120; got fast"),
        (["run", "-o", "x.gif", "--fps", "60"], 2, "--fps must be at most 50 in a GIF"),
        (["run", "-o", "x.gif", "--sample", "3"], 2, "--sample 3 is not there; this timelapse has 1, 2"),
        (["run", "-o", "there.gif/x.gif"], 1, "there.gif"),
    ],
)
def test_what_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], code: int, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.gif").write_bytes(b"mine")
    (tmp_path / "empty").mkdir()
    before = files(tmp_path)
    result = bgremove_here("timelapse", *args)
    assert result.exit_code == code and sentence in result.stderr, result.stderr
    assert is_one_sentence(result.stderr) and files(tmp_path) == before


def test_help_loads_nothing_heavy() -> None:
    code = """
import sys
from bgremove.cli import main
for args in (["--help"], ["timelapse", "--help"]):
    try:
        main(args)
    except SystemExit as end:
        assert end.code == 0
assert not {"numpy", "av", "PIL", "torch"} & set(sys.modules), sorted(sys.modules)
"""
    done = python_there(code)
    assert done.returncode == 0, done.stderr
    assert "Join a training's timelapse to a GIF or an MP4." in done.stdout
    for text in ("--sample N", "--fps X", "--hold X", "--overwrite", "default: 5]", "default: 2]"):
        assert text in " ".join(done.stdout.split()), text

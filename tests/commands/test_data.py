"""``bgremove data`` as a user calls it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bgremove.datasets import SOURCES
from bgremove.pairs import find_split

from ..cli_helpers import bgremove_here, bgremove_there, environment, is_one_sentence, python_there
from ..datasets.pictures import add_pairs, mask, picture, save, zipped
from ..http_server import serving

NAMES = [f"p{number:02}" for number in range(20)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A zip of twenty pairs."""
    add_pairs(tmp_path / "set", NAMES, "DUTS-TR/DUTS-TR-Image", "DUTS-TR/DUTS-TR-Mask")
    return zipped(tmp_path / "set", tmp_path / "set.zip")


def test_the_help_lists_every_source() -> None:
    shown = bgremove_here("data", "--help").output
    for name in SOURCES:
        assert f"  {name} " in shown
        assert bgremove_here("data", name, "--help").exit_code == 0
    assert "--sha256" in bgremove_here("data", "duts", "--help").output
    assert "default: 1024" in bgremove_here("data", "composite", "--help").output
    assert "--link" not in bgremove_here("data", "composite", "--help").output


def test_the_help_loads_no_picture_code() -> None:
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom bgremove.cli import main\n"
        "assert CliRunner().invoke(main, ['data', 'zip', '--help']).exit_code == 0\n"
        "print(' '.join({name.partition('.')[0] for name in sys.modules}))"
    )
    done = python_there(code)
    assert done.returncode == 0, done.stderr
    assert not set(done.stdout.split()) & {"numpy", "cv2", "PIL", "pooch", "requests", "torch"}


@pytest.mark.parametrize("command", ["zip", "duts", "p3m", "folder"])
def test_a_zip_becomes_a_training_folder(source: Path, tmp_path: Path, command: str) -> None:
    out = tmp_path / "out"
    done = bgremove_here("data", command, source, "-o", out, "--val", "4", "--seed", "7")
    assert done.exit_code == 0, done.output
    assert done.stderr == f"made {out}: 16 pairs to train on, 4 to validate on (seed 7)\n"
    train, val = find_split(out)
    assert (len(train.pairs), len(val.pairs)) == (16, 4)
    run = json.loads((out / "dataset.json").read_text())["runs"][0]
    assert run["source"] == command and run["settings"]["val"] == 4 and run["places"] == [str(source)]
    quiet = bgremove_here("data", command, source, "-o", tmp_path / "quiet", "-q")
    assert quiet.exit_code == 0 and quiet.output == ""


def test_what_is_left_out_is_said_but_not_endlessly(tmp_path: Path) -> None:
    add_pairs(tmp_path / "set", NAMES)
    for name in NAMES[:14]:
        (tmp_path / "set" / "masks" / f"{name}.png").unlink()
    done = bgremove_here("data", "folder", tmp_path / "set", "-o", tmp_path / "out")
    lines = done.stderr.splitlines()
    assert lines[0] == "left out 14:" and lines[1].endswith("p00.jpg has no mask")
    assert lines[11].strip().startswith("and 4 more; ") and lines[12].startswith("made ")
    assert len(lines) == 13


def test_composites(tmp_path: Path) -> None:
    for number in range(3):
        rgba = np.dstack([picture(number), mask(number)])
        save(tmp_path / "cut" / f"{number}.png", rgba)
        save(tmp_path / "bg" / f"{number}.png", picture(number + 9, 60, 80))
    where = ("--cutouts", tmp_path / "cut", "--backgrounds", tmp_path / "bg")
    done = bgremove_here(
        "data", "composite", *where, "--count", "12", "-o", tmp_path / "out", "--subject-size", "0.4,0.5"
    )
    assert "11 pairs to train on, 1 to validate on" in done.stderr, done.output
    train, _ = find_split(tmp_path / "out")
    assert all(pair.image.suffix == ".jpg" for pair in train.pairs)


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (("zip", "nothing.zip", "-o", "out"), 1, "there is no nothing.zip"),
        (("zip", "-o", "out"), 2, "Missing argument 'FILE.zip...'"),
        (("zip", "SET"), 2, "Missing option '-o' / '--out'"),
        (("duts", "-o", "out"), 2, "duts needs a folder or a zip; name it, or add --download"),
        (("zip", "SET", "-o", "out", "--max-size", "3"), 2, "--max-size must be a whole number from 16"),
        (
            ("zip", "SET", "-o", "out", "--val", "20"),
            2,
            "--val must be below the number of pairs, which is 20",
        ),
        (("zip", "SET", "-o", "out", "--val", "x"), 2, "--val must be a number of at least 0; got x"),
        (("composite", "-o", "out"), 2, "--cutouts is missing; give a folder"),
        (("aisegment", "SET", "-o", "out"), 1, "no picture has a matte; expected clip_img/GROUP"),
        (("zip", "SET", "-o", "SET"), 1, "it is not a folder"),
    ],
)
def test_mistakes_get_one_sentence(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    args: tuple[str, ...],
    status: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {path for path in tmp_path.rglob("*")}
    done = bgremove_here("data", *(str(source) if arg == "SET" else arg for arg in args))
    assert done.exit_code == status and words in done.stderr
    assert is_one_sentence(done.stderr)
    assert {path for path in tmp_path.rglob("*")} == before


def test_a_folder_that_holds_something_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    done = bgremove_here("data", "zip", source, "-o", tmp_path / "out")
    assert done.exit_code == 1 and "is not empty; give another folder, or add --add" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_duts_is_downloaded_and_used(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BGREMOVE_HOME", str(tmp_path / "home"))
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    with serving(source.read_bytes(), "set.zip") as server:
        fetch = ("data", "duts", "--download", "--url", server.url)
        done = bgremove_here(*fetch, "-o", tmp_path / "out")
        assert done.exit_code == 0, done.output
        assert f"sha256 {digest} (no digest is known to check it by; --sha256 checks it)" in done.stderr
        assert "terms of use: for research" in done.stderr
        run = json.loads((tmp_path / "out" / "dataset.json").read_text())["runs"][0]
        assert run["download"] == {"url": server.url, "sha256": digest}
        done = bgremove_here(*fetch, "-o", tmp_path / "again", "--sha256", digest)
    assert f"sha256 {digest} (as expected)" in done.stderr and len(server.requests) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to one process there")
def test_ctrl_c_stops_gently_and_the_same_command_goes_on(tmp_path: Path) -> None:
    for number in range(2):
        save(tmp_path / "cut" / f"{number}.png", np.dstack([picture(number, 400, 400), mask(0, 400, 400)]))
        save(tmp_path / "bg" / f"{number}.png", picture(number + 5, 900, 900))
    args = (
        "data", "composite", "--cutouts", tmp_path / "cut", "--backgrounds", tmp_path / "bg",
        "--count", "60", "-o", tmp_path / "out",
    )  # fmt: skip
    command = [sys.executable, "-m", "bgremove", *map(str, args)]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    masks = tmp_path / "out" / ".unfinished" / "train" / "masks"
    end = time.monotonic() + 60
    while not (masks.is_dir() and len(os.listdir(masks)) > 2) and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "the same command goes on from here" in said and "Traceback" not in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".unfinished"]
    assert not list(masks.parent.rglob("*.part"))
    done = bgremove_there(*args)
    assert done.returncode == 0 and b"57 pairs to train on, 3 to validate on" in done.stderr
    assert not (tmp_path / "out" / ".unfinished").exists()

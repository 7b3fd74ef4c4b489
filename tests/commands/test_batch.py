"""``bgremove batch`` as a user meets it: what it says, killed and given again, on a Ray cluster."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli_helpers import bgremove_here, decode, environment, is_one_sentence, save_disc


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(4):
        save_disc(tmp_path / "in" / f"{index}.png", 24, 32, shade=index)
    return tmp_path / "in"


def test_what_it_says(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("batch", folder, "-o", out, "--model", "contour")
    (folder / "0.png").write_bytes(b"no picture")
    first = bgremove_here(*command)
    assert first.exit_code == 1 and first.stdout == ""
    assert first.stderr.splitlines() == [
        f"failed: {folder}/0.png is not a picture that can be read (it begins with 'no picture'); expected "
        "JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF or HEIC",
        f"3 done, 0 skipped, 1 failed; see {out}/results.csv",
    ]
    again = bgremove_here(*command)
    assert again.exit_code == 0
    assert again.stderr.startswith("all 4 pictures are over already; add --retry for what failed, or --fresh")
    assert bgremove_here(*command, "--retry", "--quiet").stderr.startswith("failed: ")
    other = bgremove_here(*command, "--png-level", "1")
    assert other.exit_code == 2 and is_one_sentence(other.stderr)
    assert "--png-level was 4 when this batch began, and is 1 now" in other.stderr


def test_settings_are_those_of_the_model(folder: Path, tmp_path: Path) -> None:
    shown = bgremove_here("batch", "--help", "--model", "contour").stdout
    for words in ("--engine local|ray", "--retry", "--canny-low", "--png-level", "--skip-existing"):
        assert words in shown
    done = bgremove_here(
        "batch",
        folder,
        "-o",
        tmp_path / "out",
        "--model",
        "contour",
        "--background",
        "white",
        "--format",
        "jpeg",
    )
    assert done.exit_code == 0 and decode(tmp_path / "out" / "2.jpg").shape == (24, 32, 3)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("missing",), "does not exist"),
        (("in", "--workers", "-1"), "--workers must be"),
        (("in", "--engine", "spark"), "--engine must be one of local, ray"),
        (("in", "--output", "instances"), "instances"),
        (("in", "--model", "onnx:missing.onnx"), "missing.onnx"),
        (("in", "--max-megapixels", "0"), "--max-megapixels"),
    ],
)
def test_errors_are_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], sentence: str
) -> None:
    monkeypatch.chdir(folder.parent)
    model = () if "--model" in arguments else ("--model", "contour")
    result = bgremove_here("batch", *arguments, *model, "-o", "out")
    assert result.exit_code in (1, 2) and sentence in result.stderr and is_one_sentence(result.stderr)


# Killed ------------------------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Enough of them, and large enough, for somebody to step in meanwhile."""
    first = save_disc(tmp_path / "many" / "000.png", 400, 600).read_bytes()
    for index in range(1, 60):
        (tmp_path / "many" / f"{index:03}.png").write_bytes(first)
    return tmp_path / "many"


def rows_of(journal: Path) -> list[dict[str, Any]]:
    """The rows that are safe so far."""
    with contextlib.suppress(FileNotFoundError):
        lines = journal.read_bytes().splitlines(keepends=True)
        entries = [json.loads(line) for line in lines if line.endswith(b"\n")]
        return [entry["row"] for entry in entries if "row" in entry]
    return []


def wait_for(what: Callable[[], Any], process: subprocess.Popen[bytes], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end and process.poll() is None, "it did not come"
        time.sleep(0.01)


@contextlib.contextmanager
def started(*arguments: str | Path, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The command at work; ended with all its children, at the latest, when this is left."""
    command = [sys.executable, "-m", "bgremove", *map(str, arguments)]
    process = subprocess.Popen(
        command, cwd=cwd, env=environment(), stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)


def stamps(out: Path) -> dict[str, tuple[int, int]]:
    """Results, and when they were written."""
    found = {}
    for path in out.glob("*.png"):
        with contextlib.suppress(FileNotFoundError):
            state = path.stat()
            found[path.name] = (state.st_ino, state.st_mtime_ns)
    return found


def check(out: Path, many: Path, earlier: dict[str, tuple[int, int]]) -> list[dict[str, str]]:
    """Nothing is lost, nothing was done twice; the rows of the list."""
    with open(out / "results.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = sorted(path.name for path in many.iterdir())
    assert [Path(row["path"]).name for row in rows] == names
    assert {row["status"] for row in rows} == {"done"}
    assert all(float(row["coverage"]) > 0.1 for row in rows)
    assert sorted(path.name for path in out.glob("*.png")) == names
    assert {decode(path).shape for path in out.glob("*.png")} == {(400, 600, 4)}
    assert earlier.items() <= stamps(out).items()
    return rows


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_killed_and_given_again_it_does_what_is_left(many: Path, tmp_path: Path) -> None:
    out, arguments = tmp_path / "out", ("--model", "contour", "--workers", "2")
    command = ("batch", many, "-o", out, *arguments)
    with started(*command, cwd=tmp_path) as process:
        wait_for(lambda: len(rows_of(out / ".results.csv.journal")) > 5, process, 60)
        process.kill()
        process.wait()
    earlier, safe = stamps(out), rows_of(out / ".results.csv.journal")
    assert 5 < len(safe) <= len(earlier) < 60
    again = bgremove_here(*command)
    assert again.exit_code == 0
    assert again.stderr.startswith(
        f"going on: {len(safe)} of 60 pictures are over, {60 - len(safe)} are left"
    )
    rows = check(out, many, earlier)
    assert sum("could list it" in row["note"] for row in rows) == len(earlier) - len(safe)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_worker_of_a_ray_cluster_is_killed(many: Path, tmp_path: Path) -> None:
    """Two workers; one is killed while it works, the other and its successor do the rest."""
    pytest.importorskip("ray", reason="Ray is not installed")
    out = tmp_path / "out"
    command = ("batch", many, "-o", out, "--model", "contour", "--engine", "ray", "--workers", "2")
    with started(*command, cwd=tmp_path) as process:
        wait_for(lambda: rows_of(out / ".results.csv.journal"), process, 240)
        host, pid = rows_of(out / ".results.csv.journal")[-1]["worker"].split(":")
        os.kill(int(pid), signal.SIGKILL)
        earlier = stamps(out)
        _, stderr = process.communicate(timeout=240)
    assert process.returncode == 0, stderr
    assert 1 <= len(earlier) < 60
    rows = check(out, many, earlier)
    assert stderr.decode() == f"60 done, 0 skipped, 0 failed; see {out}/results.csv\n"
    workers = {row["worker"] for row in rows}
    assert f"{host}:{pid}" in workers and len(workers) >= 2

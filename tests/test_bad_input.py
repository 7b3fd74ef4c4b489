"""Bad input: one clear sentence, a non-zero exit status, inputs untouched, nothing left behind."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

import bgremove
from bgremove.registry import REMOVERS
from tests.cli_helpers import (
    FAST,
    bgremove_here,
    bgremove_there,
    decode,
    disc_picture,
    environment,
    files,
    is_one_sentence,
    python_there,
    remove_here,
    save_disc,
)

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX files and limits")


def png(width: int, height: int, rows: bytes) -> bytes:
    """A grey PNG with any size in its header."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def bomb(side: int = 12_000) -> bytes:
    """17 KB that would be 144 megapixels."""
    return png(side, side, bytes((side + 7) // 8 + 1) * side)


def truncated(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8)
    PILImage.fromarray(noise).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:3000])


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing.jpg": (lambda path: None, "does not exist"),
    "empty.jpg": (lambda path: path.write_bytes(b""), "is empty (0 bytes)"),
    "truncated.jpg": (truncated, "damaged or incomplete"),
    "truncated.png": (lambda path: path.write_bytes(bomb(600)[:100]), "damaged or incomplete"),
    "text.jpg": (lambda path: path.write_text("this is a text"), "is not a picture that can be read"),
    "page.png": (lambda path: path.write_text("<html></html>"), "is not a picture that can be read"),
    "drawing.jpg": (lambda path: path.write_text("%!PS-Adobe-3.0 EPSF"), "is not a picture"),
    "no_pixels.png": (lambda path: path.write_bytes(png(0, 0, b"")), "no_pixels.png"),
    "bomb.png": (lambda path: path.write_bytes(bomb()), "raise it with --max-megapixels 144"),
    "folder.png": (lambda path: path.mkdir(), "holds no pictures"),
}


@pytest.mark.parametrize("name", BAD)
def test_alone(name: str, tmp_path: Path) -> None:
    make, sentence = BAD[name]
    make(tmp_path / name)
    before = files(tmp_path)
    result = remove_here(tmp_path / name, "-o", tmp_path / "out" / "x.png")
    assert result.exit_code == 1 and is_one_sentence(result.stderr), result.stderr
    assert sentence in result.stderr and name in result.stderr and result.stdout == ""
    assert files(tmp_path) == before and not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", BAD)
def test_among_others(name: str, tmp_path: Path) -> None:
    make, sentence = BAD[name]
    good = [save_disc(tmp_path / "in" / f"{letter}.png") for letter in "abc"]
    make(tmp_path / "in" / name)
    before = files(tmp_path / "in")
    result = remove_here(good[0], tmp_path / "in" / name, *good[1:], "-o", tmp_path / "out")
    *failures, summary = result.stderr.splitlines()
    assert (result.exit_code, summary) == (1, "3 done, 0 skipped, 1 failed")
    assert len(failures) == 1 and failures[0].startswith("failed: ") and sentence in failures[0]
    assert files(tmp_path / "in") == before
    assert set(files(tmp_path / "out")) == {"a.png", "b.png", "c.png"}


def test_a_bomb_is_small_and_refused_before_it_is_decoded(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(bomb())
    assert (tmp_path / "bomb.png").stat().st_size < 20_000
    code = "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))\n" * (
        os.name == "posix"
    )
    code += "from bgremove.cli import main\nmain(sys.argv[1:])"
    done = python_there("import sys\n" + code, "remove", *FAST, tmp_path / "bomb.png")
    assert done.returncode == 1 and is_one_sentence(done.stderr)
    assert "144 megapixels (12000 x 12000), more than the limit of 100" in done.stderr


def test_the_limit_can_be_raised_and_lowered(tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(bomb(1200))
    lowered = remove_here(tmp_path / "large.png", "-o", tmp_path / "x.png", "--max-megapixels", "1")
    assert lowered.exit_code == 1 and "--max-megapixels 2" in lowered.stderr
    raised = remove_here(tmp_path / "large.png", "-o", tmp_path / "x.png", "--max-megapixels", "2")
    assert raised.exit_code == 0 and decode(tmp_path / "x.png").shape == (1200, 1200, 4)


@pytest.mark.parametrize("model", ["contour", "grabcut"])
@pytest.mark.parametrize("size", [(1, 1), (30_000, 2), (2, 9_000)])
def test_odd_shapes_are_pictures_too(size: tuple[int, int], model: str, tmp_path: Path) -> None:
    PILImage.new("RGB", size, (200, 30, 30)).save(tmp_path / "odd.png")
    result = bgremove_here("remove", "-m", model, tmp_path / "odd.png", "-o", tmp_path / "x.png")
    assert result.exit_code == 0, result.stderr
    assert decode(tmp_path / "x.png").shape == (size[1], size[0], 4)


# Places that cannot be written to -----------------------------------------------------------------


def test_an_output_below_a_file(tmp_path: Path) -> None:
    for name in "a.png", "b.png":
        save_disc(tmp_path / name)
    (tmp_path / "file").write_text("mine")
    before = files(tmp_path)
    result = remove_here(tmp_path / "a.png", "-o", tmp_path / "file" / "x.png")
    assert result.exit_code == 1 and is_one_sentence(result.stderr) and "not a folder" in result.stderr
    result = remove_here(tmp_path / "a.png", tmp_path / "b.png", "-o", f"{tmp_path}/file/")
    assert result.exit_code == 1 and "(2 pictures)" in result.stderr
    assert files(tmp_path) == before


# Root may write everywhere, so that the command gives its rights up once everything is imported.
AS_NOBODY = """
import contextlib, os, sys
from bgremove.cli import main
source, warm, locked = sys.argv[1:]
flags = ["remove", "--model", "contour", "--quiet", source, "-o"]
with contextlib.suppress(SystemExit):
    main([*flags, warm])
if os.geteuid() == 0:
    os.seteuid(65534)
main([*flags, locked])
"""


@posix
def test_an_output_folder_without_permission() -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to others
        place = Path(folder)
        place.chmod(0o755)
        save_disc(place / "a.png")
        (place / "locked").mkdir(mode=0o555)
        done = python_there(AS_NOBODY, place / "a.png", place / "warm.png", place / "locked" / "x.png")
        assert done.returncode == 1 and is_one_sentence(done.stderr)
        assert (place / "warm.png").exists()
        assert "Permission denied" in done.stderr and not list((place / "locked").iterdir())
        (place / "locked").chmod(0o755)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc takes no files")
def test_an_output_where_no_file_can_be(tmp_path: Path) -> None:
    save_disc(tmp_path / "a.png")
    result = remove_here(tmp_path / "a.png", "-o", "/proc/x.png")
    assert result.exit_code == 1 and is_one_sentence(result.stderr) and "cannot write" in result.stderr


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    save_disc(tmp_path / "a.png")
    before = files(tmp_path)
    result = remove_here(tmp_path / "a.png", "-o", tmp_path / ("x" * 300 + ".png"))
    assert result.exit_code == 1 and is_one_sentence(result.stderr)
    assert remove_here(tmp_path / ("y" * 300 + ".png")).exit_code == 1
    assert files(tmp_path) == before


@posix
@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
def test_a_device_is_never_replaced(tmp_path: Path, flags: list[str]) -> None:
    save_disc(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    result = remove_here(tmp_path / "a.png", "-o", tmp_path / "pipe.png", *flags)
    assert result.exit_code == 1 and is_one_sentence(result.stderr)
    assert (tmp_path / "pipe.png").is_fifo() and set(files(tmp_path)) == {"a.png"}


@posix
def test_inputs_that_are_no_regular_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    save_disc(tmp_path / "a.png")
    result = remove_here(tmp_path, "/dev/zero", "-o", tmp_path / "out")
    assert result.exit_code == 1 and result.stderr.endswith("1 done, 0 skipped, 3 failed\n")
    assert result.stderr.count("no regular file") == 2 and "gone.png does not exist" in result.stderr


# Inputs that would be lost ------------------------------------------------------------------------


def test_two_inputs_that_would_write_one_output(tmp_path: Path) -> None:
    disc_picture().save(tmp_path / "a.jpg")
    for name in "a.png", "b.png":
        save_disc(tmp_path / name)
    before = files(tmp_path)
    result = remove_here(tmp_path, "-o", tmp_path / "out")
    assert result.exit_code == 1 and result.stderr.endswith("1 done, 0 skipped, 2 failed\n")
    assert "a.jpg" in result.stderr and "'OUT/{stem}_{suffix}.png'" in result.stderr
    assert set(files(tmp_path)) == {*before, "out/b.png"}
    result = remove_here(tmp_path, "-o", f"{tmp_path}/out/{{stem}}_{{suffix}}.png")
    assert result.exit_code == 0 and {"out/a_jpg.png", "out/a_png.png"} <= set(files(tmp_path))


def test_same_names_in_two_folders(tmp_path: Path) -> None:
    for folder in "one", "two":
        save_disc(tmp_path / folder / "a.png")
    result = remove_here(tmp_path / "one", tmp_path / "two", "-o", tmp_path / "out")
    assert result.exit_code == 1 and "{folder}_{stem}" in result.stderr and not (tmp_path / "out").exists()
    result = remove_here(tmp_path / "one", tmp_path / "two", "-o", f"{tmp_path}/out/{{folder}}_{{stem}}.png")
    assert result.exit_code == 0 and set(files(tmp_path / "out")) == {"one_a.png", "two_a.png"}


def test_several_inputs_and_one_name(tmp_path: Path) -> None:
    inputs = [save_disc(tmp_path / "a.png"), save_disc(tmp_path / "b.png")]
    result = remove_here(*inputs, "-o", tmp_path / "x.png")
    assert result.exit_code == 2 and "several inputs cannot all become" in result.stderr


@pytest.mark.parametrize("spelling", ["a.png", "./a.png", "sub/../a.png", "soft.png", "hard.png"])
@pytest.mark.parametrize("flags", [[], ["--overwrite"], ["--skip-existing"]])
def test_the_output_is_the_input(spelling: str, flags: list[str], tmp_path: Path) -> None:
    save_disc(tmp_path / "a.png")
    (tmp_path / "sub").mkdir()
    if spelling == "soft.png":
        (tmp_path / spelling).symlink_to("a.png")
    if spelling == "hard.png":
        os.link(tmp_path / "a.png", tmp_path / spelling)
    before = files(tmp_path)
    result = remove_here(tmp_path / "a.png", "-o", f"{tmp_path}/{spelling}", *flags)
    assert result.exit_code == 1 and is_one_sentence(result.stderr)
    assert "would overwrite the input" in result.stderr and files(tmp_path) == before


def test_the_output_is_another_input(tmp_path: Path) -> None:
    save_disc(tmp_path / "a.bmp")
    save_disc(tmp_path / "a.png", shade=30)
    before = files(tmp_path)
    result = remove_here(
        tmp_path / "a.bmp", tmp_path / "a.png", "-o", f"{tmp_path}/{{stem}}.png", "--overwrite"
    )
    assert result.exit_code == 1 and "0 done" in result.stderr and files(tmp_path) == before


def test_a_folder_into_itself(tmp_path: Path) -> None:
    save_disc(tmp_path / "a.png")
    before = files(tmp_path)
    result = remove_here(tmp_path, "-o", f"{tmp_path}/../{tmp_path.name}/", "--overwrite")
    assert result.exit_code == 2 and "both input and output" in result.stderr and files(tmp_path) == before


def test_an_empty_argument_is_not_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_disc(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    result = remove_here("")
    assert result.exit_code == 2 and "empty text" in result.stderr and set(files(tmp_path)) == {"a.png"}


def test_a_picture_deleted_after_the_start(tmp_path: Path) -> None:
    from bgremove.batch import plan_jobs, run_jobs
    from bgremove.pipeline import Settings

    paths = [save_disc(tmp_path / f"{letter}.png") for letter in "ab"]
    plan = Settings.build("contour")
    jobs = plan_jobs(map(str, paths), str(tmp_path / "out"), plan)
    paths[0].unlink()
    gone, done = sorted(run_jobs(jobs, plan.create_remover, plan), key=lambda one: one.job.name)
    assert (gone.status, done.status) == ("failed", "done") and "does not exist" in gone.error


# A full disk --------------------------------------------------------------------------------------

FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))
from bgremove.cli import main
main(sys.argv[1:])
"""


@posix
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    picture = np.array(disc_picture())
    subject = picture[..., 0] > 200
    picture[subject] = picture[subject] // 2 + noise[subject] // 2
    (tmp_path / "in").mkdir()
    PILImage.fromarray(picture).save(tmp_path / "in" / "large.png")
    save_disc(tmp_path / "in" / "small.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "large.png").write_bytes(b"what was there before")
    before = files(tmp_path / "in")
    done = python_there(FULL, "remove", *FAST, tmp_path / "in", "-o", tmp_path / "out", "--overwrite")
    failure, summary = done.stderr.splitlines()
    assert (done.returncode, summary) == (1, "1 done, 0 skipped, 1 failed")
    assert failure.startswith("failed: cannot write ") and "nothing was changed" in failure
    after = files(tmp_path / "out")
    assert set(after) == {"large.png", "small.png"} and after["large.png"] == b"what was there before"
    assert decode(after["small.png"]).shape == (96, 128, 4) and files(tmp_path / "in") == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_standard_output(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "bgremove",
        "remove",
        *FAST,
        str(save_disc(tmp_path / "a.png")),
        "-o",
        "-",
    ]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=environment(), timeout=60)
    assert done.returncode == 1
    assert done.stderr == b"failed: cannot write to standard output: No space left on device\n"


@posix
@pytest.mark.parametrize("redirect", ["| true", ">&-"])
def test_nobody_reads_standard_output(redirect: str, tmp_path: Path) -> None:
    save_disc(tmp_path / "a.png", 400, 400)
    line = f'("{sys.executable}" -m bgremove remove -m contour a.png -o -; echo "status $?" >&2) {redirect}'
    done = subprocess.run(
        ["sh", "-c", line], cwd=tmp_path, env=environment(), capture_output=True, timeout=60, encoding="utf-8"
    )
    assert "status 1" in done.stderr and "Traceback" not in done.stderr and "Exception" not in done.stderr
    assert "cannot write to standard output" in done.stderr or "standard output is closed" in done.stderr


@posix
def test_standard_input_that_is_empty_or_closed(tmp_path: Path) -> None:
    done = bgremove_there("remove", *FAST, "-", "-o", "-")
    assert done.returncode == 1 and b"standard input is empty" in done.stderr and done.stdout == b""
    line = f'"{sys.executable}" -m bgremove remove -m contour - -o x.png <&-'
    closed = subprocess.run(
        ["sh", "-c", line], cwd=tmp_path, env=environment(), capture_output=True, timeout=60
    )
    assert closed.returncode == 1 and b"standard input is closed" in closed.stderr


# Settings -----------------------------------------------------------------------------------------

WRONG = [
    ("--feather", "nan"), ("--feather", "inf"), ("--feather", "-1"), ("--feather", "abc"),
    ("--canny-low", "999"), ("--canny-low", "3.5"), ("--min-area", "nan"), ("--min-area", "1e400"),
    ("--blur", "2"), ("--edges", "sharp"), ("--output", "mask,foo"), ("--output", "composite"),
    ("--format", "xyz"), ("--quality", "0"), ("--png-level", "10"), ("--blur-radius", "-0.1"),
    ("--size", "0"), ("--size", "10x"), ("--size", "-5"), ("--size", "abc"), ("--padding", "-3"),
    ("--padding", "5%%"), ("--background", "nocolour"), ("--background", "300,1,1"), ("--background", "#ggg"),
    ("--background-fit", "fill"), ("--preset", "nope"), ("--max-megapixels", "nan"),
    ("--max-megapixels", "0"), ("--max-megapixels", "lots"), ("--nonsense", "1"), ("--model", "nope"),
    ("--foreground-threshold", "3"),
]  # fmt: skip


@pytest.mark.parametrize(("flag", "value"), WRONG)
def test_a_wrong_setting_is_one_sentence_before_any_work(flag: str, value: str, tmp_path: Path) -> None:
    save_disc(tmp_path / "a.png")
    before = files(tmp_path)
    result = remove_here(tmp_path / "a.png", "-o", tmp_path / "x.png", flag, value)
    assert result.exit_code == 2 and result.stdout == "", result.stderr
    assert is_one_sentence(result.stderr) and result.stderr.startswith("Error: "), result.stderr
    assert files(tmp_path) == before


def test_sentences_speak_of_flags(tmp_path: Path) -> None:
    save_disc(tmp_path / "a.png")
    result = remove_here(tmp_path / "a.png", "--canny-low", "999")
    assert result.stderr == "Error: --canny-low must be a whole number from 1 to 40; got 999\n"
    result = remove_here(tmp_path / "a.png", "--min-area", "0.1", "--max-area", "0.05")
    assert "--min-area must be below --max-area" in result.stderr


@pytest.mark.parametrize("background", ["empty.png", "folder"])
def test_a_background_that_is_no_picture(background: str, tmp_path: Path) -> None:
    save_disc(tmp_path / "a.png")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    result = remove_here(tmp_path / "a.png", "--background", tmp_path / background)
    assert result.exit_code == 1 and is_one_sentence(result.stderr) and background in result.stderr


@pytest.mark.parametrize("model_file", ["missing.onnx", "text.onnx"])
@pytest.mark.parametrize("model", ["onnx", "u2netp"])
def test_a_model_file_that_is_none(model: str, model_file: str, tmp_path: Path) -> None:
    save_disc(tmp_path / "a.png")
    (tmp_path / "text.onnx").write_text("no network")
    args = ["-m", model, "--model-file", str(tmp_path / model_file), "-o", str(tmp_path / "x.png")]
    result = bgremove_here("remove", tmp_path / "a.png", *args)
    assert result.exit_code == 1 and is_one_sentence(result.stderr) and model_file in result.stderr


def test_an_animation_that_its_format_cannot_hold(tmp_path: Path) -> None:
    frames = [disc_picture(shade=shade) for shade in (0, 40, 80)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:], duration=80)
    flags = ["--background", "white"]
    result = remove_here(tmp_path / "moving.gif", "-o", tmp_path / "x.jpg", *flags)
    assert result.exit_code == 1 and is_one_sentence(result.stderr) and "is animated" in result.stderr
    assert remove_here(tmp_path / "moving.gif", "-o", tmp_path / "x.webp", *flags).exit_code == 0
    with PILImage.open(tmp_path / "x.webp") as picture:
        assert getattr(picture, "n_frames", 1) == 3


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_disc(tmp_path / "a.png")
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("BGREMOVE_HOME", str(tmp_path / "file"))
    result = bgremove_here("remove", tmp_path / "a.png", "-m", "u2netp", "-o", tmp_path / "x.png")
    assert result.exit_code == 1 and is_one_sentence(result.stderr) and "BGREMOVE_HOME" in result.stderr
    listed = bgremove_here("models").stdout
    assert all(name in listed for name in REMOVERS)


def test_an_input_is_never_changed_whatever_happens(tmp_path: Path) -> None:
    photo = Path(bgremove.__file__).parent / "assets" / "coffee.jpg"
    shutil.copy(photo, tmp_path / "a.jpg")
    stamp = (tmp_path / "a.jpg").stat().st_mtime_ns
    for flags in (
        [],
        ["-o", str(tmp_path / "a.jpg"), "--overwrite", "--background", "white"],
        ["--size", "nan"],
    ):
        remove_here(tmp_path / "a.jpg", *flags)
    assert (tmp_path / "a.jpg").read_bytes() == photo.read_bytes()
    assert (tmp_path / "a.jpg").stat().st_mtime_ns == stamp

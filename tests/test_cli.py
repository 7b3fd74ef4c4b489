"""The command: inputs, outputs, every flag, what it says and where, and how it stops."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image as PILImage

import bgremove
from bgremove.cli import main
from bgremove.foreground import ForegroundParams
from bgremove.io import WriteParams
from bgremove.options import Params, Setting, settings
from bgremove.pipeline import OutputParams
from bgremove.refine import RefineParams
from bgremove.registry import ALIASES, REMOVERS
from bgremove.removers.base import RemoverInfo
from tests.cli_helpers import (
    FAST,
    ROOT,
    bgremove_here,
    bgremove_there,
    decode,
    disc_picture,
    environment,
    files,
    python_there,
    remove_here,
    save_disc,
)

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX signals and devices")
GROUPS: tuple[type[Params], ...] = (OutputParams, WriteParams, RefineParams, ForegroundParams)


@pytest.fixture
def disc(tmp_path: Path) -> Path:
    """A picture in a folder of its own."""
    return save_disc(tmp_path / "in" / "disc.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures, one of them in a subfolder, and a text."""
    save_disc(tmp_path / "in" / "a.png")
    save_disc(tmp_path / "in" / "b.bmp", shade=20)
    save_disc(tmp_path / "in" / "sub" / "c.png", shade=40)
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    return tmp_path / "in"


# Inputs and outputs -------------------------------------------------------------------------------


def test_one_file_to_one_file(disc: Path, tmp_path: Path) -> None:
    result = remove_here(disc, "-o", tmp_path / "cut.png")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "" and result.stderr == f"wrote {tmp_path / 'cut.png'}\n"
    pixels = decode(tmp_path / "cut.png")
    assert pixels.shape == (96, 128, 4)
    assert pixels[48, 64, 3] == 255 and (pixels[0, 0] == 0).all()


def test_without_an_output_a_new_file_beside_the_input(disc: Path) -> None:
    before = disc.read_bytes()
    assert remove_here(disc).exit_code == 0
    assert set(files(disc.parent)) == {"disc.png", "disc_cutout.png"}
    assert disc.read_bytes() == before


def test_a_folder_gives_its_pictures(folder: Path, tmp_path: Path) -> None:
    result = remove_here(folder, "-o", tmp_path / "out")
    assert (result.exit_code, result.stderr) == (0, "2 done, 0 skipped, 0 failed\n")
    assert set(files(tmp_path / "out")) == {"a.png", "b.png"}


def test_recursive_keeps_the_subfolders_and_leaves_out_the_output(folder: Path) -> None:
    for run, summary in ("", "3 done, 0 skipped"), ("--skip-existing", "0 done, 3 skipped"):
        result = remove_here(folder, "-r", "-o", folder / "out", *filter(None, [run]))
        assert result.exit_code == 0 and summary in result.stderr
    assert set(files(folder / "out")) == {"a.png", "b.png", "sub/c.png"}


def test_a_pattern(folder: Path, tmp_path: Path) -> None:
    result = remove_here(f"{folder}/*.png", "-o", tmp_path / "out")
    assert result.exit_code == 0 and set(files(tmp_path / "out")) == {"a.png"}


def test_a_pattern_over_subfolders(folder: Path, tmp_path: Path) -> None:
    result = remove_here(f"{folder}/**/*.png", "-o", tmp_path / "out")
    assert result.exit_code == 0 and set(files(tmp_path / "out")) == {"a.png", "c.png"}


def test_a_name_that_looks_like_a_pattern_is_a_file_if_there_is_one(tmp_path: Path) -> None:
    save_disc(tmp_path / "[x] {y}.png")
    assert remove_here(tmp_path / "[x] {y}.png").exit_code == 0
    assert (tmp_path / "[x] {y}_cutout.png").exists()


def test_a_picture_named_twice_is_done_once(folder: Path, tmp_path: Path) -> None:
    result = remove_here(folder / "a.png", folder, f"{folder}/a*", "-o", tmp_path / "out")
    assert (result.exit_code, result.stderr) == (0, "2 done, 0 skipped, 0 failed\n")


def test_stdin_to_stdout(disc: Path) -> None:
    done = bgremove_there("remove", *FAST, "-", "-o", "-", stdin=disc.read_bytes())
    assert (done.returncode, done.stderr) == (0, b"")
    assert decode(done.stdout).shape == (96, 128, 4)


def test_stdin_alone_goes_to_stdout_and_stdin_to_a_file(disc: Path, tmp_path: Path) -> None:
    data = disc.read_bytes()
    result = remove_here("-", stdin=data)
    assert result.exit_code == 0 and result.stdout_bytes.startswith(b"\x89PNG") and result.stderr == ""
    result = remove_here("-", "-o", tmp_path / "cut.webp", stdin=data)
    assert result.exit_code == 0 and decode(tmp_path / "cut.webp").shape == (96, 128, 4)


def test_a_template(folder: Path, tmp_path: Path) -> None:
    result = remove_here(folder, "-o", f"{tmp_path}/out/{{folder}}/{{stem}}-{{suffix}}_{{model}}.{{ext}}")
    assert result.exit_code == 0, result.stderr
    assert set(files(tmp_path / "out")) == {"in/a-png_contour.png", "in/b-bmp_contour.png"}


def test_a_template_with_a_format_and_without_a_suffix(folder: Path, tmp_path: Path) -> None:
    assert remove_here(folder, "-o", f"{tmp_path}/out/{{stem}}", "--format", "webp").exit_code == 0
    assert set(files(tmp_path / "out")) == {"a.webp", "b.webp"}


@pytest.mark.parametrize(
    "template", ["{stm}.png", "{stem!r}.png", "{0}.png", "{}.png", "{stem.x}.png", "{stem:9}"]
)
def test_an_unknown_field_of_a_template(folder: Path, tmp_path: Path, template: str) -> None:
    result = remove_here(folder, "-o", str(tmp_path / template))
    assert result.exit_code == 2 and "known: {stem}, {folder}" in result.stderr


@pytest.mark.parametrize("template", ["{stem.png", "{stem}}.png"])
def test_a_brace_left_open(folder: Path, tmp_path: Path, template: str) -> None:
    result = remove_here(folder, "-o", str(tmp_path / template))
    assert result.exit_code == 2 and "close every brace" in result.stderr


def test_a_second_run_does_not_take_its_own_outputs_for_inputs(folder: Path) -> None:
    for expected in "2 done, 0 skipped", "0 done, 2 skipped":
        result = remove_here(folder, "--skip-existing")
        assert result.exit_code == 0 and expected in result.stderr
    assert not [name for name in files(folder) if "cutout_cutout" in name]


def test_names_with_spaces_line_breaks_dashes_and_other_scripts(tmp_path: Path) -> None:
    names = ["with space.png", "-dash.png", "照片 ü.png", "new\nline.png"]
    for name in names:
        save_disc(tmp_path / "in" / name)
    done = bgremove_there("remove", *FAST, "-o", "../out/", "--", *names, "nöne\n.png", cwd=tmp_path / "in")
    assert done.returncode == 1
    assert set(files(tmp_path / "out")) == set(names)
    assert done.stderr.decode().splitlines()[0] == "failed: nöne\\n.png does not exist; check the path"


# Results ------------------------------------------------------------------------------------------


def test_several_outputs_in_a_folder(disc: Path, tmp_path: Path) -> None:
    outputs = ["cutout", "mask", "alpha", "composite", "trimap", "crop"]
    result = remove_here(disc, "-o", f"{tmp_path}/out/", "--output", ",".join(outputs), "--background", "red")
    assert result.exit_code == 0, result.stderr
    assert set(files(tmp_path / "out")) == {f"disc_{output}.png" for output in outputs}
    modes = {output: decode(tmp_path / "out" / f"disc_{output}.png").shape[2:] for output in outputs}
    assert modes == {"cutout": (4,), "composite": (3,), "crop": (3,), "mask": (), "alpha": (), "trimap": ()}


def test_mask_alpha_and_cutout_together(disc: Path, tmp_path: Path) -> None:
    result = remove_here(disc, "-o", f"{tmp_path}/out/", "--output", "mask,alpha,cutout")
    assert result.exit_code == 0, result.stderr
    made = {name: decode(data) for name, data in files(tmp_path / "out").items()}
    assert set(made) == {"disc_mask_binary.png", "disc_mask_soft.png", "disc_foreground.png"}
    binary, soft = made["disc_mask_binary.png"], made["disc_mask_soft.png"]
    assert set(np.unique(binary)) == {0, 255} and len(np.unique(soft)) > 2
    np.testing.assert_array_equal(binary == 255, soft > 127)
    foreground = made["disc_foreground.png"]
    np.testing.assert_array_equal(foreground[..., 3], soft)
    assert foreground[48, 64, :3].tolist() == [240, 200, 60]
    names = bgremove_here("remove", "--help").stdout
    assert all(end in names for end in ("_mask_binary", "_mask_soft", "_foreground"))


def test_a_second_run_knows_the_names_of_mask_alpha_and_cutout(disc: Path) -> None:
    args = (disc.parent, "--output", "cutout,mask,alpha")
    assert remove_here(*args).exit_code == 0
    again = remove_here(*args, "--skip-existing")
    assert again.exit_code == 0, again.stderr
    assert again.stderr.count("skipped: ") == 3 and len(files(disc.parent)) == 4


def test_several_outputs_to_one_name(disc: Path, tmp_path: Path) -> None:
    assert remove_here(disc, "-o", tmp_path / "x.png", "--output", "mask,alpha").exit_code == 0
    assert {"x_mask.png", "x_alpha.png"} <= set(files(tmp_path))


@pytest.mark.parametrize("colour", ["tomato", "#ff6347", "255,99,71", "rgb(255, 99, 71)"])
def test_a_colour_behind_the_subject(disc: Path, tmp_path: Path, colour: str) -> None:
    assert remove_here(disc, "-o", tmp_path / "x.png", "--background", colour).exit_code == 0
    pixels = decode(tmp_path / "x.png")
    assert pixels.shape == (96, 128, 3) and tuple(pixels[0, 0]) == (255, 99, 71)


def test_a_see_through_colour(disc: Path, tmp_path: Path) -> None:
    assert remove_here(disc, "-o", tmp_path / "x.png", "--background", "#ff000080").exit_code == 0
    assert tuple(decode(tmp_path / "x.png")[0, 0]) == (255, 0, 0, 128)


@pytest.mark.parametrize("fit", ["cover", "contain", "stretch", "tile"])
def test_a_picture_behind_the_subject(disc: Path, tmp_path: Path, fit: str) -> None:
    PILImage.new("RGB", (10, 30), (0, 250, 0)).save(tmp_path / "green.png")
    flags = ["--background", str(tmp_path / "green.png"), "--background-fit", fit]
    assert remove_here(disc, "-o", tmp_path / "x.png", *flags).exit_code == 0
    assert tuple(decode(tmp_path / "x.png")[0, 0]) == (0, 250, 0)


def test_a_blurred_background_is_smoother_with_a_larger_radius(disc: Path, tmp_path: Path) -> None:
    ground = np.array(disc_picture())
    ground[:16] = np.arange(20, 148)[None, :, None]
    PILImage.fromarray(ground).save(disc)
    spans = []
    for radius in "0.5", "40":
        flags = ["--background", "blur", "--blur-radius", radius, "--overwrite"]
        assert remove_here(disc, "-o", tmp_path / "x.png", *flags).exit_code == 0
        spans.append(int(np.ptp(decode(tmp_path / "x.png")[2, :, 0])))
    assert decode(tmp_path / "x.png").shape == (96, 128, 3)
    assert spans[0] > 100 and spans[1] < spans[0] - 30


@pytest.mark.parametrize("name", ["png", "webp", "tiff", "avif", "gif"])
def test_formats_by_flag_and_by_name(disc: Path, tmp_path: Path, name: str) -> None:
    assert remove_here(disc, "-o", f"{tmp_path}/out/", "--format", name).exit_code == 0
    [made] = (tmp_path / "out").iterdir()
    assert remove_here(disc, "-o", tmp_path / f"by_name{made.suffix}").exit_code == 0
    assert (tmp_path / f"by_name{made.suffix}").read_bytes() == made.read_bytes()
    with PILImage.open(made) as picture:
        assert picture.format == name.upper()


def test_jpeg_needs_a_background(disc: Path, tmp_path: Path) -> None:
    result = remove_here(disc, "-o", tmp_path / "x.jpg")
    assert result.exit_code == 2 and "--background white" in result.stderr
    assert remove_here(disc, "-o", tmp_path / "x.jpg", "--background", "white").exit_code == 0


def test_a_name_that_contradicts_the_format(disc: Path, tmp_path: Path) -> None:
    result = remove_here(disc, "-o", tmp_path / "x.png", "--format", "jpeg", "--background", "white")
    assert result.exit_code == 2 and "name it x.jpg" in result.stderr
    result = remove_here(disc, "-o", tmp_path / "x.xyz")
    assert result.exit_code == 2 and "--format" in result.stderr


@pytest.mark.parametrize(("flag", "low", "high"), [("--quality", "10", "95"), ("--png-level", "9", "0")])
def test_quality_and_compression(folder: Path, tmp_path: Path, flag: str, low: str, high: str) -> None:
    sizes = []
    for value in low, high:
        out = tmp_path / ("x.jpg" if flag == "--quality" else "x.png")
        photo = Path(bgremove.__file__).parent / "assets" / "cat.jpg"
        flags = [flag, value, "--background", "white", "--overwrite", "--size", "200"]
        assert remove_here(photo, "-o", out, *flags).exit_code == 0
        sizes.append(out.stat().st_size)
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize(("size", "expected"), [("64", (48, 64)), ("400x24", (24, 32)), ("999", (96, 128))])
def test_size(disc: Path, tmp_path: Path, size: str, expected: tuple[int, int]) -> None:
    assert remove_here(disc, "-o", tmp_path / "x.png", "--size", size).exit_code == 0
    assert decode(tmp_path / "x.png").shape[:2] == expected


def test_crop_and_padding(disc: Path, tmp_path: Path) -> None:
    sides = []
    for padding in "0", "5", "10%":
        flags = ["--crop", "--padding", padding, "--overwrite"]
        assert remove_here(disc, "-o", tmp_path / "x.png", *flags).exit_code == 0
        sides.append(decode(tmp_path / "x.png").shape[0])
    assert 60 <= sides[0] <= 70
    assert sides[1] == sides[0] + 10 and sides[2] == sides[0] + 2 * round(sides[0] / 10)


def test_outputs_that_exist(disc: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.png"
    out.write_bytes(b"mine")
    result = remove_here(disc, "-o", out)
    assert result.exit_code == 1 and "--overwrite" in result.stderr and out.read_bytes() == b"mine"
    result = remove_here(disc, "-o", out, "--skip-existing")
    assert result.exit_code == 0 and result.stderr == f"skipped: {out} exists\n"
    assert out.read_bytes() == b"mine"
    assert remove_here(disc, "-o", out, "--overwrite").exit_code == 0
    assert decode(out).shape == (96, 128, 4)


def test_a_preset_and_a_flag_that_wins_over_it(disc: Path, tmp_path: Path) -> None:
    made = []
    for flags in ["--preset", "raw"], ["--preset", "classic"], ["--preset", "classic", "--feather", "0"]:
        assert remove_here(disc, "-o", tmp_path / "x.png", "--overwrite", *flags).exit_code == 0
        made.append(len(np.unique(decode(tmp_path / "x.png")[..., 3])))
    assert made[0] == 2 and made[1] > 10 and made[2] == 2
    result = remove_here(disc, "-o", tmp_path / "x.png", "--preset", "clasic")
    assert result.exit_code == 2 and "known: use-default, raw, classic" in result.stderr


def test_a_hint_decides_what_it_marks(tmp_path: Path) -> None:
    save_disc(tmp_path / "disc.png", 120, 200)
    strokes = np.full((120, 200, 3), (128, 0, 250), np.uint8)  # another colour marks nothing
    strokes[20:28, 20:60] = 255
    strokes[55:65, 90:110] = 0
    PILImage.fromarray(strokes).save(tmp_path / "strokes.png")
    flags = ["--hint", str(tmp_path / "strokes.png"), "--hint-as", "scribbles", "--preset", "raw"]
    args = ["remove", "-m", "grabcut", str(tmp_path / "disc.png"), "--output", "mask", "-o"]
    assert bgremove_here(*args, tmp_path / "plain.png").exit_code == 0
    result = bgremove_here(*args, tmp_path / "hinted.png", *flags)
    assert result.exit_code == 0, result.stderr
    plain, hinted = decode(tmp_path / "plain.png"), decode(tmp_path / "hinted.png")
    assert (plain[20:28, 20:60] == 0).all() and (plain[55:65, 90:110] == 255).all()
    assert (hinted[21:27, 21:59] == 255).all() and (hinted[56:64, 91:109] == 0).all()


def test_a_hint_that_does_not_fit(disc: Path, tmp_path: Path) -> None:
    hint = save_disc(tmp_path / "hint.png", 50, 50)
    result = bgremove_here("remove", "-m", "grabcut", disc, "-o", tmp_path / "x.png", "--hint", hint)
    assert result.exit_code == 1 and "marks nothing" in result.stderr
    PILImage.new("L", (50, 50), 255).save(hint)
    result = bgremove_here("remove", "-m", "grabcut", disc, "-o", tmp_path / "x.png", "--hint", hint)
    assert result.exit_code == 1 and "height and width (96, 128)" in result.stderr
    result = remove_here(disc, "-o", tmp_path / "x.png", "--hint", hint)
    assert result.exit_code == 2 and "contour takes no --hint" in result.stderr


def test_a_model_file_for_a_remover_without_one(disc: Path, tmp_path: Path) -> None:
    result = remove_here(disc, "-o", tmp_path / "x.png", "--model-file", disc)
    assert result.exit_code == 1 and "contour has no model file" in result.stderr


def test_a_model_that_cannot_be_had_is_tried_once(folder: Path, tmp_path: Path) -> None:
    result = bgremove_here("remove", folder, "-o", tmp_path / "out", "-m", "onnx:missing.onnx", "-j", "2")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "failed: there is no model file missing.onnx; check the path (2 pictures)",
        "0 done, 0 skipped, 2 failed",
    ]


@pytest.mark.parametrize("device", ["gpu", "cuda"])
def test_a_device_that_is_not_there(disc: Path, tmp_path: Path, device: str) -> None:
    result = remove_here(disc, "-o", tmp_path / "x.png", "--device", device)
    assert result.exit_code != 0 and "cpu" in result.stderr and not (tmp_path / "x.png").exists()


# Runs over many -----------------------------------------------------------------------------------


def test_jobs_change_nothing_but_the_time(tmp_path: Path) -> None:
    for index in range(6):
        save_disc(tmp_path / "in" / f"{index}.png", shade=index * 9)
    for jobs in "1", "2":
        assert remove_here(tmp_path / "in", "-o", tmp_path / jobs, "--jobs", jobs).exit_code == 0
    assert files(tmp_path / "1") == files(tmp_path / "2") and len(files(tmp_path / "2")) == 6


@pytest.mark.parametrize("jobs", ["0", "-1", "65", "many"])
def test_jobs_out_of_range(disc: Path, jobs: str) -> None:
    result = remove_here(disc, "--jobs", jobs)
    assert result.exit_code == 2 and "--jobs" in result.stderr


def test_failures_are_listed_and_the_rest_is_done(folder: Path, tmp_path: Path) -> None:
    (folder / "b.bmp").write_bytes(b"BM no picture")
    result = remove_here(folder, folder / "none.png", "-o", tmp_path / "out")
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert lines[-1] == "1 done, 0 skipped, 2 failed"
    assert sorted(line.split()[1] for line in lines[:-1]) == [str(folder / "b.bmp"), str(folder / "none.png")]
    assert set(files(tmp_path / "out")) == {"a.png"}


def test_quiet_says_only_what_failed(folder: Path, tmp_path: Path) -> None:
    result = remove_here(folder, "-o", tmp_path / "out", "-q")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    result = remove_here(folder, "-o", tmp_path / "out", "-q")
    assert result.exit_code == 1 and result.stderr.count("failed: ") == 2


def test_an_empty_result_is_said(tmp_path: Path) -> None:
    PILImage.new("RGB", (60, 40), (90, 90, 90)).save(tmp_path / "flat.png")
    result = remove_here(tmp_path / "flat.png", "-o", tmp_path / "x.png")
    assert result.exit_code == 0 and "found no subject" in result.stderr
    assert not decode(tmp_path / "x.png").any()


STOPPABLE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from bgremove.cli import main
main(sys.argv[1:], prog_name="bgremove")
"""


def stopped_run(tmp_path: Path, signals: int) -> tuple[subprocess.Popen[bytes], Path]:
    """A run over 30 pictures that gets a signal when three of them are there, and has ended."""
    picture = disc_picture(500, 700)
    (tmp_path / "in").mkdir()
    picture.save(tmp_path / "in" / "0.png")
    for index in range(1, 30):
        (tmp_path / "in" / f"{index}.png").hardlink_to(tmp_path / "in" / "0.png")
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-c",
        STOPPABLE,
        "remove",
        *FAST,
        str(tmp_path / "in"),
        "-o",
        str(out),
        "-j",
        "2",
    ]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while time.monotonic() < until and (not out.exists() or len(list(out.glob("*.png"))) < 3):
        time.sleep(0.005)
    process.send_signal(signals)
    return process, out


@posix
def test_ctrl_c_leaves_whole_pictures_and_the_next_run_does_the_others(tmp_path: Path) -> None:
    process, out = stopped_run(tmp_path, signal.SIGINT)
    error = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130, error
    assert "left; run it again with --skip-existing" in error and "Traceback" not in error
    made = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert 3 <= len(made) < 30 and all(path.suffix == ".png" for path in made)
    assert f"stopped: {len(made)} done, 0 skipped, 0 failed, {30 - len(made)} left" in error
    assert all(decode(path).shape == (500, 700, 4) for path in made)
    result = remove_here(tmp_path / "in", "-o", out, "--skip-existing")
    assert result.stderr == f"{30 - len(made)} done, {len(made)} skipped, 0 failed\n"
    assert all(path.stat().st_mtime_ns == time for path, time in made.items())


@posix
def test_a_killed_run_leaves_whole_pictures(tmp_path: Path) -> None:
    process, out = stopped_run(tmp_path, signal.SIGKILL)
    process.communicate(timeout=60)
    made = list(out.glob("[!.]*"))
    assert 3 <= len(made) < 30
    assert all(decode(path).shape == (500, 700, 4) for path in made)
    assert remove_here(tmp_path / "in", "-o", out, "--skip-existing").exit_code == 0
    assert len(list(out.glob("[!.]*"))) == 30


@posix
def test_a_second_ctrl_c_ends_at_once_without_leftovers(tmp_path: Path) -> None:
    process, out = stopped_run(tmp_path, signal.SIGINT)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130 and "Traceback" not in error
    assert all(decode(path).shape == (500, 700, 4) for path in out.iterdir())


MEMORY = """
import sys
from bgremove.cli import main
try:
    main(sys.argv[1:], prog_name="bgremove")
except SystemExit as end:
    assert not end.code
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path: Path) -> None:
    peaks = []
    for count in 8, 40:
        source = tmp_path / f"in{count}"
        save_disc(source / "0.png", 600, 800)
        for index in range(1, count):
            (source / f"{index}.png").write_bytes((source / "0.png").read_bytes())
        done = python_there(MEMORY, "remove", *FAST, source, "-o", tmp_path / f"out{count}", "-j", "2")
        assert done.returncode == 0 and f"{count} done" in done.stderr, done.stderr
        peaks.append(int(done.stdout))
    assert peaks[1] < 1.25 * peaks[0]


# Other commands, and help -------------------------------------------------------------------------


def test_the_models_are_those_of_the_table() -> None:
    result = bgremove_here("models")
    assert result.exit_code == 0
    table, zoo, rest = result.stdout.split("\n\n")
    lines = [*table.splitlines()[1:], *zoo.splitlines()[3:]]
    assert [line.split()[0] for line in lines] == list(REMOVERS)
    for info, line in zip(REMOVERS.values(), lines, strict=True):
        assert info.summary in line and info.license.partition(" (")[0] in line
        assert info.kind in (line if info.kind != "detectron2" else zoo.splitlines()[0])
    assert all(f"{alias} means {name}." in rest for alias, name in ALIASES.items())


def test_a_large_model_says_what_it_takes_before_it_is_fetched(
    disc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BGREMOVE_HOME", str(tmp_path / "home"))
    row = REMOVERS["mask_rcnn_R_50_FPN_3x"]
    wrong = tmp_path / "wrong.pkl"  # so that nothing is downloaded, whether Detectron2 is here or not
    args = ("remove", disc, "-o", tmp_path / "x.png", "--model", row.name, "--model-file", wrong)
    result = bgremove_here(*args)
    assert result.exit_code == 1 and not (tmp_path / "x.png").exists()
    first, *_ = result.stderr.splitlines()
    assert first == f"{row.name} takes about {row.memory_gb:g} GB of memory"
    assert "178 MB" in bgremove_here("models").stdout
    assert f"memory:    about {row.memory_gb:g} GB" in bgremove_here("info", row.name).stdout


def test_models_says_what_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BGREMOVE_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "u2netp.onnx").write_bytes(b"")
    here = {line.split()[0]: line for line in bgremove_here("models").stdout.splitlines() if "MB" in line}
    assert " built in " in here.pop("lite") and " yes " in here.pop("u2netp")
    assert here and all(" no " in line for line in here.values())


@pytest.mark.parametrize("name", [*REMOVERS, "auto", "onnx:some.onnx"])
def test_info_shows_settings_presets_paper_and_licence(name: str) -> None:
    result = bgremove_here("info", name)
    info = REMOVERS[ALIASES.get(name, name).partition(":")[0]]
    assert result.exit_code == 0 and info.paper in result.stdout and info.license in result.stdout
    for setting in settings(info.params, info.defaults):
        assert_described(setting, result.stdout)
    for preset in (*info.params.presets, *RefineParams.presets):
        assert f"--preset {preset}: --" in result.stdout


@pytest.mark.parametrize("command", ["info", "remove"])
def test_a_wrong_model_gets_the_nearest_and_all_names(command: str, disc: Path) -> None:
    args = ["u2nett"] if command == "info" else [str(disc), "--model", "u2nett"]
    result = bgremove_here(command, *args)
    assert result.exit_code == 2 and "did you mean 'u2net" in result.stderr
    assert all(name in result.stderr for name in REMOVERS)


def test_version_and_python_m() -> None:
    result = bgremove_here("--version")
    assert result.exit_code == 0 and bgremove.__version__ in result.stdout
    done = bgremove_there("--version")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().replace("\r", "") == result.stdout


@pytest.mark.parametrize("args", [["--help"], ["remove", "--help"], ["--version"], ["models"]])
def test_help_loads_no_network_library(args: list[str]) -> None:
    code = (
        "import sys; from bgremove.cli import main; main(sys.argv[1:], standalone_mode=False); "
        "print('loaded:', *sorted(sys.modules))"
    )
    done = python_there(code, *args)
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.rpartition("loaded:")[2].split()
    assert {"torch", "onnxruntime", "numba", "pymatting"}.isdisjoint(loaded) and "bgremove.cli" in loaded


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_and_every_flag_has_help(name: str) -> None:
    command = main.commands[name]
    assert command.help and command.get_short_help_str()
    result = bgremove_here(name, "-h")
    assert result.exit_code == 0 and result.stdout.startswith(f"Usage: main {name}"), result.stdout
    context = click.Context(command, info_name=name)
    for parameter in command.get_params(context):
        assert isinstance(parameter, click.Argument) or getattr(parameter, "help", None), parameter.name


def _default(setting: Setting) -> str:
    value = setting.default
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(f"{number:g}" for number in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def assert_described(setting: Setting, text: str) -> None:
    """The flag is in `text` with the declared help, range, choices and default."""
    words = " ".join(text.split())
    flag = f" {setting.flag} "
    assert flag in words, setting.name
    described = words.partition(flag)[2]
    assert setting.help in described, setting.name
    after = described.partition(setting.help)[2]
    if setting.minimum is not None:
        assert f"{setting.minimum:g}" in after[:60] and setting.span in after[:60], setting.name
    if setting.choices:
        assert described.startswith("|".join(map(str, setting.choices))), setting.name
    if setting.default is not None and setting.default != "":
        assert f"default: {_default(setting)}]" in after[:90], (setting.name, after[:90])


@pytest.mark.parametrize("info", REMOVERS.values(), ids=REMOVERS)
def test_every_setting_is_a_flag_with_its_default_in_the_help(info: RemoverInfo) -> None:
    result = bgremove_here("remove", "--help", "--model", info.name)
    assert result.exit_code == 0
    for setting in settings(info.params, info.defaults):
        assert_described(setting, result.stdout)
    for group in GROUPS:
        for setting in settings(group):
            assert_described(setting, result.stdout)


@pytest.mark.parametrize("info", REMOVERS.values(), ids=REMOVERS)
def test_every_flag_takes_its_default(info: RemoverInfo, disc: Path) -> None:
    command = main.commands["remove"]
    args = [str(disc), "--model", info.name]
    given = {}
    for group, defaults in [(info.params, info.defaults), *((group, {}) for group in GROUPS)]:
        for setting in settings(group, defaults):
            if setting.default is None:
                continue
            if setting.kind == "bool":
                args.append(setting.flag if setting.default else f"--no-{setting.flag[2:]}")
            else:
                args += [setting.flag, _default(setting)]
            given[setting.name] = setting.default
    context = command.make_context("remove", args)
    values = {name: context.params[name] for name in given}
    for group in (info.params, *GROUPS):
        chosen = {name: value for name, value in values.items() if name in group.model_fields}
        assert group(**chosen).model_dump() == group(**{name: given[name] for name in chosen}).model_dump(), (
            group
        )


def test_the_last_model_counts(disc: Path, tmp_path: Path) -> None:
    result = remove_here(disc, "-o", tmp_path / "x.png", "--model", "grabcut", "--iterations", "1")
    assert result.exit_code == 0, result.stderr


def test_a_flag_of_another_model_says_whose_it_is(disc: Path) -> None:
    result = remove_here(disc, "--iterations", "3")
    assert result.exit_code == 2 and "--iterations is a setting of grabcut" in result.stderr
    result = remove_here(disc, "--canny-lo", "3")
    assert result.exit_code == 2 and "--canny-low" in result.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("bgremove re", "remove"),
        ("bgremove remove --model contour --canny-l", "--canny-low"),
        ("bgremove remove --model u2netp", "u2netp"),
        ("bgremove remove --edges gui", "guided"),
        ("bgremove info isnet-a", "isnet-anime"),
    ],
)
def test_shell_completion(words: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bgremove"],
        env={
            **environment(),
            "_BGREMOVE_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        },
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [f"plain,{expected}"]


@pytest.mark.parametrize("args", [["models"], ["--help"], ["remove", "--help"], ["info", "grabcut"]])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_one_sentence(args: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "bgremove", *args]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=environment(), timeout=60)
    assert done.returncode == 1
    assert done.stderr == b"Error: cannot write to standard output: No space left on device\n"


def readme_commands() -> list[list[str]]:
    """What the README calls after ``bgremove``, up to a comment, a pipe or another command."""
    readme = ROOT / "README.md"
    if not readme.exists():
        return []
    found = []
    for line in readme.read_text("utf-8").splitlines():
        words = shlex.split(line, comments=True) if line.count("'") % 2 == 0 and "bgremove " in line else []
        if "`" in line or "bgremove" not in words:
            continue
        rest = words[words.index("bgremove") + 1 :]
        stop = next((i for i, word in enumerate(rest) if word in (">", "|", "&&", "<", "||")), len(rest))
        found.append(rest[:stop])
    return [words for words in found if words and words[0].isalpha()]


@pytest.mark.parametrize("words", readme_commands(), ids=" ".join)
def test_the_commands_of_the_readme_exist(words: list[str]) -> None:
    names = words
    command: click.Command | None = main
    while isinstance(command, click.Group):  # bgremove data zip
        command = command.get_command(click.Context(command), names[0])
        names = names[1:]
    assert command is not None
    context = command.make_context(" ".join(words), names)
    assert context.params

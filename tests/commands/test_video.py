"""``bgremove video``: as a user sees it, with Ctrl-C and kill -9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="needs the extra video")

from bgremove.video.reading import open_video  # noqa: E402
from tests.cli_helpers import (  # noqa: E402
    bgremove_here,
    bgremove_there,
    environment,
    files,
    is_one_sentence,
    python_there,
)
from tests.video.clips import clip, phone_clip  # noqa: E402

FAST = ("--model", "contour", "--edges", "none", "--foreground", "none")
SLOW = ("--model", "lite", "--closer", "0")  # some seconds for the long video


def test_a_transparent_video(tmp_path: Path) -> None:
    film = phone_clip(tmp_path / "phone.mp4")
    out = tmp_path / "phone_cut.webm"
    result = bgremove_here("video", film.path, "-o", out, *FAST)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert f"wrote {out}: 40 frames, 0:01." in result.stderr
    with open_video(out) as video:
        assert video.info.alpha and video.info.sound and video.info.size == (128, 96)


def test_without_a_name_the_result_is_beside_the_input(tmp_path: Path) -> None:
    film = clip(tmp_path / "film.mp4", frames=4)
    assert bgremove_here("video", film.path, *FAST, "-q").exit_code == 0
    assert bgremove_here("video", film.path, *FAST, "-q", "--background", "white").exit_code == 0
    assert set(files(tmp_path)) == {"film.mp4", "film_cutout.webm", "film_composite.mp4"}
    pictures = tmp_path / "pictures"
    assert bgremove_here("video", film.path, *FAST, "-o", pictures / "%03d.png").exit_code == 0
    again = bgremove_here("video", pictures / "%03d.png", *FAST, "--background", "red", "--rate", "8")
    assert again.exit_code == 0, again.stderr
    with open_video(tmp_path / "pictures_composite.mp4") as video:
        assert video.info.rate == 8 and len(list(video)) == 4


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (["film.mp4", "-o", "out.mp4"], 2, "transparen"),
        (["film.mp4", "-o", "out.xyz"], 2, "out.xyz"),
        (["none.mp4", "-o", "out.webm"], 1, "none.mp4"),
        (["text.mp4", "-o", "out.webm"], 1, "text.mp4"),
        (
            ["there.webm", "-o", "out.webm", "--start", "soon"],
            2,
            "start must be a time as 12.5, 1:02.5 or 1m2s",
        ),
        (["film.mp4", "-o", "there.webm"], 1, "there.webm"),
        (["film.mp4", "-o", "out.webm", "--every", "0"], 2, "--every must be a whole number"),
        (["film.mp4", "-o", "out.webm", "--model", "nothing"], 2, "unknown remover 'nothing'"),
        (["film.mp4", "-o", "out.webm", "--background", "nowhere.jpg"], 2, "unknown background"),
        (["film.mp4", "-o", "out.webm", "--codec", "h264"], 2, "h264"),
        (["film.mp4", "-o", "none/of/it/film.mp4/x.webm", "--background", "text.mp4"], 1, "text.mp4"),
    ],
)
def test_bad_input_gets_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], code: int, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    clip(tmp_path / "film.mp4", frames=4)
    (tmp_path / "text.mp4").write_text("this is no video" * 20)
    (tmp_path / "there.webm").write_bytes(b"precious")
    before = files(tmp_path)
    result = bgremove_here("video", *FAST, *args)
    assert result.exit_code == code, result.stderr
    assert is_one_sentence(result.stderr.replace("Error: ", "")) and sentence in result.stderr
    assert files(tmp_path) == before


def start(*args: str | Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "bgremove", "video", *map(str, args)]
    return subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE)


def wait_for_frames(folder: Path, process: subprocess.Popen[bytes], size: int = 20_000) -> None:
    """Until the working file has some frames."""
    end = time.monotonic() + 100
    while time.monotonic() < end and process.poll() is None:
        if any(path.stat().st_size > size for path in folder.iterdir() if path.name.startswith(".")):
            return
        time.sleep(0.02)
    raise AssertionError(f"it is over: {process.communicate()[1].decode()}")


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """A video of some seconds of work, hard to compress."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (180, 240, 3), np.uint8) for _ in range(12)]
    for image in images:
        image[50:130, 60:180] = (240, 150, 30)
    path = tmp_path / "in" / "long.mp4"
    path.parent.mkdir()
    return clip(path, images=[images[n % 12] for n in range(400)], frames=400, size=(180, 240)).path


def test_ctrl_c_leaves_what_can_be_played_and_resume_goes_on(tmp_path: Path, long: Path) -> None:
    out = tmp_path / "out.mp4"
    process = start(long, "-o", out, *SLOW, "--background", "white")
    wait_for_frames(tmp_path, process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    said = stderr.decode()
    assert process.returncode == 130 and "--resume goes on" in said and "Traceback" not in said
    with open_video(out) as video:
        played = len(list(video))
    assert 0 < played < 400 and f"{played} frames" in said
    done = bgremove_there("video", long, "-o", out, *SLOW, "--background", "white", "--resume")
    assert done.returncode == 0, done.stderr
    with open_video(out) as video:
        assert len(list(video)) == 400
    assert [path.name for path in tmp_path.iterdir()] == ["in", "out.mp4"] or set(files(tmp_path)) == {
        "in/long.mp4",
        "out.mp4",
    }


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
def test_after_kill_9_resume_goes_on(tmp_path: Path, long: Path) -> None:
    out = tmp_path / "out.webm"
    process = start(long, "-o", out, *SLOW)
    wait_for_frames(tmp_path, process, 200_000)
    process.kill()
    process.communicate(timeout=60)
    assert not out.exists()
    done = bgremove_there("video", long, "-o", out, *SLOW, "--resume")
    assert done.returncode == 0, done.stderr
    with open_video(out) as video:
        assert len(list(video)) == 400


def test_on_a_terminal_it_tells_how_far_it_is(tmp_path: Path, long: Path) -> None:
    pty = pytest.importorskip("pty", reason="there are no terminals on this system")
    termios = pytest.importorskip("termios", reason="there are no terminals on this system")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 100))
    command = [sys.executable, "-m", "bgremove", "video", str(long), "-o", str(tmp_path / "o.webm"), *SLOW]
    process = subprocess.Popen(command, env=environment(), stderr=theirs, stdout=subprocess.DEVNULL)
    os.close(theirs)
    said = b""
    while True:
        try:
            said += os.read(ours, 65536)
        except OSError:  # closed at the other end
            break
    os.close(ours)
    assert process.wait(60) == 0
    shown = said.decode(errors="replace")
    assert "of 400 (" in shown and "frames a second" in shown and " left" in shown
    assert "wrote" in shown.splitlines()[-1]


def test_an_error_in_the_middle_says_where_and_that_it_can_go_on(tmp_path: Path) -> None:
    film = clip(tmp_path / "film.webm", frames=60, codec="vp9", keys=10)
    data = film.path.read_bytes()
    cropped = tmp_path / "cropped.webm"
    cropped.write_bytes(data[: len(data) * 2 // 3])
    result = bgremove_here("video", cropped, "-o", tmp_path / "o.webm", *FAST)
    assert result.exit_code == 1 and "cropped.webm" in result.stderr
    assert "frames were done; the same command with --resume goes on from there" in result.stderr
    assert not (tmp_path / "o.webm").exists()


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['av'] = None\n"
        "from bgremove.cli import main\n"
        "main(['video', sys.argv[1], '-o', sys.argv[2]])"
    )
    film = clip(tmp_path / "film.mp4", frames=2)
    done = python_there(code, film.path, tmp_path / "o.webm")
    assert done.returncode == 1 and 'pip install "bgremove[video]"' in done.stderr
    assert is_one_sentence(done.stderr)

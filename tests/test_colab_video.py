"""What the video notebook's cells call."""

from __future__ import annotations

import base64
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("av", reason='videos need the extra: pip install "bgremove[video]"')

from bgremove import colab_video  # noqa: E402
from bgremove.video.reading import open_video  # noqa: E402
from tests.cli_helpers import environment  # noqa: E402
from tests.video.clips import clip  # noqa: E402


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which the notebook runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_sample_is_made_once_and_moves(here: Path) -> None:
    path = colab_video.make_sample(Path("sample.mp4"), seconds=0.5)
    before = path.read_bytes()
    with open_video(path) as video:
        frames = list(video)
        assert video.info.size == (360, 480) and video.info.rate == 24
    assert len(frames) == 12
    assert abs(frames[0].image.astype(int) - frames[6].image).mean() > 4
    assert colab_video.make_sample(path).read_bytes() == before


def test_what_is_not_there_is_said_and_the_sample_is_taken(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "words.mp4").write_text("no video", encoding="utf-8")
    for name in ("missing.mp4", "words.mp4", "upload"):
        assert colab_video.choose_clip(name) == Path("sample.mp4")
        said = capsys.readouterr().out
        assert said.startswith(f"Skipped {name}: ") and "sample.mp4: 480 x 360, 24 frames" in said


def test_a_clip_is_cut_out_under_a_name_that_is_free(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = clip(here / "disc.mp4", frames=12)
    assert colab_video.choose_clip(str(made.path)) == made.path
    names = [
        colab_video.cut_out(made.path, "mp4", background="transparent", model="contour"),
        colab_video.cut_out(made.path, "mp4", background="#00ff00", model="contour", seconds=0.25, size=64),
    ]
    assert names == [Path("disc-cutout.mp4"), Path("disc-cutout-2.mp4")]
    said = capsys.readouterr().out
    assert "An mp4 holds nothing transparent: it is made over white." in said
    assert "disc-cutout-2.mp4: 6 frames, 0.2 s" in said or "disc-cutout-2.mp4: 6 frames, 0.3 s" in said
    with open_video("disc-cutout-2.mp4") as video:
        assert video.info.size == (48, 64)


def test_what_cannot_be_cut_is_a_sentence(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = clip(here / "disc.mp4", frames=2)
    assert colab_video.cut_out(made.path, "webm", model="nothing") is None
    assert colab_video.cut_out(made.path, "avi", model="contour") is None
    assert colab_video.cut_out(None) is None
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Skipped disc.mp4: unknown remover 'nothing'")
    assert lines[1].startswith("Skipped disc.mp4: ") and "avi" in lines[1]
    assert lines[2] == "There is no clip yet: run the cell above first." and len(lines) == 3
    assert sorted(path.name for path in here.iterdir()) == ["disc.mp4"]


STOPPED = """
import sys, pathlib
from bgremove import colab_video
print("begun", flush=True)
print(colab_video.cut_out(pathlib.Path("long.mp4"), "mp4", background="white", model="grabcut"))
"""


def test_the_stop_button_leaves_what_there_is(here: Path) -> None:
    """It sends the same signal to the kernel."""
    clip(here / "long.mp4", frames=600, size=(192, 256))
    command = [sys.executable, "-c", STOPPED]
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=here, env=environment()
    )
    try:
        end = time.monotonic() + 90
        while not list(here.glob(".long-cutout.mp4.part*.mov")):
            assert time.monotonic() < end
            time.sleep(0.1)
        time.sleep(2)
        running.send_signal(signal.SIGINT)
        out, error = running.communicate(timeout=90)
    finally:
        running.kill()
        running.communicate()
    assert "; stopped, as far as it went" in out and out.endswith("long-cutout.mp4\n"), out + error
    with open_video(here / "long-cutout.mp4") as video:
        assert 0 < len(list(video)) < 600


def test_a_result_is_shown_on_a_colour(here: Path) -> None:
    made = clip(here / "disc.webm", frames=3, codec="vp9")
    shown = colab_video.play(made.path, "255,0,255").data
    data = base64.b64encode(made.path.read_bytes()).decode()
    assert f'<video src="data:video/webm;base64,{data}"' in shown and "background: #ff00ff" in shown


def test_what_browsers_do_not_play_is_said(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = clip(here / "disc.mov", frames=3)
    assert colab_video.play(made.path) is None and colab_video.play(None) is None
    assert colab_video.play(clip(here / "disc.webm", frames=3, codec="vp9").path, "redish") is None
    monkeypatch.setattr(colab_video, "LARGEST", 100)
    assert colab_video.play(here / "disc.webm") is None
    lines = capsys.readouterr().out.splitlines()
    assert "browsers do not play this format; download it" in lines[0]
    assert lines[1] == "There is no result yet: run the cell above first."
    assert "unknown colour 'redish'" in lines[2] and "larger than the 0 MB" in lines[3]


def test_offering_says_where_it_is(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    colab_video.offer(None)
    colab_video.offer(Path("a.webm"))
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "There is no result yet: run the cells above first.",
        f"It is on this machine: {here / 'a.webm'}",
    ]


def test_a_live_view_that_cannot_be_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert colab_video.live("nothing") is None
    assert capsys.readouterr().out.startswith("Skipped the live view: unknown remover 'nothing'")

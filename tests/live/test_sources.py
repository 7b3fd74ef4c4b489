"""Cameras that are not there, and files that are played as fast as they were taken."""

from __future__ import annotations

import threading
import time
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from bgremove.errors import OptionError, VideoError
from bgremove.live.params import LiveParams, LiveSettings
from bgremove.live.sources import Camera, File, open_source

pytest.importorskip("av", reason='videos need the extra: pip install "bgremove[video]"')

from tests.video.clips import clip  # noqa: E402


def test_a_file_comes_in_real_time(tmp_path: Path) -> None:
    made = clip(tmp_path / "disc.mp4", frames=18, rate=Fraction(30))
    source = open_source(made.path)
    assert not source.camera and source.rate == 30 and source.name == "disc.mp4"
    began = time.monotonic()
    frames = list(source.frames(threading.Event()))
    took = time.monotonic() - began
    assert [frame.number for frame in frames] == list(range(18))
    assert 0.55 < took < 5, "18 frames at 30 a second"
    offset = frames[0].taken
    for frame, at in zip(frames, made.times, strict=True):
        assert frame.taken - offset > float(at) - 0.1, "never before its time"
    assert float(np.abs(frames[5].image.astype(int) - made.images[5]).mean()) < 6


def test_a_file_with_a_rate_that_varies_keeps_its_times(tmp_path: Path) -> None:
    times = [Fraction(n, 100) for n in (0, 5, 10, 50, 55)]
    made = clip(tmp_path / "vfr.mkv", times=times)
    taken = [frame.taken for frame in open_source(made.path).frames(threading.Event())]
    assert taken[3] - taken[2] > 0.3 and taken[2] - taken[0] < 0.3


def test_a_file_goes_on_for_ever_if_that_is_wanted(tmp_path: Path) -> None:
    made = clip(tmp_path / "disc.mp4", frames=5, rate=Fraction(60))
    stop, numbers = threading.Event(), []
    for frame in open_source(made.path, LiveParams(loop=True)).frames(stop):
        numbers.append(frame.number)
        if frame.number == 12:
            stop.set()
    assert numbers == list(range(13))


def test_frames_are_made_to_fit(tmp_path: Path) -> None:
    made = clip(tmp_path / "disc.mp4", frames=2)
    [frame, _] = open_source(made.path, LiveParams(size="64")).frames(threading.Event())
    assert frame.image.shape == (48, 64, 3)


def test_stopping_does_not_wait_for_the_next_frame(tmp_path: Path) -> None:
    made = clip(tmp_path / "slow.mkv", times=[Fraction(0), Fraction(60)])
    stop = threading.Event()
    frames = open_source(made.path).frames(stop)
    next(frames)
    threading.Timer(0.2, stop.set).start()
    began = time.monotonic()
    assert list(frames) == []
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("which", ["97", "/dev/video97"])
def test_a_camera_that_is_not_there_is_said(which: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(VideoError, match="there is no camera .*97, or another program uses it; "):
        open_source(which)
    out, error = capfd.readouterr()
    assert out == error == "", "OpenCV's own words are kept from the user"


def test_a_camera_is_read_until_it_gives_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV reads a file the same way; where it ends, a camera would have been unplugged."""
    made = clip(tmp_path / "disc.avi", frames=6, codec="mpeg4")
    monkeypatch.setattr("bgremove.live.sources._BLIND", 0.3)
    with Camera(str(made.path), LiveParams(size="64")) as camera:
        seen = []
        with pytest.raises(VideoError, match="gives no frames any more; was it unplugged"):
            for frame in camera.frames(threading.Event()):
                seen.append(frame)
    assert len(seen) == 6 and seen[0].image.shape == (48, 64, 3)
    expected = cv2.resize(made.images[0], (64, 48), interpolation=cv2.INTER_AREA)
    assert float(np.abs(seen[0].image.astype(int) - expected).mean()) < 8, "RGB, not BGR"


def test_what_is_no_video_is_said(tmp_path: Path) -> None:
    (tmp_path / "words.mp4").write_text("nothing", encoding="utf-8")
    for path in (tmp_path / "words.mp4", tmp_path / "missing.mp4"):
        with pytest.raises(VideoError):
            File(str(path), LiveParams())


@pytest.mark.parametrize("size", ["640", "0x480", "640x", "tall"])
def test_a_wrong_size_is_said(size: str) -> None:
    with pytest.raises(OptionError, match="camera_size must be width x height, as 640x480; got"):
        LiveParams(camera_size=size)


@pytest.mark.parametrize(
    ("background", "kind"),
    [("off", "off"), ("blur", "blur"), ("white", "colour"), ("transparent", "transparent")],
)
def test_backgrounds_by_name(background: str, kind: str) -> None:
    assert LiveSettings.build("contour", background=background).kind == kind


def test_a_background_picture_is_read(subject_file: Path) -> None:
    built = LiveSettings.build("contour", background=str(subject_file), canny_low=30, smoothing="none")
    assert built.kind == "picture" and built.background.picture is not None
    assert built.remover.model_dump()["canny_low"] == 30 and built.smooth.smoothing == "none"

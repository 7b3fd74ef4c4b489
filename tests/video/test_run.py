"""Whole videos: what comes out of what goes in, what is left when it is stopped, and how it fails."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

import bgremove
from bgremove.arrays import Alpha, Image
from bgremove.compositing import Pixels
from bgremove.errors import BGRemoveError, OptionError, OutputError, VideoError
from bgremove.options import Params
from bgremove.removers.base import Remover

pytest.importorskip("av", reason="needs the extra video")

import av  # noqa: E402

from bgremove.video.params import VideoSettings  # noqa: E402
from bgremove.video.reading import open_video  # noqa: E402
from bgremove.video.run import VideoProgress, beside, cut_video  # noqa: E402
from tests.video.clips import Clip, clip, phone_clip  # noqa: E402

PLAIN: dict[str, Any] = {"edges": "none", "foreground": "none", "smoothing": "none"}


class Orange(Remover):
    """The drawn disc is what is more red than blue."""

    def __init__(self, fails_at: int | None = None, error: Exception | None = None) -> None:
        super().__init__(Params())
        self.seen = 0
        self._fails_at, self._error = fails_at, error or BGRemoveError("it is too dark")
        self._lock = threading.Lock()

    def predict_alpha(self, image: Image) -> Alpha:
        with self._lock:
            self.seen += 1
            if self.seen == self._fails_at:
                raise self._error
        difference = image[..., 0].astype(np.float32) - image[..., 2]
        return np.clip((difference - 20) / 60, 0, 1).astype(np.float32)


class OrangeInOrder(Orange):
    remembers = True


def settings(**values: Any) -> VideoSettings:
    return VideoSettings.build("contour", **{**PLAIN, **values})


def frames_of(path: Path) -> list[Any]:
    with open_video(path) as video:
        return list(video)


@pytest.fixture
def film(tmp_path: Path) -> Clip:
    return clip(tmp_path / "film.mp4", frames=24, sound=True)


@pytest.mark.parametrize("kind", [Orange, OrangeInOrder])
def test_a_clip_over_a_colour(tmp_path: Path, film: Clip, kind: type[Orange]) -> None:
    told: list[VideoProgress] = []
    result = cut_video(
        film.path, tmp_path / "out.mp4", settings(background="#00ff00"), kind(), on_progress=told.append
    )
    assert (result.frames, result.made, result.complete, result.empty) == (24, 24, True, 0)
    assert result.duration == 1 and result.path == tmp_path / "out.mp4"
    made = frames_of(tmp_path / "out.mp4")
    assert [frame.time for frame in made] == film.times
    for frame, alpha, image in zip(made, film.alphas, film.images, strict=True):
        green = np.abs(frame.image.astype(int) - (0, 255, 0)).max(axis=2) < 40
        assert (green[alpha == 0]).mean() > 0.97
        assert np.abs(frame.image[alpha == 1].astype(int) - image[alpha == 1]).mean() < 6
    assert [one.done for one in told] == list(range(1, 25)) and told[0].total == 24
    assert told[-1].left == 0 and told[-1].fps > 0 and told[-1].at == film.times[-1]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    with av.open(str(tmp_path / "out.mp4")) as file:
        assert file.streams.audio[0].codec_context.name == "aac"


def test_a_part_of_it(tmp_path: Path, film: Clip) -> None:
    plan = settings(background="white", start="0.25", end="0.75", every=2, size="64")
    result = cut_video(film.path, tmp_path / "out.mp4", plan, Orange())
    made = frames_of(tmp_path / "out.mp4")
    assert result.frames == len(made) == 6
    assert [round(float(frame.time), 3) for frame in made] == [
        round(number / 12, 3) for number in range(6)
    ] and made[0].image.shape == (48, 64, 3)
    assert np.abs(made[0].image[24, 30].astype(int) - _smaller(film.images[6])[24, 30]).max() < 20


def _smaller(image: Image) -> Image:
    return np.array(PILImage.fromarray(image).resize((64, 48), PILImage.Resampling.BOX))


def test_single_pictures_out(tmp_path: Path, film: Clip) -> None:
    cut_video(film.path, tmp_path / "frames" / "%03d.png", settings(), Orange())
    files = sorted((tmp_path / "frames").iterdir())
    assert len(files) == 24
    for path, alpha in zip(files, film.alphas, strict=True):
        with PILImage.open(path) as picture:
            assert picture.mode == "RGBA"
            assert np.abs(np.array(picture)[..., 3] / 255 - alpha).mean() < 0.03


def test_the_matte_as_a_video(tmp_path: Path, film: Clip) -> None:
    cut_video(film.path, tmp_path / "out.mp4", settings(output="alpha"), Orange())
    for frame, alpha in zip(frames_of(tmp_path / "out.mp4"), film.alphas, strict=True):
        assert np.abs(frame.image[..., 1] / 255 - alpha).mean() < 0.04


def test_an_animation_keeps_its_times_and_its_transparency(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:48, :64]
    pictures = []
    for number in range(5):
        disc = np.hypot(rows - 24, columns - 20 - 6 * number) < 14
        rgba = np.dstack(
            [np.where(disc, 230, 40), 60 * np.ones_like(rows), np.where(disc, 40, 90), disc * 255]
        )
        pictures.append(PILImage.fromarray(rgba.astype(np.uint8), "RGBA"))
    durations = [100, 200, 50, 100, 300]
    path = tmp_path / "in.webp"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations, lossless=True)
    cut_video(path, tmp_path / "out.webp", settings(quality=100), Orange())
    made = frames_of(tmp_path / "out.webp")
    assert [float(frame.duration) for frame in made] == [0.1, 0.2, 0.05, 0.1, 0.3]
    for frame, picture in zip(made, pictures, strict=True):
        assert np.abs(frame.alpha - np.array(picture)[..., 3] / 255).mean() < 0.02


def test_a_phones_clip_is_upright_with_its_own_times(tmp_path: Path) -> None:
    phone = phone_clip(tmp_path / "phone.mp4")
    cut_video(phone.path, tmp_path / "out.mp4", settings(background="white"), Orange())
    made = frames_of(tmp_path / "out.mp4")
    assert made[0].image.shape == (128, 96, 3)
    assert np.abs([float(a.time - b) for a, b in zip(made, phone.times, strict=True)]).max() < 0.002


def test_a_background_that_ends_it(tmp_path: Path, film: Clip) -> None:
    behind = clip(tmp_path / "behind.mp4", frames=6, size=(40, 40))
    plan = settings(background=str(behind.path), background_end="cut")
    result = cut_video(film.path, tmp_path / "out.mp4", plan, Orange())
    assert result.frames == 6 and result.complete
    looped = cut_video(film.path, tmp_path / "all.mp4", settings(background=str(behind.path)), Orange())
    assert looped.frames == 24


class StopAfter:
    """Sets an event when so many frames are done."""

    def __init__(self, frames: int) -> None:
        self.event, self._frames = threading.Event(), frames

    def __call__(self, progress: VideoProgress) -> None:
        if progress.done >= self._frames:
            self.event.set()


@pytest.mark.parametrize("name", ["out.mp4", "out.webm", "out.mov", "out.gif", "frames/%04d.png"])
def test_stopped_it_can_be_played_and_taken_up_again(tmp_path: Path, name: str) -> None:
    film = clip(tmp_path / "film.mp4", frames=30, sound=True)
    plan = settings(background="white", smoothing="motion")
    whole, target = tmp_path / f"whole_{name}", tmp_path / name
    cut_video(film.path, whole, plan, Orange())
    stop = StopAfter(17)
    first = cut_video(film.path, target, plan, Orange(), on_progress=stop, stop=stop.event)
    assert not first.complete and first.frames == 17
    played = frames_of(target.parent if "%" in name else target)
    assert len(played) == 17
    told: list[VideoProgress] = []
    again = cut_video(film.path, target, plan, Orange(), resume=True, on_progress=told.append)
    assert again.complete and again.frames == 30 and 0 < again.made <= 30 - 0
    assert told[0].done > 1 and told[-1].done == 30
    expected = frames_of(whole.parent if "%" in name else whole)
    made = frames_of(target.parent if "%" in name else target)
    assert [frame.time for frame in made] == [frame.time for frame in expected]
    for one, other in zip(made, expected, strict=True):
        assert np.abs(one.image.astype(int) - other.image).mean() < 3


def test_what_was_stopped_is_not_taken_up_with_other_settings(tmp_path: Path, film: Clip) -> None:
    stop = StopAfter(10)
    target = tmp_path / "out.mp4"
    cut_video(film.path, target, settings(background="white"), Orange(), on_progress=stop, stop=stop.event)
    with pytest.raises(VideoError, match="other settings"):
        cut_video(film.path, target, settings(background="red"), Orange(), resume=True)


@pytest.mark.parametrize("kind", [Orange, OrangeInOrder])
@pytest.mark.parametrize("error", [BGRemoveError("it is too dark"), RuntimeError("it is too dark")])
def test_an_error_names_its_frame(tmp_path: Path, film: Clip, kind: type[Orange], error: Exception) -> None:
    before = threading.active_count()
    with pytest.raises(VideoError, match=r"frame 1[0-4] \(0:00\.\d+\).*it is too dark"):
        cut_video(film.path, tmp_path / "out.mp4", settings(background="white"), kind(13, error))
    assert not (tmp_path / "out.mp4").exists()
    assert threading.active_count() <= before + 1
    # What was done is not lost.
    again = cut_video(film.path, tmp_path / "out.mp4", settings(background="white"), Orange(), resume=True)
    assert again.complete and again.frames == 24


def test_a_damaged_video_is_cut_as_far_as_it_goes_only_if_taken_up(tmp_path: Path, film: Clip) -> None:
    long = clip(tmp_path / "long.webm", frames=40, codec="vp9")
    data = long.path.read_bytes()
    cropped = tmp_path / "cropped.webm"
    cropped.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(VideoError, match=r"cropped\.webm"):
        cut_video(cropped, tmp_path / "out.mp4", settings(background="white"), Orange())
    assert not (tmp_path / "out.mp4").exists()


def test_nothing_is_overwritten(tmp_path: Path, film: Clip) -> None:
    target = tmp_path / "out.mp4"
    target.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists"):
        cut_video(film.path, target, settings(background="white"), Orange())
    assert target.read_bytes() == b"precious"
    before = film.path.read_bytes()
    with pytest.raises(OutputError):
        cut_video(film.path, film.path, settings(background="white"), Orange(), overwrite=True)
    assert film.path.read_bytes() == before
    cut_video(film.path, target, settings(background="white"), Orange(), overwrite=True)
    assert len(frames_of(target)) == 24


def test_what_does_not_go_together(tmp_path: Path, film: Clip) -> None:
    with pytest.raises(OptionError, match="out.mp4|H.264|h264|mp4"):
        cut_video(film.path, tmp_path / "out.mp4", settings(), Orange())
    with pytest.raises(VideoError, match="no frames"):
        cut_video(film.path, tmp_path / "o.mp4", settings(background="white", start="9"), Orange())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4"]


def test_frames_can_be_watched(tmp_path: Path, film: Clip) -> None:
    watched: list[Pixels] = []
    cut_video(film.path, tmp_path / "o.mp4", settings(background="white"), Orange(), on_frame=watched.append)
    assert len(watched) == 24 and watched[0].shape == (96, 128, 3)


def test_frames_without_a_subject_are_counted(tmp_path: Path) -> None:
    grey = [np.full((48, 64, 3), 120, np.uint8)] * 6
    film = clip(tmp_path / "grey.mp4", images=grey, frames=6, size=(48, 64))
    result = cut_video(film.path, tmp_path / "o.mp4", settings(background="white"), Grey())
    assert result.empty == 6 and result.scenes == 1


class Grey(Orange):
    def predict_alpha(self, image: Image) -> Alpha:
        return np.zeros(image.shape[:2], np.float32)


def test_the_shipped_network_cuts_a_real_subject(tmp_path: Path) -> None:
    from bgremove.io import read_image

    cat = read_image(Path(__file__).parents[2] / "bgremove" / "assets" / "cat.jpg")[:300, :450]
    moved = [np.ascontiguousarray(np.roll(cat, 2 * number, axis=1)) for number in range(6)]
    film = clip(tmp_path / "cat.mp4", images=moved, frames=6, size=cat.shape[:2])
    plan = VideoSettings.build(output="alpha")
    result = cut_video(film.path, tmp_path / "o.mp4", plan)
    assert result.complete and result.empty == 0
    for frame in frames_of(tmp_path / "o.mp4"):
        assert 0.2 < (frame.image > 128).mean() < 0.8
    assert Fraction(6, 24) == result.duration


def test_from_python_in_one_call(tmp_path: Path, film: Clip) -> None:
    result = bgremove.remove_video(film.path, model="contour", preview="0.5s", **PLAIN)
    assert result.path == tmp_path / "film_cutout.webm" and result.frames == 12
    with pytest.raises(OutputError, match="exists"):
        bgremove.remove_video(film.path, model="contour", preview="0.5s", **PLAIN)
    over = bgremove.remove_video(film.path, None, Orange(), background=(0, 0, 255), **PLAIN)
    assert over.path == tmp_path / "film_composite.mp4" and over.frames == 24


def test_what_is_read_is_never_replaced(tmp_path: Path) -> None:
    film = clip(tmp_path / "film.mp4", frames=3)
    (tmp_path / "link.mp4").symlink_to(film.path)
    before = film.path.read_bytes()
    for name in ("film.mp4", "link.mp4"):
        with pytest.raises(OutputError, match="is the video itself; give the result another name"):
            cut_video(film.path, tmp_path / name, settings(background="red"), Orange(), overwrite=True)
    other = clip(tmp_path / "other.mp4", frames=3).path
    with pytest.raises(OutputError, match="is the background itself"):
        cut_video(other, film.path, settings(background=str(film.path)), Orange(), overwrite=True)
    assert film.path.read_bytes() == before


@pytest.mark.parametrize("source", ["frames", "frames/%06d.png", "frames/*.png"])
@pytest.mark.parametrize("target", ["frames", "frames/%06d.png", "frames/../frames/%d.png"])
def test_pictures_that_are_read_are_never_replaced(tmp_path: Path, source: str, target: str) -> None:
    film = clip(tmp_path / "film.mp4", frames=3)
    cut_video(film.path, tmp_path / "frames" / "%06d.png", settings(), Orange())
    before = {path.name: path.read_bytes() for path in (tmp_path / "frames").iterdir()}
    with pytest.raises(OutputError, match="would replace the pictures of .* give another folder"):
        cut_video(tmp_path / source, tmp_path / target, settings(background="red"), Orange(), overwrite=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "frames").iterdir()} == before
    beside = tmp_path / "frames" / "new_%06d.png"
    assert cut_video(tmp_path / "frames", beside, settings(), Orange()).frames == 3


@pytest.mark.parametrize("name", ["out.mp4", "frames/%03d.png"])
def test_two_runs_do_not_write_one_target(tmp_path: Path, film: Clip, name: str) -> None:
    target, said = tmp_path / name, list[str]()

    def second(frame: Pixels) -> None:
        if said:
            return
        with pytest.raises(OutputError) as refused:
            cut_video(film.path, target, settings(background="blue"), Orange(), overwrite=True)
        said.append(str(refused.value))

    result = cut_video(film.path, target, settings(background="white"), Orange(), on_frame=second)
    assert said == [f"another run is writing {target}; wait for it, or give another name"]
    assert result.frames == 24 and not [one for one in tmp_path.rglob(".*")]


def test_other_pictures_are_not_taken_up(tmp_path: Path, film: Clip) -> None:
    source, target, stop = tmp_path / "frames", tmp_path / "out.webm", threading.Event()
    cut_video(film.path, source / "%06d.png", settings(background="white"), Orange())
    cut_video(source, target, settings(), Orange(), stop=stop, on_progress=lambda _: stop.set())
    PILImage.new("RGB", (128, 96)).save(source / "000020.png")
    with pytest.raises(VideoError, match="other settings or of another video"):
        cut_video(source, target, settings(), Orange(), resume=True)


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("50% x.webm", "50% x.webm"),
        ("a:b.webm", "a:b.webm"),
        ("50% x.gif", "50% x.gif"),
        ("100%_%03d.png", "100%_001.png"),
    ],
)
def test_names_mean_nothing_but_names(tmp_path: Path, name: str, made: str) -> None:
    film = clip(tmp_path / "film 9% [1] %d.mp4", frames=3)
    folder = tmp_path / "out"
    assert cut_video(film.path, folder / name, settings(), Orange()).frames == 3
    assert (folder / made).is_file()
    assert not [one for one in folder.iterdir() if one.name.startswith(".")]
    assert beside(film.path, settings()).name == "film 9 [1] d_cutout.webm"
    assert beside("%06d.png", settings()) == Path("video_cutout.webm")


def test_the_length_of_an_animation_is_said(tmp_path: Path) -> None:
    drawn = [PILImage.new("RGB", (32, 32), (number * 60, 0, 0)) for number in range(3)]
    source = tmp_path / "drawn.gif"
    drawn[0].save(source, save_all=True, append_images=drawn[1:], duration=[100, 500, 200])
    result = cut_video(source, tmp_path / "out.webm", settings(), Orange())
    assert result.duration == Fraction(8, 10)


def test_another_model_file_is_not_taken_to_resume(tmp_path: Path, film: Clip) -> None:
    stop, plan, target = StopAfter(10), settings(background="white"), tmp_path / "out.mp4"
    one, other = tmp_path / "one.onnx", tmp_path / "other.onnx"
    one.write_bytes(b"1")
    other.write_bytes(b"22")
    cut_video(film.path, target, plan, Orange(), on_progress=stop, stop=stop.event, model_file=one)
    with pytest.raises(VideoError, match="other settings"):
        cut_video(film.path, target, plan, Orange(), resume=True, model_file=other)
    assert cut_video(film.path, target, plan, Orange(), resume=True, model_file=one).complete

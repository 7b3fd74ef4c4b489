"""Pictures in a folder and animations, read and written as videos."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

from bgremove.arrays import Image
from bgremove.compositing import Pixels
from bgremove.errors import OptionError, OutputError, VideoError
from bgremove.video.reading import open_video
from bgremove.video.sequences import natural
from tests.video.clips import draw
from tests.video.test_writing import cutouts, left, opened, read, write


def pictures(folder: Path, count: int = 12, name: str = "frame_{}.png") -> list[Image]:
    folder.mkdir(exist_ok=True)
    images = [draw(n / max(1, count - 1))[0] for n in range(count)]
    for number, image in enumerate(images):
        PILImage.fromarray(image).save(folder / name.format(number))
    return images


# Reading ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["in", "in/frame_%d.png", "in/frame_*.png"])
def test_rows_of_pictures(source: str, tmp_path: Path) -> None:
    images = pictures(tmp_path / "in")
    (tmp_path / "in" / "notes.txt").write_text("not a picture")
    with open_video(tmp_path / source, rate=Fraction(30000, 1001)) as video:
        info, frames = video.info, list(video)
    assert info.size == (96, 128) and info.rate == Fraction(30000, 1001) and info.frames == 12
    assert [frame.time for frame in frames] == [Fraction(n * 1001, 30000) for n in range(12)]
    for frame, image in zip(frames, images, strict=True):  # 2 before 10
        np.testing.assert_array_equal(frame.image, image)


def test_a_part_of_them(tmp_path: Path) -> None:
    images = pictures(tmp_path / "in", name="{:04d}.png")
    with open_video(
        tmp_path / "in/%04d.png", start=Fraction(1, 25), end=Fraction(10, 25), every=3, skip=1, size="64"
    ) as video:
        frames = list(video)
        assert video.info.size == (48, 64) and video.info.frames == 2
    assert [frame.number for frame in frames] == [4, 7]
    assert np.abs(frames[0].image.mean((0, 1)) - images[4].mean((0, 1))).max() < 1


def test_pictures_with_transparency(tmp_path: Path) -> None:
    for number, rgba in enumerate(cutouts(3)):
        PILImage.fromarray(rgba).save(tmp_path / f"{number}.png")
    with open_video(tmp_path) as video:
        assert video.info.alpha
        for frame, rgba in zip(video, cutouts(3), strict=True):
            assert frame.alpha is not None
            np.testing.assert_allclose(frame.alpha, rgba[..., 3] / 255, atol=1e-6)


def test_pictures_of_two_sizes_are_refused(tmp_path: Path) -> None:
    pictures(tmp_path, 3)
    PILImage.fromarray(draw(0.5, (80, 80))[0]).save(tmp_path / "frame_2.png")
    with open_video(tmp_path) as video, pytest.raises(VideoError, match="frame_2.png is 80 x 80"):
        list(video)


@pytest.mark.parametrize("source", ["empty", "in/%06d.jpg", "in/*.jpg"])
def test_nothing_there(source: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    pictures(tmp_path / "in", 1)
    with pytest.raises(VideoError, match="no such pictures"):
        open_video(tmp_path / source)


def test_numbers_sort_by_value() -> None:
    names = ["b1.png", "a10.png", "a9.png", "a.png"]
    assert sorted(names, key=natural) == ["a.png", "a9.png", "a10.png", "b1.png"] or sorted(
        names, key=natural
    ) == ["a9.png", "a10.png", "a.png", "b1.png"]


def save(path: Path, frames: list[Pixels], durations: list[int]) -> None:
    stills = [PILImage.fromarray(one) for one in frames]
    options: dict[str, Any] = {"lossless": True} if path.suffix == ".webp" else {}
    if path.suffix == ".gif":
        options["disposal"] = 2
    stills[0].save(path, save_all=True, append_images=stills[1:], duration=durations, loop=0, **options)


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_animations_keep_their_times(name: str, tmp_path: Path) -> None:
    frames, durations = cutouts(5), [40, 40, 120, 40, 200]
    save(tmp_path / name, frames, durations)
    info, got = read(tmp_path / name)
    assert info.variable and info.alpha and info.frames == 5
    assert [frame.duration for frame in got] == [Fraction(one, 1000) for one in durations]
    assert [frame.time for frame in got] == [Fraction(sum(durations[:n]), 1000) for n in range(5)]
    for frame, rgba in zip(got, frames, strict=True):
        assert frame.alpha is not None
        solid = rgba[..., 3] == 255
        assert frame.alpha[solid].min() == 1 and frame.alpha[rgba[..., 3] == 0].max() == 0
        assert np.abs(frame.image.astype(int) - rgba[..., :3])[solid].mean() < 12


def test_an_even_animation_is_no_variable_rate(tmp_path: Path) -> None:
    save(tmp_path / "a.webp", cutouts(4), [40] * 4)
    info, _ = read(tmp_path / "a.webp")
    assert info.rate == 25 and not info.variable and info.duration == Fraction(4, 25)


# Writing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "most"), [("a.webp", 0.001), ("a.apng", 1e-6), ("a.gif", 0.03)])
def test_transparent_animations(name: str, most: float, tmp_path: Path) -> None:
    frames, times = cutouts(8), [Fraction(n * n + 4 * n, 50) for n in range(8)]
    writer = write(tmp_path / name, frames, times)
    info, got = read(tmp_path / name)
    assert [frame.time for frame in got] == times
    for frame, rgba in zip(got, frames, strict=True):
        assert frame.alpha is not None
        assert np.abs(frame.alpha - rgba[..., 3] / 255).mean() < most
        solid = rgba[..., 3] == 255
        assert np.abs(frame.image.astype(int) - rgba[..., :3])[solid].mean() < 5
    assert ("GIF knows no soft edges" in " ".join(writer.notes)) == (name == "a.gif")
    assert left(tmp_path) == [name]


def test_webp_can_be_lossless(tmp_path: Path) -> None:
    frames = cutouts(3)
    write(tmp_path / "a.webp", frames, quality=100)
    for frame, rgba in zip(read(tmp_path / "a.webp")[1], frames, strict=True):
        solid = rgba[..., 3] > 0
        np.testing.assert_array_equal(frame.image[solid], rgba[..., :3][solid])


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.apng", "a.mp4", "a.webm", "a.mov"])
def test_the_last_frame_is_shown_as_long_as_asked(name: str, tmp_path: Path) -> None:
    frames = [draw(n / 2)[0] for n in range(3)]
    writer = opened(tmp_path / name)
    for number, pixels in enumerate(frames):
        writer.write(pixels, Fraction(number, 10), Fraction(3, 4))
    writer.close()
    info, got = read(tmp_path / name)
    if got[-1].duration is not None:
        assert [frame.duration for frame in got] == [Fraction(1, 10), Fraction(1, 10), Fraction(3, 4)]
    else:
        assert info.duration is not None and abs(info.duration - Fraction(19, 20)) < Fraction(1, 500)
    assert [frame.time for frame in got] == [0, Fraction(1, 10), Fraction(1, 5)]


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.apng"])
@pytest.mark.parametrize("loop", [0, 1, 3])
def test_loops(name: str, loop: int, tmp_path: Path) -> None:
    write(tmp_path / name, cutouts(3), loop=loop)
    with PILImage.open(tmp_path / name) as picture:
        found = picture.info.get("loop")
    if name == "a.gif":  # which counts how often it is shown again
        assert found == {0: 0, 1: None, 3: 2}[loop]
    else:
        assert found == loop


def test_a_gif_has_one_palette_and_keeps_still_what_is_still(tmp_path: Path) -> None:
    still = draw(0.5)[0]
    moving: list[Pixels] = [still.copy() for _ in range(10)]
    for number, pixels in enumerate(moving):
        pixels[4:12, 4 + 8 * number : 12 + 8 * number] = (250, 30, 200)
    write(tmp_path / "a.gif", moving)
    _, got = read(tmp_path / "a.gif")
    for frame, wanted in zip(got, moving, strict=True):
        assert np.abs(frame.image.astype(int) - wanted).mean() < 6
        np.testing.assert_array_equal(frame.image[40:], got[0].image[40:])
        assert np.abs(frame.image[6:10].astype(int) - wanted[6:10]).mean() < 14  # a rare colour is there, too


@pytest.mark.parametrize("target", ["out/%04d.png", "out/f_%d.webp", "out/%03d.jpg"])
def test_pictures_are_written(target: str, tmp_path: Path) -> None:
    frames = [draw(n / 4)[0] for n in range(5)] if "jpg" in target else cutouts(5)
    writer = opened(tmp_path / target, alpha="jpg" not in target)
    for number, pixels in enumerate(frames):
        writer.write(pixels, Fraction(number, 24))
    assert writer.close() == tmp_path / "out"
    assert left(tmp_path / "out") == sorted(Path(target).name % n for n in range(1, 6))
    with open_video(tmp_path / target) as video:
        for frame, pixels in zip(video, frames, strict=True):
            solid = slice(None) if "jpg" in target else pixels[..., 3] == 255
            assert np.abs(frame.image.astype(int) - pixels[..., :3])[solid].mean() < 4


def test_pictures_go_on_where_they_ended(tmp_path: Path) -> None:
    frames = cutouts(6)
    writer = opened(tmp_path / "out", codec="png", alpha=True, key="k")
    for number in range(4):
        writer.write(frames[number], Fraction(number, 24))
    assert writer.stop() == tmp_path / "out"
    with pytest.raises(OutputError, match="holds such pictures already"):
        opened(tmp_path / "out", codec="png", alpha=True, key="k")
    with pytest.raises(VideoError, match="other settings"):
        opened(tmp_path / "out", codec="png", alpha=True, key="another", resume=True)
    writer = opened(tmp_path / "out", codec="png", alpha=True, key="k", resume=True)
    assert writer.kept == 4
    for number in range(4, 6):
        writer.write(frames[number], Fraction(number, 24))
    writer.close()
    assert left(tmp_path / "out") == [f"{n:06d}.png" for n in range(1, 7)]


def test_overwriting_leaves_no_old_pictures(tmp_path: Path) -> None:
    for count in (6, 3):
        writer = opened(tmp_path / "%02d.png", alpha=True, overwrite=True)
        for number, pixels in enumerate(cutouts(count)):
            writer.write(pixels, Fraction(number, 24))
        writer.close()
    assert left(tmp_path) == ["01.png", "02.png", "03.png"]


def test_irregular_times_are_told(tmp_path: Path) -> None:
    writer = opened(tmp_path / "%02d.png", alpha=True)
    for number, pixels in enumerate(cutouts(3)):
        writer.write(pixels, Fraction(number))
    writer.close()
    assert "24 are a second" in writer.notes[0]


def test_pictures_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="JPEG cannot hold transparency"):
        opened(tmp_path / "%02d.jpg", alpha=True)
    with pytest.raises(VideoError, match="one number"):
        opened(tmp_path / "%d_%d.png")
    with pytest.raises(OptionError, match="no format written here"):
        opened(tmp_path / "%d.xyz")

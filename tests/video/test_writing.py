"""Writing videos: exact times, kept sound, transparency without fringes, and nothing lost by a crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from bgremove.compositing import Pixels
from bgremove.errors import OptionError, OutputError, VideoError
from bgremove.video.frames import VideoFrame, VideoInfo
from bgremove.video.reading import open_video
from bgremove.video.writing import PacketWriter, VideoWriteParams, VideoWriter, filled, open_writer, time_base
from tests.video.clips import Clip, beeps_at, clip, draw, phone_clip

SIZE = (96, 128)


def cutouts(count: int, size: tuple[int, int] = SIZE) -> list[Pixels]:
    """Discs over nothing, black where nothing is."""
    result = []
    for number in range(count):
        image, alpha = draw(number / max(1, count - 1), size)
        rgba = np.dstack([image, np.rint(alpha * 255).astype(np.uint8)])
        rgba[rgba[..., 3] == 0] = 0
        result.append(rgba)
    return result


def opened(target: Path, *, alpha: bool = False, size: tuple[int, int] = SIZE, **options: Any) -> VideoWriter:
    settings = {name: options.pop(name) for name in list(options) if name in VideoWriteParams.model_fields}
    options = {"rate": Fraction(24), **options}
    return open_writer(target, VideoWriteParams(**settings), size=size, alpha=alpha, **options)


def write(
    target: Path, frames: list[Pixels], times: list[Fraction] | None = None, **options: Any
) -> VideoWriter:
    alpha = frames[0].ndim == 3 and frames[0].shape[2] == 4
    writer = opened(target, alpha=alpha, size=frames[0].shape[:2], **options)
    for number, pixels in enumerate(frames):
        writer.write(pixels, times[number] if times else number / Fraction(options.get("rate", 24)))
    assert writer.close() == target
    return writer


def read(path: Path) -> tuple[VideoInfo, list[VideoFrame]]:
    with open_video(path) as video:
        return video.info, list(video)


def left(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


# Formats ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm"])
def test_opaque(name: str, tmp_path: Path) -> None:
    frames = [draw(n / 23)[0] for n in range(24)]
    write(tmp_path / name, frames, rate=Fraction(30000, 1001))
    info, got = read(tmp_path / name)
    assert info.rate == Fraction(30000, 1001) and not info.variable and not info.alpha
    assert [frame.time for frame in got] == [Fraction(n * 1001, 30000) for n in range(24)]
    errors = [
        np.abs(frame.image.astype(int) - image).mean() for frame, image in zip(got, frames, strict=True)
    ]
    assert max(errors) < 3.5
    disc = got[10].image[40:56, 50:66].mean((0, 1)) - frames[10][40:56, 50:66].mean((0, 1))
    assert np.abs(disc).max() < 2
    assert left(tmp_path) == [name]


@pytest.mark.parametrize(
    ("name", "codec", "most"), [("a.webm", "auto", 0.01), ("a.mov", "auto", 0.002), ("a.mov", "qtrle", 1e-6)]
)
def test_transparent(name: str, codec: str, most: float, tmp_path: Path) -> None:
    frames = cutouts(12)
    write(tmp_path / name, frames, codec=codec)
    info, got = read(tmp_path / name)
    assert info.alpha and len(got) == 12
    for frame, rgba in zip(got, frames, strict=True):
        assert frame.alpha is not None
        opacity = rgba[..., 3] / 255
        assert np.abs(frame.alpha - opacity).mean() < most
        # Over white, as a page would show it: no dark fringe where the edge is soft.
        shown = 255 + frame.alpha[..., None] * (frame.image.astype(float) - 255)
        wanted = 255 + opacity[..., None] * (rgba[..., :3].astype(float) - 255)
        soft = (opacity > 0.1) & (opacity < 0.9)
        assert np.abs(shown - wanted)[soft].mean() < 6
        assert (shown - wanted)[soft].mean() > -3


def test_what_others_need_to_know_is_in_the_file(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", [draw(0.5)[0]] * 3)
    write(tmp_path / "a.webm", cutouts(3))
    write(tmp_path / "a.mov", cutouts(3))
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # can be played while it is loaded
    with av.open(str(tmp_path / "a.mp4")) as file:
        stream = file.streams.video[0]
        context = stream.codec_context
        tags = (context.colorspace, context.color_primaries, context.color_trc, context.color_range)
        assert tags == (1, 1, 1, 1) and context.pix_fmt == "yuv420p"
        assert stream.average_rate == 24
    with av.open(str(tmp_path / "a.webm")) as file:
        assert {key.lower(): value for key, value in file.streams.video[0].metadata.items()}[
            "alpha_mode"
        ] == "1"
    with av.open(str(tmp_path / "a.mov")) as file:
        assert file.streams.video[0].codec_context.codec_tag == "ap4h"


def test_grey(tmp_path: Path) -> None:
    mattes = [np.rint(draw(n / 5)[1] * 255).astype(np.uint8) for n in range(6)]
    write(tmp_path / "a.mp4", mattes)
    for frame, matte in zip(read(tmp_path / "a.mp4")[1], mattes, strict=True):
        assert np.abs(frame.image.astype(int) - matte[..., None]).mean() < 2
        assert frame.image[48, 2, 0] <= 2 and frame.image.max() >= 253


def test_odd_sizes(tmp_path: Path) -> None:
    frames = [draw(n / 3, (75, 101))[0] for n in range(4)]
    writer = write(tmp_path / "a.mp4", frames)
    assert "101 x 75 became 102 x 76" in writer.notes[0]
    image = read(tmp_path / "a.mp4")[1][0].image
    assert image.shape[:2] == (76, 102)
    assert np.abs(image[75].astype(int) - image[74]).mean() < 4
    assert not write(tmp_path / "a.webm", cutouts(3, (75, 101))).notes
    assert read(tmp_path / "a.webm")[0].size == (75, 101)


def test_variable_times(tmp_path: Path) -> None:
    times = [Fraction(n * n, 300) + Fraction(n, 90_000) for n in range(12)]
    frames = [draw(n / 11)[0] for n in range(12)]
    write(tmp_path / "a.mp4", frames, times, rate=Fraction(90_000, 3011))
    assert [frame.time for frame in read(tmp_path / "a.mp4")[1]] == times
    write(tmp_path / "a.webm", frames, times)
    got = [frame.time for frame in read(tmp_path / "a.webm")[1]]
    assert max(abs(a - b) for a, b in zip(got, times, strict=True)) <= Fraction(1, 2000)


@pytest.mark.parametrize("rate", ["24", "25", "30000/1001", "24000/1001", "60", "12.5", "2997/125"])
def test_the_clock_tells_constant_rates_exactly(rate: str) -> None:
    base = time_base(Fraction(rate))
    assert (1 / Fraction(rate) / base).denominator == 1
    assert Fraction(1, 1_000_000) <= base <= Fraction(1, 10_000)


def test_quality(tmp_path: Path) -> None:
    frames = [draw(n / 11)[0] for n in range(12)]
    sizes = []
    for quality in (20, 75, 98):
        write(tmp_path / f"{quality}.mp4", frames, quality=quality)
        sizes.append((tmp_path / f"{quality}.mp4").stat().st_size)
    assert sizes[0] < sizes[1] < sizes[2]


def test_invisible_pixels_get_colours_from_near() -> None:
    rgba = cutouts(1)[0]
    result = filled(rgba)
    visible = rgba[..., 3] > 0
    np.testing.assert_array_equal(result[visible], rgba[visible])
    np.testing.assert_array_equal(result[..., 3], rgba[..., 3])
    assert np.abs(result[~visible][:, :3].astype(float) - rgba[visible][:, :3].mean(0)).mean() < 40
    assert result[~visible][:, :3].min() > 20
    nothing = np.zeros((9, 9, 4), np.uint8)
    np.testing.assert_array_equal(filled(nothing), nothing)


# Sound ------------------------------------------------------------------------------------------


def rewrite(made: Clip, target: Path, **options: Any) -> VideoWriter:
    """The clip's pictures again, with its sound."""
    start, end = options.get("sound_start", Fraction(0)), options.get("sound_end")
    with open_video(made.path, start=start, end=end) as video:
        writer = opened(target, size=video.info.size, rate=video.info.rate, sound_from=made.path, **options)
        for frame in video:
            writer.write(frame.image, frame.time - start)
    writer.close()
    return writer


def flash_at(path: Path) -> float:
    """Seconds at which the white square of a clip with sound appears."""
    return next(float(frame.time) for frame in read(path)[1] if frame.image[:12, :12].min() > 200)


def sounds(path: Path) -> list[bytes]:
    with av.open(str(path)) as file:
        return [bytes(packet) for packet in file.demux(audio=0) if packet.size]


@pytest.mark.parametrize(
    ("source", "target", "copied"),
    [
        ("a.mp4", "b.mp4", True),
        ("a.mov", "b.mov", True),
        ("a.webm", "b.webm", True),
        ("a.mp4", "b.mkv", True),
        ("a.ts", "b.mp4", True),
        ("a.mp4", "b.webm", False),
        ("a.avi", "b.mp4", False),
        ("a.webm", "b.mov", False),
    ],
)
def test_the_sound_stays_with_the_picture(source: str, target: str, copied: bool, tmp_path: Path) -> None:
    codec = {".avi": "mpeg4", ".webm": "vp9"}.get(Path(source).suffix, "h264")
    made = clip(tmp_path / source, sound=True, codec=codec)
    before = beeps_at(made.path) - flash_at(made.path)
    writer = rewrite(made, tmp_path / target)
    after = beeps_at(tmp_path / target) - flash_at(tmp_path / target)
    assert abs(after - before) < 0.0031
    assert any("encoded anew" in note for note in writer.notes) != copied
    if copied and source != "a.ts":  # which has each packet in an envelope of its own
        kept, all_of_it = sounds(tmp_path / target), sounds(made.path)
        assert kept == all_of_it[-len(kept) :] and len(kept) >= len(all_of_it) - (target == "b.mkv")


def test_sound_of_a_part(tmp_path: Path) -> None:
    made = clip(tmp_path / "a.mp4", frames=48, sound=True)
    for target in ("b.mp4", "b.webm"):
        rewrite(made, tmp_path / target, sound_start=Fraction(1, 4), sound_end=Fraction(3, 2))
        assert abs(beeps_at(tmp_path / target) - 0.25) < 0.003
        with av.open(str(tmp_path / target)) as file:
            length = sum(frame.samples / frame.sample_rate for frame in file.decode(audio=0))
        assert 1.15 < length < 1.3


def test_no_sound(tmp_path: Path) -> None:
    made = clip(tmp_path / "a.mp4", sound=True)
    rewrite(made, tmp_path / "b.mp4", sound=False)
    assert not read(tmp_path / "b.mp4")[0].sound
    silent = clip(tmp_path / "c.mp4")
    assert not rewrite(silent, tmp_path / "d.mp4").notes
    assert "GIF cannot hold sound" in " ".join(rewrite(made, tmp_path / "b.gif").notes)


def test_damaged_sound_costs_only_the_sound(tmp_path: Path) -> None:
    made = phone_clip(tmp_path / "a.mp4")
    writer = opened(tmp_path / "b.mp4", size=(128, 96), sound_from=made.path)
    for number, image in enumerate(made.images):
        writer.write(image, Fraction(number, 24))
    made.path.write_bytes(b"gone")
    writer.close()
    assert len(read(tmp_path / "b.mp4")[1]) == len(made.images)
    assert any("sound was left out" in note for note in writer.notes)


# Crashes, stops, and going on -------------------------------------------------------------------

_CRASH = """
import os, sys, time
from fractions import Fraction
from pathlib import Path
import numpy as np
from tests.video.test_writing import cutouts, opened
from tests.video.clips import draw
name = Path(sys.argv[1])
alpha = name.suffix in (".webm", ".gif")
writer = opened(name, alpha=alpha, rate=Fraction(4), key="k", resume=True)
frames = cutouts(100) if alpha else [draw(n / 99)[0] for n in range(100)]
print(writer.kept, flush=True)
for number in range(writer.kept, 70):
    writer.write(frames[number], Fraction(number, 4))
print("written", flush=True)
time.sleep(60)
"""


def crash(target: Path) -> int:
    """Write 70 frames in a process that is killed; how many it had kept from the one before."""
    command = [sys.executable, "-c", _CRASH, str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        kept = int(process.stdout.readline())
        assert process.stdout.readline().strip() == "written"
        process.send_signal(signal.SIGKILL)
        process.wait()
    return kept


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.gif"])
def test_kill_loses_little_and_doubles_nothing(name: str, tmp_path: Path) -> None:
    target = tmp_path / name
    alpha = name != "a.mp4"
    assert crash(target) == 0
    assert not target.exists()
    frames = cutouts(100) if alpha else [draw(n / 99)[0] for n in range(100)]
    with pytest.raises(VideoError, match="other settings"):
        opened(target, alpha=alpha, rate=Fraction(4), key="another", resume=True)
    writer = opened(target, alpha=alpha, rate=Fraction(4), key="k", resume=True)
    assert 20 <= writer.kept < 70
    for number in range(writer.kept, 100):
        writer.write(frames[number], Fraction(number, 4))
    assert writer.close() == target and left(tmp_path) == [name]
    info, got = read(target)
    assert [frame.time for frame in got] == [Fraction(n, 4) for n in range(100)]
    for number, frame in enumerate(got):
        seen = frame.alpha if alpha else frame.image / 255
        wanted = frames[number][..., 3] / 255 if alpha else frames[number] / 255
        assert seen is not None and np.abs(seen - wanted).mean() < 0.02, number


def test_stop_leaves_a_file_that_plays_and_goes_on_without_loss(tmp_path: Path) -> None:
    made = clip(tmp_path / "in.mp4", frames=48, sound=True)
    target = tmp_path / "out" / "a.mp4"
    options: dict[str, Any] = {"key": "k", "sound_from": made.path}
    writer = opened(target, **options)
    for number in range(30):
        writer.write(made.images[number], made.times[number])
    assert writer.stop() == target
    with pytest.raises(VideoError, match="closed already"):
        writer.write(made.images[30], made.times[30])
    info, got = read(target)
    assert len(got) == 30 and info.sound
    with av.open(str(target)) as file:
        assert 1.15 < sum(frame.samples / frame.sample_rate for frame in file.decode(audio=0)) < 1.35
    with pytest.raises(OutputError, match="exists"):
        opened(target, key="k")


def test_going_on_after_a_stop(tmp_path: Path) -> None:
    made = clip(tmp_path / "in.mp4", frames=48, sound=True)
    target = tmp_path / "a.mp4"
    options: dict[str, Any] = {"key": "k", "sound_from": made.path}
    for part in (range(0, 17), range(17, 30), range(30, 48)):
        writer = opened(target, resume=True, **options)
        assert writer.kept == part.start
        for number in part:
            writer.write(made.images[number], made.times[number])
        (writer.close if part.stop == 48 else writer.stop)()
    info, got = read(target)
    assert [frame.time for frame in got] == made.times
    assert max(np.abs(f.image.astype(int) - i).mean() for f, i in zip(got, made.images, strict=True)) < 3.5
    assert abs(beeps_at(target) - flash_at(target)) < 0.003
    assert left(tmp_path) == ["a.mp4", "in.mp4"]


def test_a_stop_before_the_first_frame_leaves_nothing(tmp_path: Path) -> None:
    assert opened(tmp_path / "a.mp4").stop() is None
    opened(tmp_path / "b.webm").abandon()
    with pytest.raises(VideoError, match="no frame was written"):
        opened(tmp_path / "c.gif").close()
    assert not left(tmp_path)


def test_abandoning_keeps_what_is_needed_to_go_on(tmp_path: Path) -> None:
    frames = [draw(n / 9)[0] for n in range(10)]
    writer = opened(tmp_path / "a.mp4", key="k")
    for number in range(4):
        writer.write(frames[number], Fraction(number, 24))
    writer.abandon()
    assert not (tmp_path / "a.mp4").exists()
    assert opened(tmp_path / "a.mp4", key="k", resume=True).kept == 4


def test_beginning_anew_forgets_the_old_parts(tmp_path: Path) -> None:
    frames = [draw(n / 9)[0] for n in range(10)]
    for _ in range(2):
        writer = opened(tmp_path / "a.mp4", key="k")
        writer.write(frames[0], Fraction(0))
        writer.abandon()
    write(tmp_path / "a.mp4", frames)
    assert len(read(tmp_path / "a.mp4")[1]) == 10 and left(tmp_path) == ["a.mp4"]


# What is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("a.mp4", {"alpha": True}, "cannot hold transparency.*a.webm"),
        ("a.xyz", {}, "no format of videos"),
        ("a", {}, "no ending"),
        ("a.mp4", {"codec": "vp9"}, r"name it a.webm or a.mkv|name it a.webm or .mkv"),
        ("a.webm", {"codec": "prores"}, "name it a.mov"),
    ],
)
def test_names_and_codecs(name: str, options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=said):
        opened(tmp_path / name, **options)
    assert not left(tmp_path)


def test_what_exists_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    target.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists; add --overwrite"):
        opened(target)
    writer = opened(target, overwrite=True)
    writer.write(draw(0)[0], Fraction(0))
    assert target.read_bytes() == b"mine"  # until there is something better
    writer.close()
    assert target.read_bytes() != b"mine"


def test_the_source_is_never_the_target(tmp_path: Path) -> None:
    made = clip(tmp_path / "a.mp4", frames=2)
    with pytest.raises(OutputError, match="the video itself"):
        opened(made.path, overwrite=True, sound_from=made.path)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        opened(tmp_path / "folder.mp4", codec="h264")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="not a folder"):
        opened(tmp_path / "file" / "a.mp4")


def test_wrong_frames(tmp_path: Path) -> None:
    writer = opened(tmp_path / "a.mp4")
    with pytest.raises(VideoError, match="128 x 96; got 64 x 96"):
        writer.write(np.zeros((96, 64, 3), np.uint8), Fraction(0))
    with pytest.raises(VideoError, match="without transparency"):
        writer.write(np.zeros((*SIZE, 4), np.uint8), Fraction(0))
    writer.abandon()
    with pytest.raises(VideoError, match="cannot make a video of 20000 x 20000"):
        opened(tmp_path / "b.webm", size=(20_000, 20_000))
    assert not left(tmp_path)


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    writer = opened(tmp_path / "a.mp4")
    assert isinstance(writer, PacketWriter)
    rng = np.random.default_rng(0)
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(VideoError, match=r"cannot write .*a.mp4"):
            for number in range(400):
                writer.write(rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8), Fraction(number, 24))
            writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    writer.abandon()
    assert not (tmp_path / "a.mp4").exists()


def test_frames_may_be_changed_after_they_are_written(tmp_path: Path) -> None:
    writer = opened(tmp_path / "a.mp4", size=(64, 64))
    pixels = np.empty((64, 64, 3), np.uint8)
    for number in range(20):
        pixels[:] = number * 12
        writer.write(pixels, Fraction(number, 24))
    pixels[:] = 255
    writer.close()
    levels = [frame.image.mean() for frame in read(tmp_path / "a.mp4")[1]]
    np.testing.assert_allclose(levels, np.arange(20) * 12, atol=2)


def test_other_threads_work_meanwhile(tmp_path: Path) -> None:
    """Encoding lets go of Python's lock."""
    import threading

    writer = opened(tmp_path / "a.mp4", size=(720, 1280), speed="medium", threads=1)
    image = np.random.default_rng(0).integers(0, 255, (720, 1280, 3), dtype=np.uint8)
    turns, over = [0], threading.Event()

    def count() -> None:
        while not over.is_set():
            turns[0] += 1
            time.sleep(0.0005)

    thread = threading.Thread(target=count)
    thread.start()
    began = time.monotonic()
    for number in range(6):
        writer.write(image, Fraction(number, 24))
    writer.close()
    took = time.monotonic() - began
    over.set()
    thread.join()
    assert turns[0] > 40 * took, os.getloadavg()

"""Reading videos: what phones, cameras and discs put into files comes out upright and at the right times."""

from __future__ import annotations

import re
import threading
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image as PILImage

from bgremove.arrays import Image
from bgremove.errors import OptionError, VideoError
from bgremove.video import reading
from bgremove.video.frames import VideoFrame, VideoInfo
from bgremove.video.hdr import to_srgb
from bgremove.video.reading import open_video
from tests.video.clips import Clip, clip, draw, phone_clip, resized


def read(path: Path | str, **options: Any) -> tuple[VideoInfo, list[VideoFrame]]:
    with open_video(path, **options) as video:
        return video.info, list(video)


def distance(one: Image, other: Image) -> float:
    """Mean absolute difference, of 255."""
    return float(np.abs(one.astype(np.float32) - other).mean())


def check(made: Clip, frames: list[VideoFrame], most: float = 2.6) -> None:
    assert [frame.time for frame in frames] == made.times
    assert [frame.number for frame in frames] == list(range(len(made.times)))
    for frame, image in zip(frames, made.images, strict=True):
        assert frame.image.dtype == np.uint8 and frame.image.flags.c_contiguous
        assert distance(frame.image, image) < most


def test_a_plain_file(tmp_path: Path) -> None:
    made = clip(tmp_path / "a.mp4")
    info, frames = read(made.path)
    check(made, frames)
    assert info == VideoInfo(
        name=str(made.path), size=(96, 128), rate=Fraction(24), duration=Fraction(1), frames=24
    )
    assert all(frame.alpha is None for frame in frames)


@pytest.mark.parametrize("name", ["a.mkv", "a.mov", "a.avi", "a.mpg", "a.ts", "a.webm", "a.flv"])
def test_containers(name: str, tmp_path: Path) -> None:
    codec = {".avi": "mpeg4", ".mpg": "mpeg2video", ".webm": "vp9"}.get(Path(name).suffix, "h264")
    made = clip(tmp_path / name, codec=codec, rate=Fraction(30000, 1001), sound=name != "a.mpg")
    info, frames = read(made.path)
    assert info.rate == Fraction(30000, 1001) and not info.variable
    assert info.sound == (name != "a.mpg")
    first = frames[0].time
    assert first < Fraction(1, 10)  # behind the sound, where containers put it first
    times = [frame.time - first for frame in frames]
    assert max(abs(a - b) for a, b in zip(times, made.times, strict=True)) < Fraction(1, 10_000)
    if name in ("a.mkv", "a.webm", "a.mov"):
        check(made, frames, 3.2)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation(rotation: int, tmp_path: Path) -> None:
    made = clip(tmp_path / "a.mp4", rotation=rotation, frames=6)
    info, frames = read(made.path)
    assert info.size == (96, 128)
    check(made, frames)


def test_a_variable_rate_is_kept_by_time_stamps(tmp_path: Path) -> None:
    made = phone_clip(tmp_path / "phone.mp4")
    info, frames = read(made.path)
    assert info.variable and info.sound and info.size == (128, 96)
    assert abs(float(info.rate) - 40 / float(made.times[-1])) < 1
    assert [frame.time for frame in frames] == made.times


def test_times_rounded_to_milliseconds_come_out_exact(tmp_path: Path) -> None:
    made = clip(tmp_path / "a.mkv", rate=Fraction(24000, 1001))
    assert [frame.time for frame in read(made.path)[1]] == [Fraction(n * 1001, 24000) for n in range(24)]


def test_odd_sizes_stay(tmp_path: Path) -> None:
    made = clip(tmp_path / "a.webm", codec="vp9", size=(75, 101), frames=4)
    info, frames = read(made.path)
    assert info.size == (75, 101)
    check(made, frames, 3.5)


def test_pixels_become_square(tmp_path: Path) -> None:
    wide = clip(tmp_path / "wide.mp4", sar=Fraction(4, 3), frames=3)
    info, frames = read(wide.path)
    assert info.size == (96, 171)
    assert distance(resized(frames[0].image, (96, 128)), wide.images[0]) < 4
    tall = clip(tmp_path / "tall.mp4", sar=Fraction(8, 9), frames=3)
    assert read(tall.path)[1][0].image.shape == (108, 128, 3)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("10-bit.mkv", {"codec": "hevc", "pix_fmt": "yuv420p10le", "colour": "bt709"}),
        ("12-bit.mkv", {"codec": "hevc", "pix_fmt": "yuv444p12le", "colour": "bt709"}),
        ("full.mp4", {"full_range": True, "colour": "bt709", "pix_fmt": "yuvj420p"}),
        ("601.mp4", {"colour": "bt601"}),
        ("709.mp4", {"colour": "bt709"}),
        ("422.mov", {"codec": "prores", "pix_fmt": "yuv422p10le"}),
        ("rgb.mov", {"codec": "qtrle", "pix_fmt": "rgb24"}),
    ],
)
def test_colours(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    made = clip(tmp_path / name, frames=3, **options)
    info, frames = read(made.path)
    assert not info.notes
    assert distance(frames[1].image, made.images[1]) < 3
    flat = frames[1].image[30:60, 52:72].mean((0, 1)) - made.images[1][30:60, 52:72].mean((0, 1))
    assert np.abs(flat).max() < 1.5  # the disc's own colour


def test_the_quick_way_to_rgb_is_not_darker(tmp_path: Path) -> None:
    grey = [np.full((96, 128, 3), value, np.uint8) for value in (0, 60, 128, 200, 255)]
    made = clip(tmp_path / "a.mp4", times=[Fraction(n, 24) for n in range(5)], images=grey)
    levels = [float(frame.image.mean()) for frame in read(made.path)[1]]
    np.testing.assert_allclose(levels, [0, 60, 128, 200, 255], atol=1.1)


def test_files_without_a_matrix_are_guessed_by_size() -> None:
    look = object.__new__(reading._Look)
    assert look._matrix(av.VideoFrame(640, 480, "yuv420p")) == 5
    assert look._matrix(av.VideoFrame(1280, 720, "yuv420p")) == 1


def test_fields_are_woven(tmp_path: Path) -> None:
    made = clip(tmp_path / "a.mp4", interlaced=True, colour="bt601")
    info, frames = read(made.path)
    assert "interlaced" in info.notes[0]
    assert [frame.time for frame in frames] == made.times
    for frame, comb in zip(frames, made.images, strict=True):
        calm = np.abs(np.diff(frame.image[::1, :, 0].astype(int), 2, axis=0)).mean()
        assert calm < np.abs(np.diff(comb[:, :, 0].astype(int), 2, axis=0)).mean() or calm < 6
    assert distance(frames[5].image, draw(5 / 23)[0]) < 4


@pytest.mark.parametrize("colour", ["bt2020-pq", "hlg"])
def test_hdr_looks_as_its_sdr_does(colour: str, tmp_path: Path) -> None:
    made = clip(tmp_path / "a.mp4", codec="hevc", pix_fmt="yuv420p10le", colour=colour, frames=4)
    info, frames = read(made.path)
    assert "HDR" in info.notes[0]
    check(made, frames, 6)


def test_the_tone_curve_keeps_the_dark_and_bends_the_bright() -> None:
    def pq(nits: float) -> float:
        power = (nits / 10_000) ** 0.1593017578125
        return float(((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375)

    shown = [float(to_srgb(np.full(3, pq(nits)), 16)[0]) for nits in (0, 20, 80, 203, 1000, 8000)]
    assert shown == sorted(shown)
    linear = (((shown[1] + 0.055) / 1.055) ** 2.4, ((shown[2] + 0.055) / 1.055) ** 2.4)
    np.testing.assert_allclose(linear, (20 / 203, 80 / 203), rtol=0.02)
    assert 0.85 < shown[3] < 0.95 and shown[4] > 0.995 and shown[5] <= 1


def test_transparent_webm(tmp_path: Path) -> None:
    drawn = [draw(n / 5) for n in range(6)]
    rgba = [np.dstack([image, np.rint(alpha * 255).astype(np.uint8)]) for image, alpha in drawn]
    made = clip(tmp_path / "a.webm", codec="vp9", pix_fmt="yuva420p", images=rgba, frames=6)
    info, frames = read(made.path)
    assert info.alpha
    for frame, (_, alpha) in zip(frames, drawn, strict=True):
        assert frame.alpha is not None and frame.alpha.dtype == np.float32
        assert np.abs(frame.alpha - alpha).mean() < 0.01


def test_a_part(tmp_path: Path) -> None:
    made = clip(tmp_path / "a.mp4", frames=96)
    info, frames = read(made.path, start=Fraction(5, 2), end=Fraction(3))
    assert [frame.time for frame in frames] == [Fraction(n, 24) for n in range(60, 72)]
    assert [frame.number for frame in frames] == list(range(60, 72))
    assert distance(frames[0].image, made.images[60]) < 2.6
    assert (info.start, info.duration, info.frames) == (Fraction(5, 2), Fraction(1, 2), 12)


def test_a_long_video_is_read_to_its_end(tmp_path: Path) -> None:
    made = clip(tmp_path / "a.mp4", frames=500, size=(32, 48))
    assert [frame.time for frame in read(made.path)[1]] == made.times
    later = read(made.path, start=Fraction(12))[1]
    assert [frame.time for frame in later] == made.times[288:]
    assert len(read(made.path, start=Fraction(1))[1]) == 476


def test_every_and_skip(tmp_path: Path) -> None:
    made = clip(tmp_path / "a.mp4", frames=30)
    info, frames = read(made.path, every=4, start=Fraction(1, 24))
    assert [frame.number for frame in frames] == [1, 5, 9, 13, 17, 21, 25, 29]
    assert info.rate == 6 and info.frames == 8
    info, rest = read(made.path, every=4, start=Fraction(1, 24), skip=3)
    assert [frame.number for frame in rest] == [13, 17, 21, 25, 29] and info.frames == 5
    np.testing.assert_array_equal(rest[0].image, frames[3].image)


def test_a_long_frame_is_there_where_the_part_begins(tmp_path: Path) -> None:
    times = [Fraction(0), Fraction(1), Fraction(3)]
    made = clip(tmp_path / "a.mp4", times=times)
    frames = read(made.path, start=Fraction(2))[1]
    assert [frame.time for frame in frames] == [2, 3]
    assert distance(frames[0].image, made.images[1]) < 2.6


def test_size(tmp_path: Path) -> None:
    made = clip(tmp_path / "a.mp4", rotation=90, frames=3, size=(128, 96))
    info, frames = read(made.path, size="64")
    assert info.size == (64, 48) == frames[0].image.shape[:2]
    assert distance(frames[0].image, resized(made.images[0], (64, 48))) < 3
    assert read(made.path, size="4000")[0].size == (128, 96)
    with pytest.raises(OptionError, match="size must be"):
        open_video(made.path, size="big")


def test_memory_holds_few_frames(tmp_path: Path) -> None:
    made = clip(tmp_path / "a.mp4", frames=60)
    with open_video(made.path) as video:
        frames = iter(video)
        one, two = next(frames), next(frames)
        assert one.image.base is not two.image.base or one.image.base is None
        kept = one.image.copy()
        next(frames)
        np.testing.assert_array_equal(one.image, kept)  # buffers are not used again


# What cannot be read ----------------------------------------------------------------------------


def test_a_file_that_ends_early(tmp_path: Path) -> None:
    made = clip(tmp_path / "a.mkv", frames=60)
    data = made.path.read_bytes()
    made.path.write_bytes(data[: len(data) * 6 // 10])
    frames = []
    with open_video(made.path) as video, pytest.raises(VideoError) as error:
        for frame in video:
            frames.append(frame)
    assert 20 < len(frames) < 55
    number = int(re.findall(r"at frame (\d+) \(0:0", str(error.value))[0])
    assert frames[-1].number < number <= len(frames) + 3
    end = Fraction(re.findall(r"--end (\d+\.\d+)", str(error.value))[0])
    assert [frame.time for frame in read(made.path, end=end)[1]] == [frame.time for frame in frames]


def test_a_damaged_mp4(tmp_path: Path) -> None:
    made = clip(tmp_path / "a.mp4", frames=60, options={"movflags": "faststart"})
    data = bytearray(made.path.read_bytes())
    start = data.index(b"mdat")
    length = int.from_bytes(data[start - 4 : start], "big")
    middle = start + length // 2
    data[middle : middle + 2000] = bytes(2000)
    made.path.write_bytes(bytes(data))
    frames = []
    with open_video(made.path) as video, pytest.raises(VideoError, match=r"damaged .* at frame \d+"):
        for frame in video:
            frames.append(frame)
    assert len(frames) > 5 and [frame.number for frame in frames] == list(range(len(frames)))
    assert distance(frames[3].image, made.images[3]) < 2.6


def test_an_mp4_without_its_header(tmp_path: Path) -> None:
    made = clip(tmp_path / "a.mp4")
    made.path.write_bytes(made.path.read_bytes()[:4000])
    with pytest.raises(VideoError, match="header cannot be read"):
        open_video(made.path)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.mp4", b"", "is empty"),
        ("a.mp4", b"Dear reader, this is no video.\n" * 40, "is not a video that can be read"),
        ("a.mp4", b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n", "playlist"),
        ("a.ffconcat", b"ffconcat version 1.0\nfile /etc/passwd\n", "playlist"),
        ("a.jpg", None, "single picture"),
        ("a.png", None, "single picture"),
        ("a.gif", None, "single picture"),
        ("missing.mp4", None, "does not exist"),
    ],
)
def test_no_video(name: str, data: bytes | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    elif name != "missing.mp4":
        PILImage.fromarray(draw(0.5)[0]).save(path)
    with pytest.raises(VideoError, match=said) as error:
        open_video(path)
    assert "\n" not in str(error.value) and name in str(error.value)


def test_sound_only(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4000), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        stream.layout = "mono"
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    with pytest.raises(VideoError, match="no pictures but sound"):
        open_video(path)


def test_a_playlist_reaches_no_address(tmp_path: Path) -> None:
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/a.ts"
        for name in ("a.m3u8", "a.mp4"):
            path = tmp_path / name
            path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{address}\n#EXT-X-ENDLIST\n")
            with pytest.raises(VideoError):
                open_video(path)
        with pytest.raises(VideoError, match="is an address"):
            open_video(address)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert not asked


def test_absurd_sizes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = clip(tmp_path / "a.mp4", frames=2)
    monkeypatch.setattr(reading, "MAX_MEGAPIXELS", 0.01)
    with pytest.raises(VideoError, match="128 x 96"):
        open_video(made.path)


def test_a_name_with_strange_letters(tmp_path: Path) -> None:
    made = clip(tmp_path / "100%d [a] ünï:code?.mp4", frames=2)
    assert len(read(made.path)[1]) == 2


def test_a_last_frame_that_stays_long_is_no_damage(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mkv"):
        made = clip(
            tmp_path / name, times=[Fraction(0), Fraction(1, 24), Fraction(5), Fraction(20)], sound=True
        )
        got = [frame.time for frame in read(made.path)[1]]
        assert max(abs(a - b) for a, b in zip(got, made.times, strict=True)) <= Fraction(1, 1000)


def test_a_rate_that_changes_late(tmp_path: Path) -> None:
    times = [Fraction(n * 1001, 30000) for n in range(300)]
    times += [times[-1] + Fraction(n * 7, 90) for n in range(1, 20)]
    made = clip(tmp_path / "a.mkv", times=times, size=(32, 48), rate=Fraction(30000, 1001))
    got = [frame.time for frame in read(made.path)[1]]
    assert max(abs(a - b) for a, b in zip(got, times, strict=True)) < Fraction(1, 900)


def test_a_damaged_file_keeps_its_rate(tmp_path: Path) -> None:
    made = clip(tmp_path / "a.mkv", frames=60, options={"bf": "3"})
    data = made.path.read_bytes()
    for share in (5, 6, 7, 8):
        made.path.write_bytes(data[: len(data) * share // 10])
        with open_video(made.path) as video:
            assert not video.info.variable and video.info.rate == 24


def test_mirrored_pictures(tmp_path: Path) -> None:
    made = clip(tmp_path / "a.mov", rotation=180, frames=2)
    data = bytearray(made.path.read_bytes())
    place = data.index(b"tkhd") + 44
    data[place : place + 4] = (1 << 16).to_bytes(4, "big")  # upside down, not turned
    made.path.write_bytes(bytes(data))
    frame = read(made.path)[1][0]
    assert distance(frame.image, made.images[0][:, ::-1]) < 2.6

"""Sound that does not come as it should: other sample formats, gaps, stamps that go back, a late picture."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("av", reason="needs the extra video")

import av  # noqa: E402

from bgremove.video.reading import open_video  # noqa: E402
from bgremove.video.sound import Sound  # noqa: E402
from bgremove.video.writing import VideoWriteParams, open_writer  # noqa: E402
from tests.video.clips import BEEP, clip  # noqa: E402


def rewritten(source: Path, path: Path, shift: Any) -> Path:
    """The same packets, whose times `shift(packet)` changes by so many seconds; None leaves one out."""
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        tracks = {one.index: new.add_stream_from_template(one) for one in old.streams}
        for packet in old.demux():
            by = shift(packet) if packet.size else None
            if by is None:
                continue
            ticks = round(by / packet.time_base)
            packet.pts += ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks
            packet.stream = tracks[packet.stream.index]
            new.mux(packet)
    return path


class Repeated:
    """A file whose sound's packets are these."""

    def __init__(self, packets: list[Any]) -> None:
        self._packets = packets

    def demux(self, track: object) -> Iterator[Any]:
        """All of them."""
        del track
        return iter(self._packets)


def copied(source: Path, target: Path) -> tuple[Path, tuple[str, ...]]:
    """A video of `source`'s frames with its sound."""
    with open_video(source) as video:
        info = video.info
        writer = open_writer(
            target, VideoWriteParams(), size=info.size, rate=info.rate, alpha=False, sound_from=source
        )
        for frame in video:
            writer.write(frame.image, frame.time - info.start)
    return writer.close(), writer.notes


def beep_of(path: Path) -> float:
    """When the beep begins, in seconds after the first frame's flash can be seen to."""
    with av.open(str(path)) as file:
        first = next(file.decode(video=0)).time
    with av.open(str(path)) as file:
        for frame in file.decode(audio=0):
            loud = np.flatnonzero(np.abs(frame.to_ndarray().astype(float)).reshape(-1) > 0.05)
            if loud.size and frame.time is not None and first is not None:
                return float(frame.time + loud[0] / frame.sample_rate - first)
    return -1.0


def test_mp2_of_a_recording_is_kept(tmp_path: Path) -> None:
    film = clip(tmp_path / "film.ts", frames=24, sound=True, sound_codec="mp2", codec="mpeg2video")
    made, notes = copied(film.path, tmp_path / "out.mp4")
    assert notes == ("the sound was encoded anew: MP4 cannot hold mp2, it has AAC now",)
    assert beep_of(made) == pytest.approx(BEEP[0], abs=0.003)


def test_a_short_gap_in_the_sound_moves_nothing(tmp_path: Path) -> None:
    film = clip(tmp_path / "film.mkv", frames=24, sound=True, sound_codec="aac")
    gap = Fraction(60, 1000)
    late = rewritten(
        film.path,
        tmp_path / "late.mkv",
        lambda packet: gap if packet.stream.type == "audio" and packet.pts * packet.time_base > 0.2 else 0,
    )
    made, _ = copied(late, tmp_path / "out.webm")
    assert beep_of(made) == pytest.approx(BEEP[0] + 0.06, abs=0.004)


def test_stamps_of_sound_that_go_back_are_no_end(tmp_path: Path) -> None:
    """An earlier piece of sound comes once more, as in recordings put together badly."""
    source = clip(tmp_path / "film.mkv", frames=24, sound=True, sound_codec="aac").path
    with av.open(str(source)) as old:
        sound = Sound(source, Fraction(0), None, "mp4")
        packets = [one for one in old.demux(audio=0) if one.size]
        back = [*packets[:10], *packets[4:8], *packets[10:]]
        sound._container = Repeated(back)
        with av.open(str(tmp_path / "out.mp4"), "w") as new:
            sound.add_to(new)
            stamps = [packet.pts for _, packet in sound.packets(None)]
    assert stamps == sorted(set(stamps)) and len(stamps) >= len(packets) - 1


def test_pictures_a_little_behind_the_sound_keep_their_rate(tmp_path: Path) -> None:
    film = clip(tmp_path / "film.mkv", frames=24, sound=True, sound_codec="aac")
    late = rewritten(
        film.path,
        tmp_path / "late.mkv",
        lambda packet: Fraction(7, 1000) if packet.stream.type == "video" else 0,
    )
    made, _ = copied(late, tmp_path / "out.mp4")
    with av.open(str(made)) as file:
        assert file.streams.video[0].average_rate == 24
    assert beep_of(made) == pytest.approx(BEEP[0] - 0.007, abs=0.003)


def test_a_stream_without_stamps_has_its_own_rate(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "film.h264"), "w", format="h264") as file:
        track: Any = file.add_stream("libx264", rate=25)
        track.width, track.height, track.pix_fmt = 64, 48, "yuv420p"
        track.codec_context.time_base = Fraction(1, 25)
        for number in range(24):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number * 9, np.uint8), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            file.mux(track.encode(frame))
        file.mux(track.encode())
    with open_video(tmp_path / "film.h264") as video:
        assert video.info.rate == 25
        assert [frame.time for frame in video][-1] == Fraction(23, 25)

"""The sound of one video into another: copied as it is where that can be, cut to the part that is made."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from bgremove.video.reading import import_av, open_container, origin_of, sound_stream

# What each container's players know.
_HELD = {
    "mp4": ("aac", "mp3", "ac3", "eac3", "alac", "opus"),
    "mov": ("aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be"),
    "webm": ("opus", "vorbis"),
    "matroska": ("aac", "mp3", "ac3", "eac3", "alac", "opus", "vorbis", "flac", "pcm_s16le", "pcm_s24le"),
}
_MADE = {"webm": ("libopus", "Opus"), "matroska": ("libopus", "Opus")}
_CONTAINERS = {"mp4": "MP4", "mov": "MOV", "webm": "WebM", "matroska": "MKV"}


class Sound:
    """One sound track on its way into another file.

    Args:
        path: the video it is from.
        start, end: seconds of that video; None is its end.
        muxer: FFmpeg's name of the container it is for.

    Attributes:
        found: is there a track?
        note: what the user should know; may be empty.
    """

    def __init__(self, path: Path, start: Fraction, end: Fraction | None, muxer: str) -> None:
        self._start, self._end, self._muxer = start, end, muxer
        self.note = ""
        self._out: Any = None
        self._container = open_container(path)
        self._track = sound_stream(self._container)
        self.found = self._track is not None and self._track.codec_context is not None
        if self.found:
            self._offset = origin_of(self._container) + start
            name = _short(self._track.codec_context.name)
            self._copied = name in _HELD[muxer]
            if not self._copied:
                made = _MADE.get(muxer, ("aac", "AAC"))[1]
                self.note = (
                    f"the sound was encoded anew: {_CONTAINERS[muxer]} cannot hold {name}, it has {made} now"
                )
        elif list(self._container.streams.audio):
            self.note = "the sound is of a kind that cannot be read here, and was left out"

    def close(self) -> None:
        """Let the file go."""
        self._container.close()

    def add_to(self, output: Any) -> None:
        """Make a track for it in `output`, before anything is written there."""
        if self._copied:
            self._out = output.add_stream_from_template(self._track)
            return
        context = self._track.codec_context
        encoder = _MADE.get(self._muxer, ("aac", "AAC"))[0]
        rate = 48_000 if encoder == "libopus" else min(48_000, context.sample_rate)
        layout = "mono" if context.layout.nb_channels == 1 else "stereo"
        self._out = output.add_stream(encoder, rate=rate, layout=layout)
        self._out.bit_rate = 160_000 if layout == "stereo" else 96_000

    def packets(self, until: Fraction | None) -> Iterator[tuple[Fraction, Any]]:
        """The track's packets and their seconds, from 0 at `start` on; none after `until`."""
        end = None if self._end is None else self._end - self._start
        ends = [one for one in (end, until) if one is not None]
        if self._start > 2:
            base = Fraction(self._track.time_base)
            self._container.seek(int((self._offset - 1) / base), stream=self._track)
        return (
            self._copies(min(ends, default=None)) if self._copied else self._encoded(min(ends, default=None))
        )

    def _copies(self, end: Fraction | None) -> Iterator[tuple[Fraction, Any]]:
        base = Fraction(self._track.time_base)
        shift = round(self._offset / base)
        av = import_av()
        packets = self._container.demux(self._track)
        last: int | None = None
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                self.note = f"the sound is damaged ({error.strerror}) and ends early"
                return
            if packet is None:
                return
            if not packet.size or packet.pts is None:
                continue
            packet.pts -= shift
            packet.dts = packet.pts
            time = packet.pts * base
            # What lies before zero at a track's own beginning gets its decoder going; elsewhere it is cut.
            ends = time + (packet.duration or 0) * base
            if time < 0 and (self._start or (ends <= 0 and self._muxer not in ("mp4", "mov"))):
                continue
            if end is not None and time >= end:
                return
            if last is not None and packet.pts <= last:
                continue  # a stamp that does not go on
            last = packet.pts
            packet.stream = self._out
            yield time, packet

    def _encoded(self, end: Fraction | None) -> Iterator[tuple[Fraction, Any]]:
        av = import_av()
        base = Fraction(1, self._out.codec_context.sample_rate)
        for frame in itertools.chain(self._trimmed(end), [None]):
            try:
                packets = self._out.encode(frame)
            except av.EOFError:
                return
            for packet in packets:
                yield packet.pts * Fraction(packet.time_base or base), packet

    def _trimmed(self, end: Fraction | None) -> Iterator[Any]:
        """Decoded frames in the encoder's format, cut to the sample."""
        from av.filter import Graph

        av = import_av()
        graph: Any = Graph()
        context, out = self._track.codec_context, self._out.codec_context
        begin = self._offset
        span = f"start={float(begin):.6f}" + ("" if end is None else f":end={float(begin + end):.6f}")
        wanted = (
            f"sample_fmts={out.format.name}:sample_rates={out.sample_rate}:channel_layouts={out.layout.name}"
        )

        def build(frame: Any) -> None:
            """As the first frame is; what a file says of its frames is not always so."""
            source = graph.add_abuffer(
                sample_rate=frame.sample_rate,
                format=frame.format.name,
                layout=frame.layout.name,
                time_base=frame.time_base or self._track.time_base,
            )
            nodes = [
                source,
                graph.add("atrim", span),
                graph.add("aresample", "async=1:min_hard_comp=0.005"),  # gaps are filled with silence
                graph.add("aformat", wanted),
                graph.add("abuffersink"),
            ]
            graph.link_nodes(*nodes).configure()

        built = False
        base = Fraction(1, out.sample_rate)

        def ready() -> Iterator[Any]:
            while True:
                try:
                    frame = graph.pull()
                except (av.BlockingIOError, av.EOFError):
                    return
                time = frame.pts * Fraction(frame.time_base) - begin
                frame.pts, frame.time_base = round(time / base), base
                yield frame

        try:
            for packet in self._container.demux(self._track):
                frames = context.decode(packet)
                for frame in frames:
                    if not built:
                        build(frame)
                        built = True
                    graph.push(frame)
                    yield from ready()
                if end is not None and frames and (frames[-1].time or 0) > begin + end:
                    break
        except av.EOFError:
            pass
        except av.FFmpegError as error:
            self.note = f"the sound is damaged ({error.strerror}) and ends early"
        if not built:
            return
        try:
            graph.push(None)
        except av.FFmpegError:
            return
        yield from ready()


def _short(codec: str) -> str:
    return {"mp3float": "mp3", "libopus": "opus", "aac_latm": "aac-latm", "libvorbis": "vorbis"}.get(
        codec, codec
    )

"""``bgremove live`` with a camera of 640 x 480: frames a second, and from seeing a picture to showing it.

    python benchmarks/live_speed.py [--seconds 10] [--model lite] [--camera-rate 30]

The camera is synthetic: photographs of the package that move as before a hand-held camera, each frame drawn
beforehand. Frames are taken, cut out, composed and put on a window's picture as the command does it; only the
window itself is left out. For each background: frames shown a second, those dropped, the median delay and
that of the slowest in twenty, and the CPU's time for a frame.
"""

from __future__ import annotations

import argparse
import math
import threading
import time
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from measure import machine, table

from bgremove.arrays import Image
from bgremove.compositing import Pixels
from bgremove.demo import SAMPLES, sample_path
from bgremove.io import read_frame
from bgremove.live.backdrops import Backdrops, opaque
from bgremove.live.params import LiveSettings
from bgremove.live.session import LiveResult, LiveSession
from bgremove.live.sinks import Sink, write
from bgremove.live.sources import LiveFrame, Source
from bgremove.live.viewing import View
from bgremove.video.cutting import FrameCutter

SIZE = (480, 640)


class SyntheticCamera(Source):
    """Photographs that move, one for each third of the time.

    Args:
        rate: frames a second.
        seconds: until it ends.
    """

    name, camera = "a synthetic camera", True

    def __init__(self, rate: float, seconds: float) -> None:
        self.rate, self._seconds = rate, seconds
        self._frames = [frame for sample in SAMPLES for frame in _moving(sample.name, round(rate * 2))]

    def frames(self, stop: threading.Event) -> Iterator[LiveFrame]:
        """A frame each time one is due."""
        began = time.monotonic()
        for number in range(round(self._seconds * self.rate)):
            if stop.wait(max(0.0, began + number / self.rate - time.monotonic())):
                return
            yield LiveFrame(number, self._frames[number % len(self._frames)], time.monotonic())


class Painted(Sink):
    """All that a window needs, without the window."""

    def show(self, pixels: Pixels, words: str = "") -> None:
        """Make the picture that would be shown."""
        shown = cv2.cvtColor(opaque(pixels), cv2.COLOR_RGB2BGR)
        write(shown, words)


def _moving(name: str, count: int) -> list[Image]:
    """A photograph as a camera sees it that sways."""
    photo = read_frame(sample_path(f"{name}.jpg")).image
    height, width = SIZE
    frames = []
    for number in range(count):
        turn = 2 * math.pi * number / count
        scale = (1.12 + 0.05 * math.sin(turn)) * max(height / photo.shape[0], width / photo.shape[1])
        left = (photo.shape[1] - width / scale) * (0.5 + 0.5 * math.sin(turn))
        top = (photo.shape[0] - height / scale) * (0.5 + 0.5 * math.cos(turn))
        matrix = np.array([[scale, 0, -scale * left], [0, scale, -scale * top]])
        frames.append(np.ascontiguousarray(cv2.warpAffine(photo, matrix, (width, height))))
    return frames


def measured(model: str, background: str, rate: float, seconds: float) -> tuple[LiveResult, float]:
    """What a live view of that time was, and CPU milliseconds for a frame that was shown."""
    settings = LiveSettings.build(model, background=background)
    remover = settings.create_remover()
    camera = SyntheticCamera(rate, seconds)
    FrameCutter(remover, settings).look(next(camera.frames(threading.Event())).image)
    began = time.process_time()
    with LiveSession(camera, FrameCutter(remover, settings), Backdrops.of(settings), mirror=True) as session:
        result = View(session, Painted()).run(threading.Event())
    return result, 1000 * (time.process_time() - began) / max(1, result.shown)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each")
    parser.add_argument("--model", default="lite")
    parser.add_argument("--camera-rate", type=float, nargs="+", default=[30.0, 60.0])
    parser.add_argument(
        "--backgrounds", nargs="+", default=["white", "blur", str(sample_path("stars.jpg")), "transparent"]
    )
    options = parser.parse_args(arguments)
    print(machine())
    rows = []
    for rate in options.camera_rate:
        for background in options.backgrounds:
            result, cpu = measured(options.model, background, rate, options.seconds)
            rows.append(
                [
                    f"{rate:g}",
                    "picture" if "." in background else background,
                    f"{result.rate:.1f}",
                    str(result.dropped),
                    f"{1000 * result.delay:.0f}",
                    f"{1000 * result.longest:.0f}",
                    f"{cpu:.1f}",
                ]
            )
    print(table(["camera fps", "background", "fps", "dropped", "delay ms", "95 % ms", "CPU ms"], rows))


if __name__ == "__main__":
    main()

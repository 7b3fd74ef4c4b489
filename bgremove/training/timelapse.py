"""How a network learns, as pictures: a strip per epoch and sample, and all of them as a GIF or a video.

A strip is ``[input | truth | prediction]`` with a caption. A training writes them to
``OUT/timelapse/sample_01/epoch_001.png``; :func:`make_timelapse` joins them.
"""

from __future__ import annotations

import bisect
import io
import itertools
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont

from bgremove.arrays import Alpha, Image, check_alpha, check_image
from bgremove.compositing import alpha_to_bytes
from bgremove.errors import DataError, ImageError, MissingExtraError, OptionError, OutputError
from bgremove.io import FORMATS, encode, make_folder, open_picture, read_image, write_bytes
from bgremove.training.timelapse_params import TimelapseParams

FOLDER = "timelapse"
"""Where a training's folder keeps its strips."""

Strips = dict[int, dict[int, Path]]
"""Per sample, the strip of each epoch; samples and epochs ascending."""

_GROUND, _TEXT, _FAINT = (56, 58, 64), (245, 245, 245), (190, 194, 202)
_LABELS = ("input", "truth", "prediction")
_GIF_STEP = Fraction(1, 100)  # seconds: GIF counts time in these
_GIF_MAX_FPS = 50  # viewers show a frame of less than two steps for ten
_MP4_MAX_SIDE = 16384  # pixels, of the encoder


# Strips -------------------------------------------------------------------------------------------


def strip(image: Image, truth: Alpha, prediction: Alpha, *, caption: str) -> Image:
    """``[input | truth | prediction]`` side by side over a caption: (h, w, 3) uint8 RGB.

    The three keep their pixels. They are labelled where that fits, and the strip is made wider where
    the caption would not fit, so that neither is ever cut.

    Args:
        image: (H, W, 3) uint8 RGB, as the network saw it, but unscaled.
        truth: (H, W) in [0, 1].
        prediction: (H, W) in [0, 1].
        caption: one line; line breaks become spaces.

    Raises:
        ImageError: if an array is of the wrong kind, or the sizes differ.
    """
    image = check_image(image)
    mattes = check_alpha(truth, image.shape, "truth"), check_alpha(prediction, image.shape, "prediction")
    caption = " ".join(caption.split())
    height, width = image.shape[:2]
    size = min(max(height // 16, 12), 28)
    font, gap, bar = ImageFont.load_default(size), max(2, height // 64), round(size * 1.7)
    labelled = max(map(font.getlength, _LABELS)) <= width
    top = bar if labelled else gap
    needed = math.ceil(font.getlength(caption)) + 2 * gap
    canvas = PILImage.new("RGB", (max(3 * width + 4 * gap, needed), top + height + bar), _GROUND)
    draw = ImageDraw.Draw(canvas)
    panels = [image, *(np.repeat(alpha_to_bytes(matte)[..., None], 3, axis=2) for matte in mattes)]
    for index, (panel, label) in enumerate(zip(panels, _LABELS, strict=True)):
        left = gap + index * (width + gap)
        canvas.paste(PILImage.fromarray(panel), (left, top))
        if labelled:
            draw.text((left, bar // 2), label, fill=_FAINT, font=font, anchor="lm")
    draw.text((gap, top + height + bar // 2), caption, fill=_TEXT, font=font, anchor="lm")
    return np.asarray(canvas).copy()


def write_strip(
    folder: Path,
    sample: int,
    epoch: int,
    image: Image,
    truth: Alpha,
    prediction: Alpha,
    *,
    iou: float | None = None,
) -> Path:
    """Write the strip of one sample after one epoch, in place of an earlier one: after a resume it counts.

    Args:
        folder: the training's folder, ``OUT``; the strip is ``OUT/timelapse/sample_01/epoch_001.png``.
        sample: from 1.
        epoch: from 1.
        image, truth, prediction: as for :func:`strip`.
        iou: for the caption; that of the two mattes at 0.5 by default.

    Returns:
        The strip's path.

    Raises:
        ImageError: as :func:`strip`.
        OutputError: if it cannot be written.
    """
    if iou is None:
        iou = _iou(truth, prediction)
    made = strip(image, truth, prediction, caption=f"epoch {epoch}, IoU {iou:.3f}")
    path = folder / FOLDER / f"sample_{sample:02d}" / f"epoch_{epoch:03d}.png"
    make_folder(path.parent)
    write_bytes(path, encode([made], FORMATS["png"]), overwrite=True)
    return path


def _iou(truth: Alpha, prediction: Alpha) -> float:
    """Intersection over union of the mattes at 0.5; 1 if both are empty."""
    if truth.shape != prediction.shape:
        raise ImageError(
            f"truth and prediction must be of one size; got {truth.shape} and {prediction.shape}"
        )
    wanted, got = truth > 0.5, prediction > 0.5
    union = np.count_nonzero(wanted | got)
    return float(np.count_nonzero(wanted & got) / union) if union else 1.0


def read_strips(folder: Path) -> Strips:
    """The strips of a training, by sample and epoch, both in the order of their numbers.

    Args:
        folder: the training's folder, or the folder ``timelapse`` in it.

    Raises:
        DataError: if there are none.
    """
    if not os.path.isdir(folder):
        raise DataError(f"{folder} is no folder; give the one that a training wrote (its --out)")
    inside = folder / FOLDER
    found: Strips = {}
    for path in (inside if inside.is_dir() else folder).glob("sample_*/epoch_*.png"):
        numbers = re.fullmatch(r"sample_(\d+)", path.parent.name), re.fullmatch(r"epoch_(\d+)", path.stem)
        if numbers[0] and numbers[1]:
            found.setdefault(int(numbers[0][1]), {})[int(numbers[1][1])] = path
    if not found:
        raise DataError(
            f"{folder} holds no strips ({FOLDER}/sample_01/epoch_001.png); train with --timelapse first"
        )
    return {sample: dict(sorted(found[sample].items())) for sample in sorted(found)}


# Films --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Timelapse:
    """What was written.

    Attributes:
        path: the file.
        epochs: pictures in it, each of another epoch.
        samples: shown in each picture.
        size: (height, width) in pixels.
        fps: epochs a second.
        seconds: of the whole, the last epoch's stay with it.
    """

    path: Path
    epochs: int
    samples: int
    size: tuple[int, int]
    fps: Fraction
    seconds: float


def make_timelapse(
    folder: Path,
    out: Path,
    *,
    fps: float | Fraction = 5.0,
    sample: int | None = None,
    hold: float = 2.0,
    overwrite: bool = False,
    on_frame: Callable[[], object] = lambda: None,
) -> Timelapse:
    """Join a training's strips to a GIF or an MP4 (H.264), and check the file before it takes its name.

    All samples are shown one above the other. Where one lacks an epoch, its strip of the epoch before
    stays; strips of different sizes are filled up at the right and below.

    Args:
        folder: the training's folder, or the folder ``timelapse`` in it.
        out: its extension, ``.gif`` or ``.mp4``, says what is written.
        fps: epochs a second, 0.1 to 120, in a GIF to 50; 23.976, 29.97 and 59.94 are taken as the
            fractions they stand for. GIF times frames in steps of 10 ms: each frame ends at the step
            nearest to its time, so that the error never adds up.
        sample: only this one.
        hold: seconds the last epoch is shown, 0 to 60, and at least as long as any other. A video's
            are a whole number of frames.
        overwrite: replace a file that exists.
        on_frame: called after each epoch.

    Raises:
        OptionError: if a setting is out of range, the extension unknown or the sample not there.
        OutputError: if the file exists, cannot be written, or is not as it should be.
        MissingExtraError: for an MP4 without the extra ``video``.
        DataError, ImageError: if there are no strips, or one cannot be read.
    """
    params = TimelapseParams(fps=float(fps), sample=sample, hold=hold)
    kind = out.suffix.lower()
    if kind not in (".gif", ".mp4"):
        raise OptionError(f"a timelapse is a .gif or an .mp4; got {out.name!r}, name it {out.stem}.gif")
    if os.path.lexists(out) and not overwrite:
        raise OutputError(f"{out} exists; add --overwrite to replace it, or give another name")
    rate = frame_rate(fps)
    if kind == ".gif" and rate > _GIF_MAX_FPS:
        raise OptionError(
            f"fps must be at most {_GIF_MAX_FPS} in a GIF; got {params.fps:g}: take that, or an .mp4"
        )
    av = _pyav() if kind == ".mp4" else None
    film = _Film.of(_chosen(read_strips(folder), sample))
    make_folder(out.parent)
    if av is None:
        data, seconds = _gif(film, rate, params.hold, on_frame)
    else:
        data, seconds = _mp4(av, film, rate, params.hold, on_frame)
    write_bytes(out, data, overwrite=overwrite)
    return Timelapse(out, len(film.epochs), len(film.strips), film.size, rate, float(seconds))


def frame_rate(fps: float | Fraction) -> Fraction:
    """The exact rate that a decimal stands for: 29.97 is 30000/1001."""
    if isinstance(fps, Fraction):
        return fps
    for rate in (Fraction(top, 1001) for top in (24000, 30000, 60000, 120000)):
        if fps in (round(float(rate), 2), round(float(rate), 3)):
            return rate
    return Fraction(str(fps)).limit_denominator(1001)


def _chosen(strips: Strips, sample: int | None) -> Strips:
    if sample is None:
        return strips
    if sample not in strips:
        known = ", ".join(map(str, strips))
        raise OptionError(f"sample {sample} is not there; this timelapse has {known}")
    return {sample: strips[sample]}


@dataclass(frozen=True)
class _Film:
    """The pictures of a timelapse, made when iterated.

    Attributes:
        tops: where each sample's strips begin.
        size: (height, width), both even, as H.264 needs.
    """

    strips: Strips
    epochs: list[int]
    tops: dict[int, int]
    size: tuple[int, int]

    @classmethod
    def of(cls, strips: Strips) -> _Film:
        tops, width, below = {}, 0, 0
        for sample, files in strips.items():
            sizes = [_size(path) for path in files.values()]
            tops[sample] = below
            below += max(height for height, _ in sizes)
            width = max(width, *(width for _, width in sizes))
        epochs = sorted(set(itertools.chain.from_iterable(strips.values())))
        return cls(strips, epochs, tops, (below + below % 2, width + width % 2))

    def __iter__(self) -> Iterator[Image]:
        return map(self.picture, self.epochs)

    def picture(self, epoch: int) -> Image:
        """All samples after `epoch`: (h, w, 3) uint8 RGB."""
        canvas = np.full((*self.size, 3), _GROUND, np.uint8)
        for sample, files in self.strips.items():
            known = list(files)
            last = bisect.bisect_right(known, epoch)
            if last:
                made = read_image(files[known[last - 1]])
                top = self.tops[sample]
                canvas[top : top + made.shape[0], : made.shape[1]] = made
        return canvas


def _size(path: Path) -> tuple[int, int]:
    with open_picture(path) as picture:
        return picture.size


# GIF ----------------------------------------------------------------------------------------------


def _gif(film: _Film, rate: Fraction, hold: float, on_frame: Callable[[], object]) -> tuple[bytes, Fraction]:
    count = len(film.epochs)
    ends = [index / rate for index in range(1, count)]
    ends.append((count - 1) / rate + max(1 / rate, Fraction(str(hold))))
    steps = [0, *(round(end / _GIF_STEP) for end in ends)]
    durations = [10 * (end - start) for start, end in itertools.pairwise(steps)]  # milliseconds
    distinct = 0

    def frames() -> Iterator[PILImage.Image]:
        nonlocal distinct
        palette, before, codes = _palette(film), None, None
        for image in film:
            made = np.asarray(PILImage.fromarray(image).quantize(palette=palette))
            if before is not None and codes is not None:
                # What has not changed keeps its dither: no flicker, and a smaller file.
                made = np.where((image == before).all(axis=2), codes, made)
            distinct += codes is None or not np.array_equal(made, codes)
            before, codes = image, made
            frame = PILImage.fromarray(made)
            frame.putpalette(palette.getpalette() or [])
            yield frame
            on_frame()

    buffer, pictures = io.BytesIO(), frames()
    first = next(pictures)
    first.save(
        buffer, "GIF", save_all=True, append_images=pictures, duration=durations, loop=0, optimize=True
    )
    _check_gif(buffer, film.size, distinct, sum(durations))
    return buffer.getvalue(), steps[-1] * _GIF_STEP


def _palette(film: _Film) -> PILImage.Image:
    """255 colours for all frames: greys for masks and letters, the others for the photographs.

    One is left, by which the file says "as before".
    """
    greys = np.repeat(np.linspace(0, 255, 32).astype(np.uint8)[:, None], 3, axis=1)
    fixed = np.concatenate([greys, np.array([_GROUND], np.uint8)])
    picked = {film.epochs[0], film.epochs[-1]}
    pixels = np.concatenate([film.picture(epoch).reshape(-1, 3) for epoch in picked])
    pixels = pixels[np.ptp(pixels, axis=1) > 8]
    colours: list[int] = []
    if pixels.size:
        pixels = pixels[:: len(pixels) // 1_000_000 + 1]
        reduced = PILImage.fromarray(pixels[None]).quantize(255 - len(fixed), kmeans=1)
        colours = reduced.getpalette() or []
    palette = PILImage.new("P", (1, 1))
    palette.putpalette([*fixed.ravel().tolist(), *colours][: 3 * 255])
    return palette


def _check_gif(buffer: io.BytesIO, size: tuple[int, int], frames: int, milliseconds: int) -> None:
    with PILImage.open(buffer) as made:
        lasting = 0
        for index in range(getattr(made, "n_frames", 1)):
            made.seek(index)
            made.load()
            lasting += round(made.info.get("duration", 0))
        found = (index + 1, (made.height, made.width), lasting)
    _compare("GIF", found, (frames, size, milliseconds))


def _compare(kind: str, found: tuple[Any, ...], expected: tuple[Any, ...]) -> None:
    """Frames, (height, width) and duration of a file, as they are and as they should be."""
    if found != expected:
        raise OutputError(
            f"the {kind} came out wrong: {found[0]} frames of {found[1]} lasting {found[2]}, expected "
            f"{expected[0]} of {expected[1]} lasting {expected[2]}; nothing was written"
        )


# MP4 ----------------------------------------------------------------------------------------------


def _pyav() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingExtraError(
            'an MP4 needs PyAV: pip install "bgremove[video]"; a GIF (-o FILE.gif) does not'
        ) from error
    if "libx264" not in av.codecs_available:
        raise OutputError("this PyAV cannot write H.264; install PyAV's own wheel, or write a .gif")
    return av


def _mp4(
    av: Any, film: _Film, rate: Fraction, hold: float, on_frame: Callable[[], object]
) -> tuple[bytes, Fraction]:
    height, width = film.size
    if max(film.size) > _MP4_MAX_SIDE:
        raise OutputError(
            f"a video can have {_MP4_MAX_SIDE} pixels a side; these strips are {width} x {height}: take one "
            "--sample, or a .gif"
        )
    with tempfile.TemporaryDirectory() as place:
        path = os.path.join(place, "timelapse.mp4")
        try:
            frames = _write_mp4(av, path, film, rate, max(1, round(hold * rate)), on_frame)
            _check_mp4(av, path, film.size, rate, frames)
        except av.FFmpegError as error:
            why = error.strerror or error
            raise OutputError(f"the video cannot be encoded: {why}; take one --sample, or a .gif") from error
        return Path(path).read_bytes(), frames / rate


def _write_mp4(
    av: Any, path: str, film: _Film, rate: Fraction, held: int, on_frame: Callable[[], object]
) -> int:
    """Encode, the last picture `held` times; the number of frames."""
    index = 0
    with av.open(path, "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "18", "bf": "0"})
        stream.height, stream.width = film.size
        stream.pix_fmt, stream.time_base = "yuv420p", 1 / rate
        context = stream.codec_context
        # BT.709, limited range: what players take for granted, and said in the file.
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 1, 1, 1, 1
        for epoch, image in zip(film.epochs, film, strict=True):
            for _ in range(held if epoch == film.epochs[-1] else 1):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
                frame.pts, frame.time_base = index, 1 / rate
                container.mux(stream.encode(frame))
                index += 1
            on_frame()
        container.mux(stream.encode(None))
    return index


def _check_mp4(av: Any, path: str, size: tuple[int, int], rate: Fraction, frames: int) -> None:
    with av.open(path) as container:
        stream = container.streams.video[0]
        sizes = [(frame.height, frame.width) for frame in container.decode(stream)]
        lasting = (stream.duration or 0) * stream.time_base
        if abs(lasting - frames / rate) < stream.time_base:
            lasting = frames / rate
        found = (len(sizes), sizes[0] if sizes else (0, 0), float(lasting))
    _compare("MP4", found, (frames, size, float(frames / rate)))

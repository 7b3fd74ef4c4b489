"""Small videos made on the spot: a soft disc moving over a texture, with the alpha of each frame known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from bgremove.arrays import Alpha, Image
from bgremove.video.reading import origin_of

SOUND_RATE = 48_000
BEEP = (0.5, 0.6)
"""Seconds between which a clip with sound beeps, and a white square is in its picture's upper left corner."""


@dataclass(frozen=True, eq=False)
class Clip:
    """A video and what is in it.

    Attributes:
        path: the file.
        images: (H, W, 3) uint8 RGB, each frame, upright.
        alphas: (H, W) float32, the disc in each.
        times: seconds at which each is shown.
    """

    path: Path
    images: list[Image]
    alphas: list[Alpha]
    times: list[Fraction]


def draw(at: float, size: tuple[int, int] = (96, 128)) -> tuple[Image, Alpha]:
    """The picture when `at` (0 to 1) of the disc's way is done, and the disc's alpha."""
    height, width = size
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    radius = min(height, width) * 0.28
    centre = (height * (0.5 + 0.08 * np.sin(at * 6.28)), width * (0.3 + 0.4 * at))
    distance = np.hypot(rows - centre[0], columns - centre[1])
    alpha = np.clip((radius - distance) / 3 + 0.5, 0, 1).astype(np.float32)
    wave = 18 * np.sin(rows / 5) * np.cos(columns / 7)
    texture = np.dstack([60 + wave, 110 + 40 * rows / height, 150 - wave])
    disc = np.dstack([225 - 20 * rows / height, 130 + 0 * rows, 50 + 30 * columns / width])
    image = texture + alpha[..., None] * (disc - texture)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), alpha


def clip(
    path: Path,
    *,
    frames: int = 24,
    size: tuple[int, int] = (96, 128),
    rate: Fraction = Fraction(24),
    rotation: int = 0,
    sound: bool = False,
    sound_codec: str = "",
    times: Sequence[Fraction] | None = None,
    codec: str = "h264",
    pix_fmt: str = "yuv420p",
    interlaced: bool = False,
    colour: str | None = None,
    full_range: bool = False,
    sar: Fraction | None = None,
    images: Sequence[Image] | None = None,
    options: dict[str, str] | None = None,
    keys: int = 12,
) -> Clip:
    """Make a clip; its name's extension says the container.

    Args:
        size: upright.
        rotation: degrees clockwise that a player must turn the stored frames (90, 180, 270; mp4 and mov).
        sound: a hum with a beep at :data:`BEEP`.
        times: seconds at which the frames are shown, for a variable frame rate.
        codec: h264, hevc, vp9, prores, mpeg4, mpeg2video ...
        interlaced: two fields, half a frame apart.
        colour: bt601, bt709, bt2020-pq or hlg (the last two with 10-bit formats: white is at 203 nits).
        sar: a pixel's width by its height.
        images: other pictures than the drawn ones; (H, W, 4) where the format has alpha.
        keys: frames from one key frame to the next.
    """
    shown = list(times) if times is not None else [Fraction(n) / rate for n in range(frames)]
    drawn = [draw(n / max(1, len(shown) - 1), size) for n in range(len(shown))]
    pictures = [image for image, _ in drawn] if images is None else list(images)
    if sound and images is None:
        for at, picture in zip(shown, pictures, strict=True):
            if BEEP[0] <= at < BEEP[1]:
                picture[: size[0] // 5, : size[1] // 5] = 255
    encoder = {"h264": "libx264", "hevc": "libx265", "vp9": "libvpx-vp9", "prores": "prores_ks"}.get(
        codec, codec
    )
    base = Fraction(1, 90_000) if encoder not in ("mpeg4", "mpeg2video") else 1 / rate
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream(
            encoder, rate=rate, options=_options(encoder, colour, interlaced) | (options or {})
        )
        height, width = (size[1], size[0]) if rotation in (90, 270) else size
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        context = stream.codec_context
        context.time_base, context.gop_size = base, keys
        if encoder == "mpeg4":
            context.max_b_frames = 0  # AVI has no times for them
        if sar is not None:
            context.sample_aspect_ratio = sar
        matrix, primaries, transfer = _COLOURS[colour]
        context.colorspace, context.color_primaries, context.color_trc = matrix, primaries, transfer
        context.color_range = 2 if full_range else 1
        if interlaced:
            context.flags |= (1 << 18) | (1 << 29)
        if "yuva420p" in pix_fmt:
            stream.metadata["alpha_mode"] = "1"
        hum: Any = file.add_stream(sound_codec or _sound_codec(path), rate=SOUND_RATE) if sound else None
        file.start_encoding()
        for number, (at, picture) in enumerate(zip(shown, pictures, strict=True)):
            if interlaced:
                later, _ = draw((number + 0.5) / max(1, len(shown) - 1), size)
                picture = picture.copy()
                picture[1::2] = later[1::2]
            frame = _frame(_turned(picture, -rotation), pix_fmt, colour, full_range)
            frame.pts, frame.time_base = round(at / base), base
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
        if hum is not None:
            _hum(file, hum, float(shown[-1] + 1 / rate))
    if rotation:
        _tag_rotation(path, rotation)
    return Clip(path, pictures, [alpha for _, alpha in drawn], shown)


def phone_clip(path: Path, *, frames: int = 40, size: tuple[int, int] = (128, 96)) -> Clip:
    """As a phone makes them: stored lying, shown upright, with sound, not quite 30 frames a second."""
    steps = [(3003, 2970, 3090, 2880, 4500)[n % 5] for n in range(frames)]
    times = [Fraction(sum(steps[:n]), 90_000) for n in range(frames)]
    return clip(path, size=size, rate=Fraction(30), rotation=90, sound=True, times=times)


# Colour codes of H.273: matrix, primaries, transfer.
_COLOURS = {
    None: (2, 2, 2),
    "bt601": (6, 6, 6),
    "bt709": (1, 1, 1),
    "bt2020-pq": (9, 9, 16),
    "hlg": (9, 9, 18),
}
_TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])


def _options(encoder: str, colour: str | None, interlaced: bool) -> dict[str, str]:
    matrix, primaries, transfer = _COLOURS[colour]
    match encoder:
        case "libx264":
            return {"preset": "veryfast", "crf": "14"} | ({"x264-params": "tff=1"} if interlaced else {})
        case "libx265":
            tags = f"colorprim={primaries}:transfer={transfer}:colormatrix={matrix}:range=limited"
            return {"preset": "ultrafast", "crf": "12", "x265-params": f"log-level=none:pools=1:{tags}"}
        case "libvpx-vp9":
            return {"deadline": "realtime", "cpu-used": "8", "crf": "15", "b": "0", "auto-alt-ref": "0"}
        case "mpeg4" | "mpeg2video":
            return {"qscale": "2", "b": "4000000"}
    return {}


def _sound_codec(path: Path) -> str:
    return {".webm": "libopus", ".mkv": "libopus", ".avi": "pcm_s16le"}.get(path.suffix, "aac")


def _turned(image: npt.NDArray[np.uint8], clockwise: int) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(np.rot90(image, -clockwise // 90))


def _frame(image: npt.NDArray[np.uint8], pix_fmt: str, colour: str | None, full_range: bool) -> Any:
    if colour in ("bt2020-pq", "hlg"):
        deep = np.rint(_hdr(image, colour) * 65535).astype(np.uint16)
        frame = av.VideoFrame.from_ndarray(deep, "rgb48le")
    else:
        frame = av.VideoFrame.from_ndarray(image, "rgba" if image.shape[2] == 4 else "rgb24")
    matrix = {"bt709": 1, "bt2020-pq": 9, "hlg": 9}.get(colour or "", 5)
    best = 0x2 | 0x2000 | 0x4000 | 0x40000  # bilinear, all chroma, rounded
    frame = frame.reformat(
        format=pix_fmt,
        dst_colorspace=None if pix_fmt in ("argb", "rgb24", "bgra") else matrix,
        dst_color_range=2 if full_range else 1,
        interpolation=best,
    )
    frame.colorspace, frame.color_primaries, frame.color_trc = _COLOURS[colour]
    return frame


def _hdr(image: Image, colour: str) -> npt.NDArray[np.float64]:
    """sRGB as PQ or HLG, its white at 203 nits."""
    value = image / 255.0
    nits = 203 * np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4) @ _TO_2020.T
    if colour == "bt2020-pq":
        power = (nits / 10_000) ** 0.1593017578125
        result = (0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)
        return np.asarray(np.clip(result**78.84375, 0, 1))
    light = nits / 1000
    luminance = np.maximum(light @ np.array([0.2627, 0.678, 0.0593]), 1e-9)[..., None]
    scene = light * luminance ** ((1 - 1.2) / 1.2)
    low = np.sqrt(3 * scene)
    high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.asarray(np.clip(np.where(scene <= 1 / 12, low, high), 0, 1))


def _hum(file: Any, stream: Any, seconds: float) -> None:
    """A faint low tone, with a loud high one at :data:`BEEP`."""
    at = np.arange(round(seconds * SOUND_RATE)) / SOUND_RATE
    loud = (at >= BEEP[0]) & (at < BEEP[1])
    wave = np.where(loud, 0.6 * np.sin(at * 6283.185), 0.02 * np.sin(at * 1256.6))
    step = stream.codec_context.frame_size or 1024
    for start in range(0, len(wave), step):
        part = np.rint(wave[start : start + step] * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.repeat(part[None], 2, axis=0).T.reshape(1, -1), "s16", "stereo")
        frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, start, Fraction(1, SOUND_RATE)
        file.mux(stream.encode(frame))
    file.mux(stream.encode())


def _tag_rotation(path: Path, clockwise: int) -> None:
    """Write the display matrix into the first track's header."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + (40 if data[data.index(b"tkhd") + 4] == 0 else 52)
    cosine, sine = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[clockwise]
    matrix = [cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30]
    for index, value in enumerate(matrix):
        data[place + 4 * index : place + 4 * index + 4] = (value & 0xFFFFFFFF).to_bytes(4, "big")
    path.write_bytes(bytes(data))


def beeps_at(path: Path) -> float:
    """Seconds from the file's beginning to that of the loud tone in its sound."""
    with av.open(str(path)) as file:
        origin = float(origin_of(file))
        for frame in file.decode(audio=0):
            values = frame.to_ndarray().astype(np.float64)
            top = 1.0 if frame.format.name.startswith("flt") else 32768.0
            channels = 1 if frame.format.is_planar else frame.layout.nb_channels
            mono = np.abs(values.reshape(-1)[: frame.samples * channels : channels] / top)
            loud = np.flatnonzero(mono > 0.2)
            if loud.size:
                return float(frame.time + loud[0] / frame.sample_rate) - origin
    raise AssertionError(f"no beep in {path}")


def resized(image: Image, size: tuple[int, int]) -> Image:
    """`image` at (height, width), as a viewer would scale it."""
    return np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA), np.uint8)

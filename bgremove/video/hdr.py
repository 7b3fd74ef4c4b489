"""High dynamic range and wide colours made to fit sRGB, through a table of colours that FFmpeg looks up."""

from __future__ import annotations

import functools
import os
import tempfile
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

Light = npt.NDArray[np.float64]

_PQ, _HLG, _LINEAR = 16, 18, 8
_WHITE = 203.0  # nits of diffuse white in HDR (ITU-R BT.2408), shown as the white of SDR
_PEAK = 1000.0  # nits of the brightest light that is told apart
_POINTS = 33
_FROM_2020 = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]]
)
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


class ToneMap:
    """Maps frames of BT.2020 colours (PQ, HLG or SDR) to sRGB.

    Args:
        transfer: H.273's number of the transfer characteristics.

    References:
        ITU-R BT.2390 (the curve), BT.2100 (PQ and HLG), BT.2087 (the primaries).
    """

    def __init__(self, transfer: int) -> None:
        from av.video.reformatter import VideoReformatter

        self._table = table(transfer)
        self._reformat = VideoReformatter().reformat
        self._graph: Any = None
        self._shape: tuple[int, int] | None = None
        self._count = 0

    def mapped(self, frame: Any, matrix: int | None) -> Any:
        """The frame as 16-bit RGB planes in sRGB.

        Args:
            matrix: of a frame that does not say.
        """
        planes = self._reformat(
            frame,
            format="gbrp16le",
            src_colorspace=matrix,
            dst_color_range=2,
            interpolation=0x2 | 0x2000 | 0x40000,
            threads=1,
        )
        if self._shape != (planes.height, planes.width):
            self._shape = (planes.height, planes.width)
            self._graph = self._made(planes)
        planes.pts, planes.time_base = self._count, Fraction(1, 1000)
        self._count += 1
        self._graph.vpush(planes)
        return self._graph.vpull()

    def _made(self, frame: Any) -> Any:
        from av.filter import Graph

        handle, path = tempfile.mkstemp(suffix=".cube")
        try:
            with open(handle, "w") as file:
                file.write(f"LUT_3D_SIZE {_POINTS}\n")
                np.savetxt(file, self._table.reshape(-1, 3), "%.6f")
            graph = Graph()
            source = graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000)
            )
            look_up = graph.add("lut3d", file=path, interp="tetrahedral")
            graph.link_nodes(source, look_up, graph.add("buffersink")).configure()
        finally:
            os.unlink(path)
        return graph


@functools.cache
def table(transfer: int) -> Light:
    """sRGB for a grid of BT.2020 values: (N, N, N, 3) in [0, 1]; blue is the first axis, red the third."""
    axis = np.linspace(0, 1, _POINTS)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    return to_srgb(np.stack([red, green, blue], axis=-1), transfer)


def to_srgb(values: Light, transfer: int) -> Light:
    """BT.2020 values (..., 3) in [0, 1], coded by `transfer`, as sRGB values in [0, 1]."""
    match transfer:
        case 16:
            light = _compressed(_pq_to_nits(values)) / _WHITE
        case 18:
            light = _compressed(_hlg_to_nits(values)) / _WHITE
        case 8:
            light = values
        case _:
            light = np.maximum(values, 0) ** 2.4
    light = _inside(light @ _FROM_2020.T)
    if transfer not in (_PQ, _HLG, _LINEAR):
        return np.asarray(light ** (1 / 2.4))
    return np.asarray(np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055))


def _pq_to_nits(values: Light) -> Light:
    power = np.clip(values, 0, 1) ** (1 / 78.84375)
    return np.asarray(
        10_000 * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125)
    )


def _nits_to_pq(nits: Light) -> Light:
    power = (np.maximum(nits, 0) / 10_000) ** 0.1593017578125
    return np.asarray(((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375)


def _hlg_to_nits(values: Light) -> Light:
    high = (np.exp((values - 0.55991073) / 0.17883277) + 0.28466892) / 12
    scene = np.where(values <= 0.5, values**2 / 3, high)
    luminance = np.maximum(scene @ np.array([0.2627, 0.6780, 0.0593]), 1e-9)[..., None]
    return np.asarray(_PEAK * scene * luminance**0.2)


def _compressed(nits: Light) -> Light:
    """Light up to the peak made to fit below white, by the brightest of the three colours; hues stay."""
    brightest = nits.max(axis=-1, keepdims=True)
    top = _nits_to_pq(np.array(_PEAK))
    most = float(_nits_to_pq(np.array(_WHITE)) / top)
    knee = 1.5 * most - 0.5
    level = np.minimum(_nits_to_pq(brightest) / top, 1)
    t = np.clip((level - knee) / (1 - knee), 0, 1)
    bent = (
        (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * most
    )
    wanted = _pq_to_nits(np.where(level < knee, level, bent) * top)
    return np.asarray(nits * wanted / np.maximum(brightest, 1e-6))


def _inside(light: Light) -> Light:
    """Colours that sRGB has not, made paler until it has them."""
    grey = np.clip(light @ _LUMINANCE, 0, 1)[..., None]
    below, above = light.min(axis=-1, keepdims=True), light.max(axis=-1, keepdims=True)
    keep = np.ones_like(grey)
    keep = np.where(below < 0, np.minimum(keep, grey / np.maximum(grey - below, 1e-9)), keep)
    keep = np.where(above > 1, np.minimum(keep, (1 - grey) / np.maximum(above - grey, 1e-9)), keep)
    return np.asarray(np.clip(grey + keep * (light - grey), 0, 1))

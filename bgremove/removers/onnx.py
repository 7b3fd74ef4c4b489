"""Segmentation networks in ONNX files, run by ONNX Runtime.

One class serves every published network of the table and ``onnx:FILE``, a network of one's own:
they differ only in their settings.

Each channel of the photo, in 0..1, becomes ``(x - mean) / std``. That says any usual preparation:
what a network wants as ``(x255 - m) / s`` with x255 in 0..255 is ``mean = m / 255`` and
``std = s / 255``. The published SINet, for one, wants BGR and ``(x255 - m) / s / 255`` with m =
107.3, 115.7, 132.4 and s = 64, 65.1, 68.3, which is ``channel_order="bgr"``, ``mean = m / 255``
and ``std = s``. Mean and std stand in the network's own channel order.

A file can say itself how it is to be used: the settings in :data:`STORED` are read from its metadata
under ``bgremove.`` and the setting's name, written as on the command line (``bgremove.mean`` is
``0.485,0.456,0.406``). What the user or the table gives wins over the file, the file over the
fallbacks that each setting names.
"""

from __future__ import annotations

import contextlib
import contextvars
import io
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, cast

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from bgremove.arrays import Alpha, Image, check_image
from bgremove.colours import weigh_colours
from bgremove.errors import BGRemoveError, BGRemoveWarning, DeviceError, OptionError, WeightsError
from bgremove.options import Params
from bgremove.removers.base import Device, Prediction, Remover, RemoverInfo
from bgremove.trimap import bounding_box
from bgremove.weights import fetch_weights

Triple = tuple[float, float, float]
Planes = npt.NDArray[np.float32]  # (C, H, W), what a network gives

IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)

_IMAGENET = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD, "channel_order": "rgb"}
# How the published networks were trained, for the rows of the table.
U2NET = {**_IMAGENET, "input_size": 320, "activation": "none"}
BIREFNET = {**_IMAGENET, "input_size": 1024, "activation": "sigmoid"}
ISNET = {**BIREFNET, "mean": (0.5, 0.5, 0.5), "std": (1.0, 1.0, 1.0), "activation": "none"}
ISNET_ANIME = {**ISNET, "mean": (0.0, 0.0, 0.0)}

METADATA_PREFIX = "bgremove."
STORED = (
    "input_size",
    "mean",
    "std",
    "channel_order",
    "network_output",
    "output_channel",
    "activation",
    "colours",
    "closer",
)
"""The settings that a file's metadata can give."""

_FALLBACK = {**_IMAGENET, "network_output": "0", "colours": 0.0, "closer": 0.0}
_DYNAMIC_SIZE = 320
_LARGE = 4_000_000  # pixels
_SPECK = 0.002  # of the picture: a smaller subject is not worth a second look
_AGREED = 0.6  # IoU of two looks that mean the same subject
_ROOM = 0.2  # of the subject's longer side, kept around it
_LOOSE = 1.8  # times what a window needs: larger ones, in a video, are made anew
_AT_LEAST = 8  # frames of a video after which the whole is looked at again
_DOUBTS = 2  # such looks that see something else in the window before they are believed
_FRAME = 512  # pixels, of the longer side of a video's mattes where there was a closer look
_ACCELERATORS = {
    "CUDAExecutionProvider": {"cudnn_conv_algo_search": "HEURISTIC"},  # the default tries them all first
    "ROCMExecutionProvider": {},
    "DmlExecutionProvider": {},
    "CoreMLExecutionProvider": {},
}
_CPU = "CPUExecutionProvider"
_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}
_ADVANCED: dict[str, Any] = {"advanced": True}


class OnnxParams(Params):
    """How a photo is prepared for a network, and how its answer becomes a matte."""

    input_size: int | None = Field(
        None,
        ge=8,
        le=4096,
        description="Side of the square the network sees, in pixels; empty: what its file says, else 320",
    )
    mean: Triple | None = Field(
        None,
        description="Taken from each channel, 0 to 1; empty: what the file says, else ImageNet's",
        json_schema_extra=_ADVANCED,
    )
    std: Triple | None = Field(
        None,
        description="Each channel is divided by this; empty: what the file says, else ImageNet's",
        json_schema_extra=_ADVANCED,
    )
    channel_order: Literal["auto", "rgb", "bgr"] = Field(
        "auto",
        description="Order of the colours; auto: what the file says, else rgb",
        json_schema_extra=_ADVANCED,
    )
    network_output: str | None = Field(
        None,
        description="Output to read, by number from 0 or by name; empty: what the file says, else the first",
        json_schema_extra=_ADVANCED,
    )
    output_channel: int | None = Field(
        None,
        ge=0,
        description="Channel of the subject; empty: what the file says, else the only one, or 1 of two",
        json_schema_extra=_ADVANCED,
    )
    activation: Literal["auto", "none", "sigmoid", "softmax"] = Field(
        "auto",
        description="What turns the answer into 0 to 1; auto: what the file says, else found by a test run",
        json_schema_extra=_ADVANCED,
    )
    colours: float | None = Field(
        None,
        ge=0,
        le=2,
        description="How much the colours of what was found help where the network is in doubt; "
        "empty: what the file says, else 0",
    )
    closer: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Look again, closer, at a subject whose box is less than this share of the picture; "
        "empty: what the file says, else 0",
    )
    stretch: bool = Field(
        False,
        description="Stretch each matte to span 0 to 1; marks something even where there is no subject",
        json_schema_extra=_ADVANCED,
    )

    @field_validator("std")
    @classmethod
    def _positive(cls, std: Triple | None) -> Triple | None:
        if std is not None and min(std) <= 0:
            raise ValueError(f"std must be 3 numbers above 0; got {', '.join(map(str, std))}")
        return std

    @field_validator("network_output", mode="before")
    @classmethod
    def _number_or_name(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) else value or None

    def given(self) -> dict[str, Any]:
        """The settings that are not left to the file."""
        return {k: v for k, v in self.model_dump().items() if v is not None and v != "auto"}


def to_metadata(params: OnnxParams) -> dict[str, str]:
    """The metadata entries that make a file carry the given ones of `params`."""
    given = params.given()
    text = {k: ",".join(map(str, v)) if isinstance(v, tuple) else str(v) for k, v in given.items()}
    return {METADATA_PREFIX + k: text[k] for k in STORED if k in text}


def from_metadata(metadata: Mapping[str, str]) -> OnnxParams:
    """The settings that a file's `metadata` gives; other entries are ignored.

    Raises:
        OptionError: if one is out of range.
    """
    found = {k: metadata[METADATA_PREFIX + k] for k in STORED if METADATA_PREFIX + k in metadata}
    return OnnxParams(**found)


class OnnxRemover(Remover):
    """A network that gives one matte, or one channel of it per class, for a whole photo.

    The network must take one photo of three channels, ``(1, 3, H, W)`` or ``(1, H, W, 3)`` (read
    from the file; the first if it does not say), and give ``(1, C, H, W)``, ``(1, H, W, C)`` or
    ``(1, H, W)``; C is taken to be the smaller of the two possible sides.

    With ``activation="auto"`` and nothing in the file, one test run at building decides, the same
    for every photo: an answer within 0..1 is taken as it is, another goes through a sigmoid if it
    has one channel, through a softmax if it has more. The note says which.

    Attributes:
        params: the settings in force, after the file and the fallbacks have filled the gaps.
    """

    params: OnnxParams

    @classmethod
    def create(
        cls, info: RemoverInfo, params: Params, *, device: Device = "auto", model_file: Path | None = None
    ) -> Self:
        """Fetch or open the file of a row of the table, and build its remover.

        Raises:
            OptionError: if the network cannot do what `params` ask, or needs a file and got none.
            WeightsError: if the file cannot be had, read or used.
            DeviceError: if `device` is ``cuda`` and the network does not run there.
        """
        if info.weights is not None:
            path = fetch_weights(info.weights, name=info.name, model_file=model_file)
        elif model_file is None:
            raise OptionError("onnx needs a model file: take onnx:FILE or --model-file FILE")
        else:
            path = model_file.expanduser()
        session, note = open_session(path, device)
        return cls(cast(OnnxParams, params), session, info.name, note)

    def __init__(self, params: OnnxParams, session: Any, name: str, note: str = "") -> None:
        """Use an open ``onnxruntime.InferenceSession``; `name` is for messages."""
        self._session, self._name, self.note = session, name, note
        try:
            stored = from_metadata(session.get_modelmeta().custom_metadata_map)
        except OptionError as error:
            raise WeightsError(f"{name} carries settings that cannot be used: {error}") from error
        filled = OnnxParams(**{**_FALLBACK, **stored.given(), **params.given()})
        self._input, self._channels_first, height, width = _input(session, name)
        self._size = _size(height, width, filled.input_size, name)
        self._output = _output(session, filled.network_output or "0", name)
        if filled.activation == "auto":
            filled = self._with_activation(filled)
        super().__init__(filled)

    def predict_alpha(self, image: Image) -> Alpha:
        """Matte of the photo's height and width; zeros where the network finds no subject.

        Raises:
            ImageError: if `image` is not an RGB image.
            BGRemoveError: if the network fails, or gives NaN or something that is no matte.
        """
        small = self._look(check_image(image), self.params.colours or 0)
        alpha = cast(Alpha, _resize(small, *image.shape[:2]))
        part = _closer_part(small, self.params.closer or 0, image.shape)
        if part is not None:
            again = self._look(image[part])
            first = _resize(alpha[part], *again.shape)
            if _agree(first, again):
                alpha[part] = _resize(_joined(first, again), *alpha[part].shape)
        return alpha

    @property
    def remembers(self) -> bool:
        """True if it looks closer, through a window that stays where it is from frame to frame."""
        return bool(self.params.closer)

    def follow(self) -> Callable[[Image], Prediction]:
        """For a video: mattes at the network's own size, or up to 512 pixels where it looked closer."""
        return _Steady(self) if self.remembers else self._glance

    def _glance(self, image: Image) -> Prediction:
        alpha = self._look(check_image(image), self.params.colours or 0)
        return Prediction(alpha, self.grain(*image.shape[:2]))

    def grain(self, height: int, width: int) -> float:
        """Photo pixels per pixel of the network's input, at least 1."""
        return max(height / self._size[0], width / self._size[1], 1.0)

    def _look(self, image: Image, colours: float = 0) -> Alpha:
        """The matte of a photo, or of a part of one, at the network's own size."""
        seen = _resize(_halved(image, self._size), *self._size)
        sparing = image.shape[0] * image.shape[1] >= _LARGE
        alpha = self._matte(self._run(seen, self.params, sparing=sparing), self.params)
        return weigh_colours(_resize(seen, *alpha.shape), alpha, colours) if colours else alpha

    def _run(self, seen: Image, params: OnnxParams, *, sparing: bool = False) -> Planes:
        blob = _prepare(seen, params, self._channels_first).astype(self._input.dtype, copy=False)
        options = _sparing() if sparing else None
        try:
            [answer] = self._session.run([self._output], {self._input.name: blob}, options)
        except Exception as error:  # onnxruntime's errors have no common base of their own
            raise BGRemoveError(
                f"{self._name} failed on an input of {self._size[1]}x{self._size[0]} pixels: "
                f"{_first_line(error)}; another input_size may help"
            ) from error
        return _planes(np.asarray(answer), self._size, self._name)

    def _matte(self, planes: Planes, params: OnnxParams) -> Alpha:
        channel = _channel(len(planes), params.output_channel, self._name)
        if not np.isfinite(planes).all():
            raise BGRemoveError(
                f"{self._name} gave NaN or infinite values for this picture: its file may be damaged, "
                "or mean and std may be wrong for it"
            )
        alpha = np.clip(_activate(planes, channel, params.activation, self._name), 0.0, 1.0)
        return _stretched(alpha) if params.stretch else alpha

    def _with_activation(self, params: OnnxParams) -> OnnxParams:
        """`params` with the activation that a run on a test picture asks for."""
        planes = self._run(_test_picture(*self._size), params)
        probable = -0.01 <= float(planes.min()) and float(planes.max()) <= 1.01
        activation = "none" if probable else "sigmoid" if len(planes) == 1 else "softmax"
        self.note = f"{self.note}; activation {activation}, found by a test run".removeprefix("; ")
        return params.model_copy(update={"activation": activation})


class _Input(NamedTuple):
    name: str
    dtype: str


def _input(session: Any, name: str) -> tuple[_Input, bool, int | None, int | None]:
    """The network's input, whether its channels come first, and the height and width it fixes."""
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise WeightsError(
            f"{name} takes {len(inputs)} inputs ({', '.join(i.name for i in inputs)}); only networks "
            "that take one photo can be used"
        )
    [entry] = inputs
    sides = [side if isinstance(side, int) and side > 0 else None for side in entry.shape]
    if len(sides) == 4 and sides[0] in (1, None) and entry.type in _TYPES:
        found = _Input(entry.name, _TYPES[entry.type])
        if sides[1] == 3 or (sides[1] is None and sides[3] != 3):
            return found, True, sides[2], sides[3]
        if sides[3] == 3:
            return found, False, sides[1], sides[2]
    raise WeightsError(
        f"{name} takes {entry.type} of shape {tuple(entry.shape)}; only networks that take one RGB photo "
        "as floats, (1, 3, H, W) or (1, H, W, 3), can be used"
    )


def _size(height: int | None, width: int | None, wanted: int | None, name: str) -> tuple[int, int]:
    """Height and width of the network's input: what its file fixes, else what is wanted, else 320."""
    free = wanted or _DYNAMIC_SIZE
    size = (height or free, width or free)
    if wanted is not None and size != (wanted, wanted):
        raise OptionError(
            f"input_size must be left out for {name}, whose file fixes {size[1]}x{size[0]} pixels; "
            f"got {wanted}"
        )
    return size


def _output(session: Any, wanted: str, name: str) -> str:
    """The name of the output that `wanted` names or numbers."""
    outputs = {entry.name: entry.type for entry in session.get_outputs()}
    names = list(outputs)
    found = wanted
    if wanted not in outputs and wanted.isdecimal() and int(wanted) < len(names):
        found = names[int(wanted)]
    if found not in outputs:
        raise OptionError(
            f"network_output must be 0 to {len(names) - 1} or one of {', '.join(names)} for {name}; "
            f"got {wanted}"
        )
    if outputs[found] not in _TYPES:
        raise WeightsError(
            f"{name} gives {outputs[found]} at its output {found}; only networks that give floats can be used"
        )
    return found


def _prepare(seen: Image, params: OnnxParams, channels_first: bool) -> npt.NDArray[np.float32]:
    """The shrunk photo as the network wants it, ``(1, 3, H, W)`` or ``(1, H, W, 3)`` float32."""
    size = seen.shape[:2]
    blob = np.empty((1, 3, *size) if channels_first else (1, *size, 3), np.float32)
    planes = blob[0] if channels_first else blob[0].transpose(2, 0, 1)
    colours = (0, 1, 2) if params.channel_order == "rgb" else (2, 1, 0)
    for plane, colour, mean, std in zip(
        planes, colours, params.mean or IMAGENET_MEAN, params.std or IMAGENET_STD, strict=True
    ):
        np.multiply(seen[..., colour], np.float32(1 / (255 * std)), out=plane)
        plane -= np.float32(mean / std)
    return blob


def _closer_part(
    alpha: Alpha, share: float, shape: tuple[int, ...], *, room: float = _ROOM
) -> tuple[slice, slice] | None:
    """Rows and columns of a photo of `shape` around its subject, if their area is less than `share` of it.

    `room` is left around it, of its longer side.
    """
    box = bounding_box(alpha, 0.5)
    if not share or box is None or (alpha > 0.5).mean() < _SPECK:
        return None
    height, width = alpha.shape
    space = room * max(box.right - box.left, box.bottom - box.top)
    sides = []
    for low, high, side, full in (
        (box.top, box.bottom, height, shape[0]),
        (box.left, box.right, width, shape[1]),
    ):
        start, stop = max(0.0, low - space), min(float(side), high + space)
        sides.append(slice(math.floor(start * full / side), math.ceil(stop * full / side)))
    rows, columns = sides
    return (rows, columns) if _area((rows, columns)) < share * shape[0] * shape[1] else None


class _Steady:
    """Looks at the frames of a video closer, through a window that stays with the subject.

    Were the window the subject's own at each frame, as for photos, it would shake with its matte, and
    what the network sees in it would, too. The whole frame is looked at every now and then only: to see
    whether the subject is still the same.
    """

    def __init__(self, remover: OnnxRemover) -> None:
        self._remover = remover
        self._window: tuple[slice, slice] | None = None
        self._shape: tuple[int, ...] = ()
        self._since = 0  # frames since the whole was looked at
        self._doubts = 0

    def __call__(self, image: Image) -> Prediction:
        shape, grain = check_image(image).shape[:2], self._remover.grain(*image.shape[:2])
        if shape != self._shape:
            self._window, self._shape = None, shape
        again = None
        if self._window is not None and self._since < _AT_LEAST:
            again = self._remover._look(image[self._window])
        if again is None or again.max() <= 0.5:
            whole, again = self._whole(image)
            if again is None:
                return Prediction(whole, grain)
        assert self._window is not None
        self._since += 1
        # Nothing that counts is outside the window: it is where all of the subject was.
        alpha = np.zeros(_frame(shape), np.float32)
        part = _scaled(self._window, shape, alpha.shape)
        alpha[part] = _resize(again, *alpha[part].shape)
        size = [one.stop - one.start for one in self._window]
        grain = min(grain, max(self._remover.grain(size[0], size[1]), max(shape) / _FRAME))
        self._window = self._placed(alpha, shape) or self._window
        return Prediction(alpha, grain)

    def _whole(self, image: Image) -> tuple[Alpha, Alpha | None]:
        """The whole frame's matte, and the one seen through the window if that is to be believed."""
        remover, shape = self._remover, image.shape[:2]
        small = remover._look(image, remover.params.colours or 0)
        alpha = cast(Alpha, _resize(small, *_frame(shape)))
        wanted, self._since = self._placed(small, shape), 0
        for window in (self._window, wanted):
            if window is None:
                continue
            again = remover._look(image[window])
            if _agree(_resize(alpha[_scaled(window, shape, alpha.shape)], *again.shape), again):
                self._doubts = 0
                if window == wanted:
                    self._window = window
                    return alpha, again
            elif window == self._window and again.max() > 0.5 and self._doubts + 1 < _DOUBTS:
                self._doubts += 1
                return alpha, again
        self._window, self._doubts = None, 0
        return alpha, None

    def _placed(self, alpha: Alpha, shape: tuple[int, int]) -> tuple[slice, slice] | None:
        """The window there was, as long as it fits what is seen now; else a new one, or none."""
        share = self._remover.params.closer or 0.0
        before = self._window
        if before is not None:
            share = min(1.0, share * 1.25)
        needed = _closer_part(alpha, share, shape)
        if needed is None or before is None:
            return needed
        tight = _closer_part(alpha, share, shape, room=_ROOM / 3) or needed
        fits = all(
            old.start <= new.start and new.stop <= old.stop for old, new in zip(before, tight, strict=True)
        )
        return before if fits and _area(before) <= _LOOSE * _area(needed) else needed


def _frame(shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of the mattes of a video's frames of `shape`."""
    scale = min(1.0, _FRAME / max(shape[:2]))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def _scaled(
    window: tuple[slice, slice], shape: tuple[int, ...], small: tuple[int, ...]
) -> tuple[slice, slice]:
    """A window of a frame of `shape` in its matte of shape `small`; at least a pixel."""
    rows, columns = (
        slice(min(round(one.start * side / full), side - 1), max(1, round(one.stop * side / full)))
        for one, side, full in zip(window, small, shape, strict=False)
    )
    return rows, columns


def _area(window: tuple[slice, slice]) -> int:
    rows, columns = window
    return int((rows.stop - rows.start) * (columns.stop - columns.start))


def _agree(first: Alpha, again: Alpha) -> bool:
    """Whether two mattes mean the same subject; if not, that which saw the whole photo is to be believed."""
    one, other = first > 0.5, again > 0.5
    return bool((one & other).sum() >= _AGREED * (one | other).sum())


def _joined(first: Alpha, again: Alpha) -> Alpha:
    """Two mattes of one part of a photo as one: the mean of their logits, the first's at the border."""
    ramp = [np.minimum(1, np.minimum(np.arange(n), np.arange(n)[::-1]) * (10 / n)) for n in first.shape]
    weight = (0.5 * np.minimum.outer(*ramp)).astype(np.float32)
    logits = [np.log(held / (1 - held)) for held in (np.clip(a, 1e-4, 1 - 1e-4) for a in (first, again))]
    return _sigmoid(logits[0] + weight * (logits[1] - logits[0]))


def _planes(answer: npt.NDArray[Any], size: tuple[int, int], name: str) -> Planes:
    """The channels of a network's answer to an input of `size`, ``(C, H, W)`` float32."""
    if answer.ndim in (3, 4) and answer.shape[0] == 1 and answer.size:
        planes = answer[0] if answer.ndim == 4 else answer
        if planes.shape[2] < planes.shape[0] and answer.ndim == 4:
            planes = planes.transpose(2, 0, 1)
        if 0.8 < planes.shape[1] * size[1] / (planes.shape[2] * size[0]) < 1.25:  # the photo's sides
            return planes.astype(np.float32, copy=False)
    raise BGRemoveError(
        f"{name} gives an array of shape {answer.shape}; a matte has (1, C, H, W), (1, H, W, C) or "
        f"(1, H, W) with H to W as {size[0]} to {size[1]}: choose another network_output"
    )


def _channel(count: int, wanted: int | None, name: str) -> int:
    """Which of the `count` channels is the subject."""
    if wanted is None and count <= 2:
        return count - 1
    if wanted is None or wanted >= count:
        got = "none" if wanted is None else wanted
        raise OptionError(
            f"output_channel must be a whole number from 0 to {count - 1} for {name}; got {got}"
        )
    return wanted


def _activate(planes: Planes, channel: int, activation: str, name: str) -> Planes:
    """The channel's values after the activation."""
    chosen: Planes = planes[channel]
    if activation == "sigmoid":
        return _sigmoid(chosen)
    if activation == "softmax":
        if len(planes) == 1:
            raise OptionError(
                f"activation softmax needs two channels or more; {name} gives one: take sigmoid or none"
            )
        others = np.delete(planes, channel, axis=0)
        top = others.max(axis=0)
        return _sigmoid(chosen - top - np.log(np.exp(others - top).sum(axis=0)))
    return chosen


def _sigmoid(x: Planes) -> Planes:
    """``1 / (1 + exp(-x))``, written so that nothing overflows."""
    half = np.float32(0.5)
    return cast(Planes, half + half * np.tanh(half * x))


def _stretched(alpha: Alpha) -> Alpha:
    """`alpha` spread over 0 to 1; zeros if it is flat."""
    low, high = float(alpha.min()), float(alpha.max())
    if high - low < 1e-6:
        return np.zeros_like(alpha)
    return cast(Alpha, (alpha - np.float32(low)) / np.float32(high - low))


def _resize(array: Any, height: int, width: int) -> Any:
    """Area average where it shrinks, so that nothing aliases, bilinear where it grows."""
    shrinks = height < array.shape[0] or width < array.shape[1]
    return cv2.resize(array, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _halved(image: Image, size: tuple[int, int]) -> Image:
    """`image` halved while it stays at least twice `size` and has an even height and width.

    OpenCV halves so fast that shrinking 12 megapixels to 320 pixels takes 8 ms in place of 35.
    """
    height, width = image.shape[:2]
    while height >= 4 * size[0] and width >= 4 * size[1] and height % 2 == width % 2 == 0:
        height, width = height // 2, width // 2
        image = _resize(image, height, width)
    return image


def _test_picture(height: int, width: int) -> Image:
    """A bright disc before a dark gradient."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    grey = np.where(x * x + y * y < 0.4, 210, 60 + 40 * x)
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def open_session(path: Path, device: Device) -> tuple[Any, str]:
    """A session for the network in `path`, and a sentence saying where it runs and why.

    Raises:
        WeightsError: if the file is not there or is no network.
        DeviceError: if `device` is ``cuda`` and the network does not run there.
    """
    import onnxruntime

    if not path.is_file():
        raise WeightsError(f"there is no model file {path}; check the path")
    available = onnxruntime.get_available_providers()
    if device == "cuda" and "CUDAExecutionProvider" not in available:
        raise DeviceError(
            "device cuda needs the package onnxruntime-gpu in place of onnxruntime, and an NVIDIA driver; "
            f"the installed onnxruntime {onnxruntime.__version__} has only {', '.join(available)}"
        )
    if device == "cpu":
        return _session(path, _CPU), "runs on the CPU, as asked"
    chosen = next((provider for provider in _ACCELERATORS if provider in available), None)
    if chosen is None:
        return _session(path, _CPU), (
            "runs on the CPU: the installed onnxruntime has no GPU support (onnxruntime-gpu has, for NVIDIA)"
        )
    return _accelerated(path, chosen, required=device == "cuda")


def _accelerated(path: Path, provider: str, *, required: bool) -> tuple[Any, str]:
    """A session on `provider`, or on the CPU with a warning if it fails and is not required."""
    reason = "its libraries could not be loaded"
    try:
        session = _session(path, provider)
        if provider in session.get_providers():  # onnxruntime leaves out what fails, without a word
            return session, f"runs on {provider}"
    except WeightsError as error:
        reason = str(error.__cause__ and _first_line(error.__cause__))
    session = _session(path, _CPU)  # a file that is at fault itself fails here again
    if required:
        raise DeviceError(
            f"device cuda does not work with this onnxruntime ({reason}): check that its CUDA and cuDNN "
            "versions are installed, or take --device cpu"
        )
    warnings.warn(
        f"{provider} does not work here ({reason}); the network runs on the CPU, more slowly: "
        "check the driver and libraries, or take --device cpu to do without this warning",
        BGRemoveWarning,
        stacklevel=2,
    )
    return session, f"runs on the CPU, since {provider} does not work here ({reason})"


_sharing: contextvars.ContextVar[int | None] = contextvars.ContextVar("sharing", default=None)


@contextlib.contextmanager
def sharing_cores(threads: int = 0) -> Iterator[None]:
    """Networks that are opened inside it leave the cores to others as soon as they have nothing to do.

    ONNX Runtime's threads usually look for more work for a while, which is quickest for one picture at a
    time. With two at a time on two cores it took a fifth of the processor's time away from everything else.

    Args:
        threads: how many each network uses for one picture; 0 is one for each core. With 1, and as many
            pictures at once as there are cores, the shipped network does twice as many: it is too small
            for a second thread to help with.
    """
    before = _sharing.set(threads)
    try:
        yield
    finally:
        _sharing.reset(before)


def _session(path: Path, provider: str) -> Any:
    """An ``onnxruntime.InferenceSession`` that keeps quiet and is sparing with memory."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what matters comes as an exception
    # Planned memory patterns made a U-Net at 320 px peak at 401 MB in place of 242, no faster.
    options.enable_mem_pattern = False
    sharing = _sharing.get()
    if sharing is not None:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.intra_op_num_threads = sharing
    providers: list[Any] = [_CPU]
    if provider != _CPU:
        providers.insert(0, (provider, _ACCELERATORS[provider]))
    if provider == "CUDAExecutionProvider" and hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):  # stdout may be carrying a picture
            onnxruntime.preload_dlls()  # finds the CUDA libraries that pip installed
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except Exception as error:  # onnxruntime's errors have no common base of their own
        raise WeightsError(f"{path} cannot be used as an ONNX network: {_first_line(error)}") from error


def _sparing() -> Any:
    """Options to give the network's memory back at once: the steps to come on a large photo need it more.

    It costs some 20 ms, and leaves 80 MB in place of 195 after a U-Net at 320 px.
    """
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def _first_line(error: BaseException) -> str:
    """The telling part of onnxruntime's messages, ``[ONNXRuntimeError] : 1 : FAIL : telling part``."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rpartition(" : ")[2].strip().rstrip(".")

"""Robust Video Matting: people in videos, by a network that remembers the frames before.

The network looks for the person in the frame made smaller by the downsample ratio, then finds the
edges at full size, and gives the person's own colours with the matte. What it remembers are four
arrays, which it gives with each frame and gets back with the next; at the beginning of a scene they
are empty, zeros of shape (1, 1, 1, 1).

References:
    Lin, Yang, Saleemi and Sengupta, "Robust High-Resolution Video Matting with Temporal Guidance",
    WACV 2022, arXiv 2108.11515.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt
from pydantic import Field

from bgremove.arrays import Alpha, Image, check_image
from bgremove.errors import BGRemoveError, WeightsError
from bgremove.options import Params
from bgremove.removers.base import Device, Prediction, Remover, RemoverInfo
from bgremove.removers.onnx import open_session
from bgremove.weights import Weights, fetch_weights

SOUGHT = 512  # pixels, of the longer side of what the person is looked for in, as the authors advise
_STATES = ("r1", "r2", "r3", "r4")
_INPUTS = {"src", *(f"{name}i" for name in _STATES), "downsample_ratio"}
_OUTPUTS = {"fgr", "pha", *(f"{name}o" for name in _STATES)}
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_LEAST = 16  # pixels; the network halves what it looks at four times

Memory = list[npt.NDArray[Any]]


def rvm_release(file: str, sha256: str, size_mb: float) -> Weights:
    """`file` of the release in which the authors publish their networks.

    They give no digests; these are as several projects that use the files have written them down.
    """
    return Weights(
        f"https://github.com/PeterL1n/RobustVideoMatting/releases/download/v1.0.0/{file}",
        f"sha256:{sha256}",
        size_mb,
    )


class RvmParams(Params):
    """How a frame is given to the network, and what is taken from it."""

    downsample_ratio: float | None = Field(
        None,
        ge=0.05,
        le=1,
        description="How small, of the frame's size, the frame is made to look for the person; empty: "
        "512 px, longest side. The authors advise 0.25 for 1920x1080, 0.4 for whole bodies",
    )
    own_foreground: bool = Field(
        True, description="Take the person's colours from the network, in place of estimating them"
    )


class RvmRemover(Remover):
    """A network with the inputs and outputs of the published ONNX files, in 32 or 16 bits."""

    params: RvmParams

    @classmethod
    def create(
        cls, info: RemoverInfo, params: Params, *, device: Device = "auto", model_file: Path | None = None
    ) -> Self:
        """Fetch the file of a row of the table, and build its remover.

        Raises:
            WeightsError: if the file cannot be had, read or used.
            DeviceError: if `device` is ``cuda`` and the network does not run there.
        """
        if info.weights is None:
            raise WeightsError(f"{info.name} has no model file in the table; take rvm-mobilenetv3")
        path = fetch_weights(info.weights, name=info.name, model_file=model_file)
        session, note = open_session(path, device)
        return cls(cast(RvmParams, params), session, info.name, note)

    def __init__(self, params: RvmParams, session: Any, name: str = "rvm", note: str = "") -> None:
        """Use an open ``onnxruntime.InferenceSession``; `name` is for messages."""
        super().__init__(params)
        self._session, self._name, self.note = session, name, note
        inputs = {entry.name: entry.type for entry in session.get_inputs()}
        outputs = {entry.name for entry in session.get_outputs()}
        if set(inputs) != _INPUTS or not outputs >= _OUTPUTS or inputs["src"] not in _TYPES:
            raise WeightsError(
                f"{name} is not Robust Video Matting: expected inputs {', '.join(sorted(_INPUTS))} and "
                f"outputs {', '.join(sorted(_OUTPUTS))}, in 16- or 32-bit floats; got "
                f"{', '.join(sorted(inputs))} and "
                f"{', '.join(sorted(outputs))}: a network for single pictures goes as onnx:FILE"
            )
        self._dtype = _TYPES[inputs["src"]]

    @property
    def remembers(self) -> bool:
        """Always."""
        return True

    def predict_alpha(self, image: Image) -> Alpha:
        """Matte of the photo's height and width, nothing remembered.

        Raises:
            ImageError: if `image` is not an RGB image.
            BGRemoveError: if the network fails, or gives NaN.
        """
        return self.predict(image).alpha

    def predict(self, image: Image) -> Prediction:
        """The matte of a still, with the subject's own colours if they are asked for."""
        return self._run(image, self._nothing())[0]

    def follow(self) -> Callable[[Image], Prediction]:
        """For a video: what is seen in a frame is remembered for the next, until their size changes."""
        memory, size = self._nothing(), (0, 0)

        def predict(image: Image) -> Prediction:
            nonlocal memory, size
            if image.shape[:2] != size:
                memory, size = self._nothing(), image.shape[:2]
            prediction, memory = self._run(image, memory)
            return prediction

        return predict

    def ratio(self, height: int, width: int) -> float:
        """The downsample ratio for frames of this size."""
        if self.params.downsample_ratio is not None:
            # Never so small that nothing is left of the frame.
            return float(min(1.0, max(self.params.downsample_ratio, _LEAST / min(height, width))))
        return min(1.0, SOUGHT / max(height, width))

    def _nothing(self) -> Memory:
        return [np.zeros((1, 1, 1, 1), self._dtype) for _ in _STATES]

    def _run(self, image: Image, memory: Memory) -> tuple[Prediction, Memory]:
        height, width = check_image(image).shape[:2]
        seen = _padded(image)
        source = seen.transpose(2, 0, 1)[None].astype(self._dtype)
        source /= self._dtype(255)
        ratio = np.array([self.ratio(*seen.shape[:2])], np.float32)
        inputs = {"src": source, "downsample_ratio": ratio}
        inputs |= {f"{name}i": state for name, state in zip(_STATES, memory, strict=True)}
        wanted = ["pha", *(f"{name}o" for name in _STATES)]
        if self.params.own_foreground:
            wanted.append("fgr")
        try:
            answers = self._session.run(wanted, inputs)
        except Exception as error:  # onnxruntime's errors have no common base of their own
            reason = str(error).strip().partition("\n")[0]
            raise BGRemoveError(
                f"{self._name} failed on a frame of {width}x{height} pixels with downsample_ratio "
                f"{float(ratio[0]):.3g}: {reason}; another downsample_ratio, or a smaller size, may help"
            ) from error
        alpha = np.asarray(answers[0])[0, 0, :height, :width].astype(np.float32)
        if alpha.shape != (height, width) or not np.isfinite(alpha).all():
            raise BGRemoveError(
                f"{self._name} gave no usable matte for a frame of {width}x{height} pixels (shape "
                f"{np.asarray(answers[0]).shape}, or NaN in it); its file may be damaged"
            )
        foreground = None
        if self.params.own_foreground:
            planes = np.asarray(answers[5])[0, :, :height, :width].astype(np.float32)
            pixels = np.nan_to_num(planes).transpose(1, 2, 0) * np.float32(255)
            foreground = np.ascontiguousarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
        # The matte is made at the frame's own size: nothing of it is coarse.
        return Prediction(np.clip(alpha, 0, 1), 1.0, foreground=foreground), list(answers[1:5])


def _padded(image: Image) -> Image:
    """`image` with its last row and column repeated until it is large enough for the network."""
    height, width = image.shape[:2]
    extra = [(0, max(0, _LEAST - height)), (0, max(0, _LEAST - width)), (0, 0)]
    return np.pad(image, extra, mode="edge") if min(height, width) < _LEAST else image

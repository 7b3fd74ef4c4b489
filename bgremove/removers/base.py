"""The small interface that every remover implements, and what the table says of each."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, cast

import cv2

from bgremove.arrays import Alpha, Image, Trimap
from bgremove.errors import BGRemoveWarning, DeviceError, OptionError
from bgremove.options import Params
from bgremove.segments import Segments, SelectParams
from bgremove.weights import Weights

Device = Literal["auto", "cpu", "cuda"]
Kind = Literal["classical", "network", "detectron2"]


@dataclass(frozen=True)
class RemoverInfo:
    """What a menu, a README table and a test need, without loading the model.

    Attributes:
        target: ``module:class``, imported on first use.
        defaults: values of `params` that differ for this row (a network's input size, say).
        weights: the file it needs, or None.
        needs_file: True if the user must name a model file.
        steady: True if its mattes of a video's frames need no steadying.
        memory_gb: what it takes while it works, in gigabytes (10^9 bytes), where that is much.
    """

    name: str
    kind: Kind
    target: str
    params: type[Params]
    summary: str
    license: str
    paper: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    weights: Weights | None = None
    needs_file: bool = False
    memory_gb: float | None = None
    steady: bool = False


@dataclass(frozen=True, eq=False)
class Prediction:
    """A matte, and what else a remover knows of it.

    Attributes:
        alpha: (H, W) float32 in [0, 1].
        grain: photo pixels per pixel of the prediction, at least 1; see :meth:`Remover.grain`.
        segments: what the matte was joined from, from removers that find segments.
        note: for the user, why there is nothing in it; may be empty.
        foreground: (H, W, 3) uint8 RGB, the subject's own colours, from removers that estimate them.
    """

    alpha: Alpha
    grain: float = 1.0
    segments: Segments | None = None
    note: str = ""
    foreground: Image | None = None


class Remover(ABC):
    """Predicts an alpha matte from an RGB image. Built once, then used for many pictures.

    A remover is safe to use from several threads at once.

    Attributes:
        note: a sentence saying where it runs and why, for the user; may be empty.
    """

    note: str = ""

    @property
    def remembers(self) -> bool:
        """Does what :meth:`follow` gives depend on the frames before? Else frames may be done at once."""
        return False

    @classmethod
    def create(
        cls, info: RemoverInfo, params: Params, *, device: Device = "auto", model_file: Path | None = None
    ) -> Self:
        """Build the remover of a row of the table. Removers with weights override this.

        Raises:
            DeviceError: if `device` is ``cuda`` and this remover cannot use it.
            OptionError: if there is a model file and this remover has none.
        """
        if model_file is not None:
            raise OptionError(f"{info.name} has no model file; leave out {model_file}, or take another model")
        if device == "cuda":
            raise DeviceError(f"{info.name} runs on the CPU only; leave out --device or take --device cpu")
        return cls(params)

    def __init__(self, params: Params) -> None:
        self.params = params

    @abstractmethod
    def predict_alpha(self, image: Image) -> Alpha:
        """Matte of the same height and width as `image`, float32 in [0, 1].

        A picture without a subject gives zeros, never an error.
        """

    def predict(self, image: Image) -> Prediction:
        """:meth:`predict_alpha` and what else is known of it; removers that know more override this."""
        return Prediction(self.predict_alpha(image), self.grain(*image.shape[:2]))

    def follow(self) -> Callable[[Image], Prediction]:
        """What predicts the frames of one scene of a video, in order; a new scene needs a new one.

        What it remembers of the frames before is in it. Recurrent models override this, and those that
        can save work: the matte may be smaller than the frame, and then shows the same at less detail;
        the grain is always that of the frame.
        """
        return self.predict

    def predict_alphas(self, frames: Iterable[Image]) -> Iterator[Alpha]:
        """Mattes of the frames of one scene, in order, each of its frame's height and width."""
        predict = self.follow()
        for image in frames:
            alpha = predict(image).alpha
            yield alpha if alpha.shape == image.shape[:2] else enlarged(alpha, *image.shape[:2])

    def grain(self, height: int, width: int) -> float:
        """Photo pixels per pixel of the prediction, at least 1.

        The edge refinement's automatic width follows it: a mask made at a tenth of the photo's
        size is wrong by up to about ten pixels at its border.
        """
        return 1.0


class HintedRemover(Remover):
    """A remover that a user can point: with a rough mask, or with scribbles."""

    @abstractmethod
    def predict_alpha(self, image: Image, hint: Trimap | None = None) -> Alpha:
        """As :meth:`Remover.predict_alpha`; `hint` has 255 on the subject, 0 on the background."""


class SegmentRemover(Remover):
    """A remover that finds things one by one, of which the user can choose."""

    params: SelectParams

    @abstractmethod
    def find_segments(self, image: Image) -> Segments:
        """What is in `image`: everything as sure as the settings ask for, chosen or not."""

    def predict(self, image: Image) -> Prediction:
        """The matte of the chosen segments, with the grain of the coarsest."""
        return self.choose(self.find_segments(image))

    def choose(self, found: Segments) -> Prediction:
        """What the settings choose of what was found.

        Raises:
            OptionError: if they name a class that the model does not know.
        """
        chosen = found.select(self.params)
        note = "" if chosen.items else found.why_nothing(self.params)
        return Prediction(chosen.alpha(), chosen.grain, chosen, note)

    def predict_alpha(self, image: Image) -> Alpha:
        """Matte of the chosen segments; with nothing to choose from, zeros and a warning that says why."""
        return warned(self.predict(image))


def enlarged(alpha: Alpha, height: int, width: int) -> Alpha:
    """A smaller matte at (height, width), bilinear."""
    return cast(Alpha, cv2.resize(alpha, (width, height), interpolation=cv2.INTER_LINEAR))


def warned(prediction: Prediction) -> Alpha:
    """The matte, after a warning if there is a reason why nothing is in it."""
    if prediction.note:
        warnings.warn(f"the result is empty: {prediction.note}", BGRemoveWarning, stacklevel=3)
    return prediction.alpha

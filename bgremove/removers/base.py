"""The small interface that every remover implements, and what the table says of each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from bgremove.arrays import Alpha, Image, Trimap
from bgremove.errors import DeviceError, OptionError
from bgremove.options import Params
from bgremove.weights import Weights

Device = Literal["auto", "cpu", "cuda"]
Kind = Literal["classical", "network"]


@dataclass(frozen=True)
class RemoverInfo:
    """What a menu, a README table and a test need, without loading the model.

    Attributes:
        target: ``module:class``, imported on first use.
        defaults: values of `params` that differ for this row (a network's input size, say).
        weights: the file it needs, or None.
        needs_file: True if the user must name a model file.
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


class Remover(ABC):
    """Predicts an alpha matte from an RGB image. Built once, then used for many pictures.

    A remover is safe to use from several threads at once.

    Attributes:
        note: a sentence saying where it runs and why, for the user; may be empty.
    """

    note: str = ""

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

    def predict_alphas(self, frames: Iterable[Image]) -> Iterator[Alpha]:
        """Mattes of a video's frames, in order. Recurrent models override this."""
        return map(self.predict_alpha, frames)

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

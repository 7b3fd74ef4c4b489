"""Every setting of a training, declared once."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from bgremove.options import Params
from bgremove.training.registry import NETWORKS

_ADVANCED: dict[str, Any] = {"advanced": True}

Precision = Literal["auto", "float32", "bf16"]


class TrainParams(Params):
    """What is trained, how long, and how."""

    network: str = Field(
        "lite",
        description="; ".join(f"{row.name}: {row.summary}" for row in NETWORKS.values()),
        json_schema_extra={"names": [*NETWORKS]},
    )
    epochs: int = Field(20, ge=1, le=100_000, description="Rounds over the training pictures")
    batch_size: int = Field(16, ge=1, le=4096, description="Pictures a step, on each device")
    size: int = Field(256, ge=32, le=2048, description="Side of the square that the network sees, px")
    start_size: int = Field(
        0, ge=0, le=2048, description="Side in the first epoch, growing to --size; 0: always --size"
    )
    optimizer: Literal["adamw", "muon"] = Field(
        "adamw", description="muon needs a fraction of the epochs, and a little more time for each"
    )
    lr: float | None = Field(
        None, ge=0, le=10, description="Highest learning rate; without it 0.001 for adamw, 0.005 for muon"
    )
    weight_decay: float = Field(1e-2, ge=0, le=10, description="How weights shrink each step, times the rate")
    warmup: float = Field(0.03, ge=0, le=1, description="Share of all steps in which the rate rises")
    final_lr: float = Field(
        0.01, ge=0, le=1, description="Where the cosine ends, as a share of --lr", json_schema_extra=_ADVANCED
    )
    clip: float = Field(2.0, ge=0, le=1000, description="Longest gradient (norm); 0: not clipped")
    ema: float = Field(
        0.998, ge=0, lt=1, description="Decay of the moving average of the weights; 0: no average"
    )
    precision: Precision = Field(
        "auto", description="bf16 takes half the memory and time; auto: bf16 where it is quick"
    )
    workers: int = Field(0, ge=0, le=128, description="Processes that prepare pictures, for each device")
    patience: int = Field(
        0, ge=0, le=100_000, description="Stop after so many epochs without better validation IoU; 0: never"
    )
    epoch_images: int = Field(
        0, ge=0, description="Pictures an epoch, at random, in full batches; 0: as many as there are"
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Same seed, same training")
    threshold_masks: bool = Field(False, description="Make soft masks hard, at one half")
    devices: int = Field(
        0,
        ge=0,
        le=1024,
        description="GPUs; on the CPU, processes that share the cores; 0: all GPUs, or one process",
    )
    nodes: int = Field(1, ge=1, le=1024, description="Machines", json_schema_extra=_ADVANCED)
    cache: Literal["auto", "on", "off"] = Field(
        "auto", description="Keep all pictures decoded in files beside the results; auto: up to 8 GB in all"
    )
    timelapse: bool = Field(False, description="Write [input | truth | prediction] strips after each epoch")
    timelapse_samples: int = Field(4, ge=1, le=100, description="Validation pictures in the timelapse")

    @property
    def rate(self) -> float:
        """The highest learning rate: the one given, or the optimiser's usual one."""
        return {"adamw": 0.001, "muon": 0.005}[self.optimizer] if self.lr is None else self.lr


class LossParams(Params):
    """The terms of the loss, each with its weight in the sum; 0 leaves a term out."""

    bce: float = Field(1.0, ge=0, le=100, description="Weight of the binary cross-entropy")
    dice: float = Field(0.0, ge=0, le=100, description="Weight of the Dice loss")
    iou: float = Field(0.5, ge=0, le=100, description="Weight of the soft IoU loss")
    ssim: float = Field(0.0, ge=0, le=100, description="Weight of the structural similarity loss")
    boundary: float = Field(0.0, ge=0, le=100, description="Weight of the difference of Sobel edges")

    @model_validator(mode="after")
    def _some(self) -> LossParams:
        if not any(self.model_dump().values()):
            raise ValueError(
                "the loss has no term; give one of bce, dice, iou, ssim, boundary a weight above 0"
            )
        return self


class AugmentParams(Params):
    """How training pictures are varied; validation pictures never are."""

    flip: float = Field(0.5, ge=0, le=1, description="Share of pictures mirrored")
    rotate: float = Field(10.0, ge=0, le=180, description="Largest rotation, degrees")
    zoom: float = Field(
        2.0, ge=1, le=4, description="Largest enlargement, of half of the pictures; the part seen is random"
    )
    shrink: float = Field(1.35, ge=1, le=4, description="Largest shrinking, of the other half")
    stretch: float = Field(0.15, ge=0, le=1, description="Largest change of the width to height, as its log")
    colour: float = Field(1.0, ge=0, le=3, description="Strength of changes of light, contrast and colour")
    grey: float = Field(0.1, ge=0, le=1, description="Share of pictures made grey")
    swap: float = Field(
        0.0, ge=0, le=1, description="Share whose subject gets another picture's background, if both suit"
    )
    fill: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of those of which only the subject's shape stays, filled from a third picture",
    )
    degrade: float = Field(0.1, ge=0, le=1, description="Share blurred; as many get noise, and JPEG marks")

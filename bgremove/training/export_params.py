"""Settings of an export, declared once."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bgremove.options import Params

Storage = Literal["float32", "float16", "int8"]


class ExportParams(Params):
    """What is in the ONNX file, and how it is checked."""

    size: int | None = Field(
        None, ge=32, le=4096, description="Side of the square the network sees, px; empty: as in the training"
    )
    again: int | None = Field(
        None,
        ge=32,
        le=4096,
        description="Another side, px, at which it looks too: the mean is steadier, and takes twice as long",
    )
    weights: Storage = Field(
        "float32", description="How the weights are stored; it computes in float32, as quickly, all the same"
    )
    int8: bool = Field(
        False, description="Compute in 8-bit integers, calibrated by the training pictures of --data"
    )
    samples: int = Field(
        100, ge=1, le=100_000, description="Pictures of --data to calibrate by, and pictures to check with"
    )
    sharpness: float = Field(
        1.0,
        ge=0.25,
        le=8,
        description="Factor of the logits: above 1 makes what is nearly sure surer and leaves the border",
    )
    colours: float = Field(
        0.5,
        ge=0,
        le=2,
        description="Stored in the file: how much the colours of what was found help in doubt",
    )
    closer: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Stored in the file: look closer at a subject of less than this share of the picture",
    )
    note: str = Field("", description="Text kept in the file: its licence, its author, what it is for")

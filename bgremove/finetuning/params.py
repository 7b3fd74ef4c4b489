"""Every setting of a fine-tuning, declared once."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from bgremove.options import Params

_ADVANCED: dict[str, Any] = {"advanced": True}


class FinetuneParams(Params):
    """What is learnt, how long, and how."""

    steps: int = Field(1000, ge=1, le=10_000_000, description="Batches to learn from")
    batch_size: int = Field(2, ge=1, le=1024, description="Pictures a step")
    lr: float | None = Field(
        None,
        ge=1e-7,
        le=10,
        description="Highest learning rate; without it 0.00025 for each picture of a batch, and 0.00125 with "
        "--weights none",
    )
    classes: str = Field(
        "",
        description="What is learnt, with commas: which of the classes of a COCO file (empty: all); what the "
        "subject of masks is called (empty: subject)",
    )
    separate: bool = Field(
        False,
        description="Each separate region of a mask, of at least a thousandth of the picture, is a subject "
        "by itself; else a mask is one subject",
    )
    shorter_side: int | None = Field(
        None,
        ge=64,
        le=4096,
        description="Shorter side of what the network sees, px; empty: what its config says (640 to 800 in "
        "the zoo)",
    )
    evaluate_every: int = Field(200, ge=0, description="Steps between looks at val/; 0: only at the end")
    val_pictures: int = Field(100, ge=1, description="At most so many pictures of val/ are looked at")
    save_every: int = Field(200, ge=1, description="Steps between saved states, for --resume")
    warmup: float = Field(0.1, ge=0, le=1, description="Share of all steps in which the rate rises")
    freeze: int = Field(
        2, ge=0, le=5, description="Stages of the backbone that stay as they are", json_schema_extra=_ADVANCED
    )
    half: bool = Field(
        True, description="Half precision on a GPU: quicker, and less memory", json_schema_extra=_ADVANCED
    )
    workers: int = Field(2, ge=0, le=128, description="Processes that prepare pictures")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Same seed, same order of pictures")


FREE = frozenset({"workers", "evaluate_every", "val_pictures", "save_every"})
"""Settings that may differ when a fine-tuning goes on; the others make it what it is."""

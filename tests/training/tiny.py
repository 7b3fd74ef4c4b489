"""Trainings that take a second: networks of a few thousand weights, discs to find, the command with both.

``python -m tests.training.tiny train ...`` is ``bgremove train`` on one thread, with those networks known.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage
from torch import Tensor, nn
from torch.nn import functional as F

from bgremove.arrays import Image
from bgremove.training.augment import Grey
from bgremove.training.params import AugmentParams, LossParams, TrainParams
from bgremove.training.registry import NETWORKS, NetworkInfo
from bgremove.training.train import Trained, train
from tests.cli_helpers import environment


class Tiny(nn.Module):
    """Two scales; with batch normalisation, or without, so that a batch is no more than its pictures."""

    def __init__(self, norm: bool = True) -> None:
        super().__init__()
        self.fine = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8) if norm else nn.Identity(), nn.ReLU()
        )
        self.coarse = nn.Sequential(
            nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16) if norm else nn.Identity(), nn.ReLU()
        )
        self.heads = nn.ModuleList([nn.Conv2d(24, 1, 3, 1, 1), nn.Conv2d(16, 1, 3, 1, 1)])

    def forward(self, x: Tensor) -> list[Tensor]:
        fine = self.fine(x)
        coarse = self.coarse(fine)
        both = [fine, F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear")]
        import torch

        logits = self.heads[0](torch.cat(both, 1))
        if self.training:
            return [logits, self.heads[1](coarse)]
        return [F.interpolate(logits, size=x.shape[-2:], mode="bilinear")]


class Plain(Tiny):
    """Without normalisation."""

    def __init__(self) -> None:
        super().__init__(norm=False)


ROWS = {
    "tiny": NetworkInfo("tiny", "tests.training.tiny:Tiny", "For tests", 8),
    "plain": NetworkInfo("plain", "tests.training.tiny:Plain", "For tests, without normalisation", 8),
}


def disc(rng: np.random.Generator, size: int = 40, edge: float = 2.0) -> tuple[Image, Grey]:
    """A bright, soft-edged disc somewhere on a dark ground, and its matte."""
    row, column = rng.uniform(0.35 * size, 0.65 * size, 2)
    radius = rng.uniform(0.2, 0.32) * size
    rows, columns = np.mgrid[:size, :size].astype(float)
    alpha = np.clip((radius - np.hypot(rows - row, columns - column)) / edge + 0.5, 0, 1)
    ground, subject = rng.uniform(0, 80, 3), rng.uniform(170, 255, 3)
    image = ground + alpha[..., None] * (subject - ground) + rng.normal(0, 4, (size, size, 3))
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), np.rint(alpha * 255).astype(np.uint8)


def disc_data(folder: Path, train: int = 8, val: int = 4, size: int = 40) -> Path:
    """``folder`` with ``train`` and ``val``, every picture another disc."""
    rng = np.random.default_rng(0)
    for name, count in (("train", train), ("val", val)):
        for index in range(count):
            image, truth = disc(rng, size)
            for kind, array in (("images", image), ("masks", truth)):
                path = folder / name / kind / f"disc_{index:02d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                PILImage.fromarray(array).save(path)
    return folder


def params(**values: Any) -> TrainParams:
    """Three epochs of two steps, in float32, which gives the same bits again."""
    tiny = {"network": "tiny", "epochs": 3, "batch_size": 4, "size": 32, "lr": 0.02, "precision": "float32"}
    return TrainParams(**{**tiny, **values})


def run(data: Path, out: Path, *, said: list[str] | None = None, **values: Any) -> Trained:
    """A training in this process; `values` are settings of any group, or arguments of ``train``."""
    arguments = {name: values.pop(name) for name in ("resume", "pretrained") if name in values}
    loss = {name: values.pop(name) for name in LossParams.model_fields if name in values}
    augment = {name: values.pop(name) for name in AugmentParams.model_fields if name in values}
    trained = train(
        data, out, train=params(**values), loss=LossParams(**loss), augment=AugmentParams(**augment),
        quiet=True, say=(lambda _: None) if said is None else said.append, **arguments,
    )  # fmt: skip
    assert trained is not None
    return trained


FLAGS = (
    "--network", "tiny", "--epochs", "3", "--batch-size", "4", "--size", "32", "--lr", "0.02", "--precision",
    "float32",
)  # fmt: skip
"""What :func:`params` sets, for the command."""


def tiny_there(*args: str | Path, **options: Any) -> subprocess.Popen[str]:
    """The command with the small networks, as a process of its own that is under way."""
    command = [sys.executable, "-m", "tests.training.tiny", *map(str, args)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    one = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, env={**environment(), **one}, **{**pipes, **options})


if __name__ == "__main__":
    from bgremove.cli import main

    os.cpu_count = lambda: 1
    NETWORKS.update(ROWS)
    main()

"""``bgremove train``: a network from pictures and their masks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from bgremove.console import say
from bgremove.errors import OptionError
from bgremove.flags import SectionedCommand, given, params_options
from bgremove.options import split_settings
from bgremove.training.params import AugmentParams, LossParams, TrainParams

GROUPS = (TrainParams, LossParams, AugmentParams)
FOLDER = click.Path(path_type=Path, readable=False)


@click.command(cls=SectionedCommand, short_help="Train a network on pictures and masks.")
@click.option(
    "--data", type=FOLDER, required=True, metavar="FOLDER",
    help="Holds train/ and val/, each with images/ and masks/; bgremove data makes it",
)  # fmt: skip
@click.option(
    "-o", "--out", type=FOLDER, default=Path("runs/train"), metavar="FOLDER",
    help="Where checkpoints, curves and logs go  [default: runs/train]",
)  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with the training in --out, from its last finished epoch")
@click.option("--pretrained", type=FOLDER, metavar="CKPT", help="Start from the weights of a checkpoint")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress bars")
@params_options(TrainParams, "Training")
@params_options(LossParams, "Loss, a weighted sum of terms")
@params_options(AugmentParams, "Variation of the training pictures")
def train(data: Path, out: Path, resume: bool, pretrained: Path | None, quiet: bool, **values: Any) -> None:
    """Train a network on pictures and their masks.

    Soft masks are learnt as soft. OUT gets checkpoints/best.ckpt and last.ckpt, settings.json, history.csv,
    curves.png, TensorBoard's files and, with --timelapse, strips to watch it learn. After an interruption,
    the same command with --resume goes on as if there had been none.

    \b
    bgremove data zip pictures.zip -o data
    bgremove train --data data --out run --timelapse
    bgremove export run/checkpoints/best.ckpt -o mine.onnx
    bgremove remove photo.jpg --model onnx:mine.onnx
    """
    from bgremove.training.train import read_settings
    from bgremove.training.train import train as run

    chosen = given(values)
    parts = split_settings(chosen, *GROUPS)
    if resume:
        if pretrained is not None:
            raise OptionError("--resume goes on with the weights in --out; leave out --pretrained")
        if (out / "settings.json").exists():  # what is not said again stays as it was
            stored = read_settings(out)
            parts = [
                {**stored[name].model_dump(), **part}
                for name, part in zip(("train", "loss", "augment"), parts, strict=True)
            ]
    try:
        result = run(
            data,
            out,
            train=TrainParams(**parts[0]),
            loss=LossParams(**parts[1]),
            augment=AugmentParams(**parts[2]),
            resume=resume,
            pretrained=pretrained,
            spawn=False,
            quiet=quiet,
            say=say,
        )
    except (KeyboardInterrupt, SystemExit) as stopped:
        say("stopped; the same command with --resume goes on from the last finished epoch")
        sys.exit(130 if isinstance(stopped, KeyboardInterrupt) else 143)
    if result is not None:
        when = f"in epoch {result.epoch} of {result.epochs}"
        say(f"best validation IoU {result.iou:.4f}, {when}: {result.best}")
        say(f"next: bgremove export {result.best} -o network.onnx")

"""``bgremove finetune``: a published network learns a user's own subjects."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import click

from bgremove.console import say
from bgremove.errors import OptionError
from bgremove.finetuning.params import FinetuneParams
from bgremove.flags import SectionedCommand, given, params_options

FOLDER = click.Path(path_type=Path, readable=False)


@click.group(short_help="Teach a published network one's own subjects.")
def finetune() -> None:
    """Teach a published network one's own subjects.

    \b
    A Mask R-CNN of Detectron2's zoo:  bgremove finetune detectron2 --data data -o mine
    """


@finetune.command(cls=SectionedCommand, short_help="A Mask R-CNN of Detectron2's zoo.")
@click.option(
    "--data", type=FOLDER, required=True, metavar="FOLDER",
    help="Holds train/ and val/, each with images/ and masks/, or with images and annotations.json (COCO)",
)  # fmt: skip
@click.option(
    "-o", "--out", type=FOLDER, default=Path("runs/finetune"), metavar="FOLDER",
    help="Where the network, its config and the logs go  [default: runs/finetune]",
)  # fmt: skip
@click.option(
    "--config", default="", metavar="NAME",
    help="The network to start from: a name of the zoo, or a config file  [default: mask_rcnn_R_50_FPN_3x]",
)  # fmt: skip
@click.option(
    "--weights", metavar="FILE",
    help="Weights to start from, instead of those that the zoo has for the config; none: random ones",
)  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with the training in --out, from its last saved state")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", metavar="auto|cpu|cuda",
    help="Where it learns  [default: auto]",
)  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="Show no progress bar")
@params_options(FinetuneParams, "Training")
def detectron2(
    data: Path,
    out: Path,
    config: str,
    weights: str | None,
    resume: bool,
    device: Any,
    quiet: bool,
    **values: Any,
) -> None:
    """Teach a Mask R-CNN of Detectron2's zoo one's own subjects, with Detectron2's own trainer.

    OUT gets config.yaml and best.pth, which work in Detectron2 itself, too; best.jpg, what they find in
    pictures of val/; the last state, metrics.json, TensorBoard's files if that is installed, and log.txt.
    After Ctrl-C, the same command with --resume goes on as if there had been none.

    \b
    bgremove setup detectron2
    bgremove finetune detectron2 --data data -o mine
    bgremove remove photo.jpg --model detectron2:mine
    """
    from bgremove.finetuning.detectron2 import NOTHING, finetune, read_settings

    chosen = given(values)
    if resume:
        if weights is not None or config:
            what = "--config" if config else "--weights"
            raise OptionError(f"--resume goes on with the network in --out; leave out {what}")
        if (out / "settings.json").exists():  # what is not said again stays as it was
            chosen = {**read_settings(out).model_dump(), **chosen}
    start: Path | Literal["none"] | None = None
    if weights is not None:
        start = NOTHING if weights == NOTHING else Path(weights).expanduser()
    result = finetune(
        data,
        out,
        config or ("" if resume else "mask_rcnn_R_50_FPN_3x"),
        params=FinetuneParams(**chosen),
        weights=start,
        resume=resume,
        device=device,
        quiet=quiet,
        say=say,
    )
    if result.stopped:
        say(f"stopped after step {result.steps}; the same command with --resume goes on")
        sys.exit(130)
    say(f"best validation IoU {result.iou:.4f}, at step {result.step} of {result.steps}")
    say(f"next: bgremove remove PHOTO --model detectron2:{out}")

"""``bgremove export``: a trained network as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bgremove.flags import SectionedCommand, given, params_options
from bgremove.training.export_params import ExportParams

_PATH = click.Path(path_type=Path, readable=False)


@click.command(cls=SectionedCommand, short_help="Make an ONNX file of a trained network.")
@click.argument("checkpoint", metavar="CKPT", type=_PATH)
@click.option("-o", "--out", type=_PATH, required=True, metavar="FILE", help="FILE.onnx")
@click.option(
    "--data", type=_PATH, metavar="FOLDER",
    help="Holds train/ and val/: --int8 is calibrated by the one, and the file is checked with the other",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors")
@params_options(ExportParams, "The file")
def export(
    checkpoint: Path, out: Path, data: Path | None, overwrite: bool, quiet: bool, **values: Any
) -> None:
    """Make an ONNX file of a trained network.

    CKPT is a checkpoint of bgremove train. The file carries its size, mean and std, so that onnx:FILE needs
    no settings. It is compared with PyTorch before it is written: with --data on pictures of val/, where
    the IoU of both is told, too; without, on sample photos.

    --weights float16 halves the file and int8 quarters it, at the same speed. --int8 --data makes it as
    small, and quicker: it computes in integers.

    \b
    bgremove export run/checkpoints/best.ckpt -o mine.onnx
    bgremove export run/checkpoints/best.ckpt -o small.onnx --int8 --data data
    bgremove remove photo.jpg --model onnx:mine.onnx
    """
    from bgremove.console import say
    from bgremove.training.export import export as run

    tell = (lambda _: None) if quiet else say
    made = run(
        checkpoint,
        out,
        ExportParams(**given(values)),
        data=data,
        overwrite=overwrite,
        quiet=quiet,
        say=tell,
    )
    tell(f"wrote {made.sentence()}")
    tell(f"next: bgremove remove photo.jpg --model onnx:{out}")

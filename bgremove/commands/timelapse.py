"""``bgremove timelapse``: a training's strips as a GIF or a video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bgremove.flags import SectionedCommand, given, params_options
from bgremove.training.timelapse_params import TimelapseParams


@click.command(cls=SectionedCommand, short_help="Join a training's timelapse to a GIF or an MP4.")
@click.argument("run_dir", metavar="RUN_DIR", type=click.Path(readable=False, path_type=Path))
@click.option(
    "-o", "--out", required=True, type=click.Path(readable=False, path_type=Path), metavar="FILE",
    help="FILE.gif, or FILE.mp4 (needs the extra video)",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors")
@params_options(TimelapseParams)
def timelapse(run_dir: Path, out: Path, overwrite: bool, quiet: bool, **values: Any) -> None:
    """Join a training's timelapse to a GIF or an MP4.

    RUN_DIR is what a training with --timelapse wrote (its --out), or the folder timelapse in it. Each
    picture is an epoch: input, truth and prediction of each sample, the samples one above the other.
    """
    from bgremove.console import Progress, say
    from bgremove.training.timelapse import make_timelapse, read_strips

    params = TimelapseParams(**given(values))
    epochs = {epoch for files in read_strips(run_dir).values() for epoch in files}
    with Progress(len(epochs), out.name, quiet=quiet) as progress:
        made = make_timelapse(
            run_dir,
            out,
            **params.model_dump(),
            overwrite=overwrite,
            on_frame=lambda: progress.advance(0),
        )
    if not quiet:
        height, width = made.size
        shown = (
            f"{made.epochs} epoch{'s' * (made.epochs > 1)} of {made.samples} sample{'s' * (made.samples > 1)}"
        )
        say(f"wrote {made.path}: {shown}, {width} x {height} px, {made.seconds:g} s")

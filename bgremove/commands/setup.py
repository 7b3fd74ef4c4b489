"""``bgremove setup``: what a feature needs and pip alone cannot install."""

from __future__ import annotations

from pathlib import Path

import click


@click.group(short_help="Put in place what pip alone cannot: Detectron2.")
def setup() -> None:
    """Put in place what a feature needs and pip alone cannot install.

    \b
    Mask R-CNN and Panoptic FPN:  bgremove setup detectron2
    """


@setup.command(short_help="Detectron2, from its source, without a build.")
@click.option(
    "--archive", metavar="FILE", type=click.Path(path_type=Path),
    help="Its source as .tar.gz or .zip, instead of downloading it; for machines without internet",
)  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors")
def detectron2(archive: Path | None, quiet: bool) -> None:
    """Put Detectron2 in place, without a build, and import it once.

    Its source at one commit (1 MB) goes into the cache folder, after every file was checked. Missing
    packages are added with pip; no package that is there is changed. PyTorch and torchvision have to be
    there already. If a Detectron2 is installed, it is used as it is.
    """
    from bgremove.detectron2_source import setup_detectron2

    setup_detectron2(archive, quiet=quiet)

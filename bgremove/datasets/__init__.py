"""Where training data comes from: a table of sources, each a function that finds pairs.

``bgremove data SOURCE`` makes ``train/`` and ``val/`` with ``images/`` and ``masks/`` from any of them.
A new data set is one row here, and one function if its layout is of a new kind. Importing this table
loads no picture code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bgremove.datasets.params import CompositeParams, NoParams, OwnSplitParams
from bgremove.options import Params


@dataclass(frozen=True)
class Download:
    """Where a data set is published.

    Attributes:
        url: a zip.
        file: its name in the cache.
        page: where its authors describe it, to get it by hand.
        sha256: its digest, empty where none is known: then the download is not checked.
    """

    url: str
    file: str
    page: str
    sha256: str = ""


@dataclass(frozen=True)
class DataSource:
    """A row of the table.

    Attributes:
        name: the sub-command.
        summary: one line for the help.
        target: ``module:function`` that takes a :class:`~bgremove.datasets.sources.Request` and gives what
            it found; imported when used.
        argument: what its paths are called, empty if it takes none.
        params: settings that only this source has.
        download: the published zip, if it has an address.
        kaggle: its name on Kaggle, if it is fetched from there.
        license: under which terms its authors give it, empty for your own.
        paper: what to cite.
        defaults: defaults of the common settings that differ here.
    """

    name: str
    summary: str
    target: str
    argument: str = "PATH"
    params: type[Params] = NoParams
    download: Download | None = None
    kaggle: str = ""
    license: str = ""
    paper: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)


_ROWS = (
    DataSource(
        name="duts",
        summary="DUTS: 10,553 photos of salient objects (DUTS-TR) with drawn masks",
        target="bgremove.datasets.sources:by_folders",
        params=OwnSplitParams,
        download=Download(
            "http://saliencydetection.net/duts/download/DUTS-TR.zip",
            "DUTS-TR.zip",
            "http://saliencydetection.net/duts/",
        ),
        license="for research; its photos come from ImageNet and SUN",
        paper="Wang et al. 2017, Learning to Detect Salient Objects with Image-level Supervision",
    ),
    DataSource(
        name="p3m",
        summary="P3M-10k: 9,421 portraits with blurred faces and alpha mattes, 1,000 to validate on",
        target="bgremove.datasets.sources:by_folders",
        params=OwnSplitParams,
        download=Download(
            "https://drive.usercontent.google.com/download"
            "?id=1LqUU7BZeiq8I3i5KxApdOJ2haXm-cEv1&export=download&confirm=t",
            "P3M-10k.zip",
            "https://github.com/JizhiziLi/P3M",
        ),
        license="MIT, under an agreement that its page links to",
        paper="Li et al. 2021, Privacy-Preserving Portrait Matting",
    ),
    DataSource(
        name="aisegment",
        summary="AISegment: 34,000 half-length portraits, 600 x 800, with alpha mattes",
        target="bgremove.datasets.sources:aisegment",
        kaggle="laurentmih/aisegmentcom-matting-human-datasets",
        license="see https://github.com/aisegmentcn/matting_human_datasets",
        paper="AISegment 2019, Matting Human Datasets",
    ),
    DataSource(
        name="zip",
        summary="Zips that hold pictures and masks in two folders",
        target="bgremove.datasets.sources:by_folders",
        argument="FILE.zip",
        params=OwnSplitParams,
    ),
    DataSource(
        name="folder",
        summary="Folders of pictures and masks, images/ and masks/ or other names",
        target="bgremove.datasets.sources:by_folders",
        argument="FOLDER",
        params=OwnSplitParams,
    ),
    DataSource(
        name="composite",
        summary="Cut-outs (RGBA) put over backgrounds, at random places and sizes",
        target="bgremove.datasets.composites:composites",
        argument="",
        params=CompositeParams,
        defaults={"max_size": 1024},
    ),
)

SOURCES: dict[str, DataSource] = {row.name: row for row in _ROWS}
"""Every source by name, in the order of the help."""

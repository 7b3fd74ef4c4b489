"""The settings of a batch: where from, where to, how many at once."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bgremove.options import Params


class BatchParams(Params):
    """Who does the pictures, how many at once, and how their results are named."""

    engine: Literal["local", "ray"] = Field(
        "local", description="local: the cores of this machine; ray: a Ray cluster"
    )
    workers: int = Field(
        0,
        ge=0,
        le=4096,
        description="Pictures at a time; 0: as many as there are cores, or GPUs of a cluster",
    )
    address: str = Field(
        "", description="Of a running Ray cluster, auto or HOST:PORT; empty: one is made on this machine"
    )
    column: str = Field(
        "", description="Column of a list that names the pictures; empty: path, image, file, url or the like"
    )
    names: str = Field(
        "{folder}/{stem}",
        description="Names of results, from {folder} {stem} {suffix} {output} of the picture",
    )
    retry: bool = Field(False, description="Try again what failed in an earlier run of this batch")
    fresh: bool = Field(False, description="Forget the earlier runs of this batch, and begin anew")

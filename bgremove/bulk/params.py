"""How a batch is done."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bgremove.options import Params


class BatchParams(Params):
    """How many pictures are done at once, by whom, and what is listed of them."""

    engine: Literal["local", "ray"] = Field(
        "local", description="local: this machine's cores; ray: a Ray cluster, or workers made here"
    )
    workers: int = Field(0, ge=0, le=4096, description="Pictures at a time; 0: one for each core, or GPU")
    address: str = Field("", description="Of a running Ray cluster, as auto or HOST:PORT; empty: one made here")
    column: str = Field("", description="Column of a list that names the pictures; empty: path, image, file, url")
    name: str = Field("{folder}/{stem}", description="Names of results, from {folder} {stem} {suffix} {output}")
    retry: bool = Field(False, description="Try again what failed in an earlier run")

"""The table of removers: a new model is one row here (and one module if it is of a new kind)."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from bgremove.errors import OptionError, UnknownRemoverError
from bgremove.options import Params
from bgremove.removers.base import Device, Remover
from bgremove.removers.contour import ContourParams
from bgremove.removers.grabcut import GrabCutParams
from bgremove.weights import Weights

Kind = Literal["classical", "network"]


@dataclass(frozen=True)
class RemoverInfo:
    """What a menu, a README table and a test need, without loading the model.

    Attributes:
        target: ``module:class``, imported on first use.
        defaults: values of `params` that differ for this row (a network's input size, say).
        weights: the file it needs, or None.
        needs_file: True if the user must name a model file.
    """

    name: str
    kind: Kind
    target: str
    params: type[Params]
    summary: str
    license: str
    paper: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    weights: Weights | None = None
    needs_file: bool = False


_ROWS = (
    RemoverInfo(
        name="contour",
        kind="classical",
        target="bgremove.removers.contour:ContourRemover",
        params=ContourParams,
        summary="Edges, contours and an area filter: plain subjects on plain backgrounds, and to learn from",
        license="Apache-2.0",
        paper="Suzuki and Abe 1985; Canny 1986",
    ),
    RemoverInfo(
        name="grabcut",
        kind="classical",
        target="bgremove.removers.grabcut:GrabCutRemover",
        params=GrabCutParams,
        summary="Colour models and a graph cut: one clear subject, no download; box, mask or scribbles",
        license="Apache-2.0",
        paper="Rother, Kolmogorov and Blake 2004",
    ),
)

REMOVERS: dict[str, RemoverInfo] = {row.name: row for row in _ROWS}
"""Every remover by name, in the order of menus."""

ALIASES: dict[str, str] = {"auto": "grabcut"}
"""Other names; ``auto`` is what is used when nothing is asked for."""


def remover_info(name: str) -> RemoverInfo:
    """The row of remover `name`; ``onnx:FILE`` gives the ``onnx`` row.

    Raises:
        UnknownRemoverError: listing the nearest and all known names.
    """
    base = ALIASES.get(name, name).partition(":")[0]
    if base not in REMOVERS or (":" in name and not REMOVERS[base].needs_file):
        known = [*ALIASES, *REMOVERS]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UnknownRemoverError(f"unknown remover {name!r}; {hint}Known: {', '.join(known)}")
    return REMOVERS[base]


def remover_params(name: str, **settings: Any) -> Params:
    """The settings of remover `name`: its row's defaults with `settings` over them.

    Raises:
        OptionError: if a setting is unknown or out of range.
    """
    info = remover_info(name)
    return info.params(**{**info.defaults, **settings})


def create_remover(
    name: str = "auto",
    params: Params | None = None,
    device: Device = "auto",
    *,
    model_file: str | Path | None = None,
    **settings: Any,
) -> Remover:
    """Build a remover; do it once and use it for many pictures.

    Args:
        name: a name of the table, ``auto``, or ``onnx:FILE`` for a network of one's own.
        params: the remover's settings; instead, single ones can be given by name.
        device: ``auto`` takes the GPU where the remover and the machine have one.
        model_file: use this file instead of the cached or downloaded one; it must have the
            digest that the table gives.

    Raises:
        UnknownRemoverError, OptionError, WeightsError, DeviceError: each with one sentence.
    """
    info = remover_info(name)
    if params is None:
        params = remover_params(name, **settings)
    elif settings or not isinstance(params, info.params):
        raise OptionError(
            f"{name} takes params of type {info.params.__name__}, or settings by name, not both; "
            f"got {type(params).__name__}{' and ' + ', '.join(settings) if settings else ''}"
        )
    if ":" in name:
        if model_file is not None:
            raise OptionError(f"give the model file once: {name!r} names one, model_file another")
        info, model_file = replace(info, name=name), name.partition(":")[2]
    module, _, attribute = info.target.partition(":")
    remover: type[Remover] = getattr(importlib.import_module(module), attribute)
    return remover.create(
        info, params, device=device, model_file=None if model_file is None else Path(model_file)
    )

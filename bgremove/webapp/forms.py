"""What the page is built from: models, their settings, presets and limits, as JSON.

Everything comes from the declarations that the command line and the notebook's forms are made from, so that
a new model or setting is on the page without a line of JavaScript.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import bgremove
from bgremove.demo import SAMPLES
from bgremove.detectron2_source import detectron2_path
from bgremove.foreground import ForegroundParams
from bgremove.io import WriteParams
from bgremove.options import Params, Setting, settings
from bgremove.pipeline import OutputParams
from bgremove.refine import RefineParams
from bgremove.registry import REMOVERS, full_name, remover_info
from bgremove.removers.base import RemoverInfo
from bgremove.removers.grabcut import GrabCutParams
from bgremove.segments import SelectParams
from bgremove.weights import is_downloaded

if TYPE_CHECKING:
    from bgremove.webapp.config import ServeParams

KINDS = {
    "network": "Networks",
    "detectron2": "Find every subject (Detectron2)",
    "classical": "Without a network",
}
"""The kinds of removers as the page's menu names them, in its order."""

PICTURE_FORMATS = {"png": "PNG", "webp": "WebP", "jpeg": "JPEG"}
"""The files that the page offers."""

VIDEO_FORMATS = {
    "webm": {
        "title": "WebM",
        "help": "See-through and with its sound; plays in browsers.",
        "alpha": True,
        "sound": True,
    },
    "mp4": {
        "title": "MP4",
        "help": "Plays everywhere; nothing shows through.",
        "alpha": False,
        "sound": True,
    },
    "mov": {
        "title": "MOV",
        "help": "ProRes 4444, see-through, for editing programs; large.",
        "alpha": True,
        "sound": True,
    },
    "gif": {
        "title": "GIF",
        "help": "See-through with hard edges, 256 colours, no sound; for a few seconds.",
        "alpha": True,
        "sound": False,
    },
}
"""The files that the page offers of a video."""

_LEFT_OUT: dict[type[Params], tuple[str, ...]] = {
    GrabCutParams: ("hint_as",),  # no page gives a hint
    SelectParams: ("index",),  # chosen by clicking
}
_RESULT = ("background_fit", "blur_radius", "crop", "padding", "size")
_FILE = ("quality",)
_DECADES = 1000  # a range of that many times its beginning is easier on a logarithmic slider


def page_config(params: ServeParams) -> dict[str, Any]:
    """All that the page needs to build itself, ready for JSON.

    It has these entries:

    - ``models``: groups of a ``title`` and ``models``, each with ``name`` (shown), ``value`` (what a cut asks
      for; empty for the server's own), ``form``, ``summary``, ``license``, ``need`` (what must be downloaded,
      in words), ``available`` (False where it cannot work here) and ``segments`` (finds subjects one by one).
    - ``model``: the ``name`` of the one that is taken by itself.
    - ``forms``: by name, a model's ``fields`` and ``presets``, and under ``chooses`` the settings that a
      click on a subject takes the place of.
    - ``common``: groups of settings that all models share, each with ``title``, ``fields`` and ``presets``.
    - ``result``: the fields of what is made of a picture; ``formats``: the files that are offered.
    - ``video``: what is offered for videos, or None where none is taken: ``formats``, ``groups`` of
      further settings, and the limits ``megabytes``, ``seconds``, ``megapixels``.
    - ``live``: whether there is a live view.
    - ``limits``: ``megabytes``, ``megapixels``, ``pictures``, ``minutes``; ``samples``; ``version``.

    A field is a :class:`~bgremove.options.Setting` as a dictionary, with a ``label``. Paths of files and what
    the page does itself are left out.
    """
    known = [info for info in REMOVERS.values() if not info.needs_file]
    own = _own(params.model)
    rows = ([own] if own else []) + [_model(info) for info in known]
    return {
        "version": bgremove.__version__,
        "model": own["name"] if own else full_name(params.model),
        "models": [
            {"title": title, "models": [row for row in rows if row["kind"] == kind]}
            for kind, title in KINDS.items()
        ],
        "forms": {info.name: _form(info) for info in known if _form_name(info) == info.name},
        "common": [
            _group("Edges and clean-up", RefineParams),
            _group("Colours at the edges", ForegroundParams),
        ],
        "result": _fields(OutputParams, only=_RESULT) + _fields(WriteParams, only=_FILE),
        "formats": [{"name": name, "title": title} for name, title in PICTURE_FORMATS.items()],
        "video": _video(params),
        "live": params.live > 0,
        "limits": {
            "megabytes": params.max_upload_mb,
            "megapixels": params.max_megapixels,
            "pictures": params.pictures,
            "minutes": params.keep_minutes,
        },
        "samples": [{"name": one.name, "title": one.name.capitalize()} for one in SAMPLES if not one.strokes],
    }


def _video(params: ServeParams) -> dict[str, Any] | None:
    """What is offered for videos."""
    if not params.videos or find_spec("av") is None:
        return None
    from bgremove.video.temporal import SmoothParams

    return {
        "formats": [{"name": name, **words} for name, words in VIDEO_FORMATS.items()],
        "groups": [_group("Steadiness over time", SmoothParams)],
        "megabytes": params.video_mb,
        "seconds": params.video_seconds,
        "megapixels": params.video_megapixels,
    }


def label_of(name: str) -> str:
    """A setting's name as a label: ``canny_low`` as ``Canny low``."""
    return name.replace("_", " ").capitalize()


def need_of(info: RemoverInfo) -> str:
    """What a model needs before its first run, in words."""
    if not _runs_here(info):
        return "Not set up on this server: it needs Detectron2 (bgremove setup detectron2)"
    if info.weights is None:
        return "Nothing to download"
    much = f", {info.weights.size_text}" if info.weights.size_text else ""
    if info.weights.packaged:
        return f"Comes with the package{much}"
    return f"Ready{much}" if is_downloaded(info.weights) else f"Downloaded when it is first used{much}"


def _runs_here(info: RemoverInfo) -> bool:
    """Whether what a model is made with is there."""
    return info.kind != "detectron2" or (find_spec("torch") is not None and detectron2_path() is not None)


def _own(model: str) -> dict[str, Any] | None:
    """The row of the file that the server was started with; None if it was started with a known model."""
    file = full_name(model).partition(":")[2]
    if not file:
        return None
    info = remover_info(model)
    name = f"{PurePath(file.partition('@')[0]).name} (this server's own)"  # its folder is nobody's business
    return {**_model(info), "name": name, "value": "", "need": "Ready"}


def _model(info: RemoverInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "value": info.name,
        "kind": info.kind,
        "form": _form_name(info),
        "summary": info.summary,
        "license": info.license,
        "need": need_of(info),
        "available": _runs_here(info),
        "segments": issubclass(info.params, SelectParams),
    }


def _form_name(info: RemoverInfo) -> str:
    """The first model with the same settings and defaults: its form serves them all."""
    alike = (
        one.name
        for one in REMOVERS.values()
        if not one.needs_file and one.params is info.params and one.defaults == info.defaults
    )
    return next(alike)


def _form(info: RemoverInfo) -> dict[str, Any]:
    chooses = [
        name
        for name in SelectParams.model_fields
        if issubclass(info.params, SelectParams) and name != "min_score"
    ]
    group = _group("The model's own settings", info.params, info.defaults)
    return {**group, "chooses": chooses}


def _group(title: str, params: type[Params], defaults: Mapping[str, Any] | None = None) -> dict[str, Any]:
    fields = _fields(params, defaults)
    known = {field["name"] for field in fields}
    presets = [
        {"name": name, "title": name.replace("-", " ").capitalize(), "values": dict(values)}
        for name, values in params.presets.items()
        if set(values) <= known
    ]
    return {"title": title, "fields": fields, "presets": presets}


def _fields(
    params: type[Params], defaults: Mapping[str, Any] | None = None, only: Sequence[str] = ()
) -> list[dict[str, Any]]:
    left_out = {name for group, names in _LEFT_OUT.items() if issubclass(params, group) for name in names}
    start = params(**(defaults or {})).model_dump()
    return [
        _field(one)
        for one in settings(params, start)
        if one.name not in left_out and (not only or one.name in only)
    ]


def _field(one: Setting) -> dict[str, Any]:
    low, high = one.minimum, one.maximum
    return {
        "name": one.name,
        "label": label_of(one.name),
        "kind": one.kind,
        "default": one.default,
        "help": one.help,
        "minimum": low,
        "maximum": high,
        "logarithmic": bool(one.kind == "float" and low and high and high / low >= _DECADES),
        "choices": list(one.choices),
        "count": one.count,
        "advanced": one.advanced,
        "expected": one.expected,
    }

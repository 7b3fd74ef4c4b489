"""Background removal: cut a subject out of a photo, and put it over something else.

>>> import bgremove
>>> bgremove.remove("photo.jpg")                        # doctest: +SKIP
'photo_cutout.png'

Names are loaded when first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bgremove.api import RemovedInstance, predict_alpha, remove
    from bgremove.background import (
        blur_background,
        fit_background,
        parse_colour,
    )
    from bgremove.compositing import (
        composite,
        crop_to_subject,
        cutout,
    )
    from bgremove.errors import (
        BGRemoveError,
        BGRemoveWarning,
        DataError,
        DeviceError,
        ImageError,
        MissingExtraError,
        OptionError,
        OutputError,
        UnknownRemoverError,
        VideoError,
        WeightsError,
    )
    from bgremove.foreground import (
        ForegroundParams,
        estimate_foreground,
    )
    from bgremove.io import WriteParams, read_hint, read_image
    from bgremove.options import Params, settings
    from bgremove.pipeline import (
        Cut,
        OutputParams,
        Settings,
        cut,
        process,
        render,
    )
    from bgremove.refine import (
        RefineParams,
        guided_filter,
        refine_alpha,
    )
    from bgremove.registry import (
        REMOVERS,
        create_remover,
    )
    from bgremove.removers.base import Remover, RemoverInfo
    from bgremove.segments import Segment, Segments, SelectParams
    from bgremove.trimap import Box, alpha_to_trimap, bounding_box
    from bgremove.video.params import VideoSettings
    from bgremove.video.run import VideoProgress, VideoResult, cut_video, remove_video

_HOMES = {
    "REMOVERS": "registry",
    "BGRemoveError": "errors",
    "BGRemoveWarning": "errors",
    "Box": "trimap",
    "Cut": "pipeline",
    "DataError": "errors",
    "DeviceError": "errors",
    "ForegroundParams": "foreground",
    "ImageError": "errors",
    "MissingExtraError": "errors",
    "OptionError": "errors",
    "OutputError": "errors",
    "OutputParams": "pipeline",
    "Params": "options",
    "RefineParams": "refine",
    "RemovedInstance": "api",
    "Remover": "removers.base",
    "RemoverInfo": "removers.base",
    "Segment": "segments",
    "Segments": "segments",
    "SelectParams": "segments",
    "Settings": "pipeline",
    "UnknownRemoverError": "errors",
    "VideoError": "errors",
    "VideoProgress": "video.run",
    "VideoResult": "video.run",
    "VideoSettings": "video.params",
    "WeightsError": "errors",
    "WriteParams": "io",
    "alpha_to_trimap": "trimap",
    "blur_background": "background",
    "bounding_box": "trimap",
    "composite": "compositing",
    "create_remover": "registry",
    "crop_to_subject": "compositing",
    "cut": "pipeline",
    "cut_video": "video.run",
    "cutout": "compositing",
    "estimate_foreground": "foreground",
    "fit_background": "background",
    "guided_filter": "refine",
    "parse_colour": "background",
    "predict_alpha": "api",
    "process": "pipeline",
    "read_hint": "io",
    "read_image": "io",
    "refine_alpha": "refine",
    "remove": "api",
    "remove_video": "video.run",
    "render": "pipeline",
    "settings": "options",
}

__all__ = [
    "BGRemoveError",
    "BGRemoveWarning",
    "Box",
    "Cut",
    "DataError",
    "DeviceError",
    "ForegroundParams",
    "ImageError",
    "MissingExtraError",
    "OptionError",
    "OutputError",
    "OutputParams",
    "Params",
    "REMOVERS",
    "RefineParams",
    "RemovedInstance",
    "Remover",
    "RemoverInfo",
    "Segment",
    "Segments",
    "SelectParams",
    "Settings",
    "UnknownRemoverError",
    "VideoError",
    "VideoProgress",
    "VideoResult",
    "VideoSettings",
    "WeightsError",
    "WriteParams",
    "__version__",
    "alpha_to_trimap",
    "blur_background",
    "bounding_box",
    "composite",
    "create_remover",
    "crop_to_subject",
    "cut",
    "cut_video",
    "cutout",
    "estimate_foreground",
    "fit_background",
    "guided_filter",
    "parse_colour",
    "predict_alpha",
    "process",
    "read_hint",
    "read_image",
    "refine_alpha",
    "remove",
    "remove_video",
    "render",
    "settings",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__

"""The one call most people need: :func:`remove`; and its first step alone, :func:`predict_alpha`."""

from __future__ import annotations

import functools
import os
import warnings
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage

from bgremove.arrays import Alpha, Image, Trimap, check_image
from bgremove.compositing import Pixels
from bgremove.errors import BGRemoveWarning, ImageError, OptionError
from bgremove.io import (
    MAX_MEGAPIXELS,
    Source,
    check_name,
    encode,
    frame_from_array,
    output_format,
    write_bytes,
)
from bgremove.options import Params
from bgremove.pipeline import Output, Processed, Settings, process
from bgremove.registry import create_remover
from bgremove.removers.base import Device, Remover

S = TypeVar("S", bound=Source)


def remove(
    x: S,
    model: str | Remover = "auto",
    background: Any = "transparent",
    *,
    preset: str | None = None,
    device: Device = "auto",
    model_file: str | Path | None = None,
    hint: Trimap | None = None,
    to: str | Path | None = None,
    overwrite: bool = False,
    max_megapixels: float = MAX_MEGAPIXELS,
    **settings: Any,
) -> S:
    """Cut the subject out of a picture.

    Args:
        x: a path, the bytes of a file, a PIL image, or an array: uint8, uint16 or float from 0 to
            1, grey (H, W), RGB (H, W, 3) or RGBA (H, W, 4).
        model: a remover's name (``bgremove.REMOVERS``), ``onnx:FILE``, or a remover built with
            :func:`create_remover`, which is then reused.
        background: ``transparent``, ``blur``, a colour (``"white"``, ``"#fa0"``, ``(255, 170, 0)``) or a
            picture (path, bytes, PIL image, array).
        preset: a named set of settings.
        device: ``auto``, ``cpu`` or ``cuda``.
        model_file: the model's file, instead of the cached or downloaded one.
        hint: (H, W) uint8, 255 on the subject and 0 on the background, for removers that take one.
        to: where a path's result is written; by default beside it as ``STEM_cutout.png``.
        overwrite: may `to` be replaced?
        max_megapixels: larger pictures are refused.
        settings: any setting of the remover, the refinement, the output and the file, by name
            (``bgremove info MODEL`` lists them): ``edges="closed-form"``, ``output="alpha"``, ``crop=True``.

    Returns:
        The same kind as `x`. For a path, the path written; for bytes, those of a file (PNG unless
        ``format`` says otherwise); for an array, one of the same dtype: RGBA for a cut-out, RGB over
        an opaque background, (H, W) for ``alpha``, ``mask`` and ``trimap``.

    Raises:
        BGRemoveError: each with one sentence; see :mod:`bgremove.errors`.

    Example:
        >>> import numpy as np, bgremove
        >>> photo = np.full((60, 80, 3), 40, np.uint8)
        >>> photo[15:45, 20:60] = (250, 190, 30)
        >>> bgremove.remove(photo).shape
        (60, 80, 4)
    """
    plan = Settings.build(model, preset=preset, background=background, **settings)
    if len(plan.outputs) > 1:
        raise OptionError(f"output must be one name here, as 'alpha'; got {', '.join(plan.outputs)}")
    remover = model if isinstance(model, Remover) else _remover(model, plan.remover, device, model_file)
    target = _target(x, to, plan, overwrite=overwrite)
    done = process(x, remover, plan, hint=hint, max_megapixels=max_megapixels)
    for note in done.notes:
        warnings.warn(note, BGRemoveWarning, stacklevel=2)
    [output] = done.frames
    if isinstance(x, np.ndarray):
        return cast(S, _like(done.frames[output][0], x, output, plan))
    if isinstance(x, PILImage.Image):
        return cast(S, _pil(done, output, plan))
    data = encode(
        done.frames[output],
        output_format(target, plan.write.format),
        plan.write,
        done.metadata,
        durations=done.durations,
        loop=done.loop,
    )
    if target is None:
        return cast(S, data)
    write_bytes(target, data, overwrite=overwrite)
    return cast(S, str(target) if isinstance(x, str) else target)


def predict_alpha(
    image: Image, model: str | Remover = "auto", *, device: Device = "auto", **settings: Any
) -> Alpha:
    """The raw matte of an image, before any refinement.

    Args:
        image: (H, W, 3) uint8 RGB.
        model: a remover's name, or a remover.
        device: ``auto``, ``cpu`` or ``cuda``.
        settings: the remover's own settings by name.

    Returns:
        (H, W) float32 in [0, 1].

    Raises:
        BGRemoveError: each with one sentence; see :mod:`bgremove.errors`.
    """
    remover = model if isinstance(model, Remover) else create_remover(model, device=device, **settings)
    return remover.predict_alpha(check_image(image))


def _remover(name: str, params: Params, device: Device, model_file: str | Path | None) -> Remover:
    """The remover of that name, built again if the user's own model file has changed since."""
    own = model_file if model_file is not None else name.partition(":")[2]
    try:
        state = os.stat(own) if own else None
    except (OSError, ValueError):  # building it says why
        state = None
    return _cached(name, params, device, model_file, state and (state.st_mtime_ns, state.st_size))


@functools.lru_cache(maxsize=2)
def _cached(
    name: str, params: Params, device: Device, model_file: str | Path | None, _: tuple[int, int] | None
) -> Remover:
    """The last two removers built by name, so that a loop over pictures loads a network once."""
    return create_remover(name, params, device, model_file=model_file)


def _target(x: object, to: str | Path | None, plan: Settings, *, overwrite: bool) -> Path | None:
    """Where a path's result goes; None for other sources. Checked before the work is done."""
    if not isinstance(x, (str, os.PathLike)):
        if to is not None:
            raise OptionError("to= goes with a path; bytes, PIL images and arrays are returned")
        return None
    source = Path(x)
    [output] = plan.outputs
    extension = output_format(None, plan.write.format).extensions[0]
    target = Path(to) if to is not None else source.with_name(f"{source.stem}_{output}{extension}")
    if target.exists() and source.exists() and target.samefile(source):
        raise OptionError(f"{target} is the input itself; give another name")
    if target.exists() and not overwrite:
        raise OptionError(f"{target} exists; pass overwrite=True to replace it, or another to=")
    check_name(target, plan.write.format)
    if output_format(target, plan.write.format).alpha == "none" and plan.transparent(output):
        raise OptionError(f"{target.name} cannot hold transparency; pass background='white', or name it .png")
    return target


def _like(pixels: Pixels, x: npt.NDArray[Any], output: Output, plan: Settings) -> npt.NDArray[Any]:
    """`pixels` in the dtype of the array they came from, with its precision where it is untouched."""
    if x.dtype == np.uint8:
        return pixels
    top = 1 if x.dtype.kind == "f" else np.iinfo(x.dtype).max
    result = (pixels * (top / 255)).round(0 if top > 1 else 8).astype(x.dtype)
    original = frame_from_array(x).image
    same_frame = pixels.ndim == 3 and pixels.shape[:2] == x.shape[:2] and output != "trimap"
    if same_frame and not plan.output.size:
        colours = x.reshape(*x.shape[:2], -1)[..., : 3 if x.ndim == 3 and x.shape[2] > 2 else 1]
        untouched = (pixels[..., :3] == original).all(axis=2)
        result[..., :3][untouched] = np.broadcast_to(colours, original.shape)[untouched]
        if pixels.shape[2] == 4:
            result[..., :3][pixels[..., 3] == 0] = 0
    return result


def _pil(done: Processed, output: Output, plan: Settings) -> PILImage.Image:
    if len(done.durations) > 1:
        raise ImageError(
            "an animated PIL image cannot be returned as one image; pass its bytes or its path instead"
        )
    picture = PILImage.fromarray(done.frames[output][0])
    if plan.write.strip:
        return picture
    icc = done.metadata.icc if picture.mode != "L" else None  # a profile of RGB colours fits no grey
    info = {"icc_profile": icc, "dpi": done.metadata.dpi, "exif": done.metadata.exif}
    picture.info.update({key: value for key, value in info.items() if value})
    return picture

"""The one call most people need: :func:`remove`; and its first step alone, :func:`predict_alpha`."""

from __future__ import annotations

import contextlib
import functools
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, cast, overload

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage

from bgremove.arrays import Alpha, Image, Trimap, check_image
from bgremove.batch import earlier_instances, instance_path
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
from bgremove.pipeline import Processed, Settings, Wanted, process
from bgremove.registry import create_remover
from bgremove.removers.base import Device, Remover
from bgremove.trimap import Box

S = TypeVar("S", bound=Source)


@dataclass(frozen=True, eq=False)
class RemovedInstance(Generic[S]):
    """One subject of a picture, cut out by itself: what ``output="instances"`` gives a list of.

    Attributes:
        label: what it is.
        score: how sure the model is, 0 to 1; None for stuff.
        box: where it is in the photo.
        result: what :func:`remove` would return if it were the only subject.
    """

    label: str
    score: float | None
    box: Box
    result: S


@overload
def remove(
    x: S,
    model: str | Remover = ...,
    background: Any = ...,
    *,
    output: Literal["instances"],
    preset: str | None = ...,
    device: Device = ...,
    model_file: str | Path | None = ...,
    hint: Trimap | None = ...,
    to: str | Path | None = ...,
    overwrite: bool = ...,
    max_megapixels: float = ...,
    **settings: Any,
) -> list[RemovedInstance[S]]: ...


@overload
def remove(
    x: S,
    model: str | Remover = ...,
    background: Any = ...,
    *,
    preset: str | None = ...,
    device: Device = ...,
    model_file: str | Path | None = ...,
    hint: Trimap | None = ...,
    to: str | Path | None = ...,
    overwrite: bool = ...,
    max_megapixels: float = ...,
    **settings: Any,
) -> S: ...


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
) -> S | list[RemovedInstance[S]]:
    """Cut the subject out of a picture.

    Args:
        x: a path, the bytes of a file, a PIL image, or an array: uint8, uint16 or float from 0 to
            1, grey (H, W), RGB (H, W, 3) or RGBA (H, W, 4).
        model: a remover's name (``bgremove.REMOVERS``), ``onnx:FILE``,
            ``detectron2:CONFIG.yaml@WEIGHTS``, or a remover built with :func:`create_remover`, which is
            then reused.
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
        an opaque background, (H, W) for ``alpha``, ``mask`` and ``trimap``. With
        ``output="instances"`` a list with one :class:`RemovedInstance` for every subject; for a path,
        each is a file, named ``STEM_instance_01_person.png`` and so on.

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
    if len(plan.wanted) > 1:
        raise OptionError(f"output must be one name here, as 'alpha'; got {', '.join(plan.wanted)}")
    remover = model if isinstance(model, Remover) else _remover(model, plan.remover, device, model_file)
    target = _target(x, to, plan, overwrite=overwrite)
    done = process(x, remover, plan, hint=hint, max_megapixels=max_megapixels)
    for note in done.notes:
        warnings.warn(note, BGRemoveWarning, stacklevel=2)
    [output] = plan.wanted
    if output != "instances":
        return _result(x, done, done.frames[output], output, plan, target, overwrite=overwrite)
    return [
        RemovedInstance(
            one.label,
            one.score,
            one.box,
            _result(
                x,
                done,
                [one.pixels],
                output,
                plan,
                target and instance_path(target, one),
                overwrite=overwrite,
            ),
        )
        for one in done.instances
    ]


def _result(
    x: S,
    done: Processed,
    frames: list[Pixels],
    output: Wanted,
    plan: Settings,
    target: Path | None,
    *,
    overwrite: bool,
) -> S:
    """The pictures as what `x` was; a path's are written to `target`."""
    if isinstance(x, np.ndarray):
        return cast(S, _like(frames[0], x, output, plan))
    if isinstance(x, PILImage.Image):
        return cast(S, _pil(done, frames, plan))
    data = encode(
        frames,
        output_format(target, plan.write.format),
        plan.write,
        done.metadata,
        durations=done.durations,
        loop=done.loop,
    )
    if target is None:
        return cast(S, data)
    if isinstance(x, (str, os.PathLike)) and target.exists() and target.samefile(x):
        raise OptionError(f"{target} is the input itself; give another name")
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
    own = str(model_file) if model_file is not None else name.partition(":")[2]
    states: list[tuple[int, int]] = []
    for path in {own, *own.split("@")}:  # a config and its weights are CONFIG@WEIGHTS
        with contextlib.suppress(OSError, ValueError):  # building it says why
            state = os.stat(path)
            states.append((state.st_mtime_ns, state.st_size))
    return _cached(name, params, device, model_file, tuple(sorted(states)))


@functools.lru_cache(maxsize=2)
def _cached(
    name: str, params: Params, device: Device, model_file: str | Path | None, _: tuple[tuple[int, int], ...]
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
    [output] = plan.wanted
    extension = output_format(None, plan.write.format).extensions[0]
    ending = "instance" if output == "instances" else output
    target = Path(to) if to is not None else source.with_name(f"{source.stem}_{ending}{extension}")
    if output == "instances":
        target = target if to is None else target.with_name(f"{target.stem}_{ending}{target.suffix}")
        for earlier in () if overwrite else earlier_instances(target):
            raise OptionError(f"{earlier} exists; pass overwrite=True to replace it, or another to=")
    if target.exists() and source.exists() and target.samefile(source):
        raise OptionError(f"{target} is the input itself; give another name")
    if target.exists() and not overwrite:
        raise OptionError(f"{target} exists; pass overwrite=True to replace it, or another to=")
    check_name(target, plan.write.format)
    if output_format(target, plan.write.format).alpha == "none" and plan.transparent(output):
        raise OptionError(f"{target.name} cannot hold transparency; pass background='white', or name it .png")
    return target


def _like(pixels: Pixels, x: npt.NDArray[Any], output: Wanted, plan: Settings) -> npt.NDArray[Any]:
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


def _pil(done: Processed, frames: list[Pixels], plan: Settings) -> PILImage.Image:
    if len(done.durations) > 1:
        raise ImageError(
            "an animated PIL image cannot be returned as one image; pass its bytes or its path instead"
        )
    picture = PILImage.fromarray(frames[0])
    if plan.write.strip:
        return picture
    icc = done.metadata.icc if picture.mode != "L" else None  # a profile of RGB colours fits no grey
    info = {"icc_profile": icc, "dpi": done.metadata.dpi, "exif": done.metadata.exif}
    picture.info.update({key: value for key, value in info.items() if value})
    return picture

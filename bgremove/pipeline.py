"""One picture, from what it is to what is wanted: remover, refinement, colours, output."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from bgremove.arrays import Alpha, Image, Trimap, check_alpha
from bgremove.background import Background, Fit, blur_background, parse_background
from bgremove.compositing import (
    Pixels,
    alpha_to_bytes,
    composite,
    limit_size,
    parse_padding,
    subject_box,
)
from bgremove.errors import OptionError
from bgremove.foreground import ForegroundParams, estimate_foreground
from bgremove.io import MAX_MEGAPIXELS, Frame, Metadata, Picture, Source, WriteParams, open_picture
from bgremove.options import Params, split_settings
from bgremove.refine import RefineParams, edge_radius, refine_alpha
from bgremove.registry import create_remover, full_name, remover_class, remover_info
from bgremove.removers.base import Device, HintedRemover, Prediction, Remover, SegmentRemover
from bgremove.segments import Segment, Segments
from bgremove.trimap import Box, alpha_to_trimap, bounding_box

Output = Literal["cutout", "mask", "alpha", "composite", "trimap", "crop"]
"""What one picture becomes one picture of."""
Wanted = Literal[Output, "instances"]
"""What can be asked for: instances are a picture each of every subject."""


class OutputParams(Params):
    """What is made of the subject."""

    output: tuple[Wanted, ...] | None = Field(
        None,
        description="What to make; several with commas. Without it: the composite if there is a "
        "background, else the cutout. mask,alpha,cutout together are named _mask_binary, _mask_soft "
        "and _foreground; instances are a file each of every subject, by models that tell them apart",
    )
    background: str = Field("transparent", description="transparent, a colour, a picture's path, or blur")
    background_fit: Fit = Field("cover", description="How a background picture fills the frame")
    blur_radius: float = Field(
        0.0, ge=0, le=500, description="Blur of the background (sigma), px; 0 goes by the photo's size"
    )
    crop: bool = Field(False, description="Cut every output to the subject")
    padding: str = Field("0", description="Room around the subject when cutting: px (10) or per cent (5%)")
    size: str = Field("", description="Make results fit 1024 (longest side) or 800x600; never enlarges")

    def model_post_init(self, _: Any) -> None:
        parse_padding(self.padding, 1)
        limit_size(np.zeros((1, 1), np.uint8), self.size)


@dataclass(frozen=True)
class Settings:
    """All that a run needs besides its pictures; every door builds it the same way.

    Attributes:
        model: the remover's name.
        remover, refine, foreground, output, write: the validated groups.
        background: read once.
    """

    model: str
    remover: Params
    refine: RefineParams
    foreground: ForegroundParams
    output: OutputParams
    write: WriteParams
    background: Background

    @classmethod
    def build(
        cls,
        model: str | Remover = "auto",
        *,
        preset: str | None = None,
        background: Any = None,
        **values: Any,
    ) -> Self:
        """Sort flat settings into their groups and validate them.

        Args:
            model: a remover's name; or a remover, whose own settings are then not to be given.
            preset: a preset of the remover or of the refinement; `values` win over it.
            background: anything :func:`~bgremove.background.parse_background` takes.
            values: settings by name.

        Raises:
            UnknownRemoverError, OptionError, ImageError: with one sentence.
        """
        if isinstance(background, str):
            values["background"] = background
        name, remover, (refine, foreground, output, write) = sort_settings(
            model, preset, values, ForegroundParams, OutputParams, WriteParams
        )
        options = OutputParams(**output)
        if "instances" in (options.output or ()) and not _tells_apart(model):
            raise OptionError(
                f"instances need a model that tells subjects apart, as mask_rcnn_R_50_FPN_3x; {name} finds "
                "all in one"
            )
        return cls(
            model=name,
            remover=remover,
            refine=RefineParams(**refine),
            foreground=ForegroundParams(**foreground),
            output=options,
            write=WriteParams(**write),
            background=parse_background(
                options.background if background is None else background,
                fit=options.background_fit,
                blur_radius=options.blur_radius,
            ),
        )

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        """What is asked for, or what the background implies."""
        asked = self.output.output
        if asked is None:
            return ("cutout",) if self.background.kind == "transparent" else ("composite",)
        if "composite" in asked and self.background.kind == "transparent":
            raise OptionError("a composite needs a background; give one (--background white)")
        return tuple(dict.fromkeys(asked))

    @property
    def outputs(self) -> tuple[Output, ...]:
        """Of what is wanted, that which is one picture; all but the instances."""
        return tuple(output for output in self.wanted if output != "instances")

    @property
    def instances(self) -> bool:
        """Is every subject wanted by itself?"""
        return "instances" in self.wanted

    def transparent(self, output: Wanted) -> bool:
        """Can this output have see-through pixels?"""
        if output == "cutout":
            return True
        return output in ("composite", "crop", "instances") and not self.background.opaque

    def crops(self, output: Output) -> bool:
        """Is this output cut to the subject?"""
        return self.output.crop or output == "crop"

    def create_remover(self, device: Device = "auto", model_file: Any = None) -> Remover:
        """The remover these settings are for; see :func:`bgremove.create_remover`."""
        return create_remover(self.model, self.remover, device, model_file=model_file)


def sort_settings(
    model: str | Remover, preset: str | None, values: Mapping[str, Any], *groups: type[Params]
) -> tuple[str, Params, list[dict[str, Any]]]:
    """Flat settings by what they belong to.

    Args:
        model: a remover's name, or a remover.
        preset: a preset of the remover or of the refinement; `values` win over it.
        groups: besides the remover's own settings and the refinement's.

    Returns:
        The remover's name, its settings, and the values of the refinement and of each of `groups`.

    Raises:
        UnknownRemoverError, OptionError: with one sentence.
    """
    name, params, defaults = _whose(model)
    remover, refine, *others = split_settings(values, params, RefineParams, *groups)
    if isinstance(model, Remover) and remover:
        raise OptionError(
            f"{', '.join(remover)} belong to the remover, which is built already; build another with "
            "create_remover"
        )
    if preset is not None:
        if preset in params.presets:
            remover = {**params.presets[preset], **remover}
        elif preset in RefineParams.presets:
            refine = {**RefineParams.presets[preset], **refine}
        else:
            known = ", ".join([*params.presets, *RefineParams.presets])
            raise OptionError(f"unknown preset {preset!r} for {name}; known: {known}")
    settings = model.params if isinstance(model, Remover) else params(**{**defaults, **remover})
    return name, settings, [refine, *others]


def _whose(model: str | Remover) -> tuple[str, type[Params], Mapping[str, Any]]:
    """A remover's name, the type of its settings, and its row's defaults."""
    if isinstance(model, Remover):
        return type(model).__name__, type(model.params), {}
    info = remover_info(model)
    return full_name(model), info.params, info.defaults


def _tells_apart(model: str | Remover) -> bool:
    """Whether a remover finds subjects one by one; known before it is built."""
    kind = type(model) if isinstance(model, Remover) else remover_class(remover_info(model))
    return issubclass(kind, SegmentRemover)


@dataclass(frozen=True)
class Cut:
    """A subject, separated.

    Attributes:
        image: (H, W, 3) uint8 RGB, the photo.
        alpha: (H, W) float32 in [0, 1], the final matte.
        foreground: (H, W, 3) uint8 RGB, the subject's own colours.
        band: half the width of what the trimap leaves unknown, pixels.
        segments: what the matte was joined from, from removers that find segments.
        note: for the user, why there is nothing in it; may be empty.
    """

    image: Image
    alpha: Alpha
    foreground: Image
    band: int
    segments: Segments | None = None
    note: str = ""

    @property
    def empty(self) -> bool:
        """True if there is no subject to see, also none to crop to."""
        return bounding_box(self.alpha) is None


def cut(frame: Frame, remover: Remover, settings: Settings, *, hint: Trimap | None = None) -> Cut:
    """Separate the subject of one picture.

    A picture's own transparency is kept: the matte is multiplied by it.

    Args:
        frame: the picture.
        remover: predicts the raw matte.
        settings: of these, the refinement's and the foreground's are used.
        hint: (H, W) uint8, 255 on the subject and 0 on the background, for removers that take one.

    Raises:
        OptionError: if there is a hint and the remover takes none.
    """
    seen = _seen(frame)
    prediction = _predict(remover, seen, hint)
    grain, segments, note = prediction.grain, prediction.segments, prediction.note
    raw, own = [prediction.alpha], prediction.foreground
    del prediction
    # The raw matte has no name here, so that it can go as soon as the refinement has its copy.
    result = _refined(frame, seen, raw, grain, settings, own)
    return dataclasses.replace(result, segments=segments, note=note)


def cut_instances(frame: Frame, segments: Segments, settings: Settings) -> Iterator[tuple[Segment, Cut]]:
    """Each segment of one picture by itself, with the refinement that its own mask needs.

    Args:
        frame: the picture.
        segments: what was chosen in it (:attr:`Cut.segments`).
        settings: as for :func:`cut`.
    """
    seen = _seen(frame)
    for one in segments.items:
        yield one, _refined(frame, seen, [one.mask.astype(np.float32)], one.grain, settings)


def _seen(frame: Frame) -> Image:
    """What a remover sees: the picture, grey where it is transparent, since what lies there is noise."""
    if frame.alpha is None:
        return frame.image
    return composite(frame.image, np.full_like(frame.image, 128), frame.alpha)


def _refined(
    frame: Frame,
    seen: Image,
    raw: list[Alpha],
    grain: float,
    settings: Settings,
    own: Image | None = None,
) -> Cut:
    """The subject from the raw matte that `raw` holds, which is taken out of it.

    `own` are its colours where the remover knows them.
    """
    image = frame.image
    alpha = refine_alpha(seen, raw.pop(), settings.refine, grain=grain)
    method = settings.foreground.foreground
    foreground = own if own is not None else image
    if own is None and method != "none":
        foreground = estimate_foreground(image, alpha, method)
    if frame.alpha is not None:
        alpha = alpha * frame.alpha
    return Cut(image, alpha, foreground, edge_radius(alpha, grain))


def _predict(remover: Remover, image: Image, hint: Trimap | None) -> Prediction:
    if hint is None:
        prediction = remover.predict(image)
    elif isinstance(remover, HintedRemover):
        prediction = Prediction(remover.predict_alpha(image, hint), remover.grain(*image.shape[:2]))
    else:
        raise OptionError("this remover takes no hint; leave it out, or use one that does (grabcut)")
    return dataclasses.replace(prediction, alpha=check_alpha(prediction.alpha, image.shape))


def render(result: Cut, output: Output, settings: Settings, *, window: Box | None = None) -> Pixels:
    """One output of a separated subject, (H, W), (H, W, 3) or (H, W, 4) uint8.

    Args:
        result: the separated subject.
        output: what to make of it.
        settings: of these, the output's and the background are used.
        window: where to cut, if anything is to be cut; the subject and its padding by default.
    """
    background = settings.background
    if settings.crops(output):
        box = window or subject_box(result.alpha, settings.output.padding)
        if background.kind == "blur" and output in ("composite", "crop"):
            # Its surroundings count, also those that are cut away.
            blurred = blur_background(result.image, result.alpha, background.blur_radius)
            background = Background("picture", picture=_part(blurred, box), fit="stretch")
        result = dataclasses.replace(
            result,
            image=_part(result.image, box),
            alpha=_part(result.alpha, box),
            foreground=_part(result.foreground, box),
        )
    match output:
        case "mask":
            pixels: Pixels = np.where(result.alpha > 0.5, np.uint8(255), np.uint8(0))
        case "alpha":
            pixels = alpha_to_bytes(result.alpha)
        case "trimap":
            pixels = alpha_to_trimap(result.alpha, result.band)
        case "cutout":
            pixels = Background().under(result.image, result.foreground, result.alpha)
        case "composite" | "crop":
            pixels = background.under(result.image, result.foreground, result.alpha)
    return limit_size(pixels, settings.output.size, soft=output not in ("mask", "trimap"))


def _part(array: npt.NDArray[Any], box: Box) -> npt.NDArray[Any]:
    return np.ascontiguousarray(array[box.top : box.bottom, box.left : box.right])


@dataclass(frozen=True, eq=False)
class Instance:
    """One subject of a picture, by itself.

    Attributes:
        number: from 1, in the order of :attr:`Segments.items`.
        label: what it is.
        score: how sure the model is, 0 to 1; None for stuff.
        box: where it is in the photo.
        pixels: the subject alone over the background: (H, W, 3) or, over a transparent one, (H, W, 4) uint8.
    """

    number: int
    label: str
    score: float | None
    box: Box
    pixels: Pixels


def instances_of(frame: Frame, result: Cut, settings: Settings) -> tuple[Instance, ...]:
    """Every subject of a picture by itself, but those that the refinement leaves nothing of."""
    found = cut_instances(frame, result.segments or Segments(*result.alpha.shape), settings)
    pictures = (
        (segment, render(single, "composite", settings)) for segment, single in found if not single.empty
    )
    return tuple(
        Instance(number, segment.label, segment.score, segment.box, pixels)
        for number, (segment, pixels) in enumerate(pictures, 1)
    )


def _cuts(
    picture: Picture, remover: Remover, settings: Settings, hint: Trimap | None
) -> Iterator[tuple[Cut, tuple[Instance, ...], float]]:
    """The subject of each frame, every subject by itself if that is wanted, and how long it is shown."""
    for frame in picture:
        result, duration = cut(frame, remover, settings, hint=hint), frame.duration
        instances = instances_of(frame, result, settings) if settings.instances else ()
        result = dataclasses.replace(result, segments=None)
        del frame
        if settings.background.kind != "blur":
            # Nothing looks at the photo any more: let it go before the results need room.
            result = dataclasses.replace(result, image=result.foreground)
        yield result, instances, duration


@dataclass(frozen=True)
class Processed:
    """All outputs of a file: one frame each for a still, more for an animation.

    Attributes:
        frames: per output, its pictures.
        durations: milliseconds a frame.
        coverage: the subject's share of the (first) picture, 0 to 1.
        notes: sentences the user should see.
        instances: every subject by itself, if that was asked for.
    """

    frames: Mapping[Output, list[Pixels]]
    durations: list[float]
    loop: int
    metadata: Metadata
    coverage: float
    notes: tuple[str, ...]
    instances: tuple[Instance, ...] = ()


def process(
    source: Source | Picture,
    remover: Remover,
    settings: Settings,
    *,
    hint: Trimap | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
    name: str = "",
) -> Processed:
    """All outputs of one file or array; animations frame by frame.

    Args:
        source: anything :func:`~bgremove.io.open_picture` takes, or what it gives.
        remover: predicts the raw mattes.
        settings: what is done after it, and which outputs are made.
        hint: as for :func:`cut`.
        max_megapixels: larger pictures are refused.
        name: what messages call the source; a path's own name by default.

    Raises:
        BGRemoveError: any of the steps' errors, each with one sentence.
    """
    frames: dict[Output, list[Pixels]] = {output: [] for output in settings.outputs}
    durations, coverage, empty, why = [], 0.0, 0, ""
    instances: tuple[Instance, ...] = ()
    picture = source
    if not isinstance(picture, Picture):
        picture = open_picture(picture, max_megapixels=max_megapixels, name=name)
    with picture:
        if settings.instances and picture.frames > 1:
            raise OptionError(f"{picture.name} is animated; instances are made of still pictures only")
        results: Iterable[tuple[Cut, tuple[Instance, ...], float]] = _cuts(picture, remover, settings, hint)
        window = None
        if picture.frames > 1 and any(map(settings.crops, frames)):
            results = list(results)  # all frames are cut to one window, so all must be known first
            everywhere = functools.reduce(np.maximum, (result.alpha for result, _, _ in results))
            window = subject_box(everywhere, settings.output.padding)
        for result, singles, duration in results:
            instances = singles
            coverage = coverage or float(result.alpha.mean())
            empty += result.empty
            why = why or result.note
            durations.append(duration)
            for output, pictures in frames.items():
                pictures.append(render(result, output, settings, window=window))
    notes = list(picture.notes)
    if why and empty == len(durations):
        notes.append(f"{picture.name}: the result is empty: {why}")
    elif empty == len(durations):
        notes.append(
            f"{picture.name}: the model {settings.model} found no subject, so the result is empty; "
            "try another model"
        )
    elif empty:
        notes.append(f"{picture.name}: no subject in {empty} of {len(durations)} frames")
    return Processed(frames, durations, picture.loop, picture.metadata, coverage, tuple(notes), instances)

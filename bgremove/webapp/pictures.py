"""What is done with a picture that a visitor keeps here: cut out, touch up, give back."""

from __future__ import annotations

import dataclasses
import time
import zlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from bgremove.arrays import Alpha, Image, Mask
from bgremove.compositing import alpha_to_bytes
from bgremove.foreground import ForegroundParams, Method, estimate_foreground
from bgremove.io import FORMATS, Metadata, WriteParams, encode, output_format
from bgremove.pipeline import Cut, Settings, cut, render
from bgremove.png import encode_png
from bgremove.removers.base import Prediction, SegmentRemover
from bgremove.segments import Segment, Segments, SelectParams
from bgremove.threads import map_on_threads
from bgremove.trimap import Box, bounding_box
from bgremove.webapp.edits import Stroke, apply_edits
from bgremove.webapp.errors import WrongRequest
from bgremove.webapp.service import Served, Service, served
from bgremove.webapp.store import Kept, Revision

PREVIEW = 1600  # longest side, in pixels
_PREVIEW_QUALITY = 88
_EDIT_SECONDS = 60
_FOUND_MOST = 100  # segments shown of one picture


@dataclass(frozen=True)
class File:
    """A file to be downloaded."""

    data: bytes
    mimetype: str
    name: str


def preview_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the preview of a photo."""
    scale = min(1.0, PREVIEW / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def keep_cut(kept: Kept, service: Service, settings: Settings) -> Revision:
    """Cut a picture out, as a new revision. To be called on one of the service's threads."""
    began = time.perf_counter()
    frame, picture = service.read(kept.data, name=kept.name)
    if kept.original is None:  # the page asks for it next
        kept.original = _jpeg(_small(frame.image), picture.metadata)
    remover = service.remover(settings)
    if isinstance(remover, SegmentRemover):
        remover = _Remembering(remover, kept, _found_from(settings))
    # The colours are found for the preview only, and for the full picture when it is downloaded.
    light = dataclasses.replace(settings, foreground=ForegroundParams(foreground="none"))
    result = served(cut(frame, remover, light), picture, settings, began)
    method = settings.foreground.foreground
    note = " ".join(f"{one}." for one in result.notes if one not in picture.notes)
    revision = _revision(kept, result.image, result.alpha, method, began, note=note)
    if isinstance(remover, _Remembering):
        revision = dataclasses.replace(revision, segments=remover.outlines(result.segments, revision.preview))
    kept.keep(revision)
    return revision


def keep_refined(kept: Kept, service: Service, number: int | None, strokes: Sequence[Stroke]) -> Revision:
    """Put the strokes up to the last of mode ``refine`` into a new revision.

    Raises:
        WrongRequest: if none of them is.
    """
    began = time.perf_counter()
    last = max((index for index, one in enumerate(strokes) if one.mode == "refine"), default=-1)
    if last < 0:
        raise WrongRequest("edits must hold a stroke of mode refine; draw the others on the page")
    before = kept.revision(number)
    frame, _ = service.read(kept.data, name=kept.name)
    alpha = _edited(frame.image, before, strokes[: last + 1], frame.alpha)
    revision = _revision(kept, frame.image, alpha, before.method, began)
    revision = dataclasses.replace(revision, segments=before.segments)
    kept.keep(revision)
    return revision


def original_preview(kept: Kept, service: Service) -> bytes:
    """The photo at the preview's size, a JPEG."""
    if kept.original is None:
        frame, picture = service.read(kept.data, name=kept.name)
        kept.original = _jpeg(_small(frame.image), picture.metadata)
    return kept.original


def made_file(
    kept: Kept, service: Service, number: int | None, strokes: Sequence[Stroke], settings: Settings
) -> File:
    """What is downloaded: the picture at full size, with its strokes, as `settings` say."""
    began = time.perf_counter()
    [output] = settings.outputs
    revision = kept.revision(number)
    file_format = output_format(None, settings.write.format)
    if file_format.alpha == "none" and settings.transparent(output):
        raise WrongRequest(
            f"{file_format.name.upper()} cannot be transparent; choose a background, or PNG or WebP"
        )
    frame, picture = service.read(kept.data, name=kept.name)
    alpha = _edited(frame.image, revision, strokes, frame.alpha)
    foreground = frame.image
    if output not in ("mask", "alpha"):
        foreground = estimate_foreground(frame.image, alpha, revision.method)
    result = served(Cut(frame.image, alpha, foreground, 1), picture, settings, began)
    del frame, alpha, foreground
    data = encoded(result, settings)
    return File(
        data,
        PILLOW_TYPES[file_format.name],
        f"{safe_stem(kept.name)}-{output}{file_format.extensions[0].replace('.apng', '.png')}",
    )


def encoded(result: Served, settings: Settings) -> bytes:
    """The one output that `settings` ask for, as a file."""
    [output] = settings.outputs
    file_format = output_format(None, settings.write.format)
    pixels = render(result, output, settings)
    return encode([pixels], file_format, settings.write, result.metadata)


PILLOW_TYPES = {
    "png": "image/png",
    "webp": "image/webp",
    "jpeg": "image/jpeg",
    "tiff": "image/tiff",
    "avif": "image/avif",
    "gif": "image/gif",
    "bmp": "image/bmp",
}


def result_settings(
    service: Service, choices: Mapping[str, Any], background: bytes | None, model: str = ""
) -> Settings:
    """The settings of a download from what the page sends.

    Args:
        choices: output, background, background_fit, blur_radius, crop, padding, size, format, quality.
        background: the visitor's own background picture.
    """
    names = ("output", "background_fit", "blur_radius", "crop", "padding", "size", "format", "quality")
    values = {name: choices[name] for name in names if choices.get(name) is not None}
    output = values.pop("output", None)
    wanted = choices.get("background") or "transparent"
    if output not in (None, "cutout", "mask", "alpha", "composite", "crop"):
        raise WrongRequest(
            f"output must be one of cutout, mask, alpha, composite, crop; got {str(output)[:40]!r}"
        )
    if output == "composite" and wanted == "transparent":
        output = "cutout"
    if output is not None:
        values["output"] = (output,)
    if not isinstance(wanted, str):
        raise WrongRequest("background must be text: transparent, blur, picture or a colour")
    if wanted == "picture":
        if background is None:
            raise WrongRequest("there is no background picture here; choose one first")
        plain = service.settings(model, **values, background="white")
        picture = service.background(background, fit=plain.output.background_fit)
        return dataclasses.replace(plain, background=picture)
    return service.settings(model, **values, background=wanted)


def safe_stem(name: str) -> str:
    """A name of a visitor's as part of a file's: no folders, no dots in front, nothing odd."""
    stem = name.rpartition(".")[0] or name
    kept = "".join(one if one.isalnum() or one in " -_.()" else "_" for one in stem[:80])
    return kept.strip(" .") or "picture"


def shown_name(name: str | None) -> str:
    """A file's name for display: without folders and control characters, not too long."""
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    shown = "".join(one for one in last if one.isprintable()).strip()
    return shown if len(shown) <= 120 else f"{shown[:80]}...{shown[-30:]}" if shown else ""


def _revision(
    kept: Kept, image: Image, alpha: Alpha, method: Method, began: float, *, note: str = ""
) -> Revision:
    """A new revision of a picture, with its previews."""
    small_image = _small(image)
    small_alpha: Alpha = np.clip(_small(alpha), 0, 1)  # the means of ones may come out a hair above
    full = alpha_to_bytes(alpha)
    same = small_alpha.shape == alpha.shape
    grey = full if same else alpha_to_bytes(small_alpha)

    def colours() -> bytes:
        if method == "none":
            return _jpeg(small_image)
        found = estimate_foreground(small_image, small_alpha, method)
        outside = (small_alpha <= 0).view(np.uint8)
        return _jpeg(cast(Image, cv2.copyTo(small_image, outside, found)))

    def original() -> bytes:
        return kept.original or _jpeg(small_image)

    def whole() -> bytes:
        return encode_png(full, level=1)

    def part() -> bytes:
        return b"" if same else encode_png(grey, level=1)

    steps: list[Callable[[], bytes]] = [colours, original, whole, part]
    foreground, kept.original, alpha_png, preview_png = map_on_threads(lambda step: step(), steps)
    height, width = small_alpha.shape
    return Revision(
        number=kept.number(),
        alpha=alpha_png,
        alpha_preview=preview_png or alpha_png,
        foreground=foreground,
        method=method,
        box=bounding_box(alpha),
        note=note,
        seconds=time.perf_counter() - began,
        preview=(width, height),
        segments=[],
    )


def _small(array: Any) -> Any:
    height, width = array.shape[:2]
    size = preview_size(width, height)
    return array if size == (width, height) else cv2.resize(array, size, interpolation=cv2.INTER_AREA)


def _jpeg(image: Image, metadata: Metadata | None = None) -> bytes:
    return encode([image], FORMATS["jpeg"], WriteParams(quality=_PREVIEW_QUALITY), metadata)


def _edited(image: Image, revision: Revision, strokes: Sequence[Stroke], own: Alpha | None) -> Alpha:
    """A revision's matte with strokes, nowhere above the picture's `own` transparency."""
    grey = cast(Any, cv2.imdecode(np.frombuffer(revision.alpha, np.uint8), cv2.IMREAD_UNCHANGED))
    alpha = apply_edits(image, grey.astype(np.float32) * np.float32(1 / 255), strokes, seconds=_EDIT_SECONDS)
    return alpha if own is None or not strokes else np.minimum(alpha, own)


# Segments ----------------------------------------------------------------------------------------


class _Remembering(SegmentRemover):
    """A remover whose findings in one picture are kept, packed, for the next choice among them."""

    def __init__(self, remover: SegmentRemover, kept: Kept, key: Hashable) -> None:
        super().__init__(remover.params)
        self._remover, self._kept, self._key = remover, kept, key
        self._all: Segments | None = None

    def find_segments(self, image: Image) -> Segments:
        known = self._kept.found
        if known is not None and known[0] == self._key:
            self._all = _unpacked(known[1])
        else:
            self._all = self._remover.find_segments(image)
            packed = _packed(self._all)
            self._kept.found = (self._key, packed, sum(len(mask) for _, mask in packed[1]))
        return self._all

    def choose(self, found: Segments) -> Prediction:
        return self._remover.choose(found)

    def outlines(self, chosen: Segments | None, preview: tuple[int, int]) -> list[dict[str, Any]]:
        """Everything found, for JSON: what it is, whether it was chosen, and its outline on the preview."""
        kept = {id(one) for one in (chosen.items if chosen else ())}
        found = self._all.items[:_FOUND_MOST] if self._all else ()
        return [
            {
                "index": index,
                "label": one.label,
                "score": None if one.score is None else round(float(one.score), 3),
                "kind": one.kind,
                "chosen": id(one) in kept,
                "outline": outline(one.mask, preview),
            }
            for index, one in enumerate(found)
        ]


def outline(mask: Mask, preview: tuple[int, int]) -> list[list[list[int]]]:
    """Polygons around a mask, in pixels of the preview (width and height)."""
    small = cv2.resize(mask.view(np.uint8), preview, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(small, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    simple = (cv2.approxPolyDP(one, 1.0, True)[:, 0] for one in contours if len(one) > 2)
    return [one.tolist() for one in simple if len(one) > 2]


def _found_from(settings: Settings) -> Hashable:
    """What the findings depend on: all but what chooses among them; but for the least score."""
    params = settings.remover
    chooses = set(SelectParams.model_fields) - {"min_score"}
    return settings.model, tuple((name, value) for name, value in params if name not in chooses)


def _packed(found: Segments) -> tuple[Segments, list[tuple[Segment, bytes]]]:
    nothing: npt.NDArray[np.bool_] = np.zeros((0, 0), np.bool_)
    packed = [
        (dataclasses.replace(one, mask=nothing), zlib.compress(np.packbits(one.mask).tobytes(), 1))
        for one in found.items
    ]
    return dataclasses.replace(found, items=()), packed


def _unpacked(packed: tuple[Segments, list[tuple[Segment, bytes]]]) -> Segments:
    found, items = packed
    shape, count = (found.height, found.width), found.height * found.width

    def mask(data: bytes) -> Mask:
        bits = np.frombuffer(zlib.decompress(data), np.uint8)
        return np.unpackbits(bits, count=count).reshape(shape).view(np.bool_)

    return dataclasses.replace(
        found, items=tuple(dataclasses.replace(one, mask=mask(data)) for one, data in items)
    )


def box_list(box: Box | None) -> list[int] | None:
    """A box for JSON."""
    return None if box is None else [int(side) for side in box]

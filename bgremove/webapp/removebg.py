"""``POST /v1.0/removebg``: the remove.bg API, served by one's own machine, so that its clients work with it.

What differs: nothing is charged; ``size=full`` (and ``auto``, ``4k``, ``50MP``) has no limit but the server's
own; ``type`` chooses only where the served model tells kinds of subjects apart; shadows and see-through car
windows are not made, as remove.bg itself does not for most subjects.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import math
import threading
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from flask import Blueprint, Response, jsonify, request
from pydantic import Field
from werkzeug.exceptions import HTTPException

from bgremove.background import Background, parse_colour
from bgremove.compositing import Pixels, alpha_to_bytes, over_colour
from bgremove.errors import BGRemoveError, ImageError, OptionError
from bgremove.io import FORMATS, Frame, Metadata, WriteParams, encode
from bgremove.options import Params
from bgremove.pipeline import Settings, cut
from bgremove.segments import Segments, SelectParams
from bgremove.trimap import Box
from bgremove.webapp import parts, placing
from bgremove.webapp.addresses import AddressError, fetch
from bgremove.webapp.errors import Busy, Fault, sentence_of, status_of, unforeseen
from bgremove.webapp.metrics import Metrics
from bgremove.webapp.placing import Subject

if TYPE_CHECKING:
    from bgremove.webapp.service import Service

blueprint = Blueprint("removebg", __name__, url_prefix="/v1.0")

MEGAPIXELS = {"preview": 0.25, "small": 0.25, "regular": 0.25, "medium": 1.5, "hd": 4.0}
"""What these sizes mean; all others are the photo's own size."""

_CREDITS = 1_000_000  # never fewer: some clients stop at 0
_FETCH_SECONDS = 20.0
_COMMAS = 10_000  # of a JSON body: what is between them takes a hundred times its bytes in memory
_FETCHES = threading.BoundedSemaphore(4)
_ANIMALS = "bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe"
_VEHICLES = "bicycle,car,motorcycle,airplane,bus,train,truck,boat"
_COARSE = ("person", "product", "animal", "car", "other")
_CLASSES = {"person": "person", "animal": _ANIMALS, "car": "car", "transportation": _VEHICLES}


class RemoveBgParams(Params):
    """The settings of the remove.bg API, with its names and defaults."""

    size: Literal["preview", "small", "regular", "medium", "hd", "full", "4k", "50MP", "auto"] = Field(
        "preview",
        description="Largest result: preview (also small, regular) 0.25 megapixels, medium 1.5, hd 4; full, "
        "auto, 4k and 50MP keep the photo's own size",
    )
    type: Literal[
        "auto",
        "person",
        "product",
        "car",
        "animal",
        "graphic",
        "graphics",
        "transportation",
        "car_interior",
        "car_part",
        "other",
    ] = Field("auto", description="Kind of subject; chooses only where the served model knows kinds")
    type_level: Literal["none", "1", "2", "latest"] = Field(
        "1", description="How finely X-Type tells the kind of subject; none leaves the header out"
    )
    format: Literal["auto", "png", "jpg", "webp", "zip"] = Field(
        "auto",
        description="auto is PNG if anything is see-through, else JPEG; zip has color.jpg, alpha.png and, "
        "over a background, background.jpg",
    )
    channels: Literal["rgba", "alpha"] = Field("rgba", description="The picture, or its alpha as grey")
    bg_color: str = Field(
        "", description="Colour behind the subject: 81d4fa, fff, 81d4fa77 or a name, as green"
    )
    bg_image_url: str = Field(
        "", description="Address of a picture behind the subject; only if the server fetches addresses"
    )
    roi: str = Field(
        "0% 0% 100% 100%",
        description="Where the subject may be: x1 y1 x2 y2 in px or %; all outside is background",
    )
    crop: bool = Field(False, description="Cut off what is empty around the subject")
    crop_margin: str = Field(
        "0",
        description="Room around the cropped subject, px of the result or % of the subject: one value, two "
        "(top and bottom, left and right) or four (top, right, bottom, left); at most 50% or 500px",
    )
    scale: str = Field(
        "original",
        description="Size of the subject, 10% to 100% of the picture; centres it, unless position says",
    )
    position: str = Field(
        "",
        description="Where the subject stands: original, center, 30%, or 30% 60% (across, down); empty: "
        "center with scale, else original",
    )
    add_shadow: bool = Field(False, description="Taken and not used: no shadows are made here")
    semitransparency: bool = Field(True, description="Taken and not used: alpha is always soft")


_SOURCES = ("image_file", "image_file_b64", "image_url")
_KNOWN = frozenset({*_SOURCES, *RemoveBgParams.model_fields})


@dataclass(frozen=True)
class Order:
    """What one request asks for, understood and checked.

    Attributes:
        data: of the photo.
        params: as given.
        background: a colour, the bytes of a picture, or None if nothing is behind the subject.
        roi, margins, scale, position: of :mod:`~bgremove.webapp.placing`.
    """

    data: bytes
    params: RemoveBgParams
    background: Background | bytes | None
    roi: list[placing.Length]
    margins: list[placing.Length]
    scale: float | None
    position: tuple[float, float] | None


@dataclass(frozen=True)
class Made:
    """What became of an order.

    Attributes:
        model: that was used.
        box: of the subject in the result; None if there is none, and then no `body`.
        note: why there is none, if that is known.
        kind: of the subject, for ``X-Type``; may be empty.
    """

    model: str
    box: Box | None = None
    note: str = ""
    kind: str = ""
    width: int = 0
    height: int = 0
    body: bytes = b""
    mimetype: str = ""


class RemoveBgError(Fault):
    """An error in remove.bg's words, with our sentence as its detail.

    Attributes:
        code: of remove.bg, ``invalid_roi`` say.
        title: what remove.bg calls it.
    """

    def __init__(self, code: str, title: str, detail: str = "") -> None:
        super().__init__(detail or title)
        self.code, self.title = code, title


# The two addresses -------------------------------------------------------------------------------


@blueprint.post("/removebg")
def remove_background() -> Response:
    """The picture without its background, as the form, the JSON or the urlencoded fields ask."""
    order = _order(*_fields())
    service = parts().service
    made = service.run(lambda: _made(service, order))
    metrics = parts().metrics
    if isinstance(metrics, Metrics):
        metrics.picture(made.model, empty=made.box is None)
    if made.box is None:
        raise RemoveBgError(
            "unknown_foreground",
            "Could not identify foreground in image.",
            made.note or "no subject was found in the picture; try another picture, or another roi",
        )
    return _answered(made, made.box)


@blueprint.get("/account")
def account() -> Response:
    """What remove.bg tells of one's credits. Here nothing is charged, so there are always many."""
    credits = {"total": _CREDITS, "subscription": 0, "payg": 0, "enterprise": _CREDITS}
    return jsonify(data={"attributes": {"credits": credits, "api": {"free_calls": _CREDITS, "sizes": "all"}}})


def _answered(made: Made, box: Box) -> Response:
    place = {
        "foreground_top": box.top,
        "foreground_left": box.left,
        "foreground_width": box.right - box.left,
        "foreground_height": box.bottom - box.top,
    }
    if wants_json(request.headers.get("Accept", "")):
        response = jsonify(data={"result_b64": base64.b64encode(made.body).decode(), **place})
    else:
        response = Response(made.body, mimetype=made.mimetype)
    response.headers.update({"X-Width": str(made.width), "X-Height": str(made.height)})
    response.headers.update({f"X-{name.replace('_', '-').title()}": str(at) for name, at in place.items()})
    response.headers.update({"X-Credits-Charged": "0", "Vary": "Accept"})
    if made.kind:
        response.headers["X-Type"] = made.kind
    return response


def wants_json(accept: str) -> bool:
    """Whether an Accept header asks for JSON more than for a picture; many clients' default names both."""
    quality: dict[str, float] = {}
    for part in accept.split(","):
        name, *options = (piece.strip().lower() for piece in part.split(";"))
        value = next((option[2:] for option in options if option.startswith("q=")), "1")
        quality[name] = float(value) if value.replace(".", "", 1).isdecimal() else 0.0
    picture = max(quality.get(name, 0.0) for name in ("image/*", "image/png", "image/jpeg", "*/*"))
    return quality.get("application/json", 0.0) > picture


# What is asked for -------------------------------------------------------------------------------


def _fields() -> tuple[dict[str, str], dict[str, bytes]]:
    """The fields of a body of any of the three kinds, without those that are empty; and its files."""
    match request.mimetype:
        case "application/json":
            return _json_fields(request.get_data(cache=False)), {}
        case "multipart/form-data" | "application/x-www-form-urlencoded":
            values = {name: value for name, value in request.form.items() if value}
            return values, {name: file.read() for name, file in request.files.items() if file.filename}
    raise RemoveBgError(
        "unsupported_content_type",
        "Unsupported content type",
        "send multipart/form-data, application/json or application/x-www-form-urlencoded",
    )


def _json_fields(body: bytes) -> dict[str, str]:
    try:
        if body.count(b",") > _COMMAS:  # base64 has none
            raise ValueError
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise RemoveBgError("invalid_json", "Invalid JSON", "the body is no JSON; check it") from None
    if not isinstance(values, dict):
        raise RemoveBgError("invalid_json", "Invalid JSON", "the body must be a JSON object of fields")
    values = {name: value for name, value in values.items() if name in _KNOWN}
    for name, value in values.items():
        if not isinstance(value, (str, bool, int, float, type(None))):
            raise _invalid(name, f"{name} must be text, a number, true or false")
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in values.items()
        if value is not None and value != ""
    }


def _invalid(name: str, detail: str) -> RemoveBgError:
    return RemoveBgError(f"invalid_{name}", f"Invalid {name} parameter given", detail)


def _order(values: dict[str, str], files: dict[str, bytes]) -> Order:
    params = _params(values)
    return Order(
        data=_photo(values, files),
        params=params,
        background=_background(params, files),
        roi=_parsed("roi", lambda: placing.parse_lengths(params.roi, (4,), "0% 0% 100% 100%")),
        margins=_parsed("crop_margin", lambda: _margins(params.crop_margin)),
        scale=_parsed("scale", lambda: placing.parse_scale(params.scale)),
        position=_parsed("position", lambda: _position(params)),
    )


def _params(values: Mapping[str, str]) -> RemoveBgParams:
    """The known fields, each with its own error; others are passed over, as new clients may have more."""
    known = {name: value for name, value in values.items() if name in RemoveBgParams.model_fields}
    for name, value in known.items():
        _parsed(name, lambda name=name, value=value: RemoveBgParams(**{name: value}))  # type: ignore[misc]
    return RemoveBgParams(**known)


def _parsed(name: str, work: Callable[[], Any]) -> Any:
    try:
        return work()
    except OptionError as error:
        raise _invalid(name, str(error)) from None


def _margins(text: str) -> list[placing.Length]:
    margins = placing.parse_lengths(text, (1, 2, 4), "10px or 5% 10%")
    placing.check_margins(margins)
    return margins


def _position(params: RemoveBgParams) -> tuple[float, float] | None:
    given = params.position or ("original" if params.scale.strip().lower() == "original" else "center")
    return placing.parse_position(given)


def _photo(values: Mapping[str, str], files: Mapping[str, bytes]) -> bytes:
    """The photo's bytes from the one source that is given."""
    sources = [name for name in _SOURCES if name in {*values, *files}]
    if not sources:
        raise RemoveBgError(
            "missing_source",
            "No image given",
            "Please provide the source image in the image_file, image_file_b64 or image_url parameter.",
        )
    if len(sources) > 1:
        raise RemoveBgError(
            "multiple_sources",
            "Multiple image sources given: Please provide either the image_url, image_file or image_file_b64 "
            "parameter.",
        )
    [name] = sources
    if name in files:
        return files[name]
    if name == "image_file_b64":
        return _decoded(values[name])
    if name == "image_url":
        return _fetched(
            name, values[name], "failed_image_download", "Failed to download image from given image_url"
        )
    raise _invalid(name, "image_file must be sent as a file, with a file name")


def _decoded(text: str) -> bytes:
    """Base64, with or without line ends, padding and a data URL's beginning."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    text = "".join(text.split()).translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise _invalid("image_file_b64", "image_file_b64 is not base64; encode the file's bytes") from None


def _fetched(name: str, address: str, code: str, title: str) -> bytes:
    params = parts().params
    if not params.image_urls:
        raise _invalid(
            name, "this server fetches no addresses (bgremove serve --image-urls); send the picture itself"
        )
    if not _FETCHES.acquire(blocking=False):  # each holds one of the server's threads while it waits
        raise Busy("too many addresses are being fetched; try again, or send the picture itself", 5)
    try:
        return fetch(address, max_bytes=params.upload_bytes, seconds=min(_FETCH_SECONDS, params.seconds))
    except AddressError as error:
        raise RemoveBgError(code, title, str(error)) from None
    finally:
        _FETCHES.release()


def _background(params: RemoveBgParams, files: Mapping[str, bytes]) -> Background | bytes | None:
    given = [bool(params.bg_color), bool(params.bg_image_url), "bg_image_file" in files]
    if sum(given) > 1:
        raise RemoveBgError(
            "multiple_bg_sources",
            "Multiple background sources given: Please provide either the bg_color, the bg_image_url or the "
            "bg_image_file parameter.",
        )
    if params.bg_color:
        text = params.bg_color.strip()
        hexadecimal = len(text) in (3, 4, 6, 8) and all(letter in "0123456789abcdefABCDEF" for letter in text)
        colour = _parsed("bg_color", lambda: parse_colour(f"#{text}" if hexadecimal else text[:60]))
        return Background("colour", colour=colour)
    if not any(given):
        return None
    if "bg_image_file" in files:
        return files["bg_image_file"]
    return _fetched(
        "bg_image_url",
        params.bg_image_url,
        "failed_bg_download",
        "Failed to download background image from given bg_image_url",
    )


# The work ----------------------------------------------------------------------------------------


def _made(service: Service, order: Order) -> Made:
    """All of the work on one order; outside of the request, so that nothing of it is asked for here."""
    background = order.background
    if isinstance(background, bytes):
        background = service.background(background)
    frame, picture = service.read(order.data)
    box = placing.region(order.roi, *frame.image.shape[:2])
    _check_region(box, *frame.image.shape[:2])
    frame, factor = _sized(frame, MEGAPIXELS.get(order.params.size))
    height, width = frame.image.shape[:2]
    box = _scaled(box, factor, height, width)
    settings = _settings(service, order.params.type)
    found = cut(_part(frame, box), service.remover(settings), settings)
    colours = np.where(found.alpha[..., None] > 0, found.foreground, found.image)
    subject = placing.within(Subject(colours, found.alpha), box, height, width)
    if order.params.crop:
        most = service.params.max_megapixels
        subject = _parsed("crop_margin", lambda: placing.crop(subject, order.margins, most=most))
    subject = placing.place(subject, order.scale, order.position)
    if subject.box is None:
        return Made(settings.model, note=found.note)
    body, mimetype = _encoded(order.params, subject, background or Background(), picture.metadata)
    height, width = subject.alpha.shape
    kind = _kind(order.params, found.segments)
    return Made(settings.model, subject.box, "", kind, width, height, body, mimetype)


def _check_region(box: Box, height: int, width: int) -> None:
    if box.left >= box.right or box.top >= box.bottom:
        raise RemoveBgError(
            "roi_region_empty", "ROI region is empty", "The given roi parameter defines an empty region"
        )
    if box.right > width or box.bottom > height:
        raise RemoveBgError(
            "roi_exceeds_bounds",
            "ROI exceeds image bounds",
            f"The given roi parameter defines a region that exceeds the image, {width} x {height} pixels",
        )


def _sized(frame: Frame, megapixels: float | None) -> tuple[Frame, float]:
    """A frame of so many megapixels at most, and the factor by which it became smaller."""
    height, width = frame.image.shape[:2]
    factor = 1.0 if megapixels is None else math.sqrt(megapixels * 1e6 / (height * width))
    if factor >= 1:
        return frame, 1.0
    size = (max(1, math.floor(width * factor)), max(1, math.floor(height * factor)))
    image = cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA)
    if frame.alpha is None:
        return Frame(image), factor
    alpha = cv2.resize(frame.alpha, size, interpolation=cv2.INTER_AREA)
    return Frame(image, np.clip(alpha, 0, 1)), factor  # of ones it makes a little more than 1


def _scaled(box: Box, factor: float, height: int, width: int) -> Box:
    """A box in a picture made smaller, at least one pixel large."""
    left, top = min(round(box.left * factor), width - 1), min(round(box.top * factor), height - 1)
    right, bottom = (min(round(box.right * factor), width), min(round(box.bottom * factor), height))
    return Box(left, top, max(left + 1, right), max(top + 1, bottom))


def _part(frame: Frame, box: Box) -> Frame:
    window = np.s_[box.top : box.bottom, box.left : box.right]
    alpha = None if frame.alpha is None else np.ascontiguousarray(frame.alpha[window])
    return Frame(np.ascontiguousarray(frame.image[window]), alpha)


def _settings(service: Service, kind: str) -> Settings:
    """Those of the served model, with the kind of subject that is asked for if it knows kinds."""
    settings = service.settings()
    if kind in _CLASSES and isinstance(settings.remover, SelectParams):
        return service.settings(classes=_CLASSES[kind])
    return settings


def _kind(params: RemoveBgParams, segments: Segments | None) -> str:
    """What ``X-Type`` says: what the model found, else what was asked for, else ``other``."""
    if params.type_level == "none":
        return ""
    kind = {"auto": "other", "graphic": "graphics"}.get(params.type, params.type)
    if segments is not None and segments.items:
        label = max(segments.items, key=lambda one: one.area).label
        named = (name for name, labels in _CLASSES.items() if label in labels.split(","))
        kind = next(named, "product")
    return "other" if params.type_level == "1" and kind not in _COARSE else kind


def _encoded(
    params: RemoveBgParams, subject: Subject, background: Background, metadata: Metadata
) -> tuple[bytes, str]:
    """The result's bytes and content type."""
    metadata = Metadata(icc=metadata.icc, dpi=metadata.dpi)  # EXIF may say where the photo was taken
    if params.format == "zip":
        return _zip(subject, background, metadata), "application/zip"
    if params.channels == "alpha":
        pixels: Pixels = alpha_to_bytes(subject.alpha)
    else:
        pixels = background.under(subject.colours, subject.colours, subject.alpha)
    see_through = pixels.ndim == 3 and pixels.shape[2] == 4 and bool((pixels[..., 3] < 255).any())
    name: str = params.format
    if name == "auto":
        name = "png" if see_through or params.channels == "alpha" else "jpg"
    if name == "jpg":
        pixels = _opaque(pixels)
    file_format = FORMATS["jpeg" if name == "jpg" else name]
    return encode([pixels], file_format, WriteParams(), metadata), f"image/{file_format.name}"


def _opaque(pixels: Pixels) -> Pixels:
    """A picture over white, where it is see-through: JPEG cannot be."""
    if pixels.ndim == 2 or pixels.shape[2] == 3:
        return pixels
    alpha = pixels[..., 3].astype(np.float32)
    alpha /= 255
    return over_colour(np.ascontiguousarray(pixels[..., :3]), (255, 255, 255, 255), alpha)


def _zip(subject: Subject, background: Background, metadata: Metadata) -> bytes:
    """``color.jpg`` and ``alpha.png``, which make the cut-out; and what is behind it, if anything."""
    jpeg = FORMATS["jpeg"]
    files = {
        "color.jpg": encode([subject.colours], jpeg, WriteParams(), metadata),
        "alpha.png": encode([alpha_to_bytes(subject.alpha)], FORMATS["png"]),
    }
    if background.kind != "transparent":
        behind = background.under(subject.colours, subject.colours, np.zeros_like(subject.alpha))
        files["background.jpg"] = encode([_opaque(behind)], jpeg, WriteParams(), metadata)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return target.getvalue()


# Errors ------------------------------------------------------------------------------------------


def _error(
    status: int, code: str, title: str, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    response = jsonify(errors=[{"title": title, "code": code, "detail": detail}])
    response.status_code = status
    response.headers.update(dict(headers or {}))
    return response


@blueprint.errorhandler(RemoveBgError)
def _own(error: RemoveBgError) -> Response:
    status = 415 if error.code == "unsupported_content_type" else error.status
    return _error(status, error.code, error.title, error.sentence)


@blueprint.errorhandler(BGRemoveError)
def _ours(error: BGRemoveError) -> Response:
    status, sentence = status_of(error), str(error)
    headers = getattr(error, "headers", None)
    match status:
        case 401 | 403:
            return _error(403, "auth_failed", "API Key invalid", sentence, headers)
        case 413 if "megapixel" in sentence:
            return _error(400, "resolution_too_high", "Image resolution too high", sentence)
        case 413:
            return _error(400, "file_too_large", "File too large", sentence)
        case 429:
            return _error(429, "rate_limit_exceeded", "Rate limit exceeded", sentence, headers)
    if isinstance(error, ImageError):
        return _error(400, "failed_to_read_image", "There was an error reading the image.", sentence)
    code = "invalid_parameter" if status < 500 else "service_unavailable"
    return _error(status, code, sentence, sentence, headers)


@blueprint.errorhandler(HTTPException)
def _flasks(error: HTTPException) -> Response:
    sentence = sentence_of(error, parts().params.max_upload_mb)
    if error.code == 413:
        return _error(400, "file_too_large", "File too large", sentence)
    return _error(error.code or 500, "invalid_request", sentence, sentence)


@blueprint.errorhandler(Exception)
def _others(error: Exception) -> Response:
    sentence = unforeseen(error)
    return _error(500, "internal_error", "Something went wrong", sentence)

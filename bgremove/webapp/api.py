"""The HTTP API: ``POST /api/remove`` and what goes with it, described at ``/api``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, jsonify, render_template, request
from pydantic import TypeAdapter, ValidationError

import bgremove
from bgremove.errors import OptionError
from bgremove.io import encode, output_format
from bgremove.options import settings as settings_of
from bgremove.options import unknown_setting
from bgremove.pipeline import Output, OutputParams, Settings, render
from bgremove.registry import REMOVERS, full_name, remover_params
from bgremove.webapp import openapi, parts
from bgremove.webapp.errors import Fault, WrongRequest
from bgremove.webapp.forms import page_config
from bgremove.webapp.metrics import CONTENT_TYPE, Metrics
from bgremove.webapp.service import Service, shown_model

blueprint = Blueprint("api", __name__)

_BOOL = TypeAdapter(bool)
_SETTINGS_TEXT = 100_000  # letters


class WrongKind(Fault):
    """A body of a content type that cannot be a picture's."""

    status = 415


@dataclasses.dataclass(frozen=True)
class Asked:
    """What one request asks for, sorted but not yet understood.

    Attributes:
        picture: the bytes of a file.
        background: those of a picture to put behind it, or None.
        values: all other fields by name, none of them empty.
    """

    picture: bytes
    background: bytes | None
    values: dict[str, Any]


# The addresses -----------------------------------------------------------------------------------


@blueprint.post("/api/remove")
def remove() -> Response:
    """The picture that was sent, cut out as its fields or its query ask."""
    asked = _asked()
    service = parts().service
    known = {*openapi.remove_schema(), *openapi.LEFT_OUT}
    for name in asked.values:
        if name not in known:
            sentence = unknown_setting(name[:60], sorted(known)).partition("; known: ")
            raise OptionError(f"{sentence[0]}; /api lists those there are" if sentence[1] else sentence[0])
    values = _from_rembg(asked.values)
    fit = OutputParams(background_fit=values.get("background_fit", "cover")).background_fit
    if asked.background is not None and values.get("background"):
        raise WrongRequest("background and background_file are both given; leave one out")
    settings = service.settings(
        str(values.pop("model", "")),
        preset=_text(values.pop("preset", None)),
        background=_text(values.pop("background", None)),
        **values,
    )
    output = _output(settings, over_picture=asked.background is not None)

    def work() -> tuple[bytes, dict[str, str], bool]:
        if asked.background is None:
            return _made(service, asked.picture, settings, output)
        behind = service.background(asked.background, fit=fit)
        return _made(service, asked.picture, dataclasses.replace(settings, background=behind), output)

    data, headers, empty = service.run(work)
    metrics = parts().metrics
    if isinstance(metrics, Metrics):
        metrics.picture(settings.model, empty=empty)
    file_format = output_format(None, settings.write.format)
    name = f"{output}{file_format.extensions[0]}"
    headers["Content-Disposition"] = f'inline; filename="{name}"'
    return Response(data, mimetype=f"image/{file_format.name}", headers=headers)


@blueprint.get("/api/models")
def models() -> Response:
    """The models, with the settings of each as JSON Schema."""
    config = page_config(parts().params)
    rows = [row for group in config["models"] for row in group["models"]]
    return jsonify(default=config["model"], models=[_model(row) for row in rows])


@blueprint.get("/healthz")
def healthz() -> Response:
    """Whether the network is loaded."""
    loaded = parts().service.loaded
    response = jsonify(
        status="ok" if loaded else "loading",
        version=bgremove.__version__,
        model=shown_model(full_name(parts().params.model)),
    )
    response.status_code = 200 if loaded else 503
    return response


@blueprint.get("/metrics")
def metrics() -> Response:
    """What was counted, for Prometheus."""
    return Response(parts().metrics.text(), content_type=CONTENT_TYPE)


@blueprint.get("/api/openapi.json")
def openapi_json() -> Response:
    """The OpenAPI document."""
    return jsonify(openapi.document(parts().params))


@blueprint.get("/api")
def page() -> str:
    """The same, to be read."""
    params = parts().params
    document = openapi.document(params)
    operation = document["paths"]["/api/remove"]["post"]
    body = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    return render_template(
        "api.html",
        document=document,
        fields=_grouped(body["properties"]),
        removebg=document["paths"]["/v1.0/removebg"]["post"]["requestBody"]["content"]["multipart/form-data"][
            "schema"
        ]["properties"],
        video=document["paths"]["/api/video"]["post"]["requestBody"]["content"]["multipart/form-data"][
            "schema"
        ]["properties"]
        if params.videos
        else None,
        errors=openapi.ERRORS,
        models=[row for group in page_config(params)["models"] for row in group["models"]],
        url=f"{_scheme()}://{request.host}",
        params=params,
    )


def _scheme() -> str:
    """``https`` also where a tunnel or a proxy speaks it for us."""
    return "https" if request.headers.get("X-Forwarded-Proto") == "https" else request.scheme


# What is asked for -------------------------------------------------------------------------------


def _asked() -> Asked:
    """The picture and the fields, of a form or of a bare body with a query."""
    values = _once(request.args.items(multi=True))
    if request.mimetype == "multipart/form-data":
        values |= _once(request.form.items(multi=True))
        files = {name: file.read() for name, file in request.files.items() if file.filename}
        for name in files:
            if name not in ("file", "background_file"):
                raise WrongRequest(f"unknown file {name[:40]!r}; expected file, and perhaps background_file")
        if "file" not in files:
            raise WrongRequest("there is no picture: send it as the form's file, curl -F file=@photo.jpg")
        values.pop("file", None)
        picture, background = files["file"], files.get("background_file")
    elif request.mimetype.startswith("image/") or request.mimetype == "application/octet-stream":
        picture, background = request.get_data(cache=False), None
        if not picture:
            raise WrongRequest("the body is empty; send the bytes of a picture")
    else:
        raise WrongKind(
            "send the picture as a form (curl -F file=@photo.jpg), or as the body with its own content type "
            "(curl -H 'Content-Type: image/jpeg' --data-binary @photo.jpg)"
        )
    return Asked(picture, background, {**_settings_field(values.pop("settings", "")), **values})


def _once(items: Any) -> dict[str, str]:
    """Fields by name, without empty ones."""
    values: dict[str, str] = {}
    for name, value in items:
        if not value:
            continue
        if name in values:
            raise WrongRequest(f"{name[:40]!r} is given twice; give it once")
        values[name] = value
    return values


def _settings_field(text: str) -> dict[str, Any]:
    """The settings that came as JSON in one field."""
    if not text:
        return {}
    try:
        values = json.loads(text) if len(text) <= _SETTINGS_TEXT else None
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise WrongRequest('settings must be a JSON object, as {"edges": "closed-form"}')
    return {name: value for name, value in values.items() if value is not None and value != ""}


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise OptionError(f"expected text; got {type(value).__name__}")


def _from_rembg(values: Mapping[str, Any]) -> dict[str, Any]:
    """rembg's fields as our own, which win where both are given."""
    own = {name: value for name, value in values.items() if name not in openapi.REMBG}
    given = {name: _rembg_value(name, value) for name, value in values.items() if name in openapi.REMBG}
    meant: dict[str, Any] = {}
    if given.get("a") or given.get("vm"):
        meant["edges"] = "closed-form"
    if given.get("ppm"):
        meant["opening"] = 1
    if given.get("om"):
        meant["output"] = "mask" if given.get("ppm") else "alpha"
    if "bgc" in given:
        meant["background"] = given["bgc"]
    return {**meant, **own}


def _rembg_value(name: str, value: Any) -> Any:
    schema = openapi.REMBG[name]
    try:
        if schema["type"] == "boolean":
            return _BOOL.validate_python(value)
        if schema["type"] == "integer":
            number = int(str(value))
            if not schema["minimum"] <= number <= schema.get("maximum", number):
                raise ValueError
            return number
    except (ValidationError, ValueError):
        kind = "true or false" if schema["type"] == "boolean" else "a whole number, 0 to 255"
        raise OptionError(f"{name} must be {kind}; got {str(value)[:40]!r}") from None
    return _text(value)


def _output(settings: Settings, *, over_picture: bool) -> Output:
    """The one picture that is asked for.

    Raises:
        OptionError: if there are several, or its format cannot hold it.
    """
    asked = settings.output.output
    if asked is not None and len(asked) > 1:
        raise OptionError(f"output must be one name here, as alpha; got {', '.join(asked)}")
    if over_picture and asked in (None, ("composite",)):
        output: Output = "composite"
    else:
        [output] = settings.outputs
    see_through = settings.transparent(output) and not (over_picture and output != "cutout")
    file_format = output_format(None, settings.write.format)
    if see_through and file_format.alpha == "none":
        raise OptionError(
            f"{file_format.name.upper()} cannot hold transparency; give a background (background=white), or "
            "format=png or webp"
        )
    return output


# The work ----------------------------------------------------------------------------------------


def _made(
    service: Service, picture: bytes, settings: Settings, output: Output
) -> tuple[bytes, dict[str, str], bool]:
    """A file, the headers that tell of it, and whether nothing is in it."""
    result = service.cut(picture, settings)
    pixels = render(result, output, settings)
    data = encode([pixels], output_format(None, settings.write.format), settings.write, result.metadata)
    headers = {
        "X-Width": str(pixels.shape[1]),
        "X-Height": str(pixels.shape[0]),
        "X-Model": _header(shown_model(settings.model)),
    }
    if result.notes:
        headers["X-Note"] = _header("; ".join(result.notes))
    return data, headers, result.empty


def _header(text: str) -> str:
    """Text as a header can hold it: one line of ASCII."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text)[:500]


def _model(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the page's menu as the API tells it."""
    info = REMOVERS[row["value"] or row["form"]]
    start = remover_params(info.name).model_dump()
    names = [one for one in settings_of(info.params, start) if one.name not in openapi.LEFT_OUT]
    return {
        "name": row["name"],
        "kind": row["kind"],
        "summary": row["summary"],
        "license": row["license"],
        "paper": info.paper,
        "available": row["available"],
        "need": row["need"],
        "segments": row["segments"],
        "presets": list(info.params.presets),
        "settings": {one.name: openapi.setting_schema(one) for one in names},
    }


def _grouped(fields: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """The fields of ``/api/remove`` under headings, for the page."""
    groups: dict[str, dict[str, dict[str, Any]]] = {
        "Most used": {},
        "Result": {},
        "Edges and clean-up": {},
        "Of single models": {},
        "Of rembg's server": {},
    }
    results = {*openapi.RESULT_FIELDS}
    for name, schema in fields.items():
        if name in openapi.MOST_USED:
            title = "Most used"
        elif name in openapi.REMBG:
            title = "Of rembg's server"
        elif "x-models" in schema:
            title = "Of single models"
        else:
            title = "Result" if name in results else "Edges and clean-up"
        groups[title][name] = schema
    return groups

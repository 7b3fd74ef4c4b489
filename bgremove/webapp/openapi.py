"""The API's OpenAPI document, made from the declarations that everything else is made from."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any, get_args

import bgremove
from bgremove.foreground import ForegroundParams
from bgremove.io import FORMATS, WriteParams
from bgremove.options import Params, Setting, settings
from bgremove.pipeline import Output, OutputParams
from bgremove.refine import RefineParams
from bgremove.registry import REMOVERS
from bgremove.webapp.config import ServeParams
from bgremove.webapp.removebg import RemoveBgParams

Schema = dict[str, Any]

REMBG: dict[str, Schema] = {
    "a": {"type": "boolean", "description": "As edges=closed-form"},
    "vm": {"type": "boolean", "description": "As edges=closed-form"},
    "om": {"type": "boolean", "description": "As output=alpha"},
    "ppm": {"type": "boolean", "description": "As opening=1; with om, output=mask"},
    "bgc": {"type": "string", "description": "As background: red, green, blue and opacity, 255,170,0,255"},
    "dc": {"type": "boolean", "description": "Taken and not used: edges are always decontaminated"},
    "af": {"type": "integer", "minimum": 0, "maximum": 255, "description": "Taken and not used"},
    "ab": {"type": "integer", "minimum": 0, "maximum": 255, "description": "Taken and not used"},
    "ae": {"type": "integer", "minimum": 0, "description": "Taken and not used"},
}
"""The fields of rembg's server, and what they mean here."""

ERRORS = {
    400: "The picture or a field cannot be used; the sentence says which, what was expected and what came",
    401: "No token, or a wrong one",
    403: "Not allowed here: from another site, for another host, or a model of one's own",
    404: "There is no such video (any more), or nothing is made of it yet",
    413: "The file is too large, or the picture has too many pixels",
    415: "The body is of another content type",
    429: "Too many requests at once or in a minute; Retry-After says when to come again",
    500: "A mistake of the server's; its log has the number that the sentence names",
    501: "The model or an extra that was asked for is not installed on the server, or cannot be downloaded",
    503: "Still loading, or the time limit ran out while waiting",
    504: "The time limit ran out at work",
}
"""What may be answered instead of a picture."""

MOST_USED = (
    "file",
    "model",
    "preset",
    "output",
    "background",
    "background_file",
    "format",
    "quality",
    "crop",
    "padding",
    "settings",
)
RESULT_FIELDS = (*OutputParams.model_fields, *WriteParams.model_fields, *ForegroundParams.model_fields)

_SETTING_GROUPS = (OutputParams, WriteParams, RefineParams, ForegroundParams)
LEFT_OUT = ("hint_as",)  # no request gives a hint
VIDEO_LEFT_OUT = ("rate", "preview", "codec", "background_end")  # of no use here
_IMAGES = tuple(f"image/{name}" for name in FORMATS)


def setting_schema(setting: Setting) -> Schema:
    """One setting as JSON Schema, as text in a form's field has it."""
    schema: Schema = {"description": setting.help}
    match setting.kind:
        case "choice":
            schema |= {"type": "string", "enum": [str(choice) for choice in setting.choices]}
        case "bool":
            schema |= {"type": "boolean"}
        case "int" | "float":
            schema |= {"type": "integer" if setting.kind == "int" else "number"}
            bounds = {"minimum": setting.minimum, "maximum": setting.maximum}
            schema |= {name: bound for name, bound in bounds.items() if bound is not None}
        case "numbers":
            number = r"-?\d+(\.\d+)?"
            schema |= {"type": "string", "pattern": f"^{number}(,{number}){{{setting.count - 1}}}$"}
        case _:
            schema |= {"type": "string"}
    if isinstance(setting.default, (str, int, float)) and setting.default != "":
        schema["default"] = setting.default
    return schema


@functools.cache
def remove_schema() -> dict[str, Schema]:
    """Every field of ``/api/remove`` but the files: names to JSON Schema."""
    fields: dict[str, Schema] = {
        "model": {
            "type": "string",
            "description": "Of GET /api/models; empty: the server's own",
            "example": "auto",
        },
        "preset": {
            "type": "string",
            "description": "A named set of settings, as hair; single ones win over it",
        },
        "settings": {
            "type": "string",
            "contentMediaType": "application/json",
            "description": 'Settings by name as JSON, {"edges": "closed-form"}; fields win over it',
        },
        "output": {
            "type": "string",
            "enum": list(get_args(Output)),
            "description": "What to make; empty: the composite if there is a background, else the cutout",
        },
        "background": {
            "type": "string",
            "description": "transparent, blur or a colour (white, #fa0, 255,170,0)",
            "default": "transparent",
        },
    }
    fields |= _group_schema(_SETTING_GROUPS, known=fields) | _models_schema()
    rembg = {
        name: {**schema, "description": f"rembg's: {schema['description']}"} for name, schema in REMBG.items()
    }
    return fields | rembg


def _group_schema(groups: Iterable[type[Params]], known: Mapping[str, Schema]) -> dict[str, Schema]:
    return {
        one.name: setting_schema(one) for group in groups for one in settings(group) if one.name not in known
    }


def _models_schema() -> dict[str, Schema]:
    """The settings that are models' own; of two of one name, all that either takes."""
    found: dict[str, Schema] = {}
    for name, info in REMOVERS.items():
        for one in settings(info.params) if not info.needs_file else ():
            if one.name in LEFT_OUT:
                continue
            schema = setting_schema(one)
            schema.pop("default", None)  # every model has its own
            known = found.setdefault(one.name, schema | {"x-models": []})
            known["x-models"].append(name)
            if schema["description"] not in known["description"]:
                known["description"] += f"; or, of {name}: {schema['description']}"
                for bound, widest in (("minimum", min), ("maximum", max)):
                    if bound in known and bound in schema:
                        known[bound] = widest(known[bound], schema[bound])
                    else:
                        known.pop(bound, None)
    return found


def document(params: ServeParams) -> dict[str, Any]:
    """The OpenAPI 3.1 document of a server: its paths, fields, answers and errors."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "bgremove",
            "version": bgremove.__version__,
            "summary": "Background removal on one's own machine",
            "description": (
                "Send a picture, get its subject. Two doors: /api/remove with every setting of bgremove, and "
                "/v1.0/removebg for clients of remove.bg. Short videos at /api/video."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"apiKey": []}, {"bearer": []}] if params.needs_token else [],
        "tags": [
            {"name": "pictures", "description": "Cutting out"},
            {"name": "videos", "description": "Short videos, in the background"},
            {"name": "server", "description": "About this server"},
            {"name": "remove.bg", "description": "For existing clients of remove.bg"},
        ],
        "paths": {
            "/api/remove": {"post": _remove(params)},
            "/api/models": {"get": _models()},
            "/healthz": {"get": _healthz()},
            "/metrics": {"get": _metrics()},
            **({"/api/video": {"post": _video(params)}} if params.videos else {}),
            **(
                {"/api/video/{id}": _video_state(), "/api/video/{id}/result": _video_result()}
                if params.videos
                else {}
            ),
            "/v1.0/removebg": {"post": _removebg(params)},
            "/v1.0/account": {"get": _account()},
        },
        "components": _components(),
    }


def _remove(params: ServeParams) -> dict[str, Any]:
    fields = remove_schema()
    picture = {"type": "string", "contentMediaType": "application/octet-stream", "minLength": 1}
    limits = f"at most {params.max_upload_mb:g} MB and {params.max_megapixels:g} megapixels"
    body = {
        "type": "object",
        "required": ["file"],
        "additionalProperties": False,
        "properties": {
            "file": {**picture, "description": f"The picture, {limits}; of an animation the first"},
            "background_file": {**picture, "description": "A picture to put behind the subject"},
            **fields,
        },
    }
    return {
        "operationId": "remove",
        "tags": ["pictures"],
        "summary": "Cut the subject out of a picture",
        "description": (
            "The picture as a form's file with the settings as its other fields, or as the body itself with "
            "the settings in the query."
        ),
        "parameters": [
            {"name": name, "in": "query", "schema": schema, "description": schema["description"]}
            for name, schema in fields.items()
        ],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": body,
                    "examples": {
                        "product": {
                            "summary": "A product photo on white",
                            "value": {"file": "", "background": "white", "crop": True, "padding": "5%"},
                        }
                    },
                },
                "image/*": {"schema": picture},
                "application/octet-stream": {"schema": picture},
            },
        },
        "responses": {
            "200": {
                "description": "The picture",
                "headers": {
                    "X-Width": {"$ref": "#/components/headers/Width"},
                    "X-Height": {"$ref": "#/components/headers/Height"},
                    "X-Model": {
                        "description": "The model that was used",
                        "required": True,
                        "schema": {"type": "string"},
                        "example": "lite",
                    },
                    "X-Note": {
                        "description": "A sentence about the result, if there is one: that it is empty, say",
                        "schema": {"type": "string"},
                    },
                },
                "content": {
                    name: {"schema": {"type": "string", "contentMediaType": name}} for name in _IMAGES
                },
            },
            **_errors("Error", 400, 401, 403, 413, 415, 429, 500, 501, 503, 504),
        },
    }


@functools.cache
def video_schema() -> dict[str, Schema]:
    """Every field of ``/api/video`` but the files: names to JSON Schema."""
    from bgremove.video.params import VideoParams
    from bgremove.video.temporal import SmoothParams
    from bgremove.video.writing import VideoWriteParams
    from bgremove.webapp.videos import TYPES

    common = remove_schema()
    fields: dict[str, Schema] = {
        "model": common["model"],
        "preset": common["preset"],
        "format": {
            "type": "string",
            "enum": list(TYPES),
            "default": "webm",
            "description": "The file to make; webm (VP9), mov (ProRes 4444), gif and webp can be see-through",
        },
        "background": common["background"],
    }
    groups = (VideoParams, VideoWriteParams, SmoothParams, RefineParams, ForegroundParams)
    return fields | _group_schema(groups, known={**fields, **dict.fromkeys(VIDEO_LEFT_OUT, {})})


def _video(params: ServeParams) -> dict[str, Any]:
    fields = video_schema()
    video = {"type": "string", "contentMediaType": "application/octet-stream", "minLength": 1}
    limits = f"at most {params.video_mb:g} MB and {params.video_megapixels:g} megapixels a frame"
    body = {
        "type": "object",
        "required": ["file"],
        "additionalProperties": False,
        "properties": {
            "file": {**video, "description": f"The video, {limits}"},
            "background_file": {**video, "description": "A picture to put behind the subject"},
            **fields,
        },
    }
    name = {"type": "string", "description": "Of the file, for the result's"}
    return {
        "operationId": "video",
        "tags": ["videos"],
        "summary": "Cut the subject out of a short video",
        "description": (
            "The video as a form's file with the settings as its other fields, or as the body itself with "
            f"the settings in the query. Up to {params.video_seconds:g} s of it are cut out (start and end), "
            "one video after the other; the answer comes at once, and says where to ask how far it is."
        ),
        "parameters": [
            {"name": one, "in": "query", "schema": schema, "description": schema["description"]}
            for one, schema in {**fields, "name": name}.items()
        ],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": body},
                "video/*": {"schema": video},
                "application/octet-stream": {"schema": video},
            },
        },
        "responses": {
            "202": {
                "description": "It is in line",
                "headers": {
                    "Location": {
                        "description": "Where to ask",
                        "required": True,
                        "schema": {"type": "string"},
                    }
                },
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Video"}}},
            },
            **_errors("Error", 400, 401, 403, 413, 415, 429, 500, 501, 503, 504),
        },
    }


_VIDEO_ID = [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}]


def _video_state() -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Video"}
    example = {
        "id": "wJ8vXW1Ub0cZp1c4",
        "name": "clip.mp4",
        "state": "working",
        "progress": {"done": 120, "total": 480, "fps": 24.1, "left": 14.9},
        "url": "/api/video/wJ8vXW1Ub0cZp1c4",
    }
    return {
        "get": {
            "operationId": "video_state",
            "tags": ["videos"],
            "summary": "How far a video is",
            "parameters": _VIDEO_ID,
            "responses": {"200": _json("The video", schema, example), **_errors("Error", 401, 403, 404, 500)},
        },
        "delete": {
            "operationId": "video_delete",
            "tags": ["videos"],
            "summary": "Stop the work on a video, and delete it and its result",
            "parameters": _VIDEO_ID,
            "responses": {"204": {"description": "It is gone"}, **_errors("Error", 401, 403, 404, 500)},
        },
    }


def _video_result() -> dict[str, Any]:
    from bgremove.webapp.videos import TYPES

    kinds = {name: {"schema": {"type": "string", "contentMediaType": name}} for name in TYPES.values()}
    return {
        "get": {
            "operationId": "video_result",
            "tags": ["videos"],
            "summary": "The file that was made",
            "parameters": _VIDEO_ID,
            "responses": {
                "200": {"description": "The file", "content": kinds},
                **_errors("Error", 401, 403, 404, 500),
            },
        }
    }


def _models() -> dict[str, Any]:
    schema = {
        "type": "object",
        "required": ["default", "models"],
        "properties": {
            "default": {"type": "string", "description": "What is used if no model is asked for"},
            "models": {"type": "array", "items": {"$ref": "#/components/schemas/Model"}},
        },
    }
    example = {
        "default": "lite",
        "models": [
            {
                "name": "lite",
                "kind": "network",
                "summary": "The main subject of any photo, at once: it comes with the package",
                "license": "Apache-2.0",
                "paper": "bgremove/assets/lite.md, its model card",
                "available": True,
                "need": "Comes with the package, 4.1 MB",
                "segments": False,
                "presets": [],
                "settings": {},
            }
        ],
    }
    return {
        "operationId": "models",
        "tags": ["server"],
        "summary": "The models, and the settings of each",
        "responses": {"200": _json("The models", schema, example), **_errors("Error", 401, 403, 500)},
    }


def _healthz() -> dict[str, Any]:
    schema = {
        "type": "object",
        "required": ["status", "version"],
        "properties": {
            "status": {"enum": ["ok", "loading"]},
            "version": {"type": "string"},
            "model": {"type": "string"},
        },
    }
    example = {"status": "ok", "version": bgremove.__version__, "model": "lite"}
    return {
        "operationId": "health",
        "tags": ["server"],
        "summary": "Whether the server is ready",
        "security": [],
        "responses": {
            "200": _json("Ready", schema, example),
            "503": _json("Still loading its model", schema, {**example, "status": "loading"}),
            **_errors("Error", 403, 500),
        },
    }


def _metrics() -> dict[str, Any]:
    text = {"schema": {"type": "string"}, "example": "bgremove_waiting 0.0\n"}
    return {
        "operationId": "metrics",
        "tags": ["server"],
        "summary": "Requests, seconds, queue and memory, in the text format of Prometheus",
        "responses": {
            "200": {"description": "The metrics", "content": {"text/plain": text}},
            **_errors("Error", 401, 403, 500),
        },
    }


def _removebg(params: ServeParams) -> dict[str, Any]:
    common = {one.name: setting_schema(one) for one in settings(RemoveBgParams)}
    picture = {"type": "string", "contentMediaType": "application/octet-stream"}
    sources: dict[str, Schema] = {
        "image_file_b64": {"type": "string", "description": "The picture as base64"},
        "image_url": {
            "type": "string",
            "description": "Where the picture is"
            + ("" if params.image_urls else "; this server does not fetch it (bgremove serve --image-urls)"),
        },
    }
    files = {
        "image_file": {**picture, "description": "The picture"},
        "bg_image_file": {**picture, "description": "A picture behind the subject"},
    }
    example = {"image_file_b64": "/9j/4AAQ...", "size": "full", "crop": True, "crop_margin": "5%"}
    form = {"schema": {"type": "object", "properties": {**files, **sources, **common}}}
    text = {"schema": {"type": "object", "properties": {**sources, **common}}, "example": example}
    numbers = {"type": "integer", "minimum": 0}
    answer = {
        "type": "object",
        "required": ["data"],
        "properties": {
            "data": {
                "type": "object",
                "required": ["result_b64"],
                "properties": {
                    "result_b64": {"type": "string", "contentEncoding": "base64"},
                    **{f"foreground_{name}": numbers for name in ("top", "left", "width", "height")},
                },
            }
        },
    }
    binary = ("image/png", "image/jpeg", "image/webp", "application/zip")
    return {
        "operationId": "removebg",
        "tags": ["remove.bg"],
        "summary": "As remove.bg's own: the picture without its background",
        "description": (
            "One of image_file, image_file_b64 and image_url. Nothing is charged; full, auto, 4k and 50MP "
            "have no limit but the server's own. Unknown fields are passed over. With Accept: "
            "application/json the result comes as base64."
        ),
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": form,
                "application/json": text,
                "application/x-www-form-urlencoded": text,
            },
        },
        "responses": {
            "200": {
                "description": "The picture",
                "headers": {
                    "X-Width": {"$ref": "#/components/headers/Width"},
                    "X-Height": {"$ref": "#/components/headers/Height"},
                    "X-Type": {"description": "The kind of subject", "schema": {"type": "string"}},
                    "X-Credits-Charged": {"description": "Always 0", "required": True, "schema": numbers},
                },
                "content": {
                    "application/json": {"schema": answer},
                    **{name: {"schema": {"type": "string", "contentMediaType": name}} for name in binary},
                },
            },
            **_errors("RemoveBgError", 400, 403, 415, 429, 500, 501, 503, 504),
            **_errors("Error", 413),  # of the server itself, which does not read a body that is too large
        },
    }


def _account() -> dict[str, Any]:
    schema = {"type": "object", "required": ["data"], "properties": {"data": {"type": "object"}}}
    example = {"data": {"attributes": {"credits": {"total": 1000000}, "api": {"free_calls": 1000000}}}}
    return {
        "operationId": "account",
        "tags": ["remove.bg"],
        "summary": "As remove.bg's own: credits, of which there are always enough",
        "responses": {"200": _json("The account", schema, example), **_errors("RemoveBgError", 403, 500)},
    }


def _json(description: str, schema: Schema, example: Any) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": schema, "example": example}},
    }


def _errors(shape: str, *statuses: int) -> dict[str, Any]:
    """The error answers, as references to components."""
    return {str(status): {"$ref": f"#/components/responses/{shape}{status}"} for status in statuses}


def _components() -> dict[str, Any]:
    def answer(status: int, shape: str, example: Any) -> dict[str, Any]:
        found = _json(ERRORS[status], {"$ref": f"#/components/schemas/{shape}"}, example)
        if status == 429:
            found["headers"] = {
                "Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer", "minimum": 1}}
            }
        return found

    number = {"type": "integer", "minimum": 1}
    ours = {"error": "quality must be a whole number from 1 to 100; got 900"}
    theirs = {
        "errors": [
            {
                "title": "Invalid roi parameter given",
                "code": "invalid_roi",
                "detail": "expected 4 lengths in px or %, as 0% 0% 100% 100%; got '5'",
            }
        ]
    }
    return {
        "securitySchemes": {
            "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
            "bearer": {"type": "http", "scheme": "bearer"},
        },
        "headers": {
            "Width": {
                "description": "Of the result, pixels",
                "required": True,
                "schema": number,
                "example": 1024,
            },
            "Height": {
                "description": "Of the result, pixels",
                "required": True,
                "schema": number,
                "example": 683,
            },
        },
        "schemas": {
            "Error": {
                "type": "object",
                "required": ["error"],
                "properties": {"error": {"type": "string", "minLength": 1}},
            },
            "RemoveBgError": {
                "type": "object",
                "required": ["errors"],
                "properties": {
                    "errors": {
                        "type": "array",
                        "minItems": 1,
                        "items": {
                            "type": "object",
                            "required": ["title", "code"],
                            "properties": {name: {"type": "string"} for name in ("title", "code", "detail")},
                        },
                    }
                },
            },
            "Video": {
                "type": "object",
                "required": ["id", "name", "state", "url"],
                "properties": {
                    **{name: {"type": "string"} for name in ("id", "name", "url", "error")},
                    "state": {"enum": ["new", "waiting", "working", "done", "stopped", "failed"]},
                    "place": {"type": "integer", "description": "In line; 1 is the next"},
                    "progress": {"type": "object", "description": "Frames done, total, fps, seconds left"},
                    "result": {
                        "type": "object",
                        "required": ["url", "name", "type", "bytes", "frames", "seconds", "complete"],
                        "description": "The file that was made",
                    },
                },
            },
            "Model": {
                "type": "object",
                "required": ["name", "kind", "summary", "license", "available", "settings"],
                "properties": {
                    **{
                        name: {"type": "string"}
                        for name in ("name", "kind", "summary", "license", "paper", "need")
                    },
                    "available": {"type": "boolean"},
                    "segments": {"type": "boolean", "description": "It finds subjects one by one"},
                    "presets": {"type": "array", "items": {"type": "string"}},
                    "settings": {"type": "object", "description": "By name, as JSON Schema"},
                },
            },
        },
        "responses": {
            **{f"Error{status}": answer(status, "Error", ours) for status in ERRORS},
            **{f"RemoveBgError{status}": answer(status, "RemoveBgError", theirs) for status in ERRORS},
        },
    }

"""The addresses of videos: the page's, under ``/page/videos``, and the API's, under ``/api/video``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import flask
from flask import Blueprint, Response, jsonify, make_response, request

from bgremove.background import Background
from bgremove.errors import BGRemoveError, OptionError
from bgremove.webapp import openapi, parts
from bgremove.webapp.api import WrongKind
from bgremove.webapp.errors import NotFound, WrongRequest
from bgremove.webapp.page import current_visitor, json_body, plain_picture, text_of
from bgremove.webapp.pictures import shown_name
from bgremove.webapp.videos import OPAQUE, TYPES, Job, Videos

if TYPE_CHECKING:
    from bgremove.video.params import VideoSettings

blueprint = Blueprint("videos", __name__)

_PLAIN = ("", "application/octet-stream")


# The page's --------------------------------------------------------------------------------------


@blueprint.get("/page/videos")
def videos() -> Response:
    """All videos of a visitor, with their states."""
    return jsonify(videos=[state(one) for one in _videos().of(current_visitor().key)])


@blueprint.post("/page/videos")
def add() -> tuple[Response, int]:
    """Keep a video: the body is the file, the query has its name."""
    visitor = current_visitor()
    name = shown_name(request.args.get("name", "")) or "video"
    stream = request.stream
    job = _videos().add(stream, name=name, owner=visitor.key, size=request.content_length)
    return jsonify(state(job)), 201


@blueprint.get("/page/videos/<id>")
def video(id: str) -> Response:
    """The state of a video."""
    return jsonify(state(_mine(id)))


@blueprint.delete("/page/videos/<id>")
def remove(id: str) -> Response:
    """Stop the work on it, and delete it."""
    _videos().remove(_mine(id))
    return make_response("", 204)


@blueprint.post("/page/videos/<id>/cut")
def cut(id: str) -> tuple[Response, int]:
    """Cut it out, as soon as it is its turn."""
    job, body = _mine(id), json_body()
    settings, kind = _asked(body, current_visitor().background)
    _videos().begin(job, settings, kind)
    return jsonify(state(job)), 202


@blueprint.post("/page/videos/<id>/stop")
def stop(id: str) -> Response:
    """Stop the work on it; what there is already is kept."""
    job = _mine(id)
    _videos().halt(job)
    return jsonify(state(job))


@blueprint.get("/page/videos/<id>/frame.webp")
def frame(id: str) -> Response:
    """The last frame that was made."""
    job = _mine(id)
    if not job.shown[1]:
        raise NotFound("no frame was made yet")
    return plain_picture(job.shown[1], "image/webp")


@blueprint.get("/page/videos/<id>/still.jpg")
def still_photo(id: str) -> Response:
    """A frame as it is."""
    return plain_picture(_still(id).photo, "image/jpeg")


@blueprint.get("/page/videos/<id>/still.png")
def still_cutout(id: str) -> Response:
    """A frame, cut out."""
    return plain_picture(_still(id).cutout, "image/png")


@blueprint.get("/page/videos/<id>/result")
def result(id: str) -> Response:
    """The file that was made."""
    return _file(_mine(id))


# The API's ---------------------------------------------------------------------------------------


@blueprint.post("/api/video")
def api_add() -> Response:
    """Take a video and cut it out, as soon as it is its turn: the answer says where to ask for it."""
    all_videos = _videos()
    all_videos.check()
    values = {name: value for name, value in request.args.items() if value}
    behind = None
    if request.mimetype == "multipart/form-data":
        values |= {name: value for name, value in request.form.items() if value}
        for name in request.files:
            if name not in ("file", "background_file"):
                raise WrongRequest(f"unknown file {name[:40]!r}; expected file, and perhaps background_file")
        sent = request.files.get("file")
        if sent is None:
            raise WrongRequest("there is no video: send it as the form's file, curl -F file=@clip.mp4")
        name, stream, size = shown_name(sent.filename) or "video", sent.stream, None
        if (picture := request.files.get("background_file")) is not None:
            behind = picture.stream.read(parts().params.upload_bytes + 1)
    elif request.mimetype.startswith(("video/", "image/")) or request.mimetype in _PLAIN:
        name, stream, size = "video", request.stream, request.content_length
        name = shown_name(values.pop("name", "")) or name
    else:
        raise WrongKind(
            "send the video as a form (curl -F file=@clip.mp4), or as the body with its own content type "
            "(curl -H 'Content-Type: video/mp4' --data-binary @clip.mp4)"
        )
    given = _asked_of_api(values, behind)
    job = all_videos.add(stream, name=name, size=size)
    try:
        all_videos.begin(job, *given)
    except BGRemoveError:
        all_videos.remove(job)
        raise
    response = jsonify(_told(job))
    response.status_code = 202
    response.headers["Location"] = f"/api/video/{job.id}"
    return response


@blueprint.get("/api/video/<id>")
def api_state(id: str) -> Response:
    """How far a video is."""
    job = _videos().job(id)
    response = jsonify(_told(job))
    if job.busy:
        response.headers["Retry-After"] = "1"
    return response


@blueprint.get("/api/video/<id>/result")
def api_result(id: str) -> Response:
    """The file that was made of a video."""
    return _file(_videos().job(id))


@blueprint.delete("/api/video/<id>")
def api_remove(id: str) -> Response:
    """Stop the work on a video, and delete it."""
    _videos().remove(_videos().job(id))
    return make_response("", 204)


# What requests say -------------------------------------------------------------------------------


def _videos() -> Videos:
    return parts().videos


def _mine(id: str) -> Job:
    return _videos().job(id, current_visitor().key)


def _still(id: str) -> Any:
    job = _mine(id)
    text = request.args.get("t", "0")
    try:
        at = float(text)
    except ValueError:
        at = math.nan
    if not 0 <= at <= 1e6:
        raise WrongRequest("t must be seconds from the video's beginning")
    service, all_videos = parts().service, _videos()
    settings = service.video_settings(request.args.get("model", ""))
    return service.run(lambda: all_videos.still_of(job, at, settings))


def _asked(body: Mapping[str, Any], picture: bytes | None) -> tuple[VideoSettings, str]:
    """What the page asks for."""
    service = parts().service
    values = body.get("settings") or {}
    if not isinstance(values, dict):
        raise WrongRequest("settings must be an object of settings by name")
    for name in {"model", "preset", "background"} & set(values):
        raise WrongRequest(f"{name} belongs beside settings, not into it")
    kind = _kind(text_of(body, "format") or "webm")
    wanted = text_of(body, "background") or "transparent"
    background: Background | str = wanted
    if wanted == "picture":
        if picture is None:
            raise WrongRequest("there is no background picture here; choose one first")
        data, fit = picture, values.get("background_fit", "cover")
        background = service.run(lambda: service.background(data, fit=service.fit(fit)))
    elif wanted == "transparent" and kind in OPAQUE and values.get("output") != "alpha":
        background = "white"
    return service.video_settings(text_of(body, "model"), background=background, **values), kind


def _asked_of_api(values: dict[str, Any], picture: bytes | None) -> tuple[VideoSettings, str]:
    """What a program asks for."""
    service = parts().service
    for name in openapi.VIDEO_LEFT_OUT:
        if name in values:
            raise OptionError(f"{name} cannot be chosen here; /api says what can")
    kind = _kind(values.pop("format", "webm"))
    model, preset = values.pop("model", ""), values.pop("preset", None)
    background: Background | str = values.pop("background", "transparent")
    if picture is not None:
        if background != "transparent":
            raise WrongRequest("background and background_file are both given; leave one out")
        fit = service.fit(values.get("background_fit", "cover"))
        data = picture
        background = service.run(lambda: service.background(data, fit=fit))
    settings = service.video_settings(model, preset=preset, background=background, **values)
    if kind in OPAQUE and settings.transparent:
        raise OptionError(
            f"{kind.upper()} cannot hold transparency; give a background (background=white), or format=webm"
        )
    return settings, kind


def _kind(text: str) -> str:
    kind = text.strip().lower().removeprefix(".")
    if kind not in TYPES:
        raise OptionError(f"format must be one of {', '.join(TYPES)}; got {text[:40]!r}")
    return kind


# What answers hold -------------------------------------------------------------------------------


def state(job: Job) -> dict[str, Any]:
    """A video for JSON: what it is, and how far."""
    height, width = job.info.size
    facts: dict[str, Any] = {
        "id": job.id,
        "name": job.name,
        "width": width,
        "height": height,
        "seconds": None if job.seconds is None else round(job.seconds, 3),
        "fps": round(float(job.info.rate), 3),
        "sound": job.info.sound,
        "bytes": job.nbytes,
        "note": _notes(job.info_notes),
        "state": job.state,
    }
    if job.state == "waiting":
        facts["place"] = parts().videos.place(job)
    now = job.progress
    if now is not None and job.state in ("working", "failed"):
        facts["progress"] = {
            "done": now.done,
            "total": now.total,
            "fps": round(now.fps, 1),
            "left": None if now.left is None else round(now.left, 1),
        }
        facts["frame"] = job.shown[0]
    if job.error:
        facts["error"] = job.error
    made = job.made
    if made is not None and not job.busy:
        facts["result"] = {
            "name": made.name,
            "type": made.mimetype,
            "bytes": made.nbytes,
            "run": job.runs,
            "frames": made.result.frames,
            "seconds": round(float(made.result.duration), 3),
            "took": round(made.result.seconds, 2),
            "empty": made.result.empty,
            "complete": made.result.complete,
            "note": _notes((*([job.stopped_by] if job.stopped_by else []), *job.notes)),
        }
    return facts


def _told(job: Job) -> dict[str, Any]:
    """The same for programs, with addresses."""
    facts = state(job)
    for name in ("note", "frame"):
        facts.pop(name, None)
    here = f"/api/video/{job.id}"
    facts["url"] = here
    if "result" in facts:
        facts["result"] = {**facts["result"], "url": f"{here}/result"}
    return facts


def _notes(notes: tuple[str, ...]) -> str:
    return " ".join(f"{one[:1].upper()}{one[1:]}." for one in notes)


def _file(job: Job) -> Response:
    made = job.made
    if made is None or job.busy:
        raise NotFound("nothing is made of this video yet; ask for its state, and come again when it is done")
    try:
        return flask.send_file(
            made.path, made.mimetype, as_attachment=True, download_name=made.name, max_age=0
        )
    except FileNotFoundError:
        raise NotFound("this file is not here any more; cut the video out again") from None

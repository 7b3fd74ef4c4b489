"""The page and its own endpoints, under ``/page``."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import flask
from flask import Blueprint, Response, current_app, jsonify, make_response, render_template, request

from bgremove import __version__
from bgremove.demo import SAMPLES, sample_path
from bgremove.errors import BGRemoveError
from bgremove.pipeline import Settings
from bgremove.webapp import parts
from bgremove.webapp.edits import Stroke, parse_edits
from bgremove.webapp.errors import Busy, NotFound, WrongRequest
from bgremove.webapp.guard import takes_video
from bgremove.webapp.pictures import (
    File,
    box_list,
    keep_cut,
    keep_refined,
    made_file,
    original_preview,
    result_settings,
    shown_name,
)
from bgremove.webapp.service import Service
from bgremove.webapp.store import Kept, Revision, Visitor

blueprint = Blueprint("page", __name__)

_JSON_BYTES = 4_000_000
_FIELDS = 1000  # of a form, as of a multipart one
_ZIP_MOST = 1000
_ZIPS = threading.BoundedSemaphore(4)  # on their way at once
_ZIP_TRIES = 30  # a second apart, for each picture


class Request(flask.Request):
    """Pictures stay in memory, whatever they are called: their size is limited before they are read.

    Videos go to files without a name.
    """

    def _get_file_stream(  # werkzeug's own place for this
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> Any:
        if takes_video(self.method, self.path):
            return tempfile.TemporaryFile(dir=parts().videos.folder)
        return io.BytesIO()

    def _load_form_data(self) -> None:
        """Refuses very many fields in the style of an address: each takes a hundred times its bytes."""
        kind = "application/x-www-form-urlencoded"
        if "form" not in self.__dict__ and self.mimetype == kind and self.get_data().count(b"&") > _FIELDS:
            raise WrongRequest(f"a form may have at most {_FIELDS} fields here")
        super()._load_form_data()


@blueprint.get("/")
def index() -> Response:
    """The page, or what asks for the token."""
    name = "page.html" if parts().guard.allowed() else "login.html"
    folder = os.path.join(current_app.root_path, str(current_app.template_folder))
    if not os.path.exists(os.path.join(folder, name)):
        return make_response(f"<!doctype html><title>bgremove</title><p>{name} is not here.")
    response = make_response(render_template(name, version=__version__))
    response.headers["Cache-Control"] = "no-store"  # whoever may see it can change
    return response


@blueprint.post("/page/login")
def login() -> Response:
    """Take the token of the link, and remember it in a cookie."""
    parts().guard.log_in(json_body().get("token"))
    response = make_response("", 204)
    parts().guard.set_cookie(response)
    return response


@blueprint.get("/page/config")
def config() -> Response:
    """Everything the page is built from."""
    from bgremove.webapp.forms import page_config

    return jsonify(page_config(parts().params))


@blueprint.get("/page/samples/<name>")
def sample(name: str) -> Response:
    """A photograph that comes with the package."""
    known = {one.name for one in SAMPLES}
    wanted = name.removesuffix(".jpg")
    if wanted not in known:
        raise NotFound(f"there is no such sample; there are {', '.join(sorted(known))}")
    with open(sample_path(f"{wanted}.jpg"), "rb") as file:
        return plain_picture(file.read(), "image/jpeg")


# A visitor and the pictures ----------------------------------------------------------------------


@blueprint.post("/page/visitors")
def new_visitor() -> tuple[Response, int]:
    """A key for somebody new."""
    return jsonify(visitor=parts().store.new_visitor().key), 201


@blueprint.get("/page/pictures")
def pictures() -> Response:
    """All pictures of a visitor, with their states."""
    return jsonify(pictures=[_state(one) for one in list(current_visitor().pictures.values())])


@blueprint.post("/page/pictures")
def add() -> tuple[Response, int]:
    """Keep a picture."""
    visitor = current_visitor()
    data, name = _upload()
    picture = parts().service.look(data, name=name or "the picture")
    height, width = picture.size
    note = " ".join(f"{one}." for one in picture.notes)
    kept = Kept(name or "picture", data, width, height, note)
    parts().store.add(visitor, kept)
    return jsonify(_state(kept)), 201


@blueprint.get("/page/pictures/<id>")
def picture(id: str) -> Response:
    """The state of a picture."""
    return jsonify(_state(current_visitor().picture(id)))


@blueprint.delete("/page/pictures")
def clear() -> Response:
    """Forget all pictures of a visitor."""
    parts().store.remove(current_visitor())
    return make_response("", 204)


@blueprint.delete("/page/pictures/<id>")
def remove(id: str) -> Response:
    """Forget a picture."""
    parts().store.remove(current_visitor(), id)
    return make_response("", 204)


@blueprint.post("/page/pictures/<id>/cut")
def cut(id: str) -> Response:
    """Cut a picture out."""
    service, visitor, body = parts().service, current_visitor(), json_body()
    kept = visitor.picture(id)
    values = body.get("settings") or {}
    if not isinstance(values, dict):
        raise WrongRequest("settings must be an object of settings by name")
    values = {name: value for name, value in values.items() if name not in ("output", "background")}
    for name in {"model", "preset"} & set(values):
        raise WrongRequest(f"{name} belongs beside settings, not into it")
    settings = service.settings(text_of(body, "model"), preset=text_of(body, "preset"), **values)
    with kept.in_work() as ticket:
        revision = service.run(lambda: keep_cut(kept, service, settings), ticket)
    parts().store.fit(visitor, kept)
    parts().metrics.picture(settings.model, empty=revision.box is None)
    return jsonify(_shown(kept, revision))


@blueprint.post("/page/pictures/<id>/refine")
def refine(id: str) -> Response:
    """Work a brushed region out again."""
    service, visitor, body = parts().service, current_visitor(), json_body()
    kept = visitor.picture(id)
    number, strokes = _number(body), parse_edits(body.get("edits"))
    with kept.in_work() as ticket:
        revision = service.run(lambda: keep_refined(kept, service, number, strokes), ticket)
    parts().store.fit(visitor, kept)
    return jsonify(_shown(kept, revision))


@blueprint.get("/page/pictures/<id>/original.jpg")
def original(id: str) -> Response:
    """The photo at the preview's size."""
    service, kept = parts().service, current_visitor().picture(id)
    if kept.original is not None:
        return plain_picture(kept.original, "image/jpeg")
    return plain_picture(service.run(lambda: original_preview(kept, service)), "image/jpeg")


@blueprint.get("/page/pictures/<id>/foreground.jpg")
def foreground(id: str) -> Response:
    """The subject's own colours at the preview's size."""
    return plain_picture(_revision(id).foreground, "image/jpeg")


@blueprint.get("/page/pictures/<id>/alpha.png")
def alpha(id: str) -> Response:
    """The matte at the preview's size."""
    return plain_picture(_revision(id).alpha_preview, "image/png")


# Downloads ---------------------------------------------------------------------------------------


@blueprint.put("/page/background")
def set_background() -> Response:
    """Keep a visitor's own background picture."""
    visitor = current_visitor()
    data, name = _upload()
    height, width = parts().service.look(data, name=name or "the background").size
    parts().store.set_background(visitor, data)
    return jsonify(width=width, height=height)


@blueprint.delete("/page/background")
def drop_background() -> Response:
    """Forget it."""
    parts().store.set_background(current_visitor(), None)
    return make_response("", 204)


@blueprint.post("/page/pictures/<id>/result")
def result(id: str) -> Response:
    """A picture as a file, at its full size."""
    service, visitor, body = parts().service, current_visitor(), json_body()
    kept = visitor.picture(id)
    number, strokes = _number(body), parse_edits(body.get("edits"))
    background = visitor.background

    def work() -> File:
        settings = result_settings(service, body, background)
        return made_file(kept, service, number, strokes, settings)

    made = service.run(work)
    return flask.send_file(
        io.BytesIO(made.data), made.mimetype, as_attachment=True, download_name=made.name, max_age=0
    )


@blueprint.post("/page/zip")
def zipped() -> Response:
    """Many pictures in one file, made and sent one by one."""
    service, visitor, body = parts().service, current_visitor(), json_body()
    items = body.get("items")
    if not isinstance(items, list) or not 1 <= len(items) <= _ZIP_MOST:
        raise WrongRequest(f"items must be a list of 1 to {_ZIP_MOST} pictures")
    todo = [_zip_item(visitor, one) for one in items]
    if len({kept.id for kept, *_ in todo}) < len(todo):
        raise WrongRequest("items must have each picture once")
    background = visitor.background
    settings = service.run(lambda: result_settings(service, body, background))
    if not _ZIPS.acquire(blocking=False):  # each holds one of the server's threads, as long as it is read
        raise Busy("other zips are on their way just now; try again in 5 s", 5)
    held = [_ZIPS]

    def release() -> None:
        while held:
            held.pop().release()

    response = Response(_read_out(_zip(service, todo, settings), release), mimetype="application/zip")
    response.call_on_close(release)
    response.headers.set("Content-Disposition", "attachment", filename="cutouts.zip")
    return response


Todo = tuple[Kept, int | None, tuple[Stroke, ...]]


def _zip_item(visitor: Visitor, item: Any) -> Todo:
    if not isinstance(item, dict) or not isinstance(item.get("id"), str):
        raise WrongRequest("every one of items must be an object with the id of a picture")
    kept, number = visitor.picture(item["id"]), _number(item)
    kept.revision(number)  # said before anything is sent
    return kept, number, parse_edits(item.get("edits"))


def _zip(service: Service, todo: list[Todo], settings: Settings) -> Iterator[bytes]:
    """The zip's bytes; what could not be made is named in a text inside it."""
    taken: set[str] = set()
    sent, failed = _Sent(), []
    with zipfile.ZipFile(cast(Any, sent), "w", zipfile.ZIP_STORED) as archive:
        for kept, number, strokes in todo:
            work = functools.partial(made_file, kept, service, number, strokes, settings)
            try:
                made = _patiently(service, work)
            except BGRemoveError as error:
                failed.append(f"{kept.name}: {error}")
                continue
            archive.writestr(_free(made.name, taken), made.data)
            yield sent.taken()
        if failed:
            archive.writestr("not made.txt", "\n".join(failed) + "\n")
    yield sent.taken()


def _read_out(pieces: Iterator[bytes], then: Callable[[], None]) -> Iterator[bytes]:
    try:
        yield from pieces
    finally:
        then()


def _patiently(service: Service, work: Callable[[], File]) -> File:
    """What `work` makes, also if others fill the line for a while."""
    for _ in range(_ZIP_TRIES):
        with contextlib.suppress(Busy):
            return service.run(work)
        time.sleep(1)
    return service.run(work)


class _Sent:
    """A file that cannot be rewound, whose bytes are taken as they come."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing waits."""

    def taken(self) -> bytes:
        """What was written since the last time."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _free(name: str, taken: set[str]) -> str:
    """`name`, with a number if there is one in the zip already."""
    stem, _, extension = name.rpartition(".")
    free, number = name, 2
    while free.lower() in taken:
        free, number = f"{stem}-{number}.{extension}", number + 1
    taken.add(free.lower())
    return free


# What requests say and answers hold --------------------------------------------------------------


def current_visitor() -> Visitor:
    """The one whose key the request at hand shows."""
    key = request.headers.get("X-Visitor", "")
    if not key:
        raise WrongRequest("the header X-Visitor is missing; load the page again")
    return parts().store.visitor(key)


def _revision(id: str) -> Revision:
    text = request.args.get("r", "")
    if text and not re.fullmatch(r"\d{1,9}", text):
        raise WrongRequest("r must be the number of a revision")
    return current_visitor().picture(id).revision(int(text) if text else None)


def json_body() -> dict[str, Any]:
    """The body of the request at hand, which must be a JSON object."""
    if (request.content_length or 0) > _JSON_BYTES:
        raise WrongRequest(f"JSON may have at most {_JSON_BYTES / 1e6:g} MB here")
    try:
        body = request.get_json(silent=True) if request.data else {}
    except RecursionError:  # a hundred thousand brackets
        body = None
    if not isinstance(body, dict):
        raise WrongRequest("the body must be a JSON object, sent as application/json")
    return body


def text_of(body: Mapping[str, Any], name: str) -> str:
    """A field that must be text; empty without it."""
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise WrongRequest(f"{name} must be text")
    return value or ""


def _number(body: dict[str, Any]) -> int | None:
    value = body.get("revision")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise WrongRequest("revision must be a whole number")
    return value


def _upload() -> tuple[bytes, str]:
    """The content and the name of the one file of a form."""
    file = request.files.get("file")
    if file is None:
        raise WrongRequest("the form must have the picture as its field file (multipart/form-data)")
    return file.stream.getvalue(), shown_name(file.filename)  # type: ignore[attr-defined]


def _state(kept: Kept) -> dict[str, Any]:
    """A picture, for the page: what it is, and how far it is."""
    facts: dict[str, Any] = {
        "id": kept.id,
        "name": kept.name,
        "width": kept.width,
        "height": kept.height,
        "bytes": len(kept.data),
        "note": kept.note,
        "state": "new",
    }
    tickets = list(kept.tickets)
    if tickets:
        place = parts().service.place(tickets[-1])
        facts |= {"state": "waiting" if place else "working", "place": place}
    elif kept.error:
        facts |= {"state": "failed", "error": kept.error}
    elif kept.revisions:
        latest = kept.revision()
        facts |= {"state": "done", "cut": _shown(kept, latest), "revisions": list(kept.revisions)}
    return facts


def _shown(kept: Kept, revision: Revision) -> dict[str, Any]:
    """A revision, for the page."""
    width, height = revision.preview
    return {
        "id": kept.id,
        "revision": revision.number,
        "seconds": round(revision.seconds, 3),
        "empty": revision.box is None,
        "note": revision.note,
        "box": box_list(revision.box),
        "preview": {"width": width, "height": height},
        "segments": revision.segments,
    }


def plain_picture(data: bytes, mimetype: str) -> Response:
    """A picture that nobody else may keep."""
    response = Response(data, mimetype=mimetype)
    response.headers["Cache-Control"] = "private, no-store"
    return response

"""What the web app answers when it does not do what was asked: a status and a sentence."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from bgremove.errors import BGRemoveError, DeviceError, MissingExtraError, WeightsError

if TYPE_CHECKING:
    from flask import Flask, Response
    from werkzeug.exceptions import HTTPException

_LONGEST = 1000  # letters of a sentence: some repeat what was sent

log = logging.getLogger("bgremove.webapp")


class Fault(BGRemoveError):
    """A request that is refused.

    Attributes:
        status: of the HTTP answer.
        sentence: what was wrong and what to do.
        headers: more headers of the answer.
    """

    status: int = 400

    def __init__(self, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.headers: dict[str, str] = dict(headers or {})


class WrongRequest(Fault):
    """The request itself makes no sense: a field is missing, JSON is broken."""


class NotAllowedIn(Fault):
    """No token, or a wrong one."""

    status = 401


class Refused(Fault):
    """From another site, for another host, or not allowed here."""

    status = 403


class NotFound(Fault):
    """There is no such thing here, or it belongs to somebody else."""

    status = 404


class TooLarge(Fault):
    """A file of too many bytes, or a picture of too many pixels."""

    status = 413


class Busy(Fault):
    """Too much at once; the answer says when to come again."""

    status = 429

    def __init__(self, sentence: str, seconds: float = 2) -> None:
        super().__init__(sentence, {"Retry-After": str(max(1, round(seconds)))})


class TooSlow(Fault):
    """It took longer than a request may: to wait (503) or to work (504)."""

    def __init__(self, sentence: str, status: int = 503) -> None:
        super().__init__(sentence, {"Retry-After": "10"} if status == 503 else None)
        self.status = status


def status_of(error: BGRemoveError) -> int:
    """The HTTP status that says what kind of error it is: 400 unless it knows better."""
    if isinstance(error, Fault):
        return error.status
    return 501 if isinstance(error, (MissingExtraError, WeightsError, DeviceError)) else 400


SENTENCES = {
    400: "the request cannot be understood; check its fields",
    404: "there is nothing under this address",
    405: "this address takes other methods; see /api",
    413: "the upload is too large; this server takes files up to {megabytes:g} MB",
    415: "this address takes another content type; see /api",
}


def sentence_of(error: HTTPException, megabytes: float) -> str:
    """What to say of one of Flask's own errors."""
    text = SENTENCES.get(error.code or 500, (error.description or error.name).rstrip("."))
    return text.format(megabytes=megabytes)


def unforeseen(error: Exception) -> str:
    """The sentence for a mistake of ours, whose traceback goes to the log under the number it names."""
    number = secrets.token_hex(4)
    log.error("number %s", number, exc_info=error)
    return f"something went wrong here (number {number} in the log); the next picture may well work"


def answer(sentence: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """An error as JSON, ``{"error": sentence}``."""
    from flask import jsonify

    response = jsonify(error=sentence if len(sentence) <= _LONGEST else f"{sentence[:_LONGEST]} ...")
    response.status_code = status
    response.headers.update(dict(headers or {}))
    return response


def init_app(app: Flask) -> None:
    """Every error of `app` becomes a sentence, and every request a line of the log."""
    from flask import g, request
    from werkzeug.exceptions import HTTPException

    from bgremove.webapp import parts

    def ours(error: BGRemoveError) -> Response:
        return answer(str(error), status_of(error), getattr(error, "headers", None))

    def flasks(error: HTTPException) -> Response:
        headers = {name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After")}
        return answer(sentence_of(error, parts().params.max_upload_mb), error.code or 500, headers)

    def others(error: Exception) -> Response:
        return answer(unforeseen(error), 500)

    app.register_error_handler(BGRemoveError, ours)
    app.register_error_handler(HTTPException, flasks)
    app.register_error_handler(Exception, others)

    @app.before_request
    def start() -> None:
        g.started = time.perf_counter()

    @app.after_request
    def seen(response: Response) -> Response:
        seconds = time.perf_counter() - cast(float, g.get("started", time.perf_counter()))
        route = request.url_rule.rule if request.url_rule else "-"  # no names, no queries, no tokens
        parts().metrics.seen(route, request.method, response.status_code, seconds)
        log.info("%s %s %d %.3f s", request.method, route, response.status_code, seconds)
        return response

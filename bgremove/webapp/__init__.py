"""The web page and its HTTP API, a Flask app: ``bgremove serve``, or :func:`create_app`."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from bgremove.errors import MissingExtraError
from bgremove.webapp.config import ServeParams

if TYPE_CHECKING:
    from flask import Flask

    from bgremove.webapp.guard import Guard
    from bgremove.webapp.live import Live
    from bgremove.webapp.service import Service
    from bgremove.webapp.store import Store
    from bgremove.webapp.videos import Videos

__all__ = ["Parts", "ServeParams", "create_app", "parts"]


class MetricsLike(Protocol):
    """What counts requests."""

    def seen(self, route: str, method: str, status: int, seconds: float) -> None: ...

    def picture(self, model: str, *, empty: bool = False) -> None: ...

    def text(self) -> str: ...


@dataclass
class Parts:
    """What an app is made of; ``app.extensions["bgremove"]``."""

    params: ServeParams
    service: Service
    store: Store
    guard: Guard
    metrics: MetricsLike
    videos: Videos
    live: Live


def parts() -> Parts:
    """The parts of the app that the request at hand is for."""
    from flask import current_app

    return cast(Parts, current_app.extensions["bgremove"])


def create_app(
    params: ServeParams | None = None, *, hosts: Sequence[str] = (), frames: Sequence[str] = ()
) -> Flask:
    """The app: the page, its own endpoints and the API. No network is loaded before ``parts.service.load()``.

    Args:
        params: how it is served; the defaults are those of ``bgremove serve``.
        hosts: more names under which it may be called without a token, as a notebook's own proxy's;
            ``.example.com`` is every name below that.
        frames: origins whose pages may show it in a frame; without any, only its own may.

    Raises:
        MissingExtraError: without the extra ``web``.
    """
    for package in ("flask", "waitress", "prometheus_client"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(f'the web page needs {package}; to have it: pip install "bgremove[web]"')
    from flask import Flask

    from bgremove.webapp import errors, guard, live, page, service, store, video_views, videos

    params = params or ServeParams()
    app = Flask(__name__, static_folder="static", template_folder="templates")
    app.request_class = page.Request
    # The larger one is for a picture as text in a form's field (base64), a third larger than its bytes.
    app.config.update(MAX_CONTENT_LENGTH=params.body_bytes, MAX_FORM_MEMORY_SIZE=params.body_bytes)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions["bgremove"] = made = Parts(
        params,
        service.Service(params),
        store.Store(params),
        guard.Guard(params, hosts, frames),
        _NoMetrics(),
        videos.Videos(params),
        live.Live(params),
    )
    made.store.in_use = made.videos.in_use
    if _is_there("metrics"):
        made.metrics = importlib.import_module("bgremove.webapp.metrics").Metrics(made.service, made.store)
    made.guard.init_app(app)
    errors.init_app(app)
    app.register_blueprint(page.blueprint)
    app.register_blueprint(video_views.blueprint)
    app.register_blueprint(live.blueprint)
    for name in ("api", "removebg"):
        if _is_there(name):
            app.register_blueprint(importlib.import_module(f"bgremove.webapp.{name}").blueprint)
    return app


class _NoMetrics:
    """Counts nothing."""

    def seen(self, route: str, method: str, status: int, seconds: float) -> None:
        """One request more."""

    def picture(self, model: str, *, empty: bool = False) -> None:
        """One cut-out more."""

    def text(self) -> str:
        """What was counted, in Prometheus' format."""
        return ""


def _is_there(name: str) -> bool:
    return importlib.util.find_spec(f"bgremove.webapp.{name}") is not None

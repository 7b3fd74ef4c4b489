"""The page and its own endpoints, under ``/page``."""

from __future__ import annotations

import os

import flask
from flask import Blueprint, current_app, render_template

from bgremove.webapp import parts

blueprint = Blueprint("page", __name__)


class Request(flask.Request):
    """Uploads stay in memory, whatever they are called: their size is limited before they are read."""


@blueprint.get("/")
def index() -> str:
    """The page, or what asks for the token."""
    name = "page.html" if parts().guard.allowed() else "login.html"
    folder = os.path.join(current_app.root_path, current_app.template_folder or "")
    if not os.path.exists(os.path.join(folder, name)):
        return f"<!doctype html><title>bgremove</title><p>{name} is not here yet."
    return render_template(name)

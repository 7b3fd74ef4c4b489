"""Apps, clients and servers of the real thing, with the shipped network."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image as PILImage

from bgremove.demo import sample_path
from bgremove.webapp import Parts, ServeParams, create_app
from bgremove.webapp.server import Server


def photo_bytes(name: str = "cat", size: tuple[int, int] | None = (480, 360), kind: str = "JPEG") -> bytes:
    """A sample photograph as a file."""
    with PILImage.open(sample_path(f"{name}.jpg")) as picture:
        small = picture.convert("RGB") if size is None else picture.convert("RGB").resize(size)
    file = io.BytesIO()
    small.save(file, kind)
    return file.getvalue()


def pixels_of(data: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The pixels of a file's content."""
    with PILImage.open(io.BytesIO(data)) as picture:
        return np.array(picture)


@pytest.fixture(scope="session")
def cat() -> bytes:
    """A photograph, 480 x 360, as a JPEG file."""
    return photo_bytes()


@pytest.fixture
def app() -> Flask:
    """The app, on loopback without a token."""
    return create_app(ServeParams(workers=2))


@pytest.fixture
def app_parts(app: Flask) -> Parts:
    """What it is made of."""
    parts: Parts = app.extensions["bgremove"]
    return parts


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client of it."""
    return app.test_client()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts servers on free ports, and stops them in the end."""
    started: list[Server] = []

    def start(**values: Any) -> Server:
        server = Server(ServeParams(**{"port": 0, "workers": 2, **values})).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()

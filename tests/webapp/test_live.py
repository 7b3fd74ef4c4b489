"""The live view's server side: frames in, mattes out, the newest first, for a few at a time."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image as PILImage

import bgremove
from bgremove.errors import UnknownRemoverError
from bgremove.webapp import Parts, ServeParams, create_app
from bgremove.webapp.config import ServeParams as Config
from bgremove.webapp.guard import HEADERS
from bgremove.webapp.live import FRAME_BYTES, FRAME_SIDE, Live

from .conftest import photo_bytes, pixels_of


@pytest.fixture(scope="module")
def frame() -> bytes:
    """A camera's frame."""
    return photo_bytes("cat", (320, 240))


@pytest.fixture
def session(client: FlaskClient) -> str:
    """The address of a camera."""
    answer = client.post("/page/live")
    assert answer.status_code == 201
    return f"/page/live/{answer.get_json()['id']}"


def soft_overlap(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """Intersection over union of two mattes of bytes."""
    return float(np.minimum(one, other).sum() / np.maximum(one, other).sum())


def test_a_frame_gives_its_matte(client: FlaskClient, session: str, frame: bytes) -> None:
    answer = client.post(f"{session}?n=0", data=frame, content_type="image/jpeg")
    assert answer.status_code == 200, answer.text
    assert answer.mimetype == "image/png"
    assert answer.headers["Cache-Control"] == "private, no-store"
    matte = pixels_of(answer.data)
    assert matte.shape == (240, 320)
    expected = pixels_of(bgremove.remove(frame, output="alpha"))
    assert soft_overlap(matte, expected) > 0.9
    assert matte.max() == 255 and matte.min() == 0


def test_every_frame_counts_and_sizes_may_change(
    client: FlaskClient, app_parts: Parts, session: str, frame: bytes
) -> None:
    small = photo_bytes("cat", (160, 120))
    for number, (data, shape) in enumerate([(frame, (240, 320)), (small, (120, 160)), (frame, (240, 320))]):
        assert pixels_of(client.post(f"{session}?n={number}", data=data).data).shape == shape
    [one] = app_parts.live._sessions.values()
    assert one.frames == 3


def test_an_older_frame_than_the_last_is_passed_over(client: FlaskClient, session: str, frame: bytes) -> None:
    assert client.post(f"{session}?n=5", data=frame).status_code == 200
    late = client.post(f"{session}?n=4", data=frame)
    assert (late.status_code, late.data) == (204, b"")
    assert client.post(f"{session}?n=6", data=frame).status_code == 200


def test_of_those_that_wait_only_the_newest_is_done(frame: bytes) -> None:
    live = Live(ServeParams(workers=1))
    session = live.begin()
    answers: dict[int, bytes | None] = {}

    def ask(number: int) -> None:
        answers[number] = live.matte(session, number, frame)

    session.lock.acquire()  # as if a frame were in work
    threads = [threading.Thread(target=ask, args=(number,)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 5
    while session.latest < 3 and time.monotonic() < until:
        time.sleep(0.01)
    session.lock.release()
    for thread in threads:
        thread.join()
    assert answers[1] is None and answers[2] is None and answers[3]
    live.close()


def test_another_scene_does_not_mix_with_the_one_before(client: FlaskClient, session: str) -> None:
    cat, coffee = photo_bytes("cat", (320, 240)), photo_bytes("coffee", (320, 240))
    for number in range(4):
        client.post(f"{session}?n={number}", data=cat)
    after = pixels_of(client.post(f"{session}?n=4", data=coffee).data)
    other = f"/page/live/{client.post('/page/live').get_json()['id']}"
    alone = pixels_of(client.post(f"{other}?n=0", data=coffee).data)
    assert soft_overlap(after, alone) > 0.97


@pytest.mark.parametrize(
    ("query", "body", "status", "words"),
    [
        ("?n=0", b"", 400, "must be a JPEG"),
        ("?n=0", b"no picture", 400, "must be a JPEG"),
        ("?n=0", b"\xff\xd8\xff\xe0 broken", 400, "must be a JPEG"),
        ("", None, 400, "n must be the number"),
        ("?n=-1", None, 400, "n must be the number"),
        ("?n=x", None, 400, "n must be the number"),
        ("?n=9999999999999", None, 400, "n must be the number"),
        ("?n=0", b"x" * (FRAME_BYTES + 1), 413, "1.5 MB"),
    ],
)
def test_what_is_no_frame_gets_a_sentence(
    client: FlaskClient, session: str, frame: bytes, query: str, body: bytes | None, status: int, words: str
) -> None:
    answer = client.post(f"{session}{query}", data=frame if body is None else body)
    assert answer.status_code == status
    assert words in answer.get_json()["error"]
    assert client.post(f"{session}?n=1", data=frame).status_code == 200  # it goes on


def test_half_a_frame_and_one_of_too_many_pixels(client: FlaskClient, session: str, frame: bytes) -> None:
    huge = io.BytesIO()
    PILImage.new("RGB", (FRAME_SIDE + 1, 8)).save(huge, "JPEG")
    answer = client.post(f"{session}?n=0", data=huge.getvalue())
    assert answer.status_code == 413 and str(FRAME_SIDE) in answer.get_json()["error"]
    bomb = bytearray(frame)
    at = bomb.index(b"\xff\xc0")
    bomb[at + 5 : at + 9] = b"\xff\xdc\xff\xdc"  # says that it has 65500 x 65500 pixels
    answer = client.post(f"{session}?n=1", data=bytes(bomb))
    assert answer.status_code in (400, 413) and "error" in answer.get_json()
    png = photo_bytes("cat", (64, 48), "PNG")
    assert client.post(f"{session}?n=2", data=png).status_code == 400


def test_only_so_many_at_once_and_a_place_comes_free(frame: bytes) -> None:
    client = create_app(ServeParams(live=2)).test_client()
    ids = [client.post("/page/live").get_json()["id"] for _ in range(2)]
    full = client.post("/page/live")
    assert full.status_code == 429 and int(full.headers["Retry-After"]) > 0
    assert "2 live views" in full.get_json()["error"]
    assert client.delete(f"/page/live/{ids[0]}").status_code == 204
    assert client.delete(f"/page/live/{ids[0]}").status_code == 204  # there is nothing to say
    assert client.post("/page/live").status_code == 201
    gone = client.post(f"/page/live/{ids[0]}?n=0", data=frame)
    assert gone.status_code == 404 and "start it again" in gone.get_json()["error"]


def test_without_frames_it_is_over(monkeypatch: pytest.MonkeyPatch, frame: bytes) -> None:
    live = Live(ServeParams())
    session = live.begin()
    live.sweep()
    assert live.count == 1
    session.seen -= 31
    live.sweep()
    assert live.count == 0


def test_a_server_without_it(frame: bytes) -> None:
    client = create_app(ServeParams(live=0)).test_client()
    answer = client.post("/page/live")
    assert answer.status_code == 400 and "no live view" in answer.get_json()["error"]
    assert client.get("/page/config").get_json()["live"] is False


def test_an_unknown_model_is_said_before_it_is_served() -> None:
    with pytest.raises(UnknownRemoverError, match="nothing-like-it"):
        create_app(ServeParams(live_model="nothing-like-it"))
    client = create_app(ServeParams(live_model="contour")).test_client()
    assert client.post("/page/live").get_json()["model"] == "contour"


def test_only_the_live_view_may_use_the_camera(client: FlaskClient) -> None:
    view = client.get("/live")
    assert view.status_code == 200 and b"live.js" in view.data
    assert "camera=(self)" in view.headers["Permissions-Policy"]
    assert view.headers["Content-Security-Policy"] == HEADERS["Content-Security-Policy"]
    for path in ("/", "/page/config", "/static/app.js", "/api"):
        answer = client.get(path)
        assert "camera=()" in answer.headers["Permissions-Policy"], path
        answer.close()


def test_who_has_no_token_gets_no_live_view() -> None:
    client = create_app(Config(token="let-me-in-please")).test_client()
    page = client.get("/live")
    assert page.status_code == 200 and b"login.js" in page.data and b"live.js" not in page.data
    assert client.post("/page/live").status_code == 401
    allowed = {"X-Api-Key": "let-me-in-please"}
    assert b"live.js" in client.get("/live", headers=allowed).data
    assert client.post("/page/live", headers=allowed).status_code == 201


def test_other_sites_may_not_use_it(client: FlaskClient, session: str, frame: bytes) -> None:
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert client.post("/page/live", headers=foreign).status_code == 403
    assert client.post(f"{session}?n=0", data=frame, headers=foreign).status_code == 403


def test_frames_do_not_count_as_pictures(frame: bytes) -> None:
    client = create_app(ServeParams(rate=3)).test_client()
    session = client.post("/page/live").get_json()["id"]
    answers = [client.post(f"/page/live/{session}?n={one}", data=frame).status_code for one in range(8)]
    assert answers == [200] * 8


def test_the_network_comes_with_the_first_camera(app: Flask, client: FlaskClient, app_parts: Parts) -> None:
    client.get("/")
    client.get("/live")
    assert app_parts.live._built is None
    client.post("/page/live")
    assert app_parts.live._built is not None


def test_a_stopped_server_has_no_cameras(serve: Callable[..., Any]) -> None:
    server = serve()
    server.parts.live.begin()
    server.stop()
    assert server.parts.live.count == 0

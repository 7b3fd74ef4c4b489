"""Videos on the server: kept on disk, one visitor's own, cut out one after the other, stopped, swept."""

from __future__ import annotations

import http.client
import io
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image as PILImage

from bgremove.errors import BGRemoveError, OptionError
from bgremove.webapp import Parts, ServeParams, create_app
from bgremove.webapp.server import Server
from bgremove.webapp.videos import Videos

from .conftest import photo_bytes, pixels_of

pytest.importorskip("av", reason='videos are read with PyAV: pip install -e ".[video]"')

from bgremove.video.reading import open_video  # noqa: E402
from tests.video.clips import Clip, clip  # noqa: E402

SIZE = (96, 128)


@pytest.fixture(scope="module")
def disc(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """A second of a disc on a texture, with a hum."""
    return clip(tmp_path_factory.mktemp("clips") / "disc.mp4", frames=24, size=SIZE, sound=True)


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """So many frames that work on them can be stopped."""
    return clip(tmp_path_factory.mktemp("clips") / "long.mp4", frames=400, size=(240, 320), keys=50)


@pytest.fixture
def app() -> Iterator[Flask]:
    """The app, whose videos are gone in the end."""
    app = create_app(ServeParams(workers=2, rate=0))
    yield app
    app.extensions["bgremove"].videos.close()


@pytest.fixture
def visitor(client: FlaskClient) -> dict[str, str]:
    """The headers of a visitor."""
    return {"X-Visitor": client.post("/page/visitors").get_json()["visitor"]}


def sent(client: FlaskClient, headers: dict[str, str], path: Path) -> dict[str, Any]:
    """Send a video: what the server says of it."""
    with open(path, "rb") as file:
        answer = client.post(f"/page/videos?name={path.name}", data=file, headers=headers)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.get_json()
    return found


def finished(ask: Callable[[], Any], seconds: float = 60) -> dict[str, Any]:
    """Ask until the work is over."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        state: dict[str, Any] = ask().get_json()
        if state["state"] not in ("waiting", "working"):
            return state
        time.sleep(0.05)
    raise AssertionError(f"not done after {seconds} s: {state}")


def content(answer: Any) -> bytes:
    """The file that was answered."""
    assert answer.status_code == 200, answer.text
    data: bytes = answer.data
    answer.close()
    return data


def working(ask: Callable[[], Any], frames: int = 5) -> None:
    """Wait until so many frames are made."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        state = ask().get_json()
        if state.get("progress", {}).get("done", 0) >= frames:
            return
        assert state["state"] in ("waiting", "working"), state
        time.sleep(0.02)
    raise AssertionError("no frames")


def frames_of(data: bytes, folder: Path, name: str) -> list[Any]:
    """The frames of a file's content."""
    path = folder / name
    path.write_bytes(data)
    with open_video(path) as video:
        return list(video)


def test_a_video_becomes_a_transparent_webm(
    client: FlaskClient, visitor: dict[str, str], disc: Clip, tmp_path: Path
) -> None:
    known = sent(client, visitor, disc.path)
    assert (known["width"], known["height"], known["fps"], known["sound"]) == (128, 96, 24.0, True)
    assert known["seconds"] == pytest.approx(1, abs=0.05)
    assert (known["name"], known["state"]) == ("disc.mp4", "new")
    here = f"/page/videos/{known['id']}"
    answer = client.post(f"{here}/cut", json={"format": "webm"}, headers=visitor)
    assert answer.status_code == 202, answer.text
    state = finished(lambda: client.get(here, headers=visitor))
    assert state["state"] == "done", state
    result = state["result"]
    assert (result["name"], result["type"], result["frames"]) == ("disc-cutout.webm", "video/webm", 24)
    assert result["complete"] is True
    answer = client.get(f"{here}/result", headers=visitor)
    assert answer.mimetype == "video/webm" and "disc-cutout.webm" in answer.headers["Content-Disposition"]
    data = content(answer)
    assert len(data) == result["bytes"]
    frames = frames_of(data, tmp_path, "a.webm")
    assert len(frames) == 24
    for frame, alpha in zip(frames[4::6], disc.alphas[4::6], strict=True):
        overlap = np.minimum(frame.alpha, alpha).sum() / np.maximum(frame.alpha, alpha).sum()
        assert overlap > 0.8


def test_every_format_background_size_and_part(
    client: FlaskClient, visitor: dict[str, str], disc: Clip, tmp_path: Path
) -> None:
    known = sent(client, visitor, disc.path)
    here = f"/page/videos/{known['id']}"
    red = io.BytesIO()
    PILImage.new("RGB", (20, 20), (250, 10, 20)).save(red, "PNG")
    red.seek(0)
    put = client.put("/page/background", data={"file": (red, "red.png")}, headers=visitor)
    assert put.status_code == 200, put.text

    def made(**body: Any) -> tuple[dict[str, Any], list[Any]]:
        answer = client.post(f"{here}/cut", json=body, headers=visitor)
        assert answer.status_code == 202, answer.text
        state = finished(lambda: client.get(here, headers=visitor))
        assert state["state"] == "done", state
        data = content(client.get(f"{here}/result", headers=visitor))
        return state["result"], frames_of(data, tmp_path, state["result"]["name"])

    result, frames = made(format="mp4", background="#2050f0", settings={"size": "64", "end": "0.5"})
    assert result["name"] == "disc-composite.mp4"
    assert len(frames) == 12 and frames[0].image.shape == (48, 64, 3)
    assert np.abs(frames[3].image[2, -3].astype(int) - (0x20, 0x50, 0xF0)).max() < 25

    _, frames = made(format="mp4", background="transparent", settings={"end": "0.2"})
    assert frames[1].image[3, -4].min() > 235  # white, since MP4 cannot be transparent

    result, frames = made(format="mp4", background="picture", settings={"end": "0.2"})
    assert np.abs(frames[1].image[3, -4].astype(int) - (250, 10, 20)).max() < 30

    result, frames = made(format="gif", settings={"end": "0.3"})
    assert result["type"] == "image/gif" and result["name"].endswith("-cutout.gif")
    assert frames[0].alpha is not None and frames[0].alpha[3, -4] == 0

    _, frames = made(format="mov", settings={"start": "0.25", "end": "0.5", "sound": False})
    assert len(frames) == 6 and frames[0].alpha is not None

    result, frames = made(format="webm", settings={"output": "alpha", "end": "0.2"})
    assert result["name"] == "disc-alpha.webm" and frames[0].alpha is None


def test_a_moment_can_be_looked_at_before(client: FlaskClient, visitor: dict[str, str], disc: Clip) -> None:
    here = f"/page/videos/{sent(client, visitor, disc.path)['id']}"
    photo = client.get(f"{here}/still.jpg?t=0.5", headers=visitor)
    cutout = client.get(f"{here}/still.png?t=0.5", headers=visitor)
    assert (photo.status_code, cutout.status_code) == (200, 200)
    pixels, subject = pixels_of(photo.data), pixels_of(cutout.data)
    assert pixels.shape == (*SIZE, 3) and subject.shape == (*SIZE, 4)
    assert np.abs(pixels.astype(int) - disc.images[12]).mean() < 6
    alpha = subject[..., 3] / 255
    assert np.minimum(alpha, disc.alphas[12]).sum() / np.maximum(alpha, disc.alphas[12]).sum() > 0.8
    for wrong in ("x", "-1", "nan", "1e9"):
        answer = client.get(f"{here}/still.png?t={wrong}", headers=visitor)
        assert answer.status_code == 400 and "t must be" in answer.get_json()["error"]
    late = client.get(f"{here}/still.png?t=700", headers=visitor)
    assert late.status_code == 400 and "Traceback" not in late.text


def test_it_belongs_to_one_visitor(client: FlaskClient, visitor: dict[str, str], disc: Clip) -> None:
    known = sent(client, visitor, disc.path)
    here = f"/page/videos/{known['id']}"
    other = {"X-Visitor": client.post("/page/visitors").get_json()["visitor"]}
    for method, path in (
        ("get", here),
        ("delete", here),
        ("post", f"{here}/cut"),
        ("post", f"{here}/stop"),
        ("get", f"{here}/result"),
        ("get", f"{here}/still.png"),
        ("get", f"/api/video/{known['id']}"),
        ("delete", f"/api/video/{known['id']}"),
        ("get", f"/api/video/{known['id']}/result"),
    ):
        answer = getattr(client, method)(path, headers=other)
        assert answer.status_code == 404, path
    assert client.get("/page/videos", headers=other).get_json() == {"videos": []}
    assert [one["id"] for one in client.get("/page/videos", headers=visitor).get_json()["videos"]] == [
        known["id"]
    ]
    assert client.get("/page/videos").status_code == 400  # no visitor at all


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("notes.mp4", b"these are words, and no video\n" * 40, "notes.mp4"),
        ("empty.mp4", b"", "empty"),
        ("photo.jpg", photo_bytes("cat", (96, 64)), "photo.jpg"),
        ("list.m3u8", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n", "list.m3u8"),
        ("list.txt", b"ffconcat version 1.0\nfile '/etc/passwd'\n", "list.txt"),
    ],
)
def test_what_is_no_video_gets_a_sentence(
    client: FlaskClient, app_parts: Parts, visitor: dict[str, str], name: str, data: bytes, words: str
) -> None:
    answer = client.post(f"/page/videos?name={name}", data=data, headers=visitor)
    assert answer.status_code == 400, answer.text
    sentence = answer.get_json()["error"]
    assert words in sentence and "source" not in sentence and "/tmp" not in sentence, sentence
    assert " --" not in sentence
    assert list(app_parts.videos.folder.iterdir()) == []  # nothing is left
    assert app_parts.videos.kept == 0


def test_too_many_bytes_pixels_and_seconds(disc: Clip, longer: Clip) -> None:
    def asked(path: Path, **limits: Any) -> Any:
        client = create_app(ServeParams(**limits)).test_client()
        headers = {"X-Visitor": client.post("/page/visitors").get_json()["visitor"]}
        with open(path, "rb") as file:
            answer = client.post(f"/page/videos?name={path.name}", data=file, headers=headers)
        return client, headers, answer

    assert longer.path.stat().st_size > 100_000
    _, _, answer = asked(longer.path, video_mb=0.1)
    assert answer.status_code == 413 and "0.1 MB" in answer.get_json()["error"]
    _, _, answer = asked(disc.path, video_megapixels=0.01)
    assert answer.status_code == 413 and "128 x 96" in answer.get_json()["error"]
    client, headers, answer = asked(longer.path, video_seconds=5)
    assert answer.status_code == 201  # a part of it may be cut out
    here = f"/page/videos/{answer.get_json()['id']}/cut"
    answer = client.post(here, json={}, headers=headers)
    assert answer.status_code == 413 and "5 s is the most" in answer.get_json()["error"]
    answer = client.post(here, json={"settings": {"start": "60"}}, headers=headers)
    assert answer.status_code == 400 and "start must lie within" in answer.get_json()["error"]
    answer = client.post(here, json={"settings": {"start": "2", "end": "2.2"}}, headers=headers)
    assert answer.status_code == 202
    client.application.extensions["bgremove"].videos.close()


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"format": "avi"}, 400, "format must be one of webm"),
        ({"background": "/etc/passwd"}, 400, "unknown background"),
        ({"background": "picture"}, 400, "no background picture"),
        ({"settings": {"background": "/etc/passwd"}}, 400, "background belongs beside"),
        ({"settings": {"smoothnes": 1}}, 400, "unknown setting"),
        ({"settings": {"quality": 900}}, 400, "quality must be"),
        ({"settings": {"end": "soon"}}, 400, "end must be a time"),
        ({"settings": {"closing": 50}}, 400, "closing must be at most 30"),
        ({"settings": [1]}, 400, "settings must be an object"),
        ({"model": "onnx:/etc/passwd"}, 403, "model of one's own"),
        ({"model": "nothing-like-it"}, 400, "nothing-like-it"),
    ],
)
def test_wrong_wishes_get_a_sentence(
    client: FlaskClient, visitor: dict[str, str], disc: Clip, body: Any, status: int, words: str
) -> None:
    here = f"/page/videos/{sent(client, visitor, disc.path)['id']}"
    answer = client.post(f"{here}/cut", json=body, headers=visitor)
    assert answer.status_code == status, answer.text
    assert words in answer.get_json()["error"]
    assert client.get(here, headers=visitor).get_json()["state"] == "new"


def test_stopped_work_leaves_what_there_is(
    client: FlaskClient, visitor: dict[str, str], longer: Clip, tmp_path: Path
) -> None:
    here = f"/page/videos/{sent(client, visitor, longer.path)['id']}"
    client.post(f"{here}/cut", json={}, headers=visitor)
    ask = lambda: client.get(here, headers=visitor)  # noqa: E731
    working(ask)
    shown = client.get(f"{here}/frame.webp", headers=visitor)
    assert shown.status_code == 200 and pixels_of(shown.data).shape[:2] == (240, 320)
    again = client.post(f"{here}/cut", json={}, headers=visitor)
    assert again.status_code == 400 and "in work" in again.get_json()["error"]
    assert client.get(f"{here}/result", headers=visitor).status_code == 404
    client.post(f"{here}/stop", headers=visitor)
    state = finished(ask)
    assert state["state"] == "stopped" and state["result"]["complete"] is False
    count = state["result"]["frames"]
    assert 5 <= count < 400
    frames = frames_of(content(client.get(f"{here}/result", headers=visitor)), tmp_path, "part.webm")
    assert len(frames) == count


def test_one_after_the_other_with_their_places(
    client: FlaskClient, app_parts: Parts, visitor: dict[str, str], longer: Clip, disc: Clip
) -> None:
    first, second, third = (
        f"/page/videos/{sent(client, visitor, one.path)['id']}" for one in (longer, disc, disc)
    )
    for here in (first, second, third):
        assert client.post(f"{here}/cut", json={}, headers=visitor).status_code == 202
    working(lambda: client.get(first, headers=visitor), 1)
    states = [client.get(here, headers=visitor).get_json() for here in (second, third)]
    assert [(one["state"], one["place"]) for one in states] == [("waiting", 2), ("waiting", 3)]
    assert (app_parts.videos.working, app_parts.videos.waiting) == (1, 2)
    client.post(f"{second}/stop", headers=visitor)  # it had not begun
    assert client.get(second, headers=visitor).get_json()["state"] == "new"
    client.delete(first, headers=visitor)
    assert client.get(first, headers=visitor).status_code == 404
    assert finished(lambda: client.get(third, headers=visitor))["state"] == "done"
    until = time.monotonic() + 10
    while len(list(app_parts.videos.folder.iterdir())) > 2 and time.monotonic() < until:
        time.sleep(0.05)
    assert len(list(app_parts.videos.folder.iterdir())) == 2  # the first one's files are gone


def test_pictures_go_on_beside_a_video(
    client: FlaskClient, visitor: dict[str, str], longer: Clip, cat: bytes
) -> None:
    here = f"/page/videos/{sent(client, visitor, longer.path)['id']}"
    client.post(f"{here}/cut", json={}, headers=visitor)
    working(lambda: client.get(here, headers=visitor), 1)
    answer = client.post("/api/remove", data=cat, content_type="image/jpeg")
    assert answer.status_code == 200
    assert client.get(here, headers=visitor).get_json()["state"] == "working"
    client.delete(here, headers=visitor)


def test_a_frame_that_cannot_be_read_is_named(
    client: FlaskClient, visitor: dict[str, str], longer: Clip, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.mkv"
    clip(broken, frames=100, size=(96, 128), keys=10)
    data = broken.read_bytes()
    broken.write_bytes(data[: len(data) // 2])
    known = sent(client, visitor, broken)
    here = f"/page/videos/{known['id']}"
    client.post(f"{here}/cut", json={"settings": {"end": "10"}}, headers=visitor)
    state = finished(lambda: client.get(here, headers=visitor))
    if state["state"] == "failed":
        assert "frame" in state["error"] and "/tmp" not in state["error"], state
    else:  # a cut Matroska file ends like any other
        assert 10 < state["result"]["frames"] < 100


def test_how_many_are_kept(disc: Clip) -> None:
    app = create_app(ServeParams(videos=4))
    client = app.test_client()
    one, other = ({"X-Visitor": client.post("/page/visitors").get_json()["visitor"]} for _ in range(2))
    for _ in range(3):
        sent(client, one, disc.path)
    answer = client.post("/page/videos?name=a.mp4", data=disc.path.read_bytes(), headers=one)
    assert answer.status_code == 413 and "3 videos of yours" in answer.get_json()["error"]
    sent(client, other, disc.path)
    answer = client.post("/page/videos?name=a.mp4", data=disc.path.read_bytes(), headers=other)
    assert answer.status_code == 429 and int(answer.headers["Retry-After"]) > 0
    videos: Videos = app.extensions["bgremove"].videos
    videos.of(one["X-Visitor"])[0].seen -= 100  # nobody asked for it in a while: it makes room
    sent(client, other, disc.path)
    assert len(videos.of(one["X-Visitor"])) == 2
    videos.close()


def test_old_ones_are_swept_and_those_of_visitors_who_left(disc: Clip) -> None:
    app = create_app(ServeParams(keep_minutes=1))
    client, videos, store = (
        app.test_client(),
        app.extensions["bgremove"].videos,
        app.extensions["bgremove"].store,
    )
    visitor = {"X-Visitor": client.post("/page/visitors").get_json()["visitor"]}
    known = sent(client, visitor, disc.path)
    api = client.post("/api/video", data=disc.path.read_bytes(), content_type="video/mp4").get_json()
    finished(lambda: client.get(api["url"]))
    videos.sweep(store.knows)
    assert videos.kept == 2
    videos.job(api["id"]).seen -= 61
    videos.sweep(store.knows)
    assert videos.kept == 1 and client.get(api["url"]).status_code == 404
    store.clear()
    videos.sweep(store.knows)
    assert videos.kept == 0
    assert list(videos.folder.iterdir()) == []
    assert client.get(f"/page/videos/{known['id']}", headers=visitor).status_code == 404
    videos.close()


def test_who_has_a_video_in_work_is_not_forgotten(
    client: FlaskClient, app_parts: Parts, visitor: dict[str, str], longer: Clip
) -> None:
    here = f"/page/videos/{sent(client, visitor, longer.path)['id']}"
    client.post(f"{here}/cut", json={}, headers=visitor)
    known = app_parts.store.visitor(visitor["X-Visitor"])

    def sweep() -> bool:
        known.seen = app_parts.videos.of(known.key)[0].seen = -1e6
        app_parts.store._swept = -1e6
        app_parts.store.sweep()
        app_parts.videos.sweep(app_parts.store.knows)
        return app_parts.store.knows(known.key)

    assert sweep()
    client.post(f"{here}/stop", headers=visitor)
    finished(lambda: client.get(here, headers=visitor))
    assert not sweep()
    assert app_parts.videos.kept == 0


def test_work_ends_after_its_time(disc: Clip, longer: Clip) -> None:
    app = create_app(ServeParams())
    client, videos = app.test_client(), app.extensions["bgremove"].videos
    videos.params = videos.params.model_copy(update={"video_minutes": 0.005})  # less than may be asked for
    api = client.post("/api/video", data=longer.path.read_bytes(), content_type="video/mp4").get_json()
    state = finished(lambda: client.get(api["url"]))
    assert state["state"] == "stopped" and 0 < state["result"]["frames"] < 400
    assert "stopped after 0.005 minutes" in videos.job(api["id"]).stopped_by
    videos.close()


def test_a_server_that_stops_ends_the_work_and_deletes_the_files(
    serve: Callable[..., Server], longer: Clip
) -> None:
    server = serve()
    client = server.app.test_client()
    api = client.post("/api/video", data=longer.path.read_bytes(), content_type="video/mp4").get_json()
    working(lambda: client.get(api["url"]))
    folder = server.parts.videos.folder
    assert list(folder.iterdir())
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 15
    assert not folder.exists()
    assert [one.name for one in threading.enumerate() if one.name.startswith("bgremove-videos")] == []
    server.start()  # and it can begin anew
    api = client.post("/api/video", data=longer.path.read_bytes(), content_type="video/mp4")
    assert api.status_code == 202


# The API -----------------------------------------------------------------------------------------


def test_the_api_takes_a_body_and_gives_a_file(client: FlaskClient, disc: Clip, tmp_path: Path) -> None:
    with open(disc.path, "rb") as file:
        answer = client.post(
            "/api/video?format=mp4&background=%2300ff00&end=0.5&name=my%20clip.mp4",
            data=file,
            content_type="video/mp4",
        )
    assert answer.status_code == 202, answer.text
    here = answer.headers["Location"]
    assert answer.get_json()["url"] == here and answer.get_json()["state"] in ("waiting", "working")
    state = finished(lambda: client.get(here))
    assert state["state"] == "done", state
    assert state["result"]["name"] == "my clip-composite.mp4"
    result = client.get(state["result"]["url"])
    assert result.mimetype == "video/mp4"
    data = content(result)
    frames = frames_of(data, tmp_path, "a.mp4")
    assert len(frames) == 12
    assert np.abs(frames[2].image[3, -4].astype(int) - (0, 255, 0)).max() < 40
    part = client.get(state["result"]["url"], headers={"Range": "bytes=0-99"})
    assert part.status_code == 206 and part.data == data[:100]
    part.close()
    assert client.delete(here).status_code == 204
    assert client.get(here).status_code == 404
    assert client.get(state["result"]["url"]).status_code == 404


def test_the_api_takes_a_form_with_a_background(client: FlaskClient, disc: Clip, tmp_path: Path) -> None:
    behind = io.BytesIO()
    PILImage.new("RGB", (20, 20), (250, 10, 20)).save(behind, "PNG")
    behind.seek(0)
    form = {
        "file": (io.BytesIO(disc.path.read_bytes()), "clip.mp4"),
        "background_file": (behind, "red.png"),
        "format": "mp4",
        "end": "0.2",
        "smoothing": "none",
    }
    answer = client.post("/api/video", data=form)
    assert answer.status_code == 202, answer.text
    state = finished(lambda: client.get(answer.headers["Location"]))
    frames = frames_of(content(client.get(state["result"]["url"])), tmp_path, "a.mp4")
    assert np.abs(frames[1].image[3, -4].astype(int) - (250, 10, 20)).max() < 30


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("format=avi", "format must be one of"),
        ("format=mp4", "MP4 cannot hold transparency"),
        ("background=/etc/passwd", "unknown background"),
        ("background=clip.mp4", "unknown background"),
        ("codec=qtrle", "codec cannot be chosen"),
        ("nothing=1", "unknown setting"),
        ("every=0", "every must be"),
        ("end=1&start=2", "end must lie behind start"),
    ],
)
def test_the_api_says_what_is_wrong(
    client: FlaskClient, app_parts: Parts, disc: Clip, query: str, words: str
) -> None:
    answer = client.post(f"/api/video?{query}", data=disc.path.read_bytes(), content_type="video/mp4")
    assert answer.status_code == 400, answer.text
    assert words in answer.get_json()["error"], answer.text
    assert app_parts.videos.kept == 0


def test_the_api_wants_a_video(client: FlaskClient) -> None:
    assert client.post("/api/video", json={"a": 1}).status_code == 415
    answer = client.post("/api/video", data={"other": "x"})
    assert answer.status_code in (400, 415)
    form = {"film": (io.BytesIO(b"x"), "a.mp4")}
    answer = client.post("/api/video", data=form)
    assert answer.status_code == 400 and "unknown file 'film'" in answer.get_json()["error"]
    assert client.post("/api/video", data=b"", content_type="video/mp4").status_code == 400
    assert client.get("/api/video/nothing").status_code == 404


# Doors -------------------------------------------------------------------------------------------


def test_strangers_and_other_sites_send_no_videos(disc: Clip) -> None:
    client = create_app(ServeParams(token="let-me-in-please")).test_client()
    for path in ("/api/video", "/page/videos"):
        assert client.post(path, data=disc.path.read_bytes()).status_code == 401
    client = create_app(ServeParams()).test_client()
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    for path in ("/api/video", "/page/videos"):
        answer = client.post(path, data=disc.path.read_bytes(), headers=foreign, content_type="video/mp4")
        assert answer.status_code == 403


def test_videos_count_against_the_rate(disc: Clip) -> None:
    app = create_app(ServeParams(rate=2))
    client = app.test_client()
    answers = [
        client.post(
            "/api/video?format=avi", data=disc.path.read_bytes(), content_type="video/mp4"
        ).status_code
        for _ in range(3)
    ]
    assert answers == [400, 400, 429]


def test_a_server_that_takes_none(disc: Clip) -> None:
    client = create_app(ServeParams(videos=0)).test_client()
    answer = client.post("/api/video", data=disc.path.read_bytes(), content_type="video/mp4")
    assert answer.status_code == 400 and "takes no videos" in answer.get_json()["error"]
    assert client.get("/page/config").get_json()["video"] is None
    assert "/api/video" not in client.get("/api/openapi.json").get_json()["paths"]
    assert b"/api/video" not in client.get("/api").data


def test_the_page_is_told_what_there_is(client: FlaskClient) -> None:
    video = client.get("/page/config").get_json()["video"]
    assert [one["name"] for one in video["formats"]] == ["webm", "mp4", "mov", "gif"]
    assert (video["megabytes"], video["seconds"], video["megapixels"]) == (200, 60, 9)
    assert "smoothing" in {field["name"] for group in video["groups"] for field in group["fields"]}


def test_large_bodies_go_to_the_disk_and_not_into_memory(serve: Callable[..., Server]) -> None:
    """180 MB of nothing, sent to a real server: its memory does not grow by more than a few pieces."""
    server = serve()
    where = urlsplit(server.url)
    before = resident()
    most = [before]
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.01):
            most[0] = max(most[0], resident())

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=60)
        connection.putrequest("POST", "/api/video")
        connection.putheader("Content-Type", "video/mp4")
        connection.putheader("Content-Length", str(180 * 10**6))
        connection.endheaders()
        piece = bytes(10**6)
        for _ in range(180):
            connection.send(piece)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
    finally:
        over.set()
        watcher.join()
    assert answer.status == 400, body
    assert (most[0] - before) / 1e6 < 60
    assert list(server.parts.videos.folder.iterdir()) == []


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


def test_too_large_a_video_is_refused_before_it_comes(serve: Callable[..., Server]) -> None:
    server = serve(video_mb=2)
    where = urlsplit(server.url)
    for path, size, status in (
        ("/api/video", 40_000_000, 413),
        ("/page/videos", 40_000_000, 413),
        ("/api/remove", 27_000_000, 413),  # pictures have their own limit
    ):
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=20)
        connection.putrequest("POST", path)
        connection.putheader("Content-Type", "video/mp4")
        connection.putheader("Content-Length", str(size))
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status == status
        text = answer.read().decode()
        assert ("2 MB" in text) == (path != "/api/remove"), text
        connection.close()


def test_settings_of_a_video_know_no_paths() -> None:
    service = create_app(ServeParams()).extensions["bgremove"].service
    for wrong in ("/etc/passwd", "clip.mp4", "../x.png", "frames/%06d.png"):
        with pytest.raises(OptionError, match="unknown background"):
            service.video_settings(background=wrong)
    with pytest.raises(BGRemoveError):
        service.video_settings(**{"self": 1})
    assert service.video_settings(background="blur", blur_radius=9).background.kind == "blur"
    assert service.video_settings(end="2.5").video.ends == Fraction(5, 2)

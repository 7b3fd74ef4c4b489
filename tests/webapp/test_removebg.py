"""The remove.bg API: its fields against the package's own results, its errors, and clients made for it."""

from __future__ import annotations

import base64
import functools
import io
import json
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image as PILImage
from urllib3 import encode_multipart_formdata
from werkzeug.test import TestResponse

import bgremove
from bgremove.arrays import Alpha
from bgremove.trimap import Box, bounding_box
from bgremove.webapp import ServeParams, create_app, removebg
from bgremove.webapp.addresses import fetch
from bgremove.webapp.removebg import wants_json
from bgremove.webapp.server import Server
from tests.http_server import serving

from .conftest import photo_bytes, pixels_of

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


@pytest.fixture(scope="module")
def app() -> Flask:
    """One app for all, so that its network is loaded once."""
    return create_app(ServeParams(workers=2, rate=0))


@pytest.fixture(scope="module")
def photo() -> bytes:
    """A photograph with room around its subject."""
    return photo_bytes("coffee", (300, 200), "PNG")


@pytest.fixture(scope="module")
def cutout(photo: bytes) -> Pixels:
    """What the package itself makes of it."""
    return pixels_of(bgremove.remove(photo))


def send(client: FlaskClient, photo: bytes, accept: str = "*/*", **fields: Any) -> TestResponse:
    data = {"image_file": (io.BytesIO(photo), "photo.png"), **fields}
    return client.post("/v1.0/removebg", data=data, headers={"Accept": accept})


def made(response: TestResponse) -> Pixels:
    assert response.status_code == 200, response.text
    pixels = pixels_of(response.data)
    assert pixels.shape[:2] == (int(response.headers["X-Height"]), int(response.headers["X-Width"]))
    return pixels


def box_of(cutout: Pixels) -> Box:
    """Where the subject is."""
    box = bounding_box(cast(Alpha, cutout[..., 3] / np.float32(255)))
    assert box is not None
    return box


def error(response: TestResponse, status: int = 400) -> dict[str, str]:
    """The one error of an answer in remove.bg's shape."""
    assert response.status_code == status, response.text
    assert response.mimetype == "application/json"
    [found] = response.get_json()["errors"]
    assert set(found) == {"title", "code", "detail"}
    assert all(found.values())
    return dict(found)


# The picture -------------------------------------------------------------------------------------


def test_full_is_the_packages_own_cutout(client: FlaskClient, photo: bytes, cutout: Pixels) -> None:
    response = send(client, photo, size="full")
    assert response.mimetype == "image/png"
    np.testing.assert_array_equal(made(response), cutout)
    assert response.headers["X-Type"] == "other"
    assert response.headers["X-Credits-Charged"] == "0"
    box = box_of(cutout)
    told = [int(response.headers[f"X-Foreground-{name}"]) for name in ("Left", "Top", "Width", "Height")]
    assert told == [box.left, box.top, box.right - box.left, box.bottom - box.top]


@pytest.mark.parametrize(
    ("size", "width", "height"),
    [("", 612, 408), ("preview", 612, 408), ("small", 612, 408), ("medium", 1200, 800), ("auto", 1200, 800)],
)
def test_sizes_limit_the_result(client: FlaskClient, size: str, width: int, height: int) -> None:
    pixels = made(send(client, photo_bytes("coffee", (1200, 800)), size=size))
    assert pixels.shape == (height, width, 4)


@pytest.mark.parametrize("side", [601, 733, 977, 1024])
def test_a_picture_with_transparency_of_its_own_becomes_smaller(client: FlaskClient, side: int) -> None:
    """Averages of ones are at times a little more than 1, which no matte may be."""
    with PILImage.open(io.BytesIO(photo_bytes("coffee", (side + 100, side)))) as opened:
        picture = opened.convert("RGBA")
    picture.putpixel((0, 0), (0, 0, 0, 0))
    file = io.BytesIO()
    picture.save(file, "WEBP")
    pixels = made(send(client, file.getvalue(), size="preview"))
    assert pixels[..., 3].max() == 255


def test_outside_of_the_region_all_is_background(client: FlaskClient, photo: bytes) -> None:
    pixels = made(send(client, photo, size="full", roi="20px 10% 70% 150px"))
    assert pixels.shape == (200, 300, 4)
    inside = np.zeros((200, 300), bool)
    inside[20:150, 20:210] = True
    assert not pixels[~inside].any()
    with PILImage.open(io.BytesIO(photo)) as whole:
        part = np.array(whole.crop((20, 20, 210, 150)))
    np.testing.assert_array_equal(pixels[20:150, 20:210], bgremove.remove(part))


def test_margins_make_no_picture_larger_than_the_server_takes(photo: bytes) -> None:
    """50 % on each side of a large subject is four times its pixels."""
    client = create_app(ServeParams(workers=1, rate=0, max_megapixels=0.07)).test_client()
    fields = {"size": "full", "crop": "true"}
    assert send(client, photo, **fields).status_code == 200
    wide = send(client, photo, **fields, crop_margin="500px 0")
    assert wide.status_code == 400
    [error] = wide.get_json()["errors"]
    assert error["code"] == "invalid_crop_margin" and "more than 0.07; make them smaller" in error["detail"]


def test_crop_leaves_the_subject_and_margins(client: FlaskClient, photo: bytes, cutout: Pixels) -> None:
    box = box_of(cutout)
    subject = cutout[box.top : box.bottom, box.left : box.right]
    np.testing.assert_array_equal(made(send(client, photo, size="full", crop="true")), subject)
    wider = made(send(client, photo, size="full", crop="true", crop_margin="4px 10%"))
    side = round(0.1 * subject.shape[1])
    np.testing.assert_array_equal(wider[4:-4, side:-side], subject)
    assert not wider[:4].any()
    assert not wider[:, :side].any()
    without = made(send(client, photo, size="full", crop_margin="10%"))
    np.testing.assert_array_equal(without, cutout)  # margins are of crop=true only


def test_scale_and_position(client: FlaskClient, photo: bytes) -> None:
    response = send(client, photo, size="full", scale="50%", position="0% 100%")
    pixels = made(response)
    assert pixels.shape == (200, 300, 4)
    place = {
        name: int(response.headers[f"X-Foreground-{name}"]) for name in ("Left", "Top", "Width", "Height")
    }
    assert place["Left"] <= 1
    assert abs(place["Top"] + place["Height"] - 200) <= 1
    assert abs(place["Width"] - 150) <= 2 or abs(place["Height"] - 100) <= 2
    middle = send(client, photo, size="full", scale="50%")
    left, width = (int(middle.headers[f"X-Foreground-{name}"]) for name in ("Left", "Width"))
    assert abs(2 * left + width - 300) <= 2


def test_alpha_alone(client: FlaskClient, photo: bytes, cutout: Pixels) -> None:
    response = send(client, photo, size="full", channels="alpha", bg_color="red")
    assert response.mimetype == "image/png"
    np.testing.assert_array_equal(made(response), cutout[..., 3])


@pytest.mark.parametrize(
    ("colour", "rgb"),
    [("81d4fa", (129, 212, 250)), ("F0A", (255, 0, 170)), ("green", (0, 128, 0)), ("#fff", (255,) * 3)],
)
def test_a_colour_behind_makes_a_jpeg(
    client: FlaskClient, photo: bytes, cutout: Pixels, colour: str, rgb: tuple[int, int, int]
) -> None:
    response = send(client, photo, size="full", bg_color=colour)
    assert response.mimetype == "image/jpeg"
    exact = made(send(client, photo, size="full", bg_color=colour, format="png"))
    assert exact.shape == (200, 300, 3)
    assert (exact[cutout[..., 3] == 0] == rgb).all()
    assert np.abs(made(response).astype(int) - exact).mean() < 4


def test_a_colour_that_is_see_through_stays_so(client: FlaskClient, photo: bytes, cutout: Pixels) -> None:
    response = send(client, photo, size="full", bg_color="81d4fa77")
    assert response.mimetype == "image/png"
    behind = made(response)[cutout[..., 3] == 0].astype(int)
    assert np.abs(behind - (129, 212, 250, 0x77)).max() <= 1


def test_jpg_without_a_background_is_on_white(client: FlaskClient, photo: bytes, cutout: Pixels) -> None:
    response = send(client, photo, size="full", format="jpg")
    assert response.mimetype == "image/jpeg"
    clear = cutout[..., 3] == 0
    clear[:, 1:] &= clear[:, :-1]
    assert made(response)[clear].mean() > 250


def test_a_picture_behind_fills_the_canvas(client: FlaskClient, photo: bytes, cutout: Pixels) -> None:
    behind = io.BytesIO()
    PILImage.fromarray(np.full((50, 400, 3), (10, 200, 60), np.uint8)).save(behind, "PNG")
    behind.seek(0)
    response = send(client, photo, size="full", bg_image_file=(behind, "b.png"), format="png")
    pixels = made(response)
    assert pixels.shape == (200, 300, 3)
    assert (pixels[cutout[..., 3] == 0] == (10, 200, 60)).all()


def test_webp_keeps_transparency(client: FlaskClient, photo: bytes) -> None:
    response = send(client, photo, size="full", format="webp")
    assert response.mimetype == "image/webp"
    assert made(response).shape == (200, 300, 4)


def test_zip_has_the_parts_of_the_cutout(client: FlaskClient, photo: bytes, cutout: Pixels) -> None:
    response = send(client, photo, size="full", format="zip", bg_color="fa0")
    assert response.mimetype == "application/zip"
    with zipfile.ZipFile(io.BytesIO(response.data)) as archive:
        assert archive.namelist() == ["color.jpg", "alpha.png", "background.jpg"]
        colour, alpha, behind = (pixels_of(archive.read(name)) for name in archive.namelist())
    np.testing.assert_array_equal(alpha, cutout[..., 3])
    assert colour.shape == behind.shape == (200, 300, 3)
    solid = alpha == 255
    assert np.abs(colour[solid].astype(int) - cutout[solid, :3]).mean() < 4
    assert np.abs(behind.astype(int) - (255, 170, 0)).max() < 8
    with zipfile.ZipFile(io.BytesIO(send(client, photo, format="zip").data)) as archive:
        assert archive.namelist() == ["color.jpg", "alpha.png"]


def test_the_place_a_photo_was_taken_at_is_not_passed_on(client: FlaskClient) -> None:
    exif = PILImage.Exif()
    exif[0x010F] = "a camera"
    exif.get_ifd(0x8825)[1] = "N"
    file = io.BytesIO()
    with PILImage.open(io.BytesIO(photo_bytes("coffee", (150, 100)))) as picture:
        picture.save(file, "JPEG", exif=exif)
    answered = send(client, file.getvalue(), bg_color="white")
    with PILImage.open(io.BytesIO(answered.data)) as picture:
        assert not picture.getexif()


# The ways to ask ---------------------------------------------------------------------------------


def test_json_urlencoded_and_form_give_the_same(client: FlaskClient, photo: bytes, cutout: Pixels) -> None:
    text = base64.b64encode(photo).decode()
    fields = {"image_file_b64": text, "size": "full", "crop": False, "crop_margin": 0, "bg_color": None}
    by_json = client.post("/v1.0/removebg", json=fields)
    urlencoded = client.post("/v1.0/removebg", data={"image_file_b64": text, "size": "full", "crop": "false"})
    assert urlencoded.request.mimetype == "application/x-www-form-urlencoded"
    boundary = client.post(
        "/v1.0/removebg",
        data={"image_file_b64": f"data:image/png;base64,{text}", "size": "full"},
        content_type="multipart/form-data",
    )
    for response in (by_json, urlencoded, boundary):
        np.testing.assert_array_equal(made(response), cutout)


def test_base64_may_have_line_ends_and_the_web_alphabet(
    client: FlaskClient, photo: bytes, cutout: Pixels
) -> None:
    lines = base64.encodebytes(photo).decode()
    web = base64.urlsafe_b64encode(photo).decode().rstrip("=")
    for text in (lines, web):
        response = client.post("/v1.0/removebg", json={"image_file_b64": text, "size": "full"})
        np.testing.assert_array_equal(made(response), cutout)


def test_json_is_answered_where_it_is_asked_for(client: FlaskClient, photo: bytes, cutout: Pixels) -> None:
    response = send(client, photo, "application/json", size="full")
    assert response.mimetype == "application/json"
    data = response.get_json()["data"]
    np.testing.assert_array_equal(pixels_of(base64.b64decode(data["result_b64"])), cutout)
    assert data["foreground_width"] == int(response.headers["X-Foreground-Width"]) > 0
    assert response.headers["X-Width"] == "300"


@pytest.mark.parametrize(
    ("accept", "json"),
    [
        ("", False),
        ("*/*", False),
        ("image/*", False),
        ("application/json", True),
        ("application/json, text/plain, */*", False),  # what axios sends by itself
        ("application/json, image/*;q=0.5", True),
        ("application/json;q=0.1, image/png", False),
        ("APPLICATION/JSON; q=nonsense", False),
        (",;,q=;", False),
    ],
)
def test_what_is_answered_goes_by_what_is_accepted(accept: str, json: bool) -> None:
    assert wants_json(accept) is json


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"type": "person"}, "person"),
        ({"type": "car_interior", "type_level": "2"}, "car_interior"),
        ({"type": "car_interior"}, "other"),
        ({"type_level": "none"}, None),
    ],
)
def test_the_type_is_what_was_asked_for(
    client: FlaskClient, photo: bytes, fields: dict[str, str], kind: str | None
) -> None:
    assert send(client, photo, **fields).headers.get("X-Type") == kind


def test_fields_that_are_not_known_here_are_passed_over(client: FlaskClient, photo: bytes) -> None:
    fields = {
        "add_shadow": "true",
        "semitransparency": "false",
        "shadow_type": "drop",
        "extra": "x",
        "roi": "",
    }
    made(send(client, photo, **fields))


def test_the_account_has_credits(client: FlaskClient) -> None:
    attributes = client.get("/v1.0/account").get_json()["data"]["attributes"]
    assert attributes["credits"]["total"] > 1000
    assert attributes["api"]["free_calls"] > 1000


# Errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"size": "huge"}, "invalid_size"),
        ({"type": "dragon"}, "invalid_type"),
        ({"format": "gif"}, "invalid_format"),
        ({"channels": "rgb"}, "invalid_channels"),
        ({"bg_color": "not a colour"}, "invalid_bg_color"),
        ({"bg_color": "81d4fa\r\nX-Injected: 1"}, "invalid_bg_color"),
        ({"crop": "perhaps"}, "invalid_crop"),
        ({"crop_margin": "1 2 3"}, "invalid_crop_margin"),
        ({"crop_margin": "60%"}, "invalid_crop_margin"),
        ({"scale": "5%"}, "invalid_scale"),
        ({"position": "left"}, "invalid_position"),
        ({"roi": "0 0 10"}, "invalid_roi"),
        ({"roi": "0 0 301px 10px"}, "roi_exceeds_bounds"),
        ({"roi": "10% 10% 10% 20%"}, "roi_region_empty"),
        ({"roi": "50px 0 20px 20px"}, "roi_region_empty"),
        ({"image_url": "http://photos.example/a.jpg"}, "multiple_sources"),
        ({"bg_color": "red", "bg_image_url": "http://photos.example/a.jpg"}, "multiple_bg_sources"),
        ({"bg_image_url": "http://photos.example/a.jpg"}, "invalid_bg_image_url"),
        ({"bg_image_file": (io.BytesIO(b"no picture"), "b.png")}, "failed_to_read_image"),
    ],
)
def test_wrong_fields_get_their_own_error(
    client: FlaskClient, photo: bytes, fields: dict[str, Any], code: str
) -> None:
    response = send(client, photo, **fields)
    assert error(response)["code"] == code
    assert "X-Injected" not in response.headers


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({}, "missing_source"),
        ({"image_file": ""}, "missing_source"),
        ({"image_file": "text"}, "invalid_image_file"),
        ({"image_file_b64": "@@@"}, "invalid_image_file_b64"),
        ({"image_file_b64": base64.b64encode(b"no picture").decode()}, "failed_to_read_image"),
        ({"image_file": (io.BytesIO(b"%PDF-1.4"), "a.jpg")}, "failed_to_read_image"),
        ({"image_url": "http://127.0.0.1/a.jpg"}, "invalid_image_url"),
    ],
)
def test_wrong_pictures_get_their_own_error(client: FlaskClient, data: dict[str, Any], code: str) -> None:
    assert error(client.post("/v1.0/removebg", data=data, content_type="multipart/form-data"))["code"] == code


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b'{"size": {}}', b'{"roi": [0, 0, 1, 1]}', b"9" * 9000],
)
def test_wrong_json_gets_an_error(client: FlaskClient, body: bytes) -> None:
    found = error(client.post("/v1.0/removebg", data=body, content_type="application/json"))
    assert found["code"].startswith("invalid_")


def test_another_content_type_gets_an_error(client: FlaskClient, photo: bytes) -> None:
    response = client.post("/v1.0/removebg", data=photo, content_type="image/png")
    assert error(response, 415)["code"] == "unsupported_content_type"


def test_nothing_found_is_an_error_as_it_is_there(client: FlaskClient) -> None:
    file = io.BytesIO()
    PILImage.new("RGB", (64, 64), (127, 127, 127)).save(file, "PNG")
    found = error(send(client, file.getvalue()))
    assert found["code"] == "unknown_foreground"


def test_too_large_is_said_in_their_words() -> None:
    client = create_app(ServeParams(max_upload_mb=0.1, max_megapixels=0.05, rate=0)).test_client()
    body, kind = encode_multipart_formdata({"image_file": ("photo.png", bytes(3_000_000))})
    assert error(client.post("/v1.0/removebg", data=body, content_type=kind))["code"] == "file_too_large"
    assert error(send(client, bytes(150_000)))["code"] == "file_too_large"
    small = io.BytesIO()
    PILImage.new("L", (900, 900)).save(small, "PNG")
    assert error(send(client, small.getvalue()))["code"] == "resolution_too_high"


def test_without_the_key_the_answer_is_403(photo: bytes) -> None:
    client = create_app(ServeParams(token="let-me-in-please")).test_client()
    assert error(send(client, photo), 403)["code"] == "auth_failed"
    wrong = client.get("/v1.0/account", headers={"X-Api-Key": "wrong"})
    assert error(wrong, 403)["code"] == "auth_failed"
    assert client.get("/v1.0/account", headers={"X-Api-Key": "let-me-in-please"}).status_code == 200


def test_a_mistake_of_ours_has_their_shape_and_no_traceback(
    client: FlaskClient, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(removebg, "_made", fails)
    response = send(client, photo)
    assert error(response, 500)["code"] == "internal_error"
    assert "secret" not in response.text


# Pictures by address -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fetching() -> FlaskClient:
    """A client of an app that fetches addresses."""
    return create_app(ServeParams(image_urls=True, rate=0)).test_client()


@pytest.mark.parametrize("name", ["image_url", "bg_image_url"])
@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:{port}/a.png",
        "http://2130706433:{port}/a.png",
        "http://[::ffff:127.0.0.1]:{port}/a.png",
    ],
)
def test_the_inside_is_not_fetched_from(fetching: FlaskClient, photo: bytes, name: str, address: str) -> None:
    with serving(photo, "a.png") as inside:
        fields = {name: address.format(port=inside.server_address[1])}
        if name == "image_url":
            found = error(fetching.post("/v1.0/removebg", data=fields))
        else:
            found = error(send(fetching, photo, **fields))
        assert not inside.requests
    assert found["code"] == ("failed_image_download" if name == "image_url" else "failed_bg_download")
    assert "not a public address" in found["detail"]


def test_pictures_come_by_address_where_that_is_switched_on(
    fetching: FlaskClient, photo: bytes, cutout: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removebg, "fetch", functools.partial(fetch, allowed=lambda _: True))
    with serving(photo, "a.png") as site:
        response = fetching.post("/v1.0/removebg", json={"image_url": site.url, "size": "full"})
        np.testing.assert_array_equal(made(response), cutout)
        behind = send(fetching, photo, bg_image_url=site.url, size="full", format="png")
        assert made(behind).shape == (200, 300, 3)


def test_slow_addresses_do_not_take_all_of_the_server(
    fetching: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, done = threading.Semaphore(0), threading.Event()

    def slow(*_: object, **__: object) -> bytes:
        waiting.release()
        done.wait(20)
        return b""

    monkeypatch.setattr(removebg, "fetch", slow)

    def ask() -> TestResponse:
        client = fetching.application.test_client()
        return client.post("/v1.0/removebg", data={"image_url": "http://photos.example/a.jpg"})

    with ThreadPoolExecutor(4) as pool:
        slow_ones = [pool.submit(ask) for _ in range(4)]
        for _ in slow_ones:
            assert waiting.acquire(timeout=20)
        refused = ask()
        done.set()
        assert [one.result().status_code for one in slow_ones] == [400] * 4
    assert error(refused, 429)["code"] == "rate_limit_exceeded"
    assert refused.headers["Retry-After"] == "5"
    assert error(ask())["code"] == "failed_to_read_image"  # there is room again


# Clients made for the original -------------------------------------------------------------------


@pytest.fixture
def server(serve: Callable[..., Server]) -> Iterator[Server]:
    """A real server with a token, as remove.bg has its keys."""
    yield serve(token="my-own-key", rate=0)


def test_the_client_removebg_from_pypi_works(
    server: Server, photo: bytes, cutout: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = pytest.importorskip("removebg.removebg", reason="pip install removebg")
    monkeypatch.setattr(package, "API_ENDPOINT", f"{server.url}v1.0/removebg")
    client = package.RemoveBg("my-own-key", os.devnull)
    source, target = tmp_path / "photo.png", tmp_path / "result.png"
    source.write_bytes(photo)
    client.remove_background_from_img_file(str(source), size="full")
    np.testing.assert_array_equal(pixels_of(Path(f"{source}_no_bg.png").read_bytes()), cutout)
    client.remove_background_from_base64_img(
        base64.b64encode(photo), size="4k", new_file_name=str(target), bg_color="81d4fa"
    )
    assert pixels_of(target.read_bytes()).shape == (200, 300, 3)
    with pytest.raises(Exception, match="403"):
        package.RemoveBg("a-wrong-key", os.devnull).remove_background_from_base64_img(b"AAAA")


def test_the_client_remove_bg_api_from_pypi_works(
    server: Server, photo: bytes, cutout: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = pytest.importorskip("remove_bg_api", reason="pip install remove-bg-api")
    monkeypatch.setattr(package, "API_URL", f"{server.url}v1.0")
    client = package.RemoveBg("my-own-key")
    before = client.account.balance()
    np.testing.assert_array_equal(pixels_of(client.remove_bg_bytes(photo, size="full")), cutout)
    options = {"size": "full", "crop": "true", "format": "zip"}
    with zipfile.ZipFile(
        io.BytesIO(client.remove_bg_base64(base64.b64encode(photo), data=options))
    ) as archive:
        assert "color.jpg" in archive.namelist()
    assert client.account.balance() == before  # nothing is charged
    with pytest.raises(package.Errors.ApiErrorCode400):
        client.remove_bg_bytes(b"no picture")
    with pytest.raises(package.Errors.ApiErrorCode403):
        package.RemoveBg("a-wrong-key")


def test_errors_reach_such_clients_as_json(server: Server) -> None:
    import requests

    answer = requests.post(
        f"{server.url}v1.0/removebg",
        data={"image_file_b64": "AAAA"},
        headers={"X-Api-Key": "my-own-key"},
        timeout=10,
    )
    assert answer.status_code == 400
    assert json.loads(answer.text)["errors"][0]["code"] == "failed_to_read_image"

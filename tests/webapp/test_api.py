"""``/api/remove`` against the package's own results, the other addresses, and what is refused."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image as PILImage
from werkzeug.test import TestResponse

import bgremove
from bgremove.registry import REMOVERS
from bgremove.webapp import ServeParams, create_app
from bgremove.webapp.api import _from_rembg
from bgremove.webapp.openapi import remove_schema
from bgremove.webapp.server import Server

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


def send(client: FlaskClient, photo: bytes, **fields: Any) -> TestResponse:
    return client.post("/api/remove", data={"file": (io.BytesIO(photo), "photo.png"), **fields})


def made(response: TestResponse) -> Pixels:
    assert response.status_code == 200, response.text
    pixels = pixels_of(response.data)
    assert pixels.shape[:2] == (int(response.headers["X-Height"]), int(response.headers["X-Width"]))
    return pixels


def sentence(response: TestResponse, status: int = 400) -> str:
    """The one sentence of an error."""
    assert response.status_code == status, response.text
    assert set(response.get_json()) == {"error"}
    text: str = response.get_json()["error"]
    assert "Traceback" not in text
    return text


# Pictures ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"output": "alpha"},
        {"output": "mask", "grow": -2, "opening": 1},
        {"background": "tomato", "crop": True, "padding": "10%"},
        {"background": "blur", "blur_radius": 6},
        {"background": "255,170,0,128"},
        {"size": "100x100", "edges": "none", "foreground": "none"},
        {"model": "contour", "output": "mask", "canny_low": 20},
        {"preset": "product", "feather": 1.5},
        {"output": "trimap"},
        {"output": "crop", "background": "white"},
    ],
)
def test_every_setting_does_what_it_does_everywhere(
    client: FlaskClient, photo: bytes, settings: dict[str, Any]
) -> None:
    expected = pixels_of(bgremove.remove(photo, **settings))
    fields = {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in settings.items()
    }
    np.testing.assert_array_equal(made(send(client, photo, **fields)), expected)
    by_json = send(client, photo, settings=json.dumps(settings))
    np.testing.assert_array_equal(made(by_json), expected)
    bare = client.post("/api/remove", query_string=fields, data=photo, content_type="image/png")
    np.testing.assert_array_equal(made(bare), expected)


@pytest.mark.parametrize(
    ("fields", "mimetype", "kind"),
    [
        ({}, "image/png", "PNG"),
        ({"format": "webp"}, "image/webp", "WEBP"),
        ({"format": "jpeg", "background": "white"}, "image/jpeg", "JPEG"),
        ({"format": "jpeg", "output": "mask"}, "image/jpeg", "JPEG"),
        ({"format": "tiff"}, "image/tiff", "TIFF"),
        ({"format": "avif"}, "image/avif", "AVIF"),
        ({"format": "gif"}, "image/gif", "GIF"),
        ({"format": "bmp", "background": "red"}, "image/bmp", "BMP"),
    ],
)
def test_formats(client: FlaskClient, photo: bytes, fields: dict[str, str], mimetype: str, kind: str) -> None:
    response = send(client, photo, **fields)
    assert response.mimetype == mimetype
    with PILImage.open(io.BytesIO(response.data)) as picture:
        assert picture.format == kind


def test_quality_changes_the_size(client: FlaskClient, photo: bytes) -> None:
    few, many = (send(client, photo, format="jpeg", background="white", quality=q) for q in ("5", "95"))
    assert len(few.data) * 3 < len(many.data)


def test_the_headers_tell_of_the_picture(client: FlaskClient, photo: bytes) -> None:
    response = send(client, photo, background="white", format="jpeg")
    assert response.headers["X-Model"] == "lite"
    assert "X-Note" not in response.headers
    assert response.headers["Content-Disposition"] == 'inline; filename="composite.jpg"'
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_an_empty_result_says_so_in_a_header(client: FlaskClient) -> None:
    file = io.BytesIO()
    PILImage.new("RGB", (64, 64), (127, 127, 127)).save(file, "PNG")
    response = send(client, file.getvalue())
    assert not made(response)[..., 3].any()
    assert "the result is empty" in response.headers["X-Note"]


def test_of_an_animation_the_first_picture_is_used(client: FlaskClient, photo: bytes) -> None:
    with PILImage.open(io.BytesIO(photo)) as picture:
        other = PILImage.new("RGB", picture.size)
        file = io.BytesIO()
        picture.save(file, "WEBP", save_all=True, append_images=[other], duration=100, lossless=True)
    response = send(client, file.getvalue())
    assert "only its first picture" in response.headers["X-Note"]
    assert made(response)[..., 3].any()


def test_a_picture_goes_behind(client: FlaskClient, photo: bytes) -> None:
    behind = io.BytesIO()
    PILImage.new("RGB", (40, 40), (10, 200, 60)).save(behind, "PNG")
    expected = pixels_of(bgremove.remove(photo, background=behind.getvalue(), background_fit="tile"))
    response = send(
        client, photo, background_file=(io.BytesIO(behind.getvalue()), "b.png"), background_fit="tile"
    )
    np.testing.assert_array_equal(made(response), expected)
    mask = send(client, photo, background_file=(io.BytesIO(behind.getvalue()), "b.png"), output="mask")
    assert made(mask).ndim == 2


def test_fields_of_the_form_win_over_the_query_and_both_over_the_settings(
    client: FlaskClient, photo: bytes
) -> None:
    def shape(query: dict[str, str], **fields: str) -> tuple[int, int]:
        data = {"file": (io.BytesIO(photo), "a.png"), "settings": '{"size": "50", "crop": null}', **fields}
        pixels = made(client.post("/api/remove", query_string=query, data=data))
        return pixels.shape[0], pixels.shape[1]

    assert shape({}) == (33, 50)
    assert shape({"size": "100"}) == (67, 100)
    assert shape({"size": "100"}, size="150", crop="") == (100, 150)


def test_colour_profile_and_resolution_are_kept_unless_stripped(client: FlaskClient, photo: bytes) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    file = io.BytesIO()
    with PILImage.open(io.BytesIO(photo)) as picture:
        picture.save(file, "PNG", icc_profile=profile, dpi=(300, 300))
    for strip, kept in (("false", profile), ("true", None)):
        with PILImage.open(io.BytesIO(send(client, file.getvalue(), strip=strip).data)) as answered:
            assert answered.info.get("icc_profile") == kept


# rembg's fields ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "settings"),
    [
        ({"om": "true"}, {"output": "alpha"}),
        ({"om": "1", "ppm": "1"}, {"output": "mask", "opening": 1}),
        (
            {"om": "false", "ppm": "false", "a": "false", "dc": "true", "af": "240", "ab": "10", "ae": "10"},
            {},
        ),
        ({"bgc": "255,170,0,255"}, {"background": "255,170,0,255"}),
        ({"om": "true", "output": "trimap"}, {"output": "trimap"}),
    ],
)
def test_the_fields_of_rembg_are_taken(
    client: FlaskClient, photo: bytes, fields: dict[str, str], settings: dict[str, Any]
) -> None:
    expected = pixels_of(bgremove.remove(photo, **settings))
    np.testing.assert_array_equal(made(send(client, photo, **fields)), expected)


@pytest.mark.parametrize("field", ["a", "vm"])
def test_rembgs_matting_is_closed_form(field: str) -> None:
    assert _from_rembg({field: "true"}) == {"edges": "closed-form"}
    assert _from_rembg({field: "true", "edges": "none"}) == {"edges": "none"}


@pytest.mark.parametrize(
    "fields", [{"a": "perhaps"}, {"af": "256"}, {"ab": "-1"}, {"ae": "x"}, {"bgc": "1,2"}]
)
def test_wrong_fields_of_rembg_are_refused(client: FlaskClient, photo: bytes, fields: dict[str, str]) -> None:
    assert sentence(send(client, photo, **fields))


# What is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"quality": "900"}, "quality must be a whole number from 1 to 100; got 900"),
        ({"qualty": "90"}, "unknown setting 'qualty'; did you mean 'quality'?"),
        ({"self": "1"}, "unknown setting 'self'; /api lists those there are"),
        ({"cls": "1"}, "unknown setting 'cls'"),
        ({"model_file": "/etc/passwd"}, "unknown setting 'model_file'"),
        ({"hint": "/etc/passwd"}, "unknown setting 'hint'"),
        ({"to": "/tmp/x.png"}, "unknown setting 'to'"),
        ({"device": "cuda"}, "unknown setting 'device'"),
        ({"canny_low": "20"}, "unknown setting 'canny_low'"),
        ({"model": "lightning"}, "unknown remover 'lightning'"),
        ({"preset": "nice"}, "unknown preset 'nice'"),
        ({"output": "alpha,mask"}, "output must be one name here"),
        ({"output": "instances"}, "instances need a model"),
        ({"output": "composite"}, "a composite needs a background"),
        ({"format": "jpeg"}, "JPEG cannot hold transparency; give a background"),
        ({"format": "exe"}, "format must be one of"),
        ({"background": "/etc/passwd"}, "unknown background"),
        ({"background": "http://127.0.0.1/"}, "unknown background"),
        ({"background": "\r\nSet-Cookie: a=b"}, "unknown background"),
        ({"size": "-5"}, "size must be"),
        ({"padding": "much"}, "padding must be"),
        ({"settings": "[]"}, "settings must be a JSON object"),
        ({"settings": "{" * 5000}, "settings must be a JSON object"),
        ({"settings": "[" * 200_000}, "settings must be a JSON object"),
        ({"settings": '{"quality": {"a": 1}}'}, "quality must be"),
        ({"settings": '{"model": ["lite"]}'}, "unknown remover"),
        ({"settings": '{"preset": 3}'}, "expected text"),
        ({"settings": '{"background": [1, 2, 3]}'}, "expected text"),
        ({"settings": '{"feather": 1e999}'}, "feather must be"),
        ({"feather": "nan"}, "feather must be"),
    ],
)
def test_wrong_fields_get_a_sentence(
    client: FlaskClient, photo: bytes, fields: dict[str, str], expected: str
) -> None:
    response = send(client, photo, **fields)
    assert sentence(response).startswith(expected)
    assert "Set-Cookie" not in response.headers


def test_a_model_of_ones_own_is_refused(client: FlaskClient, photo: bytes) -> None:
    for model in ("onnx:/etc/passwd", "detectron2:a.yaml@b.pkl", "onnx"):
        assert "model of one's own" in sentence(send(client, photo, model=model), 403)


def test_a_field_twice_is_refused(client: FlaskClient, photo: bytes) -> None:
    response = client.post("/api/remove?quality=3&quality=4", data=photo, content_type="image/png")
    assert sentence(response) == "'quality' is given twice; give it once"


def test_two_backgrounds_are_refused(client: FlaskClient, photo: bytes) -> None:
    response = send(client, photo, background_file=(io.BytesIO(photo), "b.png"), background="red")
    assert "both given" in sentence(response)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, "there is no picture"),
        ({"file": "text"}, "there is no picture"),
        ({"image": (io.BytesIO(b"x"), "a.png")}, "unknown file 'image'"),
        ({"file": (io.BytesIO(b""), "a.png")}, "the picture"),
        ({"file": (io.BytesIO(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "a.svg")}, "the picture"),
        ({"file": (io.BytesIO(b"%!PS-Adobe-3.0 EPSF-3.0\n"), "a.png")}, "the picture"),
    ],
)
def test_wrong_pictures_get_a_sentence(client: FlaskClient, data: dict[str, Any], expected: str) -> None:
    response = client.post("/api/remove", data=data, content_type="multipart/form-data")
    assert sentence(response).startswith(expected)


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/json", "application/x-www-form-urlencoded", "nonsense"]
)
def test_another_content_type_is_415(client: FlaskClient, photo: bytes, kind: str) -> None:
    response = client.post("/api/remove", data=photo, content_type=kind)
    assert "curl -F file=@photo.jpg" in sentence(response, 415)


@pytest.mark.parametrize(
    ("address", "method"), [("/api/remove", "get"), ("/api/models", "post"), ("/healthz", "put")]
)
def test_other_methods_are_405(client: FlaskClient, address: str, method: str) -> None:
    response = getattr(client, method)(address)
    assert sentence(response, 405)
    assert response.headers["Allow"]


def test_without_a_token_nothing_but_healthz_is_told(photo: bytes) -> None:
    client = create_app(ServeParams(token="let-me-in-please", rate=0)).test_client()
    assert sentence(send(client, photo), 401)
    for address in ("/api/models", "/metrics", "/api/openapi.json", "/api"):
        assert sentence(client.get(address), 401)
        for headers in ({"X-Api-Key": "let-me-in-please"}, {"Authorization": "Bearer let-me-in-please"}):
            assert client.get(address, headers=headers).status_code == 200
    assert client.get("/healthz").status_code == 503


def test_too_many_requests_are_told_when_to_come_again(photo: bytes) -> None:
    client = create_app(ServeParams(rate=2)).test_client()
    answers = [client.post("/api/remove", data=b"x", content_type="image/png") for _ in range(6)]
    assert {one.status_code for one in answers} == {400, 429}
    assert int(answers[-1].headers["Retry-After"]) >= 1


# The other addresses -----------------------------------------------------------------------------


def test_models_lists_all_but_those_of_ones_own(client: FlaskClient) -> None:
    found = client.get("/api/models").get_json()
    assert found["default"] == "lite"
    models = {one["name"]: one for one in found["models"]}
    assert set(models) == {name for name, info in REMOVERS.items() if not info.needs_file}
    assert models["lite"]["available"] is True
    low = models["contour"]["settings"]["canny_low"]
    assert low["type"] == "integer" and low["minimum"] < low["maximum"]
    assert models["u2net"]["settings"]["input_size"]["default"] == 320
    assert models["isnet-general-use"]["settings"]["input_size"]["default"] == 1024
    assert set(models["grabcut"]["settings"]) <= set(remove_schema())


def test_the_servers_own_file_is_listed_without_its_folder(tmp_path: Any) -> None:
    client = create_app(ServeParams(model=f"onnx:{tmp_path}/net.onnx")).test_client()
    text = client.get("/api/models").text + client.get("/api").text + client.get("/healthz").text
    assert "net.onnx" in text
    assert str(tmp_path) not in text


def test_healthz_waits_for_the_network_and_everything_works_over_http(
    serve: Callable[..., Server], photo: bytes
) -> None:
    import requests

    server = serve(rate=0)
    assert requests.get(f"{server.url}healthz", timeout=10).status_code == 503
    server.parts.service.load()
    answer = requests.get(f"{server.url}healthz", timeout=10)
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "version": bgremove.__version__, "model": "lite"}
    cut = requests.post(
        f"{server.url}api/remove", files={"file": photo}, data={"output": "alpha"}, timeout=60
    )
    np.testing.assert_array_equal(pixels_of(cut.content), pixels_of(bgremove.remove(photo, output="alpha")))
    text = requests.get(f"{server.url}metrics", timeout=10)
    assert text.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'bgremove_pictures_total{model="lite",result="subject"} 1.0' in text.text

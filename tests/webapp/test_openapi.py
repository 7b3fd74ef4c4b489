"""The OpenAPI document: valid, made from the declarations, and true of what the server does."""

from __future__ import annotations

import base64
import collections
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from bgremove.options import settings
from bgremove.registry import REMOVERS
from bgremove.webapp import ServeParams, create_app
from bgremove.webapp.openapi import ERRORS, REMBG, document, remove_schema
from bgremove.webapp.removebg import RemoveBgParams

from .conftest import photo_bytes

schemathesis = pytest.importorskip("schemathesis", reason="pip install schemathesis")
import hypothesis  # noqa: E402

PHOTO = photo_bytes("coffee", (96, 64))
EXAMPLES = 60  # for an address; all of it takes some ten seconds


PARAMS = ServeParams(workers=2, rate=0)
APP = create_app(PARAMS)  # here, since tests are made from its document when they are collected
API = schemathesis.openapi.from_wsgi(
    "/api/openapi.json",
    APP,
    # The phase of all combinations takes minutes.
    config=schemathesis.Config.from_dict({"phases": {"coverage": {"enabled": False}}, "seed": 5}),
)


@pytest.fixture(scope="module")
def app() -> Flask:
    """One app for all, loaded as a server is."""
    APP.extensions["bgremove"].service.load()
    return APP


def properties(path: str, kind: str = "multipart/form-data") -> dict[str, Any]:
    body = document(PARAMS)["paths"][path]["post"]["requestBody"]["content"][kind]["schema"]
    found: dict[str, Any] = body["properties"]
    return found


def references(node: Any) -> Iterator[str]:
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from references(value)
    if isinstance(node, dict) and isinstance(node.get("$ref"), str):
        yield node["$ref"]


def test_the_document_is_valid_openapi(client: FlaskClient) -> None:
    served = client.get("/api/openapi.json").get_json()
    assert served == json.loads(json.dumps(document(PARAMS)))
    jsonschema_rs = pytest.importorskip("jsonschema_rs", reason="comes with schemathesis")
    from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

    del jsonschema_rs
    assert [error.message for error in OPENAPI_31_VALIDATOR.iter_errors(served)] == []
    for reference in references(served):
        place: Any = served
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


def test_every_setting_of_every_model_is_a_field() -> None:
    fields = properties("/api/remove")
    for info in REMOVERS.values():
        for one in settings(info.params):
            if one.name != "hint_as":
                assert one.help in fields[one.name]["description"]
                assert info.needs_file or info.name in fields[one.name]["x-models"]
    assert (
        fields["quality"] | {"minimum": 1, "maximum": 100, "default": 90, "type": "integer"}
        == fields["quality"]
    )
    assert set(REMBG) <= set(fields)


def test_the_query_has_the_same_fields_as_the_form() -> None:
    operation = document(PARAMS)["paths"]["/api/remove"]["post"]
    assert [one["name"] for one in operation["parameters"]] == list(remove_schema())
    assert set(properties("/api/remove")) - set(remove_schema()) == {"file", "background_file"}


def test_removebg_has_the_fields_of_its_declaration_and_the_sources() -> None:
    sources = {"image_file", "image_file_b64", "image_url", "bg_image_file"}
    assert set(properties("/v1.0/removebg")) == sources | set(RemoveBgParams.model_fields)
    assert "image_file" not in properties("/v1.0/removebg", "application/json")


def test_errors_are_described_and_have_examples() -> None:
    found = document(PARAMS)
    answers = found["components"]["responses"]
    for status in ERRORS:
        for shape in ("Error", "RemoveBgError"):
            assert answers[f"{shape}{status}"]["content"]["application/json"]["example"]
    assert {"400", "401", "413", "415", "429", "500", "503"} <= set(
        found["paths"]["/api/remove"]["post"]["responses"]
    )


def test_a_token_is_asked_for_where_there_is_one() -> None:
    assert document(PARAMS)["security"] == []
    assert document(ServeParams(token="let-me-in-please"))["security"] == [{"apiKey": []}, {"bearer": []}]
    assert "let-me-in" not in json.dumps(document(ServeParams(token="let-me-in-please")))


def test_the_page_shows_every_field_and_model(client: FlaskClient) -> None:
    page = client.get("/api").text
    for name in (*properties("/api/remove"), *properties("/v1.0/removebg"), *properties("/api/video")):
        assert f"<code>{name}</code>" in page
    assert all(f"<code>{info.name}</code>" in page for info in REMOVERS.values() if not info.needs_file)
    assert re.findall("<script.*", page) == ['<script src="static/theme.js"></script>']
    assert "style=" not in page
    assert "http://localhost/api/remove" in page
    behind_a_tunnel = client.get("/api", headers={"X-Forwarded-Proto": "https"}).text
    assert "https://localhost/api/remove" in behind_a_tunnel


def test_the_page_escapes_the_host_that_was_asked_for() -> None:
    client = create_app(ServeParams(token="let-me-in-please")).test_client()
    headers = {"Host": "evil<b>.example", "X-Api-Key": "let-me-in-please"}
    assert "<b>" not in client.get("/api", headers=headers).text


# What the server does, against the document ------------------------------------------------------


@pytest.fixture(scope="module")
def seen() -> Iterator[collections.Counter[tuple[str, int]]]:
    """What was answered; in the end, whether the requests made sense."""
    seen: collections.Counter[tuple[str, int]] = collections.Counter()
    yield seen
    if seen:
        assert seen["/api/remove", 200] > 5
        assert seen["/v1.0/removebg", 200] > 5
        assert seen["/api/remove", 400] > 5
        assert seen["/v1.0/removebg", 400] > 5
        assert not [status for _, status in seen if status >= 500]


@API.parametrize()  # type: ignore[untyped-decorator]
@hypothesis.settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_answers_are_as_the_document_says(
    case: Any, app: Flask, seen: collections.Counter[tuple[str, int]]
) -> None:
    # That fields fit each other, and that bytes are a picture, no schema can say.
    left_out = ["positive_data_acceptance"]
    if case.meta is not None and case.meta.generation.mode.is_positive:
        _make_sense(case)
        left_out.append("negative_data_rejection")  # real bytes are no JSON, so they would count as wrong
    response = case.call()
    seen[case.path, response.status_code] += 1
    case.validate_response(response, excluded_checks=list(map(schemathesis.checks.CHECKS.get_one, left_out)))


def _make_sense(case: Any) -> None:
    """Put a real picture into a valid request, and leave most fields out, since many exclude each other."""
    if isinstance(case.body, bytes):
        case.body = PHOTO
    if not isinstance(case.body, dict):
        return
    if case.path == "/api/remove":
        kept = sorted(
            set(case.body) & {"format", "quality", "feather", "crop", "strip", "png_level", "om", "grow"}
        )
        case.body = {name: case.body[name] for name in kept[: len(kept) // 2 + 1]} | {"file": PHOTO}
        case.query.clear()
    elif case.media_type != "multipart/form-data":
        known = properties(case.path)
        plain = {name: value for name, value in case.body.items() if "enum" in known.get(name, ())}
        case.body = plain | {"image_file_b64": base64.b64encode(PHOTO).decode()}
    else:
        case.body = {"image_file": PHOTO} | {
            name: value
            for name, value in case.body.items()
            if name in ("crop", "type", "size", "format", "channels")
        }

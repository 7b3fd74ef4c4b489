"""Attacks: damaged files, bombs, names and headers made to do harm. The server answers and goes on."""

from __future__ import annotations

import io
import json
import random
import socket
import struct
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image as PILImage
from urllib3 import encode_multipart_formdata

from bgremove.webapp import ServeParams, create_app
from bgremove.webapp.server import Server

from .conftest import photo_bytes, pixels_of

DAMAGED = 500
SECONDS = 60.0  # for all of these; they take some ten on a quiet machine

KINDS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "PPM", "JPEG2000")


@pytest.fixture(scope="module")
def app() -> Flask:
    """One app for all, with small limits."""
    return create_app(ServeParams(workers=2, rate=0, max_upload_mb=2, max_megapixels=1))


@pytest.fixture(scope="module")
def photo() -> bytes:
    return photo_bytes("coffee", (48, 32), "PNG")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The real one, for what a test client cannot send."""
    with Server(ServeParams(port=0, workers=1, rate=0, max_upload_mb=2, max_megapixels=1)) as server:
        yield server


def post(
    client: FlaskClient, data: bytes, name: str = "a.png", address: str = "/api/remove"
) -> tuple[int, str]:
    """Status, and the sentence of an error, whose shape is checked."""
    field = "file" if address == "/api/remove" else "image_file"
    body, kind = encode_multipart_formdata({field: (name, data)})
    response = client.post(address, data=body, content_type=kind)
    if response.status_code == 200:
        assert pixels_of(response.data).size
        return 200, ""
    text = response.get_json()["error"] if field == "file" else response.get_json()["errors"][0]["detail"]
    assert text and "\n" not in text and "Traceback" not in text and len(text) < 600
    return response.status_code, text


def originals() -> list[bytes]:
    """Real files of all the formats that are read here."""
    files = []
    with PILImage.open(io.BytesIO(photo_bytes("coffee", (48, 32), "PNG"))) as picture:
        for kind in KINDS:
            file = io.BytesIO()
            picture.save(file, kind)
            files.append(file.getvalue())
            if kind in ("PNG", "WEBP", "TIFF"):
                file = io.BytesIO()
                picture.convert("RGBA").save(file, kind)
                files.append(file.getvalue())
    return files


def damaged(original: bytes, dice: random.Random) -> bytes:
    """A file with something wrong in it."""
    data = bytearray(original)
    match dice.randrange(7):
        case 0:
            return bytes(data[: dice.randrange(len(data))])
        case 1:
            for _ in range(dice.choice((1, 3, 30))):
                data[dice.randrange(len(data))] = dice.randrange(256)
        case 2:
            place = dice.randrange(len(data))
            data[place : place + dice.choice((1, 4, 50))] = b""
        case 3:
            place = dice.randrange(len(data))
            data[place:place] = dice.randbytes(dice.choice((1, 4, 2000)))
        case 4:  # the header: sizes, depths, offsets
            for _ in range(4):
                data[dice.randrange(min(40, len(data)))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF))
        case 5:
            place = dice.randrange(max(1, len(data) - 4))
            data[place : place + 4] = dice.choice(
                (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x00")
            )
        case 6:
            half = len(data) // 2
            data = data[:half] + bytearray(dice.randbytes(half))
    return bytes(data)


def test_500_damaged_files_get_a_picture_or_a_sentence(client: FlaskClient, photo: bytes) -> None:
    dice, files, seen = random.Random(20), originals(), {200: 0, 400: 0, 413: 0}
    end = time.monotonic() + SECONDS
    for number in range(DAMAGED):
        data = damaged(files[number % len(files)], dice)
        address = "/v1.0/removebg" if number % 3 == 0 else "/api/remove"
        status, text = post(client, data, address=address)
        assert status in seen, (number, status, text)
        seen[status] += 1
        assert time.monotonic() < end, f"only {number} of {DAMAGED} in {SECONDS:g} seconds"
    assert seen[400] > DAMAGED / 4
    assert post(client, photo)[0] == 200


def bomb() -> bytes:
    """12000 x 12000 pixels, one colour, in 18 kB."""
    packer = zlib.compressobj(9)
    row = bytes(12000 // 8 + 1)
    body = b"".join(packer.compress(row) for _ in range(12000)) + packer.flush()

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 12000, 12000, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("address", ["/api/remove", "/v1.0/removebg"])
def test_a_bomb_of_144_megapixels_is_not_decoded(client: FlaskClient, photo: bytes, address: str) -> None:
    data = bomb()
    assert len(data) < 20_000
    began = time.monotonic()
    status, text = post(client, data, address=address)
    assert status == (413 if address == "/api/remove" else 400)
    assert "144" in text and "megapixel" in text
    assert time.monotonic() - began < 5
    field = "background_file" if address == "/api/remove" else "bg_image_file"
    source = "file" if address == "/api/remove" else "image_file"
    body, kind = encode_multipart_formdata({source: ("a.png", photo), field: ("b.png", data)})
    assert client.post(address, data=body, content_type=kind).status_code == status


@pytest.mark.parametrize(
    "name",
    [
        "../../../../etc/passwd",
        "..\\..\\boot.ini",
        "/etc/passwd",
        "C:\\Windows\\win.ini",
        "a.png\x00.exe",
        'a.png"; filename="b.exe',
        "a.png\r\nSet-Cookie: owned=1\r\n\r\n<script>",
        "<img src=x onerror=alert(1)>.png",
        "{{7*7}}.png",
        "%s%n%x.png",
        "名前.png",
        "\u202egnp.exe",
        "a" * 10_000,
    ],
)
def test_names_of_files_do_nothing(
    client: FlaskClient, photo: bytes, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    boundary = "b0undary"
    quoted = name.replace('"', "%22") if "filename=" not in name else name
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{quoted}"\r\n\r\n'
    body = head.encode("utf-8", "surrogatepass") + photo + f"\r\n--{boundary}--\r\n".encode()
    response = client.post("/api/remove", data=body, content_type=f"multipart/form-data; boundary={boundary}")
    assert response.status_code in (200, 400)
    assert "Set-Cookie" not in response.headers
    assert not any(word in str(response.headers) for word in ("passwd", "script", "owned", "49", ".exe"))
    if response.status_code == 200:
        assert response.headers["Content-Disposition"] == 'inline; filename="cutout.png"'
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--",
        b"--x\r\n",
        b"--x\r\n\r\n\r\n--x--",
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\nno end',
        b"--x\r\nContent-Disposition: form-data\r\n\r\n--x--\r\n",
        b'--x\r\nContent-Disposition: form-data; name="a' + b"a" * 100_000 + b'"\r\n\r\n1\r\n--x--\r\n',
        b'--x\r\nContent-Disposition: form-data; name="q"\r\n\r\n1\r\n' * 3000 + b"--x--\r\n",
        b"\xff\xfe" * 1000,
        b"--x\r\n" + b"A: b\r\n" * 10_000 + b"\r\n--x--\r\n",
    ],
    ids=range(10),
)
@pytest.mark.parametrize("address", ["/api/remove", "/v1.0/removebg"])
def test_broken_forms_get_a_sentence(client: FlaskClient, address: str, body: bytes) -> None:
    response = client.post(address, data=body, content_type="multipart/form-data; boundary=x")
    assert response.status_code in (400, 413)
    found = response.get_json()
    assert found["error"] if address == "/api/remove" else found["errors"][0]["title"]


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\xff"]
)
def test_a_form_without_a_boundary_gets_a_sentence(client: FlaskClient, kind: str) -> None:
    assert client.post("/api/remove", data=b"x", content_type=kind).status_code == 400


def test_a_body_that_is_too_large_is_refused_before_it_is_read(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(
            b"POST /api/remove HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
            b"Content-Length: 2000000000\r\n\r\n" + bytes(100_000)
        )
        answer = connection.recv(65536)
    assert answer.split()[1] == b"413"


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /api/../../../etc/passwd HTTP/1.1",
        b"GET /static/../api.py HTTP/1.1",
        b"GET /static/%2e%2e/api.py HTTP/1.1",
        b"GET /static/..%2f..%2fconfig.py HTTP/1.1",
        b"GET /%00 HTTP/1.1",
        b"GET /api%0d%0aSet-Cookie:owned=1 HTTP/1.1",
        b"GET /\xff\xfe HTTP/1.1",
        b"GET http://169.254.169.254/latest/ HTTP/1.1",
        b"PROPFIND /api/remove HTTP/1.1",
        b"GET /api/remove?" + b"a=1&" * 5000 + b" HTTP/1.1",
        b"nonsense",
    ],
    ids=range(11),
)
def test_addresses_made_to_do_harm_find_nothing(server: Server, request_line: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(request_line + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    assert 400 <= int(head.split()[1]) < 500, head
    assert b"Set-Cookie" not in head
    assert b"root:" not in body and b"import" not in body and b"Traceback" not in body


def test_headers_made_to_do_harm_come_to_nothing(client: FlaskClient, photo: bytes) -> None:
    for headers in (
        {"Accept": "application/json;q=" + "9" * 5000},
        {"Accept": ("a/b," * 2000)[:-1]},
        {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "evil.example"},
        {"Range": "bytes=0-5"},
        {"Transfer-Encoding": "nonsense"},
        {"Content-Encoding": "gzip"},
        {"X-HTTP-Method-Override": "DELETE"},
    ):
        response = client.post(
            "/v1.0/removebg", data={"image_file": (io.BytesIO(photo), "a.png")}, headers=headers
        )
        assert response.status_code in (200, 400, 415)


def test_json_in_json_goes_no_deeper(client: FlaskClient) -> None:
    deep = json.dumps({"image_file_b64": "AAAA", "size": "[" * 1000})
    assert client.post("/v1.0/removebg", data=deep, content_type="application/json").status_code == 400


@pytest.mark.parametrize(
    ("address", "kind", "body"),
    [
        ("/v1.0/removebg", "application/x-www-form-urlencoded", b"a=1&" * 400_000),
        ("/page/pictures", "application/x-www-form-urlencoded", b"a=1&" * 400_000),
        ("/v1.0/removebg", "application/json", b'{"x":[' + b"[]," * 500_000 + b"1]}"),
    ],
)
def test_very_many_values_take_no_memory(client: FlaskClient, address: str, kind: str, body: bytes) -> None:
    visitor = client.post("/page/visitors").get_json()["visitor"]
    tracemalloc.start()
    try:
        response = client.post(address, data=body, content_type=kind, headers={"X-Visitor": visitor})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert response.status_code == 400
    found = response.get_json()
    sentence = found["error"] if "error" in found else found["errors"][0]["detail"]
    assert "at most 1000 fields" in sentence or "no JSON" in sentence
    assert peak < 5 * len(body)


def test_long_texts_are_refused(client: FlaskClient, photo: bytes) -> None:
    for fields in (
        {"classes": "a," * 10_000, "model": "mask_rcnn_R_50_FPN_3x"},
        {"settings": '{"edges": "' + "x" * 200_000 + '"}'},
    ):
        data = {"file": (io.BytesIO(photo), "a.png"), **fields}
        response = client.post("/api/remove", data=data)
        assert response.status_code == 400
        assert len(response.get_json()["error"]) < 200


def test_after_all_of_this_the_server_goes_on(client: FlaskClient, server: Server, photo: bytes) -> None:
    import requests

    assert post(client, photo)[0] == 200
    answer = requests.post(f"{server.url}api/remove", files={"file": photo}, timeout=60)
    assert answer.status_code == 200
    metrics = requests.get(f"{server.url}metrics", timeout=10).text
    assert "bgremove_working 0.0" in metrics
    assert "bgremove_waiting 0.0" in metrics

from __future__ import annotations

import time
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from bgremove.webapp import ServeParams, create_app
from bgremove.webapp.guard import Buckets

TOKEN = "open-sesame-1234"


def client_of(hosts: tuple[str, ...] = (), frames: tuple[str, ...] = (), **values: Any) -> FlaskClient:
    app = create_app(ServeParams(**values), hosts=hosts, frames=frames)

    @app.post("/test/anything")  # stands for any address that asks for work
    def anything() -> str:
        return "done"

    return app.test_client()


@pytest.fixture
def guarded() -> FlaskClient:
    return client_of(token=TOKEN)


# Tokens ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/page/config", "/page/pictures", "/page/samples/cat", "/nowhere", "/metrics"]
)
def test_nothing_without_the_token(guarded: FlaskClient, path: str) -> None:
    answer = guarded.get(path)
    assert answer.status_code == 401
    assert "token is needed" in answer.get_json()["error"]
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert TOKEN not in answer.text


def test_what_everybody_may_see(guarded: FlaskClient) -> None:
    assert guarded.get("/").status_code == 200
    assert guarded.get("/static/nothing.js").status_code == 404
    assert guarded.get("/static/../page/config").status_code in (401, 404)
    assert guarded.get("//page/config").status_code != 200
    assert guarded.post("/").status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Api-Key": TOKEN},
        {"Authorization": f"Bearer {TOKEN}"},
        {"Authorization": f"bearer  {TOKEN}"},
    ],
)
def test_header_lets_in(guarded: FlaskClient, headers: dict[str, str]) -> None:
    assert guarded.get("/page/config", headers=headers).status_code == 200
    # A program of one's own has no site to come from.
    foreign = {**headers, "Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    assert guarded.post("/page/visitors", headers=foreign).status_code == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Api-Key": TOKEN + "x"},
        {"X-Api-Key": TOKEN[:-1]},
        {"X-Api-Key": "é"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer"},
        {"Cookie": f"bgremove={TOKEN}"},
        {"Cookie": "bgremove="},
    ],
)
def test_wrong_token(guarded: FlaskClient, headers: dict[str, str]) -> None:
    answer = guarded.get("/page/config", headers=headers)
    assert answer.status_code == 401
    assert TOKEN not in answer.text


def test_login_gives_a_cookie_that_lets_in(guarded: FlaskClient) -> None:
    assert guarded.post("/page/login", json={"token": "wrong"}).status_code == 401
    answer = guarded.post("/page/login", json={"token": TOKEN})
    assert answer.status_code == 204
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Secure" not in cookie
    assert TOKEN not in cookie
    assert guarded.get("/page/config").status_code == 200
    assert guarded.post("/page/visitors").status_code == 201


def test_cookie_is_secure_where_the_request_was(guarded: FlaskClient) -> None:
    answer = guarded.post("/page/login", json={"token": TOKEN}, headers={"X-Forwarded-Proto": "https"})
    assert "Secure" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'{"token": 1}',
        b'{"token": null}',
        b"{",
        b'{"token": "\xff"}',
        b'{"token": "\\ud800"}',
    ],
)
def test_broken_logins(guarded: FlaskClient, body: bytes) -> None:
    answer = guarded.post("/page/login", data=body, content_type="application/json")
    assert answer.status_code in (400, 401)
    assert "error" in answer.get_json()


def test_cookie_of_another_token_is_worth_nothing(guarded: FlaskClient) -> None:
    other = client_of(token="another-token-9876")
    other.post("/page/login", json={"token": "another-token-9876"})
    stamp = other.get_cookie("bgremove")
    assert stamp is not None
    guarded.set_cookie("bgremove", stamp.value)
    assert guarded.get("/page/config").status_code == 401


def test_guessing_is_slowed_down(guarded: FlaskClient) -> None:
    codes = [guarded.get("/page/config", headers={"X-Api-Key": f"guess-{n}"}).status_code for n in range(15)]
    assert codes == [401] * 10 + [429] * 5
    answer = guarded.get("/page/config", headers={"X-Api-Key": TOKEN})
    assert answer.status_code == 429 and int(answer.headers["Retry-After"]) >= 1  # nor is a lucky one let in
    elsewhere = {"X-Api-Key": TOKEN, "X-Forwarded-For": "1.1.1.1, 203.0.113.9"}
    assert guarded.get("/page/config", headers=elsewhere).status_code == 200  # through the tunnel


def test_the_cookie_still_lets_in_while_somebody_guesses(guarded: FlaskClient) -> None:
    guarded.post("/page/login", json={"token": TOKEN})
    stranger = guarded.application.test_client()
    for _ in range(12):
        stranger.get("/page/config", headers={"X-Api-Key": "guess"})
    assert guarded.get("/page/config").status_code == 200


def test_a_token_is_made_where_one_is_needed() -> None:
    tokens = {create_app(ServeParams(host="0.0.0.0")).extensions["bgremove"].guard.token for _ in range(3)}
    assert len(tokens) == 3 and min(map(len, tokens)) >= 32
    assert create_app(ServeParams()).extensions["bgremove"].guard.token == ""


# Other sites -------------------------------------------------------------------------------------

FOREIGN: list[dict[str, str]] = [
    {"Origin": "https://elsewhere.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:9999"},
    {"Origin": "http://localhost.elsewhere.example"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("token", ["", TOKEN])
def test_posts_of_other_sites_are_refused(token: str, headers: dict[str, str]) -> None:
    client = client_of(token=token)
    if token:
        client.post("/page/login", json={"token": token})
    for path in ("/page/visitors", "/test/anything"):
        answer = client.post(path, headers=headers)
        assert answer.status_code == 403
        assert "another site" in answer.get_json()["error"]
    assert client.delete("/page/pictures", headers=headers).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_own_posts_pass(headers: dict[str, str]) -> None:
    assert client_of().post("/page/visitors", headers=headers).status_code == 201


def test_behind_a_proxy_that_is_known() -> None:
    client = client_of(hosts=(".colab.example", "other.example"))
    for host in ("x.colab.example", "other.example:8080"):
        assert client.get("/page/config", headers={"Host": host}).status_code == 200
    origin = {"Origin": "https://abc.colab.example", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/page/visitors", headers=origin).status_code == 201
    assert client.get("/page/config", headers={"Host": "colab.example.evil"}).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000", "LOCALHOST"])
def test_own_names(host: str) -> None:
    assert client_of().get("/page/config", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "a@b"]
)
def test_names_that_lead_here_by_a_trick(host: str) -> None:
    client = client_of()
    for path in ("/", "/page/config"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code in (400, 403)
    assert client.post("/page/visitors", headers={"Host": host}).status_code in (400, 403)


def test_with_a_token_any_name_is_good(guarded: FlaskClient) -> None:
    headers = {"Host": "something.ngrok-free.app", "X-Api-Key": TOKEN}
    assert guarded.get("/page/config", headers=headers).status_code == 200


# Headers and rates -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/page/config", "/nowhere", "/static/nothing"])
def test_headers_of_safety_on_every_answer(path: str) -> None:
    answer = client_of(frames=("http://localhost:*",)).get(path)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "unsafe" not in policy and "object-src 'none'" in policy
    assert policy.endswith("frame-ancestors 'self' http://localhost:*")
    usual = client_of().get(path).headers["Content-Security-Policy"]
    assert usual.endswith("frame-ancestors 'self'")  # neither Colab's: anybody can write pages there
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_so_many_pictures_a_minute() -> None:
    client = client_of(rate=3)
    answers = [client.post("/test/anything") for _ in range(5)]
    assert [one.status_code for one in answers] == [200, 200, 200, 429, 429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
    assert "3 pictures a minute" in answers[-1].get_json()["error"]
    assert client.post("/test/anything", headers={"X-Forwarded-For": "203.0.113.9"}).status_code == 200
    assert client.post("/page/visitors").status_code == 201  # no picture
    unlimited = client_of(rate=0)
    assert {unlimited.post("/test/anything").status_code for _ in range(300)} == {200}


def test_buckets_fill_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    buckets = Buckets(60)
    assert [buckets.wait("a") for _ in range(61)][-2:] == [0.0, 1.0]
    assert buckets.wait("b") == 0
    now[0] += 1.01
    assert buckets.wait("a") == 0 and buckets.wait("a") > 0
    now[0] += 1e6
    assert [buckets.wait("a") for _ in range(61)].count(0.0) == 60


def test_buckets_do_not_grow_for_ever() -> None:
    buckets = Buckets(10)
    for number in range(10_500):
        buckets.wait(str(number))
    assert len(buckets._left) == 10_000


def test_an_ipv6_network_is_one_visitor() -> None:
    client = client_of(rate=1)

    def status(address: str, said: str = "") -> int:
        headers = {"X-Forwarded-For": said} if said else {}
        return client.post(
            "/test/anything", headers=headers, environ_overrides={"REMOTE_ADDR": address}
        ).status_code

    assert [status("2001:db8:0:1::1"), status("2001:db8:0:1:f::2"), status("2001:db8:0:2::1")] == [
        200,
        429,
        200,
    ]
    assert [status("::1", said) for said in ("2001:db8:1::1", "2001:db8:1::2", "nonsense")] == [200, 429, 200]
    assert [status("::ffff:203.0.113.1"), status("203.0.113.1"), status("::ffff:203.0.113.2")] == [
        200,
        429,
        200,
    ]
    assert [status("::ffff:127.0.0.1", said) for said in ("203.0.113.3", "203.0.113.4")] == [200, 200]


def test_only_this_machine_is_believed(app: Flask) -> None:
    """Somebody else cannot say to be another."""
    client = client_of(rate=1, host="0.0.0.0", token=TOKEN)
    codes = [
        client.post(
            "/test/anything",
            headers={"X-Api-Key": TOKEN, "X-Forwarded-For": f"203.0.113.{n}"},
            environ_overrides={"REMOTE_ADDR": "198.51.100.7"},
        ).status_code
        for n in range(2)
    ]
    assert codes == [200, 429]

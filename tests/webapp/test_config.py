from __future__ import annotations

import pytest

from bgremove.errors import OptionError
from bgremove.options import settings
from bgremove.webapp.config import ServeParams, is_loopback


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("localhost", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.4", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
    ],
)
def test_loopback(host: str, own: bool) -> None:
    assert is_loopback(host) is own
    assert ServeParams(host=host).needs_token is not own


@pytest.mark.parametrize("values", [{"token": "a-token-of-mine"}, {"tunnel": "ngrok"}, {"host": "0.0.0.0"}])
def test_token_is_needed_where_strangers_could_come(values: dict[str, str]) -> None:
    assert ServeParams(**values).needs_token
    assert not ServeParams().needs_token


@pytest.mark.parametrize("token", ["short", "with space in it", "with;semicolon", "line\r\nbreak", "x" * 201])
def test_token_must_fit_a_link_and_a_header(token: str) -> None:
    with pytest.raises(OptionError, match="8 to 200 letters"):
        ServeParams(token=token)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"port": 70000}, "port must be a whole number from 0 to 65535; got 70000"),
        ({"workers": 0}, "workers must be a whole number from 1 to 64"),
        ({"queue": "many"}, "queue must be a whole number"),
        ({"max_upload_mb": 0}, "max_upload_mb must be a number from 0.1"),
        ({"hots": "x"}, "did you mean 'host'"),
        ({"host": " "}, "host must be an address"),
        ({"tunnel": "other"}, "tunnel must be one of none, ngrok"),
    ],
)
def test_wrong_values_are_said_in_a_sentence(values: dict[str, object], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        ServeParams(**values)


def test_a_body_may_be_a_little_larger_than_its_file() -> None:
    params = ServeParams(max_upload_mb="2")
    assert params.upload_bytes == 2_000_000 < params.body_bytes < 4_000_000


def test_every_setting_says_what_it_is_for() -> None:
    for setting in settings(ServeParams):
        assert 15 < len(setting.help) < 110 and setting.help[0].isupper()
        assert not setting.help.endswith(".")

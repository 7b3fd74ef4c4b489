from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests
from click.testing import CliRunner

from bgremove.cli import main
from bgremove.options import settings
from bgremove.webapp.config import ServeParams


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, running, and the link that it printed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bgremove", "serve", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def test_serves_until_ctrl_c() -> None:
    with serving() as (process, link):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", link)
        assert requests.get(link, timeout=10).status_code == 200
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        assert process.returncode == 0 and out == ""
        assert "lite is ready" in err
        assert f"it runs on 127.0.0.1:{link.rpartition(':')[2][:-1]}" in err and "Ctrl-C stops it" in err
        assert "Traceback" not in err


def test_a_token_is_part_of_the_link_and_of_nothing_else() -> None:
    with serving("--token", "open-sesame-1234", "-v") as (process, link):
        assert link.endswith("/#token=open-sesame-1234")
        url = link.partition("#")[0]
        assert requests.get(f"{url}page/config", timeout=10).status_code == 401
        headers = {"X-Api-Key": "open-sesame-1234"}
        assert requests.get(f"{url}page/config", headers=headers, timeout=10).status_code == 200
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert "GET /page/config 401" in err and "GET /page/config 200" in err
        assert "open-sesame" not in err


def test_other_hosts_get_a_token_by_themselves() -> None:
    with serving("--host", "0.0.0.0") as (process, link):
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        said = next(line for line in lines if line.startswith("from other machines: "))
        assert said.strip().endswith(link.partition(":")[2].partition(":")[2])
    with serving("--host", "0.0.0.0", "--quiet") as (process, link):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/#token=[\w-]{32}", link)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20)[1].replace("\n", "").startswith("stopping")


def test_a_token_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BGREMOVE_TOKEN", "of-the-environment-1")
    with serving() as (_, link):
        assert link.endswith("/#token=of-the-environment-1")
    with serving("--token", "of-the-command-line") as (_, link):
        assert link.endswith("/#token=of-the-command-line")


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["serve", *arguments])
    return result.exit_code, result.output


def test_a_port_in_use_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = run("--port", str(port))
    assert code == 2 and f"Error: --port {port} is in use" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model", "u3net"], "unknown remover 'u3net'"),
        (["--model", "onnx:/nowhere.onnx"], "there is no model file /nowhere.onnx"),
        (["--token", "short"], "--token must be 8 to 200"),
        (["--port", "99999"], "--port must be a whole number from 0 to 65535"),
        (["--max-upload-mb", "none"], "--max-upload-mb must be a number"),
        (["--tunnel", "other"], "--tunnel must be one of none, ngrok"),
        (["--hots", "x"], "No such option"),
    ],
)
def test_wrong_flags_are_one_sentence(arguments: list[str], says: str) -> None:
    code, said = run("--port", "0", *arguments)
    assert code in (1, 2) and says in said, said
    assert said.strip().splitlines()[-1].startswith("Error: ")


def test_help_has_every_setting() -> None:
    code, said = run("--help")
    assert code == 0
    for setting in settings(ServeParams):
        assert setting.flag in said


def test_listing_commands_loads_no_flask() -> None:
    code = "import sys; from bgremove.cli import main; main(['--help'], standalone_mode=False)\n"
    code += "assert 'flask' not in sys.modules and 'numpy' not in sys.modules, 'loaded'"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "serve" in done.stdout


def test_without_the_extra_there_is_a_sentence(tmp_path: object) -> None:
    code = (
        "import sys, importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name in ('flask', 'waitress') else real(name, *a)\n"
        "sys.argv = ['bgremove', 'serve', '--port', '0']\n"
        "from bgremove.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.strip() == 'Error: the web page needs flask; to have it: pip install "bgremove[web]"'


def test_second_ctrl_c_does_not_wait() -> None:
    with serving() as (process, _):
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        assert time.monotonic() - began < 15
        assert process.returncode in (0, 130, -signal.SIGINT)

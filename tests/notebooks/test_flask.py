"""Flask_BG_Remove.ipynb run from top to bottom without a network: in Jupyter, and as Colab does it."""

from __future__ import annotations

import html
import http.client
import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.notebooks.executing import Run, execute, ipywidgets_7
from tests.notebooks.notebooks import FLASK, HERE, NGROK

pytest.importorskip("nbclient", reason='notebooks are run with nbclient: pip install -e ".[test]"')
pytest.importorskip("waitress", reason='the page needs the extra: pip install "bgremove[web]"')

NGROK_TOKEN = "2abcDEFGHijklmnopqrstuvwxyz_0123456789ABCDEFGHIJK"

# What a visitor's page would ask for, of the page and of its public address if there is one.
FACTS = """
import io, ipywidgets, json, os, requests, signal, time
from PIL import Image
from bgremove.demo import sample_path

def visit(url):
    session = requests.Session()
    session.trust_env = False
    stranger = session.get(url + "page/config").status_code
    session.headers["X-Api-Key"] = page.link.partition("#token=")[2]
    session.headers["X-Visitor"] = session.post(url + "page/visitors").json()["visitor"]
    with open(sample_path("coffee.jpg"), "rb") as file:
        number = session.post(url + "page/pictures", files={"file": file}).json()["id"]
    cut = session.post(f"{url}page/pictures/{number}/cut", json={}).json()
    wanted = {"revision": cut["revision"], "edits": [], "output": "cutout", "format": "png"}
    result = session.post(f"{url}page/pictures/{number}/result", json=wanted)
    picture = Image.open(io.BytesIO(result.content))
    return [stranger, cut["empty"], picture.mode, list(picture.size)]

def lose(tunnel):
    "End ngrok, and wait for the next address."
    before = tunnel.url
    os.kill(int((tunnel._agent._folder / "pid").read_text()), signal.SIGKILL)
    while tunnel.url == before or not tunnel.alive():
        time.sleep(0.1)
    time.sleep(1)  # for it to be shown
    return [before, tunnel.url]

tunnel = page.tunnel
facts = {
    "ipywidgets": ipywidgets.__version__,
    "link": page.link,
    "page": visit(page.url),
    "public": tunnel and [tunnel.url, visit(tunnel.url + "/")],
    "lost": tunnel and lose(tunnel),
    "folder": tunnel and str(tunnel._agent._folder),
    "environment": "NGROK_AUTHTOKEN" in os.environ,
}
print(json.dumps(facts))
"""


def answers(url: str) -> bool:
    """Whether somebody listens."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status > 0
    except OSError:
        return False
    finally:
        connection.close()


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """In a Jupyter with the installed ipywidgets; a public address is wanted, but nobody can be asked."""
    folder = tmp_path_factory.mktemp("jupyter")
    forms = {"OPEN = False": "OPEN = True"}
    return execute(FLASK, FACTS, folder, forms=forms, environment={"NGROK_AUTHTOKEN": ""})


@pytest.fixture(scope="module")
def colab(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """As on Colab: its package, its ipywidgets, ngrok's token among its secrets."""
    folder = tmp_path_factory.mktemp("colab")
    old = ipywidgets_7(tmp_path_factory.getbasetemp() / "ipywidgets7")
    secrets = folder / "colab" / "secrets.json"
    secrets.parent.mkdir()
    secrets.write_text(json.dumps({"NGROK_AUTHTOKEN": NGROK_TOKEN}), encoding="utf-8")
    forms = {"OPEN = False": "OPEN = True", "MAX_MEGAPIXELS = 50": "MAX_MEGAPIXELS = 20"}
    environment = {"NGROK_AUTHTOKEN": "", "PYNGROK_NGROK_PATH": str(NGROK)}
    stand_in = HERE / "stand_in"
    return execute(FLASK, FACTS, folder, old, stand_in, forms=forms, environment=environment)


def test_in_jupyter_the_page_is_in_a_frame_and_cuts_photos_out(jupyter: Run) -> None:
    assert int(jupyter.facts["ipywidgets"].split(".")[0]) >= 8
    frame = jupyter.shown("start", "text/html")
    assert jupyter.facts["link"] in html.unescape(frame) and "<iframe" in frame
    assert jupyter.facts["page"] == [401, False, "RGBA", [600, 400]]
    assert "is ready after" in jupyter.text("start") and jupyter.calls == ()


def test_without_a_token_there_is_a_sentence_and_no_address(jupyter: Run) -> None:
    [line] = jupyter.text("public").splitlines()
    assert line.startswith("There is no public address: a public address needs an account of ngrok's")
    assert jupyter.facts["public"] is None


def test_the_table_is_a_widget(jupyter: Run, colab: Run) -> None:
    for run in (jupyter, colab):
        assert "application/vnd.jupyter.widget-view+json" in run.kinds("requests")
        assert (
            run.text("stop")
            == "The page goes on. To stop it, tick STOP (or write STOP = True) and run this cell.\n"
        )


def test_on_colab_the_page_comes_through_its_proxy(colab: Run) -> None:
    assert colab.facts["ipywidgets"] == "7.7.1"
    found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)(/#token=[\w-]+)", colab.facts["link"])
    assert found and list(colab.calls) == [f"iframe {found[1]} {found[2]}"]
    assert "<iframe" not in colab.shown("start", "text/html")
    assert colab.facts["page"] == [401, False, "RGBA", [600, 400]]


def test_on_colab_the_secret_opens_a_public_address(colab: Run) -> None:
    _, visit = colab.facts["public"]
    assert visit == [401, False, "RGBA", [600, 400]], "asked for the token, and worked with it"


def test_an_address_that_was_lost_is_replaced_where_it_was_shown(colab: Run) -> None:
    before, after = colab.facts["lost"]
    card = html.unescape(colab.shown("public", "text/html"))
    assert f"{after}/{colab.facts['link'].rpartition('/')[2]}" in card and "<svg" in card
    assert before not in card and before != after


def test_nothing_outlives_the_kernel(jupyter: Run, colab: Run) -> None:
    for url in (jupyter.facts["link"], colab.facts["link"], *colab.facts["lost"]):
        assert not answers(url)
    assert not Path(colab.facts["folder"]).exists()


def test_ngroks_token_is_nowhere_in_the_notebook(colab: Run) -> None:
    assert NGROK_TOKEN not in (colab.folder / "done.ipynb").read_text(encoding="utf-8")

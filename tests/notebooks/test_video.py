"""Video_Background.ipynb run from top to bottom without a network: in Jupyter, and as Colab does it."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest

from tests.notebooks.executing import Run, execute, ipywidgets_7
from tests.notebooks.notebooks import HERE, VIDEO

pytest.importorskip("nbclient", reason='notebooks are run with nbclient: pip install -e ".[test]"')
pytest.importorskip("waitress", reason='the live view needs the extra: pip install "bgremove[web]"')
pytest.importorskip("av", reason='videos need the extra: pip install "bgremove[video]"')

from tests.video.clips import clip  # noqa: E402

SHORT = {"SECONDS = 5": "SECONDS = 1"}

# What a browser would ask for, and what is in the video.
FACTS = """
import base64, cv2, ipywidgets, json, numpy, pathlib
from bgremove.demo import sample_path
from bgremove.video.reading import open_video

def seen(path):
    with open_video(path) as video:
        frames = list(video)
        alphas = [frame.alpha for frame in frames if frame.alpha is not None]
        return {"frames": len(frames), "size": list(video.info.size), "sound": video.info.sound,
                "alpha": [float(alphas[0].min()), float(alphas[0].max())] if alphas else None}

def live():
    try:
        from google.colab import output
    except ImportError:
        return None
    picture = cv2.resize(cv2.imread(str(sample_path("cat.jpg"))), (320, 240))
    data = base64.b64encode(cv2.imencode(".jpg", picture)[1].tobytes()).decode()
    [call] = output.callbacks.values()
    answers = []
    for kind in ("blur", "transparent", "colour", "plaid"):
        wanted = {"kind": kind, "colour": "#00ff00"}
        answers.append(call("data:image/jpeg;base64," + data, wanted).data)
    colour = base64.b64decode(answers[2]["picture"].partition(",")[2])
    pixels = cv2.imdecode(numpy.frombuffer(colour, numpy.uint8), 1)
    green = float((abs(pixels.astype(int) - (0, 255, 0)).max(axis=2) < 30).mean())
    heads = [one.get("picture", "").partition(",")[0] for one in answers]
    return {"heads": heads, "green": green, "says": answers[3].get("error"), "shape": list(pixels.shape)}

facts = {
    "ipywidgets": ipywidgets.__version__,
    "clip": str(clip), "video": str(video), "seen": seen(video), "live": live(),
    "link": getattr(view, "link", None), "view": type(view).__name__,
}
print(json.dumps(facts))
"""


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """In a Jupyter with the installed ipywidgets: the sample, transparent."""
    return execute(VIDEO, FACTS, tmp_path_factory.mktemp("jupyter"), forms=SHORT)


@pytest.fixture(scope="module")
def colab(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """As on Colab: its package, its ipywidgets, a clip with sound uploaded, over a colour as mp4."""
    folder = tmp_path_factory.mktemp("colab")
    uploads = folder / "colab" / "uploads" / "1"
    uploads.mkdir(parents=True)
    clip(uploads / "phone.mp4", frames=24, size=(128, 96), rotation=90, sound=True)
    old = ipywidgets_7(tmp_path_factory.getbasetemp() / "ipywidgets7")
    forms = {
        'CLIP = "sample"': 'CLIP = "upload"',
        'BACKGROUND = "transparent"': 'BACKGROUND = "colour"',
        'FORMAT = "webm"': 'FORMAT = "mp4"',
        **SHORT,
    }
    return execute(VIDEO, FACTS, folder, old, HERE / "stand_in", forms=forms)


def test_in_jupyter_the_sample_becomes_a_transparent_video(jupyter: Run) -> None:
    assert int(jupyter.facts["ipywidgets"].split(".")[0]) >= 8
    assert jupyter.facts["clip"] == "sample.mp4" and jupyter.facts["video"] == "sample-cutout.webm"
    seen = jupyter.facts["seen"]
    assert seen["frames"] == 24 and seen["size"] == [360, 480]
    assert seen["alpha"][0] < 0.05 and seen["alpha"][1] > 0.95
    assert "24 frames, 1.0 s" in jupyter.text("cut")
    assert "image/jpeg" in jupyter.kinds("clip")


def test_in_jupyter_it_plays_on_a_page_of_a_colour(jupyter: Run) -> None:
    shown = jupyter.shown("play", "text/html")
    assert "<video" in shown and "data:video/webm;base64," in shown
    assert "background: #00b140" in shown and 'type="color"' in shown
    assert "It is on this machine: " in jupyter.text("download") and jupyter.calls == ()


def test_in_jupyter_the_live_view_is_the_web_pages(jupyter: Run) -> None:
    link = jupyter.facts["link"]
    frame = html.unescape(jupyter.shown("live", "text/html"))
    assert jupyter.facts["view"] == "Page" and link.replace("/#token=", "/live#token=") in frame
    assert 'allow="camera; ' in frame


def test_on_colab_an_upload_keeps_its_sound_and_is_downloaded(colab: Run) -> None:
    assert colab.facts["ipywidgets"] == "7.7.1"
    seen = colab.facts["seen"]
    assert colab.facts["video"] == "phone-cutout.mp4"
    assert seen["frames"] == 24 and seen["size"] == [128, 96] and seen["sound"], "upright"
    size = (colab.folder / "phone-cutout.mp4").stat().st_size
    calls = [call for call in colab.calls if not call.startswith("register_callback")]
    assert calls == ["upload 1", f"download phone-cutout.mp4 {size}"]


def test_on_colab_the_cells_output_asks_for_the_camera(colab: Run) -> None:
    [name] = [call.split()[1] for call in colab.calls if call.startswith("register_callback")]
    shown = colab.shown("live", "text/html")
    assert f'google.colab.kernel.invokeFunction("{name}", [frame, wanted], {{}})' in shown
    assert "getUserMedia" in shown and "<iframe" not in shown and "$" not in re.sub(r"\$\{", "", shown)
    assert colab.facts["view"] == "ColabLive"


def test_on_colab_frames_are_cut_out(colab: Run) -> None:
    live = colab.facts["live"]
    jpeg, webp = "data:image/jpeg;base64", "data:image/webp;base64"
    assert live["heads"] == [jpeg, webp, jpeg, ""]
    assert live["shape"] == [240, 320, 3] and 0.1 < live["green"] < 0.9
    assert live["says"] == "the background must be one of blur, colour, transparent; got 'plaid'"


def test_what_cannot_be_had_is_said(tmp_path: Path) -> None:
    forms = {'CLIP = "sample"': 'CLIP = "missing.mov"', 'FORMAT = "webm"': 'FORMAT = "gif"', **SHORT}
    facts = "import json; print(json.dumps([str(clip), str(video)]))"
    run = execute(VIDEO, facts, tmp_path, forms=forms)
    assert "Skipped missing.mov: " in run.text("clip") and "Traceback" not in run.text("clip")
    assert json.dumps(run.facts) == '["sample.mp4", "sample-cutout.gif"]'
    assert "data:image/gif;base64," in run.shown("play", "text/html")

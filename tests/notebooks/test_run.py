"""Background_Removal.ipynb run from top to bottom without a network: in Jupyter, and as Colab does it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator

import pytest

from tests.cli_helpers import save_disc
from tests.notebooks.executing import Run, execute, ipywidgets_7
from tests.notebooks.notebooks import BACKGROUND_REMOVAL, HERE

pytest.importorskip("nbclient", reason='notebooks are run with nbclient: pip install -e ".[test]"')

CPU_SECONDS = 120  # of the whole notebook

FACTS = """
import ipywidgets, json, pathlib
facts = {
    "ipywidgets": ipywidgets.__version__,
    "photos": [pathlib.Path(photo.name).name for photo in photos.items],
    "background": background if isinstance(background, str) else type(background).__name__,
    "cutout": list(result.shape),
    "photo": list(photo.shape),
    "form": [form.error, list(form.result.shape)],
    "classical": [classical.error, list(classical.result.shape)],
    "zip": str(results),
}
print(json.dumps(facts))
"""


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """In a Jupyter with the installed ipywidgets: no Colab, no uploads."""
    return execute(BACKGROUND_REMOVAL, FACTS, tmp_path_factory.mktemp("jupyter"))


@pytest.fixture(scope="module")
def colab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """As on Colab: its package, its ipywidgets, two photos and a background uploaded."""
    folder = tmp_path_factory.mktemp("colab")
    save_disc(folder / "colab" / "uploads" / "1" / "one.png")
    save_disc(folder / "colab" / "uploads" / "1" / "two.jpg", 150, 100, shade=40)
    save_disc(folder / "colab" / "uploads" / "2" / "ground.png", 40, 60, shade=90)
    old = ipywidgets_7(tmp_path_factory.getbasetemp() / "ipywidgets7")
    forms = {
        'BACKGROUND = "transparent"': 'BACKGROUND = "image"',
        'METHODS = "lite, grabcut, contour"': 'METHODS = "lite, u2netp, mask_rcnn_R_50_FPN_3x, nonsense"',
        "USE_DEFAULT = False": "USE_DEFAULT = True",
    }
    yield execute(BACKGROUND_REMOVAL, FACTS, folder, old, HERE / "stand_in", forms=forms)


def test_in_jupyter_everything_is_shown(jupyter: Run) -> None:
    assert int(jupyter.facts["ipywidgets"].split(".")[0]) >= 8
    for cell in ("photos", "form", "detectron2", "classical"):
        assert "application/vnd.jupyter.widget-view+json" in jupyter.kinds(cell), cell
    for cell in ("photos", "one-line", "compare"):
        assert jupyter.kinds(cell) >= {"image/jpeg"}, cell


def test_in_jupyter_the_samples_are_cut_out(jupyter: Run) -> None:
    facts = jupyter.facts
    assert facts["photos"] == ["coffee.jpg", "cat.jpg", "astronaut.jpg"]
    assert facts["cutout"] == facts["form"][1] == facts["classical"][1] == [*facts["photo"][:2], 4]
    assert facts["form"][0] == facts["classical"][0] == ""
    with zipfile.ZipFile(jupyter.folder / facts["zip"]) as archive:
        assert archive.namelist() == ["coffee.png", "cat.png", "astronaut.png"]
    assert "3 of 3 pictures are in cutouts.zip" in jupyter.text("folder")
    assert jupyter.calls == ()


def test_it_says_what_it_has_no_gpu_and_no_detectron2_for(jupyter: Run) -> None:
    said = jupyter.text("set-up")
    assert said.startswith("bgremove ")
    assert "no GPU" not in said or "Runtime > Change runtime type > T4 GPU" in said
    assert "Skipped Detectron2: " in said or "ready: Detectron2" in said
    assert "Traceback" not in said


def test_it_takes_less_than_two_minutes_of_this_cpu(jupyter: Run, colab: Run) -> None:
    assert jupyter.seconds < CPU_SECONDS and colab.seconds < CPU_SECONDS


def test_on_colab_uploads_are_worked_on(colab: Run) -> None:
    facts = colab.facts
    assert facts["ipywidgets"] == "7.7.1"
    assert facts["photos"] == ["one.png", "two.jpg"]
    assert facts["background"] == "bytes"
    assert facts["cutout"] == facts["form"][1] == facts["photo"] == [96, 128, 3]
    assert facts["form"][0] == ""
    with zipfile.ZipFile(colab.folder / facts["zip"]) as archive:
        assert archive.namelist() == ["one.png", "two.png"]


def test_on_colab_the_page_is_asked_twice_and_gets_the_zip(colab: Run) -> None:
    size = (colab.folder / "cutouts.zip").stat().st_size
    assert list(colab.calls) == ["upload 1", "upload 2", f"download cutouts.zip {size}"]


def test_what_cannot_be_had_is_skipped_with_a_sentence(colab: Run) -> None:
    lines = colab.text("compare").splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "lite",
        "Skipped u2netp",
        "Skipped mask_rcnn_R_50_FPN_3x",
        "Skipped nonsense",
    ]
    assert "cannot download" in lines[1] or "there is no connection" in lines[1]
    assert "unknown remover 'nonsense'" in lines[3]
    assert colab.kinds("compare") >= {"image/jpeg"}, "with what there is"

"""The notebook's forms, used without a browser: what they show, say and make is what the other doors make."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import re
import shlex
import subprocess
import sys
import time
import types
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
import pytest
from PIL import Image as PILImage
from pydantic import Field

import bgremove
from bgremove.arrays import Image
from bgremove.errors import ImageError, OptionError, UnknownRemoverError
from bgremove.foreground import ForegroundParams
from bgremove.io import WriteParams
from bgremove.options import Params, settings
from bgremove.pipeline import OutputParams
from bgremove.refine import RefineParams
from bgremove.registry import REMOVERS
from bgremove.removers.base import RemoverInfo, SegmentRemover
from bgremove.segments import Segment, Segments, SelectParams
from bgremove.widgets import App, Form, app, form, upload
from bgremove.widgets.lines import command_line, python_line
from bgremove.widgets.photos import uploaded
from bgremove.widgets.views import VIEW_SIDE, before_after, small
from tests.cli_helpers import bgremove_here, disc_picture, save_disc

# ipywidgets 7.7.1 uses what a newer ipykernel calls old.
pytestmark = pytest.mark.filterwarnings("ignore:The `ipykernel.comm.Comm` class:DeprecationWarning")

GROUPS: list[tuple[str, type[Params], dict[str, Any]]] = [
    *((row.name, row.params, dict(row.defaults)) for row in REMOVERS.values()),
    *((one.__name__, one, {}) for one in (RefineParams, ForegroundParams, OutputParams, WriteParams)),
]
IDS = [name for name, _, _ in GROUPS]


class Thirds(SegmentRemover):
    """Finds the left, middle and right third of any picture, and a floor."""

    runs = 0

    def find_segments(self, image: Image) -> Segments:
        Thirds.runs += 1
        height, width = image.shape[:2]
        columns = np.arange(width)[None] * 3 // width * np.ones((height, 1), int)
        things = [
            Segment.of(label, columns == number, score=score)
            for number, (label, score) in enumerate({"dog": 0.9, "person": 0.8, "kite": 0.6}.items())
        ]
        floor = np.zeros((height, width), bool)
        floor[-5:] = True
        found = [*things, Segment.of("floor", floor, kind="stuff")]
        sure = [one for one in found if one and (one.score is None or one.score >= self.params.min_score)]
        return Segments(height, width, tuple(sure), things=("dog", "person", "kite"), stuff=("floor",))


@pytest.fixture
def thirds() -> Iterator[str]:
    """The name under which :class:`Thirds` can be chosen."""
    REMOVERS["thirds"] = RemoverInfo(
        name="thirds",
        kind="detectron2",
        target=f"{__name__}:Thirds",
        params=SelectParams,
        summary="Thirds of a picture",
        license="none",
        paper="none",
    )
    Thirds.runs = 0
    yield "thirds"
    del REMOVERS["thirds"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def disc_file(here: Path) -> str:
    """A picture of a disc that every remover finds, in the current folder."""
    return save_disc(Path("disc.png")).name


def pixels(path: str | Path) -> Any:
    with PILImage.open(path) as picture:
        return np.asarray(picture)


def same(first: Any, second: Any) -> bool:
    return np.array_equal(first, second)


def png(shade: int = 0) -> bytes:
    file = io.BytesIO()
    disc_picture(shade=shade).save(file, "PNG")
    return file.getvalue()


def linked(said: str, name: str) -> bytes:
    """The file that a link of that name holds."""
    found = re.search(rf'download="{re.escape(name)}" href="data:[^,]*,([^"]+)"', said)
    assert found, said[:300]
    return base64.b64decode(found[1])


def send(control: Any, *files: tuple[str, bytes]) -> None:
    """What a browser does to a FileUpload, in the way of the installed ipywidgets."""
    if ipywidgets.__version__.startswith("7."):
        value: Any = {name: {"metadata": {"name": name}, "content": data} for name, data in files}
    else:
        about = {"type": "image/png", "size": 0, "last_modified": datetime.now(UTC)}
        value = tuple({**about, "name": name, "content": memoryview(data)} for name, data in files)
    control.set_trait("value", value)


def run(shown: App) -> App:
    shown.run_button.click()
    assert shown.error == ""
    assert shown.result is not None
    return shown


def count_widgets() -> int:
    """All the widgets that the page still knows."""
    from ipywidgets.widgets import widget

    known = getattr(widget, "_instances", None)
    return len(ipywidgets.Widget.widgets if known is None else known)


# Forms ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "params", "defaults"), GROUPS, ids=IDS)
def test_a_form_has_every_setting_with_its_default_help_and_range(
    name: str, params: type[Params], defaults: dict[str, Any]
) -> None:
    shown = form(params, defaults=defaults)
    assert shown.params == params(**defaults)
    assert shown.changed == {}
    assert list(shown.fields) == list(params.model_fields)
    for setting in settings(params, defaults):
        field = shown.fields[setting.name]
        assert setting.help.split(";")[0].split("'")[0] in field.widget.children[1].value.replace("&lt;", "<")
        if isinstance(field.control, (ipywidgets.IntSlider, ipywidgets.FloatSlider)):
            assert (field.control.min, field.control.max) == (setting.minimum, setting.maximum)
        if isinstance(field.control, ipywidgets.Dropdown):
            assert tuple(field.control.options) == setting.choices


def test_each_kind_of_setting_has_its_kind_of_control() -> None:
    contour, refine = form(REMOVERS["contour"].params).fields, form(RefineParams).fields
    assert isinstance(contour["blur"].control, ipywidgets.SelectionSlider)
    assert isinstance(contour["canny_low"].control, ipywidgets.IntSlider)
    assert isinstance(contour["min_area"].control, ipywidgets.FloatLogSlider)
    assert isinstance(contour["max_area"].control, ipywidgets.FloatSlider)
    assert isinstance(contour["holes"].control, ipywidgets.Dropdown)
    assert isinstance(refine["keep_largest"].control, ipywidgets.Checkbox)
    assert isinstance(form(OutputParams).fields["background"].control, ipywidgets.Text)


def test_a_changed_control_is_a_changed_setting() -> None:
    shown = form(REMOVERS["contour"].params)
    heard: list[int] = []
    shown.on_change(lambda: heard.append(shown.fields["canny_low"].value))
    shown.fields["canny_low"].control.value = 7
    assert heard == [7]
    assert shown.changed == {"canny_low": 7}
    assert shown.params == bgremove.registry.remover_params("contour", canny_low=7)


def test_a_dragged_logarithmic_slider_gives_three_digits_and_a_set_value_all() -> None:
    shown = form(REMOVERS["contour"].params)
    shown.fields["min_area"].control.value = 10**-1.89
    assert shown.changed == {"min_area": 0.0129}
    shown.set(min_area=0.012345678)
    assert shown.changed == {"min_area": 0.012345678}


def test_a_wrong_setting_is_a_sentence_in_the_form() -> None:
    shown = form(REMOVERS["lite"].params)
    shown.fields["input_size"].control.value = "wide"
    assert "input_size must be a whole number from 8 to 4096; got wide" in shown.error
    assert shown.error in re.sub("&#x27;", "'", shown.widget.children[-1].value)
    with pytest.raises(OptionError, match="input_size"):
        _ = shown.params
    shown.fields["input_size"].control.value = "640"
    assert shown.error == shown.widget.children[-1].value == ""
    assert shown.changed == {"input_size": 640}


def test_settings_that_contradict_each_other_are_a_sentence_too() -> None:
    shown = form(RefineParams)
    shown.fields["background_threshold"].control.value = 250
    assert "background_threshold must be below foreground_threshold" in shown.error


def test_setting_what_is_out_of_range_changes_nothing() -> None:
    shown = form(REMOVERS["contour"].params)
    with pytest.raises(OptionError, match="canny_low must be a whole number from 1 to 40; got 100"):
        shown.set(blur=5, canny_low=100)
    assert shown.changed == {}


def test_presets_set_everything_and_a_change_is_marked() -> None:
    contour = REMOVERS["contour"].params
    shown = form(contour)
    [menu] = [one for one in shown.widget.children if getattr(one, "description", "") == "Preset"]
    menu.value = "use-default"
    assert shown.params == contour.preset("use-default")
    shown.fields["canny_low"].control.value = 9
    assert menu.value == "changed"
    shown.fields["canny_low"].control.value = 15
    assert menu.value == "use-default"
    menu.value = "as declared"
    assert shown.changed == {}


def test_advanced_settings_are_folded_away() -> None:
    shown = form(RefineParams)
    [fold] = [one for one in shown.widget.children if isinstance(one, ipywidgets.Accordion)]
    assert fold.selected_index is None
    assert list(fold.children[0].children) == [shown.fields["edge_smoothness"].widget]


def test_a_new_kind_of_setting_needs_nothing_new_here() -> None:
    class Own(Params):
        """A user's own."""

        word: str = Field("a", description="A word")
        box: tuple[float, float] | None = Field(None, description="Two numbers")

    shown = form(Own, labels={"word": "WORD"})
    assert shown.fields["word"].control.description == "WORD"
    shown.fields["box"].control.value = "1,2"
    assert shown.params == Own(box=(1, 2))


# The result -----------------------------------------------------------------------------------------

CHOICES: list[tuple[str, dict[str, Any]]] = [
    ("contour", {"canny_low": 9, "min_area": 0.0005, "grow": -2, "holes": "fill"}),
    ("contour", {"background": "#ff0080", "feather": 2.5, "output": ("composite",), "format": "webp"}),
    ("contour", {"background": "blur", "blur_radius": 6.0, "crop": True, "padding": "5%"}),
    ("contour", {"output": ("alpha",), "size": "64", "keep_largest": True, "edges": "none"}),
    ("grabcut", {"box": (20.0, 10.0, 110.0, 90.0), "tidy": False, "foreground": "none"}),
    ("auto", {"edge_smoothness": 0.003, "device": "cpu"}),
]


@pytest.mark.parametrize(("model", "values"), CHOICES, ids=[f"{m}-{len(v)}-{min(v)}" for m, v in CHOICES])
def test_both_lines_and_the_form_give_the_same_file(
    disc_file: str, model: str, values: dict[str, Any]
) -> None:
    background = values.pop("background", "transparent")
    shown = run(app(disc_file, model, background=background, folder="form", **values))
    shown.save_button.click()
    [saved] = Path("form").iterdir()
    made = Path(eval(shown.python_line, {"bgremove": bgremove}))
    assert made.read_bytes() == saved.read_bytes()
    assert same(pixels(saved), shown.result) or saved.suffix == ".webp"
    made.unlink()
    done = bgremove_here(*shlex.split(shown.command_line)[1:], "--quiet")
    assert done.exit_code == 0, done.output
    assert made.read_bytes() == saved.read_bytes()


def test_the_lines_of_a_picture_as_background(disc_file: str) -> None:
    save_disc(Path("other ground.png"), 40, 70, shade=80)
    shown = run(app(disc_file, "contour", background="other ground.png"))
    shown.backdrop.fit.fields["background_fit"].control.value = "tile"
    line = "bgremove.remove('disc.png', 'contour', background='other ground.png', background_fit='tile')"
    assert shown.python_line == line
    assert same(pixels(eval(line)), shown.result)
    Path("disc_composite.png").unlink()
    assert bgremove_here(*shlex.split(shown.command_line)[1:]).exit_code == 0
    assert same(pixels("disc_composite.png"), shown.result)


def test_the_lines_of_a_sample_write_into_the_current_folder(here: Path) -> None:
    shown = run(app(None, "lite"))
    before = set(Path(bgremove.__file__).parent.glob("assets/*"))
    assert eval(shown.python_line) == "coffee_cutout.png"
    assert same(pixels("coffee_cutout.png"), shown.result)
    assert set(Path(bgremove.__file__).parent.glob("assets/*")) == before


def test_lines_survive_odd_names() -> None:
    line = command_line("-a 'b'.jpg", "auto", {"grow": -5, "tidy": False, "colours": 0.5, "box": (1.0, 2.0)})
    words = ["remove", "./-a 'b'.jpg", "--grow=-5", "--no-tidy", "--colours", "0.5", "--box", "1.0,2.0"]
    assert shlex.split(line)[1:] == words
    assert python_line("-a 'b'.jpg", "auto", {}) == "bgremove.remove(\"-a 'b'.jpg\")"


def test_a_saved_result_replaces_nothing(disc_file: str) -> None:
    shown = run(app(disc_file, "contour"))
    shown.save_button.click()
    first = Path("results/disc_cutout.png").read_bytes()
    shown.field("grow").value = 5
    shown.save_button.click()
    assert Path("results/disc_cutout.png").read_bytes() == first
    assert Path("results/disc_cutout-2.png").read_bytes() != first


def test_a_result_has_the_photos_own_size_and_what_is_shown_is_small(here: Path) -> None:
    save_disc(Path("large.png"), 1400, 2100)
    shown = run(app("large.png", "contour", show=("compare", "result", "steps", "alpha", "trimap")))
    assert shown.result is not None
    assert shown.result.shape == (1400, 2100, 4)
    for name in ("compare", "result", "steps", "alpha", "trimap"):
        shown.view_buttons.value = name
        sizes = [
            int(side)
            for pair in re.findall(r'width="(\d+)" height="(\d+)"', shown.view.value)
            for side in pair
        ]
        assert sizes and max(sizes) <= VIEW_SIDE
        assert len(shown.view.value) < 1_000_000


def test_the_after_of_before_and_after_is_the_result(disc_file: str) -> None:
    shown = run(app(disc_file, "contour", background="#00ff00"))
    assert shown.result is not None
    assert shown.view.value == before_after(pixels(disc_file)[..., :3], shown.result)
    assert 'type="range"' in shown.view.value


def test_transparency_is_shown_as_a_chequered_ground() -> None:
    clear = np.zeros((60, 80, 4), np.uint8)
    assert set(np.unique(small(clear))) == {214, 252}
    assert small(np.full((2000, 100), 7, np.uint8)).shape == (VIEW_SIDE, VIEW_SIDE // 20, 3)


def test_the_stages_of_the_classical_pipeline(disc_file: str) -> None:
    shown = run(app(disc_file, "contour", show=("steps",)))
    for title in ("Photo", "Edges", "Contours", "Mask", "Trimap", "Alpha", "Result"):
        assert f". {title}</b>" in shown.view.value
    assert shown.view.value.count("<figure>") == shown.view.value.count("<img") == 7
    before = shown.view.value
    shown.field("dilate").control.value = 21
    assert shown.view.value != before
    assert "grown by 21 px" in shown.view.value


# Nothing twice ---------------------------------------------------------------------------------------


def test_refinement_and_background_run_no_network_and_build_no_remover(
    disc_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = run(app(disc_file, "auto"))
    remover, before = shown.bench.remover(shown.settings(), "auto"), shown.result
    shown.field("grow").control.value = 6
    shown.background_choice.value = "colour"
    shown.colour_choice.value = "#102030"
    assert shown.bench.runs == 1
    assert shown.bench.remover(shown.settings(), "auto") is remover
    assert shown.result is not None and before is not None
    assert shown.result.shape[2] == 3 and tuple(shown.result[0, 0]) == (16, 32, 48)
    run(shown)
    assert shown.bench.runs == 1


def test_a_setting_of_the_network_waits_for_run(disc_file: str) -> None:
    shown = run(app(disc_file, "auto"))
    before = shown.result
    shown.field("closer").control.value = "0.5"
    assert shown.result is before
    assert "press Run" in shown.panel.said
    assert "closer=0.5" in shown.python_line
    shown.save_button.click()
    assert "press Run" in shown.error
    assert not Path("results").exists()
    run(shown)
    assert shown.bench.runs == 2


def test_a_setting_of_the_classical_pipeline_shows_at_once(disc_file: str) -> None:
    shown = app(disc_file, "contour")
    shown.field("grow").control.value = 3
    assert shown.result is None  # nobody has asked for one yet
    before = run(shown).result
    shown.field("dilate").control.value = 21
    assert not same(shown.result, before)


def test_many_quick_changes_are_worked_on_once(disc_file: str) -> None:
    shown = run(app(disc_file, "contour"))

    async def drag() -> None:
        for width in range(1, 30):
            shown.field("canny_low").control.value = width
        assert shown.bench.runs == 1
        await asyncio.sleep(1)

    asyncio.run(drag())
    assert shown.bench.runs == 2
    assert "canny_low=29" in shown.python_line


def test_memory_does_not_grow_with_runs(thirds: str, here: Path) -> None:
    for number in range(2):
        save_disc(Path(f"{number}.png"), shade=10 * number)
    shown = app([f"{number}.png" for number in range(2)], "contour", models=["contour", thirds])

    def use() -> None:
        for photo in shown.photos.items:
            shown.photo_choice.value = photo
            for kind in ("classical", "detectron2"):
                shown.chooser.kind.value = kind
                run(shown)
                shown.field("grow").control.value = 2
                for view, _ in zip(shown.view_buttons.options, range(6), strict=False):
                    shown.view_buttons.value = view[1]
                shown.field("grow").control.value = 0

    use()
    before = count_widgets()
    use()
    assert count_widgets() == before


# What went wrong -------------------------------------------------------------------------------------


def test_what_cannot_be_read_is_one_sentence(here: Path) -> None:
    Path("text.jpg").write_text("no picture")
    shown = app("text.jpg", "contour")
    shown.run_button.click()
    assert shown.error.startswith("text.jpg")
    assert "Traceback" not in shown.panel.said and shown.result is None
    assert not any(button.disabled for button in shown.panel.buttons)
    shown.save_button.click()
    assert "press Run" in shown.error


def test_an_unexpected_error_is_one_sentence_too(disc_file: str, thirds: str, capfd: Any) -> None:
    class Broken(Thirds):
        def find_segments(self, image: Image) -> Segments:
            raise ZeroDivisionError("division by zero")

    REMOVERS[thirds] = replace(REMOVERS[thirds], target=f"{__name__}:Broken")
    setattr(sys.modules[__name__], "Broken", Broken)  # noqa: B010
    shown = app(disc_file, thirds)
    shown.run_button.click()
    assert "ZeroDivisionError: division by zero" in shown.error
    assert "\n" not in shown.error
    assert capfd.readouterr() == ("", "")


def test_a_download_that_fails_is_one_sentence(
    disc_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BGREMOVE_HOME", str(tmp_path / "home"))
    row = REMOVERS["u2netp"]
    assert row.weights is not None
    nowhere = replace(row.weights, url="http://127.0.0.1:9/u2netp.onnx")
    monkeypatch.setitem(REMOVERS, "u2netp", replace(row, weights=nowhere))
    shown = app(disc_file, "u2netp")
    shown.run_button.click()
    assert "could not be downloaded" in shown.error
    assert "Downloaded at its first run, 4.6 MB" in shown.chooser.widget.children[-1].value


def test_wrong_arguments_are_refused(disc_file: str) -> None:
    with pytest.raises(OptionError, match="show must be some of compare, result"):
        app(disc_file, show=("everything",))
    with pytest.raises(UnknownRemoverError, match="did you mean"):
        app(disc_file, "contuor")
    with pytest.raises(OptionError, match="unknown setting 'cany_low'; did you mean 'canny_low'"):
        app(disc_file, "contour", cany_low=1)
    with pytest.raises(OptionError, match="unknown preset 'nice'.*use-default"):
        app(disc_file, "contour", preset="nice")
    with pytest.raises(ImageError, match="there is no file nowhere.jpg"):
        app("nowhere.jpg")


def test_a_wrong_setting_stops_the_run_and_says_so(disc_file: str) -> None:
    shown = run(app(disc_file, "contour"))
    shown.field("padding").control.value = "wide"
    assert "padding must be pixels (10) or per cent (5%)" in shown.error
    shown.run_button.click()
    assert "padding must be pixels" in shown.error


def test_more_than_one_output_is_refused(thirds: str, disc_file: str) -> None:
    shown = app(disc_file, thirds)
    shown.field("output").control.value = ("alpha", "instances")
    shown.run_button.click()
    assert shown.error.startswith("a form makes one output at a time; got alpha, instances; choose one")
    shown.field("output").control.value = ("alpha",)
    assert run(shown).result is not None


def test_instances_are_a_file_each(thirds: str, disc_file: str) -> None:
    shown = run(app(disc_file, thirds, output="instances", classes="dog,kite"))
    expected = bgremove.remove(pixels(disc_file), thirds, output="instances", classes="dog,kite")
    assert shown.result is not None and (shown.result[..., 3] > 0).any()
    shown.save_button.click()
    saved = sorted(Path("results").iterdir())
    assert [one.name for one in saved] == ["disc_instance_01_dog.png", "disc_instance_02_kite.png"]
    for path, one in zip(saved, expected, strict=True):
        assert same(pixels(path), one.result)
    assert "2 files" in shown.panel.said
    shown.download_button.click()
    with zipfile.ZipFile(io.BytesIO(linked(shown.panel.said, "disc_instances.zip"))) as archive:
        assert archive.namelist() == [one.name for one in saved]
        assert [archive.read(one.name) for one in saved] == [one.read_bytes() for one in saved]
    shown.legend.buttons[0].value = False
    shown.download_button.click()  # one file needs no zip
    assert linked(shown.panel.said, "disc_instance_01_kite.png") == saved[1].read_bytes()
    # As a command would, and as the line of Python: the same files.
    assert eval(shown.python_line)[0].result == "disc_instance_01_kite.png"
    assert Path("disc_instance_01_kite.png").read_bytes() == saved[1].read_bytes()


def test_no_instances_are_a_sentence(thirds: str, disc_file: str) -> None:
    shown = run(app(disc_file, thirds, output="instances", min_score=0.7, classes="kite"))
    shown.save_button.click()
    assert shown.error.startswith("nothing was found that could be saved by itself")
    assert not Path("results").exists()


def test_the_lines_of_a_samples_instances_write_into_the_current_folder(thirds: str, here: Path) -> None:
    shown = app(model=thirds, output="instances")
    assert shown.python_line.endswith("output='instances', to='coffee_instance.png')")
    assert "--out . " in shown.command_line
    shown.field("output").control.value = ()
    assert "--out coffee_cutout.png " in shown.command_line


def test_nothing_found_is_said_not_raised(here: Path) -> None:
    PILImage.new("RGB", (80, 60), "white").save("empty.png")
    shown = run(app("empty.png", "contour"))
    assert "the result is empty" in shown.panel.facts.value
    assert not np.any(shown.result)


# Models ----------------------------------------------------------------------------------------------


def test_models_are_grouped_and_say_what_they_download(disc_file: str) -> None:
    shown = app(disc_file)
    names = []
    for kind in ("network", "detectron2", "classical"):
        shown.chooser.kind.value = kind
        names += list(shown.model_choice.options)
        for name in shown.model_choice.options:
            shown.model_choice.value = name
            told = shown.chooser.widget.children[-1].value
            assert REMOVERS[name].summary.split("<")[0] in told
            assert re.search("No download|Comes with|Already here|Downloaded at|Your own file", told)
            assert set(REMOVERS[name].params.model_fields) <= set(shown.remover_form.fields)
    assert sorted(names) == sorted(REMOVERS)


def test_only_some_models_can_be_on_offer(disc_file: str) -> None:
    assert list(app(disc_file, "contour", models=["contour"]).model_choice.options) == ["contour"]
    classical = app(disc_file, "grabcut", models="classical")
    assert classical.model_choice.value == "grabcut"
    assert list(classical.model_choice.options) == ["contour", "grabcut"]
    assert classical.chooser.kind.layout.display == "none"


def test_a_model_of_ones_own_needs_its_file(disc_file: str) -> None:
    shown = app(disc_file, "onnx")
    shown.run_button.click()
    assert "onnx needs a file of your own" in shown.error
    packaged = Path(bgremove.__file__).parent / "assets" / "lite.onnx"
    shown.chooser.own.value = str(packaged)
    run(shown)
    assert f"'onnx:{packaged}'" in shown.python_line


def test_presets_of_a_call(disc_file: str) -> None:
    contour = app(disc_file, "contour", preset="use-default", canny_low=12)
    assert contour.settings().remover == REMOVERS["contour"].params.preset("use-default", canny_low=12)
    hair = app(disc_file, "contour", preset="hair")
    assert hair.settings().refine == RefineParams.preset("hair")
    zoo = app(disc_file, "mask_rcnn_R_50_DC5_3x", models="detectron2", preset="use-default")
    made = zoo.settings()
    assert made.model == "mask_rcnn_X_101_32x8d_FPN_3x"
    assert (made.background.colour, made.output.size) == ((255, 255, 255, 255), "500")


# Segments --------------------------------------------------------------------------------------------


def test_segments_are_clicked_without_running_the_model_again(thirds: str, disc_file: str) -> None:
    shown = run(app(disc_file, thirds, show=("found", "result")))
    names = [button.description for button in shown.legend.buttons]
    assert [name.split(" ·")[0] for name in names] == ["dog 0.90", "person 0.80", "kite 0.60", "floor"]
    assert [button.value for button in shown.legend.buttons] == [True, True, True, False]
    before = shown.view.value
    shown.legend.buttons[0].value = False
    shown.legend.buttons[2].value = False
    assert Thirds.runs == shown.bench.runs == 1
    assert shown.view.value != before
    assert shown.result is not None
    assert shown.result[48, [10, 64, 120], 3].tolist() == [0, 255, 0]
    assert "index='1'" in shown.python_line
    assert same(pixels(eval(shown.python_line)), shown.result)


def test_the_last_segment_stays(thirds: str, disc_file: str) -> None:
    shown = run(app(disc_file, thirds, classes="dog"))
    [dog, *others] = shown.legend.buttons
    assert dog.value and not any(one.value for one in others)
    dog.value = False
    assert dog.value


def test_choosing_by_name_and_score(thirds: str, disc_file: str) -> None:
    shown = run(app(disc_file, thirds))
    shown.field("classes").control.value = "kite"
    assert shown.result is not None
    assert shown.result[48, [10, 64, 120], 3].tolist() == [0, 0, 255]
    assert Thirds.runs == 1
    shown.field("min_score").control.value = 0.7
    assert "press Run" in shown.panel.said
    run(shown)
    assert Thirds.runs == 2
    assert "lower min_score" in shown.panel.facts.value or "the result is empty" in shown.panel.facts.value
    shown.field("classes").control.value = "bird"
    assert "which this model does not know" in shown.error


def test_each_photo_has_its_own_choice(thirds: str, here: Path) -> None:
    save_disc(Path("a.png"))
    save_disc(Path("b.png"), shade=50)
    shown = run(app(["a.png", "b.png"], thirds))
    shown.legend.buttons[1].value = False
    first = shown.result
    shown.photo_choice.value = shown.photos.items[1]
    assert shown.result is None
    assert "index" not in shown.python_line and "'b.png'" in shown.python_line
    run(shown)
    assert all(button.value for button in shown.legend.buttons[:3])
    shown.photo_choice.value = shown.photos.items[0]
    assert same(shown.result, first)
    assert Thirds.runs == 2


def test_found_is_offered_only_where_something_is_found(thirds: str, disc_file: str) -> None:
    shown = app(disc_file, "contour", models=["contour", thirds], show=("found", "result"))
    assert [name for _, name in shown.view_buttons.options] == ["result"]
    shown.chooser.kind.value = "detectron2"
    assert [name for _, name in shown.view_buttons.options] == ["found", "result"]


# Photos ----------------------------------------------------------------------------------------------


def test_uploads_of_several_photos(here: Path) -> None:
    photos = upload()
    shown = app(photos, "contour")
    assert [Path(photo.name).name for photo in photos.items] == ["coffee.jpg", "cat.jpg", "astronaut.jpg"]
    send(photos.button, ("one.png", png()), ("two.png", png(60)))
    assert [photo.name for photo in photos.items] == ["one.png", "two.png"]
    assert uploaded(photos.button) == []  # not kept twice
    assert [name for name, _ in shown.photo_choice.options] == ["one.png", "two.png"]
    first = run(shown).result
    shown.photo_choice.value = photos.items[1]
    assert not same(run(shown).result, first)
    send(photos.button, ("one.png", png(90)))
    assert len(photos.items) == 2
    photos.clear.click()
    assert len(photos.items) == 3 and shown.result is None


def test_run_and_save_all(here: Path) -> None:
    photos = [save_disc(Path(f"{number}.png"), shade=20 * number) for number in range(3)]
    shown = app(photos, "contour", background="white")
    shown.run_all_button.click()
    assert shown.error == ""
    for photo in photos:
        expected = bgremove.remove(pixels(photo)[..., :3], "contour", "white")
        assert same(pixels(f"results/{photo.stem}_composite.png"), expected)


def test_a_background_picture_is_uploaded(disc_file: str) -> None:
    shown = app(disc_file, "contour")
    shown.background_choice.value = "picture"
    shown.run_button.click()
    assert "there is no background picture yet" in shown.error
    send(shown.backdrop.pictures.button, ("green.png", _plain("green")))
    run(shown)
    assert shown.result is not None and tuple(shown.result[0, 0]) == (0, 128, 0)
    assert "background='green.png'" in shown.python_line


def _plain(colour: str) -> bytes:
    file = io.BytesIO()
    PILImage.new("RGB", (30, 20), colour).save(file, "PNG")
    return file.getvalue()


def test_photos_from_anything(here: Path) -> None:
    save_disc(Path("folder/x.png"))
    array = np.asarray(disc_picture())
    assert [photo.name for photo in upload("folder", png(), array).items] == [
        "folder/x.png",
        "photo2.png",
        "photo3.png",
    ]
    for source in ("folder/x.png", Path("folder"), png(), array, disc_picture()):
        assert run(app(source, "contour")).result is not None
    with pytest.raises(ImageError, match="expected photos as paths, bytes, PIL images or arrays; got int"):
        upload(3)


def test_a_link_to_download_holds_the_file(disc_file: str) -> None:
    shown = run(app(disc_file, "contour"))
    shown.download_button.click()
    expected = Path(bgremove.remove(disc_file, "contour")).read_bytes()
    assert linked(shown.panel.said, "disc_cutout.png") == expected


@pytest.fixture
def colab(here: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stand-in of what Colab offers, that notes what it was asked."""
    files = types.ModuleType("google.colab.files")
    asked: list[str] = []
    offered: dict[str, bytes] = {"mine.png": png(), "yours.png": png(40)}
    files.upload = lambda: asked.append("upload") or offered  # type: ignore[attr-defined,func-returns-value]
    files.download = asked.append  # type: ignore[attr-defined]
    colab = types.ModuleType("google.colab")
    colab.files = files  # type: ignore[attr-defined]
    for name, module in {"google.colab": colab, "google.colab.files": files}.items():
        monkeypatch.setitem(sys.modules, name, module)
    return asked


def test_colab_has_its_own_uploads_and_downloads(colab: list[str]) -> None:
    photos = upload()
    assert colab == ["upload"]
    assert [photo.name for photo in photos.items] == ["mine.png", "yours.png"]
    assert isinstance(photos.button, ipywidgets.Button)
    shown = run(app(photos, "contour"))
    shown.download_button.click()
    assert shown.error == ""
    assert colab == ["upload", str(Path("results/mine_cutout.png"))]
    assert Path("results/mine_cutout.png").is_file()
    photos.button.click()
    assert colab[-1] == "upload"


def test_colab_downloads_instances_as_a_zip(colab: list[str], thirds: str, disc_file: str) -> None:
    shown = run(app(disc_file, thirds, output="instances", classes="dog,kite"))
    shown.download_button.click()
    assert [Path(one) for one in colab] == [Path("results/disc_instances.zip")]
    with zipfile.ZipFile(colab[0]) as archive:
        assert archive.namelist() == ["disc_instance_01_dog.png", "disc_instance_02_kite.png"]
    assert re.search(r"Saved results.disc_instances.zip: 2 files, \d\.\d MB", shown.panel.said)


def test_nothing_uploaded_on_colab_leaves_the_samples(colab: list[str]) -> None:
    sys.modules["google.colab.files"].upload = dict  # type: ignore[attr-defined]
    assert [photo.sample for photo in upload().items] == [True, True, True]


# The package -----------------------------------------------------------------------------------------


def in_python(code: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(bgremove.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
        timeout=120,
    )


def test_without_ipywidgets_one_sentence_says_how_to_get_it() -> None:
    done = in_python("import sys; sys.modules['ipywidgets'] = None\nimport bgremove.widgets")
    last = done.stderr.strip().splitlines()[-1]
    expected = 'forms in a notebook need ipywidgets: pip install "bgremove[notebook]"'
    assert last == f"bgremove.errors.MissingExtraError: {expected}"


def test_a_form_loads_no_network_package() -> None:
    done = in_python(
        "import bgremove.widgets, sys; bgremove.widgets.app()\n"
        "print({'torch', 'onnxruntime', 'matplotlib', 'pandas', 'lightning', 'pymatting'} & set(sys.modules))"
    )
    assert done.stdout.strip() == "set()", done.stderr


def test_a_form_shows_itself(capsys: Any) -> None:
    for one in (form(RefineParams), app(None, "contour"), upload(png())):
        one._ipython_display_()  # what a cell that ends with it calls
        assert "VBox" in capsys.readouterr().out


def test_the_form_is_quick(disc_file: str) -> None:
    shown = run(app(disc_file, "contour"))
    begun = time.process_time()
    shown.field("feather").control.value = 1.0
    assert time.process_time() - begun < 2
    assert isinstance(shown.remover_form, Form)

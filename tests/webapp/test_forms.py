"""What the page is built from: complete, without paths, and what the server takes back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bgremove.foreground import ForegroundParams
from bgremove.options import Params, settings
from bgremove.pipeline import Settings
from bgremove.refine import RefineParams
from bgremove.registry import REMOVERS
from bgremove.removers.onnx import OnnxParams
from bgremove.segments import SelectParams
from bgremove.webapp import ServeParams
from bgremove.webapp.forms import need_of, page_config


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    """As the page gets it, through JSON."""
    made: dict[str, Any] = json.loads(json.dumps(page_config(ServeParams())))
    return made


def models_of(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for group in config["models"] for one in group["models"]}


def test_every_model_that_needs_no_file_is_there_with_its_form(config: dict[str, Any]) -> None:
    models = models_of(config)
    assert set(models) == {name for name, info in REMOVERS.items() if not info.needs_file}
    assert config["model"] == "lite"
    for name, model in models.items():
        info, form = REMOVERS[name], config["forms"][model["form"]]
        left_out = {"index", "hint_as"}
        assert {one["name"] for one in form["fields"]} == set(info.params.model_fields) - left_out, name
        start = info.params(**info.defaults).model_dump(mode="json")
        assert all(one["default"] == start[one["name"]] for one in form["fields"]), name
        assert model["segments"] == issubclass(info.params, SelectParams)
        assert model["summary"] and model["need"] and model["license"]


def test_a_form_serves_all_models_with_the_same_settings(config: dict[str, Any]) -> None:
    models = models_of(config)
    assert models["u2net"]["form"] == models["silueta"]["form"] == "u2net"
    assert models["lite"]["form"] != models["u2net"]["form"]  # its defaults are others


def test_common_settings_are_the_declared_ones(config: dict[str, Any]) -> None:
    groups: tuple[type[Params], ...] = (RefineParams, ForegroundParams)
    for group, params in zip(config["common"], groups, strict=True):
        for field, declared in zip(group["fields"], settings(params), strict=True):
            assert (field["name"], field["help"]) == (declared.name, declared.help)
            assert (field["minimum"], field["maximum"]) == (declared.minimum, declared.maximum)
    assert [one["name"] for one in config["common"][0]["presets"]] == list(RefineParams.presets)
    smooth = next(one for one in config["common"][0]["fields"] if one["name"] == "edge_smoothness")
    assert smooth["logarithmic"] and smooth["advanced"]


def test_a_cut_takes_what_the_presets_say(config: dict[str, Any]) -> None:
    for name, form in config["forms"].items():
        for preset in form["presets"]:
            Settings.build(name, **preset["values"])
    for group in config["common"]:
        for preset in group["presets"]:
            Settings.build("lite", **preset["values"])


def test_nothing_that_names_a_file_can_be_set(config: dict[str, Any]) -> None:
    names = {
        one["name"] for group in [*config["forms"].values(), *config["common"]] for one in group["fields"]
    }
    names |= {one["name"] for one in config["result"]}
    assert not names & {"background", "output", "model_file", "hint", "format", "device"}


def test_a_click_on_a_subject_takes_the_place_of_other_choices(config: dict[str, Any]) -> None:
    chooses = set(config["forms"]["mask_rcnn_R_50_C4_1x"]["chooses"])
    assert chooses == set(SelectParams.model_fields) - {"min_score"}
    assert config["forms"]["lite"]["chooses"] == []


def test_limits_samples_and_formats() -> None:
    config = page_config(ServeParams(max_upload_mb=7, max_megapixels=3, pictures=4, keep_minutes=9))
    assert config["limits"] == {"megabytes": 7.0, "megapixels": 3.0, "pictures": 4, "minutes": 9.0}
    assert [one["name"] for one in config["samples"]] == ["coffee", "cat"]
    assert [one["name"] for one in config["formats"]] == ["png", "webp", "jpeg"]


def test_a_servers_own_file_is_shown_without_its_folder() -> None:
    config = page_config(ServeParams(model="onnx:/somewhere/secret/mine.onnx"))
    assert "secret" not in json.dumps(config)
    own = models_of(config)[config["model"]]
    assert (own["value"], own["kind"]) == ("", "network") and "mine.onnx" in own["name"]
    fields = {one["name"] for one in config["forms"][own["form"]]["fields"]}
    assert fields == set(OnnxParams.model_fields)


def test_what_a_model_needs_first(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BGREMOVE_HOME", str(tmp_path))
    assert need_of(REMOVERS["contour"]) == "Nothing to download"
    assert need_of(REMOVERS["lite"]).startswith("Comes with the package, 4")
    assert need_of(REMOVERS["u2net"]) == "Downloaded when it is first used, 176 MB"
    monkeypatch.setattr("bgremove.webapp.forms.detectron2_path", lambda: None)
    assert "bgremove setup detectron2" in need_of(REMOVERS["panoptic_fpn_R_50_1x"])

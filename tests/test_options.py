"""Settings: one declaration, every kind of value and text, one sentence for every mistake."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar, Literal

import pytest
from pydantic import Field

from bgremove.errors import OptionError
from bgremove.foreground import ForegroundParams
from bgremove.io import WriteParams
from bgremove.options import Params, Setting, settings, split_settings
from bgremove.pipeline import OutputParams, Settings
from bgremove.refine import RefineParams
from bgremove.registry import REMOVERS, remover_params

SHARED: list[type[Params]] = [RefineParams, ForegroundParams, OutputParams, WriteParams]
GROUPS: list[type[Params]] = [*SHARED, *dict.fromkeys(info.params for info in REMOVERS.values())]


class Every(Params):
    """One setting of every kind."""

    mode: Literal["soft", "hard"] = Field("soft", description="A choice")
    steps: Literal[1, 3, 11] = Field(3, description="A choice of numbers")
    several: tuple[Literal["a", "b", "c"], ...] | None = Field(None, description="Choices")
    on: bool = Field(False, description="A switch")
    count: int = Field(4, ge=1, le=9, description="A whole number")
    share: float = Field(0.5, ge=0, le=1, description="A number", json_schema_extra={"advanced": True})
    least: float = Field(2.0, ge=1, description="From one")
    most: int = Field(2, le=5, description="To five")
    free: float = Field(0.0, description="Any number")
    box: tuple[float, float, float] = Field((0.0, 0.5, 1.0), description="Three numbers")
    name: str = Field("", description="Text")
    known: str = Field("a", description="Text, often one of these", json_schema_extra={"names": ["a", "b"]})

    presets: ClassVar[dict[str, dict[str, Any]]] = {"strong": {"mode": "hard", "count": 9}}


def test_ranges_are_written_out() -> None:
    class Wide(Params):
        seed: int = Field(0, ge=0, le=2**32 - 1)
        share: float = Field(0.5, ge=0.25, le=1.0)

    assert [setting.span for setting in settings(Wide)] == ["0 to 4294967295", "0.25 to 1"]


def test_a_setting_says_what_a_form_needs() -> None:
    made = {setting.name: setting for setting in settings(Every)}
    assert list(made) == list(Every.model_fields)
    assert {name: setting.kind for name, setting in made.items()} == {
        "mode": "choice",
        "steps": "choice",
        "several": "choices",
        "on": "bool",
        "count": "int",
        "share": "float",
        "least": "float",
        "most": "int",
        "free": "float",
        "box": "numbers",
        "name": "text",
        "known": "text",
    }
    assert made["mode"].choices == ("soft", "hard")
    assert made["several"].choices == ("a", "b", "c")
    assert made["known"].choices == ("a", "b") and Every(known="c").known == "c"
    assert made["box"].count == 3
    assert (made["count"].minimum, made["count"].maximum, made["count"].default) == (1, 9, 4)
    assert (made["least"].minimum, made["least"].maximum) == (1, None)
    assert made["share"].advanced and not made["count"].advanced
    assert made["several"].default is None
    assert Setting("canny_low", "int", 1, "").flag == "--canny-low"


def test_defaults_can_be_a_rows_own() -> None:
    made = {setting.name: setting.default for setting in settings(Every, {"count": 7})}
    assert made["count"] == 7
    assert made["share"] == 0.5


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("mode", "hard", "hard"),
        ("steps", "11", 11),
        ("several", "a", ("a",)),
        ("several", "c, a", ("c", "a")),
        ("several", "a,b,", ("a", "b")),
        ("several", "", None),
        ("on", "true", True),
        ("on", "on", True),
        ("on", "0", False),
        ("count", "3", 3),
        ("count", " 3 ", 3),
        ("share", "0.25", 0.25),
        ("share", "1e-3", 0.001),
        ("box", "1,2,3", (1.0, 2.0, 3.0)),
        ("box", " -1, 2.5 ,3e2", (-1.0, 2.5, 300.0)),
        ("name", "1,2", "1,2"),
    ],
)
def test_texts_from_forms(name: str, text: str, value: object) -> None:
    got = getattr(Every(**{name: text}), name)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("mode", "sfot", "mode must be one of soft, hard; got sfot"),
        ("steps", "2", "steps must be one of 1, 3, 11; got 2"),
        ("steps", 5, "steps must be one of 1, 3, 11; got 5"),
        ("several", "a,d", "several must be one or more, separated by commas, of a, b, c; got d"),
        ("on", "maybe", "on must be true or false; got maybe"),
        ("count", 10, "count must be a whole number from 1 to 9; got 10"),
        ("count", "0", "count must be a whole number from 1 to 9; got 0"),
        ("count", 2.5, "count must be a whole number from 1 to 9; got 2.5"),
        ("count", "", "count must be a whole number from 1 to 9; got "),
        ("count", None, "count must be a whole number from 1 to 9; got None"),
        ("share", 1.01, "share must be a number from 0 to 1; got 1.01"),
        ("share", "nan", "share must be a number from 0 to 1; got nan"),
        ("share", float("nan"), "share must be a number from 0 to 1; got nan"),
        ("least", 0.5, "least must be a number of at least 1; got 0.5"),
        ("least", float("inf"), "least must be a number of at least 1; got inf"),
        ("most", 6, "most must be a whole number of at most 5; got 6"),
        ("free", "-inf", "free must be a number; got -inf"),
        ("free", "1e999", "free must be a number; got 1e999"),
        ("free", float("nan"), "free must be a number; got nan"),
        ("free", "much", "free must be a number; got much"),
        ("box", "1,2", "box must be 3 numbers separated by commas; got "),
        ("box", "1,2,nan", "box must be 3 numbers separated by commas; got nan"),
        ("box", (1, 2, float("inf")), "box must be 3 numbers separated by commas; got inf"),
        ("name", ["x"], "name must be text; got ['x']"),
    ],
)
def test_the_sentence_for_a_wrong_value(name: str, value: object, sentence: str) -> None:
    with pytest.raises(OptionError) as caught:
        Every(**{name: value})
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_brings_the_nearest() -> None:
    with pytest.raises(OptionError, match="unknown setting 'cuont'; did you mean 'count'?"):
        Every(**{"cuont": 3})
    with pytest.raises(OptionError, match="unknown setting 'zzz'; known: mode, steps, several"):
        Every(**{"zzz": 3})


def test_settings_are_frozen_and_comparable() -> None:
    made = Every(count=3)
    with pytest.raises(ValueError, match="frozen"):
        made.count = 4  # type: ignore[misc]
    assert made == Every(count="3")
    assert hash(made) == hash(Every(count=3))


def test_presets() -> None:
    assert Every.preset("strong") == Every(mode="hard", count=9)
    assert Every.preset("strong", count=2) == Every(mode="hard", count=2)
    with pytest.raises(OptionError, match="unknown preset 'weak'; these settings have: strong"):
        Every.preset("weak")


def test_splitting_flat_settings() -> None:
    values = {"feather": 1, "count": 3, "quality": 50}
    assert split_settings(values, Every, RefineParams, WriteParams) == [
        {"count": 3},
        {"feather": 1},
        {"quality": 50},
    ]
    with pytest.raises(OptionError, match="did you mean 'feather'"):
        split_settings({"fether": 1}, Every, RefineParams)


# The package's own settings -------------------------------------------------------------------------


@pytest.mark.parametrize("name", REMOVERS)
def test_no_name_is_in_two_groups(name: str) -> None:
    """Flat settings (flags, keywords) would otherwise be ambiguous."""
    groups = [REMOVERS[name].params, *SHARED]
    for one, other in itertools.combinations(groups, 2):
        assert not one.model_fields.keys() & other.model_fields.keys(), (one, other)


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_every_setting_has_help_and_a_default_within_its_range(group: type[Params]) -> None:
    for setting in settings(group):
        assert len(setting.help) > 10, setting.name
        assert not setting.help.endswith("."), setting.name
        assert setting.expected
        if setting.kind == "choice":
            assert setting.default in setting.choices
        if setting.kind in ("int", "float") and setting.default is not None:
            assert (setting.minimum or 0) <= setting.default <= (setting.maximum or setting.default)
    assert group(**{setting.name: setting.default for setting in settings(group)}) == group()


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_every_number_refuses_nan_and_what_is_outside(group: type[Params]) -> None:
    for setting in settings(group):
        if setting.kind not in ("int", "float"):
            continue
        wrong: list[Any] = [float("nan"), float("inf"), "nan", "x"]
        if setting.minimum is not None:
            wrong.append(setting.minimum - 1)
        if setting.maximum is not None:
            wrong.append(setting.maximum + 1)
        for value in wrong:
            with pytest.raises(OptionError, match=f"^{setting.name} must be"):
                group(**{setting.name: value})


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_every_preset_is_valid(group: type[Params]) -> None:
    for name in group.presets:
        assert group.preset(name) != group(), name


@pytest.mark.parametrize("name", REMOVERS)
def test_the_rows_of_the_table_build_their_settings(name: str) -> None:
    params = remover_params(name)
    assert isinstance(params, REMOVERS[name].params)
    for key, value in REMOVERS[name].defaults.items():
        assert getattr(params, key) == value


def test_settings_from_flat_values() -> None:
    made = Settings.build("contour", preset="use-default", canny_low=7, feather="2", output="alpha,mask")
    assert made.remover.model_dump()["canny_low"] == 7
    assert made.remover.model_dump()["canny_high"] == 150
    assert made.remover.model_dump()["working_width"] == 500
    assert made.refine.feather == 2
    assert made.outputs == ("alpha", "mask")
    assert Settings.build(preset="classic", closing=5).refine == RefineParams.preset("classic", closing=5)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"fether": 1}, "unknown setting 'fether'; did you mean 'feather'"),
        ({"preset": "nope"}, "unknown preset 'nope' for grabcut; known: .*raw, classic"),
        ({"padding": "much"}, "padding must be pixels .* got 'much'"),
        ({"padding": "-3"}, "padding must be pixels"),
        ({"size": "0"}, "size must be the longest side"),
        ({"size": "big"}, "size must be the longest side"),
        ({"output": "composite"}, "a composite needs a background"),
        ({"background": "blu"}, "unknown background 'blu'"),
        ({"foreground_threshold": 10, "background_threshold": 20}, "background_threshold must be below"),
    ],
)
def test_wrong_flat_values(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        _ = Settings.build("grabcut", **values).outputs


def test_numbers_do_where_text_stands_for_one() -> None:
    made = Settings.build("grabcut", padding=10, size=640)
    assert (made.output.padding, made.output.size) == ("10", "640")

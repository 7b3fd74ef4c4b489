"""Settings of a video: times, rates, what follows from what."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from bgremove import create_remover
from bgremove.errors import OptionError, UnknownRemoverError
from bgremove.foreground import ForegroundParams
from bgremove.options import Params
from bgremove.refine import RefineParams
from bgremove.video.params import CutSettings, VideoParams, VideoSettings, parse_rate, parse_time
from bgremove.video.temporal import SmoothParams
from bgremove.video.writing import VideoWriteParams


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", "90"),
        ("12.5", "12.5"),
        ("12.5s", "12.5"),
        ("1:02.5", "62.5"),
        ("1:00:00", "3600"),
        ("1m2s", "62"),
        ("1h", "3600"),
        ("2m", "120"),
        (" 5 s ", "5"),
    ],
)
def test_times(text: str, seconds: str) -> None:
    assert parse_time(text) == Fraction(seconds)


@pytest.mark.parametrize("text", ["", "x", "-5", "1:2:3:4", "5x", "1e3", "inf", "nan", "s"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(OptionError, match="start must be a time as 12.5, 1:02.5 or 1m2s"):
        parse_time(text, "start")


@pytest.mark.parametrize(("text", "rate"), [("25", "25"), ("23.976", "23.976"), ("30000/1001", "30000/1001")])
def test_rates_are_exact(text: str, rate: str) -> None:
    assert parse_rate(text) == Fraction(rate)


@pytest.mark.parametrize("text", ["0", "1/0", "-1", "2000", "abc", "1/2/3"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(OptionError, match="rate must be frames a second"):
        parse_rate(text)


def test_the_part() -> None:
    part = VideoParams(start="1:00", end="1:30", preview="5s")
    assert part.begins == 60 and part.ends == 65 and part.fits == "854"
    assert VideoParams(preview="5s", size="320").fits == "320"
    assert VideoParams(preview="5s", end="2").ends == 2
    assert VideoParams().ends is None
    with pytest.raises(OptionError, match="end must lie behind start; got 5 and 7"):
        VideoParams(start="7", end="5")


@pytest.mark.parametrize(
    ("values", "output", "transparent"),
    [
        ({}, "cutout", True),
        ({"background": "white"}, "composite", False),
        ({"background": "#ffffff80"}, "composite", True),
        ({"background": "blur"}, "composite", False),
        ({"output": "alpha"}, "alpha", False),
        ({"output": "cutout", "background": "white"}, "cutout", True),
    ],
)
def test_what_is_made(values: dict[str, Any], output: str, transparent: bool) -> None:
    built = VideoSettings.build(**values)
    assert (built.output, built.transparent) == (output, transparent)


def test_a_composite_needs_a_background() -> None:
    with pytest.raises(OptionError, match="a composite needs a background"):
        VideoSettings.build(output="composite")


def test_a_background_that_is_a_video(tmp_path: Path) -> None:
    film = tmp_path / "waves.mp4"
    film.write_bytes(b"not looked into yet")
    built = VideoSettings.build(background=str(film))
    assert built.backdrop == str(film) and built.output == "composite" and not built.transparent
    with pytest.raises(OptionError, match="unknown background"):
        VideoSettings.build(background=str(tmp_path / "none.mp4"))


def test_settings_are_sorted_and_checked() -> None:
    built = VideoSettings.build(
        "contour", closing=4, steadiness=0.5, quality=60, foreground="none", every=2, preset="product"
    )
    assert built.refine.keep_largest and built.smooth.steadiness == 0.5
    assert (built.write.quality, built.video.every, built.foreground.foreground) == (60, 2, "none")
    with pytest.raises(OptionError, match="unknown setting 'qualty'; did you mean 'quality'"):
        VideoSettings.build(qualty=3)
    with pytest.raises(UnknownRemoverError):
        CutSettings.build("nothing")
    with pytest.raises(OptionError, match="unknown preset 'x'"):
        CutSettings.build(preset="x")
    remover = create_remover("contour")
    assert CutSettings.build(remover).remover is remover.params
    with pytest.raises(OptionError, match="belong to the remover"):
        CutSettings.build(remover, canny_low=3)


def test_what_is_steady_by_itself_is_not_smoothed_unless_asked() -> None:
    assert CutSettings.build("rvm-mobilenetv3").smooth.smoothing == "none"
    assert CutSettings.build("rvm-mobilenetv3", smoothing="motion").smooth.smoothing == "motion"
    assert CutSettings.build("lite").smooth.smoothing == "motion"


def test_no_name_means_two_things() -> None:
    from bgremove.registry import REMOVERS

    groups: list[type[Params]] = [
        RefineParams,
        ForegroundParams,
        SmoothParams,
        VideoParams,
        VideoWriteParams,
    ]
    for params in {info.params for info in REMOVERS.values()}:
        names = [name for group in [params, *groups] for name in group.model_fields]
        assert len(names) == len(set(names)), params

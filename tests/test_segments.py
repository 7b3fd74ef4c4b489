"""Choosing from what a model found, on masks drawn by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from bgremove.errors import BGRemoveWarning, ImageError, OptionError
from bgremove.options import settings
from bgremove.segments import UNLABELLED, Segment, Segments, SelectParams, check_classes
from bgremove.trimap import Box
from tests.finding import Finding, a_segment, rectangle

HEIGHT, WIDTH = 60, 100
THINGS = ("person", "dog", "traffic light", "dining table")
STUFF = ("sky", "wall", "wall-brick", "grass", UNLABELLED)


def segment(
    label: str, box: tuple[int, int, int, int], score: float | None = None, grain: float = 1
) -> Segment:
    return a_segment(label, rectangle(HEIGHT, WIDTH, box), score, grain)


# 0 a large person on the left, 1 a dog that overlaps it in the middle, 2 a small person at the right border,
# 3 a traffic light of which the model is not sure; then sky above, walls below.
ITEMS = (
    segment("person", (5, 10, 45, 60), 0.98, grain=1.8),
    segment("dog", (40, 25, 60, 45), 0.9, grain=0.7),
    segment("person", (90, 10, 100, 20), 0.8),
    segment("traffic light", (70, 0, 75, 10), 0.4),
    segment("sky", (0, 0, 100, 10)),
    segment("wall-brick", (60, 30, 100, 45)),
    segment("grass", (60, 45, 100, 60)),
    segment(UNLABELLED, (60, 10, 90, 30)),
)
FOUND = Segments(HEIGHT, WIDTH, ITEMS, (("dog", 0.3),), THINGS, STUFF)


def kept(found: Segments = FOUND, **choice: Any) -> list[int]:
    """The numbers of what is selected."""
    items = found.select(SelectParams(**choice)).items
    return [number for number, one in enumerate(found.items) if one in items]


# What a segment is --------------------------------------------------------------------------------


def test_box_and_area_are_those_of_the_mask() -> None:
    made = segment("dog", (3, 4, 13, 24), 0.5)
    assert made.box == Box(3, 4, 13, 24) and made.area == 200
    assert str(made) == "dog 0.50" and str(segment("sky", (0, 0, 1, 1))) == "sky"


def test_an_empty_mask_is_no_segment_and_others_are_refused() -> None:
    assert Segment.of("dog", np.zeros((5, 6), bool)) is None
    for wrong in (np.ones((5, 6), np.uint8), np.ones((5, 6, 1), bool), [[True]]):
        with pytest.raises(ImageError, match=r"mask must be bool of shape \(H, W\)"):
            Segment.of("dog", wrong)  # type: ignore[arg-type]


def test_masks_have_the_photos_size() -> None:
    with pytest.raises(ImageError, match=r"mask of sky must have .* \(60, 99\); got \(60, 100\)"):
        Segments(HEIGHT, WIDTH - 1, (ITEMS[4],))


def test_a_grain_is_at_least_one() -> None:
    assert [one.grain for one in ITEMS[:3]] == [1.8, 1, 1]
    assert FOUND.grain == 1.8 and FOUND.select(SelectParams(classes="dog")).grain == 1
    assert Segments(5, 6).grain == 1


# The choice ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({}, [0, 1, 2]),
        ({"classes": "person"}, [0, 2]),
        ({"classes": "dog,person"}, [0, 1, 2]),
        ({"classes": " Person , TRAFFIC_light ", "min_score": 0}, [0, 2, 3]),
        ({"classes": "all things"}, [0, 1, 2]),
        ({"classes": "all stuff"}, [4, 5, 6, 7]),
        ({"classes": "all"}, [0, 1, 2, 4, 5, 6, 7]),
        ({"classes": "all things, sky"}, [0, 1, 2, 4]),
        ({"classes": "wall"}, [5]),  # wall-brick is one
        ({"drop": "sky,wall"}, [0, 1, 2, 6, 7]),  # all but that
        ({"drop": "person"}, [1, 4, 5, 6, 7]),
        ({"drop": "person", "classes": "all things"}, [1]),
        ({"drop": "all stuff"}, [0, 1, 2]),
        ({"min_score": 0}, [0, 1, 2, 3]),
        ({"min_score": 0.85}, [0, 1]),
        ({"min_score": 1}, []),
        ({"min_score": 1, "classes": "sky,dog"}, [4]),  # stuff has no score
        ({"most": 2}, [0, 1]),
        ({"most": 1, "classes": "person"}, [0]),
        ({"most": 100}, [0, 1, 2]),
        ({"pick": "largest"}, [0]),
        ({"pick": "largest", "most": 2}, [0, 1]),
        ({"pick": "largest", "classes": "all"}, [0]),
        ({"pick": "largest", "classes": "all stuff"}, [4]),
        ({"pick": "most-central"}, [1]),
        ({"pick": "most-central", "most": 2}, [0, 1]),
        ({"pick": "most-central", "classes": "person"}, [0]),
        ({"point": (42, 30)}, [0, 1]),  # both lie there
        ({"point": (42, 30), "most": 1}, [0]),
        ({"point": (42, 30), "classes": "dog"}, [1]),
        ({"point": (50, 5)}, [4]),  # stuff, too, where a point says so
        ({"point": (50, 5), "classes": "all things"}, []),
        ({"point": (99.9, 19.9)}, [2]),
        ({"point": (100, 19)}, []),
        ({"point": (-1, 5)}, []),
        ({"box": (38, 20, 62, 50)}, [1]),  # the person is in it by less than a half
        ({"box": (0, 0, 60, 60)}, [0, 1]),
        ({"box": (10, 20, 20, 30)}, [0]),  # a small box within the person
        ({"box": (-50, -50, 500, 500)}, [0, 1, 2]),
        ({"box": (46, 50, 60, 60)}, []),
        ({"box": (200, 200, 300, 300)}, []),
        ({"index": "0,2"}, [0, 2]),
        ({"index": " 4 "}, [4]),
        ({"index": "3"}, []),  # still not sure enough
        ({"index": "3", "min_score": 0.3}, [3]),
        ({"index": "77"}, []),
        ({"index": "0,1", "classes": "dog"}, [1]),
        ({"index": "0,1", "drop": "dog"}, [0]),
    ],
)
def test_what_is_kept(choice: dict[str, Any], expected: list[int]) -> None:
    assert kept(**choice) == expected
    text: dict[str, Any] = {
        k: ",".join(map(str, v)) if isinstance(v, tuple) else str(v) for k, v in choice.items()
    }
    assert kept(**text) == expected  # as a command line brings it


def test_the_order_stays_and_nothing_is_changed() -> None:
    before = [one.mask.copy() for one in ITEMS]
    chosen = FOUND.select(SelectParams(pick="largest", most=3))
    assert [one.label for one in chosen.items] == ["person", "dog", "person"]
    assert chosen.items[0] is ITEMS[0]
    chosen.alpha()[:] = 0.5
    for one, mask in zip(ITEMS, before, strict=True):
        np.testing.assert_array_equal(one.mask, mask)


def test_the_union_is_a_matte() -> None:
    alpha = FOUND.select(SelectParams(classes="person,dog", most=2)).alpha()
    assert alpha.dtype == np.float32 and alpha.shape == (HEIGHT, WIDTH)
    np.testing.assert_array_equal(alpha, (ITEMS[0].mask | ITEMS[1].mask).astype(np.float32))
    assert not Segments(3, 4).alpha().any() and Segments(3, 4).alpha().shape == (3, 4)


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"classes": "persn"}, "classes names 'persn', which this model does not know; nearest: person"),
        ({"classes": "person,lights"}, "'lights', .*nearest: traffic light"),
        ({"classes": "table"}, "'table', .*nearest: dining table, "),
        ({"drop": "sykline"}, "drop names 'sykline'.*nearest: "),
        ({"drop": "wal"}, "nearest: wall, wall-brick"),
    ],
)
def test_unknown_classes_bring_the_nearest(choice: dict[str, str], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        FOUND.select(SelectParams(**choice))


def test_stuff_is_not_for_every_model() -> None:
    with pytest.raises(OptionError, match=r"'sky', .* \(sky, wall and other stuff is known to the panoptic"):
        check_classes(SelectParams(drop="sky"), THINGS, ())
    check_classes(SelectParams(drop="sky", classes="anything at all"), (), ())  # nobody knows
    check_classes(SelectParams(classes="all, all things,all stuff"), THINGS, ())


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"min_score": 1.5}, "min_score must be a number from 0 to 1; got 1.5"),
        ({"most": 0}, "most must be a whole number from 1 to 100; got 0"),
        ({"pick": "smallest"}, "pick must be one of all, largest, most-central; got smallest"),
        ({"point": "3"}, "point must be 2 numbers separated by commas; got 3"),
        ({"box": (3, 4, 3, 9)}, "box must be left, top, right, bottom with left < right.* got 3, 4, 3, 9"),
        ({"index": "0;2"}, "index must be whole numbers from 0 with commas, as 0,2; got '0;2'"),
        ({"index": "-1"}, "index must be whole numbers"),
        ({"index": "1,"}, "index must be whole numbers"),
        ({"klasses": "dog"}, "unknown setting 'klasses'; did you mean 'classes'"),
    ],
)
def test_wrong_settings_in_one_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        SelectParams(**values)


def test_every_setting_can_be_a_flag() -> None:
    assert [setting.name for setting in settings(SelectParams)] == [
        "classes", "drop", "min_score", "pick", "most", "point", "box", "index",
    ]  # fmt: skip


# Nothing ------------------------------------------------------------------------------------------


def test_what_was_missed_is_kept_in_mind() -> None:
    assert FOUND.select(SelectParams()).missed == (("traffic light", 0.4), ("dog", 0.3))
    assert FOUND.select(SelectParams(classes="dog", min_score=0.95)).missed == (("dog", 0.9), ("dog", 0.3))
    assert FOUND.select(SelectParams(classes="person")).missed == ()


@pytest.mark.parametrize(
    ("found", "choice", "sentence"),
    [
        (FOUND, {}, ""),
        (
            FOUND,
            {"classes": "dog", "min_score": 0.95},
            "nothing reaches the score asked for, 0.95; below it: dog 0.90, dog 0.30; lower min_score to "
            "keep them",
        ),
        (
            Segments(9, 9, (), (("person", 0.41), ("dog", 0.22))),
            {},
            "nothing reaches the score asked for, 0.5; below it: person 0.41, dog 0.22; lower min_score to "
            "keep them",
        ),
        (
            dataclasses.replace(FOUND, missed=(), items=ITEMS[:3]),
            {"classes": "traffic light", "point": (3, 4.5)},
            "nothing that was found fits classes traffic light, point 3,4.5; found, by number: 0 person "
            "0.98, 1 dog 0.90, 2 person 0.80",
        ),
        (
            dataclasses.replace(FOUND, missed=(), items=ITEMS[4:]),
            {},
            "nothing that was found fits all things; found, by number: 0 sky, 1 wall-brick, "
            "2 grass, 3 unlabelled",
        ),
        (Segments(9, 9), {}, "nothing was found that the model knows by name"),
    ],
)
def test_why_nothing(found: Segments, choice: dict[str, Any], sentence: str) -> None:
    assert found.why_nothing(SelectParams(**choice)) == sentence


def test_long_lists_are_cut_short() -> None:
    many = Segments(9, 9, (), tuple((f"thing {n}", 0.1) for n in range(30)))
    assert "thing 5 0.10 and 24 more" in many.why_nothing(SelectParams())


# A remover that finds segments --------------------------------------------------------------------


IMAGE = np.zeros((HEIGHT, WIDTH, 3), np.uint8)


def test_the_matte_is_that_of_the_chosen() -> None:
    remover = Finding(FOUND, classes="dog")
    np.testing.assert_array_equal(remover.predict_alpha(IMAGE), ITEMS[1].mask.astype(np.float32))
    prediction = remover.predict(IMAGE)
    assert prediction.grain == 1 and prediction.note == ""
    assert prediction.segments is not None and prediction.segments.items == (ITEMS[1],)
    assert Finding(FOUND).predict(IMAGE).grain == 1.8  # each picture has its own


def test_nothing_found_is_zeros_and_a_warning() -> None:
    remover = Finding(Segments(HEIGHT, WIDTH, (), (("dog", 0.42),)))
    with pytest.warns(BGRemoveWarning, match="the result is empty: nothing reaches .* dog 0.42"):
        alpha = remover.predict_alpha(IMAGE)
    assert alpha.shape == (HEIGHT, WIDTH) and not alpha.any()
    assert remover.predict(IMAGE).note.startswith("nothing reaches")  # says it, and does not warn

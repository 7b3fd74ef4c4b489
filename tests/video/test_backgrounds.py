"""What is put behind the frames."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from bgremove.background import Background
from bgremove.compositing import composite
from bgremove.errors import VideoError
from bgremove.pipeline import Cut
from bgremove.video.backgrounds import Backdrop, Scene, blend
from tests.conftest import Example
from tests.video.clips import clip

pytest.importorskip("av", reason="needs the extra video")


def cut_of(example: Example) -> Cut:
    return Cut(example.image, example.alpha, example.image, 3)


def test_blend_is_composite(disc: Example) -> None:
    background = np.random.default_rng(0).integers(0, 256, disc.image.shape, np.uint8)
    np.testing.assert_array_equal(
        blend(disc.image, background, disc.alpha), composite(disc.image, background, disc.alpha)
    )


@pytest.mark.parametrize(
    "background",
    [
        Background("colour", colour=(10, 200, 30, 255)),
        Background("colour", colour=(10, 200, 30, 100)),
        Background("picture", picture=np.full((30, 70, 3), 77, np.uint8)),
        Background("blur", blur_radius=4),
        Background(),
    ],
    ids=lambda one: f"{one.kind}-{one.colour[3]}",
)
def test_scenes_look_as_they_do_behind_photos(disc: Example, background: Background) -> None:
    cut = cut_of(disc)
    expected = background.under(cut.image, cut.foreground, cut.alpha)
    scene = Scene("cutout" if background.kind == "transparent" else "composite", background)
    for _ in range(2):  # the second time from what is kept
        np.testing.assert_array_equal(scene.compose(cut), expected)


def test_the_matte_as_a_picture(disc: Example) -> None:
    pixels = Scene("alpha", Background()).compose(cut_of(disc))
    np.testing.assert_array_equal(pixels, np.rint(disc.alpha * 255).astype(np.uint8))


def test_a_video_behind(tmp_path: Path, disc: Example) -> None:
    made = clip(tmp_path / "behind.mp4", frames=6, rate=Fraction(10))
    with Backdrop(str(made.path)) as backdrop:
        picture = backdrop.at(Fraction(0))
        assert picture is not None
        result = Scene("composite", Background()).compose(cut_of(disc), picture)
    assert result.shape == disc.image.shape
    inside = disc.alpha == 1
    np.testing.assert_array_equal(result[inside], disc.image[inside])
    assert np.abs(result[0, 0].astype(int) - picture[0, 0]).max() <= 2  # enlarged, its corner stays


@pytest.mark.parametrize("end", ["loop", "hold", "cut"])
def test_when_the_background_is_over(tmp_path: Path, end: str) -> None:
    shades = [np.full((32, 32, 3), 40 * number, np.uint8) for number in range(1, 6)]
    made = clip(tmp_path / "b.mp4", frames=5, size=(32, 32), rate=Fraction(10), images=shades)
    with Backdrop(str(made.path), end) as backdrop:  # type: ignore[arg-type]
        found = [backdrop.at(Fraction(number, 10)) for number in range(12)]
    seen = [None if one is None else round(float(one.mean()) / 40) for one in found]
    once = [1, 2, 3, 4, 5]
    expected = {
        "loop": [*once, *once, 1, 2],
        "hold": [*once, *[5] * 7],
        "cut": [*once, *[None] * 7],
    }
    assert seen == expected[end]


def test_a_slower_and_a_faster_background_keep_their_own_time(tmp_path: Path) -> None:
    shades = [np.full((32, 32, 3), 40 * number, np.uint8) for number in range(1, 6)]
    made = clip(tmp_path / "b.mp4", frames=5, size=(32, 32), rate=Fraction(5), images=shades)
    with Backdrop(str(made.path)) as backdrop:
        found = [backdrop.at(Fraction(number, 15)) for number in range(15)]
    assert [round(float(one.mean()) / 40) for one in found if one is not None] == [
        shade for shade in range(1, 6) for _ in range(3)
    ]


def test_a_background_that_cannot_be_read(tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video at all" * 50)
    with Backdrop(str(bad)) as backdrop, pytest.raises(VideoError, match="bad.mp4"):
        backdrop.at(Fraction(0))

"""What is behind the subject, and the keys that change it."""

from __future__ import annotations

import numpy as np

from bgremove.arrays import Image
from bgremove.background import Background, blur_background
from bgremove.compositing import composite
from bgremove.live.backdrops import COLOURS, GREEN, Backdrops, blurred, opaque
from bgremove.pipeline import Cut
from tests.conftest import Example, soft_disc


def cut_of(disc: Example) -> Cut:
    return Cut(disc.image, disc.alpha, disc.foreground, 4)


def test_the_key_goes_round(disc: Example) -> None:
    backdrops = Backdrops("blur")
    assert "picture" not in backdrops.kinds, "there is none"
    seen = []
    for _ in range(5):
        seen.append(backdrops.kind)
        backdrops.next()
    assert seen == ["blur", "colour", "transparent", "off", "blur"]
    with_picture = Backdrops("picture", Background("picture", picture=disc.background))
    with_picture.next()
    assert with_picture.kind == "transparent"


def test_a_colour_is_what_it_should_be(disc: Example) -> None:
    backdrops = Backdrops("colour", Background("colour", colour=(10, 200, 30, 255)))
    assert backdrops.words() == "your colour"
    ground = np.full_like(disc.image, (10, 200, 30))
    expected = composite(disc.foreground, ground, disc.alpha)
    assert np.abs(backdrops.compose(cut_of(disc)).astype(int) - expected).max() <= 1


def test_more_is_the_next_colour_and_less_the_one_before(disc: Example) -> None:
    backdrops = Backdrops("colour")
    names = []
    for _ in range(len(COLOURS) + 1):
        names.append(backdrops.words())
        backdrops.step(1)
    assert names[:-1] == [name for name, _ in COLOURS] and names[-1] == names[0]
    backdrops.step(-1)
    backdrops.step(-1)
    assert tuple(backdrops.compose(cut_of(disc))[0, 0]) == COLOURS[-1][1]


def test_a_picture_is_behind_and_can_be_blurred(disc: Example) -> None:
    picture = np.zeros((160, 200, 3), np.uint8)
    picture[:, ::2] = 250
    backdrops = Backdrops("picture", Background("picture", picture=picture, fit="stretch"))
    sharp = backdrops.compose(cut_of(disc))
    assert np.array_equal(sharp[0], picture[0])
    backdrops.step(1)
    soft = backdrops.compose(cut_of(disc))
    assert float(soft[0].astype(int).std()) < 10 and backdrops.words() == "picture, blur 2 px"
    backdrops.step(-1)
    assert np.array_equal(backdrops.compose(cut_of(disc)), sharp)


def test_blur_is_bounded_and_goes_by_the_frame() -> None:
    backdrops = Backdrops("blur")
    assert backdrops.words((480, 640)) == "blur 13 px"
    for _ in range(40):
        backdrops.step(1, (480, 640))
    assert backdrops.words() == "blur 120 px"
    for _ in range(80):
        backdrops.step(-1, (480, 640))
    assert backdrops.words() == "blur 1 px"


def test_the_quick_blur_looks_like_the_other(photo: Image) -> None:
    image = np.ascontiguousarray(np.kron(photo, np.ones((4, 4, 1), np.uint8)))
    alpha = soft_disc(image.shape[0], image.shape[1], radius=180).alpha
    quick, slow = blurred(image, alpha, 13.0), blur_background(image, alpha, 13.0)
    away = alpha == 0
    assert np.abs(quick.astype(int) - slow)[away].mean() < 2.5
    assert np.abs(quick.astype(int) - slow)[away].max() < 40


def test_none_is_see_through_and_off_is_the_frame(disc: Example) -> None:
    cut = cut_of(disc)
    cutout = Backdrops("transparent").compose(cut)
    assert cutout.shape == (160, 200, 4) and cutout[0, 0, 3] == 0
    assert not Backdrops("off").cuts and Backdrops("off").compose(cut) is disc.image
    board = opaque(cutout)
    assert board.shape == (160, 200, 3) and len(np.unique(board[:40, :20])) == 2
    assert tuple(opaque(cutout, GREEN)[0, 0]) == GREEN

"""Frame after frame: what is found, steadied and finished."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np
import pytest

from bgremove.arrays import Alpha, Image
from bgremove.foreground import ForegroundParams
from bgremove.io import Frame
from bgremove.options import Params
from bgremove.pipeline import Settings, cut
from bgremove.refine import RefineParams
from bgremove.removers.base import Prediction, Remover
from bgremove.video.cutting import FrameCutter, Look, finish
from bgremove.video.params import CutSettings
from tests.conftest import Example, KnownRemover, soft_disc
from tests.video.clips import draw

pytest.importorskip("av", reason="needs the extra video")


class Counting(Remover):
    """Remembers how many frames of its scene it has seen; its matte says it."""

    remembers = True

    def __init__(self) -> None:
        super().__init__(Params())
        self.scenes: list[int] = []

    def predict_alpha(self, image: Image) -> Alpha:
        return np.zeros(image.shape[:2], np.float32)

    def follow(self) -> Callable[[Image], Prediction]:
        self.scenes.append(0)

        def predict(image: Image) -> Prediction:
            self.scenes[-1] += 1
            return Prediction(np.full((8, 8), 0.5, np.float32), 4.0, foreground=255 - image)

        return predict


def test_without_smoothing_a_frame_is_cut_as_a_photo_is(disc: Example) -> None:
    remover = KnownRemover(disc.alpha)
    chosen = CutSettings.build(remover, smoothing="none")
    found = finish(FrameCutter(remover, chosen).look(disc.image), chosen.refine, chosen.foreground)
    photo = cut(Frame(disc.image), remover, Settings.build(remover))
    assert np.abs(found.alpha - photo.alpha).max() < 0.01
    shown = photo.alpha > 0.05
    assert np.abs(found.foreground[shown].astype(int) - photo.foreground[shown]).max() <= 6


@pytest.mark.parametrize("centre", [(300, 400), (20, 30), (590, 780), (-500, 0)])
@pytest.mark.parametrize("size", [(600, 800), (96, 128)])
def test_working_only_around_the_subject_changes_nothing(
    centre: tuple[int, int], size: tuple[int, int], noise: Callable[..., Image]
) -> None:
    image = cv2.GaussianBlur(noise(600, 800, 3), (0, 0), 3)
    rows, columns = np.mgrid[:600, :800]
    disc = np.hypot(rows - centre[0], columns - centre[1])
    truth = np.clip((90 - disc) / 20 + 0.5, 0, 1).astype(np.float32)
    small = cv2.resize(truth, size[::-1], interpolation=cv2.INTER_AREA)
    look = Look(image, image, None, small, 800 / size[1], image)
    part = finish(look, RefineParams(), ForegroundParams())
    whole = finish(look, RefineParams(min_region=1e-9), ForegroundParams())
    assert np.abs(part.alpha - whole.alpha).max() < 0.01
    shown = part.alpha > 0.05
    assert not shown.any() or np.abs(part.foreground[shown].astype(int) - whole.foreground[shown]).max() <= 6


def test_the_frames_own_transparency_counts(disc: Example) -> None:
    chosen = CutSettings.build("contour", smoothing="none")
    own = np.ones(disc.alpha.shape, np.float32)
    own[:, :100] = 0
    look = FrameCutter(KnownRemover(disc.alpha), chosen).look(disc.image, own)
    result = finish(look, chosen.refine, chosen.foreground)
    assert not result.alpha[:, :100].any() and result.alpha[:, 100:].any()


def test_a_new_scene_is_followed_anew() -> None:
    remover, chosen = Counting(), CutSettings.build("contour", smoothing="none")
    cutter = FrameCutter(remover, chosen)
    first = [draw(number / 40)[0] for number in range(6)]
    other = [np.ascontiguousarray(255 - image[::-1]) for image in first]
    new = [cutter.look(image).new_scene for image in first + other]
    assert [seen for seen in remover.scenes if seen] == [6, 6]
    assert new[6] and not any(new[1:6] + new[7:])


def test_a_removers_own_colours_are_used() -> None:
    remover, chosen = Counting(), CutSettings.build("contour", smoothing="none", edges="none")
    image = draw(0.5)[0]
    result = finish(FrameCutter(remover, chosen).look(image), chosen.refine, chosen.foreground)
    np.testing.assert_array_equal(result.foreground, 255 - image)


class Shaking(Remover):
    """The disc's matte, at full size, stronger and weaker in turns."""

    def __init__(self, alphas: list[Alpha]) -> None:
        super().__init__(Params())
        self._left = iter(alphas)

    def predict_alpha(self, image: Image) -> Alpha:
        return next(self._left)


@pytest.mark.parametrize("size", [(96, 128), (700, 900)])
def test_smoothing_steadies_large_mattes_too(size: tuple[int, int]) -> None:
    height, width = size
    still = soft_disc(height, width, radius=height / 3, edge=height / 20)
    shaky = [still.alpha * np.float32(0.8 + 0.2 * (n % 2)) for n in range(12)]
    changes = {}
    for smoothing in ("none", "motion", "exponential"):
        chosen = CutSettings.build("contour", smoothing=smoothing)
        cutter = FrameCutter(Shaking(shaky), chosen)
        mattes = [cutter.look(still.image).alpha for _ in shaky]
        assert all(matte.shape == size for matte in mattes)
        changes[smoothing] = np.mean([np.abs(a - b).mean() for a, b in pairwise(mattes[4:])])
    assert changes["motion"] < 0.5 * changes["none"] and changes["exponential"] < 0.5 * changes["none"]

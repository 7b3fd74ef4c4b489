"""From settings to outputs, for one picture and for an animation."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

from bgremove.arrays import Alpha, Image, check_trimap
from bgremove.errors import ImageError, OptionError
from bgremove.io import Frame, frame_from_array, open_picture
from bgremove.options import Params
from bgremove.pipeline import Cut, Output, Settings, cut, cut_instances, process, render
from bgremove.refine import RefineParams, edge_radius
from bgremove.registry import create_remover
from bgremove.removers.base import Prediction, Remover
from bgremove.trimap import Box
from tests.conftest import Example, KnownRemover
from tests.finding import Finding, a_segment, rectangle, two_subjects

OUTPUTS: list[Output] = ["cutout", "mask", "alpha", "composite", "trimap", "crop"]


def settings(remover: Remover, **values: Any) -> Settings:
    return Settings.build(remover, **({"preset": "raw"} | values))


@pytest.fixture
def known(disc: Example) -> KnownRemover:
    return KnownRemover(disc.alpha)


# Cut ------------------------------------------------------------------------------------------------


def test_a_removers_own_colours_of_the_subject_are_used(disc: Example) -> None:
    class Knowing(KnownRemover):
        def predict(self, image: Image) -> Prediction:
            return Prediction(self.alpha, foreground=disc.foreground)

    remover = Knowing(disc.alpha)
    result = cut(Frame(disc.image), remover, Settings.build(remover))
    np.testing.assert_array_equal(result.foreground, disc.foreground)


def test_a_known_matte_goes_through_unchanged(disc: Example, known: KnownRemover) -> None:
    result = cut(Frame(disc.image), known, settings(known))
    np.testing.assert_allclose(result.alpha, disc.alpha, atol=1e-6)
    assert result.image is disc.image
    assert not result.empty
    soft = disc.alpha > 0.2
    assert np.abs(result.foreground.astype(int) - disc.foreground)[soft].mean() < 2


def test_own_transparency_is_multiplied(disc: Example, known: KnownRemover) -> None:
    own = np.tile(np.linspace(0, 1, 200, dtype=np.float32), (160, 1))
    result = cut(Frame(disc.image, own), known, settings(known))
    np.testing.assert_allclose(result.alpha, disc.alpha * own, atol=1e-6)


def test_the_remover_does_not_see_what_is_under_transparency(disc: Example) -> None:
    class Recorder(Remover):
        def predict_alpha(self, image: Image) -> Alpha:
            self.seen = image
            return np.ones(image.shape[:2], np.float32)

    recorder = Recorder(Params())
    own = np.ones((160, 200), np.float32)
    own[:, :50] = 0
    cut(Frame(disc.image, own), recorder, settings(recorder))
    assert (recorder.seen[:, :50] == 128).all()
    np.testing.assert_array_equal(recorder.seen[:, 50:], disc.image[:, 50:])


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((3, 3), np.float32),
        np.full((160, 200), 1.5, np.float32),
        np.full((160, 200), np.nan, np.float32),
        np.full((160, 200), 255, np.uint8),
    ],
)
def test_a_remover_that_breaks_its_promise_is_found_out(disc: Example, wrong: Any) -> None:
    class Broken(Remover):
        def predict_alpha(self, image: Image) -> Alpha:
            return wrong  # type: ignore[no-any-return]

    broken = Broken(Params())
    with pytest.raises(ImageError, match="alpha must"):
        cut(Frame(disc.image), broken, settings(broken))


def test_a_hint_needs_a_remover_that_takes_one(disc: Example) -> None:
    hint = np.full((160, 200), 128, np.uint8)
    contour = create_remover("contour")
    with pytest.raises(OptionError, match="this remover takes no hint; .*grabcut"):
        cut(Frame(disc.image), contour, settings(contour), hint=hint)
    hint[disc.alpha == 1], hint[disc.alpha == 0] = 255, 0
    grabcut = create_remover("grabcut", hint_as="scribbles")
    result = cut(Frame(disc.image), grabcut, settings(grabcut), hint=hint)
    assert (result.alpha[hint == 255] == 1).all() and not result.alpha[hint == 0].any()


# Outputs --------------------------------------------------------------------------------------------


@pytest.fixture
def result(disc: Example) -> Cut:
    return Cut(disc.image, disc.alpha, disc.foreground, 3)


@pytest.mark.parametrize("background", ["transparent", "white", "#ffffff80", "blur"])
@pytest.mark.parametrize("output", OUTPUTS)
def test_shapes_and_kinds(output: Output, background: str, result: Cut, known: KnownRemover) -> None:
    made = render(result, output, settings(known, background=background))
    assert made.dtype == np.uint8
    see_through = background in ("transparent", "#ffffff80")
    channels = {"cutout": 4, "mask": 1, "alpha": 1, "trimap": 1}.get(output, 4 if see_through else 3)
    assert made.shape[2:] == (() if channels == 1 else (channels,))
    if output == "crop":
        assert 100 <= made.shape[0] <= 110 and 100 <= made.shape[1] <= 110
    else:
        assert made.shape[:2] == (160, 200)
    asked = settings(known, background=background)
    assert asked.transparent(output) == (channels == 4)


def test_what_each_output_holds(disc: Example, result: Cut, known: KnownRemover) -> None:
    plain = settings(known)
    np.testing.assert_array_equal(render(result, "mask", plain) == 255, disc.alpha > 0.5)
    np.testing.assert_array_equal(render(result, "alpha", plain), np.rint(disc.alpha * 255))
    np.testing.assert_array_equal(render(result, "cutout", plain)[..., 3], np.rint(disc.alpha * 255))
    trimap = check_trimap(render(result, "trimap", plain), (160, 200))
    assert (disc.alpha[trimap == 255] == 1).all() and (disc.alpha[trimap == 0] == 0).all()
    white = render(result, "composite", settings(known, background="white")).astype(float)
    a = disc.alpha[..., None]
    assert np.abs(white - (a * disc.foreground + (1 - a) * 255)).max() <= 0.51


@pytest.mark.parametrize("output", OUTPUTS)
def test_cropping_is_a_window_of_the_whole(output: Output, result: Cut, known: KnownRemover) -> None:
    kind = "composite" if output == "crop" else output
    for background in ("white", "blur"):
        whole = render(result, kind, settings(known, background=background))
        part = render(result, output, settings(known, background=background, crop=True, padding=7))
        rows, columns = (
            np.flatnonzero((result.alpha > 0.1).any(1)),
            np.flatnonzero((result.alpha > 0.1).any(0)),
        )
        window = whole[rows[0] - 7 : rows[-1] + 8, columns[0] - 7 : columns[-1] + 8]
        if output == "trimap":
            assert part.shape == window.shape
        else:
            np.testing.assert_array_equal(part, window)


def test_sizes_are_limited_last(result: Cut, known: KnownRemover) -> None:
    for output in OUTPUTS:
        made = render(result, output, settings(known, background="red", size="50x30"))
        assert made.shape[0] <= 30 and made.shape[1] <= 50 and 30 in made.shape[:2]


def test_a_picture_as_background(disc: Example, result: Cut, known: KnownRemover) -> None:
    made = render(result, "composite", settings(known, background=disc.background))
    assert np.abs(made.astype(int) - disc.image).max() <= 1


# Settings -------------------------------------------------------------------------------------------


def test_without_output_the_background_decides(known: KnownRemover) -> None:
    assert settings(known).outputs == ("cutout",)
    assert settings(known, background="white").outputs == ("composite",)
    assert settings(known, background="white", output="cutout").outputs == ("cutout",)
    assert settings(known, output="mask,alpha,mask").outputs == ("mask", "alpha")
    with pytest.raises(OptionError, match="a composite needs a background; give one"):
        _ = settings(known, output="alpha,composite").outputs


def test_settings_of_a_built_remover_are_refused() -> None:
    remover = create_remover("contour", blur=3)
    with pytest.raises(OptionError, match="blur, canny_low belong to the remover, which is built already"):
        Settings.build(remover, blur=5, canny_low=3)
    made = Settings.build(remover, feather=2)
    assert made.remover is remover.params and made.refine == RefineParams(feather=2)


def test_a_preset_of_the_refinement_or_the_remover() -> None:
    assert Settings.build("grabcut", preset="hair").refine.edges == "closed-form"
    assert Settings.build("grabcut", preset="hair", edges="none").refine.edges == "none"
    assert Settings.build("contour", preset="use-default").remover.model_dump()["blur"] == 3
    with pytest.raises(OptionError, match="unknown preset 'use-default' for grabcut; known:"):
        Settings.build("grabcut", preset="use-default")


# Processing -----------------------------------------------------------------------------------------


def test_all_outputs_of_one_run(disc: Example, known: KnownRemover) -> None:
    done = process(disc.image, known, settings(known, output=",".join(OUTPUTS), background="blur"))
    assert list(done.frames) == OUTPUTS
    assert all(len(pictures) == 1 for pictures in done.frames.values())
    assert done.durations == [0] and done.notes == ()
    assert done.coverage == pytest.approx(disc.alpha.mean(), abs=1e-4)


def test_no_subject_says_so(known: KnownRemover) -> None:
    nothing = KnownRemover(np.zeros((20, 30), np.float32))
    done = process(np.zeros((20, 30, 3), np.uint8), nothing, settings(nothing), name="empty.png")
    assert done.notes == (
        "empty.png: the model KnownRemover found no subject, so the result is empty; try another model",
    )
    assert not done.frames["cutout"][0].any()


def test_some_frames_without_a_subject() -> None:
    class EveryOther(Remover):
        count = 0

        def predict_alpha(self, image: Image) -> Alpha:
            self.count += 1
            return np.full(image.shape[:2], self.count % 2, np.float32)

    frames = [PILImage.new("RGB", (20, 10), (index * 60, 0, 0)) for index in range(4)]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:], duration=[10, 20, 30, 40])
    remover = EveryOther(Params())
    done = process(file.getvalue(), remover, settings(remover), name="a.png")
    assert done.durations == [10, 20, 30, 40]
    assert [int(frame[0, 0, 3]) for frame in done.frames["cutout"]] == [255, 0, 255, 0]
    assert done.notes == ("a.png: no subject in 2 of 4 frames",)


def test_an_opened_picture_is_taken_too(disc: Example, known: KnownRemover) -> None:
    done = process(open_picture(disc.image), known, settings(known))
    assert done.frames["cutout"][0].shape == (160, 200, 4)


@pytest.mark.parametrize("name", ["contour", "grabcut"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (1, 500), (500, 1), (2, 30000), (30000, 2)])
def test_extreme_shapes_with_everything_on(name: str, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    everything: dict[str, Any] = {"keep_largest": True, "fill_holes": 1, "opening": 1, "feather": 2}
    for background in ("transparent", "blur", image[:1, :1]):
        built = Settings.build(name, background=background, crop=True, padding="10%", **everything)
        done = process(image, built.create_remover(), built)
        [[made]] = done.frames.values()
        assert made.dtype == np.uint8 and made.size


# Instances ------------------------------------------------------------------------------------------


def test_every_subject_by_itself() -> None:
    image, found = two_subjects()
    remover = Finding(found)
    done = process(image, remover, settings(remover, output="alpha,instances", edges="none"))
    assert list(done.frames) == ["alpha"]
    np.testing.assert_array_equal(done.frames["alpha"][0] > 0, found.alpha() > 0)
    person, table = done.instances
    assert (person.number, person.label, person.score) == (1, "person", 0.9)
    assert (table.number, table.label, table.box) == (2, "dining table", Box(60, 20, 90, 40))
    for one, segment in zip(done.instances, found.items, strict=True):
        assert one.pixels.shape == (60, 100, 4)
        np.testing.assert_array_equal(one.pixels[..., 3] > 0, segment.mask)
    assert tuple(person.pixels[30, 20]) == (230, 60, 40, 255)


def test_instances_follow_the_settings() -> None:
    image, found = two_subjects()
    remover = Finding(found, classes="dining table")
    cropped = process(image, remover, settings(remover, output="instances", crop=True, edges="none"))
    [table] = cropped.instances
    assert table.pixels.shape == (20, 30, 4) and (table.number, table.label) == (1, "dining table")
    white = process(image, remover, settings(remover, output="instances", background="white", size="50"))
    assert white.instances[0].pixels.shape == (30, 50, 3)
    assert tuple(white.instances[0].pixels[2, 2]) == (255, 255, 255)
    hidden = np.dstack([image, np.where(found.items[1].mask, 128, 255).astype(np.uint8)])
    [half] = process(hidden, remover, settings(remover, output="instances", edges="none")).instances
    assert half.pixels[30, 75, 3] == 128  # a picture's own transparency stays


def test_the_edges_of_each_instance_follow_its_own_grain() -> None:
    image, found = two_subjects()
    coarse = dataclasses.replace(found, items=(found.items[0], dataclasses.replace(found.items[1], grain=6)))
    remover = Finding(coarse)
    plan = settings(remover)
    bands = [single.band for _, single in cut_instances(frame_from_array(image), coarse, plan)]
    assert bands == [edge_radius(coarse.alpha(), 1), edge_radius(coarse.alpha(), 6)] and bands[1] == 9
    assert cut(frame_from_array(image), remover, plan).band == 9  # of both together, the coarser


def test_what_refinement_leaves_nothing_of_is_no_instance() -> None:
    image, found = two_subjects()
    speck = a_segment("dog", rectangle(60, 100, (0, 0, 2, 2)), 0.95)
    remover = Finding(dataclasses.replace(found, items=(speck, *found.items)))
    done = process(image, remover, settings(remover, output="instances", edges="none", opening=2))
    assert [(one.number, one.label) for one in done.instances] == [(1, "person"), (2, "dining table")]


def test_nothing_chosen_says_why() -> None:
    image, found = two_subjects()
    remover = Finding(found, classes="dog")
    done = process(image, remover, settings(remover, output="cutout,instances"), name="a.png")
    assert done.instances == () and not done.frames["cutout"][0].any()
    assert done.notes == (
        "a.png: the result is empty: nothing that was found fits classes dog; found, by number: 0 person "
        "0.90, 1 dining table 0.80",
    )


def test_instances_need_a_remover_that_tells_apart(known: KnownRemover) -> None:
    for model in ("lite", "grabcut", known):
        with pytest.raises(OptionError, match="instances need a model that .* as mask_rcnn_R_50_FPN_3x; "):
            Settings.build(model, output="cutout,instances")
    assert Settings.build("panoptic_fpn_R_50_3x", output="instances").instances


def test_instances_are_of_stills() -> None:
    image, found = two_subjects()
    file = io.BytesIO()
    frames = [PILImage.fromarray(image), PILImage.fromarray(image[::-1].copy())]
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    with pytest.raises(OptionError, match="a.png is animated; instances are made of still pictures only"):
        process(file.getvalue(), Finding(found), settings(Finding(found), output="instances"), name="a.png")

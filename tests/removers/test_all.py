"""What every remover that needs no download promises, by the table."""

from __future__ import annotations

import numpy as np
import pytest

from bgremove.arrays import Image
from bgremove.errors import BGRemoveError, DeviceError, OptionError, UnknownRemoverError
from bgremove.registry import ALIASES, REMOVERS, create_remover, remover_info
from bgremove.removers.base import Remover

BUILT_IN = [name for name, info in REMOVERS.items() if info.kind == "classical"]


def a_picture(kind: str, height: int, width: int) -> Image:
    if kind == "flat":
        return np.full((height, width, 3), 120, np.uint8)
    if kind == "noise":
        return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    rows, columns = np.mgrid[:height, :width]
    inside = (np.abs(rows - height / 2) < height / 4) & (np.abs(columns - width / 2) < width / 4)
    return np.where(inside[..., None], (240, 190, 30), (20, 40, 90)).astype(np.uint8)


@pytest.mark.parametrize("kind", ["flat", "noise", "square"])
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 70), (70, 1), (2, 3), (31, 200), (150, 120), (2, 30000), (30000, 2)]
)
@pytest.mark.parametrize("name", BUILT_IN)
def test_a_matte_of_the_pictures_size(name: str, shape: tuple[int, int], kind: str) -> None:
    image = a_picture(kind, *shape)
    before = image.copy()
    alpha = create_remover(name).predict_alpha(image)
    assert alpha.dtype == np.float32 and alpha.shape == shape
    assert alpha.min() >= 0 and alpha.max() <= 1
    np.testing.assert_array_equal(image, before)
    if kind == "flat":
        assert not alpha.any()


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_plain_subject_is_found(name: str) -> None:
    image = a_picture("square", 200, 260)
    truth = image[..., 0] > 100
    found = create_remover(name).predict_alpha(image) > 0.5
    assert (found & truth).sum() / (found | truth).sum() > 0.9


@pytest.mark.parametrize("name", BUILT_IN)
def test_one_remover_for_many_pictures(name: str) -> None:
    remover = create_remover(name)
    first, other = a_picture("square", 100, 130), a_picture("noise", 80, 70)
    alone = remover.predict_alpha(first)
    frames = list(remover.predict_alphas(iter([first, other, first])))
    assert [frame.shape for frame in frames] == [(100, 130), (80, 70), (100, 130)]
    np.testing.assert_array_equal(frames[0], alone)
    np.testing.assert_array_equal(frames[2], alone)


@pytest.mark.parametrize("name", BUILT_IN)
def test_grain_is_at_least_one(name: str) -> None:
    remover = create_remover(name)
    assert remover.grain(10, 10) == 1
    assert remover.grain(8000, 8000) > 1


@pytest.mark.parametrize("name", BUILT_IN)
def test_without_a_gpu_version_cuda_is_refused(name: str) -> None:
    with pytest.raises(DeviceError, match=f"{name} runs on the CPU only; .* --device cpu"):
        create_remover(name, device="cuda")
    with pytest.raises(DeviceError, match="device must be one of auto, cpu, cuda; got 'tpu'"):
        create_remover(name, device="tpu")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", REMOVERS)
def test_the_table_is_complete(name: str) -> None:
    info = REMOVERS[name]
    assert info.name == name
    assert info.summary and info.license and info.paper
    assert not info.summary.endswith(".")
    module, _, attribute = info.target.partition(":")
    assert issubclass(getattr(__import__(module, fromlist=[attribute]), attribute), Remover)
    assert (info.kind == "classical") == (info.weights is None and not info.needs_file)


def test_aliases_lead_somewhere() -> None:
    for alias, name in ALIASES.items():
        assert alias not in REMOVERS
        assert remover_info(alias) is REMOVERS[name]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("u2nte", "unknown remover 'u2nte'; did you mean 'u2net'"),
        ("grab-cut", "did you mean 'grabcut'"),
        ("zzz", "unknown remover 'zzz'; [Kk]nown: auto, lite, contour, grabcut"),
        ("", "unknown remover ''"),
        ("contour:file", "unknown remover 'contour:file'"),
    ],
)
def test_unknown_names_bring_the_nearest(name: str, sentence: str) -> None:
    with pytest.raises(UnknownRemoverError, match=sentence):
        create_remover(name)


def test_settings_as_an_object_or_by_name_but_not_both() -> None:
    params = REMOVERS["contour"].params(blur=3)
    assert create_remover("contour", params).params is params
    assert create_remover("contour", blur="3").params == params
    with pytest.raises(OptionError, match="not both; got ContourParams and blur"):
        create_remover("contour", params, blur=5)
    with pytest.raises(OptionError, match="grabcut takes params of type GrabCutParams.* got ContourParams"):
        create_remover("grabcut", params)
    with pytest.raises(OptionError, match="did you mean 'blur'"):
        create_remover("contour", blurr=3)


def test_the_interface_cannot_be_built() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Remover(REMOVERS["contour"].params())  # type: ignore[abstract]


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_is_no_image_is_refused(name: str) -> None:
    for wrong in (np.zeros((5, 6), np.uint8), np.zeros((5, 6, 4), np.uint8), np.zeros((5, 6, 3))):
        with pytest.raises(BGRemoveError, match="image must be uint8"):
            create_remover(name).predict_alpha(wrong)  # type: ignore[arg-type]

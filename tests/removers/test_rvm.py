"""Robust Video Matting, by a tiny network with its inputs, outputs and memory."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bgremove.registry
from bgremove.arrays import Image
from bgremove.errors import BGRemoveError, OptionError, WeightsError
from bgremove.registry import REMOVERS, create_remover
from bgremove.removers.rvm import RvmParams, RvmRemover
from tests.removers.onnx_models import identity
from tests.removers.rvm_model import rvm_model

NAMES = ("rvm-mobilenetv3", "rvm-resnet50")


@pytest.fixture
def picture() -> Image:
    return np.random.default_rng(1).integers(0, 256, (20, 31, 3), dtype=np.uint8)


def remover(path: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> RvmRemover:
    """That of the table's first row, for another file."""
    info = REMOVERS[NAMES[0]]
    assert info.weights is not None
    digest = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    row = replace(info, weights=replace(info.weights, digest=digest))
    monkeypatch.setitem(bgremove.registry.REMOVERS, NAMES[0], row)
    built = create_remover(NAMES[0], model_file=path, device="cpu", **settings)
    assert isinstance(built, RvmRemover)
    return built


@pytest.mark.parametrize("half", [False, True])
def test_frames_are_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Image, half: bool
) -> None:
    rvm = remover(rvm_model(tmp_path / "rvm.onnx", half=half), monkeypatch)
    assert rvm.remembers
    follow = rvm.follow()
    red = picture[..., 0] / 255
    expected = np.zeros_like(red)
    for frame in (picture, picture, picture[::-1].copy()):
        expected = (frame[..., 0] / 255 + expected) / 2
        found = follow(frame)
        assert found.alpha.dtype == np.float32
        assert found.alpha.shape == picture.shape[:2]
        np.testing.assert_allclose(found.alpha, expected, atol=2e-3 if half else 1e-6)
    np.testing.assert_allclose(rvm.follow()(picture).alpha, red / 2, atol=1e-3)  # a scene of its own


def test_two_videos_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Image) -> None:
    rvm = remover(rvm_model(tmp_path / "rvm.onnx"), monkeypatch)
    one, other = rvm.follow(), rvm.follow()
    white = np.full_like(picture, 255)
    one(white), other(np.zeros_like(picture))
    assert one(white).alpha.max() == pytest.approx(0.75)
    assert other(white).alpha.max() == pytest.approx(0.5)


def test_a_still_remembers_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Image) -> None:
    rvm = remover(rvm_model(tmp_path / "rvm.onnx"), monkeypatch)
    for _ in range(2):
        np.testing.assert_allclose(rvm.predict_alpha(picture), picture[..., 0] / 510, atol=1e-6)


def test_another_size_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Image) -> None:
    follow = remover(rvm_model(tmp_path / "rvm.onnx"), monkeypatch).follow()
    follow(np.full_like(picture, 255))
    turned = np.ascontiguousarray(picture.transpose(1, 0, 2))
    np.testing.assert_allclose(follow(turned).alpha, turned[..., 0] / 510, atol=1e-6)


def test_the_subjects_own_colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Image) -> None:
    path = rvm_model(tmp_path / "rvm.onnx")
    found = remover(path, monkeypatch).predict(picture)
    np.testing.assert_array_equal(found.foreground, picture[..., [1, 0, 2]])
    assert remover(path, monkeypatch, own_foreground=False).predict(picture).foreground is None


@pytest.mark.parametrize(
    ("size", "setting", "expected"),
    [
        ((1080, 1920), None, 512 / 1920),
        ((3840, 2160), None, 512 / 3840),
        ((240, 320), None, 1.0),
        ((1080, 1920), 0.25, 0.25),
        ((40, 320), 0.05, 0.4),
    ],
)
def test_the_ratio_goes_by_the_size(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int],
    setting: float | None,
    expected: float,
) -> None:
    rvm = remover(rvm_model(tmp_path / "rvm.onnx"), monkeypatch, downsample_ratio=setting)
    assert rvm.ratio(*size) == pytest.approx(expected)


def test_the_network_gets_the_ratio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Image) -> None:
    rvm = remover(rvm_model(tmp_path / "rvm.onnx"), monkeypatch, downsample_ratio=0.8)
    _, memory = rvm._run(picture, rvm._nothing())
    assert memory[2].ravel() == pytest.approx([0.8])
    _, memory = rvm._run(picture, memory)
    assert memory[3].ravel() == pytest.approx([2])


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (40, 3), (17, 33)])
def test_small_and_odd_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 255, np.uint8)
    follow = remover(rvm_model(tmp_path / "rvm.onnx"), monkeypatch).follow()
    follow(image)
    found = follow(image)
    assert found.alpha.shape == size
    assert found.foreground is not None and found.foreground.shape == image.shape
    np.testing.assert_allclose(found.alpha, 0.75)


@pytest.mark.parametrize("missing", ["r3i", "pha"])
def test_another_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    with pytest.raises(WeightsError, match=r"is not Robust Video Matting.*onnx:FILE"):
        remover(rvm_model(tmp_path / "rvm.onnx", without=missing), monkeypatch)
    with pytest.raises(WeightsError, match="expected inputs"):
        remover(identity(tmp_path / "other.onnx"), monkeypatch)


def test_nan_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Image) -> None:
    rvm = remover(rvm_model(tmp_path / "rvm.onnx", nan=True), monkeypatch)
    with pytest.raises(BGRemoveError, match="31x20 pixels .*NaN"):
        rvm.predict_alpha(picture)


def test_what_fails_inside_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Image) -> None:
    rvm = remover(rvm_model(tmp_path / "rvm.onnx"), monkeypatch)
    with pytest.raises(BGRemoveError, match="rvm-mobilenetv3 failed on a frame of 31x20 pixels"):
        rvm._run(picture, [np.zeros((1, 1, 7, 5), np.float32)] * 4)  # states of another size


@pytest.mark.parametrize("name", NAMES)
def test_the_rows(name: str, tmp_path: Path) -> None:
    info = REMOVERS[name]
    assert info.license.startswith("GPL-3.0")
    assert info.weights is not None and info.weights.file_name == name.replace("-", "_") + "_fp32.onnx"
    with pytest.raises(WeightsError, match="is not the published file"):
        create_remover(name, model_file=rvm_model(tmp_path / "rvm.onnx"))


def test_a_ratio_out_of_range() -> None:
    with pytest.raises(OptionError, match=r"downsample_ratio must be a number from 0.05 to 1; got 2"):
        RvmParams(downsample_ratio=2)

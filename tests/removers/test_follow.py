"""Networks that follow a video: the window for the closer look stays with the subject."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bgremove.arrays import Image
from bgremove.registry import create_remover
from bgremove.removers.base import enlarged
from bgremove.removers.onnx import OnnxRemover

pytest.importorskip("onnx", reason="needs the extra train")

from tests.removers import onnx_models as models  # noqa: E402

PLAIN: dict[str, Any] = {
    "mean": (0.0, 0.0, 0.0),
    "std": (1.0, 1.0, 1.0),
    "activation": "none",
    "input_size": 16,
}


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """What is red is the subject."""
    return models.conv(tmp_path / "net.onnx", [[1.0, 0.0, 0.0]])


def load(path: Path, **settings: Any) -> OnnxRemover:
    remover = create_remover(f"onnx:{path}", device="cpu", **PLAIN, **settings)
    assert isinstance(remover, OnnxRemover)
    return remover


def moving(frames: int, begin: int = 40, step: int = 2) -> Iterator[tuple[Image, npt.NDArray[np.bool_]]]:
    """A red disc of a twentieth of a black picture on its way to the right, and where it is."""
    y, x = np.mgrid[:160, :200]
    for number in range(frames):
        disc = (y - 70) ** 2 + (x - begin - step * number) ** 2 < 22**2
        yield (disc[..., None] * np.array([255, 0, 0])).astype(np.uint8), disc


def test_the_subject_is_seen_closer_while_it_moves(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    remover = load(network, closer=0.5)
    look = remover._look

    def counting(*args: Any) -> Any:
        nonlocal looks
        looks += 1
        return look(*args)

    monkeypatch.setattr(remover, "_look", counting)
    follow, errors, plain = remover.follow(), [], []
    for image, disc in moving(40):
        alpha = follow(image).alpha
        errors.append(float(np.abs(enlarged(alpha, *disc.shape) - disc).mean()))
        plain.append(float(np.abs(enlarged(look(image), *disc.shape) - disc).mean()))
    assert np.mean(errors) < 0.6 * np.mean(plain) and max(errors) < max(plain)
    assert 40 < looks <= 40 + 1 + 40 // 8  # the whole frame only now and then
    assert remover.remembers


def test_a_second_subject_that_appears_is_found(network: Path) -> None:
    follow = load(network, closer=0.5).follow()
    first, one = next(moving(1))
    second, other = next(moving(1, begin=160))
    for _ in range(4):
        follow(first)
    both = one | other
    found = []
    for _ in range(20):
        alpha = enlarged(follow(first | second).alpha, *both.shape) > 0.5
        found.append((alpha & both).sum() / (alpha | both).sum())
    assert found[0] < 0.6 and min(found[8:]) > 0.9


def test_a_subject_that_jumps_is_found_at_once(network: Path) -> None:
    follow = load(network, closer=0.5).follow()
    for image, _ in moving(4, step=0):
        follow(image)
    image, disc = next(moving(1, begin=160))
    assert np.abs(enlarged(follow(image).alpha, *disc.shape) - disc).mean() < 0.05


def test_a_subject_that_is_gone_is_gone(network: Path) -> None:
    follow = load(network, closer=0.5).follow()
    for image, _ in moving(10, step=0):
        follow(image)
    assert not follow(np.zeros((160, 200, 3), np.uint8)).alpha.any()


def test_without_a_closer_look_frames_are_independent(network: Path) -> None:
    remover = load(network, closer=0)
    follow = remover.follow()
    frames = [image for image, _ in moving(6)]
    there = [follow(image).alpha for image in frames]
    back = [follow(image).alpha for image in frames[::-1]]
    assert not remover.remembers and there[0].shape == (16, 16)
    for one, other in zip(there, back[::-1], strict=True):
        np.testing.assert_array_equal(one, other)


def test_predict_alphas_gives_the_frames_size(network: Path) -> None:
    remover = load(network, closer=0.5)
    alphas = list(remover.predict_alphas(image for image, _ in moving(4)))
    assert [alpha.shape for alpha in alphas] == [(160, 200)] * 4


def test_frames_of_another_size_begin_anew(network: Path) -> None:
    follow = load(network, closer=0.5).follow()
    for image, _ in moving(3):
        follow(image)
    assert follow(np.zeros((90, 50, 3), np.uint8)).alpha.shape == (90, 50)

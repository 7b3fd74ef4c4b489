"""The network that comes with the package: the file, and what it finds in the sample photographs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import bgremove
from bgremove.demo import sample_path
from bgremove.errors import WeightsError
from bgremove.registry import ALIASES, REMOVERS
from bgremove.weights import fetch_weights, is_downloaded, weights_path

WEIGHTS = REMOVERS["lite"].weights
# (row, column) shares of the photo that belong to the subject, and that do not.
POINTS = {
    "astronaut": ([(0.25, 0.44), (0.6, 0.5), (0.85, 0.2)], [(0.05, 0.9), (0.3, 0.85), (0.1, 0.25)]),
    "coffee": ([(0.3, 0.5), (0.5, 0.35), (0.75, 0.5)], [(0.04, 0.04), (0.95, 0.95), (0.05, 0.95)]),
    "cat": ([(0.5, 0.5), (0.35, 0.38), (0.6, 0.6)], [(0.9, 0.95), (0.95, 0.05)]),
}


def test_it_is_the_default_and_small() -> None:
    assert ALIASES["auto"] == "lite"
    assert WEIGHTS is not None and WEIGHTS.packaged and is_downloaded(WEIGHTS)
    path = fetch_weights(WEIGHTS, name="lite")  # checks its digest
    assert path.parent == sample_path("")
    assert path.stat().st_size <= 5_000_000
    assert round(path.stat().st_size / 1e6, 1) == WEIGHTS.size_mb


def test_it_works_without_a_network_and_without_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BGREMOVE_HOME", str(tmp_path / "none"))
    remover = bgremove.create_remover()
    assert remover.predict_alpha(np.zeros((20, 30, 3), np.uint8)).shape == (20, 30)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", POINTS)
def test_it_finds_the_subjects_of_the_samples(name: str) -> None:
    image = bgremove.read_image(sample_path(f"{name}.jpg"))
    alpha = bgremove.remove(image, output="alpha")
    height, width = alpha.shape
    inside, outside = POINTS[name]
    assert [alpha[int(y * height), int(x * width)] > 230 for y, x in inside] == [True] * len(inside)
    assert [alpha[int(y * height), int(x * width)] < 25 for y, x in outside] == [True] * len(outside)


def test_a_file_that_was_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert WEIGHTS is not None
    changed = tmp_path / "lite.onnx"
    data = bytearray(weights_path(WEIGHTS).read_bytes())
    data[len(data) // 2] ^= 1
    changed.write_bytes(data)
    monkeypatch.setattr("bgremove.weights.weights_path", lambda _: changed)
    with pytest.raises(WeightsError, match="is not the file that came with bgremove.*install bgremove again"):
        bgremove.create_remover("lite")
    changed.unlink()
    with pytest.raises(WeightsError, match="is missing, which comes with bgremove; install bgremove again"):
        bgremove.create_remover("lite")


def test_a_file_in_its_place_must_be_the_same(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no model file .*; lite comes with bgremove"):
        bgremove.create_remover("lite", model_file=tmp_path / "none.onnx")
    (tmp_path / "other.onnx").write_bytes(b"other")
    with pytest.raises(WeightsError, match="a network of your own goes as onnx:"):
        bgremove.create_remover("lite", model_file=tmp_path / "other.onnx")


def test_the_model_card_says_what_a_user_must_know() -> None:
    card = sample_path("lite.md").read_text("utf-8")
    for heading in ("Data", "Recipe", "Figures", "Weaknesses", "Not to be used for"):
        assert re.search(rf"^## {heading}", card, flags=re.MULTILINE), heading
    assert WEIGHTS is not None and WEIGHTS.digest in card
    assert "bgremove evaluate " in card and "bash benchmarks/train_lite.sh " in card
    recipe = Path(__file__).parents[2] / "benchmarks" / "train_lite.sh"
    assert all(f"bgremove {step} " in recipe.read_text("utf-8") for step in ("data", "train", "export"))

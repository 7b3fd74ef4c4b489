"""Several pictures in one run of a network."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from bgremove.arrays import Image
from bgremove.errors import BGRemoveError
from bgremove.registry import create_remover
from bgremove.removers.onnx import OnnxRemover
from bgremove.removers.together import Together, run_together
from tests.removers.onnx_models import conv, save

SEVERAL: Sequence[int | str] = ("batch", 3, 16, 16)
GREY = [[0.3, 0.3, 0.3]]


def load(path: Path) -> OnnxRemover:
    remover = create_remover(f"onnx:{path}", device="cpu", mean=(0, 0, 0), std=(1, 1, 1), activation="none")
    assert isinstance(remover, OnnxRemover)
    return remover


def pictures(count: int) -> list[Image]:
    return [np.full((20, 30, 3), 10 + 200 * n // count, np.uint8) for n in range(count)]


class Slow:
    """A session that takes its time, and remembers how many pictures came at once."""

    def __init__(self, session: Any, seconds: float = 0.05) -> None:
        self._session, self._seconds = session, seconds
        self.runs: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, outputs: Any, feeds: dict[str, Any], options: Any = None) -> Any:
        [blob] = feeds.values()
        self.runs.append(len(blob))
        time.sleep(self._seconds)
        return self._session.run(outputs, feeds, options)


def test_those_that_wait_go_together_and_get_their_own(tmp_path: Path) -> None:
    remover = load(conv(tmp_path / "several.onnx", GREY, shape=SEVERAL))
    expected = [remover.predict_alpha(one) for one in pictures(12)]
    slow = Slow(remover._session)
    remover._session = Together(slow, 4)
    barrier = threading.Barrier(12)

    def work(image: Image) -> Any:
        barrier.wait()
        return remover.predict_alpha(image)

    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(work, pictures(12)))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert sum(slow.runs) == 12 and max(slow.runs) == 4 and len(slow.runs) <= 5


@pytest.mark.parametrize("most", [0, 1])
def test_what_fails_together_is_tried_alone(tmp_path: Path, most: int) -> None:
    remover = load(conv(tmp_path / "several.onnx", GREY, shape=SEVERAL))
    expected = [remover.predict_alpha(one) for one in pictures(4)]

    class Small(Slow):
        def run(self, outputs: Any, feeds: dict[str, Any], options: Any = None) -> Any:
            answer = super().run(outputs, feeds, options)
            if self.runs[-1] > most:
                raise RuntimeError("[ONNXRuntimeError] : 6 : FAIL : out of memory")
            return answer

    slow = Small(remover._session)
    remover._session = Together(slow, 8)
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(remover.predict_alpha, one) for one in pictures(4)]
        errors = [future.exception(20) for future in futures]
    assert max(slow.runs) > 1
    if most:
        np.testing.assert_allclose([future.result() for future in futures], expected, atol=1e-6)
    else:
        assert all(isinstance(one, BGRemoveError) and "out of memory" in str(one) for one in errors)


def mixed(path: Path) -> Path:
    """Lets the number be chosen, but takes the mean over all pictures."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[0, 1], keepdims=1),
        helper.make_node("Sub", ["x", "m"], ["z"]),
        helper.make_node("ReduceMean", ["z"], ["y"], axes=[1], keepdims=1),
    ]
    return save(path, nodes, shape=SEVERAL)


def only_one(path: Path) -> Path:
    """Lets the number be chosen, but fails with two."""
    nodes = [
        helper.make_node("Reshape", ["x", "one"], ["z"]),
        helper.make_node("ReduceMean", ["z"], ["y"], axes=[1], keepdims=1),
    ]
    return save(path, nodes, shape=SEVERAL, constants={"one": np.array([1, 3, 16, 16])})


@pytest.mark.parametrize("kind", ["several", "fixed", "mixed", "only one", "half"])
def test_only_networks_that_keep_pictures_apart(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "network.onnx"
    match kind:
        case "several":
            conv(path, GREY, shape=SEVERAL)
        case "fixed":
            conv(path, GREY, shape=(1, 3, 16, 16))
        case "mixed":
            mixed(path)
        case "only one":
            only_one(path)
        case "half":
            nodes = [helper.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=1)]
            save(path, nodes, shape=SEVERAL, dtype=TensorProto.FLOAT16)
    remover = run_together(load(path), 4, on_cpu=True)
    assert isinstance(remover._session, Together) == (kind in ("several", "half"))
    assert remover.predict_alpha(pictures(2)[1]).shape == (20, 30)


def test_the_shipped_network_takes_several(tmp_path: Path) -> None:
    remover = create_remover("lite")
    assert isinstance(remover, OnnxRemover)
    photos = [
        np.roll(np.tile(np.arange(240, dtype=np.uint8)[:, None, None], (1, 200, 3)), n) for n in (0, 90)
    ]
    expected = [remover.predict_alpha(one) for one in photos]
    assert isinstance(run_together(remover, 2, on_cpu=True)._session, Together)
    with ThreadPoolExecutor(2) as pool:
        np.testing.assert_allclose(list(pool.map(remover.predict_alpha, photos)), expected, atol=0.02)


def test_left_alone_on_a_cpu_for_one_worker_and_for_what_is_no_network(tmp_path: Path) -> None:
    remover = load(conv(tmp_path / "several.onnx", GREY, shape=SEVERAL))
    assert not isinstance(run_together(remover, 8)._session, Together)
    assert not isinstance(run_together(remover, 1, on_cpu=True)._session, Together)
    contour = create_remover("contour")
    assert run_together(contour, 8, on_cpu=True) is contour

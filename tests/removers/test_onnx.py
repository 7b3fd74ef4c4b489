"""Networks in ONNX files: preparation, answers of every shape, metadata, devices, and refusals."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from bgremove.arrays import Alpha, Image
from bgremove.errors import BGRemoveError, BGRemoveWarning, DeviceError, ImageError, OptionError, WeightsError
from bgremove.registry import REMOVERS, create_remover, remover_params
from bgremove.removers import onnx as module
from bgremove.removers.base import RemoverInfo
from bgremove.removers.onnx import OnnxParams, OnnxRemover, from_metadata, to_metadata
from bgremove.weights import Weights, weights_path

pytest.importorskip("onnx", reason="needs the extra train")

import onnx  # noqa: E402
from onnx import TensorProto, helper  # noqa: E402

from tests.removers import onnx_models as models  # noqa: E402

PLAIN: dict[str, Any] = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "activation": "none"}
RED, GREEN, BLUE = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]
NETWORKS = [info for info in REMOVERS.values() if info.kind == "network" and info.params is OnnxParams]
SHARED = Path(__file__).resolve().parents[3] / "shared"


def load(path: Path, **settings: Any) -> OnnxRemover:
    remover = create_remover(f"onnx:{path}", device="cpu", **settings)
    assert isinstance(remover, OnnxRemover)
    return remover


def noise(height: int, width: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


# What is done with the answer


def small_subject() -> tuple[Image, npt.NDArray[np.bool_]]:
    """A red disc of a twentieth of a black picture, and where it is."""
    y, x = np.mgrid[:160, :200]
    disc = (y - 70) ** 2 + (x - 120) ** 2 < 22**2
    return (disc[..., None] * np.array([255, 0, 0])).astype(np.uint8), disc


def test_a_closer_look_sharpens_a_small_subject(path: Path) -> None:
    models.conv(path, [RED])
    image, disc = small_subject()
    once, twice = (
        load(path, input_size=16, closer=share, **PLAIN).predict_alpha(image) for share in (0, 0.5)
    )
    assert twice.shape == disc.shape and twice.dtype == np.float32
    error = [float(np.abs(alpha - disc).mean()) for alpha in (once, twice)]
    assert error[1] < 0.7 * error[0]
    far = cv2.dilate(disc.astype(np.uint8), np.ones((41, 41), np.uint8)) == 0
    np.testing.assert_array_equal(twice[far], once[far])


def test_a_closer_look_is_only_for_what_is_smaller_than_its_share(path: Path) -> None:
    models.conv(path, [RED])
    image, _ = small_subject()
    once = load(path, input_size=16, **PLAIN).predict_alpha(image)
    np.testing.assert_array_equal(load(path, input_size=16, closer=0.05, **PLAIN).predict_alpha(image), once)
    empty = np.zeros_like(image)
    assert not load(path, input_size=16, closer=1, **PLAIN).predict_alpha(empty).any()


def test_a_closer_look_at_something_else_is_not_taken(path: Path) -> None:
    """The network finds red, unless a good part of what it sees is red."""
    red = [
        helper.make_node("Conv", ["x", "w"], ["red"]),
        helper.make_node("ReduceMean", ["red"], ["mean"], axes=[2, 3]),
        helper.make_node("Sub", ["mean", "little"], ["above"]),
        helper.make_node("Relu", ["above"], ["much"]),
        helper.make_node("Mul", ["much", "ten"], ["off"]),
        helper.make_node("Sub", ["red", "off"], ["y"]),
    ]
    kernel = np.asarray([RED], np.float32)[:, :, None, None]
    models.save(path, red, constants={"w": kernel, "little": np.float32(0.2), "ten": np.float32(10)})
    image, disc = small_subject()
    once, twice = (
        load(path, input_size=16, closer=share, **PLAIN).predict_alpha(image) for share in (0, 0.5)
    )
    assert once[disc].mean() > 0.7
    np.testing.assert_allclose(twice, once, atol=1e-6)


def test_colours_decide_doubts(path: Path) -> None:
    """Red is the subject; for a red that is slightly greener the network itself says 0.4."""
    models.conv(path, [[0.95, -14.0, 0.05]])
    image = np.zeros((32, 32, 3), np.uint8)
    image[...] = (0, 0, 255)
    image[8:24, 4:20] = (255, 0, 0)
    image[8:24, 20:28] = (255, 10, 0)
    plain, helped = (load(path, input_size=32, colours=c, **PLAIN).predict_alpha(image) for c in (0, 0.5))
    assert plain[10:22, 22:26].max() < 0.45 and helped[10:22, 22:26].min() > 0.6
    assert plain[:6].max() < 0.1 and helped[:6].max() < 0.05


def test_a_file_can_ask_for_both(path: Path) -> None:
    remover = load(models.identity(path, metadata={"bgremove.colours": "0.5", "bgremove.closer": "0.25"}))
    params = remover.params
    assert isinstance(params, OnnxParams)
    assert (params.colours, params.closer) == (0.5, 0.25)
    params = load(path, colours=0).params
    assert isinstance(params, OnnxParams)
    assert (params.colours, params.closer) == (0, 0.25)


# Preparation


@pytest.mark.parametrize("channels_first", [True, False])
@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("colour", [0, 1, 2])
def test_normalisation_is_x_minus_mean_over_std(
    path: Path, colour: int, order: str, channels_first: bool
) -> None:
    shape = (1, 3, 16, 16) if channels_first else (1, 16, 16, 3)
    models.identity(path, shape=shape)
    mean, std = (0.1, 0.2, 0.3), (2.0, 3.0, 4.0)
    image = noise(16, 16)
    remover = load(path, mean=mean, std=std, channel_order=order, activation="none", output_channel=colour)
    seen = image[..., ::-1] if order == "bgr" else image
    expected = np.clip((seen[..., colour] / 255.0 - mean[colour]) / std[colour], 0, 1)
    np.testing.assert_allclose(remover.predict_alpha(image), expected, atol=1e-6)


def test_imagenet_is_the_fallback(path: Path) -> None:
    models.conv(path, [RED], then="Sigmoid", shape=(1, 3, 8, 8))
    image = noise(8, 8)
    expected = 1 / (1 + np.exp(-(image[..., 0] / 255.0 - 0.485) / 0.229))
    np.testing.assert_allclose(load(path).predict_alpha(image), expected, atol=1e-4)


def test_settings_in_the_scale_of_255_can_be_said(path: Path) -> None:
    """The published SINet's preparation, as the module's docstring writes it."""
    models.identity(path, shape=(1, 3, 8, 8))
    m, s = np.array([107.3, 115.7, 132.4]), (64.0, 65.1, 68.3)
    image = noise(8, 8)
    for channel in range(3):
        remover = load(
            path,
            mean=tuple(m / 255),
            std=s,
            channel_order="bgr",
            output_channel=channel,
            activation="sigmoid",
        )
        x = (image[..., ::-1].astype(float) - m) / s / 255
        np.testing.assert_allclose(
            remover.predict_alpha(image), 1 / (1 + np.exp(-x[..., channel])), atol=1e-6
        )


def test_shrinking_averages_areas(path: Path) -> None:
    models.conv(path, [GREEN], shape=(1, 3, 8, 8))
    for factor in (3, 4, 16):
        image = noise(8 * factor, 8 * factor)
        averages = image[..., 1].reshape(8, factor, 8, factor).mean(axis=(1, 3)) / 255
        expected = cv2.resize(averages, image.shape[:2], interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(load(path, **PLAIN).predict_alpha(image), expected, atol=0.006)


@pytest.mark.parametrize("size", [(1023, 769), (1022, 770), (1024, 768)])
def test_a_large_photo_lines_up(path: Path, size: tuple[int, int]) -> None:
    """Halving first must not shift the subject."""
    models.conv(path, [GREEN], shape=(1, 3, 64, 64))
    image = np.zeros((*size, 3), np.uint8)
    cv2.circle(image, (300, 600), 200, (0, 255, 0), -1)
    alpha = load(path, **PLAIN).predict_alpha(image)
    y, x = np.mgrid[: size[0], : size[1]]
    assert (alpha * x).sum() / alpha.sum() == pytest.approx(300, abs=0.1)
    assert (alpha * y).sum() / alpha.sum() == pytest.approx(600, abs=0.1)
    assert np.abs(alpha - image[..., 1] / 255).mean() < 0.02


@pytest.mark.parametrize(("given", "size"), [({}, 320), ({"input_size": 64}, 64)])
def test_a_network_of_any_size(path: Path, given: dict[str, int], size: int) -> None:
    remover = load(models.conv(path, [RED], then="Sigmoid"), **given)
    assert remover.grain(10 * size, size) == 10
    assert remover.grain(1, 1) == 1
    assert remover.predict_alpha(noise(50, 70)).shape == (50, 70)


def test_a_network_of_one_size(path: Path) -> None:
    models.conv(path, [RED], then="Sigmoid", shape=(1, 3, 16, 32))
    assert load(path).grain(160, 160) == 10
    with pytest.raises(OptionError, match="input_size must be left out.*32x16.*got 64"):
        load(path, input_size=64)
    models.conv(path, [RED], then="Sigmoid", shape=(1, 3, 32, 32))
    load(path, input_size=32)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3000, 2), (2, 3000), (16, 16), (17, 300)])
def test_every_size_of_photo(path: Path, size: tuple[int, int]) -> None:
    models.conv(path, [RED], then="Sigmoid", shape=(1, 3, 16, 16))
    alpha = load(path).predict_alpha(noise(*size))
    assert alpha.dtype == np.float32 and alpha.shape == size
    assert 0 <= alpha.min() <= alpha.max() <= 1


def test_half_precision(path: Path) -> None:
    models.identity(path, shape=(1, 3, 8, 8), dtype=TensorProto.FLOAT16)
    image = noise(8, 8)
    alpha = load(path, **PLAIN, output_channel=2).predict_alpha(image)
    assert alpha.dtype == np.float32
    np.testing.assert_allclose(alpha, image[..., 2] / 255, atol=0.001)


def test_what_is_no_photo_is_refused(path: Path) -> None:
    remover = load(models.conv(path, [RED], then="Sigmoid"))
    with pytest.raises(ImageError, match="uint8"):
        remover.predict_alpha(np.zeros((4, 4), np.float64))


# Answers


@pytest.mark.parametrize(
    ("axes", "shape"),
    [((0, 1, 2, 3), (1, 2, 8, 9)), ((0, 2, 3, 1), (1, 8, 9, 2))],
    ids=["channels first", "channels last"],
)
def test_the_second_of_two_channels_is_the_subject(
    path: Path, axes: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    nodes = [
        helper.make_node("Slice", ["x", "from", "to", "axis"], ["two"]),
        helper.make_node("Transpose", ["two"], ["y"], perm=axes),
    ]
    constants = {"from": np.array([1]), "to": np.array([3]), "axis": np.array([1])}
    models.save(path, nodes, constants=constants, shape=(1, 3, 8, 9))
    image = noise(8, 9)
    assert onnxruntime.InferenceSession(path).run(None, {"x": np.zeros((1, 3, 8, 9), np.float32)})[
        0
    ].shape == (shape)
    np.testing.assert_allclose(load(path, **PLAIN).predict_alpha(image), image[..., 2] / 255, atol=1e-6)
    first = load(path, **PLAIN, output_channel=0).predict_alpha(image)
    np.testing.assert_allclose(first, image[..., 1] / 255, atol=1e-6)


def test_an_answer_without_a_channel_axis(path: Path) -> None:
    nodes = [helper.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=0)]
    models.save(path, nodes, shape=(1, 3, 8, 8))
    image = noise(8, 8)
    np.testing.assert_allclose(load(path, **PLAIN).predict_alpha(image), image.mean(2) / 255, atol=1e-6)


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_softmax_over_channels(path: Path, channel: int) -> None:
    models.identity(path, shape=(1, 3, 8, 8))
    image = noise(8, 8)
    remover = load(path, mean=(0.5, 0.4, 0.3), std=(0.01, 0.002, 0.1), activation="softmax",
                   output_channel=channel)  # fmt: skip
    x = (image / 255.0 - (0.5, 0.4, 0.3)) / (0.01, 0.002, 0.1)
    power = np.exp(x - x.max(2, keepdims=True))
    expected = power[..., channel] / power.sum(2)
    np.testing.assert_allclose(remover.predict_alpha(image), expected, atol=2e-5)


def test_huge_logits_do_not_overflow(path: Path) -> None:
    models.conv(path, [[1e9, 0.0, 0.0]], [-5e8], shape=(1, 3, 8, 8))
    alpha = load(path, **PLAIN | {"activation": "sigmoid"}).predict_alpha(noise(8, 8))
    assert set(np.unique(alpha)) == {0, 1}


@pytest.mark.parametrize(
    ("weights", "then", "expected"),
    [
        ([RED], "Sigmoid", "none"),
        ([[9.0, 0, 0]], "", "sigmoid"),
        ([[-9.0, 0, 0], [9.0, 0, 0]], "", "softmax"),
    ],
)
def test_auto_activation_is_found_by_a_test_run_and_said(
    path: Path, weights: list[list[float]], then: str, expected: str
) -> None:
    remover = load(models.conv(path, weights, then=then, shape=(1, 3, 16, 16)))
    assert remover.params.activation == expected
    assert remover.note == f"runs on the CPU, as asked; activation {expected}, found by a test run"


@pytest.mark.parametrize(("which", "colour"), [("0", 0), (1, 1), ("green", 1), ("red", 0), (None, 0)])
def test_outputs_by_number_and_name(path: Path, which: str | int | None, colour: int) -> None:
    nodes = [
        helper.make_node("Split", ["x", "sizes"], ["red", "green", "blue"], axis=1),
    ]
    models.save(
        path, nodes, constants={"sizes": np.array([1, 1, 1])}, outputs=("red", "green", "blue"),
        shape=(1, 3, 8, 8),
    )  # fmt: skip
    image = noise(8, 8)
    alpha = load(path, **PLAIN, network_output=which).predict_alpha(image)
    np.testing.assert_allclose(alpha, image[..., colour] / 255, atol=1e-6)
    with pytest.raises(OptionError, match="network_output must be 0 to 2 or one of red, green, blue.*got 3"):
        load(path, network_output="3")


def test_stretch_is_only_done_by_name(path: Path) -> None:
    models.conv(path, [RED], shape=(1, 3, 8, 8))
    image = np.full((8, 8, 3), 51, np.uint8)
    image[2:5, 2:5] = 102
    plain = load(path, **PLAIN).predict_alpha(image)
    assert plain.min() == pytest.approx(0.2) and plain.max() == pytest.approx(0.4)
    stretched = load(path, **PLAIN, stretch=True).predict_alpha(image)
    np.testing.assert_allclose(stretched, (plain - 0.2) / 0.2, atol=1e-6)


def test_a_flat_answer_stretches_to_nothing(path: Path) -> None:
    models.conv(path, [RED], shape=(1, 3, 8, 8))
    flat = np.full((9, 9, 3), 128, np.uint8)
    assert not load(path, **PLAIN, stretch=True).predict_alpha(flat).any()
    assert load(path, **PLAIN).predict_alpha(flat) == pytest.approx(128 / 255)


def test_nan_is_an_error_not_a_picture(path: Path) -> None:
    models.save(path, [helper.make_node("Log", ["x"], ["y"])], shape=(1, 3, 8, 8))
    remover = load(path, mean=(0.5, 0.5, 0.5), std=(1, 1, 1), activation="softmax", output_channel=0)
    with pytest.raises(BGRemoveError, match="NaN or infinite"):
        remover.predict_alpha(noise(8, 8))


def test_more_channels_need_a_choice(path: Path) -> None:
    models.identity(path, shape=(1, 3, 8, 8))
    for given, got in (({}, "none"), ({"output_channel": 3}, "3")):
        with pytest.raises(OptionError, match=f"output_channel must be .* from 0 to 2 .* got {got}"):
            load(path, **PLAIN, **given).predict_alpha(noise(8, 8))


def test_softmax_of_one_channel_is_refused(path: Path) -> None:
    models.conv(path, [RED], shape=(1, 3, 8, 8))
    with pytest.raises(OptionError, match="take sigmoid or none"):
        load(path, **PLAIN | {"activation": "softmax"}).predict_alpha(noise(8, 8))


def test_a_list_of_boxes_is_no_matte(path: Path) -> None:
    """What a detector gives has three axes too."""
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    models.save(path, nodes, constants={"shape": np.array([1, 48, 4])}, shape=(1, 3, 8, 8))
    with pytest.raises(BGRemoveError, match=r"shape \(1, 48, 4\).* as 8 to 8"):
        load(path, **PLAIN).predict_alpha(noise(8, 8))


@pytest.mark.parametrize("axes", [[2, 3], [0]])
def test_an_answer_that_is_no_matte_is_refused(path: Path, axes: list[int]) -> None:
    models.save(
        path, [helper.make_node("ReduceMean", ["x"], ["y"], axes=axes, keepdims=0)], shape=(1, 3, 8, 8)
    )
    with pytest.raises(BGRemoveError, match=r"shape \(.*choose another network_output"):
        load(path, **PLAIN).predict_alpha(noise(8, 8))


def test_a_network_that_fails_says_so(path: Path) -> None:
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    models.save(path, nodes, constants={"shape": np.array([1, 3, 32, 32])})
    with pytest.raises(BGRemoveError, match="failed on an input of 64x64 pixels.*another input_size"):
        load(path, **PLAIN, input_size=64).predict_alpha(noise(8, 8))


def test_threads_can_share_a_remover(path: Path) -> None:
    remover = load(models.conv(path, [RED], shape=(1, 3, 32, 32)), **PLAIN)
    images = [noise(40, 50, seed) for seed in range(12)]
    alone = [remover.predict_alpha(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(remover.predict_alpha, images))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


# Settings that a file carries


STORED = {
    "bgremove.input_size": "24",
    "bgremove.mean": "0.1,0.2,0.3",
    "bgremove.std": "2,3,4",
    "bgremove.channel_order": "bgr",
    "bgremove.network_output": "y",
    "bgremove.output_channel": "2",
    "bgremove.activation": "none",
    "bgremove.note": "ignored",
    "author": "ignored",
}


def test_a_file_carries_its_settings(path: Path) -> None:
    remover = load(models.identity(path, metadata=STORED))
    assert remover.params == OnnxParams(
        input_size=24,
        mean=(0.1, 0.2, 0.3),
        std=(2, 3, 4),
        channel_order="bgr",
        network_output="y",
        output_channel=2,
        activation="none",
        colours=0,
        closer=0,
    )
    assert remover.grain(48, 24) == 2


def test_the_user_wins_over_the_file(path: Path) -> None:
    models.identity(path, metadata=STORED)
    remover = load(path, channel_order="rgb", mean=(0.0, 0.0, 0.0), std="1,1,1", input_size=8)
    image = noise(8, 8)
    np.testing.assert_allclose(remover.predict_alpha(image), image[..., 2] / 255, atol=1e-6)


def test_a_form_that_sends_every_default_leaves_the_file_its_say(path: Path) -> None:
    models.identity(path, metadata=STORED)
    assert load(path, **OnnxParams().model_dump()).params == load(path).params


def test_bad_settings_in_a_file_are_told(path: Path) -> None:
    models.identity(path, metadata={"bgremove.mean": "0.1,0.2"})
    with pytest.raises(WeightsError, match="carries settings that cannot be used: mean must be 3 numbers"):
        load(path)


def test_metadata_round_trip() -> None:
    params = OnnxParams(mean=(0.5, 0.25, 1e-9), std=(1, 2, 3), input_size=256, activation="sigmoid")
    assert from_metadata(to_metadata(params)) == params
    assert to_metadata(OnnxParams()) == {}
    assert to_metadata(params)["bgremove.mean"] == "0.5,0.25,1e-09"


def test_std_must_be_positive() -> None:
    with pytest.raises(OptionError, match="std must be 3 numbers above 0; got 1.0, 0.0, 1.0"):
        OnnxParams(std=(1, 0, 1))


# Files


def test_a_file_is_needed() -> None:
    with pytest.raises(OptionError, match="onnx needs a model file"):
        create_remover("onnx")


def test_model_file_is_the_same_as_the_name(path: Path) -> None:
    models.conv(path, [RED], then="Sigmoid")
    image = noise(9, 9)
    np.testing.assert_array_equal(
        create_remover("onnx", model_file=path, device="cpu").predict_alpha(image),
        load(path).predict_alpha(image),
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "there is no model file"), (b"", "cannot be used as an ONNX network"),
     (b"GIF89a" * 50, "cannot be used as an ONNX network")],
)  # fmt: skip
def test_a_file_that_is_no_network(
    path: Path, content: bytes | None, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=reason):
        load(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("location", ["../weights.bin", "{parent}/weights.bin", "missing.bin"])
def test_weights_outside_the_files_folder_are_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "in").mkdir()
    path = models.conv(tmp_path / "in" / "net.onnx", [RED], shape=(1, 3, 8, 8))
    np.asarray(RED, np.float32).tofile(tmp_path / "weights.bin")
    model = onnx.load(str(path))
    tensor = next(t for t in model.graph.initializer if t.name == "w")
    onnx.external_data_helper.set_external_data(tensor, location.format(parent=tmp_path))
    tensor.ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    with pytest.raises(WeightsError, match="cannot be used as an ONNX network: External data path"):
        load(path)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"inputs": ("x", "state")}, r"takes 2 inputs \(x, state\)"),
        ({"shape": (1, 1, 8, 8)}, r"shape \(1, 1, 8, 8\)"),
        ({"shape": (4, 3, 8, 8)}, r"shape \(4, 3, 8, 8\)"),
        ({"shape": (1, 3)}, r"shape \(1, 3\)"),
        ({"dtype": TensorProto.INT32}, r"takes tensor\(int32\)"),
    ],
)
def test_networks_that_take_something_else(path: Path, options: dict[str, Any], reason: str) -> None:
    models.identity(path, **options)
    with pytest.raises(WeightsError, match=reason):
        load(path)


def test_networks_that_give_labels(path: Path) -> None:
    models.save(path, [helper.make_node("ArgMax", ["x"], ["y"], axis=1)], output_dtype=TensorProto.INT64)
    with pytest.raises(WeightsError, match=r"gives tensor\(int64\) at its output y"):
        load(path)


def test_nothing_is_written_to_the_terminal(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """onnxruntime would warn of weights that are listed as inputs, as old exporters do."""
    models.conv(path, [RED], then="Sigmoid", shape=(1, 3, 8, 8))
    model = onnx.load(str(path))
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [1, 3, 1, 1]))
    onnx.save(model, str(path))
    load(path).predict_alpha(noise(8, 8))
    assert capfd.readouterr() == ("", "")


# Devices


def test_cuda_without_its_package_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    models.conv(path, [RED], then="Sigmoid")
    with pytest.raises(DeviceError, match="onnxruntime-gpu.*has only CPUExecutionProvider"):
        create_remover(f"onnx:{path}", device="cuda")
    assert "onnxruntime-gpu" in create_remover(f"onnx:{path}").note


@pytest.fixture
def broken_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CUDA provider that is listed and then left out, as onnxruntime does where cuDNN is missing."""
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        listed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: listed)
    real = onnxruntime.InferenceSession

    def without_cuda(path: str, options: Any, providers: list[Any], **more: Any) -> Any:
        return real(path, options, providers=providers[-1:], **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", without_cuda)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)


@pytest.mark.usefixtures("broken_cuda")
def test_a_gpu_that_does_not_work_is_never_passed_over_in_silence(path: Path) -> None:
    models.conv(path, [RED], then="Sigmoid")
    with pytest.warns(BGRemoveWarning, match="CUDAExecutionProvider does not work here.*runs on the CPU"):
        remover = create_remover(f"onnx:{path}")
    assert "since CUDAExecutionProvider does not work here" in remover.note
    with pytest.raises(DeviceError, match="device cuda does not work"):
        create_remover(f"onnx:{path}", device="cuda")
    assert create_remover(f"onnx:{path}", device="cpu").note.startswith("runs on the CPU, as asked")


def test_an_accelerator_that_works_is_taken_and_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for a GPU with whatever else than the CPU this onnxruntime has built in."""
    others = [p for p in onnxruntime.get_available_providers() if p != "CPUExecutionProvider"]
    monkeypatch.setattr(module, "_ACCELERATORS", {provider: {} for provider in others})
    note = create_remover(f"onnx:{models.conv(path, [RED], then='Sigmoid')}").note
    assert note.startswith(f"runs on {others[0]}" if others else "runs on the CPU")


# The table


@pytest.mark.parametrize("info", NETWORKS, ids=lambda info: info.name)
def test_rows_are_sound(info: RemoverInfo) -> None:
    params = remover_params(info.name)
    assert isinstance(params, OnnxParams)
    assert info.summary and info.license and info.paper
    if info.weights is None:
        assert info.needs_file
        return
    assert re.fullmatch(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", info.weights.digest)
    assert info.weights.file_name.endswith(".onnx")
    if info.weights.packaged:
        assert not info.weights.url and not info.defaults, "its settings are in the file"
        return
    assert info.weights.url.startswith("https://")
    assert info.weights.size_mb and 1 < info.weights.size_mb < 1100
    assert params.input_size in (320, 1024)
    assert None not in (params.mean, params.std)
    assert params.activation != "auto" and params.channel_order == "rgb"


def test_rows_share_no_file() -> None:
    weights = [info.weights for info in NETWORKS if info.weights]
    assert len({w.file_name for w in weights}) == len({w.digest for w in weights}) == len(weights) == 14


def test_a_named_network_takes_no_other_file(path: Path) -> None:
    models.conv(path, [RED])
    with pytest.raises(WeightsError, match=f"not the published file of u2netp.*onnx:{re.escape(str(path))}"):
        create_remover("u2netp", model_file=path)


def test_a_named_network_is_found_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row, its file in the cache, its digest and its settings, end to end."""
    path = models.conv(tmp_path / "tiny.onnx", [RED], then="Sigmoid", shape=(1, 3, 320, 320))
    digest = "md5:" + hashlib.md5(path.read_bytes()).hexdigest()
    row = dataclasses.replace(REMOVERS["u2netp"], weights=Weights("https://example.org/u.onnx", digest))
    assert row.weights
    monkeypatch.setenv("BGREMOVE_HOME", str(tmp_path))
    monkeypatch.setitem(REMOVERS, "u2netp", row)
    weights_path(row.weights).parent.mkdir()
    path.rename(weights_path(row.weights))
    alpha = create_remover("u2netp", device="cpu").predict_alpha(np.full((4, 5, 3), 255, np.uint8))
    assert alpha == pytest.approx(1 / (1 + np.exp(-(1 - 0.485) / 0.229)), abs=1e-4)


def test_the_table_loads_no_runtime() -> None:
    code = "import sys, bgremove.registry; print('onnxruntime' in sys.modules, 'pooch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


# A published network, where it is at hand


def overlap(alpha: Alpha, mask: Alpha) -> float:
    one, other = alpha > 0.5, mask > 0.5
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize("file", sorted((SHARED / "weights").glob("sinet_portrait.onnx")))
def test_sinet_finds_people(file: Path) -> None:
    m = np.array([107.3, 115.7, 132.4])
    settings: dict[str, Any] = {"mean": tuple(m / 255), "std": (64.0, 65.1, 68.3), "channel_order": "bgr"}
    remover = load(file, **settings)
    assert remover.params.activation == "softmax"
    scores = []
    for photo in sorted((SHARED / "data" / "bench" / "portraits" / "images").iterdir()):
        image = cv2.cvtColor(cv2.imread(str(photo)), cv2.COLOR_BGR2RGB)
        [mask] = (SHARED / "data" / "bench" / "portraits" / "masks").glob(photo.stem + ".*")
        truth = np.asarray(cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE), np.float32) / np.float32(255)
        scores.append(overlap(remover.predict_alpha(image), truth))
    assert np.mean(scores) > 0.9

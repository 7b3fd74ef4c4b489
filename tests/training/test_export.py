"""Networks as ONNX files: the graph, its storage, its integers, and how they are checked."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as PILImage

from bgremove.arrays import Image
from bgremove.errors import BGRemoveError, DataError, OptionError, OutputError, WeightsError
from bgremove.registry import create_remover
from bgremove.training.export_params import ExportParams
from tests.cli_helpers import files, is_one_sentence, python_there
from tests.conftest import soft_disc

lightning: Any = pytest.importorskip("lightning", reason="needs the extra train")
pytest.importorskip("onnxscript", reason="needs the extra train")

import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import torch  # noqa: E402
from onnx import helper, numpy_helper  # noqa: E402
from torch import nn  # noqa: E402

from bgremove.training import export as module  # noqa: E402
from bgremove.training.export import (  # noqa: E402
    Comparison,
    Matte,
    Source,
    compare,
    export,
    quantized,
    rounded,
    stored,
    to_onnx,
)
from bgremove.training.loop import Learner  # noqa: E402
from bgremove.training.params import LossParams, TrainParams  # noqa: E402
from bgremove.training.registry import NETWORKS, network_info  # noqa: E402

SIZES = {"lite": 64, "unet": 32}
"""Small, for each network of the table; others take their `multiple`."""


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_checkpoint(path: Path, network: str = "lite", size: int = 64) -> Path:
    """A checkpoint of an untrained network whose batch normalisation is not at its start."""
    torch.manual_seed(0)
    params = TrainParams(network=network, size=size).model_dump()
    learner = Learner(params, LossParams().model_dump(), 1)
    for part in learner.network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, 0, 0.2)  # type: ignore[arg-type]
            nn.init.uniform_(part.running_var, 0.7, 1.4)  # type: ignore[arg-type]
            nn.init.uniform_(part.weight, 0.7, 1.2)
            nn.init.normal_(part.bias, 0, 0.2)
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.strategy.connect(learner)
    trainer.save_checkpoint(path)
    return path


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {
        name: write_checkpoint(folder / f"{name}.ckpt", name, SIZES.get(name, info.multiple))
        for name, info in NETWORKS.items()
    }


@pytest.fixture(scope="module")
def sources(checkpoints: dict[str, Path]) -> dict[str, Source]:
    return {name: Source.load(path) for name, path in checkpoints.items()}


@pytest.fixture(scope="module")
def models(sources: dict[str, Source]) -> dict[str, onnx.ModelProto]:
    """Every network of the table in float32; made once, because it takes seconds."""
    return {name: to_onnx(source.matte, source.size) for name, source in sources.items()}


def pictures(size: int, count: int = 3) -> list[Image]:
    made = []
    for index in range(count):
        disc = soft_disc(size, size, radius=size * (0.2 + 0.05 * index), edge=4)
        made.append(np.roll(disc.image, 3 * index, axis=1))
    return made


def write_data(folder: Path, size: int = 64, count: int = 3) -> Path:
    """A data set of discs in ``train`` and ``val``."""
    for part in ("train", "val"):
        for name in ("images", "masks"):
            (folder / part / name).mkdir(parents=True)
        for index in range(count):
            disc = soft_disc(size, size, radius=size * (0.2 + 0.05 * index))
            PILImage.fromarray(disc.image).save(folder / part / "images" / f"{index}.png")
            mask = np.rint(255 * disc.alpha).astype(np.uint8)
            PILImage.fromarray(mask).save(folder / part / "masks" / f"{index}.png")
    return folder


def run(model: onnx.ModelProto, *blobs: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    """The answer to each of `blobs`."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [session.run(None, {"image": blob})[0] for blob in blobs]


def optimised(model: onnx.ModelProto, path: Path) -> Counter[str]:
    """The operators that are left after ONNX Runtime has loaded `model`."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3  # it warns that such a file is for this machine
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(path).graph.node)


# The graph ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_any_batch_is_as_in_pytorch(
    sources: dict[str, Source], models: dict[str, onnx.ModelProto], name: str
) -> None:
    source, side = sources[name], sources[name].size
    rng = np.random.default_rng(0)
    blobs = [rng.standard_normal((batch, 3, side, side), np.float32) for batch in (1, 2, 3, 5)]
    for blob, found in zip(blobs, run(models[name], *blobs), strict=True):
        expected = source.predict(blob)
        assert found.shape == expected.shape == (len(blob), 1, side, side)
        assert found.dtype == np.float32 and found.min() >= 0 and found.max() <= 1
        assert np.abs(found - expected).max() < 1e-5 and expected.std() > 1e-3


@pytest.mark.parametrize("name", NETWORKS)
def test_the_graph_is_lean(models: dict[str, onnx.ModelProto], name: str) -> None:
    model, size = models[name], SIZES.get(name, network_info(name).multiple)
    onnx.checker.check_model(model, full_check=True)
    kinds = {node.op_type for node in model.graph.node}
    assert "Sigmoid" in kinds and not kinds & {"BatchNormalization", "Identity", "Shape", "Dropout"}
    [image], [alpha] = model.graph.input, model.graph.output
    shapes = [[side.dim_value for side in one.type.tensor_type.shape.dim] for one in (image, alpha)]
    assert (image.name, alpha.name) == ("image", "alpha")
    assert shapes == [[0, 3, size, size], [0, 1, size, size]]
    assert (model.opset_import[0].version, model.ir_version) == (18, 8)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_holds_no_place_of_this_machine(models: dict[str, onnx.ModelProto], name: str) -> None:
    bare = onnx.ModelProto()
    bare.CopyFrom(models[name])
    for tensor in bare.graph.initializer:
        tensor.ClearField("raw_data")  # where any letters may stand
    encoded = bare.SerializeToString()
    assert b".py" not in encoded and os.fsencode(Path(module.__file__).parents[2]) not in encoded
    assert len(encoded) < 30_000


class Odd(nn.Module):
    """Made larger by 5/2, which no constant scale says for sure; and by 2."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        small = self.conv(x)
        odd = nn.functional.interpolate(small, size=(40, 40), mode="bilinear")
        return [nn.functional.interpolate(odd, size=x.shape[-2:], mode="bilinear") + small.mean()]


def test_a_resize_that_is_no_multiple_keeps_its_size() -> None:
    torch.manual_seed(0)
    matte = Matte(Odd()).eval()
    model = to_onnx(matte, 32)
    blob = np.random.default_rng(0).standard_normal((3, 3, 32, 32), np.float32)
    with torch.no_grad():
        expected = matte(torch.from_numpy(blob)).numpy()
    assert np.abs(run(model, blob)[0] - expected).max() < 1e-5


# Storage --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("storage", "share", "most"), [("float16", 0.51, 1e-3), ("int8", 0.27, 0.02)])
def test_stored_weights(
    sources: dict[str, Source],
    models: dict[str, onnx.ModelProto],
    tmp_path: Path,
    name: str,
    storage: Any,
    share: float,
    most: float,
) -> None:
    model, source = models[name], sources[name]
    before = model.SerializeToString()
    small = stored(model, storage)
    assert model.SerializeToString() == before  # a copy was changed
    onnx.checker.check_model(small, full_check=True)
    assert small.ByteSize() < share * model.ByteSize()
    blob = np.concatenate([source.prepared(image) for image in pictures(source.size)])
    assert 0 < np.abs(run(small, blob)[0] - run(model, blob)[0]).max() < most
    # Nothing of it is left once the file is loaded: it computes as the float32 one does.
    assert optimised(small, tmp_path / "small") == optimised(model, tmp_path / "whole")


def test_float32_stays_as_it_is(models: dict[str, onnx.ModelProto]) -> None:
    assert stored(models["lite"], "float32").SerializeToString() == models["lite"].SerializeToString()


def of_one_weight(kind: str, shape: tuple[int, ...], weight: tuple[int, ...], **attributes: Any) -> Any:
    """``y = kind(x, w)``, and its input."""
    rng = np.random.default_rng(0)
    # Every output channel of a size of its own, so that one scale for all would not do.
    values = rng.standard_normal(weight).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node(kind, ["image", "w"], ["alpha"], **attributes)],
        "one",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("alpha", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return model, rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "shape", "weight", "attributes", "axis"),
    [
        ("Conv", (1, 8, 9, 9), (32, 8, 3, 3), {}, 0),
        ("MatMul", (2, 5, 40), (40, 30), {}, -1),
        ("Gemm", (4, 40), (40, 30), {}, 1),
        ("Gemm", (4, 40), (30, 40), {"transB": 1}, 0),
        ("ConvTranspose", (1, 8, 9, 9), (8, 32, 3, 3), {}, None),  # not known: float16
    ],
)
def test_every_kind_of_weight(
    kind: str, shape: tuple[int, ...], weight: tuple[int, ...], attributes: Any, axis: int | None
) -> None:
    model, blob = of_one_weight(kind, shape, weight, **attributes)
    small = stored(model, "int8")
    parts = {tensor.name: numpy_helper.to_array(tensor) for tensor in small.graph.initializer}
    if axis is None:
        assert parts["w.half"].dtype == np.float16 and len(parts) == 1
    else:
        assert parts["w.int8"].dtype == np.int8 and parts["w.scale"].size == weight[axis]
    [expected], [found] = run(model, blob), run(small, blob)
    assert 0 < np.abs(found - expected).mean() < 0.01 * np.abs(expected).mean()


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_rounding_is_to_half_a_step_of_each_channel(axis: int) -> None:
    sizes = np.array([1e-30, 1e-3, 1, 0, 1e3], np.float32)
    weights = np.random.default_rng(0).standard_normal((5, 5, 5), np.float32)
    weights *= np.moveaxis(np.broadcast_to(sizes, (5, 5, 5)), -1, axis)
    whole, scale = rounded(weights, axis)
    assert whole.dtype == np.int8 and scale.dtype == np.float32
    assert scale.size == scale.shape[axis] == 5 and np.isfinite(scale).all() and (scale > 0).all()
    assert (np.abs(whole * scale - weights) <= 0.501 * scale).all()
    tops = np.moveaxis(np.abs(whole), axis, 0).reshape(5, -1).max(axis=1)
    assert tops.tolist() == [127, 127, 127, 0, 127]


# Integers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_integers(
    sources: dict[str, Source], models: dict[str, onnx.ModelProto], tmp_path: Path, name: str
) -> None:
    source = sources[name]
    seen = [source.prepared(image) for image in pictures(source.size)]
    before = models[name].SerializeToString()
    made = quantized(models[name], iter(seen))
    assert models[name].SerializeToString() == before
    onnx.checker.check_model(made, full_check=True)
    assert made.ByteSize() < 0.3 * models[name].ByteSize() and made.ir_version == 8
    blob = np.concatenate(seen)
    difference = np.abs(run(made, blob)[0] - source.predict(blob))
    assert 0 < difference.mean() < 0.02
    # It really computes in integers, but for the first and the last convolution.
    kinds = optimised(made, tmp_path / "x.onnx")
    convolutions = Counter(node.op_type for node in models[name].graph.node)["Conv"]
    assert kinds["QLinearConv"] == convolutions - 2 and kinds["Conv"] == 2, kinds
    # Seven bits: no processor overflows.
    whole = [numpy_helper.to_array(tensor) for tensor in made.graph.initializer]
    assert max(int(np.abs(one).max()) for one in whole if one.dtype == np.int8 and one.ndim == 4) <= 64


# Checking -------------------------------------------------------------------------------------------


def test_compare_sees_what_differs(sources: dict[str, Source], models: dict[str, onnx.ModelProto]) -> None:
    source, model = sources["lite"], models["lite"]
    squares = [(image, None) for image in pictures(source.size, 2)]
    same = compare(source, model.SerializeToString(), squares)
    assert same.pictures == 2 and same.largest < 1e-5 and same.agreement > 0.99 and same.milliseconds > 0
    assert same.torch_iou is None and abs(same.iou_loss) < 0.01
    broken = onnx.ModelProto()
    broken.CopyFrom(model)
    [bias] = [one for one in broken.graph.initializer if one.name == "network.heads.0.bias"]
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(50), bias.name))
    other = compare(source, broken.SerializeToString(), squares)
    assert other.largest > 0.3 and other.mean > 0.3 and other.agreement < same.agreement


def test_compare_measures_against_the_truth(
    sources: dict[str, Source], models: dict[str, onnx.ModelProto]
) -> None:
    source = sources["lite"]
    [image] = pictures(source.size, 1)
    mine = (source.predict(source.prepared(image))[0, 0] > 0.5).astype(np.float32)
    found = compare(source, models["lite"].SerializeToString(), [(image, mine), (image, 1 - mine)])
    assert found.torch_iou == pytest.approx(0.5) and found.file_iou == pytest.approx(0.5, abs=0.01)
    assert "IoU 0.5" in found.sentence() and "in PyTorch 0.5000" in found.sentence()


def test_a_loss_is_said() -> None:
    said: list[str] = []
    lossy = Comparison(9, 0.9, 0.01, 0.97, 0.85, 0.83, 1.0)
    assert lossy.iou_loss == pytest.approx(0.02) and "0.0200 lost" in lossy.sentence()
    module._judge(lossy, "computing in int8", said.append)
    assert len(said) == 1 and said[0].startswith("computing in int8 costs 0.0200 of IoU, more than 0.01")
    module._judge(Comparison(9, 0.9, 0.01, 0.97, 0.85, 0.849, 1.0), "computing in int8", said.append)
    assert len(said) == 1


@pytest.mark.parametrize("largest", [0.002, float("nan")])
def test_too_far_from_pytorch_is_refused(largest: float) -> None:
    with pytest.raises(WeightsError, match="nothing was written: the weights may be damaged"):
        module._judge(Comparison(9, largest, largest, 1, None, None, 1.0), "float32", print)


# The whole ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_the_remover_needs_no_settings(checkpoints: dict[str, Path], tmp_path: Path, name: str) -> None:
    said: list[str] = []
    out = tmp_path / "new" / "x.onnx"
    params = ExportParams(size=96, note="CC0-1.0, trained on discs")
    made = export(checkpoints[name], out, params, say=said.append)
    assert made.path == out and made.network == name and made.size == 96 and made.bytes == out.stat().st_size
    assert len(said) == 2 and "6 pictures of the package" in said[1] and made.comparison.pictures == 6
    remover: Any = create_remover(f"onnx:{out}")
    info = network_info(name)
    assert remover.params.mean == info.mean and remover.params.std == info.std
    assert (remover.params.input_size, remover.params.activation) == (96, "none")
    assert remover.params.channel_order == "rgb"
    [image] = pictures(96, 1)  # at the network's own size, nothing is resized
    learner = Learner.load_from_checkpoint(checkpoints[name], map_location="cpu", weights_only=True).eval()
    with torch.no_grad():
        logits = learner(torch.from_numpy(image).permute(2, 0, 1)[None])[0]
    expected = logits.sigmoid()[0, 0].numpy()
    assert np.abs(remover.predict_alpha(image) - expected).max() < 1e-4 and expected.std() > 1e-3
    stored_facts = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    assert stored_facts["bgremove.network"] == name
    assert stored_facts["bgremove.note"] == "CC0-1.0, trained on discs"
    assert "bgremove.validation_iou" not in stored_facts and stored_facts["bgremove.weights"] == "float32"


def test_a_sharper_matte_has_its_border_in_the_same_place(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    path, size = checkpoints["lite"], 96
    [image] = pictures(size, 1)
    alphas = []
    for sharpness in (1.0, 3.0):
        out = tmp_path / f"{sharpness}.onnx"
        params = ExportParams(size=size, sharpness=sharpness, colours=0, closer=0)
        assert export(path, out, params).comparison.largest < 1e-4  # to PyTorch with the same factor
        alphas.append(create_remover(f"onnx:{out}").predict_alpha(image).astype(np.float64))
    logits = [np.log(alpha / (1 - alpha)) for alpha in alphas]
    np.testing.assert_allclose(logits[1], 3 * logits[0], atol=1e-3)
    assert logits[0].std() > 1e-3


def test_a_network_that_looks_twice(checkpoints: dict[str, Path], discs: Path, tmp_path: Path) -> None:
    """Two sizes in one file: the mean of their logits, the weights stored once, also in integers."""
    once, twice, small = (tmp_path / f"{name}.onnx" for name in ("once", "twice", "small"))
    path, plain = checkpoints["lite"], ExportParams(size=96, colours=0, closer=0)
    export(path, once, plain)
    export(path, small, plain.model_copy(update={"size": 64}))
    made = export(path, twice, plain.model_copy(update={"again": 64}))
    assert made.comparison.largest < 1e-4, "PyTorch does the same"
    assert made.bytes < 1.1 * once.stat().st_size
    facts = {entry.key: entry.value for entry in onnx.load(twice).metadata_props}
    assert facts["bgremove.again"] == "64" and facts["bgremove.input_size"] == "96"

    [image] = pictures(96, 1)
    logits = []
    for file in (once, small, twice):
        alpha = create_remover(f"onnx:{file}").predict_alpha(image).astype(np.float64)
        logits.append(np.log(alpha / (1 - alpha)))
    mean = (logits[0] + logits[1]) / 2
    assert np.abs(logits[2] - mean).mean() < 0.3 * np.abs(logits[2] - logits[0]).mean()

    integers = export(
        path, tmp_path / "int8.onnx", plain.model_copy(update={"again": 64, "int8": True}), data=discs
    )
    assert integers.bytes < 0.4 * made.bytes
    float_weights = [
        entry for entry in onnx.load(integers.path).graph.initializer if entry.data_type == 1 and entry.dims
    ]
    assert max(int(np.prod(entry.dims)) for entry in float_weights) < 20_000, "only the ends' are floats"
    with pytest.raises(OptionError, match="again must be a multiple of 32 for lite; got 100"):
        export(path, tmp_path / "none.onnx", plain.model_copy(update={"again": 100}))


def test_integers_with_data_are_checked_with_it(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    data, said = write_data(tmp_path / "data"), list[str]()
    out = tmp_path / "x.onnx"
    made = export(checkpoints["lite"], out, ExportParams(int8=True, samples=2), data=data, say=said.append)
    compared = made.comparison
    assert compared.pictures == 2 and compared.torch_iou is not None and compared.file_iou is not None
    assert said[1] == f"calibrating by 2 pictures of {data}/train"
    assert said[2].startswith(f"2 pictures of {data}/val") and "in PyTorch" in said[2]
    facts = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    assert facts["bgremove.computes_in"] == "int8" and facts["bgremove.input_size"] == "64"
    alpha = create_remover(f"onnx:{out}").predict_alpha(pictures(64, 1)[0])
    assert alpha.shape == (64, 64) and 0 <= alpha.min() <= alpha.max() <= 1


def test_the_best_checkpoint_tells_its_iou(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    loaded = torch.load(checkpoints["lite"], weights_only=True)
    state = {
        "monitor": "val_iou",
        "best_model_score": torch.tensor(0.9),
        "best_model_path": "/else/best.ckpt",
    }
    loaded |= {"callbacks": {"ModelCheckpoint": state}, "epoch": 6}
    for name, iou in (("best.ckpt", 0.9), ("last.ckpt", None)):
        torch.save(loaded, tmp_path / name)
        source = Source.load(tmp_path / name)
        assert source.epoch == 7 and source.iou == (None if iou is None else pytest.approx(iou))
        assert ("validation IoU 0.9000" in source.words()) == (iou is not None)


def refused(tmp_path: Path, checkpoint: Path, out: Path, **options: Any) -> BGRemoveError:
    """The error of an export that leaves everything as it was."""
    before = files(tmp_path)
    data = options.pop("data", None)
    with pytest.raises(BGRemoveError) as caught:
        export(checkpoint, out, ExportParams(**options), data=data)
    assert is_one_sentence(str(caught.value)) and files(tmp_path) == before
    return caught.value


def test_what_is_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    out, lite = tmp_path / "x.onnx", checkpoints["lite"]
    (tmp_path / "there.onnx").write_bytes(b"mine")
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    loaded = torch.load(lite, weights_only=True)
    torch.save({**loaded, "hyper_parameters": {"lr": 1}}, tmp_path / "foreign.ckpt")
    torch.save({**loaded, "state_dict": {"network.a": torch.zeros(1)}}, tmp_path / "older.ckpt")
    cases: list[tuple[type[BGRemoveError], str, tuple[Path, Path], dict[str, Any]]] = [
        (WeightsError, "no.ckpt cannot be read: No such file", (tmp_path / "no.ckpt", out), {}),
        (WeightsError, "text.ckpt is damaged, or no checkpoint", (tmp_path / "text.ckpt", out), {}),
        (WeightsError, "does not say which network", (tmp_path / "foreign.ckpt", out), {}),
        (WeightsError, "holds a lite that is built otherwise", (tmp_path / "older.ckpt", out), {}),
        (OptionError, "size must be a multiple of 32 for lite; got 100", (lite, out), {"size": 100}),
        (OutputError, "there.onnx exists; add --overwrite", (lite, tmp_path / "there.onnx"), {}),
        (OutputError, "name it x.onnx", (lite, tmp_path / "x.pt"), {}),
        (DataError, "has no folder train and no folder val", (lite, out), {"data": tmp_path}),
    ]
    for kind, sentence, (checkpoint, target), options in cases:
        error = refused(tmp_path, checkpoint, target, **options)
        assert isinstance(error, kind) and sentence in str(error), error


def test_damaged_weights_are_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    loaded = torch.load(checkpoints["lite"], weights_only=True)
    loaded["state_dict"]["network.heads.0.bias"][:] = float("nan")
    torch.save(loaded, tmp_path / "nan.ckpt")
    error = refused(tmp_path, tmp_path / "nan.ckpt", tmp_path / "x.onnx")
    assert isinstance(error, WeightsError) and "nothing was written" in str(error)


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_without_the_extra(package: str) -> None:
    code = f"""
import sys
sys.modules[{package!r}] = None
from bgremove.errors import MissingExtraError
try:
    import bgremove.training.export
except MissingExtraError as error:
    print(error)
"""
    done = python_there(code)
    sentence = f'exporting needs {package}, which is not installed: pip install "bgremove[train]"'
    assert done.returncode == 0 and done.stdout.strip() == sentence, done.stderr

"""``bgremove export``: a trained network as an ONNX file that needs no settings.

The file takes ``image``, (N, 3, S, S) float32, each channel ``(x - mean) / std`` of values in 0..1, for
any N, and gives ``alpha``, (N, 1, S, S) in 0..1. Size, mean, std and the order of the channels are in its
metadata, where ``onnx:FILE`` finds them; so are the network's name, its epoch and the like.

Batch normalisation is folded into the convolutions. ``weights`` says how the file keeps its weights:
whatever it is, they are made float32 when ONNX Runtime loads the file, which then computes as fast as ever.
``int8`` computes in integers. Either way the file is compared with PyTorch before it is written.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from bgremove import __version__
from bgremove.arrays import Alpha, Image
from bgremove.console import Progress, say_nothing
from bgremove.demo import SAMPLES, sample_path
from bgremove.errors import MissingExtraError, OptionError, OutputError, WeightsError
from bgremove.io import make_folder, read_image, write_bytes
from bgremove.metrics import iou
from bgremove.pairs import Pair, find_split
from bgremove.removers.onnx import METADATA_PREFIX, OnnxParams, to_metadata
from bgremove.training.export_params import ExportParams, Storage
from bgremove.training.train import load_weights, read_checkpoint

try:
    import onnx
    import onnxscript  # noqa: F401
    import torch
    from onnx import TensorProto, helper, numpy_helper
    from torch import Tensor, nn
    from torch.nn import functional
except ImportError as error:
    raise MissingExtraError(
        f'exporting needs {error.name}, which is not installed: pip install "bgremove[train]"'
    ) from error

from bgremove.training.augment import resized
from bgremove.training.data import read_square
from bgremove.training.registry import NetworkInfo, create_network, network_info

Floats = npt.NDArray[np.float32]

OPSET, IR_VERSION = 18, 8  # of ONNX 1.13, which ONNX Runtime reads from 1.14 on
INPUT, OUTPUT = "image", "alpha"
IOU_LOSS = 0.01
"""A loss of IoU above this is said."""

_SMALL = 1024  # weights; what has fewer of them stays as it is
_TIMED = 20  # runs


class Tolerance(NamedTuple):
    """How far alpha may be from PyTorch's: at one pixel, and on average."""

    largest: float
    mean: float


TOLERANCES: dict[str, Tolerance] = {
    "float32": Tolerance(1e-3, 1e-4),
    "float16": Tolerance(0.1, 2e-3),
    "int8": Tolerance(1.0, 0.02),
    "computing in int8": Tolerance(1.0, 0.05),
}
"""What is allowed for each way to store weights, and for computing in integers."""


@dataclass(frozen=True)
class Comparison:
    """An ONNX file against PyTorch, on the same pictures.

    Attributes:
        pictures: how many.
        largest, mean: absolute difference of alpha.
        agreement: mean IoU of the file's masks and PyTorch's.
        torch_iou, file_iou: mean IoU with the truths, both at the network's size; None if there are none.
        milliseconds: median time of one picture in ONNX Runtime.
    """

    pictures: int
    largest: float
    mean: float
    agreement: float
    torch_iou: float | None
    file_iou: float | None
    milliseconds: float

    @property
    def iou_loss(self) -> float:
        """IoU lost against the truths, or else against PyTorch's masks; below 0 if some was won."""
        if self.torch_iou is None or self.file_iou is None:
            return 1 - self.agreement
        return self.torch_iou - self.file_iou

    def sentence(self) -> str:
        """The differences in words."""
        text = f"alpha differs from PyTorch's by {self.largest:.2g} at most, {self.mean:.2g} on average; "
        if self.torch_iou is None or self.file_iou is None:
            return f"{text}IoU of the masks with PyTorch's {self.agreement:.4f}"
        return (
            f"{text}IoU {self.file_iou:.4f}, in PyTorch {self.torch_iou:.4f}: "
            f"{abs(self.iou_loss):.4f} {'lost' if self.iou_loss >= 0 else 'won'}"
        )


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: the file.
        network: its row's name.
        size: side of the square it sees, pixels.
        bytes: the file's length.
        comparison: with PyTorch.
    """

    path: Path
    network: str
    size: int
    bytes: int
    comparison: Comparison

    def sentence(self) -> str:
        """File, size, time."""
        return (
            f"{self.path}: {self.network} for {self.size} x {self.size} px, {self.bytes / 1e6:.2f} MB, "
            f"{self.comparison.milliseconds:.1f} ms a picture here"
        )


class Matte(nn.Module):
    """A network with its sigmoid: (N, 3, S, S) prepared pictures to (N, 1, S, S) mattes in 0..1.

    Args:
        network: gives logits first of all.
        sharpness: factor of the logits.
        again: another side, in pixels, at which the network looks at the same pictures; the logits of both
            are averaged. The weights are the same.
    """

    def __init__(self, network: nn.Module, sharpness: float = 1.0, again: int | None = None) -> None:
        super().__init__()
        self.network, self.sharpness, self.again = network, sharpness, again

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.network(image)[0]
        factor = self.sharpness
        if self.again is not None:
            other = functional.interpolate(image, size=(self.again, self.again), mode="bilinear")
            logits = logits + functional.interpolate(
                self.network(other)[0], size=image.shape[-2:], mode="bilinear"
            )
            factor /= 2
        return (logits if factor == 1 else factor * logits).sigmoid()


@dataclass(frozen=True)
class Source:
    """A trained network.

    Attributes:
        matte: with its sigmoid, ready to run.
        info: its row of the table.
        size: side of the squares at which it was trained, pixels.
        epoch: after how many epochs it was stored; 0 if not known.
        iou: its validation IoU, where the checkpoint tells.
    """

    matte: Matte
    info: NetworkInfo
    size: int
    epoch: int
    iou: float | None

    @classmethod
    def load(cls, checkpoint: Path, sharpness: float = 1.0, again: int | None = None) -> Self:
        """The network of a checkpoint; `sharpness` and `again` are those of :class:`Matte`.

        Raises:
            WeightsError: if it is no checkpoint of ``bgremove train``, or of another version's network.
        """
        loaded = read_checkpoint(checkpoint)
        try:
            trained = loaded["hyper_parameters"]["train"]
            info, size = network_info(trained["network"]), int(trained["size"])
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(
                f"{checkpoint} is no checkpoint of bgremove train: it does not say which network it holds"
            ) from error
        network = create_network(info.name)
        network.load_state_dict(load_weights(checkpoint))
        matte = Matte(network, sharpness, again).eval().requires_grad_(False)
        return cls(matte, info, size, int(loaded.get("epoch", -1)) + 1, _iou_of(loaded, checkpoint))

    def words(self) -> str:
        """What it is, for the one who exports it."""
        known = [self.info.name]
        known += [f"{self.epoch} epoch{'s' * (self.epoch > 1)}"] if self.epoch else []
        known += [f"validation IoU {self.iou:.4f}"] if self.iou is not None else []
        return ", ".join(known)

    def prepared(self, image: Image) -> Floats:
        """A square (S, S, 3) uint8 as the network wants it, (1, 3, S, S)."""
        mean, std = (np.asarray(row, np.float32) for row in (self.info.mean, self.info.std))
        return np.ascontiguousarray(((image / np.float32(255) - mean) / std).transpose(2, 0, 1)[None])

    def predict(self, prepared: Floats) -> Floats:
        """What PyTorch gives: (N, 1, S, S)."""
        with torch.no_grad():
            alpha: Floats = self.matte(torch.from_numpy(prepared)).numpy()
        return alpha


def _iou_of(loaded: dict[str, Any], checkpoint: Path) -> float | None:
    """The validation IoU of a checkpoint that is the best of its training; of others it is not stored."""
    for state in loaded.get("callbacks", {}).values():
        if isinstance(state, dict) and state.get("monitor") == "val_iou":
            score, path = state.get("best_model_score"), state.get("best_model_path", "")
            if score is not None and Path(path).name == checkpoint.name:
                return float(score)
    return None


def export(
    checkpoint: Path,
    out: Path,
    params: ExportParams | None = None,
    *,
    data: Path | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    say: Callable[[str], object] = say_nothing,
) -> Exported:
    """Write the network of a checkpoint as an ONNX file, after comparing the two.

    Args:
        checkpoint: of ``bgremove train``; averaged weights are taken where there are such.
        out: the file.
        params: the settings.
        data: folder with ``train`` and ``val``, to calibrate by the one and to check with the other;
            without it, the package's sample photos serve to check with, and ``int8`` becomes
            ``weights="int8"``, which is said.
        overwrite: replace a file that exists.
        quiet: no progress bar.
        say: called with sentences on what is done.

    Raises:
        WeightsError: if the checkpoint cannot be used, or the file would differ too much from it.
        OptionError: if the network cannot have that size.
        DataError: if `data` is no such folder, or a picture cannot be read.
        OutputError: if the file exists or cannot be written.
    """
    params = params or ExportParams()
    _check_out(out, overwrite=overwrite)
    train, val = (listing.pairs for listing in find_split(data)) if data else ((), ())
    source = Source.load(checkpoint, params.sharpness, params.again)
    size = _size(params.size, source)
    say(f"{checkpoint}: {source.words()}")
    if params.int8 and data is None:
        say(
            "int8 without --data has no pictures to calibrate by: the weights are stored as int8, "
            "and it computes in float32"
        )
        params = params.model_copy(update={"int8": False, "weights": "int8"})
    model = to_onnx(source.matte, size)
    if params.int8:
        chosen = _spread(train, params.samples)
        say(f"calibrating by {len(chosen)} pictures of {data}/train")
        with Progress(len(chosen), "calibrating", quiet=quiet) as progress:
            model = quantized(model, _calibration(source, chosen, size, progress))
    model = stored(model, params.weights)
    helper.set_model_props(model, _metadata(source, size, params))
    encoded = model.SerializeToString()
    compared = _compared(source, encoded, _spread(val, params.samples), size, quiet=quiet)
    place = f"{data}/val" if data else "the package"
    say(f"{compared.pictures} pictures of {place}: {compared.sentence()}")
    _judge(compared, "computing in int8" if params.int8 else params.weights, say)
    make_folder(out.parent)
    write_bytes(out, encoded, overwrite=overwrite)
    return Exported(out, source.info.name, size, len(encoded), compared)


def _check_out(out: Path, *, overwrite: bool) -> None:
    """Refuse early what cannot be written in the end."""
    if out.suffix.lower() != ".onnx":
        raise OutputError(f"an ONNX file is called NAME.onnx; got {str(out)!r}, name it {out.stem}.onnx")
    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists; add --overwrite to replace it")


def _size(wanted: int | None, source: Source) -> int:
    size, multiple = wanted or source.size, source.info.multiple
    for name, side in (("size", size), ("again", source.matte.again or 0)):
        if side % multiple:
            raise OptionError(f"{name} must be a multiple of {multiple} for {source.info.name}; got {side}")
    return size


def _metadata(source: Source, size: int, params: ExportParams) -> dict[str, str]:
    """All that the file says of itself."""
    settings = OnnxParams(
        input_size=size,
        mean=source.info.mean,
        std=source.info.std,
        channel_order="rgb",
        activation="none",
        colours=params.colours,
        closer=params.closer,
    )
    facts = {
        "network": source.info.name,
        "version": __version__,
        "weights": params.weights,
        "computes_in": "int8" if params.int8 else "float32",
        "epoch": str(source.epoch) if source.epoch else "",
        "validation_iou": "" if source.iou is None else f"{source.iou:.4f}",
        "again": str(params.again or ""),
        "note": params.note,
    }
    return to_metadata(settings) | {METADATA_PREFIX + key: text for key, text in facts.items() if text}


def _spread(pairs: Sequence[Pair], most: int) -> list[Pair]:
    """At most so many of `pairs`, spread over all of them."""
    count = min(most, len(pairs))
    return [pairs[index * len(pairs) // count] for index in range(count)]


# The graph ------------------------------------------------------------------------------------------


def to_onnx(matte: Matte, size: int) -> onnx.ModelProto:
    """The network for squares of `size` and any number of them, in float32."""
    example = torch.zeros(2, 3, size, size)
    with _calm():
        program = torch.onnx.export(
            matte,
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    model.ir_version = IR_VERSION
    _fix_scales(model)
    _forget_traces(model)
    return model


def _fix_scales(model: onnx.ModelProto) -> None:
    """Give each Resize a constant scale where it has a size worked out from the batch's own.

    ONNX Runtime can then keep its blocked layout of memory through it, and join it to integers around it.
    """
    graph = model.graph
    shapes = {
        value.name: [side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    for node in graph.node:
        before, after = (shapes.get(name, [])[2:] for name in (node.input[0], node.output[0]))
        if node.op_type != "Resize" or len(node.input) < 4 or not (before and after and all(before + after)):
            continue
        if any(new % old for old, new in zip(before, after, strict=True)):
            continue  # a float might not give the very size
        name = f"{node.output[0]}.scales"
        scales = [1, 1, *(new / old for old, new in zip(before, after, strict=True))]
        graph.initializer.append(numpy_helper.from_array(np.asarray(scales, np.float32), name))
        node.input[2:] = [name]
    _prune(graph)


def _prune(graph: onnx.GraphProto) -> None:
    """Take out nodes and constants that nothing uses."""
    needed = {value.name for value in graph.output}
    nodes: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            nodes.insert(0, node)
            needed |= set(node.input)
    tensors = [tensor for tensor in graph.initializer if tensor.name in needed]
    _replace(graph, nodes, tensors)


def _replace(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto], tensors: Sequence[TensorProto]) -> None:
    nodes, tensors = list(nodes), list(tensors)
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(tensors)


def _forget_traces(model: onnx.ModelProto) -> None:
    """Take out what the exporter notes for its own debugging: lines of source with their places."""
    graph = model.graph
    graph.ClearField("value_info")
    for part in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


@contextlib.contextmanager
def _calm() -> Iterator[None]:
    """Without the exporters' advice and notices of change, which are for their own developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def stored(model: onnx.ModelProto, storage: Storage) -> onnx.ModelProto:
    """`model` with its larger weights in another type, and the nodes that make them float32 again.

    Those nodes have only constants as inputs, so that ONNX Runtime works them out when it loads the file.
    ``int8`` has a scale for each output channel: half of it is the largest error. Weights of which no node
    says what its output channels are become float16.
    """
    if storage == "float32":
        return model
    made = onnx.ModelProto()
    made.CopyFrom(model)
    axes = _channel_axes(made)
    tensors, nodes = [], []
    for tensor in made.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _SMALL:
            tensors.append(tensor)
        elif storage == "int8" and tensor.name in axes:
            whole, scale = rounded(values, axes[tensor.name])
            tensors += _named(tensor.name, int8=whole, scale=scale)
            nodes += _cast(f"{tensor.name}.int8", f"{tensor.name}.whole")
            nodes += [
                helper.make_node("Mul", [f"{tensor.name}.whole", f"{tensor.name}.scale"], [tensor.name])
            ]
        else:
            tensors += _named(tensor.name, half=values.astype(np.float16))
            nodes += _cast(f"{tensor.name}.half", tensor.name)
    _replace(made.graph, [*nodes, *made.graph.node], tensors)
    return made


def _named(name: str, **arrays: npt.NDArray[Any]) -> list[TensorProto]:
    return [numpy_helper.from_array(array, f"{name}.{part}") for part, array in arrays.items()]


def _cast(source: str, target: str) -> list[onnx.NodeProto]:
    return [helper.make_node("Cast", [source], [target], to=TensorProto.FLOAT)]


def _channel_axes(model: onnx.ModelProto) -> dict[str, int]:
    """Along which axis of each weight its output channels lie."""
    axes = {}
    for node in model.graph.node:
        if node.op_type == "Conv":
            axes[node.input[1]] = 0
        elif node.op_type == "MatMul":
            axes[node.input[1]] = -1
        elif node.op_type == "Gemm":
            turned = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
            axes[node.input[1]] = 0 if turned else 1
    return axes


def rounded(weights: Floats, axis: int) -> tuple[npt.NDArray[np.int8], Floats]:
    """Whole numbers from -127 to 127 and a scale for each channel along `axis`, ``weights = whole * scale``.

    The scale fits the channel's largest weight; one that cuts it short for the sake of the others makes the
    squared error only 2% smaller.
    """
    others = tuple(side for side in range(weights.ndim) if side != axis % weights.ndim)
    top: Floats = np.abs(weights).max(axis=others, keepdims=True)
    top[top == 0] = 1
    scale = top / np.float32(127)
    return np.rint(weights / scale).astype(np.int8), scale


# Computing in integers ------------------------------------------------------------------------------

_IN_INTEGERS = ["Conv", "Relu", "Add", "Resize", "MaxPool", "Concat"]


def quantized(model: onnx.ModelProto, pictures: Iterator[Floats]) -> onnx.ModelProto:
    """`model` computing in 8-bit integers, but for its first convolution and all from the last one on.

    What is fine in a picture, and what is fine in a matte, need more than 256 levels; between, a range for
    each map and a scale for each output channel of a convolution are enough. Weights take 7 bits: processors
    without VNNI add two products in 16 bits, which 8-bit weights would overflow.

    Args:
        model: as :func:`to_onnx` makes it.
        pictures: prepared ones, (1, 3, S, S), by which the ranges are found.

    References:
        Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only
        inference", CVPR 2018.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    copy = onnx.ModelProto()
    copy.CopyFrom(model)  # calibration moves its weights to a file
    with tempfile.TemporaryDirectory(prefix="bgremove-") as folder, _calm():
        path = Path(folder) / "int8.onnx"
        quantize_static(
            copy,
            path,
            _Reader(pictures),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_IN_INTEGERS,
            nodes_to_exclude=_ends(model),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        made = onnx.load(path)
    made.ir_version = IR_VERSION
    return made


class _Reader:
    """Pictures as ONNX Runtime's calibration asks for them."""

    def __init__(self, pictures: Iterator[Floats]) -> None:
        self._pictures = pictures

    def get_next(self) -> dict[str, Floats] | None:
        picture = next(self._pictures, None)
        return None if picture is None else {INPUT: picture}


def _ends(model: onnx.ModelProto) -> list[str]:
    """The names of the convolutions that see the picture, and of all nodes from the last ones on."""
    pictures = {INPUT}
    ends: list[str] = []
    for node in model.graph.node:
        if node.input[:1] and node.input[0] in pictures:
            if node.op_type == "Conv":
                ends.append(node.name)
            else:  # made smaller or larger
                pictures |= set(node.output)
    wanted = {OUTPUT}
    for node in reversed(model.graph.node):
        if wanted & set(node.output):
            ends.append(node.name)
            wanted |= set() if node.op_type == "Conv" else set(node.input)
    return ends


def _calibration(source: Source, pairs: Sequence[Pair], size: int, progress: Progress) -> Iterator[Floats]:
    for pair in pairs:
        yield source.prepared(read_square(pair, size, None)[0])
        progress.advance(0)


# Checking -------------------------------------------------------------------------------------------


def compare(
    source: Source,
    encoded: bytes,
    pictures: Iterable[tuple[Image, Alpha | None]],
    progress: Callable[[], object] = lambda: None,
) -> Comparison:
    """Run an ONNX file and PyTorch on the same pictures, one at a time, and the first also three at once.

    Args:
        source: the network.
        encoded: the file.
        pictures: squares of the file's size with their truths, if there are any; at least one.
        progress: called after each.
    """
    session = _session(encoded)
    largest, means, overlaps, ious, times = 0.0, [], [], [], []
    first: list[tuple[Floats, Floats]] = []
    for image, truth in pictures:
        blob = source.prepared(image)
        expected = source.predict(blob)
        start = time.perf_counter()
        [found] = session.run([OUTPUT], {INPUT: blob})
        times.append(time.perf_counter() - start)
        difference = np.abs(found - expected)
        largest = max(largest, float(difference.max()))  # NaN is caught below, by the mean
        means.append(float(difference.mean()))
        masks = [(alpha[0, 0] > 0.5).astype(np.float32) for alpha in (found, expected)]
        overlaps.append(iou(*masks))
        if truth is not None:
            ious.append([iou(mask, truth) for mask in masks])
        if len(first) < 3:
            first.append((blob, expected))
        progress()
    blobs, answers = (np.concatenate([first[i % len(first)][part] for i in range(3)]) for part in (0, 1))
    [found] = session.run([OUTPUT], {INPUT: blobs})
    largest = max(largest, float(np.abs(found - answers).max()))
    while len(times) < _TIMED and sum(times) < 2:
        start = time.perf_counter()
        session.run([OUTPUT], {INPUT: first[0][0]})
        times.append(time.perf_counter() - start)
    file_iou, torch_iou = np.mean(ious, axis=0).tolist() if ious else (None, None)
    return Comparison(
        len(means),
        largest,
        fmean(means),
        fmean(overlaps),
        torch_iou,
        file_iou,
        1000 * median(times[1:] or times),
    )


def _session(encoded: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what matters comes as an exception
    options.enable_mem_pattern = False  # as the remover has it
    return onnxruntime.InferenceSession(encoded, options, providers=["CPUExecutionProvider"])


def _compared(source: Source, encoded: bytes, pairs: Sequence[Pair], size: int, *, quiet: bool) -> Comparison:
    """As :func:`compare`, with the pictures of `pairs`, or else the photos that the package carries."""
    with Progress(len(pairs), "checking", quiet=quiet) as progress:
        pictures = _of_pairs(pairs, size) if pairs else _of_package(size)
        return compare(source, encoded, pictures, lambda: progress.advance(0))


def _of_pairs(pairs: Sequence[Pair], size: int) -> Iterator[tuple[Image, Alpha | None]]:
    for pair in pairs:
        image, truth = read_square(pair, size, None)
        yield image, truth.astype(np.float32) / np.float32(255)


def _of_package(size: int) -> Iterator[tuple[Image, Alpha | None]]:
    """The sample photos, and each mirrored and darkened."""
    for sample in SAMPLES:
        photo = read_image(sample_path(f"{sample.name}.jpg"))
        image = resized(photo, photo[..., 0], size)[0]
        yield image, None
        yield np.ascontiguousarray(image[:, ::-1] // 2), None


def _judge(compared: Comparison, way: str, say: Callable[[str], object]) -> None:
    """Say a loss of IoU that is large.

    Raises:
        WeightsError: if alpha differs more than is allowed.
    """
    allowed = TOLERANCES[way]
    if not (compared.largest <= allowed.largest and compared.mean <= allowed.mean):  # NaN is not either
        advice = "the weights may be damaged" if way == "float32" else "take --weights float32 without --int8"
        raise WeightsError(
            f"the ONNX file's alpha differs from PyTorch's by {compared.largest:.2g} at most and "
            f"{compared.mean:.2g} on average; {way} may differ by {allowed.largest:g} and {allowed.mean:g}, "
            f"so nothing was written: {advice}"
        )
    if compared.iou_loss > IOU_LOSS:
        say(
            f"{way} costs {compared.iou_loss:.4f} of IoU, more than {IOU_LOSS}: "
            "take more --samples, or a type with more bits"
        )

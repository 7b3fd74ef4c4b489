"""A tiny network with the inputs, outputs and memory of Robust Video Matting's, and a known answer.

With ``red`` and ``green`` the frame's channels in 0..1 and ``m`` what it remembers (0 at the beginning)::

    pha = (red + m) / 2        fgr = (green, red, blue)
    r1o = pha   r2o = pha, one row and column in two   r3o = downsample_ratio   r4o = r4i + 1

``m`` is `r1i`. Each state's dimensions have names of their own; the published files call them all alike,
though their sizes differ, which ONNX Runtime takes at its word in a network as small as this.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

INPUTS = ("src", "r1i", "r2i", "r3i", "r4i", "downsample_ratio")
OUTPUTS = ("fgr", "pha", "r1o", "r2o", "r3o", "r4o")


def _state(name: str) -> tuple[str, ...]:
    return tuple(f"{name}_{side}" for side in ("batch", "channels", "height", "width"))


def rvm_model(path: Path, *, half: bool = False, without: str = "", nan: bool = False) -> Path:
    """Write the network to `path`.

    Args:
        half: in 16-bit floats, but for ``downsample_ratio``, as the authors' fp16 files.
        without: an input or output to leave out.
        nan: every answer is NaN.
    """
    dtype = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    number = np.float16 if half else np.float32
    nodes = [
        helper.make_node("Slice", ["src", "zero", "one", "channel"], ["red"]),
        helper.make_node("Slice", ["src", "one", "two", "channel"], ["green"]),
        helper.make_node("Slice", ["src", "two", "three", "channel"], ["blue"]),
        helper.make_node("Concat", ["green", "red", "blue"], ["fgr"], axis=1),
        helper.make_node("Add", ["red", "r1i"], ["sum"]),
        helper.make_node("Mul", ["sum", "factor"], ["pha"]),
        helper.make_node("Identity", ["pha"], ["r1o"]),
        helper.make_node("Slice", ["pha", "start2", "end2", "axes2", "step2"], ["every_other"]),
        # What is remembered of the second state has to be of its own shape, or fits nothing.
        helper.make_node("Mul", ["r2i", "nothing"], ["old"]),
        helper.make_node("Add", ["every_other", "old"], ["r2o"]),
        helper.make_node("Reshape", ["downsample_ratio", "scalar"], ["ratio32"]),
        helper.make_node("Cast", ["ratio32"], ["ratio"], to=dtype),
        helper.make_node("Mul", ["r3i", "nothing"], ["old3"]),
        helper.make_node("Add", ["ratio", "old3"], ["r3o"]),
        helper.make_node("Add", ["r4i", "unit"], ["r4o"]),
    ]
    constants = {
        "zero": np.array([0]), "one": np.array([1]), "two": np.array([2]), "three": np.array([3]),
        "channel": np.array([1]), "factor": np.array(np.nan if nan else 0.5, number),
        "nothing": np.array(0, number), "unit": np.array(1, number),
        "start2": np.array([0, 0]), "end2": np.array([2**31, 2**31]), "axes2": np.array([2, 3]),
        "step2": np.array([2, 2]), "scalar": np.array([1, 1, 1, 1]),
    }  # fmt: skip
    frame = ("batch_size", 3, "height", "width")
    shapes = {
        "src": frame,
        "fgr": frame,
        "pha": ("batch_size", 1, "height", "width"),
        "downsample_ratio": (1,),
    }
    types = {"downsample_ratio": TensorProto.FLOAT}

    def entry(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, types.get(name, dtype), shapes.get(name) or _state(name))

    if without in INPUTS:
        constants[without] = np.zeros((1, 1, 1, 1), number)
    graph = helper.make_graph(
        nodes,
        "rvm",
        [entry(name) for name in INPUTS if name != without],
        [entry(name) for name in OUTPUTS if name != without],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7)
    onnx.save(model, str(path))
    return path

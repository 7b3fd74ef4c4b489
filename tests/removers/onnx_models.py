"""Tiny ONNX networks, written node by node, for the tests of the ONNX remover."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[int | str]
FREE: Shape = (1, 3, "height", "width")


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    *,
    shape: Shape = FREE,
    outputs: Sequence[str] = ("y",),
    constants: dict[str, Any] | None = None,
    metadata: dict[str, str] | None = None,
    dtype: int = TensorProto.FLOAT,
    output_dtype: int | None = None,
    inputs: Sequence[str] = ("x",),
) -> Path:
    """Write a network of `nodes` from the inputs ``x`` to the `outputs`."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, dtype, shape) for name in inputs],
        [helper.make_tensor_value_info(name, output_dtype or dtype, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, str(path))
    return path


def conv(
    path: Path,
    weights: Sequence[Sequence[float]],
    bias: Sequence[float] | None = None,
    *,
    then: str = "",
    **options: Any,
) -> Path:
    """Each output channel a weighted sum of the three input channels; then `then` (``Sigmoid``)."""
    kernel = np.asarray(weights, np.float32)[:, :, None, None]
    constants = {"w": kernel, "b": np.asarray(bias or [0.0] * len(kernel), np.float32)}
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["z" if then else "y"])]
    if then:
        nodes.append(helper.make_node(then, ["z"], ["y"]))
    return save(path, nodes, constants=constants, **options)


def identity(path: Path, **options: Any) -> Path:
    """Gives back what it is given: what the photo was turned into."""
    return save(path, [helper.make_node("Identity", ["x"], ["y"])], **options)

"""Small ONNX graphs that map images to images, or fail to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Sizes = Sequence[int | str]
ANY: Sizes = (1, 3, "height", "width")
ANY_OUT: Sizes = (1, 3, "out_height", "out_width")
FLOAT, UINT8 = TensorProto.FLOAT, TensorProto.UINT8


def write_graph(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, np.ndarray] | None = None,
    inputs: Sequence[Sizes] = (ANY,),
    output: Sizes = ANY_OUT,
    dtype: int = FLOAT,
) -> Path:
    """Writes a graph from "x" ("x1", ...) to "y", opset 17."""
    names = ["x", *(f"x{index}" for index in range(1, len(inputs)))]
    graph = helper.make_graph(
        list(nodes),
        "restorer",
        [helper.make_tensor_value_info(n, dtype, list(s)) for n, s in zip(names, inputs, strict=True)],
        [helper.make_tensor_value_info("y", dtype, list(output))],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def identity(path: Path, size: Sizes = ANY, out: Sizes = ANY_OUT) -> Path:
    return write_graph(path, [helper.make_node("Identity", ["x"], ["y"])], inputs=(size,), output=out)


def brighter(path: Path, by: float) -> Path:
    """Adds a constant that a node holds, as older exporters write it."""
    value = numpy_helper.from_array(np.array(by, np.float32))
    nodes = [
        helper.make_node("Constant", [], ["by"], value=value),
        helper.make_node("Add", ["x", "by"], ["y"]),
    ]
    return write_graph(path, nodes)


def black(path: Path) -> Path:
    return write_graph(
        path, [helper.make_node("Mul", ["x", "zero"], ["y"])], {"zero": np.array(0, np.float32)}
    )


def enlarged(path: Path, scale: float, size: Sizes = ANY) -> Path:
    """Nearest neighbours."""
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="nearest", nearest_mode="floor",
                            coordinate_transformation_mode="asymmetric")  # fmt: skip
    return write_graph(path, [node], {"scales": np.array([1, 1, scale, scale], np.float32)}, inputs=(size,))


def inverted(path: Path) -> Path:
    """255 - x in uint8."""
    node = helper.make_node("Sub", ["white", "x"], ["y"])
    return write_graph(path, [node], {"white": np.array(255, np.uint8)}, dtype=UINT8)


def blurred(path: Path, size: Sizes = ANY, external: bool = False) -> Path:
    """A 3 x 3 mean of each channel; `external`: its weights in a file of their own."""
    node = helper.make_node("Conv", ["x", "weight"], ["y"], group=3, pads=[1, 1, 1, 1])
    write_graph(path, [node], {"weight": np.full((3, 1, 3, 3), 1 / 9, np.float32)}, inputs=(size,))
    if external:
        onnx.save(
            onnx.load(path), path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=0
        )
    return path

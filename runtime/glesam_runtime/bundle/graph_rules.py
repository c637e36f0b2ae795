"""What a bundle's ONNX graphs may hold, checked before an engine sees them: see docs/bundle.md.

runtime/src/bundle/graph_rules.cpp does the same, in the same order and the same words.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from .graph_cost import check_cost
from .onnx_messages import Attribute, Constant, Model, Node, Value, read_model
from .protobuf import Damaged, quoted
from .sizes import MOST_AXES
from .spec import GraphSpec, TensorSpec

FLOAT_OPERATORS = {
    "Add", "AveragePool", "Cast", "Clip", "Concat", "Conv", "ConvTranspose", "Cos", "DepthToSpace", "Div",
    "Equal", "Erf", "Exp", "Expand", "Gather", "Gemm", "InstanceNormalization",
    "LayerNormalization", "Log", "MatMul", "Max", "Min", "Mul", "Neg", "Pad", "ReduceMax", "ReduceMean",
    "ReduceSum", "Relu", "Reshape", "Resize", "Shape", "Sigmoid", "Sin", "Slice", "Softmax",
    "Split", "Sqrt", "Squeeze", "Sub", "Transpose", "Unsqueeze", "Where",
}  # fmt: skip
"""The operators of float bundles: all are in onnx-tensorrt's operator matrix for TensorRT 10.3."""
OPERATORS = FLOAT_OPERATORS | {"QuantizeLinear", "DequantizeLinear"}
"""All operators; those for int8 included."""
OPSETS = range(18, 21)
"""Versions of ONNX's operators."""
IR_VERSIONS = range(8, 11)
"""Versions of ONNX's file format."""
MOST_NODES = 8_192
"""Most nodes of a graph."""
MOST_ELEMENTS = 1 << 31
"""Most elements of a tensor."""
MOST_GRAPH_BYTES = 512 << 20
"""Largest ONNX file, without the weights beside it."""
_DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    16: "bfloat16",
}
_SIZES = {1: 4, 2: 1, 3: 1, 6: 4, 7: 8, 9: 1, 10: 2, 16: 2}
_SWITCH, _AXIS, _SIZE, _PAD = range(2), range(-MOST_AXES, MOST_AXES), range(1, 65_537), range(65_537)
_INTEGER, _INTEGERS = 2, 7
INTEGER_ATTRIBUTES = {
    "allowzero": (_INTEGER, _SWITCH),
    "antialias": (_INTEGER, _SWITCH),
    "axes": (_INTEGERS, _AXIS),
    "axis": (_INTEGER, _AXIS),
    "blocksize": (_INTEGER, range(1, 65)),
    "ceil_mode": (_INTEGER, _SWITCH),
    "count_include_pad": (_INTEGER, _SWITCH),
    "dilations": (_INTEGERS, _SIZE),
    "end": (_INTEGER, _AXIS),
    "exclude_outside": (_INTEGER, _SWITCH),
    "group": (_INTEGER, _SIZE),
    "keepdims": (_INTEGER, _SWITCH),
    "kernel_shape": (_INTEGERS, _SIZE),
    "noop_with_empty_axes": (_INTEGER, _SWITCH),
    "num_outputs": (_INTEGER, range(1, 1025)),
    "output_padding": (_INTEGERS, _PAD),
    "pads": (_INTEGERS, _PAD),
    "perm": (_INTEGERS, range(MOST_AXES)),
    "saturate": (_INTEGER, _SWITCH),
    "start": (_INTEGER, _AXIS),
    "stash_type": (_INTEGER, range(1, 2)),
    "strides": (_INTEGERS, _SIZE),
    "to": (_INTEGER, _DTYPES),
    "transA": (_INTEGER, _SWITCH),
    "transB": (_INTEGER, _SWITCH),
}
"""Attributes of whole numbers: type and range of each."""
_FLOAT_ATTRIBUTES = ("alpha", "beta", "cubic_coeff_a", "epsilon", "extrapolation_value")
_TEXT_ATTRIBUTES = {
    "auto_pad": ("NOTSET",),
    "coordinate_transformation_mode": ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"),
    "keep_aspect_ratio_policy": ("stretch",),
    "mode": ("constant", "edge", "reflect", "nearest", "linear", "cubic", "CRD", "DCR"),
    "nearest_mode": ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil"),
}


def check_graph_file(content: bytes, spec: GraphSpec, file: str, file_sizes: Mapping[str, int]) -> None:
    """Checks the ONNX file `file`, whose bytes are `content`, before an engine sees it.

    file_sizes: size [bytes] of every file that bundle.json lists.
    Raises Damaged where the graph holds what docs/bundle.md does not allow, or has other tensors than `spec`.
    """
    model = read_model(content)
    _check_versions(model)
    _check_constants(model.constants, f"{file}.data", file_sizes)
    _check_nodes(model)
    for value in (*model.inputs, *model.outputs, *model.values):
        _check_declared(value)
    _check_tensors("inputs", spec.inputs, model.inputs)
    _check_tensors("outputs", spec.outputs, model.outputs)
    check_cost(model, content, spec)


def _check_versions(model: Model) -> None:
    if model.ir_version not in IR_VERSIONS:
        raise Damaged(f"an IR version of {_limits(IR_VERSIONS)}", str(model.ir_version))
    for domain, version in model.opsets:
        if domain not in ("", "ai.onnx"):
            raise Damaged("operators of ONNX's own domain", f"domain {quoted(domain)}")
        if version not in OPSETS:
            raise Damaged(f"an opset of {_limits(OPSETS)}", str(version))
    if len(model.opsets) != 1:
        raise Damaged("one opset", str(len(model.opsets)))


def _check_constants(constants: Collection[Constant], data_file: str, file_sizes: Mapping[str, int]) -> None:
    external_bytes = 0
    for constant in constants:
        size = _elements(constant.name, constant.data_type, constant.shape) * _SIZES[constant.data_type]
        if constant.raw_data is not None:
            actual = constant.raw_data.end - constant.raw_data.start
            if actual != size:
                raise Damaged(f"constant {quoted(constant.name)} of {size} bytes", f"{actual} bytes")
        else:
            _check_external(constant, size, data_file, file_sizes)
            external_bytes += size
    # Without this, many constants may be the same bytes: a small file would fill the memory.
    if external_bytes > file_sizes.get(data_file, 0):
        raise Damaged("constants in bytes of their own", f"{external_bytes} bytes in {quoted(data_file)}")


def _check_external(constant: Constant, size: int, data_file: str, file_sizes: Mapping[str, int]) -> None:
    entries = dict(constant.external or ())
    location = entries.get("location", "")
    if location != data_file.rpartition("/")[2] or data_file not in file_sizes:
        raise Damaged(f"external data in {quoted(data_file)}, listed in bundle.json", quoted(location))
    if not set(entries) <= {"location", "offset", "length"} or len(entries) != len(constant.external or ()):
        raise Damaged("external data with location, offset and length", "other entries")
    offset, length = _decimal(entries.get("offset", "0")), _decimal(entries.get("length", str(size)))
    if length != size:
        raise Damaged(f"constant {quoted(constant.name)} of {size} bytes", f"{length} bytes")
    if offset + length > file_sizes[data_file]:
        raise Damaged(f"external data inside {quoted(data_file)}", f"offset {offset}")


def _decimal(text: str) -> int:
    if not text.isdecimal() or len(text) > 15:
        raise Damaged("external data with a decimal offset and length", quoted(text))
    return int(text)


def _check_nodes(model: Model) -> None:
    if len(model.nodes) > MOST_NODES:
        raise Damaged(f"at most {MOST_NODES} nodes", str(len(model.nodes)))
    known = {""}  # an input that is left out
    for name in [value.name for value in model.inputs] + [value.name for value in model.constants]:
        _define(known, name)
    for node in model.nodes:
        _check_node(node)
        for name in node.inputs:
            if name not in known:
                raise Damaged("nodes in order", f"{quoted(name)} used before it is computed")
        for name in node.outputs:
            if name:
                _define(known, name)
    for value in model.outputs:
        if value.name not in known:
            raise Damaged(f"a node that computes output {quoted(value.name)}", "none")


def _define(known: set[str], name: str) -> None:
    if name in known:
        raise Damaged("one tensor of each name", f"{quoted(name)} twice")
    known.add(name)


def _check_node(node: Node) -> None:
    if node.domain not in ("", "ai.onnx"):
        raise Damaged("operators of ONNX's own domain", f"domain {quoted(node.domain)}")
    if node.op_type not in OPERATORS:
        raise Damaged("the operators of docs/bundle.md", quoted(node.op_type))
    names = [attribute.name for attribute in node.attributes]
    if len(set(names)) != len(names):
        raise Damaged(f"attributes of {node.op_type} once", "one twice")
    for attribute in node.attributes:
        if not _is_allowed(attribute):
            raise Damaged(f"attributes of {node.op_type} as bundles use them", quoted(attribute.name))


def _is_allowed(attribute: Attribute) -> bool:
    name, numbers = attribute.name, attribute.integers
    if name in INTEGER_ATTRIBUTES:
        kind, values = INTEGER_ATTRIBUTES[name]
        fits = len(numbers) == 1 if kind == _INTEGER else len(numbers) <= 2 * MOST_AXES
        return attribute.type == kind and fits and all(number in values for number in numbers)
    if name in _TEXT_ATTRIBUTES:
        return attribute.type == 3 and not numbers and attribute.text in _TEXT_ATTRIBUTES[name]
    return name in _FLOAT_ATTRIBUTES and attribute.type == 1 and not numbers and not attribute.text


def _check_declared(value: Value) -> None:
    if value.shape is None:
        raise Damaged(f"a shape of {quoted(value.name)}", "none")
    _elements(value.name, value.data_type, tuple(max(1, size) for size in value.shape))


def _elements(name: str, data_type: int, shape: tuple[int, ...]) -> int:
    """Returns the number of elements. Raises Damaged where no bundle has this type or shape."""
    if data_type not in _DTYPES:
        raise Damaged("types of elements that bundles use", f"type {data_type} of {quoted(name)}")
    if len(shape) > MOST_AXES:
        raise Damaged(f"at most {MOST_AXES} axes", f"{len(shape)} of {quoted(name)}")
    if min(shape, default=0) < 0 or max(shape, default=0) > MOST_ELEMENTS or math.prod(shape) > MOST_ELEMENTS:
        raise Damaged(f"at most {MOST_ELEMENTS} elements", f"a larger shape of {quoted(name)}")
    return math.prod(shape)


def _check_tensors(side: str, expected: Collection[TensorSpec], actual: Collection[Value]) -> None:
    """Checks a graph's own inputs or outputs; sizes that either leaves open fit any."""
    values = {value.name: value for value in actual}
    if len(values) != len(actual) or set(values) != {tensor.name for tensor in expected}:
        names = ", ".join(values)
        raise Damaged(", ".join(tensor.name for tensor in expected), names[:80] or "none", f"{side} must be")
    for tensor in expected:
        value = values[tensor.name]
        shape = value.shape or ()
        fits = all(
            size == -1 or (isinstance(required, int) and size == required)
            for required, size in zip(tensor.shape, shape, strict=False)
        )
        if len(shape) != len(tensor.shape) or _DTYPES[value.data_type] != tensor.dtype or not fits:
            sizes = ",".join("?" if size < 0 else str(size) for size in shape)
            raise Damaged(str(tensor), f"{tensor.name} {_DTYPES[value.data_type]} [{sizes}]")


def _limits(versions: range) -> str:
    return f"{versions.start} to {versions.stop - 1}"

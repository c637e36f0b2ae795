"""Shapes that the reader computes are those that ONNX Runtime computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from glesam_runtime.bundle import graph_cost, shape_rules, sizes
from glesam_runtime.bundle.graph_cost import GraphCost
from glesam_runtime.bundle.graph_rules import OPERATORS
from glesam_runtime.bundle.onnx_messages import read_model
from glesam_runtime.bundle.reader import default_bundle_path
from glesam_runtime.bundle.sizes import ONE, Size, Unclear
from glesam_runtime.bundle.spec import GraphSpec, TensorSpec, bundle_contract

PROMPTS, POINTS = Size(1, prompts=(0, 1)), Size(1, points=(0, 1))


def measured(content: bytes, spec: GraphSpec) -> GraphCost:
    model = read_model(content)
    cost = GraphCost(model, content, spec)
    for index, node in enumerate(model.nodes):
        cost.count(index, node)
    return cost


def shapes_of_onnxruntime(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every tensor that a graph computes."""
    names = [name for node in model.graph.node for name in node.output if name]
    kept = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in kept)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(names, (x.shape for x in session.run(names, feeds)), strict=True))


@pytest.fixture
def few_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measures at two prompts of three points."""
    monkeypatch.setattr(sizes, "PROMPTS", 2)
    monkeypatch.setattr(sizes, "POINTS", 3)


@pytest.mark.usefixtures("few_prompts")
@pytest.mark.parametrize("name", ["image_encoder", "gle", "mask_decoder"])
def test_shapes_of_the_shipped_bundle(name: str) -> None:
    path = default_bundle_path() / f"{name}.onnx"
    spec = bundle_contract(512)[name]
    cost = measured(path.read_bytes(), spec)
    numbers = {"num_prompts": 2, "num_points": 3}
    feeds = {
        tensor.name: np.zeros([numbers.get(str(x), x) for x in tensor.shape], tensor.dtype)
        for tensor in spec.inputs
    }
    for tensor, shape in shapes_of_onnxruntime(onnx.load(path), feeds).items():
        assert tuple(size.count() for size in cost.shapes[tensor]) == shape, tensor


def test_every_operator_has_a_rule() -> None:
    assert set(shape_rules.RULES) == OPERATORS


def graph_of(
    op_type: str, shapes: list[list[int]], constants: list[object], outputs: int = 1, **attributes: object
) -> onnx.ModelProto:
    """Returns a graph with one node, whose inputs are named a, b and so on; its constants follow them."""
    inputs = [helper.make_tensor_value_info(chr(97 + i), TensorProto.FLOAT, x) for i, x in enumerate(shapes)]
    values = [
        numpy_helper.from_array(np.asarray(x), f"c{i}") for i, x in enumerate(constants) if x is not None
    ]
    names = [x.name for x in inputs] + ["" if x is None else f"c{i}" for i, x in enumerate(constants)]
    node = helper.make_node(op_type, names, [f"o{i}" for i in range(outputs)], **attributes)
    graph = helper.make_graph([node], "g", inputs, [], values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


F = np.float32
CASES = [
    graph_of("AveragePool", [[2, 3, 17, 12]], [], kernel_shape=[3, 2], strides=[2, 3], pads=[1, 0, 2, 1]),
    graph_of(
        "Conv",
        [[2, 6, 17, 12], [4, 3, 3, 2]],
        [],
        group=2,
        strides=[2, 1],
        dilations=[3, 2],
        pads=[1, 2, 0, 1],
    ),
    graph_of("Conv", [[2, 6, 17], [4, 6, 5]], []),
    graph_of(
        "ConvTranspose",
        [[2, 6, 5, 7], [6, 2, 3, 2]],
        [],
        group=3,
        strides=[2, 3],
        output_padding=[1, 2],
        pads=[0, 1, 1, 0],
        dilations=[2, 1],
    ),
    graph_of("Concat", [[2, 3, 4], [2, 5, 4]], [], axis=-2),
    graph_of("DepthToSpace", [[2, 12, 3, 5]], [], blocksize=2),
    graph_of("Expand", [[3, 1]], [np.int64([2, 1, 6])]),
    graph_of("Gather", [[3, 4, 5]], [np.int64([[0, 1, 2], [3, 0, 1]])], axis=1),
    graph_of("Gather", [[3, 4, 5]], [np.int64(2)], axis=-1),
    graph_of("Gemm", [[3, 4], [5, 3], [5]], [], transA=1, transB=1),
    graph_of("MatMul", [[2, 1, 3, 4], [7, 4, 5]], []),
    graph_of("Pad", [[2, 3, 4]], [np.int64([0, 1, 2, 3, 0, 1])]),
    graph_of("Pad", [[2, 3, 4]], [np.int64([1, 2]), None, np.int64([-1])]),
    graph_of("ReduceSum", [[2, 3, 4]], [np.int64([-1, 0])], keepdims=0),
    graph_of("ReduceSum", [[2, 3, 4]], []),
    graph_of("ReduceSum", [[2, 3, 4]], [], noop_with_empty_axes=1),
    graph_of("ReduceMax", [[2, 3, 4]], [np.int64([1])]),
    graph_of("ReduceMean", [[2, 3, 4]], [np.int64([0, 2])], keepdims=0),
    graph_of("Clip", [[2, 3, 4]], [F(0), F(6)]),
    graph_of("Reshape", [[2, 3, 4]], [np.int64([0, -1, 2])]),
    graph_of("Resize", [[1, 2, 5, 7]], [None, F([1, 1, 2.5, 0.4])], mode="linear"),
    graph_of("Resize", [[1, 2, 5, 7]], [None, None, np.int64([1, 2, 3, 11])], mode="nearest"),
    graph_of("Shape", [[2, 3, 4, 5]], [], start=-3, end=9),
    graph_of(
        "Slice",
        [[9, 8, 7]],
        [np.int64([-5, 2]), np.int64([2**63 - 1, -1]), np.int64([0, -1]), np.int64([2, 3])],
    ),
    graph_of("Slice", [[9, 8]], [np.int64([1]), np.int64([4])]),
    graph_of("Split", [[2, 7]], [], 3, axis=1, num_outputs=3),
    graph_of("Split", [[2, 7]], [np.int64([1, 4, 2])], 3, axis=-1),
    graph_of("Squeeze", [[1, 2, 1, 3]], []),
    graph_of("Squeeze", [[1, 2, 1, 3]], [np.int64([-2])]),
    graph_of("Transpose", [[2, 3, 4]], []),
    graph_of("Transpose", [[2, 3, 4]], [], perm=[1, 2, 0]),
    graph_of("Unsqueeze", [[2, 3]], [np.int64([0, -1])]),
    graph_of("Max", [[2, 1, 4], [3, 1], [1]], []),
]


@pytest.mark.parametrize("model", CASES, ids=lambda model: model.graph.node[0].op_type)
def test_shapes_of_an_operator(model: onnx.ModelProto) -> None:
    inputs = {x.name: [d.dim_value for d in x.type.tensor_type.shape.dim] for x in model.graph.input}
    spec = GraphSpec("g", tuple(TensorSpec(n, "float32", tuple(x)) for n, x in inputs.items()), ())
    cost = measured(model.SerializeToString(), spec)
    feeds = {name: np.ones(shape, np.float32) for name, shape in inputs.items()}
    expected = shapes_of_onnxruntime(model, feeds)
    assert {name: tuple(size.number() for size in cost.shapes[name]) for name in expected} == expected


def test_formulas() -> None:
    tokens = POINTS + Size(7)
    assert (tokens * PROMPTS).count() == 64 * (16 + 7)
    assert tokens * Size(4) == POINTS * Size(4) + Size(28)
    assert (tokens * Size(64) * Size(4) * PROMPTS) // (PROMPTS * tokens) == Size(256)
    assert (tokens + Size(-7)) == POINTS
    assert Size(0) + PROMPTS == PROMPTS
    assert ONE * tokens == tokens


@pytest.mark.parametrize(
    "formula",
    [
        lambda: POINTS * POINTS,
        lambda: PROMPTS + POINTS,
        lambda: PROMPTS + Size(-1),
        lambda: PROMPTS * Size(-1),
        lambda: Size(7) // Size(2),
        lambda: Size(7) // PROMPTS,
        lambda: (POINTS + Size(1)) // POINTS,
        lambda: Size(1 << 31) + ONE,
        lambda: Size(-1).count(),
    ],
)
def test_other_formulas_are_unclear(formula: object) -> None:
    assert callable(formula)
    with pytest.raises(Unclear):
        formula()


def test_counts_do_not_grow_without_end() -> None:
    assert sizes.product([1 << 30] * 10) == sizes.ENDLESS
    assert sizes.product([1 << 30] * 10 + [0]) == 0


def test_the_limits_are_those_of_cpp() -> None:
    source = (Path(__file__).parents[2] / "runtime/src/bundle/graph_cost.cpp").read_text()
    for name in ("MOST_COMPUTED", "MOST_LIVE", "MOST_MOVED", "MOST_MULTIPLY_ADDS", "MOST_FOLDED"):
        bits = getattr(graph_cost, name).bit_length() - 1
        assert f"{name.lower()} = std::int64_t{{1}} << {bits}U;" in source

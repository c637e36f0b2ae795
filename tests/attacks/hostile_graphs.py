"""Graphs that must not reach an engine, each made from the tiny bundle's GLE; the bundle is hashed again.

Every generator changes one ModelProto, or returns the bytes of a file that protobuf's library cannot write.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Generator = Callable[[onnx.ModelProto], "bytes | None"]
GRAPHS: dict[str, Generator] = {}
"""Every generator by name."""


def hostile(generator: Generator) -> Generator:
    """Registers a generator."""
    GRAPHS[generator.__name__] = generator
    return generator


def _external(model: onnx.ModelProto, location: str, offset: int = 0) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", "4")):
        tensor.external_data.add(key=key, value=value)


@hostile
def memory_of_the_process(model: onnx.ModelProto) -> None:
    _external(model, "*/_ORT_MEM_ADDR_/*", 4096)


@hostile
def file_outside_the_folder(model: onnx.ModelProto) -> None:
    _external(model, "../../../../../../../../etc/passwd")


@hostile
def absolute_path(model: onnx.ModelProto) -> None:
    _external(model, "/etc/passwd")


@hostile
def file_that_the_manifest_does_not_list(model: onnx.ModelProto) -> None:
    _external(model, "gle.onnx.data")


@hostile
def another_file_of_the_bundle(model: onnx.ModelProto) -> None:
    _external(model, "mask_decoder.onnx")


@hostile
def endless_loop(model: onnx.ModelProto) -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["still"]), helper.make_node("Identity", ["x"], ["y"])],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [1]),
        ],
    )
    constants = {"turns": np.int64(10**12), "go": np.bool_(True), "one": np.ones(1, np.float32)}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(x), name) for name, x in constants.items()
    )
    model.graph.node.append(helper.make_node("Loop", ["turns", "go", "one"], ["looped"], body=body))


@hostile
def subgraph_in_an_allowed_operator(model: onnx.ModelProto) -> None:
    graph = onnx.GraphProto.FromString(model.graph.SerializeToString())
    model.graph.node[0].attribute.add(name="body", type=onnx.AttributeProto.GRAPH, g=graph)


@hostile
def function_in_the_model(model: onnx.ModelProto) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    model.functions.append(helper.make_function("", "Mul", ["x"], ["y"], [node], model.opset_import))


@hostile
def custom_domain(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.microsoft"


@hostile
def second_opset(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))


@hostile
def later_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 24


@hostile
def earlier_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 1


@hostile
def later_ir_version(model: onnx.ModelProto) -> None:
    model.ir_version = 2**40


@hostile
def operator_that_no_bundle_has(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "RandomNormalLike"


@hostile
def constant_of_a_shape(model: onnx.ModelProto) -> None:
    shape = numpy_helper.from_array(np.full(3, 10**6), "bomb_shape")
    model.graph.initializer.append(shape)
    model.graph.node.append(helper.make_node("ConstantOfShape", ["bomb_shape"], ["bomb"]))


@hostile
def constant_larger_than_its_data(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [1 << 20, 1 << 20]


@hostile
def constant_whose_size_overflows(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [1 << 32, 1 << 32]


@hostile
def negative_size(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [-1]


@hostile
def constant_of_text(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(helper.make_tensor("text", TensorProto.STRING, [1], [b"x" * 100]))


@hostile
def sparse_constant(model: onnx.ModelProto) -> None:
    sparse = model.graph.sparse_initializer.add(dims=[1 << 40])
    sparse.values.CopyFrom(helper.make_tensor("sparse", TensorProto.FLOAT, [1], [1.0]))
    sparse.indices.CopyFrom(helper.make_tensor("indices", TensorProto.INT64, [1], [1 << 39]))


@hostile
def declared_shape_of_terabytes(model: onnx.ModelProto) -> None:
    name = model.graph.node[0].output[0]
    model.graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1 << 20, 1 << 20]))


@hostile
def sequence_as_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_sequence_value_info("sequence", TensorProto.FLOAT, None))


@hostile
def other_shape_of_the_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 257


@hostile
def output_that_none_computes(model: onnx.ModelProto) -> None:
    model.graph.node[-1].output[0] = "elsewhere"


@hostile
def tensor_used_before_it_is_computed(model: onnx.ModelProto) -> None:
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))


@hostile
def tensor_computed_twice(model: onnx.ModelProto) -> None:
    model.graph.node.append(model.graph.node[0])


@hostile
def more_nodes_than_any_model(model: onnx.ModelProto) -> None:
    nodes = [helper.make_node("Relu", [f"n{i - 1}" if i else "half"], [f"n{i}"]) for i in range(20_000)]
    model.graph.node.extend(nodes)


@hostile
def stride_of_zero(model: onnx.ModelProto) -> None:
    pool = helper.make_node("AveragePool", ["image_embeddings"], ["p"], kernel_shape=[1, 1], strides=[0, 0])
    model.graph.node.append(pool)


@hostile
def kernel_of_exabytes(model: onnx.ModelProto) -> None:
    pool = helper.make_node("AveragePool", ["image_embeddings"], ["p"], kernel_shape=[1 << 62, 1 << 62])
    model.graph.node.append(pool)


@hostile
def escape_sequence_in_a_name(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "\x1b]0;owned\x07\r\n"


@hostile
def very_long_name(model: onnx.ModelProto) -> None:
    model.graph.node[0].name = "x" * 10_000_000


@hostile
def empty_file(model: onnx.ModelProto) -> bytes:
    return b""


@hostile
def file_cut_off(model: onnx.ModelProto) -> bytes:
    return model.SerializeToString()[:-10]


@hostile
def bytes_behind_the_model(model: onnx.ModelProto) -> bytes:
    return model.SerializeToString() + b"\0" * 8


@hostile
def second_graph_that_is_merged(model: onnx.ModelProto) -> bytes:
    return model.SerializeToString() + model.SerializeToString()


@hostile
def endless_number(model: onnx.ModelProto) -> bytes:
    return b"\x08" + b"\xff" * 5_000_000


@hostile
def millions_of_fields(model: onnx.ModelProto) -> bytes:
    return model.SerializeToString() + b"\x42\x00" * 5_000_000


@hostile
def millions_of_numbers(model: onnx.ModelProto) -> bytes:
    model.graph.node[0].attribute.add(name="axes", type=onnx.AttributeProto.INTS).ints.extend([1] * 3_000_000)
    return model.SerializeToString()


@hostile
def groups_nested_in_groups(model: onnx.ModelProto) -> bytes:
    return model.SerializeToString() + b"\x0b" * 1_000_000


@hostile
def archive_in_place_of_a_model(model: onnx.ModelProto) -> bytes:
    return b"PK\x03\x04" + bytes(10_000)

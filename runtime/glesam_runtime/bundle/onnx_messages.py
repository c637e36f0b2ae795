"""ONNX files as plain values: the parts of onnx.proto that a bundle's graphs use, and no others.

Functions, subgraphs, sparse tensors, sequences, training information and constants in attributes have no
place in these tables: a file that holds one is refused where it is met. runtime/src/bundle/onnx_messages.cpp
does the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from .protobuf import (
    BYTES,
    INTEGER,
    INTEGERS,
    MANY,
    NUMBER,
    NUMBERS,
    Damaged,
    Message,
    Reader,
    Schema,
    Span,
)

_ENTRY = {1: ("key", BYTES), 2: ("value", BYTES)}
ENTRY = Schema("StringStringEntryProto", _ENTRY)
MODEL = Schema(
    "ModelProto",
    {
        1: ("ir_version", INTEGER),
        2: ("producer_name", BYTES),
        3: ("producer_version", BYTES),
        4: ("domain", BYTES),
        5: ("model_version", INTEGER),
        6: ("doc_string", BYTES),
        7: ("graph", BYTES),
        8: ("opset_import", MANY),
        14: ("metadata_props", MANY),
    },
)
OPSET = Schema("OperatorSetIdProto", {1: ("domain", BYTES), 2: ("version", INTEGER)})
GRAPH = Schema(
    "GraphProto",
    {
        1: ("node", MANY),
        2: ("name", BYTES),
        5: ("initializer", MANY),
        10: ("doc_string", BYTES),
        11: ("input", MANY),
        12: ("output", MANY),
        13: ("value_info", MANY),
        16: ("metadata_props", MANY),
    },
)
NODE = Schema(
    "NodeProto",
    {
        1: ("input", MANY),
        2: ("output", MANY),
        3: ("name", BYTES),
        4: ("op_type", BYTES),
        5: ("attribute", MANY),
        6: ("doc_string", BYTES),
        7: ("domain", BYTES),
        9: ("metadata_props", MANY),
    },
)
ATTRIBUTE = Schema(
    "AttributeProto",
    {
        1: ("name", BYTES),
        2: ("f", NUMBER),
        3: ("i", INTEGER),
        4: ("s", BYTES),
        7: ("floats", NUMBERS),
        8: ("ints", INTEGERS),
        13: ("doc_string", BYTES),
        20: ("type", INTEGER),
    },
)
TENSOR = Schema(
    "TensorProto",
    {
        1: ("dims", INTEGERS),
        2: ("data_type", INTEGER),
        8: ("name", BYTES),
        9: ("raw_data", BYTES),
        12: ("doc_string", BYTES),
        13: ("external_data", MANY),
        14: ("data_location", INTEGER),
        16: ("metadata_props", MANY),
    },
)
VALUE = Schema(
    "ValueInfoProto",
    {1: ("name", BYTES), 2: ("type", BYTES), 3: ("doc_string", BYTES), 4: ("metadata_props", MANY)},
)
TYPE = Schema("TypeProto", {1: ("tensor_type", BYTES), 6: ("denotation", BYTES)})
TENSOR_TYPE = Schema("TypeProto.Tensor", {1: ("elem_type", INTEGER), 2: ("shape", BYTES)})
SHAPE = Schema("TensorShapeProto", {1: ("dim", MANY)})
DIMENSION = Schema(
    "TensorShapeProto.Dimension",
    {1: ("dim_value", INTEGER), 2: ("dim_param", BYTES), 3: ("denotation", BYTES)},
)


class Attribute(NamedTuple):
    """One attribute of a node: its ONNX type (1 float, 2 integer, 3 text, 6 floats, 7 integers), its value.

    integers: the value of an integer, or of integers; text: that of a text.
    """

    name: str
    type: int
    integers: tuple[int, ...]
    text: str


class Node(NamedTuple):
    """One step of a graph."""

    name: str
    op_type: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: tuple[Attribute, ...]


class Value(NamedTuple):
    """Declared name, type and shape of a tensor; shape None: not declared; a size of -1 is left open."""

    name: str
    data_type: int
    shape: tuple[int, ...] | None


class Constant(NamedTuple):
    """An initializer: its data lies in `raw_data`, or where `external` says."""

    name: str
    data_type: int
    shape: tuple[int, ...]
    raw_data: Span | None
    external: tuple[tuple[str, str], ...] | None


@dataclass(frozen=True)
class Model:
    """A whole ONNX file. opsets: pairs of domain and version."""

    ir_version: int
    opsets: tuple[tuple[str, int], ...]
    nodes: tuple[Node, ...]
    constants: tuple[Constant, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    values: tuple[Value, ...]


def read_model(content: bytes) -> Model:
    """Returns the model in an ONNX file. Raises Damaged where it is none, or holds what no bundle does."""
    return _Messages(Reader(content)).model(Span(0, len(content)))


class _Messages:
    """Reads each kind of message of one file."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def model(self, span: Span) -> Model:
        message = self._reader.message(MODEL, span)
        if "graph" not in message.spans:
            raise Damaged("an ONNX graph", "none")
        self._skip(message)
        opsets = tuple(self._opset(each) for each in message.many.get("opset_import", []))
        graph = self._reader.message(GRAPH, message.spans["graph"])
        self._skip(graph)
        many = graph.many
        return Model(
            message.integers.get("ir_version", 0),
            opsets,
            tuple(self._node(each) for each in many.get("node", [])),
            tuple(self._constant(each) for each in many.get("initializer", [])),
            tuple(self._value(each) for each in many.get("input", [])),
            tuple(self._value(each) for each in many.get("output", [])),
            tuple(self._value(each) for each in many.get("value_info", [])),
        )

    def _opset(self, span: Span) -> tuple[str, int]:
        message = self._reader.message(OPSET, span)
        return self._name(message, "domain"), message.integers.get("version", 0)

    def _node(self, span: Span) -> Node:
        message = self._reader.message(NODE, span)
        self._skip(message)
        return Node(
            self._name(message, "name"),
            self._name(message, "op_type"),
            self._name(message, "domain"),
            tuple(map(self._reader.name, message.many.get("input", []))),
            tuple(map(self._reader.name, message.many.get("output", []))),
            tuple(self._attribute(each) for each in message.many.get("attribute", [])),
        )

    def _attribute(self, span: Span) -> Attribute:
        message = self._reader.message(ATTRIBUTE, span)
        integers = message.lists.get("ints", [])
        if "i" in message.integers:
            integers = [*integers, message.integers["i"]]
        name = self._name(message, "name")
        return Attribute(name, message.integers.get("type", 0), tuple(integers), self._name(message, "s"))

    def _constant(self, span: Span) -> Constant:
        message = self._reader.message(TENSOR, span)
        self._skip(message)
        external = tuple(self._entry(each) for each in message.many.get("external_data", []))
        is_external = message.integers.get("data_location", 0) == 1
        if "data_location" in message.integers and message.integers["data_location"] not in (0, 1):
            raise Damaged("a data_location of 0 or 1", str(message.integers["data_location"]))
        if bool(external) != is_external or (is_external and "raw_data" in message.spans):
            raise Damaged("constants with raw_data or external_data", "a mixture")
        return Constant(
            self._name(message, "name"),
            message.integers.get("data_type", 0),
            tuple(message.lists.get("dims", [])),
            None if is_external else message.spans.get("raw_data", Span(0, 0)),
            external if is_external else None,
        )

    def _value(self, span: Span) -> Value:
        message = self._reader.message(VALUE, span)
        self._skip(message)
        name = self._name(message, "name")
        outer = self._reader.message(TYPE, message.spans.get("type", Span(0, 0)))
        inner = self._reader.message(TENSOR_TYPE, outer.spans.get("tensor_type", Span(0, 0)))
        data_type = inner.integers.get("elem_type", 0)
        if "shape" not in inner.spans:
            return Value(name, data_type, None)
        shape = self._reader.message(SHAPE, inner.spans["shape"])
        return Value(name, data_type, tuple(self._dimension(each) for each in shape.many.get("dim", [])))

    def _dimension(self, span: Span) -> int:
        message = self._reader.message(DIMENSION, span)
        self._name(message, "dim_param")
        size = message.integers.get("dim_value", -1)
        if "dim_value" in message.integers and size < 0:
            raise Damaged("sizes of at least 0", str(size))
        return size

    def _entry(self, span: Span) -> tuple[str, str]:
        message = self._reader.message(ENTRY, span)
        return self._name(message, "key"), self._name(message, "value")

    def _name(self, message: Message, field: str) -> str:
        return self._reader.name(message.spans[field]) if field in message.spans else ""

    def _skip(self, message: Message) -> None:
        """Reads the entries that nobody needs, so that they hold nothing else."""
        for each in message.many.get("metadata_props", []):
            self._reader.message(ENTRY, each)

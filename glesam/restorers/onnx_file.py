"""What the ONNX file of a restorer may hold, checked before ONNX Runtime sees it.

The bundle's own reader of ONNX files reads it, with wider tables: a restorer may have any operators of ONNX's
own domain, in any opset. Refused are external data in other files than `<name>.data`, subgraphs, functions,
random numbers, and damaged or too large files. What a graph costs is not checked, unlike in a bundle.
"""

from __future__ import annotations

import math
import mmap
from pathlib import Path

from glesam.file_limits import check_is_file
from glesam_runtime.bundle.graph_rules import MOST_GRAPH_BYTES
from glesam_runtime.bundle.onnx_messages import ATTRIBUTE, ENTRY, GRAPH, MODEL, NODE, TENSOR
from glesam_runtime.bundle.protobuf import BYTES, MANY, Damaged, Message, Reader, Schema, Span, quoted
from glesam_runtime.bundle.reader import GraphContent, sha256_of
from glesam_runtime.errors import InputError

RANDOM = {
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}
"""Operators that give another picture each time."""
CONTROL_FLOW = {"If", "Loop", "Scan", "SequenceMap"}
"""Operators that hold graphs of their own, whose number of steps no check can tell."""
ITEM_BYTES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
"""Bytes of one element of ONNX's types, by their numbers."""
ANY_GRAPH = Schema(GRAPH.name, {**GRAPH.fields, 14: ("quantization_annotation", MANY)})
ANY_ATTRIBUTE = Schema(ATTRIBUTE.name, {**ATTRIBUTE.fields, 5: ("t", BYTES), 9: ("strings", MANY)})
_PACKED = {4: "float_data", 5: "int32_data", 7: "int64_data", 10: "double_data", 11: "uint64_data"}
ANY_TENSOR = Schema(
    TENSOR.name, {**TENSOR.fields, **{number: (name, BYTES) for number, name in _PACKED.items()}}
)


def read_restorer_file(path: Path) -> GraphContent:
    """Reads a restorer's ONNX file, and `<name>.data` beside it where its weights are there.

    Raises:
        InputError: it is missing, too large, damaged, or holds what this module's docstring refuses.
        OSError: it cannot be read.
    """
    check_is_file(path)
    if path.stat().st_size > MOST_GRAPH_BYTES:
        raise InputError(
            f"restorer {path} has {path.stat().st_size >> 20} MiB; expected an ONNX file of at most "
            f"{MOST_GRAPH_BYTES >> 20} MiB; save its weights in {path.name}.data"
        )
    content = path.read_bytes()
    data = path.with_name(f"{path.name}.data")
    size = data.stat().st_size or None if data.is_file() else None
    try:
        is_external = _Checks(content, data.name, size).model()
    except Damaged as error:
        reason = str(error).replace(" that bundles use", "")
        raise InputError(f"restorer {path}: {reason}; export it again as one plain ONNX graph") from error
    if not is_external:
        return GraphContent(path, content)
    with data.open("rb") as file:
        return GraphContent(path, content, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def digest_of(path: Path) -> str:
    """The start of the sha256 of an ONNX file, and of the weights beside it where there are any."""
    files = (path, path.with_name(f"{path.name}.data"))
    return "+".join(sha256_of(file)[:12] for file in files if file.is_file())


class _Checks:
    """Walks through every message of one file; `size` is that of the file of weights, None without any."""

    def __init__(self, content: bytes, data_file: str, size: int | None) -> None:
        self._reader = Reader(content)
        self._all = Span(0, len(content))
        self._data_file, self._size = data_file, size
        self._external = False

    def model(self) -> bool:
        """Returns whether there are weights in the other file. Raises Damaged."""
        model = self._reader.message(MODEL, self._all)
        if "graph" not in model.spans:
            raise Damaged("an ONNX graph", "none")
        graph = self._reader.message(ANY_GRAPH, model.spans["graph"])
        for span in graph.many.get("node", []):
            self._node(self._reader.message(NODE, span))
        for span in graph.many.get("initializer", []):
            self._tensor(span)
        return self._external

    def _node(self, node: Message) -> None:
        operator, domain = self._name(node, "op_type"), self._name(node, "domain")
        if domain not in ("", "ai.onnx"):
            raise Damaged("operators of ONNX's own domain", f"{quoted(operator)} of domain {quoted(domain)}")
        if operator in CONTROL_FLOW:
            raise Damaged("a graph without control flow", quoted(operator))
        if operator in RANDOM:
            raise Damaged("a graph without random numbers", quoted(operator))
        for span in node.many.get("attribute", []):
            attribute = self._reader.message(ANY_ATTRIBUTE, span)
            if "t" in attribute.spans:
                self._tensor(attribute.spans["t"])

    def _tensor(self, span: Span) -> None:
        tensor = self._reader.message(ANY_TENSOR, span)
        entries: dict[str, str] = {}
        for each in tensor.many.get("external_data", []):
            entry = self._reader.message(ENTRY, each)
            entries[self._name(entry, "key")] = self._name(entry, "value")
        if not entries and not tensor.integers.get("data_location"):
            return
        location = entries.get("location", "")
        if location != self._data_file or self._size is None:
            raise Damaged(f"weights in the file itself, or beside it in {self._data_file}", quoted(location))
        size = _bytes_of(tensor)
        if _number(entries, "length", size) != size:
            raise Damaged(f"weights of {size} bytes", f"a length of {entries['length']}")
        if _number(entries, "offset", 0) + size > self._size:
            raise Damaged(f"weights inside {self._data_file}", f"{self._size} bytes there")
        self._external = True

    def _name(self, message: Message, field: str) -> str:
        return self._reader.name(message.spans[field]) if field in message.spans else ""


def _bytes_of(tensor: Message) -> int:
    """Number of bytes that a tensor's type and shape say it has."""
    data_type, shape = tensor.integers.get("data_type", 0), tensor.lists.get("dims", [])
    if data_type not in ITEM_BYTES or min(shape, default=0) < 0:
        raise Damaged("weights of numbers in a shape of sizes", f"type {data_type} of shape {shape[:8]}")
    return ITEM_BYTES[data_type] * math.prod(shape)


def _number(entries: dict[str, str], key: str, default: int) -> int:
    text = entries.get(key, str(default))
    if not text.isdecimal() or len(text) > 15:
        raise Damaged(f"a decimal {key} of weights", quoted(text))
    return int(text)

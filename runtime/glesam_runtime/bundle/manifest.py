"""Parses bundle.json into typed, checked values. reader.py checks the other files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard, TypeVar

from ..errors import BundleError
from .document import parse_document
from .options import with_options
from .spec import Dimension, GraphSpec, TensorSpec, bundle_contract

FORMAT_VERSION = 1
MOST_BYTES = 16 << 30
"""Most bytes of all files of a bundle."""
MOST_IMAGE_SIZE = 32_768
"""Largest image size [pixels]: S * S * 3 floats must fit in memory."""
_LARGEST = 1e30  # well within float32, in which the graphs compute
# As in C++ (text.cpp): controls, and what shows nothing or turns the direction of writing.
_HIDDEN = re.compile("[\x00-\x1f\x7f-\xa0\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
_KIND_NAMES = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
_Kind = TypeVar("_Kind", dict[str, object], list[object], str, bool)


@dataclass(frozen=True)
class Int8Layers:
    """Names of a graph's layers that compute in int8, and of those that could but were left in float."""

    layers: tuple[str, ...]
    left: tuple[str, ...]


@dataclass(frozen=True)
class Graph:
    """One ONNX graph of a bundle: its file in the folder, its precision, its tensors.

    fp32_islands: parts that are kept in fp32 -> the reason. int8: None where no layer computes in int8.
    """

    file: str
    precision: str
    spec: GraphSpec
    fp32_islands: Mapping[str, str]
    int8: Int8Layers | None


@dataclass(frozen=True)
class FileRecord:
    """Size [bytes] and sha256 (lower-case hex) of one file of the bundle."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """bundle.json, format version 1. docs/bundle.md explains the fields."""

    name: str
    sam_type: str
    multimask: bool
    image_size: int
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]
    mask_threshold: float
    gamma: float
    timestep: int
    precision: str
    graphs: Mapping[str, Graph]
    files: Mapping[str, FileRecord]
    made_from: Mapping[str, object]
    parity: Mapping[str, object]

    def graph_files(self, name: str) -> list[str]:
        """Returns the files of graph `name`: its own and, for large weights, the one beside it."""
        file = self.graphs[name].file
        return [each for each in (file, f"{file}.data") if each in self.files]


def parse_manifest(text: bytes) -> Manifest:
    """Parses bundle.json. Raises BundleError for anything that docs/bundle.md does not allow."""
    document = parse_document(text)
    if not isinstance(document, dict):
        raise _refuse("the document", "an object", document)
    root = _Fields(document)
    _check_format_version(root)
    return _manifest(root)


def _check_format_version(root: _Fields) -> None:
    version = root.integer("format_version", least=1)
    if version != FORMAT_VERSION:
        raise BundleError(
            f"bundle.json has format_version {version}, this glesam_runtime reads {FORMAT_VERSION}; "
            "upgrade glesam, or export the bundle with this version"
        )


def _manifest(root: _Fields) -> Manifest:
    model = root.fields("model")
    image_size = root.integer("image_size", least=16)
    if image_size % 16:
        raise _refuse("image_size", "a multiple of 16", image_size)
    if image_size > MOST_IMAGE_SIZE:
        raise _refuse("image_size", f"at most {MOST_IMAGE_SIZE}", image_size)
    files = _files(root.fields("files"))
    return Manifest(
        name=model.label("name"),
        sam_type=model.label("sam_type"),
        multimask=model.get("multimask", bool),
        image_size=image_size,
        pixel_mean=root.rgb("pixel_mean"),
        pixel_std=root.rgb("pixel_std", positive=True),
        mask_threshold=root.number("mask_threshold"),
        gamma=root.number("gamma", positive=True),
        timestep=root.integer("timestep"),
        precision=root.label("precision"),
        graphs=_graphs(root.fields("graphs"), files, image_size),
        files=files,
        made_from=root.get("made_from", dict),
        parity=root.get("parity", dict),
    )


def _files(records: _Fields) -> dict[str, FileRecord]:
    files = {path: _file(records.fields(path)) for path in records.values}
    if sum(file.size for file in files.values()) > MOST_BYTES:
        raise _refuse("files", f"of at most {MOST_BYTES} bytes", "more")
    return files


def _file(record: _Fields) -> FileRecord:
    sha256 = record.get("sha256", str)
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise _refuse(f"{record.where}sha256", "64 lower-case hex digits", sha256)
    return FileRecord(record.integer("size"), sha256)


def _graphs(graphs: _Fields, files: Mapping[str, FileRecord], image_size: int) -> dict[str, Graph]:
    contract = bundle_contract(image_size)
    if set(graphs.values) != set(contract):
        raise _refuse("graphs", f"exactly {', '.join(contract)}", sorted(graphs.values))
    return {name: _graph(graphs.fields(name), files, contract[name]) for name in contract}


def _graph(graph: _Fields, files: Mapping[str, FileRecord], required: GraphSpec) -> Graph:
    file = graph.get("file", str)
    if file not in files:
        raise _refuse(f"{graph.where}file", "a path listed under files", file)
    islands = graph.fields("fp32_islands")
    inputs, outputs = graph.tensors("inputs"), graph.tensors("outputs")
    expected = with_options(required, {tensor.name for tensor in (*inputs, *outputs)})
    _check_tensors(f"{graph.where}inputs", inputs, expected.inputs)
    _check_tensors(f"{graph.where}outputs", outputs, expected.outputs)
    return Graph(
        file,
        graph.label("precision"),
        expected,
        {island: islands.label(island) for island in islands.values},
        _int8(graph.fields("int8")) if "int8" in graph.values else None,
    )


def _int8(record: _Fields) -> Int8Layers:
    return Int8Layers(record.strings("layers"), record.strings("left"))


def _check_tensors(where: str, actual: tuple[TensorSpec, ...], expected: tuple[TensorSpec, ...]) -> None:
    if set(actual) != set(expected) or len(actual) != len(expected):
        raise BundleError(
            f"bundle.json: {where} must be {'; '.join(map(str, expected))}, "
            f"found {'; '.join(map(str, actual)) or 'none'}; export the bundle again"
        )


@dataclass(frozen=True)
class _Fields:
    """A JSON object whose fields are read by name and type; `where` is its path in error messages."""

    values: dict[str, object]
    where: str = ""

    def take(self, name: str) -> object:
        if name not in self.values:
            raise BundleError(f"bundle.json: {self.where}{name} is missing; export the bundle again")
        return self.values[name]

    def get(self, name: str, kind: type[_Kind]) -> _Kind:
        value = self.take(name)
        if not isinstance(value, kind):
            raise _refuse(f"{self.where}{name}", _KIND_NAMES[kind], value)
        return value

    def label(self, name: str) -> str:
        """Returns a text that is shown to people: without characters that a terminal acts on."""
        value = self.get(name, str)
        if _HIDDEN.search(name + value):
            raise _refuse(f"{self.where}{name}", "text without control characters", value)
        return value

    def fields(self, name: str) -> _Fields:
        return _Fields(self.get(name, dict), f"{self.where}{name}.")

    def integer(self, name: str, least: int = 0) -> int:
        value = self.take(name)
        if not _is_integer(value) or value < least:
            raise _refuse(f"{self.where}{name}", f"an integer of at least {least}", value)
        return value

    def number(self, name: str, positive: bool = False) -> float:
        return _number(f"{self.where}{name}", self.take(name), positive)

    def rgb(self, name: str, positive: bool = False) -> tuple[float, float, float]:
        values = self.get(name, list)
        if len(values) != 3:
            raise _refuse(f"{self.where}{name}", "three numbers (R, G, B)", values)
        red, green, blue = (_number(f"{self.where}{name}", value, positive) for value in values)
        return red, green, blue

    def strings(self, name: str) -> tuple[str, ...]:
        values = self.get(name, list)
        if not all(isinstance(value, str) for value in values):
            raise _refuse(f"{self.where}{name}", "a list of strings", values)
        return tuple(map(str, values))

    def tensors(self, name: str) -> tuple[TensorSpec, ...]:
        where = f"{self.where}{name}"
        return tuple(_tensor(f"{where}[{i}]", v) for i, v in enumerate(self.get(name, list)))


def _is_integer(value: object) -> TypeGuard[int]:
    """Returns whether `value` is an integer of 64 bits; bool is a subclass of int, and no size."""
    return isinstance(value, int) and not isinstance(value, bool) and value < 1 << 63


def _number(where: str, value: object, positive: bool) -> float:
    # A comparison is false for NaN, and unlike math.isfinite() it takes an integer of any length.
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not -_LARGEST < value < _LARGEST
        or (positive and value <= 0)
    ):
        raise _refuse(where, "a positive number" if positive else "a finite number", value)
    return float(value)


def _tensor(where: str, value: object) -> TensorSpec:
    if not isinstance(value, dict):
        raise _refuse(where, "an object", value)
    tensor = _Fields(value, f"{where}.")
    shape = tuple(_dimension(f"{where}.shape", size) for size in tensor.get("shape", list))
    return TensorSpec(tensor.get("name", str), tensor.get("dtype", str), shape)


def _dimension(where: str, value: object) -> Dimension:
    if not isinstance(value, str) and not _is_integer(value):
        raise _refuse(where, "integers and names of dynamic dimensions", value)
    return value


def _refuse(where: str, expected: str, value: object) -> BundleError:
    shown = json.dumps(value)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    return BundleError(f"bundle.json: {where} must be {expected}, found {shown}; export the bundle again")

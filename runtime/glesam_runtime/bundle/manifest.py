"""Parses bundle.json into typed, checked values. reader.py checks the other files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ..errors import BundleError
from .document import parse_document
from .fields import Fields, refuse
from .options import with_options
from .spec import Family, GraphSpec, TensorSpec, bundle_contract

MOST_BYTES = 16 << 30
"""Most bytes of all files of a bundle."""
MOST_IMAGE_SIZE = 32_768
"""Largest image size [pixels]: S * S * 3 floats must fit in memory."""
MOST_CHANNELS = 65_536
"""Largest number of channels of an image encoder."""
ManifestResize = Literal["longest-side", "squash"]
"""How a bundle's pictures are resized: names in preprocess.RESIZES."""


@dataclass(frozen=True)
class Int8Layers:
    """Names of a graph's layers that compute in int8, and of those that could but were left in float.

    target: the runtime that it was quantized for, or "any".
    """

    layers: tuple[str, ...]
    left: tuple[str, ...]
    target: str = "any"


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
    """bundle.json. docs/bundle.md explains the fields; only RobustSAM has no gamma and no timestep."""

    name: str
    sam_type: str
    multimask: bool
    image_size: int
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]
    mask_threshold: float
    gamma: float | None
    timestep: int | None
    precision: str
    graphs: Mapping[str, Graph]
    files: Mapping[str, FileRecord]
    made_from: Mapping[str, object]
    parity: Mapping[str, object]
    family: Family = "sam"
    encoder_channels: int = 0
    resize: ManifestResize = "longest-side"

    @property
    def format_version(self) -> int:
        """Version of bundle.json: 1 for the family "sam", 2 for the others."""
        return 1 if self.family == "sam" else 2

    @property
    def needs_gle(self) -> bool:
        """Whether the decoder reads only what the graph gle computes, never the encoder's own embedding."""
        return self.family == "robustsam"

    def contract(self) -> dict[str, GraphSpec]:
        """Returns the bundle's graphs by name, as its readers expect them."""
        return bundle_contract(self.image_size, self.family, self.encoder_channels)

    def graph_files(self, name: str) -> list[str]:
        """Returns the files of graph `name`: its own and, for large weights, the one beside it."""
        file = self.graphs[name].file
        return [each for each in (file, f"{file}.data") if each in self.files]


def parse_manifest(text: bytes) -> Manifest:
    """Parses bundle.json. Raises BundleError for anything that docs/bundle.md does not allow."""
    document = parse_document(text)
    if not isinstance(document, dict):
        raise refuse("the document", "an object", document)
    root = Fields(document)
    return _manifest(root, _format_version(root))


def _format_version(root: Fields) -> int:
    version = root.integer("format_version", least=1)
    if version not in (1, 2):
        raise BundleError(
            f"bundle.json has format_version {version}, this glesam_runtime reads 1 and 2; "
            "upgrade glesam, or export the bundle with this version"
        )
    return version


def _manifest(root: Fields, version: int) -> Manifest:
    model = root.fields("model")
    image_size = _image_size(root)
    family = _family(model, version)
    has_gle = family != "robustsam"
    encoder_channels = 0 if has_gle else _encoder_channels(model)
    contract = bundle_contract(image_size, family, encoder_channels)
    files = _files(root.fields("files"))
    return Manifest(
        name=model.label("name"),
        sam_type=model.label("sam_type"),
        multimask=model.get("multimask", bool),
        image_size=image_size,
        pixel_mean=root.rgb("pixel_mean"),
        pixel_std=root.rgb("pixel_std", positive=True),
        mask_threshold=root.number("mask_threshold"),
        gamma=root.number("gamma", positive=True) if has_gle else None,
        timestep=root.integer("timestep") if has_gle else None,
        precision=root.label("precision"),
        graphs=_graphs(root.fields("graphs"), files, contract),
        files=files,
        made_from=root.get("made_from", dict),
        parity=root.get("parity", dict),
        family=family,
        encoder_channels=encoder_channels,
        resize=_resize(root, version),
    )


def _image_size(root: Fields) -> int:
    image_size = root.integer("image_size", least=16)
    if image_size % 16:
        raise refuse("image_size", "a multiple of 16", image_size)
    if image_size > MOST_IMAGE_SIZE:
        raise refuse("image_size", f"at most {MOST_IMAGE_SIZE}", image_size)
    return image_size


def _family(model: Fields, version: int) -> Family:
    if version == 1:
        return "sam"
    match model.get("family", str):
        case "sam2":
            return "sam2"
        case "robustsam":
            return "robustsam"
        case other:
            raise refuse("model.family", "sam2 or robustsam", other)


def _encoder_channels(model: Fields) -> int:
    channels = model.integer("encoder_channels", least=1)
    if channels > MOST_CHANNELS:
        raise refuse("model.encoder_channels", f"at most {MOST_CHANNELS}", channels)
    return channels


def _resize(root: Fields, version: int) -> ManifestResize:
    if version == 1:
        return "longest-side"
    match root.get("resize", str):
        case "longest-side":
            return "longest-side"
        case "squash":
            return "squash"
        case other:
            raise refuse("resize", "longest-side or squash", other)


def _files(records: Fields) -> dict[str, FileRecord]:
    files = {path: _file(records.fields(path)) for path in records.values}
    if sum(file.size for file in files.values()) > MOST_BYTES:
        raise refuse("files", f"of at most {MOST_BYTES} bytes", "more")
    return files


def _file(record: Fields) -> FileRecord:
    sha256 = record.get("sha256", str)
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise refuse(f"{record.where}sha256", "64 lower-case hex digits", sha256)
    return FileRecord(record.integer("size"), sha256)


def _graphs(
    graphs: Fields, files: Mapping[str, FileRecord], contract: Mapping[str, GraphSpec]
) -> dict[str, Graph]:
    if set(graphs.values) != set(contract):
        raise refuse("graphs", f"exactly {', '.join(contract)}", sorted(graphs.values))
    return {name: _graph(graphs.fields(name), files, contract[name]) for name in contract}


def _graph(graph: Fields, files: Mapping[str, FileRecord], required: GraphSpec) -> Graph:
    file = graph.get("file", str)
    if file not in files:
        raise refuse(f"{graph.where}file", "a path listed under files", file)
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


def _int8(record: Fields) -> Int8Layers:
    target = record.label("target") if "target" in record.values else "any"
    return Int8Layers(record.strings("layers"), record.strings("left"), target)


def _check_tensors(where: str, actual: tuple[TensorSpec, ...], expected: tuple[TensorSpec, ...]) -> None:
    if set(actual) != set(expected) or len(actual) != len(expected):
        raise BundleError(
            f"bundle.json: {where} must be {'; '.join(map(str, expected))}, "
            f"found {'; '.join(map(str, actual)) or 'none'}; export the bundle again"
        )

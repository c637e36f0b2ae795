"""The tables that glesam-info shows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ..bundle.manifest import Graph
from ..bundle.spec import Family
from ..engines.tensorrt.cache import EngineRecord
from . import parity
from .console import grid, plain, table
from .info import Info, graph_size

if TYPE_CHECKING:
    from .console import Drawn

Rows = list[tuple[str, str]]
_NETWORKS: Mapping[Family, str] = {"sam": "SAM", "sam2": "SAM 2", "robustsam": "RobustSAM"}
_SHORT = 12  # digits of a hash, enough to tell files apart


def tables(info: Info, verbose: bool) -> Iterator[Drawn]:
    """Yields the model, its graphs, tensors and files, and the backends here; `verbose`: layers too."""
    bundle = info.bundle
    graphs = bundle.manifest.graphs
    yield grid(_model(info))
    columns = ["graph", "precision", "fp32 islands", "int8 layers", "MiB"]
    rows = [[name, *_figures(graph), _mib(graph_size(bundle, name))] for name, graph in graphs.items()]
    yield table("graphs", columns, rows)
    yield grid(row for name, graph in graphs.items() for row in _tensors(name, graph))
    yield plain(_parity(info))
    if verbose:
        yield grid(row for name, graph in graphs.items() for row in _layers(name, graph))
    files = [[name, _mib(file.size), file.sha256[:_SHORT]] for name, file in bundle.manifest.files.items()]
    yield table("files", ["name", "MiB", "sha256"], files)
    yield grid(_made_from(bundle.manifest.made_from))
    yield grid(_backends(info))


def _model(info: Info) -> Rows:
    model = info.bundle.manifest
    network = f"{_NETWORKS[model.family]} {model.sam_type}, {model.image_size} x {model.image_size} pixels"
    gle = (
        f"gamma {model.gamma:g}, timestep {model.timestep}" if model.gamma is not None else "RobustSAM's own"
    )
    return [
        ("model", f"{model.name} {model.precision}"),
        ("folder", str(info.bundle.root)),
        ("sha256", info.bundle.hash),
        ("network", f"{network}, {'multimask' if model.multimask else 'no multimask'}"),
        ("GLE", gle),
    ]


def _parity(info: Info) -> str:
    """Returns the parity at export in glesam-verify's form."""
    measured = info.parity.mask_iou
    return f"parity at export\n{parity.table(info.parity)}" if measured else "parity at export: not recorded"


def _figures(graph: Graph) -> list[str]:
    int8 = (
        f"{len(graph.int8.layers)} of {len(graph.int8.layers) + len(graph.int8.left)}" if graph.int8 else "-"
    )
    return [graph.precision, str(len(graph.fp32_islands) or "-"), int8]


def _tensors(name: str, graph: Graph) -> Iterator[tuple[str, str, str]]:
    for side, tensors in (("in", graph.spec.inputs), ("out", graph.spec.outputs)):
        for tensor in tensors:
            yield name, side, str(tensor)


def _layers(name: str, graph: Graph) -> Iterator[tuple[str, str, str]]:
    for island, reason in graph.fp32_islands.items():
        yield name, f"fp32 {island}", reason
    for layer in graph.int8.layers if graph.int8 else ():
        yield name, f"int8 {layer}", ""
    for layer in graph.int8.left if graph.int8 else ():
        yield name, f"left in float {layer}", ""


def _made_from(record: Mapping[str, object]) -> Rows:
    """Returns rows such as ("versions", "torch 2.13.0") of {"versions": {"torch": "2.13.0"}}."""
    rows = []
    for key, value in record.items():
        pairs = value.items() if isinstance(value, Mapping) else [("", value)]
        rows.append((str(key), ", ".join(f"{name} {_short(text)}".strip() for name, text in pairs)))
    return rows


def _backends(info: Info) -> Iterator[tuple[str, str]]:
    for backend in info.backends:
        yield backend.name, f"{backend.version}, {backend.note}" if backend.version else backend.note
    yield "auto", info.automatic
    for engine in info.engines:
        yield "cached engine", _engine(engine)
    if not info.engines:
        yield "cached engines", "none"


def _engine(engine: EngineRecord) -> str:
    key, size = engine.key, _mib(engine.size)
    built = f"{key.library} {key.version}, {key.gpu} sm{key.compute_capability}"
    return f"{key.graph} {key.precision}, {built}, {size} MiB"


def _short(value: object) -> str:
    text = str(value)
    return text[:_SHORT] if re.fullmatch("[0-9a-f]{64}", text) else text


def _mib(size: int) -> str:
    return f"{size / 2**20:.2f}"

"""Collects what glesam-info shows: a bundle's contents, and the backends of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..bundle.manifest import Graph
from ..bundle.reader import Bundle
from ..engines import BACKENDS, TENSORRT, pick_backend, pick_for_bundle
from ..engines.host import installed
from ..engines.tensorrt.cache import EngineRecord, cached_engines
from ..engines.tensorrt.choice import this_gpu
from ..errors import BackendError, BundleError
from .parity import GraphParity, MaskParity, Parity

Json = dict[str, object]
_PACKAGES = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu")}
"""Names for pip of backends that have another name there, or several."""


@dataclass(frozen=True)
class Backend:
    """One backend: its installed version, and whether it can run the bundle here; `note` says why not."""

    name: str
    version: str | None
    usable: bool
    note: str


@dataclass(frozen=True)
class Info:
    """Everything about a bundle here. `automatic`: the backend that "auto" picks and why, or why none."""

    bundle: Bundle
    parity: Parity
    backends: tuple[Backend, ...]
    automatic: str
    engines: tuple[EngineRecord, ...]


def info(bundle: Bundle) -> Info:
    """Returns everything about `bundle`, without opening a graph.

    Raises BundleError where the recorded parity is not what docs/bundle.md says.
    """
    precision = bundle.manifest.precision
    try:
        automatic = "{} ({})".format(*pick_for_bundle("auto", bundle))
    except BackendError as error:
        automatic = str(error)
    return Info(
        bundle,
        parity_of(bundle),
        tuple(_backend(name, precision) for name in BACKENDS),
        automatic,
        tuple(cached_engines(bundle.hash)),
    )


def parity_of(bundle: Bundle) -> Parity:
    """Returns the parity that was measured at export. Raises BundleError for a malformed one."""
    recorded = bundle.manifest.parity
    try:
        return Parity(
            {name: GraphParity(**each) for name, each in _records(recorded["graphs"])},
            {name: MaskParity(**each) for name, each in _records(recorded["mask_iou"])},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(
            f"bundle {bundle.root}: its parity is not what docs/bundle.md says ({error}); export it again"
        ) from error


def json_document(info: Info) -> Json:
    """Returns everything as one object; sizes in bytes."""
    bundle, model = info.bundle, info.bundle.manifest
    return {
        "name": model.name,
        "path": str(bundle.root),
        "bundle_sha256": bundle.hash,
        "sam_type": model.sam_type,
        "family": model.family,
        "resize": model.resize,
        "image_size": model.image_size,
        "multimask": model.multimask,
        "gamma": model.gamma,
        "timestep": model.timestep,
        "precision": model.precision,
        "graphs": {name: _graph(bundle, name, graph) for name, graph in model.graphs.items()},
        "parity": asdict(info.parity),
        "files": {name: asdict(record) for name, record in model.files.items()},
        "made_from": model.made_from,
        "backends": [asdict(backend) for backend in info.backends],
        "automatic_backend": info.automatic,
        "cached_engines": [asdict(engine) | {"path": str(engine.path)} for engine in info.engines],
    }


def graph_size(bundle: Bundle, name: str) -> int:
    """Returns the size of a graph with its weights [bytes]."""
    return sum(bundle.manifest.files[file].size for file in bundle.manifest.graph_files(name))


def _records(recorded: object) -> list[tuple[str, dict[str, Any]]]:
    """Returns numbers by name, for each graph or set of pictures. Raises TypeError and ValueError."""
    if not isinstance(recorded, Mapping):
        raise TypeError("expected an object")
    for name, figures in recorded.items():
        if not isinstance(figures, dict) or not all(isinstance(x, int | float) for x in figures.values()):
            raise ValueError(f"{name}: expected numbers")
    return list(recorded.items())


def _backend(name: str, precision: str) -> Backend:
    """Returns what is known of a backend without opening a graph."""
    version = next(iter(installed(_PACKAGES.get(name, (name,))).values()), None)
    if version is None:
        return Backend(name, None, False, "not installed")
    try:
        pick_backend(name, precision)
    except BackendError as error:
        return Backend(name, version, False, str(error))
    if name in TENSORRT and this_gpu() is None:
        return Backend(name, version, False, "no NVIDIA GPU answers here; glesam-build can build for one")
    return Backend(name, version, True, "takes this bundle")


def _graph(bundle: Bundle, name: str, graph: Graph) -> Json:
    return {
        "file": graph.file,
        "size": graph_size(bundle, name),
        "precision": graph.precision,
        "inputs": [asdict(tensor) for tensor in graph.spec.inputs],
        "outputs": [asdict(tensor) for tensor in graph.spec.outputs],
        "fp32_islands": graph.fp32_islands,
        "int8": asdict(graph.int8) if graph.int8 else None,
    }

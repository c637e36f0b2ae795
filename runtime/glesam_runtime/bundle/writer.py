"""bundle.json and bundle.json.sha256, as docs/bundle.md describes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from glesam.config import GleSamConfig
from glesam_calib import Quantized
from glesam_export.folds import FoldReport

from .manifest import FORMAT_VERSION
from .reader import sha256_of
from .spec import TensorSpec, bundle_contract

FILE = "bundle.json"
MEASURED_WITH = ("glesam", "torch", "diffusers", "peft", "onnx", "onnx-ir", "onnxscript")
Json = dict[str, Any]


@dataclass(frozen=True)
class GraphRecord:
    """What conversion says of one graph."""

    file: str
    precision: str
    fp32_islands: Mapping[str, str]
    folds: Sequence[FoldReport] = ()
    int8: Quantized | None = None


def write_manifest(
    folder: Path,
    config: GleSamConfig,
    multimask: bool,
    precision: str,
    graphs: Mapping[str, GraphRecord],
    made_from: Json,
    parity: Json,
) -> None:
    """Writes both files for everything else that lies in `folder`; `multimask`: no mask head is dead."""
    sam = config.sam
    document: Json = {
        "format_version": FORMAT_VERSION,
        "model": {"name": config.name, "sam_type": sam.sam_type, "multimask": multimask},
        "image_size": sam.image_size,
        "pixel_mean": sam.pixel_mean,
        "pixel_std": sam.pixel_std,
        "mask_threshold": sam.mask_threshold,
        "gamma": config.gle.gamma,
        "timestep": config.gle.timestep,
        "precision": precision,
        "graphs": _graphs(graphs, sam.image_size),
        "files": _files(folder),
        "made_from": made_from,
        "parity": parity,
    }
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    (folder / FILE).write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    (folder / f"{FILE}.sha256").write_text(f"{digest}  {FILE}\n")


def _graphs(graphs: Mapping[str, GraphRecord], image_size: int) -> Json:
    contract = bundle_contract(image_size)
    return {
        name: {
            "file": graph.file,
            "precision": graph.precision,
            "fp32_islands": dict(graph.fp32_islands),
            "folds": [asdict(fold) for fold in graph.folds],
            **({"int8": asdict(graph.int8)} if graph.int8 else {}),
            "inputs": [_tensor(tensor) for tensor in contract[name].inputs],
            "outputs": [_tensor(tensor) for tensor in contract[name].outputs],
        }
        for name, graph in graphs.items()
    }


def _tensor(tensor: TensorSpec) -> Json:
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": tensor.shape}


def _files(folder: Path) -> Json:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): {
            "size": path.stat().st_size,
            "sha256": sha256_of(path),
        }
        for path in paths
        if not path.name.startswith(FILE)
    }


def provenance(made_from: Mapping[str, Path]) -> Json:
    """What a bundle was made from: hashes of the model's files by name, versions of the tools."""
    return {
        "checkpoint": {name: sha256_of(path) for name, path in made_from.items()},
        "versions": {name: _version(name) for name in MEASURED_WITH},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"

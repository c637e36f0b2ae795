"""Writes bundle.json and bundle.json.sha256, as docs/bundle.md describes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .manifest import Manifest
from .options import with_options
from .reader import Bundle, sha256_of
from .spec import TensorSpec

FILE = "bundle.json"
CALIBRATION = "calibration.json"
"""A calibration table inside a float bundle: `glesam-quantize` takes it where no other is given."""
TOOLS = ("glesam", "torch", "diffusers", "peft", "onnx", "onnx-ir", "onnxscript")
"""Packages whose versions a bundle records."""
Json = dict[str, Any]


@dataclass(frozen=True)
class GraphRecord:
    """What bundle.json says about one float graph beside its tensors.

    options: names of its optional tensors (options.py); other names do not count.
    """

    file: str
    precision: str
    fp32_islands: Mapping[str, str] = field(default_factory=dict)
    folds: Sequence[Json] = ()
    options: Collection[str] = ()


def bundle_document(
    model: Manifest, precision: str, graphs: Mapping[str, GraphRecord], made_from: Json
) -> Json:
    """bundle.json for a model's numbers; `files` and `parity` are still empty.

    Args:
        model: only the model's own fields are taken from it; not its precision, graphs, files and origin.
    """
    required = model.contract()
    contract = {name: with_options(required[name], graph.options) for name, graph in graphs.items()}
    return {
        "format_version": model.format_version,
        "model": {
            "name": model.name,
            "sam_type": model.sam_type,
            "multimask": model.multimask,
            **_family(model),
        },
        "image_size": model.image_size,
        **({} if model.format_version == 1 else {"resize": model.resize}),
        "pixel_mean": model.pixel_mean,
        "pixel_std": model.pixel_std,
        "mask_threshold": model.mask_threshold,
        **({} if model.gamma is None else {"gamma": model.gamma, "timestep": model.timestep}),
        "precision": precision,
        "graphs": {
            name: {
                "file": graph.file,
                "precision": graph.precision,
                "fp32_islands": dict(graph.fp32_islands),
                "folds": list(graph.folds),
                "inputs": [_tensor(tensor) for tensor in contract[name].inputs],
                "outputs": [_tensor(tensor) for tensor in contract[name].outputs],
            }
            for name, graph in graphs.items()
        },
        "files": {},
        "made_from": made_from,
        "parity": {},
    }


def _family(model: Manifest) -> Json:
    """The fields of `model` that format version 1 has not got."""
    if model.format_version == 1:
        return {}
    channels = {"encoder_channels": model.encoder_channels} if model.encoder_channels else {}
    return {"family": model.family, **channels}


def write_bundle(folder: Path, document: Json) -> Bundle:
    """Writes `document`, with every file that lies in `folder`, and its hash; opens the result.

    Raises:
        BundleError: the reader refuses what was written.
    """
    text = json.dumps(document | {"files": _files(folder)}, indent=2, allow_nan=False) + "\n"
    (folder / FILE).write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    (folder / f"{FILE}.sha256").write_text(f"{digest}  {FILE}\n")
    return Bundle.open(folder)


def provenance(made_from: Mapping[str, Path]) -> Json:
    """What a bundle was made from: the hashes of the model's files by name, and the tools' versions."""
    return {"checkpoint": {name: sha256_of(path) for name, path in made_from.items()}, "versions": versions()}


def versions(packages: Sequence[str] = TOOLS) -> dict[str, str]:
    """The installed versions of `packages`, by name."""
    return {name: _version(name) for name in packages}


def _tensor(tensor: TensorSpec) -> Json:
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": tensor.shape}


def _files(folder: Path) -> Json:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": sha256_of(path)}
        for path in paths
        if not path.name.startswith(FILE)
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"

"""Runs float graphs on pictures and keeps the statistics of what their layers read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from glesam_calib.graph.files import beside_weights
from glesam_calib.observation.statistics import TensorStatistics
from glesam_calib.observation.table import CalibrationTable, graph_hash
from glesam_calib.quantization.layers import channels_of
from glesam_runtime import Bundle
from glesam_runtime.bundle.options import takes_auxiliary
from glesam_runtime.bundle.spec import GraphSpec, TensorSpec
from glesam_runtime.engines import Engine, open_engine
from glesam_runtime.engines.base import Array
from glesam_runtime.errors import CalibrationError
from glesam_runtime.preprocess import Pixels
from glesam_runtime.tools.measure import picture_tensors

GRAPHS = ("image_encoder", "gle")
"""The graphs that are observed, in the order they run. The mask decoder stays in float."""
SAVE_EVERY = 8
"""Number of samples, or of layers, between two saves: what a killed run loses at most."""
Sample = tuple[str, Pixels]
"""A unique name, and a picture as uint8 [H, W, 3] RGB."""


def empty_table(bundle: Bundle) -> CalibrationTable:
    """Returns a table for an fp32 bundle's graphs, before the first picture.

    Raises:
        CalibrationError: the bundle is not fp32.
    """
    check_float(bundle)
    hashes, tensors = {}, {}
    for name in GRAPHS:
        graph = ir.load(bundle.graph_path(name)).graph
        hashes[name] = graph_hash(graph)
        tensors[name] = {t: TensorStatistics.empty(c.count) for t, c in channels_of(graph).items()}
    return CalibrationTable(hashes, checkpoint_of(bundle), tensors)


def check_float(bundle: Bundle) -> None:
    """Raises CalibrationError for a bundle that is not fp32."""
    precision = bundle.manifest.precision
    if precision != "fp32":
        raise CalibrationError(
            f"bundle {bundle.root}: precision {precision}, expected fp32, from which int8 is made; "
            "export with --precision fp32"
        )


def checkpoint_of(bundle: Bundle) -> dict[str, str]:
    """The hashes of the files that a bundle was made from, by name."""
    files = bundle.manifest.made_from.get("checkpoint", {})
    return {str(name): str(sha256) for name, sha256 in files.items()} if isinstance(files, dict) else {}


def calibrate(
    bundle: Bundle, samples: Iterable[Sample], table: CalibrationTable, save_to: Path | None = None
) -> None:
    """Runs every sample through an fp32 bundle's encoder and GLE, and adds statistics to `table`.

    Samples that the table has already are left out, so that a killed run resumes where it stopped. Nothing
    of a picture is kept. The table is written to `save_to` every `SAVE_EVERY` samples and at the end.

    Raises:
        CalibrationError: a tensor is NaN or infinite, or there is no sample.
        BackendError: a graph does not run.
    """
    manifest = bundle.manifest
    with ExitStack() as stack:
        engines, axes = {}, {}
        for name in GRAPHS:
            path, spec = bundle.graph_path(name), manifest.graphs[name].spec
            axes[name] = {t: c.axis for t, c in channels_of(ir.load(path).graph).items()}
            engines[name] = stack.enter_context(observed(path, spec, axes[name]))
        for name, picture in samples:
            if name in table.samples:
                continue
            given, _ = picture_tensors(picture, manifest, takes_auxiliary(manifest.graphs["gle"].spec))
            tensors: dict[str, Array] = {}
            for graph in GRAPHS:
                feeds = feeds_of(manifest.graphs[graph].spec, given | tensors)
                tensors = feeds | engines[graph](feeds)
                for tensor, axis in axes[graph].items():
                    where = f"{graph}: {tensor} of {name}"
                    values = tensors[tensor].astype(np.float32, copy=False)
                    table.tensors[graph][tensor].update(values, axis, where)
            table.samples.append(name)
            if save_to is not None and len(table.samples) % SAVE_EVERY == 0:
                table.save(save_to)
    if not table.samples:
        raise CalibrationError("no picture was observed; give a folder of photographs")
    if save_to is not None:
        table.save(save_to)


def feeds_of(spec: GraphSpec, tensors: Mapping[str, Array]) -> dict[str, Array]:
    """The inputs of a graph among `tensors`."""
    return {tensor.name: tensors[tensor.name] for tensor in spec.inputs}


@contextmanager
def observed(path: Path, spec: GraphSpec, tensors: Iterable[str]) -> Iterator[Engine]:
    """Opens the graph at `path` with `tensors` as further outputs; its inputs among them are left out."""
    model = onnx.load(path, load_external_data=False)
    known = {value.name: value for value in (*model.graph.value_info, *model.graph.output)}
    already = {tensor.name for tensor in spec.outputs}
    outputs = [name for name in tensors if name in known and name not in already]
    model.graph.output.extend(known[name] for name in outputs)
    wider = GraphSpec(spec.name, spec.inputs, (*spec.outputs, *(_spec(known[name]) for name in outputs)))
    with beside_weights(path) as variant:
        onnx.save(model, variant)
        with closing(open_engine("onnxruntime", variant, wider)) as engine:
            yield engine


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    return TensorSpec(
        value.name, "float32", tuple(size.dim_value for size in value.type.tensor_type.shape.dim)
    )

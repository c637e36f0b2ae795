"""Writes a bundle as a model repository of the Triton Inference Server: three models and their ensemble.

    glesam_image_encoder/config.pbtxt  1/image_encoder.onnx
    glesam_gle/...  glesam_mask_decoder/...
    glesam/config.pbtxt  1/bundle.json      the ensemble; a client reads its preprocessing there

The configurations follow Triton's ModelConfig schema; a test reads them with tritonclient. Triton batches no
model (max_batch_size 0): a picture is one request, and its prompts are an axis of the decoder.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from .. import Bundle
from ..bundle.spec import GraphSpec, TensorSpec
from ..bundle.writer import FILE
from ..errors import OutputError
from ..output import FolderKind, replaced_folder

ENSEMBLE = "glesam"
CONFIG = "config.pbtxt"
TRITON = FolderKind("a Triton repository of a bundle", f"{ENSEMBLE}/1/{FILE}", "DIR")
_TYPES = {"float32": "TYPE_FP32", "int32": "TYPE_INT32"}
_EMBEDDINGS, _ENHANCED = "image_embeddings", "image_embeddings_enhanced"


def write_triton(bundle: Bundle, out: Path) -> None:
    """Writes the repository of `bundle` to `out`, whole or not at all.

    Raises:
        OutputError: the bundle's precision does not run in Triton, or `out` is something else.
    """
    precision = bundle.manifest.precision
    if precision.endswith("bf16"):
        raise OutputError(
            f"bundle {bundle.root}: Triton's onnxruntime backend has no {precision}; "
            "export with --precision fp32 or fp16"
        )
    if out.resolve() == bundle.root.resolve():
        raise OutputError(f"{out} is the bundle's own folder; choose another DIR")
    with replaced_folder(out, TRITON) as folder:
        for name, graph in bundle.manifest.graphs.items():
            version = _model_folder(folder, model_name(name), _model_config(name, graph.file, graph.spec))
            for file in bundle.manifest.graph_files(name):
                # Copies: the onnx library refuses weights with a second hard link, in the bundle too.
                shutil.copyfile(bundle.root / file, version / PurePosixPath(file).name)
        specs = {name: graph.spec for name, graph in bundle.manifest.graphs.items()}
        version = _model_folder(folder, ENSEMBLE, _ensemble_config(specs))
        shutil.copyfile(bundle.root / FILE, version / FILE)


def model_name(graph: str) -> str:
    """The graph's name in the repository, which may hold image encoders of other projects."""
    return f"{ENSEMBLE}_{graph}"


def _model_folder(folder: Path, name: str, config: str) -> Path:
    """Writes a model's configuration; returns the folder for the files of its version 1."""
    version = folder / name / "1"
    version.mkdir(parents=True)
    (folder / name / CONFIG).write_text(config)
    return version


def _model_config(graph: str, file: str, spec: GraphSpec) -> str:
    name = json.dumps(PurePosixPath(file).name, ensure_ascii=False)
    head = f'name: "{model_name(graph)}"\nbackend: "onnxruntime"\ndefault_model_filename: {name}\n'
    return f"{head}{_tensors(spec.inputs, spec.outputs)}"


def _ensemble_config(specs: Mapping[str, GraphSpec]) -> str:
    """Configuration from picture and prompts to masks, and to the features for further prompts."""
    encoder, gle, decoder = (specs[name] for name in ("image_encoder", "gle", "mask_decoder"))
    encoded = {tensor.name for tensor in encoder.outputs}
    prompts = [tensor for tensor in decoder.inputs if tensor.name not in encoded]
    auxiliary = [tensor for tensor in gle.inputs if tensor.name not in encoded]
    high_res = [tensor for tensor in encoder.outputs if tensor.name != _EMBEDDINGS]
    steps = [_step(encoder, {}), _step(gle, {}), _step(decoder, {_EMBEDDINGS: _ENHANCED})]
    inputs = [*encoder.inputs, *auxiliary, *prompts]
    tensors = _tensors(inputs, [*decoder.outputs, *gle.outputs, *high_res])
    head = f'name: "{ENSEMBLE}"\nplatform: "ensemble"\n'
    listed = ",\n".join(steps)
    return f"{head}{tensors}ensemble_scheduling {{\n  step [\n{listed}\n  ]\n}}\n"


def _step(spec: GraphSpec, renamed: Mapping[str, str]) -> str:
    """One model in the ensemble; `renamed` maps its inputs to the ensemble's tensors of other names."""
    lines = [f'      model_name: "{model_name(spec.name)}"', "      model_version: -1"]
    for tensor in spec.inputs:
        value = renamed.get(tensor.name, tensor.name)
        lines.append(f'      input_map {{ key: "{tensor.name}" value: "{value}" }}')
    for tensor in spec.outputs:
        lines.append(f'      output_map {{ key: "{tensor.name}" value: "{tensor.name}" }}')
    return "    {{\n{}\n    }}".format("\n".join(lines))


def _tensors(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> str:
    """The inputs and outputs of a model; with max_batch_size 0, dims are whole shapes, -1 where dynamic."""
    text = "max_batch_size: 0\n"
    for side, tensors in (("input", inputs), ("output", outputs)):
        listed = ",\n".join(map(_tensor, tensors))
        text += f"{side} [\n{listed}\n]\n"
    return text


def _tensor(tensor: TensorSpec) -> str:
    dims = ", ".join(str(size) if isinstance(size, int) else "-1" for size in tensor.shape)
    return f'  {{ name: "{tensor.name}" data_type: {_TYPES[tensor.dtype]} dims: [ {dims} ] }}'

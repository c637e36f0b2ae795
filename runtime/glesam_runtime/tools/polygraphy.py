"""Writes a bundle's golden vectors for Polygraphy, NVIDIA's debugger, with the commands that use them.

compare.sh                  every graph against PyTorch's answers: sh compare.sh [--trt]
<graph>/inputs.json         the graph's golden inputs, a feed for each golden file
<graph>/outputs.json        PyTorch's answers to them
<graph>/compare.sh          polygraphy run
<graph>/reduce.sh           polygraphy debug reduce: the smallest part of the graph that goes wrong
<graph>/precision.sh        polygraphy debug precision: the layers that fp16 breaks; fp32 graphs only
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..bundle.manifest import Graph
from ..bundle.reader import Bundle
from ..engines.base import Array
from ..errors import BundleError
from ..output import FolderKind, replaced_folder
from .info import parity_of
from .parity import GraphParity
from .verify import golden_feeds, golden_vectors

POLYGRAPHY = FolderKind("a folder of --polygraphy", "compare.sh", "--polygraphy")
MARGIN = 4
"""An output's tolerance is this many times its largest error when the bundle was made."""
BETWEEN = 0.01
"""Relative tolerance of the tensors inside a graph, whose errors nobody recorded."""
_HEAD = """#!/bin/sh
# {purpose} BUNDLE=DIR names another copy of the bundle.
BUNDLE=${{BUNDLE:-{bundle}}}
BUNDLE=$(cd "$BUNDLE" && pwd) || exit 2
cd "$(dirname "$0")" || exit 2
[ $# -gt 0 ] || set -- {runner}
"""
_REDUCE = """polygraphy run {model} --onnxrt --onnx-outputs mark all --load-inputs inputs.json \\
    --save-outputs layers.json || exit
polygraphy data merge inputs.json layers.json -o layer_inputs.json || exit
polygraphy debug reduce {model} -o reduced.onnx --mode bisect --load-inputs layer_inputs.json \\
    --check polygraphy run polygraphy_debug.onnx "$@" --strongly-typed --load-inputs layer_inputs.json \\
    --load-outputs layers.json --atol {atol} --rtol {rtol}
"""
_ALL = """#!/bin/sh
# Compares every graph with PyTorch's answers: sh compare.sh [--onnxrt | --trt]. Status 1: one differs; 2: any
# other error.
here=$(dirname "$0")
status=0
for graph in {graphs}; do
    sh "$here/$graph/compare.sh" "$@"
    found=$?
    [ $found -le $status ] || status=$found
done
exit $status
"""
_COMPARE = """rm -f compare.log
polygraphy run {model} "$@" --strongly-typed{shapes} {golden} \\
    --log-file compare.log && exit
# Polygraphy ends with 1 for every error.
grep -q 'FAILED | Output' compare.log && exit 1
exit 2
"""


def write_polygraphy(bundle: Bundle, out: Path) -> None:
    """Writes the folder `out` from the golden vectors of `bundle`, whole or not at all.

    Raises:
        BundleError: the bundle has no golden vectors, or no recorded parity to take tolerances from.
        ImportError: Polygraphy is not installed.
        OutputError: `out` is something else, or cannot be written.
    """
    from polygraphy.comparator import RunResults
    from polygraphy.json import save_json

    recorded = _recorded(bundle)
    vectors = [golden for _, golden in golden_vectors(bundle)]
    with replaced_folder(out, POLYGRAPHY) as folder:
        for name, graph in bundle.manifest.graphs.items():
            (folder / name).mkdir()
            feeds = [golden_feeds(golden, bundle.manifest)[name] for golden in vectors]
            answers = RunResults()
            outputs = [tensor.name for tensor in graph.spec.outputs]
            expected = [{key: golden[key] for key in outputs} for golden in vectors]
            answers.add(expected, runner_name="PyTorch")
            save_json(feeds, str(folder / name / "inputs.json"))
            answers.save(str(folder / name / "outputs.json"))
            atol = _tolerances(recorded[name], expected)
            for script, text in _scripts(bundle, graph, feeds[0], atol).items():
                (folder / name / script).write_text(text)
        (folder / POLYGRAPHY.marker).write_text(_ALL.format(graphs=" ".join(bundle.manifest.graphs)))


def _recorded(bundle: Bundle) -> Mapping[str, GraphParity]:
    """Returns each graph's figures of when the bundle was made. Raises BundleError where one has none."""
    recorded = parity_of(bundle).graphs
    if missing := [name for name in bundle.manifest.graphs if name not in recorded]:
        raise BundleError(
            f"bundle {bundle.root}: it records no parity of {missing[0]}, from which the tolerance is taken; "
            "export it again"
        )
    return recorded


def _tolerances(recorded: GraphParity, answers: Sequence[Mapping[str, Array]]) -> dict[str, float]:
    """Returns the largest absolute error that is accepted, by output; `answers`: PyTorch's, for each feed.

    Both figures are the worst of all outputs, and max |a - b| <= |a - b| = relative |b|, the lower
    bound for an output of few small numbers, such as scores beside logits.
    """
    norms = {key: max(float(np.linalg.norm(each[key])) for each in answers) for key in answers[0]}
    return {key: MARGIN * min(recorded.max_abs, recorded.relative * norm) for key, norm in norms.items()}


def _scripts(
    bundle: Bundle, graph: Graph, feeds: Mapping[str, Array], atol: Mapping[str, float]
) -> dict[str, str]:
    """Returns the scripts of one graph by name. `feeds`: an example of its inputs. atol: by output."""
    where = shlex.quote(str(bundle.root.resolve()))
    model, shapes = f'"$BUNDLE"/{shlex.quote(graph.file)}', _shapes(graph, feeds)
    by_output = " ".join(f"{name}:{value:.3g}" for name, value in atol.items())
    golden = f"--load-inputs inputs.json --load-outputs outputs.json --atol {by_output} --rtol 0"
    in_bf16 = graph.precision.endswith("bf16")  # ONNX Runtime has none
    scripts = {
        "compare.sh": _HEAD.format(
            purpose="Compares the graph with PyTorch's answers: sh compare.sh [--onnxrt | --trt].",
            bundle=where,
            runner="--trt" if in_bf16 else "--onnxrt",
        )
        + _COMPARE.format(model=model, shapes=shapes, golden=golden)
    }
    if not in_bf16:
        scripts["reduce.sh"] = _HEAD.format(
            purpose="Writes reduced.onnx, the part that differs from ONNX Runtime: sh reduce.sh [--trt].",
            bundle=where,
            runner="--trt",
        ) + _REDUCE.format(model=model, atol=f"{max(atol.values()):.3g}", rtol=BETWEEN)
    if graph.precision == "fp32":
        scripts["precision.sh"] = _HEAD.format(
            purpose="Finds the layers that fp16 breaks, with TensorRT up to 10: sh precision.sh.",
            bundle=where,
            runner="--trt",
        ) + (
            f"polygraphy debug precision {model} --fp16 --mode bisect --precision float32{shapes} "
            f'--check polygraphy run polygraphy_debug.engine "$@" {golden}\n'
        )
    return scripts


def _shapes(graph: Graph, feeds: Mapping[str, Array]) -> str:
    """Returns the options with the shapes to build an engine for; empty for a graph of fixed shapes."""
    dynamic = [tensor for tensor in graph.spec.inputs if any(isinstance(x, str) for x in tensor.shape)]
    shapes = [f"{tensor.name}:[{','.join(map(str, feeds[tensor.name].shape))}]" for tensor in dynamic]
    listed = " ".join(map(shlex.quote, shapes))
    return "".join(f" --trt-{kind}-shapes {listed}" for kind in ("min", "opt", "max")) if shapes else ""

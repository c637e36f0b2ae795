"""What TensorRT for RTX makes of a bundle's graphs: engines, built without a GPU, and their layers' types.

    python benchmarks/tensorrt_build.py BUNDLE... [--target sm86]...     pip install tensorrt-rtx

Builds encoder and GLE for each target, each in a process of its own, strongly typed, and reads the builder's
verbose log: how many of the layers that bundle.json lists as int8 became an int8 convolution or gemm, and the
types of the others. Exit status 1 where a build fails or an int8 layer is computed in another type. Nothing
is run: how fast it is, and what it computes, remains open.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

GRAPHS = ("image_encoder", "gle")
HEAVY = ("correlation", "gemm")
"""TensorRT's names for convolutions and matrix products."""
LAYER = re.compile(r"^Name: (?P<name>.+?)_myl\d+_\d+, LayerType: (?P<kind>\w+), .*?Datatype: (?P<type>\w+)")


def main(
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE", exists=True)],
    target: Annotated[list[str] | None, typer.Option(metavar="SM", help="Default: sm86 sm89 sm120.")] = None,
    graph: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    if graph is not None:
        build(bundles[0] / f"{graph}.onnx", (target or [])[0])
        return
    wrong = [
        problem
        for bundle in bundles
        for name in GRAPHS
        for sm in target or ["sm86", "sm89", "sm120"]
        for problem in built(bundle, name, sm)
    ]
    if wrong:
        raise SystemExit("\n".join(["error: not as the bundle says:", *wrong]))


def build(path: Path, target: str) -> None:
    """In this process: prints the log, which a crash of the builder may end."""
    import tensorrt_rtx

    trt: Any = tensorrt_rtx

    class Log(trt.ILogger):  # type: ignore[misc]
        def log(self, severity: object, message: str) -> None:
            print(message)

    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(path)):
        raise SystemExit(f"{path}: {parser.get_error(0).desc()}")
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, target.upper()), 0)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise SystemExit(f"{path}: no engine")
    print(f"engine of {engine.nbytes} bytes")


def built(bundle: Path, graph: str, target: str) -> list[str]:
    """Prints a line about an engine; returns what is wrong with it."""
    start = time.monotonic()
    command = [sys.executable, __file__, str(bundle), "--graph", graph, "--target", target]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    size = re.search(r"^engine of (\d+) bytes", done.stdout, re.MULTILINE)
    if done.returncode or size is None:
        return [f"{bundle.name}/{graph} for {target}: {done.stdout.splitlines()[-1:]}"]
    types = layer_types(done.stdout)
    expected = json.loads((bundle / "bundle.json").read_text())["graphs"][graph].get("int8", {"layers": []})
    layers = expected["layers"]
    others = {name: types.get(name, "absent") for name in layers if types.get(name) != "Int8"}
    cost = f"{int(size[1]) / 2**20:.1f} MiB in {time.monotonic() - start:.0f} s"
    held = f"{len(layers) - len(others)} of {len(layers)} int8 layers are"
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(Counter(types.values()).items()))
    print(f"{bundle.name}/{graph} for {target}: {cost}; {held}; {kinds}", flush=True)
    return [f"{bundle.name}/{graph} for {target}: {name} is {kind}" for name, kind in others.items()]


def layer_types(log: str) -> dict[str, str]:
    """ONNX node of each convolution and product -> the type of its input. A merged Q, K, V is three nodes."""
    found = {}
    for line in log.splitlines():
        match = LAYER.match(line)
        if match and match["kind"] in HEAVY:
            found |= dict.fromkeys(match["name"].split("+"), match["type"])
    return found


if __name__ == "__main__":
    typer.run(main)

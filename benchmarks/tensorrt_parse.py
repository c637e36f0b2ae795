"""Does TensorRT's parser take the graphs of a bundle? Needs no GPU and no driver.

    python benchmarks/tensorrt_parse.py BUNDLE...      pip install tensorrt-rtx

Parses every graph into a strongly typed network, as an engine would be built, with TensorRT for RTX. Prints a
line per graph, or the parser's complaints; exit status 1 where there are any. It builds nothing: a graph that
parses may still fail to build, and nothing is said about what it computes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer


def main(bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE", exists=True)]) -> None:
    paths = [path for bundle in bundles for path in sorted(bundle.glob("*.onnx"))]
    refused = sum([not parses(path) for path in paths])
    if refused or not paths:
        raise SystemExit(f"error: {refused} of {len(paths)} graphs do not parse")


def parses(path: Path) -> bool:
    import tensorrt_rtx

    trt: Any = tensorrt_rtx
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    name = f"{path.parent.name}/{path.name}"
    if parser.parse_from_file(str(path)):
        print(
            f"{name}: TensorRT for RTX {trt.__version__} parses it, {network.num_layers} layers", flush=True
        )
        return True
    for i in range(parser.num_errors):
        print(f"{name}: {parser.get_error(i)}", file=sys.stderr, flush=True)
    return False


if __name__ == "__main__":
    typer.run(main)

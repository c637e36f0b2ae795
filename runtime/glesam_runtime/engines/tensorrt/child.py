"""The builder's process: makes one plan from one ONNX graph. If TensorRT crashes, only this process ends.

    python -m glesam_runtime.engines.tensorrt.child REQUEST      REQUEST is a Request as JSON

It prints one JSON object per line: {"progress": ...}, {"note": ...}; last {"done": ...} or {"refused": ...}.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...bundle.onnx_messages import read_model
from ...errors import BackendError
from .library import Library, load_library

RTX = "tensorrt-rtx"
PROGRESS_SECONDS = 1.0
"""Least time between two lines of progress [s]: a builder passes through hundreds of phases."""
UINT8 = 2
"""ONNX's number of the type uint8."""


@dataclass(frozen=True)
class Request:
    """One engine to build. Paths are absolute.

    sha256: the graph's, which is read once more, here.
    target: a compute capability, None for the GPU of this machine.
    shapes: least, usual and largest shape of each dynamic input.
    """

    backend: str
    graph: str
    sha256: str
    plan: str
    target: int | None
    workspace_mib: int | None
    timing_cache: str | None
    shapes: Mapping[str, list[list[int]]]


class Refused(Exception):
    """TensorRT does not build this graph; the message says why."""


def send(kind: str, content: object) -> None:
    """Sends one message to the parent."""
    print(json.dumps({kind: content}), flush=True)


def main() -> None:
    """Builds the engine of the request on the command line."""
    request = Request(**json.loads(sys.argv[1]))
    start = time.monotonic()
    try:
        table = build(load_library(request.backend), request)
    except (Refused, BackendError, OSError) as error:
        send("refused", str(error))
        return
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    send("done", {"table": table, "seconds": time.monotonic() - start, "peak_memory_mib": peak})


def build(library: Library, request: Request) -> str:
    """Writes the plan; returns the engine's table of layers. Raises Refused where TensorRT does not build."""
    trt = library.module
    log = make_log(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parse(trt.OnnxParser(network, log), request)
    config = configure(trt, builder, request)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise Refused(log.errors[0] if log.errors else "the builder gave no reason")
    Path(request.plan).write_bytes(plan)
    if request.timing_cache is not None:
        save_timing_cache(config, Path(request.timing_cache))
    if request.target is None:  # for this GPU: its runtime can open the engine and list its layers
        return inspected(trt, log, plan)
    return str(log.table)


def make_log(trt: Any) -> Any:  # noqa: ANN401
    """Returns a logger that keeps only errors and the table of layers, of some hundred thousand lines."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []
            self.table = ""

        def log(self, severity: object, message: str) -> None:
            if message.startswith("Layers:"):
                self.table = message
            elif severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(" ".join(message.split()))

    return Log()


def parse(parser: Any, request: Request) -> None:  # noqa: ANN401
    """Reads the graph, and from its path the files beside it. Raises Refused with the parser's messages."""
    content = Path(request.graph).read_bytes()
    if hashlib.sha256(content).hexdigest() != request.sha256:
        raise Refused("it was replaced after its hash was checked; open the bundle again")
    if has_unsigned_steps(content):
        raise Refused(
            "its layers read unsigned steps (uint8), and TensorRT takes int8 alone; "
            "run glesam-quantize on the fp32 bundle again, without --target or with --target orin"
        )
    if not parser.parse(content, request.graph):
        errors = [_parser_error(parser.get_error(i)) for i in range(parser.num_errors)]
        raise Refused("; ".join(errors) or "the parser gave no reason")


def has_unsigned_steps(content: bytes) -> bool:
    """Returns whether an ONNX file quantizes to uint8, ONNX's default, which TensorRT's parser accepts."""
    model = read_model(content)
    unsigned = {constant.name for constant in model.constants if constant.data_type == UINT8}
    points = [node.inputs[2:] for node in model.nodes if node.op_type == "QuantizeLinear"]
    return any(not point or unsigned.intersection(point) for point in points)


def _parser_error(error: Any) -> str:  # noqa: ANN401
    where = f"node {error.node_name()} ({error.node_operator()}): " if error.node_operator() else ""
    return where + " ".join(error.desc().split())


def configure(trt: Any, builder: Any, request: Request) -> Any:  # noqa: ANN401
    """Returns the builder's settings. No precision flag: the precision is in the graph.

    TF32, which TensorRT sets by default, would give fp32 layers 10 bits of mantissa in place of 23.
    """
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.progress_monitor = make_monitor(trt)
    if request.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace_mib << 20)
    if request.target is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(trt.ComputeCapability(request.target), 0)
    if request.timing_cache is not None:
        load_timing_cache(config, Path(request.timing_cache))
    if request.shapes:
        profile = builder.create_optimization_profile()
        for name, shapes in request.shapes.items():
            profile.set_shape(name, *shapes)
        if config.add_optimization_profile(profile) < 0:
            raise Refused(f"an optimization profile of {dict(request.shapes)} is not accepted")
    return config


def make_monitor(trt: Any) -> Any:  # noqa: ANN401
    """Returns a monitor that sends phases and steps, from whichever thread TensorRT calls it."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.steps: dict[str, int] = {}
            self.last_sent = time.monotonic()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.steps[phase_name] = num_steps
            self._send(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._send(f"{phase_name}, {step + 1} of {self.steps.get(phase_name, step + 1)}")
            return True

        def phase_finish(self, phase_name: str) -> None:
            self.steps.pop(phase_name, None)

        def _send(self, text: str) -> None:
            if time.monotonic() - self.last_sent >= PROGRESS_SECONDS:
                self.last_sent = time.monotonic()
                send("progress", text)

    return Monitor()


def load_timing_cache(config: Any, path: Path) -> None:  # noqa: ANN401
    """Attaches the timing cache at `path`, or an empty one where it is absent or does not fit."""
    saved = path.read_bytes() if path.is_file() else b""
    cache = config.create_timing_cache(saved)
    if cache is None or not config.set_timing_cache(cache, False):
        send("note", f"timing cache {path}: of another version or GPU, or damaged; it starts anew")
        config.set_timing_cache(config.create_timing_cache(b""), False)


def save_timing_cache(config: Any, path: Path) -> None:  # noqa: ANN401
    """Writes the timing cache to `path`, whole or not at all."""
    temporary = path.with_name(f"{path.name}.part-{os.getpid()}")
    temporary.write_bytes(config.get_timing_cache().serialize())
    temporary.replace(path)


def inspected(trt: Any, log: Any, plan: Any) -> str:  # noqa: ANN401
    """Returns the engine's own table of layers, which has the same lines as the build's log."""
    runtime = trt.Runtime(log)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise Refused(f"the engine cannot be opened here: {(log.errors or ['no reason given'])[-1]}")
    inspector = engine.create_engine_inspector()
    return str(inspector.get_engine_information(trt.LayerInformationFormat.ONELINE))


if __name__ == "__main__":
    main()

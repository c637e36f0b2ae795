"""OpenVINO: processors, Intel's GPUs and NPUs, and the only backend here that computes in bf16."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle.reader import GraphContent
from ..bundle.spec import GraphSpec, TensorSpec
from ..errors import BackendError
from .base import Array, Tensors, cannot_open, cannot_run, check_graph, closed_engine, path_of, run_checked
from .calls import Shared
from .cpus import checked_threads, is_limited, usable_cores
from .host import is_arm, sums_int8_exactly
from .telemetry import telemetry_off

with telemetry_off():
    import openvino  # type: ignore[import-untyped]
    from openvino import opset13 as opset
    from openvino.frontend import FrontEndManager  # type: ignore[import-untyped]

_HINTS = ("latency", "throughput")
_LIBRARY = f"OpenVINO {openvino.__version__.split('-')[0]}"
# The capability that OpenVINO reports of a device with this arithmetic, and the hint that asks for it.
_ARITHMETIC = {"fp16": ("FP16", "f16"), "bf16": ("BF16", "bf16")}


class OpenVinoEngine:
    """One ONNX graph compiled for one device; the compiled graph is safe to share by threads."""

    def __init__(
        self,
        graph: Path | GraphContent,
        spec: GraphSpec,
        precision: str,
        device: str = "",
        hint: str = "",
        threads: int = 0,
    ) -> None:
        """Opens a graph whose arithmetic is `precision`: "fp32", "fp16", "bf16" or "int8+...".

        `graph`: a bundle's checked bytes, or a file that the caller trusts.
        `device`: "cpu" (or ""), "gpu", "gpu.1" or "npu". `hint`: "latency" (or ""), the shortest answer to
        one call, or "throughput", more answers a second to several threads. `threads`: threads of the CPU,
        0 for OpenVINO's own number within the CPUs that this process may use.
        Raises BackendError where the device is absent or cannot compute in `precision`, or where OpenVINO
        refuses the graph or its tensors are not those of `spec`.
        """
        core = openvino.Core()
        device = _present(core, device or "cpu")
        options = {
            "PERFORMANCE_HINT": _checked_hint(hint or "latency"),
            "INFERENCE_PRECISION_HINT": arithmetic(precision, _capabilities(core, device), device),
            **dynamic_quantization_off(core, device),
            **cpu_threads(device, threads),
        }
        self._spec = spec
        path, model = path_of(graph), _read(graph)
        check_graph(path, spec, _tensors(model.inputs), _tensors(model.outputs))
        if device == "CPU" and not sums_int8_exactly():
            _quantize_by_rounding(model, path)
        compiled = _compile(path, core, model, device, options)
        if isinstance(graph, GraphContent):
            graph.check()
        self._compiled = Shared[openvino.CompiledModel](compiled)

    @property
    def spec(self) -> GraphSpec:
        return self._spec

    def __call__(self, feeds: Tensors, on_device: bool = False) -> dict[str, Array]:
        return run_checked(self._spec, feeds, self._infer)

    def new_session(self, stream: object = None) -> OpenVinoEngine:
        return self

    def close(self) -> None:
        """Waits for running calls, then frees the compiled graph."""
        self._compiled.close()

    def _infer(self, feeds: Tensors) -> dict[str, Array]:
        with self._compiled.used() as compiled:
            if compiled is None:
                raise closed_engine(self._spec)
            try:
                # A request of its own for each call, 0.01 ms: two threads may not share one.
                request = compiled.create_infer_request()
                outputs = request.infer(dict(feeds), share_outputs=False)
                # Plain names: OpenVINO's own keys hold the compiled graph. The arrays are copies already.
                return {tensor.name: outputs[tensor.name] for tensor in self._spec.outputs}
            except Exception as error:  # OpenVINO's own exceptions share no public base
                raise cannot_run(self._spec, _LIBRARY, _reason(error)) from error
            finally:
                request = outputs = compiled = None  # all that holds the graph, before close() may free it


def _read(graph: Path | GraphContent) -> openvino.Model:
    try:
        # Not Core.read_model: given a file that is no ONNX it tries, and prints, every other format.
        frontend: Any = FrontEndManager().load_by_framework("onnx")
        model: openvino.Model = frontend.convert(frontend.load(_source(graph)))
    except Exception as error:  # OpenVINO's own exceptions share no public base
        raise cannot_open(path_of(graph), _LIBRARY, _reason(error), "openvino") from error
    return model


def _source(graph: Path | GraphContent) -> str | io.BytesIO:
    """Returns what OpenVINO reads: bytes, or a path where weights lie beside the graph, which it must find.

    The caller checks afterwards that the weights are those that were hashed.
    """
    if isinstance(graph, GraphContent) and graph.weights is None:
        return io.BytesIO(graph.model)
    return str(path_of(graph))


def _present(core: openvino.Core, device: str) -> str:
    """`device` as OpenVINO names it. Raises BackendError where this machine has none."""
    wanted = device.upper()
    devices: list[str] = core.available_devices
    # Of several GPUs, GPU.0 and GPU.1, "GPU" is the first.
    if not any(wanted in (name, name.split(".")[0]) for name in devices):
        raise BackendError(
            f"backend openvino:{device}: {_LIBRARY} finds no such device here, only "
            f"{', '.join(name.lower() for name in devices)}; choose one of these, or install the driver"
        )
    return wanted


def _checked_hint(hint: str) -> str:
    if hint not in _HINTS:
        raise BackendError(f"backend openvino: hint {hint!r} is unknown; choose {' or '.join(_HINTS)}")
    return hint.upper()


def _capabilities(core: openvino.Core, device: str) -> Sequence[str]:
    found: Sequence[str] = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
    return found


def dynamic_quantization_off(core: openvino.Core, device: str) -> dict[str, str]:
    """The option that keeps activations in float beside int8 weights; empty where the device knows none.

    By default a CPU with VNNI quantizes them in groups of 32 before such a product: an attention is then off
    by 0.8 % of its largest value instead of 0.0001 % (OpenVINO 2026.4, Zen 4). Q/DQ alone says what is int8.
    The other lossy default, a KV cache of u8, is for graphs with a state: ours have none, and f32 in its
    place gives the same bits.
    """
    name = "DYNAMIC_QUANTIZATION_GROUP_SIZE"
    return {name: "0"} if name in core.get_property(device, "SUPPORTED_PROPERTIES") else {}


def cpu_threads(device: str, threads: int) -> dict[str, str]:
    """The option for the number of threads; empty where OpenVINO's own is right, and for other devices.

    It keeps to the process's affinity by itself, but knows nothing of a cgroup's quota.
    """
    threads = checked_threads(threads) or (usable_cores() if is_limited() else 0)
    return {"INFERENCE_NUM_THREADS": str(threads)} if threads and device == "CPU" else {}


def _compile(
    path: Path, core: openvino.Core, model: openvino.Model, device: str, options: dict[str, str]
) -> openvino.CompiledModel:
    try:
        if device == "CPU" and options["INFERENCE_PRECISION_HINT"] == "bf16":
            _bypass_softmax_casts(model)
        return core.compile_model(model, device, options)
    except Exception as error:  # OpenVINO's own exceptions share no public base
        raise cannot_open(path, f"{_LIBRARY} on {device}", _reason(error), "openvino") from error


def arithmetic(precision: str, capabilities: Sequence[str], device: str = "CPU") -> str:
    """The inference precision for a graph's: its own where the device has it, else f32.

    Always stated: left alone, OpenVINO computes an fp32 graph in bf16 on a CPU that can. An fp16 graph
    on a CPU without fp16 arithmetic is computed in f32 from its fp16 weights, as ONNX Runtime does it.
    A CPU never gets f16 beside int8 layers: OpenVINO 2026.4 then uses its reference kernel for an int8
    MatMul, 7,000 times slower. An Arm CPU never gets f16 at all: there MobileSAM's encoder answers the same
    for every image (open-edge-platform/geti issue 7354, August 2026).
    Raises BackendError where the device, an NPU, has neither.
    """
    kind = precision.removeprefix("int8+")
    if kind == "fp16" and device == "CPU" and (kind != precision or is_arm()):
        kind = "fp32"
    capability, hint = _ARITHMETIC.get(kind, ("FP32", "f32"))
    if capability in capabilities:
        return hint
    if "FP32" in capabilities:
        return "f32"
    raise BackendError(
        f"backend openvino:{device.lower()} computes in {', '.join(capabilities)}, "
        f"and the graph is {precision}; export with --precision fp16"
    )


def _bypass_softmax_casts(model: openvino.Model) -> None:
    """Takes the casts to fp32 and back from around every Softmax of a bf16 graph.

    Asked for bf16, OpenVINO computes a Softmax in bf16 with them and without, to the same bits; but only
    without them does it see an attention and run it as one kernel (measurements/README.md).
    """
    for node in model.get_ops():
        if node.get_type_name() == "Softmax":
            before = node.input_value(0).get_node()
            if before.get_type_name() == "Convert":
                node.input(0).replace_source_output(before.input_value(0))
            for after in node.output(0).get_target_inputs():
                if after.get_node().get_type_name() == "Convert":
                    for use in after.get_node().output(0).get_target_inputs():
                        use.replace_source_output(node.output(0))
    model.validate_nodes_and_infer_types()


def _quantize_by_rounding(model: openvino.Model, path: Path) -> None:
    """Writes each FakeQuantize, which a QuantizeLinear became, as what it computes: divide, round, clamp.

    OpenVINO makes layers int8 where it finds one. These stay float, between the same steps.
    Raises BackendError where a tensor has a zero point or several scales, which no bundle has.
    """
    for node in model.get_ops():
        if node.get_type_name() == "FakeQuantize":
            x, *limits = (port.get_source_output() for port in node.inputs())
            values = [np.asarray(limit.get_node().get_data(), np.float32) for limit in limits]
            low, high, least, most = (float(value.flat[0]) for value in values)
            scale = np.float32((high - low) / (most - least))
            if any(value.size != 1 for value in values) or not np.isclose(low, scale * least, rtol=1e-3):
                raise cannot_open(path, _LIBRARY, "expected Q/DQ of one scale and zero point 0", "openvino")
            steps = opset.clamp(opset.round(opset.divide(x, scale), "half_to_even"), least, most)
            for use in node.output(0).get_target_inputs():
                use.replace_source_output(steps.output(0))
    model.validate_nodes_and_infer_types()


def _tensors(ports: Sequence[Any]) -> list[TensorSpec]:
    """What a graph says of its tensors; a size that it leaves open is "?"."""
    return [
        TensorSpec(
            port.get_any_name(),
            port.get_element_type().to_dtype().name,
            tuple(size.get_length() if size.is_static else "?" for size in port.get_partial_shape()),
        )
        for port in ports
    ]


def _reason(error: Exception) -> str:
    """The line of OpenVINO's message that says what is wrong; those before it name its source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("Exception from", "Check '")) and line[-1] != ":"]
    return (said or lines or [type(error).__name__])[0]

"""ONNX Runtime: on the CPU in every installation, on NVIDIA's GPUs where its build supports them."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle.reader import GraphContent
from ..bundle.spec import GraphSpec, TensorSpec
from ..errors import BackendError, first_line
from .base import Array, Tensors, cannot_open, cannot_run, check_graph, closed_engine, path_of, run_checked
from .cpus import checked_threads, usable_cores
from .host import sums_int8_exactly
from .telemetry import telemetry_off

with telemetry_off():
    import onnxruntime  # type: ignore[import-untyped]

# ONNX Runtime names element types "tensor(float)"; these are numpy's names for them.
_DTYPES = {"tensor(float)": "float32", "tensor(int32)": "int32", "tensor(uint8)": "uint8"}
_LIBRARY = f"ONNX Runtime {onnxruntime.__version__}"
# Providers of each device, preferred first: a node that one cannot run goes to the next.
_PROVIDERS = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"],
    "tensorrt": ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
    "tensorrt-rtx": ["NvTensorRTRTXExecutionProvider", "CPUExecutionProvider"],
}
_PLUGINS = {"cuda": "onnxruntime_ep_cuda", "tensorrt-rtx": "onnxruntime_ep_nv_tensorrt_rtx"}
"""Modules of packages that add the provider of a device to any ONNX Runtime."""
_INSTALL = {"tensorrt-rtx": "pip install onnxruntime-ep-nv-tensorrt-rtx"}
_REGISTERING, _REGISTERED = threading.Lock(), set[str]()


class OnnxRuntimeEngine:
    """One ONNX graph in ONNX Runtime on one device; threads may share it."""

    def __init__(
        self,
        graph: Path | GraphContent,
        spec: GraphSpec | None,
        threads: int = 0,
        int8: bool = False,
        device: str = "",
        hint: str = "",
    ) -> None:
        """Opens a graph on `device`: "cpu" (or ""), "cuda", "tensorrt" or "tensorrt-rtx".

        `graph`: a bundle's checked bytes, or a file that the caller trusts. `spec` None: the graph's own
        tensors, each size that it leaves open under a name of its own.
        `threads`: threads of the CPU, 0 for one on each physical core that this process may use. `int8`: the
        graph has layers to compute in int8; otherwise int8 weights are converted to float once, here.
        `hint`: must be empty.
        Raises BackendError where the device is absent, where ONNX Runtime refuses the graph or falls back to
        another device, or where the graph's tensors are not those of `spec`.
        """
        providers, plugin = _providers(device or "cpu", hint)
        session = _open(graph, threads, int8, providers, plugin)
        path, inputs, outputs = (
            path_of(graph),
            _tensors(session.get_inputs()),
            _tensors(session.get_outputs()),
        )
        self._spec = spec or GraphSpec(path.stem, _with_named_sizes(inputs), _with_named_sizes(outputs))
        self._session: onnxruntime.InferenceSession | None = session
        check_graph(path, self._spec, inputs, outputs)

    @property
    def spec(self) -> GraphSpec:
        return self._spec

    def __call__(self, feeds: Tensors, on_device: bool = False) -> dict[str, Array]:
        return run_checked(self._spec, feeds, self._infer)

    def new_session(self, stream: object = None) -> OnnxRuntimeEngine:
        return self

    def close(self) -> None:
        self._session = None

    def _infer(self, feeds: Tensors) -> dict[str, Array]:
        session = self._session
        if session is None:
            raise closed_engine(self._spec)
        names = [tensor.name for tensor in self._spec.outputs]
        try:
            outputs = session.run(names, dict(feeds))
        except Exception as error:  # ONNX Runtime's own exceptions share no public base
            raise cannot_run(self._spec, _LIBRARY, first_line(error)) from error
        # Copies: ONNX Runtime's own arrays keep the memory of a whole session, gigabytes, after close().
        return {name: np.array(output) for name, output in zip(names, outputs, strict=True)}


def has_provider(device: str) -> bool:
    """Returns whether this build of ONNX Runtime supports `device`, which need not be present."""
    return _PROVIDERS[device][0] in onnxruntime.get_available_providers()


def _providers(device: str, hint: str) -> tuple[list[str], list[Any]]:
    """Returns the providers of `device`, and its plugin's hardware where the first one is not built in.

    Raises BackendError where the device is unknown or not supported here.
    """
    if device not in _PROVIDERS or hint:
        raise BackendError(
            f"backend onnxruntime:{device}{hint and ':'}{hint} is unknown; "
            f"choose {' or '.join(f'onnxruntime:{name}' for name in _PROVIDERS)}"
        )
    if has_provider(device):
        return _PROVIDERS[device], []
    plugin = _plugin(device)
    if plugin is None:
        others = ", ".join(name for name in _PROVIDERS if has_provider(name))
        raise BackendError(
            f"backend onnxruntime:{device}: this {_LIBRARY} has no {_PROVIDERS[device][0]}, only {others}; "
            f"{_INSTALL.get(device, 'pip uninstall onnxruntime, then pip install onnxruntime-gpu')}"
        )
    name = plugin.get_ep_name()
    return [name, "CPUExecutionProvider"], _plugin_devices(device, name, plugin)


def _plugin(device: str) -> Any:  # noqa: ANN401
    """Returns the module of the plugin for `device`; None where none is installed."""
    try:
        return import_module(_PLUGINS[device]) if device in _PLUGINS else None
    except ImportError:
        return None


def _plugin_devices(device: str, name: str, plugin: Any) -> list[Any]:  # noqa: ANN401
    """Returns the hardware that a plugin finds for its provider `name`; registers its library once.

    Raises BackendError where the library does not load or finds no hardware.
    """
    with _REGISTERING:
        try:
            if name not in _REGISTERED:
                onnxruntime.register_execution_provider_library(name, plugin.get_library_path())
                _REGISTERED.add(name)
        except Exception as error:  # ONNX Runtime's own exceptions share no public base
            raise BackendError(
                f"backend onnxruntime:{device}: {_LIBRARY} cannot load its plugin {_PLUGINS[device]} "
                f"({first_line(error)}); install the plugin that fits this ONNX Runtime, and the driver"
            ) from error
    found = [each for each in onnxruntime.get_ep_devices() if each.ep_name == name]
    if not found:
        raise BackendError(
            f"backend onnxruntime:{device}: its plugin {_PLUGINS[device]} finds no GPU here that it "
            "supports; choose onnxruntime"
        )
    return found


def _open(
    graph: Path | GraphContent, threads: int, int8: bool, providers: list[str], plugin: list[Any]
) -> onnxruntime.InferenceSession:
    """Returns a session of the graph on the first of `providers`, or on the devices of a plugin."""
    if "CUDAExecutionProvider" in providers:
        _load_cuda()
    options = _session_options(threads, int8)
    if plugin:
        options.add_provider_for_devices(plugin[:1], {})  # the first GPU, as other providers take it
    if isinstance(graph, GraphContent) and graph.weights is not None:
        # Read while the session is made, and not copied before.
        names = [f"{graph.path.name}.data"]
        options.add_external_initializers_from_files_in_memory(names, [graph.weights], [len(graph.weights)])
    try:
        session = onnxruntime.InferenceSession(
            graph.model if isinstance(graph, GraphContent) else graph,
            options,
            providers=None if plugin else providers,
            disabled_optimizers=_disabled_fusions(int8, providers),
            enable_fallback=0,  # otherwise it prints a message and continues on the CPU
        )
    except Exception as error:  # ONNX Runtime's own exceptions share no public base
        raise cannot_open(path_of(graph), _LIBRARY, first_line(error), "onnxruntime") from error
    session._model_bytes = None  # otherwise it keeps a second copy of the weights, for a fallback
    if isinstance(graph, GraphContent):
        graph.check()
    _check_providers(providers[0], session.get_providers())
    return session


def _session_options(threads: int, int8: bool) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    # Always a number: with 0 ONNX Runtime pins its threads to all cores, also those that taskset forbids.
    options.intra_op_num_threads = checked_threads(threads) or usable_cores()
    # At full size a pattern makes the second run take one block of 6.6 GiB, instead of 3.6, and no faster.
    options.enable_mem_pattern = False
    options.log_severity_level = 3  # errors only: its warnings are for graph authors
    # Spinning threads of one graph slow the next graph down: a prompt took 25 ms with spinning and 14 ms
    # without. Spinning within calls only (session.force_spinning_stop) is as fast as none.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Otherwise a decoder with int8 weights converts them in each call: 105 ms instead of 60. And with fp16
    # scales ONNX Runtime 1.32 quantizes biases in fp16: nano's encoder had an error of 18 % instead of .5 %.
    if not int8:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    # Otherwise ONNX Runtime quantizes the activations of a MatMul whose weights alone are int8: an attention
    # was off by 0.8 % of its largest value instead of 0.0001 % (1.32, Zen 4). Level 1 is float32.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    # Otherwise a CPU without VNNI adds pairs of int8 products in 16 bits, where they saturate: half of the
    # sums of a random product were wrong. On one with VNNI it would only double a convolution's time.
    if not sums_int8_exactly():
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def _disabled_fusions(int8: bool, providers: Sequence[str]) -> list[str]:
    """Returns ONNX Runtime's names of the fusions that do harm here."""
    # A sum fused with its LayerNormalization takes 1.5 ms, not 0.3, at 1024 x 256 on a CPU with AVX2.
    slower = ["SkipLayerNormFusion"] if providers[0] == "CPUExecutionProvider" else []
    # An int8 MatMul fused with its bias would be computed in float.
    return [*slower, "MatMulAddFusion"] if int8 else slower


def _load_cuda() -> None:
    """Loads CUDA and cuDNN from NVIDIA's pip packages; otherwise only the system's are searched."""
    preload = getattr(onnxruntime, "preload_dlls", None)  # since 1.21
    if preload is not None:
        with redirect_stdout(io.StringIO()):  # it prints what is missing; _check_providers says more
            preload()


def _check_providers(needed: str, usable: Sequence[str]) -> None:
    """Raises BackendError where a provider's libraries did not load: ONNX Runtime only logs a warning."""
    if needed not in usable:
        raise BackendError(
            f"{_LIBRARY} cannot use its {needed} here, only {', '.join(usable)}; it needs a GPU, its driver, "
            "and CUDA, cuDNN or TensorRT as it was built for: pip install 'onnxruntime-gpu[cuda,cudnn]'"
        )


def _tensors(nodes: Sequence[Any]) -> list[TensorSpec]:
    """Returns ONNX Runtime's inputs or outputs as tensors with numpy's names of element types."""
    return [TensorSpec(node.name, _DTYPES.get(node.type, node.type), tuple(node.shape)) for node in nodes]


def _with_named_sizes(tensors: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Returns the tensors with a name for each open size that no other has: none is bound to another's."""
    return tuple(
        replace(
            tensor,
            shape=tuple(
                size if isinstance(size, int) else f"{tensor.name}_{axis}"
                for axis, size in enumerate(tensor.shape)
            ),
        )
        for tensor in tensors
    )

"""ONNX Runtime: on the CPU the backend that is always there; on NVIDIA's GPUs where its build has them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]

from ..bundle.spec import GraphSpec, TensorSpec
from ..errors import BackendError, first_line
from .base import Array, Tensors, cannot_open, cannot_run, check_graph, closed_engine, run_checked

# ONNX Runtime names element types "tensor(float)"; these are numpy's names for them.
_DTYPES = {"tensor(float)": "float32", "tensor(int32)": "int32"}
_LIBRARY = f"ONNX Runtime {onnxruntime.__version__}"
# Each device's providers, preferred first: a node that one cannot run goes to the next.
_PROVIDERS = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"],
    "tensorrt": ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
}


class OnnxRuntimeEngine:
    """One ONNX graph in ONNX Runtime on one device; its sessions are safe to share by threads."""

    def __init__(
        self,
        path: Path,
        spec: GraphSpec,
        threads: int = 0,
        int8: bool = False,
        device: str = "",
        hint: str = "",
    ) -> None:
        """Open the graph at `path` on `device`: "cpu" (or ""), "cuda" or "tensorrt".

        `threads` of the CPU, 0: one per physical core. `int8`: the graph has layers to be computed in int8;
        in another graph int8 weights are restored once, here. `hint`: there is none here.
        Raises BackendError where the device is absent, or ONNX Runtime refuses the graph or falls back to
        another device, or the graph's tensors are not those of `spec`.
        """
        providers = _providers(device or "cpu", hint)
        self._spec = spec
        self._session: onnxruntime.InferenceSession | None = _open(path, threads, int8, providers)
        check_graph(path, spec, _tensors(self._session.get_inputs()), _tensors(self._session.get_outputs()))

    @property
    def spec(self) -> GraphSpec:
        return self._spec

    def __call__(self, feeds: Tensors, on_device: bool = False) -> dict[str, Array]:
        return run_checked(self._spec, feeds, self._infer)

    def new_session(self, stream: int | None = None) -> OnnxRuntimeEngine:
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
    """Whether this build of ONNX Runtime has the provider of `device`; not whether the device is here."""
    return _PROVIDERS[device][0] in onnxruntime.get_available_providers()


def _providers(device: str, hint: str) -> list[str]:
    if device not in _PROVIDERS or hint:
        raise BackendError(
            f"backend onnxruntime:{device}{hint and ':'}{hint} is unknown; "
            f"choose {' or '.join(f'onnxruntime:{name}' for name in _PROVIDERS)}"
        )
    if not has_provider(device):
        has = ", ".join(name for name in _PROVIDERS if has_provider(name))
        raise BackendError(
            f"backend onnxruntime:{device}: this {_LIBRARY} has no {_PROVIDERS[device][0]}, only {has}; "
            "pip uninstall onnxruntime, then pip install onnxruntime-gpu"
        )
    return _PROVIDERS[device]


def _open(path: Path, threads: int, int8: bool, providers: list[str]) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # At full size the second run plans one block for everything: 6.6 instead of 3.6 GiB, and no faster.
    options.enable_mem_pattern = False
    options.log_severity_level = 3  # errors only: its warnings are for graph authors
    # Each graph's threads spin after its call and steal time from the next graph's: a prompt took 25 ms with,
    # 14 ms without. Spinning within calls only (session.force_spinning_stop) is as fast as none.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Else a decoder with int8 weights restores them in each call, 105 ms for 60. And beside fp16
    # scales ONNX Runtime 1.32 quantizes biases in fp16: an error of 18 % for nano's encoder, instead of .5.
    if not int8:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    # Else a CPU without VNNI adds pairs of int8 products in 16 bits, where they saturate: half of a random
    # product's sums were wrong. Where the CPU has VNNI this changes nothing.
    options.add_session_config_entry("session.x64quantprecision", "1")
    if "CUDAExecutionProvider" in providers:
        _load_cuda()
    try:
        session = onnxruntime.InferenceSession(
            path,
            options,
            providers=providers,
            disabled_optimizers=_left_off(int8, providers),
            enable_fallback=0,  # else it prints, and goes on with the CPU
        )
    except Exception as error:  # ONNX Runtime's own exceptions share no public base
        raise cannot_open(path, _LIBRARY, first_line(error), "onnxruntime") from error
    _check_providers(providers[0], session.get_providers())
    return session


def _left_off(int8: bool, providers: Sequence[str]) -> list[str]:
    """The fusions that are not wanted."""
    # Of a sum with the LayerNormalization after it: 1.5 ms instead of 0.3 at 1024 x 256, on a CPU with AVX2.
    slower = ["SkipLayerNormFusion"] if providers[0] == "CPUExecutionProvider" else []
    # Of an int8 MatMul with its bias: it would be computed in float.
    return [*slower, "MatMulAddFusion"] if int8 else slower


def _load_cuda() -> None:
    """CUDA and cuDNN from NVIDIA's pip packages, where they are; without it only a system's are found."""
    preload = getattr(onnxruntime, "preload_dlls", None)  # since 1.21
    if preload is not None:
        with redirect_stdout(io.StringIO()):  # it prints what it does not find; the check after says more
            preload()


def _check_providers(wanted: str, found: Sequence[str]) -> None:
    """A provider whose libraries do not load is left out with no more than a warning in the log."""
    if wanted not in found:
        raise BackendError(
            f"{_LIBRARY} cannot use its {wanted} here, only {', '.join(found)}; it needs a GPU, its driver, "
            "and CUDA, cuDNN or TensorRT as it was built for: pip install 'onnxruntime-gpu[cuda,cudnn]'"
        )


def _tensors(nodes: Sequence[Any]) -> list[TensorSpec]:
    return [TensorSpec(node.name, _DTYPES.get(node.type, node.type), tuple(node.shape)) for node in nodes]

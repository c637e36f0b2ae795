"""ONNX Runtime on the CPU: the backend that is always there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]

from ..errors import BackendError, first_line
from ..spec import GraphSpec, TensorSpec
from .base import Array, Tensors, run_checked

# ONNX Runtime names element types "tensor(float)"; these are numpy's names for them.
_DTYPES = {"tensor(float)": "float32", "tensor(int32)": "int32"}


class OnnxRuntimeEngine:
    """One ONNX graph in ONNX Runtime's CPU provider; its sessions are safe to share by threads."""

    def __init__(self, path: Path, spec: GraphSpec, threads: int = 0) -> None:
        """Open the graph at `path` with `threads` threads (0: one per physical core).

        Raises BackendError where ONNX Runtime refuses it or its tensors are not those of `spec`.
        """
        self._spec = spec
        self._session: onnxruntime.InferenceSession | None = _open(path, threads)
        _check_graph(path, "inputs", spec.inputs, self._session.get_inputs())
        _check_graph(path, "outputs", spec.outputs, self._session.get_outputs())

    @property
    def spec(self) -> GraphSpec:
        return self._spec

    def __call__(self, feeds: Tensors) -> dict[str, Array]:
        return run_checked(self._spec, feeds, self._infer)

    def close(self) -> None:
        self._session = None

    def _infer(self, feeds: Tensors) -> dict[str, Array]:
        session = self._session
        if session is None:
            raise BackendError(f"{self._spec.name}: this engine is closed; open another Predictor")
        names = [tensor.name for tensor in self._spec.outputs]
        try:
            outputs = session.run(names, dict(feeds))
        except Exception as error:  # ONNX Runtime's own exceptions share no public base
            raise BackendError(
                f"{self._spec.name}: ONNX Runtime {onnxruntime.__version__} failed to run the "
                f"graph ({first_line(error)}); export the bundle again or free memory"
            ) from error
        # Copies: ONNX Runtime's own arrays keep the memory of a whole session, gigabytes, after close().
        return {name: np.array(output) for name, output in zip(names, outputs, strict=True)}


def _open(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # At full size the second run plans one block for everything: 6.6 instead of 3.6 GiB, and no faster.
    options.enable_mem_pattern = False
    options.log_severity_level = 3  # errors only: its warnings are for graph authors
    # Threads that spin between calls steal time: postprocess took 23 ms with, 15 ms without them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own exceptions share no public base
        raise BackendError(
            f"{path}: ONNX Runtime {onnxruntime.__version__} cannot open this graph "
            f"({first_line(error)}); export the bundle again, or upgrade onnxruntime"
        ) from error


def _check_graph(path: Path, side: str, expected: tuple[TensorSpec, ...], found: list[Any]) -> None:
    actual = {node.name: node for node in found}
    missing = [tensor.name for tensor in expected if tensor.name not in actual]
    if missing or len(actual) != len(expected):
        raise BackendError(
            f"{path}: {side} must be {', '.join(tensor.name for tensor in expected)}, "
            f"found {', '.join(actual) or 'none'}; export the bundle again"
        )
    for tensor in expected:
        _check_tensor(path, tensor, actual[tensor.name])


def _check_tensor(path: Path, expected: TensorSpec, node: Any) -> None:  # noqa: ANN401
    # Only sizes that the graph states can disagree: exporters leave some outputs' sizes open.
    stated = zip(expected.shape, node.shape, strict=False)
    fits = all(not isinstance(size, int) or size == wanted for wanted, size in stated)
    found = TensorSpec(node.name, _DTYPES.get(node.type, node.type), tuple(node.shape))
    if len(node.shape) != len(expected.shape) or found.dtype != expected.dtype or not fits:
        raise BackendError(f"{path}: expected {expected}, found {found}; export the bundle again")

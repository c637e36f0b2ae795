"""ONNX Runtime on the CPU: the backend that is always there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]

from ..errors import first_line
from ..spec import GraphSpec, TensorSpec
from .base import Array, Tensors, cannot_open, cannot_run, check_graph, closed_engine, run_checked

# ONNX Runtime names element types "tensor(float)"; these are numpy's names for them.
_DTYPES = {"tensor(float)": "float32", "tensor(int32)": "int32"}
_LIBRARY = f"ONNX Runtime {onnxruntime.__version__}"


class OnnxRuntimeEngine:
    """One ONNX graph in ONNX Runtime's CPU provider; its sessions are safe to share by threads."""

    def __init__(self, path: Path, spec: GraphSpec, threads: int = 0, int8: bool = False) -> None:
        """Open the graph at `path` with `threads` threads (0: one per physical core).

        `int8`: it has layers to be computed in int8. In another graph int8 weights are restored once, here.
        Raises BackendError where ONNX Runtime refuses it or its tensors are not those of `spec`.
        """
        self._spec = spec
        self._session: onnxruntime.InferenceSession | None = _open(path, threads, int8)
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


def _open(path: Path, threads: int, int8: bool) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # At full size the second run plans one block for everything: 6.6 instead of 3.6 GiB, and no faster.
    options.enable_mem_pattern = False
    options.log_severity_level = 3  # errors only: its warnings are for graph authors
    # Threads that spin between calls steal time: postprocess took 23 ms with, 15 ms without them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not int8:  # else a decoder with int8 weights restores them in each call: 105 ms for 60
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        return onnxruntime.InferenceSession(
            path,
            options,
            providers=["CPUExecutionProvider"],
            # An int8 MatMul that is fused with its bias would be computed in float.
            disabled_optimizers=["MatMulAddFusion"] if int8 else [],
        )
    except Exception as error:  # ONNX Runtime's own exceptions share no public base
        raise cannot_open(path, _LIBRARY, first_line(error), "onnxruntime") from error


def _tensors(nodes: Sequence[Any]) -> list[TensorSpec]:
    return [TensorSpec(node.name, _DTYPES.get(node.type, node.type), tuple(node.shape)) for node in nodes]

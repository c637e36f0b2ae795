"""A deserialized engine, which all sessions of a graph share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...bundle.spec import GraphSpec, TensorSpec
from ...errors import BackendError
from ..base import check_graph
from .context import Context
from .library import Library, python_logger

# numpy's names of element types, by TensorRT's.
_DTYPES = {"FLOAT": "float32", "HALF": "float16", "INT32": "int32", "INT64": "int64"}


@dataclass(frozen=True, eq=False)
class Compiled:
    """An engine and its graph's tensors.

    `engine`: TensorRT's object, which lives in `context`. `limits`: the largest size of each dynamic
    dimension, from its profile.
    """

    library: Library
    engine: Any
    spec: GraphSpec
    context: Context
    limits: Mapping[str, int]

    def largest_shape(self, tensor: TensorSpec) -> tuple[int, ...]:
        """Returns the largest shape of `tensor`."""
        return tuple(self.limits[size] if isinstance(size, str) else size for size in tensor.shape)


def deserialize(library: Library, plan: bytes, spec: GraphSpec, path: Path) -> Compiled:
    """Opens the engine in `plan`, built from the graph at `path`, on this thread's GPU.

    Raises BackendError where there is no GPU, TensorRT refuses the plan, or its tensors are not `spec`'s.
    """
    cuda_context = Context()
    logger = python_logger(library.module)
    logger.take_error()
    with cuda_context.entered():
        engine = library.module.Runtime(logger).deserialize_cuda_engine(plan)
    if engine is None:
        raise BackendError(
            f"{path}: {library.backend} {library.version} cannot open this graph's engine "
            f"({logger.take_error()}); build it again with glesam-build"
        )
    check_graph(path, spec, _tensors(engine, "INPUT"), _tensors(engine, "OUTPUT"))
    return Compiled(library, engine, spec, cuda_context, _limits(engine, spec))


def _tensors(engine: Any, mode: str) -> list[TensorSpec]:  # noqa: ANN401
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    return [_tensor(engine, name) for name in names if engine.get_tensor_mode(name).name == mode]


def _tensor(engine: Any, name: str) -> TensorSpec:  # noqa: ANN401
    kind = engine.get_tensor_dtype(name).name
    # TensorRT's -1 is a dynamic size.
    shape = tuple(size if size >= 0 else "?" for size in engine.get_tensor_shape(name))
    return TensorSpec(name, _DTYPES.get(kind, kind), shape)


def _limits(engine: Any, spec: GraphSpec) -> dict[str, int]:  # noqa: ANN401
    """Returns the largest size of each dynamic dimension, the least over all inputs that have it."""
    limits: dict[str, int] = {}
    for tensor in spec.inputs:
        if any(isinstance(size, str) for size in tensor.shape):
            _, _, largest = engine.get_tensor_profile_shape(tensor.name, 0)
            for name, size in zip(tensor.shape, largest, strict=True):
                if isinstance(name, str):
                    limits[name] = min(size, limits.get(name, size))
    return limits

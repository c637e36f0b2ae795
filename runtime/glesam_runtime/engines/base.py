"""The interface of an engine, the checks that every engine makes, and the errors that they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np
import numpy.typing as npt

from ..bundle.reader import GraphContent
from ..bundle.spec import GraphSpec, TensorSpec
from ..errors import BackendError

Array = npt.NDArray[np.generic]
Tensors = Mapping[str, Array]
AnyTensors = Mapping[str, Any]
"""numpy arrays; for a backend on a GPU also other arrays with `__cuda_array_interface__` or DLPack."""


class Engine(Protocol):
    """One compiled graph. Many threads may call it at once; it refuses calls after close()."""

    @property
    def spec(self) -> GraphSpec:
        """The graph's input and output tensors."""

    @overload
    def __call__(self, feeds: AnyTensors) -> dict[str, Array]: ...

    @overload
    def __call__(self, feeds: AnyTensors, on_device: bool) -> Mapping[str, Any]:
        """Runs the graph once. Raises BackendError where feeds or outputs do not match `spec`.

        on_device: the outputs stay where this backend computes. On a GPU they are DeviceArrays, valid until
        the next call; on a CPU they are numpy arrays as always.
        """

    def new_session(self, stream: object = None) -> Engine:
        """Returns an engine for another thread, which shares the compiled graph and runs independently.

        It is this engine itself where that already allows calls from several threads at once.
        `stream`: handle of the CUDA stream to run on; a CPU ignores it.
        Closing the engine that it came from closes it too.
        """

    def close(self) -> None:
        """Frees the compiled graph. Closing twice is allowed."""


@dataclass(frozen=True)
class Engines:
    """The compiled graphs of one bundle. Without `gle` the model is plain SAM."""

    image_encoder: Engine
    gle: Engine | None
    mask_decoder: Engine

    def new_session(self, stream: object = None) -> Engines:
        """Returns engines for another thread on the same compiled graphs; `stream`: CUDA stream to run on."""
        gle = None if self.gle is None else self.gle.new_session(stream)
        return Engines(self.image_encoder.new_session(stream), gle, self.mask_decoder.new_session(stream))

    def close(self, shared: Engines | None = None) -> None:
        """Frees all engines, except those that belong to `shared` too."""
        kept = [] if shared is None else shared._all()
        for engine in self._all():
            if not any(engine is other for other in kept):
                engine.close()

    def _all(self) -> list[Engine]:
        return [x for x in (self.image_encoder, self.gle, self.mask_decoder) if x is not None]


def on_host(name: str, value: Any) -> npt.NDArray[Any]:  # noqa: ANN401
    """Returns the output `name` of an engine as a numpy array: itself, or a copy of a GPU's array."""
    if isinstance(value, np.ndarray):
        return value
    from .device_array import to_host  # a CPU's user never needs it

    return to_host(name, value)


def run_checked(
    spec: GraphSpec,
    feeds: AnyTensors,
    infer: Callable[[Any], dict[str, Any]],
    kinds: tuple[type, ...] = (np.ndarray,),
) -> dict[str, Any]:
    """Returns infer(feeds), with feeds and outputs checked against `spec`.

    A dynamic dimension must have the same size everywhere. `kinds`: accepted types of arrays.
    """
    sizes: dict[str, int] = {}
    _check(f"{spec.name} input", spec.inputs, feeds, sizes, kinds)
    outputs = infer(feeds)
    _check(f"{spec.name} output", spec.outputs, outputs, sizes, kinds)
    return outputs


def path_of(graph: Path | GraphContent) -> Path:
    """Returns the path of a graph, for messages."""
    return graph.path if isinstance(graph, GraphContent) else graph


def check_graph(
    path: Path, spec: GraphSpec, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> None:
    """Raises BackendError where the tensors of the graph at `path` are not those of `spec`."""
    for side, expected, tensors in (("inputs", spec.inputs, inputs), ("outputs", spec.outputs, outputs)):
        actual = {tensor.name: tensor for tensor in tensors}
        missing = [tensor.name for tensor in expected if tensor.name not in actual]
        if missing or len(actual) != len(expected):
            raise BackendError(
                f"{path}: {side} must be {', '.join(tensor.name for tensor in expected)}, "
                f"found {', '.join(actual) or 'none'}; export the bundle again"
            )
        for tensor in expected:
            _check_tensor(path, tensor, actual[tensor.name])


def cannot_open(path: Path, library: str, reason: str, package: str) -> BackendError:
    """Returns the error for a graph at `path` that `library` refuses; `package` is its name for pip."""
    return BackendError(
        f"{path}: {library} cannot open this graph ({reason}); export the bundle again, or upgrade {package}"
    )


def cannot_run(spec: GraphSpec, library: str, reason: str) -> BackendError:
    """Returns the error for a graph that `library` opened but failed to run."""
    return BackendError(
        f"{spec.name}: {library} failed to run the graph ({reason}); export the bundle again or free memory"
    )


def closed_engine(spec: GraphSpec) -> BackendError:
    """Returns the error for a call after close()."""
    return BackendError(f"{spec.name}: this engine is closed; open another Predictor")


def _check_tensor(path: Path, expected: TensorSpec, actual: TensorSpec) -> None:
    # Only sizes that the graph fixes can disagree: exporters leave the sizes of some outputs open.
    pairs = zip(expected.shape, actual.shape, strict=False)
    fits = all(not isinstance(size, int) or size == required for required, size in pairs)
    if len(actual.shape) != len(expected.shape) or actual.dtype != expected.dtype or not fits:
        raise BackendError(f"{path}: expected {expected}, found {actual}; export the bundle again")


def _check(
    where: str,
    expected: tuple[TensorSpec, ...],
    actual: AnyTensors,
    sizes: dict[str, int],
    kinds: tuple[type, ...],
) -> None:
    """Raises BackendError where names, types or shapes differ; `sizes` are those of dynamic dimensions."""
    names = [tensor.name for tensor in expected]
    if set(names) != set(actual):
        raise BackendError(
            f"{where}: expected {', '.join(names)}, found {', '.join(actual) or 'none'}; "
            "give exactly the named tensors"
        )
    for tensor in expected:
        array = actual[tensor.name]
        _check_kind(where, tensor, array, kinds)
        if array.dtype.name != tensor.dtype or not _fits(tensor, array.shape, sizes):
            known = "".join(f", {name} = {size}" for name, size in sizes.items())
            raise BackendError(
                f"{where}: expected {tensor}{known}, "
                f"found {TensorSpec(tensor.name, array.dtype.name, array.shape)}; "
                "convert or reshape it"
            )


def _check_kind(where: str, expected: TensorSpec, array: object, kinds: tuple[type, ...]) -> None:
    """Raises BackendError where `array` is no array of one of `kinds`."""
    if not isinstance(array, kinds):
        accepted = "a numpy array, for a CPU" if kinds == (np.ndarray,) else "a numpy or device array"
        actual = f"{type(array).__module__}.{type(array).__name__}"
        raise BackendError(f"{where}: expected {expected} as {accepted}, found {actual}; convert it")


def _fits(tensor: TensorSpec, shape: tuple[int, ...], sizes: dict[str, int]) -> bool:
    """Returns whether `shape` fits the tensor; a dynamic dimension is bound to the first size it meets."""
    if len(shape) != len(tensor.shape):
        return False
    return all(
        size == (expected if isinstance(expected, int) else sizes.setdefault(expected, size))
        for expected, size in zip(tensor.shape, shape, strict=True)
    )

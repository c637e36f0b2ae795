"""What an engine is, the checks that every engine makes, and what it says when they fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np
import numpy.typing as npt

from ..bundle.spec import GraphSpec, TensorSpec
from ..errors import BackendError
from .device_array import DeviceArray

Array = npt.NDArray[np.generic]
Tensors = Mapping[str, Array]
AnyTensors = Mapping[str, Any]
"""Arrays of numpy; for a backend on a GPU also any library's with `__cuda_array_interface__` or DLPack."""


class Engine(Protocol):
    """One compiled graph. Many threads may call it at once; none may call it after close()."""

    @property
    def spec(self) -> GraphSpec:
        """The tensors it takes and gives."""

    @overload
    def __call__(self, feeds: AnyTensors) -> dict[str, Array]: ...

    @overload
    def __call__(self, feeds: AnyTensors, on_device: bool) -> Mapping[str, Any]:
        """Run once. Raises BackendError where feeds or outputs are not those of `spec`.

        on_device: leave the outputs where this backend computes. On a GPU they are DeviceArrays, valid until
        the next call; on a CPU numpy arrays as ever.
        """

    def new_session(self, stream: int | None = None) -> Engine:
        """An engine for another thread: it shares the compiled graph, and its calls wait for nobody's.

        Where calls share nothing else it is this engine itself. `stream`: a CUDA stream's handle to run on;
        a CPU has none. It ends when the engine it came from is closed.
        """

    def close(self) -> None:
        """Free the compiled graph. Closing twice is allowed."""


def run_checked(
    spec: GraphSpec,
    feeds: AnyTensors,
    infer: Callable[[Any], dict[str, Any]],
    kinds: tuple[type, ...] = (np.ndarray,),
) -> dict[str, Any]:
    """infer(feeds) between two checks; a dynamic dimension has one size in both. `kinds`: types of arrays."""
    sizes: dict[str, int] = {}
    _check(f"{spec.name} input", spec.inputs, feeds, sizes, kinds)
    outputs = infer(feeds)
    _check(f"{spec.name} output", spec.outputs, outputs, sizes, kinds)
    return outputs


def check_graph(
    path: Path, spec: GraphSpec, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> None:
    """Raises BackendError where the tensors found in the graph at `path` are not those of `spec`."""
    for side, expected, found in (("inputs", spec.inputs, inputs), ("outputs", spec.outputs, outputs)):
        actual = {tensor.name: tensor for tensor in found}
        missing = [tensor.name for tensor in expected if tensor.name not in actual]
        if missing or len(actual) != len(expected):
            raise BackendError(
                f"{path}: {side} must be {', '.join(tensor.name for tensor in expected)}, "
                f"found {', '.join(actual) or 'none'}; export the bundle again"
            )
        for tensor in expected:
            _check_tensor(path, tensor, actual[tensor.name])


def cannot_open(path: Path, library: str, reason: str, package: str) -> BackendError:
    """`library` refuses the graph at `path`; `package` is its name for pip."""
    return BackendError(
        f"{path}: {library} cannot open this graph ({reason}); export the bundle again, or upgrade {package}"
    )


def cannot_run(spec: GraphSpec, library: str, reason: str) -> BackendError:
    """`library` opened the graph but failed to run it."""
    return BackendError(
        f"{spec.name}: {library} failed to run the graph ({reason}); export the bundle again or free memory"
    )


def closed_engine(spec: GraphSpec) -> BackendError:
    """The engine was called after close()."""
    return BackendError(f"{spec.name}: this engine is closed; open another Predictor")


def _check_tensor(path: Path, expected: TensorSpec, found: TensorSpec) -> None:
    # Only sizes that the graph states can disagree: exporters leave some outputs' sizes open.
    stated = zip(expected.shape, found.shape, strict=False)
    fits = all(not isinstance(size, int) or size == wanted for wanted, size in stated)
    if len(found.shape) != len(expected.shape) or found.dtype != expected.dtype or not fits:
        raise BackendError(f"{path}: expected {expected}, found {found}; export the bundle again")


def _check(
    where: str,
    expected: tuple[TensorSpec, ...],
    found: AnyTensors,
    sizes: dict[str, int],
    kinds: tuple[type, ...],
) -> None:
    names = [tensor.name for tensor in expected]
    if set(names) != set(found):
        raise BackendError(
            f"{where}: expected {', '.join(names)}, found {', '.join(found) or 'none'}; "
            "give exactly the named tensors"
        )
    for tensor in expected:
        array = found[tensor.name]
        _check_kind(where, tensor, array, kinds)
        if array.dtype.name != tensor.dtype or not _fits(tensor, array.shape, sizes):
            known = "".join(f", {name} = {size}" for name, size in sizes.items())
            raise BackendError(
                f"{where}: expected {tensor}{known}, "
                f"found {TensorSpec(tensor.name, array.dtype.name, array.shape)}; "
                "convert or reshape it"
            )


def _check_kind(where: str, expected: TensorSpec, array: object, kinds: tuple[type, ...]) -> None:
    if not isinstance(array, kinds):
        wanted = "a numpy or device array" if DeviceArray in kinds else "a numpy array, for a CPU"
        found = f"{type(array).__module__}.{type(array).__name__}"
        raise BackendError(f"{where}: expected {expected} as {wanted}, found {found}; convert it")


def _fits(tensor: TensorSpec, shape: tuple[int, ...], sizes: dict[str, int]) -> bool:
    """Whether `shape` is the tensor's; a dynamic dimension takes the first size it meets."""
    if len(shape) != len(tensor.shape):
        return False
    return all(
        size == (expected if isinstance(expected, int) else sizes.setdefault(expected, size))
        for expected, size in zip(tensor.shape, shape, strict=True)
    )

"""What an engine is, and the checks that every engine makes on every call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..errors import BackendError
from ..spec import GraphSpec, TensorSpec

Array = npt.NDArray[np.generic]
Tensors = Mapping[str, Array]


class Engine(Protocol):
    """One compiled graph. Many threads may call it at once; none may call it after close()."""

    @property
    def spec(self) -> GraphSpec:
        """The tensors it takes and gives."""

    def __call__(self, feeds: Tensors) -> dict[str, Array]:
        """Run once. Raises BackendError where feeds or outputs are not those of `spec`."""

    def close(self) -> None:
        """Free the compiled graph. Closing twice is allowed."""


def run_checked(
    spec: GraphSpec, feeds: Tensors, infer: Callable[[Tensors], dict[str, Array]]
) -> dict[str, Array]:
    """infer(feeds) between two checks; a dynamic dimension has one size in both."""
    sizes: dict[str, int] = {}
    _check(f"{spec.name} input", spec.inputs, feeds, sizes)
    outputs = infer(feeds)
    _check(f"{spec.name} output", spec.outputs, outputs, sizes)
    return outputs


def _check(where: str, expected: tuple[TensorSpec, ...], found: Tensors, sizes: dict[str, int]) -> None:
    names = [tensor.name for tensor in expected]
    if set(names) != set(found):
        raise BackendError(
            f"{where}: expected {', '.join(names)}, found {', '.join(found) or 'none'}; "
            "give exactly the named tensors"
        )
    for tensor in expected:
        array = found[tensor.name]
        if array.dtype.name != tensor.dtype or not _fits(tensor, array.shape, sizes):
            known = "".join(f", {name} = {size}" for name, size in sizes.items())
            raise BackendError(
                f"{where}: expected {tensor}{known}, "
                f"found {TensorSpec(tensor.name, array.dtype.name, array.shape)}; "
                "convert or reshape it"
            )


def _fits(tensor: TensorSpec, shape: tuple[int, ...], sizes: dict[str, int]) -> bool:
    """Whether `shape` is the tensor's; a dynamic dimension takes the first size it meets."""
    if len(shape) != len(tensor.shape):
        return False
    return all(
        size == (expected if isinstance(expected, int) else sizes.setdefault(expected, size))
        for expected, size in zip(tensor.shape, shape, strict=True)
    )

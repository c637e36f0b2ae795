"""What runtimes want of Q/DQ pairs, by the names that --target knows."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from glesam_runtime.engines.choice import INSTALL
from glesam_runtime.errors import BackendError

ANY = "any"


@dataclass(frozen=True)
class Target:
    """How a runtime reads Q/DQ.

    Attributes:
        unsigned: whether tensors that are never negative become uint8, which has twice the steps for them.
            TensorRT takes int8 alone.
        answers: whether what convolutions answer has pairs, too, and everything behind reads those: ONNX
            Runtime computes a convolution in int8 only between pairs, and all must be uint8.
        followers: operators besides layers that read a quantized tensor from its pair, as their runtime
            computes them in int8, too.
        half_scales: whether the scales are fp16 where the rest is; TensorRT 10.16 does not build that on
            Orin (NVIDIA/TensorRT issue 4832).
        backend: what runs it here, for both gates and the times of layers; "auto" is any, and then layers are
            not timed.
    """

    unsigned: bool = False
    answers: bool = False
    followers: tuple[str, ...] = ()
    half_scales: bool = True
    backend: str = "auto"


TARGETS = {
    ANY: Target(),
    "orin": Target(half_scales=False),
    "onnxruntime": Target(unsigned=True, answers=True, backend="onnxruntime"),
    "openvino": Target(unsigned=True, followers=("AveragePool",), backend="openvino"),
}


def backend_for(target: str, required: bool) -> str:
    """The backend that runs bundles for a target here; "auto" where it is neither installed nor `required`.

    Raises:
        BackendError: it is required and not installed.
    """
    backend = TARGETS[target].backend
    if backend == "auto" or find_spec(backend) is not None:
        return backend
    if required:
        raise BackendError(
            f"target {target}: {backend} is not installed, and the speed gate measures it; "
            f"{INSTALL[backend]}, or give --no-speed-gate for a target elsewhere"
        )
    return "auto"

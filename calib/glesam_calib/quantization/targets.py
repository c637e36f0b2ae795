"""What runtimes want of Q/DQ pairs, by the names that --target knows."""

from __future__ import annotations

from dataclasses import dataclass

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
        backend: what runs it here, for the times of layers and of the speed gate; "auto" is any, and then
            layers are not timed.
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

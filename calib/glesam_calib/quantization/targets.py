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
        followers: operators besides layers that read a quantized tensor from its pair, as their runtime
            computes them in int8, too.
        half_scales: whether the scales are fp16 where the rest is; TensorRT 10.16 does not build that on
            Orin (NVIDIA/TensorRT issue 4832).
        timed: whether layers are timed, on this machine, before a search leaves some of them in float.
    """

    unsigned: bool = False
    followers: tuple[str, ...] = ()
    half_scales: bool = True
    timed: bool = False


TARGETS = {
    ANY: Target(),
    "orin": Target(half_scales=False),
    "openvino": Target(unsigned=True, followers=("AveragePool",), timed=True),
}

"""Chooses the backend that runs a bundle, and says why.

A backend is named by one string, NAME[:DEVICE[:HINT]]: "onnxruntime:cuda", "openvino:gpu:throughput". Each
engine checks its own devices and hints; this file weighs names and precisions only.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from importlib.util import find_spec

from ..bundle.spec import GraphSpec
from ..errors import BackendError
from .host import sums_int8_exactly

INT8 = "int8"
"""Start of the precision of a graph with int8 layers; that of its other layers follows: "int8+fp16"."""
TENSORRT = ("tensorrt", "tensorrt-rtx")
"""The backends that run engines built by glesam-build from a whole bundle."""
ONNX_BACKENDS = ("onnxruntime", "openvino")
"""The backends that open ONNX graphs directly."""
BACKENDS = (*ONNX_BACKENDS, *TENSORRT)
"""All backends."""
INSTALL = {"onnxruntime": "pip install onnxruntime", "openvino": "pip install 'glesam[openvino]'"}
BACKEND_HELP = f"auto, {', '.join(BACKENDS)}; with a device as onnxruntime:cuda or openvino:gpu."
"""Help text of a command's --backend."""
_NPU = "openvino:npu"
_HABITS = {
    **dict.fromkeys(("cuda", "nvidia"), "onnxruntime:cuda, tensorrt or tensorrt-rtx"),
    **dict.fromkeys(("trt", "tensor-rt"), "tensorrt"),
    **dict.fromkeys(("rtx", "trt-rtx", "tensorrt_rtx"), "tensorrt-rtx"),
    "gpu": "onnxruntime:cuda or tensorrt for NVIDIA's, openvino:gpu for Intel's",
    **dict.fromkeys(("ort", "onnx", "onnx-runtime"), "onnxruntime"),
    **dict.fromkeys(("ov", "open-vino"), "openvino"),
    "npu": _NPU,
    "cpu": "onnxruntime or openvino",
}
"""What other programs call a backend or a device -> the names here."""


@dataclass(frozen=True)
class Candidate:
    """A backend that "auto" may choose, whether it can run a bundle here, and why or why not."""

    backend: str
    fits: bool
    reason: str


def split_backend(backend: str) -> tuple[str, str, str]:
    """Returns name, device and hint of a backend such as "openvino:GPU:throughput"; absent parts are ""."""
    name, _, rest = backend.partition(":")
    device, _, hint = rest.partition(":")
    return name, device.lower(), hint.lower()


def device_of(backend: str) -> str:
    """Returns where a backend computes: "cpu", "cuda" for TensorRT, or the device in its name."""
    name, device, _ = split_backend(backend)
    return "cuda" if name in TENSORRT else device or "cpu"


def pick_backend(backend: str, precision: str, target: str = "any") -> tuple[str, str]:
    """Returns the backend to use for a bundle of `precision`, and why: ("onnxruntime", "as asked").

    `target`: the runtime that its int8 layers were quantized for.

    Raises BackendError for a name that is unknown, and for a backend that cannot compute in `precision`.
    """
    if backend == "auto":
        return _automatic(precision, target)
    name, device, hint = split_backend(backend)
    if name not in BACKENDS:
        meant = _HABITS.get(name.lower(), f"auto or {' or '.join(BACKENDS)}")
        raise BackendError(f"backend {backend!r} is unknown; choose {meant}")
    if name in TENSORRT and backend != name:
        raise BackendError(
            f"backend {backend!r}: {name} takes no device; choose one with CUDA_VISIBLE_DEVICES"
        )
    if name == "onnxruntime" and precision.endswith("bf16"):
        raise BackendError(
            f"backend onnxruntime has no bf16 arithmetic here, and the bundle is {precision}; "
            "choose openvino, or export with --precision fp32 or fp16"
        )
    chosen = ":".join((name, device, hint)).rstrip(":")
    return chosen, "as asked, but the mask decoder on the CPU" if _is_npu(chosen) else "as asked"


def candidates(precision: str, target: str = "any") -> list[Candidate]:
    """Returns what "auto" considers for a bundle of `precision`, best first; it takes the first that fits.

    On a CPU that is onnxruntime where the int8 layers were quantized for that `target`.
    """
    return [_onnxruntime_cuda(precision), _openvino(precision, target), _onnxruntime(precision, target)]


def place(backend: str, spec: GraphSpec) -> str:
    """Returns the backend for one graph of a bundle that runs on `backend`.

    An NPU takes no dynamic shapes: the mask decoder, whose number of prompts is dynamic, runs on the CPU.
    """
    is_dynamic = any(isinstance(size, str) for tensor in spec.inputs for size in tensor.shape)
    return "openvino" if _is_npu(backend) and is_dynamic else backend


def computes_int8(backend: str, precision: str) -> bool:
    """Returns whether a backend runs the int8 layers of such a graph in int8 rather than in float.

    ONNX Runtime 1.32 does so on a CPU if the rest is fp32: in fp16 graphs it fuses no Q/DQ. Of other targets
    than its own it computes MatMul in int8, but convolutions in float. OpenVINO does so except on a CPU that
    cannot sum int8 products exactly.
    """
    name, device, _ = split_backend(backend)
    on_cpu = device in ("", "cpu")
    if name == "openvino":
        return precision.startswith(INT8) and (not on_cpu or sums_int8_exactly())
    return name == "onnxruntime" and on_cpu and precision == "int8+fp32"


def _automatic(precision: str, target: str) -> tuple[str, str]:
    """Returns the first candidate that fits, and why; raises BackendError where none does."""
    considered = candidates(precision, target)
    for candidate in considered:
        if candidate.fits:
            return candidate.backend, f"auto: {candidate.reason}"
    why = "; ".join(f"{candidate.backend}: {candidate.reason}" for candidate in considered)
    raise BackendError(
        f"backend auto: nothing here computes in {precision} ({why}); "
        "install what is missing, or export with --precision fp32 or fp16"
    )


def _onnxruntime_cuda(precision: str) -> Candidate:
    backend = "onnxruntime:cuda"
    if precision.endswith("bf16"):
        return Candidate(backend, False, "onnxruntime is not known to compute bf16 graphs")
    if not has_nvidia_gpu():  # checked first: unlike onnxruntime's own answer it needs no import
        return Candidate(backend, False, "no NVIDIA GPU here")
    from .onnxruntime import has_provider

    if not has_provider("cuda"):
        return Candidate(backend, False, "this onnxruntime has no CUDA; pip install onnxruntime-gpu")
    return Candidate(backend, True, "an NVIDIA GPU is here, and onnxruntime has CUDA")


def _openvino(precision: str, target: str) -> Candidate:
    if find_spec("openvino") is None:  # only searched for, not loaded
        return Candidate("openvino", False, f"openvino is not installed; {INSTALL['openvino']}")
    if precision.endswith("bf16"):
        return Candidate("openvino", True, "for bf16 graphs, which onnxruntime cannot compute on a CPU")
    if precision.startswith(INT8) and not sums_int8_exactly():
        return Candidate("openvino", False, "this CPU has no VNNI, so it computes int8 graphs in float")
    if precision.startswith(INT8) and target == "onnxruntime":
        return Candidate("openvino", False, "the int8 layers are quantized for onnxruntime")
    if precision.startswith(INT8):
        return Candidate("openvino", True, "for int8 graphs, of which onnxruntime computes much in float")
    return Candidate("openvino", False, "preferred for bf16 and int8 only")


def _onnxruntime(precision: str, target: str) -> Candidate:
    if precision.endswith("bf16"):
        return Candidate("onnxruntime", False, "it cannot compute bf16 graphs on a CPU")
    if target == "onnxruntime":
        return Candidate("onnxruntime", True, "the int8 layers are quantized for it")
    return Candidate("onnxruntime", True, "it is part of every installation")


def has_nvidia_gpu() -> bool:
    """Returns whether NVIDIA's driver is here and finds a GPU; needs no library of CUDA's."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    ready: bool = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    return ready and count.value > 0


def _is_npu(backend: str) -> bool:
    return backend.startswith(_NPU)

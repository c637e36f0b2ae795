"""Which backend runs a bundle, and why.

A backend is named by one string, NAME[:DEVICE[:HINT]]: "onnxruntime:cuda", "openvino:gpu:throughput". The
engine of that name knows its devices and hints; here only names and precisions are weighed.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from importlib.util import find_spec

from ..bundle.spec import GraphSpec
from ..errors import BackendError
from .host import sums_int8_exactly

INT8 = "int8"
"""Begins the precision of a graph with int8 layers; the rest's follows: "int8+fp16"."""
TENSORRT = ("tensorrt", "tensorrt-rtx")
"""The backends that run engines which glesam-build has made from a whole bundle."""
ONNX_BACKENDS = ("onnxruntime", "openvino")
"""The backends that open an ONNX graph as it is."""
BACKENDS = (*ONNX_BACKENDS, *TENSORRT)
"""The backends that there are."""
INSTALL = {"onnxruntime": "pip install onnxruntime", "openvino": "pip install 'glesam[openvino]'"}
BACKEND_HELP = f"auto, {', '.join(BACKENDS)}; with a device as onnxruntime:cuda or openvino:gpu."
"""What a command's --backend says of itself."""
_NPU = "openvino:npu"


@dataclass(frozen=True)
class Candidate:
    """A backend that "auto" may take, whether it can run a bundle here, and why or why not."""

    backend: str
    fits: bool
    reason: str


def split_backend(backend: str) -> tuple[str, str, str]:
    """ "openvino:GPU:throughput" -> ("openvino", "gpu", "throughput"); what is left out is ""."""
    name, _, rest = backend.partition(":")
    device, _, hint = rest.partition(":")
    return name, device.lower(), hint.lower()


def pick_backend(backend: str, precision: str) -> tuple[str, str]:
    """The backend that `backend` means for a bundle of `precision`, and why: ("onnxruntime", "as asked").

    Raises BackendError for a name that is unknown, and for a backend that cannot compute in `precision`.
    """
    if backend == "auto":
        return _automatic(precision)
    name, device, hint = split_backend(backend)
    if name not in BACKENDS:
        raise BackendError(f"backend {backend!r} is unknown; choose auto or {' or '.join(BACKENDS)}")
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


def candidates(precision: str) -> list[Candidate]:
    """What "auto" weighs for a bundle of `precision`, best first; it takes the first that fits."""
    return [_onnxruntime_cuda(precision), _openvino(precision), _onnxruntime(precision)]


def place(backend: str, spec: GraphSpec) -> str:
    """The backend for one graph of a bundle that `backend` runs.

    An NPU takes no graph of open sizes: the mask decoder, whose number of prompts is open, stays on the CPU.
    """
    open_sizes = any(isinstance(size, str) for tensor in spec.inputs for size in tensor.shape)
    return "openvino" if _is_npu(backend) and open_sizes else backend


def computes_int8(backend: str, precision: str) -> bool:
    """Whether a backend runs the int8 layers of such a graph in int8, rather than in float.

    ONNX Runtime 1.32 does on a CPU for MatMul, and only where the rest is fp32: behind fp16 it fuses no Q/DQ.
    OpenVINO does, but for a CPU that cannot sum int8 products exactly.
    """
    name, device, _ = split_backend(backend)
    on_cpu = device in ("", "cpu")
    if name == "openvino":
        return precision.startswith(INT8) and (not on_cpu or sums_int8_exactly())
    return name == "onnxruntime" and on_cpu and precision == "int8+fp32"


def _automatic(precision: str) -> tuple[str, str]:
    weighed = candidates(precision)
    for candidate in weighed:
        if candidate.fits:
            return candidate.backend, f"auto: {candidate.reason}"
    why = "; ".join(f"{candidate.backend}: {candidate.reason}" for candidate in weighed)
    raise BackendError(
        f"backend auto: nothing here computes in {precision} ({why}); "
        "install what is missing, or export with --precision fp32 or fp16"
    )


def _onnxruntime_cuda(precision: str) -> Candidate:
    backend = "onnxruntime:cuda"
    if precision.endswith("bf16"):
        return Candidate(backend, False, "onnxruntime is not known to compute bf16 graphs")
    if not has_nvidia_gpu():  # asked first: it costs nothing, onnxruntime's own answer an import
        return Candidate(backend, False, "no NVIDIA GPU here")
    from .onnxruntime import has_provider

    if not has_provider("cuda"):
        return Candidate(backend, False, "this onnxruntime has no CUDA; pip install onnxruntime-gpu")
    return Candidate(backend, True, "an NVIDIA GPU is here, and onnxruntime has CUDA")


def _openvino(precision: str) -> Candidate:
    if find_spec("openvino") is None:  # looked for, not loaded
        return Candidate("openvino", False, f"openvino is not installed; {INSTALL['openvino']}")
    if precision.endswith("bf16"):
        return Candidate("openvino", True, "for bf16 graphs, which onnxruntime cannot compute on a CPU")
    if precision.startswith(INT8) and not sums_int8_exactly():
        return Candidate("openvino", False, "this CPU has no VNNI, so it computes int8 graphs in float")
    if precision.startswith(INT8):
        return Candidate("openvino", True, "for int8 graphs, of which onnxruntime computes much in float")
    return Candidate("openvino", False, "preferred for bf16 and int8 only")


def _onnxruntime(precision: str) -> Candidate:
    if precision.endswith("bf16"):
        return Candidate("onnxruntime", False, "it cannot compute bf16 graphs on a CPU")
    return Candidate("onnxruntime", True, "it is part of every installation")


def has_nvidia_gpu() -> bool:
    """Whether NVIDIA's driver is here and finds a GPU; asks the driver itself, no library of CUDA's."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    ready: bool = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    return ready and count.value > 0


def _is_npu(backend: str) -> bool:
    return backend.startswith(_NPU)

"""The GPUs to build engines for: this machine's, or those that --target names."""

from __future__ import annotations

import re

from ...errors import BackendError
from .cache import ANY_GPU, Gpu
from .child import RTX
from .choice import this_gpu
from .library import Library


def choose_gpus(library: Library, target: str | None) -> list[Gpu]:
    """Returns the GPUs of `target`, such as "sm86,sm89"; None is the GPU of this machine.

    Raises BackendError where a target is unknown to the library, or there is no GPU to build for.
    """
    if target is not None:
        return [Gpu(ANY_GPU, capability) for capability in _capabilities(library, target)]
    gpu = this_gpu()
    if gpu is not None:
        return [gpu]
    if library.backend == RTX:
        raise BackendError(
            "no GPU here to build for; give --target with the GPU's compute capability: "
            f"{', '.join(_known(library))}"
        )
    raise BackendError(
        "backend tensorrt builds for the GPU of this machine, and none is found; run glesam-build on the "
        "target, with NVIDIA's driver and cuda-python (pip install 'glesam[tensorrt]')"
    )


def _capabilities(library: Library, target: str) -> list[int]:
    """Returns the compute capabilities that `target` names; raises BackendError for an unknown one."""
    if library.backend != RTX:
        raise BackendError(
            f"--target {target}: backend {library.backend} builds for the GPU of this machine only; "
            "leave --target out, or choose --backend tensorrt-rtx"
        )
    known = _known(library)
    names = list(dict.fromkeys(target.lower().replace(" ", "").split(",")))
    for name in names:
        if name not in known:
            raise BackendError(
                f"--target {name or target!r}: unknown to {library.backend} {library.version}, "
                f"which builds for {', '.join(known)}; give one of them"
            )
    return [known[name] for name in names]


def _known(library: Library) -> dict[str, int]:
    """Returns every compute capability of TensorRT for RTX by its name, in order: {"sm86": 86, ...}."""
    names = library.module.ComputeCapability.__members__
    numbers = sorted(int(name[2:]) for name in names if re.fullmatch(r"SM\d+", name))
    return {f"sm{number}": number for number in numbers}

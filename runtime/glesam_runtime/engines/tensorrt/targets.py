"""For which GPUs engines are built: this machine's, or those that --target names."""

from __future__ import annotations

import re

from ...errors import BackendError
from .cache import ANY_GPU, Gpu
from .child import RTX
from .library import Library
from .this_gpu import this_gpu


def choose_gpus(library: Library, target: str | None) -> list[Gpu]:
    """`target` is "sm86,sm89", or None for the GPU of this machine.

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
    if library.backend != RTX:
        raise BackendError(
            f"--target {target}: backend {library.backend} builds for the GPU of this machine only; "
            "leave --target out, or choose --backend tensorrt-rtx"
        )
    known = _known(library)
    wanted = list(dict.fromkeys(target.lower().replace(" ", "").split(",")))
    for name in wanted:
        if name not in known:
            raise BackendError(
                f"--target {name or target!r}: unknown to {library.backend} {library.version}, "
                f"which builds for {', '.join(known)}; give one of them"
            )
    return [known[name] for name in wanted]


def _known(library: Library) -> dict[str, int]:
    """ "sm86" -> 86, in order, for every compute capability of TensorRT for RTX."""
    names = library.module.ComputeCapability.__members__
    numbers = sorted(int(name[2:]) for name in names if re.fullmatch(r"SM\d+", name))
    return {f"sm{number}": number for number in numbers}

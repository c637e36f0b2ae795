"""A bundle's cached engines, opened on this machine's GPU."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing

from ...bundle.reader import Bundle
from ...errors import BackendError, first_line
from ..base import Engine
from .build import engine_plan
from .library import load_library


def open_tensorrt(
    backend: str, bundle: Bundle, names: Sequence[str], stream: int | None = None
) -> dict[str, Engine]:
    """The graphs `names` of a bundle, on the caller's `stream` or on one of their own.

    Raises BackendError, with nothing left open, where TensorRT, cuda-bindings, a GPU or an engine is missing.
    """
    library = load_library(backend)
    try:
        from ..cuda import current_gpu
        from .engine import TensorRtEngine
    except ImportError as error:
        raise BackendError(
            f"backend {backend}: cuda-bindings cannot be imported ({first_line(error)}); "
            f"pip install 'glesam[{backend}]'"
        ) from error
    gpu = current_gpu()
    with ExitStack() as opened:
        engines: dict[str, Engine] = {}
        for name in names:
            plan = engine_plan(library, bundle, name, gpu)
            spec, path = bundle.manifest.graphs[name].spec, bundle.graph_path(name)
            engines[name] = opened.enter_context(
                closing(TensorRtEngine.from_plan(library, plan, spec, path, stream))
            )
        opened.pop_all()
    return engines

"""Runs a context on the GPU, call by call or as a CUDA graph that is recorded once."""

from __future__ import annotations

import logging
from typing import Any

from ...errors import BackendError
from ..base import cannot_run
from ..cuda import Graph, Stream
from .compiled import Compiled
from .library import python_logger

_LOG = logging.getLogger(__name__)


class Launcher:
    """Runs a context, whose tensors have their addresses already, on `stream`.

    A graph of static shapes is recorded the second time that it runs on the same addresses, because a CUDA
    graph keeps them. TensorRT loads its kernels in the first run, which a recording forbids.
    """

    def __init__(self, compiled: Compiled, context: Any, stream: Stream) -> None:  # noqa: ANN401
        self._compiled = compiled
        self._context = context
        self._stream = stream
        # A separate stream: on the caller's, the work of other threads would get into the recording.
        self._recorder = None if compiled.limits else Stream()
        self._graph: Graph | None = None
        self._last: tuple[int, ...] = ()
        self._recorded: tuple[int, ...] = ()

    def launch(self, addresses: tuple[int, ...]) -> None:
        """Queues one run. Raises BackendError where TensorRT refuses."""
        repeated, self._last = addresses == self._last, addresses
        if repeated and addresses != self._recorded:
            self._record(addresses)
        if self._graph is not None and addresses == self._recorded:
            self._graph.launch(self._stream)
        else:
            self._enqueue(self._stream)

    def close(self) -> None:
        """Frees the recording; the context and the stream belong to the session."""
        self._context = None
        for resource in (self._graph, self._recorder):
            if resource is not None:
                resource.close()

    def _record(self, addresses: tuple[int, ...]) -> None:
        """Records a run; where CUDA refuses, later runs go call by call, with a warning in the log."""
        recorder = self._recorder
        if recorder is None:
            return
        if self._graph is not None:
            self._graph.close()
            self._graph = None
        try:
            self._graph = Graph(recorder, lambda: self._enqueue(recorder))
            self._recorded = addresses
        except BackendError as error:
            _LOG.warning("%s runs without a CUDA graph: %s", self._compiled.spec.name, error)
            recorder.close()
            self._recorder = None

    def _enqueue(self, stream: Stream) -> None:
        library = self._compiled.library
        logger = python_logger(library.module)
        logger.take_error()
        if not self._context.execute_async_v3(stream.handle):
            raise cannot_run(self._compiled.spec, f"{library.backend} {library.version}", logger.take_error())

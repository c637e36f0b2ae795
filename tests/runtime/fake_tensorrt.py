"""A fake TensorRT for tests: its engines run their ONNX graph on the memory and streams of a FakeGpu.

A plan is a line of JSON and the ONNX file. A context computes when its stream comes to it, from what lies at
its addresses then. As TensorRT it returns False and logs where it refuses.
"""

from __future__ import annotations

import hashlib
import json
import weakref
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from fake_cuda import FakeGpu, Work

from glesam_runtime import Bundle
from glesam_runtime.engines.cuda import current_gpu
from glesam_runtime.engines.tensorrt.build import engine_key
from glesam_runtime.engines.tensorrt.cache import EngineRecord, part_path, store
from glesam_runtime.engines.tensorrt.library import Library

_MAGIC = b"FAKEPLAN"
_DTYPES = {"tensor(float)": "FLOAT", "tensor(int32)": "INT32", "tensor(double)": "DOUBLE"}
_NUMPY = {"FLOAT": np.float32, "INT32": np.int32}


def plan_of(path: Path, max_prompts: int = 8, max_points: int = 6) -> bytes:
    """Returns the fake's plan of the graph at `path`."""
    profile = {"num_prompts": [1, 1, max_prompts], "num_points": [1, 2, max_points]}
    return _MAGIC + json.dumps(profile).encode() + b"\n" + path.read_bytes()


def with_engines(bundle: Bundle, tensorrt: FakeTensorRt) -> Bundle:
    """Returns `bundle`, with the fake's engines of its graphs in the cache."""
    for name in bundle.manifest.graphs:
        key = engine_key(tensorrt._library, bundle, name, current_gpu())
        plan = plan_of(bundle.graph_path(name))
        part_path(key).parent.mkdir(parents=True, exist_ok=True)
        part_path(key).write_bytes(plan)
        store(EngineRecord(key, hashlib.sha256(plan).hexdigest(), len(plan), {}, {}, 0.0, 0.0, "test"))
    return bundle


class DataType(Enum):
    FLOAT = 0
    INT32 = 3


class TensorIOMode(Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class ILogger:
    class Severity(Enum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    def __init__(self) -> None:
        self._is_initialised = True

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError


class FakeTensorRt:
    """The fake module; its engines run on `_gpu`. Other names with _ are for tests."""

    __version__ = "10.3.0"
    ILogger = ILogger
    DataType = DataType
    TensorIOMode = TensorIOMode

    def __init__(self, gpu: FakeGpu) -> None:
        self._gpu = gpu
        self._contexts: weakref.WeakSet[Any] = weakref.WeakSet()
        self._refused: set[str] = set()
        """Names of functions that refuse: by False, or by None instead of an object."""

    @property
    def _library(self) -> Library:
        return Library("tensorrt", self, self.__version__)

    def Runtime(self, logger: Any) -> Runtime:  # noqa: ANN401
        return Runtime(self, logger)


class _Refusing:
    """An object of the fake, which logs why it refuses."""

    def __init__(self, module: FakeTensorRt, logger: Any) -> None:  # noqa: ANN401
        assert logger._is_initialised
        self._module = module
        self._logger = logger

    def _refuse(self, why: str) -> bool:
        self._logger.log(ILogger.Severity.ERROR, f"[fake.cpp::refuse] Error Code 3: {why}\nmore")
        return False

    def _is_refused(self, function: str) -> bool:
        return function in self._module._refused and not self._refuse(f"a test refuses {function}")


class Runtime(_Refusing):
    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        if self._is_refused("deserialize_cuda_engine"):
            return None
        if not serialized_engine.startswith(_MAGIC):
            self._refuse("Serialization assertion magicTag failed")
            return None
        profile, _, model = serialized_engine[len(_MAGIC) :].partition(b"\n")
        try:
            return ICudaEngine(self._module, self._logger, json.loads(profile), model)
        except Exception:  # ONNX Runtime's own exceptions share no public base
            self._refuse("Serialization: damaged")
            return None


class ICudaEngine(_Refusing):
    def __init__(self, module: FakeTensorRt, logger: object, profile: dict[str, Any], model: bytes) -> None:
        super().__init__(module, logger)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._profile = profile
        self._inputs = {node.name: node for node in self._session.get_inputs()}
        self._outputs = {node.name: node for node in self._session.get_outputs()}
        self._nodes = self._inputs | self._outputs

    @property
    def num_io_tensors(self) -> int:
        return len(self._nodes)

    def get_tensor_name(self, index: int) -> str:
        return list(self._nodes)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType[_DTYPES[self._nodes[name].type]]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(size if isinstance(size, int) else -1 for size in self._nodes[name].shape)

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return [
            tuple(
                size if isinstance(size, int) else self._profile[size][which]
                for size in self._nodes[name].shape
            )
            for which in range(3)
        ]

    def create_execution_context(self) -> IExecutionContext | None:
        if self._is_refused("create_execution_context"):
            return None
        context = IExecutionContext(self._module, self._logger, self)
        self._module._contexts.add(context)
        return context


class IExecutionContext(_Refusing):
    def __init__(self, module: FakeTensorRt, logger: object, engine: ICudaEngine) -> None:
        super().__init__(module, logger)
        self._engine = engine
        self._addresses: dict[str, int] = {}
        static = {name: engine.get_tensor_shape(name) for name in engine._inputs}
        self._shapes = {name: shape for name, shape in static.items() if -1 not in shape}
        self._has_run = False

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if self._is_refused("set_input_shape"):
            return False
        least, _, most = self._engine.get_tensor_profile_shape(name, 0)
        if len(shape) != len(most) or not all(
            a <= s <= b for a, s, b in zip(least, shape, most, strict=True)
        ):
            return self._refuse(f"{name} {shape} is outside of the profile {least} to {most}")
        self._shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if self._is_refused("set_tensor_address") or name not in self._engine._nodes:
            return False
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        gpu, engine = self._module._gpu, self._engine
        if self._is_refused("execute_async_v3"):
            return False
        if self._shapes.keys() != engine._inputs.keys() or self._addresses.keys() != engine._nodes.keys():
            return self._refuse("a shape or an address is missing")
        if gpu.streams[stream_handle].recording is not None:
            if not self._has_run:
                return self._refuse("kernels are loaded in the first run, which a recording forbids")
            if self._is_refused("execute_async_v3 while recording"):
                return False
        self._has_run = True
        run = _Run(gpu, engine, weakref.ref(self), dict(self._addresses), dict(self._shapes))
        gpu.enqueue(stream_handle, Work(f"run {'+'.join(engine._outputs)}", run))
        return True


class _Run:
    """The kernels of one call, with the context's addresses and shapes at the time of queueing."""

    def __init__(
        self,
        gpu: FakeGpu,
        engine: ICudaEngine,
        context: weakref.ref[IExecutionContext],
        addresses: dict[str, int],
        shapes: dict[str, tuple[int, ...]],
    ) -> None:
        self._gpu, self._engine, self._context = gpu, engine, context
        self._addresses, self._shapes = addresses, shapes

    def __call__(self) -> None:
        if self._context() is None:
            self._gpu.violations.append("a context was destroyed under its work")
        names = list(self._engine._outputs)
        outputs = self._engine._session.run(names, {name: self._read(name) for name in self._engine._inputs})
        for name, output in zip(names, outputs, strict=True):
            address = self._addresses[name]
            self._gpu.bytes_at(address, output.nbytes)[:] = np.frombuffer(output.tobytes(), np.uint8)

    def _read(self, name: str) -> np.ndarray:
        shape = self._shapes[name]
        dtype = _NUMPY[self._engine.get_tensor_dtype(name).name]
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self._gpu.bytes_at(self._addresses[name], size).view(dtype).reshape(shape).copy()

"""PyCUDA beside cuda-python: its contexts, arrays and streams, on fakes that know who owns what."""

from __future__ import annotations

import ctypes
import gc
import logging
import runpy
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cuda.bindings import driver, runtime
from fake_cuda import PRIMARY, FakeGpu, ForeignArray, Work
from test_zero_copy import BOX, PROMPTS, assert_same, tensor_of

from glesam_runtime import BackendError, Bundle, Predictor, read_image
from glesam_runtime.engines.cuda import stream_handle
from glesam_runtime.preprocess import Pixels

EXAMPLE = Path(__file__).parents[2] / "examples/06_pycuda.py"
AUTOINIT = 0xA1
"""Handle of the context that pycuda.autoinit makes."""


class GPUArray(ForeignArray):
    """pycuda.gpuarray.GPUArray, as far as others see it: its stream is always None."""


GPUArray.__module__ = "pycuda.gpuarray"


@pytest.fixture
def autoinit(gpu: FakeGpu) -> int:
    """Does what `import pycuda.autoinit` does to this thread."""
    gpu.contexts.append(AUTOINIT)
    return AUTOINIT


def masks_of(predictor: Predictor, picture: Pixels) -> Any:  # noqa: ANN401
    predictor.set_image(picture)
    return predictor.predict(prompts=PROMPTS)


def test_an_engine_stays_in_the_context_it_was_opened_in_whichever_thread_calls(
    cached: Bundle, gpu: FakeGpu, image: Pixels, autoinit: int
) -> None:
    expected = masks_of(Predictor.from_bundle(cached, "onnxruntime"), image)
    with Predictor.from_bundle(cached, "tensorrt") as predictor:
        assert {gpu.owners[address] for address in gpu.memory} == {autoinit}
        assert_same(masks_of(predictor, image), expected)
        with ThreadPoolExecutor(1) as threads:
            assert_same(threads.submit(masks_of, predictor, image).result(), expected)
            session = threads.submit(predictor.new_session).result()
            assert_same(threads.submit(masks_of, session, image).result(), expected)
            assert threads.submit(lambda: list(gpu.contexts)).result() == []
    assert gpu.contexts == [autoinit]


def test_an_engine_of_the_primary_context_leaves_a_callers_context_current(
    cached: Bundle, gpu: FakeGpu, image: Pixels
) -> None:
    with Predictor.from_bundle(cached, "tensorrt") as predictor:
        assert {gpu.owners[address] for address in gpu.memory} == {PRIMARY}
        gpu.contexts.append(AUTOINIT)
        masks_of(predictor, image)
        assert gpu.contexts == [PRIMARY, AUTOINIT]


def test_an_array_of_pycudas_context_is_read_in_place_there_and_refused_elsewhere(
    cached: Bundle, gpu: FakeGpu, image: Pixels
) -> None:
    in_primary = Predictor.from_bundle(cached, "tensorrt")
    tensor, geometry = tensor_of(in_primary, image)
    gpu.contexts.append(AUTOINIT)
    array = GPUArray.of(gpu, tensor)
    with pytest.raises(BackendError, match="image: the array belongs to another CUDA context") as caught:
        in_primary.set_tensor(array, geometry)
    assert "after pycuda.autoinit" in str(caught.value)
    gpu.done.clear()
    with Predictor.from_bundle(cached, "tensorrt") as predictor:
        predictor.set_tensor(array, geometry)
        assert not any("Device" in name for name in gpu.done)
    in_primary.close()


def test_an_array_of_a_pool_belongs_to_no_context(cached: Bundle, gpu: FakeGpu, image: Pixels) -> None:
    with Predictor.from_bundle(cached, "tensorrt") as predictor:
        tensor, geometry = tensor_of(predictor, image)
        array = ForeignArray.of(gpu, tensor)
        del gpu.owners[array.address]
        predictor.set_tensor(array, geometry)
        actual = predictor.predict(box=BOX)
    on_cpu = Predictor.from_bundle(cached, "onnxruntime")
    on_cpu.set_image(image)
    assert_same(actual, on_cpu.predict(box=BOX))


@pytest.mark.parametrize("changes", [{}, {"version": 2}], ids=["pycuda", "version 2"])
def test_an_array_that_names_no_stream_is_ready_after_the_default_one(
    cached: Bundle, gpu: FakeGpu, image: Pixels, autoinit: int, changes: dict[str, Any]
) -> None:
    """PyCUDA says None whatever is queued, and version 2 of the interface, which torch has, says nothing."""
    with Predictor.from_bundle(cached, "tensorrt") as predictor:
        tensor, geometry = tensor_of(predictor, image)
        address = gpu.upload(np.full_like(tensor, np.nan))

        def written_late() -> None:
            gpu.bytes_at(address, tensor.nbytes)[:] = np.frombuffer(tensor.tobytes(), np.uint8)

        gpu.enqueue(1, Work("a kernel of PyCUDA's", written_late))
        array: Any = GPUArray(gpu, address, tensor)
        if changes:
            interface = {**array.__cuda_array_interface__, **changes}
            del interface["stream"]
            array = SimpleNamespace(__cuda_array_interface__=interface)
        predictor.set_tensor(array, geometry)
        actual = predictor.predict(box=BOX)
    on_cpu = Predictor.from_bundle(cached, "onnxruntime")
    on_cpu.set_image(image)
    assert_same(actual, on_cpu.predict(box=BOX))


@pytest.mark.parametrize(
    "stream",
    [
        7,
        SimpleNamespace(handle=7),
        SimpleNamespace(handle=ctypes.c_void_p(7)),
        SimpleNamespace(cuda_stream=7),
        SimpleNamespace(ptr=7),
        SimpleNamespace(__cuda_stream__=lambda: (0, 7)),
        runtime.cudaStream_t(7),
        driver.CUstream(7),
    ],
    ids=["handle", "pycuda", "numba", "torch", "cupy", "protocol", "cudaStream_t", "CUstream"],
)
def test_streams_of_every_library_have_a_handle(stream: object) -> None:
    assert stream_handle(stream) == 7


def test_numbas_default_stream_is_zero() -> None:
    assert stream_handle(SimpleNamespace(handle=ctypes.c_void_p(0))) == 0


@pytest.mark.parametrize("stream", ["default", object(), [1]])
def test_what_is_no_stream_is_refused(stream: object) -> None:
    with pytest.raises(BackendError, match="stream: expected a CUDA stream's handle or a stream of PyCUDA"):
        stream_handle(stream)


def test_the_callers_stream_is_used_and_kept_alive(
    cached: Bundle, gpu: FakeGpu, image: Pixels, autoinit: int
) -> None:
    class Stream:
        handle = 2

    stream = Stream()
    alive = weakref.ref(stream)
    predictor = Predictor.from_bundle(cached, "tensorrt", stream=stream)
    del stream
    tensor, geometry = tensor_of(predictor, image)
    predictor.set_tensor(GPUArray.of(gpu, tensor), geometry)
    logits = predictor.predict_on_device(PROMPTS).low_res_masks
    assert logits.__cuda_array_interface__["stream"] == 2
    assert alive() is not None
    predictor.close()
    del predictor, logits
    gc.collect()
    assert alive() is None


def test_the_example_gives_the_cpus_mask(
    cached: Bundle,
    gpu: FakeGpu,
    autoinit: int,
    photo: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """PyCUDA itself compiles against a driver; what the example calls of it is a stand-in here."""
    for name, module in pycuda_on(gpu).items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(sys, "argv", ["06_pycuda.py", str(cached.root), str(photo), *map(str, BOX)])
    runpy.run_path(str(EXAMPLE))
    on_cpu = Predictor.from_bundle(cached, "onnxruntime")
    on_cpu.set_image(read_image(photo))
    area = on_cpu.predict(box=BOX).masks.sum()
    assert capsys.readouterr().out == f"{area} px, in the context of Fake GPU\n"
    assert gpu.contexts == [autoinit]


def pycuda_on(gpu: FakeGpu) -> dict[str, ModuleType]:
    """Returns PyCUDA's modules with what the example calls; copies run when their stream is waited for."""

    class Stream:
        handle = 2

        def synchronize(self) -> None:
            gpu.finish(gpu.streams[self.handle])

    def to_gpu_async(array: np.ndarray, stream: Stream) -> GPUArray:
        address = gpu.upload(np.full_like(array, np.nan))

        def copy() -> None:
            gpu.bytes_at(address, array.nbytes)[:] = np.frombuffer(array.tobytes(), np.uint8)

        gpu.enqueue(stream.handle, Work("to_gpu_async", copy))
        return GPUArray(gpu, address, array)

    def memcpy_dtoh_async(dest: np.ndarray, src: int, stream: Stream) -> None:
        def copy() -> None:
            dest.view(np.uint8).reshape(-1)[:] = gpu.bytes_at(src, dest.nbytes)

        gpu.enqueue(stream.handle, Work("memcpy_dtoh_async", copy))

    names = ("pycuda", "pycuda.autoinit", "pycuda.driver", "pycuda.gpuarray")
    modules = {name: ModuleType(name) for name in names}
    modules["pycuda.autoinit"].__dict__["device"] = SimpleNamespace(name=lambda: "Fake GPU")
    driver = {"Stream": Stream, "pagelocked_empty": np.empty, "memcpy_dtoh_async": memcpy_dtoh_async}
    modules["pycuda.driver"].__dict__.update(driver)
    modules["pycuda.gpuarray"].__dict__["to_gpu_async"] = to_gpu_async
    for name in names[1:]:
        setattr(modules["pycuda"], name.split(".")[1], modules[name])
    return modules


def test_a_context_that_is_gone_is_a_warning_when_the_predictor_closes(
    cached: Bundle, gpu: FakeGpu, autoinit: int, caplog: pytest.LogCaptureFixture
) -> None:
    predictor = Predictor.from_bundle(cached, "tensorrt")
    gpu.contexts.remove(autoinit)
    gpu.dead_contexts.add(autoinit)
    with caplog.at_level(logging.WARNING, "glesam_runtime.engines"):
        predictor.close()
    assert "CUDA_ERROR_INVALID_CONTEXT" in caplog.text

"""The fakes have nothing that CUDA and TensorRT lack; otherwise tests with them would prove nothing."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import fake_tensorrt
import pytest
from cuda.bindings import driver, runtime
from fake_cuda import FakeDriver, FakeRuntime
from fake_tensorrt import FakeTensorRt

tensorrt_rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX has no wheel here")
APIS = {path.stem: path for path in sorted((Path(__file__).parent / "data").glob("tensorrt_api_*.json"))}
CLASSES = ["Runtime", "ICudaEngine", "IExecutionContext", "ILogger", "DataType", "TensorIOMode"]


def public(thing: object) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


def members_of(api: str) -> dict[str, set[str]]:
    """Returns class -> members of a recorded TensorRT, or of the installed TensorRT for RTX."""
    if api == "tensorrt_rtx":
        return {name: public(getattr(tensorrt_rtx, name)) for name in CLASSES}
    recorded: dict[str, list[str] | None] = json.loads(APIS[api].read_text())
    return {name: set(members or ()) for name, members in recorded.items()}


def test_the_recorded_versions_are_there() -> None:
    assert len(APIS) == 3


@pytest.mark.parametrize("api", [*APIS, "tensorrt_rtx"])
@pytest.mark.parametrize("name", CLASSES)
def test_tensorrt_has_what_its_fake_has(api: str, name: str) -> None:
    assert public(getattr(fake_tensorrt, name)) <= members_of(api)[name]
    assert public(FakeTensorRt) == set(CLASSES) - {"ICudaEngine", "IExecutionContext"}


def test_enumerations_are_called_as_the_fake_calls_them() -> None:
    for fake in (fake_tensorrt.DataType, fake_tensorrt.TensorIOMode, fake_tensorrt.ILogger.Severity):
        parent = tensorrt_rtx.ILogger if fake.__name__ == "Severity" else tensorrt_rtx
        real = getattr(parent, fake.__name__)
        assert [getattr(real, member.name).name for member in fake] == [member.name for member in fake]


@pytest.mark.parametrize(
    ("real_module", "fake_module", "name"),
    [(runtime, FakeRuntime, name) for name in sorted(public(FakeRuntime))]
    + [(driver, FakeDriver, name) for name in sorted(public(FakeDriver))],
)
def test_cuda_has_what_its_fake_has_with_the_same_parameters(
    real_module: ModuleType, fake_module: type, name: str
) -> None:
    real, fake = getattr(real_module, name), getattr(fake_module, name)
    if not inspect.isfunction(fake):
        assert fake is real or fake == real
        return
    _, *parameters = inspect.signature(inspect.unwrap(fake)).parameters
    assert parameters == list(inspect.signature(real).parameters)


def test_tensorrt_takes_the_calls_that_the_fake_takes() -> None:
    """The functions of TensorRT have signatures only in their docstrings."""

    def doc(function: Any) -> str:  # noqa: ANN401
        return inspect.getdoc(function) or ""

    context, engine = tensorrt_rtx.IExecutionContext, tensorrt_rtx.ICudaEngine
    assert "name: str, shape: tuple" in doc(context.set_input_shape)
    assert "name: str, memory:" in doc(context.set_tensor_address)
    assert "stream_handle:" in doc(context.execute_async_v3)
    assert "name: str, profile_index:" in doc(engine.get_tensor_profile_shape)
    assert "serialized_engine:" in doc(tensorrt_rtx.Runtime.deserialize_cuda_engine)
    assert "or None if it could not be deserialized" in doc(tensorrt_rtx.Runtime.deserialize_cuda_engine)

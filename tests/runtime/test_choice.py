"""Which backend, device and hint are chosen, and the errors where none can be."""

from __future__ import annotations

import ctypes
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import openvino
import pytest
from tiny_bundle import IMAGE_SIZE
from typer.testing import CliRunner

from glesam_runtime import BackendError
from glesam_runtime.bundle.spec import bundle_contract
from glesam_runtime.cli import run as run_command
from glesam_runtime.cli import verify as verify_command
from glesam_runtime.engines import candidates, choice, computes_int8, open_engine, pick_backend
from glesam_runtime.engines import onnxruntime as engine_file
from glesam_runtime.engines.openvino import OpenVinoEngine, arithmetic

SPECS = bundle_contract(IMAGE_SIZE)
CUDA = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


class Driver:
    """A libcuda with `gpus` GPUs; None: it returns an error, as without a device."""

    def __init__(self, gpus: int | None) -> None:
        self.gpus = gpus

    def cuInit(self, _flags: int) -> int:
        return 100 if self.gpus is None else 0

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: ANN401 - a pointer of ctypes
        count._obj.value = self.gpus
        return 0


@pytest.fixture
def nvidia(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretends that there are a GPU and an ONNX Runtime with its providers."""
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Driver(1))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: CUDA)


class Session:
    """A session of ONNX Runtime that reports `providers` and is real otherwise."""

    def __init__(self, real: Any, providers: list[str]) -> None:  # noqa: ANN401
        self._real, self._providers = real, providers

    def get_providers(self) -> list[str]:
        return self._providers

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._real, name)


def sessions_get(monkeypatch: pytest.MonkeyPatch, *providers: str) -> list[dict[str, Any]]:
    """Makes ONNX Runtime's sessions report `providers`; returns the list of their options."""
    sessions: list[dict[str, Any]] = []
    real = onnxruntime.InferenceSession

    def session(path: Path, options: Any, **more: Any) -> Session:  # noqa: ANN401
        sessions.append(more)
        return Session(real(path, options, **more | {"providers": CUDA[-1:]}), list(providers))

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    return sessions


class Core(openvino.Core):
    """An OpenVINO with a CPU, two GPUs and an NPU, all of which compile for the CPU."""

    compiled: list[tuple[str, dict[str, str]]]

    available_devices = ["CPU", "GPU.0", "GPU.1", "NPU"]  # noqa: RUF012 - a property there

    def get_property(self, device: str, name: str) -> Any:  # noqa: ANN401
        of_device = {"CPU": ["FP32", "BF16", "INT8"], "NPU": ["FP16", "INT8"]}
        return of_device.get(device, ["FP32", "FP16", "INT8"])

    def compile_model(self, model: Any, device: str, options: dict[str, str]) -> Any:  # noqa: ANN401
        self.compiled.append((device, options))
        return super().compile_model(model, "CPU", {})


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, str]]]:
    monkeypatch.setattr(Core, "compiled", [], raising=False)
    monkeypatch.setattr(openvino, "Core", Core)
    return Core.compiled


@pytest.mark.usefixtures("nvidia")
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8+fp16"])
def test_auto_prefers_a_gpu(precision: str) -> None:
    assert pick_backend("auto", precision) == (
        "onnxruntime:cuda",
        "auto: an NVIDIA GPU is here, and onnxruntime has CUDA",
    )


@pytest.mark.usefixtures("nvidia")
def test_auto_computes_bf16_on_the_cpu_even_beside_a_gpu() -> None:
    assert pick_backend("auto", "bf16")[0] == "openvino"


@pytest.mark.parametrize(
    ("gpus", "reason"), [(None, "no NVIDIA GPU here"), (0, "no NVIDIA GPU here"), (1, "onnxruntime-gpu")]
)
def test_every_candidate_says_why_it_is_not_taken(
    gpus: int | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Driver(gpus))
    monkeypatch.setattr(choice, "find_spec", lambda _: None)
    cuda, vino, ort = candidates("int8+fp16")
    assert not cuda.fits
    assert reason in cuda.reason
    assert (vino.fits, "pip install 'glesam[openvino]'" in vino.reason) == (False, True)
    assert (ort.backend, ort.fits) == ("onnxruntime", True)


def test_where_nothing_fits_every_reason_is_in_the_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "find_spec", lambda _: None)
    with pytest.raises(BackendError) as caught:
        pick_backend("auto", "bf16")
    message = str(caught.value)
    assert "\n" not in message
    assert all(f"{candidate.backend}: {candidate.reason}" in message for candidate in candidates("bf16"))
    assert message.endswith("or export with --precision fp32 or fp16")


@pytest.mark.usefixtures("nvidia")
@pytest.mark.parametrize(("device", "providers"), [("cuda", CUDA[1:]), ("tensorrt", CUDA)])
def test_onnxruntime_gets_the_devices_providers_in_order(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, providers: list[str]
) -> None:
    sessions = sessions_get(monkeypatch, *providers)
    open_engine(f"onnxruntime:{device}", bundle_path / "gle.onnx", SPECS["gle"])
    assert (sessions[0]["providers"], sessions[0]["enable_fallback"]) == (providers, 0)


@pytest.mark.usefixtures("nvidia")
def test_a_session_that_fell_back_to_the_cpu_is_refused(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions_get(monkeypatch, "CPUExecutionProvider")
    with pytest.raises(BackendError, match="cannot use its CUDAExecutionProvider here, only CPU") as caught:
        open_engine("onnxruntime:cuda", bundle_path / "gle.onnx", SPECS["gle"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_an_onnxruntime_without_the_provider_says_what_it_has_and_what_to_install(
    bundle_path: Path, device: str
) -> None:
    with pytest.raises(BackendError, match=r"ExecutionProvider, only cpu; .*pip install onnxruntime-gpu$"):
        open_engine(f"onnxruntime:{device}", bundle_path / "gle.onnx", SPECS["gle"])


class Plugins:
    """Plugins of ONNX Runtime as a stand-in: packages, and a runtime that finds `gpus` for each of them."""

    names = {  # noqa: RUF012
        "onnxruntime_ep_cuda": "CUDAExecutionProvider",
        "onnxruntime_ep_nv_tensorrt_rtx": "NvTensorRTRTXExecutionProvider",
    }

    def __init__(self, monkeypatch: pytest.MonkeyPatch, gpus: int = 2) -> None:
        self.gpus = gpus
        self.registered: dict[str, str] = {}
        self.chosen: list[str] = []
        for module, name in self.names.items():
            package = SimpleNamespace(
                get_ep_name=lambda name=name: name, get_library_path=lambda module=module: f"/{module}.so"
            )
            monkeypatch.setitem(sys.modules, module, package)
        monkeypatch.setattr(onnxruntime, "register_execution_provider_library", self.register)
        monkeypatch.setattr(onnxruntime, "get_ep_devices", self.devices)
        monkeypatch.setattr(engine_file, "_REGISTERED", set())
        monkeypatch.setattr(onnxruntime, "SessionOptions", partial(PluginOptions, self.chosen))

    def register(self, name: str, path: str) -> None:
        assert name not in self.registered, "ONNX Runtime refuses a second registration"
        self.registered[name] = path

    def devices(self) -> list[SimpleNamespace]:
        cpu = SimpleNamespace(ep_name="CPUExecutionProvider", index=0)
        return [
            cpu,
            *(SimpleNamespace(ep_name=x, index=i) for x in self.registered for i in range(self.gpus)),
        ]


class PluginOptions(onnxruntime.SessionOptions):
    """Options that note the devices they are given and otherwise stay those of the CPU."""

    def __init__(self, chosen: list[str]) -> None:
        super().__init__()
        self._chosen = chosen

    def add_provider_for_devices(self, devices: list[SimpleNamespace], _options: dict[str, str]) -> None:
        self._chosen += [f"{device.ep_name} {device.index}" for device in devices]


@pytest.mark.parametrize("device", ["cuda", "tensorrt-rtx"])
def test_an_installed_plugin_is_registered_once_and_runs_the_graph_on_its_first_gpu(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    plugins = Plugins(monkeypatch)
    module = {"cuda": "onnxruntime_ep_cuda", "tensorrt-rtx": "onnxruntime_ep_nv_tensorrt_rtx"}[device]
    name = plugins.names[module]
    sessions = sessions_get(monkeypatch, name, "CPUExecutionProvider")
    for _ in range(2):
        engine = open_engine(f"onnxruntime:{device}", bundle_path / "gle.onnx", SPECS["gle"])
    assert plugins.registered == {name: f"/{module}.so"}
    assert plugins.chosen == [f"{name} 0"] * 2
    assert [session["providers"] for session in sessions] == [None] * 2
    embeddings = np.ones((1, 256, 4, 4), np.float32)
    answer = engine({"image_embeddings": embeddings})["image_embeddings_enhanced"]
    np.testing.assert_array_equal(answer, 1.5 * embeddings)


def test_a_plugin_that_fell_back_to_the_cpu_is_refused(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Plugins(monkeypatch)
    sessions_get(monkeypatch, "CPUExecutionProvider")
    with pytest.raises(BackendError, match="cannot use its NvTensorRTRTXExecutionProvider here, only CPU"):
        open_engine("onnxruntime:tensorrt-rtx", bundle_path / "gle.onnx", SPECS["gle"])


def test_a_plugin_without_a_gpu_or_with_a_library_that_does_not_load_is_one_line(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = bundle_path / "gle.onnx"
    Plugins(monkeypatch, gpus=0)
    for _ in range(2):
        with pytest.raises(BackendError, match=r"its plugin onnxruntime_ep_cuda finds no GPU here .* choose"):
            open_engine("onnxruntime:cuda", graph, SPECS["gle"])

    def refuse(name: str, path: str) -> None:
        raise RuntimeError(f"Failed to load library {path}\nmore")

    monkeypatch.setattr(engine_file, "_REGISTERED", set())
    monkeypatch.setattr(onnxruntime, "register_execution_provider_library", refuse)
    with pytest.raises(BackendError, match=r"cannot load its plugin onnxruntime_ep_cuda \(Failed to load"):
        open_engine("onnxruntime:cuda", graph, SPECS["gle"])


def test_onnxruntimes_own_library_refuses_a_plugin_that_is_none(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = SimpleNamespace(get_ep_name=lambda: "Any", get_library_path=lambda: "/nowhere/plugin.so")
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_nv_tensorrt_rtx", plugin)
    with pytest.raises(BackendError, match="cannot load its plugin onnxruntime_ep_nv_tensorrt_rtx") as caught:
        open_engine("onnxruntime:tensorrt-rtx", bundle_path / "gle.onnx", SPECS["gle"])
    assert "\n" not in str(caught.value)


def test_without_the_plugin_of_tensorrt_for_rtx_it_is_named(bundle_path: Path) -> None:
    with pytest.raises(BackendError, match=r"only cpu; pip install onnxruntime-ep-nv-tensorrt-rtx$"):
        open_engine("onnxruntime:tensorrt-rtx", bundle_path / "gle.onnx", SPECS["gle"])


def test_auto_takes_no_plugin_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has run one here."""
    plugins = Plugins(monkeypatch)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Driver(1))
    assert pick_backend("auto", "fp16")[0] == "onnxruntime"
    assert plugins.registered == {}


@pytest.mark.parametrize("rest", ["gpu", "cuda.1", "cpu:throughput", "latency"])
def test_an_unknown_device_or_hint_of_onnxruntime_names_the_known_ones(bundle_path: Path, rest: str) -> None:
    with pytest.raises(BackendError, match=rf"onnxruntime:{rest} is unknown; choose onnxruntime:cpu or"):
        open_engine(f"onnxruntime:{rest}", bundle_path / "gle.onnx", SPECS["gle"])


@pytest.mark.parametrize(
    ("device", "expected", "arithmetic"),
    [("cpu", "CPU", "f32"), ("GPU", "GPU", "f16"), ("gpu.1", "GPU.1", "f16"), ("npu", "NPU", "f16")],
)
def test_openvino_compiles_for_the_device_in_its_arithmetic(
    bundle_path: Path,
    compiled: list[tuple[str, dict[str, str]]],
    device: str,
    expected: str,
    arithmetic: str,
) -> None:
    open_engine(f"openvino:{device}:throughput", bundle_path / "gle.onnx", SPECS["gle"], "fp16")
    options = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": arithmetic}
    assert compiled == [(expected, options)]


def test_beside_an_npu_the_decoder_stays_on_the_cpu(
    bundle_path: Path, compiled: list[tuple[str, dict[str, str]]]
) -> None:
    for name in ("image_encoder", "gle", "mask_decoder"):
        open_engine("openvino:npu", bundle_path / f"{name}.onnx", SPECS[name], "fp16")
    assert [device for device, _ in compiled] == ["NPU", "NPU", "CPU"]
    assert pick_backend("openvino:npu", "fp16")[1] == "as asked, but the mask decoder on the CPU"
    assert pick_backend("openvino:gpu", "fp16")[1] == "as asked"


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8+fp32"])
def test_an_npu_does_not_silently_compute_in_less_than_was_exported(
    bundle_path: Path, precision: str
) -> None:
    with pytest.raises(BackendError, match="computes in FP16, INT8, and the graph is") as caught:
        open_engine("openvino:npu", bundle_path / "gle.onnx", SPECS["gle"], precision)
    assert f"is {precision}; export with --precision fp16" in str(caught.value)


def test_with_int8_layers_only_a_cpu_does_not_compute_in_f16() -> None:
    assert arithmetic("int8+fp16", ["FP32", "FP16"], "GPU") == "f16"
    assert arithmetic("int8+fp16", ["FP32", "FP16"], "CPU") == "f32"


def test_an_absent_device_of_openvino_names_the_present_ones(bundle_path: Path) -> None:
    with pytest.raises(BackendError, match=r"openvino:npu: .* finds no such device here, only cpu; choose"):
        open_engine("openvino:npu", bundle_path / "gle.onnx", SPECS["gle"], "fp16")


def test_an_unknown_hint_names_the_known_ones(bundle_path: Path) -> None:
    with pytest.raises(BackendError, match="hint 'fast' is unknown; choose latency or throughput"):
        open_engine("openvino:cpu:fast", bundle_path / "gle.onnx", SPECS["gle"])


def test_the_throughput_hint_reaches_the_compiled_graph(bundle_path: Path) -> None:
    reasons = {}
    for hint in ("", ":latency", ":throughput"):
        engine = open_engine(f"openvino:cpu{hint}", bundle_path / "gle.onnx", SPECS["gle"])
        assert isinstance(engine, OpenVinoEngine)
        with engine._compiled.used() as compiled:
            assert compiled is not None
            reasons[hint] = compiled.get_property("PERFORMANCE_HINT")
    assert reasons == {"": "LATENCY", ":latency": "LATENCY", ":throughput": "THROUGHPUT"}


def test_int8_is_computed_in_float_on_a_gpu_of_onnxruntime() -> None:
    assert computes_int8("onnxruntime:cpu", "int8+fp32")
    assert not computes_int8("onnxruntime:cuda", "int8+fp32")
    assert computes_int8("openvino:gpu", "int8+fp16")


def test_a_command_takes_a_device_and_says_so(bundle_path: Path, photo: Path, tmp_path: Path) -> None:
    arguments = [str(photo), "--box", "24", "16", "104", "80", "--bundle", str(bundle_path), "--json"]
    for name, shown in [
        ("openvino:CPU", "openvino:cpu"),
        ("openvino::throughput", "openvino::throughput"),
    ]:
        result = CliRunner().invoke(
            run_command.app, [*arguments, "--backend", name, "--out", str(tmp_path / "out")]
        )
        assert result.exit_code == 0, result.output
        assert f"backend {shown} (as asked)" in result.stderr
        assert f'"backend": "{shown}"' in result.stdout


@pytest.mark.parametrize("command", ["run", "verify"])
def test_a_device_that_is_not_here_is_one_line_and_status_2(
    command: str, bundle_path: Path, photo: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    app, arguments = {
        "run": (run_command.app, [photo, "--point", 9, 9, "--bundle", bundle_path, "--out", out]),
        "verify": (verify_command.app, [bundle_path]),
    }[command]
    result = CliRunner().invoke(app, [*map(str, arguments), "--backend", "onnxruntime:cuda"])
    assert result.exit_code == 2
    assert "has no CUDAExecutionProvider, only cpu" in result.stderr.splitlines()[-1]
    assert not out.exists()

"""What only OpenVINO has: an arithmetic that is chosen. The contract is in test_engines.py."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from int8_weights import FORMS, write_attention
from onnx import parser
from PIL import Image
from tiny_bundle import write_manifest
from typer.testing import CliRunner

from glesam_runtime import BackendError, Bundle, Predictor
from glesam_runtime.bundle.spec import GraphSpec, TensorSpec, bundle_contract
from glesam_runtime.cli import run as run_command
from glesam_runtime.cli import verify as verify_command
from glesam_runtime.engines import candidates, open_engine, open_engines, pick_backend
from glesam_runtime.engines.openvino import OpenVinoEngine, arithmetic, dynamic_quantization_off
from glesam_runtime.tools.parity import mask_iou

PHOTO = Path(__file__).parents[2] / "examples/photos/astronaut_lq3.jpg"
BOX = ["--box", "20", "5", "470", "510"]
HAS_BF16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
MATRIX = TensorSpec("x", "float32", (4, 64))
# As a bf16 export has it: float32 at the graph's border, bf16 inside.
IN_BF16 = """
<ir_version: 8, opset_import: ["" : 17]>
product (float[4,64] x) => (float[4,4] y) {
  low = Cast <to = 16> (x)
  turned = Transpose (low)
  result = MatMul (low, turned)
  y = Cast <to = 1> (result)
}
"""


def hint(engine: object) -> str:
    assert isinstance(engine, OpenVinoEngine)
    with engine._compiled.used() as compiled:
        assert compiled is not None
        chosen: str = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return chosen


@pytest.mark.parametrize(
    ("precision", "capabilities", "expected"),
    [
        ("fp32", ["FP32", "BF16", "FP16"], "f32"),
        ("fp16", ["FP32", "BF16", "FP16"], "f16"),
        ("fp16", ["FP32", "BF16"], "f32"),
        ("bf16", ["FP32", "BF16"], "bf16"),
        ("bf16", ["FP32"], "f32"),
        ("int8+bf16", ["FP32", "BF16", "FP16"], "bf16"),
        ("int8+fp16", ["FP32", "BF16", "FP16"], "f32"),  # f16 would take a reference kernel
        ("int8+fp32", ["FP32", "BF16", "FP16"], "f32"),
        ("of a later version", ["FP32", "BF16"], "f32"),
    ],
)
def test_the_arithmetic_is_the_graphs_where_the_cpu_has_it(
    precision: str, capabilities: list[str], expected: str
) -> None:
    assert arithmetic(precision, capabilities) == expected


def test_an_arm_cpu_never_computes_in_f16(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the default there, and gives the same embedding for every image; its GPU may."""
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    for precision in ("fp16", "int8+fp16"):
        assert arithmetic(precision, ["FP32", "FP16"]) == "f32"
        assert arithmetic(precision, ["FP32", "FP16"], "GPU") == "f16"


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8+fp32", "int8+fp16", "int8+bf16"])
def test_auto_takes_openvinos_cpu_only(precision: str, machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An NPU has computed window attention wrong without a word (openvino issue 37264)."""
    monkeypatch.setattr(platform, "machine", lambda: machine)
    named = [candidate.backend for candidate in candidates(precision)]
    assert [name for name in named if name.startswith("openvino")] == ["openvino"]
    assert pick_backend("auto", precision)[0] in ("openvino", "onnxruntime")


def test_compiled_graphs_are_not_cached_since_openvinos_key_has_no_precision(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: list[dict[str, str]] = []
    compile_model = openvino.Core.compile_model

    def compiled(core: openvino.Core, model: openvino.Model, device: str, chosen: dict[str, str]) -> object:
        options.append({**chosen, "CACHE_DIR": core.get_property("CACHE_DIR") or chosen.get("CACHE_DIR", "")})
        return compile_model(core, model, device, chosen)

    monkeypatch.setattr(openvino.Core, "compile_model", compiled)
    open_engines("openvino", Bundle.open(bundle_path))
    assert [each["CACHE_DIR"] for each in options] == [""] * 3
    assert all("INFERENCE_PRECISION_HINT" in each for each in options)


def test_the_compiled_graphs_are_told_the_manifests_precision(own_bundle: Path) -> None:
    path = own_bundle / "bundle.json"
    for precision in ("fp32", "bf16"):
        content = json.loads(path.read_text())
        for graph in content["graphs"].values():
            graph["precision"] = precision
        write_manifest(own_bundle, content)
        engines = open_engines("openvino", Bundle.open(own_bundle))
        expected = "bf16" if precision == "bf16" and HAS_BF16 else "f32"
        assert {hint(engine) for engine in engines.values()} == {expected}


def test_a_bf16_graph_runs_here_and_only_here(tmp_path: Path) -> None:
    onnx.save(parser.parse_model(IN_BF16), tmp_path / "bf16.onnx")
    spec = GraphSpec("product", (MATRIX,), (TensorSpec("y", "float32", (4, 4)),))
    engine = open_engine("openvino", tmp_path / "bf16.onnx", spec, "bf16")
    x = np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32)
    np.testing.assert_allclose(engine({"x": x})["y"], x @ x.T, rtol=0.02, atol=0.2)
    with pytest.raises(BackendError, match="choose openvino"):
        open_engine("onnxruntime", tmp_path / "bf16.onnx", spec, "bf16")


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8+fp32", "int8+fp16", "int8+bf16"])
def test_no_precision_leaves_dynamic_quantization_to_openvino(tmp_path: Path, precision: str) -> None:
    write_attention(tmp_path / "gle.onnx", FORMS[0])
    engine = open_engine("openvino", tmp_path / "gle.onnx", bundle_contract(64)["gle"], precision)
    assert isinstance(engine, OpenVinoEngine)
    with engine._compiled.used() as compiled:
        assert compiled is not None
        assert compiled.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE") == 0


def test_a_device_without_dynamic_quantization_gets_no_such_option() -> None:
    class Core:
        def get_property(self, device: str, name: str) -> dict[str, str]:
            return {"INFERENCE_PRECISION_HINT": "RW"} | (
                {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "RW"} if device == "CPU" else {}
            )

    assert dynamic_quantization_off(Core(), "CPU") == {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    assert dynamic_quantization_off(Core(), "NPU") == {}


def test_what_is_wrong_with_a_graph_is_said_without_openvinos_source_files(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a graph")
    with pytest.raises(BackendError, match=r"cannot open this graph \([^/]*\); export the bundle again"):
        open_engine("openvino", tmp_path / "broken.onnx", GraphSpec("product", (), ()))


def test_the_shipped_model_draws_the_masks_of_onnxruntime(tmp_path: Path) -> None:
    masks = {}
    for backend in ("onnxruntime", "openvino"):
        out = tmp_path / backend
        arguments = [str(PHOTO), *BOX, "--backend", backend, "--out", str(out)]
        result = CliRunner().invoke(run_command.app, arguments)
        assert result.exit_code == 0, result.output
        assert f"backend {backend} (as asked)" in result.stderr
        with Image.open(out / "astronaut_lq3.mask0.png") as picture:
            masks[backend] = np.array(picture).astype(bool)
    assert mask_iou(masks["openvino"], masks["onnxruntime"]) >= 0.99


def test_the_shipped_model_verifies_itself() -> None:
    result = CliRunner().invoke(verify_command.app, ["--backend", "openvino"])
    assert result.exit_code == 0, result.output
    assert "golden parity holds here" in result.stdout


def test_auto_takes_it_for_a_bf16_bundle(own_bundle: Path, photo: Path, tmp_path: Path) -> None:
    content = json.loads((own_bundle / "bundle.json").read_text())
    for graph in content["graphs"].values():
        graph["precision"] = "bf16"
    write_manifest(own_bundle, content | {"precision": "bf16"})
    arguments = [str(photo), "--box", "24", "16", "104", "80", "--bundle", str(own_bundle)]
    result = CliRunner().invoke(run_command.app, [*arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "backend openvino (auto: for bf16 graphs" in result.stderr
    with pytest.raises(BackendError, match="the bundle is bf16; choose openvino"):
        Predictor.from_bundle(own_bundle, "onnxruntime")

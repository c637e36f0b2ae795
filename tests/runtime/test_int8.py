"""int8 graphs: which backend takes them, and that it computes them in int8."""

from __future__ import annotations

import platform
from collections.abc import Callable
from itertools import product as every
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
from int8_weights import FORMS, attention_in_float64, relative_error, write_attention
from onnx import parser
from tiny_bundle import write_bundle, write_precisions

from glesam_runtime import BackendError, Predictor
from glesam_runtime.bundle.spec import GraphSpec, TensorSpec, bundle_contract
from glesam_runtime.engines import (
    computes_int8,
    host,
    open_engine,
    open_engines,
    pick_backend,
    pick_for_bundle,
)

Floats = np.ndarray[Any, Any]

ROWS, SIZE = 32, 64
SPEC = GraphSpec(
    "product", (TensorSpec("x", "float32", (1, ROWS, SIZE)),), (TensorSpec("y", "float32", (1, ROWS, SIZE)),)
)
# As export writes it, with fp32 for the rest: Q/DQ before the product, its bias behind it in float.
PRODUCT = """
<ir_version: 8, opset_import: ["" : 18]>
product (float[1,32,64] x) => (float[1,32,64] y)
<float scale = {0.02}, int8 zero = {0}, float[64] bias, int8[64,64] weight, float[64] scales, int8[64] zeros>
{
  steps = QuantizeLinear (x, scale, zero)
  restored = DequantizeLinear (steps, scale, zero)
  w = DequantizeLinear <axis = 1> (weight, scales, zeros)
  product = MatMul (restored, w)
  y = Add (product, bias)
}
"""

SUM = """
<ir_version: 8, opset_import: ["" : 18]>
sum (float[1,256,8,8] x) => (float[1,4,8,8] y)
<float one = {1.0}, int8 zero = {0}, int8[4,256,1,1] weight, float[4] ones = {1.0, 1.0, 1.0, 1.0},
 int8[4] zeros = {0, 0, 0, 0}>
{
  steps = QuantizeLinear (x, one, zero)
  restored = DequantizeLinear (steps, one, zero)
  w = DequantizeLinear <axis = 0> (weight, ones, zeros)
  y = Conv (restored, w)
}
"""

ZEROS = "int8[4] zero = {0, 0, 0, 0}"
ODD = """
<ir_version: 8, opset_import: ["" : 18]>
odd (float[1,4,2,2] x) => (float[1,4,2,2] y) <{scale}, {zero}>
{{
  steps = QuantizeLinear <axis = 1> (x, scale, zero)
  y = DequantizeLinear <axis = 1> (steps, scale, zero)
}}
"""


@pytest.fixture
def product(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    model = parser.parse_model(PRODUCT)
    constants: dict[str, np.ndarray[Any, Any]] = {
        "bias": rng.normal(size=SIZE).astype(np.float32),
        "weight": rng.integers(-127, 128, size=(SIZE, SIZE)).astype(np.int8),
        "scales": np.full(SIZE, 0.001, np.float32),
        "zeros": np.zeros(SIZE, np.int8),
    }
    for tensor in list(model.graph.initializer):
        if tensor.name in constants:
            model.graph.initializer.remove(tensor)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(a, name) for name, a in constants.items())
    onnx.save(model, tmp_path / "product.onnx")
    return tmp_path / "product.onnx"


@pytest.fixture
def vnni(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[bool], None]:
    """Makes this a machine whose CPU has VNNI, or has not."""

    def set_to(present: bool) -> None:
        cpuinfo = tmp_path / "cpuinfo"
        cpuinfo.write_text(f"processor\t: 0\nflags\t\t: fma avx2{' avx512_vnni' if present else ''}\n")
        monkeypatch.setattr(host, "CPUINFO", cpuinfo)
        monkeypatch.setattr(platform, "machine", lambda: "x86_64")

    return set_to


def expected_of(product: Path, x: Floats) -> Floats:
    """What Q/DQ means."""
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in onnx.load(product).graph.initializer}
    steps = np.clip(np.round(x / np.float32(0.02)), -128, 127)
    expected: Floats = (steps * 0.02) @ (constants["weight"] * 0.001) + constants["bias"]
    return expected


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_it_computes_what_qdq_means(product: Path, backend: str) -> None:
    x = np.random.default_rng(1).normal(size=(1, ROWS, SIZE)).astype(np.float32)
    result = open_engine(backend, product, SPEC, "int8+fp32")({"x": x})["y"]
    np.testing.assert_allclose(result, expected_of(product, x), atol=1e-4)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("has_vnni", sorted({False, host.sums_int8_exactly()}))
def test_unsigned_steps_are_computed_as_qdq_means_them(
    product: Path, vnni: Callable[[bool], None], backend: str, has_vnni: bool
) -> None:
    """As glesam-quantize --target openvino writes them for what a ReLU made.

    Any CPU can compute them as one without VNNI does; not the other way round.
    """
    model = onnx.load(product)
    (zero,) = [one for one in model.graph.initializer if one.name == "zero"]
    zero.CopyFrom(onnx.numpy_helper.from_array(np.array(0, np.uint8), "zero"))
    onnx.save(model, product)
    vnni(has_vnni)
    x = np.random.default_rng(1).uniform(0, 255 * 0.02, (1, ROWS, SIZE)).astype(np.float32)
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    steps = np.clip(np.round(x / np.float32(0.02)), 0, 255)
    expected = (steps * 0.02) @ (constants["weight"] * 0.001) + constants["bias"]
    result = open_engine(backend, product, SPEC, "int8+fp32")({"x": x})["y"]
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_onnxruntime_computes_a_product_with_a_bias_in_int8(
    product: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would fuse the bias first, and then has no int8 kernel for what comes out."""
    fused: dict[str, list[str]] = {}
    real = onnxruntime.InferenceSession

    def session(path: Path, options: Any, **more: Any) -> Any:  # noqa: ANN401 - a foreign signature
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        return real(path, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    for precision in ("int8+fp32", "fp32"):
        open_engine("onnxruntime", product, SPEC, precision).close()
        fused[precision] = [n.op_type for n in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert "MatMulIntegerToFloat" in fused["int8+fp32"]
    assert "MatMulIntegerToFloat" not in fused["fp32"]


@pytest.mark.parametrize("precision", ["int8+fp16", "int8+fp32", "int8+bf16"])
def test_auto_takes_openvino_where_it_is(
    precision: str, vnni: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    vnni(True)
    assert pick_backend("auto", precision)[0] == "openvino"
    monkeypatch.setattr("glesam_runtime.engines.choice.find_spec", lambda _: None)
    if precision.endswith("bf16"):
        with pytest.raises(BackendError, match=r"computes in int8\+bf16 .*onnxruntime: it cannot"):
            pick_backend("auto", precision)
    else:
        assert pick_backend("auto", precision)[0] == "onnxruntime"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("onnxruntime", ("onnxruntime", "auto: the int8 layers are quantized for it")),
        ("openvino", ("openvino", "auto: for int8 graphs, of which onnxruntime computes much in float")),
        ("any", ("openvino", "auto: for int8 graphs, of which onnxruntime computes much in float")),
    ],
)
def test_auto_takes_the_backend_that_a_bundle_is_quantized_for(
    tmp_path: Path, vnni: Callable[[bool], None], target: str, expected: tuple[str, str]
) -> None:
    vnni(True)
    root = write_bundle(tmp_path / "bundle", precision="int8+fp32")
    bundle = write_precisions(root, dict.fromkeys(("image_encoder", "gle"), ("int8+fp32", target)))
    assert pick_for_bundle("auto", bundle) == expected
    engines = open_engines("auto", bundle)
    kinds = {name: type(engine).__module__.rpartition(".")[2] for name, engine in engines.items()}
    assert kinds == {"image_encoder": expected[0], "gle": expected[0], "mask_decoder": "onnxruntime"}


@pytest.mark.parametrize(
    ("encoder", "gle", "expected"),
    [
        (("int8+fp32", "onnxruntime"), ("int8+fp32", "openvino"), ("onnxruntime", "openvino")),
        (("int8+fp32", "any"), ("int8+fp32", "onnxruntime"), ("openvino", "onnxruntime")),
        (("fp32", ""), ("int8+fp32", "openvino"), ("onnxruntime", "openvino")),
        (("fp32", ""), ("bf16", ""), ("onnxruntime", "openvino")),
    ],
)
def test_a_predictor_names_the_backend_of_its_encoder_where_graphs_differ(
    tmp_path: Path,
    vnni: Callable[[bool], None],
    encoder: tuple[str, str],
    gle: tuple[str, str],
    expected: tuple[str, str],
) -> None:
    vnni(True)
    root = write_bundle(tmp_path / "bundle", precision="int8+fp32")
    bundle = write_precisions(root, {"image_encoder": encoder, "gle": gle})
    kinds = {name: type(engine).__module__ for name, engine in open_engines("auto", bundle).items()}
    assert [kinds[name].rpartition(".")[2] for name in ("image_encoder", "gle")] == [*expected]
    with Predictor.from_bundle(bundle) as predictor:
        assert predictor.backend == pick_for_bundle("auto", bundle)[0] == expected[0]


def test_onnxruntime_has_no_bf16_beside_int8_either() -> None:
    with pytest.raises(BackendError, match=r"the bundle is int8\+bf16"):
        pick_backend("onnxruntime", "int8+bf16")


def test_without_vnni_openvino_computes_int8_layers_in_float(
    product: Path, vnni: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[set[str]] = []

    class Core(openvino.Core):
        def compile_model(self, model: Any, device: str, options: dict[str, str]) -> Any:  # noqa: ANN401
            compiled.append({node.get_type_name() for node in model.get_ops()})
            return super().compile_model(model, device, options)

    monkeypatch.setattr(openvino, "Core", Core)
    vnni(False)
    assert pick_backend("auto", "int8+fp16") == ("onnxruntime", "auto: it is part of every installation")
    assert pick_backend("auto", "int8+bf16")[0] == "openvino"
    assert not computes_int8("openvino", "int8+fp16")
    assert computes_int8("openvino:gpu", "int8+fp16")
    assert computes_int8("onnxruntime", "int8+fp32")
    in_float = open_engine("openvino", product, SPEC, "int8+fp32")
    vnni(True)
    open_engine("openvino", product, SPEC, "int8+fp32").close()
    assert ["FakeQuantize" in types for types in compiled] == [False, True]
    x = np.random.default_rng(1).normal(size=(1, ROWS, SIZE)).astype(np.float32)
    np.testing.assert_allclose(in_float({"x": x})["y"], expected_of(product, x), atol=1e-4)


@pytest.mark.parametrize("as_without_vnni", [False, True])
def test_sums_of_the_largest_products_do_not_saturate(
    as_without_vnni: bool, vnni: Callable[[bool], None], tmp_path: Path
) -> None:
    """They would in 16 bits, in which a CPU without VNNI adds them; whatever this one has."""
    if as_without_vnni:
        vnni(False)
    size = 256
    spec = GraphSpec(
        "sum", (TensorSpec("x", "float32", (1, size, 8, 8)),), (TensorSpec("y", "float32", (1, 4, 8, 8)),)
    )
    model = parser.parse_model(SUM)
    model.graph.initializer.append(
        onnx.numpy_helper.from_array(np.full((4, size, 1, 1), 127, np.int8), "weight")
    )
    onnx.save(model, tmp_path / "sum.onnx")
    x = np.full((1, size, 8, 8), 127, np.float32)
    for backend, precision in every(("onnxruntime", "openvino"), ("int8+fp32", "int8+fp16")):
        result = open_engine(backend, tmp_path / "sum.onnx", spec, precision)({"x": x})["y"]
        np.testing.assert_allclose(result, size * 127 * 127, rtol=1e-6, err_msg=f"{backend} {precision}")


def test_who_computes_int8_layers_in_int8(vnni: Callable[[bool], None]) -> None:
    vnni(True)
    assert computes_int8("openvino", "int8+fp16")
    assert computes_int8("onnxruntime", "int8+fp32")
    assert not computes_int8("onnxruntime", "int8+fp16")
    assert not computes_int8("openvino", "fp16")


@pytest.mark.parametrize(
    ("scale", "zero"), [("float scale = {0.5}", "int8 zero = {3}"), ("float[4] scale = {1, 1, 1, 2}", ZEROS)]
)
def test_without_vnni_openvino_refuses_what_no_bundle_has(
    scale: str, zero: str, vnni: Callable[[bool], None], tmp_path: Path
) -> None:
    vnni(False)
    spec = GraphSpec(
        "odd", (TensorSpec("x", "float32", (1, 4, 2, 2)),), (TensorSpec("y", "float32", (1, 4, 2, 2)),)
    )
    onnx.save(parser.parse_model(ODD.format(scale=scale, zero=zero)), tmp_path / "odd.onnx")
    with pytest.raises(BackendError, match=r"odd\.onnx: .*expected Q/DQ of one scale and zero point 0"):
        open_engine("openvino", tmp_path / "odd.onnx", spec, "int8+fp32")


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("precision", ["fp32", "int8+fp32", "int8+fp16"])
def test_weights_in_int8_do_not_make_activations_int8(
    tmp_path: Path, form: str, precision: str, backend: str
) -> None:
    """Both libraries would quantize them before each product, by default and in silence."""
    write_attention(tmp_path / "gle.onnx", form)
    engine = open_engine(backend, tmp_path / "gle.onnx", bundle_contract(64)["gle"], precision)
    x = np.random.default_rng(1).normal(size=(1, 256, 4, 4)).astype(np.float32)
    actual = engine({"image_embeddings": x})["image_embeddings_enhanced"]
    assert relative_error(actual, attention_in_float64(x)) < 1e-5

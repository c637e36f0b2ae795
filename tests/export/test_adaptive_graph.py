"""An adaptive GLE is one graph of allowed operators, whose second output is the degradation level."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import numpy_helper
from tiny_model import MODELS, STYLES, Style, random_model

from glesam.model import GleSam, checkpoint_files
from glesam.reference import reference_predictor
from glesam_calib.graph.files import save_onnx
from glesam_calib.graph.precision import lower_precision
from glesam_calib.quantization.layers import Policy, layers_of
from glesam_export import pipeline
from glesam_export.folds import fold_all, fold_timestep
from glesam_export.graphs import Graph
from glesam_export.pipeline import ExportOptions, export_bundle
from glesam_export.rewrites.static_gle import AdaptiveStaticGle, static_gle
from glesam_runtime import Bundle, BundleError, ParityError, Predictor
from glesam_runtime.bundle.graph_rules import FLOAT_OPERATORS
from glesam_runtime.bundle.manifest import parse_manifest
from glesam_runtime.bundle.options import with_options
from glesam_runtime.bundle.spec import bundle_contract
from glesam_runtime.engines import open_engine, open_engines
from glesam_runtime.engines.base import Array
from glesam_runtime.tools.measure import ImageSets
from glesam_runtime.tools.parity import compare, compare_output
from glesam_runtime.tools.verify import verify

S = 64
MAX_RELATIVE = {"fp32": 1e-5, "fp16": 1e-2, "bf16": 5e-2}
GLE = with_options(bundle_contract(S)["gle"], {"degradation_level"})


@pytest.fixture(scope="module")
def model() -> GleSam:
    """Read only."""
    return MODELS["adaptive"]()


@pytest.fixture(scope="module")
def same_graphs(fp32_graphs: Callable[..., Path]) -> tuple[Path | str, ...]:
    return (fp32_graphs("adaptive", "gle"), "gle")


@pytest.fixture(scope="module")
def folder(fp32_graphs: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """gle.onnx of every precision."""
    root = tmp_path_factory.mktemp("adaptive")
    for precision in MAX_RELATIVE:
        exported = ir.load(fp32_graphs("adaptive", "gle") / "gle.onnx")
        if precision != "fp32":
            lower_precision(exported, precision)
        save_onnx(exported, root / f"{precision}.onnx")
    return root


@pytest.fixture(params=MAX_RELATIVE)
def any_precision(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def engine(folder: Path, any_precision: str) -> Callable[[Array], dict[str, Array]]:
    backend = "openvino" if any_precision == "bf16" else "onnxruntime"
    opened = open_engine(backend, folder / f"{any_precision}.onnx", GLE, any_precision)
    return lambda z: dict(opened({"image_embeddings": z}))


def embeddings(scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(1, 256, 4, 4, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("style", STYLES)
def test_every_fold_but_the_timesteps_is_exact(style: Style) -> None:
    gle = random_model(style, adaptive=True, timestep=200).gle.double()
    z = torch.cat([embeddings(0.5), embeddings()]).double()
    folded, reports = fold_all(gle)
    with torch.no_grad():
        expected, levels = gle(z), gle.degradation_level(z)
        plain = static_gle(gle)(z)
        actual = folded(z)
    assert isinstance(folded, AdaptiveStaticGle)
    assert ((levels > 0) & (levels < 3)).all(), "levels at a bound would prove little"
    for enhanced, level in (plain, actual):
        torch.testing.assert_close(enhanced, expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(level, levels, rtol=1e-12, atol=1e-12)
    names = [report.fold for report in reports]
    assert fold_timestep.__name__ not in names
    assert {"merge_lora", "fold_gamma", "fold_noise_scale", "fold_text_context"} <= set(names)


def test_the_graph_has_allowed_operators_and_no_control_flow(folder: Path) -> None:
    graph = onnx.load(folder / "fp32.onnx").graph
    assert {node.op_type for node in graph.node} <= FLOAT_OPERATORS
    assert [output.name for output in graph.output] == ["image_embeddings_enhanced", "degradation_level"]


def test_every_precision_computes_pytorchs_step_and_level(
    model: GleSam, engine: Callable[[Array], dict[str, Array]], any_precision: str
) -> None:
    z = embeddings()
    with torch.no_grad():
        expected, level = model.enhance(z), model.gle.degradation_level(z)
    actual = engine(z.numpy())
    assert level is not None
    assert 0 < level.item() < 3
    assert (
        compare(actual["image_embeddings_enhanced"], expected.numpy()).relative < MAX_RELATIVE[any_precision]
    )
    close = 1e-2 if any_precision == "bf16" else 1e-3  # OpenVINO rounds all to bf16
    assert actual["degradation_level"] == pytest.approx(level.numpy(), abs=close)


def test_a_clean_embedding_passes_to_the_bit_in_every_precision(
    model: GleSam, folder: Path, any_precision: str
) -> None:
    """The head's last bias, moved far below 0, makes every picture a clean one."""
    path = folder / f"{any_precision}.onnx"
    clean = onnx.load(path)
    (bias,) = (x for x in clean.graph.initializer if x.name.endswith("level_head.level.bias"))
    bias.CopyFrom(numpy_helper.from_array(np.full(1, -50.0, np.float32), bias.name))
    onnx.save(clean, path.with_stem(f"{any_precision}-clean"))
    backend = "openvino" if any_precision == "bf16" else "onnxruntime"
    opened = open_engine(backend, path.with_stem(f"{any_precision}-clean"), GLE, any_precision)
    answer = opened({"image_embeddings": embeddings().numpy()})
    assert answer["degradation_level"].tolist() == [0.0]
    np.testing.assert_array_equal(answer["image_embeddings_enhanced"], embeddings().numpy())


def test_no_policy_quantizes_the_head_or_the_time_embedding_by_itself(folder: Path) -> None:
    layers = layers_of(ir.load(folder / "fp32.onnx").graph)
    steering = [layer.name for layer in layers if "level_head" in layer.name or "time_emb" in layer.name]
    assert len(steering) > 4
    assert not {layer.name for layer in Policy().choose(layers)} & set(steering)
    assert Policy().choose(layers)


def test_a_prediction_tells_the_level_that_pytorch_predicts(
    model: GleSam, fp16_export: Path, picture: np.ndarray
) -> None:
    expected = reference_predictor(model)
    expected.set_image(picture)
    with Predictor.from_bundle(fp16_export) as predictor:
        predictor.set_image(picture)
        prediction = predictor.predict(box=(5, 5, 40, 40))
        assert prediction.degradation_level == pytest.approx(expected.degradation_level, abs=2e-3)
        assert 0 < predictor.degradation_level < 3
    with Predictor.from_bundle(fp16_export, enhance=False) as plain:
        plain.set_image(picture)
        assert plain.predict(box=(5, 5, 40, 40)).degradation_level is None


def test_golden_vectors_prove_the_level_too(fp16_export: Path) -> None:
    bundle = Bundle.open(fp16_export)
    parity = verify(bundle, open_engines("onnxruntime", bundle))
    assert 0 < parity.graphs["gle"].relative < 1e-2


def test_a_graph_with_a_wrong_level_never_becomes_a_bundle(
    model: GleSam, fp16_export: Path, picture: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any mask is allowed here: the level has a limit of its own."""

    def damaged(graph: Graph, _: int) -> ir.Model:
        found = onnx.load(fp16_export / f"{graph.name}.onnx")
        for tensor in found.graph.initializer:
            if tensor.name.endswith("level_head.level.bias"):
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + 0.2, tensor.name))
        return ir.from_proto(found)

    monkeypatch.setattr(pipeline, "onnx_from_graph", damaged)
    sets: ImageSets = {"clean": [picture]}
    files = checkpoint_files(fp16_export.parent / "checkpoint")
    with pytest.raises(ParityError, match=r"degradation_level: expected \d\.\d+ as in the reference, found"):
        options = ExportOptions(min_iou=0.0)
        export_bundle(model, files, tmp_path / "bundle", sets, options, lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_a_level_is_compared_in_parts_of_its_range() -> None:
    level = np.float32([0.0])
    assert compare_output("degradation_level", level, level + 0.03).relative == pytest.approx(0.01)
    with pytest.raises(ParityError, match=r"expected 0\.200 as in the reference, found 0\.000; leave"):
        compare_output("degradation_level", level, level + 0.2)


def test_a_reader_takes_the_output_that_the_bundle_lists_and_no_other(fp16_export: Path) -> None:
    document = json.loads((fp16_export / "bundle.json").read_text())
    listed = [tensor["name"] for tensor in document["graphs"]["gle"]["outputs"]]
    assert listed == ["image_embeddings_enhanced", "degradation_level"]
    document["graphs"]["gle"]["outputs"][1]["shape"] = [2]
    with pytest.raises(BundleError, match=r"outputs must be .*degradation_level float32 \[1\], found"):
        parse_manifest(json.dumps(document).encode())
    document["graphs"]["gle"]["outputs"][1] |= {"shape": [1], "name": "other"}
    with pytest.raises(BundleError, match=r"graphs\.gle\.outputs must be image_embeddings_enhanced .*other"):
        parse_manifest(json.dumps(document).encode())


def test_tensorrt_for_rtx_builds_its_engines(
    fp16_export: Path, built_for_rtx: Callable[[Path], dict[str, str]]
) -> None:
    built_for_rtx(fp16_export)

"""A Triton repository of a bundle: read with Triton's own schema, and run step by step as Triton would."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
from typer.testing import CliRunner, Result

from glesam_export import pipeline
from glesam_export.cli import app
from glesam_runtime import Bundle, Predictor, read_image
from glesam_runtime.bundle.reader import default_bundle_path
from glesam_runtime.bundle.spec import GraphSpec, TensorSpec
from glesam_runtime.engines.onnxruntime import OnnxRuntimeEngine
from glesam_runtime.preprocess import preprocess
from glesam_runtime.prompts import Prompt, encode_prompts
from glesam_runtime.tools.triton import write_triton

PHOTO = Path(__file__).parents[2] / "examples/photos/astronaut_lq3.jpg"
NAMES = ["glesam", "glesam_gle", "glesam_image_encoder", "glesam_mask_decoder"]
KINDS = {"float32": model_config_pb2.TYPE_FP32, "int32": model_config_pb2.TYPE_INT32}
Tensors = dict[str, Any]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("triton") / "repository"
    write_triton(Bundle.open(), out)
    return out


def config_of(model: Path) -> Any:  # noqa: ANN401
    return text_format.Parse((model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def check(declared: Any, tensors: Tensors) -> None:  # noqa: ANN401
    """What Triton checks of a request and of a model's answer: names, types, whole shapes."""
    assert {each.name for each in declared} == set(tensors)
    for each in declared:
        array = tensors[each.name]
        assert each.data_type == KINDS[array.dtype.name]
        assert len(each.dims) == array.ndim
        assert all(dim in (-1, size) for dim, size in zip(each.dims, array.shape, strict=True))


def declared_as(declared: Any) -> tuple[TensorSpec, ...]:  # noqa: ANN401
    names = {kind: name for name, kind in KINDS.items()}
    return tuple(
        TensorSpec(
            each.name,
            names[each.data_type],
            tuple(dim if dim > 0 else f"{each.name}{axis}" for axis, dim in enumerate(each.dims)),
        )
        for each in declared
    )


def infer(repository: Path, name: str, request: Tensors) -> Tensors:
    """Triton's data flow: an ensemble's steps by their maps, a model by ONNX Runtime."""
    model = repository / name
    config = config_of(model)
    check(config.input, request)
    if config.platform == "ensemble":
        tensors = dict(request)
        for step in config.ensemble_scheduling.step:
            feeds = {key: tensors[value] for key, value in step.input_map.items()}
            answer = infer(repository, step.model_name, feeds)
            assert not {step.output_map[key] for key in answer} & set(tensors)
            tensors |= {step.output_map[key]: array for key, array in answer.items()}
        response = {each.name: tensors[each.name] for each in config.output}
    else:
        assert config.backend == "onnxruntime"
        spec = GraphSpec(name, declared_as(config.input), declared_as(config.output))
        response = OnnxRuntimeEngine(model / "1" / config.default_model_filename, spec)(request)
    check(config.output, response)
    return response


def request_for(manifest: Any, prompts: list[Prompt]) -> Tensors:  # noqa: ANN401
    """What a client sends, made from the manifest that lies in the repository."""
    image, geometry = preprocess(
        read_image(PHOTO), manifest["image_size"], manifest["pixel_mean"], manifest["pixel_std"]
    )
    return {"image": image, **encode_prompts(prompts, geometry)._asdict()}


def test_every_model_is_configured_by_tritons_schema_and_named_after_its_folder(repository: Path) -> None:
    assert sorted(path.name for path in repository.iterdir()) == NAMES
    for model in repository.iterdir():
        config = config_of(model)
        assert config.name == model.name
        assert config.max_batch_size == 0
        assert (model / "1").is_dir()


def test_dimensions_are_those_of_the_graphs(repository: Path) -> None:
    for model in repository.glob("glesam_*"):
        config = config_of(model)
        graph = onnx.load(str(model / "1" / config.default_model_filename)).graph
        for declared, tensors in ((config.input, graph.input), (config.output, graph.output)):
            shapes = {
                each.name: [dim.dim_value or -1 for dim in each.type.tensor_type.shape.dim]
                for each in tensors
            }
            assert {each.name: list(each.dims) for each in declared} == shapes


@pytest.mark.parametrize("count", [1, 3])
def test_the_ensemble_answers_as_the_predictor_does(repository: Path, count: int) -> None:
    prompts = [Prompt(box=(20, 5, 470, 510)), Prompt(points=[(250, 350)]), Prompt(box=(1, 2, 60, 70))][:count]
    manifest = json.loads((repository / "glesam/1/bundle.json").read_text())
    response = infer(repository, "glesam", request_for(manifest, prompts))
    with Predictor.from_bundle(backend="onnxruntime") as predictor:
        predictor.set_image(read_image(PHOTO))
        expected = predictor.predict(prompts=prompts)
    np.testing.assert_allclose(response["low_res_masks"][:, 0], expected.low_res_masks, atol=0.05)
    np.testing.assert_allclose(response["iou_predictions"][:, 0], expected.iou_predictions, atol=1e-3)


def test_the_ensembles_embeddings_answer_another_prompt(repository: Path) -> None:
    manifest = json.loads((repository / "glesam/1/bundle.json").read_text())
    first = request_for(manifest, [Prompt(box=(20, 5, 470, 510))])
    second = request_for(manifest, [Prompt(points=[(250, 350)])])
    embeddings = infer(repository, "glesam", first)["image_embeddings_enhanced"]
    more = {name: array for name, array in second.items() if name != "image"}
    again = infer(repository, "glesam_mask_decoder", more | {"image_embeddings": embeddings})
    whole = infer(repository, "glesam", second)
    np.testing.assert_array_equal(again["low_res_masks"], whole["low_res_masks"])


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A bundle whose GLE has its weights in a file of their own."""
    from glesam_runtime.bundle.writer import sha256_of

    root = Path(shutil.copytree(default_bundle_path(), tmp_path / "large"))
    model = onnx.load(str(root / "gle.onnx"))
    onnx.save(
        model, root / "gle.onnx", save_as_external_data=True, location="gle.onnx.data", size_threshold=1024
    )
    manifest = json.loads((root / "bundle.json").read_text())
    for name in ("gle.onnx", "gle.onnx.data"):
        path = root / name
        manifest["files"][name] = {"size": path.stat().st_size, "sha256": sha256_of(path)}
    (root / "bundle.json").write_text(json.dumps(manifest))
    digest = sha256_of(root / "bundle.json")
    (root / "bundle.json.sha256").write_text(f"{digest}  bundle.json\n")
    return root


def test_weights_beside_a_graph_come_along_and_the_bundle_stays_readable(large: Path, tmp_path: Path) -> None:
    write_triton(Bundle.open(large), tmp_path / "out")
    version = tmp_path / "out/glesam_gle/1"
    assert sorted(path.name for path in version.iterdir()) == ["gle.onnx", "gle.onnx.data"]
    for folder in (version, large):  # the onnx library refuses weights with a second hard link
        onnx.load(str(folder / "gle.onnx"))
    embeddings = np.ones((1, 256, 32, 32), np.float32)
    infer(tmp_path / "out", "glesam_gle", {"image_embeddings": embeddings})


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_a_finished_bundle_is_converted_without_an_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(*_: object) -> None:
        raise AssertionError("a graph was converted")

    monkeypatch.setattr(pipeline, "onnx_from_graph", too_late)
    out = tmp_path / "new/repository"
    for _ in range(2):  # the second replaces the first
        result = run(default_bundle_path(), "--triton", out)
        assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == NAMES
    assert list(out.parent.iterdir()) == [out]
    assert result.stdout.endswith(f"next: tritonserver --model-repository {out}\n")


def test_an_export_writes_both(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exported(model: object, made_from: object, out: Path, *_: object) -> None:
        shutil.copytree(default_bundle_path(), out)

    monkeypatch.setattr(pipeline, "export_bundle", exported)
    bundle, out = tmp_path / "bundle", tmp_path / "repository"
    result = run(checkpoints["fp32"], "--out", bundle, "--triton", out)
    assert result.exit_code == 0, result.output
    assert [line.split(",")[0] for line in result.stdout.splitlines()] == [f"wrote {bundle}", f"wrote {out}"]
    assert (out / "glesam/1/bundle.json").read_bytes() == (bundle / "bundle.json").read_bytes()


@pytest.fixture
def refused(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Run glesam-export, check that it fails before any work, return its line."""
    monkeypatch.setattr(pipeline, "onnx_from_graph", lambda *_: pytest.fail("a graph was converted"))

    def run_refused(*options: object, model: Path = checkpoints["fp32"]) -> str:
        before = sorted(tmp_path.rglob("*"))
        result = run(model, *options)
        assert result.exit_code == 2, result.output
        assert sorted(tmp_path.rglob("*")) == before
        (line,) = result.stderr.splitlines()
        return line

    return run_refused


def test_what_would_be_lost_or_has_no_effect_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(default_bundle_path(), tmp_path / "bundle"))
    assert "is not a Triton repository of a bundle; choose another folder with --triton" in refused(
        "--triton", bundle, model=bundle
    )
    assert "is the bundle's own folder" in refused("--out", tmp_path / "x", "--triton", tmp_path / "x")
    line = refused("--triton", tmp_path / "x", "--precision", "fp16", "--min-iou", 0.5, model=bundle)
    assert "is a finished bundle; leave out --precision, --min-iou" in line
    assert "Triton's onnxruntime backend has no bf16" in refused(
        "--precision", "bf16", "--triton", tmp_path / "x"
    )
    assert Bundle.open(bundle)


def test_a_damaged_bundle_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(default_bundle_path(), tmp_path / "bundle"))
    with (bundle / "gle.onnx").open("ab") as file:
        file.write(b"x")
    assert "gle.onnx: expected" in refused("--triton", tmp_path / "x", model=bundle)

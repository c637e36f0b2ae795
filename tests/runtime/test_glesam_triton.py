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
from tiny_bundle import write_bundle as write_tiny
from tritonclient.grpc import model_config_pb2
from typer.testing import CliRunner, Result

from glesam_runtime import Bundle, Predictor, read_image
from glesam_runtime.bundle.reader import default_bundle_path, sha256_of
from glesam_runtime.bundle.spec import HIGH_RES, Family, GraphSpec, TensorSpec
from glesam_runtime.bundle.writer import write_bundle
from glesam_runtime.cli.triton import app
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
    family, resize = manifest["model"].get("family", "sam"), manifest.get("resize", "longest-side")
    numbers = manifest["image_size"], manifest["pixel_mean"], manifest["pixel_std"], resize
    image, geometry = preprocess(read_image(PHOTO), *numbers)
    return {"image": image, **encode_prompts(prompts, geometry, family)._asdict()}


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


@pytest.mark.parametrize("family", ["sam2", "robustsam"])
def test_an_ensemble_of_another_family_answers_as_the_predictor_does(tmp_path: Path, family: Family) -> None:
    bundle, repository = write_tiny(tmp_path / "bundle", family), tmp_path / "repository"
    write_triton(Bundle.open(bundle), repository)
    manifest = json.loads((repository / "glesam/1/bundle.json").read_text())
    prompts = [Prompt(box=(20, 5, 470, 510)), Prompt(points=[(250, 350)])]
    request = request_for(manifest, prompts)
    response = infer(repository, "glesam", request)
    with Predictor.from_bundle(bundle, backend="onnxruntime") as predictor:
        predictor.set_image(read_image(PHOTO))
        expected = predictor.predict(prompts=prompts)
    np.testing.assert_array_equal(response["low_res_masks"][:, 0], expected.low_res_masks)
    features = {name: response[name] for name in HIGH_RES if name in response}
    more = {name: array for name, array in request.items() if name != "image"}
    more["image_embeddings"] = response["image_embeddings_enhanced"]
    again = infer(repository, "glesam_mask_decoder", more | features)
    np.testing.assert_array_equal(again["low_res_masks"], response["low_res_masks"])


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A bundle whose GLE has its weights in a file of their own."""
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


def test_the_command_writes_a_repository_and_replaces_an_older_one(tmp_path: Path) -> None:
    out = tmp_path / "new/my repository"
    for _ in range(2):
        result = run(default_bundle_path(), out)
        assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == NAMES
    assert list(out.parent.iterdir()) == [out]
    assert (out / "glesam/1/bundle.json").read_bytes() == (default_bundle_path() / "bundle.json").read_bytes()
    assert result.stdout.startswith(f"wrote {out}, ")
    assert result.stdout.endswith(f"MiB; next: tritonserver --model-repository '{out}'\n")


@pytest.fixture
def own_bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(default_bundle_path(), tmp_path / "bundle"))


@pytest.fixture
def refused(own_bundle: Path, tmp_path: Path) -> Callable[[object], str]:
    """Runs glesam-triton on `own_bundle`, checks that it fails and writes nothing, returns its line."""

    def run_refused(out: object) -> str:
        before = sorted(tmp_path.rglob("*"))
        result = run(own_bundle, out)
        assert result.exit_code == 2, result.output
        assert sorted(tmp_path.rglob("*")) == before
        (line,) = result.stderr.splitlines()
        return line

    return run_refused


def test_a_folder_with_something_else_is_never_replaced(
    refused: Callable[[object], str], own_bundle: Path, tmp_path: Path
) -> None:
    assert "is the bundle's own folder; choose another DIR" in refused(own_bundle)
    other = Path(shutil.copytree(own_bundle, tmp_path / "other"))
    assert "is not a Triton repository of a bundle; choose another folder with DIR" in refused(other)
    assert Bundle.open(own_bundle)


@pytest.mark.parametrize("precision", ["bf16", "int8+bf16"])
def test_bf16_which_triton_cannot_run_is_refused(
    refused: Callable[[object], str], own_bundle: Path, tmp_path: Path, precision: str
) -> None:
    write_bundle(own_bundle, json.loads((own_bundle / "bundle.json").read_text()) | {"precision": precision})
    line = refused(tmp_path / "x")
    assert f"Triton's onnxruntime backend has no {precision}; export with --precision fp32 or fp16" in line


def test_a_damaged_bundle_is_refused(
    refused: Callable[[object], str], own_bundle: Path, tmp_path: Path
) -> None:
    with (own_bundle / "gle.onnx").open("ab") as file:
        file.write(b"x")
    assert "gle.onnx: expected" in refused(tmp_path / "x")

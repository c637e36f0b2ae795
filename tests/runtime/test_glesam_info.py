"""glesam-info as a command: what it shows and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tiny_bundle import manifest, write_manifest
from typer.testing import CliRunner, Result

from glesam_runtime import Bundle
from glesam_runtime.cli.info import app
from glesam_runtime.engines.tensorrt.cache import EngineKey, EngineRecord, Gpu
from glesam_runtime.tools import info

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GLESAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path / "cache"


@pytest.fixture
def changed(own_bundle: Path) -> Callable[[Change], Path]:
    """Returns the bundle with another manifest and its hash."""

    def apply(change: Change) -> Path:
        content = manifest(own_bundle)
        change(content)
        write_manifest(own_bundle, content)
        return own_bundle

    return apply


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def shown(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def quantized(content: dict[str, Any]) -> None:
    encoder = content["graphs"]["image_encoder"]
    encoder["precision"] = "int8+fp16"
    encoder["fp32_islands"] = {"Softmax": "its sum loses bits"}
    encoder["int8"] = {
        "layers": ["image_encoder.neck.0/Conv"],
        "left": ["image_encoder.stem/Conv"],
        "smoothed": [],
    }
    content["parity"] = {
        "graphs": {"image_encoder": {"max_abs": 0.25, "relative": 0.5, "cosine": 0.75}},
        "mask_iou": {"lq3": {"mean": 0.98, "worst": 0.9, "masks": 24}},
    }


def test_the_shipped_bundle_is_shown_within_80_columns() -> None:
    text = shown("--verbose")
    for word in ("nano fp16", "image_encoder", "num_prompts,num_points,2", "LayerNormalization", "overflow"):
        assert word in text
    for word in ("clean", "lq3", "golden/0.npz", "checkpoint", "onnxruntime", "cached engines"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


def test_no_word_is_split_on_60_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    text = shown("--verbose")
    assert max(map(len, text.splitlines())) <= 60
    islands = {name for graph in Bundle.open().manifest.graphs.values() for name in graph.fp32_islands}
    assert len(islands) > 4
    assert [name for name in islands if f"fp32 {name} " not in text] == []


def test_islands_and_int8_layers_are_counted_and_named_on_request(changed: Callable[[Change], Path]) -> None:
    bundle = changed(quantized)
    text = shown(bundle)
    (row,) = [line for line in text.splitlines() if line.startswith("image_encoder") and "int8+fp16" in line]
    assert row.split()[1:6] == ["int8+fp16", "1", "1", "of", "2"]
    assert "neck" not in text
    assert "0.98000" in text and "24" in text
    named = shown(bundle, "--verbose")
    assert "int8 image_encoder.neck.0/Conv" in named
    assert "left in float image_encoder.stem/Conv" in named
    assert "its sum loses bits" in named


def test_json_is_one_object_with_everything(changed: Callable[[Change], Path]) -> None:
    bundle = changed(quantized)
    parsed = json.loads(shown(bundle, "--json"))
    assert parsed["bundle_sha256"] == Bundle.open(bundle).hash
    encoder = parsed["graphs"]["image_encoder"]
    assert encoder["int8"] == {
        "layers": ["image_encoder.neck.0/Conv"],
        "left": ["image_encoder.stem/Conv"],
        "target": "any",
    }
    assert encoder["fp32_islands"] == {"Softmax": "its sum loses bits"}
    assert encoder["size"] == (bundle / "image_encoder.onnx").stat().st_size
    assert encoder["inputs"] == [{"name": "image", "dtype": "float32", "shape": [1, 3, 64, 64]}]
    assert parsed["graphs"]["gle"]["int8"] is None
    assert parsed["parity"]["mask_iou"] == {"lq3": {"mean": 0.98, "worst": 0.9, "masks": 24}}
    (ort,) = [backend for backend in parsed["backends"] if backend["name"] == "onnxruntime"]
    assert ort["usable"] and ort["version"]
    assert parsed["cached_engines"] == []


def test_a_backend_that_cannot_take_the_bundle_says_why(changed: Callable[[Change], Path]) -> None:
    bundle = changed(lambda content: content.update(precision="bf16"))
    backends = {each["name"]: each for each in json.loads(shown(bundle, "--json"))["backends"]}
    assert not backends["onnxruntime"]["usable"]
    assert "no bf16 arithmetic" in backends["onnxruntime"]["note"]


@pytest.mark.parametrize("gpu", [None, Gpu("NVIDIA RTX A2000", 86)])
def test_a_tensorrt_is_usable_where_a_gpu_answers(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: Gpu | None
) -> None:
    monkeypatch.setattr(info, "installed", lambda names: dict.fromkeys(names, "1.7.1"))
    monkeypatch.setattr(info, "this_gpu", lambda: gpu)
    backends = {each.name: each for each in info.info(Bundle.open(bundle_path)).backends}
    for name in ("tensorrt", "tensorrt-rtx"):
        assert backends[name].usable == (gpu is not None)
    assert ("no NVIDIA GPU answers here" in backends["tensorrt-rtx"].note) == (gpu is None)
    assert backends["openvino"].usable


def test_cached_engines_are_listed(bundle_path: Path) -> None:
    key = EngineKey(
        Bundle.open(bundle_path).hash, "gle", "0" * 64, "fp32", "tensorrt-rtx", "1.7.1", "any", 86
    )
    record = EngineRecord(key, "0" * 64, 4, {}, {"Half": 3}, 1.5, 900.0, "0.1.0")
    record.path.parent.mkdir(parents=True)
    record.path.write_bytes(b"plan")
    record.path.with_suffix(".json").write_text(json.dumps(asdict(record)))
    assert "gle fp32, tensorrt-rtx 1.7.1, any sm86" in shown(bundle_path)
    (engine,) = json.loads(shown(bundle_path, "--json"))["cached_engines"]
    assert engine["path"] == str(record.path)


def refusal(result: Result) -> str:
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def test_a_damaged_bundle_is_refused(own_bundle: Path, tmp_path: Path) -> None:
    with (own_bundle / "gle.onnx").open("ab") as file:
        file.write(b"x")
    assert "gle.onnx: expected" in refusal(run(own_bundle))
    assert "expected a folder with bundle.json" in refusal(run(tmp_path / "none"))


def set_parity(value: object) -> Change:
    return lambda content: content.update(parity=value)


def set_graph(name: str, value: object) -> Change:
    return lambda content: content["graphs"]["gle"].update({name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_parity({}), "its parity is not what"),
        (set_parity({"graphs": [], "mask_iou": {}}), "its parity is not what"),
        (set_parity({"graphs": {}, "mask_iou": {"clean": {"mean": 1.0}}}), "its parity is not what"),
        (set_parity({"graphs": {"gle": {"max_abs": "1"}}, "mask_iou": {}}), "its parity is not what"),
        (set_graph("fp32_islands", {"Softmax": 3}), "graphs.gle.fp32_islands.Softmax must be a string"),
        (set_graph("int8", []), "graphs.gle.int8 must be an object"),
        (set_graph("int8", {"layers": [1], "left": []}), "graphs.gle.int8.layers must be a list of strings"),
        (set_graph("int8", {"layers": []}), "graphs.gle.int8.left is missing"),
    ],
)  # fmt: skip
def test_a_manifest_that_says_nonsense_is_refused(
    changed: Callable[[Change], Path], change: Change, message: str
) -> None:
    assert message in refusal(run(changed(change)))

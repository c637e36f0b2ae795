"""Bundles of every family: format version 1 for SAM, version 2 for SAM 2 and RobustSAM."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import native
import pytest
from test_bundle_reader import Change, refusal, rewrite
from tiny_bundle import ROBUST_WIDTH, write_bundle, write_manifest

from glesam_runtime import BackendError, Bundle, Predictor
from glesam_runtime.bundle.reader import default_bundle_path
from glesam_runtime.bundle.spec import Family, GraphSpec, bundle_contract
from glesam_runtime.bundle.writer import GraphRecord, bundle_document

FAMILIES: tuple[Family, ...] = ("sam", "sam2", "robustsam")


def texts(graph: GraphSpec) -> tuple[list[str], list[str]]:
    return [str(tensor) for tensor in graph.inputs], [str(tensor) for tensor in graph.outputs]


PROMPTS = [
    "point_coords float32 [num_prompts,num_points,2]",
    "point_labels int32 [num_prompts,num_points]",
    "mask_input float32 [num_prompts,1,256,256]",
    "has_mask_input float32 [num_prompts]",
]
ANSWERS = ["low_res_masks float32 [num_prompts,4,256,256]", "iou_predictions float32 [num_prompts,4]"]


def test_sam2_passes_two_finer_features_from_the_encoder_to_the_decoder() -> None:
    graphs = bundle_contract(1024, "sam2")
    embedding = "image_embeddings float32 [1,256,64,64]"
    finer = ["high_res_s0 float32 [1,32,256,256]", "high_res_s1 float32 [1,64,128,128]"]
    assert texts(graphs["image_encoder"]) == (["image float32 [1,3,1024,1024]"], [embedding, *finer])
    assert texts(graphs["gle"]) == ([embedding], ["image_embeddings_enhanced float32 [1,256,64,64]"])
    assert texts(graphs["mask_decoder"]) == ([embedding, *finer, *PROMPTS], ANSWERS)


def test_robust_sam_packs_early_and_restored_features_behind_the_embedding() -> None:
    graphs = bundle_contract(1024, "robustsam", encoder_channels=768)
    packed = "image_embeddings float32 [1,1024,64,64]"
    assert texts(graphs["image_encoder"]) == (["image float32 [1,3,1024,1024]"], [packed])
    assert texts(graphs["gle"]) == ([packed], ["image_embeddings_enhanced float32 [1,768,64,64]"])
    assert texts(graphs["mask_decoder"]) == (["image_embeddings float32 [1,768,64,64]", *PROMPTS], ANSWERS)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bundle_of_every_family_opens_in_both_languages(tmp_path: Path, family: Family) -> None:
    root = write_bundle(tmp_path / family, family)
    manifest = Bundle.open(root).manifest
    if native.LIBRARY.exists():
        native.open_bundle(root)
    assert (manifest.family, manifest.resize) == (family, "squash" if family == "sam2" else "longest-side")
    assert manifest.encoder_channels == (ROBUST_WIDTH if family == "robustsam" else 0)
    assert (manifest.gamma is None) == (manifest.timestep is None) == (family == "robustsam")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_writer_writes_what_the_reader_reads(tmp_path: Path, family: Family) -> None:
    root = write_bundle(tmp_path / family, family)
    read, content = Bundle.open(root).manifest, json.loads((root / "bundle.json").read_text())
    records = {name: GraphRecord(graph.file, graph.precision) for name, graph in read.graphs.items()}
    document = json.loads(json.dumps(bundle_document(read, "fp32", records, {})))
    for graph in document["graphs"].values():
        assert graph.pop("folds") == []
    kept = ("files", "made_from", "parity")
    assert document | {name: content[name] for name in kept} == content
    assert list(document) == list(content)


def test_the_shipped_bundles_fields_are_written_to_the_byte_as_before() -> None:
    """Format version 1 has not changed: an old reader reads what this writer writes."""
    text = (default_bundle_path() / "bundle.json").read_text()
    content, read = json.loads(text), Bundle.open().manifest
    graphs = content["graphs"]
    records = {
        name: GraphRecord(graph.file, graph.precision, graph.fp32_islands, graphs[name]["folds"])
        for name, graph in read.graphs.items()
    }
    document = bundle_document(read, content["precision"], records, content["made_from"])
    document |= {"files": content["files"], "parity": content["parity"]}
    again = json.loads(json.dumps(document))
    assert {key: again[key] for key in content} == content | {"graphs": again["graphs"]}
    assert list(again) == list(content) and again["format_version"] == 1
    assert list(again["model"]) == list(content["model"])


@pytest.mark.parametrize("family", ["sam2", "robustsam"])
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda m: m["model"].pop("family"), "model.family is missing"),
        (lambda m: m["model"].update(family="sam"), 'model.family must be sam2 or robustsam, found "sam"'),
        (lambda m: m["model"].update(family=2), "model.family must be a string"),
        (lambda m: m.pop("resize"), "resize is missing"),
        (lambda m: m.update(resize="crop"), 'resize must be longest-side or squash, found "crop"'),
        (lambda m: m.update(format_version=1), "must be image_embeddings float32 [1,256,4,4]"),
    ],
)
def test_a_wrong_field_of_format_2_is_named(
    tmp_path: Path, family: Family, change: Change, expected: str
) -> None:
    root = write_bundle(tmp_path / "bundle", family)
    rewrite(root, change)
    message = refusal(root)
    # In version 1 RobustSAM's manifest has no gamma, which is read before the graphs.
    assert expected in message or (family == "robustsam" and "gamma is missing" in message)


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        (0, "model.encoder_channels must be an integer of at least 1, found 0"),
        (65_537, "model.encoder_channels must be at most 65536, found 65537"),
        (2 * ROBUST_WIDTH, "graphs.image_encoder.outputs must be image_embeddings float32 [1,320,4,4]"),
    ],
)
def test_a_width_that_is_not_the_graphs_is_refused(tmp_path: Path, channels: int, expected: str) -> None:
    root = write_bundle(tmp_path / "bundle", "robustsam")
    rewrite(root, lambda m: m["model"].update(encoder_channels=channels))
    assert expected in refusal(root)


def test_a_graph_of_another_family_is_refused_by_its_tensors(tmp_path: Path) -> None:
    """The manifest says SAM 2, the decoder's file is SAM's: two features would go nowhere."""
    root, sam = write_bundle(tmp_path / "sam2", "sam2"), write_bundle(tmp_path / "sam")
    content, other = (json.loads((path / "bundle.json").read_text()) for path in (root, sam))
    (root / "mask_decoder.onnx").write_bytes((sam / "mask_decoder.onnx").read_bytes())
    content["files"]["mask_decoder.onnx"] = other["files"]["mask_decoder.onnx"]
    write_manifest(root, content)
    message = refusal(root)
    assert "mask_decoder.onnx: inputs must be image_embeddings, high_res_s0, high_res_s1" in message
    assert "found image_embeddings, point_coords" in message


def test_robust_sam_does_not_run_without_its_restorer(tmp_path: Path) -> None:
    root = write_bundle(tmp_path / "bundle", "robustsam")
    with pytest.raises(BackendError, match="decoder reads the features that graph gle restores") as caught:
        Predictor.from_bundle(root, enhance=False)
    assert "\n" not in str(caught.value)
    if native.LIBRARY.exists():
        with pytest.raises(BackendError) as native_error:
            native.NativePredictor.from_bundle(root, enhance=False)
        assert str(native_error.value) == str(caught.value)


def test_the_version_of_a_manifest_follows_its_family() -> None:
    model = Bundle.open().manifest
    assert model.format_version == 1
    assert replace(model, family="sam2").format_version == 2

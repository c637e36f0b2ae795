"""The bundle reader checks everything."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import native
import pytest
from tiny_bundle import manifest, record, write_bundle, write_manifest

from glesam_runtime import Bundle, BundleError, Predictor

Change = Callable[[dict[str, Any]], object]
NO_LAYERS: dict[str, Any] = {"layers": [], "left": []}


def rewrite(bundle: Path, change: Change) -> None:
    """Changes the manifest and hashes it again, as an attacker or a faulty exporter would."""
    content = json.loads((bundle / "bundle.json").read_text())
    change(content)
    write_manifest(bundle, content)


def refusal(bundle: Path) -> str:
    with pytest.raises(BundleError) as caught:
        Bundle.open(bundle)
    message = str(caught.value)
    assert "\n" not in message
    if native.LIBRARY.exists():
        check_the_cpp_library_says_the_same(bundle, message)
    return message


def check_the_cpp_library_says_the_same(bundle: Path, message: str) -> None:
    with pytest.raises(BundleError) as caught:
        native.open_bundle(bundle)
    native_message = str(caught.value)
    if "is not JSON (" in native_message:  # each quotes its own parser
        assert re.search(r"bundle\.json is not JSON \(.*\); export the bundle again$", message)
    else:
        assert native_message == message


def test_an_honest_bundle_opens(bundle_path: Path) -> None:
    bundle = Bundle.open(bundle_path)
    assert bundle.hash == (bundle_path / "bundle.json.sha256").read_text().split()[0]
    assert bundle.manifest.image_size == 64
    assert bundle.manifest.pixel_std == (58.395, 57.12, 57.375)
    assert bundle.graph_path("gle") == bundle_path / "gle.onnx"


@pytest.mark.parametrize("removed", [False, True])
def test_a_file_that_was_replaced_after_its_hash_is_refused(own_bundle: Path, removed: bool) -> None:
    """A bundle may be deployed again while it is open for hours."""
    bundle = Bundle.open(own_bundle)
    content = (own_bundle / "mask_decoder.onnx").read_bytes()
    (own_bundle / "mask_decoder.onnx").unlink()
    if not removed:
        (own_bundle / "mask_decoder.onnx").write_bytes(content)
        os.utime(own_bundle / "mask_decoder.onnx", (1, 1))
    with pytest.raises(BundleError, match=r"mask_decoder\.onnx was replaced after its hash was checked"):
        Predictor.from_bundle(bundle)


@pytest.mark.parametrize(
    "name",
    ["bundle.json", "bundle.json.sha256", "image_encoder.onnx", "gle.onnx", "mask_decoder.onnx"],
)
@pytest.mark.parametrize("position", [0, -1])
def test_a_flipped_byte_in_any_file_is_refused(own_bundle: Path, name: str, position: int) -> None:
    content = bytearray((own_bundle / name).read_bytes())
    content[position] ^= 1
    (own_bundle / name).write_bytes(content)
    assert name in refusal(own_bundle)


def test_a_file_of_another_size_is_refused_with_both_sizes(own_bundle: Path) -> None:
    size = (own_bundle / "gle.onnx").stat().st_size
    with (own_bundle / "gle.onnx").open("ab") as file:
        file.write(b"!")
    assert f"gle.onnx: expected {size} bytes, found {size + 1} bytes" in refusal(own_bundle)


@pytest.mark.parametrize("name", ["bundle.json", "bundle.json.sha256", "mask_decoder.onnx"])
def test_a_missing_file_is_named(own_bundle: Path, name: str) -> None:
    (own_bundle / name).unlink()
    assert name in refusal(own_bundle)


def test_a_folder_in_place_of_the_manifest_is_refused(own_bundle: Path) -> None:
    (own_bundle / "bundle.json").unlink()
    (own_bundle / "bundle.json").mkdir()
    assert "cannot read bundle.json" in refusal(own_bundle)


def test_a_path_that_is_no_folder_says_what_it_is(tmp_path: Path, photo: Path) -> None:
    assert "found nothing" in refusal(tmp_path / "absent")
    assert "found a file" in refusal(photo)
    for suffix in (".pt", ".pth", ".ckpt", ".safetensors"):
        assert "glesam-convert makes a checkpoint" in refusal(tmp_path / f"sam_b{suffix}")
    checkpoint = tmp_path / "my checkpoint"
    checkpoint.mkdir()
    (checkpoint / "model.safetensors").write_bytes(b"")
    assert "found a checkpoint; glesam-export makes a bundle of it" in refusal(checkpoint)


def test_a_future_format_version_says_to_upgrade(own_bundle: Path) -> None:
    rewrite(own_bundle, lambda m: m.update(format_version=3, gamma="of another kind"))
    assert "format_version 3, this glesam_runtime reads 1 and 2; upgrade" in refusal(own_bundle)


@pytest.mark.parametrize(
    "path",
    ["../evil.onnx", "/etc/passwd", "a/../../evil", "..\\evil", "C:x", "", "a//b", "./x", "a/", "it's\t\0"],
)
def test_a_path_that_leaves_the_bundle_is_refused(own_bundle: Path, path: str) -> None:
    rewrite(own_bundle, lambda m: m["files"].update({path: {"size": 1, "sha256": "0" * 64}}))
    assert f"{path!r}" in refusal(own_bundle)


@pytest.mark.parametrize("link", ["gle.onnx", "golden"])
def test_a_link_that_leaves_the_bundle_is_refused(own_bundle: Path, tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    target = Path(shutil.move(own_bundle / "gle.onnx", outside / "gle.onnx"))
    listed = "gle.onnx" if link == "gle.onnx" else "golden/gle.onnx"
    (own_bundle / link).symlink_to(target if link == "gle.onnx" else outside)
    rewrite(own_bundle, lambda m: m["files"].update({listed: record(target)}))
    (own_bundle / "gle.onnx").exists() or shutil.copy(target, own_bundle / "gle.onnx")
    assert "stays in the folder" in refusal(own_bundle)


def test_links_in_a_loop_are_refused(own_bundle: Path) -> None:
    (own_bundle / "gle.onnx").unlink()
    (own_bundle / "gle.onnx").symlink_to("gle.onnx")
    assert "passes no link" in refusal(own_bundle)


def test_every_field_of_the_manifest_is_needed(own_bundle: Path) -> None:
    content = json.loads((own_bundle / "bundle.json").read_text())
    for field in content:
        write_manifest(own_bundle, {key: content[key] for key in content if key != field})
        assert f"{field} is missing" in refusal(own_bundle)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda m: m.update(image_size="64"), "image_size must be an integer"),
        (lambda m: m.update(image_size=True), "image_size must be an integer"),
        (lambda m: m.update(image_size=100), "image_size must be a multiple of 16"),
        (lambda m: m.update(gamma=float("nan")), "bundle.json is not JSON (a number that"),
        (lambda m: m.update(gamma=10**400), "bundle.json is not JSON (a number that"),
        (lambda m: m.update(mask_threshold=None), "mask_threshold must be a finite number"),
        (lambda m: m.update(pixel_mean=[1, 2]), "pixel_mean must be three numbers"),
        (lambda m: m.update(pixel_std=[1, 0, 1]), "pixel_std must be a positive number"),
        (lambda m: m.update(timestep=-1), "timestep must be an integer of at least 0"),
        (lambda m: m["model"].update(multimask=1), "model.multimask must be true or false"),
        (lambda m: m.update(files=[]), "files must be an object"),
        (lambda m: m["files"]["gle.onnx"].update(sha256="beef"), "files.gle.onnx.sha256 must be"),
        (lambda m: m["graphs"].pop("gle"), "graphs must be exactly"),
        (lambda m: m["graphs"]["gle"].update(file="x"), "graphs.gle.file must be a path listed"),
        (lambda m: m["graphs"]["gle"].update(inputs=[3]), "graphs.gle.inputs[0] must be an object"),
        (lambda m: m["graphs"]["gle"]["inputs"][0].update(shape=[1.5]), "shape must be integers"),
        (
            lambda m: m.update(made_from=[1.0, 1e16, 1e-5, 12345678901234567.0, -0.0]),
            "made_from must be an object",
        ),
        (lambda m: m.update(parity=['é\n"\\', True, None, {"a": [], "b": {}}]), "parity must be an object"),
        (lambda m: m.update(precision={"long": "x" * 200}), "precision must be a string"),
        (lambda m: m.update(image_size=-16), "image_size must be an integer of at least 16"),
        (lambda m: m.update(timestep=1e3), "timestep must be an integer"),
        (lambda m: m.update(gamma=1e30), "gamma must be a positive number"),
        (lambda m: m["graphs"].update(extra={}), "graphs must be exactly"),
        (lambda m: m["files"].update({"it's": {"size": 1, "sha256": "0" * 64}}), "it's: expected a file"),
        (lambda m: m["graphs"]["gle"].update(int8=None), "graphs.gle.int8 must be an object"),
        (lambda m: m["graphs"]["gle"].update(int8={"left": []}), "graphs.gle.int8.layers is missing"),
        (
            lambda m: m["graphs"]["gle"].update(int8=NO_LAYERS | {"layers": "x"}),
            "graphs.gle.int8.layers must be a list",
        ),
        (
            lambda m: m["graphs"]["gle"].update(int8=NO_LAYERS | {"left": ["x", 1]}),
            "graphs.gle.int8.left must be a list of strings",
        ),
        (
            lambda m: m["graphs"]["gle"].update(int8=NO_LAYERS | {"target": 7}),
            "graphs.gle.int8.target must be a string",
        ),
    ],
)
def test_a_field_of_the_wrong_type_is_named(own_bundle: Path, change: Change, expected: str) -> None:
    rewrite(own_bundle, change)
    assert expected in refusal(own_bundle)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensor: tensor.update(name="points"),
        lambda tensor: tensor.update(dtype="float16"),
        lambda tensor: tensor.update(shape=["num_prompts", 5, 2]),
    ],
)
def test_a_graph_that_is_not_the_contracts_is_refused(own_bundle: Path, change: Change) -> None:
    rewrite(own_bundle, lambda m: change(m["graphs"]["mask_decoder"]["inputs"][1]))
    message = refusal(own_bundle)
    assert "graphs.mask_decoder.inputs must be" in message
    assert "point_coords float32 [num_prompts,num_points,2]" in message


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_a_manifest_that_is_not_an_object_is_refused(own_bundle: Path, text: bytes) -> None:
    write_raw_manifest(own_bundle, text)
    assert "bundle.json" in refusal(own_bundle)


def write_raw_manifest(bundle: Path, text: bytes) -> None:
    (bundle / "bundle.json").write_bytes(text)
    digest = record(bundle / "bundle.json")["sha256"]
    (bundle / "bundle.json.sha256").write_text(f"{digest}  bundle.json\n")


def test_line_breaks_in_names_do_not_break_the_line(own_bundle: Path) -> None:
    def rename_file(content: dict[str, Any]) -> None:
        content["files"]["two\nlines"] = content["files"].pop("gle.onnx") | {"sha256": "?"}

    def rename_tensor(content: dict[str, Any]) -> None:
        content["graphs"]["gle"]["inputs"][0]["name"] = "image\r\nembeddings"

    rewrite(own_bundle, rename_tensor)
    assert "found image\\r\\nembeddings float32" in refusal(own_bundle)
    rewrite(own_bundle, rename_file)
    assert "bundle.json: files.two\\nlines.sha256 must be" in refusal(own_bundle)


@pytest.mark.parametrize(
    "text", ["\x1b[2J", "a\rb", "\x9b31m", "\u202eonnx", "zero\u200bwidth", "\x00", "\x7f"]
)
@pytest.mark.parametrize(
    "change",
    [
        lambda m, text: m["model"].update(name=text),
        lambda m, text: m["model"].update(sam_type=text),
        lambda m, text: m.update(precision=text),
        lambda m, text: m["graphs"]["gle"].update(precision=text),
        lambda m, text: m["graphs"]["gle"].update(fp32_islands={"Erf": text}),
        lambda m, text: m["graphs"]["gle"].update(fp32_islands={text: "why"}),
        lambda m, text: m["graphs"]["gle"].update(int8=NO_LAYERS | {"target": text}),
    ],
)
def test_texts_that_a_terminal_acts_on_are_refused(
    own_bundle: Path, change: Callable[[dict[str, Any], str], object], text: str
) -> None:
    rewrite(own_bundle, lambda m: change(m, text))
    assert "must be text without control characters" in refusal(own_bundle)


@pytest.mark.parametrize("target", [{}, {"target": "orin"}, {"target": "one of tomorrow"}])
def test_both_readers_take_a_graph_in_int8(own_bundle: Path, target: dict[str, str]) -> None:
    layers = {"layers": ["middle/Conv"], "left": ["conv_in/Conv", "conv_out/Conv"]}
    rewrite(own_bundle, lambda m: m["graphs"]["gle"].update(int8=layers | target))
    int8 = Bundle.open(own_bundle).manifest.graphs["gle"].int8
    assert int8 is not None
    assert (list(int8.layers), list(int8.left)) == (layers["layers"], layers["left"])
    assert int8.target == target.get("target", "any")
    if native.LIBRARY.exists():
        native.open_bundle(own_bundle)


def test_names_in_any_script_are_taken(own_bundle: Path) -> None:
    rewrite(own_bundle, lambda m: m["model"].update(name="modèle 模型 😀"))
    assert Bundle.open(own_bundle).manifest.name == "modèle 模型 😀"


def test_files_in_subfolders_are_verified_too(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "golden-bundle")
    (bundle / "golden").mkdir()
    (bundle / "golden/0.npz").write_bytes(b"numbers")
    files = manifest(bundle)["files"] | {"golden/0.npz": record(bundle / "golden/0.npz")}
    write_manifest(bundle, manifest(bundle) | {"files": files})
    Bundle.open(bundle)
    (bundle / "golden/0.npz").write_bytes(b"Numbers")
    assert "golden/0.npz: expected sha256" in refusal(bundle)

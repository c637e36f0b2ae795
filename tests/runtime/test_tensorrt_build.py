"""Engines that TensorRT for RTX really builds, without a GPU; a failed build leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from tiny_bundle import ENCODER, GRAPHS, manifest, model_of, write_bundle, write_manifest
from typer.testing import CliRunner

from glesam_runtime import Bundle
from glesam_runtime.cli.build import app
from glesam_runtime.engines.tensorrt import build as build_module
from glesam_runtime.engines.tensorrt.build import BuildOptions, Profile, build_engine, engine_key, engine_plan
from glesam_runtime.engines.tensorrt.cache import EngineRecord, Gpu, bundle_folder, cached_engines, part_path
from glesam_runtime.engines.tensorrt.child import Request, configure, make_log
from glesam_runtime.engines.tensorrt.layers import Layer, check_layers, heavy_layers
from glesam_runtime.engines.tensorrt.library import Library, load_library
from glesam_runtime.errors import BackendError

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx")

SM86 = Gpu("any", 86)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GLESAM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def library() -> Library:
    return load_library("tensorrt-rtx")


def made(
    path: Path, library: Library, graph: str, notes: list[str] | None = None
) -> tuple[EngineRecord, bool]:
    bundle = Bundle.open(path)
    key = engine_key(library, bundle, graph, SM86)
    return build_engine(key, bundle, BuildOptions(), [].append if notes is None else notes.append)


def files(bundle: Path) -> list[str]:
    """Returns the files in the cache, without locks."""
    folder = bundle_folder(Bundle.open(bundle).hash)
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_the_shipped_bundle_is_half_precision_on_three_generations() -> None:
    done = CliRunner().invoke(app, ["--target", "sm86,SM89, sm120"])  # a second per engine, alone
    assert done.exit_code == 0, done.output
    lines = [line for line in done.stdout.splitlines() if "heavy layers: " in line]
    assert len(lines) == 9
    kinds = [line.split("heavy layers: ")[1].split() for line in lines]
    assert all(kind == "fp16" and int(count) > 30 for count, kind in kinds)
    assert "next, on the GPU: glesam-verify" in done.stdout


def test_fp32_stays_fp32(library: Library) -> None:
    """TensorRT's own default is TF32, whose mantissa has 10 bits."""
    trt = library.module
    request = Request(library.backend, "", "", "", 86, None, None, {})
    builder = trt.Builder(make_log(trt))
    assert builder.create_builder_config().get_flag(trt.BuilderFlag.TF32)
    assert not configure(trt, builder, request).get_flag(trt.BuilderFlag.TF32)


STEPS = """
<ir_version: 8, opset_import: ["" : 18]>
gle (float[1,256,4,4] image_embeddings) => (float[1,256,4,4] image_embeddings_enhanced)
<float one = {1.0}, TYPE zero = {0}> {
  steps = QuantizeLinear (image_embeddings, one ZERO)
  image_embeddings_enhanced = DequantizeLinear (steps, one ZERO)
}
"""


@pytest.mark.parametrize("target", [None, "orin", "openvino", "one of tomorrow"])
@pytest.mark.parametrize("steps", ["int8", "uint8", "uint8 by default"])
def test_unsigned_steps_are_refused_whatever_they_were_made_for(
    own_bundle: Path, library: Library, steps: str, target: str | None
) -> None:
    zero = "" if steps.endswith("default") else ", zero"
    text = STEPS.replace("TYPE", steps.split()[0]).replace(" ZERO", zero)
    onnx.save(model_of(text), own_bundle / "gle.onnx")
    content = manifest(own_bundle)
    named = {} if target is None else {"target": target}
    content["graphs"]["gle"]["int8"] = {"layers": [], "left": [], **named}
    write_manifest(own_bundle, content)
    if steps == "int8":
        assert made(own_bundle, library, "gle")[1]
        return
    with pytest.raises(BackendError, match=r"unsigned steps \(uint8\).*run glesam-quantize"):
        made(own_bundle, library, "gle")
    assert files(own_bundle) == []


def test_fp32_and_dynamic_sizes(bundle_path: Path, library: Library) -> None:
    bundle = Bundle.open(bundle_path)
    for graph in GRAPHS:
        record, is_new = made(bundle_path, library, graph)
        assert is_new
        assert set(record.layers) <= {"fp32"}
        assert engine_plan(library, bundle, graph, Gpu("NVIDIA RTX A2000", 86)) == record.path.read_bytes()
    assert made(bundle_path, library, "image_encoder")[0].layers == {"fp32": 1}
    assert record.profile == {"num_prompts": [1, 1, 64], "num_points": [1, 2, 16]}
    assert cached_engines(bundle.hash)[0].profile == {}


def test_a_sound_engine_is_kept_and_other_sizes_are_built(bundle_path: Path) -> None:
    command = [str(bundle_path), "--target", "sm86"]
    first = CliRunner().invoke(app, command)
    assert first.stdout.count("MiB of memory") == 3
    assert CliRunner().invoke(app, command).stdout.count("cached and sound") == 3
    wider = CliRunner().invoke(app, [*command, "--max-prompts", "128"])
    assert (wider.stdout.count("cached and sound"), wider.stdout.count("MiB of memory")) == (2, 1)
    record = next(x for x in cached_engines(Bundle.open(bundle_path).hash) if x.key.graph == "gle")
    record.path.write_bytes(b"damaged")
    mended = CliRunner().invoke(app, [*command, "--max-prompts", "128"])
    assert (mended.stdout.count("cached and sound"), mended.stdout.count("MiB of memory")) == (2, 1)


def test_no_engine_names_the_command(bundle_path: Path, library: Library) -> None:
    with pytest.raises(
        BackendError, match=r"found none of this graph; run glesam-build .*tensorrt-rtx --force"
    ):
        engine_plan(library, Bundle.open(bundle_path), "gle", Gpu("NVIDIA RTX A2000", 86))


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_silently_fp32_engine_is_refused(tmp_path: Path, library: Library, precision: str) -> None:
    root = write_bundle(tmp_path / "liar")
    document = manifest(root)
    document["graphs"]["image_encoder"]["precision"] = precision
    write_manifest(root, document)
    with pytest.raises(
        BackendError, match=f"expected an engine in {precision} .* is fp32; nothing was cached"
    ):
        made(root, library, "image_encoder")
    assert files(root) == []


def test_an_int8_layer_in_another_precision_is_refused(tmp_path: Path, library: Library) -> None:
    root = write_bundle(tmp_path / "liar")
    document = manifest(root)
    document["graphs"]["image_encoder"] |= {
        "precision": "int8+fp32",
        "int8": {"layers": ["absent_one"], "left": []},
    }
    write_manifest(root, document)
    with pytest.raises(BackendError, match="absent_one is absent; nothing was cached"):
        made(root, library, "image_encoder")


def test_the_parsers_message_is_passed_on(tmp_path: Path, library: Library) -> None:
    root = write_bundle(tmp_path / "odd")
    model = model_of(ENCODER)
    place = next(i for i, node in enumerate(model.graph.node) if node.op_type == "AveragePool")
    pool = model.graph.node[place]
    scales = numpy_helper.from_array(np.float32([1, 1, 1 / 16, 1 / 16]), "scales")
    model.graph.initializer.append(scales)
    resize = helper.make_node(
        "Resize", [pool.input[0], "", "scales"], pool.output, mode="linear", antialias=1
    )
    model.graph.node[place].CopyFrom(resize)  # TensorRT has no antialiasing
    onnx.save(model, root / "image_encoder.onnx")
    write_manifest(root, manifest(root))
    with pytest.raises(BackendError, match=r"does not build this graph: .*Resize") as caught:
        made(root, library, "image_encoder")
    assert "\n" not in str(caught.value)
    assert files(root) == []


def dying(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "import os, signal; print('last words', flush=True); os.kill(os.getpid(), signal.SIGSEGV)",
            "SIGSEGV",
        ),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL (out of memory, most likely"),
        ("raise ValueError('last words')", "ended with status 1 and no engine; ValueError: last words"),
        ("print('{}')", "ended with status 0 and no engine"),
    ],
)
def test_the_end_of_the_builder_is_one_line(
    bundle_path: Path, library: Library, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    start = subprocess.Popen
    monkeypatch.setattr(
        build_module.subprocess, "Popen", lambda command, **options: start(dying(code), **options)
    )
    with pytest.raises(BackendError) as caught:
        made(bundle_path, library, "gle")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files(bundle_path) == []


def test_a_killed_builder_leaves_nothing(bundle_path: Path, library: Library) -> None:
    """The real builder is killed while it works, as the kernel does when memory runs out."""
    bundle = Bundle.open()
    key = engine_key(library, bundle, "mask_decoder", SM86)

    def kill() -> None:
        while not (children := find_children()):
            time.sleep(0.01)
        time.sleep(0.3)
        os.kill(children[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(BackendError, match="SIGKILL"):
        build_engine(key, bundle, BuildOptions(), print)
    killer.join()
    assert not part_path(key).exists()
    assert cached_engines(bundle.hash) == []


def find_children() -> list[int]:
    """Returns the builder's processes that this process started."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in children if b"tensorrt.child" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_two_processes_build_once(bundle_path: Path) -> None:
    command = [
        sys.executable, "-c", "from glesam_runtime.cli.build import main; main()",
        str(bundle_path), "--target", "sm86",
    ]  # fmt: skip
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    message = "".join(out for out, _ in outputs)
    assert (message.count("MiB of memory"), message.count("cached and sound")) == (3, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "sm87"], "which builds for sm75, sm80, sm86, sm89, sm120, sm121; give one of them"),
        (["--target", ","], "unknown to tensorrt-rtx"),
        (["--backend", "openvino"], "builds no engines; choose tensorrt or tensorrt-rtx"),
        (["--target", "sm86", "--timing-cache", "x"], "leave --timing-cache out"),
        ([], "give --target with the GPU's compute capability: sm75"),
    ],
)
def test_bad_options_are_one_line(
    bundle_path: Path, options: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glesam_runtime.engines.tensorrt.targets.this_gpu", lambda: None)
    done = CliRunner().invoke(app, [str(bundle_path), *options])
    assert done.exit_code == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1 or "bundle" in done.stderr


FULL = (
    "Layers:\n"
    "Name: stem/Conv + stem/Relu, LayerType: CaskConvolution, Inputs: [ { Name: x, Location: Device, "
    "Dimensions: [1,3,64,64], Format/Datatype: Half }], Outputs: [ { Name: y, Location: Device, Dimensions: "
    "[1,8,64,64], Format/Datatype: Half }], ParameterType: Convolution, "
    "Metadata: [ONNX Layer: stem/Conv]\x1f[ONNX Layer: act]\n"
    "Name: __myl_FcAdd_myl0_3, LayerType: fusion, Inputs: [ { Name: y, Dimensions: [1,2], "
    "Format/Datatype: Float }], Outputs: [], Metadata: [ONNX Layer: coords/MatMul]\n"
    "Name: __myl_CastMulAdd_myl0_4, LayerType: kgen, Inputs: [ { Name: y, Dimensions: [9], Datatype: Float }]"
)
"""A table as full TensorRT 10 prints it."""


def test_the_table_of_full_tensorrt_is_read(bundle_path: Path) -> None:
    convolution, product = heavy_layers(FULL)
    assert (convolution.computes_in, product.computes_in, product.inner) == ("fp16", "fp32", 2)
    assert {"stem/Conv", "stem/Relu", "act"} <= set(convolution.nodes)
    graph = replace(Bundle.open(bundle_path).manifest.graphs["gle"], precision="fp16")
    with pytest.raises(BackendError, match="__myl_FcAdd is fp32"):
        check_layers(graph, [convolution, product])
    island = replace(graph, fp32_islands={"coordinates": "why"})
    assert check_layers(island, [convolution, product]) == {"fp16": 1, "fp32": 1}
    with pytest.raises(BackendError, match="told no layers"):
        heavy_layers("Layers:\n")


def test_products_of_a_fourier_transform_are_fp32_where_it_is_an_island(bundle_path: Path) -> None:
    name, other = "early.fourier.spectrum.even/MatMul", "early.conv/Conv"
    waves, convolution = Layer(name, (name,), "fp32", 64), Layer(other, (other,), "fp32", 64)
    graph = replace(Bundle.open(bundle_path).manifest.graphs["gle"], precision="fp16")
    with pytest.raises(BackendError, match="even/MatMul is fp32"):
        check_layers(graph, [waves])
    island = replace(graph, fp32_islands={"fourier": "why"})
    assert check_layers(island, [waves]) == {"fp32": 1}
    with pytest.raises(BackendError, match=r"found early\.conv/Conv is fp32"):
        check_layers(island, [waves, convolution])


def test_a_profile_holds_every_dynamic_input(bundle_path: Path) -> None:
    graphs = Bundle.open(bundle_path).manifest.graphs
    shapes = Profile().shapes(graphs["mask_decoder"].spec)
    assert shapes["point_coords"] == [[1, 1, 2], [1, 2, 2], [64, 16, 2]]
    assert shapes["has_mask_input"] == [[1], [1], [64]]
    assert "image_embeddings" not in shapes
    assert Profile().shapes(graphs["gle"].spec) == {}

"""glesam-verify as a command: golden vectors that hold, that do not, and that are malformed."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import manifest, record, write_bundle, write_manifest
from typer.testing import CliRunner, Result

from glesam_runtime import Bundle
from glesam_runtime.bundle.spec import Family
from glesam_runtime.cli import verify as verify_command
from glesam_runtime.cli.verify import app
from glesam_runtime.engines import open_engines
from glesam_runtime.engines.base import Array, Engine
from glesam_runtime.engines.function import FunctionEngine
from glesam_runtime.preprocess import Pixels, model_input
from glesam_runtime.tools import golden

Vectors = dict[str, Array]
BOXES = [[[10, 12], [50, 40]], [[4, 4], [30, 60]]]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def honest(bundle: Path, image: Pixels) -> Vectors:
    """Returns golden vectors from the bundle's own graphs, in place of PyTorch."""
    opened = Bundle.open(bundle)
    run_graph = open_engines("onnxruntime", opened)
    tensor, _ = model_input(image, opened.manifest)
    encoded = run_graph["image_encoder"]({"image": tensor})
    embeddings = {"image_embeddings": encoded["image_embeddings"]}
    enhanced = run_graph["gle"](embeddings)["image_embeddings_enhanced"]
    prompts: Vectors = {
        "point_coords": np.array(BOXES, np.float32),
        "point_labels": np.array([[2, 3]] * 2, np.int32),
    }
    no_mask = {"mask_input": np.zeros((2, 1, 16, 16), np.float32), "has_mask_input": np.zeros(2, np.float32)}
    features = {**encoded, "image_embeddings": enhanced}
    masks = run_graph["mask_decoder"]({**features, **prompts, **no_mask})
    return {"image": image, **prompts, **encoded, "image_embeddings_enhanced": enhanced, **masks}


@pytest.fixture
def vectors(bundle_path: Path, image: Pixels) -> Vectors:
    return honest(bundle_path, image)


@pytest.fixture
def with_golden(own_bundle: Path) -> Callable[[Vectors], Path]:
    """Writes the bundle with the golden vectors `vectors`, and all hashes."""

    return partial(add_golden, own_bundle)


def add_golden(bundle: Path, vectors: Vectors, family: Family = "sam") -> Path:
    path = bundle / "golden/0.npz"
    path.parent.mkdir()
    np.savez(path, **vectors)  # type: ignore[arg-type]
    content = manifest(bundle, family)
    write_manifest(bundle, content | {"files": content["files"] | {"golden/0.npz": record(path)}})
    return bundle


def test_golden_vectors_that_hold(with_golden: Callable[[Vectors], Path], vectors: Vectors) -> None:
    result = run(with_golden(vectors))
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["image_encoder", "gle", "mask_decoder"]
    assert lines[-2].split() == ["golden/0", "1.00000", "1.00000", "8"]
    assert lines[-1] == "golden parity holds here: mean mask IoU at least 0.999, as asked"


@pytest.mark.parametrize("family", ["sam2", "robustsam"])
def test_golden_vectors_of_another_family_hold(tmp_path: Path, image: Pixels, family: Family) -> None:
    bundle = write_bundle(tmp_path / family, family)
    result = run(add_golden(bundle, honest(bundle, image), family))
    assert result.exit_code == 0, result.output


def test_a_golden_file_without_a_high_resolution_feature_is_refused(tmp_path: Path, image: Pixels) -> None:
    bundle = write_bundle(tmp_path / "sam2", "sam2")
    vectors = honest(bundle, image)
    del vectors["high_res_s1"]
    result = run(add_golden(bundle, vectors, "sam2"))
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("error: golden/0.npz: high_res_s1 is missing")


def test_the_shipped_bundle_verifies_itself() -> None:
    result = run()
    assert result.exit_code == 0, result.output
    assert "at least 0.99," in result.stdout


@pytest.mark.parametrize("graph", ["image_encoder", "gle", "mask_decoder"])
def test_each_graphs_error_is_its_own(
    with_golden: Callable[[Vectors], Path], vectors: Vectors, graph: str
) -> None:
    """PyTorch's output of one graph is shifted; the next graph gets the shifted input."""
    output = {
        "image_encoder": "image_embeddings",
        "gle": "image_embeddings_enhanced",
        "mask_decoder": "low_res_masks",
    }[graph]  # fmt: skip
    moved = vectors | {output: vectors[output] * np.float32(1.01)}
    result = run(with_golden(moved), "--min-iou", 0.5)
    relative = {line.split()[0]: float(line.split()[2]) for line in result.stdout.splitlines()[1:4]}
    assert relative[graph] == pytest.approx(0.01 / 1.01, rel=1e-3)
    follower = {"image_encoder": "gle", "gle": "mask_decoder"}.get(graph)
    assert all(error < 1e-6 for name, error in relative.items() if name not in (graph, follower))
    assert follower is None or relative[follower] > 1e-4


def test_other_masks_are_exit_status_1_after_the_table(
    with_golden: Callable[[Vectors], Path], vectors: Vectors
) -> None:
    bundle = with_golden(vectors | {"low_res_masks": vectors["low_res_masks"] + np.float32(6)})
    result = run(bundle)
    assert result.exit_code == 1
    assert "mask_decoder" in result.stdout
    assert result.stderr.splitlines()[-1].startswith("error: masks of golden/0: mean IoU against PyTorch 0.")
    assert run(bundle, "--min-iou", 0.1).exit_code == 0


def test_a_graph_that_answers_nan_is_exit_status_1_whatever_the_limit(
    with_golden: Callable[[Vectors], Path], vectors: Vectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(backend: str, bundle: Bundle, threads: int) -> dict[str, Engine]:
        return {name: answering_nan(engine) for name, engine in open_engines(backend, bundle).items()}

    def answering_nan(engine: Engine) -> Engine:
        nan = np.float32(np.nan)
        return FunctionEngine(engine.spec, lambda feeds: {k: v * nan for k, v in engine(feeds).items()})

    monkeypatch.setattr(verify_command, "open_engines", broken)
    result = run(with_golden(vectors), "--min-iou", 0)
    assert result.exit_code == 1
    assert "image_encoder: the exported graph gives NaN" in result.stderr
    assert "try another --backend" in result.stderr


def test_dead_masks_do_not_count(with_golden: Callable[[Vectors], Path], vectors: Vectors) -> None:
    masks = vectors["low_res_masks"].copy()
    masks[:, 1:] = 1
    bundle = with_golden(vectors | {"low_res_masks": masks})
    assert run(bundle).exit_code == 1
    content = manifest(bundle)
    content["files"]["golden/0.npz"] = record(bundle / "golden/0.npz")
    content["model"]["multimask"] = False
    write_manifest(bundle, content)
    assert run(bundle).exit_code == 0


def refusal(result: Result) -> str:
    assert result.exit_code == 2, result.output
    line = result.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    return line


def test_a_bundle_without_golden_vectors_is_refused(bundle_path: Path) -> None:
    assert "no golden vectors" in refusal(run(bundle_path))


@pytest.mark.parametrize("name", ["image", "point_labels", "iou_predictions"])
def test_an_array_that_is_missing_or_of_another_type_is_named(
    with_golden: Callable[[Vectors], Path], vectors: Vectors, name: str
) -> None:
    message = refusal(run(with_golden(vectors | {name: vectors[name].astype(np.float64)})))
    assert f"golden/0.npz: {name} is missing or not what" in message


def test_a_missing_array_is_named(with_golden: Callable[[Vectors], Path], vectors: Vectors) -> None:
    del vectors["image_embeddings"]
    assert "golden/0.npz: image_embeddings is missing" in refusal(run(with_golden(vectors)))


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("image", np.zeros((0, 0, 3), np.uint8)),
        ("image", np.zeros((4, 4, 1), np.uint8)),
        ("point_labels", np.array(2, np.int32)),
        ("point_labels", np.zeros((0, 2), np.int32)),
        ("point_coords", np.zeros((2, 3, 2), np.float32)),
        ("image_embeddings", np.full((1, 256, 4, 4), np.nan, np.float32)),
    ],
)
def test_an_array_that_makes_no_sense_is_named(
    with_golden: Callable[[Vectors], Path], vectors: Vectors, name: str, array: Array
) -> None:
    assert f"golden/0.npz: {name} is missing or not what" in refusal(
        run(with_golden(vectors | {name: array}))
    )


@pytest.mark.parametrize("content", ["nothing", "one array", "a damaged stream", "no archive"])
def test_a_file_that_is_no_archive_of_arrays_is_one_line(
    with_golden: Callable[[Vectors], Path], vectors: Vectors, content: str
) -> None:
    bundle = with_golden(vectors)
    path = bundle / "golden/0.npz"
    if content == "one array":
        with path.open("wb") as file:
            np.save(file, vectors["image"])
    elif content == "a damaged stream":
        np.savez_compressed(path, **vectors)  # type: ignore[arg-type]
        damaged = bytearray(path.read_bytes())
        damaged[200:400] = bytes(200)
        path.write_bytes(damaged)
    else:
        path.write_bytes(b"" if content == "nothing" else b"PK\x03\x04 not really")
    written = manifest(bundle)
    write_manifest(bundle, written | {"files": written["files"] | {"golden/0.npz": record(path)}})
    assert "golden/0.npz: cannot be read" in refusal(run(bundle))


def rewritten(bundle: Path, write: Callable[[zipfile.ZipFile], None]) -> Path:
    """Replaces the golden file by an archive that `write` fills, and hashes it anew."""
    path = bundle / "golden/0.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        write(archive)
    content = manifest(bundle)
    write_manifest(bundle, content | {"files": content["files"] | {"golden/0.npz": record(path)}})
    return bundle


def test_an_archive_that_unpacks_to_gigabytes_is_refused(
    with_golden: Callable[[Vectors], Path], vectors: Vectors
) -> None:
    def bomb(archive: zipfile.ZipFile) -> None:
        with archive.open("image.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "|u1", "fortran_order": False, "shape": (2**18, 2**10, 3)}
            )
            for _ in range(3 * 2**8):
                file.write(bytes(2**20))

    bundle = rewritten(with_golden(vectors), bomb)
    assert (bundle / "golden/0.npz").stat().st_size < 2**20
    assert "its arrays take more than 256 MiB" in refusal(run(bundle))


@pytest.mark.parametrize("shape", [(10**6, 10**6, 3), (2**62, 2**62, 3), (-1, -1, 3), (5, 5, 3)])
def test_an_array_that_is_larger_than_its_file_is_refused(
    with_golden: Callable[[Vectors], Path], vectors: Vectors, shape: tuple[int, ...]
) -> None:
    def lie(archive: zipfile.ZipFile) -> None:
        with archive.open("image.npy", "w") as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "|u1", "fortran_order": False, "shape": shape}
            )

    expected = "golden/0.npz: cannot be read"
    assert expected in refusal(run(rewritten(with_golden(vectors), lie)))


def test_a_golden_file_that_is_too_large_is_not_read(
    with_golden: Callable[[Vectors], Path], vectors: Vectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(golden, "MOST_BYTES", 1000)
    assert "it is larger than" in refusal(run(with_golden(vectors)))


def test_arrays_of_another_shape_are_refused(
    with_golden: Callable[[Vectors], Path], vectors: Vectors
) -> None:
    assert "shape [2, 3]" in refusal(
        run(with_golden(vectors | {"iou_predictions": vectors["iou_predictions"][:, :3]}))
    )


def test_a_pickle_is_not_opened(with_golden: Callable[[Vectors], Path], vectors: Vectors) -> None:
    objects = np.array([print], dtype=object)
    assert "pickle" in refusal(run(with_golden(vectors | {"image": objects})))


def test_an_unknown_backend_is_refused(bundle_path: Path) -> None:
    assert "unknown" in refusal(run(bundle_path, "--backend", "abacus"))

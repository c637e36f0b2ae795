"""Any ONNX restorer runs on pictures of any size; other graphs are refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from restorer_graphs import ANY, blurred, brighter, enlarged, identity, inverted, write_graph
from scipy.ndimage import uniform_filter

from glesam.evaluation.sources import ModelMethod, open_methods
from glesam.restorers.onnx_file import read_restorer_file
from glesam.restorers.onnx_restorer import OnnxRestorer
from glesam.restorers.opening import open_restorer
from glesam.restorers.restorer import Picture, ramp, tile_starts
from glesam_runtime.errors import InputError


@pytest.fixture
def picture() -> Picture:
    """75 x 130, smooth, of three different channels."""
    y, x = np.mgrid[:75, :130]
    waves = [np.sin(x / 17 + y / 23), np.cos(x / 13), np.sin(y / 11 + 1)]
    return np.round(127.5 + 120 * np.stack(waves, axis=-1)).astype(np.uint8)


@pytest.mark.parametrize("size", [ANY, (1, 3, 32, 48), (1, 3, 200, 40), (1, 3, 300, 300), ("n", 3, 64, 64)])
def test_a_network_that_changes_nothing_changes_no_pixel(
    picture: Picture, tmp_path: Path, size: tuple
) -> None:
    assert np.array_equal(OnnxRestorer(identity(tmp_path / "r.onnx", size))(picture), picture)


def test_values_go_in_and_come_out_as_the_graph_wants_them(picture: Picture, tmp_path: Path) -> None:
    brightened = OnnxRestorer(brighter(tmp_path / "r.onnx", 20 / 255))(picture)
    assert np.array_equal(brightened, np.minimum(picture.astype(int) + 20, 255))
    assert np.array_equal(OnnxRestorer(inverted(tmp_path / "i.onnx"))(picture), 255 - picture)


@pytest.mark.parametrize("size", [ANY, (1, 3, 40, 48)])
@pytest.mark.parametrize("scale", [2, 4])
def test_an_enlarged_picture_comes_back_in_its_own_size(
    picture: Picture, tmp_path: Path, scale: int, size: tuple
) -> None:
    restored = OnnxRestorer(enlarged(tmp_path / "r.onnx", scale, size))(picture)
    assert restored.shape == picture.shape
    assert np.abs(restored.astype(int) - picture)[2:-2, 2:-2].max() <= 2


@pytest.mark.parametrize("external", [False, True])
def test_tiles_leave_no_seams(picture: Picture, tmp_path: Path, external: bool) -> None:
    """Each tile is blurred against a black surround, which is off by up to 85 at its edge."""
    whole = OnnxRestorer(blurred(tmp_path / "w.onnx", external=external))(picture).astype(float)
    expected = uniform_filter(picture.astype(float), (3, 3, 1))
    assert np.abs(whole - expected)[1:-1, 1:-1].max() < 0.51
    tiles = OnnxRestorer(blurred(tmp_path / "t.onnx", (1, 3, 48, 64)))(picture)
    inside = np.abs(tiles - expected)[1:-1, 1:-1]
    assert inside.max() < 25 and np.median(inside) < 0.51


@pytest.mark.parametrize(("length", "tile"), [(10, 16), (16, 16), (17, 16), (100, 16), (2047, 512), (70, 17)])
def test_tiles_cover_a_side_and_overlap(length: int, tile: int) -> None:
    starts = tile_starts(length, tile)
    assert starts[0] == 0 and (starts[-1] + tile == length or length <= tile)
    steps = np.diff(starts)
    assert (steps > 0).all() and (steps <= max(1, tile - tile // 8)).all()
    assert (ramp(tile) > 0).all() and ramp(tile).max() == 1


def subgraph() -> onnx.NodeProto:
    empty = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["z"])],
        "then",
        [],
        [helper.make_tensor_value_info("z", 1, None)],
    )
    return helper.make_node("If", ["condition"], ["y"], then_branch=empty, else_branch=empty)


def one_node(operator: str, **attributes: object) -> Callable[[Path], object]:
    node = helper.make_node(operator, ["x"], ["y"], **attributes)
    return lambda path: write_graph(path, [node])


ADD = [helper.make_node("Add", ["x", "x1"], ["y"])]
SAME = [helper.make_node("Identity", ["x"], ["y"])]
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "two inputs": (
        lambda path: write_graph(path, ADD, inputs=(ANY, ANY)),
        "it has 2 inputs (x float32 [1,3,x_2,x_3], x1 float32 [1,3,x1_2,x1_3]); expected one",
    ),
    "grey": (
        lambda path: identity(path, (1, 1, "h", "w")),
        "its input is x float32 [1,1,x_2,x_3]; expected an RGB",
    ),
    "channels last": (lambda path: identity(path, (1, "h", "w", 3)), "expected an RGB image [1,3,H,W]"),
    "no batch": (lambda path: identity(path, (3, "h", "w")), "expected an RGB image [1,3,H,W]"),
    "one side fixed": (
        lambda path: identity(path, (1, 3, 64, "w")),
        "expected both sides fixed, or both open",
    ),
    "huge": (lambda path: identity(path, (1, 3, 9999, 9999)), "expected sides of 16 to 4096 pixels"),
    "tiny": (lambda path: identity(path, (1, 3, 8, 64)), "expected sides of 16 to 4096 pixels"),
    "scale 3": (lambda path: enlarged(path, 3), "into [1,3,192,192]; expected an RGB image of the same size"),
    "smaller": (lambda path: enlarged(path, 0.5), "turned [1,3,64,64] into [1,3,32,32]"),
    "another range": (lambda path: brighter(path, 100), "lies from 100 to 100; expected an image in [0, 1]"),
    "not finite": (lambda path: brighter(path, np.nan), "lies from nan to nan"),
    "int64": (lambda path: write_graph(path, SAME, dtype=TensorProto.INT64), "expected float32 or uint8"),
    "control flow": (
        lambda path: write_graph(path, [subgraph()]),
        "a graph without control flow, found 'If'",
    ),
    "random": (one_node("RandomNormalLike"), "without random numbers, found 'RandomNormalLike'"),
    "foreign": (one_node("Magic", domain="com.example"), "found 'Magic' of domain 'com.example'"),
    "unknown": (one_node("Magic"), "ONNX Runtime cannot open it"),
    "no ONNX": (lambda path: path.write_bytes(b"\x89PNG"), "expected the fields of ModelProto"),
    "empty": (lambda path: path.write_bytes(b""), "expected an ONNX graph, found none"),
    "cut off": (lambda path: path.write_bytes(blurred(path).read_bytes()[:-40]), "expected a whole file"),
    "weights gone": (
        lambda path: blurred(path, external=True).with_name("r.onnx.data").unlink(),
        "weights in the file itself, or beside it in r.onnx.data, found 'r.onnx.data'",
    ),
    "weights short": (
        lambda path: blurred(path, external=True).with_name("r.onnx.data").write_bytes(b"\0"),
        "weights inside r.onnx.data, found 1 bytes there",
    ),
    "no weights": (
        lambda path: blurred(path, external=True).with_name("r.onnx.data").write_bytes(b""),
        "weights in the file itself, or beside it in r.onnx.data",
    ),
    "weights of another length": (
        lambda path: path.write_bytes(
            blurred(path, external=True).read_bytes().replace(b"\x03108", b"\x03109")
        ),
        "expected weights of 108 bytes, found a length of 109",
    ),
    "weights elsewhere": (
        lambda path: path.write_bytes(
            blurred(path, external=True).read_bytes().replace(b"r.onnx.data", b"/etc/passwd")
        ),
        "found '/etc/passwd'",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_other_graphs_are_refused_in_one_line(tmp_path: Path, what: str) -> None:
    write, expected = REFUSED[what]
    path = tmp_path / "r.onnx"
    write(path)
    with pytest.raises(InputError) as error:
        OnnxRestorer(path)
    assert f"restorer {path}: " in str(error.value)
    assert expected in str(error.value)
    assert "\n" not in str(error.value) and "bundle" not in str(error.value)


@pytest.mark.parametrize("external", [False, True])
def test_damaged_files_are_read_or_refused(tmp_path: Path, external: bool) -> None:
    """Every byte changed, and the file cut off before it."""
    path = blurred(tmp_path / "r.onnx", external=external)
    content = path.read_bytes()
    refusals = 0
    for position in range(len(content)):
        flipped = bytes([content[position] ^ 0x41])
        for damaged in (content[:position] + flipped + content[position + 1 :], content[:position]):
            path.write_bytes(damaged)
            try:
                read_restorer_file(path)
            except InputError:
                refusals += 1
    assert refusals > len(content)


def test_an_output_that_is_no_image_is_refused_on_the_picture_itself(tmp_path: Path) -> None:
    """Grey passes, white does not."""
    cube = [helper.make_node("Mul", ["x", "x"], ["xx"]), helper.make_node("Mul", ["xx", "scale"], ["y"])]
    path = write_graph(tmp_path / "r.onnx", cube, {"scale": np.array(4, np.float32)})
    restorer = OnnxRestorer(path)
    with pytest.raises(InputError, match=r"lies from 4 to 4; expected an image in \[0, 1\]"):
        restorer(np.full((8, 8, 3), 255, np.uint8))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file; expected an ONNX file, or a folder"):
        open_restorer(tmp_path / "gone.onnx")


def test_a_picture_is_restored_once_for_all_methods(picture: Picture, tmp_path: Path) -> None:
    path = brighter(tmp_path / "r.onnx", 0.1)
    (method,), _ = open_methods(["restored"], [], "box", "onnxruntime", path)
    assert isinstance(method, ModelMethod) and method.restorer is not None
    restorer = method.restorer
    first, again = restorer(picture), restorer(picture.copy())
    assert again is first
    assert not np.array_equal(restorer(picture[::-1]), first)
    assert restorer.origin.startswith(f"restorer {tmp_path / 'r.onnx'}, sha256 ")

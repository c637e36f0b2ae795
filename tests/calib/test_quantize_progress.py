"""glesam-quantize says how far it is in every long part of its work."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from typer.testing import CliRunner

from glesam_calib.cli.quantize import app
from glesam_calib.graph import files
from glesam_calib.graph.files import save_onnx
from glesam_runtime.tools import progress

LINE = re.compile(r"^(.+): (\d+) of (\d+), \d+ s$", re.MULTILINE)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user to whom all work is long."""
    monkeypatch.setattr(progress, "QUIET_S", -1)


@pytest.mark.usefixtures("impatient")
def test_every_long_part_of_the_work_is_counted_to_its_end(
    fp32_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    command = [fp32_bundle, "--out", tmp_path / "b", "--images", photos, "--calib-images", photos]
    options = ["--samples", "4", "--min-iou", "0", "--no-speed-gate", "--search", "1"]
    done = CliRunner().invoke(app, [*map(str, command), *options])
    assert done.exit_code == 0, done.output
    shown = {what: (int(count), int(total)) for what, count, total in LINE.findall(done.stderr)}
    assert all(count == total > 0 for count, total in shown.values())
    of_graph = ("norms smoothed in {}", "biases corrected in {}", "weights of {} written")
    rest = ("rounds timed in {}", "layers of {} tried", "pictures through {}")
    expected = {each.format(name) for each in (*of_graph, *rest) for name in ("image_encoder", "gle")}
    expected |= {"weights of mask_decoder written", "pictures through mask_decoder"}
    assert expected | {"pictures observed", "pictures degraded"} <= shown.keys()
    steps = [what for what, *_ in LINE.findall(done.stderr)]
    tried = [i for i, what in enumerate(steps) if what == "layers of gle tried"]
    between = steps[tried[0] : tried[-1]]
    assert set(between) == {"layers of gle tried"}, "a search tells its layers, not what is done to each"


def constant(number: int, size: int) -> ir.Tensor[np.ndarray]:
    return ir.Tensor(np.full((4, size), number, np.float32))


def graph_with_weights() -> ir.Model:
    """A graph of ten products by weights that are made when they are written; a small one stays inline."""
    sizes = [4, *range(20, 29)]
    x = ir.Value(name="x", shape=ir.Shape([1, 4]), type=ir.TensorType(ir.DataType.FLOAT))
    graph = ir.Graph([x], [], nodes=[], opset_imports={"": 18}, name="g")
    for number, size in enumerate(sizes):
        name, shape = f"w{number}", ir.Shape([4, size])
        lazy = ir.LazyTensor(
            partial(constant, number, size),
            dtype=ir.DataType.FLOAT,
            shape=shape,
            name=name,
        )
        weight = ir.Value(name=name, shape=shape, type=ir.TensorType(ir.DataType.FLOAT), const_value=lazy)
        graph.register_initializer(weight)
        product = ir.Node("", "MatMul", [x, weight], name=f"n{number}")
        product.outputs[0].name, product.outputs[0].dtype = f"y{number}", ir.DataType.FLOAT
        product.outputs[0].shape = ir.Shape([1, size])
        graph.append(product)
        graph.outputs.append(product.outputs[0])
    return ir.Model(graph, ir_version=9)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("inline_bytes", "counted"), [(0, 9), (10**6, 10)])
def test_weights_are_counted_as_they_are_written_inside_the_graph_and_beside_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    inline_bytes: int,
    counted: int,
) -> None:
    monkeypatch.setattr(files, "INLINE_BYTES", inline_bytes)
    save_onnx(graph_with_weights(), tmp_path / "g.onnx")
    lines = LINE.findall(capsys.readouterr().err)
    assert lines == [("weights of g written", str(i), str(counted)) for i in range(1, counted + 1)]
    assert (tmp_path / "g.onnx.data").exists() == (inline_bytes == 0)
    weights = onnx.load(tmp_path / "g.onnx").graph.initializer
    saved = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in weights}
    assert {name: float(array.mean()) for name, array in saved.items()} == {f"w{i}": i for i in range(10)}

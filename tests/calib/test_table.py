"""The calibration table: a file that goes with one model's graphs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from small_graph import observed, small_graph

from glesam_calib import CalibrationError, CalibrationTable
from glesam_calib.observation.statistics import TensorStatistics
from glesam_calib.observation.table import graph_hash


@pytest.fixture
def table() -> CalibrationTable:
    model = small_graph()
    return CalibrationTable(
        {"gle": graph_hash(model.graph)},
        {"model.safetensors": "ab" * 32},
        {"gle": observed(model, range(2))},
        {"gle": {"encoder.conv/Conv": 0.01}},
        ["a.jpg at LQ-0", "a.jpg at LQ-3"],
    )


def test_a_file_keeps_it(table: CalibrationTable, tmp_path: Path) -> None:
    table.save(tmp_path / "table.json")
    again = CalibrationTable.load(tmp_path / "table.json")
    assert (again.graphs, again.checkpoint, again.samples) == (table.graphs, table.checkpoint, table.samples)
    assert again.sensitivity == table.sensitivity
    statistics = again.of_graph("gle", small_graph().graph)
    assert (statistics["grid"].histogram.counts == table.tensors["gle"]["grid"].histogram.counts).all()
    assert [path.name for path in tmp_path.iterdir()] == ["table.json"]


def test_another_graphs_table_is_refused(table: CalibrationTable) -> None:
    other = small_graph()
    layer = next(node for node in other.graph if node.name == "encoder.conv/Conv")
    layer.name = "encoder.another/Conv"
    with pytest.raises(CalibrationError, match=r"gle has hash .* another graph; run glesam-calibrate"):
        table.of_graph("gle", other.graph)
    with pytest.raises(CalibrationError, match="the table is of none"):
        table.of_graph("image_encoder", other.graph)


def test_a_graph_that_the_bundle_lacks_is_refused(table: CalibrationTable) -> None:
    graphs = {"gle": small_graph().graph}
    table.check_graphs(graphs)
    further = replace(table, graphs={**table.graphs, "mask_decoder": "0" * 64})
    with pytest.raises(CalibrationError, match="it has a graph mask_decoder, expected gle; move it away"):
        further.check_graphs(graphs)
    with pytest.raises(CalibrationError, match="of none, another graph"):
        table.check_graphs({"image_encoder": small_graph().graph})


def test_the_hash_is_of_the_layers_and_not_of_their_weights() -> None:
    model = small_graph()
    before = graph_hash(model.graph)
    weight = model.graph.initializers["conv"]
    assert weight.const_value is not None
    weight.const_value = ir.Tensor(weight.const_value.numpy() * np.float32(1.000001), name="conv")
    assert graph_hash(model.graph) == before


def test_other_weights_are_refused(table: CalibrationTable) -> None:
    table.check_checkpoint({"model.safetensors": "ab" * 32})
    with pytest.raises(CalibrationError, match=r"model.safetensors is cdcdcdcdcdcd, .* other weights"):
        table.check_checkpoint({"model.safetensors": "cd" * 32})


def test_a_table_is_gone_on_with_for_the_same_model_alone(table: CalibrationTable) -> None:
    empty = CalibrationTable(table.graphs, table.checkpoint, {"gle": observed(small_graph(), range(1))})
    assert table.continued(empty) is table
    with pytest.raises(CalibrationError, match="of other pictures, levels or samples"):
        table.continued(replace(empty, plan=["a.jpg"]))
    with pytest.raises(CalibrationError, match="is damaged"):
        table.continued(replace(empty, tensors={"gle": {}}))
    without_answers = {"gle": {name: one for name, one in empty.tensors["gle"].items() if name != "c2"}}
    with pytest.raises(CalibrationError, match=r"an earlier version's, .* choose another --out"):
        replace(table, tensors=without_answers).continued(empty)
    with pytest.raises(CalibrationError, match="another model's; choose another --out"):
        table.continued(CalibrationTable({"gle": "0" * 64}, table.checkpoint))


def break_json(document: dict[str, Any], text: str) -> str:
    return text[: len(text) // 2]


def another_version(document: dict[str, Any], text: str) -> str:
    return json.dumps(document | {"format_version": 2})


def a_list(document: dict[str, Any], text: str) -> str:
    return json.dumps([document])


def nan_in_it(document: dict[str, Any], text: str) -> str:
    document["graphs"]["gle"]["tensors"]["grid"]["channel_absmax"][0] = float("nan")
    return json.dumps(document)


def overflowing_count(document: dict[str, Any], text: str) -> str:
    document["graphs"]["gle"]["tensors"]["grid"]["histogram"][0] = 10**30
    return json.dumps(document)


def another_range(document: dict[str, Any], text: str) -> str:
    document["graphs"]["gle"]["tensors"]["grid"]["exponent"] = 5000
    return json.dumps(document)


def too_small_a_range(document: dict[str, Any], text: str) -> str:
    document["graphs"]["gle"]["tensors"]["grid"]["exponent"] -= 2
    return json.dumps(document)


def negative_magnitude(document: dict[str, Any], text: str) -> str:
    document["graphs"]["gle"]["tensors"]["grid"]["channel_absmax"][0] = -1
    return json.dumps(document)


def sensitivity_of_nan(document: dict[str, Any], text: str) -> str:
    document["graphs"]["gle"]["sensitivity"]["encoder.conv/Conv"] = float("nan")
    return json.dumps(document)


def no_samples(document: dict[str, Any], text: str) -> str:
    del document["samples"]
    return json.dumps(document)


DAMAGES = [
    break_json,
    another_version,
    a_list,
    nan_in_it,
    overflowing_count,
    another_range,
    too_small_a_range,
    negative_magnitude,
    sensitivity_of_nan,
    no_samples,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_is_no_table_is_one_line(
    table: CalibrationTable, tmp_path: Path, damage: Callable[[dict[str, Any], str], str]
) -> None:
    path = tmp_path / "table.json"
    table.save(path)
    text = path.read_text()
    path.write_text(damage(json.loads(text), text))
    with pytest.raises(CalibrationError, match=r"table.json: not a calibration table .*glesam-calibrate"):
        CalibrationTable.load(path)


@pytest.mark.parametrize("damage", ["missing", "channels"])
def test_tensors_that_are_not_the_graphs_are_refused(table: CalibrationTable, damage: str) -> None:
    tensors = table.tensors["gle"]
    if damage == "missing":
        del tensors["grid"]
    else:
        tensors["grid"] = TensorStatistics.empty(1)
    with pytest.raises(CalibrationError, match="it is damaged, gle's tensors are not the graph's"):
        table.of_graph("gle", small_graph().graph)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"missing.json: cannot be read \(No such file"):
        CalibrationTable.load(tmp_path / "missing.json")


def test_a_write_that_fails_leaves_the_old_table(
    table: CalibrationTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.json"
    table.save(path)
    before = path.read_bytes()
    table.tensors["gle"]["grid"].channel_mean[0] = np.nan  # JSON has no NaN
    with pytest.raises(ValueError, match="not JSON compliant"):
        table.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["table.json"]

"""glesam-eval runs a model on pictures that a restorer has improved, as a row of the same table."""

from __future__ import annotations

from pathlib import Path

import pytest
from evaluation_runs import SHIPPED_BUNDLE, attempted, evaluated, rows_of, values, write_data
from restorer_graphs import black, identity


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data", 1)


def test_a_restored_picture_is_segmented_without_gle(data: Path, tmp_path: Path) -> None:
    """A restorer that changes nothing gives sam's figures, one that blackens everything gives others."""
    same, dark = identity(tmp_path / "same.onnx"), black(tmp_path / "dark.onnx")
    options = "--levels", "clean", "--prompt", "innermost", "--methods"
    evaluated(data, tmp_path / "a", *options, "sam,restored", "--restorer", same)
    rows = rows_of(tmp_path / "a")
    assert values(rows, "iou", method="restored") == values(rows, "iou", method="sam")
    assert f"restored: restorer {same}, sha256 " in (tmp_path / "a/table.md").read_text()
    evaluated(data, tmp_path / "b", *options, "restored", "--restorer", dark)
    assert values(rows_of(tmp_path / "b"), "iou") != values(rows, "iou", method="sam")


def test_a_source_may_name_the_method(data: Path, tmp_path: Path) -> None:
    source = f"nano={SHIPPED_BUNDLE}:restored"
    restorer = identity(tmp_path / "r.onnx")
    evaluated(data, tmp_path / "out", "--levels", "clean", "--bundle", source, "--restorer", restorer)
    assert {(row["source"], row["method"]) for row in rows_of(tmp_path / "out")} == {("nano", "restored")}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--methods", "restored"), "--methods restored: expected a restorer, found none; name one with"),
        (("--restorer", "r.onnx"), "--restorer r.onnx: no method uses it; add restored to --methods"),
        (("--methods", "restored", "--restorer", "gone.onnx"), "--restorer gone.onnx: no such file"),
    ],
)
def test_one_without_the_other_is_refused(
    data: Path, tmp_path: Path, options: tuple[str, ...], expected: str
) -> None:
    result = attempted(data, tmp_path / "out", *options)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert expected in line
    assert not (tmp_path / "out").exists()

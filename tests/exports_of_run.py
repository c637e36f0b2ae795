"""Bundles and graphs that are made once in a run of tests, whichever of its processes needs them first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer
from filelock import FileLock
from typer.testing import CliRunner

if TYPE_CHECKING:  # torch and onnx, which most folders' tests do without
    import onnx_ir as ir

    from glesam_export.graphs import Graph


@contextmanager
def known_graphs(bundle: Path, *names: str) -> Iterator[None]:
    """Exports in this block take the graphs `names` from a bundle that has them already."""
    import onnx_ir as ir

    from glesam_export import pipeline

    convert = pipeline.onnx_from_graph

    def known(graph: Graph, opset: int) -> ir.Model:
        return ir.load(bundle / f"{graph.name}.onnx") if graph.name in names else convert(graph, opset)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "onnx_from_graph", known)
        yield


def exported(
    precision: str, checkpoint: Path, photos: Path, folders: pytest.TempPathFactory, *options: str
) -> Path:
    from glesam_export.cli import app

    common = ("--images", str(photos), "--precision", precision)
    return written_by(app, checkpoint, precision, folders, *common, *options)


def written_by(
    app: typer.Typer, source: Path, name: str, folders: pytest.TempPathFactory, *options: str
) -> Path:
    """The folder `name` that a command made of `source`; what it printed lies beside it.

    The processes of one run of tests share it: it is made by the first that needs it.
    """
    out = folder_of_run(folders) / f"{name}-of-{source.name}" / name
    log = out.with_suffix(".log")
    out.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{out}.lock"):
        if not log.exists():
            result = CliRunner().invoke(app, [str(source), "--out", str(out), *options])
            assert result.exit_code == 0, result.output
            log.write_text(result.stdout)
    return out


def folder_of_run(folders: pytest.TempPathFactory) -> Path:
    """A folder that all processes of one run of tests share."""
    root = folders.getbasetemp()
    return (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "exports"


def graphs_of(folders: pytest.TempPathFactory, model: str, *names: str) -> Path:
    """A folder with these graphs of one of `tiny_model.MODELS`, in fp32; never change them."""
    from tiny_model import MODELS

    from glesam_calib.graph.files import save_onnx
    from glesam_export.graphs import graphs
    from glesam_export.to_onnx import onnx_from_graph

    folder = folder_of_run(folders) / f"graphs-of-{model}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        if missing := [name for name in names if not (folder / f"{name}.onnx").exists()]:
            for graph in graphs(MODELS[model]()):
                if graph.name in missing:
                    save_onnx(onnx_from_graph(graph), folder / f"{graph.name}.onnx")
    return folder

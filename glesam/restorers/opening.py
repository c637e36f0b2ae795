"""Opens what --restorer names: an ONNX file, or a folder of DiffBIR's files or of its exported graphs."""

from __future__ import annotations

from pathlib import Path

from glesam.restorers.diffbir_onnx import ExportedDiffBir, is_exported
from glesam.restorers.onnx_restorer import OnnxRestorer
from glesam.restorers.restorer import Restorer
from glesam_runtime.errors import InputError


def open_restorer(path: Path, backend: str = "auto") -> Restorer:
    """Opens a restorer; `backend` is glesam-eval's: an ONNX file runs on its device if it is ONNX Runtime's.

    Raises:
        InputError: there is nothing at `path`, or no restorer; also CheckpointError.
        OSError: a file cannot be read.
    """
    name, _, rest = backend.partition(":")
    device = rest if rest and name == "onnxruntime" else "cpu"
    if is_exported(path):
        return ExportedDiffBir(path, device)
    if path.is_dir():
        from glesam.official.diffbir import load_diffbir  # imports torch and diffusers

        return load_diffbir(path)
    if not path.exists():
        raise InputError(
            f"--restorer {path}: no such file; expected an ONNX file, or a folder of DiffBIR's files"
        )
    return OnnxRestorer(path, device)

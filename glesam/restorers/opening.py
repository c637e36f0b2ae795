"""Opens what --restorer names: an ONNX file, or a folder of DiffBIR's files or of its exported graphs."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from glesam.restorers.diffbir_onnx import ExportedDiffBir, is_exported
from glesam.restorers.onnx_restorer import OnnxRestorer
from glesam.restorers.restorer import Picture, Restorer
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
        return LastPicture(ExportedDiffBir(path, device))
    if path.is_dir():
        from glesam.official.diffbir import load_diffbir  # imports torch and diffusers

        return LastPicture(load_diffbir(path))
    if not path.exists():
        raise InputError(
            f"--restorer {path}: no such file; expected an ONNX file, or a folder of DiffBIR's files"
        )
    return LastPicture(OnnxRestorer(path, device))


class LastPicture:
    """A restorer that returns its last result again where the same thread repeats the picture.

    Several models share a restorer, which may take minutes for a picture.
    """

    def __init__(self, restorer: Restorer) -> None:
        self._restorer = restorer
        self._last = threading.local()

    @property
    def origin(self) -> str:
        return self._restorer.origin

    def __call__(self, image: Picture) -> Picture:
        last: Picture | None = getattr(self._last, "image", None)
        if last is None or not np.array_equal(last, image):
            self._last.restored = self._restorer(image)
            self._last.image = image
        restored: Picture = self._last.restored
        return restored

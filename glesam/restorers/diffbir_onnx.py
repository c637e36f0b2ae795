"""DiffBIR's exported graphs as a restorer in ONNX Runtime, without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from glesam.restorers.diffbir_loop import DiffBirRestorer
from glesam.restorers.diffbir_parts import EngineParts, Size, diffbir_contract
from glesam.restorers.onnx_file import digest_of
from glesam.restorers.onnx_restorer import open_graph
from glesam.restorers.restorer import Floats, Picture, restore_picture
from glesam_runtime.bundle.spec import GraphSpec
from glesam_runtime.errors import InputError

MARKER = "denoiser.onnx"
"""A file that every folder of exported graphs has."""


def is_exported(folder: Path) -> bool:
    """Returns whether a folder holds what glesam-export makes of DiffBIR."""
    return (folder / MARKER).is_file()


class ExportedDiffBir:
    """The graphs `<part>.onnx` of one size: a picture is restored in tiles of that size.

    Every tile has the same noise. Where the authors tile, they blend tiles in each step instead.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        """Raises InputError where a graph is missing, refused, or has other tensors; OSError."""
        files = {name: folder / f"{name}.onnx" for name in diffbir_contract()}
        if missing := [path.name for path in files.values() if not path.is_file()]:
            raise InputError(f"restorer {folder} lacks {', '.join(missing)}; export DiffBIR again")
        engines = {name: open_graph(path, device) for name, path in files.items()}
        self._tile = _size_of(folder, {name: engine.spec for name, engine in engines.items()})
        digests = ", ".join(f"{path.name} {digest_of(path)}" for path in files.values())
        origin = f"DiffBIR v2 {folder}, sha256 {digests}, ONNX Runtime"
        self._restorer = DiffBirRestorer(EngineParts(engines), origin, least_side=min(self._tile))
        self.origin = self._restorer.origin

    def __call__(self, image: Picture) -> Picture:
        return restore_picture(image, self._restored_tile, self._tile)

    def _restored_tile(self, image: Floats) -> Floats:
        return np.clip(self._restorer.restore(image), 0, 1)


def _size_of(folder: Path, specs: dict[str, GraphSpec]) -> Size:
    """The size of the graphs' pictures; raises InputError where the graphs are not DiffBIR's of one size."""
    shape = specs["stage1"].inputs[0].shape
    height, width = shape[2:] if len(shape) == 4 else (0, 0)
    size = (height, width) if isinstance(height, int) and isinstance(width, int) else (0, 0)
    for name, expected in diffbir_contract(size, size).items():
        found = specs[name]
        if 0 in size or (found.inputs, found.outputs) != (expected.inputs, expected.outputs):
            tensors = [", ".join(map(str, (*each.inputs, *each.outputs))) for each in (found, expected)]
            raise InputError(
                f"restorer {folder}: {name}.onnx has {tensors[0]}; expected {tensors[1]} of one fixed size; "
                "export DiffBIR again"
            )
    return size

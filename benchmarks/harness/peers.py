"""The quantizers that a user would otherwise take: ONNX Runtime's quantize_static and NNCF's quantize."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Protocol

import numpy as np

from glesam_runtime.engines.base import Array

NNCF = """
import sys, numpy as np, nncf, onnx
source, target, *feeds = sys.argv[1:]
model = onnx.load(source)
name = model.graph.input[0].name
data = nncf.Dataset([np.load(feed) for feed in feeds], lambda array: {name: array})
onnx.save(nncf.quantize(model, data, subset_size=len(feeds)), target)
"""


class Quantizer(Protocol):
    """Writes the graph `source`, quantized on `feeds` for the input `name`, to `target`."""

    def __call__(self, source: Path, target: Path, feeds: list[Array], name: str) -> None: ...


def quantize_static(source: Path, target: Path, feeds: list[Array], name: str) -> None:
    """ONNX Runtime's, with its defaults."""
    from onnxruntime.quantization import CalibrationDataReader  # noqa: TID251
    from onnxruntime.quantization import quantize_static as quantize  # noqa: TID251

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.feeds = iter(feeds)

        def get_next(self) -> dict[str, Array] | None:
            array = next(self.feeds, None)
            return None if array is None else {name: array}

    quantize(str(source), str(target), Reader())


def nncf_of(python: Path) -> Quantizer:
    """Returns NNCF's quantizer with its defaults, run by an interpreter that has NNCF."""

    def quantize(source: Path, target: Path, feeds: list[Array], name: str) -> None:
        paths = [target.with_name(f"{target.stem}-{i}.npy") for i in range(len(feeds))]
        for path, array in zip(paths, feeds, strict=True):
            np.save(path, array)
        subprocess.run([python, "-c", NNCF, source, target, *paths], check=True, stdout=sys.stderr)

    return quantize

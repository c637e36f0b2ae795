"""Any ONNX graph that maps an image to an image, as a restorer in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from glesam.restorers.onnx_file import digest_of, read_restorer_file
from glesam.restorers.restorer import MULTIPLE, Floats, Picture, checked, restore_picture, to_floats
from glesam_runtime.bundle.spec import GraphSpec, TensorSpec
from glesam_runtime.engines.base import Engine
from glesam_runtime.errors import BackendError, InputError, first_line

DTYPES = ("float32", "uint8")
"""Types of the input and the output: values in [0, 1], or in [0, 255]."""
SIDES = range(16, 4097)
"""Sides of a fixed input [px]."""


class OnnxRestorer:
    """A graph of one input and one output, RGB [1, 3, H, W] of a fixed or of any size; see `restore_picture`.

    Its output has the input's size, or 2 or 4 times that.
    """

    def __init__(self, path: str | Path, device: str = "cpu") -> None:
        """Opens the file and runs it once, on a grey image.

        device: "cpu", "cuda" or "tensorrt".

        Raises:
            InputError: the file is no such graph, or ONNX Runtime refuses it or the device.
            OSError: the file cannot be read.
        """
        self._path = Path(path)
        self._engine = open_graph(self._path, device)
        try:
            self._input, self._output = _image_tensors(self._engine.spec)
            self.tile = _fixed_size(self._input)
            size = self.tile or (MULTIPLE, MULTIPLE)
            checked(self._run(np.full((1, 3, *size), 0.5, np.float32)), size)
        except InputError as error:
            self._engine.close()
            raise InputError(f"restorer {self._path}: {error}") from error
        self.origin = f"restorer {path}, sha256 {digest_of(self._path)}, ONNX Runtime"

    def __call__(self, image: Picture) -> Picture:
        try:
            return restore_picture(image, self._run, self.tile)
        except InputError as error:
            raise InputError(f"restorer {self._path}: {error}") from error

    def _run(self, image: Floats) -> Floats:
        """Runs the graph on [1, 3, h, w] in [0, 1]; its output, in float32 and for uint8 in [0, 1]."""
        is_integer = self._input.dtype == "uint8"
        feed = np.rint(255 * image).astype(np.uint8) if is_integer else np.ascontiguousarray(image)
        try:
            output = self._engine({self._input.name: feed})[self._output.name]
        except BackendError as error:
            raise InputError(
                f"it failed on an image [{','.join(map(str, image.shape))}] ({_reason(error)}); "
                f"export it for images of one fixed size, or of any multiple of {MULTIPLE}"
            ) from error
        floats: Floats = output.astype(np.float32)
        return to_floats(output) if output.dtype == np.uint8 else floats


def open_graph(path: Path, device: str) -> Engine:
    """Opens a restorer's graph in ONNX Runtime; its `spec` is the file's own.

    Raises:
        InputError: `read_restorer_file` refuses the file, or ONNX Runtime the graph or the device.
        OSError: the file cannot be read.
    """
    from glesam_runtime.engines.onnxruntime import OnnxRuntimeEngine

    content = read_restorer_file(path)
    try:
        return OnnxRuntimeEngine(content, None, device=device)
    except BackendError as error:
        raise InputError(
            f"restorer {path}: ONNX Runtime cannot open it ({_reason(error)}); export it again, or "
            "upgrade onnxruntime"
        ) from error


def _image_tensors(spec: GraphSpec) -> tuple[TensorSpec, TensorSpec]:
    """The one input and the one output; raises InputError for other tensors than images."""
    for side, tensors in (("input", spec.inputs), ("output", spec.outputs)):
        if len(tensors) != 1:
            raise InputError(
                f"it has {len(tensors)} {side}s ({', '.join(map(str, tensors))}); "
                "expected one, an image [1,3,H,W]"
            )
        if tensors[0].dtype not in DTYPES:
            raise InputError(f"its {side} is {tensors[0]}; expected {' or '.join(DTYPES)}")
    image = spec.inputs[0]
    fits = len(image.shape) == 4 and (isinstance(image.shape[0], str) or image.shape[0] == 1)
    if not fits or image.shape[1] != 3:
        raise InputError(f"its input is {image}; expected an RGB image [1,3,H,W], channels first")
    return image, spec.outputs[0]


def _fixed_size(image: TensorSpec) -> tuple[int, int] | None:
    """The input's height and width; None where both are open."""
    height, width = image.shape[2:]
    if isinstance(height, int) and isinstance(width, int):
        if height not in SIDES or width not in SIDES:
            raise InputError(f"its input is {image}; expected sides of {SIDES[0]} to {SIDES[-1]} pixels")
        return height, width
    if isinstance(height, int) or isinstance(width, int):
        raise InputError(f"its input is {image}; expected both sides fixed, or both open")
    return None


def _reason(error: BackendError) -> str:
    return first_line(error.__cause__ or error)

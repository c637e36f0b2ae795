"""A tiny but real bundle at S = 64: ONNX graphs with the names, shapes and meaning of docs/bundle.md.

The decoder draws its prompt: logits are positive inside the box, or inside a square
around the foreground points, so an end-to-end test can say which mask is right.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import numpy_helper, parser

from glesam_runtime import Bundle
from glesam_runtime.bundle.spec import Family, GraphSpec, TensorSpec, bundle_contract
from glesam_runtime.engines import Engine
from glesam_runtime.engines.base import Array, Tensors
from glesam_runtime.engines.function import FunctionEngine

IMAGE_SIZE = 64

# 256 channels of the mean brightness under each of the 4 x 4 patches.
ENCODER = """
<ir_version: 8, opset_import: ["" : 18]>
image_encoder (float[1,3,64,64] image) => (float[1,256,4,4] image_embeddings) {
  patches = AveragePool <kernel_shape = [16,16], strides = [16,16]> (image)
  third = Constant <value = float[1,1,1,1] {0.33333334}> ()
  shape = Constant <value = int64[4] {256,3,1,1}> ()
  weight = Expand (third, shape)
  image_embeddings = Conv (patches, weight)
}
"""

# A residual correction, as GLE is.
GLE = """
<ir_version: 8, opset_import: ["" : 18]>
gle (float[1,256,4,4] image_embeddings) => (float[1,256,4,4] image_embeddings_enhanced) {
  half = Constant <value = float {0.5}> ()
  residual = Mul (image_embeddings, half)
  image_embeddings_enhanced = Add (image_embeddings, residual)
}
"""

# logit(x, y) = min distance to the four edges [input pixels], larger inside; the four outputs are
# the single mask, then a smaller, an equal and a larger one. Each background point takes 2 off.
# The first score is the sigmoid of the mean embedding, so GLE can be seen in it.
DECODER = """
<ir_version: 8, opset_import: ["" : 18]>
mask_decoder (
  float[1,256,4,4] image_embeddings, float[num_prompts,num_points,2] point_coords,
  int32[num_prompts,num_points] point_labels, float[num_prompts,1,16,16] mask_input,
  float[num_prompts] has_mask_input
) => (float[num_prompts,4,16,16] low_res_masks, float[num_prompts,4] iou_predictions) {
  label_background = Constant <value = int32 {0}> ()
  label_foreground = Constant <value = int32 {1}> ()
  label_top_left = Constant <value = int32 {2}> ()
  label_bottom_right = Constant <value = int32 {3}> ()
  axis_points = Constant <value = int64[1] {1}> ()
  axis_last = Constant <value = int64[1] {2}> ()
  one = Constant <value = float {1.0}> ()
  two = Constant <value = float {2.0}> ()
  radius = Constant <value = float {8.0}> ()

  is_foreground = Equal (point_labels, label_foreground)
  is_background = Equal (point_labels, label_background)
  is_top_left = Equal (point_labels, label_top_left)
  is_bottom_right = Equal (point_labels, label_bottom_right)
  foreground = Cast <to = 1> (is_foreground)
  background = Cast <to = 1> (is_background)
  top_left = Cast <to = 1> (is_top_left)
  bottom_right = Cast <to = 1> (is_bottom_right)

  foreground_3d = Unsqueeze (foreground, axis_last)
  top_left_3d = Unsqueeze (top_left, axis_last)
  bottom_right_3d = Unsqueeze (bottom_right, axis_last)
  foreground_coords = Mul (point_coords, foreground_3d)
  top_left_coords = Mul (point_coords, top_left_3d)
  bottom_right_coords = Mul (point_coords, bottom_right_3d)
  foreground_sum = ReduceSum <keepdims = 0> (foreground_coords, axis_points)
  foreground_count = ReduceSum <keepdims = 1> (foreground, axis_points)
  count = Max (foreground_count, one)
  centre = Div (foreground_sum, count)
  box_start = ReduceSum <keepdims = 0> (top_left_coords, axis_points)
  box_end = ReduceSum <keepdims = 0> (bottom_right_coords, axis_points)
  square_start = Sub (centre, radius)
  square_end = Add (centre, radius)
  boxes = ReduceSum <keepdims = 1> (top_left, axis_points)
  has_box = Cast <to = 9> (boxes)
  start = Where (has_box, box_start, square_start)
  end = Where (has_box, box_end, square_end)

  grid = Constant <value = float[16] {2,6,10,14,18,22,26,30,34,38,42,46,50,54,58,62}> ()
  axis_scalar = Constant <value = int64[1] {1}> ()
  first = Constant <value = int64 {0}> ()
  second = Constant <value = int64 {1}> ()
  x0 = Gather <axis = 1> (start, first)
  y0 = Gather <axis = 1> (start, second)
  x1 = Gather <axis = 1> (end, first)
  y1 = Gather <axis = 1> (end, second)
  x0_2d = Unsqueeze (x0, axis_scalar)
  y0_2d = Unsqueeze (y0, axis_scalar)
  x1_2d = Unsqueeze (x1, axis_scalar)
  y1_2d = Unsqueeze (y1, axis_scalar)
  from_left = Sub (grid, x0_2d)
  from_right = Sub (x1_2d, grid)
  from_top = Sub (grid, y0_2d)
  from_bottom = Sub (y1_2d, grid)
  inside_x = Min (from_left, from_right)
  inside_y = Min (from_top, from_bottom)
  columns_axis = Constant <value = int64[2] {1,2}> ()
  rows_axis = Constant <value = int64[2] {1,3}> ()
  inside_columns = Unsqueeze (inside_x, columns_axis)
  inside_rows = Unsqueeze (inside_y, rows_axis)
  inside = Min (inside_columns, inside_rows)

  to_4d = Constant <value = int64[3] {1,2,3}> ()
  has_mask = Unsqueeze (has_mask_input, to_4d)
  mask = Mul (mask_input, has_mask)
  with_mask = Add (inside, mask)
  background_count = ReduceSum <keepdims = 0> (background, axis_points)
  background_2 = Mul (background_count, two)
  background_4d = Unsqueeze (background_2, to_4d)
  logits = Sub (with_mask, background_4d)
  offsets = Constant <value = float[4] {0,-4,0,4}> ()
  offset_axes = Constant <value = int64[3] {0,2,3}> ()
  offsets_4d = Unsqueeze (offsets, offset_axes)
  low_res_masks = Add (logits, offsets_4d)

  total = ReduceSum <keepdims = 0> (image_embeddings)
  elements = Constant <value = float {4096.0}> ()
  mean = Div (total, elements)
  score = Sigmoid (mean)
  zeros = Mul (has_mask_input, background_count)
  none = Sub (zeros, zeros)
  scores_1d = Add (none, score)
  scores = Unsqueeze (scores_1d, axis_points)
  penalties = Constant <value = float[4] {0,0.1,0.2,0.3}> ()
  iou_predictions = Sub (scores, penalties)
}
"""

GRAPHS = {"image_encoder": ENCODER, "gle": GLE, "mask_decoder": DECODER}
ROBUST_WIDTH = 32
"""Width of the tiny RobustSAM's image encoder."""


def sam2_graphs() -> dict[str, str]:
    """Returns the tiny bundle's graphs as a SAM 2, whose finer features are brightnesses in the logits."""
    encoder = ENCODER.replace(
        "image_embeddings) {",
        """image_embeddings, float[1,32,16,16] high_res_s0, float[1,64,8,8] high_res_s1) {
  finest = AveragePool <kernel_shape = [4,4], strides = [4,4]> (image)
  finest_shape = Constant <value = int64[4] {32,3,1,1}> ()
  finest_weight = Expand (third, finest_shape)
  high_res_s0 = Conv (finest, finest_weight)
  finer = AveragePool <kernel_shape = [8,8], strides = [8,8]> (image)
  finer_shape = Constant <value = int64[4] {64,3,1,1}> ()
  finer_weight = Expand (third, finer_shape)
  high_res_s1 = Conv (finer, finer_weight)""",
    )
    inputs = "float[1,256,4,4] image_embeddings, float[1,32,16,16] high_res_s0, float[1,64,8,8] high_res_s1,"
    decoder = DECODER.replace("float[1,256,4,4] image_embeddings,", inputs).replace(
        "  low_res_masks = Add (logits, offsets_4d)",
        """  one_channel = Constant <value = int64[1] {1}> ()
  brightness = ReduceMean <keepdims = 1> (high_res_s0, one_channel)
  finer_brightness = ReduceMean <keepdims = 1> (high_res_s1)
  bright_logits = Add (logits, brightness)
  brighter_logits = Sub (bright_logits, finer_brightness)
  low_res_masks = Add (brighter_logits, offsets_4d)""",
    )
    return {"image_encoder": encoder, "gle": GLE, "mask_decoder": decoder}


def robust_graphs() -> dict[str, str]:
    """Returns the tiny bundle's graphs as a RobustSAM: early features behind the embedding, 768 restored."""
    packed = 256 + ROBUST_WIDTH
    encoder = ENCODER.replace("float[1,256,4,4]", f"float[1,{packed},4,4]")
    restorer = f"""
<ir_version: 8, opset_import: ["" : 18]>
gle (float[1,{packed},4,4] image_embeddings) => (float[1,768,4,4] image_embeddings_enhanced) {{
  share = Constant <value = float[1,1,1,1] {{0.005}}> ()
  shape = Constant <value = int64[4] {{768,{packed},1,1}}> ()
  weight = Expand (share, shape)
  image_embeddings_enhanced = Conv (image_embeddings, weight)
}}
"""
    decoder = DECODER.replace("float[1,256,4,4]", "float[1,768,4,4]").replace("{4096.0}", "{12288.0}")
    return {
        "image_encoder": encoder.replace("{256,3,1,1}", f"{{{packed},3,1,1}}"),
        "gle": restorer,
        "mask_decoder": decoder,
    }


_FAMILIES = {"sam": lambda: GRAPHS, "sam2": sam2_graphs, "robustsam": robust_graphs}


def write_bundle(root: Path, family: Family = "sam", **changes: Any) -> Path:  # noqa: ANN401
    """Writes the bundle to `root` as docs/bundle.md says; `changes` replace fields of the manifest."""
    root.mkdir(parents=True)
    for name, text in _FAMILIES[family]().items():
        onnx.save(model_of(text), root / f"{name}.onnx")
    write_manifest(root, manifest(root, family) | changes)
    return root


def model_of(text: str) -> onnx.ModelProto:
    """Returns the graph of `text` as bundles hold it: constants are initializers with raw data."""
    model = parser.parse_model(text)
    graph = model.graph
    constants = [node for node in graph.node if node.op_type == "Constant"]
    tensors = [(node.output[0], node.attribute[0].t) for node in constants]
    numbers = ("float_data", "int32_data", "int64_data")
    typed = [x for x in graph.initializer if any(len(getattr(x, field)) for field in numbers)]
    tensors += [(tensor.name, tensor) for tensor in typed]
    kept = [tensor for tensor in graph.initializer if tensor not in typed]
    for node in constants:
        graph.node.remove(node)
    del graph.initializer[:]
    graph.initializer.extend(kept)
    graph.initializer.extend(numpy_helper.from_array(numpy_helper.to_array(x), name) for name, x in tensors)
    return model


def manifest(root: Path, family: Family = "sam") -> dict[str, Any]:
    """Returns the manifest of the graphs in `root`."""
    width = ROBUST_WIDTH if family == "robustsam" else 0
    model = {"name": "tiny", "sam_type": "tiny", "multimask": True}
    newer = {"family": family, **({"encoder_channels": width} if width else {})}
    resize = "squash" if family == "sam2" else "longest-side"
    return {
        "format_version": 1 if family == "sam" else 2,
        "model": model if family == "sam" else model | newer,
        "image_size": IMAGE_SIZE,
        **({} if family == "sam" else {"resize": resize}),
        "pixel_mean": [123.675, 116.28, 103.53],
        "pixel_std": [58.395, 57.12, 57.375],
        "mask_threshold": 0.0,
        **({} if family == "robustsam" else {"gamma": 2.0, "timestep": 20}),
        "precision": "fp32",
        "graphs": {name: _graph(spec) for name, spec in bundle_contract(IMAGE_SIZE, family, width).items()},
        "files": {path.name: record(path) for path in sorted(root.glob("*.onnx"))},
        "made_from": {"checkpoint": {}, "versions": {"onnx": onnx.__version__}},
        "parity": {"graphs": {}, "mask_iou": {}},
    }


def write_manifest(root: Path, content: dict[str, Any]) -> None:
    """Writes bundle.json and its hash."""
    text = json.dumps(content, indent=2).encode()
    (root / "bundle.json").write_bytes(text)
    digest = hashlib.sha256(text).hexdigest()
    (root / "bundle.json.sha256").write_text(f"{digest}  bundle.json\n")


def write_precisions(root: Path, graphs: Mapping[str, tuple[str, str]]) -> Bundle:
    """Writes the precision of each of `graphs` and what its int8 layers are quantized for, "" without any.

    The graphs themselves stay as they are. Returns the bundle.
    """
    content = json.loads((root / "bundle.json").read_text())
    for name, (precision, target) in graphs.items():
        int8 = {"layers": [f"{name}/Conv"], "left": [], "target": target}
        content["graphs"][name] |= {"precision": precision, **({"int8": int8} if target else {})}
    write_manifest(root, content)
    return Bundle.open(root)


def record(path: Path) -> dict[str, Any]:
    """Returns the size and sha256 of a file, as bundle.json lists it."""
    content = path.read_bytes()
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _graph(spec: GraphSpec) -> dict[str, Any]:
    return {
        "file": f"{spec.name}.onnx",
        "precision": "fp32",
        "fp32_islands": {},
        "inputs": [_tensor(tensor) for tensor in spec.inputs],
        "outputs": [_tensor(tensor) for tensor in spec.outputs],
    }


def _tensor(tensor: TensorSpec) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape)}


class SpyEngine(FunctionEngine):
    """Answers as `engine` does and keeps the feeds of every call in `calls`."""

    def __init__(self, engine: Engine) -> None:
        self.calls: list[Tensors] = []

        def infer(feeds: Tensors) -> dict[str, Array]:
            self.calls.append(feeds)
            return engine(feeds)

        super().__init__(engine.spec, infer)

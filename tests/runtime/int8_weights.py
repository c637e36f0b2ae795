"""A mask decoder's attention with weights kept in int8 and activations in float: none of it is quantized."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from tiny_bundle import model_of

Floats = np.ndarray[Any, Any]

CHANNELS, TOKENS = 256, 16
WEIGHTS = ("query", "key", "value", "out")
FORMS = ("scales_in_dequantize_linear", "scales_in_mul")
"""How a weight is restored: in one step, or as export writes it, by DequantizeLinear of scale 1 and Mul."""

# The names and shapes of GLE at S = 64, so that a whole bundle can hold it.
ATTENTION = """
<ir_version: 8, opset_import: ["" : 18]>
gle (float[1,256,4,4] image_embeddings) => (float[1,256,4,4] image_embeddings_enhanced) {
  flat = Constant <value = int64[3] {1,256,16}> ()
  square = Constant <value = int64[4] {1,256,4,4}> ()
  one = Constant <value = float {1.0}> ()
  columns = Reshape (image_embeddings, flat)
  tokens = Transpose <perm = [0,2,1]> (columns)
  queries = MatMul (tokens, query)
  keys = MatMul (tokens, key)
  values = MatMul (tokens, value)
  turned = Transpose <perm = [0,2,1]> (keys)
  scores = MatMul (queries, turned)
  shares = Softmax <axis = -1> (scores)
  attended = MatMul (shares, values)
  projected = MatMul (attended, out)
  back = Transpose <perm = [0,2,1]> (projected)
  image_embeddings_enhanced = Reshape (back, square)
}
"""
RESTORED = {
    "scales_in_dequantize_linear": "{0} = DequantizeLinear <axis = 1> ({0}_int8, {0}_scales, {0}_zeros)",
    "scales_in_mul": """{0}_steps = DequantizeLinear ({0}_int8, one, {0}_zero)
  {0} = Mul ({0}_steps, {0}_scales)""",
}


def arrays() -> dict[str, Floats]:
    """The int8 weights, their scales and their zero points, by name."""
    rng = np.random.default_rng(0)
    result: dict[str, Floats] = {}
    for weight in WEIGHTS:
        result[f"{weight}_int8"] = rng.integers(-127, 128, (CHANNELS, CHANNELS)).astype(np.int8)
        result[f"{weight}_scales"] = rng.uniform(1.5e-4, 4.5e-4, CHANNELS).astype(np.float32)
        # One for each weight, as export writes them: ONNX Runtime 1.32 refuses a shared one.
        result[f"{weight}_zeros"] = np.zeros(CHANNELS, np.int8)
        result[f"{weight}_zero"] = np.array(0, np.int8)
    return result


def write_attention(path: Path, form: str) -> None:
    """Writes the graph with its weights restored as `form` says."""
    first = "  queries ="
    restored = "\n  ".join(RESTORED[form].format(weight) for weight in WEIGHTS)
    text = ATTENTION.replace(first, f"  {restored}\n{first}")
    model = model_of(text)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(a, name) for name, a in arrays().items())
    onnx.save(model, path)


def attention_in_float64(image_embeddings: Floats) -> Floats:
    """What the graph computes, float64 [1,256,4,4]."""
    wide = {name: array.astype(np.float64) for name, array in arrays().items()}
    query, key, value, out = (wide[f"{weight}_int8"] * wide[f"{weight}_scales"] for weight in WEIGHTS)
    tokens = image_embeddings.reshape(CHANNELS, TOKENS).T.astype(np.float64)
    scores = tokens @ query @ (tokens @ key).T
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    attended = powers / powers.sum(-1, keepdims=True) @ (tokens @ value)
    result: Floats = (attended @ out).T.reshape(image_embeddings.shape)
    return result


def relative_error(actual: Floats, expected: Floats) -> float:
    """Largest difference over the largest value: 1e-6 in float32, 1e-2 where activations are int8."""
    return float(np.abs(actual - expected).max() / np.abs(expected).max())

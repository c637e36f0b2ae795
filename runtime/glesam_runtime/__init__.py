"""Run a GleSAM bundle: bundle + image + prompts -> masks. numpy only; no torch, no onnx."""

from __future__ import annotations

from .automatic import AutomaticMask, AutomaticMasks, AutomaticOptions
from .bundle import Bundle
from .errors import (
    BackendError,
    BundleError,
    GlesamError,
    ImageError,
    OutputError,
    ParityError,
    PromptError,
)
from .image_io import read_image, read_mask
from .overlay import draw_overlay
from .predictor import Engines, Prediction, Predictor
from .prompts import Prompt, logits_from_mask

__all__ = [
    "AutomaticMask",
    "AutomaticMasks",
    "AutomaticOptions",
    "BackendError",
    "Bundle",
    "BundleError",
    "Engines",
    "GlesamError",
    "ImageError",
    "OutputError",
    "ParityError",
    "Prediction",
    "Predictor",
    "Prompt",
    "PromptError",
    "draw_overlay",
    "logits_from_mask",
    "read_image",
    "read_mask",
]

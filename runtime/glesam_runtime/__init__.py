"""Runs a GleSAM bundle: bundle + image + prompts -> masks. It needs numpy, but no torch and no onnx."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .automatic import AutomaticMask, AutomaticMasks, AutomaticOptions
from .bundle.manifest import Manifest
from .bundle.reader import Bundle
from .engines import Engine
from .engines.base import Engines
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
from .postprocess import MaskResizer
from .predictor import DevicePrediction, Prediction, Predictor
from .preprocess import Geometry
from .prompts import Prompt, logits_from_mask
from .tools.follow.follower import Followed, Follower, FollowOptions
from .tools.overlay import draw_overlay

__all__ = [
    "AutomaticMask",
    "AutomaticMasks",
    "AutomaticOptions",
    "BackendError",
    "Bundle",
    "BundleError",
    "DevicePrediction",
    "Engine",
    "Engines",
    "FollowOptions",
    "Followed",
    "Follower",
    "Geometry",
    "GlesamError",
    "ImageError",
    "Manifest",
    "MaskResizer",
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

if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name: str) -> str:
        """Returns `__version__`, which is looked up only where a program reads it."""
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("glesam")
        except PackageNotFoundError:  # a source tree that is not installed
            return "0+unknown"

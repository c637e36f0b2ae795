"""A bundle in the place of segment-anything's Sam, and the registry that makes one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

from ..bundle.reader import SHIPPED, Bundle
from ..errors import BackendError, BundleError, ImageError, PromptError
from ..predictor import Predictor


class ImageNotSetError(ImageError, RuntimeError):
    """No image has been set; segment-anything raises RuntimeError."""


class ImageAssertionError(ImageError, AssertionError):
    """An image does not fit its description; segment-anything raises AssertionError."""


class PromptAssertionError(PromptError, AssertionError):
    """Prompts or options do not belong together; segment-anything raises AssertionError."""


class Sam:
    """A bundle on a backend, with the attributes of segment-anything's Sam that programs use.

    predictor: what runs it. mask_threshold: of logits. image_format: order of channels, "RGB".
    image_encoder.img_size: side of the input [px]. device: "cpu", "cuda" or what the backend names.
    """

    image_format = "RGB"

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.mask_threshold = predictor.manifest.mask_threshold
        self.image_encoder = SimpleNamespace(img_size=predictor.manifest.image_size)

    @property
    def device(self) -> str:
        return self.predictor.device

    def to(self, device: Any = None, *_: object, **__: object) -> Sam:  # noqa: ANN401
        """Returns this model, which stays on its backend.

        Raises BackendError where `device` is another one than the backend's.
        """
        kind = str(device if device is not None else self.device).partition(":")[0]
        if kind in ("cpu", "cuda") and self.device and kind != self.device:
            raise BackendError(
                f"device {kind!r}: this model runs on {self.device!r}, by backend {self.predictor.backend}; "
                "choose another with sam_model_registry[...](..., backend=NAME), see docs/quickstart.md"
            )
        return self

    def eval(self) -> Sam:
        """Returns this model: a bundle does not train."""
        return self

    def cuda(self) -> Sam:
        """Returns this model, as to("cuda") does."""
        return self.to("cuda")


def build_sam(
    sam_type: str,
    checkpoint: str | os.PathLike[str] | Bundle | None = None,
    backend: str = "auto",
    enhance: bool = True,
) -> Sam:
    """Opens the bundle `checkpoint`; without one, "default" and "nano" are the shipped model.

    backend, enhance: as in Predictor.from_bundle. Raises BundleError for a file of weights, which
    glesam-convert and glesam-export turn into a bundle, and for a bundle of another type than `sam_type`.
    """
    if checkpoint is None and sam_type not in ("default", SHIPPED):
        raise BundleError(
            f"{sam_type}: expected checkpoint=PATH, a bundle, found none; make one with glesam-convert and "
            "glesam-export, or take sam_model_registry['default']()"
        )
    if not isinstance(checkpoint, Bundle) and os.path.isfile(checkpoint or ""):
        raise BundleError(
            f"checkpoint {checkpoint}: expected a bundle's folder, found a file; "
            "convert it with glesam-convert --sam-checkpoint, then export it with glesam-export"
        )
    bundle = checkpoint if isinstance(checkpoint, Bundle) else Bundle.open(checkpoint)
    if sam_type not in ("default", bundle.manifest.sam_type):
        raise BundleError(
            f"bundle {bundle.root}: expected a model of type {sam_type}, found {bundle.manifest.sam_type}; "
            "write sam_model_registry['default'], which takes any"
        )
    return Sam(Predictor.from_bundle(bundle, backend, enhance))


sam_model_registry: Mapping[str, Callable[..., Sam]] = {
    name: partial(build_sam, name) for name in ("default", "vit_h", "vit_l", "vit_b", SHIPPED)
}
"""segment-anything's registry: type -> function that opens a bundle, as build_sam does."""


def session_of(model: Any) -> Predictor:  # noqa: ANN401
    """Returns a session of its own on the engines of `model`, a Sam or a Predictor.

    Raises BundleError for anything else.
    """
    predictor = model.predictor if isinstance(model, Sam) else model
    if not isinstance(predictor, Predictor):
        raise BundleError(
            f"model: expected a Sam of glesam_runtime.compat or a Predictor, found {type(model).__name__}; "
            "make one with glesam_runtime.compat.sam_model_registry"
        )
    return predictor.new_session()

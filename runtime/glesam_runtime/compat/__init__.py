"""segment-anything's names on a bundle: a program that uses that package changes one import.

    from glesam_runtime.compat import SamAutomaticMaskGenerator, SamPredictor, sam_model_registry

    sam = sam_model_registry["default"]()                                # the shipped nano
    sam = sam_model_registry["vit_b"](checkpoint="out/vit_b")            # a bundle of glesam-export
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    masks, scores, logits = predictor.predict(point_coords, point_labels)

Signatures, shapes, dtypes, order and error types are those of segment-anything 1.0. Arrays are numpy's;
predict_torch and set_torch_image answer torch tensors with torch tensors, and torch is never imported here.

Different: predict without any prompt, or with labels alone, is a PromptError, where segment-anything answers;
a mask alone goes with a padding point; numbers that do not fit are a PromptError with what was expected.
"""

from __future__ import annotations

from .generator import SamAutomaticMaskGenerator
from .model import Sam, sam_model_registry
from .predictor import SamPredictor
from .transforms import ResizeLongestSide

__all__ = ["ResizeLongestSide", "Sam", "SamAutomaticMaskGenerator", "SamPredictor", "sam_model_registry"]

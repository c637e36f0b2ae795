"""Masks of every object in a picture, without prompts: Segment Anything's procedure on a bundle.

    masks = AutomaticMasks(Predictor.from_bundle()).generate(image)

Each point of a grid is a prompt (SAM's paper, appendix B "Automatic mask generation details");
confident and stable masks are kept, and duplicates are removed in favour of the best.
"""

from __future__ import annotations

from .generator import AutomaticMasks
from .options import AutomaticOptions
from .record import AutomaticMask

__all__ = ["AutomaticMask", "AutomaticMasks", "AutomaticOptions"]

"""Every object of a picture, without prompts: Segment Anything's published procedure on a bundle.

    masks = AutomaticMasks(Predictor.from_bundle()).generate(image)

A grid of points is asked for masks (SAM's paper, appendix B "Automatic mask generation details");
the sure and stable ones are kept, and of each group of duplicates the best.
"""

from __future__ import annotations

from .generator import AutomaticMasks
from .options import AutomaticOptions
from .record import AutomaticMask

__all__ = ["AutomaticMask", "AutomaticMasks", "AutomaticOptions"]

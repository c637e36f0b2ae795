"""The pictures that parity is measured on: clean, and degraded to LQ-3."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np

from glesam_calib import images_in
from glesam_runtime.degradation.lqseg import LEVEL_RATES, degrade
from glesam_runtime.preprocess import Pixels
from glesam_runtime.tools.measure import ImageSets

LIMIT = 16
"""Pictures at most: parity must not take longer than the export."""


def parity_images(folder: Path | None, report: Callable[[str], None]) -> ImageSets:
    """`folder`'s pictures, or the shipped photographs, as the sets "clean" and "lq3"."""
    chosen = folder or Path(str(files("glesam_export") / "photos"))
    clean = list(images_in(chosen, LIMIT, report).values())
    return {"clean": clean, "lq3": [lq3(image, seed) for seed, image in enumerate(clean)]}


def lq3(image: Pixels, seed: int) -> Pixels:
    return degrade(image, LEVEL_RATES[3], np.random.default_rng(seed))
